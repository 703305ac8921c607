"""Snakemake is killed, and its jobs run on in Slurm: they are cancelled, or waited for."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from babelscope import running

SOURCE = Path(__file__).resolve().parents[2] / "workflow" / "src"
TARGET = "results/text/parallel/demo.parquet"  # from a job of some seconds, by another

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]


def wait_for(what):
    for _ in range(1200):
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError


def stopped_job() -> int | None:
    """Return the process of the first job, once it works; it would be over soon."""
    for job in running.local_jobs():
        if job.name == "build_demo" and job.processes:
            os.kill(job.processes[0], signal.SIGSTOP)
            return job.processes[0]
    return None


@pytest.fixture
def recover(cluster, tmp_path):
    """Return a function that starts a recovery, whose output goes to a file of the given name."""

    def start(how, name):
        words = [cluster.command()[0], "-m", "babelscope.recovery", "--how", how]
        with (tmp_path / name).open("w") as file:
            return subprocess.Popen(
                words,
                cwd=tmp_path,
                env={**cluster.environment(tmp_path), "PYTHONPATH": str(SOURCE)},
                stdout=file,
                stderr=file,
            )

    return start


def test_jobs_of_a_killed_snakemake_are_cancelled_or_waited_for(
    cluster, recover, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    main = cluster.start(tmp_path, study=TARGET)
    first = wait_for(stopped_job)
    main.kill()
    main.wait()
    (live,) = running.live_jobs("slurm")[:1]
    assert live.rule == "build_demo"

    main = recover("cancel", "cancel.log")  # which becomes Snakemake
    wait_for(lambda: cluster.jobs(tmp_path)[0]["state"] == "CANCELLED")
    number = wait_for(lambda: {stopped_job()} - {first, None}).pop()
    main.kill()
    main.wait()
    assert f"ending {live}" in (tmp_path / "cancel.log").read_text()

    last = recover("wait", "wait.log")
    shown = tmp_path / "wait.log"
    wait_for(lambda: "waiting for build_demo (job " in shown.read_text())
    os.kill(number, signal.SIGCONT)
    assert last.wait() == 0, shown.read_text()
    assert "finished in the meantime: build_demo" in shown.read_text()
    states = [(job["comment"].strip(), job["state"]) for job in cluster.jobs(tmp_path)]
    assert states == [
        ("rule_build_demo", "CANCELLED"),
        ("rule_build_demo", "COMPLETED"),
        ("rule_read_parallel_wildcards_demo", "COMPLETED"),
    ]
    assert (tmp_path / TARGET).is_file()
