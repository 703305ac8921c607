import logging

import numpy as np
import pytest
from scipy.stats import binomtest

from babelscope.errors import BabelscopeError
from babelscope.evaluation import intervals
from babelscope.evaluation.intervals import bootstrap, percentile_interval
from babelscope.representations.retrieval import wilson


@pytest.mark.parametrize(("right", "n"), [(0, 7), (7, 7), (3, 10), (480, 1000)])
def test_wilson_is_that_of_scipy(right, n):
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right / n, n) == pytest.approx((expected.low, expected.high), abs=1e-6)


def means(values):
    return lambda weights: weights @ values / weights.sum(axis=1)


def test_the_bootstrap_has_the_spread_of_a_mean():
    values = np.random.default_rng(0).standard_normal(400)
    drawn = bootstrap(means(values), 400, resamples=4000, seed=1)
    assert drawn.shape == (4000,)
    assert drawn.std() == pytest.approx(values.std() / 20, rel=0.05)
    assert drawn.mean() == pytest.approx(values.mean(), abs=0.01)
    assert (drawn == bootstrap(means(values), 400, resamples=4000, seed=1)).all()
    assert (drawn != bootstrap(means(values), 400, resamples=4000, seed=2)).any()


def test_few_weights_are_held_at_a_time(monkeypatch):
    monkeypatch.setattr(intervals, "WEIGHTS", 100)
    sizes = []

    def statistic(weights):
        sizes.append(weights.shape)
        return weights.sum(axis=1)

    drawn = bootstrap(statistic, 30, resamples=10, seed=1)
    assert drawn.tolist() == [30] * 10
    assert sizes == [(3, 30)] * 3 + [(1, 30)]


def test_undefined_resamples_are_left_out_and_reported(caplog):
    caplog.set_level(logging.WARNING)
    values = np.append(np.arange(101.0), np.nan)
    assert percentile_interval(values, "de") == (2.5, 97.5)
    assert "of de is undefined in 1 of 102 resamples" in caplog.text
    with pytest.raises(BabelscopeError, match="of de is undefined in every resample"):
        percentile_interval(np.full(5, np.nan), "de")


def test_wilson_never_leaves_the_share_out():
    for n in range(2, 200):
        for right in (0, 1, n - 1, n):
            low, high = wilson(right / n, n)
            assert 0 <= low <= right / n <= high <= 1
