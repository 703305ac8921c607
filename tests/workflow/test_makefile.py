"""What `make` would run."""

import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def planned(*arguments: str) -> list[str]:
    """Return the commands of a target, whatever has been made before."""
    command = ["make", "--always-make", "--dry-run", "--no-print-directory", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()


@pytest.mark.parametrize("target", ["demo", "report", "lint"])
def test_a_configuration_does_not_swallow_the_target(target):
    """Snakemake's `--configfile` takes all words up to the next option."""
    last = shlex.split(planned(target, "CONFIG=my.yaml")[-1])
    words = last[last.index("--configfile") + 1 :]
    assert words[0] == "my.yaml"
    assert words[1].startswith("-")


def test_another_build_of_torch_is_installed_anew_and_by_no_other_build():
    installs = {name: planned("install", f"TORCH={name}") for name in ("torch==2+cpu", "torch==2")}
    stamps = {lines[-1] for lines in installs.values()}
    assert len(stamps) == 2
    for name, lines in installs.items():
        assert "--clear" in lines[0]  # pip takes 2+cpu for 2
        assert any("--index-url" in line for line in lines) == name.endswith("+cpu")
