"""A workflow's jobs on a Slurm cluster, and how to end them."""

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from babelscope.errors import BabelscopeError

PREFIX = "babelscope"  # of job names; `slurm-jobname-prefix` of profiles/slurm
TIMEOUT = 20  # seconds for the controller to answer
FIELDS = "%i|%T|%N|%j|%Z|%k"  # id, state, nodes, name, working directory, comment


@dataclass(frozen=True)
class ClusterJob:
    """One job that waits or runs.

    Attributes
    ----------
    id
        Slurm's number of it.
    rule, wildcards
        What it makes; the values of the wildcards, joined by underscores. Of a group of jobs,
        `rule` is the name of the group.
    state
        Slurm's word, ``PENDING`` or ``RUNNING`` say.
    node
        Where it runs; empty while it waits.
    """

    id: str
    rule: str
    wildcards: str
    state: str
    node: str

    def __str__(self) -> str:
        name = f"{self.rule} {self.wildcards}".rstrip()
        return f"{name} (job {self.id}, {self.state.lower()})"


def find_jobs(folder: str | Path, prefix: str = PREFIX) -> list[ClusterJob]:
    """Return this user's jobs of the workflow in a folder.

    Jobs are told by their name, which begins with `prefix`, and by their working directory.

    Raises
    ------
    BabelscopeError
        If the controller does not answer, so that nobody knows what runs.
    """
    home = Path(folder).resolve()
    jobs = []
    for line in _ask("squeue", "--me", "--noheader", f"--format={FIELDS}").splitlines():
        cells = line.split("|", 5)
        if len(cells) < 6:  # the rest of somebody's comment in several lines
            continue
        number, state, node, name, place, comment = cells
        if name.startswith(f"{prefix}_") and Path(place).resolve() == home:
            said = re.fullmatch(r"rule_(.+?)(?:_wildcards_(.*))?", comment)
            rule, wildcards = said.groups(default="") if said else (name, "")
            jobs.append(ClusterJob(number, rule, wildcards, state, node))
    return jobs


def cancel(jobs: Iterable[ClusterJob]) -> None:
    """Cancel jobs; they may live on for some seconds."""
    _ask("scancel", *(job.id for job in jobs))


def _ask(*command: str) -> str:
    """Return what a command of Slurm's prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True)
    except subprocess.TimeoutExpired:
        said = f"no answer within {TIMEOUT} s"
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip()
    else:
        return done.stdout
    raise BabelscopeError(
        f"{command[0]} failed: {said}.", "Try again when Slurm's controller answers."
    )
