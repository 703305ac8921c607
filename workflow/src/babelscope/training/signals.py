"""Signals that ask a training to stop: noted, so that a step can end and be saved."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Signals:
    """The signal that asked this process to stop, if one did."""

    received: str | None = None


SIGNALS = Signals()


@contextmanager
def heeding_signals() -> Iterator[None]:
    """Note SIGTERM and SIGUSR1 instead of dying of them, so that a step can end and be saved."""

    def note(number: int, frame: Any) -> None:
        SIGNALS.received = signal.Signals(number).name

    SIGNALS.received = None
    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
