"""How far a job is: lines in its log, written and read here alone, and bars on a terminal.

A log gets whole lines, at most two a minute from a loop, so that it can be read and searched; the
command `python -m babelscope.status` reads the newest.
"""

import logging
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass, replace
from typing import TypeVar

from tqdm import tqdm

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

EVERY = 30.0  # seconds between two lines of a loop
LINE = re.compile(r"(?:(.+): )?(step )?(\d+) (?:of (\d+),(?:.*,)? ([\d.]+) min left|so far)")
STAGE = re.compile(r"(training|network) (\d+) of (\d+): .+")
STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO ")  # of `babelscope.jobs`


@dataclass(frozen=True)
class Progress:
    """The newest that a log tells of how far its job is.

    Attributes
    ----------
    what
        What is counted: ``step`` of a training, or what a loop goes through.
    done, total
        How many are; the total is None if nobody knows it.
    minutes
        Until the last one, by the pace so far; None if nobody knows.
    stage
        Which of several trainings this is, empty if there is one alone.
    """

    what: str
    done: int
    total: int | None
    minutes: float | None
    stage: str = ""

    def __str__(self) -> str:
        parts = [self.stage] if self.stage else []
        total = "" if self.total is None else f" of {self.total}"
        parts.append(f"{self.what} {self.done}{total}")
        if self.minutes is not None:
            parts.append(f"{_short(self.minutes)} left{' of this one' if self.stage else ''}")
        return ", ".join(parts)


def step_line(
    step: int,
    steps: int,
    minutes: float,
    *,
    epoch: float,
    loss: float,
    rate: float,
    name: str = "",
    tokens_per_second: float | None = None,
) -> str:
    """Return the line of a training after some of its steps.

    Parameters
    ----------
    step, steps
        How many are done, of how many.
    minutes
        Until the last one.
    epoch, loss, rate
        Of the steps since the last line; the rate is the learning rate.
    name
        What is trained, where a job trains several.
    tokens_per_second
        Left out if None.
    """
    speed = "" if tokens_per_second is None else f", {tokens_per_second:.0f} tokens/s"
    return (
        f"{name}{name and ': '}step {step} of {steps}, epoch {epoch:.2f}, loss {loss:.4f}, learning"
        f" rate {rate:.2e}{speed}, {minutes:.1f} min left"
    )


def stage_line(kind: str, number: int, last: int, text: str) -> str:
    """Return the line with which one of several trainings of a job begins.

    Parameters
    ----------
    kind
        ``training`` or ``network``.
    number, last
        Which it is, counted from 1, of how many.
    text
        What it is.
    """
    return f"{kind} {number} of {last}: {text}"


def count_line(what: str, done: int, total: int | None, seconds: float) -> str:
    """Return the line of a loop that has taken some seconds for what is done."""
    if total is None:
        return f"{what}: {done} so far"
    left = (total / done - 1) * seconds / 60
    return f"{what}: {done} of {total}, {max(left, 0.0):.1f} min left"


def latest(log: str) -> Progress | None:
    """Return the newest progress that a log tells of; None if it tells of none."""
    found = None
    for line in reversed(log.splitlines()):
        text = STAMP.sub("", line)
        if stage := STAGE.fullmatch(text):
            kind, number, last = stage.groups()
            if found is None:
                return Progress(kind, int(number), int(last), None)
            return replace(found, stage=f"{kind} {number} of {last}")
        if found is None and (match := LINE.fullmatch(text)):
            what, step, done, total, left = match.groups()
            if what or step:
                found = Progress(
                    "step" if step else what,
                    int(done),
                    int(total) if total else None,
                    float(left) if left else None,
                )
    return found


def progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items and tell how many there were: a live bar on a terminal, lines in a log.

    Parameters
    ----------
    items
        What is gone through.
    what
        What they are called.
    total
        How many there are, if `items` has no length.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, total=total)
        return
    done = 0
    started = told = time.monotonic()
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - told >= EVERY:
            told = now
            logger.info("%s", count_line(what, done, total, now - started))
    if told > started:
        logger.info("%s", count_line(what, done, total, time.monotonic() - started))


def _short(minutes: float) -> str:
    """Return a time with the unit that suits it."""
    if minutes < 90:
        return f"{minutes:.1f} min"
    hours = minutes / 60
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
