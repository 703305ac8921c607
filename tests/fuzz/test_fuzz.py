"""Damaged files of every reader, the same ones at each run; `make fuzz` tries others, for longer.

Whatever is read ends well or by one of our errors, in one line.
"""

import os
import re
import signal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from babelscope import io
from babelscope.corpus.choices import read_choices
from babelscope.corpus.cleaning import clean, prepare, stop_clock
from babelscope.corpus.disambiguation import is_disambiguation
from babelscope.errors import BabelscopeError
from babelscope.io import decode_json
from tests.fuzz.cases import bomb, damage, pack, run
from tests.fuzz.mutations import JSON, TEXT, mutate
from tests.fuzz.readers import CONFIG, Reader, find_readers

NAMES = [
    *(f"parallel.{format}" for format in ("tsv", "jsonl", "json", "moses", "conllu")),
    *("ner.panx", "ner.conll", "ner.datasets", "ner.datasets.jsonl"),
    *("nli.tsv", "nli.jsonl", "nli.datasets", "examples", "topics.tsv", "topics.jsonl"),
    *(f"pairs.{format}" for format in ("lines", "tsv", "jsonl", "nli")),
    *(f"sts.{format}" for format in ("tsv", "csv", "jsonl", "lines", "semrel", "stsb")),
    *("bitext.tsv", "bitext.moses", "mining.bucc", "reading", "instructions"),
    *(f"choices.{format}" for format in ("xnli", "pawsx", "xcopa", "xstorycloze", "xwinograd")),
    *("dump", "wikitext", "articles", "multistream", "dumpstatus", "sums", "archives"),
    *("config.yaml", "config", "tables", "prompts", "arrays", "parquet", "records", "models"),
]
SLOW = ["extraction"]  # which starts processes; `make fuzz` does that
QUIET = settings(
    derandomize=True,
    deadline=None,
    max_examples=40,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def readers(tmp_path_factory) -> dict[str, Reader]:
    return find_readers(tmp_path_factory.mktemp("demo"), None)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch):
    """Write without waiting for the disk, which takes most of the time."""
    monkeypatch.setattr(io, "_fsync", lambda path: None)


def test_every_reader_is_tried(readers):
    assert {*NAMES, *SLOW} == set(readers)


def read_damaged(reader: Reader, folder: Path, examples: int) -> None:
    """Let a reader read so many sets of damaged files."""

    @settings(QUIET, max_examples=examples)
    @given(random=st.randoms(use_true_random=False))
    def read(random):
        home = folder / str(sum(1 for _ in folder.iterdir()))
        home.mkdir()
        run(reader, damage(reader, random, bombs=False), home)

    read()


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_are_read_or_refused(readers, name, tmp_path):
    read_damaged(readers[name], tmp_path, 12)


REAL = [
    *("parallel.tsv", "parallel.conllu", "ner.panx.real", "ner.conll", "nli.tsv", "examples"),
    *("pairs.nli", "sts.semrel", "sts.stsb", "bitext.tsv", "mining.bucc", "choices.pawsx"),
    *("choices.xcopa", "choices.xwinograd", "dump", "wikitext"),
]


@pytest.fixture(scope="module")
def real_readers(readers, real_data, tmp_path_factory) -> dict[str, Reader]:
    """Return readers with real files alone, of those that there are."""
    both = find_readers(tmp_path_factory.mktemp("demo"), real_data)
    own = {name: readers[name].seeds if name in readers else [] for name in both}
    return {
        name: reader._replace(seeds=[files for files in reader.seeds if files not in own[name]])
        for name, reader in both.items()
    }


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_damaged_real_files_are_read_or_refused(real_readers, name, tmp_path):
    reader = real_readers[name]
    for number, files in enumerate(reader.seeds):
        (tmp_path / f"whole-{number}").mkdir()
        assert run(reader, pack(reader, files), tmp_path / f"whole-{number}") == ""
    read_damaged(reader, tmp_path, 8)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("archives", "tables")])
def test_whole_files_are_read(readers, name, tmp_path):
    """Else only errors would be tried; `prompts` and `models` have several sets of them."""
    for number, files in enumerate(readers[name].seeds):
        home = tmp_path / str(number)
        home.mkdir()
        said = run(readers[name], pack(readers[name], files), home)
        assert not said or "data_root" in said, said


TOKENS = ["{{", "}}", "[[", "]]", "|", "\n", " ", ",", "(", ")", "&#", "<", ">", "'''", "==", "a: "]
markup = st.lists(
    st.one_of(
        st.sampled_from(TOKENS),
        st.text(max_size=5),
        st.builds(lambda token, count: token * count, st.sampled_from(TOKENS), st.integers(1, 400)),
    ),
    max_size=12,
).map("".join)


@QUIET
@given(text=markup, title=st.text(max_size=4), language=st.sampled_from(["en", "zh", "ar"]))
def test_markup_of_any_kind_becomes_clean_text(text, title, language):
    is_disambiguation(title, text, language)
    prepared = prepare(stop_clock(text, "20260101"), frozenset({"file"}), language)
    found = clean(prepared, title)
    assert "{{" not in found
    assert "[[" not in found
    assert "\n\n" not in found
    assert clean(found, "") == clean(clean(found, ""), "")


values: Any = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@QUIET
@given(value=values)
def test_json_is_read_as_it_was_meant_or_refused(value):
    """Whatever is returned can be written in UTF-8."""
    import json

    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert repr(decode_json(text)) == repr(json.loads(text))
    with pytest.raises(ValueError, match="half a character"):
        decode_json(json.dumps([value, "\ud800"]))


cells = st.one_of(
    values.map(lambda value: io.json.dumps(value)),
    st.sampled_from(['["a", "b"]', '["b", [1, 2], []]', '[["a", [0, 1], true], ["b", [1, 2], 0]]']),
)


@QUIET
@given(rows=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=3))
def test_schemata_of_any_shape_are_read_or_refused(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("schemata") / "a.tsv"
    lines = ["\t".join(["en", "x", "y", "a b", *row]).replace("\n", " ") for row in rows]
    path.write_text("\n".join(lines) + "\n", "utf-8", "surrogatepass")
    parts = {"train": ("a", 0.0, 0.5), "test": ("a", 0.5, 1.0)}
    with pytest.raises(BabelscopeError, match=r"a\.tsv"):  # never enough of them
        read_choices({"en/a": str(path)}, format="xwinograd", parts=parts, codes={"en": "en"})


def test_the_same_number_damages_files_in_the_same_way(readers):
    for name in ("archives", "records"):
        one, two = (damage(readers[name], Random(f"x {n}")) for n in (7, 7))
        assert one == two
    for ways in (TEXT, JSON):
        content = (CONFIG / "models.tsv").read_bytes()
        one, two = (mutate(content, Random("x 7"), ways) for _ in range(2))
        assert one == two
        assert any(mutate(content, Random(f"x {n}"), ways) != content for n in range(3))


@pytest.mark.parametrize("end", [".gz", ".xz", ".zst"])
def test_a_bomb_is_put_out(tmp_path, end):
    path = tmp_path / f"a.txt{end}"
    path.write_bytes(bomb(end))
    with pytest.raises(BabelscopeError, match="far more comes out"):
        list(io.read_lines(path))


class Broken(Exception):
    """What a reader must not raise."""


def broken(kind: str) -> Reader:
    """Return a reader that has an error in every tenth case."""

    def read(paths):
        number = sum(paths["a.txt"].read_bytes())
        if number % 10 == 0:
            if kind == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            while kind == "hangs":
                pass
            raise Broken("out of luck")
        raise BabelscopeError("It is damaged." + "\n" * (kind == "lines"), "Repair it.")

    return Reader(kind, [{"a.txt": b"some text\n" * 9}], read)


@pytest.mark.parametrize(
    ("kind", "message"),
    [("raises", "Broken: out of luck"), ("dies", "status -9"), ("hangs", "s of work")],
)
def test_a_reader_with_an_error_is_found(kind, message, tmp_path, monkeypatch):
    fuzz = pytest.importorskip("tests.fuzz.__main__")
    monkeypatch.setattr(fuzz, "SLOW", 0.6)
    found = fuzz.fuzz(broken(kind), 0, 0.5, False, tmp_path / "work")
    assert found["cases"] > 1
    problems = list(found["problems"].values())
    assert len(problems) == 1
    number, problem = problems[0]
    assert message in problem
    again = fuzz.fuzz(broken(kind), number, 0.5, True, tmp_path / "work")
    assert again["cases"] == 1
    assert message in next(iter(again["problems"].values()))[1]


def test_the_program_prints_what_it_did(readers, monkeypatch, capsys):
    fuzz = pytest.importorskip("tests.fuzz.__main__")
    monkeypatch.setenv("BABELSCOPE_DATA", "/nowhere")
    monkeypatch.setattr(fuzz, "find_readers", lambda demo, real: readers)
    assert fuzz.main(["--reader", "sums", "--case", "3"]) == 0
    said = capsys.readouterr().out
    assert "1 readers; files of the demo\n" in said
    assert said.endswith("nothing found\n")
    readers = {"raises": broken("raises")}
    assert fuzz.main(["--seconds", "0.3"]) == 1
    said = capsys.readouterr().out
    assert re.search(r"again: python -m tests\.fuzz --reader raises --case \d+\n\n1 findings", said)
