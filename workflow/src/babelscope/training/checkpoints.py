"""Checkpoints of a training: whole or not there, of these settings, of one process at a time.

A checkpoint is a folder of safetensors and JSON; nothing in it is a pickle.
"""

import fcntl
import json
import logging
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from babelscope.errors import BabelscopeError
from babelscope.io import atomic, read_json, write_json

logger = logging.getLogger(__name__)

KEEP = 2  # the older one serves if the newer was damaged
WEIGHTS = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
PROGRESS = "progress.json"
FINGERPRINT = "fingerprint.json"
LOCK = "lock"


@contextmanager
def locked(folder: str | Path) -> Iterator[int]:
    """Hold a checkpoint folder for this process; it is created if need be.

    Yields the descriptor of the lock. A process that inherits it holds the folder too, even when
    this one has been killed.

    Raises
    ------
    BabelscopeError
        If another process holds it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BabelscopeError(
                f"Another process is training with the checkpoints in {folder}.",
                "Wait for it to end, or stop it.",
            ) from None
        yield file.fileno()


def prepare(folder: str | Path, fingerprint: Mapping[str, Any]) -> None:
    """Clear a folder of what killed runs left and of all that was made with other settings.

    Parameters
    ----------
    folder
        The checkpoint folder, held by :func:`locked`.
    fingerprint
        All that the course of the training depends on, as plain values.
    """
    folder = Path(folder)
    path = folder / FINGERPRINT
    wanted = json.loads(json.dumps(fingerprint))
    found = read_json(path) if path.is_file() else None
    for scratch in folder.glob(".*"):
        shutil.rmtree(scratch)
    if found != wanted:
        for item in folder.iterdir():
            if item.is_dir():
                shutil.rmtree(item)
            elif item.name != LOCK:
                item.unlink()
    if found is not None and found != wanted:
        changed = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
        logger.warning("starting afresh: %s changed since the checkpoint", ", ".join(changed))
    write_json(path, wanted)


def checksum(path: str | Path) -> list[int]:
    """Return size and CRC-32 of a file, for a fingerprint. An empty file is refused."""
    if not Path(path).stat().st_size:
        raise BabelscopeError(f"{path} is empty.", "Delete it and run the same command again.")
    content = np.memmap(path, np.uint8, "r")
    return [content.size, zlib.crc32(content.data)]


def newest(folder: str | Path) -> Path | None:
    """Return the newest checkpoint that can be read, or None."""
    for path in reversed(_all(folder)):
        if _readable(path):
            return path
        logger.warning("%s is damaged and not used", path)
    return None


def _readable(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        read_json(path / PROGRESS)
        for name in (WEIGHTS, OPTIMIZER):
            with safe_open(path / name, framework="numpy"):
                pass
    except (BabelscopeError, SafetensorError, OSError):
        return False
    return True


def _all(folder: str | Path) -> list[Path]:
    return sorted(Path(folder).glob("checkpoint-*"))


@contextmanager
def writing(folder: str | Path, step: int, best_step: int | None) -> Iterator[Path]:
    """Yield a folder to write a checkpoint into; then drop older ones and outdated best weights."""
    with atomic(Path(folder) / f"checkpoint-{step:09d}") as path:
        path.mkdir()
        yield path
    for old in _all(folder)[:-KEEP]:
        shutil.rmtree(old)
    referred = {best_step} | {
        read_json(path / PROGRESS)["best_step"] for path in _all(folder) if _readable(path)
    }
    for weights in Path(folder).glob("best-*.safetensors"):
        if int(weights.stem.removeprefix("best-")) not in referred:
            weights.unlink()


def best_path(folder: str | Path, step: int) -> Path:
    """Return where the weights of the best evaluation are kept."""
    return Path(folder) / f"best-{step:09d}.safetensors"
