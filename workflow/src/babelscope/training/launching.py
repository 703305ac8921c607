"""Several processes for one training: on this machine, or spread over the nodes of a Slurm job.

`torch.distributed.run` starts and watches the processes of one machine. On several, `srun` starts
it once on each node of the job that this process runs in, and it finds its likes through a store
that this process keeps.
"""

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
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

# What `torch.distributed.run` passes on to its processes instead of dying of it.
PASSED_ON = "SIGTERM,SIGUSR1,SIGINT,SIGHUP,SIGQUIT"
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
    job = folder / "run.json"
    write_json(job, asdict(run))
    library = str(Path(babelscope.__file__).parents[1])
    paths = [library, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": str(run.threads),
        "TORCHELASTIC_SIGNALS_TO_HANDLE": PASSED_ON,
    }
    agent = [sys.executable, "-m", "torch.distributed.run"]
    agent += [f"--nproc-per-node={run.processes // run.nodes}"]
    if run.nodes == 1:
        command, store = [*agent, "--standalone"], None
    else:
        store = _meeting_place()
        command = [*_on_every_node(run), *agent, *_found_at(store, run.nodes)]
        environment = {key: value for key, value in environment.items() if _passes(key)}
    command += ["-m", module, str(job)]
    checkpoints.share(lock)
    process = subprocess.Popen(command, env=environment, pass_fds=[lock], stdin=subprocess.DEVNULL)
    with _passing_on(process, signal.SIGTERM if store is None else signal.SIGUSR1):
        status = process.wait()
    if status:
        raise BabelscopeError(
            f"The training with {run.processes} processes failed (status {status}).",
            "Its error stands above in this log; after a signal, run the same command again.",
        )


def _meeting_place() -> Any:
    """Return a store on this machine, at a port that the system chose as it opened it."""
    from torch.distributed import TCPStore

    return TCPStore(socket.gethostname(), 0, is_master=True, wait_for_workers=False)


def _found_at(store: Any, nodes: int) -> list[str]:
    """Return options of `torch.distributed.run`: how many there are, and where they meet."""
    place = f"--rdzv-endpoint={store.host}:{store.port}"
    return [f"--nnodes={nodes}", "--rdzv-backend=c10d", place, "--rdzv-conf=is_host=false"]


def _on_every_node(run: Any) -> list[str]:
    """Return the command that starts another once on each node of this job.

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
    command = ["srun", f"--nodes={run.nodes}", f"--ntasks={run.nodes}", "--ntasks-per-node=1"]
    command += [f"--cpus-per-task={each * run.threads}", "--kill-on-bad-exit=1", "--mpi=none"]
    return command + ([f"--gpus-per-node={each}"] if run.device == "cuda" else [])


def _passes(name: str) -> bool:
    """Return whether srun is to see a variable."""
    return name in ALLOCATION or not name.startswith(("SLURM_", "SRUN_"))


@contextmanager
def _passing_on(process: subprocess.Popen[bytes], as_signal: signal.Signals) -> Iterator[None]:
    """Pass the signals that end a training on to its processes, whose state is then saved."""

    def stop(number: int, frame: Any) -> None:
        process.send_signal(as_signal)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: list[str], work: Callable[[dict[str, Any]], None]) -> int:
    """Do the work of one of several processes; the run stands in the JSON file that is named."""
    logging.basicConfig(
        level=logging.INFO if os.environ["RANK"] == "0" else logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
    )
    path = Path(arguments[0])
    try:
        with checkpoints.sharing(path.parent):
            work(read_json(path))
    except BabelscopeError as error:
        logger.error("%s", error)
        return 1
    return 0
