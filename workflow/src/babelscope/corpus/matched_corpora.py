"""Corpora whose rows belong together by their id: instructions, and translations."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from babelscope.corpus.json_arrays import read_json_objects
from babelscope.corpus.matched_rows import MatchedRows
from babelscope.corpus.rows import REPAIR, Place, need_file, normalized, read_dataset, within
from babelscope.errors import BabelscopeError
from babelscope.progress import progress

SPLITS = ("train", "valid")

# Language, place, id and three texts; None where a field lacks.
Row = tuple[str, Place, str | None, str | None, str | None, str | None]


@dataclass(frozen=True, slots=True)
class MatchedCorpus:
    """The rows of a corpus that all its languages have.

    Attributes
    ----------
    name
        Of the corpus.
    translated
        Whether its rows are sentences with their translations; else they are instructions.
    languages
        Those it has, the pivot first.
    rows
        By number and language: instruction, answer and input; or a sentence and perhaps a hard
        negative.
    numbers
        By split, those of its rows.
    differs
        By language, number by number, whether the row says something else than in the pivot.
    counts
        By language and split, what was found and left out.
    """

    name: str
    translated: bool
    languages: list[str]
    rows: MatchedRows
    numbers: dict[str, array]
    differs: dict[str, bytearray]
    counts: dict[tuple[str, str], Counter[str]]


def read_corpus(
    name: str,
    source: str | Mapping[str, str],
    rows: MatchedRows,
    codes: Sequence[str],
    valid: float,
) -> MatchedCorpus:
    """Read a corpus into `rows` and find out which of them belong together.

    Parameters
    ----------
    name
        Of the corpus, for messages.
    source
        By language, a file of instructions; or the table of pairs or of parallel text.
    rows
        Where they are kept; empty.
    codes
        Languages that are wanted, the pivot first.
    valid
        Share of the ids, by their hash, that are held out.

    Raises
    ------
    BabelscopeError
        If the pivot or any other language lacks, a file is not there or broken, a field is not a
        text, an id is there twice, no id is in all languages, or all texts are those of the pivot.
    """
    translated = isinstance(source, str)
    found = _translations(source, codes) if translated else _instructions(source, codes)
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for language, place, identity, first, second, third in progress(found, name):
        count = counts[language, _split(identity, valid)]
        count["rows"] += 1
        if identity is None or first is None or second is None:
            count["missing_field"] += 1
        elif not (identity and first and (second or translated)):
            count["empty_field"] += 1
        else:
            count["complete"] += 1
            rows.add(identity, language, (first, second, third or ""), place)
    present = {language for language, _ in counts}
    languages = [code for code in codes if code in (present if translated else source)]
    if len(languages) < 2 or languages[0] != codes[0]:
        raise BabelscopeError(
            f"Of {', '.join(codes)} the corpus {name} has {', '.join(languages) or 'none'}, but"
            f" samples need {codes[0]} and another language.",
            "Take it out of the configuration, or add files.",
        )
    corpus = MatchedCorpus(name, translated, languages, rows, {}, {}, counts)
    _match(corpus, valid)
    return corpus


def _split(identity: str | None, valid: float) -> str:
    """Return to which split an id belongs; a row without one counts as training."""
    return "valid" if identity and within(identity, 0.0, valid) else "train"


def _match(corpus: MatchedCorpus, valid: float) -> None:
    """Note which rows are in every language, and which of them make a sentence pair."""
    pivot, *others = corpus.languages
    for split in SPLITS:
        corpus.numbers[split] = array("I")
    for number, identity in enumerate(corpus.rows.match(corpus.languages)):
        corpus.numbers[_split(identity, valid)].append(number)
    if not any(corpus.numbers.values()):
        raise BabelscopeError(
            f"No id of the corpus {corpus.name} is there, with all its fields, in each of"
            f" {', '.join(corpus.languages)}.",
            "The same row needs the same id in every file; correct that, or take fewer languages.",
        )
    for language in others:
        same = corpus.rows.equal(pivot, language)
        differs = corpus.differs[language] = bytearray(not equal for equal in same)
        for split, numbers in corpus.numbers.items():
            if numbers and not any(differs[number] for number in numbers):
                raise BabelscopeError(
                    f"The corpus {corpus.name} says the same in {pivot} and {language} in all"
                    f" {len(numbers)} rows for {split}.",
                    "Correct its files in config/corpora.tsv, or raise valid in alignment.samples.",
                )


def _instructions(files: Mapping[str, str], codes: Sequence[str]) -> Iterator[Row]:
    for language in codes:
        if language in files:
            need_file(files[language], language)
            for place, row in read_json_objects(files[language]):
                if type(row.get("id")) is int:
                    row["id"] = str(row["id"])
                identity, instruction, answer, context = (
                    _text(row, field, place) for field in ("id", "instruction", "output", "input")
                )
                yield language, place, identity, instruction, answer, context


def _translations(path: str, codes: Sequence[str]) -> Iterator[Row]:
    for place, row in read_dataset(path):
        if "anchor" not in row:  # a column for each language
            for code in codes:
                if code in row:
                    yield code, place, row["sent_id"], row[code], "", ""
        elif row["language"] in codes:
            yield row["language"], place, row["sent_id"], row["anchor"], row["negative"] or "", ""


def _text(row: Mapping[str, Any], key: str, place: Place) -> str | None:
    """Return the normalized text of a field; None where it lacks."""
    value = row.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise BabelscopeError(f"{place}: {key} is {value!r}, not a text.", REPAIR)
    return normalized(value)


def count_rows(corpus: MatchedCorpus) -> Iterator[dict[str, Any]]:
    """Yield what was found, left out and kept, a row per language and split."""
    for language in corpus.languages:
        for split, numbers in corpus.numbers.items():
            count = corpus.counts[language, split]
            differs = corpus.differs.get(language)
            same = sum(not differs[number] for number in numbers) if differs else 0
            yield {
                "corpus": corpus.name,
                "language": language,
                "split": split,
                "rows": count["rows"],
                "kept": len(numbers),
                "missing_field": count["missing_field"],
                "empty_field": count["empty_field"],
                "unmatched_id": count["complete"] - len(numbers),
                "same_text": same,
            }
