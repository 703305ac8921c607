import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "workflow" / "src"

SCRIPT = """
from types import SimpleNamespace as Namespace
from pathlib import Path
from babelscope.errors import BabelscopeError
from babelscope.jobs import job

snakemake = Namespace(log=["job.log"], threads=1, rule="make_text", wildcards={"lang": "en"},
                      params={"seed": 1} | PARAMS, resources={}, input=["in.txt"], output=["out.txt", "folder"])
with job(snakemake):
    import subprocess
    subprocess.run(["echo", "from a child"])
    Path("out.txt").write_text("done")
    Path("folder").mkdir()
    BODY
"""


def run(folder: Path, body: str, params: dict | None = None) -> subprocess.CompletedProcess:
    (folder / "in.txt").write_text("hello")
    code = SCRIPT.replace("BODY", body).replace("PARAMS", repr(params or {}))
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
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert record["inputs"] == {"in.txt": digest}
    assert record["packages"]["numpy"]
    assert record["seconds"] >= 0
    assert record["peak_memory_mb"] > 1
    assert "from a child" in (tmp_path / "job.log").read_text()


@pytest.mark.parametrize(
    ("body", "traceback"),
    [("raise BabelscopeError('in.txt is bad.', 'Mend it.')", False), ("1 / 0", True)],
)
def test_a_failed_job_says_why_and_leaves_no_record(tmp_path, body, traceback):
    assert run(tmp_path, body).returncode == 1
    log = (tmp_path / "job.log").read_text()
    assert ("Traceback" in log) is traceback
    assert ("ZeroDivisionError" if traceback else "in.txt is bad. Mend it.") in log
    assert not (tmp_path / "out.provenance.json").exists()


def test_a_gpu_that_is_not_there_is_one_error_before_the_work(tmp_path):
    compute = {"device": "cuda", "precision": "bf16"}
    assert run(tmp_path, "Path('begun').touch()", {"compute": compute}).returncode == 1
    log = (tmp_path / "job.log").read_text()
    assert "Traceback" not in log
    assert "compute.device: cuda needs 1 GPU" in log
    assert "sees 0" in log
    assert not (tmp_path / "begun").exists()
