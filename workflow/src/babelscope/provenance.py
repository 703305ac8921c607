"""Where a result comes from, and whether it is still what was written.

The record beside an output holds versions, commit, settings, seeds, time and memory, and hashes of
a job's inputs and outputs. It is the last thing that a job writes: an output that agrees with its
record is whole.
"""

import hashlib
import json
import platform
import re
import resource
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import babelscope
from babelscope.errors import BabelscopeError
from babelscope.io import read_json, write_json

HOME = Path(babelscope.__file__).parents[2]  # of scripts and library
IMPORTS = re.compile(
    r"^ *(?:from|import) (babelscope[\w.]*)(?: import (\([^)]*\)|[^(\n]*))?", re.MULTILINE
)
PROGRAMS = re.compile(r'"(\w+\.py)"')  # beside the module that names them
RECORD = "provenance.json"
OURS = (RECORD, ".snakemake_timestamp")  # in a folder, but no content of it
PACKAGES = (
    "accelerate",
    "datasets",
    "faiss-cpu",
    "gudhi",
    "lang2vec",
    "matplotlib",
    "numpy",
    "pandas",
    "protobuf",
    "pyarrow",
    "safetensors",
    "scipy",
    "seaborn",
    "sentencepiece",
    "snakemake",
    "tokenizers",
    "torch",
    "transformers",
    "wikiextractor",
)


# The SHA-256 of a file, or of each file in a folder by its name; None where there is nothing.
Digest = str | dict[str, str] | None


def describe(
    rule: str,
    wildcards: Mapping[str, str],
    params: Mapping[str, Any],
    inputs: Mapping[str, Digest],
    outputs: Iterable[str],
    seconds: float,
    code: str | None,
) -> dict[str, Any]:
    """Return the record of one finished job.

    Parameters
    ----------
    rule, wildcards, params
        The rule, its wildcards and its settings, seeds among them.
    inputs
        What :func:`checked` returned for the job's inputs.
    outputs
        Paths of what the job wrote.
    seconds
        Wall time of the job.
    code
        What :func:`code_of` its script returned when it began.
    """
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "rule": rule,
        "wildcards": dict(wildcards),
        "params": _plain(params),
        "babelscope": babelscope.__version__,
        "commit": _commit(),
        "code": code,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES if _version(name)},
        "device": _device(),
        "inputs": {path: _whole(digest) for path, digest in inputs.items()},
        "outputs": {path: _digest(Path(path)) for path in outputs},
        "seconds": round(seconds, 3),
        "peak_memory_mb": round(max(own, children) / 1024, 1),
    }


def record_path(output: str | Path) -> Path:
    """Return where the record of an output is kept: inside a folder, beside a file.

    Files that differ only in their last suffix, the forms of one figure say, share one record.
    """
    path = Path(output)
    return path / RECORD if path.is_dir() else path.with_suffix(f".{RECORD}")


def write_record(output: str | Path, record: Mapping[str, Any]) -> None:
    """Write the record of one output."""
    write_json(record_path(output), record)


def checked(inputs: Iterable[str]) -> dict[str, Digest]:
    """Return the digests of a job's inputs, which are what their jobs wrote.

    What has no record came from outside, or somebody accepted a change by deleting the record; it
    is taken as it is, and so is what was made before records had hashes of outputs.

    Raises
    ------
    BabelscopeError
        If an input is missing, or differs from what its record says.
    """
    found: dict[str, Digest] = {}
    for path in dict.fromkeys(inputs):
        found[path] = _digest(Path(path))
        if found[path] is None:
            raise BabelscopeError(
                f"{path}, which this step reads, does not exist.",
                "Run the same command again; if it is there by now, raise --latency-wait.",
            )
        record = record_path(path)
        document = read_json(record) if record.is_file() else {}
        wrong = _difference(path, document.get("outputs", {}).get(path), found[path])
        if wrong is not None:
            raise BabelscopeError(
                f"{wrong} is not what the rule {document['rule']} wrote: it was damaged, or changed"
                " by hand.",
                f"Delete {path} and run the same command again, which makes it anew; to keep a"
                f" change made on purpose, delete {record} instead.",
            )
    return found


def is_finished(
    rule: str,
    wildcards: Mapping[str, str],
    params: Mapping[str, Any],
    inputs: Iterable[str],
    outputs: Iterable[str],
    code: str | None,
) -> bool:
    """Return whether a job has done all its work, with these settings and code, from these inputs.

    Its record, the last it writes, must stand beside every output and agree with all that is there.
    """
    outputs = list(outputs)
    expected = {
        "code": code,
        "rule": rule,
        "wildcards": dict(wildcards),
        "params": json.loads(json.dumps(_plain(params))),
    }
    try:
        records = [read_json(record_path(output)) for output in outputs]
    except BabelscopeError:  # not there, or cut off
        return False
    if any({key: record.get(key) for key in expected} != expected for record in records):
        return False
    expected = {
        "inputs": {path: _whole(_digest(Path(path))) for path in inputs},
        "outputs": {path: _digest(Path(path)) for path in outputs},
    }
    return all({key: record.get(key) for key in expected} == expected for record in records)


def _difference(path: str, expected: Digest, found: Digest) -> str | None:
    """Return the first file whose content is not the expected one; None if there is none.

    Files that were added to a folder are nobody's business.
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        wrong = (name for name, digest in expected.items() if found.get(name) != digest)
        name = next(wrong, None)
        return None if name is None else f"{path}/{name}"
    return None if expected is None or expected == found else path


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, set):
        return sorted(map(_plain, value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)


def _commit() -> str | None:
    """Return the commit of the checkout this code runs from, with ``+`` if it was changed."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        status = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True
        )
    except FileNotFoundError:
        return None
    if commit.returncode:
        return None
    return commit.stdout.strip() + ("+" if status.stdout.strip() else "")


def script_of(path: str) -> str:
    """Return the name of the script that Snakemake runs a copy of, ``tmp1a2b3c4d.<name>.py``."""
    return Path(path).stem.partition(".")[2]


def code_of(script: str) -> str | None:
    """Return a hash of a script, given by its name, and of all that it imports of this library."""
    home = HOME.resolve()
    found = sorted(sources(home / "scripts" / f"{script}.py"))
    return _whole({path.relative_to(home).as_posix(): _sha256(path) for path in found})


def sources(script: Path) -> set[Path]:
    """Return a script and the modules of this library that it imports or runs, and they in turn."""
    library = HOME.resolve() / "src"
    found, ahead = set[Path](), {script}
    while ahead:
        path = ahead.pop()
        if path in found or not path.is_file():
            continue
        found.add(path)
        text = path.read_text("utf-8")
        ahead |= {path.with_name(name) for name in PROGRAMS.findall(text)}
        for module, names in IMPORTS.findall(text):
            below = [f"{module}.{name}" for name in re.findall(r"(?<! as )\b\w+", names)]
            for parts in (name.split(".") for name in [module, *below]):
                folders = [library.joinpath(*parts[:end]) for end in range(1, len(parts) + 1)]
                ahead |= {folder / "__init__.py" for folder in folders}
                ahead.add(folders[-1].with_suffix(".py"))
    return found


def _device() -> str:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return platform.machine() + " cpu"


def _digest(path: Path) -> Digest:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return {
            file.relative_to(path).as_posix(): _sha256(file)
            for file in files
            if file.name not in OURS
        }
    return _sha256(path) if path.is_file() else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _whole(digest: Digest) -> str | None:
    """Return one hash of a file or of a folder's names and contents."""
    if isinstance(digest, dict):
        lines = "".join(f"{name}:{one}\n" for name, one in digest.items())
        return hashlib.sha256(lines.encode()).hexdigest()
    return digest
