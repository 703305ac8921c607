import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from babelscope import recovery, running
from babelscope.errors import BabelscopeError
from babelscope.status import life_in

SOURCE = Path(__file__).resolve().parents[2] / "workflow" / "src"
JOB = """
import os, subprocess, sys, time
from pathlib import Path
from babelscope.locks import hold, stand_in

time.sleep(float(sys.argv[1]))
log = Path("results/logs/make_text/en.log")
log.parent.mkdir(parents=True, exist_ok=True)
file = os.open(stand_in(log), os.O_WRONLY | os.O_CREAT)
assert hold(file, 0)
os.dup2(file, 1)
subprocess.run(["sleep", "60"])
"""


def python(folder, *arguments) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.Popen([sys.executable, *arguments], cwd=folder, env=environment)


@pytest.fixture
def start_job(tmp_path, monkeypatch):
    """Return a function that starts a script as Snakemake does, in this test's folder."""
    monkeypatch.chdir(tmp_path)
    script = tmp_path / ".snakemake" / "scripts" / "tmp12345678.make_text.py"
    script.parent.mkdir(parents=True)
    script.write_text(JOB)
    started = []

    def start(pause):
        started.append(python(tmp_path, str(script), str(pause)))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
    for job in running.local_jobs():
        for number in job.processes:
            os.kill(number, signal.SIGKILL)


def wait_for(what):
    for _ in range(200):
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError


def test_a_job_is_known_by_its_script_and_then_by_its_log(start_job):
    process = start_job(0.5)
    found = wait_for(running.local_jobs)
    assert found == [running.LocalJob("tmp12345678.make_text", (process.pid,))]
    named = running.LocalJob("make_text/en", (process.pid,))
    wait_for(lambda: running.local_jobs() == [named])
    assert str(named) == f"make_text/en (process {process.pid})"


def test_a_job_that_was_killed_lives_on_in_its_children(start_job):
    process = start_job(0)
    wait_for(lambda: running.LOGS.is_dir() and running.local_jobs()[0].name == "make_text/en")
    wait_for(lambda: len(children(process.pid)) == 1)
    (child,) = children(process.pid)
    process.kill()
    process.wait()
    assert running.local_jobs() == [running.LocalJob("make_text/en", (child,))]
    os.kill(child, signal.SIGKILL)
    wait_for(lambda: not running.local_jobs())


def test_jobs_are_waited_for_or_ended(start_job, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(recovery, "PAUSE", 0.05)
    job = start_job(0)
    wait_for(running.local_jobs)
    recovery.outlive("local", "cancel")
    assert job.wait() == -signal.SIGTERM
    assert "ending " in caplog.text


def children(number):
    import psutil

    return [child.pid for child in psutil.Process(number).children()]


BEGIN = """
    import os, signal, sys
    from babelscope import running

    sys.argv = ["snakemake", "--cores", "2", "heads"]
    running.PATIENCE = 0.3
    running.begin("local")
    print("begun", flush=True)
    if END == "ended":
        sys.exit(1)
    if END == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()
"""


def begin(folder, end) -> subprocess.Popen:
    code = textwrap.dedent(BEGIN).replace("END", repr(end))
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_one_snakemake_works_in_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "PATIENCE", 0.3)
    assert running.advice(tmp_path) is None
    first = begin(tmp_path, "stays")
    assert first.stdout.readline() == "begun\n"
    run = running.last_run(tmp_path)
    assert (run.arguments, run.process) == (["--cores", "2", "heads"], first.pid)
    assert run.directory == str(tmp_path)
    assert f"Another Snakemake works in this folder: process {first.pid}" in running.advice(
        tmp_path
    )
    _, refused = begin(tmp_path, "stays").communicate()
    assert f"Another Snakemake works in {tmp_path}: process {first.pid} on" in refused
    with pytest.raises(BabelscopeError, match="Another Snakemake"), running.alone(tmp_path):
        pass
    assert running.last_run(tmp_path) == run
    first.kill()
    first.communicate()
    assert "was killed, and jobs of it may still run" in running.advice(tmp_path)


@pytest.mark.parametrize(("end", "advised"), [("ended", False), ("killed", True)])
def test_only_a_killed_one_leaves_work_to_recover(tmp_path, end, advised):
    begin(tmp_path, end).communicate()
    assert (running.advice(tmp_path) is not None) is advised
    assert running.last_run(tmp_path).ended is not advised


def test_nobody_begins_beside_jobs_of_one_that_was_killed(tmp_path, start_job):
    begin(tmp_path, "killed").communicate()
    job = start_job(0)
    wait_for(running.local_jobs)
    _, refused = begin(tmp_path, "ended").communicate()
    assert "has left jobs, which live on:" in refused
    assert "Run `make recover`" in refused
    job.kill()
    job.wait()


def test_slurm_s_jobs_are_looked_for_after_any_end(tmp_path, monkeypatch):
    """A Snakemake that fails by itself leaves them running."""
    begin(tmp_path, "ended").communicate()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "live_jobs", lambda executor: [f"a job of {executor}"])
    record = json.loads(running.RECORD.read_text()) | {"executor": "slurm"}
    running.RECORD.write_text(json.dumps(record))
    with pytest.raises(BabelscopeError, match="has left jobs, which live on: a job of slurm"):
        running.begin("local")


def test_slurm_is_asked_only_about_jobs_of_its_own(tmp_path, monkeypatch):
    """Its programs may be here while no controller is, and then a local run needs none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BabelscopeError, match="there is no squeue on this machine"):
        running.live_jobs("slurm")
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2; exit 1\n")
    squeue.chmod(0o755)
    assert running.live_jobs("local") == []
    with pytest.raises(BabelscopeError, match="Try again when Slurm's controller answers"):
        running.live_jobs("slurm")


@pytest.mark.parametrize(
    ("given", "left", "dropped"),
    [
        ("-F --cores 2 heads", "--cores 2 heads", "--forceall"),
        ("--cores 2 heads -f", "--cores 2 heads", "--force"),
        (
            "heads -R rank_heads out.txt --configfile heads.yaml",
            "heads --configfile heads.yaml",
            "--forcerun rank_heads out.txt",
        ),
        ("--forcea heads", "heads", "--forceall"),
        ("--forcerun=heads heads --force", "heads", "--force --forcerun heads"),
        ("--config b=-1 -c 2 --force-use-threads --", "", ""),
    ],
)
def test_a_command_is_repeated_without_what_forces_work(given, left, dropped):
    expected = (left or given).split(), dropped.split()
    assert recovery.unforced(given.split()) == expected


@pytest.mark.parametrize("hidden", ["-pF", "-Fp"])
def test_what_cannot_be_taken_out_of_a_command_is_refused(hidden):
    arguments, dropped = recovery.unforced([hidden, "heads"])
    assert not dropped
    with pytest.raises(BabelscopeError, match=f"would do finished work again: snakemake {hidden}"):
        recovery.adopt(arguments)


def test_a_local_run_is_recovered_where_it_ran(tmp_path, caplog):
    begin(tmp_path, "killed").communicate()
    record = tmp_path / running.RECORD
    record.write_text(json.dumps(json.loads(record.read_text()) | {"host": "elsewhere"}))
    assert recovery.main(["--directory", str(tmp_path)]) == 1
    assert "ran on elsewhere, and so did its jobs" in caplog.text


def test_a_folder_that_somebody_else_began_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    with (
        pytest.raises(BabelscopeError, match="babelscope.json belongs to somebody else"),
        running.alone(tmp_path),
    ):
        pass


def began(folder, **changed):
    """Leave the record of a Snakemake that was killed, with some parts changed."""
    begin(folder, "killed").communicate()
    record = folder / running.RECORD
    record.write_text(json.dumps(json.loads(record.read_text()) | changed))


def test_a_queue_that_cannot_be_seen_is_left_to_the_user(tmp_path, monkeypatch, caplog):
    began(tmp_path, executor="lsf")
    _, refused = begin(tmp_path, "ended").communicate()
    assert re.search("jobs by lsf, whose queue .* HOW=none-left", refused)
    monkeypatch.chdir(tmp_path)
    assert "jobs by lsf, whose queue cannot be seen from here" in running.advice()
    assert "jobs by lsf" in life_in(tmp_path).trouble
    for how in ("wait", "cancel"):
        assert recovery.main(["--how", how]) == 1
        assert "jobs by lsf, whose queue cannot be seen from here" in caplog.text
        caplog.clear()

    monkeypatch.setattr(recovery, "adopt", lambda arguments: [])
    commands = []
    monkeypatch.setattr(os, "execve", lambda python, words, environment: commands.append(words))
    recovery.main(["--how", "none-left"])
    assert commands == [[sys.executable, "-m", "snakemake", "--cores", "2", "heads"]]
    assert running.last_run().ended
    assert running.unseen_jobs(running.last_run()) is None


DAMAGED = [b'{"python": ', b"\xff\xfe{", b"[" * 10**5, b'{"python": 1}', b"\0" * 300]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_record_is_no_traceback_and_none(tmp_path, monkeypatch, caplog, content):
    (tmp_path / ".snakemake").mkdir()
    assert not running.is_unreadable(tmp_path)
    (tmp_path / running.RECORD).write_bytes(content)
    assert running.last_run(tmp_path) is None
    assert running.is_unreadable(tmp_path)
    assert "is damaged" in running.advice(tmp_path)
    assert life_in(tmp_path).since is None
    assert recovery.main(["--directory", str(tmp_path)]) == 1
    assert "is damaged, so nobody knows what to go on with" in caplog.text
    assert begin(tmp_path, "ended").communicate()[0] == "begun\n"
    assert running.last_run(tmp_path).ended


def test_a_damaged_record_does_not_hide_jobs_that_live_on(tmp_path, start_job):
    (tmp_path / running.RECORD).write_bytes(b"\xff\xfe{")
    job = start_job(0)
    wait_for(running.local_jobs)
    _, refused = begin(tmp_path, "ended").communicate()
    assert "babelscope.json is damaged, and jobs of this folder live on:" in refused
    job.kill()
    job.wait()


def test_slurm_is_asked_if_it_answers_where_nobody_knows_what_worked(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\nexit 1\n")
    squeue.chmod(0o755)
    assert running.queued_jobs(None, tmp_path) == []
    squeue.write_text(f"#!/bin/sh\necho '7|RUNNING|c1|babelscope_x|{tmp_path}|rule_build_demo'\n")
    assert [job.id for job in running.queued_jobs(None, tmp_path)] == ["7"]
    squeue.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert running.queued_jobs(None, tmp_path) == []


def test_a_record_reaches_the_disk_before_the_first_job(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.pread(file, 9999, 0)))
    began(tmp_path)
    with running.alone(tmp_path) as record:
        running.note_end(record, running.last_run(tmp_path))
    assert [json.loads(content)["ended"] for content in synced] == [True]
