"""Articles as plain text out of a Wikipedia dump: wikiextractor, fed and watched by us.

The dump is decompressed, parsed and checked here, and only the articles go to wikiextractor, which
expands templates and removes markup in as many processes as asked, within the bounds that
`bounded_wikiextractor` sets to each. So all parts of a dump share their templates, every page that
is left out is counted, and a damaged archive or a worker that died is an error; left alone,
wikiextractor waits for ever or ends well.
"""

import json
import logging
import sys
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import chain, count, islice
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from babelscope.corpus.cleaning import clean, prepare, stop_clock
from babelscope.corpus.disambiguation import is_disambiguation
from babelscope.corpus.supervision import CommandError, converse
from babelscope.corpus.wikipages import Page, Site, read_pages
from babelscope.errors import BabelscopeError
from babelscope.io import atomic, read_json, write_jsonl
from babelscope.progress import progress

logger = logging.getLogger(__name__)

COUNTED = (
    *("pages", "other_namespaces", "redirects", "disambiguations", "repeated", "failed", "empty"),
    "articles",
)
PROGRAM = Path(__file__).with_name("bounded_wikiextractor.py")
MAIN, TEMPLATE = 0, 10  # MediaWiki's numbers of the namespaces
CANONICAL = ("category", "file", "help", "image", "portal", "template", "user", "wikipedia")
ARTICLES_PER_SHARD = 10_000
STALLED = 900.0  # seconds without a sign of life; of an article, 120 are enough


def extract_articles(
    dump: Path, output: Path, *, language: str, templates: bool, processes: int
) -> dict[str, int]:
    """Write the articles of a dump as plain text and return what became of its pages.

    Parameters
    ----------
    dump
        A folder with ``dump.json`` and the archives it names.
    output
        The folder that appears with ``shard-00000.jsonl.zst`` and so on, at most 10 000 records
        ``{"id", "revid", "url", "title", "text"}`` each, in the order of the dump; whole or not
        at all.
    language
        Code from languages.tsv; tells how disambiguation pages are marked.
    templates
        Expand templates; the dump is then read twice, first for the templates.
    processes
        Worker processes of wikiextractor, besides the one that reads.

    Returns
    -------
    dict
        ``pages``, and what became of them, which adds up: ``other_namespaces``, ``redirects``,
        ``disambiguations``, ``repeated`` (a page that follows itself, where parts of a dump
        overlap), ``failed`` (markup that wikiextractor cannot take, or not within two minutes and a
        gigabyte; the log names them), ``empty`` and ``articles``.

    Raises
    ------
    BabelscopeError
        If an archive is missing, damaged or cut off, if wikiextractor fails, or if no article is
        left. Nothing is written then.

    Notes
    -----
    Memory does not grow with the dump, except that wikiextractor holds all templates once.
    """
    archives, date = _archives(dump)
    counts: dict[str, int] = dict.fromkeys(COUNTED, 0)
    with atomic(output) as folder:
        folder.mkdir()
        cache = folder.parent / "templates.xml"  # in the scratch folder, gone when this is done
        if templates:
            logger.info("%d templates read", _write_templates(archives, cache, date))
        command = [sys.executable, "-P", str(PROGRAM), "/dev/stdin"]
        command += ["--output", "-", "--json", "--html-safe", "", "--quiet"]
        command += ["--processes", str(processes)]
        command += ["--templates", str(cache)] if templates else ["--no-templates"]
        fed: deque[Page] = deque()  # what wikiextractor works on
        pages = _feed(archives, fed, counts, language, date)
        try:
            with closing(converse(command, pages, stalled=STALLED)) as lines:
                _write_shards(folder, progress(_records(lines, fed, counts), "articles"))
            if fed:
                raise CommandError(f"{len(fed)} articles are missing, {fed[0].title} first")
        except CommandError as error:
            raise BabelscopeError(
                f"wikiextractor failed on {', '.join(map(str, archives))}: {error}.",
                "See the log; more memory, fewer threads or dumps.templates: false may help.",
            ) from error
        if not counts["articles"]:
            raise BabelscopeError(
                f"{dump} holds no article in {language} ({_listing(counts)}).",
                "Check that it is the language's dump of pages-articles.",
            )
    return counts


def _listing(counts: dict[str, int]) -> str:
    return ", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in counts.items())


def _archives(dump: Path) -> tuple[list[Path], str]:
    """Return the archives that dump.json names, all of them there, and the dump's date."""
    description = read_json(dump / "dump.json")
    archives = [dump / file["name"] for file in description["files"] if file["kind"] == "archive"]
    missing = [archive for archive in archives if not archive.is_file()]
    if missing or not archives:
        what = f"{missing[0]} does not exist" if missing else f"{dump}/dump.json names no archive"
        raise BabelscopeError(f"{what}.", "Delete that folder and run the same command again.")
    return archives, description["date"]


def _write_templates(archives: list[Path], cache: Path, date: str) -> int:
    """Write the templates of all archives as wikiextractor caches them and return their number."""
    written = 0
    with cache.open("w", encoding="utf-8", newline="\n") as file:
        for archive in archives:
            for item in read_pages(archive):
                if isinstance(item, Page) and item.namespace == TEMPLATE:
                    # wikiextractor knows the English word for a redirect and two others.
                    moved = item.redirect is not None
                    text = f"#REDIRECT [[{item.redirect}]]" if moved else item.text
                    file.write(_page(TEMPLATE, item.title, "", "", stop_clock(text, date)))
                    written += 1
    return written


def _feed(
    archives: list[Path], fed: deque[Page], counts: dict[str, int], language: str, date: str
) -> Generator[bytes, None, None]:
    """Yield a dump with the articles alone, and an empty chunk for each page that is left out."""
    template, namespaces, last = "", frozenset[str](), ""
    for number, archive in enumerate(archives):
        for item in read_pages(archive):
            if isinstance(item, Site):
                template = item.namespaces.get(TEMPLATE) or "Template"
                local = (name.casefold() for name in item.namespaces.values())
                namespaces = frozenset((*local, *CANONICAL))
                yield _head(item, template).encode() if number == 0 else b""
                continue
            counts["pages"] += 1
            fate = _fate(item, language)
            if fate == "articles" and item.id == last:
                fate = "repeated"
            if fate != "articles":
                counts[fate] += 1
                yield b""
                continue
            last = item.id
            fed.append(replace(item, text=""))
            # wikiextractor takes "Templates of ..." for a template by its first letters.
            title = " " + item.title if item.title.startswith(template) else item.title
            text = stop_clock(prepare(item.text, namespaces, language), date)
            yield _page(MAIN, title, item.id, item.revid, text).encode()
    yield b"</mediawiki>\n"


def _fate(page: Page, language: str) -> str:
    if page.namespace != MAIN:
        return "other_namespaces"
    if page.redirect is not None:
        return "redirects"
    if is_disambiguation(page.title, page.text, language):
        return "disambiguations"
    return "articles"


def _head(site: Site, template: str) -> str:
    names = {**site.namespaces, TEMPLATE: template}
    namespaces = "".join(
        f'<namespace key="{key}">{escape(name)}</namespace>\n' for key, name in names.items()
    )
    base = f"<base>{escape(site.base)}</base>\n"
    return f"<mediawiki>\n<siteinfo>\n{base}{namespaces}</siteinfo>\n"


def _page(namespace: int, title: str, id: str, revid: str, text: str) -> str:
    """Return a page with each tag on the line where wikiextractor expects it."""
    return (
        f"<page>\n<title>{escape(title)}</title>\n<ns>{namespace}</ns>\n<id>{id}</id>\n"
        f"<revision>\n<id>{revid}</id>\n<text>{escape(text)}</text>\n</revision>\n</page>\n"
    )


def _records(
    lines: Iterator[bytes], fed: deque[Page], counts: dict[str, int]
) -> Iterator[dict[str, Any]]:
    """Yield the records of the articles that have text; their order is that of `fed`."""
    for line in lines:
        page = fed.popleft() if fed else None
        if page is None or not line.startswith(b'{"id": "%s"' % page.id.encode()):
            wanted = f"page {page.id}" if page else "nothing more"
            raise CommandError(f"it said {line[:60]!r} in place of {wanted}")
        record = json.loads(line)
        if "failure" in record:
            logger.warning("page %s, %s: %s", page.id, page.title, record["failure"])
            counts["failed"] += 1
            continue
        text = clean(record["text"], page.title)
        if not text:
            counts["empty"] += 1
            continue
        counts["articles"] += 1
        yield {
            "id": page.id,
            "revid": page.revid,
            "url": record["url"],
            "title": page.title,
            "text": text,
        }


def _write_shards(folder: Path, records: Iterator[dict[str, Any]]) -> None:
    for number in count():
        first = next(records, None)
        if first is None:
            return
        shard = chain([first], islice(records, ARTICLES_PER_SHARD - 1))
        write_jsonl(folder / f"shard-{number:05}.jsonl.zst", shard)
