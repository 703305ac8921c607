"""Which files a dump has, by the lists that are published with it."""

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from babelscope.corpus.sources import Store
from babelscope.errors import BabelscopeError
from babelscope.io import decode_json

JOBS = (
    "articlesdumprecombine",
    "articlesdump",
    "articlesmultistreamdumprecombine",
    "articlesmultistreamdump",
)
NAME = re.compile(
    r"-pages-articles(?P<multistream>-multistream)?(?P<index>-index)?(?P<part>\d{0,9})"
    r"\.(xml|txt)(-p(?P<first>\d{1,18})p(?P<last>\d{1,18}))?\.bz2"
)


def list_files(store: Store, wiki: str, date: str) -> dict[str, tuple[int | None, str]]:
    """Return size and SHA-1 of the archives of articles and the indexes of a dump, by name.

    The size is None, or the checksum empty, where no list has it.

    Raises
    ------
    BabelscopeError
        If there is no such dump, with the dates that exist, or it is not finished.
    """
    folder = f"{wiki}/{date}"
    found = _read_status(store, f"{folder}/dumpstatus.json", wiki, date)
    if found and all(sha1 for _, sha1 in found.values()):
        return found
    sums = _read_sums(store, f"{folder}/{wiki}-{date}-sha1sums.txt", wiki, date)
    if found:
        return {name: (size, sha1 or sums.get(name, "")) for name, (size, sha1) in found.items()}
    if sums:
        return {name: (None, sha1) for name, sha1 in sums.items()}
    raise BabelscopeError(
        f"{store.locate(folder)} holds no dump: neither dumpstatus.json nor"
        f" {wiki}-{date}-sha1sums.txt names an archive of articles.",
        f"Set dumps.date to one that exists ({_dates(store, wiki)}), or correct dumps.source.",
    )


def choose_files(names: Iterable[str], sampling: str, where: str) -> list[str]:
    """Choose the files to fetch among a dump's, in the order of their pages.

    Parameters
    ----------
    names
        Names of archives and indexes.
    sampling
        ``whole`` or ``multistream``, see :func:`~babelscope.corpus.dumps.find_dump`.
    where
        The dump, as errors call it.
    """
    groups: dict[tuple[bool, bool], list[re.Match[str]]] = {}
    indexes: dict[str, str] = {}
    for name in names:
        match = NAME.search(name)
        if match is None:
            continue
        if match["index"]:
            indexes[name.replace("-index", "").replace(".txt", ".xml")] = name
        else:
            groups.setdefault((bool(match["multistream"]), bool(match["part"])), []).append(match)
    if sampling == "multistream":
        order = [(True, False), (True, True)]
    else:
        order = [(False, False), (True, False), (False, True), (True, True)]
    group = next((groups[key] for key in order if key in groups), None)
    if group is None:
        kind = "multistream archive" if sampling == "multistream" else "pages-articles archive"
        raise BabelscopeError(
            f"{where} has no {kind}.",
            "Choose another date in dumps.date, or set dumps.sampling: whole.",
        )
    group.sort(key=lambda match: (int(match["first"] or 0), match.string))
    for before, after in pairwise(group):
        if before["last"] and int(after["first"] or 0) != int(before["last"]) + 1:
            raise BabelscopeError(
                f"{where}: the part between {before.string} and {after.string} is missing.",
                "Choose another date in dumps.date.",
            )
    archives = [match.string for match in group]
    if sampling != "multistream":
        return archives
    missing = [name for name in archives if name not in indexes]
    if missing:
        raise BabelscopeError(
            f"{where} has no index for {', '.join(missing)}.", "Set dumps.sampling: whole."
        )
    return archives + [indexes[name] for name in archives]


def _read_status(
    store: Store, path: str, wiki: str, date: str
) -> dict[str, tuple[int | None, str]]:
    """Return name to (size, sha1) of the finished jobs' files; empty without a status file."""
    content = store.read(path)
    if content is None:
        return {}
    try:
        jobs = decode_json(content.decode())["jobs"]
        states = {name: job["status"] for name, job in jobs.items() if name in JOBS}
        listed = {
            name: (entry.get("size"), str(entry.get("sha1", "")))
            for job, state in states.items()
            if state == "done"
            for name, entry in jobs[job].get("files", {}).items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        page = content.lstrip()[:1] == b"<"
        raise BabelscopeError(
            f"{store.locate(path)} is {'an HTML page' if page else 'not the status of a dump'}"
            f" ({type(error).__name__}: {error}).",
            "Check dumps.source: a proxy or a login page may be in between.",
        ) from error
    found = _of_this_dump(listed, wiki, date)
    if not found and states:
        raise BabelscopeError(
            f"{store.locate(path)}: the dump is not finished"
            f" ({', '.join(f'{job}: {state}' for job, state in states.items())}).",
            f"Choose another date in dumps.date; folders exist for {_dates(store, wiki)}.",
        )
    return found


def _read_sums(store: Store, path: str, wiki: str, date: str) -> dict[str, str]:
    """Return name to SHA-1 of the sums file; empty without one."""
    content = store.read(path) or b""
    if content.lstrip()[:1] == b"<":
        raise BabelscopeError(
            f"{store.locate(path)} is an HTML page.",
            "Check dumps.source: a proxy or a login page may be in between.",
        )
    lines = content.decode("utf-8", "replace").splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    return _of_this_dump(
        {pair[1].lstrip("*"): pair[0] for pair in pairs if len(pair) == 2}, wiki, date
    )


def _of_this_dump(listed: dict[str, Any], wiki: str, date: str) -> dict[str, Any]:
    """Keep the archives and indexes of this wiki and date; anything else is no name to trust."""
    start = f"{wiki}-{date}"
    return {
        name: value
        for name, value in listed.items()
        if name.startswith(start) and NAME.fullmatch(name, len(start))
    }


def _dates(store: Store, wiki: str) -> str:
    return ", ".join(store.dates(wiki)) or "none that could be listed"
