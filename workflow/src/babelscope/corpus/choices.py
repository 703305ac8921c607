"""Tasks whose examples offer choices, for few-shot prompting: demonstrations and tests."""

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from babelscope.corpus.nli import LABELS, read_nli
from babelscope.corpus.rows import (
    REPAIR,
    Place,
    by_place,
    find_cell,
    find_text,
    need_file,
    normalized,
    read_dataset,
    read_tsv,
    within,
)
from babelscope.errors import BabelscopeError
from babelscope.io import decode_json

logger = logging.getLogger(__name__)

FIELDS = {
    "xnli": ("premise", "hypothesis"),
    "pawsx": ("sentence1", "sentence2"),
    "xcopa": ("premise", "question", "choice1", "choice2"),
    "xstorycloze": ("context", "ending1", "ending2"),
    "xwinograd": ("before", "after", "choice1", "choice2"),
}
"""The columns of each task beside those that all have."""

CHOICES = {"xnli": 3, "pawsx": 2, "xcopa": 2, "xstorycloze": 2, "xwinograd": 2}
"""How many choices there are."""

LABELLED = {
    "pawsx": ("0", "1"),
    "xcopa": ("0", "1"),
    "xstorycloze": ("1", "2"),
    "xwinograd": ("0", "1"),
}
"""What files call the choices, in their order; of xnli `nli.LABELS`."""

QUESTIONS = ("cause", "effect")
PLACEHOLDER = "NS"  # in PAWS-X, for a sentence that was not translated
QUOTES = {"``": '``|["“«„]', "''": "''|[\"”»“]"}  # tokens that the sentence writes otherwise
STORY = (  # columns of XStoryCloze, and what the hub's copy calls them
    ("InputStoryid", "story_id"),
    *((f"InputSentence{number}", f"input_sentence_{number}") for number in (1, 2, 3, 4)),
    *((f"RandomFifthSentenceQuiz{number}", f"sentence_quiz{number}") for number in (1, 2)),
    ("AnswerRightEnding", "answer_right_ending"),
)
SPLITS = {"demonstrations": "train", "test": "test"}  # in corpora.tsv, train is the former
COUNTED: tuple[str, ...] = ("found", "unlabelled", "placeholder", "empty", "replaced")

Parts = Mapping[str, tuple[str, float, float]]  # by split: its file, and which shares of its rows
Item = tuple[str, tuple[str, ...], int]  # id, the task's fields, label
Found = tuple[Place, str, tuple[str, ...], str]  # the same as in a file, with its place


def read_choices(
    files: Mapping[str, str], *, format: str, parts: Parts, codes: Mapping[str, str]
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Read the examples of a task into one table of all languages.

    Parameters
    ----------
    files
        By language and the name of a file in `parts`, its path; plain or compressed.
    format
        The task, in the layout that it is published in. ``xnli``: as
        :func:`~babelscope.corpus.nli.read_nli` reads tsv. ``pawsx``: a table with ``id``,
        ``sentence1``, ``sentence2`` and ``label``. ``xcopa``: JSON lines, or the hub's Parquet, of
        ``idx``, ``premise``, ``question``, ``choice1``, ``choice2`` and ``label``.
        ``xstorycloze``: a table with ``InputStoryid``, ``InputSentence1`` to ``4``,
        ``RandomFifthSentenceQuiz1`` and ``2``, and ``AnswerRightEnding``. ``xwinograd``: the one
        table of all languages, without a header. Cells of tables are never quoted.
    parts
        By split, ``train`` (the demonstrations) and ``test``: the name of its file, and from where
        to where in [0, 1) the hashes of the ids lie that it takes; of xwinograd, which has no
        demonstrations of its own, the hashes of the two choices, so that sentences which differ in
        a word, wherever it stands, stay together.
    codes
        What xwinograd calls each language.

    Returns
    -------
    table
        ``language``, ``split`` (``demonstrations`` or ``test``), ``example`` (its id: the same item
        in every language, except of xwinograd), ``label``, an index of the choices from 0, and the
        task's `FIELDS`. The choices of xnli are entailment, neutral and contradiction; those of
        pawsx are another meaning and the same meaning. Of xwinograd a choice between ``before`` and
        ``after`` makes the sentence. Texts are in Unicode NFC, without white space around them.
    counts
        A row per language and split: of all rows of the language in the split's file, how many were
        ``found``, and of these left out as ``unlabelled`` (of xnli), ``placeholder`` (of pawsx) or
        ``empty``, of which a field has no text; ``replaced``, with the character U+FFFD that stands
        where text was lost, which are kept; ``duplicates``, demonstrations that are also tested, of
        pawsx in whichever order, and left out; the ``rows`` of the split, and how many of them have
        each label.

    Raises
    ------
    BabelscopeError
        If a language has no file, a column is missing, a label is no choice, an id is there twice,
        or a split is left without an example; with file and line.

    References
    ----------
    Conneau et al. (2018), XNLI; Yang et al. (2019), PAWS-X; Ponti et al. (2020), XCOPA; Lin et al.
    (2022), XStoryCloze; Tikhonov & Ryabinin (2021), the cross-lingual Winograd schemas.
    """
    read: dict[tuple[str, str], tuple[list[Item], Counter[str]]] = {}
    for (language, name), (file, *_) in by_place(files).items():
        need_file(file, language)
        read[language, name] = _read(file, format, language, codes.get(language, language))
    rows: list[tuple[Any, ...]] = []
    counts: list[dict[str, Any]] = []
    for language in dict.fromkeys(language for language, _ in read):
        chosen: dict[str, list[Item]] = {}
        for split, part in SPLITS.items():
            name, low, high = parts[part]
            items = read[language, name][0]
            chosen[split] = [item for item in items if within(_group(item, format), low, high)]
        tested = {_content(item, format) for item in chosen["test"]}
        new = [item for item in chosen["demonstrations"] if _content(item, format) not in tested]
        repeated = {"demonstrations": len(chosen["demonstrations"]) - len(new), "test": 0}
        if repeated["demonstrations"]:
            logger.warning("%s: some demonstrations are also tested: %s", language, repeated)
        chosen["demonstrations"] = new
        for split, items in chosen.items():
            name = parts[SPLITS[split]][0]
            count = {**read[language, name][1], "duplicates": repeated[split], "rows": len(items)}
            if not items:
                raise BabelscopeError(
                    f"{files[f'{language}/{name}']} leaves no example in {language} for the"
                    f" {split}: {count}.",
                    "Change splits or languages of the corpus in config/corpora.tsv, or add data.",
                )
            labels = Counter(label for _, _, label in items)
            for label in range(CHOICES[format]):
                count[f"label {label}"] = labels[label]
            counts.append({"language": language, "split": split, **count})
            rows += [(language, split, name, label, *fields) for name, fields, label in items]
    columns = ["language", "split", "example", "label", *FIELDS[format]]
    return pd.DataFrame(rows, columns=pd.Index(columns)), counts


def _group(item: Item, format: str) -> str:
    """Return what the split of an example in a shared file follows from."""
    name, fields, _ = item
    return "\n".join(sorted(map(str.lower, fields[2:]))) if format == "xwinograd" else name


def _content(item: Item, format: str) -> Hashable:
    """Return what two examples have in common that ask the same."""
    return frozenset(item[1]) if format == "pawsx" else item[1]


def _read(file: str, format: str, language: str, code: str) -> tuple[list[Item], Counter[str]]:
    """Return the examples of a language that are complete, and what was counted."""
    if format == "xnli":
        return _read_nli(file, language)
    counts = Counter(dict.fromkeys(COUNTED, 0))
    items: dict[str, Item] = {}
    for place, name, fields, label in _READERS[format](file, code):
        counts["found"] += 1
        if label not in LABELLED[format]:
            raise BabelscopeError(
                f"{place}: the label {label} is not one of {', '.join(LABELLED[format])}.", REPAIR
            )
        if name in items:
            raise BabelscopeError(
                f"{place}: the id {name} is there twice.", "Give every example its own id."
            )
        if format == "pawsx" and PLACEHOLDER in fields:
            counts["placeholder"] += 1
        elif not _is_complete(fields, format):
            counts["empty"] += 1
        else:
            counts["replaced"] += any("\ufffd" in text for text in fields)
            items[name] = name, fields, LABELLED[format].index(label)
    _warn(file, counts)
    return list(items.values()), counts


def _is_complete(fields: tuple[str, ...], format: str) -> bool:
    """Tell whether every field has text; one of xwinograd may begin or end with the pronoun."""
    if format == "xwinograd":
        before, after, *choices = fields
        return all(text.strip() for text in (before + after, *choices))
    return all(fields)


def _warn(file: str, counts: Mapping[str, int]) -> None:
    left_out = {what: counts[what] for what in COUNTED[1:] if counts[what]}
    if left_out:
        logger.warning("%s: of %d examples: %s", file, counts["found"], left_out)


def _read_nli(file: str, language: str) -> tuple[list[Item], Counter[str]]:
    table, counts = read_nli(file, format="tsv", language=language, id_column="")
    columns = [table[name].tolist() for name in ("sent_id", *FIELDS["xnli"], "label")]
    items = [
        (name, (normalized(premise), normalized(hypothesis)), LABELS.index(label))
        for name, premise, hypothesis, label in zip(*columns, strict=True)
    ]
    return items, Counter({what: counts.get(what, 0) for what in COUNTED})


def _read_pawsx(file: str, code: str) -> Iterator[Found]:
    for place, row in read_tsv(file, ("id", "sentence1", "sentence2", "label")):
        fields = normalized(row["sentence1"]), normalized(row["sentence2"])
        yield place, row["id"], fields, row["label"].strip()


def _read_xcopa(file: str, code: str) -> Iterator[Found]:
    for place, row in read_dataset(file):
        fields = tuple(find_text(row, (name,), place) for name in FIELDS["xcopa"])
        if fields[1] not in QUESTIONS:
            raise BabelscopeError(
                f"{place}: the question is {fields[1]!r}, not {' or '.join(QUESTIONS)}.", REPAIR
            )
        name, label = (str(find_cell(row, (key,), place)) for key in ("idx", "label"))
        yield place, name, fields, label


def _read_xstorycloze(file: str, code: str) -> Iterator[Found]:
    for place, row in read_tsv(file):
        name, *told, one, other, label = (find_text(row, names, place) for names in STORY)
        yield place, name, (" ".join(told) if all(told) else "", one, other), label


def _read_xwinograd(file: str, code: str) -> Iterator[Found]:
    header = ("language", "source", "original", "sentence", "tokens", "pronoun", "candidates")
    for number, (place, row) in enumerate(read_tsv(file, header=header), start=1):
        if row["language"] != code:
            continue
        try:
            tokens, (_, span, _), candidates = (decode_json(row[name]) for name in header[4:])
            (one, *_, first), (other, *_, second) = candidates
            before, after = _around(row["sentence"], tokens, *span)
            fields = before.lstrip(), after.rstrip(), normalized(one), normalized(other)
            labels = int(first), int(second)
            label = "both or none" if labels[0] == labels[1] else str(labels[1])
        except (ValueError, TypeError, LookupError) as error:
            raise BabelscopeError(
                f"{place}: neither a pronoun nor two candidates can be made out ({error}).", REPAIR
            ) from error
        yield place, str(number), fields, label


def _around(sentence: str, tokens: Sequence[str], start: int, stop: int) -> tuple[str, str]:
    """Return what stands in a sentence before and after some of its tokens, in Unicode NFC."""
    places, at = [], 0
    for token in tokens:
        found = re.compile(QUOTES.get(token) or re.escape(token)).search(sentence, at)
        if not found:
            raise ValueError(f"{token} is not in the sentence")
        places.append(found.span())
        at = found.end()
    before, after = sentence[: places[start][0]], sentence[places[stop - 1][1] :]
    return unicodedata.normalize("NFC", before), unicodedata.normalize("NFC", after)


_READERS: dict[str, Callable[[str, str], Iterator[Found]]] = {
    "pawsx": _read_pawsx,
    "xcopa": _read_xcopa,
    "xstorycloze": _read_xstorycloze,
    "xwinograd": _read_xwinograd,
}
