import os

import pytest

from babelscope import cluster
from babelscope.errors import BabelscopeError


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Return a function that puts a `squeue` and a `scancel` on PATH which run some shell."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin:/bin")

    def install(code: str) -> None:
        for name in ("squeue", "scancel"):
            path = tmp_path / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"#!/bin/sh\n{code}\n")
            path.chmod(0o755)

    return install


def test_jobs_are_of_one_workflow_in_one_folder(slurm, tmp_path):
    lines = [
        f"7|RUNNING|c1|babelscope_uuid|{tmp_path}|rule_rank_heads_wildcards_demo_en_1",
        f"8_2|PENDING||babelscope_uuid|{tmp_path}/.|rule_build_demo",
        f"9|RUNNING|c1|babelscope_uuid|{tmp_path / 'other'}|rule_build_demo",
        f"10|RUNNING|c1|somebody_else|{tmp_path}|rule_build_demo",
        f"11|RUNNING|c2|babelscope_uuid|{tmp_path}|",
    ]
    slurm("cat <<'END'\n" + "\n".join(lines) + "\nEND")
    assert cluster.find_jobs(tmp_path) == [
        cluster.ClusterJob("7", "rank_heads", "demo_en_1", "RUNNING", "c1"),
        cluster.ClusterJob("8_2", "build_demo", "", "PENDING", ""),
        cluster.ClusterJob("11", "babelscope_uuid", "", "RUNNING", "c2"),
    ]


def test_a_controller_that_does_not_answer_is_not_an_empty_queue(slurm, tmp_path, monkeypatch):
    slurm("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(BabelscopeError, match="squeue failed: .* contact slurm controller"):
        cluster.find_jobs(tmp_path)
    monkeypatch.setattr(cluster, "TIMEOUT", 0.05)
    slurm("exec sleep 5")
    with pytest.raises(BabelscopeError, match="no answer within"):
        cluster.find_jobs(tmp_path)


def test_jobs_are_cancelled_by_their_number(slurm, tmp_path):
    slurm(f'echo "$@" > {tmp_path}/asked')
    cluster.cancel([cluster.ClusterJob(n, "", "", "RUNNING", "c1") for n in ("7", "8_2")])
    assert (tmp_path / "asked").read_text() == "7 8_2\n"
