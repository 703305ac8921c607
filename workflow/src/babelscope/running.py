"""Who works in a folder: the Snakemake of it, and its jobs, also those that outlive it.

A Snakemake holds the lock of :data:`RECORD`, a job that beside its log; both end with the process,
and with its children. So neither has to be cleared away after one that was killed.
"""

import argparse
import atexit
import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from babelscope import cluster
from babelscope.errors import BabelscopeError
from babelscope.io import decode_json, refuse_unwritable
from babelscope.locks import hold, is_held, stand_in

RECORD = Path(".snakemake", "babelscope.json")
LOGS = Path("results", "logs")
WRITTEN = ("results", "results/logs", "resources")
SCRIPTS = ".snakemake/scripts/"
SEEN = ("local", "slurm")  # executors whose jobs are seen wherever they wait
PATIENCE = 2  # seconds; others look for a moment only


@dataclass(frozen=True)
class Run:
    """A Snakemake that works, or has worked, in a folder.

    Attributes
    ----------
    python, arguments, directory
        The command: which Python, Snakemake's arguments, and where it was called.
    executor
        What it starts jobs with: ``local``, ``slurm``, or one whose queue cannot be seen.
    process, host, started
        Which it is, where and since when.
    ended
        It came to an end, whether good or bad; one that was killed did not.
    """

    python: str
    arguments: list[str]
    directory: str
    executor: str
    process: int
    host: str
    started: str
    ended: bool = False

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.started}"


@dataclass(frozen=True)
class LocalJob:
    """A job that runs without a cluster's queue.

    Attributes
    ----------
    name
        Of its log, or of its script before it has opened the log.
    processes
        Those of this machine that belong to it, children left out; none if it runs elsewhere.
    """

    name: str
    processes: tuple[int, ...]

    def __str__(self) -> str:
        where = f"process {self.processes[0]}" if self.processes else "on another machine"
        return f"{self.name} ({where})"


def last_run(folder: str | Path = ".") -> Run | None:
    """Return the last Snakemake that was started in a folder; None if nobody knows."""
    try:
        run = Run(**decode_json(Path(folder, RECORD).read_text("utf-8")))
        datetime.fromisoformat(run.started)
    except (OSError, ValueError, TypeError):  # none, damaged, or of another version
        return None
    return run


def is_unreadable(folder: str | Path = ".") -> bool:
    """Return whether one was started in a folder, and its record does not tell which."""
    path = Path(folder, RECORD)
    return path.is_file() and path.stat().st_size > 0 and last_run(folder) is None


def who(folder: str | Path = ".") -> str:
    """Return what a person calls the last Snakemake of a folder."""
    return str(last_run(folder) or "nobody knows which")


def is_working(folder: str | Path = ".") -> bool:
    """Return whether a Snakemake works in a folder."""
    path = Path(folder, RECORD)
    return path.is_file() and is_held(path)


def advice(folder: str | Path = ".") -> str | None:
    """Return what to know before a Snakemake is started in a folder; None if there is nothing."""
    run = last_run(folder)
    if not os.access(folder, os.W_OK):
        return f"Nothing can be written in {Path(folder).resolve()}."
    if is_working(folder):
        return f"Another Snakemake works in this folder: {who(folder)}."
    if is_unreadable(folder):
        return (
            f"{RECORD} is damaged, so nobody knows how the last Snakemake in this folder ended."
            " One that is started now looks for jobs that it left, before the first of its own."
        )
    if run is not None and (unseen := unseen_jobs(run)):
        return str(unseen)
    if run is not None and not run.ended:
        return (
            f"The last Snakemake in this folder ({run}) was killed, and jobs of it may still run."
            " `make recover` goes on safely; do not unlock by hand."
        )
    return None


def begin(executor: str) -> None:
    """Note that this Snakemake works in this folder, until it ends.

    Raises
    ------
    BabelscopeError
        If another works here, jobs of one that was killed are still alive, or results cannot be
        written.
    """
    for place in filter(Path.exists, map(Path, WRITTEN)):
        if not os.access(place, os.W_OK):
            raise BabelscopeError(
                f"Nothing can be written in {place.resolve()}.",
                "Make it writable, or work in another folder (--directory).",
            )
    descriptor = _claim(Path())
    _refuse_left_jobs()
    run = Run(
        python=sys.executable,
        arguments=sys.argv[1:],
        directory=_called_from(),
        executor=executor,
        process=os.getpid(),
        host=socket.gethostname(),
        started=datetime.now(UTC).isoformat(" ", "seconds"),
    )
    _write(descriptor, run)
    atexit.register(_end, descriptor, run)


def _refuse_left_jobs() -> None:
    before = last_run()
    if before is None and is_unreadable():
        if alive := live_jobs(None):
            raise BabelscopeError(
                f"{RECORD} is damaged, and jobs of this folder live on: {named(alive)}.",
                "Wait for them or end them; then run the command again.",
            )
    # One that fails by itself leaves a cluster's jobs running.
    elif before is not None and (not before.ended or before.executor != "local"):
        if alive := live_jobs(before.executor):
            raise BabelscopeError(
                f"The last Snakemake in this folder has left jobs, which live on: {named(alive)}.",
                "Run `make recover`: it waits for them or cancels them, and goes on.",
            )
        if unseen := unseen_jobs(before):
            raise unseen


def unseen_jobs(run: Run) -> BabelscopeError | None:
    """Return what to do about jobs that may wait where they cannot be seen; None if none may."""
    if run.ended or run.executor in SEEN:
        return None
    return BabelscopeError(
        f"The last Snakemake in this folder ({run}) was killed; it started jobs by {run.executor},"
        " whose queue cannot be seen from here.",
        f"Look there for jobs of {Path(run.directory)}, and wait for them or end them; when none"
        " is left: make recover HOW=none-left.",
    )


@contextmanager
def alone(folder: Path) -> Iterator[int]:
    """Keep every Snakemake out of a folder, and yield what :func:`note_end` needs.

    Raises
    ------
    BabelscopeError
        If one works there.
    """
    descriptor = _claim(folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def note_end(descriptor: int, run: Run) -> None:
    """Note that nothing of a run is left."""
    _write(descriptor, replace(run, ended=True))


def live_jobs(executor: str | None) -> list[cluster.ClusterJob | LocalJob]:
    """Return the jobs that are alive in this folder: those in Slurm's queue, and all others.

    Parameters
    ----------
    executor
        What the last Snakemake here started jobs with. Only if that is ``slurm``, Slurm is asked: a
        run by other means begins when Slurm has no more jobs of this folder, and adds none. None if
        nobody knows; then Slurm is asked if there is one that answers.

    Raises
    ------
    BabelscopeError
        If the jobs are Slurm's, and Slurm does not answer or is not here.
    """
    return [*queued_jobs(executor, Path()), *local_jobs()]


def queued_jobs(executor: str | None, folder: Path) -> list[cluster.ClusterJob]:
    """Return the jobs of a folder in Slurm's queue; none if its last Snakemake did not use it.

    See :func:`live_jobs`.

    Raises
    ------
    BabelscopeError
        If it did, and Slurm does not answer or is not here.
    """
    if executor is None:
        with suppress(BabelscopeError, FileNotFoundError):
            return cluster.find_jobs(folder)
    if executor != "slurm":
        return []
    if shutil.which("squeue") is None:
        raise BabelscopeError(
            "The jobs of this folder are Slurm's, and there is no squeue on this machine.",
            "Run the command where jobs are submitted; or, if none of them can be alive any more,"
            f" delete {RECORD} before.",
        )
    return cluster.find_jobs(folder)


def local_jobs() -> list[LocalJob]:
    """Return the jobs that hold their lock, and scripts that have not come so far yet."""
    held = {
        str(path.resolve()): _job_of(path)
        for path in sorted(LOGS.rglob(stand_in("*.log").name))
        if is_held(path)
    }
    found: dict[str, list[psutil.Process]] = {name: [] for name in held.values()}
    here = str(Path().resolve())
    for process in psutil.process_iter():
        try:
            if process.cwd() != here:
                continue
            command = process.cmdline()
            logs = [held[file.path] for file in process.open_files() if file.path in held]
        except psutil.Error:  # it has just ended, or is somebody else's
            continue
        scripts = [Path(word).stem for word in command[1:2] if SCRIPTS in word]
        for name in (logs or scripts)[:1]:
            found.setdefault(name, []).append(process)
    return [LocalJob(name, _roots(processes)) for name, processes in found.items()]


def _job_of(lock: Path) -> str:
    """Return the name of the job that holds a lock: its log's, without folder and suffix."""
    name = lock.name.removeprefix(".").removesuffix(".log.lock")
    return (lock.parent / name).relative_to(LOGS).as_posix()


def _roots(processes: Sequence[psutil.Process]) -> tuple[int, ...]:
    """Return those that none of the others has started."""
    numbers = {process.pid for process in processes}
    roots = []
    for process in processes:
        with suppress(psutil.Error):
            if process.ppid() not in numbers:
                roots.append(process.pid)
    return tuple(roots)


def named(jobs: Sequence[cluster.ClusterJob | LocalJob]) -> str:
    """Return what a person calls some jobs."""
    return ", ".join(map(str, jobs))


def _claim(folder: Path) -> int:
    """Return the open record of a folder, locked for this process."""
    path = folder / RECORD
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        raise BabelscopeError(
            f"{path.resolve()} belongs to somebody else, who began the work in this folder.",
            "Work in a folder of your own (--directory).",
        ) from None
    if not hold(descriptor, PATIENCE):
        os.close(descriptor)
        raise BabelscopeError(
            f"Another Snakemake works in {folder.resolve()}: {who(folder)}.",
            "Wait for it to end, or stop it; or work in another folder (--directory).",
        )
    return descriptor


def _write(descriptor: int, run: Run) -> None:
    """Write a record in place, since a lock is on the file and not on its name."""
    content = json.dumps(asdict(run), indent=2).encode() + b"\n"
    try:
        os.pwrite(descriptor, content, 0)  # first, so that a full disk leaves what was there
        os.ftruncate(descriptor, len(content))
        os.fsync(descriptor)
    except OSError as error:
        refuse_unwritable(error, RECORD)
        raise


def _end(descriptor: int, run: Run) -> None:
    if os.getpid() == run.process:
        note_end(descriptor, run)


def _called_from() -> str:
    """Return where this Snakemake was called; it has gone to its ``--directory`` since."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--directory", "-d", default="")
    directory = parser.parse_known_args(sys.argv[1:])[0].directory
    shell = os.environ.get("PWD", "")
    called = Path(shell, directory).resolve() == Path().resolve()
    return shell if directory and called else str(Path().resolve())
