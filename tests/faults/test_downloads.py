"""Downloads from servers that misbehave, and what is left behind."""

import bz2
import errno
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
import requests

from babelscope.corpus import mirrors, verification
from babelscope.corpus.archives import fetch_corpus
from babelscope.corpus.dumps import download, find_dump
from babelscope.corpus.multistream import download_sample
from babelscope.corpus.servers import Patience, Server
from babelscope.errors import BabelscopeError

WIKI, DATE = "xxwiki", "20260101"
FOLDER = f"{WIKI}/{DATE}"
NAME = f"{WIKI}-{DATE}-pages-articles.xml.bz2"
PATH = f"{FOLDER}/{NAME}"
CONTENT = b"BZh9" + random.Random(1).randbytes(150_000)
OTHER = b"BZh9" + random.Random(2).randbytes(150_000)
PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


def sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def status_of(files: dict[str, bytes], job: str = "articlesdump", state: str = "done") -> bytes:
    listed = {
        name: {"size": len(content), "sha1": sha1(content), "url": "/../elsewhere"}
        for name, content in files.items()
    }
    return json.dumps({"jobs": {job: {"status": state, "files": listed}}}).encode()


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def patience(waits) -> Patience:
    return Patience(attempts=4, total=600, timeout=(5, 5), sleep=waits.append)


@pytest.fixture
def run(server, patience, tmp_path):
    """Return a function that finds and downloads the dump, as the rule does."""
    server.files |= {PATH: CONTENT, f"{FOLDER}/dumpstatus.json": status_of({NAME: CONTENT})}

    def run(**changes):
        knobs = {"contact": "me@example.org", "patience": patience} | changes
        dump = find_dump(server.url, WIKI, DATE, **knobs)
        download(dump, tmp_path / "out", tmp_path / "partial", **knobs)
        return (tmp_path / "out" / NAME).read_bytes()

    return run


def test_a_good_server_is_asked_once_and_told_who_asks(server, run, waits, tmp_path):
    assert run() == CONTENT
    assert [path for _, path, _ in server.requests] == [f"{FOLDER}/dumpstatus.json", PATH]
    agents = {headers["user-agent"] for _, _, headers in server.requests}
    assert len(agents) == 1
    assert agents.pop().endswith("(me@example.org)")
    assert waits == []
    assert not (tmp_path / "partial").exists()
    record = json.loads((tmp_path / "out" / "dump.json").read_text())
    assert record["files"] == [
        {"name": NAME, "size": len(CONTENT), "sha1": sha1(CONTENT), "kind": "archive"}
    ]


def test_without_a_contact_nothing_is_asked(server, run):
    with pytest.raises(BabelscopeError, match=r"dumps\.contact"):
        run(contact=None)
    assert server.requests == []


def test_retry_after_is_respected(server, run, waits):
    server.plan(PATH, {"status": 429, "headers": {"Retry-After": "77"}}, {"status": 503})
    assert run() == CONTENT
    assert waits[0] == 77
    assert waits[1] < 77


def test_retry_after_may_be_a_date(server, run, waits):
    server.plan(PATH, {"status": 503, "headers": {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}})
    assert run() == CONTENT
    assert waits == [2.0]


def test_503_then_200_also_for_the_list(server, run, waits):
    server.plan(f"{FOLDER}/dumpstatus.json", {"status": 503}, {"status": 500})
    assert run() == CONTENT
    assert waits == [2.0, 4.0]


def test_waiting_is_bounded(server, run, waits):
    server.answer_always(PATH, status=503)
    with pytest.raises(BabelscopeError, match="status 503; given up after 14 s"):
        run()
    assert waits == [2.0, 4.0, 8.0]


def test_a_wait_beyond_all_patience_is_refused_at_once(server, run, waits):
    server.answer_always(PATH, status=429, headers={"Retry-After": "86400"})
    with pytest.raises(BabelscopeError, match="next wait would be 86400 s"):
        run()
    assert waits == []


def test_cut_connections_are_resumed(server, run):
    server.plan(PATH, {"cut": 60_000}, {"cut": 40_000})
    assert run() == CONTENT
    assert server.ranges_of(PATH) == [None, "bytes=60000-", "bytes=100000-"]


def test_cuts_do_not_exhaust_the_attempts_while_bytes_arrive(server, run):
    server.plan(PATH, *[{"cut": 10_000}] * 9)
    assert run() == CONTENT


def test_a_stall_is_resumed(server, run, waits):
    server.plan(PATH, {"stall": 50_000})
    hasty = Patience(attempts=4, total=600, timeout=(5, 0.15), sleep=waits.append)
    assert run(patience=hasty) == CONTENT
    assert server.ranges_of(PATH)[-1] == "bytes=50000-"


def test_a_later_run_continues_what_an_earlier_one_left(server, run, tmp_path):
    server.plan(PATH, {"cut": 90_000}, *[{"status": 503}] * 4)
    with pytest.raises(BabelscopeError, match="what has arrived is kept"):
        run()
    assert not (tmp_path / "out").exists()
    assert run() == CONTENT
    assert server.ranges_of(PATH)[-1] == "bytes=90000-"


def test_a_killed_download_is_continued(server, run, tmp_path):
    server.plan(PATH, {"stall": 60_000})
    code = (
        "from babelscope.corpus.dumps import download, find_dump\n"
        f"dump = find_dump({server.url!r}, {WIKI!r}, {DATE!r}, contact='me')\n"
        f"download(dump, {str(tmp_path / 'out')!r}, {str(tmp_path / 'partial')!r}, contact='me')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(mirrors.__file__).parents[2])}
    job = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
    part = tmp_path / "partial" / f"{NAME}.part"
    while not (part.exists() and part.stat().st_size):
        assert job.poll() is None, "ended before it could be killed"
        time.sleep(0.01)
    job.kill()
    job.wait()
    have = part.stat().st_size
    assert not (tmp_path / "out").exists()
    assert run() == CONTENT
    assert server.ranges_of(PATH)[-1] == f"bytes={have}-"


def test_parts_that_are_there_are_not_fetched_again(server, run, patience, tmp_path):
    names = [NAME.replace(".xml", f"{n}.xml-p{n}p{n}") for n in (1, 2)]
    contents = dict(zip(names, (CONTENT, OTHER), strict=True))
    server.files |= {f"{FOLDER}/{name}": content for name, content in contents.items()}
    server.files[f"{FOLDER}/dumpstatus.json"] = status_of(contents)
    server.plan(f"{FOLDER}/{names[1]}", {"status": 403})
    with pytest.raises(BabelscopeError, match="status 403"):
        run()
    knobs = {"contact": "me@example.org", "patience": patience}
    download(
        find_dump(server.url, WIKI, DATE, **knobs), tmp_path / "out", tmp_path / "partial", **knobs
    )
    assert {path.name for path in (tmp_path / "out").glob("*.bz2")} == set(names)
    assert len(server.ranges_of(f"{FOLDER}/{names[0]}")) == 1


def test_a_part_without_its_note_is_not_continued(server, run, tmp_path):
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / f"{NAME}.part").write_bytes(OTHER[:70_000])
    assert run() == CONTENT
    assert server.ranges_of(PATH) == [None]


def test_a_complete_part_is_not_fetched_again(server, run, tmp_path):
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / f"{NAME}.part").write_bytes(CONTENT)
    note = {"checksum": sha1(CONTENT), "validator": '"x"'}
    (tmp_path / "partial" / f"{NAME}.part.json").write_text(json.dumps(note))
    assert run() == CONTENT
    assert server.ranges_of(PATH) == []


def test_a_part_longer_than_the_file_is_dropped(server, run, tmp_path):
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / f"{NAME}.part").write_bytes(CONTENT + b"more")
    note = {"checksum": sha1(CONTENT), "validator": '"x"'}
    (tmp_path / "partial" / f"{NAME}.part.json").write_text(json.dumps(note))
    assert run() == CONTENT


@pytest.mark.parametrize("if_range", [True, False])
def test_a_file_changed_between_two_requests_is_not_glued(server, run, if_range):
    server.plan(PATH, {"body": OTHER, "cut": 60_000}, {"if_range": if_range})
    assert run() == CONTENT


def test_a_glued_file_is_fetched_once_more_from_its_start(server, run, tmp_path):
    same = {"headers": {"ETag": '"same"'}, "if_range": False}
    server.plan(PATH, {"body": OTHER, "cut": 60_000} | same, same)
    assert run() == CONTENT
    assert server.ranges_of(PATH) == [None, "bytes=60000-", None]


def test_a_server_without_ranges_starts_over(server, run):
    server.plan(PATH, {"cut": 60_000}, {"ranges": False})
    assert run() == CONTENT


def test_without_validators_nothing_is_glued(server, run):
    server.etag = False
    server.plan(PATH, {"cut": 60_000})
    assert run() == CONTENT
    assert server.ranges_of(PATH) == [None, None]


def test_a_wrong_length_is_refused_before_it_comes(server, run, tmp_path):
    server.answer_always(PATH, body=CONTENT[:-1])
    with pytest.raises(BabelscopeError, match="would have 150003 bytes instead of 150004"):
        run()
    assert not list(tmp_path.rglob("*.part"))


def test_an_endless_body_is_stopped(server, run, tmp_path):
    server.answer_always(PATH, body=CONTENT + OTHER * 99, headers={"Content-Length": None})
    with pytest.raises(BabelscopeError, match="bytes instead of 150004"):
        run()
    assert (tmp_path / "partial" / f"{NAME}.bad").stat().st_size < 3_000_000
    assert not (tmp_path / "out").exists()


def test_a_wrong_checksum_is_kept_aside_and_not_used(server, run, tmp_path):
    server.files[PATH] = OTHER
    with pytest.raises(BabelscopeError, match=f"has the sha1 {sha1(OTHER)} instead of"):
        run()
    assert (tmp_path / "partial" / f"{NAME}.bad").read_bytes() == OTHER
    assert not (tmp_path / "out").exists()
    assert len(server.ranges_of(PATH)) == 1
    server.files[PATH] = CONTENT
    assert run() == CONTENT


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_an_html_page_is_refused_and_spares_the_part(server, run, tmp_path, kind):
    page = PAGE.ljust(len(CONTENT))
    server.plan(
        PATH,
        {"cut": 60_000},
        {"body": page, "headers": {"Content-Type": kind}, "ranges": False},
    )
    with pytest.raises(BabelscopeError, match="HTML page instead of an archive"):
        run()
    assert (tmp_path / "partial" / f"{NAME}.part").stat().st_size == 60_000
    assert run() == CONTENT
    assert server.ranges_of(PATH)[-1] == "bytes=60000-"


def test_something_else_than_an_archive_is_refused(server, run):
    server.files[PATH] = b"PK\x03\x04".ljust(len(CONTENT))
    with pytest.raises(BabelscopeError, match=r"does not begin as a \.bz2 archive"):
        run()


def test_an_html_page_in_place_of_the_list_is_refused(server, run):
    server.files[f"{FOLDER}/dumpstatus.json"] = PAGE
    with pytest.raises(BabelscopeError, match="is an HTML page"):
        run()


def test_a_date_without_a_dump_names_the_dates_there_are(server, run):
    server.files[f"{WIKI}/"] = b'<a href="20251201/">x</a> <a href="20260120/">y</a> <a href="..">'
    del server.files[f"{FOLDER}/dumpstatus.json"]
    with pytest.raises(BabelscopeError, match=r"holds no dump.*20251201, 20260120"):
        run()


def test_the_sums_file_stands_in_for_the_status(server, run):
    del server.files[f"{FOLDER}/dumpstatus.json"]
    server.files[f"{FOLDER}/{WIKI}-{DATE}-sha1sums.txt"] = (
        f"{sha1(CONTENT)}  {NAME}\n{sha1(OTHER)}  {WIKI}-{DATE}-stub-articles.xml.gz\n".encode()
    )
    assert run() == CONTENT
    assert ("HEAD", PATH) in [(method, path) for method, path, _ in server.requests]


def test_a_missing_archive_is_one_error(server, run, waits):
    del server.files[PATH]
    with pytest.raises(BabelscopeError, match="status 404"):
        run()
    assert waits == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_redirects_to_other_schemes_are_not_followed(server, run, target):
    server.answer_always(PATH, status=302, headers={"Location": target})
    with pytest.raises(BabelscopeError, match="not followed"):
        run()


def test_https_is_not_left_for_http(patience):
    secure = Server("https://example.org", "me", patience)
    with pytest.raises(requests.exceptions.InvalidSchema):
        secure._session.get_adapter("http://example.org/x")


def test_a_redirect_is_followed(server, run):
    server.files["elsewhere"] = CONTENT
    server.plan(PATH, {"status": 302, "headers": {"Location": "/elsewhere"}})
    assert run() == CONTENT


def test_redirects_without_end_are_one_error(server, run):
    server.answer_always(PATH, status=302, headers={"Location": f"/{PATH}"})
    with pytest.raises(BabelscopeError, match="redirected without end"):
        run()


def test_a_server_that_is_gone_is_one_error(patience, waits):
    with pytest.raises(BabelscopeError, match="given up"):
        find_dump("http://127.0.0.1:9", WIKI, DATE, contact="me", patience=patience)
    assert waits == [2.0, 4.0, 8.0]


def test_what_cannot_fit_is_not_begun(server, run, monkeypatch):
    usage = verification.shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(verification.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(BabelscopeError, match="Free space"):
        run()


def test_a_disk_that_fills_up_keeps_what_came(server, run, monkeypatch, tmp_path):
    def fail(response, first, file, limit):
        yield from ()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(mirrors, "_copy", fail)
        with pytest.raises(BabelscopeError, match=r"could not be written: No space left"):
            run()
    assert (tmp_path / "partial" / f"{NAME}.part").exists()
    assert run() == CONTENT


def test_a_small_disk_is_one_error(server, small_disk, tmp_path):
    server.files[PATH] = CONTENT + OTHER
    done = small_disk(
        "from pathlib import Path\n"
        "from babelscope.corpus.mirrors import Mirror\n"
        "from babelscope.corpus.servers import PATIENCE\n"
        f"target = Path({str(tmp_path / NAME)!r})\n"
        f"with Mirror({server.url!r}, 'me', PATIENCE) as mirror:\n"
        f"    mirror.fetch({PATH!r}, target, size=None, checksum='0' * 40)\n"
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "could not be written: No space left on device. Free space" in last


def tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def fetch(server, patience, tmp_path):
    """Return a function that fetches archives as one corpus."""

    def fetch(
        archives: dict[str, bytes], checksums: int | None = None, patience: Patience = patience
    ) -> Path:
        server.files |= {f"x/{name}": content for name, content in archives.items()}
        sums = [hashlib.sha256(content).hexdigest() for content in archives.values()]
        fetch_corpus(
            " ".join(f"{server.url}/x/{name}" for name in archives),
            tmp_path / "set",
            tmp_path / "partial",
            sha256=" ".join(sums[:checksums]),
            contact="me",
            patience=patience,
        )
        return tmp_path / "set"

    return fetch


def test_an_archive_of_text_is_unpacked_within_its_folder(fetch, tmp_path):
    folder = fetch({"set.tar.gz": tar({"dev/eng.dev": b"text\n"})})
    assert (folder / "dev" / "eng.dev").read_text() == "text\n"
    for name, write in (("set.tar.gz", tar), ("set.zip", zipped)):
        for member in ("../outside.txt", "/outside.txt", "a/../../outside.txt"):
            if write is tar and member[0] == "/":  # taken below the folder
                continue
            with pytest.raises(BabelscopeError, match="cannot be unpacked"):
                fetch({name: write({member: b"text"})})
    assert not list(tmp_path.rglob("outside.txt"))


def test_several_archives_are_one_corpus_and_archives_in_them_folders(fetch):
    """As XNLI was published, in two archives, and WikiANN, with one per language in another."""
    inner = tar({"train": b"en:a\tO\n"})
    folder = fetch({"a.zip": zipped({"en.tar.gz": inner}), "b.zip": zipped({"B/dev.tsv": b"x"})})
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {"en/train", "B/dev.tsv"}


def test_every_archive_needs_a_checksum(fetch, server):
    with pytest.raises(BabelscopeError, match="1 values of sha256 for 2 archives"):
        fetch({"a.zip": zipped({"a": b""}), "b.zip": zipped({"b": b""})}, checksums=1)
    assert server.requests == []


def test_a_damaged_zip_archive(fetch):
    with pytest.raises(BabelscopeError, match=r"a\.zip"):
        fetch({"a.zip": zipped({"a": b"text" * 99})[:-30]})


BOOK, OTHER_BOOK = (tar({"a.txt": content[4:]}) for content in (CONTENT, OTHER))


@pytest.mark.parametrize(
    ("answers", "ranges"),
    [
        ([{"status": 429, "headers": {"Retry-After": "3"}}], [None]),
        ([{"status": 503}, {"status": 500}], [None]),
        ([{"cut": 60_000}, {"cut": 30_000}], ["bytes=60000-", "bytes=90000-"]),
        ([{"stall": 60_000}], ["bytes=60000-"]),
        ([{"cut": 60_000}, {"ranges": False}], ["bytes=60000-"]),
        ([{"body": OTHER_BOOK, "cut": 60_000}], ["bytes=60000-"]),
        ([{"body": OTHER_BOOK, "cut": 60_000}, {"if_range": False}], ["bytes=60000-", None]),
    ],
    ids=["429", "503", "cut", "stall", "no ranges", "changed", "changed unnoticed"],
)
def test_an_archive_of_which_only_the_checksum_is_known(fetch, server, waits, answers, ranges):
    """Not its size, as of a dump: an end that comes too early must be noticed all the same."""
    server.plan("x/a.tar.gz", *answers)
    hasty = Patience(attempts=4, total=600, timeout=(5, 0.3), sleep=waits.append)
    folder = fetch({"a.tar.gz": BOOK}, patience=hasty)
    assert (folder / "a.txt").read_bytes() == CONTENT[4:]
    assert server.ranges_of("x/a.tar.gz")[-len(ranges) :] == ranges
    assert len(waits) >= len(answers) - 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"body": OTHER_BOOK}, "has the sha256 .* instead of .* it is kept as"),
        ({"body": PAGE, "headers": {"Content-Type": "text/html"}}, "HTML page instead of an"),
        ({"body": BOOK[:-9]}, "has the sha256"),
        ({"cut": 60_000, "ranges": False}, "given up"),
        ({"status": 503}, "status 503; given up"),
        ({"body": b""}, "the answer is empty; given up"),
    ],
    ids=["hash", "HTML", "short", "cut", "503", "empty"],
)
def test_an_archive_that_never_comes(fetch, server, tmp_path, answer, message):
    server.answer_always("x/a.tar.gz", **answer)
    with pytest.raises(BabelscopeError, match=message):
        fetch({"a.tar.gz": BOOK})
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("note", ["[]", "{", "5", '{"checksum": 3}', '{"validator": "x"}'])
def test_a_part_whose_note_is_damaged_is_not_continued(server, run, tmp_path, note):
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / f"{NAME}.part").write_bytes(OTHER[:70_000])
    (tmp_path / "partial" / f"{NAME}.part.json").write_text(note)
    assert run() == CONTENT
    assert server.ranges_of(PATH) == [None]


@pytest.mark.parametrize(
    "headers",
    [
        *({"Content-Length": "9" * 5000}, {"ETag": '"\xe9\xff"'}, {"ETag": '"a\r\n b"'}),
        *({"Retry-After": "9" * 5000}, {"Last-Modified": "\x85"}, {"Content-Range": "bytes 9-"}),
    ],
)
def test_headers_that_say_nothing(server, run, headers):
    server.plan(PATH, {"cut": 60_000, "headers": headers}, {"status": 503, "headers": headers})
    assert run() == CONTENT


@pytest.fixture
def sample(server, patience, tmp_path, multistream_dump):
    """Return a function that samples a multistream dump from the server."""
    multistream_dump(tmp_path / "site", WIKI, DATE, pages=80, per_stream=2)
    for file in (tmp_path / "site").rglob("*.*"):
        server.files[str(file.relative_to(tmp_path / "site"))] = file.read_bytes()

    def sample():
        knobs = {"contact": "me@example.org", "patience": patience}
        dump = find_dump(server.url, WIKI, DATE, sampling="multistream", **knobs)
        download_sample(dump, tmp_path / "s", tmp_path / "partial", seed=1, articles=2, **knobs)
        return bz2.decompress(next((tmp_path / "s").glob("*.bz2")).read_bytes())

    return sample


MULTI = f"{FOLDER}/{WIKI}-{DATE}-pages-articles-multistream.xml.bz2"


def test_only_the_needed_streams_of_an_archive_are_fetched(server, sample):
    text = sample()
    assert text.count(b"<page>") == 8
    asked = server.ranges_of(MULTI)
    assert None not in asked
    assert len(asked) <= 9
    fetched = sum(int(b) - int(a) + 1 for a, b in (x[6:].split("-") for x in asked))
    assert fetched < len(server.files[MULTI]) / 2


def test_streams_that_came_are_not_fetched_again(server, sample):
    server.plan(MULTI, {}, {}, {"cut": 20}, {"status": 404})
    with pytest.raises(BabelscopeError, match="status 404"):
        sample()
    assert sample().count(b"<page>") == 8
    asked = server.ranges_of(MULTI)
    assert len(asked) == len(set(asked)) + 2


def test_a_server_without_ranges_cannot_be_sampled(server, sample):
    server.answer_always(MULTI, ranges=False)
    with pytest.raises(BabelscopeError, match=r"requests for ranges.*dumps\.sampling: whole"):
        sample()


@pytest.mark.parametrize("longer", [b"", b"x"])
def test_an_archive_that_changes_between_two_ranges_is_refused(server, sample, longer):
    changed = server.files[MULTI][:-9] + b"otherwise" + longer
    server.plan(MULTI, {}, {}, {"body": changed})
    with pytest.raises(BabelscopeError, match="changed while it was read"):
        sample()


@pytest.mark.real_data
def test_real_dumps_over_a_server(server, patience, real_data, tmp_path):
    for status in sorted(real_data.glob("dumps/*/*/dumpstatus.json")):
        wiki, date = status.parts[-3:-1]
        for file in status.parent.iterdir():
            server.files[f"{wiki}/{date}/{file.name}"] = file.read_bytes()
        dump = find_dump(server.url, wiki, date, contact="me", patience=patience)
        name = dump.archives[0].name
        server.plan(dump.path(name), {"cut": dump.archives[0].size // 2}, {"status": 503})
        knobs = {"contact": "me", "patience": patience}
        download(dump, tmp_path / wiki, tmp_path / "partial", **knobs)
        assert (tmp_path / wiki / name).read_bytes() == (status.parent / name).read_bytes()
