"""Model folders from the Hugging Face hub at a fixed commit, or from a folder of one's own.

Only configuration, tokenizer and safetensors files are taken: no pickles, and no code.
"""

import logging
import re
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from babelscope.corpus.servers import Patience
from babelscope.errors import BabelscopeError
from babelscope.hub import PATIENCE, download_files
from babelscope.io import atomic, read_json

logger = logging.getLogger(__name__)

SHARD = "model*.safetensors"
WANTED = (
    "config.json",
    SHARD,
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    # Of sentence-transformers: which steps follow the network, and what they need.
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "[0-9]_Pooling/config.json",
    "[0-9]_Dense/config.json",
    "[0-9]_Dense/model.safetensors",
    "[0-9]_Normalize/config.json",
)
STEP = re.compile("[0-9]_(Pooling|Dense|Normalize)")  # the folders above


def fetch_model(
    location: str,
    output: str | Path,
    *,
    revision: str = "",
    partial: str | Path | None = None,
    endpoint: str | None = None,
    patience: Patience = PATIENCE,
) -> None:
    """Put a model and its tokenizer into a folder.

    Parameters
    ----------
    location
        A repository on the hub, if a revision is given; else a folder.
    output
        The folder to make.
    revision
        Commit of the repository, 40 hexadecimal digits.
    partial
        Folder that keeps an unfinished download; the next call goes on from there.
    endpoint
        Address of the hub; by default the usual one, or the variable ``HF_ENDPOINT``.
    patience
        How long a failing hub is waited for.

    Raises
    ------
    BabelscopeError
        If the model cannot be reached, or its folder lacks weights in safetensors (those of a
        dense layer of sentence-transformers, too), configuration or tokenizer, or needs code of
        its own.
    """
    if revision:
        if partial is None:
            raise ValueError("a download needs a folder for unfinished files")
        download_files(
            location,
            revision,
            partial,
            WANTED,
            kind="model",
            endpoint=endpoint,
            patience=patience,
        )
        source = Path(partial)
    else:
        source = Path(location)
        if not source.is_dir():
            raise BabelscopeError(
                f"The model folder {location} does not exist.",
                "Correct its location in config/models.tsv.",
            )
    files = _wanted_files(source, location)
    with atomic(output) as folder:
        folder.mkdir()
        for step in _steps(source):
            (folder / step).mkdir()  # a repository cannot hold the empty ones
        for file in files:
            target = folder / file.relative_to(source)
            target.parent.mkdir(exist_ok=True)
            shutil.copy2(file, target)
    if revision and partial is not None:
        shutil.rmtree(partial)


def _wanted_files(folder: Path, location: str) -> list[Path]:
    found = {path for pattern in WANTED for path in folder.glob(pattern) if path.is_file()}
    files = sorted(found)
    top = [path.name for path in files if path.parent == folder]
    for pattern, what in (
        ("config.json", "no config.json"),
        ("*.safetensors", "no weights in safetensors"),
        ("tokenizer.json", "no tokenizer.json"),
    ):
        if not any(fnmatch(name, pattern) for name in top):
            raise BabelscopeError(
                f"The model {location} has {what}.",
                "Choose a revision that has it, or load the model with transformers, save it with"
                " save_pretrained and name that folder.",
            )
    for path in (folder / "config.json", folder / "tokenizer_config.json"):
        if path.is_file() and "auto_map" in _object(path):
            raise BabelscopeError(
                f"The model {location} needs code from its own repository, which is never run.",
                "Choose a model of an architecture that transformers has.",
            )
    for weights in _weights(folder):
        try:
            with safe_open(weights, framework="numpy"):
                pass
        except (OSError, SafetensorError) as error:
            raise BabelscopeError(
                f"{weights} is missing or damaged ({error}).", "Run the same command again."
            ) from error
    return files


def _weights(folder: Path) -> list[Path]:
    """Return the files that hold the weights, those an index lists if there is one."""
    dense = [folder / step / "model.safetensors" for step in _steps(folder) if "Dense" in step]
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return sorted(folder.glob("model*.safetensors")) + dense
    listed = _object(index).get("weight_map")
    names = set(map(str, listed.values())) if isinstance(listed, dict) else set()
    if not names or not all(fnmatch(name, SHARD) and "/" not in name for name in names):
        raise BabelscopeError(
            f"{index} names other files than {SHARD}, or none.", "Fetch or make the folder anew."
        )
    return [folder / name for name in sorted(names)] + dense


def _object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise BabelscopeError(f"{path} is no JSON object.", "Fetch or make the folder anew.")
    return found


def _steps(folder: Path) -> list[str]:
    """Return the subfolders that sentence-transformers would read, of the steps known here."""
    path = folder / "modules.json"
    listed = read_json(path) if path.is_file() else []
    try:
        paths = [one["path"] for one in listed if STEP.fullmatch(one["path"])]
        return list(dict.fromkeys(paths))
    except (LookupError, TypeError) as error:
        raise BabelscopeError(
            f"{path} is no list of modules with their paths.", "Fetch or make the folder anew."
        ) from error
