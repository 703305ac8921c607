import errno
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from babelscope import io
from babelscope.errors import BabelscopeError

SOURCE = Path(__file__).resolve().parents[2] / "workflow" / "src"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.json"
    io.write_json(target, {"v": 1})
    with pytest.raises(RuntimeError), io.atomic(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert io.read_json(target) == {"v": 1}
    assert os.listdir(tmp_path) == ["a.json"]  # noqa: PTH208


def test_what_a_killed_job_left_is_cleared_by_the_next(tmp_path):
    with pytest.raises(KeyboardInterrupt), io.atomic(tmp_path / "a") as temporary:
        for name in (temporary.parent.name, temporary.parent.name.replace(".a.", ".a.json.")):
            (tmp_path / "killed" / name).mkdir(parents=True)
            (tmp_path / "killed" / name / "a").write_text("half")
        raise KeyboardInterrupt
    io.write_json(tmp_path / "killed" / "a", {})
    other, mine = sorted(path.name for path in (tmp_path / "killed").iterdir())
    assert mine == "a"
    assert other.startswith(".a.json.")


def test_folders_are_replaced_whole(tmp_path):
    target = tmp_path / "model"
    for name in ("old", "new"):
        with io.atomic(target) as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    assert [path.name for path in target.iterdir()] == ["new"]


def test_writing_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), io.atomic(tmp_path / "a"):
        pass


def test_a_full_disk_is_one_clear_error(tmp_path):
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("no /dev/full")
    with pytest.raises(BabelscopeError, match="No space left"), io.atomic(tmp_path / "a"):
        with open("/dev/full", "w") as full:  # noqa: PTH123
            full.write("x" * 100000)
    assert not list(tmp_path.iterdir())


def test_a_disk_too_full_to_begin_is_the_same_error(tmp_path, monkeypatch):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(io.tempfile, "mkdtemp", full)
    with pytest.raises(BabelscopeError, match="No space left"):
        io.write_json(tmp_path / "a.json", {})


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "Give yourself permission"),
        (errno.EPERM, "Give yourself permission"),
        (errno.EIO, "The disk or its server fails"),
        (errno.ESTALE, "The disk or its server fails"),
    ],
)
def test_what_the_system_refuses_is_one_error_with_its_own_remedy(
    tmp_path, monkeypatch, number, remedy
):
    def refuse(folder, **_):
        raise OSError(number, os.strerror(number), f"{folder}/.a.json.12345678")

    monkeypatch.setattr(io.tempfile, "mkdtemp", lambda suffix, prefix, folder: refuse(folder))
    said = f"a.json could not be read or written: {os.strerror(number)}. {remedy}"
    with pytest.raises(BabelscopeError, match=re.escape(said)):
        io.write_json(tmp_path / "a.json", {})


def test_an_error_names_the_file_that_it_is_about(tmp_path):
    with pytest.raises(BabelscopeError, match=r"^in\.txt could not be read"):
        with io.atomic(tmp_path / "out.txt"):
            raise PermissionError(errno.EACCES, "no", "in.txt")
    with pytest.raises(BabelscopeError, match=r"out\.txt could not be read"):
        with io.atomic(tmp_path / "out.txt") as temporary:
            raise PermissionError(errno.EACCES, "no", str(temporary))


FORBIDDEN = """
import json, os
from babelscope.errors import BabelscopeError
from babelscope.io import write_json

os.seteuid(65534)
try:
    write_json("closed/a.json", {})
except BabelscopeError as error:
    print(error)
"""


def test_a_folder_of_somebody_else_is_one_clear_error():
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    with tempfile.TemporaryDirectory() as folder:  # where all may come, unlike in pytest's own
        Path(folder).chmod(0o755)
        Path(folder, "closed").mkdir(mode=0o755)
        done = subprocess.run(
            [sys.executable, "-c", FORBIDDEN],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            capture_output=True,
            text=True,
        )
    said = "closed/a.json could not be read or written: Permission denied. Give yourself"
    assert done.stdout.startswith(said), done.stderr


def test_records_survive_in_every_script(tmp_path):
    records = [{"text": text} for text in ("naïve", "мир", "世界", "سلام", "नमस्ते", "a\nb\u2028c")]
    assert io.write_jsonl(tmp_path / "a.jsonl.zst", records) == len(records)
    assert list(io.read_jsonl(tmp_path / "a.jsonl.zst")) == records


def test_frames_may_follow_each_other(tmp_path):
    io.write_jsonl(tmp_path / "a.jsonl.zst", [{"n": 1}])
    one = (tmp_path / "a.jsonl.zst").read_bytes()
    (tmp_path / "a.jsonl.zst").write_bytes(one + one)
    assert list(io.read_jsonl(tmp_path / "a.jsonl.zst")) == [{"n": 1}, {"n": 1}]


def test_damage_is_named(tmp_path):
    path = tmp_path / "a.jsonl.zst"
    io.write_jsonl(path, [{"n": i, "t": "text " * 50} for i in range(500)])
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (whole[: len(whole) // 2], bytes(flipped)):
        path.write_bytes(damaged)
        with pytest.raises(BabelscopeError, match="a.jsonl.zst"):
            list(io.read_jsonl(path))


def test_gzip_is_read_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    records = [{"n": n, "t": f"мир 世界 {n * n}"} for n in range(500)]
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    whole = gzip.compress(text.encode())
    path.write_bytes(whole)
    assert list(io.read_jsonl(path)) == records
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (whole[: len(whole) // 2], whole[:-4], bytes(flipped), b"<html>"):
        path.write_bytes(damaged)
        with pytest.raises(BabelscopeError, match=r"a\.jsonl\.gz is damaged or cut off"):
            list(io.read_jsonl(path))
    path.write_bytes(gzip.compress(b'{"a": 1}\n{"a": "gr\xfcn"}\n'))
    with pytest.raises(BabelscopeError, match=r"a\.jsonl\.gz is not UTF-8: .* in line 2"):
        list(io.read_jsonl(path))


def test_lines_may_hold_any_json(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('["a", "b"]\n{"set": ["c"]}\n')
    assert list(io.read_json_lines(path)) == [["a", "b"], {"set": ["c"]}]
    with pytest.raises(BabelscopeError, match=r"a\.jsonl, line 1: expected a JSON object"):
        list(io.read_jsonl(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b'{"a": 1}\nnope\n', "line 2"), (b"[1]\n", "line 1"), (b'{"a": "\xff"}\n', "not UTF-8")],
)
def test_bad_lines_are_named(tmp_path, content, message):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(BabelscopeError, match=message):
        list(io.read_jsonl(path))


def test_the_same_arrays_and_metadata_give_the_same_bytes(tmp_path):
    """Else a file that was made again would look changed to all that compares checksums."""
    metadata = {f"key {n}": f'wörter "{n}" \\ \n\t\x01\x7f 北京' for n in range(8)}
    for n in range(6):
        io.write_arrays(tmp_path / f"{n}", {"b": np.arange(3), "a": np.ones((2, 2))}, metadata)
    contents = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(contents) == 1
    assert io.read_metadata(tmp_path / "0") == metadata
    assert io.read_arrays(tmp_path / "0")["b"].tolist() == [0, 1, 2]
    io.write_arrays(tmp_path / "bare", {"a": np.arange(3)})
    assert io.read_arrays(tmp_path / "bare")["a"].tolist() == [0, 1, 2]


def test_arrays_and_metadata(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.array([True, False])}
    io.write_arrays(tmp_path / "a.safetensors", arrays, {"note": "x"})
    back = io.read_arrays(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(back["a"], arrays["a"])
    assert io.read_metadata(tmp_path / "a.safetensors") == {"note": "x"}
    (tmp_path / "a.safetensors").write_bytes(b"\x10" * 40)
    with pytest.raises(BabelscopeError, match=r"a\.safetensors"):
        io.read_arrays(tmp_path / "a.safetensors")


def test_tables(tmp_path):
    table = pd.DataFrame({"language": ["en"], "value": [1.5]})
    io.write_table(tmp_path / "t.parquet", table)
    io.write_table(tmp_path / "t.csv", table)
    pd.testing.assert_frame_equal(io.read_table(tmp_path / "t.parquet"), table)
    assert (tmp_path / "t.csv").read_text() == "language,value\nen,1.5\n"
    with pytest.raises(BabelscopeError, match="empty"):
        io.write_table(tmp_path / "e.parquet", table.iloc[:0])
    whole = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(whole[:-20])
    with pytest.raises(BabelscopeError, match=r"t\.parquet"):
        io.read_table(tmp_path / "t.parquet")


def test_json_names_the_line(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1,\n oops}')
    with pytest.raises(BabelscopeError, match="line 2"):
        io.read_json(tmp_path / "a.json")
