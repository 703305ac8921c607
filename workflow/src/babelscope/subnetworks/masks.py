"""Masks of heads and of weights, kept as one bit per element."""

import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import safe_open

from babelscope.errors import BabelscopeError
from babelscope.io import read_arrays, read_metadata, write_arrays

# Keys of the metadata: name of each mask -> its shape, its place, its number of ones.
SHAPES = "shapes"
PLACES = "places"
KEPT = "kept"
NETWORK = "network"  # of a mask of weights: what it is for

POOLER = "pooler"
DECODER = "decoder."  # how the names of its matrices begin


@dataclass(frozen=True, eq=False)
class HeadMask:
    """Which attention heads are kept.

    Attributes
    ----------
    bits
        Bool, shape (layers, heads), True for kept heads.
    """

    bits: np.ndarray

    def __post_init__(self) -> None:
        if self.bits.dtype != bool or self.bits.ndim != 2 or not self.bits.size:
            raise ValueError(f"a head mask is bool (layers, heads), not {self.bits.dtype}")

    @property
    def kept(self) -> int:
        """Number of kept heads."""
        return int(self.bits.sum())

    @property
    def sparsity(self) -> float:
        """Share of heads that are not kept, in [0, 1]."""
        return 1 - self.kept / self.bits.size

    def save(self, path: str | Path) -> None:
        """Write the mask as packed bits in a safetensors file."""
        _write(path, {"heads": self.bits})

    @classmethod
    def load(cls, path: str | Path) -> "HeadMask":
        """Read a mask that `save` wrote."""
        return cls(_read(path)["heads"])


@dataclass(frozen=True)
class Place:
    """Where in a network a weight matrix stands.

    Attributes
    ----------
    stack
        ``encoder`` or ``decoder``.
    layer
        From 0; -1 for what stands above the layers.
    component
        ``q, k, v, o, ffn-in, ffn-out``; the second input matrix of a gated feed-forward part
        ``ffn-gate``; of a decoder's attention to the encoder ``cross-q, cross-k, cross-v,
        cross-o``; fused projections ``qkv``; ``pooler``.
    """

    stack: str
    layer: int
    component: str


class PackedMatrix(NamedTuple):
    """The mask of one weight matrix as it is stored.

    Attributes
    ----------
    bits
        uint8, eight weights each, the first in the highest bit, zeros after the last: the number
        of set bits is the number of kept weights.
    shape
        Of the matrix.
    place
        Of the matrix.
    """

    bits: np.ndarray
    shape: tuple[int, ...]
    place: Place


@dataclass(frozen=True, eq=False)
class WeightMask:
    """Which weights are kept, matrix by matrix.

    Attributes
    ----------
    bits
        Name of a weight matrix, from the base model on -> bool array of its shape, True for kept
        weights.
    places
        Name of each of these -> its place.
    network
        Family and vocabulary of the models it is for; empty where that is not known.
    """

    bits: Mapping[str, np.ndarray]
    places: Mapping[str, Place]
    network: str = ""

    def __post_init__(self) -> None:
        wrong = [name for name, bits in self.bits.items() if bits.dtype != bool]
        if wrong or not self.bits:
            raise ValueError(f"a weight mask is bool arrays by name; not so: {wrong or 'empty'}")
        if self.bits.keys() != self.places.keys():
            raise ValueError("a weight mask has a place for each of its matrices and no other")

    @property
    def counts(self) -> dict[str, int]:
        """Number of kept weights of each matrix."""
        return {name: int(np.count_nonzero(bits)) for name, bits in self.bits.items()}

    @property
    def kept(self) -> int:
        """Number of kept weights."""
        return sum(self.counts.values())

    @property
    def size(self) -> int:
        """Number of weights, kept or not."""
        return sum(bits.size for bits in self.bits.values())

    @property
    def sparsity(self) -> float:
        """Share of weights that are not kept, in [0, 1]."""
        return 1 - self.kept / self.size

    def save(self, path: str | Path) -> None:
        """Write the mask as packed bits, with places and numbers of kept weights beside them."""
        places = {name: astuple(self.places[name]) for name in self.bits}
        facts = {PLACES: json.dumps(places), KEPT: json.dumps(self.counts), NETWORK: self.network}
        _write(path, self.bits, facts)

    @classmethod
    def load(cls, path: str | Path) -> "WeightMask":
        """Read a mask that `save` wrote; see :class:`PackedMask` for what is refused."""
        packed = PackedMask(path)
        matrices = dict(packed)
        return cls(
            {name: unpack(matrix.bits, matrix.shape) for name, matrix in matrices.items()},
            {name: matrix.place for name, matrix in matrices.items()},
            packed.network,
        )


class PackedMask(Mapping[str, PackedMatrix]):
    """A weight mask that `WeightMask.save` wrote, its bits left packed.

    By name of the weight matrix, in the order in which they were saved. A matrix is read when it is
    asked for, and not kept, so many masks can be walked through side by side.

    Attributes
    ----------
    network
        As of the :class:`WeightMask`.

    Raises
    ------
    BabelscopeError
        If the file is no weight mask, or, when it is read, a matrix has not the number of bits, or
        of kept weights, that was saved.
    """

    def __init__(self, path: str | Path) -> None:
        metadata = read_metadata(path)
        if not {SHAPES, PLACES, KEPT} <= metadata.keys():
            raise _no_masks(path, "weight mask")
        self.network = metadata.get(NETWORK, "")
        self._path = path
        self._shapes = json.loads(metadata[SHAPES])
        self._places = json.loads(metadata[PLACES])
        self._kept = json.loads(metadata[KEPT])
        self._file = safe_open(path, framework="numpy")
        self._stored = set(self._file.keys())

    def __len__(self) -> int:
        return len(self._shapes)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __getitem__(self, name: str) -> PackedMatrix:
        shape, kept = tuple(self._shapes[name]), self._kept[name]
        size = math.prod(shape)
        bits = self._file.get_tensor(name) if name in self._stored else np.zeros(0, np.uint8)
        ones = int(np.bitwise_count(bits).sum(dtype=np.int64))
        if bits.size != -(-size // 8) or ones != kept:
            raise BabelscopeError(
                f"{self._path} is damaged: {name} should keep {kept} of {size} weights.",
                "Delete it and run the same command again.",
            )
        return PackedMatrix(bits, shape, Place(*self._places[name]))


def may_be_missing(name: str, names: Collection[str]) -> bool:
    """Tell whether a matrix may be missing beside these, in networks of one architecture.

    Not every task uses all of a network: a pooler may be missing, and so may a decoder as a whole,
    since T5 and mT5 tag words with their encoder alone.
    """
    whole = name.startswith(DECODER) and not any(one.startswith(DECODER) for one in names)
    return whole or POOLER in name


def load_packed(path: str | Path) -> dict[str, PackedMatrix]:
    """Read all of a weight mask and leave its bits packed; see :class:`PackedMask`."""
    return dict(PackedMask(path))


def save_masks(path: str | Path, masks: Mapping[str, HeadMask]) -> None:
    """Write several named head masks into one file."""
    _write(path, {name: mask.bits for name, mask in masks.items()})


def load_masks(path: str | Path) -> dict[str, HeadMask]:
    """Read the masks that `save_masks` wrote, in the order they were given."""
    return {name: HeadMask(bits) for name, bits in _read(path).items()}


def pack(bits: np.ndarray) -> np.ndarray:
    """Return bools as bytes of eight, first element in the highest bit."""
    return np.packbits(bits.ravel())


def unpack(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the bools that `pack` packed."""
    return np.unpackbits(packed, count=int(np.prod(shape))).astype(bool).reshape(shape)


def _write(
    path: str | Path, masks: Mapping[str, np.ndarray], facts: Mapping[str, str] | None = None
) -> None:
    if not masks:
        raise ValueError(f"no masks for {path}")
    shapes = json.dumps({name: list(bits.shape) for name, bits in masks.items()})
    metadata = {SHAPES: shapes, **(facts or {})}
    write_arrays(path, {name: pack(bits) for name, bits in masks.items()}, metadata)


def _read(path: str | Path) -> dict[str, np.ndarray]:
    packed = read_arrays(path)
    metadata = read_metadata(path)
    if SHAPES not in metadata:
        raise _no_masks(path, "masks")
    shapes = json.loads(metadata[SHAPES])
    return {name: unpack(packed[name], tuple(shape)) for name, shape in shapes.items()}


def _no_masks(path: str | Path, kind: str) -> BabelscopeError:
    return BabelscopeError(f"{path} holds no {kind}.", "Delete it and run the same command again.")
