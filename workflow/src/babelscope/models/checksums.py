"""What weights a module was trained on, told by their content and not by where they lie."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from babelscope.errors import BabelscopeError


def checksum(weights: str | Path | Mapping[str, torch.Tensor]) -> str:
    """Return 16 hexadecimal digits of SHA-256 over names, types, shapes and values of weights.

    Parameters
    ----------
    weights
        Tensors by name, or a folder: all its safetensors files, also those in subfolders. How the
        weights are spread over the files of one folder does not matter.

    Raises
    ------
    BabelscopeError
        If the folder has no such file, or one is damaged.
    """
    found = hashlib.sha256()
    if isinstance(weights, Mapping):
        for name in sorted(weights):
            _update(found, name, weights[name])
        return found.hexdigest()[:16]
    folder = Path(weights)
    places: dict[str, tuple[Path, str]] = {}
    for path in sorted(folder.rglob("*.safetensors")):
        parent = path.parent.relative_to(folder).as_posix()
        places |= {f"{parent}/{key}": (path, key) for key in _keys(path)}
    if not places:
        raise BabelscopeError(
            f"{folder} has no weights in safetensors.", "Name a folder that holds a model."
        )
    for name in sorted(places):
        path, key = places[name]
        with safe_open(path, framework="pt") as file:
            _update(found, name, file.get_tensor(key))
    return found.hexdigest()[:16]


def _keys(path: Path) -> list[str]:
    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys())
    except SafetensorError as error:
        raise BabelscopeError(
            f"{path} is damaged ({error}).", "Delete it and run the same command again."
        ) from error


def _update(found: "hashlib._Hash", name: str, tensor: torch.Tensor) -> None:
    found.update(json.dumps([name, str(tensor.dtype), *tensor.shape]).encode())
    values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    found.update(values.numpy().data)
