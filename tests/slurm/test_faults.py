"""What befalls trainings on a cluster. Every one ends with the weights of an undisturbed one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "workflow" / "src"

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1200)]

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

if any("finetune_mlm.py" in word for word in sys.orig_argv):
    threading.Thread(target=swell, daemon=True).start()
"""


def slurm(*command: str | int) -> str:
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=True
    ).stdout


def assert_undisturbed(tuning, seed: int) -> None:
    """The weights are the same bits, and the history the same numbers."""
    weights, history = tuning.result(seed)
    expected, undisturbed = tuning.undisturbed(seed)
    assert weights.keys() == expected.keys()
    for name, value in weights.items():
        assert (value == expected[name]).all(), name
    assert history.equals(undisturbed)
    assert not tuning.checkpoints(seed).exists()


def test_jobs_that_are_told_to_stop_lose_no_step(finetuning):
    """They save where they are: nothing else did, and they go on from there."""
    faults = {
        1: lambda job: slurm("scancel", job),
        2: lambda job: slurm("scontrol", "requeue", job),
        3: lambda job: slurm("scontrol", "update", f"jobid={job}", "EndTime=now+1"),
        4: lambda job: slurm("scancel", "--signal=USR1", job),
    }
    tuning = finetuning("told", max_steps=600)
    tuning.start(list(faults))
    waiting = dict(faults)

    def strike():
        for seed in list(waiting):
            if "step 20 of" in tuning.log(seed):
                waiting.pop(seed)(tuning.jobs(seed)[-1]["id"])
        return not waiting

    tuning.until(strike)
    tuning.finish()
    states = {seed: [job["state"] for job in tuning.jobs(seed)] for seed in faults}
    assert states == {
        1: ["CANCELLED", "COMPLETED"],
        2: ["COMPLETED"],
        3: ["TIMEOUT", "COMPLETED"],
        4: ["FAILED", "COMPLETED"],
    }
    assert tuning.jobs(2)[0]["facts"]["Restarts"] == "1"
    for seed in faults:
        assert 20 <= tuning.resumed(seed) < 600
        assert_undisturbed(tuning, seed)


def test_a_job_out_of_memory_gets_more_and_goes_on(finetuning, tmp_path, monkeypatch):
    """It is killed at once, and loses the steps since its last checkpoint, no more."""
    (tmp_path / "sitecustomize.py").write_text(BALLOON, "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    tuning = finetuning("swollen", save_steps=20)
    tuning.start([1], "--set-resources", "finetune_mlm:mem_mb=2000 * 2 ** (attempt - 1)")
    tuning.finish()
    killed, retried = tuning.jobs(1)
    assert killed["state"] in ("FAILED", "CANCELLED", "OUT_OF_MEMORY")
    assert (killed["memory"], retried["memory"]) == (2000, 4000)
    assert retried["state"] == "COMPLETED"
    assert tuning.resumed(1) % 20 == 0
    assert_undisturbed(tuning, 1)


def test_a_job_gives_way_and_survives_its_node(cluster, finetuning):
    """Preempted, it loses no step; when the node dies, those since its last checkpoint."""
    tuning = finetuning("moved", max_steps=600, save_steps=50)
    asked = {"slurm_partition": "spare", "slurm_extra": "'--nodelist=c2'", "mem_mb": 40000}
    tuning.start([1], "--set-resources", *(f"finetune_mlm:{k}={v}" for k, v in asked.items()))
    job = tuning.training(1)["id"]
    slurm(
        *("sbatch", "--partition=cpu", "--nodelist=c2", "--mem=40000", "--time=5"),
        *("--output=/dev/null", "--wrap=sleep 1"),
    )
    tuning.until(lambda: "resuming after" in tuning.log(1))
    assert tuning.jobs(1)[0]["facts"]["Restarts"] == "1"
    given_way = tuning.resumed(1)
    assert given_way >= 20
    tuning.training(1, step=(given_way // 50 + 2) * 50)  # a later checkpoint is there
    kill_node(cluster, "c2", job)
    try:
        slurm("scontrol", "update", "nodename=c2", "state=down", "reason=test")
        slurm("scontrol", "update", f"jobid={job}", "ReqNodeList=c1")
        tuning.finish()
    finally:
        slurm(ROOT / "tests/slurm/cluster-up.sh", cluster.folder)
    (ended,) = tuning.jobs(1)
    assert (ended["state"], ended["nodes"]) == ("COMPLETED", "c1")
    assert ended["facts"]["Restarts"] == "2"
    assert tuning.resumed(1) > given_way
    assert_undisturbed(tuning, 1)


def kill_node(cluster, node: str, job: int) -> None:
    """End at once all that runs on a node of its one job, and its daemon."""
    os.kill(int((cluster.folder / f"{node}.pid").read_text()), signal.SIGKILL)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "environ").read_bytes() + b"\0" + (process / "cmdline").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if f"SLURM_JOB_ID={job}\0".encode() in told or f"slurmstepd: [{job}.".encode() in told:
            os.kill(int(process.name), signal.SIGKILL)


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
