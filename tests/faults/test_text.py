"""Broken dumps, dead workers and killed jobs: one clear error, and nothing half written."""

import bz2
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from babelscope.corpus.articles import sample_articles
from babelscope.corpus.extraction import extract_articles
from babelscope.corpus.parallel import read_parallel
from babelscope.corpus.supervision import CommandError, converse
from babelscope.errors import BabelscopeError

SOURCE = Path(__file__).resolve().parents[2] / "workflow" / "src"
HEAD = "<mediawiki><siteinfo><base>https://sw.wikipedia.org/wiki/Mwanzo</base></siteinfo>\n"


def page(number: int, text: str) -> str:
    return (
        f"<page><title>T{number}</title><ns>0</ns><id>{number}</id>"
        f"<revision><id>{number}</id><text>{text}</text></revision></page>\n"
    )


def write_dump(folder: Path, content: bytes) -> Path:
    folder.mkdir()
    (folder / "swwiki.xml.bz2").write_bytes(content)
    files = [{"name": "swwiki.xml.bz2", "kind": "archive"}]
    (folder / "dump.json").write_text(json.dumps({"date": "20260101", "files": files}))
    return folder


def compressed(n=300, tail="</mediawiki>\n") -> bytes:
    pages = "".join(page(i, f"Makala ya {i} ni ndefu.") for i in range(n))
    return bz2.compress(f"{HEAD}{pages}{tail}".encode())


def refused(tmp_path: Path, content: bytes, templates=False) -> str:
    dump, output = write_dump(tmp_path / "dump", content), tmp_path / "out" / "sw"
    with pytest.raises(BabelscopeError) as caught:
        extract_articles(dump, output, language="sw", templates=templates, processes=1)
    assert list(output.parent.iterdir()) == []
    assert "swwiki.xml.bz2" in str(caught.value) or "dump" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("templates", [True, False])
def test_a_truncated_archive(tmp_path, templates):
    message = refused(tmp_path, compressed()[:-60], templates)
    assert "ends in the middle of a compressed stream" in message


def test_an_archive_that_lacks_its_last_streams(tmp_path):
    """Cut between two streams, every stream is whole."""
    assert "ends without </mediawiki>" in refused(tmp_path, compressed(tail=""))


def test_an_archive_with_damaged_bytes(tmp_path):
    content = bytearray(compressed())
    content[len(content) // 2] ^= 255
    assert "damaged" in refused(tmp_path, bytes(content))


def test_a_page_of_html_in_place_of_an_archive(tmp_path):
    assert "Invalid data stream" in refused(tmp_path, b"<!DOCTYPE html><title>503</title>")


def test_text_that_is_not_utf8(tmp_path):
    text = f"{HEAD}{page(1, 'caf!')}</mediawiki>\n".encode().replace(b"!", b"\xe9")
    message = refused(tmp_path, bz2.compress(text))
    assert "not UTF-8" in message
    assert "line 2" in message


def test_a_language_without_articles(tmp_path):
    message = refused(tmp_path, compressed(0))
    assert "holds no article in sw" in message
    assert "pages: 0" in message


def test_no_usable_article_is_an_error_even_where_fewer_are_allowed(tmp_path):
    with pytest.raises(BabelscopeError, match=r"hi \(hiwiki\).* 5 .* 0 are usable"):
        sample_articles(
            lambda: [{"id": "1", "title": "", "text": "a"}],
            tmp_path / "hi.jsonl.zst",
            n=5,
            seed=1,
            min_characters=2,
            allow_fewer=True,
            source="hi (hiwiki)",
        )
    assert list(tmp_path.iterdir()) == []


def test_parallel_text_that_is_not_utf8(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(b"sent_id\ten\tde\n1\ta\tgr\xfcn\n")
    with pytest.raises(BabelscopeError, match=r"a.tsv is not UTF-8"):
        read_parallel(path, ["en", "de"], format="tsv", id_column="sent_id", missing="refuse")


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def talk(command: list[str], chunks=(b"a\n", b"b\n"), stalled=60.0) -> list[bytes]:
    return list(converse(command, (chunk for chunk in chunks), stalled=stalled))


def test_what_a_command_says_comes_back():
    assert talk(["cat"]) == [b"a\n", b"b\n"]


def test_a_command_that_fails():
    with pytest.raises(CommandError, match="ended with status 3: no luck"):
        talk(python("import sys; print('no luck', file=sys.stderr); sys.exit(3)"))


def test_a_worker_that_dies_while_its_parent_waits():
    """So wikiextractor hangs if a page breaks one of its processes."""
    code = (
        "import sys, time\nprint('Traceback (most recent call last):\\n  File x\\nKeyError: 1',"
        " file=sys.stderr, flush=True)\ntime.sleep(60)"
    )
    with pytest.raises(CommandError, match="a process of it failed: KeyError: 1"):
        talk(python(code))


def test_a_command_that_falls_silent():
    with pytest.raises(CommandError, match="no sign of life"):
        talk(["sleep", "60"], stalled=0.1)


def test_an_error_in_what_is_said_ends_the_talk():
    def chunks():
        yield b"a\n"
        raise BabelscopeError("The dump is damaged.", "Fetch it again.")

    with pytest.raises(BabelscopeError, match="dump is damaged"):
        list(converse(["cat"], chunks(), stalled=60.0))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("ids[:-1]", "1 articles are missing, T299 first"),
        ("ids[:5] + ids[6:]", r"in place of page 5"),
        ("ids + ids[:1]", "in place of nothing more"),
    ],
)
def test_articles_that_wikiextractor_lost(ids, message, tmp_path, monkeypatch):
    """It ends with status 0 although a worker was killed and took a page with it."""
    fake = tmp_path / "fake" / "wikiextractor"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("")
    (fake / "WikiExtractor.py").write_text(
        "import re, sys, json\n"
        "Extractor = object\n"
        "def main():\n"
        "    ids = re.findall(r'<ns>0</ns>\\n<id>(.+)</id>', open('/dev/stdin').read())\n"
        f"    for id in {ids}:\n"
        "        print(json.dumps({'id': id, 'url': '', 'text': 'x'}))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(fake.parent))
    assert message in refused(tmp_path, compressed())


def test_what_runs_ends_with_an_error_of_ours(tmp_path, monkeypatch):
    """A full disk, say, while wikiextractor is at work."""

    def full(path, records):
        next(records)
        raise BabelscopeError("x.zst could not be written: No space left on device.", "Free space.")

    monkeypatch.setattr("babelscope.corpus.extraction.write_jsonl", full)
    monkeypatch.setenv("BABELSCOPE_TEST", mark := f"{os.getpid()}-{tmp_path.name}")
    dump, output = write_dump(tmp_path / "dump", compressed(2000)), tmp_path / "out" / "sw"
    with pytest.raises(BabelscopeError, match="No space left") as caught:
        extract_articles(dump, output, language="sw", templates=False, processes=2)
    assert not extractors(mark), f"still at work after {caught.value}"
    assert list(output.parent.iterdir()) == []


def extractors(mark: str) -> set[int]:
    """Return the processes of wikiextractor that carry a mark in their environment."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if f"BABELSCOPE_TEST={mark}".encode() in environment and b"wikiextractor" in b" ".join(
            words
        ):
            found.add(int(entry.name))
    return found


def test_a_killed_extraction_leaves_nothing_behind(tmp_path):
    """Neither an output that a later run would trust, nor processes that run on."""
    dump, output = write_dump(tmp_path / "dump", compressed(6000)), tmp_path / "out" / "sw"
    code = (
        "from pathlib import Path\nfrom babelscope.corpus import extraction\n"
        "extraction.ARTICLES_PER_SHARD = 100\n"
        f"extraction.extract_articles(Path({str(dump)!r}), Path({str(output)!r}),"
        " language='sw', templates=False, processes=1)"
    )
    mark = f"{os.getpid()}-{tmp_path.name}"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "BABELSCOPE_TEST": mark}
    job = subprocess.Popen(python(code), env=environment, stderr=subprocess.DEVNULL)
    while not list(output.parent.glob(".sw.*/sw/shard*")):
        assert job.poll() is None, "ended before it could be killed"
        time.sleep(0.02)
    assert extractors(mark)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert not output.exists()
    deadline = time.monotonic() + 20
    while extractors(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not extractors(mark)
    counts = extract_articles(dump, output, language="sw", templates=False, processes=1)
    assert counts["articles"] == 6000
    assert [file.name for file in output.iterdir()] == ["shard-00000.jsonl.zst"]
