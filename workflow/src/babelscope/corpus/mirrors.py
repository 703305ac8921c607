"""Files of a mirror: resumed where a connection broke, and not trusted before they are verified."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

from requests import Response

from babelscope.corpus.answers import length_of, range_of, total_of, validator_of
from babelscope.corpus.servers import MEBIBYTE, Patience, Server, TransientError, blocks
from babelscope.corpus.verification import check_space, doubt, full_disk_explained, mismatch
from babelscope.errors import BabelscopeError
from babelscope.io import decode_json, write_json
from babelscope.progress import progress

logger = logging.getLogger(__name__)

SMALL = 64 * MEBIBYTE  # bytes; status files and listings are far below
OTHER = "Run the same command again; if it stays, set another dumps.source or dumps.date."


class Mirror:
    """A web server with files, named by their path below one URL.

    Parameters
    ----------
    url, contact, patience
        As for :class:`~babelscope.corpus.servers.Server`.
    """

    def __init__(self, url: str, contact: str | None, patience: Patience) -> None:
        self._server = Server(url, contact, patience)
        self._versions: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Return the mirror itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the connections."""
        self._server.close()

    def locate(self, path: str) -> str:
        """Return the URL of a file."""
        return self._server.locate(path)

    def read(self, path: str) -> bytes | None:
        """Return a small file's content, or None if there is no such file."""

        def attempt() -> bytes | None:
            with self._server.ask(path, {200, 404, 410}) as response:
                if response.status_code != 200:
                    return None
                content = bytearray()
                for block in blocks(response):
                    content += block
                    if len(content) > SMALL:
                        raise BabelscopeError(
                            f"{self.locate(path)} is larger than {SMALL // MEBIBYTE} MiB.",
                            "Check dumps.source: this is not the list of a dump's files.",
                        )
                return bytes(content)

        return self._server.persist(path, attempt)

    def dates(self, path: str) -> list[str]:
        """Return the dates (YYYYMMDD) that a folder's listing shows; none if it has no listing."""
        try:
            listing = self.read(f"{path}/")
        except BabelscopeError:
            return []
        links = re.findall(rb'href="(?:[^"]*/)?(\d{8})/?"', listing or b"")
        return sorted({link.decode() for link in links})

    def size(self, path: str) -> int | None:
        """Return the bytes of a file as the server announces them, or None if it does not."""

        def attempt() -> int | None:
            with self._server.ask(path, {200}, method="HEAD") as response:
                return length_of(response)

        return self._server.persist(path, attempt)

    def fetch(self, path: str, target: Path, *, size: int | None, checksum: str) -> None:
        """Bring a file to `target`, continuing what an earlier run left beside it.

        Parameters
        ----------
        path
            The file, below the mirror's URL.
        target
            Where it goes. ``<target>.part`` and ``<target>.part.json`` hold what has arrived; a
            file that fails verification ends as ``<target>.bad``.
        size
            Bytes it must have; None if nobody knows.
        checksum
            SHA-1 or SHA-256, in hexadecimal.

        Raises
        ------
        BabelscopeError
            If the server does not deliver, or delivers something else.

        Notes
        -----
        A server that ignores ``If-Range`` may glue a new file onto the old one's first half. A file
        that was put together from several answers and fails verification is therefore fetched once
        more from its start.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and mismatch(target, target.name, size, checksum) is None:
            return
        part = _beside(target, ".part")
        glued = False

        def attempt() -> None:
            nonlocal glued
            have = part.stat().st_size if part.exists() else 0
            glued = glued or have > 0
            try:
                self._continue(path, target, size, checksum)
            except TransientError as problem:
                problem.progressed = part.exists() and part.stat().st_size > have
                raise

        for last in (False, True):
            with full_disk_explained(part):
                self._server.persist(path, attempt)
            problem = mismatch(part, target.name, size, checksum)
            if problem is None:
                part.replace(target)
                _note(target).unlink(missing_ok=True)
                return
            bad = _beside(target, ".bad")
            part.replace(bad)
            _note(target).unlink(missing_ok=True)
            if last or not glued:
                raise BabelscopeError(f"{self.locate(path)} {problem}; it is kept as {bad}.", OTHER)
            logger.warning("%s %s; fetching it from its start", self.locate(path), problem)

    def read_range(self, path: str, start: int, stop: int, size: int) -> bytes:
        """Return the bytes [start, stop) of a file of `size` bytes.

        Raises
        ------
        BabelscopeError
            If the server knows no ranges, or the file changes between two calls.
        """

        def attempt() -> bytes:
            headers = {"Range": f"bytes={start}-{stop - 1}"}
            with self._server.ask(path, {200, 206, 416}, headers) as response:
                if response.status_code == 200:
                    raise BabelscopeError(
                        f"{self.locate(path)}: the server does not answer requests for ranges.",
                        "Set dumps.sampling: whole, or another dumps.source.",
                    )
                version = validator_of(response)
                known = self._versions.setdefault(path, version)
                if range_of(response) != (start, stop, size) or version != known:
                    raise BabelscopeError(
                        f"{self.locate(path)} is not the file that the dump's list describes, or"
                        " changed while it was read.",
                        OTHER,
                    )
                content = b"".join(blocks(response))
                if len(content) != stop - start:
                    raise TransientError(f"{len(content)} of {stop - start} bytes came")
                return content

        return self._server.persist(path, attempt)

    def _continue(self, path: str, target: Path, size: int | None, checksum: str) -> None:
        """Fetch what is missing of a file, or all of it, in one request."""
        part = _beside(target, ".part")
        have, version = _kept(target, checksum)
        if have and have == size:
            return
        headers = {"Range": f"bytes={have}-", "If-Range": version} if have else {}
        with self._server.ask(path, {200, 206, 416}, headers) as response:
            status = response.status_code
            if status == 416 and size is None and total_of(response) == have:
                return
            if status == 416 or (status == 206 and not _fits(response, have, size, version)):
                part.unlink(missing_ok=True)
                raise TransientError("the first part that is here belongs to another file")
            begin = have if status == 206 else 0
            self._check_length(path, response, begin, size)
            check_space(part.parent, (size or 0) - begin)
            first = b"" if begin else self._first_bytes(path, response)
            if not begin:
                _note(target).unlink(missing_ok=True)
                part.write_bytes(b"")
                note = {"checksum": checksum, "validator": validator_of(response)}
                write_json(_note(target), note)
            limit = None if size is None else size - begin
            with part.open("ab") as file:
                steps = _copy(response, first, file, limit)
                for _ in progress(steps, f"{target.name} (MiB)", limit and limit // MEBIBYTE):
                    pass
        if size is not None and part.stat().st_size < size:
            raise TransientError(f"the connection ended at byte {part.stat().st_size} of {size}")

    def _check_length(self, path: str, response: Response, begin: int, size: int | None) -> None:
        """Refuse a body whose announced length cannot make the file."""
        announced = length_of(response)
        if size is not None and announced is not None and begin + announced != size:
            raise BabelscopeError(
                f"{self.locate(path)} would have {begin + announced} bytes instead of {size}.",
                "The mirror may be copying it now: try later, or set another dumps.source.",
            )

    def _first_bytes(self, path: str, response: Response) -> bytes:
        """Read the beginning of a body, and refuse what is no archive before it is written."""
        first = response.raw.read(8, decode_content=False)
        if not first:
            raise TransientError("the answer is empty")
        page = "html" in response.headers.get("Content-Type", "")
        reason = "is an HTML page instead of an archive" if page else doubt(path, first)
        if reason:
            raise BabelscopeError(
                f"{self.locate(path)} {reason}.",
                "Open the address in a browser: a proxy, a login or an error page may be between.",
            )
        return first


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(target.name + suffix)


def _note(target: Path) -> Path:
    """Return the file that says to which version of a file its partial download belongs."""
    return _beside(target, ".part.json")


def _kept(target: Path, checksum: str) -> tuple[int, str]:
    """Return the bytes of a partial download that can be continued, and their validator.

    Without its note, or without a validator, nobody knows which file the bytes belong to.
    """
    try:
        note = decode_json(_note(target).read_text("utf-8"))
        have = _beside(target, ".part").stat().st_size
        known, validator = note["checksum"], str(note["validator"])
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return 0, ""
    return (have, validator) if known == checksum and validator else (0, "")


def _fits(response: Response, have: int, size: int | None, version: str) -> bool:
    """Tell whether an answer continues just the file whose first part is here."""
    found = range_of(response)
    return (
        found is not None
        and found[0] == have
        and found[1] == found[2]
        and size in (None, found[2])
        and validator_of(response) in ("", version)
    )


def _copy(response: Response, first: bytes, file: BinaryIO, limit: int | None) -> Iterator[int]:
    """Write a body as it arrives and yield once per MiB; stop soon after `limit` bytes."""
    file.write(first)
    written, marked = len(first), 0
    for block in blocks(response):
        file.write(block)
        written += len(block)
        while marked < written // MEBIBYTE:
            marked += 1
            yield marked
        if limit is not None and written > limit:
            return
