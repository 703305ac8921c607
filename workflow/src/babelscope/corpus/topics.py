"""Sentences with a topic, the same ones in every language, for training and for test."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from babelscope.corpus.rows import (
    REPAIR,
    Place,
    by_place,
    find_cell,
    find_text,
    need_file,
    read_csv,
    read_records,
    within,
)
from babelscope.errors import BabelscopeError

logger = logging.getLogger(__name__)

LABEL = ("category", "label")
TEXT = ("text", "sentence")
IDS = ("index_id", "sent_id")

Parts = Mapping[str, tuple[str, float, float]]  # by split: its file, and which shares of its rows
Key = tuple[str, str]  # the name of a file, and the id of a sentence in it


def read_topics(
    files: Mapping[str, str], *, format: str, id_column: str, parts: Parts
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Read sentences with their topics into one table.

    Parameters
    ----------
    files
        By language and the name of a file in `parts` (``de/train``), its path.
    format
        ``tsv``, as SIB-200 is published: columns ``index_id``, ``category`` and ``text`` between
        tabs, quoted where a cell holds quotation marks. ``jsonl``: an object per line. The columns
        may also be called ``sent_id``, ``label`` and ``sentence``.
    id_column
        Column of the sentence's id, if it is called something else.
    parts
        By split, ``train`` and ``test``: the name of its file, and from where to where in [0, 1)
        the hashes of the ids lie that it takes.

    Returns
    -------
    table
        ``language``, ``split``, ``sent_id``, ``text`` (Unicode NFC, without white space around it)
        and ``label``. The same ``sent_id`` is the same sentence in every language, and each
        language has all of them, in the order of the first one's files.
    counts
        A row per language and split: ``found`` sentences of the split; ``incomplete`` ones, which
        lack their text in some language or are not there, and are left out in all; ``duplicates``,
        training sentences that are also tested in some language, which are left out in all; the
        ``rows`` kept; and how many there are of each ``label``.

    Raises
    ------
    BabelscopeError
        If a language has no file, a column is missing, a label is empty or another one than in the
        first language, an id is there twice, a split is empty, all training sentences have one
        label, or a label of the test is never seen in training; with file and line.

    References
    ----------
    Adelani et al. (2024), SIB-200: A Simple, Inclusive, and Big Evaluation Dataset for Topic
    Classification in 200+ Languages and Dialects.
    """
    tables: dict[str, dict[Key, tuple[str, str]]] = {}
    labels: dict[Key, str] = {}
    for (language, name), (file, *_) in by_place(files).items():
        need_file(file, language)
        table = tables.setdefault(language, {})
        for key, place, text, label in _read(file, name, format, id_column):
            if key in table:
                raise BabelscopeError(
                    f"{place}: the id {key[1]} is there twice.", "Give every sentence its own id."
                )
            if labels.setdefault(key, label) != label:
                raise BabelscopeError(
                    f"{place}: the label is {label}, but {labels[key]} in another language.",
                    "The same id must be the same sentence in every language.",
                )
            table[key] = text, label
    chosen: dict[str, list[Key]] = {}
    found: dict[str, dict[str, int]] = {}
    for split, (name, low, high) in parts.items():
        keys = [key for key in labels if key[0] == name and within(key[1], low, high)]
        chosen[split] = [
            key for key in keys if all(table.get(key, ("",))[0] for table in tables.values())
        ]
        found[split] = {"found": len(keys), "incomplete": len(keys) - len(chosen[split])}
    tested = {
        language: {table[key][0] for key in chosen["test"]} for language, table in tables.items()
    }
    new = [
        key
        for key in chosen["train"]
        if not any(table[key][0] in tested[language] for language, table in tables.items())
    ]
    found["train"]["duplicates"] = len(chosen["train"]) - len(new)
    chosen["train"] = new
    _check_labels({split: [labels[key] for key in keys] for split, keys in chosen.items()}, files)
    for split, count in found.items():
        for what in ("incomplete", "duplicates"):
            if count.get(what):
                logger.warning(
                    "%d of %d sentences of %s are %s", count[what], count["found"], split, what
                )
    rows, counts = [], []
    names = sorted(set(labels.values()))
    for language, table in tables.items():
        for split, keys in chosen.items():
            rows += [(language, split, key[1], *table[key]) for key in keys]
            row = {"language": language, "split": split, **found[split], "rows": len(keys)}
            of_each = [labels[key] for key in keys]
            counts.append(
                {"duplicates": 0} | row | {label: of_each.count(label) for label in names}
            )
    columns = pd.Index(["language", "split", "sent_id", "text", "label"])
    return pd.DataFrame(rows, columns=columns), counts


def _check_labels(labels: Mapping[str, Sequence[str]], files: Mapping[str, str]) -> None:
    """Refuse splits that nothing can be learned from, or that ask for what was not taught."""
    first = next(iter(files.values()))
    change = "Change the splits of the corpus in config/corpora.tsv, or add data."
    for split, present in labels.items():
        if not present:
            raise BabelscopeError(f"No sentence is left for {split} ({first}, ...).", change)
    taught = set(labels["train"])
    if len(taught) == 1:
        raise BabelscopeError(
            f"All {len(labels['train'])} training sentences have the label {taught.pop()}"
            f" ({first}, ...).",
            change,
        )
    unseen = sorted(set(labels["test"]) - taught)
    if unseen:
        raise BabelscopeError(
            f"No training sentence has the label {', '.join(unseen)}, but the test does"
            f" ({first}, ...).",
            change,
        )


def _read(
    file: str, name: str, format: str, id_column: str
) -> Iterator[tuple[Key, Place, str, str]]:
    if format == "tsv":
        rows = read_csv(file, separator="\t")
    elif format == "jsonl":
        rows = read_records(file)
    else:
        raise ValueError(f"no reader of topics for the format {format!r}")
    for place, row in rows:
        identity = str(find_cell(row, (id_column,) if id_column else IDS, place))
        label = find_text(row, LABEL, place)
        if not label:
            raise BabelscopeError(f"{place}: no label.", REPAIR)
        yield (name, identity), place, find_text(row, TEXT, place), label
