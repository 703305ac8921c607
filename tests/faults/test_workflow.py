"""Bad files in a whole run: one clear line each, a failed command, and nothing else lost."""

import bz2
import hashlib
import json
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest

from babelscope.config import Dumps

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = (
    *("languages=[en,de,es]", "data_root=data", "parallel={corpora: [pud, ntrex, tico19, bible]}"),
    'dumps={source: dumps, templates: false, date: {es: "20260102"}}',
)
WHOLE = {"sampling": "whole", "templates": False, "contact": None}
GOOD = "sent_id\ten\tde\tes\n1\tone\teins\tuno\n2\ttwo\tzwei\tdos\n"
EXPECTED = {
    "results/logs/read_parallel/pud.log": ["pud.tsv", "es"],
    "results/logs/read_parallel/ntrex.log": ["ntrex.tsv.xz", "line 3"],
    "results/logs/read_parallel/tico19.log": ["tico19.tsv.xz", "not UTF-8"],
    "results/logs/download_dump/enwiki/20260101.log": ["enwiki", "sha1", "instead of"],
    "results/logs/download_dump/eswiki/20260102.log": ["eswiki", "20260102", "20260101"],
    "results/logs/extract_articles/de.log": ["dewiki", "middle of a compressed stream"],
}


def write_dump(folder: Path, wiki: str, content: bytes, sha1: str = "") -> None:
    path = folder / wiki / "20260101"
    path.mkdir(parents=True)
    name = f"{wiki}-20260101-pages-articles.xml.bz2"
    (path / name).write_bytes(content)
    file = {"size": len(content), "sha1": sha1 or hashlib.sha1(content).hexdigest()}
    jobs = {"articlesdump": {"status": "done", "files": {name: file}}}
    (path / "dumpstatus.json").write_text(json.dumps({"jobs": jobs}))


@pytest.fixture
def folder(tmp_path):
    """Return a folder with one good corpus and everything else bad."""
    data = tmp_path / "data"
    (data / "parallel").mkdir(parents=True)
    (data / "parallel" / "pud.tsv").write_text(GOOD.replace("\tes\n", "\tfr\n"))
    short = GOOD.replace("\tdos", "").encode()
    (data / "parallel" / "ntrex.tsv.xz").write_bytes(lzma.compress(short))
    latin = GOOD.replace("uno", "año").encode("latin-1")
    (data / "parallel" / "tico19.tsv.xz").write_bytes(lzma.compress(latin))
    verses = [{"en": "one", "de": "eins", "es": "uno"}]
    (data / "bible_parallel_corpus.json").write_text(json.dumps(verses))
    text = bz2.compress(b"<mediawiki>\n" + os.urandom(9000).hex().encode())
    write_dump(tmp_path / "dumps", "enwiki", text, "0" * 40)
    write_dump(tmp_path / "dumps", "dewiki", text[:-60])
    write_dump(tmp_path / "dumps", "eswiki", text)
    return tmp_path


def snakemake(folder: Path, *targets: str, settings=SETTINGS) -> subprocess.CompletedProcess:
    command = [
        *(Path(sys.executable).with_name("snakemake"), "--snakefile", ROOT / "Snakefile"),
        *("--workflow-profile", ROOT / "profiles" / "default", "--cores", "1", "--keep-going"),
        *("--directory", folder, *targets, "--config", *settings),
    ]
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_bad_files_in_a_run(folder):
    corpora = [f"results/text/parallel/{name}.parquet" for name in ("pud", "ntrex", "tico19")]
    good = "results/text/parallel/bible.parquet"
    articles = [f"results/text/articles/{lang}.counts.json" for lang in ("en", "de", "es")]
    done = snakemake(folder, *corpora, good, *articles)
    shown = done.stdout + done.stderr
    assert done.returncode != 0
    for log, words in EXPECTED.items():
        lines = (folder / log).read_text().splitlines()
        errors = [line for line in lines if " ERROR " in line]
        assert len(errors) == 1, lines
        assert errors[0] in shown
        assert not any("Traceback" in line for line in lines)
        for word in words:
            assert word in errors[0]
    assert (folder / good).is_file()
    assert not any((folder / path).exists() for path in [*corpora, *articles])

    made = (folder / good).stat().st_mtime_ns
    (folder / "data" / "parallel" / "pud.tsv").write_text(GOOD)
    assert snakemake(folder, corpora[0], good).returncode == 0
    assert (folder / corpora[0]).is_file()
    assert (folder / good).stat().st_mtime_ns == made


def test_another_source_leaves_the_dump_of_the_first(folder):
    """A dump may have taken days; the next source may not even have it."""
    (folder / "elsewhere").mkdir()
    folders = {}
    for source in ("dumps", "elsewhere"):
        name = Dumps(source=source, date={"default": "20260101"}, **WHOLE).folder
        folders[source] = f"resources/dumps/{name}/dewiki/20260101"
        settings = f"dumps={{source: {source}, templates: false}}"
        snakemake(folder, folders[source], settings=("languages=[en,de,es]", settings))
    assert (folder / folders["dumps"] / "dewiki-20260101-pages-articles.xml.bz2").is_file()
    assert not (folder / folders["elsewhere"]).exists()


def test_a_task_without_data_in_a_language(folder):
    """The job names the language and the file, and reads the other corpus all the same."""
    for lang in ("en", "de"):
        (folder / "data" / "ner" / "panx" / lang).mkdir(parents=True)
        for name in ("train", "dev", "test"):
            path = folder / "data" / "ner" / "panx" / lang / f"{name}.tsv"
            path.write_text(f"{lang}:Bonn\tB-LOC\n{lang}:{name}\tO\n")
    (folder / "data" / "ner" / "panx" / "de" / "train.tsv").unlink()
    (folder / "data" / "nli" / "xnli").mkdir(parents=True)
    for name in ("dev.en", "dev.de", "test.en", "test.de"):
        rows = "".join(f"{name} {n}\tb\tneutral\n" for n in range(40))
        content = "premise\thypothesis\tlabel\n" + rows
        path = folder / "data" / "nli" / "xnli" / f"{name}.tsv.xz"
        path.write_bytes(lzma.compress(content.encode()))
    settings = (
        *("languages=[en,de]", "data_root=data", "tickets={languages: [en, de]}"),
        "tasks={ner: {corpus: panx}, nli: {corpus: xnli}}",
    )
    targets = [f"results/text/tasks/{name}.counts.parquet" for name in ("panx", "xnli")]
    done = snakemake(folder, *targets, settings=settings)
    assert done.returncode != 0
    log = (folder / "results/logs/read_task_data/panx.log").read_text()
    errors = [line for line in log.splitlines() if " ERROR " in line]
    assert len(errors) == 1
    for word in ("de has no examples for train", "data/ner/panx/de/train.tsv", "tickets.languages"):
        assert word in errors[0]
    assert errors[0] in done.stdout + done.stderr
    assert [(folder / target).is_file() for target in targets] == [False, True]
    assert (folder / "results/text/tasks/xnli/de/valid.parquet").is_file()
