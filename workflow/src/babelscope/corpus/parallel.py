"""Parallel corpora of several formats as one table: an id and a sentence in each language."""

import logging
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from babelscope.corpus.rows import need_columns, read_tsv
from babelscope.errors import BabelscopeError
from babelscope.io import read_json, read_jsonl, read_lines

logger = logging.getLogger(__name__)

SHOWN = 5  # missing translations that an error lists

Source = str | Path | Mapping[str, str]
ONE_PER_LANGUAGE = {"moses", "conllu"}  # formats that keep a file per language
Row = tuple[str, dict[str, str | None]]  # id, sentence by language


def read_parallel(
    path: Source,
    languages: Sequence[str],
    *,
    format: str,
    id_column: str,
    missing: str,
    columns: Sequence[str] = (),
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read a parallel corpus into one row per sentence.

    Parameters
    ----------
    path
        The file. For ``moses`` and ``conllu``, which have one per language: each language's file,
        or a path with ``{lang}``.
    languages
        Codes that all must be in the corpus.
    format
        ``tsv``: a header of codes, tabs between cells, no quoting. ``jsonl``: an object per line,
        by code. ``json``: a list of such objects, the shape of the published Bible
        file. ``moses``: plain text, line n of one file belongs to line n of the others. ``conllu``:
        the ``# text`` comments, aligned by ``# sent_id``. ``opus``: `tsv` without a header, as OPUS
        exports two languages. Files may be ``.xz`` or ``.zst``.
    id_column
        Column or key of the sentence's id in tsv, jsonl and json; empty: rows are numbered from 1,
        as the lines of ``moses`` are.
    missing
        What to do with a sentence that lacks a translation: ``refuse``, or ``drop`` it in all.
    columns
        The languages of the columns of ``opus``, in their order.

    Returns
    -------
    table
        Columns ``sent_id`` and the languages in the order given; sentences in Unicode NFC, without
        white space around them. Rows in the order of the file; for ``conllu``, of the first one.
    counts
        ``rows`` found, ``kept``, ``dropped``, and ``missing`` by language.

    Raises
    ------
    BabelscopeError
        If a language's column, key or file is missing, a row is short or long, files differ in
        length, an id repeats, or a translation is missing and `missing` is ``refuse``.

    Notes
    -----
    Equal sentences in several rows are kept: which of their rows is which is a question that the
    measures must answer, and retrieval does.
    """
    if missing not in ("refuse", "drop"):
        raise ValueError(f"missing must be refuse or drop, not {missing!r}")
    kept: dict[str, list[str]] = {}
    lacking = dict.fromkeys(languages, 0)
    gaps: list[str] = []
    seen: set[str] = set()
    for sentence_id, sentences in _rows(path, languages, format, id_column, columns):
        if sentence_id in seen:
            raise BabelscopeError(
                f"{path}: the id {sentence_id} is there twice.", "Give every sentence its own id."
            )
        seen.add(sentence_id)
        row = [_normalized(sentences.get(language)) for language in languages]
        absent = [language for language, text in zip(languages, row, strict=True) if not text]
        for language in absent:
            lacking[language] += 1
            gaps.append(f"{sentence_id} in {language}")
        if not absent:
            kept[sentence_id] = row
    if gaps and missing == "refuse":
        shown = ", ".join(gaps[:SHOWN]) + (", ..." if len(gaps) > SHOWN else "")
        raise BabelscopeError(
            f"{path}: {len(gaps)} translations are missing: {shown}.",
            "Complete the corpus, or set parallel.missing: drop.",
        )
    if not kept:
        raise BabelscopeError(
            f"{path} holds no sentence that is there in {', '.join(languages)}.",
            "Check the file, or choose fewer languages.",
        )
    for gap in gaps:
        logger.warning("missing translation: %s", gap)
    table = pd.DataFrame.from_dict(kept, orient="index", columns=pd.Index(list(languages)))
    table = table.rename_axis("sent_id").reset_index()
    counts = {
        "rows": len(seen),
        "kept": len(kept),
        "dropped": len(seen) - len(kept),
        "missing": lacking,
    }
    return table, counts


def _rows(
    path: Source, languages: Sequence[str], format: str, id_column: str, columns: Sequence[str]
) -> Iterator[Row]:
    if format in ONE_PER_LANGUAGE:
        files = _files(path, languages)
        return _read_moses(files) if format == "moses" else _read_conllu(files)
    if isinstance(path, Mapping):
        raise ValueError(f"{format} has one file for all languages")
    if format == "opus":
        return _read_tsv(str(path), languages, id_column="", header=columns)
    readers = {"tsv": _read_tsv, "jsonl": _read_jsonl, "json": _read_json}
    return readers[format](str(path), languages, id_column)


def _normalized(text: str | None) -> str:
    return unicodedata.normalize("NFC", text).strip() if text else ""


def _read_tsv(
    path: str, languages: Sequence[str], id_column: str, header: Sequence[str] | None = None
) -> Iterator[Row]:
    needed = [*languages, *([id_column] if id_column else [])]
    for number, (_, row) in enumerate(read_tsv(path, needed, header=header), start=1):
        yield row[id_column] if id_column else str(number), dict(row)


def _read_objects(
    path: str, objects: Iterator[Any], languages: Sequence[str], id_column: str
) -> Iterator[Row]:
    """Yield the rows of objects keyed by language."""
    present: dict[str, None] = {}
    for number, item in enumerate(objects, start=1):
        where = f"{path}, object {number}"
        if not isinstance(item, dict):
            raise BabelscopeError(f"{where}: not an object.", "Write objects keyed by language.")
        present |= dict.fromkeys(item)
        wrong = [key for key in languages if not isinstance(item.get(key), str | None)]
        if wrong:
            raise BabelscopeError(f"{where}: {wrong[0]} is not a text.", "Repair that object.")
        if id_column and id_column not in item:
            raise BabelscopeError(
                f"{where}: no {id_column}; it has {', '.join(item)}.",
                "Add it, or leave id_column empty in config/corpora.tsv.",
            )
        yield str(item[id_column] if id_column else number), item
    need_columns(path, languages, list(present))


def _read_jsonl(path: str, languages: Sequence[str], id_column: str) -> Iterator[Row]:
    return _read_objects(path, read_jsonl(path), languages, id_column)


def _read_json(path: str, languages: Sequence[str], id_column: str) -> Iterator[Row]:
    objects = read_json(path)
    if not isinstance(objects, list):
        raise BabelscopeError(
            f"{path} is not a list.", "Write a list of objects keyed by language."
        )
    return _read_objects(path, iter(objects), languages, id_column)


def _files(path: Source, languages: Sequence[str]) -> dict[str, str]:
    """Return each language's file, all of them there."""
    if not isinstance(path, Mapping):
        if "{lang}" not in str(path):
            raise BabelscopeError(
                f"{path}: a corpus with one file per language needs {{lang}} in its path.",
                "Correct the path in config/corpora.tsv.",
            )
        path = {language: str(path).replace("{lang}", language) for language in languages}
    for language in languages:
        if not Path(path.get(language, "")).is_file():
            raise BabelscopeError(
                f"The corpus has no {language}: {path.get(language, 'its file')} does not exist.",
                "Correct languages, or the path in config/corpora.tsv.",
            )
    return {language: path[language] for language in languages}


def _read_moses(files: dict[str, str]) -> Iterator[Row]:
    columns = {language: list(read_lines(file)) for language, file in files.items()}
    first = next(iter(files))
    for language, lines in columns.items():
        if len(lines) != len(columns[first]):
            raise BabelscopeError(
                f"{files[first]} has {len(columns[first])} lines, {files[language]} {len(lines)}.",
                "Line n of both must be translations of each other.",
            )
    for number, texts in enumerate(zip(*columns.values(), strict=True), start=1):
        yield str(number), dict(zip(columns, texts, strict=True))


def _read_conllu(files: dict[str, str]) -> Iterator[Row]:
    columns = {language: _conllu_texts(file) for language, file in files.items()}
    ids = dict.fromkeys(sentence_id for texts in columns.values() for sentence_id in texts)
    for sentence_id in ids:
        yield sentence_id, {language: texts.get(sentence_id) for language, texts in columns.items()}


def _conllu_texts(file: str) -> dict[str, str]:
    """Return the texts of a CoNLL-U file by sentence id."""
    texts: dict[str, str] = {}
    sentence_id = ""
    for number, line in enumerate(read_lines(file), start=1):
        key, equals, value = line.removeprefix("#").partition("=")
        key, value = key.strip(), value.strip()
        if not line:
            sentence_id = ""
        elif not (line.startswith("#") and equals):
            continue
        elif key == "sent_id":
            sentence_id = value
        elif key == "text":
            if not sentence_id:
                raise BabelscopeError(
                    f"{file}, line {number}: a text without # sent_id before it.", "Add its id."
                )
            if sentence_id in texts:
                raise BabelscopeError(
                    f"{file}, line {number}: the id {sentence_id} is there twice.",
                    "Give every sentence its own id.",
                )
            texts[sentence_id] = value
    return texts
