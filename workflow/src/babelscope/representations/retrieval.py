"""Translation retrieval by nearest neighbours with a margin (Artetxe & Schwenk 2019)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import faiss
import numpy as np
from numpy.typing import ArrayLike

from babelscope.errors import BabelscopeError
from babelscope.representations.comparisons import Pair, Side
from babelscope.representations.rows import aligned, unit_rows
from babelscope.representations.scores import LayeredStates, Score, score_pairs

if TYPE_CHECKING:
    import pandas as pd

Margin = Literal["absolute", "distance", "ratio"]
NORMAL_975 = 1.959963984540054
STRIP = 65_536  # rows made unit length at a time: a corpus may have half a million
SAMPLE = 64  # rows of a side whose mean is near enough to that of all


@dataclass(frozen=True)
class Retrieval:
    """Which sentences were given the right translation.

    Attributes
    ----------
    forward, backward
        Shape (n,), bool: whether the right row of y was found for each row of x, and the reverse.
    """

    forward: np.ndarray
    backward: np.ndarray

    @cached_property
    def error_forward(self) -> float:
        """Share of rows of x without their translation, in %."""
        return 100 * float(1 - self.forward.mean())

    @cached_property
    def error_backward(self) -> float:
        """Share of rows of y without their translation, in %."""
        return 100 * float(1 - self.backward.mean())

    def scores(self) -> list[Score]:
        """Return both error rates in % with standard errors and Wilson (1927) intervals.

        Wilson's interval, unlike a bootstrap of the hits, has a width when all of them are right.
        """
        return [
            _score("forward", self.forward),
            _score("backward", self.backward),
        ]


def margin_retrieval(
    x: Any,
    y: Any,
    *,
    k: int = 4,
    margin: Margin = "ratio",
    groups: tuple[ArrayLike, ArrayLike] | None = None,
) -> Retrieval:
    """Find each row's translation among its k nearest neighbours, in both directions.

    Parameters
    ----------
    x, y
        NumPy arrays or torch tensors, shape (n, d); row i of x belongs to row i of y.
    k
        Neighbours that are candidates and that set the margin; at most n are used.
    margin
        ``absolute``: the cosine; ``distance``: minus, ``ratio``: divided by, the mean cosine of
        both sentences with their k nearest neighbours on the other side (Artetxe & Schwenk 2019).
    groups
        Per side n labels, equal for equal sentences. Without it rows that are equal, number for
        number, count as equal sentences.

    Returns
    -------
    A row is right if the one that is found for it is its own translation, an equal sentence, or the
    translation of a sentence equal to it.

    Raises
    ------
    BabelscopeError
        If a side is constant, not finite or has a zero row; if numbers of rows or dimensions
        differ; if a ratio's denominator is not positive.
    """
    if margin not in ("absolute", "distance", "ratio"):
        raise ValueError(f"unknown margin {margin}; known: absolute, distance, ratio")
    x, y = aligned(x, y, at_least=2)
    if x.shape[1] != y.shape[1]:
        raise BabelscopeError(
            f"Vectors of {x.shape[1]} dimensions have no cosine with vectors of {y.shape[1]}.",
            "Compare states of models of equal width.",
        )
    n, k = len(x), min(k, len(x))
    left, right = groups if groups is not None else (_equal_rows(x), _equal_rows(y))
    left, right = (np.unique(np.asarray(side), return_inverse=True)[1] for side in (left, right))
    if len(left) != n or len(right) != n:
        raise ValueError(f"groups must have {n} labels per side")
    sources, targets = centred_units(x, y)
    for side in (sources, targets):
        if np.ptp(side, axis=0).max() <= 1e-6:
            raise BabelscopeError(
                "The states are the same for all sentences: nothing can be retrieved.",
                "Give different sentences, or check the encoder.",
            )
    cosines = {}
    candidates = {}
    for name, queries, base in (("forward", sources, targets), ("backward", targets, sources)):
        cosines[name], candidates[name] = nearest(queries, base, k)  # (n, k) each
    near = {name: found.mean(axis=1) for name, found in cosines.items()}

    def hits(name: str, reverse: str) -> np.ndarray:
        level = (near[name][:, None] + near[reverse][candidates[name]]) / 2
        found = margins(cosines[name], level, margin).argmax(axis=1)
        best = np.take_along_axis(candidates[name], found[:, None], axis=1)[:, 0]
        return (left[best] == left) | (right[best] == right)

    return Retrieval(forward=hits("forward", "backward"), backward=hits("backward", "forward"))


def retrieval_table(
    pairs: Sequence[Pair],
    states: Mapping[Side, LayeredStates],
    *,
    k: int,
    margin: Margin,
    groups: Mapping[str, np.ndarray],
    seed: int,
    labels: Mapping[str, Any] | None = None,
) -> "pd.DataFrame":
    """Return retrieval errors of pairs of sides, layer by layer, in both directions.

    Parameters
    ----------
    pairs, states, seed, labels
        As in `score_pairs`; no pair is shuffled.
    k, margin
        See `margin_retrieval`.
    groups
        Per language n labels, equal for sentences of equal text.

    Returns
    -------
    Two rows (estimators ``forward``, from left to right, and ``backward``) per pair of layers, in
    %; see `score_pairs` for the columns.
    """

    def compare(left: tuple[str, np.ndarray], right: tuple[str, np.ndarray]) -> list[Score]:
        labels = groups[left[0]], groups[right[0]]
        return margin_retrieval(left[1], right[1], k=k, margin=margin, groups=labels).scores()

    return score_pairs(
        pairs,
        states,
        prepare=lambda rows, side: (side.language, rows),
        compare=compare,
        seed=seed,
        labels=labels,
    )


def _equal_rows(matrix: np.ndarray) -> np.ndarray:
    """Return a label per row, equal for equal rows."""
    whole = np.ascontiguousarray(matrix + 0.0)  # minus zero becomes zero
    return np.unique(whole.view(f"V{whole.itemsize * whole.shape[1]}"), return_inverse=True)[
        1
    ].ravel()


def centred_units(*sides: np.ndarray) -> list[np.ndarray]:
    """Return float32 rows of length 1 less one vector that is common to all sides.

    Where states share most of their direction, as in many layers, their cosines differ beyond the
    digits of float32. Distances are the same whatever is taken from all rows, and of unit vectors
    their squares are 2 - 2 cosines: those of what is left are precise, also where a library works
    them out from products, as faiss does for many rows.

    Parameters
    ----------
    sides
        Shapes (n, d); n may differ.

    Raises
    ------
    BabelscopeError
        If a row is zero.
    """
    common = np.mean([unit_rows(side[:SAMPLE]).mean(axis=0) for side in sides], axis=0)
    centred = []
    for side in sides:
        rows = np.empty(side.shape, np.float32)
        for start in range(0, len(side), STRIP):
            rows[start : start + STRIP] = unit_rows(side[start : start + STRIP]) - common
        centred.append(rows)
    return centred


def nearest(queries: np.ndarray, base: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the cosines of each query with its k nearest rows of the base, and these rows.

    Parameters
    ----------
    queries, base
        From `centred_units`.
    k
        At most as many as the base has rows.

    Returns
    -------
    Shape (queries, k) each, the nearest first; cosines are float64.
    """
    index = faiss.IndexFlatL2(base.shape[1])
    index.add(base)  # pyright: ignore[reportCallIssue]
    squares, rows = index.search(queries, k)  # pyright: ignore[reportCallIssue]
    return 1 - squares.astype(np.float64) / 2, rows


def margins(cosines: np.ndarray, level: np.ndarray, margin: Margin) -> np.ndarray:
    """Return how far cosines stand out.

    Parameters
    ----------
    cosines
        Of any shape.
    level
        Of the same shape: the mean cosine of both sentences with their neighbours.
    margin
        See `margin_retrieval`.

    Raises
    ------
    BabelscopeError
        If a ratio's denominator is not positive.
    """
    if margin == "absolute":
        return cosines
    if margin == "distance":
        return cosines - level
    if not (level > 0).all():
        raise BabelscopeError(
            "Some sentences have neighbours with negative cosines only: their ratio margin would"
            " turn the order round.",
            "Set compare.margin: distance, or give more sentences.",
        )
    return cosines / level


def wilson(share: float, n: int) -> tuple[float, float]:
    """Return the ends of the 95 % interval of a share of n examples (Wilson 1927).

    Unlike a bootstrap's, it has a width when the share is 0 or 1. For the mean of two shares of the
    same n examples, such as both directions of a retrieval, it is at least as wide as it need be:
    the mean varies most when both agree on every example.
    """
    square = NORMAL_975**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    reach = NORMAL_975 * np.sqrt(share * (1 - share) / n + square / (4 * n**2)) / (1 + square / n)
    # rounding must not leave the share itself out
    return max(0.0, min(share, float(middle - reach))), min(1.0, max(share, float(middle + reach)))


def _score(direction: str, right: np.ndarray) -> Score:
    n, share = len(right), 1 - float(right.mean())
    error = 100 * float(np.sqrt(share * (1 - share) / n))
    low, high = wilson(share, n)
    return Score("retrieval_error", direction, 100 * share, error, 100 * low, 100 * high)
