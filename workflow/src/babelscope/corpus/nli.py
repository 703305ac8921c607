"""Corpora of natural-language inference in several formats as one table of labelled pairs."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from babelscope.corpus.rows import Place, find_cell, read_dataset, read_records, read_tsv
from babelscope.errors import BabelscopeError
from babelscope.io import read_lines

logger = logging.getLogger(__name__)

LABELS = ("entailment", "neutral", "contradiction")
SPELLINGS: dict[Any, str] = {
    **{label: label for label in LABELS},
    **dict(enumerate(LABELS)),  # the numbers of the published data set
    "contradictory": "contradiction",  # in its translated training data
}
UNLABELLED = ("-", "", None, -1)  # the annotators did not agree
LEFT_OUT = ("unlabelled", "empty")
COLUMNS = {  # names of each column in published files
    "premise": ("premise", "sentence1"),
    "hypothesis": ("hypothesis", "hypo", "sentence2"),
    "label": ("label", "gold_label"),
}


def read_nli(
    path: str | Path, *, format: str, language: str, id_column: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Read a file of premises and hypotheses into one row per labelled pair.

    Parameters
    ----------
    path
        The file, plain, ``.xz`` or ``.zst``.
    format
        ``tsv``: tabs between cells, no quoting, a header; without one, as in XTREME, the columns
        are premise, hypothesis and label. ``jsonl``: an object per line. ``datasets``: see
        :func:`~babelscope.corpus.rows.read_dataset`. Columns are called ``premise``,
        ``hypothesis`` and ``label``, or as XNLI calls them: ``sentence1``, ``sentence2`` and
        ``gold_label``, and ``hypo`` in its training data.
    language
        Code of the language; if there is a column ``language``, other rows are passed over.
    id_column
        Column of the pair's id; empty: the pairs of the language are numbered from 1, so that
        pair n has the same id in every language of a multi-parallel corpus.

    Returns
    -------
    table
        ``sent_id``, ``premise``, ``hypothesis`` and ``label``: entailment, neutral or
        contradiction. Texts are as in the file, without any normalization.
    counts
        ``found`` pairs of the language; ``unlabelled`` ones (``-``) and ``empty`` ones, of which a
        side has no text: both are left out; ``replaced`` ones, with the character U+FFFD that
        stands where text was lost.

    Raises
    ------
    BabelscopeError
        If a column is missing, a label is another word or number, an id repeats, or no labelled
        pair of the language is there; with file and line.
    """
    counts: dict[str, int] = dict.fromkeys(("found", *LEFT_OUT, "replaced"), 0)
    rows: dict[str, tuple[str, str, str]] = {}
    for place, row in _rows(path, format):
        if row.get("language", language) != language:
            continue
        counts["found"] += 1
        name = str(find_cell(row, (id_column,), place)) if id_column else str(counts["found"])
        premise, hypothesis, label = (find_cell(row, names, place) for names in COLUMNS.values())
        if label in UNLABELLED:
            counts["unlabelled"] += 1
            continue
        if type(label) not in (str, int) or label not in SPELLINGS:
            raise BabelscopeError(
                f"{place}: the label {label!r} is not one of {', '.join(LABELS)}.",
                "Repair it, or write - where there is no label.",
            )
        if not _is_text(premise) or not _is_text(hypothesis):
            counts["empty"] += 1
            continue
        if name in rows:
            raise BabelscopeError(
                f"{place}: the id {name} is there twice.", "Give every pair its own id."
            )
        counts["replaced"] += "\ufffd" in premise + hypothesis
        rows[name] = premise, hypothesis, SPELLINGS[label]
    if not rows:
        raise BabelscopeError(
            f"{path} holds no labelled pair in {language}: {counts['found']} rows,"
            f" {counts['unlabelled']} without a label, {counts['empty']} without text.",
            "Choose another file in config/corpora.tsv, or fewer languages.",
        )
    for what in (*LEFT_OUT, "replaced"):
        if counts[what]:
            logger.warning("%s: of %d pairs %d are %s", path, counts["found"], counts[what], what)
    columns = pd.Index(list(COLUMNS))
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return table.rename_axis("sent_id").reset_index(), counts


def _rows(path: str | Path, format: str) -> Iterator[tuple[Place, dict[str, Any]]]:
    if format == "tsv":
        first = next(read_lines(path), "").split("\t")
        bare = len(first) == len(COLUMNS) and first[-1] in SPELLINGS
        return read_tsv(path, header=list(COLUMNS) if bare else None)
    if format == "jsonl":
        return read_records(path)
    if format == "datasets":
        return read_dataset(path)
    raise ValueError(f"no reader of inference for the format {format!r}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
