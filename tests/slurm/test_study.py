"""The heads study on a cluster: where its jobs run, what they hold; no number changes."""

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slurm, pytest.mark.timeout(3600)]

# One thread each, so that both runs add up in the same order; one seed has every rule.
SETTINGS = ("seeds=[1]", "compute={training_threads: 1}")
RULES = dict(
    re.findall(
        r"^rule (\w+):\n(.*?)(?=^\S|\Z)",
        "".join(file.read_text("utf-8") for file in (ROOT / "workflow" / "rules").glob("*.smk")),
        flags=re.MULTILINE | re.DOTALL,
    )
)
ON_GPUS = {rule for rule, body in RULES.items() if "gpu=GPUS" in body}


def declared(rule: str, what: str) -> int:
    """Return what a rule asks for at its first attempt; threads that settings tell are one.

    What grows with a setting is the least of it here.
    """
    found = re.search(rf"\b{what}(?:: |=|=doubling\((?:max\()?)(\d+)", RULES[rule])
    return int(found[1]) if found else 1


@pytest.fixture(scope="module")
def profile(tmp_path_factory) -> Path:
    """Return the profile as a user has it, with the GPU model named."""
    folder = tmp_path_factory.mktemp("profile") / "slurm"
    shutil.copytree(ROOT / "profiles" / "slurm", folder)
    text = (folder / "config.yaml").read_text("utf-8")
    text, changes = re.subn(r"# (gpu_model:) \w+", r"\1 h200", text)
    assert changes == 1
    (folder / "config.yaml").write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="module")
def runs(cluster, profile, tmp_path_factory) -> tuple[Path, Path]:
    """Return the folders of the same run on the cluster and without it.

    There are no GPUs, so rules that would use one are only told to hold it.
    """
    here, there = tmp_path_factory.mktemp("local"), tmp_path_factory.mktemp("slurm")
    command = [
        *(cluster.python, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"),
        *("--workflow-profile", ROOT / "profiles" / "default", "--cores", "2", "heads"),
        *("--configfile", ROOT / "tests" / "tiny.yaml", "--config", *SETTINGS),
    ]
    held = [f"{rule}:gpu=1" for rule in sorted(ON_GPUS)]
    options = ("--workflow-profile", profile, "--set-resources", *held, "--config", *SETTINGS)
    log, own = here / "snakemake.log", cluster.environment(here)
    with (
        log.open("w") as said,
        subprocess.Popen(command, cwd=here, env=own, stdout=said, stderr=said) as local,
    ):
        try:
            submitted = cluster.submit(there, *options)
            local.wait()
        finally:
            local.kill()
    assert local.returncode == 0, log.read_text()[-6000:]
    assert submitted.returncode == 0, submitted.stderr[-6000:]
    (there / "plan.txt").write_text(submitted.stdout + submitted.stderr)
    return there, here


@pytest.fixture(scope="module")
def jobs(cluster, runs) -> dict[str, list[dict]]:
    """Return the cluster's jobs by rule or group."""
    found = {}
    for job in cluster.jobs(runs[0]):
        name = re.match(r"rule_(\w+?)(?:_wildcards_|$)|rule_([\w.]+(?:-[\w.]+)+)", job["comment"])
        assert name, job["comment"]
        found.setdefault(name[1] or "a group", []).append(job)
    return found


@pytest.fixture(scope="module")
def planned(runs) -> dict[str, int]:
    """Return how many jobs Snakemake counted of each rule."""
    plan = re.findall(r"^(\w+) +(\d+)$", (runs[0] / "plan.txt").read_text(), re.MULTILINE)
    return {rule: int(count) for rule, count in plan if rule not in ("heads", "total")}


def test_every_rule_ran_on_the_cluster_and_small_jobs_together(runs, planned, jobs):
    assert len(planned) > 25
    assert ON_GPUS & set(planned) >= {"build_base_model", "finetune_mlm", "rank_heads"}
    grouped = planned.keys() - jobs.keys()
    assert {"compute_cka", "collect_scores", "plot_cka", "select_head_mask"} <= grouped
    assert len(jobs["a group"]) <= sum(planned[rule] for rule in grouped) / 4
    for rule in planned.keys() - grouped:
        assert len(jobs[rule]) == planned[rule], rule
    assert {job["state"] for found in jobs.values() for job in found} == {"COMPLETED"}
    assert not list((runs[0] / "results" / "logs" / "slurm").rglob("*.log"))


def test_names_tell_what_runs(jobs):
    for rule, found in jobs.items():
        for job in found:
            assert job["name"].startswith("babelscope_")
            assert rule in job["comment"] or "-" in job["comment"]
    assert {job["comment"] for job in jobs["rank_heads"]} == {
        f"rule_rank_heads_wildcards_demo-xlmr_1_{lang}" for lang in ("en", "zh", "ar")
    }


def test_jobs_hold_what_their_rules_declare(planned, jobs):
    """What shares an allocation runs one by one: the memory of one, the time of all."""
    for rule, found in jobs.items():
        for job in found if rule in RULES else []:
            assert job["cpus"] == declared(rule, "threads"), rule
            assert job["memory"] == declared(rule, "mem_mb"), rule
            assert job["limit"] == declared(rule, "runtime"), rule
    grouped = planned.keys() - jobs.keys()
    assert {job["cpus"] for job in jobs["a group"]} == {1}
    assert {job["memory"] for job in jobs["a group"]} == {declared(r, "mem_mb") for r in grouped}
    times = [planned[rule] * declared(rule, "runtime") for rule in grouped]
    assert sum(job["limit"] for job in jobs["a group"]) == sum(times)


def test_gpu_rules_alone_hold_gpus_and_never_more_than_there_are(jobs):
    held = []
    for rule, found in jobs.items():
        for job in found:
            on_gpu = rule in ON_GPUS
            assert job["partition"] == ("gpu" if on_gpu else "cpu"), rule
            assert job["gres"] == ("gpu:h200:1" if on_gpu else ""), rule
            held += [(job["start"], 1), (job["end"], -1)] if on_gpu else []
    holding = most = 0
    for _, change in sorted(held):  # at the same second, those that end come first
        holding += change
        most = max(most, holding)
    assert most <= 2
    assert holding == 0


def relative(folder: Path, *patterns: str) -> set[Path]:
    return {path.relative_to(folder) for pattern in patterns for path in folder.rglob(pattern)}


def test_weights_and_masks_are_the_same_to_the_bit(runs):
    there, here = (folder / "results" for folder in runs)
    names = relative(here, "*.safetensors")
    assert len(names) > 10
    assert relative(there, "*.safetensors") == names
    for name in names:
        assert (there / name).read_bytes() == (here / name).read_bytes(), name


def test_tables_are_the_same_and_figures_are_there(runs):
    there, here = (folder / "results" for folder in runs)
    tables = {name for name in relative(here, "*.parquet") if name.parts[0] != "text"}
    assert len(tables) > 30
    assert {name for name in relative(there, "*.parquet") if name.parts[0] != "text"} == tables
    for name in tables:
        ran, expected = (
            pd.read_parquet(folder / name).drop(columns="seconds", errors="ignore")
            for folder in (there, here)
        )
        pd.testing.assert_frame_equal(ran, expected, check_exact=True, obj=str(name))
    figures = relative(here, "*.pdf", "*.png")
    assert len(figures) > 40
    assert relative(there, "*.pdf", "*.png") == figures
    assert all((there / name).stat().st_size > 2000 for name in figures)
