"""Several processes for one training: on this machine, or spread over the nodes of a Slurm job.

On one machine they are started here, on several by `srun`, in the job that this process runs in.
They meet at a store that this process keeps; all else they settle among each other.
"""

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import babelscope
from babelscope.errors import BabelscopeError
from babelscope.io import read_json, write_json
from babelscope.training import checkpoints

logger = logging.getLogger(__name__)

FINISHED = (
    "finished"  # written by the first process at its end; a status alone may be the starter's
)
GRACE = 30.0  # seconds that processes have left when another has failed
# What tells srun which job it belongs to; all else would change what is asked of it here.
ALLOCATION = {"SLURM_JOB_ID", "SLURM_JOBID", "SLURM_CLUSTER_NAME", "SLURM_CONF"}


def placement(snakemake: Any) -> dict[str, Any]:
    """Return where the training of a script runs, as keywords of its description.

    Parameters
    ----------
    snakemake
        The object that Snakemake puts into a script. The threads of a rule are those of one node.
    """
    compute, nodes = snakemake.params.compute, snakemake.resources.get("nodes", 1)
    threads = max(1, snakemake.threads * nodes // compute["processes"])
    return {**compute, "nodes": nodes, "threads": threads}


def launch(module: str, run: Any, folder: Path, lock: int) -> None:
    """Let several processes do the work of a run.

    A signal to this process is passed on, so that they save their state.

    Parameters
    ----------
    module
        Whose :func:`main` each process calls.
    run
        A dataclass of plain values, with `device`, `processes`, the `nodes` they are spread over,
        and `threads` of each of them.
    folder
        Of the checkpoints, where the run is written to.
    lock
        Descriptor of its lock.

    Raises
    ------
    BabelscopeError
        If there is no job of Slurm to spread the processes in, or a process fails.
    """
    several = run.nodes > 1
    starter = _srun(run) if several else []
    job, finished = folder / "run.json", folder / FINISHED
    write_json(job, asdict(run))
    finished.unlink(missing_ok=True)
    store = _meeting_place(socket.gethostname() if several else "localhost")
    command = [*starter, sys.executable, "-m", module, str(job)]
    environment = _environment(run, store)
    checkpoints.share(lock)
    processes: list[subprocess.Popen[bytes]] = []
    # srun answers SIGTERM by killing all at once, but passes SIGUSR1 on
    with _passing_on(processes, signal.SIGUSR1 if several else signal.SIGTERM):
        for number in range(1 if several else run.processes):
            own = {} if several else {"RANK": str(number), "LOCAL_RANK": str(number)}
            process = subprocess.Popen(
                command, env=environment | own, pass_fds=[lock], stdin=subprocess.DEVNULL
            )
            processes.append(process)
        statuses = _ended(processes)
    if any(statuses) or not finished.exists():
        status = max(statuses, key=abs)
        raise BabelscopeError(
            f"The training with {run.processes} processes failed (status {status}).",
            "Its error stands above in this log; after a signal, run the same command again.",
        )


def _meeting_place(host: str) -> Any:
    """Return a store on this machine, at a port that the system chose as it opened it."""
    from torch.distributed import TCPStore  # pyright: ignore

    return TCPStore(host, 0, is_master=True, wait_for_workers=False)


def _environment(run: Any, store: Any) -> dict[str, str]:
    """Return what all processes find in their environment: the library, and where they meet."""
    library = str(Path(babelscope.__file__).parents[1])
    paths = [library, *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {key: value for key, value in os.environ.items() if run.nodes == 1 or _passes(key)}
    return kept | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": str(run.threads),
        "WORLD_SIZE": str(run.processes),
        "LOCAL_WORLD_SIZE": str(run.processes // run.nodes),
        "MASTER_ADDR": store.host,
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # else the first process would open the store
    }


def _passes(name: str) -> bool:
    """Return whether srun, and what it starts, is to see a variable of this process."""
    return name in ALLOCATION or not name.startswith(("SLURM_", "SRUN_"))


def _srun(run: Any) -> list[str]:
    """Return the command that starts another once for each process, as many on each node.

    Raises
    ------
    BabelscopeError
        If this process runs in no job of Slurm.
    """
    if "SLURM_JOB_ID" not in os.environ or shutil.which("srun") is None:
        raise BabelscopeError(
            f"compute.nodes: {run.nodes} needs a job of Slurm, and this process runs in none.",
            "Use the profile for Slurm, or set compute.nodes: 1.",
        )
    each = run.processes // run.nodes
    command = ["srun", f"--nodes={run.nodes}", f"--ntasks={run.processes}"]
    command += [f"--ntasks-per-node={each}", f"--cpus-per-task={run.threads}"]
    command += ["--kill-on-bad-exit=1", "--mpi=none"]
    return command + ([f"--gpus-per-node={each}"] if run.device == "cuda" else [])


def _ended(processes: list[subprocess.Popen[bytes]]) -> list[int]:
    """Wait for all. When one fails, others may wait for it in vain: they have a while left."""
    last = None
    while any(process.poll() is None for process in processes):
        if last is None and any(process.returncode for process in processes):
            last = time.monotonic() + GRACE
        if last is not None and time.monotonic() > last:
            for process in processes:
                process.kill()
        time.sleep(0.1)
    return [process.returncode for process in processes]


@contextmanager
def _passing_on(
    processes: list[subprocess.Popen[bytes]], as_signal: signal.Signals
) -> Iterator[None]:
    """Pass the signals that end a training on to its processes, whose state is then saved."""

    def stop(number: int, frame: Any) -> None:
        for process in processes:
            process.send_signal(as_signal)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: list[str], work: Callable[[dict[str, Any]], None]) -> int:
    """Do the work of one of several processes; the run stands in the JSON file that is named."""
    if "RANK" not in os.environ:  # srun has a number for each
        os.environ["RANK"] = os.environ["SLURM_PROCID"]
        os.environ["LOCAL_RANK"] = os.environ["SLURM_LOCALID"]
    first = os.environ["RANK"] == "0"
    logging.basicConfig(
        level=logging.INFO if first else logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
    )
    path = Path(arguments[0])
    try:
        with checkpoints.sharing(path.parent):
            work(read_json(path))
            if first:
                path.with_name(FINISHED).touch()
    except BabelscopeError as error:
        logger.error("%s", error)
        return 1
    return 0
