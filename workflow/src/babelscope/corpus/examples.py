"""Examples of a task in every language, told apart into training, validation and test.

A file may serve several splits. Which of them a row belongs to follows from a hash of its id alone,
and rows with one premise stay together; so translations of one item never stand on both sides, and
neither do repetitions, since a text that is tested is taken out of what is trained on.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from babelscope.corpus.ner import read_ner
from babelscope.corpus.nli import LABELS, read_nli
from babelscope.errors import BabelscopeError
from babelscope.seeds import stable_hash

logger = logging.getLogger(__name__)

TEXT = {"ner": ["tokens"], "nli": ["premise", "hypothesis"]}  # what makes two examples equal

Parts = Mapping[str, tuple[str, float, float]]  # by split: the file, and which shares of its rows


def read_examples(
    files: Mapping[str, Mapping[str, str]],
    *,
    kind: str,
    format: str,
    parts: Parts,
    id_column: str,
    types: Sequence[str],
) -> Iterator[tuple[str, dict[str, pd.DataFrame], list[dict[str, Any]]]]:
    """Yield the examples of one language after another.

    Parameters
    ----------
    files
        By language, then by the name of a file in `parts`, its path.
    kind
        ``ner`` or ``nli``.
    format, id_column, types
        As for :func:`~babelscope.corpus.ner.read_ner` and
        :func:`~babelscope.corpus.nli.read_nli`.
    parts
        By split (train, valid, test): the name of its file, and from where to where in [0, 1) the
        hashes lie of the rows that it takes.

    Yields
    ------
    language
    tables
        By split, as the readers return them.
    counts
        A row per split: language, split, file; what the reader counted in the whole file; examples
        that were dropped as ``duplicates`` of a later split's; the ``rows`` that are left, their
        ``tokens`` (of ner), and how many entities or pairs there are of each type or label.

    Raises
    ------
    BabelscopeError
        As the readers do, and if a language has no file or no example for a split.
    """
    groups: dict[tuple[str, str], str] = {}
    shared = {name for name, low, high in parts.values() if high - low < 1}
    for language, paths in files.items():
        tables, counted = {}, {}
        for name, path in paths.items():
            _need_file(path, language, [split for split, part in parts.items() if part[0] == name])
            if kind == "ner":
                table, counted[name] = read_ner(path, format=format, language=language, types=types)
            else:
                table, counted[name] = read_nli(
                    path, format=format, language=language, id_column=id_column
                )
            tables[name] = table
            if name in shared:
                for row, group in zip(table["sent_id"], _groups(table, kind), strict=True):
                    groups.setdefault((name, row), group)
        chosen = {
            split: tables[name][_falls(tables[name]["sent_id"], name, groups, low, high)]
            if name in shared
            else tables[name]
            for split, (name, low, high) in parts.items()
        }
        duplicates = _drop_tested(chosen, kind, language)
        counts = []
        for split, table in chosen.items():
            name = parts[split][0]
            if table.empty:
                raise BabelscopeError(
                    f"{language}: no example is left for {split} in {paths[name]}"
                    f" ({counted[name]['found']} in the file, {duplicates[split]} dropped as"
                    " duplicates).",
                    "Change the splits of the corpus in config/corpora.tsv, or add data.",
                )
            counts.append(
                {"language": language, "split": split, "file": name, **counted[name]}
                | {"duplicates": duplicates[split], "rows": len(table)}
                | _contents(table, kind, types)
            )
        yield language, chosen, counts


def _need_file(path: str, language: str, splits: Sequence[str]) -> None:
    """Refuse a language without a file."""
    place = Path(path)
    if not (any(place.parent.glob(place.name)) if "*" in place.name else place.exists()):
        raise BabelscopeError(
            f"{language} has no examples for {' and '.join(splits)}: {path} does not exist.",
            "Take the language out of tickets.languages, add its file, or correct path and splits"
            " of the corpus in config/corpora.tsv.",
        )


def _groups(table: pd.DataFrame, kind: str) -> Sequence[str]:
    """Return for each row the id of the first of the neighbours that share its premise."""
    if kind == "ner":
        return list(table["sent_id"])
    runs = (table["premise"] != table["premise"].shift()).cumsum()
    return list(table.groupby(runs)["sent_id"].transform("first"))


def _falls(
    names: pd.Series, file: str, groups: Mapping[tuple[str, str], str], low: float, high: float
) -> list[bool]:
    """Return which rows of a file have a hash in [low, high), as shares of all hashes.

    A row's group is that of the first language which has the row.
    """
    first, last = int(low * 2**64), int(high * 2**64)
    return [first <= stable_hash("part", groups[file, name]) < last for name in names]


def _drop_tested(tables: dict[str, pd.DataFrame], kind: str, language: str) -> dict[str, int]:
    """Take every text out of the splits before the last one it is in; return how many, by split."""
    dropped = dict.fromkeys(tables, 0)
    seen: set[Any] = set()
    for split in reversed(list(tables)):
        texts = [_text(row) for row in tables[split][TEXT[kind]].itertuples(index=False)]
        new = [text not in seen for text in texts]
        dropped[split] = len(new) - sum(new)
        if dropped[split]:
            logger.warning(
                "%s: %d examples of %s are also in a later split and dropped",
                *(language, dropped[split], split),
            )
        tables[split] = tables[split][new].reset_index(drop=True)
        seen.update(texts)
    return dropped


def _text(row: Any) -> tuple[Any, ...]:
    return tuple(tuple(value) if isinstance(value, list) else value for value in row)


def _contents(table: pd.DataFrame, kind: str, types: Sequence[str]) -> dict[str, int]:
    if kind == "nli":
        return {label: int((table["label"] == label).sum()) for label in LABELS}
    tags = table["tags"].explode()
    return {"tokens": len(tags)} | {name: int((tags == f"B-{name}").sum()) for name in types}
