"""Checkpoints of a training: whole or not there, of these settings, of one process at a time.

A checkpoint is a folder of safetensors and JSON; nothing in it is a pickle.
"""

import json
import logging
import os
import shutil
import socket
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from babelscope.errors import BabelscopeError
from babelscope.io import atomic, read_json, write_json
from babelscope.locks import hold
from babelscope.provenance import RECORD

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

KEEP = 2  # the older one serves if the newer was damaged
WEIGHTS = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
PROGRESS = "progress.json"
FINGERPRINT = "fingerprint.json"
CHECKSUMS = "checksums.json"
LOCK = "lock"
DESCRIPTIONS = (".json", ".model", ".txt")
INCIDENTAL = {"_name_or_path", "name_or_path", "transformers_version"}  # in configurations


@contextmanager
def locked(folder: str | Path) -> Iterator[int]:
    """Hold a checkpoint folder for this process; it is created if need be.

    Yields the descriptor of the lock. A process that inherits it holds the folder too, even when
    this one has been killed; so does one that is :func:`sharing` it, on whatever node.

    Notes
    -----
    The lock is ``flock``'s: the system drops it when its last holder dies, however it dies, and no
    file has to be removed. Within one node that always holds. Over the nodes of a cluster it holds
    where the file system passes locks on: Linux turns ``flock`` on NFS into a lock of the server's
    (since 2.6.12), Lustre does if it is mounted with ``flock``, GPFS and CephFS do. A server drops
    the locks of a node that is gone when its lease ends: with NFS 4 after about 90 s, before Slurm
    takes the node for dead. On NFS with ``local_lock`` and on Lustre with ``localflock`` a lock
    holds within its node alone, and nobody can tell; a file system without locks is warned of.

    Raises
    ------
    BabelscopeError
        If another process holds it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as file:  # NFS shares a lock among those who can read it only
        _take(file)
        file.truncate(0)
        file.write(_here())
        file.flush()
        yield file.fileno()
    with suppress(OSError):  # emptied by `remove`, unless the next has begun already
        folder.rmdir()


def remove(folder: str | Path) -> None:
    """Empty a folder that is :func:`locked`, when its training is finished; then it is removed.

    Not at once: NFS keeps a file that is open, as the lock is, in the folder under another name.
    """
    for item in Path(folder).iterdir():
        if item.is_dir():
            shutil.rmtree(item)
        else:
            item.unlink()


def share(lock: int) -> None:
    """Let processes of one training hold the folder together with this one, by :func:`sharing`.

    Parameters
    ----------
    lock
        What :func:`locked` yielded.

    Raises
    ------
    BabelscopeError
        If another process has taken the folder meanwhile.
    """
    if not hold(lock, 0, shared=True):
        raise BabelscopeError(
            "Another process has taken the checkpoints of this training.",
            "Wait for it to end, or stop it.",
        )


@contextmanager
def sharing(folder: str | Path) -> Iterator[None]:
    """Hold a checkpoint folder as one of several processes of the training that it is locked for.

    So nobody else can begin while one of them is left, when the process that started it is gone.

    Raises
    ------
    BabelscopeError
        If another training holds the folder by now.
    """
    with (Path(folder) / LOCK).open("a+") as file:
        _take(file, shared=True)
        yield


def _take(file: TextIO, *, shared: bool = False) -> None:
    if not hold(file.fileno(), 0, shared=shared):
        file.seek(0)
        raise BabelscopeError(
            f"Another process is training with the checkpoints in {Path(file.name).parent}:"
            f" {file.read()}.",
            "Wait for it to end, or stop it.",
        )


def _here() -> str:
    """Say where a training runs, for whoever is refused."""
    job = os.environ.get("SLURM_JOB_ID")
    return f"process {os.getpid()} on {socket.gethostname()}" + (
        f", job {job} of Slurm" if job else ""
    )


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
    for scratch in folder.glob(".*/"):
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


def description(folder: str | Path) -> dict[str, Any]:
    """Return what a model's folder holds besides its weights, for a fingerprint.

    Architecture and tokenizer: the same weights are another network with other heads. Where the
    folder lies, how its weights are divided into files and what wrote it do not matter.
    """
    return {
        path.relative_to(folder).as_posix(): _described(path)
        for path in sorted(Path(folder).rglob("*"))
        if path.suffix in DESCRIPTIONS
        and path.name != RECORD
        and not path.name.endswith(".safetensors.index.json")
    }


def _described(path: Path) -> Any:
    if not path.name.endswith("config.json"):
        return checksum(path)
    kept = {key: value for key, value in read_json(path).items() if key not in INCIDENTAL}
    return zlib.crc32(json.dumps(kept, sort_keys=True).encode())


def newest(folder: str | Path) -> Path | None:
    """Return the newest checkpoint that is as it was written, or None."""
    for path in reversed(_all(folder)):
        if is_sound(path):
            return path
        logger.warning("%s is damaged and not used", path)
    return None


def seal(folder: Path, files: Iterable[Path]) -> None:
    """Write down the checksums of files in a folder or beside it; see :func:`is_sound`."""
    write_json(folder / CHECKSUMS, {file.name: checksum(file) for file in sorted(files)})


def is_sound(folder: Path) -> bool:
    """Return whether the files that a folder was sealed with are as they were."""
    try:
        sums = read_json(folder / CHECKSUMS)
        for name, expected in sums.items():
            file = folder / name
            if checksum(file if file.exists() else folder.parent / name) != expected:
                return False
    except (BabelscopeError, OSError):
        return False
    return True


def _all(folder: str | Path) -> list[Path]:
    return sorted(Path(folder).glob("checkpoint-*"))


@contextmanager
def writing(folder: str | Path, step: int, best_step: int | None) -> Iterator[Path]:
    """Yield a folder to write a checkpoint into; then drop older ones and outdated best weights.

    Checksums are added, so that a later flipped bit, in the best weights too, is noticed.
    """
    with atomic(checkpoint_path(folder, step)) as path:
        path.mkdir()
        yield path
        best = best_path(folder, best_step or 0)
        seal(path, [*path.iterdir(), *([best] if best.is_file() else [])])
    for old in _all(folder)[:-KEEP]:
        shutil.rmtree(old)
    _drop_outdated(folder, best_step)


def keep_best(folder: str | Path, step: int, weights: "dict[str, torch.Tensor]") -> None:
    """Write the weights of the best evaluation; then drop those that no checkpoint needs."""
    from safetensors.torch import save_file

    with atomic(best_path(folder, step)) as path:
        save_file(weights, path)
    _drop_outdated(folder, step)


def _drop_outdated(folder: str | Path, best_step: int | None) -> None:
    """Remove the best weights of earlier evaluations, but for those that a checkpoint names."""
    referred = {best_step, *map(_best_of, _all(folder))}
    for weights in Path(folder).glob("best-*.safetensors"):
        if int(weights.stem.removeprefix("best-")) not in referred:
            weights.unlink()


def _best_of(checkpoint: Path) -> int | None:
    with suppress(BabelscopeError, KeyError, TypeError):  # damaged since
        return read_json(checkpoint / PROGRESS)["best_step"]
    return None


def checkpoint_path(folder: str | Path, step: int) -> Path:
    """Return where the state after a step is kept."""
    return Path(folder) / f"checkpoint-{step:09d}"


def step_of(checkpoint: Path) -> int:
    """Return after which step a checkpoint was written."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def best_path(folder: str | Path, step: int) -> Path:
    """Return where the weights of the best evaluation are kept."""
    return Path(folder) / f"best-{step:09d}.safetensors"
