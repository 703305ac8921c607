"""A sample of a Wikipedia dump, fetched page by page: only the bz2 streams that hold its pages.

A multistream archive is a row of small bz2 streams of up to 100 pages each, and its index has a
line ``offset:page id:title`` for every page, where the offset is the first byte of the page's
stream. The stream before the first of these offsets is the archive's header.
"""

import bz2
import hashlib
import heapq
import html
import logging
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from babelscope.corpus.dumps import Dump, DumpFile, fetch_files, publish
from babelscope.corpus.folders import Folder
from babelscope.corpus.servers import PATIENCE, Patience
from babelscope.corpus.sources import Store, open_source
from babelscope.errors import BabelscopeError
from babelscope.io import atomic
from babelscope.progress import progress
from babelscope.seeds import stable_hash

logger = logging.getLogger(__name__)

OVERSAMPLE = 4  # pages sampled per article asked for: at enwiki 3 of 5 titles are redirects
WHOLE_SHARE = 0.5  # of an archive's bytes; above it, one download of all is cheaper, and verified
PAGES = 100  # per stream that is written, as in the official archives
END = b"</mediawiki>\n"
LARGEST = 2**29  # bytes of a stream as it was: 100 pages of 2 MiB, each with escapes
BEGIN = re.compile(rb"^[ \t]*+<page>", re.MULTILINE)
PAGE_ID = re.compile(rb"<id>(\d{1,18})</id>")
NAMESPACE = re.compile(r'<namespace key="(-?\d+)"[^<>]*>([^<]+)</namespace>')
NUMBER = re.compile(r"[0-9]{1,18}")
LONGEST = 2**16  # characters of a line of an index; a title has 255 bytes
REMEDY = "Set dumps.sampling: whole, or choose another date in dumps.date."


@dataclass(frozen=True)
class Stream:
    """One bz2 stream with sampled pages.

    Attributes
    ----------
    part
        Number of the archive.
    start, stop
        Its bytes [start, stop) there; after the last stream of pages comes the archive's end.
    pages
        Ids of the sampled pages in it.
    """

    part: int
    start: int
    stop: int
    pages: frozenset[int]


def download_sample(
    dump: Dump,
    folder: str | Path,
    partial: str | Path,
    *,
    seed: int,
    articles: int,
    contact: str | None = None,
    patience: Patience = PATIENCE,
) -> None:
    """Bring a seeded sample of a dump's pages into `folder` as one small multistream archive.

    Parameters
    ----------
    dump
        What ``find_dump(..., sampling="multistream")`` found.
    folder, partial, contact, patience
        As for :func:`babelscope.corpus.dumps.download`.
    seed
        Seed of the sample.
    articles
        Articles that will be asked for; ``OVERSAMPLE`` times as many pages are sampled, since the
        index does not tell redirects, stubs and disambiguation pages from articles.

    Raises
    ------
    BabelscopeError
        If the index or a stream is damaged, or a stream does not hold the pages that the index puts
        there.

    Notes
    -----
    The sampled pages are those of the main namespace whose ids come first in the order in which
    :func:`babelscope.corpus.articles.sample_articles` draws; with the same seed it therefore draws
    the articles that it would draw from the whole dump, as long as the sample holds enough.

    The archive's SHA-1 cannot be checked on parts of it. The index is verified by its own; of the
    archive, each stream must decompress to its end and hold the ids the index names. If more than
    half of the archive would be needed, it is fetched whole and verified. ``dump.json`` says which
    was done. Only the sampled pages are written, not their neighbours in the same stream: unchanged
    and in the order of the archive. Templates are not among them.
    """
    partial = Path(partial)
    fetch_files(dump, dump.indexes, partial, contact, patience)
    indexes = [partial / file.name for file in dump.indexes]
    name = f"{dump.wiki}-{dump.date}-pages-articles-sample.xml.bz2"
    with open_source(dump.source, contact, patience) as source:
        header = _fetch_range(source, dump, 0, 0, _first_offset(indexes[0]), partial)
        prefixes = read_prefixes(_decompress(header, dump, 0, 0))
        sizes = [file.size for file in dump.archives]
        streams, candidates = sample_pages(
            indexes, sizes, prefixes, count=OVERSAMPLE * articles, seed=seed
        )
        needed = sum(stream.stop - stream.start for stream in streams)
        whole = needed > WHOLE_SHARE * sum(sizes)
        how = "fetching it whole" if whole else "fetching these alone"
        logger.info("%d of %d bytes of the archive are needed: %s", needed, sum(sizes), how)
        if whole:
            here = partial / "whole" / dump.wiki / dump.date
            fetch_files(dump, dump.archives, here, contact, patience)
        origin = Folder(partial / "whole") if whole else source
        redirects = _write_sample(origin, dump, header, streams, partial, name)
    record = {
        "wiki": dump.wiki,
        "date": dump.date,
        "source": dump.source,
        "sampling": "multistream",
        "seed": seed,
        "articles_asked": articles,
        "candidates": candidates,
        "pages": sum(len(stream.pages) for stream in streams),
        "redirects": redirects,
        "streams": len(streams),
        "bytes_needed": needed,
        "bytes_of_archive": sum(sizes),
        "verified": "index and archive by size and sha1 as published with the dump"
        if whole
        else "index by size and sha1 as published with the dump; of the archive, each stream"
        " decompressed and held the page ids that the index names, its sha1 was not checked",
        "origin": [asdict(file) for file in (*dump.archives, *dump.indexes)],
    }
    publish(folder, partial, [_describe(partial / name)], record)


def sample_pages(
    indexes: Sequence[Path],
    sizes: Sequence[int],
    prefixes: Collection[str],
    *,
    count: int,
    seed: int,
) -> tuple[list[Stream], int]:
    """Draw pages of the main namespace and return the streams they are in, with the number of all.

    Parameters
    ----------
    indexes
        Indexes of the archives, in order.
    sizes
        Bytes of each archive.
    prefixes
        Names of the other namespaces; a title of theirs begins with one and a colon.
    count
        Pages to draw; all of them if there are fewer.

    Notes
    -----
    Memory grows with the sample and the number of streams, not with the number of pages.
    """
    starts: list[list[int]] = [[] for _ in indexes]
    candidates = 0

    def ranked() -> Iterator[tuple[int, int, int, int]]:
        nonlocal candidates
        for part, index in enumerate(indexes):
            for offset, page, title in progress(read_index(index), index.name):
                if not starts[part] or offset > starts[part][-1]:
                    starts[part].append(offset)
                elif offset < starts[part][-1]:
                    raise BabelscopeError(f"{index}: offset {offset} is out of order.", REMEDY)
                prefix, colon, _ = title.partition(":")
                if not colon or prefix not in prefixes:
                    candidates += 1
                    yield stable_hash("sample", seed, page), page, part, offset

    pages: dict[tuple[int, int], set[int]] = {}
    for _, page, part, offset in heapq.nsmallest(count, ranked()):
        pages.setdefault((part, offset), set()).add(page)
    if not pages:
        raise BabelscopeError(f"{indexes[0]} lists no page of the main namespace.", REMEDY)
    if any(known and known[-1] >= size for known, size in zip(starts, sizes, strict=True)):
        raise BabelscopeError(f"{indexes[0]} names bytes beyond its archive's end.", REMEDY)
    return [
        Stream(part, start, stop, frozenset(pages[part, start]))
        for part, (known, size) in enumerate(zip(starts, sizes, strict=True))
        for start, stop in pairwise([*known, size])
        if (part, start) in pages
    ], candidates


def read_index(path: Path) -> Iterator[tuple[int, int, str]]:
    """Yield offset, page id and title of every page that a multistream index lists."""
    try:
        with bz2.open(path, "rt", encoding="utf-8", newline="\n") as file:
            lines = iter(partial(file.readline, LONGEST), "")
            for number, line in enumerate(lines, start=1):
                fields = line.rstrip("\n").split(":", 2)
                if len(fields) != 3 or not all(map(NUMBER.fullmatch, fields[:2])):
                    raise BabelscopeError(
                        f"{path}, line {number}: not offset:page id:title ({line[:60]!r}).", REMEDY
                    )
                yield int(fields[0]), int(fields[1]), fields[2]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BabelscopeError(f"{path} is damaged or cut off ({error}).", REMEDY) from error


def _first_offset(index: Path) -> int:
    """Return where the first stream of pages begins, which is where the header ends."""
    for offset, _, _ in read_index(index):
        if offset:
            return offset
        break
    raise BabelscopeError(f"{index} does not say where the archive's header ends.", REMEDY)


def read_prefixes(header: bytes) -> frozenset[str]:
    """Return the names of all namespaces but the main one from an archive's header."""
    found = NAMESPACE.findall(header.decode("utf-8", "replace"))
    if not header.lstrip().startswith(b"<mediawiki") or not found:
        raise BabelscopeError(
            "The first stream of the multistream archive is not a MediaWiki header.", REMEDY
        )
    return frozenset(html.unescape(name) for key, name in found if key != "0")


def _write_sample(
    source: Store,
    dump: Dump,
    header: bytes,
    streams: Sequence[Stream],
    partial: Path,
    name: str,
) -> int:
    """Write header, sampled pages and end as one multistream archive; return the redirects' number.

    Resumable where it costs: the streams that came over the network are kept.
    """
    redirects = 0
    with atomic(partial / name) as temporary, temporary.open("wb") as file:
        file.write(header)
        waiting: list[bytes] = []
        for stream in progress(streams, "streams", len(streams)):
            raw = _fetch_range(source, dump, stream.part, stream.start, stream.stop, partial)
            found = _pages_of(_decompress(raw, dump, stream.part, stream.start))
            missing = sorted(stream.pages - found.keys())
            if missing:
                raise BabelscopeError(
                    f"{dump.archives[stream.part].name}: the stream at byte {stream.start} does not"
                    f" hold page {missing[0]}, which the index puts there.",
                    REMEDY,
                )
            chosen = [text for page, text in found.items() if page in stream.pages]
            redirects += sum(b"<redirect " in text[:2000] for text in chosen)
            waiting += chosen
            while len(waiting) >= PAGES:
                file.write(bz2.compress(b"".join(waiting[:PAGES])))
                del waiting[:PAGES]
        file.write(bz2.compress(b"".join(waiting)) if waiting else b"")
        file.write(bz2.compress(END))
    return redirects


def _fetch_range(
    source: Store, dump: Dump, part: int, start: int, stop: int, partial: Path
) -> bytes:
    """Return bytes [start, stop) of an archive; keep what comes over the network."""
    archive = dump.archives[part]
    path = dump.path(archive.name)
    if isinstance(source, Folder):
        return source.read_range(path, start, stop, archive.size)
    kept = partial / "streams" / archive.sha1 / f"{start}-{stop}.bz2"
    if kept.is_file():
        return kept.read_bytes()
    raw = source.read_range(path, start, stop, archive.size)
    _decompress(raw, dump, part, start)
    with atomic(kept) as temporary:
        temporary.write_bytes(raw)
    return raw


def _decompress(raw: bytes, dump: Dump, part: int, start: int) -> bytes:
    """Decompress the stream that begins an archive's bytes from `start` on; it must be complete."""
    decoder = bz2.BZ2Decompressor()
    try:
        text = decoder.decompress(raw, LARGEST)
    except OSError as error:
        raise _damaged(dump, part, start, str(error)) from error
    if not decoder.eof:
        long = len(text) >= LARGEST
        raise _damaged(dump, part, start, "it does not end" if long else "it is cut off")
    return text


def _damaged(dump: Dump, part: int, start: int, reason: str) -> BabelscopeError:
    return BabelscopeError(
        f"{dump.archives[part].name}: no whole bz2 stream begins at byte {start} ({reason}).",
        REMEDY,
    )


def _pages_of(text: bytes) -> dict[int, bytes]:
    """Return the pages of a stream, by id, each as its XML was."""
    pages: dict[int, bytes] = {}
    at = 0
    while begin := BEGIN.search(text, at):
        end = text.find(b"</page>", begin.end())
        if end < 0:
            break
        at = end + len(b"</page>")
        at += text[at : at + 1] == b"\n"
        page = text[begin.start() : at]
        number = PAGE_ID.search(page)
        if number:
            pages[int(number[1])] = page
    return pages


def _describe(path: Path) -> DumpFile:
    """Return name, size and SHA-1 of the archive that was written."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha1").hexdigest()
    return DumpFile(path.name, path.stat().st_size, digest, "archive")
