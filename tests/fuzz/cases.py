"""One case: the files of a reader, damaged, and what it makes of them."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import zstandard

from babelscope.errors import BabelscopeError
from tests.fuzz.mutations import BYTES, mutate
from tests.fuzz.readers import Files, Reader

LONGEST = 6000  # characters of a message
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".xz": lambda content: lzma.compress(content, preset=0),
    ".gz": lambda content: gzip.compress(content, 1, mtime=0),
    ".zst": lambda content: zstandard.compress(content, 1),
    ".bz2": lambda content: bz2.compress(content, 1),
}


@cache
def bomb(end: str) -> bytes:
    """Return little that becomes 256 MiB when it is decompressed: some streams after each other."""
    once = gzip.compress if end == ".gz" else PACKERS[end]
    return once(b"\0" * 2**22) * 2**6


def pack(reader: Reader, files: Files) -> Files:
    """Return files as they are on disk: what must be compressed is."""
    ends = {name: name[name.rfind(".") :] for name in files}
    return {
        name: PACKERS[ends[name]](content) if reader.packed and ends[name] in PACKERS else content
        for name, content in files.items()
    }


def damage(reader: Reader, random: Random, bombs: bool = True) -> Files:
    """Return files of a reader, one or all of them damaged, by the names that they get on disk."""
    files = random.choice(reader.seeds)
    chosen = list(files) if random.random() < 0.1 else [random.choice(list(files))]
    packed: Files = {}
    for name, content in files.items():
        hit = name in chosen
        if hit:
            content = mutate(content, random, reader.ways)
        end = name[name.rfind(".") :]
        if reader.packed and end not in PACKERS and random.random() < 0.3:
            end = random.choice([".xz", ".gz", ".zst"])
            name += end
        if reader.packed and end in PACKERS:
            explodes = bombs and hit and random.random() < 0.003
            content = bomb(end) if explodes else PACKERS[end](content)
            if hit and random.random() < 0.2:
                content = mutate(content, random, BYTES, most=1)
        packed[name] = content
    return packed


def run(reader: Reader, files: Files, folder: Path) -> str:
    """Let a reader read damaged files, and return what it says of them: nothing, or our error.

    Raises
    ------
    Exception
        Whatever else the reader raises: that is a finding.
    """
    paths = {}
    for name, content in files.items():
        path = folder / name
        path.write_bytes(content)
        known = next(seed for seed in _names(reader) if name.startswith(seed))
        paths[known] = path
    try:
        reader.read(paths)
    except BabelscopeError as error:
        _check(error, reader.begins)
        return str(error)
    return ""


def _check(error: BabelscopeError, begins: str) -> None:
    """Make sure that an error can be read: one line that says what is wrong and what to do."""
    message = str(error)
    assert len(message.splitlines()) == 1, f"several lines: {message!r}"
    assert len(message) <= LONGEST, f"{len(message)} characters: {message[:200]!r}"
    assert message.startswith(begins), message
    assert error.what.strip(), message
    assert error.remedy.strip(), message


def _names(reader: Reader) -> list[str]:
    """Return the names that files of a reader have, the longest first."""
    return sorted({name for files in reader.seeds for name in files}, key=len, reverse=True)
