"""What is done, running, failed and waiting: `python -m babelscope.status`, or `make status`.

It may be asked at any time, beside a running Snakemake too: nothing in the folder is locked or
changed.
"""

import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import psutil

from babelscope import running
from babelscope.cluster import ClusterJob
from babelscope.commands import graph_of, options, table
from babelscope.dag import Graph, Job
from babelscope.errors import BabelscopeError
from babelscope.locks import is_held, stand_in
from babelscope.progress import latest
from babelscope.provenance import record_path, script_of

State = Literal["done", "running", "queued", "failed", "outdated", "waiting"]
STATES: tuple[State, ...] = ("done", "running", "queued", "failed", "outdated", "waiting")
SHOWN = ("done", "running", "failed", "waiting")  # even where there are none
TAIL = 2**16  # bytes of a log that are read
ERROR = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ERROR (.*)$", re.MULTILINE)
UNEXPECTED = "unexpected failure:"  # a traceback follows, see `babelscope.jobs`
KILLED = "It was killed, or the machine went down: nothing works on it."
ENDED = "It ended well when no Snakemake was there to take note; `make recover` does."
SILENT = "It ended without a word; memory or time may have run out."


@dataclass(frozen=True)
class Standing:
    """How one job stands.

    Attributes
    ----------
    job
        Which.
    state
        ``done``: Snakemake would not run it. ``outdated``: what it makes is there, but Snakemake
        would make it anew. ``queued``: a cluster has it and has not begun. ``failed``: its last
        attempt ended without what it makes.
    text
        Of a running job its progress, of a failed one its error, in one line; of an outdated one
        what has changed.
    """

    job: Job
    state: State
    text: str = ""


@dataclass(frozen=True)
class Life:
    """What works in a folder right now, beside the jobs that hold their lock.

    Attributes
    ----------
    since
        When the Snakemake that works in it was started, in seconds since the epoch; None if there
        is none.
    cluster
        Jobs in a cluster's queue.
    scripts
        Names of the scripts that run in it on this machine.
    trouble
        Why the cluster could not be asked; what it was given is then taken to run.
    """

    since: float | None
    cluster: Sequence[ClusterJob]
    scripts: Collection[str] = ()
    trouble: str | None = None


def life_in(folder: Path) -> Life:
    """Return what works in a folder, on this machine, on others that share it, or on a cluster."""
    since, run, trouble = None, running.last_run(folder), None
    if running.is_working(folder):
        since = 0.0 if run is None else datetime.fromisoformat(run.started).timestamp()
    elif run is not None and (unseen := running.unseen_jobs(run)):
        trouble = unseen.what
    queued: list[ClusterJob] = []
    if run is not None or running.is_unreadable(folder):
        try:
            queued = running.queued_jobs(run and run.executor, folder)
        except BabelscopeError as error:
            trouble = str(error)
    return Life(since, queued, _scripts_in(folder), trouble)


def _scripts_in(folder: Path) -> set[str]:
    """Return the names of the scripts that run in a folder: Snakemake runs copies of them."""
    found = set()
    for process in psutil.process_iter(["cwd", "cmdline"]):
        if process.info["cwd"] == str(folder):
            words = [word for word in process.info["cmdline"] or [] if running.SCRIPTS in word]
            found.update(map(script_of, words))
    return found


def standings(graph: Graph, life: Life) -> list[Standing]:
    """Return how every job of a graph stands, in the graph's order."""
    return [_standing(job, graph.folder, life) for job in graph.jobs]


def _standing(job: Job, folder: Path, life: Life) -> Standing:
    if job.mark is None and not job.needed:
        return Standing(job, "done")
    present = all((folder / path).exists() for path in job.outputs)
    log = _tail(job, folder)
    succeeded = _succeeded(job, folder)
    if job.mark is not None:
        state = _alive(job, folder, life)
        if state == "running":
            return Standing(job, state, str(latest(log or "") or ""))
        if state == "failed":
            ended = present and (succeeded or _has_records(job, folder))
            return Standing(job, state, _error(log or "") or (ENDED if ended else KILLED))
        return Standing(job, state)
    if log is not None and not succeeded:
        # without a benchmark, nobody knows whether a log without an error is that of a success
        silent = job.benchmark and f"{SILENT} Last line: {_last_line(log) or 'none'}"
        if text := _error(log) or silent:
            return Standing(job, "failed", text)
    return Standing(job, "outdated", job.changed) if present else Standing(job, "waiting")


def _alive(job: Job, folder: Path, life: Life) -> State:
    """Return the state of a job that was started and has not ended."""
    assert job.mark is not None
    wildcards = "_".join(job.wildcards.values()).replace("/", "_")
    for one in life.cluster:
        if one.id == job.mark.cluster_id or (one.rule, one.wildcards) == (job.rule, wildcards):
            return "queued" if one.state == "PENDING" else "running"
    if life.trouble and job.mark.cluster_id:
        return "running"
    if job.log is not None and _is_held(stand_in(folder / job.log)):
        return "running"
    # it has not come as far as its log, if its script runs, or the Snakemake that has started it
    begun = life.since is not None and job.mark.time >= life.since
    return "running" if begun or (job.script and job.script in life.scripts) else "failed"


def _is_held(lock: Path) -> bool:
    try:
        return is_held(lock)
    except OSError:  # it is not there, or cannot be written
        return False


def _tail(job: Job, folder: Path) -> str | None:
    """Return the end of a job's log; None if there is none."""
    if job.log is None:
        return None
    try:
        with (folder / job.log).open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL))
            return file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _succeeded(job: Job, folder: Path) -> bool:
    """Tell whether a job's last attempt succeeded: its benchmark is then written, after its log."""
    if job.benchmark is None or job.log is None:
        return False
    try:
        times = [(folder / path).stat().st_mtime for path in (job.log, job.benchmark)]
    except FileNotFoundError:
        return False
    return times[0] <= times[1]


def _has_records(job: Job, folder: Path) -> bool:
    """Tell whether all that a job makes has its record, which is written when the work is done."""
    return all(record_path(folder / path).exists() for path in job.outputs)


def _error(log: str) -> str | None:
    """Return the error that a log ends with, in one line."""
    errors = ERROR.findall(log)
    return None if not errors else _last_line(log) if errors[-1] == UNEXPECTED else errors[-1]


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def report(found: Sequence[Standing]) -> str:
    """Return what a person reads: a table by rule, what runs, and what failed."""
    counts = {rule: Counter[str]() for rule in dict.fromkeys(one.job.rule for one in found)}
    for one in found:
        counts[one.job.rule][one.state] += 1
    total = Counter(one.state for one in found)
    states = [state for state in STATES if state in SHOWN or total[state]]
    rows = [["rule", *states, "jobs"]]
    for rule, count in (*counts.items(), ("all", total)):
        rows.append([rule, *(str(count[state] or "-") for state in states), str(count.total())])
    parts = ["\n".join(table(rows))]
    for state, title in (("running", "running"), ("queued", "queued on the cluster")):
        listed = [one for one in found if one.state == state]
        if listed:
            parts.append("\n".join([f"{title}:", *_running(listed)]))
    changed = Counter(
        (one.job.rule, one.text) for one in found if one.state == "outdated" and one.text
    )
    if changed:
        lines = [f"  {rule} ({number}): {text}" for (rule, text), number in changed.items()]
        parts.append("\n".join(["changed, and so outdated with all that follows:", *lines]))
    failed = [one for one in found if one.state == "failed"]
    if failed:
        parts.append("\n".join(["failed:", *_failed(failed)]))
    return "\n\n".join(parts)


def _running(listed: Sequence[Standing]) -> Iterable[str]:
    width = max(len(one.job.name) for one in listed)
    for one in listed:
        yield f"  {one.job.name.ljust(width)}  {one.text or 'no step told yet'}  {one.job.log}"


def _failed(listed: Sequence[Standing]) -> Iterable[str]:
    for one in listed:
        yield f"  {one.job.name}  {one.job.log}"
        yield f"    {one.text}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print how all jobs stand; the exit status is 1 only if there is no telling what they are."""
    asked = options("What is done, running, failed and waiting.").parse_args(arguments)
    try:
        graph = graph_of(asked)
    except BabelscopeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    life = life_in(graph.folder)
    known = running.advice(graph.folder)
    if life.since is not None:
        known = f"A Snakemake works here: {running.who(graph.folder)}."
    parts = [report(standings(graph, life)), *filter(None, [life.trouble, known])]
    sys.stdout.write("\n\n".join(parts) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
