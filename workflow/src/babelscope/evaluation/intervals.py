"""Intervals of scores by the bootstrap, in bounded memory."""

import logging
from collections.abc import Callable

import numpy as np

from babelscope.errors import BabelscopeError
from babelscope.evaluation.resampling import bootstrap_weights
from babelscope.seeds import derive_seed

logger = logging.getLogger(__name__)

WEIGHTS = 2**22  # held at a time


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray], examples: int, *, resamples: int, seed: int
) -> np.ndarray:
    """Return a statistic in each resample of the examples.

    Parameters
    ----------
    statistic
        Maps how often each example is drawn, shape (r, examples), to values, shape (r, ...). It is
        called for some resamples at a time.
    examples
        How many there are.
    resamples, seed
        Equal seeds and numbers of examples give equal resamples.

    Returns
    -------
    Shape (resamples, ...).
    """
    size = max(1, WEIGHTS // examples)
    parts = [
        statistic(
            bootstrap_weights(examples, min(size, resamples - start), derive_seed(seed, start))
        )
        for start in range(0, resamples, size)
    ]
    return np.concatenate(parts)


def percentile_interval(values: np.ndarray, where: str) -> tuple[float, float]:
    """Return the ends of the 95 % interval of resampled values, by percentiles.

    Parameters
    ----------
    values
        Shape (resamples,); NaN where the score is undefined, which is left out and reported.
    where
        What the score is of, for messages.

    Raises
    ------
    BabelscopeError
        If the score is undefined in every resample.
    """
    undefined = int(np.isnan(values).sum())
    if undefined == len(values):
        raise BabelscopeError(
            f"The score of {where} is undefined in every resample.", "Give it more examples."
        )
    if undefined:
        logger.warning(
            "The score of %s is undefined in %d of %d resamples, which are left out",
            where,
            undefined,
            len(values),
        )
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)
