import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from babelscope.locks import is_held, stand_in

SOURCE = Path(__file__).resolve().parents[2] / "workflow" / "src"

DONE = "a4c3ed04a95a3da14a9d235c83d868bed7c0f45cf7f3faa751ee8f50598d2211"  # of the word

SCRIPT = """
from types import SimpleNamespace as Namespace
from pathlib import Path
from babelscope import jobs
from babelscope.errors import BabelscopeError
from babelscope.jobs import job

jobs.GLANCE = jobs.PATIENCE = SECONDS

snakemake = Namespace(log=["job.log"], threads=1, rule="make_text", wildcards={"lang": "en"},
                      params={"seed": 1} | PARAMS, resources={}, input=["in.txt"],
                      output=["out.txt", "folder"])
with job(snakemake):
    import subprocess
    subprocess.run(["echo", "from a child"])
    Path("out.txt").write_text("done")
    Path("folder").mkdir()
    BODY
"""


def run(
    folder: Path, body: str, params: dict | None = None, patience: float = 9, before: str = ""
) -> subprocess.CompletedProcess:
    (folder / "in.txt").write_text("hello")
    code = before + SCRIPT.replace("BODY", body).replace("PARAMS", repr(params or {}))
    code = code.replace("SECONDS", str(patience))
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )


def test_a_finished_job_leaves_its_record(tmp_path):
    assert run(tmp_path, "pass").returncode == 0
    record = json.loads((tmp_path / "out.provenance.json").read_text())
    assert record == json.loads((tmp_path / "folder" / "provenance.json").read_text())
    assert record["rule"] == "make_text"
    assert record["wildcards"] == {"lang": "en"}
    assert record["params"] == {"seed": 1}
    assert record["outputs"] == {"out.txt": DONE, "folder": {}}
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert record["inputs"] == {"in.txt": digest}
    assert record["packages"]["numpy"]
    assert record["seconds"] >= 0
    assert record["peak_memory_mb"] > 1
    assert "from a child" in (tmp_path / "job.log").read_text()


@pytest.mark.parametrize(
    ("body", "traceback", "said"),
    [
        ("raise BabelscopeError('in.txt is bad.', 'Mend it.')", False, "in.txt is bad. Mend it."),
        ("raise OSError(28, 'full', 'a.bin')", False, "a.bin could not be written: No space left"),
        ("raise OSError(13, 'no', 'a.bin')", False, "a.bin could not be read or written: Permis"),
        ("raise OSError(5, 'bad')", False, "A file could not be read or written: Input/output"),
        ("raise PermissionError(1, 'no such call')", True, "no such call"),
        ("1 / 0", True, "ZeroDivisionError"),
    ],
)
def test_a_failed_job_says_why_and_leaves_no_record(tmp_path, body, traceback, said):
    (tmp_path / "out.provenance.json").write_text("{}")  # of an earlier time
    assert run(tmp_path, body).returncode == 1
    log = (tmp_path / "job.log").read_text()
    assert ("Traceback" in log) is traceback
    assert said in log
    assert not (tmp_path / "out.provenance.json").exists()


def test_a_gpu_that_is_not_there_is_one_error_before_the_work(tmp_path):
    compute = {"device": "cuda", "precision": "bf16"}
    assert run(tmp_path, "Path('begun').touch()", {"compute": compute}).returncode == 1
    log = (tmp_path / "job.log").read_text()
    assert "Traceback" not in log
    assert "compute.device: cuda needs 1 GPU" in log
    assert "sees 0" in log
    assert not (tmp_path / "begun").exists()


def test_a_damaged_input_is_one_error_before_the_work(tmp_path):
    outputs = {"in.txt": "0" * 64}
    (tmp_path / "in.provenance.json").write_text(json.dumps({"rule": "r", "outputs": outputs}))
    assert run(tmp_path, "Path('begun').touch()").returncode == 1
    log = (tmp_path / "job.log").read_text()
    assert "in.txt is not what the rule r wrote" in log
    assert "Traceback" not in log
    assert not (tmp_path / "out.txt").exists()


def test_a_job_is_not_done_by_two_at_once(tmp_path):
    (tmp_path / "job.log").write_text("of the one that works")
    with stand_in(tmp_path / "job.log").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = run(tmp_path, "pass", patience=0)
    assert done.returncode == 1
    assert "waiting for another process, which does the job of job.log" in done.stderr
    assert "Another process does this job already, and writes to job.log" in done.stderr
    assert (tmp_path / "job.log").read_text() == "of the one that works"
    assert not (tmp_path / "out.txt").exists()


LOOK = "from babelscope.locks import *; assert is_held(stand_in('job.log'))"
NO_LINKS = """
import os
def link(*names):
    raise PermissionError(1, "Operation not permitted")
os.link = link
"""


@pytest.mark.parametrize("before", ["", NO_LINKS])
def test_the_lock_stays_when_the_log_is_removed(tmp_path, before):
    """As Snakemake does before it starts a job; also where a file system has no hard links."""
    (tmp_path / "job.log").write_text("of an earlier attempt")
    look = f"subprocess.run([{sys.executable!r}, '-c', {LOOK!r}], check=True)"
    done = run(tmp_path, f"print('new'); {look}; Path('job.log').unlink(); {look}", before=before)
    assert done.returncode == 0, (tmp_path / "job.log").read_text()
    assert not is_held(stand_in(tmp_path / "job.log"))
