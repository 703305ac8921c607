"""What befalls trainings on a cluster. Every one ends with the weights of an undisturbed one."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "workflow" / "src"

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1200)]

FAULTS = {
    "scancel": lambda job: slurm("scancel", job),
    "requeue": lambda job: slurm("scontrol", "requeue", job),
    "time limit": lambda job: reach_limit(job),
    "SIGUSR1": lambda job: slurm("scancel", "--signal=USR1", job),
}
# Started with every Python: takes memory in the middle of a training, and the first time stops it
# there, or it might be over before Slurm looks.
BALLOON = """
import os, signal, sys, threading, time
from pathlib import Path

def swell():
    home = Path("results/models/demo-xlmr/.checkpoints/finetuned-s1")
    while not any(home.glob("checkpoint-*")):
        time.sleep(0.02)
    first = not Path("swollen").exists()
    Path("swollen").touch()
    global balloon
    balloon = b"x" * 2_000_000_000
    if first:
        os.kill(os.getpid(), signal.SIGSTOP)

if Path.cwd().name == "memory" and any("finetune_mlm.py" in word for word in sys.orig_argv):
    threading.Thread(target=swell, daemon=True).start()
"""


def slurm(*command: str | int | Path) -> str:
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture(scope="module")
def runs(cluster, finetuning, tmp_path_factory):
    """Return trainings that are struck by faults, all at once: most of the time is waiting.

    Of each what it is, and the future of what tests cannot see in the end, by name.
    """
    home = tmp_path_factory.mktemp("sitecustomize")
    (home / "sitecustomize.py").write_text(BALLOON, "utf-8")
    tunings = {
        "told": finetuning("told", max_steps=400),
        "memory": finetuning("memory", max_steps=200, save_steps=20),
        "node": finetuning("node", max_steps=600, save_steps=50),
    }
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor() as pool:
        patch.setenv("PYTHONPATH", str(home))
        done = {
            "told": pool.submit(stop_in_four_ways, tunings["told"]),
            "memory": pool.submit(run_out_of_memory, tunings["memory"]),
            "node": pool.submit(preempt_and_kill_node, tunings["node"], cluster),
        }
        yield {name: (tunings[name], run) for name, run in done.items()}


def asking_for(**resources: str | int) -> list[str]:
    """Return options that change what Slurm is asked for."""
    return ["--set-resources", *(f"finetune_mlm:{key}={x}" for key, x in resources.items())]


def stop_in_four_ways(tuning) -> None:
    """Do to each of four jobs one of the faults, once it trains."""
    waiting = dict(enumerate(FAULTS.values(), start=1))
    tuning.start(list(waiting), *asking_for(mem_mb=4000, slurm_extra="'--nodelist=c1'"))

    def strike():
        for seed in list(waiting):
            if "step 20 of" in tuning.log(seed):
                waiting.pop(seed)(tuning.jobs(seed)[-1]["id"])
        return not waiting

    tuning.until(strike)
    tuning.finish()


def run_out_of_memory(tuning) -> None:
    tuning.start([1], *asking_for(mem_mb="2000*2**(attempt-1)", slurm_extra="'--nodelist=c1'"))
    tuning.finish()


def preempt_and_kill_node(tuning, cluster) -> int:
    """Let a job give way to another, and then its node die; return where it had given way."""
    tuning.start(
        [1], *asking_for(slurm_partition="spare", slurm_extra="'--nodelist=c2'", mem_mb=40000)
    )
    job = tuning.training(1)["id"]
    slurm(
        *("sbatch", "--partition=cpu", "--nodelist=c2", "--mem=40000", "--time=5"),
        *("--output=/dev/null", "--wrap=sleep 1"),
    )
    tuning.until(lambda: "resuming after" in tuning.log(1))
    given_way = tuning.resumed(1)
    tuning.training(1, step=(given_way // 50 + 2) * 50)  # a later checkpoint is there
    kill_node(cluster, "c2", job)
    try:
        slurm("scontrol", "update", "nodename=c2", "state=down", "reason=test")
        slurm("scontrol", "update", f"jobid={job}", "ReqNodeList=c1")
        tuning.finish()
    finally:
        slurm(ROOT / "tests/slurm/cluster-up.sh", cluster.folder)
    return given_way


def processes(job: int) -> Iterator[tuple[int, str]]:
    """Yield all that runs for a job, Slurm's own part of it too: processes and their commands."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            command = (process / "cmdline").read_bytes()
            told = (process / "environ").read_bytes() + b"\0" + command
            if f"SLURM_JOB_ID={job}\0".encode() in told or f"slurmstepd: [{job}.".encode() in told:
                yield int(process.name), command.decode()


def reach_limit(job: int) -> None:
    """Let a job's time be over; Slurm looks twice a minute, and the training waits for it."""
    slurm("scontrol", "update", f"jobid={job}", "EndTime=now+1")
    (training,) = (process for process, words in processes(job) if "finetune_mlm.py" in words)
    os.kill(training, signal.SIGSTOP)

    def go_on_when_told() -> None:
        status = Path(f"/proc/{training}/status")
        with suppress(OSError):  # Slurm lets it go on by itself, too
            while not int(re.search(r"ShdPnd:\s*(\w+)", status.read_text())[1], 16) >> 14 & 1:
                time.sleep(0.05)
            os.kill(training, signal.SIGCONT)

    threading.Thread(target=go_on_when_told, daemon=True).start()


def kill_node(cluster, node: str, job: int) -> None:
    """End at once all that runs on a node of its one job, and its daemon."""
    os.kill(int((cluster.folder / f"{node}.pid").read_text()), signal.SIGKILL)
    for process, _ in processes(job):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def assert_undisturbed(tuning, seed: int) -> None:
    """The weights are the same bits, and the history the same numbers."""
    weights, history = tuning.result(seed)
    expected, undisturbed = tuning.undisturbed(seed)
    assert weights.keys() == expected.keys()
    for name, value in weights.items():
        assert (value == expected[name]).all(), name
    assert history.equals(undisturbed)
    assert not tuning.checkpoints(seed).exists()


@pytest.mark.parametrize(("seed", "fault"), list(enumerate(FAULTS, start=1)))
def test_a_job_that_is_told_to_stop_loses_no_step(runs, seed, fault):
    """It saves where it is, which nothing else did, and goes on from there."""
    tuning, done = runs["told"]
    done.result()
    assert [job["state"] for job in tuning.jobs(seed)] == {
        "scancel": ["CANCELLED", "COMPLETED"],
        "requeue": ["COMPLETED"],
        "time limit": ["TIMEOUT", "COMPLETED"],
        "SIGUSR1": ["FAILED", "COMPLETED"],
    }[fault]
    assert tuning.jobs(seed)[0]["facts"]["Restarts"] == ("1" if fault == "requeue" else "0")
    assert 20 <= tuning.resumed(seed) < 400
    assert_undisturbed(tuning, seed)


def test_a_job_out_of_memory_gets_more_and_goes_on(runs):
    """It is killed at once, and loses the steps since its last checkpoint, no more."""
    tuning, done = runs["memory"]
    done.result()
    killed, retried = tuning.jobs(1)
    assert killed["state"] in ("FAILED", "CANCELLED", "OUT_OF_MEMORY")
    assert (killed["memory"], retried["memory"]) == (2000, 4000)
    assert retried["state"] == "COMPLETED"
    assert tuning.resumed(1) % 20 == 0
    assert_undisturbed(tuning, 1)


def test_a_job_gives_way_and_survives_its_node(runs):
    """Preempted, it loses no step; when the node dies, those since its last checkpoint."""
    tuning, done = runs["node"]
    given_way = done.result()
    assert given_way >= 20
    (ended,) = tuning.jobs(1)
    assert (ended["state"], ended["nodes"]) == ("COMPLETED", "c1")
    assert ended["facts"]["Restarts"] == "2"
    assert tuning.resumed(1) > given_way
    assert_undisturbed(tuning, 1)


HOLD = """
import os, sys, time
from pathlib import Path
from babelscope.training.checkpoints import locked

with locked("checkpoints"):
    Path(sys.argv[1]).write_text(str(os.getpid()))
    time.sleep(int(sys.argv[2]))
"""


def test_one_training_folder_serves_one_job_of_a_cluster(cluster, tmp_path):
    def submit(name, node, seconds):
        script = f"#!/bin/sh\nexec {sys.executable} -c '{HOLD}' {name} {seconds}\n"
        options = ("--parsable", f"--nodelist={node}", "--mem=100", "--time=5")
        return subprocess.run(
            ["sbatch", *options, f"--output={name}.log", f"--job-name={name}"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
            input=script,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    def until(holds):
        last = time.monotonic() + 120
        while not (found := holds()):
            assert time.monotonic() < last, [path.read_text() for path in tmp_path.glob("*.log")]
            time.sleep(0.05)
        return found

    def state(job):
        return next(one["state"] for one in cluster.jobs(tmp_path) if str(one["id"]) == job)

    def holder(name):
        path = tmp_path / name
        return path.exists() and path.read_text()

    first = submit("first", "c1", 600)
    process = until(lambda: holder("first"))
    second = submit("second", "c2", 0)
    until(lambda: state(second) == "FAILED")
    said = (tmp_path / "second.log").read_text()
    assert "Another process is training with the checkpoints in checkpoints: process" in said
    assert f"{process} on" in said
    assert f"job {first} of Slurm" in said
    os.kill(int(process), signal.SIGKILL)
    third = submit("third", "c2", 0)
    until(lambda: state(third) in ("FAILED", "COMPLETED"))
    assert holder("third"), (tmp_path / "third.log").read_text()
    assert state(third) == "COMPLETED"
