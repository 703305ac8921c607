"""How near translations lie to each other, and how evenly sentences spread (Wang & Isola 2020)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from babelscope.errors import BabelscopeError
from babelscope.representations.comparisons import Pair, Side
from babelscope.representations.jackknife import block_sizes, block_starts, jackknife, totals
from babelscope.representations.rows import aligned, rows_of, unit_rows
from babelscope.representations.scores import LayeredStates, Score, score_pairs

if TYPE_CHECKING:
    import pandas as pd

ROWS = 256  # whose products with all others are in memory at a time


@dataclass(frozen=True)
class Spread:
    """One side at one layer, with all that its comparisons share.

    Attributes
    ----------
    rows
        Shape (n, d), float32, each of length 1.
    starts
        First sentence of each block.
    uniformity
        Of all sentences, then of all but each block, shape (1 + blocks,); (1,) for one block.
    """

    rows: np.ndarray
    starts: np.ndarray
    uniformity: np.ndarray


def alignment(x: Any, y: Any) -> float:
    """Return the mean squared distance of partners on the unit sphere.

    Wang & Isola (2020), eq. 1, with their default exponent of 2.

    Parameters
    ----------
    x, y
        NumPy arrays or torch tensors, shape (n, d); row i of x belongs to row i of y.

    Returns
    -------
    In [0, 4]: 0 if partners have the same direction, 2 if they are orthogonal; lower is better.

    Raises
    ------
    BabelscopeError
        If numbers of rows or dimensions differ, a row is zero or a value is not finite.
    """
    x, y = aligned(x, y)
    left, right = (unit_rows(side).astype(np.float32) for side in (x, y))
    return float(_alignment(left, right, block_starts(len(x), 1))[0])


def uniformity(x: Any, *, groups: ArrayLike | None = None) -> float:
    """Return the logarithm of the mean of exp(-2 |a - b|^2) over pairs of distinct sentences.

    Wang & Isola (2020), eq. 2, with their default scale of 2; states are on the unit sphere.

    Parameters
    ----------
    x
        NumPy array or torch tensor, shape (n, d).
    groups
        Shape (n,): a number per row, equal for equal sentences, which are no pair. None: all rows
        are distinct.

    Returns
    -------
    In [-8, 0]: 0 if all states have the same direction; lower is more uniform. The lowest that many
    sentences reach is that of the uniform distribution, close to -4 in many dimensions.

    Raises
    ------
    BabelscopeError
        If no two sentences are distinct, a row is zero or a value is not finite.
    """
    rows = rows_of(x, at_least=2)
    labels = np.arange(len(rows)) if groups is None else np.asarray(groups)
    return float(spread(rows, labels, blocks=1).uniformity[0])


def uniformity_table(
    pairs: Sequence[Pair],
    states: Mapping[Side, LayeredStates],
    *,
    blocks: int,
    groups: Mapping[str, np.ndarray],
    seed: int,
    labels: Mapping[str, Any] | None = None,
) -> "pd.DataFrame":
    """Return alignment and uniformity of pairs of sides, layer by layer, with jackknife errors.

    Parameters
    ----------
    pairs, states, seed, labels
        As in `score_pairs`; no pair is shuffled.
    blocks
        Jackknife blocks, of consecutive sentences.
    groups
        Per language n numbers, equal for sentences of equal text.

    Returns
    -------
    Three rows per pair of layers: the measure ``alignment`` (estimator ``mean``), and
    ``uniformity`` of each side by itself (estimators ``left`` and ``right``); see `score_pairs` for
    the columns.
    """
    return score_pairs(
        pairs,
        states,
        prepare=lambda rows, side: spread(rows, groups[side.language], blocks=blocks),
        compare=_scores,
        seed=seed,
        labels=labels,
    )


def spread(x: Any, groups: np.ndarray, *, blocks: int) -> Spread:
    """Put one side on the unit sphere and measure how evenly it lies there.

    Parameters
    ----------
    x
        Shape (n, d).
    groups
        Shape (n,): equal for equal sentences.
    blocks
        Jackknife blocks; 1 for none.
    """
    rows = unit_rows(rows_of(x, at_least=2)).astype(np.float32)
    if len(groups) != len(rows):
        raise ValueError(f"groups must have {len(rows)} numbers")
    starts = block_starts(len(rows), blocks)
    sums, counts = _kernel_sums(rows, groups, starts)
    sums, counts = totals(sums), totals(counts)
    if not counts.all():
        raise BabelscopeError(
            "There are no two distinct sentences, or only in one block: uniformity is undefined.",
            "Give different sentences.",
        )
    return Spread(rows, starts, np.log(sums / counts))


def _kernel_sums(
    rows: np.ndarray, groups: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return sums of exp(-2 |a - b|^2) and numbers of pairs by block and block.

    Pairs are ordered, of distinct sentences; both shapes are (blocks, blocks), float64.
    """
    sums = np.zeros((len(starts), len(starts)))
    counts = np.zeros_like(sums)
    ends = np.append(starts[1:], len(rows))
    for block, (start, end) in enumerate(zip(starts, ends, strict=True)):
        later = starts[block:] - start  # the kernel is symmetric
        for first in range(start, end, ROWS):
            some = slice(first, min(first + ROWS, end))
            kernel = rows[some] @ rows[start:].T  # cosines; |a - b|^2 is 2 - 2 cos
            kernel -= 1
            kernel *= 4
            np.exp(kernel, out=kernel)
            same = groups[some, None] == groups[None, start:]
            kernel[same] = 0
            per_column = kernel.sum(axis=0, dtype=np.float64)
            sums[block, block:] += np.add.reduceat(per_column, later)
            distinct = len(kernel) - same.sum(axis=0, dtype=np.float64)
            counts[block, block:] += np.add.reduceat(distinct, later)
    below = np.tril_indices(len(starts), -1)
    for matrix in (sums, counts):
        matrix[below] = matrix.T[below]
    return sums, counts


def _alignment(left: np.ndarray, right: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the mean squared distance of all partners, then of all but each block's."""
    if left.shape[1] != right.shape[1]:
        raise BabelscopeError(
            f"Vectors of {left.shape[1]} dimensions have no distance from vectors of"
            f" {right.shape[1]}.",
            "Compare states of models of equal width.",
        )
    apart = left - right
    squares = np.einsum("nd,nd->n", apart, apart, dtype=np.float64)
    sizes = block_sizes(len(left), starts).astype(np.float64)
    return totals(np.add.reduceat(squares, starts)) / totals(sizes)


def _scores(left: Spread, right: Spread) -> list[Score]:
    return [
        Score(measure, estimator, *jackknife(estimates), tuple(estimates[1:].tolist()))
        for measure, estimator, estimates in (
            ("alignment", "mean", _alignment(left.rows, right.rows, left.starts)),
            ("uniformity", "left", left.uniformity),
            ("uniformity", "right", right.uniformity),
        )
    ]
