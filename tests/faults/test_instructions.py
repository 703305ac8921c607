"""Instruction data that are broken, and jobs that die while they make samples."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from babelscope.corpus.instructions import make_instruction_pairs
from babelscope.errors import BabelscopeError
from babelscope.io import read_jsonl

SOURCE = Path(__file__).resolve().parents[2] / "workflow" / "src"
KEYWORDS = {
    "languages": {"en": "English", "de": "German"},
    "pivot": "en",
    "cross_probability": 0.5,
    "change_probability": 0.5,
    "repeat": 1.0,
    "valid": 0.2,
    "weights": {},
    "seed": 1,
}
PROGRAM = """
from babelscope.corpus.instructions import make_instruction_pairs
from babelscope.errors import BabelscopeError
files = {code: f"FOLDER/{code}.json" for code in ("en", "de")}
outputs = {split: f"FOLDER/out/{split}.jsonl.zst" for split in ("train", "valid")}
try:
    make_instruction_pairs({"bx": files}, {}, outputs, **KEYWORDS)
except BabelscopeError as error:
    print(error)
"""
WRITE = """
import json
for code in ("en", "de"):
    rows = [{"id": str(n), "instruction": f"{code} {n}", "output": 150 * code} for n in range(200)]
    open(f"FOLDER/{code}.json", "w").write(json.dumps(rows))
"""


SMALL = """
from babelscope.corpus import matched_rows
matched_rows.CACHE = 16  # kB, so that rows are written before there are many
"""


def program(text, folder):
    return text.replace("FOLDER", str(folder)).replace("KEYWORDS", repr(KEYWORDS))


def rows(language, count=20, length=0):
    return [
        {
            "id": f"x-{n}",
            "instruction": f"{language} {n}",
            "input": "",
            "output": f"{language} answer {n}" + os.urandom(length).hex(),
        }
        for n in range(count)
    ]


def files_in(folder, **texts):
    """Write the files of two languages, one of them as given, and return them."""
    files = {}
    for code in ("en", "de"):
        path = folder / f"{code}.json"
        path.write_text(texts.get(code) or json.dumps(rows(code)), "utf-8")
        files[code] = str(path)
    return files


def make(folder, files):
    outputs = {split: str(folder / "out" / f"{split}.jsonl.zst") for split in ("train", "valid")}
    make_instruction_pairs({"bx": files}, {}, outputs, **KEYWORDS)
    return outputs


def left_in(folder):
    return sorted(path.name for path in (folder / "out").glob("*")) if folder.is_dir() else []


def broken(change):
    """Return the text of a file whose fourth row is changed."""
    found = rows("de")
    found[3] |= change
    return json.dumps(found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps(rows("de"))[:-40], r"de\.json, line 1, column \d+: not JSON"),
        (json.dumps(rows("de"), indent=1).replace('"x-3",', '"x-3"'), r"de\.json, line 22, column"),
        ("<!doctype html>\n<html></html>", r"de\.json, line 1, column 1: not JSON"),
        ('["x-1", "x-2"]', r"de\.json, line 1, column 2: not JSON .an object is missing"),
        (broken({"output": ["a"]}), r"de\.json, object 4: output is \['a'\], not a text"),
        (broken({"instruction": 3}), r"de\.json, object 4: instruction is 3, not a text"),
        (broken({"input": {}}), r"de\.json, object 4: input is \{\}, not a text"),
        (broken({"id": True}), r"de\.json, object 4: id is True, not a text"),
        (broken({"id": 1.5}), r"de\.json, object 4: id is 1\.5, not a text"),
        (broken({"id": "x-2"}), r"de\.json, object 4: the id x-2 is there twice"),
        (broken({"output": "half \ud83d"}), r"de\.json, line 1, column \d+: .* \(half a character"),
    ],
)
def test_a_broken_file_is_named_with_its_place(text, message, tmp_path):
    with pytest.raises(BabelscopeError, match=message):
        make(tmp_path, files_in(tmp_path, de=text))
    assert left_in(tmp_path) == []


def test_a_file_that_is_not_there_or_was_cut_off(tmp_path):
    files = files_in(tmp_path)
    Path(files["de"]).unlink()
    with pytest.raises(BabelscopeError, match=r"The corpus has no de: .*de\.json does not exist"):
        make(tmp_path, files)
    files["de"] = str(tmp_path / "de.json.gz")
    whole = gzip.compress(json.dumps(rows("de")).encode())
    Path(files["de"]).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BabelscopeError, match=r"de\.json\.gz is damaged or cut off"):
        make(tmp_path, files)
    Path(files["de"]).write_bytes(gzip.compress(b'[{"id": "\xff"}]'))
    with pytest.raises(BabelscopeError, match=r"de\.json\.gz is not UTF-8"):
        make(tmp_path, files)
    assert left_in(tmp_path) == []


def test_a_full_disk_is_said(small_disk, tmp_path):
    done = small_disk(program(SMALL + WRITE + PROGRAM, tmp_path))
    assert done.returncode == 0, done.stderr
    assert "could not be written" in done.stdout
    assert "Free space" in done.stdout


def test_a_killed_job_leaves_no_half_file_and_its_rows_are_cleared(tmp_path):
    expected = {
        split: list(read_jsonl(path)) for split, path in make(tmp_path, files_in(tmp_path)).items()
    }
    for path in (tmp_path / "out").iterdir():
        path.unlink()
    big = {code: json.dumps(rows(code, 8000, 300)) for code in ("en", "de")}
    files_in(tmp_path, **big)
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", program(PROGRAM, tmp_path)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    rows_file = tmp_path / "out" / ".train.jsonl.zst.rows" / "bx.sqlite"
    deadline = time.monotonic() + 60
    while not rows_file.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert left_in(tmp_path) == [".train.jsonl.zst.rows"]
    outputs = make(tmp_path, files_in(tmp_path))
    assert {split: list(read_jsonl(path)) for split, path in outputs.items()} == expected
    assert left_in(tmp_path) == ["train.jsonl.zst", "valid.jsonl.zst"]
