"""Reading and writing files: whole or not at all, never by pickle.

Text is JSON lines compressed by zstandard, tables are Parquet, arrays are safetensors.
"""

import errno
import glob
import gzip
import io
import json
import lzma
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from babelscope.errors import BabelscopeError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
FAILING = (errno.EIO, errno.ESTALE)
FORBIDDEN = (errno.EACCES, errno.EPERM)
REMEDIES = {
    FULL: "Free space, or work in another folder (--directory); then run the command again.",
    FAILING: "The disk or its server fails; when it is well, run the command again.",
    FORBIDDEN: "Give yourself permission (`ls -ld` shows whose it is), or work in another folder"
    " (--directory); then run the command again.",
}
DAMAGED = (lzma.LZMAError, gzip.BadGzipFile, zlib.error, EOFError)  # what decompression raises
# Arrow's own errors are among these; pandas trusts what a table says of its columns.
DAMAGED_TABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, NotImplementedError)
ZSTD_BLOCK = 2**12  # bytes; no more than 128 MiB can come out of them, as from 4 bytes 128 KiB
SMALL, DENSEST = 2**26, 200  # bytes of text, and for each compressed byte so many more
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # an escape that needs another one to be a character


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the final name only if the block succeeds.

    The data is flushed to the device before the rename, so a killed job or a power cut leaves
    either the whole file or none. Works for files and for folders that the block creates under the
    temporary name; an existing target is replaced.
    """
    final = Path(path)
    prefix = f".{final.name}."
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        for left in final.parent.glob(f"{glob.escape(prefix)}????????"):  # by a killed job
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(
            prefix=prefix, dir=final.parent, ignore_cleanup_errors=True
        ) as scratch:
            temporary = Path(scratch, final.name)
            yield temporary
            if not temporary.exists():
                raise FileNotFoundError(f"nothing was written for {final}")
            for file in [temporary] if temporary.is_file() else sorted(temporary.rglob("*")):
                if file.is_file():
                    _fsync(file)
            if final.is_dir():
                shutil.rmtree(final)
            temporary.replace(final)
            _fsync(final.parent)
    except Exception as error:
        refuse_unwritable(error, final)
        raise


def refuse_unwritable(error: Exception, path: str | Path | None) -> None:
    """Raise an error of ours instead of one that says that a file cannot be written, or read.

    Parameters
    ----------
    error
        Of the system, or of a library that passes it on in words.
    path
        What was to be written; an error may name another file. None if nobody knows; what is
        forbidden and names no file is then left as it is, since it may be anything else.
    """
    number = _errno(error)
    remedy = next((remedy for numbers, remedy in REMEDIES.items() if number in numbers), None)
    named = getattr(error, "filename", None)
    if isinstance(named, str) and (path is None or not _is_beside(Path(named), Path(path))):
        path = named
    unknown = path is None and number in FORBIDDEN
    if remedy is None or unknown or isinstance(error, BabelscopeError):
        return
    done = "written" if number in FULL else "read or written"
    raise BabelscopeError(
        f"{path or 'A file'} could not be {done}: {os.strerror(number)}.", remedy
    ) from error


def _is_beside(path: Path, final: Path) -> bool:
    """Return whether a path is that of a file, of what will be it, or of a folder around it."""
    hidden = any(part.startswith(f".{final.name}.") for part in path.parts)
    return hidden or path == final or path in final.parents


def _errno(error: Exception) -> int:
    """Return the error number of the system; safetensors and tokenizers tell it in words only."""
    said = re.search(r"\(os error (\d+)\)", str(error))
    return int(said[1]) if said else getattr(error, "errno", None) or 0


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _ZstdFile(io.RawIOBase):
    """Decompressed bytes of a zstandard file, with an error where its end is missing.

    The library's own reader takes a file that was cut off for one that ended.
    """

    def __init__(self, raw: io.BufferedReader) -> None:
        import zstandard

        self._raw = raw
        self._new_frame = zstandard.ZstdDecompressor().decompressobj
        self._error = zstandard.ZstdError
        self._frame = self._new_frame()
        self._started = False
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            if self._frame.eof:
                rest = self._frame.unused_data
                self._frame = self._new_frame()
                self._started = False
            else:
                rest = b""
            block = rest or self._raw.read(ZSTD_BLOCK)
            if not block:
                if self._started:
                    raise EOFError("the end of the compressed data is missing")
                return 0
            self._started = True
            try:
                self._ready = memoryview(self._frame.decompress(block))
            except self._error as error:
                raise EOFError(str(error)) from error
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


class _BoundedFile(io.RawIOBase):
    """Decompressed bytes, as many as there can be in a text whose compressed size is known."""

    def __init__(self, stream: Any, most: int) -> None:
        self._stream = stream
        self._left = most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = self._stream.readinto(buffer)
        self._left -= size
        if self._left < 0:
            raise EOFError("far more comes out of it than text could be compressed to")
        return size

    def close(self) -> None:
        self._stream.close()
        super().close()


@contextmanager
def _decompressed(path: Path) -> Iterator[Any]:
    """Open a file's bytes; ``.zst``, ``.xz`` and ``.gz`` are decompressed as they are read."""
    with path.open("rb") as raw:
        if path.suffix == ".zst":
            stream: Any = _ZstdFile(raw)
        elif path.suffix == ".xz":
            stream = lzma.LZMAFile(raw)  # noqa: SIM115 (the wrappers around it close it)
        elif path.suffix == ".gz":
            stream = gzip.GzipFile(fileobj=raw)
        else:
            yield raw
            return
        most = SMALL + DENSEST * path.stat().st_size
        yield io.BufferedReader(_BoundedFile(stream, most), 2**20)


@contextmanager
def open_text(path: str | Path) -> Iterator[io.TextIOBase]:
    """Open UTF-8 text for reading; ``.zst``, ``.xz`` and ``.gz`` are decompressed meanwhile.

    Raises
    ------
    BabelscopeError
        Also while the text is read: if there is no such file, it is damaged or not UTF-8, or more
        comes out of it than text could be compressed to.
    """
    path = Path(path)
    try:
        with (
            _decompressed(path) as stream,
            io.TextIOWrapper(stream, encoding="utf-8", newline="\n") as text,
        ):
            yield text
    except FileNotFoundError as error:
        raise BabelscopeError(
            f"{path} does not exist.", "Check the path in the configuration."
        ) from error
    except (IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise BabelscopeError(
            f"{path} cannot be read: {error.strerror}.", "Check the path in the configuration."
        ) from error
    except UnicodeDecodeError as error:
        raise BabelscopeError(
            f"{path} is not UTF-8: {error.reason} in line {_undecodable_line(path)}.",
            "Convert the file to UTF-8, or fetch it again if it was damaged.",
        ) from error
    except DAMAGED as error:
        raise BabelscopeError(
            f"{path} is damaged or cut off ({error}).", "Delete it and run the same command again."
        ) from error


def _undecodable_line(path: Path) -> int:
    """Return the first line that is not UTF-8; a decoder knows only its place in some block."""
    number = 0
    with (
        suppress(*DAMAGED),
        _decompressed(path) as stream,
        io.TextIOWrapper(stream, "utf-8", errors="surrogateescape", newline="\n") as text,
    ):
        for number, line in enumerate(text, start=1):
            if re.search("[\udc80-\udcff]", line):
                return number
    return number + 1  # the line whose end is missing


def read_lines(path: str | Path) -> Iterator[str]:
    """Yield the lines of a text without their ends, and without a byte-order mark.

    Only line feeds, and carriage returns before them, end a line.

    """
    with open_text(path) as file:
        for number, line in enumerate(file):
            line = line.rstrip("\n").removesuffix("\r")
            yield line.removeprefix("\ufeff") if number == 0 else line


def decode_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises
    ------
    ValueError
        If it is not JSON, or holds half a character (a lone surrogate), a number of more digits
        than Python takes or more brackets in each other; with the reason in one line.
    """
    with json_explained():
        value = json.loads(text)
        check_characters(text, value)
        return value


@contextmanager
def json_explained() -> Iterator[None]:
    """Turn what JSON can do to Python beside not being JSON into a ValueError."""
    try:
        yield
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("half a character: a surrogate without the other one") from None


def check_characters(text: str, value: Any) -> None:
    """Raise UnicodeEncodeError if a value has half a character, which no file can hold.

    JSON can write one as an escape; only where `text` has such an escape is looked closer.
    """
    if SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode()


def read_json_lines(path: str | Path) -> Iterator[Any]:
    """Yield the JSON values of a file with one on each line, plain or compressed."""
    for number, line in enumerate(read_lines(path), start=1):
        try:
            value = decode_json(line)
        except ValueError as error:
            raise BabelscopeError(
                f"{path}, line {number}: not JSON ({error}).", "Repair or remove that line."
            ) from error
        yield value


def read_jsonl(path: str | Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a JSON-lines file, plain or compressed, one at a time."""
    for number, record in enumerate(read_json_lines(path), start=1):
        if not isinstance(record, dict):
            raise BabelscopeError(
                f"{path}, line {number}: expected a JSON object.", "Write one object per line."
            )
        yield record


def write_jsonl(path: str | Path, records: Iterable[Mapping[str, Any]]) -> int:
    """Write records as zstandard-compressed JSON lines and return how many there were.

    The compressed frame carries a checksum, so a later flipped bit is an error, not other text.
    """
    import zstandard

    count = 0
    compressor = zstandard.ZstdCompressor(level=6, write_checksum=True)
    with (
        atomic(path) as temporary,
        temporary.open("wb") as raw,
        compressor.stream_writer(raw) as stream,
    ):
        for record in records:
            stream.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            count += 1
    return count


def read_json(path: str | Path) -> Any:
    """Read one JSON document; a damaged file is an error that names it."""
    with open_text(path) as file:
        try:
            return decode_json(file.read())
        except UnicodeDecodeError:
            raise
        except ValueError as error:
            raise BabelscopeError(
                f"{path} is not JSON ({error}).", "Delete it and run the same command again."
            ) from error


def write_json(path: str | Path, document: Any) -> None:
    """Write one JSON document, indented, keys in the order given."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", "utf-8")


def read_table(path: str | Path) -> "pd.DataFrame":
    """Read a Parquet table; a damaged file is an error that names it."""
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise
    except DAMAGED_TABLE as error:
        raise BabelscopeError(
            f"{path} is not a readable Parquet table ({error}).",
            "Delete it and run the same command again.",
        ) from error


def write_table(path: str | Path, table: "pd.DataFrame") -> None:
    """Write a table as Parquet, or as CSV if the name ends so. An empty table is refused."""
    if table.empty:
        raise BabelscopeError(f"{path} would be an empty table.", "Check the inputs of this step.")
    with atomic(path) as temporary:
        if temporary.suffix == ".csv":
            table.to_csv(temporary, index=False)
        else:
            table.to_parquet(temporary, index=False)


def read_arrays(path: str | Path) -> "dict[str, np.ndarray]":
    """Read all arrays of a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise BabelscopeError(
            f"{path} is not a readable safetensors file ({error}).",
            "Delete it and run the same command again.",
        ) from error


def read_metadata(path: str | Path) -> dict[str, str]:
    """Read the text metadata of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise BabelscopeError(
            f"{path} is not a readable safetensors file ({error}).",
            "Delete it and run the same command again.",
        ) from error


def write_arrays(
    path: str | Path,
    arrays: "Mapping[str, np.ndarray]",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write arrays as safetensors with text metadata; the same ones give the same bytes."""
    import numpy as np
    from safetensors.numpy import save_file

    with atomic(path) as temporary:
        save_file(
            {name: np.ascontiguousarray(array) for name, array in arrays.items()},
            temporary,
            metadata=dict(metadata or {}),
        )
        _sort_metadata(temporary)


def _sort_metadata(path: Path) -> None:
    """Put the metadata of a safetensors file in order; the library's own order is random."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= size:  # as it is if both write JSON alike
            file.seek(8)
            file.write(text.ljust(size))
