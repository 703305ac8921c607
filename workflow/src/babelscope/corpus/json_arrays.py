"""Long arrays of JSON objects, read one object at a time."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from babelscope.errors import BabelscopeError
from babelscope.io import check_characters, json_explained, open_text

CHUNK = 2**18  # characters read at a time
LONGEST = 2**24  # characters of an object; each chunk of one is read from its beginning
CUT = 16  # last characters of what was read in which a word or an escape may be cut in two
SPACE = " \t\n\r"
VISIBLE = re.compile(f"[^{SPACE}]")
DECODER = json.JSONDecoder()


def read_json_objects(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of an array, or of JSON lines; no more is held than a chunk and an object.

    Parameters
    ----------
    path
        UTF-8, plain, ``.gz``, ``.xz`` or ``.zst``, with or without a byte-order mark.

    Yields
    ------
    place, object
        The place is the file and the number of the object, from 1.

    Raises
    ------
    BabelscopeError
        If the file is not JSON, with line and column, an element is no object, or an object has
        more than 16 million characters, as where a quotation mark is missing.
    """
    with open_text(path) as file:
        text = _Text(file, path)
        objects = _array(text) if text.peek() == "[" else _lines(text)
        for number, value in enumerate(objects, start=1):
            yield f"{path}, object {number}", value


def _lines(text: "_Text") -> Iterator[dict[str, Any]]:
    while text.peek():
        yield text.take_object()


def _array(text: "_Text") -> Iterator[dict[str, Any]]:
    text.take("[")
    if text.peek() != "]":
        yield text.take_object()
        while text.peek() == ",":
            text.take(",")
            yield text.take_object()
    text.take("]")
    if text.peek():
        raise text.refused("there is more after the end of the array")


class _Text:
    """The text of a file, from which values are taken one after the other."""

    def __init__(self, file: io.TextIOBase, path: str | Path) -> None:
        self._file, self._path = file, path
        self._text, self._at = file.read(CHUNK).removeprefix("\ufeff"), 0
        self._line, self._column = 1, 1  # of the first character that is held

    def peek(self) -> str:
        """Return the next character that is no white space, or nothing at the end."""
        while True:
            found = VISIBLE.search(self._text, self._at)
            self._at = found.start() if found else len(self._text)
            if found or not self._read_on():
                return found[0] if found else ""

    def take(self, wanted: str) -> None:
        """Go past a character, which must be the next."""
        if self.peek() != wanted:
            raise self.refused(f"{wanted} is missing")
        self._at += 1

    def take_object(self) -> dict[str, Any]:
        """Return the object that begins here, and go past it."""
        if self.peek() != "{":
            raise self.refused("an object is missing")
        while True:
            try:
                with json_explained():
                    value, end = DECODER.raw_decode(self._text, self._at)
                    check_characters(self._text[self._at : end], value)
                self._at = end
                return value
            except json.JSONDecodeError as error:
                cut = error.pos >= len(self._text) - CUT or error.msg.startswith("Unterminated")
                longest = len(self._text) - self._at > LONGEST
                if longest or not (cut and self._read_on()):
                    self._at = error.pos
                    raise self.refused(error.msg) from error
            except ValueError as error:
                raise self.refused(str(error)) from error

    def refused(self, why: str) -> BabelscopeError:
        """Return the error that what stands here is no JSON."""
        line, column = self._position()
        return BabelscopeError(
            f"{self._path}, line {line}, column {column}: not JSON ({why}).",
            "Fetch the file again, or repair it there.",
        )

    def _position(self) -> tuple[int, int]:
        """Return line and column of the next character."""
        breaks = self._text.count("\n", 0, self._at)
        if breaks:
            return self._line + breaks, self._at - self._text.rfind("\n", 0, self._at)
        return self._line, self._column + self._at

    def _read_on(self) -> bool:
        """Hold the next chunk and let go of what was taken; tell whether there was a chunk."""
        chunk = self._file.read(CHUNK)
        if chunk:
            self._line, self._column = self._position()
            self._text, self._at = self._text[self._at :] + chunk, 0
        return bool(chunk)
