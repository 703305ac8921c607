"""The audit of pinned packages: what it says of findings, and of a service that is not there."""

import json
import re
import sys
from pathlib import Path

import pytest

from tests import audit

ROOT = Path(__file__).resolve().parents[2]
CLEAN = {"name": "a", "version": "1", "vulns": []}
FLAW = {"id": "CVE-2026-1", "fix_versions": ["2.1"], "aliases": [], "description": "x"}
FLAWED = {"name": "b", "version": "2", "vulns": [FLAW]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI: c (3)"}
UNREACHABLE = (
    "Traceback (most recent call last):\n  File x\nrequests.exceptions.ProxyError: HTTPSConnection"
    "Pool(host='advisories.example', port=443): Max retries exceeded with url: /a/1/json\n"
)


@pytest.fixture
def pip_audit(tmp_path, monkeypatch):
    """Return a function that puts a program in the place of pip-audit."""

    def pip_audit(report: dict | None, complaint: str, status: int) -> list[str]:
        folder = tmp_path / "pip_audit"
        folder.mkdir(exist_ok=True)
        (folder / "__main__.py").write_text(
            "import sys, pathlib\n"
            f"pathlib.Path({str(tmp_path / 'arguments')!r}).write_text('\\n'.join(sys.argv[1:]))\n"
            f"sys.stderr.write({complaint!r})\n"
            "output = sys.argv[sys.argv.index('--output') + 1]\n"
            f"report = {json.dumps(report)!r}\n"
            "if report != 'null': pathlib.Path(output).write_text(report)\n"
            f"sys.exit({status})\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return pip_audit


@pytest.mark.parametrize(
    ("report", "complaint", "status", "expected", "message"),
    [
        ([CLEAN], "", 0, 0, "^1 packages audited, 0 known vulnerabilities.$"),
        ([CLEAN, FLAWED], "", 1, 1, "b 2: CVE-2026-1, mended in 2.1\n2 packages audited, 1 known"),
        ([CLEAN, SKIPPED], "", 0, 0, "not audited: c\n1 packages audited"),
        ([SKIPPED], "", 0, 0, "^Nothing was audited: the service knows none.*not found"),
        (None, UNREACHABLE, 1, 0, r"^Nothing was audited: the advisory .*advisories\.example"),
        (None, "pip_audit._service.interface.ServiceError: 503\n", 1, 0, "^Nothing was audited"),
        (None, "usage: pip-audit\nerror: no such option\n", 2, 2, "^pip-audit failed: error: no"),
        (None, "", 3, 2, "^pip-audit failed: no reason given"),
    ],
)
def test_what_is_said_of_an_audit(pip_audit, report, complaint, status, expected, message):
    pip_audit(None if report is None else {"dependencies": report}, complaint, status)
    found, lines = audit.audit(sys.executable)
    assert found == expected
    assert re.search(message, "\n".join(lines))


def test_every_file_of_pins_is_audited(pip_audit, tmp_path):
    pip_audit({"dependencies": [CLEAN]}, "", 0)
    audit.audit(sys.executable)
    named = {Path(word).name for word in (tmp_path / "arguments").read_text().splitlines()}
    pins = {path.name for path in (ROOT / "envs").glob("*.txt")}
    assert pins - named == {"requirements.txt"}, "which requirements-dev.txt names"


def test_without_a_network_nothing_is_audited(tmp_path, capsys):
    """Nor installed; that is one line, and no failure."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    said = "ERROR: Could not find a version that satisfies the requirement pip-audit==2.10.1"
    python.write_text(f"#!/bin/sh\necho 'WARNING: Retrying' >&2\necho '{said}' >&2\nexit 1\n")
    python.chmod(0o755)
    assert audit.main(tmp_path) == 0
    assert capsys.readouterr().out == (
        f"Nothing was audited: pip-audit cannot be installed ({said}).\n"
    )
    assert not (tmp_path / ".installed").exists()
