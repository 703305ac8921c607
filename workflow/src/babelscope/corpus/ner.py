"""Corpora of named entities in several formats as one table: tokens and their IOB2 tags."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from babelscope.corpus.rows import read_dataset
from babelscope.errors import BabelscopeError
from babelscope.io import read_lines

logger = logging.getLogger(__name__)

TAG = re.compile(r"O|[BI]-.+")
PREFIX = re.compile(r"[a-z][a-z-]+:")
ROW = "Repair that row, or fetch the file again."


class Sentence(NamedTuple):
    """A sentence as it stands in a file: an id if it has one, tokens, tags, and their places."""

    name: str | None
    tokens: list[str]
    tags: list[str]
    places: list[str]


def read_ner(
    path: str | Path, *, format: str, language: str, types: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Read a file of sentences with tagged entities into one row per sentence.

    Parameters
    ----------
    path
        The file, plain, ``.xz`` or ``.zst``.
    format
        ``panx``: a token, a tab and its tag per line, an empty line after a sentence; where tokens
        begin with the language and a colon (``en:word``), as in WikiANN, that is taken off.
        ``conll``: cells between tabs, or else between spaces, the token first and the tag last;
        lines ``# ...`` before a sentence are comments and ``# sent_id = ...`` its id;
        ``-DOCSTART-`` is no sentence. ``datasets``: see
        :func:`~babelscope.corpus.rows.read_dataset`, with the columns ``tokens`` and ``ner_tags``
        or ``tags``.
    language
        Code of the language.
    types
        The types of entities there are, such as ``PER``.

    Returns
    -------
    table
        ``sent_id`` (the file's own, or the number of the sentence from 1), ``tokens`` and ``tags``,
        two lists of equal length. Tokens are as in the file, without any normalization.
    counts
        ``found`` sentences; ``repaired`` tags; ``replaced`` tokens, with the character U+FFFD that
        stands where text was lost.

    Raises
    ------
    BabelscopeError
        If a row lacks its token or tag, a tag is not O, B- or I- with one of the types, tokens and
        tags differ in number, most tokens of a file begin with a language and a colon but not all
        with this one, an id repeats, there is no sentence, or the text is not UTF-8; with
        file and line.

    Notes
    -----
    Tags are returned as IOB2. An ``I-X`` that follows no ``B-X`` or ``I-X``, an error or the older
    scheme IOB1, begins an entity in ``seqeval``'s default mode, by which published scores were
    made; it becomes ``B-X`` here, and is counted.
    """
    if format == "panx":
        sentences = _without_prefix(list(_read_lines(path, _panx_cells)), f"{language}:")
    elif format == "conll":
        sentences = _read_lines(path, _conll_cells)
    elif format == "datasets":
        sentences = _read_dataset(path)
    else:
        raise ValueError(f"no reader of entities for the format {format!r}")
    allowed = {"O", *(f"{mark}-{kind}" for kind in types for mark in "BI")}
    rows: dict[str, tuple[list[str], list[str]]] = {}
    repaired = replaced = 0
    for number, sentence in enumerate(sentences, start=1):
        name = sentence.name or str(number)
        if name in rows:
            raise BabelscopeError(
                f"{sentence.places[0]}: the id {name} is there twice.",
                "Give every sentence its own id.",
            )
        _check(sentence, allowed)
        tags = to_iob2(sentence.tags)
        repaired += sum(old != new for old, new in zip(sentence.tags, tags, strict=True))
        replaced += sum("\ufffd" in token for token in sentence.tokens)
        rows[name] = sentence.tokens, tags
    if not rows:
        raise BabelscopeError(f"{path} holds no sentence.", "Fetch it again, or correct its path.")
    if repaired:
        logger.warning("%s: %d tags I- that begin an entity are read as B-", path, repaired)
    if replaced:
        logger.warning("%s: %d tokens with the character U+FFFD", path, replaced)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=pd.Index(["tokens", "tags"]))
    counts = {"found": len(rows), "repaired": repaired, "replaced": replaced}
    return table.rename_axis("sent_id").reset_index(), counts


def to_iob2(tags: Sequence[str]) -> list[str]:
    """Return tags with a ``B-`` wherever an entity begins, as ``seqeval`` reads them by default."""
    fixed = []
    before = ""  # the type of the tag before; none for O
    for tag in tags:
        kind = tag[2:]
        fixed.append(f"B-{kind}" if tag.startswith("I-") and kind != before else tag)
        before = kind
    return fixed


def _check(sentence: Sentence, allowed: set[str]) -> None:
    if not sentence.tokens or len(sentence.tokens) != len(sentence.tags):
        raise BabelscopeError(
            f"{sentence.places[0]}: {len(sentence.tokens)} tokens and {len(sentence.tags)} tags.",
            ROW,
        )
    for token, tag, place in zip(*sentence[1:], strict=True):
        if not isinstance(token, str) or not token.strip():
            raise BabelscopeError(f"{place}: the token is empty.", ROW)
        if not isinstance(tag, str) or tag not in allowed:
            raise BabelscopeError(
                f"{place}: the tag {tag!r} is not one of {', '.join(sorted(allowed))}.",
                "Repair it, or correct the types of the corpus in config/corpora.tsv.",
            )


def _panx_cells(line: str) -> list[str]:
    return line.split("\t")


def _conll_cells(line: str) -> list[str]:
    cells = line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))
    return [cells[0], *cells[1:][-1:]]


def _read_lines(path: str | Path, cells_of: Callable[[str], list[str]]) -> Iterator[Sentence]:
    """Yield the sentences of a file with one token per line."""
    comments = cells_of is _conll_cells
    sentence = Sentence(None, [], [], [])
    for number, line in enumerate(read_lines(path), start=1):
        cells = cells_of(line)
        if not line.strip() or (comments and cells[0] == "-DOCSTART-"):
            if sentence.tokens:
                yield sentence
            sentence = Sentence(None, [], [], [])
        elif comments and not sentence.tokens and _is_comment(line, cells):
            key, _, value = line[1:].partition("=")
            if key.strip() == "sent_id":
                sentence = sentence._replace(name=value.strip())
        elif len(cells) != 2:
            raise BabelscopeError(
                f"{path}, line {number}: {len(cells)} columns; a token and a tag are needed.", ROW
            )
        else:
            sentence.tokens.append(cells[0])
            sentence.tags.append(cells[1])
            sentence.places.append(f"{path}, line {number}")
    if sentence.tokens:
        yield sentence


def _is_comment(line: str, cells: list[str]) -> bool:
    """Tell a comment from a sentence that begins with the token ``#``, which has a tag."""
    return (
        cells[0] == "#" and ("\t" not in line) and (" = " in line or not TAG.fullmatch(cells[-1]))
    )


def _without_prefix(sentences: list[Sentence], prefix: str) -> list[Sentence]:
    """Return the sentences without the language's prefix, if their tokens have it."""
    tokens = [
        (token, place) for one in sentences for token, place in zip(one[1], one[3], strict=True)
    ]
    begins = Counter(found[0] for token, _ in tokens if (found := PREFIX.match(token)))
    common, count = max(begins.items(), key=lambda item: item[1], default=("", 0))
    if 2 * count <= len(tokens):
        return sentences
    for token, place in tokens:
        if common != prefix or not token.startswith(prefix):
            raise BabelscopeError(
                f"{place}: the token {token!r} does not begin with {prefix}, but most tokens of the"
                f" file begin with {common}.",
                "Repair it, or give every language its own file.",
            )
    return [
        one._replace(tokens=[token.removeprefix(prefix) for token in one.tokens])
        for one in sentences
    ]


def _read_dataset(path: str | Path) -> Iterator[Sentence]:
    for place, row in read_dataset(path):
        tokens, tags = row.get("tokens"), row.get("ner_tags", row.get("tags"))
        if not isinstance(tokens, list) or not isinstance(tags, list):
            raise BabelscopeError(
                f"{place}: lists of tokens and of ner_tags are needed; the row has"
                f" {', '.join(row)}.",
                "Rename the columns to tokens and ner_tags.",
            )
        yield Sentence(None, tokens, tags, [place] * max(len(tokens), 1))
