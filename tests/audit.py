"""Look for known vulnerabilities in everything that is pinned: `make audit`.

pip-audit runs in an environment of its own, `.venv-audit`, made at the first time. It asks the
Python package index about each version. The exit status is 1 if there is a finding, and 0 if there
is none or nobody could be asked, which is said.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ENVS = ROOT / "envs"
AUDITED = ["constraints.txt", *(f"requirements-{name}.txt" for name in ("dev", "slurm", "audit"))]
# How the last line of a traceback begins if the network is to blame.
UNREACHABLE = re.compile(
    r"(requests|urllib3)\.exceptions\.|(\w+\.)*(ConnectionError|ServiceError|Timeout\w*)\b"
)


def install(folder: Path) -> str:
    """Make the environment unless it is there, and return why that was not possible."""
    done, pins = folder / ".installed", ENVS / "requirements-audit.txt"
    if done.exists() and done.stat().st_mtime > pins.stat().st_mtime:
        return ""
    python = folder / "bin" / "python"
    commands = [[python, "-m", "pip", "install", "--quiet", "-r", pins]]
    if not python.exists():
        commands.insert(0, [sys.executable, "-m", "venv", folder])
    for command in commands:
        ended = subprocess.run(command, capture_output=True, text=True)
        if ended.returncode:
            return (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
    done.touch()
    return ""


def audit(python: Path | str) -> tuple[int, list[str]]:
    """Let pip-audit look up every pin; return the exit status, and what is to be said."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [python, "-m", "pip_audit", "--disable-pip", "--no-deps", "--desc", "off"]
        command += ["--progress-spinner", "off", "--format", "json", "--output", report]
        command += [word for name in AUDITED for word in ("-r", ENVS / name)]
        done = subprocess.run(command, capture_output=True, text=True)
        if report.exists() and report.stat().st_size:
            return judge(json.loads(report.read_text("utf-8"))["dependencies"])
    last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    if UNREACHABLE.match(last):
        return 0, [f"Nothing was audited: the advisory service cannot be reached ({last})."]
    return 2, [f"pip-audit failed: {last}"]


def judge(dependencies: list[dict[str, Any]]) -> tuple[int, list[str]]:
    """Return the exit status and what is to be said of a report."""
    skipped = [one for one in dependencies if "skip_reason" in one]
    if len(skipped) == len(dependencies):
        reason = skipped[0]["skip_reason"] if skipped else "no package is pinned"
        return 0, [f"Nothing was audited: the service knows none of the packages ({reason})."]
    found = [
        f"{one['name']} {one['version']}: {flaw['id']}, mended in"
        f" {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for one in dependencies
        for flaw in one.get("vulns", [])
    ]
    lines = [f"not audited: {', '.join(one['name'] for one in skipped)}"] if skipped else []
    audited = len(dependencies) - len(skipped)
    lines += [*found, f"{audited} packages audited, {len(found)} known vulnerabilities."]
    return int(bool(found)), lines


def main(folder: Path = ROOT / ".venv-audit") -> int:
    """Install pip-audit if need be, audit, and say what was found."""
    problem = install(folder)
    if problem:
        sys.stdout.write(f"Nothing was audited: pip-audit cannot be installed ({problem}).\n")
        return 0
    status, lines = audit(folder / "bin" / "python")
    sys.stdout.write("\n".join(lines) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
