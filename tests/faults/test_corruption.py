"""Intermediates that are damaged after they were written: named, and not used."""

import ast
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from babelscope import io, provenance
from babelscope.errors import BabelscopeError
from babelscope.tokenization.packing import write_chunks


def write_folder(path):
    path.mkdir()
    io.write_arrays(path / "model.safetensors", {"x": np.arange(999.0)})
    io.write_json(path / "config.json", {"layers": 2})


WRITERS = {
    "states.safetensors": lambda path: io.write_arrays(path, {"x": np.arange(999.0)}),
    "train.arrow": lambda path: write_chunks(path, [np.ones((60, 10), int)], 10, 100),
    "scores.parquet": lambda path: io.write_table(path, pd.DataFrame({"x": np.arange(999.0)})),
    "text.jsonl.zst": lambda path: io.write_jsonl(path, ({"text": str(n)} for n in range(999))),
    "model": write_folder,
}


@pytest.fixture(params=WRITERS)
def made(request, tmp_path, monkeypatch):
    """Return the path of an output that a job has written, with its record."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / request.param
    WRITERS[request.param](path)
    outputs = [request.param]
    record = provenance.describe("make_it", {}, {}, {}, outputs, 0.0, None)
    provenance.write_record(request.param, record)
    return request.param


def damage(name, how):
    path = provenance.Path(name)
    path = path / "model.safetensors" if path.is_dir() else path
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 4
    else:
        del content[-9:]
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("how", ["flipped", "cut"])
def test_a_damaged_file_is_named_with_its_rule_and_the_remedy(made, how):
    whole = provenance.checked([made])
    file = damage(made, how)
    with pytest.raises(BabelscopeError) as raised:
        provenance.checked([made])
    message = str(raised.value)
    assert message.startswith(f"{file} is not what the rule make_it wrote: it was damaged")
    assert f"Delete {made} and run the same command again" in message
    record = provenance.record_path(made)
    assert f"delete {record} instead" in message
    record.unlink()  # a change made on purpose is accepted
    assert provenance.checked([made]) != whole


def test_what_is_added_to_a_folder_is_nobodys_business(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "model")
    provenance.write_record("model", provenance.describe("r", {}, {}, {}, ["model"], 0.0, None))
    (tmp_path / "model" / ".snakemake_timestamp").touch()
    whole = provenance.checked(["model"])
    assert whole["model"].keys() == {"model.safetensors", "config.json"}
    (tmp_path / "model" / "notes.txt").write_text("mine")
    provenance.checked(["model"])
    (tmp_path / "model" / "config.json").unlink()
    with pytest.raises(BabelscopeError, match="model/config.json is not what the rule r wrote"):
        provenance.checked(["model"])


def test_records_without_hashes_of_outputs_refuse_nothing(tmp_path):
    file = tmp_path / "a.parquet"
    file.write_text("made by an earlier version")
    provenance.write_record(file, {"rule": "make_it", "inputs": {}})
    assert provenance.checked([str(file)])


def test_an_input_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BabelscopeError, match="gone.parquet, which this step reads, does not"):
        provenance.checked([str(tmp_path / "gone.parquet")])


def test_what_a_slow_file_system_shows_late_is_not_used_before(tmp_path, monkeypatch):
    """The record is there, the file not yet, or still the old one; the next attempt goes on."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "a.jsonl"
    file.write_text("new")
    provenance.write_record(
        file, provenance.describe("make_it", {}, {}, {}, ["a.jsonl"], 0.0, None)
    )
    whole = provenance.checked(["a.jsonl"])
    file.write_text("old")
    with pytest.raises(BabelscopeError, match="a.jsonl is not what the rule make_it wrote"):
        provenance.checked(["a.jsonl"])
    file.unlink()
    with pytest.raises(BabelscopeError, match="does not exist.*raise --latency-wait"):
        provenance.checked(["a.jsonl"])
    file.write_text("new")
    assert provenance.checked(["a.jsonl"]) == whole


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """Return a job that has written two outputs and their records, as keywords."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.txt").write_text("input")
    WRITERS["scores.parquet"](tmp_path / "scores.parquet")
    write_folder(tmp_path / "model")
    made = {
        "rule": "make_it",
        "wildcards": {"lang": "en"},
        "params": {"shares": (0.1, 0.2), "names": {"a", "b"}, 3: None},
        "inputs": ["in.txt"],
        "outputs": ["scores.parquet", "model"],
        "code": "a hash",
    }
    facts = made | {"inputs": provenance.checked(made["inputs"]), "seconds": 1.0}
    for output in made["outputs"]:
        provenance.write_record(output, provenance.describe(**facts))
    return made


def test_a_job_is_finished_when_all_agrees_with_its_records(finished):
    assert provenance.is_finished(**finished)
    for changed in (
        *({"rule": "other"}, {"wildcards": {"lang": "de"}}, {"params": {}}),
        *({"code": "another"}, {"code": None}),
    ):
        assert not provenance.is_finished(**finished | changed)
    assert not provenance.is_finished(**finished | {"outputs": ["scores.parquet"]})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "in.txt").write_text("another input"),
        lambda folder: (folder / "scores.parquet").unlink(),
        lambda folder: damage("model", "flipped"),
        lambda folder: (folder / "model" / "provenance.json").unlink(),
        lambda folder: (folder / "scores.provenance.json").write_text("{"),
        lambda folder: (folder / "scores.provenance.json").write_text(json.dumps({})),
    ],
)
def test_anything_else_is_not_finished(finished, tmp_path, spoil):
    spoil(tmp_path)
    assert not provenance.is_finished(**finished)


def imported(path: Path) -> set[str]:
    """Return the dotted names that a file imports, as Python's own parser reads them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {one.name for one in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
    return {name for name in names if name.split(".")[0] == "babelscope"}


def test_the_code_of_a_rule_is_all_that_its_script_imports():
    scripts = sorted((provenance.HOME / "scripts").glob("*.py"))
    assert len(scripts) > 60
    for script in scripts:
        found = provenance.sources(script)
        library = {path for path in found if path != script}
        modules = {
            ".".join(path.relative_to(provenance.HOME / "src").with_suffix("").parts)
            for path in library
        }
        known = {name.removesuffix(".__init__") for name in modules}
        needed = {name for path in found for name in imported(path)}
        tops = {name.rsplit(".", 1)[0] for name in needed} | needed
        for name in tops:
            there = provenance.HOME / "src" / name.replace(".", "/")
            if there.with_suffix(".py").is_file() or (there / "__init__.py").is_file():
                assert name in known, (script, name)
        known -= {"babelscope.corpus.bounded_wikiextractor"}  # which is run
        assert known <= tops | {"babelscope"} | {name.rsplit(".", 1)[0] for name in tops}, script


def test_the_code_of_a_rule_has_the_programs_that_it_runs():
    found = provenance.sources(provenance.HOME / "scripts" / "extract_articles.py")
    assert "bounded_wikiextractor" in {path.stem for path in found}


def test_a_change_elsewhere_leaves_the_code_of_a_rule_as_it_is(monkeypatch, tmp_path):
    """A figure's new colours do not send a training that is done back to its start."""
    scripts, library = tmp_path / "scripts", tmp_path / "src" / "babelscope"
    for folder in (scripts, library):
        folder.mkdir(parents=True)
    (scripts / "make_it.py").write_text("from babelscope.used import (\n    first,\n)\n")
    (library / "used.py").write_text("import babelscope.deep\n")
    for name in ("__init__", "deep", "other"):
        (library / f"{name}.py").write_text("")
    monkeypatch.setattr(provenance, "HOME", tmp_path)
    before = provenance.code_of("make_it")
    (library / "other.py").write_text("changed = True\n")
    assert provenance.code_of("make_it") == before
    for changed in (library / "deep.py", library / "used.py", scripts / "make_it.py"):
        text = changed.read_text()
        changed.write_text(f"{text}changed = True\n")
        assert provenance.code_of("make_it") != before
        changed.write_text(text)
        assert provenance.code_of("make_it") == before
