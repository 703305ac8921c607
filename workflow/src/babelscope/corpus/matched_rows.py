"""Rows that belong together by their id, kept on disk however the files order them."""

import sqlite3
from array import array
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from babelscope.corpus.rows import Place
from babelscope.errors import BabelscopeError

CACHE = 2**15  # kB of the database that are held in memory


class MatchedRows:
    """Three texts per id and language; the ids that every language has are numbered from 0.

    In memory are four bytes for each of these, per language.

    Parameters
    ----------
    path
        A new file for them.

    Raises
    ------
    BabelscopeError
        From every method, if the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[str, array[int]] = {}
        self._database = sqlite3.connect(path, isolation_level=None)
        for statement in (
            "pragma journal_mode = off",
            "pragma synchronous = off",
            f"pragma cache_size = -{CACHE}",
            "create table texts (id text, language text, first text, second text, third text)",
            "create unique index place on texts (id, language)",
            "begin",
        ):
            self._run(statement)

    def add(self, name: str, language: str, texts: tuple[str, str, str], place: Place) -> None:
        """Keep the texts of an id in a language.

        Raises
        ------
        BabelscopeError
            If they are there already.
        """
        try:
            self._run("insert into texts values (?, ?, ?, ?, ?)", name, language, *texts)
        except sqlite3.IntegrityError as error:
            raise BabelscopeError(
                f"{place}: the id {name} is there twice.", "Give every row its own id."
            ) from error

    def match(self, languages: Sequence[str]) -> Iterator[str]:
        """Yield the ids that all these languages have, sorted; they are numbered in that order."""
        self._places = {language: array("I") for language in languages}
        rows = self._run("select id, language, rowid from texts order by id")
        for name, group in groupby(rows, key=itemgetter(0)):
            places = {language: place for _, language, place in group}
            if self._places.keys() <= places.keys():
                for language, found in self._places.items():
                    found.append(places[language])
                yield name

    def equal(self, language: str, other: str) -> Iterator[bool]:
        """Yield, number by number, whether the first texts of two languages are the same."""
        for places in zip(self._places[language], self._places[other], strict=True):
            found = self._run(
                "select one.first = two.first from texts as one, texts as two"
                " where one.rowid = ? and two.rowid = ?",
                *places,
            )
            yield bool(found.fetchone()[0])

    def find(self, number: int, language: str) -> tuple[str, str, str, str]:
        """Return the id of a number and its texts in a language."""
        place = self._places[language][number]
        return self._run(
            "select id, first, second, third from texts where rowid = ?", place
        ).fetchone()

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def _run(self, statement: str, *values: Any) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.OperationalError as error:
            raise BabelscopeError(
                f"{self._path} could not be written: {error}.",
                "Free space, or work in another folder (--directory); then run the command again.",
            ) from error
