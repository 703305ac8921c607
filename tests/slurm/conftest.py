"""A real Slurm for the tests, on this machine, and the project's profile run on it."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "tiny.yaml"
PYTHON = ROOT / ".venv-slurm" / "bin" / "python"  # the only environment with Slurm's executor
FOLDER = Path(os.environ.get("BABELSCOPE_SLURM", "/tmp/babelscope-slurm"))
LINK = Path("/etc/slurm/slurm.conf")


class Cluster:
    """The running cluster, and this project's workflow submitted to it.

    Attributes
    ----------
    folder
        Configuration and logs of the cluster's daemons.
    python
        The interpreter that Snakemake runs with.
    """

    python = PYTHON

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def command(self, *arguments: str | Path, study: str = "heads") -> list[str]:
        """Return Snakemake's command line; of an option given twice, the later one counts."""
        return [
            *(str(PYTHON), "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
            *("--workflow-profile", str(ROOT / "profiles" / "slurm")),
            *("--configfile", str(TINY), "--jobs", "6", "--latency-wait", "10"),
            *("--slurm-init-seconds-before-status-checks", "1"),
            *(study, *map(str, arguments)),
        ]

    def environment(self, folder: Path) -> dict[str, str]:
        """Return what jobs of a run in `folder` find in their environment."""
        own = {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache")}
        return {**os.environ, **own, "PATH": f"{PYTHON.parent}:{os.environ['PATH']}"}

    def start(self, folder: Path, *arguments: str | Path, study: str = "heads") -> subprocess.Popen:
        """Start a run in `folder`, in a session of its own; it writes to `folder/snakemake.log`."""
        with (folder / "snakemake.log").open("a") as log:
            return subprocess.Popen(
                self.command(*arguments, study=study),
                cwd=folder,
                env=self.environment(folder),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def submit(
        self, folder: Path, *arguments: str | Path, study: str = "heads"
    ) -> subprocess.CompletedProcess:
        """Run in `folder` to the end."""
        return subprocess.run(
            self.command(*arguments, study=study),
            cwd=folder,
            env=self.environment(folder),
            capture_output=True,
            text=True,
        )

    def jobs(self, folder: Path | None = None) -> list[dict[str, Any]]:
        """Return all jobs, of one working directory or any, those that have ended too, by number.

        `memory` is in MB, `limit` in minutes; `gres` is what a job held, empty before it starts;
        `start` and `end` are as Slurm writes them, and `facts` is all that it says.
        """
        shown = subprocess.run(
            ["scontrol", "--detail", "--oneliner", "show", "job"],
            capture_output=True,
            text=True,
            check=True,
        )
        jobs = []
        for line in shown.stdout.splitlines():
            facts = dict(re.findall(r"(?:^| )([A-Z][\w/:]*)=(.*?)(?= [A-Z][\w/:]*=|$)", line))
            if "JobId" not in facts or (folder and facts["WorkDir"] != str(folder)):
                continue
            jobs.append(
                {
                    "id": int(facts["JobId"]),
                    "name": facts["JobName"],
                    "state": facts["JobState"],
                    "partition": facts["Partition"],
                    "nodes": facts["NodeList"].replace("(null)", ""),
                    "cpus": int(facts["NumCPUs"]),
                    "comment": facts.get("Comment", ""),
                    "gres": facts["JOB_GRES"].replace("(null)", ""),
                    "memory": in_megabytes(facts.get("MinMemoryNode", "0")),
                    "limit": in_minutes(facts["TimeLimit"]),
                    "workdir": facts["WorkDir"],
                    "start": facts["StartTime"],
                    "end": facts["EndTime"],
                    "facts": facts,
                }
            )
        return sorted(jobs, key=lambda job: job["id"])


def in_megabytes(amount: str) -> int:
    """Read Slurm's way to write memory, `8000M` or `16G` say."""
    return int(float(amount.rstrip("MG")) * (1024 if amount.endswith("G") else 1))


def in_minutes(limit: str) -> int:
    """Read Slurm's way to write a time limit, `1-02:30:00` say."""
    days, _, clock = limit.rpartition("-")
    hours, minutes, _ = clock.split(":")
    return (int(days or 0) * 24 + int(hours)) * 60 + int(minutes)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Give the running cluster, or start one and end it after the tests; skip without Slurm."""
    if not PYTHON.is_file() or shutil.which("slurmctld") is None:
        pytest.skip("Slurm or its executor is missing; `make test-slurm` installs both on Debian")
    if os.geteuid() != 0:
        pytest.skip("only root can start Slurm")
    if LINK.exists() and LINK.resolve() != (FOLDER / "slurm.conf").resolve():
        pytest.skip(f"{LINK} belongs to another cluster")
    ours = not LINK.exists()
    up = [str(Path(__file__).with_name("cluster-up.sh")), str(FOLDER)]
    done = subprocess.run(up, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    yield Cluster(FOLDER)
    if ours:
        subprocess.run([up[0].replace("-up", "-down"), str(FOLDER)], check=True)
