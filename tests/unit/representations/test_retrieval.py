"""Retrieval against a slow loop, in both directions; duplicates; degenerate input."""

import faiss
import numpy as np
import pytest
import torch

from babelscope.errors import BabelscopeError
from babelscope.representations.retrieval import margin_retrieval


def translations(n: int, d: int, noise: float, seed: int = 0):
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((n, d)) + 1
    return x, x + noise * generator.standard_normal((n, d))


def slow_errors(x, y, k, margin):
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (x, y)]

    def error(source, target):
        cosines = source @ target.T
        misses = 0
        for i in range(len(source)):
            candidates = np.argsort(-cosines[i])[:k]
            best, best_score = -1, -np.inf
            for j in candidates:
                level = sum(np.sort(cosines[i])[-k:]) / (2 * k)
                level += sum(np.sort(cosines[:, j])[-k:]) / (2 * k)
                score = {
                    "absolute": cosines[i, j],
                    "distance": cosines[i, j] - level,
                    "ratio": cosines[i, j] / level,
                }[margin]
                if score > best_score:
                    best, best_score = j, score
            misses += best != i
        return 100 * misses / len(source)

    return error(*unit), error(*unit[::-1])


@pytest.mark.parametrize("margin", ["absolute", "distance", "ratio"])
@pytest.mark.parametrize("k", [1, 4])
def test_equals_a_slow_loop(margin, k):
    x, y = translations(70, 6, noise=0.6)
    found = margin_retrieval(x, y, k=k, margin=margin)
    expected = slow_errors(x, y, k, margin)
    assert (found.error_forward, found.error_backward) == pytest.approx(expected)
    assert 0 < found.error_forward < 100


@pytest.mark.parametrize("margin", ["absolute", "distance", "ratio"])
@pytest.mark.parametrize("own", [0.0, 5.0])
@pytest.mark.parametrize("from_products", [False, True])
def test_a_direction_that_all_states_share_costs_no_precision(
    margin, own, from_products, monkeypatch
):
    """Cosines differ by 1e-6; a language may have a direction of its own as well.

    Of many rows faiss works distances out from products, of few it sums squares.
    """
    if from_products:
        monkeypatch.setattr(faiss.cvar, "distance_compute_blas_threshold", 1)
    x, y = (side.astype(np.float32) for side in translations(70, 6, noise=0.8))
    shared = np.full((70, 1), 3000, np.float32)
    x, y = np.hstack([x, shared, own + 0 * shared]), np.hstack([y, shared, -own + 0 * shared])
    exact = slow_errors(x.astype(np.float64), y.astype(np.float64), 4, margin)
    found = margin_retrieval(x, y, margin=margin)
    assert (found.error_forward, found.error_backward) == pytest.approx(exact)
    assert 0 < found.error_forward < 100


def test_margins_and_directions_differ():
    x, y = translations(200, 6, noise=0.8)
    errors = {
        margin: margin_retrieval(x, y, margin=margin).error_forward
        for margin in ("absolute", "distance", "ratio")
    }
    assert errors["ratio"] < errors["absolute"]
    ratio = margin_retrieval(x, y)
    assert ratio.error_forward == errors["ratio"]
    swapped = margin_retrieval(y, x)
    assert (swapped.error_forward, swapped.error_backward) == (
        ratio.error_backward,
        ratio.error_forward,
    )
    assert ratio.error_forward != ratio.error_backward


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_pairs_listed_twice_are_not_errors(kind):
    x, y = (side.astype(kind) for side in translations(40, 12, noise=0.01))
    x, y = np.concatenate([x, x]), np.concatenate([y, y])
    found = margin_retrieval(x, y)
    assert (found.error_forward, found.error_backward) == (0, 0)


def test_equal_sentences_are_told_by_their_labels():
    x, y = translations(40, 12, noise=0.01)
    jitter = 1e-3 * np.random.default_rng(1).standard_normal((40, 12))
    x, y = np.concatenate([x, x + jitter]), np.concatenate([y, y - jitter])
    assert margin_retrieval(x, y).error_forward > 20
    labels = [f"sentence {i % 40}" for i in range(80)]
    assert margin_retrieval(x, y, groups=(labels, labels)).error_forward == 0
    # One source sentence with two translations: either is right.
    assert margin_retrieval(x, y, groups=(labels, range(80))).error_forward == 0


def test_fewer_rows_than_neighbours_and_torch():
    x, y = translations(3, 12, noise=0.01)
    assert margin_retrieval(torch.tensor(x), torch.tensor(y), k=4).error_forward == 0


def test_scores_have_an_interval_even_without_errors():
    x, y = translations(50, 12, noise=0.01)
    forward, backward = margin_retrieval(x, y).scores()
    assert (forward.estimator, backward.estimator) == ("forward", "backward")
    assert (forward.value, forward.low) == pytest.approx((0, 0))
    assert forward.high == pytest.approx(7.135, abs=0.01)  # Wilson, 0 of 50


def test_unusable_input_is_an_error():
    x, y = translations(50, 12, noise=0.01)
    with pytest.raises(BabelscopeError, match="same for all"):
        margin_retrieval(x, np.ones_like(y))
    with pytest.raises(BabelscopeError, match="dimensions"):
        margin_retrieval(x, y[:, :7])
    with pytest.raises(BabelscopeError, match="zero vector"):
        margin_retrieval(x, np.concatenate([y[:-1], np.zeros((1, 12))]))
    with pytest.raises(BabelscopeError, match="distance"):
        margin_retrieval(x, -x, margin="ratio")
    with pytest.raises(ValueError, match="unknown margin"):
        margin_retrieval(x, y, margin="relative")
