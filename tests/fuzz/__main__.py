"""Read damaged files for a while: `python -m tests.fuzz`, or `make fuzz`.

Every reader has the same time, and reads in a process of its own whose memory is bounded. A finding
is whatever is not one of our errors: another exception, a case that takes more than some seconds,
or a process that dies or grows. It is printed with the command that repeats it.
"""

import argparse
import gc
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from babelscope import io
from tests.fuzz.cases import damage, run
from tests.fuzz.readers import Reader, find_readers

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
SLOW = 5.0  # seconds of work on one case that are too many
HANGING = 60.0  # seconds after which a process is killed that does not even notice that
MEMORY = 2**31  # bytes, beyond those that a process begins with
GROWTH = 2**28  # bytes that may be held after many cases more than after a few
WARM = 50  # cases until memory is looked at


class SlowError(BaseException):
    """A case takes too long; nothing that reads is meant to catch this."""


def give_up(*_: Any) -> None:
    raise SlowError(f"more than {SLOW:.0f} s of work")


def cases(
    reader: Reader, first: int, seconds: float, alone: bool, folder: Path
) -> Iterator[dict[str, Any]]:
    """Read one damaged file after another and yield what happens."""
    signal.signal(signal.SIGPROF, give_up)
    size = memory()
    resource.setrlimit(resource.RLIMIT_AS, (size[0] + MEMORY, resource.RLIM_INFINITY))
    io._fsync = lambda path: None  # which takes most of the time, and reads nothing
    begin, held = time.monotonic(), 0
    for number in count(first):
        yield {"case": number}
        home = folder / "case"
        home.mkdir()
        refused, problem = False, ""
        try:
            files = damage(reader, Random(f"{reader.name} {number}"))
            try:
                signal.setitimer(signal.ITIMER_PROF, SLOW, 1.0)
                refused = bool(run(reader, files, home))
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
        except (Exception, SlowError):
            problem = traceback.format_exc()[-20_000:]
        shutil.rmtree(home, ignore_errors=True)
        yield {"case": number, "refused": refused, "problem": problem}
        done = number - first + 1
        if done == WARM:
            gc.collect()
            held = memory()[1]
        if alone or time.monotonic() - begin > seconds:
            break
    gc.collect()
    growth = memory()[1] - held if held else 0
    yield {"case": number, "growth": growth}


def memory() -> tuple[int, int]:
    """Return the bytes this process may use, and those it does."""
    pages = Path("/proc/self/statm").read_text().split()
    return int(pages[0]) * resource.getpagesize(), int(pages[1]) * resource.getpagesize()


def in_child(reader: Reader, *arguments: Any) -> Iterator[dict[str, Any]]:
    """Yield what `cases` yields in a process of its own, and how that died if it did."""
    source, sink = os.pipe()
    child = os.fork()
    if not child:
        os.close(source)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        status = 1
        try:
            for event in cases(reader, *arguments):
                os.write(sink, json.dumps(event).encode() + b"\n")
            status = 0
        finally:
            os._exit(status)
    os.close(sink)
    last = 0
    with os.fdopen(source) as events:
        while True:
            if not select.select([events], [], [], HANGING)[0]:
                os.kill(child, signal.SIGKILL)
            line = events.readline()
            if not line.endswith("\n"):
                break
            event = json.loads(line)
            last = event["case"]
            yield event
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        yield {"case": last, "problem": f"The process ended with status {status}."}


def fuzz(reader: Reader, first: int, seconds: float, alone: bool, folder: Path) -> dict[str, Any]:
    """Let a reader read for some time, and go on behind a case that ends its process."""
    end = time.monotonic() + seconds
    found: dict[str, Any] = {"cases": 0, "refused": 0, "problems": {}, "growth": 0}
    while True:
        last, died = first, False
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for event in in_child(reader, first, end - time.monotonic(), alone, folder):
            last = event["case"]
            died = "refused" not in event and "problem" in event
            found["cases"] += "refused" in event or died
            found["refused"] += event.get("refused", False)
            found["growth"] = max(found["growth"], event.get("growth", 0))
            if event.get("problem"):
                found["problems"].setdefault(kind_of(event["problem"]), (last, event["problem"]))
        first = last + 1
        if alone or not died or time.monotonic() > end:
            return found


def kind_of(problem: str) -> str:
    """Return what two findings have in common that are the same: the last place and the error."""
    lines = [line.strip() for line in problem.splitlines() if line.strip()]
    places = [line for line in lines if line.startswith("File ") and "babelscope" in line]
    return f"{lines[-1].partition(':')[0]} {places[-1] if places else ''}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Read damaged files, and print findings.")
    parser.add_argument("--seconds", type=float, default=60.0, help="in all")
    parser.add_argument("--reader", action="append", help="this one alone; may be repeated")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--case", type=int, help="this case alone, whose traceback is shown")
    options = parser.parse_args(arguments)
    real = Path(os.environ.get("BABELSCOPE_DATA", REAL))
    with tempfile.TemporaryDirectory() as scratch:
        readers = find_readers(Path(scratch, "demo"), real if real.is_dir() else None)
        unknown = [name for name in options.reader or () if name not in readers]
        if unknown:
            parser.error(f"no reader {', '.join(unknown)}; there are {', '.join(readers)}")
        chosen = [readers[name] for name in options.reader or readers]
        print(
            f"{len(chosen)} readers; files of the demo{' and real ones' if real.is_dir() else ''}"
        )
        print(f"{'reader':<22}{'cases':>8}{'refused':>9}{'MB more':>9}  findings", flush=True)
        share, alone = options.seconds / len(chosen), options.case is not None
        failed = 0
        for reader in chosen:
            first = options.case if alone else options.first
            found = fuzz(reader, first, share, alone, Path(scratch, "work"))
            if found["growth"] > GROWTH:
                found["problems"]["growth"] = (first, f"holds {found['growth']} bytes more\n")
            problems = found["problems"].values()
            print(
                f"{reader.name:<22}{found['cases']:>8}{found['refused']:>9}"
                f"{found['growth'] / 1e6:>9.0f}  {len(problems) or ''}",
                flush=True,
            )
            for number, problem in problems:
                failed += 1
                print(problem if alone else problem.strip()[-600:])
                print(f"again: python -m tests.fuzz --reader {reader.name} --case {number}\n")
    print(f"{failed} findings" if failed else "nothing found")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
