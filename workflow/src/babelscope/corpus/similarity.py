"""Pairs of sentences with a score of similarity or relatedness, in one language and across two."""

import csv
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import pandas as pd

from babelscope.corpus.rows import (
    REPAIR,
    Place,
    by_place,
    files_by_pair,
    find_cell,
    find_text,
    need_file,
    normalized,
    read_csv,
    read_records,
    read_tsv,
)
from babelscope.errors import BabelscopeError
from babelscope.io import open_text, read_lines

logger = logging.getLogger(__name__)

COLUMNS = ["pair_id", "language1", "language2", "sentence1", "sentence2", "score"]
ENGLISH = "en"  # the language of the first two columns of `stsb`
SENTENCES = (("sentence1", "sentence_A"), ("sentence2", "sentence_B"))
SCORE = ("score", "relatedness_score")
PLAIN = ("sentence1", "sentence2", "score")  # of a table without a header
STSB = ("sentence1", "sentence2", "score", "s1_translation", "s2_translation")
ROUNDING = 1e-3  # by which the same score differs between files

UYGHUR = "ug"
# Its Cyrillic letters in the Arabic script, in which it is written but for some corpora.
VOWELS = dict(zip("аәоуөүеэи", "اەوۇۆۈېېى", strict=True))
LIKE = {"я": "йа", "ю": "йу", "ё": "йо", "ц": "тс", "щ": "ш", "ы": "и"}
CONSONANTS = dict(
    zip(
        "бптҗчхдрзжсшғфқкгңлмнһвй",
        "بپتجچخدرزژسشغفقكگڭلمنھۋي",
        strict=True,
    )
)
MARKS = {",": "،", ";": "؛", "?": "؟", "ъ": "", "ь": ""}
CARRIER = "ئ"  # before a vowel that follows no consonant


class Scored(NamedTuple):
    """A pair of sentences as it stands in a file."""

    name: str
    place: Place
    sentence1: str
    sentence2: str
    score: Any


def read_similarity(
    files: Mapping[str, str],
    *,
    format: str,
    scale: tuple[float, float],
    id_column: str,
    pivot: str,
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Read pairs of sentences and their scores into one table.

    Parameters
    ----------
    files
        By language, or by the languages of the two sentences (``de/en``), its file. Pairs of
        languages without a file are left out. For ``lines``, by language and number: the first
        sentences, the second ones, and the scores, which are the same for all languages.
    format
        ``tsv`` (not quoted), ``csv`` and ``jsonl``: columns ``sentence1``, ``sentence2`` and
        ``score``, or as SICK calls them, ``sentence_A``, ``sentence_B`` and ``relatedness_score``.
        ``csv`` may be without a header, as May (2021) publishes translations of STS-B, if there are
        no other columns than these. ``semrel``, as SemRel2024 is published: CSV with ``PairID``,
        ``Score`` and ``Text``, in which a line break, or else a tab, parts the two sentences.
        ``stsb``, as Kardes-NLU publishes translations of STS-B: CSV with an index, ``sentence1``
        and ``sentence2`` in English, ``score``, ``s1_translation`` and ``s2_translation``, the same
        rows in every file. ``lines``, as Hercig and Kral (2021) publish translations of STS17:
        plain text, line n of all files belongs together. Files may be compressed.
    scale
        The lowest and the highest score there may be.
    id_column
        Column of the pair's id in ``tsv``, ``csv`` and ``jsonl``; empty: rows are numbered from 1.
    pivot
        If it is English, the English sentences of ``stsb`` are used, too.

    Returns
    -------
    table
        ``pair_id``, ``language1``, ``language2``, ``sentence1``, ``sentence2`` and ``score``
        (float). Of ``stsb`` and ``lines``, the first sentence in each language with the second one
        in each, in both directions, as published; Uyghur of ``stsb``, which is in Cyrillic letters,
        in the Arabic script of all other Uyghur text, as Huang et al. (2025) read it. Sentences are
        in Unicode NFC, without white space around them.
    counts
        A row per pair of languages: ``found`` pairs; ``empty`` ones, of which a sentence has no
        text, which are left out; ``rows`` kept, and the ``duplicates`` among them, whose two
        sentences have been there before. For ``stsb`` also how many English sentences ``differ``
        from those of the first file, which are used.

    Raises
    ------
    BabelscopeError
        If a language has no file, a column is missing, a score is no number or outside the scale,
        all scores of a pair of languages are equal, which leaves nothing to correlate with, an id
        repeats, or files that belong together differ in their rows; with file and line.

    References
    ----------
    Cer et al. (2017), SemEval-2017 Task 1. Ousidhoum et al. (2024), SemRel2024. Senel et al.
    (2024), Kardes-NLU. Marelli et al. (2014), SICK. Hercig and Kral (2021), Evaluation Datasets for
    Cross-lingual Semantic Textual Similarity.
    """
    if format == "stsb":
        groups, extra = _read_stsb(files, pivot)
    elif format == "lines":
        groups, extra = _read_lines(files), {}
    else:
        groups, extra = _read_pairs(files, format, id_column), {}
    tables, counts = [], []
    for (language1, language2), pairs in groups:
        table, found = _checked(pairs, scale, " and ".join(dict.fromkeys([language1, language2])))
        table.insert(1, "language1", language1)
        table.insert(2, "language2", language2)
        tables.append(table)
        differ = {"differ": max(extra[name] for name in (language1, language2))} if extra else {}
        counts.append({"language1": language1, "language2": language2} | found | differ)
    return pd.concat(tables, ignore_index=True)[COLUMNS], counts


def _checked(
    pairs: Sequence[Scored], scale: tuple[float, float], languages: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the pairs that have both sentences, and what was counted."""
    seen: set[str] = set()
    rows = []
    for pair in pairs:
        if pair.name in seen:
            raise BabelscopeError(
                f"{pair.place}: the id {pair.name} is there twice.", "Give every pair its own id."
            )
        seen.add(pair.name)
        score = _number(pair.score)
        if not scale[0] <= score <= scale[1]:
            raise BabelscopeError(
                f"{pair.place}: the score {pair.score!r} is not between {scale[0]:g} and"
                f" {scale[1]:g}.",
                "Repair it, or correct the scale (labels) of the corpus in config/corpora.tsv.",
            )
        if pair.sentence1 and pair.sentence2:
            rows.append((pair.name, pair.sentence1, pair.sentence2, score))
    if not rows:
        raise BabelscopeError(
            f"A file of the corpus holds no pair of sentences in {languages}; {len(pairs)} rows.",
            "Fetch it again, or leave the languages out.",
        )
    if len({score for *_, score in rows}) == 1:
        raise BabelscopeError(
            f"{pairs[0].place}, and all {len(rows)} pairs in {languages}: the score is"
            f" {pairs[0].score}; nothing correlates with that.",
            "Fetch the file again, or leave the languages out.",
        )
    if len(rows) < len(pairs):
        logger.warning("%s: %d pairs lack a sentence", pairs[0].place, len(pairs) - len(rows))
    table = pd.DataFrame(rows, columns=pd.Index(["pair_id", "sentence1", "sentence2", "score"]))
    counts = {
        "found": len(pairs),
        "empty": len(pairs) - len(rows),
        "rows": len(rows),
        "duplicates": int(table.duplicated(["sentence1", "sentence2"]).sum()),
    }
    return table, counts


def _number(value: Any) -> float:
    """Return a score as a number; NaN, which lies on no scale, if it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _read_pairs(
    files: Mapping[str, str], format: str, id_column: str
) -> Iterator[tuple[tuple[str, str], list[Scored]]]:
    """Yield the pairs of every file, with its language twice or with its two languages."""
    for place, (file, *_) in files_by_pair(files).items():
        pairs = list(_read_semrel(file) if format == "semrel" else _read(file, format, id_column))
        yield (place[0], place[-1]), pairs


def _read(file: str, format: str, id_column: str) -> Iterator[Scored]:
    readers = {"tsv": read_tsv, "csv": _read_plain_csv, "jsonl": read_records}
    if format not in readers:
        raise ValueError(f"no reader of similarity for the format {format!r}")
    for number, (place, row) in enumerate(readers[format](file), start=1):
        name = str(find_cell(row, (id_column,), place)) if id_column else str(number)
        first, second = (find_text(row, columns, place) for columns in SENTENCES)
        yield Scored(name, place, first, second, find_cell(row, SCORE, place))


def _read_plain_csv(file: str) -> Iterator[tuple[Place, dict[str, str]]]:
    """Yield the rows of a table, whose header, if it has none, is that of this package."""
    with open_text(file) as lines, suppress(csv.Error):  # which `read_csv` explains
        first = next(csv.reader(lines), [])
        if len(first) == 3 and not math.isnan(_number(first[2])):
            return read_csv(file, header=PLAIN)
    return read_csv(file)


def _read_semrel(file: str) -> Iterator[Scored]:
    for place, row in read_csv(file, ("PairID", "Text", "Score")):
        text = row["Text"]
        parts = [normalized(part) for part in text.split("\n" if "\n" in text else "\t")]
        if len(parts) != 2:
            raise BabelscopeError(
                f"{place}: the text holds {len(parts)} lines, but a pair needs two.", REPAIR
            )
        yield Scored(row["PairID"], place, parts[0], parts[1], row["Score"])


def _read_stsb(
    files: Mapping[str, str], pivot: str
) -> tuple[Iterator[tuple[tuple[str, str], list[Scored]]], dict[str, int]]:
    """Return the pairs of all pairs of languages, and how many English sentences differ."""
    rows = {}
    for (language, *_), (file, *_) in by_place(files).items():
        need_file(file, language)
        rows[language] = list(read_csv(file, STSB))
    first = next(iter(rows))
    differ = dict.fromkeys([ENGLISH, *rows], 0)
    sides: dict[str, list[tuple[str, str]]] = {}
    pairs = [
        Scored(next(iter(row.values())), place, row["sentence1"], row["sentence2"], row["score"])
        for place, row in rows[first]
    ]
    for language, table in rows.items():
        _check_rows(pairs, table, (first, language))
        english = [(pair.sentence1, pair.sentence2) for pair in pairs]
        differ[language] = sum(
            texts != (row["sentence1"], row["sentence2"])
            for texts, (_, row) in zip(english, table, strict=True)
        )
        spelt = in_arabic_script if language == UYGHUR else str
        sides[language] = [
            (
                normalized(spelt(row["s1_translation"])),
                normalized(spelt(row["s2_translation"])),
            )
            for _, row in table
        ]
    if pivot == ENGLISH:
        english = [(normalized(pair.sentence1), normalized(pair.sentence2)) for pair in pairs]
        sides = {ENGLISH: english} | sides
    return _crossed(pairs, sides), differ


def in_arabic_script(text: str) -> str:
    """Return Uyghur text with Cyrillic letters in the Arabic script; other text as it is."""
    letters = text.lower()
    if not any(letter in CONSONANTS or letter in VOWELS for letter in letters):
        return text
    for letter, spelt in LIKE.items():
        letters = letters.replace(letter, spelt)
    found = ""
    for place, letter in enumerate(letters):
        if letter in VOWELS and letters[place - 1 : place] not in CONSONANTS:
            found += CARRIER
        found += VOWELS.get(letter) or CONSONANTS.get(letter) or MARKS.get(letter, letter)
    return found


def _check_rows(
    pairs: Sequence[Scored], table: Sequence[tuple[Place, dict[str, str]]], languages: Sequence[str]
) -> None:
    """Refuse files that do not hold the same pairs in the same order."""
    if len(pairs) != len(table):
        raise BabelscopeError(
            f"{languages[0]} has {len(pairs)} pairs, {languages[1]} {len(table)}.",
            "The files of all languages must hold the same pairs.",
        )
    for pair, (place, row) in zip(pairs, table, strict=True):
        score = _number(row["score"])
        same = next(iter(row.values())) == pair.name and not (
            abs(score - _number(pair.score)) > ROUNDING
        )
        if not same:
            raise BabelscopeError(
                f"{place}: another index or score than at {pair.place}.",
                "The files of all languages must hold the same pairs in the same order.",
            )


def _read_lines(
    files: Mapping[str, str],
) -> Iterator[tuple[tuple[str, str], list[Scored]]]:
    """Return the pairs of all pairs of languages."""
    sides: dict[str, list[tuple[str, str]]] = {}
    pairs: list[Scored] = []
    for (language, *_), (firsts, seconds, scores) in by_place(files).items():
        columns = []
        for file in (scores, firsts, seconds):
            need_file(file, language)
            columns.append([normalized(line) for line in read_lines(file)])
            if len(columns[-1]) != len(columns[0]):
                raise BabelscopeError(
                    f"{scores} has {len(columns[0])} lines, {file} {len(columns[-1])}.",
                    "Line n of all files must belong together.",
                )
        if not columns[0]:
            raise BabelscopeError(f"{scores} has no line.", "Fetch it again, or correct its path.")
        if pairs and columns[0] != [pair.score for pair in pairs]:
            raise BabelscopeError(
                f"{scores} does not hold the scores that begin at {pairs[0].place}.",
                "The files of all languages must hold the same pairs in the same order.",
            )
        pairs = [
            Scored(str(number), f"{scores}, line {number}", "", "", score)
            for number, score in enumerate(columns[0], start=1)
        ]
        sides[language] = list(zip(*columns[1:], strict=True))
    return _crossed(pairs, sides)


def _crossed(
    pairs: Sequence[Scored], sides: Mapping[str, Sequence[tuple[str, str]]]
) -> Iterator[tuple[tuple[str, str], list[Scored]]]:
    """Yield the pairs with the first sentence in each language and the second one in each."""
    for language1, firsts in sides.items():
        for language2, seconds in sides.items():
            yield (
                (language1, language2),
                [
                    pair._replace(sentence1=first, sentence2=second)
                    for pair, (first, _), (_, second) in zip(pairs, firsts, seconds, strict=True)
                ],
            )
