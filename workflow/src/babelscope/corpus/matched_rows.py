"""Rows that belong together by their id, kept on disk however the files order them."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from babelscope.corpus.rows import REPAIR, Place
from babelscope.errors import BabelscopeError

CACHE = 2**15  # kB of the database that are held in memory


class MatchedRows:
    """Three texts per id and language; the ids that every language has are numbered.

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
        self._database = sqlite3.connect(path, isolation_level=None)
        for statement in (
            "pragma journal_mode = off",
            "pragma synchronous = off",
            f"pragma cache_size = -{CACHE}",
            "create table texts (id text, language text, first text, second text, third text)",
            "create unique index place on texts (id, language)",
            "create table matched (number integer primary key, id text)",
            "begin",
        ):
            self._run(statement)

    def add(self, name: str, language: str, texts: tuple[str, str, str], place: Place) -> None:
        """Keep the texts of an id in a language.

        Raises
        ------
        BabelscopeError
            If they are there already, or hold what is no Unicode.
        """
        try:
            self._run("insert into texts values (?, ?, ?, ?, ?)", name, language, *texts)
        except sqlite3.IntegrityError as error:
            raise BabelscopeError(
                f"{place}: the id {name} is there twice.", "Give every row its own id."
            ) from error
        except UnicodeEncodeError as error:
            raise BabelscopeError(f"{place}: half a character ({error}).", REPAIR) from error

    def match(self, languages: int) -> Iterator[tuple[int, str]]:
        """Give numbers from 1 to the ids that so many languages have, and yield both."""
        self._run(
            "insert into matched (id) select id from texts group by id having count(*) = ?"
            " order by id",
            languages,
        )
        yield from self._run("select number, id from matched order by number")

    def equal(self, language: str, other: str) -> Iterator[int]:
        """Yield the numbers of the ids whose first texts are the same in two languages."""
        found = self._run(
            "select number from matched"
            " join texts as one on one.id = matched.id and one.language = ?"
            " join texts as two on two.id = matched.id and two.language = ?"
            " where one.first = two.first",
            language,
            other,
        )
        return (number for (number,) in found)

    def find(self, number: int, language: str) -> tuple[str, str, str, str]:
        """Return the id of a number and its texts in a language."""
        return self._run(
            "select texts.id, first, second, third from matched join texts using (id)"
            " where number = ? and language = ?",
            number,
            language,
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
