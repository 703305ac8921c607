"""Which weights a step of pruning takes: the smallest of all, of each matrix, or any.

Masks are dicts of bool arrays by name of a matrix, True for kept weights; each function returns new
ones. Names are taken in alphabetical order, so nothing depends on the order of a dict.
"""

from collections.abc import Mapping

import numpy as np

from babelscope.seeds import derive_seed

Arrays = Mapping[str, np.ndarray]
Masks = dict[str, np.ndarray]
Parts = list[tuple[np.ndarray, np.ndarray]]  # weights and mask of each matrix

SAMPLE = 2**19  # weights looked at to guess the threshold
SPREAD = 4.0  # of the guess: square roots of the sample's size, eight standard deviations or more


def prune_step(weights: Arrays, masks: Arrays, amount: int) -> Masks:
    """Return masks without the kept weights of the smallest magnitude, over all matrices at once.

    Parameters
    ----------
    weights
        Name of a matrix -> its weights, floating point, without NaN or infinity.
    masks
        The same names -> bool array of the same shape.
    amount
        How many kept weights to remove, exactly: 0 to the number of kept weights.

    Returns
    -------
    dict
        Of weights with equal magnitudes at the threshold, those of the first names go, and within a
        matrix those of the lowest indices.

    Raises
    ------
    ValueError
        If names or shapes differ, a weight is not finite, or `amount` is out of range.

    Notes
    -----
    The threshold is selected, not sorted for: a sample brackets it so tightly that one pass over
    the matrices, a matrix at a time, leaves under a percent of the weights to choose among.
    """
    names = _check(weights, masks)
    kept = sum(int(np.count_nonzero(masks[name])) for name in names)
    if not 0 <= amount <= kept:
        raise ValueError(f"{amount} weights to remove, but {kept} are kept")
    if amount == 0:
        return {name: mask.copy() for name, mask in masks.items()}
    threshold, ties = _threshold([(weights[n], masks[n]) for n in names], amount, kept)
    found = {}
    for name in names:
        magnitudes, mask = np.abs(weights[name]), masks[name]
        found[name] = mask & (magnitudes > threshold)
        equal = np.flatnonzero(mask & (magnitudes == threshold))
        found[name].flat[equal[ties:]] = True
        ties -= min(ties, len(equal))
    return {name: found[name] for name in masks}


def prune_within(weights: Arrays, masks: Arrays, amounts: Mapping[str, int]) -> Masks:
    """Return masks without the smallest weights of each matrix, so many of each; see `prune_step`.

    Raises
    ------
    ValueError
        As `prune_step` does.
    """
    _check(weights, masks)
    return {
        name: prune_step({name: weights[name]}, {name: mask}, amounts[name])[name]
        for name, mask in masks.items()
    }


def prune_random(masks: Arrays, amount: int, *, seed: int) -> Masks:
    """Return masks without `amount` of the kept weights, every choice being as likely.

    Raises
    ------
    ValueError
        If fewer weights are kept.
    """
    names = sorted(masks)
    kept = [int(np.count_nonzero(masks[name])) for name in names]
    if not 0 <= amount <= sum(kept):
        raise ValueError(f"{amount} weights to remove, but {sum(kept)} are kept")
    generator = np.random.default_rng(derive_seed(seed, "amounts"))
    amounts = generator.multivariate_hypergeometric(kept, amount, method="marginals")
    parts = dict(zip(names, amounts.tolist(), strict=True))
    return {name: _thin(mask, parts[name], seed, name) for name, mask in masks.items()}


def random_masks(masks: Arrays, *, seed: int) -> Masks:
    """Return random masks that keep as many weights of each matrix as the given ones."""
    return {
        name: _thin(np.ones_like(mask), mask.size - int(np.count_nonzero(mask)), seed, name)
        for name, mask in masks.items()
    }


def _thin(mask: np.ndarray, amount: int, seed: int, name: str) -> np.ndarray:
    """Remove so many elements of a mask at random."""
    generator = np.random.default_rng(derive_seed(seed, name))
    thinned = mask.copy()
    chosen = generator.choice(np.flatnonzero(mask), amount, replace=False, shuffle=False)
    thinned.flat[chosen] = False
    return thinned


def _check(weights: Arrays, masks: Arrays) -> list[str]:
    """Return the names in order, if the arrays belong together."""
    if weights.keys() != masks.keys():
        raise ValueError(f"weights and masks differ: {sorted(weights.keys() ^ masks.keys())}")
    for name, mask in masks.items():
        if mask.dtype != bool or mask.shape != weights[name].shape:
            raise ValueError(f"{name}: a mask of {mask.dtype} {mask.shape} for its weights")
    return sorted(masks)


def _threshold(parts: Parts, amount: int, kept: int) -> tuple[float, int]:
    """Return the largest magnitude that goes, and how many of that magnitude do."""
    below, inside = _between(parts, *_bracket(parts, amount / kept))
    if not below < amount <= below + len(inside):  # the sample was not like the rest
        below, inside = _between(parts, 0.0, np.inf)
    rank = amount - below
    inside.partition(rank - 1)
    threshold = inside[rank - 1]
    return threshold, rank - int(np.count_nonzero(inside[: rank - 1] < threshold))


def _bracket(parts: Parts, share: float) -> tuple[float, float]:
    """Return two magnitudes that the threshold lies between, as far as a sample can tell."""
    every = -(-sum(mask.size for _, mask in parts) // SAMPLE)
    sample = np.concatenate(
        [np.abs(weights.ravel()[::every])[mask.ravel()[::every]] for weights, mask in parts]
    )
    sample.sort()
    rank, margin = share * len(sample), SPREAD * len(sample) ** 0.5
    low, high = int(rank - margin), int(rank + margin)
    return sample[low] if low > 0 else 0.0, sample[high] if high < len(sample) else np.inf


def _between(parts: Parts, low: float, high: float) -> tuple[int, np.ndarray]:
    """Return the number of kept magnitudes below `low` and those from there to `high`."""
    below, inside = 0, []
    for weights, mask in parts:
        magnitudes = np.abs(weights)
        if not np.isfinite(magnitudes.max(initial=0)):
            raise ValueError("a weight to be pruned is not finite")
        small = magnitudes < low
        below += int(np.count_nonzero(small & mask))
        inside.append(magnitudes[~small & (magnitudes <= high) & mask])
    return below, np.concatenate(inside)
