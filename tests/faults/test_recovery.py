"""A Snakemake that is killed while its job runs on: nothing is done twice, nothing is lost."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from babelscope import running

ROOT = Path(__file__).resolve().parents[2]
TARGET = "results/text/parallel/demo.parquet"  # from a job of some seconds, by another


def environment(folder: Path) -> dict[str, str]:
    own = {"XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": str(ROOT / "workflow" / "src")}
    return {**os.environ, **own}


def command(*arguments: str) -> list[str]:
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--workflow-profile", str(ROOT / "profiles" / "default")),
        *("--configfile", str(ROOT / "tests" / "tiny.yaml"), "--cores", "1", TARGET, *arguments),
    ]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*arguments), cwd=folder, env=environment(folder), capture_output=True, text=True
    )


def start(folder: Path, words: list[str], output: str) -> subprocess.Popen:
    with (folder / output).open("w") as file:
        return subprocess.Popen(
            words, cwd=folder, env=environment(folder), stdout=file, stderr=file
        )


def wait_for(what):
    for _ in range(600):
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError


def the_job() -> int | None:
    """Return the process of the first job as soon as it works."""
    found = [job for job in running.local_jobs() if job.name == "build_demo"]
    return found[0].processes[0] if found else None


@pytest.mark.slow
def test_two_never_do_one_job_at_once(tmp_path, monkeypatch):
    """Not even when everything that tells of the first has been removed by hand."""
    monkeypatch.chdir(tmp_path)
    main = start(tmp_path, command(), "first.log")
    number = wait_for(the_job)
    os.kill(number, signal.SIGSTOP)
    main.kill()
    main.wait()
    shutil.rmtree(tmp_path / ".snakemake" / "locks")
    (tmp_path / running.RECORD).unlink()
    again = start(tmp_path, command("--rerun-incomplete"), "second.log")
    shown = tmp_path / "second.log"
    wait_for(lambda: "waiting for another process, which does the job of" in shown.read_text())
    assert the_job() == number
    os.kill(number, signal.SIGCONT)
    assert again.wait() == 0, shown.read_text()
    assert (tmp_path / TARGET).is_file()


@pytest.mark.slow
def test_a_killed_snakemake_whose_job_runs_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main = start(tmp_path, command("--forceall"), "first.log")
    number = wait_for(the_job)
    os.kill(number, signal.SIGSTOP)  # it would be over soon
    refused = run(tmp_path)
    assert refused.returncode == 1
    assert f"Another Snakemake works in this folder: process {main.pid}" in refused.stderr
    assert "Directory cannot be locked" in refused.stderr
    main.kill()
    main.wait()

    shutil.rmtree(tmp_path / ".snakemake" / "locks")  # as --unlock does
    refused = run(tmp_path)
    assert refused.returncode == 1
    assert "has left jobs, which live on: build_demo (process" in refused.stderr
    assert the_job() == number

    recovery = [sys.executable, "-m", "babelscope.recovery", "--directory", str(tmp_path)]
    again = start(tmp_path, recovery, "second.log")
    shown = tmp_path / "second.log"
    wait_for(lambda: f"waiting for build_demo (process {number})" in shown.read_text())
    os.kill(number, signal.SIGCONT)
    assert again.wait() == 0, shown.read_text()
    assert "finished in the meantime: build_demo" in shown.read_text()
    assert "would do finished work again: --forceall; what" in shown.read_text()
    assert "rule build_demo" not in shown.read_text()
    assert "rule read_parallel" in shown.read_text()
    assert (tmp_path / TARGET).is_file()
    assert running.advice() is None
