"""Corpora from elsewhere: archives, verified and unpacked within a folder, or the hub's files."""

import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from babelscope.corpus.mirrors import Mirror
from babelscope.corpus.servers import PATIENCE, Patience
from babelscope.corpus.verification import check_space
from babelscope.errors import BabelscopeError
from babelscope.hub import download_files
from babelscope.io import FAILING, FULL, atomic

DATASET = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)@([0-9a-f]{40})")
# What an archive that is damaged, encrypted or no archive at all can raise; OSError comes apart.
UNREADABLE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(ValueError, EOFError, OverflowError, RuntimeError, LookupError),
)
DATA = (".parquet", ".json", ".jsonl", ".tsv", ".txt")


def fetch_corpus(
    url: str,
    folder: str | Path,
    partial: str | Path,
    *,
    sha256: str,
    contact: str | None,
    patterns: Sequence[str | Sequence[str]] = (),
    patience: Patience = PATIENCE,
    endpoint: str | None = None,
) -> None:
    """Fetch a corpus into `folder`, which appears when all is there.

    Parameters
    ----------
    url
        Addresses of archives, with spaces between them: tar, plain or compressed, or zip. Or
        ``hf://datasets/OWNER/NAME@COMMIT``: files of a data set on the hub.
    folder
        Where files appear, those of an archive within an archive in a folder of its name.
    partial
        Where an unfinished download waits for the next run; removed at success.
    sha256
        The archives' checksums, 64 hexadecimal digits each, with spaces between them.
    contact
        E-mail address or URL for the User-Agent.
    patterns
        Paths of the files wanted from the hub, with ``*``; each must fit one, and of several in a
        list, one of them must.
    patience
        How long a failing server is waited for.
    endpoint
        Address of the hub; by default the usual one, or the variable ``HF_ENDPOINT``.

    Raises
    ------
    BabelscopeError
        If a file cannot be had, an archive is not the one that its checksum describes, or as
        :func:`unpack` says.
    """
    if url.startswith("hf:"):
        _fetch_dataset(url, Path(folder), Path(partial), patterns, endpoint, patience)
    else:
        _fetch_archives(url.split(), folder, Path(partial), sha256.split(), contact, patience)
    shutil.rmtree(partial)


def _fetch_dataset(
    url: str,
    folder: Path,
    partial: Path,
    patterns: Sequence[str | Sequence[str]],
    endpoint: str | None,
    patience: Patience,
) -> None:
    address = DATASET.fullmatch(url)
    if not address:
        raise BabelscopeError(
            f"config/corpora.tsv: {url} does not name a data set and a commit of 40 digits.",
            "Write hf://datasets/OWNER/NAME@COMMIT.",
        )
    groups = [[item] if isinstance(item, str) else list(item) for item in patterns]
    wanted = [pattern for group in groups for pattern in group]
    for pattern in wanted:
        path = PurePosixPath(pattern)
        if path.is_absolute() or ".." in path.parts:
            raise BabelscopeError(
                f"config/corpora.tsv: {pattern} of {url} is outside the data set.",
                "Name files by their paths in the data set.",
            )
        if not set(path.suffixes) & set(DATA):
            raise BabelscopeError(
                f"config/corpora.tsv: {pattern} of {url} is no data; {', '.join(DATA)} are.",
                "Name files of the data set that hold data; its programs are never run.",
            )
    name, commit = address.groups()
    download_files(
        name, commit, partial, wanted, kind="dataset", endpoint=endpoint, patience=patience
    )
    with atomic(folder) as temporary:
        for group in groups:
            files = [
                path.relative_to(partial) for pattern in group for path in partial.glob(pattern)
            ]
            if not files:
                raise BabelscopeError(
                    f"{url} has no file {' or '.join(group)}.",
                    "Correct path and splits in config/corpora.tsv, or choose fewer languages.",
                )
            for file in files:
                (temporary / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(partial / file, temporary / file)


def _fetch_archives(
    urls: Sequence[str],
    folder: str | Path,
    partial: Path,
    checksums: Sequence[str],
    contact: str | None,
    patience: Patience,
) -> None:
    if len(urls) != len(checksums):
        raise BabelscopeError(
            f"config/corpora.tsv: {' '.join(urls)}: {len(checksums)} values of sha256 for"
            f" {len(urls)} archives.",
            "Add the checksum of each archive.",
        )
    archives = []
    for url, checksum in zip(urls, checksums, strict=True):
        base, _, name = url.rpartition("/")
        archives.append(partial / name)
        with Mirror(base, contact, patience) as mirror:
            mirror.fetch(name, archives[-1], size=None, checksum=checksum)
    with atomic(folder) as temporary:
        for url, archive in zip(urls, archives, strict=True):
            unpack(archive, temporary, url)


def unpack(archive: Path, folder: Path, name: str) -> None:
    """Unpack an archive, and the compressed tar archives in it.

    Parameters
    ----------
    archive
        Zip if it is called so, else tar, plain or compressed.
    folder
        Where its files go.
    name
        What messages call it.

    Raises
    ------
    BabelscopeError
        If it is damaged; has a member that is neither file nor folder, or would lie outside the
        folder; or says that its files are larger than the disk has room for.

    Notes
    -----
    Links are refused altogether: no corpus needs them, and through them archives have got around
    the checks of tarfile (CVE-2025-4517).
    """
    try:
        _extract(archive, folder)
        for inner in sorted(folder.rglob("*.tar.gz")):
            if inner.is_file():
                _extract(inner, inner.with_name(inner.name.removesuffix(".tar.gz")))
                inner.unlink()
    except UNREADABLE as error:
        raise _refused(name, error) from error
    except OSError as error:
        if error.errno in (*FULL, *FAILING):
            raise
        raise _refused(name, error) from error


def _refused(name: str, error: Exception) -> BabelscopeError:
    return BabelscopeError(
        f"{name} cannot be unpacked ({error}).", "Correct its row in config/corpora.tsv."
    )


def _extract(archive: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as members:
            listed = members.infolist()
            for one in listed:
                kind = stat.S_IFMT(one.external_attr >> 16)
                _check_member(one.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
            check_space(folder, sum(one.file_size for one in listed))
            members.extractall(folder)
        return
    with tarfile.open(archive) as members:
        for one in members:
            _check_member(one.name, one.isfile() or one.isdir())
            check_space(folder, one.size)
            _write_member(members.extractfile(one), folder / one.name)


def _write_member(content: IO[bytes] | None, path: Path) -> None:
    """Write a member of a tar archive, or make a folder, with nothing of the archive's permissions.

    tarfile's own filter against such surprises is not in Python before 3.11.4, as Debian 12 has it.
    """
    if content is None:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with content, path.open("wb") as file:
        shutil.copyfileobj(content, file)


def _check_member(name: str, plain: bool) -> None:
    """Refuse what is no file and no folder, or would be outside the folder."""
    if name.startswith("/") or ".." in PurePosixPath(name).parts:
        raise ValueError(f"{name} would be outside the folder")
    if not plain:
        raise ValueError(f"{name} is a link or a device")
