"""Questions about a passage with four answers each, the same ones in every language."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from babelscope.corpus.rows import REPAIR, by_place, find_cell, find_text, need_file, read_records
from babelscope.errors import BabelscopeError

logger = logging.getLogger(__name__)

NUMBERS = ("1", "2", "3", "4")
COLUMNS = ["language", "item_id", "passage", "question", "choices", "answer"]

Item = tuple[str, str, list[str], int]  # passage, question, choices, index of the right one


def read_comprehension(
    files: Mapping[str, str],
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Read questions with their answers, in JSON lines as Belebele is published, into one table.

    Parameters
    ----------
    files
        By language, its file, plain or compressed. Every line is an object with ``link``, perhaps
        ``split``, and ``question_number``, which together name the item; ``flores_passage``;
        ``question``; ``mc_answer1`` to ``mc_answer4``; and ``correct_answer_num``, 1 to 4.

    Returns
    -------
    table
        ``language``, ``item_id``, ``passage``, ``question``, ``choices`` (a list of four texts) and
        ``answer``, the index of the right one, 0 to 3. The same ``item_id`` is the same question in
        every language, and each language has all of them, in the order of the first one's file.
        Texts are in Unicode NFC, without white space around them.
    counts
        A row per language: ``found`` items; the ``rows`` kept; and how many of all languages' items
        are ``incomplete``: not there, or without some text, in a language, and left out in all.

    Raises
    ------
    BabelscopeError
        If a language has no file, a key is missing, the right answer is none of 1 to 4 or another
        one than in the first language, an item is there twice, or none is left; with file and line.

    References
    ----------
    Bandarkar et al. (2024), The Belebele Benchmark.
    """
    tables: dict[str, dict[str, Item]] = {}
    answers: dict[str, int] = {}
    for (language, *_), (file, *_) in by_place(files).items():
        need_file(file, language)
        table = tables[language] = {}
        for name, place, item in _read(file):
            if name in table:
                raise BabelscopeError(
                    f"{place}: the question {name} is there twice.", "Remove one of them."
                )
            if answers.setdefault(name, item[3]) != item[3]:
                raise BabelscopeError(
                    f"{place}: the right answer to {name} is number {item[3] + 1}, but"
                    f" {answers[name] + 1} in another language.",
                    "The same link and number must be the same question in every language.",
                )
            table[name] = item
    complete = [
        name
        for name in answers
        if all(name in table and _has_texts(table[name]) for table in tables.values())
    ]
    incomplete = len(answers) - len(complete)
    if not complete:
        raise BabelscopeError(
            f"No question is there in all of {', '.join(tables)};"
            f" {next(iter(files.values()))} holds {len(next(iter(tables.values())))}.",
            "Check the files, or choose fewer languages.",
        )
    if incomplete:
        logger.warning("%d of %d questions are incomplete in a language", incomplete, len(answers))
    rows, counts = [], []
    for language, table in tables.items():
        rows += [(language, name, *table[name]) for name in complete]
        found = {"language": language, "found": len(table), "incomplete": incomplete}
        counts.append(found | {"rows": len(complete)})
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS)), counts


def _has_texts(item: Item) -> bool:
    passage, question, choices, _ = item
    return all([passage, question, *choices])


def _read(file: str) -> Iterator[tuple[str, str, Item]]:
    for place, row in read_records(file):
        identity = [find_cell(row, ("link",), place)]
        identity += [row["split"]] if "split" in row else []
        identity += [find_cell(row, ("question_number",), place)]
        answer = str(find_cell(row, ("correct_answer_num",), place)).strip()
        if answer not in NUMBERS:
            raise BabelscopeError(
                f"{place}: the right answer is {answer!r}, which is none of 1 to 4.", REPAIR
            )
        passage = find_text(row, ("flores_passage",), place)
        question = find_text(row, ("question",), place)
        choices = [find_text(row, (f"mc_answer{number}",), place) for number in NUMBERS]
        name = " ".join(str(part) for part in identity)
        yield name, place, (passage, question, choices, int(answer) - 1)
