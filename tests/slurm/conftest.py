"""A real Slurm for the tests, on this machine, and the project's profile run on it."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "tiny.yaml"
PYTHON = ROOT / ".venv-slurm" / "bin" / "python"  # the only environment with Slurm's executor
FOLDER = Path(os.environ.get("BABELSCOPE_SLURM", "/tmp/babelscope-slurm"))
LINK = Path("/etc/slurm/slurm.conf")
LIVE = ("PENDING", "RUNNING", "COMPLETING")


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
            facts = dict(re.findall(r"(?:^| )([A-Z][\w/:]*)=(.*?)(?= +[A-Z][\w/:]*=|$)", line))
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
                    "gres": facts.get("JOB_GRES", "").replace("(null)", ""),
                    "memory": in_megabytes(facts.get("MinMemoryNode", "0")),
                    "limit": in_minutes(facts["TimeLimit"]),
                    "workdir": facts["WorkDir"],
                    "start": facts["StartTime"],
                    "end": facts["EndTime"],
                    "facts": facts,
                }
            )
        return sorted(jobs, key=lambda job: job["id"])


class FineTuning:
    """Fine-tunings of a tiny model on the cluster, and the same ones in this process, undisturbed.

    Attributes
    ----------
    folder
        Of the run. All that a fine-tuning reads lies there, so that Snakemake has nothing else to
        do.
    settings
        Of the trainings; they save at a signal, and besides never unless it is asked for.
    """

    def __init__(self, cluster: Cluster, folder: Path, **changes: Any) -> None:
        self.cluster = cluster
        self.folder = folder
        document = yaml.safe_load((ROOT / "config" / "config.yaml").read_text("utf-8"))
        self.settings = document["mlm"]["finetune"] | {
            **{"lr": 7e-4, "warmup": 0.1, "mask_share": 0.15},
            **{"max_steps": 500, "batch_size": 4, "eval_steps": 200, "save_steps": 10000},
            **{"logging_steps": 10, "valid_examples": 6},
            **changes,
        }
        self.main: subprocess.Popen | None = None
        self.languages = yaml.safe_load(TINY.read_text("utf-8"))["languages"]

    def lay_out(self, model: Any, tokenizer: Any) -> None:
        """Write the model to start from and random text to train on."""
        from babelscope.tokenization.packing import write_chunks

        rng = np.random.default_rng(0)
        for language in self.languages:
            for split, count in (("train", 60), ("valid", 6)):
                windows = rng.integers(4, 99, (count, 12))
                windows[:, 0], windows[:, -1] = 0, 2
                path = Path(self.chunks(split)[language])
                path.parent.mkdir(parents=True, exist_ok=True)
                write_chunks(path, [windows], 12, 100)
        for part in (model, tokenizer):
            part.save_pretrained(self.folder / "results/models/demo-xlmr/base")

    def chunks(self, split: str) -> dict[str, str]:
        """Return the files of the windows of one split."""
        home = self.folder / "results/text/chunks/demo-xlmr"
        return {language: str(home / language / f"{split}.arrow") for language in self.languages}

    def start(self, seeds: list[int], *arguments: str | Path, **compute: Any) -> None:
        """Let Snakemake begin, one job per seed."""
        document = yaml.safe_load(TINY.read_text("utf-8")) | {"seeds": seeds}
        document["compute"] = {"training_threads": 1} | compute
        document["mlm"]["finetune"] = self.settings
        (self.folder / "config.yaml").write_text(yaml.safe_dump(document), "utf-8")
        targets = [f"results/models/demo-xlmr/finetuned/s{seed}" for seed in seeds]
        self.main = self.cluster.start(
            *(self.folder, *targets[1:], "--configfile", "config.yaml", *arguments),
            study=targets[0],
        )

    def until(self, holds: Callable[[], Any], seconds: float = 600) -> Any:
        """Wait until something holds, and return it; fail if Snakemake ends before."""
        last = time.monotonic() + seconds
        while not (found := holds()):
            assert self.main is not None
            assert self.main.poll() is None, self.said()
            assert time.monotonic() < last, self.said()
            time.sleep(0.05)
        return found

    def finish(self, seconds: float = 900) -> None:
        """Wait for the end of the run, which must be a good one."""
        assert self.main is not None
        assert self.main.wait(seconds) == 0, self.said()

    def end(self) -> None:
        """End what a test that failed left running."""
        if self.main is not None and self.main.poll() is None:
            self.main.kill()
            self.main.wait()
            live = [job for job in self.cluster.jobs(self.folder) if job["state"] in LIVE]
            subprocess.run(["scancel", *(str(job["id"]) for job in live)], check=True)

    def said(self) -> str:
        """Return what Snakemake said last."""
        return (self.folder / "snakemake.log").read_text("utf-8")[-6000:]

    def log(self, seed: int) -> str:
        """Return the log of a fine-tuning's newest attempt."""
        path = self.folder / f"results/logs/finetune_mlm/demo-xlmr/s{seed}.log"
        try:
            return path.read_text("utf-8")
        except FileNotFoundError:  # not yet, or not again yet
            return ""

    def jobs(self, seed: int) -> list[dict[str, Any]]:
        """Return the jobs of a fine-tuning so far."""
        jobs = self.cluster.jobs(self.folder)
        return [job for job in jobs if job["comment"].endswith(f"demo-xlmr_{seed}")]

    def training(self, seed: int, step: int = 20) -> dict[str, Any]:
        """Wait until a fine-tuning has done so many steps, and return its job."""
        self.until(lambda: f"step {step} of" in self.log(seed))
        return self.jobs(seed)[-1]

    def resumed(self, seed: int) -> int:
        """Return the step after which the last attempt went on."""
        found = re.search(r"resuming after step (\d+)", self.log(seed))
        assert found, self.log(seed)
        return int(found[1])

    def checkpoints(self, seed: int) -> Path:
        """Return the folder of a fine-tuning's checkpoints."""
        return self.folder / f"results/models/demo-xlmr/.checkpoints/finetuned-s{seed}"

    def result(self, seed: int) -> tuple[dict[str, np.ndarray], Any]:
        """Return weights and history of a fine-tuning of the cluster."""
        return read_result(self.folder / f"results/models/demo-xlmr/finetuned/s{seed}")

    def undisturbed(self, seed: int, **changes: Any) -> tuple[dict[str, np.ndarray], Any]:
        """Do the same training in this process, and return weights and history."""
        from babelscope.seeds import derive_seed
        from babelscope.training.runs import Run, execute

        home = self.folder / "undisturbed"
        execute(
            Run(
                model=str(self.folder / "results/models/demo-xlmr/base"),
                train=self.chunks("train"),
                valid=self.chunks("valid"),
                output=str(home / f"s{seed}"),
                history=str(home / f"s{seed}.history.parquet"),
                checkpoints=str(home / f"s{seed}.checkpoints"),
                settings=self.settings | changes,
                seed=derive_seed(seed, "finetune") % 2**31,
                version=1,
            )
        )
        return read_result(home / f"s{seed}")


def read_result(model: Path) -> tuple[dict[str, np.ndarray], Any]:
    """Return the weights of a model and the history beside it, without what a clock told."""
    from babelscope.io import read_arrays, read_table

    history = read_table(f"{model}.history.parquet").drop(columns="seconds")
    return read_arrays(model / "model.safetensors"), history


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


@pytest.fixture(scope="module")
def finetuning(cluster, tmp_path_factory, make_model) -> Iterator[Callable[..., FineTuning]]:
    """Give a function that lays out fine-tunings in a folder; see :class:`FineTuning`."""
    from transformers import XLMRobertaTokenizer

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [*special, *(f"▁p{number}" for number in range(95)), "<mask>"]
    tokenizer = XLMRobertaTokenizer(vocab=[(piece, 0.0) for piece in pieces])

    def make(name: str, dropout: float = 0.1, **changes: Any) -> FineTuning:
        folder = tmp_path_factory.mktemp("run") / name
        folder.mkdir()
        model = make_model("xlm-roberta")
        model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = dropout
        made = FineTuning(cluster, folder, **changes)
        made.lay_out(model, tokenizer)
        begun.append(made)
        return made

    begun: list[FineTuning] = []
    yield make
    for made in begun:
        made.end()
