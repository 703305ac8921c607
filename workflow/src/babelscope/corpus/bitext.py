"""Translated sentences: pairs that are aligned, and pairs to be found among many sentences."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from babelscope.corpus.rows import (
    files_by_pair,
    normalized,
    read_tsv,
    within,
)
from babelscope.errors import BabelscopeError
from babelscope.io import read_lines

logger = logging.getLogger(__name__)

Parts = Mapping[str, tuple[str, float, float]]  # by split: its file, and which shares of its rows
Pair = tuple[str, str]  # a sentence of each side, or the id of each


def read_bitext(
    files: Mapping[str, str], *, format: str, codes: Mapping[str, str]
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Read aligned translations into one table.

    Parameters
    ----------
    files
        By the two languages (``de/en``), the file; for ``moses``, by the languages and number
        (``de/en/1``, ``de/en/2``), the file of each. Pairs of languages without a file are left
        out.
    format
        ``tsv``: two columns between a tab, named by the languages. ``moses``: plain text, as LASER
        publishes Tatoeba; line n of both files belongs together. Files may be compressed.
    codes
        What else a column of each language may be called, such as ``deu``.

    Returns
    -------
    table
        ``pair_id`` (the number of the row from 1), ``language1``, ``language2``, ``sentence1`` and
        ``sentence2``, in Unicode NFC, without white space around them.
    counts
        A row per pair of languages: ``found`` pairs; ``empty`` ones, which lack a side and are left
        out; ``rows`` kept; ``repeated1`` and ``repeated2``: how many sentences of a side have been
        there before. They are kept; retrieval counts any of their translations as right.

    Raises
    ------
    BabelscopeError
        If a language has no file, the columns are not the two languages, files differ in length, or
        no pair is left.

    References
    ----------
    Artetxe and Schwenk (2019), Massively Multilingual Sentence Embeddings for Zero-Shot
    Cross-Lingual Transfer and Beyond.
    """
    tables, counts = [], []
    for place, paths in files_by_pair(files).items():
        languages = (place[0], place[1])
        if format == "tsv":
            pairs = _read_tsv(paths[0], languages, codes)
        elif format == "moses":
            pairs = _read_moses(paths)
        else:
            raise ValueError(f"no reader of bitext for the format {format!r}")
        rows = [
            (str(number), *languages, *pair)
            for number, pair in enumerate(pairs, start=1)
            if all(pair)
        ]
        if not rows:
            raise BabelscopeError(
                f"{paths[0]} holds no pair that has both sides; {len(pairs)} rows.",
                "Fetch it again, or correct its path.",
            )
        columns = ["pair_id", "language1", "language2", "sentence1", "sentence2"]
        table = pd.DataFrame(rows, columns=pd.Index(columns))
        count = {
            "language1": languages[0],
            "language2": languages[1],
            "found": len(pairs),
            "empty": len(pairs) - len(rows),
            "rows": len(rows),
            "repeated1": int(table["sentence1"].duplicated().sum()),
            "repeated2": int(table["sentence2"].duplicated().sum()),
        }
        for what in ("empty", "repeated1", "repeated2"):
            if count[what]:
                logger.warning("%s: of %d pairs %d are %s", paths[0], len(pairs), count[what], what)
        tables.append(table)
        counts.append(count)
    return pd.concat(tables, ignore_index=True), counts


def _read_tsv(file: str, languages: Pair, codes: Mapping[str, str]) -> list[Pair]:
    header = next(read_lines(file), "").split("\t")
    names = [
        next((name for name in header if name in (language, codes.get(language))), "")
        for language in languages
    ]
    if len(header) != 2 or "" in names or names[0] == names[1]:
        needed = " and ".join(f"{one} (or {codes.get(one, one)})" for one in languages)
        raise BabelscopeError(
            f"{file} has the columns {', '.join(header)}; {needed} are needed.",
            "Name the columns by their languages, or correct the row of config/corpora.tsv.",
        )
    return [
        (normalized(row[names[0]]), normalized(row[names[1]])) for _, row in read_tsv(file, names)
    ]


def _read_moses(files: Sequence[str]) -> list[Pair]:
    sides = [[normalized(line) for line in read_lines(file)] for file in files]
    if len(sides[0]) != len(sides[1]):
        raise BabelscopeError(
            f"{files[0]} has {len(sides[0])} lines, {files[1]} {len(sides[1])}.",
            "Line n of both must be translations of each other.",
        )
    return list(zip(*sides, strict=True))


def read_mining(
    files: Mapping[str, str], *, parts: Parts
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Read the sentences among which translations are to be found, and which those are.

    Parameters
    ----------
    files
        By the two languages, the name of a file in `parts` and number, as BUCC is published: the
        sentences of the first language (``zh/en/dev/1``) and of the second (``zh/en/dev/2``), an
        id, a tab and the sentence on each line; and the gold pairs (``zh/en/dev/3``), an id of the
        first language, a tab and one of the second. Pairs of languages without files are left out.
    parts
        By split, ``train`` and ``test``: the name of its file, and from where to where in [0, 1)
        the hashes lie of what it takes.

    Returns
    -------
    table
        ``language1``, ``language2``, ``split``, ``side`` (1 or 2), ``sent_id``, ``text`` (Unicode
        NFC, without white space around it), and ``partner``, the ``sent_id`` of the gold
        translation on the other side, or None. Where two splits share a file, a sentence falls into
        one of them by its text, and a translation into that of its partner on side 1.
    counts
        A row per pair of languages, split and side: ``found`` sentences in the file; ``empty`` ones
        in it, left out together with their gold pairs; ``rows`` of the split; ``gold``, those with
        a partner; ``duplicates``, sentences that have been there before, which are kept. Of gold
        pairs whose sentence already has a partner (``repeated``), the first is taken.

    Raises
    ------
    BabelscopeError
        If a language has no file, a line has not two cells, an id is there twice, a gold pair names
        an id that is not there, or a split has no gold pair; with file and line.

    References
    ----------
    Zweigenbaum, Sharoff and Rapp (2018), Overview of the Third BUCC Shared Task.
    """
    tables, counts = [], []
    present = files_by_pair(files)
    read: dict[tuple[str, ...], tuple[list[pd.DataFrame], list[dict[str, int]]]] = {}
    for place, paths in present.items():
        read[place] = _read_bucc(paths)
    for language1, language2 in dict.fromkeys(place[:2] for place in present):
        for split, (name, low, high) in parts.items():
            place = (language1, language2, name)
            if place not in present:
                raise BabelscopeError(
                    f"{language1} and {language2} have no file {name}, for {split}.",
                    "Add it, or correct path and splits of the corpus in config/corpora.tsv.",
                )
            for side, (sentences, count) in enumerate(zip(*read[place], strict=True), start=1):
                chosen = [within(group, low, high) for group in sentences["group"]]
                table = sentences[chosen].drop(columns="group")
                gold = int(table["partner"].notna().sum())
                if not gold:
                    raise BabelscopeError(
                        f"{split} has no gold pair of {language1} and {language2}"
                        f" ({present[place][2]}).",
                        "Change the splits of the corpus in config/corpora.tsv, or add data.",
                    )
                where = {
                    "language1": language1,
                    "language2": language2,
                    "split": split,
                    "side": side,
                }
                for number, (column, value) in enumerate(where.items()):
                    table.insert(number, column, value)
                duplicates = int(table["text"].duplicated().sum())
                kept = {"rows": len(table), "gold": gold, "duplicates": duplicates}
                counts.append(where | count | kept)
                tables.append(table)
    return pd.concat(tables, ignore_index=True), counts


def _read_bucc(files: Sequence[str]) -> tuple[list[pd.DataFrame], list[dict[str, int]]]:
    """Return the sentences of both sides with their partners, and what was counted of each.

    ``group`` is the text by which a sentence falls into a split.
    """
    sides = [_read_sentences(file) for file in files[:2]]
    partners: list[dict[str, str]] = [{}, {}]
    repeated = 0
    for place, row in read_tsv(files[2], header=("1", "2")):
        pair = row["1"].strip(), row["2"].strip()
        for name, side, file in zip(pair, sides, files, strict=False):
            if name not in side:
                raise BabelscopeError(
                    f"{place}: {file} has no sentence {name}.", "Repair or remove that line."
                )
        if pair[0] in partners[0] or pair[1] in partners[1]:
            repeated += 1
        elif all(side[name] for name, side in zip(pair, sides, strict=True)):
            partners[0][pair[0]], partners[1][pair[1]] = pair[1], pair[0]
    tables, counts = [], []
    for side, by_name in zip(sides, partners, strict=True):
        rows = []
        for name, text in side.items():
            partner = by_name.get(name)
            group = sides[0][partner] if side is sides[1] and partner else text
            if text:
                rows.append((name, text, partner, group))
        columns = pd.Index(["sent_id", "text", "partner", "group"])
        tables.append(pd.DataFrame(rows, columns=columns, dtype=object))
        counts.append({"found": len(side), "empty": len(side) - len(rows), "repeated": repeated})
    if repeated:
        logger.warning("%s: %d pairs repeat a sentence of another pair", files[2], repeated)
    return tables, counts


def _read_sentences(file: str) -> dict[str, str]:
    sentences: dict[str, str] = {}
    for place, row in read_tsv(file, header=("id", "text")):
        name = row["id"].strip()
        if name in sentences:
            raise BabelscopeError(
                f"{place}: the id {name} is there twice.", "Give every sentence its own id."
            )
        sentences[name] = normalized(row["text"])
    return sentences
