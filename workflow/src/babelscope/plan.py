"""What a configuration costs, before anything is run: `python -m babelscope.plan`, or `make plan`.

Figures are estimates: from config/estimates.tsv, which says of each where it is from, and from what
the configuration asks for. Of jobs that are done already, the time is what they took.
"""

import csv
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from babelscope.commands import graph_of, options, table
from babelscope.dag import ROOT, Graph, Job
from babelscope.errors import BabelscopeError
from babelscope.planning.beliefs import Quantities
from babelscope.planning.storage import Shelf, Space
from babelscope.planning.work import Clock, Time

CARD = "a100"
HOUR, GB = 3600.0, 1e9
NOT_COUNTED = (
    "waiting: for downloads, in a queue, for other jobs",
    "processor cores beside a GPU",
    "runs that fail and are repeated",
    "environments, and downloads that are kept to be resumed",
)


@dataclass(frozen=True)
class Expected:
    """What is expected of one job.

    Attributes
    ----------
    job
        Which.
    time, space
        What it takes and leaves.
    took
        Processor time that it took, in seconds; None if it is to be run, or nobody knows.
    """

    job: Job
    time: Time
    space: Space
    took: float | None


@dataclass
class Total:
    """Sums over some jobs: numbers, hours and bytes; over those that are left, but for what stays.

    `kept` and `temporary` are of all jobs, `done`, `took` and `expected` of those that are done.
    """

    jobs: int = 0
    done: int = 0
    cpu: float = 0.0
    gpu: float = 0.0
    took: float = 0.0
    expected: float = 0.0  # of those that tell what they took
    kept: float = 0.0
    temporary: float = 0.0
    training: float = 0.0
    fetched: float = 0.0
    rules: dict[str, "Total"] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """How many are to be run."""
        return self.jobs - self.done

    def add(self, one: Expected) -> None:
        """Count a job."""
        self.jobs += 1
        self.kept += one.space.kept
        self.temporary += one.space.temporary
        if one.job.needed or one.job.mark:
            self.training = max(self.training, one.space.training)
            self.fetched += one.space.fetched
            self.cpu += one.time.cpu / HOUR
            self.gpu += one.time.gpu / HOUR
            return
        self.done += 1
        if one.took is not None:
            self.took += one.took / HOUR
            self.expected += one.time.cpu / HOUR


def estimate(
    graph: Graph, gpu: str, tables: Path = ROOT / "config"
) -> tuple[list[Expected], Quantities]:
    """Return what is expected of every job of a graph, and the quantities that it follows from.

    Parameters
    ----------
    graph
        Of a configuration.
    gpu
        A card that the table knows.
    tables
        Folder of estimates.tsv and of the configuration's other tables.
    """
    quantities = Quantities(graph.config, tables, graph.folder)
    clock, shelf = Clock(quantities, gpu), Shelf(quantities)
    found = [
        Expected(job, clock.time(job), shelf.space(job), None if job.needed else _took(job, graph))
        for job in graph.jobs
    ]
    return found, quantities


def _took(job: Job, graph: Graph) -> float | None:
    """Return the processor time that a job's benchmark tells; of a GPU job it would say little."""
    if job.benchmark is None or job.gpus:
        return None
    try:
        with (graph.folder / job.benchmark).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        return sum(float(row["cpu_time"]) for row in rows) / len(rows)
    except (FileNotFoundError, KeyError, ValueError, ZeroDivisionError):
        return None


def total(found: Iterable[Expected]) -> Total:
    """Return the sums over some jobs, and over those of each rule."""
    whole = Total()
    for one in found:
        whole.add(one)
        whole.rules.setdefault(one.job.rule, Total()).add(one)
    return whole


def report(found: Sequence[Expected], graph: Graph, quantities: Quantities, gpu: str) -> str:
    """Return what a person reads: jobs and hours by rule and study, bytes, what is assumed."""
    whole = total(found)
    studies = {
        f"study {name}": total(found[place] for place in places)
        for name, places in graph.studies.items()
    }
    named = whole.rules | (studies if len(studies) > 1 else {}) | {"all": whole}
    rows = [["rule", "jobs", "left", "CPU-hours", "GPU-hours", "GB kept"]]
    for name, one in named.items():
        numbers = (one.cpu, one.gpu, one.kept / GB)
        rows.append([name, str(one.jobs), str(one.left or "-"), *map(_number, numbers)])
    peak = whole.kept + whole.temporary + whole.training
    lines = [*table(rows), ""]
    if whole.done:
        lines.append(f"done: {whole.done} of {whole.jobs} jobs{_taken(whole)}")
    gpus = f" and {_number(whole.gpu)} GPU-hours of one {gpu.upper()}" if whole.gpu else ""
    lines += [
        f"left: {whole.left} jobs, {_number(whole.cpu)} CPU-hours{gpus}",
        f"disk: {_number(whole.kept / GB)} GB in the end, {_number(peak / GB)} GB with all that is"
        " temporary and the checkpoints of the largest training",
        f"downloads: {_number(whole.fetched / GB)} GB",
        f"not counted: {'; '.join(NOT_COUNTED)}",
        "These are estimates from config/estimates.tsv, which says of every figure whether it was"
        " measured, published or assumed",
    ]
    for other, names in sorted(quantities.beliefs.stood_in.items()):
        lines.append(f"not listed there, taken as {other}: {', '.join(sorted(names))}")
    return "\n".join(lines)


def _taken(whole: Total) -> str:
    """Return how the jobs that are done compare with what would have been expected of them."""
    if not whole.expected:
        return ""
    ratio = whole.took / whole.expected
    return f", {_number(whole.took)} CPU-hours, {ratio:.1f} times what is expected here"


def _number(value: float) -> str:
    """Return a number with two or three digits; a dash for next to nothing."""
    if value < 0.0005:
        return "-"
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the plan; the exit status is 1 if Snakemake cannot tell what the jobs are."""
    parser = options("What a configuration costs.")
    parser.add_argument("--gpu", default=CARD, metavar="CARD", help="of config/estimates.tsv")
    asked = parser.parse_args(arguments)
    try:
        graph = graph_of(asked)
        found, quantities = estimate(graph, asked.gpu)
        sys.stdout.write(f"{report(found, graph, quantities, asked.gpu)}\n")
    except BabelscopeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
