"""Scores that are functions of sums over examples, with bootstrap intervals."""

import logging
from typing import Any

import numpy as np

from babelscope.errors import BabelscopeError
from babelscope.evaluation.resampling import bootstrap_weights
from babelscope.tasks.base import Metric

logger = logging.getLogger(__name__)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide; NaN where the denominator is zero."""
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below != 0)


def _perplexity(sums: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # infinite, which is refused where it is reported
        return np.exp(_ratio(sums[..., 0], sums[..., 1]))


def _f1(sums: np.ndarray) -> np.ndarray:
    return _ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])


def _accuracy(sums: np.ndarray) -> np.ndarray:
    return _ratio(sums[..., 0], sums[..., 1])


# The columns of their counts are, for each example:
PERPLEXITY = Metric("perplexity", False, _perplexity)  # loss in nats, tokens
F1 = Metric("f1", True, _f1)  # entities found that are right, found, and there; all types together
ACCURACY = Metric("accuracy", True, _accuracy)  # right answers, answers; more columns are not read


def value_of(metric: Metric, counts: np.ndarray, *, where: str = "these examples") -> float:
    """Return a metric of examples.

    Parameters
    ----------
    metric
        The metric.
    counts
        What it is computed from, shape (examples, k).
    where
        What the examples are, for messages: ``the test examples of de``.

    Raises
    ------
    BabelscopeError
        If the metric is undefined there (F1 with no entity, neither found nor there; perplexity
        without a token; no example), or not finite.
    """
    value = float(metric.of(np.asarray(counts, np.float64).sum(axis=0)))
    if not np.isfinite(value):
        state = "undefined" if np.isnan(value) else "infinite"
        raise BabelscopeError(
            f"The {metric.name} of {where} ({len(counts)}) is {state}.",
            "Give that split more examples (for f1, some with entities), or check the weights.",
        )
    return value


def score(
    metric: Metric,
    counts: np.ndarray,
    *,
    resamples: int,
    seed: int,
    where: str = "these examples",
) -> dict[str, Any]:
    """Return a metric with its 95 % interval, by bootstrap over examples.

    Parameters
    ----------
    metric, counts, where
        As in :func:`value_of`.
    resamples, seed
        Of the bootstrap. Scores of the same number of examples with the same seed see the same
        resamples.

    Returns
    -------
    dict
        value, low, high, n (examples).

    Raises
    ------
    BabelscopeError
        If the metric is undefined, or there is a single example.

    Notes
    -----
    Resamples in which the metric is undefined (no entity was drawn) are left out, and reported.
    """
    value = value_of(metric, counts, where=where)
    low, high = _interval(_resampled(metric, counts, resamples, seed, where), metric, where)
    return {"value": value, "low": low, "high": high, "n": len(counts)}


def difference(
    metric: Metric,
    counts: np.ndarray,
    reference: np.ndarray,
    *,
    resamples: int,
    seed: int,
    where: str = "these examples",
) -> dict[str, Any]:
    """Return by how much a metric exceeds that of a reference on the same examples.

    Parameters
    ----------
    metric, where, resamples, seed
        As in :func:`score`.
    counts, reference
        Shape (examples, k), rows of the same examples.

    Returns
    -------
    dict
        change, change_low, change_high: in the metric's own unit, with the 95 % interval of the
        paired differences.
    """
    if len(counts) != len(reference):
        raise ValueError(f"{len(counts)} and {len(reference)} examples cannot be paired")
    change = value_of(metric, counts, where=where) - value_of(metric, reference, where=where)
    drawn = _resampled(metric, counts, resamples, seed, where)
    low, high = _interval(
        drawn - _resampled(metric, reference, resamples, seed, where), metric, where
    )
    return {"change": change, "change_low": low, "change_high": high}


def _resampled(
    metric: Metric, counts: np.ndarray, resamples: int, seed: int, where: str
) -> np.ndarray:
    """Return the metric in each resample, NaN where it is undefined, shape (resamples,)."""
    if len(counts) < 2:
        raise BabelscopeError(
            f"There is a single example among {where}: its {metric.name} has no interval.",
            "Give that split more examples.",
        )
    return metric.of(bootstrap_weights(len(counts), resamples, seed) @ np.asarray(counts))


def _interval(values: np.ndarray, metric: Metric, where: str) -> tuple[float, float]:
    undefined = int(np.isnan(values).sum())
    if undefined:
        logger.warning(
            "%s of %s is undefined in %d of %d resamples, which are left out",
            metric.name,
            where,
            undefined,
            len(values),
        )
    if undefined == len(values):
        raise BabelscopeError(
            f"The {metric.name} of {where} is undefined in every resample.",
            "Give that split more examples.",
        )
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)
