"""What iterative pruning saw, the masks that budgets choose from it, and masks for comparison."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from babelscope.errors import BabelscopeError
from babelscope.io import read_arrays, read_metadata, write_arrays
from babelscope.subnetworks.budgets import heads_at
from babelscope.subnetworks.masks import HeadMask, pack, unpack


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Everything that iterative pruning saw.

    Attributes
    ----------
    masks
        Bool, shape (rounds + 1, layers, heads): the heads there were when a round was measured.
        The first has all.
    raw, normalized
        float64, same shape: importances at each of these masks.
    losses, perplexities
        Mean over predicted tokens and its exponential under each mask, shape (rounds + 1,).
    examples, tokens
        Number of examples and of predicted tokens they are measured on, shape (1,).
    order
        All heads, as indices into a flattened mask, in the order of removal, shape (layers *
        heads,). The heads that were never removed come last.
    """

    masks: np.ndarray
    raw: np.ndarray
    normalized: np.ndarray
    losses: np.ndarray
    perplexities: np.ndarray
    examples: np.ndarray
    tokens: np.ndarray
    order: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """Number of heads under each mask, shape (rounds + 1,)."""
        return self.masks.sum(axis=(1, 2))


def select_mask(
    trajectory: Trajectory, *, ratio: float | None = None, sparsity: float | None = None
) -> HeadMask:
    """Choose a mask by perplexity or by sparsity; give one of the two.

    Parameters
    ----------
    trajectory
        What `prune_heads_iteratively` returned.
    ratio
        Above 1: the mask of the last round before the perplexity first exceeds `ratio` times the
        full model's. All heads, if the first round already does.
    sparsity
        In [0, 1): the mask that keeps exactly round((1 - sparsity) * layers * heads) heads, those
        that were last to go.

    Raises
    ------
    BabelscopeError
        If the trajectory ends before the ratio is exceeded or the sparsity is reached.
    """
    if (ratio is None) == (sparsity is None):
        raise ValueError("give either ratio or sparsity")
    if ratio is not None:
        return _by_ratio(trajectory, ratio)
    total = trajectory.masks[0].size
    kept = heads_at(sparsity or 0.0, total)
    if kept < trajectory.kept[-1]:
        raise BabelscopeError(
            f"The trajectory ends at {trajectory.kept[-1]} of {total} heads, above the {kept} that"
            f" a sparsity of {sparsity} keeps.",
            "Delete the trajectory, so that it is made anew for the budgets that are configured.",
        )
    bits = np.zeros(total, dtype=bool)
    bits[trajectory.order[total - kept :]] = True
    return HeadMask(bits.reshape(trajectory.masks.shape[1:]))


def _by_ratio(trajectory: Trajectory, ratio: float) -> HeadMask:
    if ratio <= 1:
        raise ValueError(f"ratio is {ratio}; perplexity rises as heads go, so it must be above 1")
    above = trajectory.perplexities > ratio * trajectory.perplexities[0]
    if not above.any() and trajectory.kept[-1] > 1:
        raise BabelscopeError(
            f"The trajectory ends before the perplexity exceeds {ratio} times the full model's.",
            "Delete the trajectory, so that it is made anew for the budgets that are configured.",
        )
    last = int(above.argmax()) - 1 if above.any() else len(above) - 1
    return HeadMask(trajectory.masks[last])


def random_masks(mask: HeadMask, count: int, seed: int) -> list[HeadMask]:
    """Return masks that keep as many heads of each layer as `mask`, chosen at random."""
    keys = np.random.default_rng(seed).random((count, *mask.bits.shape))
    ranks = keys.argsort(axis=-1).argsort(axis=-1)  # of each head within its layer
    return [HeadMask(bits) for bits in ranks < mask.bits.sum(axis=1)[:, None]]


def intersection(masks: Sequence[HeadMask]) -> HeadMask:
    """Return the mask of the heads that all masks keep; it may be empty."""
    return HeadMask(np.logical_and.reduce([mask.bits for mask in masks]))


def union(masks: Sequence[HeadMask]) -> HeadMask:
    """Return the mask of the heads that any mask keeps."""
    return HeadMask(np.logical_or.reduce([mask.bits for mask in masks]))


def trajectory_table(trajectory: Trajectory) -> pd.DataFrame:
    """Return one row per round.

    Returns
    -------
    pandas.DataFrame
        ``round`` (0: all heads), ``kept, removed, sparsity, loss, perplexity, ratio, n_examples,
        n_tokens``; `ratio` is to the full model's perplexity.
    """
    kept, total = trajectory.kept, trajectory.masks[0].size
    return pd.DataFrame(
        {
            "round": np.arange(len(kept)),
            "kept": kept,
            "removed": total - kept,
            "sparsity": 1 - kept / total,
            "loss": trajectory.losses,
            "perplexity": trajectory.perplexities,
            "ratio": trajectory.perplexities / trajectory.perplexities[0],
            "n_examples": trajectory.examples[0],
            "n_tokens": trajectory.tokens[0],
        }
    )


def save_trajectory(path: str | Path, trajectory: Trajectory) -> None:
    """Write a trajectory as safetensors, its masks as packed bits."""
    arrays = {field.name: getattr(trajectory, field.name) for field in fields(trajectory)}
    arrays["masks"] = pack(trajectory.masks)
    write_arrays(path, arrays, {"shape": json.dumps(trajectory.masks.shape)})


def load_trajectory(path: str | Path) -> Trajectory:
    """Read a trajectory that `save_trajectory` wrote."""
    arrays = read_arrays(path)
    shape = tuple(json.loads(read_metadata(path)["shape"]))
    return Trajectory(**(arrays | {"masks": unpack(arrays["masks"], shape)}))
