"""A study run again and again under random kills: `make soak`.

Each run is killed at random moments, all drawn from the seed: Snakemake, one of its jobs, or all of
them as when the machine goes down. Each time `babelscope.recovery` goes on. In the end every file
must be what an undisturbed run gives, but for times.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from babelscope import running

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "workflow" / "src"

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
VICTIMS = ("snakemake", "job", "machine")
SPARE = 10  # times that a run may be taken up again beyond its kills
TIMES = ["seconds", "steps_per_second", "tokens_per_second", "peak_memory_mb"]
BESIDE = {"logs", "benchmarks"}  # what has times in every line


def main() -> int:
    """Run the study undisturbed, then under kills; the status is 1 if a result differs."""
    parser = argparse.ArgumentParser(
        description="A study under random kills, compared with an undisturbed run."
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=Path, help="an overlay; the demo without")
    parser.add_argument("--study", default="heads")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="to work in and to keep; else a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = (options.folder or Path(temporary)).resolve()
        command = [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
            *("--workflow-profile", str(ROOT / "profiles" / "default")),
            *(["--configfile", str(options.config.resolve())] if options.config else []),
            *("--cores", str(options.cores), options.study),
        ]
        undisturbed = home / "undisturbed"
        began = time.monotonic()
        if start(undisturbed, command).wait():
            tell(f"the undisturbed run failed; see {undisturbed / 'soak.log'}")
            return 1
        length = time.monotonic() - began
        tell(f"undisturbed: {length:.0f} s")
        lost = 0
        for number in range(1, options.runs + 1):
            random_ = random.Random(f"{options.seed}/{number}")
            folder = home / f"run-{number}"
            if not disturbed(folder, command, length, random_):
                tell(f"run {number} did not end; see {folder / 'soak.log'}")
                return 1
            different = differences(undisturbed, folder)
            tell(f"run {number}: {len(different)} files differ from the undisturbed run's")
            for line in different:
                tell(f"  {line}")
            lost += len(different)
        tell(f"lost: {lost or 'nothing'}")
        return min(lost, 1)


def disturbed(folder: Path, command: list[str], length: float, random_: random.Random) -> bool:
    """Run a command under kills, and recover from each; return whether it came to a good end."""
    moments = sorted(random_.uniform(0, length) for _ in range(random_.randint(2, 5)))
    tell(f"{folder.name}: {len(moments)} kills, each unless the run ends before")
    began = time.monotonic()
    process = start(folder, command)
    for _ in range(len(moments) + SPARE):
        while process.poll() is None:
            if moments and time.monotonic() - began > moments[0]:
                moments.pop(0)
                kill(folder, process, random_)
            time.sleep(0.1)
        if process.returncode == 0:
            tell(f"  done after {time.monotonic() - began:.0f} s, {len(moments)} kills to spare")
            return True
        how = random_.choice(["wait", "cancel"])
        tell(
            f"  {time.monotonic() - began:4.0f} s: ended with {process.returncode}; recover, {how}"
        )
        if running.last_run(folder) is None:  # it was killed before its first job
            start(folder, [*command, "--unlock"]).wait()
            process = start(folder, command)
            continue
        recovery = [sys.executable, "-m", "babelscope.recovery", "--how", how]
        process = start(folder, [*recovery, "--directory", str(folder)])
    return False


def start(folder: Path, command: list[str]) -> subprocess.Popen:
    """Start a command in a folder; it writes to `soak.log` there."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"PYTHONPATH": os.pathsep.join(paths), "PWD": str(folder)}
    own["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with (folder / "soak.log").open("a") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **own},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def kill(folder: Path, process: subprocess.Popen, random_: random.Random) -> None:
    """Send a random signal to Snakemake, to one of its jobs, or SIGKILL to all at once."""
    os.chdir(folder)
    jobs = [job for job in running.local_jobs() if job.processes]
    others = running.named(jobs) or "no job"
    victim, number = random_.choice(VICTIMS), random_.choice(SIGNALS)
    place = random_.random()  # drawn in any case, so that later draws depend on the seed alone
    if victim == "job" and jobs:
        job = jobs[int(place * len(jobs))]
        send(number, *job.processes)
        tell(f"  {signal.Signals(number).name} to {job}")
    elif victim == "machine":
        send(signal.SIGKILL, process.pid, *(one for job in jobs for one in job.processes))
        tell(f"  SIGKILL to Snakemake and {others}")
    else:
        send(number, process.pid)
        tell(f"  {signal.Signals(number).name} to Snakemake, beside {others}")


def send(number: signal.Signals, *processes: int) -> None:
    """Send a signal to processes, some of which may have ended by now."""
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            continue


def differences(one: Path, two: Path) -> list[str]:
    """Return the files that only one of two folders has, or whose content differs."""
    left, right = results(one), results(two)
    lines = [f"only in one: {name}" for name in sorted(left.keys() ^ right.keys())]
    both = sorted(left.keys() & right.keys())
    return lines + [f"other content: {name}" for name in both if not equal(left[name], right[name])]


def results(folder: Path) -> dict[str, Path]:
    """Return all files that a run made, by name; records, logs and timings are left out."""
    found = {}
    for top in ("resources", "results"):
        for path in sorted((folder / top).rglob("*")):
            name = path.relative_to(folder)
            beside = name.parts[1] in BESIDE or name.name == ".snakemake_timestamp"
            if path.is_file() and not beside and not name.name.endswith("provenance.json"):
                found[name.as_posix()] = path
    return found


def equal(one: Path, two: Path) -> bool:
    """Return whether two files are the same, tables apart from what was timed."""
    if one.read_bytes() == two.read_bytes():
        return True
    readers = {".parquet": pd.read_parquet, ".csv": pd.read_csv}
    if one.suffix not in readers:
        return False
    left, right = (readers[one.suffix](path) for path in (one, two))
    left, right = (table.drop(columns=TIMES, errors="ignore") for table in (left, right))
    return left.equals(right)


def tell(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
