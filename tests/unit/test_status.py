"""How jobs stand: told from crafted folders, and from one that Snakemake really worked in."""

import fcntl
import json
import math
import os
import re
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from babelscope import running
from babelscope.cluster import ClusterJob
from babelscope.dag import Job, Mark
from babelscope.locks import stand_in
from babelscope.progress import step_line
from babelscope.status import Life, life_in, report, standings

ROOT = Path(__file__).resolve().parents[2]
STAMP = "2026-11-28 14:29:52"
NOBODY = Life(None, ())
STEP = step_line(3, 10, 1.5, epoch=0.1, loss=2.0, rate=1e-3)


class Folder:
    """A folder in which one job was tried, or not."""

    def __init__(self, path):
        self.path = path
        self.config = {}
        self.studies = {}
        self.jobs = []

    @property
    def folder(self):
        return self.path

    def job(self, *, needed=True, changed="", mark=None, output=False, log=None, benchmark=None):
        """Add a job; `log` is the text of its log, `benchmark` seconds from then to its own."""
        for name, there in (("out.txt", output), ("job.log", log), ("job.tsv", benchmark)):
            if there is not None and there is not False:
                (self.path / name).write_text(there if isinstance(there, str) else "x")
        if benchmark is not None:
            os.utime(self.path / "job.tsv", (time.time() + benchmark,) * 2)
        job = Job(
            rule="make_text",
            wildcards={"model": "xlmr", "lang": "en"},
            script="make_text",
            environment="text",
            threads=1,
            gpus=0,
            params={},
            outputs=["out.txt"],
            log="job.log",
            benchmark="job.tsv",
            needed=needed,
            changed=changed,
            mark=mark,
        )
        self.jobs.append(job)
        return job

    def stands(self, life=NOBODY):
        found = standings(self, life)[-1]
        return found.state, found.text


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path.resolve())


def test_what_snakemake_would_not_run_is_done_even_if_its_file_is_gone(folder):
    folder.job(needed=False, output=False)
    assert folder.stands() == ("done", "")


def test_what_was_never_tried_waits(folder):
    folder.job()
    assert folder.stands() == ("waiting", "")


def test_what_is_there_but_would_be_made_anew_is_outdated(folder):
    folder.job(output=True, log="all is well\n", benchmark=5, changed="its settings")
    assert folder.stands() == ("outdated", "its settings")
    text = report(standings(folder, NOBODY))
    assert text.endswith("outdated with all that follows:\n  make_text (1): its settings")


def test_an_output_that_somebody_deleted_waits(folder):
    folder.job(log=f"{STAMP} ERROR an older attempt.\n", benchmark=5)
    assert folder.stands() == ("waiting", "")


@pytest.mark.parametrize(
    ("log", "text"),
    [
        (f"{STAMP} INFO a\n{STAMP} ERROR in.txt is bad. Mend it.\n", "in.txt is bad. Mend it."),
        (
            f"{STAMP} ERROR unexpected failure:\nTraceback (most recent call last):\n"
            '  File "x.py", line 1\nZeroDivisionError: division by zero\n\n',
            "ZeroDivisionError: division by zero",
        ),
        (f"{STAMP} INFO {STEP}\n", rf"ended without a word.*Last line: {STAMP} INFO step 3 of 10"),
    ],
)
@pytest.mark.parametrize("benchmark", [None, -5])
def test_a_log_newer_than_any_success_is_that_of_a_failure(folder, log, text, benchmark):
    folder.job(log=log, benchmark=benchmark)
    state, said = folder.stands()
    assert state == "failed"
    assert re.search(text, said)
    assert "\n" not in said


def test_only_an_error_tells_of_a_failure_where_there_is_no_benchmark(folder):
    folder.jobs.append(replace(folder.job(log="fine so far\n"), benchmark=None))
    assert folder.stands() == ("waiting", "")
    (folder.path / "job.log").write_text(f"{STAMP} ERROR no. Mend it.\n")
    assert folder.stands() == ("failed", "no. Mend it.")


@contextmanager
def held(path):
    """Hold the lock of a file, which is made if need be."""
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize("sign", ["log", "snakemake", "script", "cluster id", "cluster name"])
def test_a_mark_and_a_sign_of_life_mean_running(folder, sign):
    now = time.time()
    folder.job(mark=Mark(now, "7" if sign == "cluster id" else None), log=f"{STAMP} INFO {STEP}\n")
    job = {"id": "8", "rule": "make_text", "wildcards": "xlmr_en", "state": "RUNNING", "node": "n"}
    if sign == "cluster id":
        job |= {"id": "7", "rule": "group", "wildcards": ""}
    cluster = (ClusterJob(**job),) if sign.startswith("cluster") else ()
    scripts = {"make_text"} if sign == "script" else ()
    life = Life(now - 60 if sign == "snakemake" else None, cluster, scripts)
    with held(stand_in(folder.path / "job.log")) if sign == "log" else nullcontext():
        assert folder.stands(life) == ("running", "step 3 of 10, 1.5 min left")
    if cluster:
        queued = ClusterJob(**job | {"state": "PENDING"})
        assert folder.stands(Life(None, (queued,))) == ("queued", "")


@pytest.mark.parametrize(
    "life",
    [
        NOBODY,
        Life(math.inf, ()),  # a Snakemake that came later
        Life(None, (ClusterJob("8", "make_text", "xlmr_de", "RUNNING", "n"),)),
    ],
    ids=["nobody", "later", "another"],
)
def test_a_mark_without_a_sign_of_life_means_killed(folder, life):
    folder.job(mark=Mark(time.time(), None), log=f"{STAMP} INFO {STEP}\n")
    state, text = folder.stands(life)
    assert (state, "killed" in text) == ("failed", True)
    (folder.path / "job.log").write_text(f"{STAMP} ERROR Training was stopped by SIGTERM.\n")
    assert folder.stands(life) == ("failed", "Training was stopped by SIGTERM.")


@pytest.mark.parametrize("sign", ["benchmark", "record"])
def test_a_job_that_outlived_its_snakemake_says_so(folder, sign):
    benchmark = 5 if sign == "benchmark" else None
    folder.job(mark=Mark(time.time(), None), output=True, log="x\n", benchmark=benchmark)
    if sign == "record":
        assert "killed" in folder.stands()[1]
        (folder.path / "out.provenance.json").write_text("{}")
    state, text = folder.stands()
    assert (state, "no Snakemake was there" in text) == ("failed", True)


def test_a_snakemake_that_works_in_the_folder_is_seen(folder):
    record = folder.path / running.RECORD
    assert life_in(folder.path) == Life(None, [], set())
    record.parent.mkdir()
    run = running.Run("python", [], "", "local", 1, "here", "2026-11-28 14:29:52+00:00")
    record.write_text(json.dumps(asdict(run)))
    assert life_in(folder.path) == Life(None, [], set())
    with held(record):
        assert life_in(folder.path) == Life(1795876192.0, [], set())


def test_what_slurm_was_given_is_not_told_dead_while_slurm_does_not_answer(folder, monkeypatch):
    record = folder.path / running.RECORD
    record.parent.mkdir()
    run = running.Run("python", [], "", "slurm", 1, "here", "2026-11-28 14:29:52+00:00")
    record.write_text(json.dumps(asdict(run)))
    monkeypatch.setenv("PATH", str(folder.path))
    life = life_in(folder.path)
    assert life.trouble.startswith("The jobs of this folder are Slurm's, and there is no squeue")
    folder.job(mark=Mark(time.time(), "7"))
    assert folder.stands(life)[0] == "running"
    folder.job(mark=Mark(time.time(), None))
    assert folder.stands(life)[0] == "failed"


def test_a_script_that_works_in_the_folder_is_seen(folder):
    script = folder.path / ".snakemake" / "scripts" / "tmp0a.make_text.py"
    script.parent.mkdir(parents=True)
    script.write_text("input()")
    with subprocess.Popen([sys.executable, script], cwd=folder.path, stdin=subprocess.PIPE) as job:
        assert life_in(folder.path).scripts == {"make_text"}
        job.communicate(b"\n")
    assert life_in(folder.path).scripts == set()


def test_the_report_shows_counts_progress_and_errors(folder):
    folder.job(needed=False)
    folder.job(mark=Mark(time.time(), None), log=f"{STAMP} INFO {STEP}\n")
    with held(stand_in(folder.path / "job.log")):
        text = report(standings(folder, NOBODY))
    assert re.search(r"rule +done +running +failed +waiting +jobs", text)
    assert re.search(r"make_text +1 +1 +- +- +2", text)
    assert "make_text xlmr en  step 3 of 10, 1.5 min left  job.log" in text
    assert "failed:" not in text
    killed = report(standings(folder, NOBODY))
    assert "failed:\n  make_text xlmr en  job.log\n    It was killed" in killed


SNAKEFILE = """
configfile: "settings.yaml"

rule all:
    input: "last.txt", "changed.txt", "other.txt", "never.txt"

rule part:
    output: temp("part.txt")
    log: "logs/part.log"
    benchmark: "benchmarks/part.tsv"
    shell: "echo part > {log}; echo 1 > {output}"

rule last:
    input: "part.txt"
    output: "last.txt"
    log: "logs/last.log"
    benchmark: "benchmarks/last.tsv"
    shell: "echo last > {log}; cp {input} {output}"

rule changed:
    output: "changed.txt"
    log: "logs/changed.log"
    benchmark: "benchmarks/changed.tsv"
    params: config["setting"]
    shell: "echo {params} > {output}; touch {log}"

rule broken:
    output: "broken.txt"
    log: "logs/broken.log"
    benchmark: "benchmarks/broken.tsv"
    shell: "echo '2026-11-28 14:29:52 ERROR in.txt is bad. Mend it.' > {log}; exit 1"

rule other:
    input: "broken.txt"
    output: "other.txt"
    log: "logs/other.log"
    shell: "cp {input} {output}"

rule never:
    output: "never.txt"
    log: "logs/never.log"
    benchmark: "benchmarks/never.tsv"
    shell: "sleep 1"
"""


def snakemake(folder, *options):
    return subprocess.run(
        [Path(sys.executable).with_name("snakemake"), "--cores", "1", *options],
        cwd=folder,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def status(tmp_path_factory):
    """Return a function that asks how a folder stands, where torch cannot be imported."""
    block = tmp_path_factory.mktemp("block")
    (block / "torch.py").write_text("raise ImportError('torch')\n")
    paths = os.pathsep.join(map(str, (block, ROOT / "workflow" / "src")))

    def ask(folder, *options):
        return subprocess.run(
            [sys.executable, "-m", "babelscope.status", "--directory", folder, *options],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )

    return ask


def content(folder):
    """Return all that is in a folder, with the times of its changes."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in [folder, *folder.rglob("*")]
    }


def states(text):
    table = text.split("\n\n")[0].splitlines()
    names = table[0].split()[1:-1]
    found = {}
    for line in table[1:-1]:
        rule, *counts, _ = line.split()
        found[rule] = [name for name, count in zip(names, counts, strict=True) if count != "-"]
    return {rule: one[0] for rule, one in found.items()}


def test_it_says_of_a_real_folder_what_snakemake_would_do_and_changes_nothing(status, tmp_path):
    folder = tmp_path.resolve()
    snakefile = folder / "Snakefile"
    snakefile.write_text(SNAKEFILE)
    (folder / "settings.yaml").write_text("setting: 1\n")
    first = snakemake(folder, "--keep-going", "last.txt", "changed.txt", "other.txt")
    assert first.returncode == 1
    assert not (folder / "part.txt").exists()
    key = urlsafe_b64encode(b"never.txt").decode()
    (folder / ".snakemake" / "incomplete").mkdir(exist_ok=True)
    (folder / ".snakemake" / "incomplete" / key).write_text('{"external_jobid": null}')
    before = content(folder)
    found = status(folder, "--snakefile", snakefile, "--config", "setting=2")
    assert found.returncode == 0, found.stderr
    assert states(found.stdout) == {
        "part": "done",
        "last": "done",
        "changed": "outdated",
        "broken": "failed",
        "other": "waiting",
        "never": "failed",
    }
    assert "broken  logs/broken.log\n    in.txt is bad. Mend it.\n" in found.stdout
    assert "never  logs/never.log\n    It was killed" in found.stdout
    assert "\n  changed (1): its settings\n" in found.stdout
    assert content(folder) == before

    planned = snakemake(folder, "-n", "--config", "setting=2").stdout
    listed = set(re.findall(r"^(\w+) +\d+$", planned, re.MULTILINE)) - {"all", "total"}
    assert listed == {rule for rule, state in states(found.stdout).items() if state != "done"}


def test_a_wrong_configuration_is_one_line(status, tmp_path):
    found = status(tmp_path, "heads", "--config", "languages=[en,xx]")
    assert found.returncode == 1
    assert not found.stdout
    assert "languages: xx not in config/languages.tsv" in found.stderr
    assert len(found.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
