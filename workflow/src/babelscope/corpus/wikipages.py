"""Pages of a MediaWiki XML dump, one at a time, checked as they are read."""

import bz2
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from babelscope.errors import BabelscopeError

BLOCK = 2**16  # bytes; expat reads a long tag anew with each block
LARGEST = 2**24  # bytes; the text of a page has 2 MiB at most, and some of them become escapes


@dataclass(frozen=True, slots=True)
class Site:
    """What the head of a dump says about its wiki.

    Attributes
    ----------
    base
        URL of the main page.
    namespaces
        Local name of every namespace by its number; the main one, 0, has an empty name.
    """

    base: str
    namespaces: dict[int, str]


@dataclass(frozen=True, slots=True)
class Page:
    """One page in its newest revision.

    Attributes
    ----------
    redirect
        Title of the page this one redirects to, or None.
    text
        Wikitext, without XML escapes.
    """

    id: str
    revid: str
    namespace: int
    title: str
    redirect: str | None
    text: str


def read_pages(archive: Path) -> Iterator[Page | Site]:
    """Yield the head of a dump and then each of its pages, holding one page in memory.

    Parameters
    ----------
    archive
        A ``.xml.bz2`` file of one or many streams.

    Raises
    ------
    BabelscopeError
        If the archive is cut off, damaged, not UTF-8 or lacks its closing tag, or a page has no
        number or is far larger than any can be. Pages before the damage have been yielded by then,
        so whoever writes them must discard what was written.
    """
    try:
        with bz2.open(archive) as raw:
            yield from _parse(raw)
    except EOFError as error:
        raise _damaged(archive, "it ends in the middle of a compressed stream") from error
    except OSError as error:
        raise _damaged(archive, str(error)) from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        what = str(error)
        if what.startswith("no element found"):
            what = "it ends without </mediawiki>: a part is missing"
        elif "invalid token" in what:
            what = f"not UTF-8 or not XML: {what}"
        raise _damaged(archive, what) from error


def _damaged(archive: Path, what: str) -> BabelscopeError:
    return BabelscopeError(
        f"{archive} is damaged or cut off: {what}.",
        "Delete its folder and run the same command again to fetch it anew.",
    )


class _Counted:
    """A file that gives no more than `LARGEST` bytes until it is told that a page has ended."""

    def __init__(self, raw) -> None:
        self._raw = raw
        self.given = 0

    def read(self, size: int = 0, /) -> bytes:
        block = self._raw.read(max(size, BLOCK))
        self.given += len(block)
        if self.given > LARGEST:
            raise ValueError(f"a page of more than {LARGEST // 2**20} MiB")
        return block


def _parse(raw) -> Iterator[Page | Site]:
    root = None
    counted = _Counted(raw)
    for event, element in ElementTree.iterparse(counted, events=("start", "end")):
        if event == "start":
            root = element if root is None else root
            continue
        tag = element.tag.rpartition("}")[2]
        if tag == "page":
            yield _page(element)
        elif tag == "siteinfo":
            yield _site(element)
        else:
            continue
        assert root is not None  # an end has a start
        root.clear()  # what has been read is not kept
        counted.given = 0


def _page(element: ElementTree.Element) -> Page:
    fields = _children(element)
    revision = _children(fields.get("revision", ElementTree.Element("revision")))
    redirect = fields.get("redirect")
    identity, revision_id = (_text(place.get("id")) for place in (fields, revision))
    if not re.fullmatch("[0-9]{1,18}", identity) or not re.fullmatch("[0-9]{0,18}", revision_id):
        raise ValueError(f"a page has the id {identity[:20]!r}, its revision {revision_id[:20]!r}")
    return Page(
        id=identity,
        revid=revision_id,
        namespace=int(_text(fields.get("ns")) or 0),
        title=_text(fields.get("title")),
        redirect=None if redirect is None else redirect.get("title", ""),
        text=_text(revision.get("text")),
    )


def _site(element: ElementTree.Element) -> Site:
    fields = _children(element)
    return Site(
        base=_text(fields.get("base")),
        namespaces={
            int(item.get("key", "0")): item.text or ""
            for item in fields.get("namespaces", ElementTree.Element("namespaces"))
        },
    )


def _children(element: ElementTree.Element) -> dict[str, ElementTree.Element]:
    """Return the children by their tag without its XML namespace; of several, the last."""
    return {child.tag.rpartition("}")[2]: child for child in element}


def _text(element: ElementTree.Element | None) -> str:
    return "" if element is None else element.text or ""
