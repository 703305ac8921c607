"""States files: the pooled states of one language by one network, and what they belong to.

No torch: the measures read these files.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from babelscope.errors import BabelscopeError
from babelscope.io import write_arrays
from babelscope.representations.comparisons import Pair, Side, pairs_of, parts_of
from babelscope.seeds import stable_hash


def write_states(
    path: str | Path,
    states: Mapping[str, np.ndarray],
    *,
    sentence_ids: Sequence[str],
    sentences: Sequence[str],
    origin: Mapping[str, str],
) -> None:
    """Write the states of one language.

    Parameters
    ----------
    path
        File named after the language, ``<lang>.safetensors``.
    states
        By pooling, shape (layers + 1, n, d), float32.
    sentence_ids, sentences
        The n rows' ids in the parallel corpus, and their text in this language. The file keeps
        hashes of both, by which files of other rows are refused, and which rows have equal text.
    origin
        More text metadata: model, number of truncated sentences.
    """
    for how, one in states.items():
        if one.ndim != 3 or not one.shape[1] == len(sentences) == len(sentence_ids):
            raise ValueError(f"states {how} {one.shape} do not fit {len(sentences)} sentences")
    write_arrays(
        path,
        {**states, "groups": np.unique(list(sentences), return_inverse=True)[1]},
        dict(origin)
        | {"language": Path(path).stem}
        | {"rows": f"{stable_hash(*sentence_ids):016x}", "text": f"{stable_hash(*sentences):016x}"},
    )


class StatesFile:
    """The states of one language by one pooling, read one layer at a time.

    Attributes
    ----------
    path, pooling
        Which file, and which of its poolings.
    shape
        Layers + 1, sentences, dimensions.
    groups
        Shape (n,): a number per row, equal for rows of equal text.
    metadata
        What `write_states` was given, with the hashes ``rows`` and ``text``.
    """

    def __init__(self, path: str | Path, pooling: str) -> None:
        self.path, self.pooling = Path(path), pooling
        try:
            with safe_open(self.path, framework="numpy") as file:
                self.metadata = file.metadata() or {}
                poolings = sorted(set(file.keys()) - {"groups"})
                if pooling not in poolings:
                    raise BabelscopeError(
                        f"{path} has no states pooled by {pooling}, only by {', '.join(poolings)}.",
                        "Delete it and run the same command again.",
                    )
                self.shape = tuple(file.get_slice(pooling).get_shape())
                self.groups = file.get_tensor("groups")
        except SafetensorError as error:
            raise BabelscopeError(
                f"{path} is not a readable states file ({error}).",
                "Delete it and run the same command again.",
            ) from error

    def __getitem__(self, layer: int) -> np.ndarray:
        """Return one layer's states, shape (n, d)."""
        with safe_open(self.path, framework="numpy") as file:
            return file.get_slice(self.pooling)[layer]


def open_comparison(
    comparison: str,
    folders: Sequence[str | Path],
    languages: Sequence[str],
    pivot: str,
    pooling: str,
) -> tuple[list[Pair], dict[Side, StatesFile]]:
    """Open the states files that a comparison needs.

    Parameters
    ----------
    comparison
        A key of `COMPARISONS`.
    folders
        A folder of states files, one per language, for each of `parts_of` the comparison.
    languages
        The languages of the study. Those that the corpus lacks have no file in any folder, and are
        left out of the comparison.
    pivot
        The language the others are compared with.
    pooling
        Which states of each file.

    Returns
    -------
    The pairs, and the file of each side.

    Raises
    ------
    BabelscopeError
        If the corpus lacks the pivot or all others, a file is missing, or files were made from
        different sentences.
    """
    parts = dict(zip(parts_of(comparison, list(languages), pivot), map(Path, folders), strict=True))
    found = [{path.stem for path in folder.glob("*.safetensors")} for folder in parts.values()]
    present = [language for language in languages if language in set.union(*found)]
    if pivot not in present or len(present) < 2:
        raise BabelscopeError(
            f"The parallel corpus has the languages {', '.join(present) or 'none'}: a comparison"
            f" needs the pivot {pivot} and at least one other.",
            "Choose another corpus in parallel.corpora, or another pivot.",
        )
    pairs = pairs_of(comparison, present, pivot)
    states: dict[Side, StatesFile] = {}
    for pair in pairs:
        for side in (pair.left, pair.right):
            path = parts[side.network, side.subnetwork] / f"{side.language}.safetensors"
            if not path.exists():
                raise BabelscopeError(
                    f"{path} is missing.", "Delete its folder and run the same command again."
                )
            states.setdefault(side, StatesFile(path, pooling))
    _check_rows(states)
    return pairs, states


def _check_rows(states: Mapping[Side, StatesFile]) -> None:
    """Refuse files of different rows, and files of one language with different text."""
    rows: dict[str, Path] = {}
    text: dict[tuple[str, str], Path] = {}
    for side, file in states.items():
        rows.setdefault(file.metadata["rows"], file.path)
        text.setdefault((side.language, file.metadata["text"]), file.path)
    languages = [language for language, _ in text]
    twice = [path for (language, _), path in text.items() if languages.count(language) > 1]
    for different in (list(rows.values()), twice):
        if len(different) > 1:
            raise BabelscopeError(
                f"{different[0]} and {different[1]} were encoded from different sentences.",
                "Delete both and run the same command again.",
            )
