"""Every benchmark runs, and its ways agree; how fast they are is not asked here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Not there where the GPU benchmarks run, and not to be imported by them.
ABSENT = (
    "pydantic",
    "pyarrow",
    "zstandard",
    "datasets",
    "scipy",
    "faiss",
    "gudhi",
    "snakemake",
)


NAMES = [
    "alignment_step",
    "encoder_batches",
    "encoding",
    "focus",
    "generator_step",
    "importance",
    "in_context",
    "instruction_pairs",
    "masked_step",
    "masking",
    "mlm_step",
    "pruning",
    "ticket_overlap",
]


def check(name: str, printed: str) -> None:
    outcome = json.loads(printed.splitlines()[-1])
    assert outcome["benchmark"] == name
    assert outcome["equal"] is True


@pytest.fixture(scope="module")
def outcomes() -> dict[str, tuple[int, str]]:
    """Return the status of each benchmark and what it printed, of one process for all."""
    command = [sys.executable, ROOT / "tests" / "benchmarking.py", *NAMES]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "workflow" / "src")]),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", NAMES)
def test_the_two_ways_agree(name, outcomes):
    status, printed = outcomes[name]
    assert status == 0, printed
    check(name, printed)


def test_a_benchmark_by_itself():
    command = [sys.executable, "-m", "benchmarks.cka", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    check("cka", done.stdout)


@pytest.fixture(scope="module")
def gpu_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    program = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({ABSENT}))
sys.argv = ["gpu.py", "--quick", "--device", "cpu", "--json", {str(folder / "gpu.json")!r},
    "--markdown", {str(folder / "gpu.md")!r}]
runpy.run_path("benchmarks/gpu.py", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "gpu.json").read_text()), (folder / "gpu.md").read_text()


def test_gpu_benchmark_agrees_with_itself(gpu_run):
    facts, _ = gpu_run
    assert all(check["agrees"] for check in facts["checks"])
    assert {check["section"] for check in facts["checks"]} >= {
        "MLM step, base",
        "MLM step, large",
        "head importance",
        "iterative masking",
        "encoding",
        "perplexity",
    }


def test_gpu_benchmark_measures_each_thing_beside_its_baseline(gpu_run):
    facts, text = gpu_run
    rows = facts["rows"]
    sections = {row["section"] for row in rows} - {"peak"}
    for section in sections:
        assert any(row["ratio"] for row in rows if row["section"] == section), section
    assert all(f"{row['section']}: {row['what']}" in text for row in rows)
    assert not any("FAILED" in note for note in facts["notes"])


def test_gpu_benchmark_fails_when_a_result_disagrees():
    program = """
import sys
from benchmarks import gpu
gpu.SECTIONS = [(lambda run: run.check("losses", "of two ways", [1.0, 2.0], [1.0, 2.1], 1e-2), 0)]
gpu.SECTIONS[0][0].__name__ = "losses"
sys.argv = ["gpu.py", "--quick", "--device", "cpu"]
gpu.main()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "failed: losses: of two ways" in done.stderr
    assert "DISAGREES" in done.stdout


def test_gpu_benchmark_goes_on_after_an_error():
    program = """
import sys
from benchmarks import gpu
def broken(run):
    raise RuntimeError("no kernel")
gpu.SECTIONS = [(broken, 0), (gpu.measure_peaks, 0)]
sys.argv = ["gpu.py", "--quick", "--device", "cpu"]
gpu.main()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no kernel" in done.stderr
    assert "broken: FAILED" in done.stderr
    assert "matrix product 256, bf16" in done.stdout


def test_a_section_that_does_not_fit_the_time_is_skipped():
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--minutes", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "train base: skipped" in done.stdout
