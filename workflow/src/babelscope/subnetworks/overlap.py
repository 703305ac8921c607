"""How much two masks agree, and how much they would by chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import gammaln, ndtr

LARGEST = 2**20  # possible overlaps, beyond which their distribution is taken to be normal


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Return the share of elements kept by both masks among those kept by either.

    Parameters
    ----------
    a, b
        Bool arrays of equal shape, True for kept elements.

    Raises
    ------
    ValueError
        If both are empty: the index is then undefined.
    """
    _check(a, b)
    either = int(np.count_nonzero(a | b))
    if not either:
        raise ValueError("the Jaccard index of two empty masks is undefined")
    return int(np.count_nonzero(a & b)) / either


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Return the share of elements that both masks keep or both drop."""
    _check(a, b)
    return int(np.count_nonzero(a == b)) / a.size


def _check(a: np.ndarray, b: np.ndarray) -> None:
    if a.dtype != bool or b.dtype != bool or a.shape != b.shape or not a.size:
        raise ValueError(f"masks are {a.dtype} {a.shape} and {b.dtype} {b.shape}")


def expected_jaccard(n: int, kept_a: int, kept_b: int) -> tuple[float, float]:
    """Return mean and standard deviation of the Jaccard index of two random masks.

    Parameters
    ----------
    n
        Number of elements.
    kept_a, kept_b
        How many each mask keeps; every choice of so many is equally likely, so the number kept by
        both is hypergeometric.

    Raises
    ------
    ValueError
        If a count is outside [0, n] or both are 0.
    """
    chance = Chance.of([n], [kept_a], [kept_b])
    return chance.mean, chance.deviation


@dataclass(frozen=True)
class Chance:
    """The Jaccard index of two random masks that keep given numbers in each of several groups.

    Attributes
    ----------
    mean, deviation
        Its expectation and standard deviation.
    both
        Possible numbers of elements kept by both, ascending; empty where only moments are known.
    probability
        Of each of these.
    centre, spread
        Mean and standard deviation of the number kept by both.
    """

    mean: float
    deviation: float
    both: np.ndarray
    probability: np.ndarray
    centre: float
    spread: float

    @classmethod
    def of(cls, n: Sequence[int], kept_a: Sequence[int], kept_b: Sequence[int]) -> "Chance":
        """Return the distribution for groups (layers, say) of `n` elements each.

        Parameters
        ----------
        n, kept_a, kept_b
            For each group its size and how many elements each mask keeps of it.

        Notes
        -----
        Exact, by convolving the groups' hypergeometric distributions; with more than a million
        possible overlaps by their first two moments.
        """
        size, a, b = (np.asarray(counts, dtype=np.int64) for counts in (n, kept_a, kept_b))
        if ((a < 0) | (b < 0) | (a > size) | (b > size)).any():
            raise ValueError(f"kept {a} and {b} of {size}")
        kept = int(a.sum() + b.sum())
        if not kept:
            raise ValueError("the Jaccard index of two empty masks is undefined")
        means, variances = moments_of_both(size, a, b)
        centre, spread = float(means.sum()), float(np.sqrt(variances.sum()))
        lowest, highest = np.maximum(0, a + b - size), np.minimum(a, b)
        if (highest - lowest).sum() > LARGEST:
            mean, deviation = moments_of_jaccard(kept, centre, spread)
            return cls(mean, deviation, np.array([]), np.array([]), centre, spread)
        probability = np.ones(1)
        for group in zip(size, a, b, strict=True):
            probability = np.convolve(probability, _hypergeometric(*group))
        both = np.arange(lowest.sum(), highest.sum() + 1)
        values = both / (kept - both)
        mean = float(probability @ values)
        deviation = float(np.sqrt(probability @ (values - mean) ** 2))
        return cls(mean, deviation, both, probability, centre, spread)

    def z(self, value: float) -> float:
        """Return by how many standard deviations a Jaccard index exceeds chance.

        0 where only one value is possible, as when a mask keeps everything.
        """
        return (value - self.mean) / self.deviation if self.deviation > 1e-12 else 0.0

    def p(self, both: int) -> float:
        """Return the probability that random masks share at least so many elements."""
        if not len(self.both):
            return float(ndtr((self.centre - both + 0.5) / self.spread))
        return float(min(1.0, self.probability[self.both >= both].sum()))


def moments_of_both(size: Any, kept_a: Any, kept_b: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of how many elements two random masks both keep, elementwise.

    Parameters
    ----------
    size, kept_a, kept_b
        Numbers, or arrays of one shape: elements of a group and how many each mask keeps of it. The
        number kept by both is hypergeometric, and moments of several groups add up.
    """
    mean = kept_a * kept_b / size
    rest = np.maximum(size - 1, 1)
    return mean, mean * ((size - kept_a) / size) * ((size - kept_b) / rest)


def moments_of_jaccard(kept: Any, centre: Any, spread: Any) -> tuple[Any, Any]:
    """Return mean and standard deviation of the Jaccard index where the overlap varies little.

    By its expansion around the mean overlap, the mean to second order and the deviation to first.

    Parameters
    ----------
    kept
        How many elements the two masks keep together, those they both keep counted twice.
    centre, spread
        Mean and standard deviation of the number kept by both.
    """
    slope = kept / (kept - centre) ** 2  # of x / (kept - x)
    curvature = 2 * kept / (kept - centre) ** 3
    return centre / (kept - centre) + curvature * spread**2 / 2, slope * spread


def _hypergeometric(size: int, a: int, b: int) -> np.ndarray:
    """Return the probabilities of the possible overlaps of `a` and `b` of `size` elements."""
    x = np.arange(max(0, a + b - size), min(a, b) + 1)

    def log_choose(total: Any, chosen: Any) -> Any:
        return gammaln(total + 1) - gammaln(chosen + 1) - gammaln(total - chosen + 1)

    log = log_choose(a, x) + log_choose(size - a, b - x) - log_choose(size, b)
    probability = np.exp(log)
    return probability / probability.sum()


def overlap_by_chance(a: np.ndarray, b: np.ndarray) -> Chance:
    """Return what two masks' overlap would be if each kept as many of every layer at random.

    Parameters
    ----------
    a, b
        Bool, shape (layers, elements), True for kept elements.
    """
    _check(a, b)
    return Chance.of([a.shape[1]] * len(a), a.sum(axis=1).tolist(), b.sum(axis=1).tolist())


def overlap_table(masks: Mapping[tuple[str, int], np.ndarray]) -> pd.DataFrame:
    """Compare every pair of masks, over all layers and layer by layer.

    Parameters
    ----------
    masks
        By language and draw, bool arrays (layers, heads).

    Returns
    -------
    pandas.DataFrame
        ``left, left_draw, right, right_draw, scope`` (all or layer), ``layer`` (-1 for all),
        ``jaccard, agreement, expected, sd, z, p, n, kept_left, kept_right``. Chance keeps the
        number of heads in each layer; p is that of at least as large an overlap. Where two masks
        are both empty in a layer, all that depends on the Jaccard index is NA.
    """
    rows = []
    for left, right in combinations(masks, 2):
        names = dict(zip(("left", "left_draw", "right", "right_draw"), left + right, strict=True))
        a, b = masks[left], masks[right]
        rows.append(names | {"scope": "all", "layer": -1} | _compare(a, b))
        for layer in range(len(a)):
            one = slice(layer, layer + 1)
            rows.append(names | {"scope": "layer", "layer": layer} | _compare(a[one], b[one]))
    columns = ("jaccard", "expected", "sd", "z", "p")
    return pd.DataFrame(rows).astype(dict.fromkeys(columns, "Float64"))


def _compare(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """Return the scores of one pair."""
    scores: dict[str, Any] = dict.fromkeys(("jaccard", "expected", "sd", "z", "p"))
    if (a | b).any():
        chance = overlap_by_chance(a, b)
        index = jaccard(a, b)
        scores |= {
            "jaccard": index,
            "expected": chance.mean,
            "sd": chance.deviation,
            "z": chance.z(index),
            "p": chance.p(int(np.count_nonzero(a & b))),
        }
    counts = {"n": a.size, "kept_left": int(a.sum()), "kept_right": int(b.sum())}
    return scores | {"agreement": agreement(a, b)} | counts
