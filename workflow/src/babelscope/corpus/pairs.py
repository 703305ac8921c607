"""Pairs and triples of sentences that train sentence encoders, the same rows in every language."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from babelscope.corpus.nli import read_nli
from babelscope.corpus.rows import (
    REPAIR,
    Place,
    by_place,
    need_file,
    normalized,
    read_tsv,
)
from babelscope.errors import BabelscopeError
from babelscope.io import read_json_lines, read_lines
from babelscope.seeds import stable_hash

logger = logging.getLogger(__name__)

TEXTS = ["anchor", "positive", "negative"]

ALIGNED = "Row n must be the same content in every language."

Row = tuple[str, Place, list[str]]  # id, where it stands, two or three normalized texts
Rows = Callable[[], Iterator[Row]]  # those of one language, read anew by every call


def read_pairs(
    files: Mapping[str, str], *, format: str, most: int | None = None, seed: int = 0
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Read pairs and triples of sentences into one table of all languages.

    Parameters
    ----------
    files
        By language, its file; for ``lines``, by language and number, ``de/1``, ``de/2``, ``de/3``,
        of which the third need not be there.
    format
        ``lines``: plain text, line n of the first file is the anchor, of the second the positive,
        of the third the negative. ``tsv``: columns ``anchor``, ``positive`` and perhaps
        ``negative``, no quoting. ``jsonl``, as sentence-transformers publishes training data: on
        every line ``["anchor", "positive"]``, ``["anchor", "positive", "negative"]``,
        ``{"set": [...]}``, of which the first two texts make a pair, the next two another and so
        on, or ``{"query": ..., "pos": [...], "neg": [...]}``, of which the first of each is taken.
        ``nli``: premises with hypotheses, as
        :func:`~babelscope.corpus.nli.read_nli` reads them as ``tsv``; see Notes. Row n of a file is
        the same content as row n of every other language's. Files may be ``.gz``, ``.xz`` or
        ``.zst``.
    most
        How many rows are kept at most, the same ones in every language; None: all.
    seed
        Which rows these are; a smaller number of them is part of a larger one.

    Returns
    -------
    table
        ``language``, ``sent_id``, ``anchor``, ``positive`` and ``negative``, which is None where
        there is none. Every language has the same ``sent_id`` in the same order. Texts are in
        Unicode NFC, without white space around them.
    counts
        A row per language: ``found`` rows; ``empty`` ones, which lack a text in some language and
        are left out in all; ``rows`` kept; ``triples`` among them, which have a negative; and
        ``duplicates`` among them, rows whose texts have all been there before, which are kept.
        For ``nli`` also the ``premises`` found, and those among them that are ``incomplete``.

    Raises
    ------
    BabelscopeError
        If a language has no file, files differ in length or in what their rows hold, a line is of
        another shape, the text is not UTF-8, or no row is left; with file and line.

    Notes
    -----
    Of inference, the anchor is a premise, the positive a hypothesis that it entails and the
    negative one that it contradicts; every hypothesis is used once, the n-th entailed one with the
    n-th contradicted one. Which pairs share a premise is decided in the first language; a premise
    without either is incomplete and left out, as are hypotheses without a counterpart.
    """
    places = {place[0]: paths for place, paths in by_place(files).items()}
    for language, paths in places.items():
        need_file(paths[0], language)
    if format == "nli":
        sources, names, extra = _read_nli(
            {language: paths[0] for language, paths in places.items()}
        )
        complete = names
    else:
        sources, extra = _sources(places, format), {}
        names, empty = _compare(sources)
        complete = [name for name in names if name not in empty]
        extra = {"found": len(names), "empty": len(empty)}
    kept = set(_choose(complete, most, seed))
    if not kept:
        raise BabelscopeError(
            f"{next(iter(files.values()))} holds no row that has all its texts in"
            f" {', '.join(places)}: {extra}.",
            "Check the files, or choose fewer languages.",
        )
    if extra["empty"]:
        logger.warning("%d of %d rows lack a text in some language", extra["empty"], extra["found"])
    tables, counts = [], []
    for language, rows in sources.items():
        table = _table(language, (row for row in rows() if row[0] in kept))
        duplicates = int(table.duplicated(TEXTS).sum())
        if duplicates:
            logger.warning("%s: %d of %d rows repeat another", language, duplicates, len(table))
        triples = int(table["negative"].notna().sum())
        counts.append(
            {"language": language, **extra}
            | {"rows": len(table), "triples": triples, "duplicates": duplicates}
        )
        tables.append(table)
    return pd.concat(tables, ignore_index=True), counts


def _table(language: str, rows: Iterator[Row]) -> pd.DataFrame:
    cells = [
        (language, name, texts[0], texts[1], texts[2] if len(texts) > 2 else None)
        for name, _, texts in rows
    ]
    return pd.DataFrame(cells, columns=pd.Index(["language", "sent_id", *TEXTS]), dtype=object)


def _choose(names: Sequence[str], most: int | None, seed: int) -> Sequence[str]:
    """Return at most so many names, whichever have the lowest hashes."""
    if most is None or len(names) <= most:
        return names
    return sorted(names, key=lambda name: stable_hash(seed, "pair", name))[:most]


def _compare(sources: Mapping[str, Rows]) -> tuple[list[str], set[str]]:
    """Return the ids of all rows, and of those that are empty in some language.

    Files are read once for this and once for their texts, so that no more is held than is kept.
    """
    first, *_ = sources
    shapes: list[tuple[str, int]] = []
    empty: set[str] = set()
    last: dict[str, Place] = {}
    for language, rows in sources.items():
        count = 0
        for name, place, texts in rows():
            if language == first:
                shapes.append((name, len(texts)))
            elif count < len(shapes) and shapes[count] != (name, len(texts)):
                raise BabelscopeError(
                    f"{place}: the row is of another shape than in {first}.", ALIGNED
                )
            count += 1
            last[language] = place
            if not all(texts):
                empty.add(name)
        if count != len(shapes):
            raise BabelscopeError(
                f"{first} has {len(shapes)} rows (to {last.get(first, 'none')}), {language} {count}"
                f" (to {last.get(language, 'none')}).",
                ALIGNED,
            )
    return [name for name, _ in shapes], empty


def _sources(places: Mapping[str, Sequence[str]], format: str) -> dict[str, Rows]:
    if format == "lines":
        triples = any(Path(file).is_file() for files in places.values() for file in files[2:])
        for language, files in places.items():
            for file in files[1 : 3 if triples else 2]:
                need_file(file, language)
        return {
            language: partial(_read_texts, files[: 3 if triples else 2])
            for language, files in places.items()
        }
    readers = {"tsv": _read_tsv, "jsonl": _read_json}
    if format not in readers:
        raise ValueError(f"no reader of pairs for the format {format!r}")
    return {language: partial(readers[format], files[0]) for language, files in places.items()}


def _read_texts(files: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of files whose lines belong together."""
    columns = [list(read_lines(file)) for file in files]
    for file, lines in zip(files, columns, strict=True):
        if len(lines) != len(columns[0]):
            raise BabelscopeError(
                f"{files[0]} has {len(columns[0])} lines, {file} {len(lines)}.",
                "Line n of all files of a language must belong together.",
            )
    for number, texts in enumerate(zip(*columns, strict=True), start=1):
        yield str(number), f"{files[0]}, line {number}", [normalized(text) for text in texts]


def _read_tsv(file: str) -> Iterator[Row]:
    for number, (place, row) in enumerate(read_tsv(file, TEXTS[:2]), start=1):
        yield str(number), place, [normalized(row[name]) for name in TEXTS if name in row]


def _read_json(file: str) -> Iterator[Row]:
    for number, value in enumerate(read_json_lines(file), start=1):
        place = f"{file}, line {number}"
        rows = _texts_of(value)
        if not rows or not all(isinstance(text, str) for texts in rows for text in texts):
            raise BabelscopeError(f"{place}: neither a pair, a triple nor a set of texts.", REPAIR)
        several = isinstance(value, dict) and "set" in value
        for index, texts in enumerate(rows, start=1):
            name = f"{number}-{index}" if several else str(number)
            yield name, place, [normalized(text) for text in texts]


def _texts_of(value: Any) -> list[list[Any]]:
    """Return the pairs or the triple that a line holds; none if its shape is not known."""
    if isinstance(value, list) and len(value) in (2, 3):
        return [value]
    if not isinstance(value, dict):
        return []
    texts, positive, negative = value.get("set"), value.get("pos"), value.get("neg", [])
    if isinstance(texts, list):
        return [texts[start : start + 2] for start in range(0, len(texts) - 1, 2)]
    if "query" in value and isinstance(positive, list) and positive and isinstance(negative, list):
        return [[value["query"], positive[0], *negative[:1]]]
    return []


def _read_nli(files: Mapping[str, str]) -> tuple[dict[str, Rows], list[str], dict[str, int]]:
    """Return the triples of each language, their ids, and what was counted."""
    first, *others = files
    table, counts = _inference(files[first], first)
    complete = table.index
    for language in others:
        translated, found = _inference(files[language], language)
        if found["found"] != counts["found"]:
            raise BabelscopeError(
                f"{files[first]} has {counts['found']} rows, {files[language]} {found['found']}.",
                ALIGNED,
            )
        complete = complete.intersection(translated.index)
        differs = table.loc[complete, "label"] != translated.loc[complete, "label"]
        if differs.any():
            raise BabelscopeError(
                f"{files[language]}, row {complete[differs][0]}: another label than in"
                f" {files[first]}.",
                ALIGNED,
            )
    table = table.loc[complete]
    premises: dict[str, dict[str, list[str]]] = {}
    for name, premise, label in zip(table.index, table["premise"], table["label"], strict=True):
        premises.setdefault(premise, {}).setdefault(label, []).append(name)
    triples = {
        entailed: contradicted
        for by_label in premises.values()
        for entailed, contradicted in zip(
            by_label.get("entailment", []), by_label.get("contradiction", []), strict=False
        )
    }
    sources: dict[str, Rows] = {
        language: partial(_triples, file, language, triples) for language, file in files.items()
    }
    complete_premises = sum(
        {"entailment", "contradiction"} <= set(by_label) for by_label in premises.values()
    )
    extra = {
        "found": counts["found"],
        "empty": counts["found"] - len(complete),
        "premises": len(premises),
        "incomplete": len(premises) - complete_premises,
    }
    return sources, list(triples), extra


def _inference(file: str, language: str) -> tuple[pd.DataFrame, dict[str, int]]:
    table, counts = read_nli(file, format="tsv", language=language, id_column="")
    for column in ("premise", "hypothesis"):
        table[column] = table[column].map(normalized)
    return table.set_index("sent_id"), counts


def _triples(file: str, language: str, triples: Mapping[str, str]) -> Iterator[Row]:
    table, _ = _inference(file, language)
    premises, hypotheses = table["premise"].to_dict(), table["hypothesis"].to_dict()
    for entailed, contradicted in triples.items():
        texts = [premises[entailed], hypotheses[entailed], hypotheses[contradicted]]
        yield entailed, f"{file}, row {entailed}", texts
