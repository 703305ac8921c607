import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from babelscope import progress as module
from babelscope.progress import count_line, latest, progress, stage_line, step_line

ROOT = Path(__file__).resolve().parents[2]
STAMP = "2026-11-28 14:29:52 INFO "
TRAINING = {"epoch": 0.06, "loss": 7.9, "rate": 4e-4}


@pytest.fixture
def clock(monkeypatch):
    """Let ten seconds pass at every look at the clock."""
    seconds = iter(range(0, 10**6, 10))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(seconds))


def test_a_loop_writes_two_whole_lines_a_minute_and_its_end(clock, caplog):
    caplog.set_level(logging.INFO)
    assert list(progress(range(20), "batches")) == list(range(20))
    assert caplog.messages == [
        *(count_line("batches", done, 20, 10 * done) for done in (3, 6, 9, 12, 15, 18)),
        "batches: 20 of 20, 0.0 min left",
    ]
    assert caplog.messages[0] == "batches: 3 of 20, 2.8 min left"
    assert str(latest("\n".join(caplog.messages))) == "batches 20 of 20, 0.0 min left"


def test_a_loop_without_an_end_in_sight_counts(clock, caplog):
    caplog.set_level(logging.INFO)
    assert sum(progress((1 for _ in range(4)), "articles")) == 4
    assert caplog.messages == ["articles: 3 so far", "articles: 4 so far"]
    found = latest(STAMP + caplog.messages[0])
    assert (found.what, found.done, found.total, found.minutes) == ("articles", 3, None, None)


def test_a_short_loop_writes_nothing(caplog, capfd):
    caplog.set_level(logging.INFO)
    assert list(progress([1, 2], "batches")) == [1, 2]
    assert not caplog.messages
    assert capfd.readouterr() == ("", "")


def test_the_newest_line_counts():
    old, new = (step_line(n, 15, 2.0 / n, name="ner: en, de", **TRAINING) for n in (5, 10))
    log = f"{STAMP}{old}\n{STAMP}{new}\nSome library says: 3 of 4 things are fine\n"
    assert str(latest(log)) == "step 10 of 15, 0.2 min left"
    assert latest(f"{STAMP}resuming after step 5\n12 of 20 shards were finished before\n") is None
    assert latest("") is None


def test_a_step_belongs_to_its_stage():
    step = step_line(5, 15, 90.0, **TRAINING, tokens_per_second=5527.2)
    first, second = (stage_line("network", number, 11, "ticket: de") for number in (1, 2))
    assert (
        str(latest(f"{first}\n{step}")) == "network 1 of 11, step 5 of 15, 1.5 h left of this one"
    )
    assert str(latest(f"{first}\n{step}\n{second}")) == "network 2 of 11"


def test_bars_of_libraries_do_not_flood_a_log():
    """Snakemake's jobs inherit what the Snakefile sets."""
    code = """
import time
from tqdm.auto import tqdm
for _ in tqdm(range(60)):
    time.sleep(0.01)
"""
    text = (ROOT / "Snakefile").read_text("utf-8")
    keys = re.search(r"for key in \(([^)]*)\):\n.*TQDM_\{key\}\", \"(\d+)\"", text)
    wanted = {f"TQDM_{key}": keys[2] for key in re.findall(r"[A-Z]+", keys[1])}
    assert len(wanted) == 3

    def bars(changes):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, env={**os.environ, **changes}
        )
        assert done.returncode == 0
        return done.stderr.count(b"\r")

    assert bars(dict.fromkeys(wanted, "0")) > 20
    assert bars(wanted) == 0
