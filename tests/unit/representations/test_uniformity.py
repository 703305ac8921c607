"""Alignment and uniformity: slow loops, known values, exact jackknife, duplicates."""

import itertools
import math

import numpy as np
import pytest
import torch

from babelscope.errors import BabelscopeError
from babelscope.representations import uniformity as module
from babelscope.representations.comparisons import Pair, Side
from babelscope.representations.jackknife import block_starts, jackknife
from babelscope.representations.uniformity import alignment, uniformity, uniformity_table


def translations(n: int, d: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((n, d)) + 0.5
    return x, x + noise * generator.standard_normal((n, d))


def slow_alignment(x, y):
    distances = [
        np.sum((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2)
        for a, b in zip(x, y, strict=True)
    ]
    return np.mean(distances)


def slow_uniformity(x, groups):
    unit = [row / np.linalg.norm(row) for row in x]
    terms = [
        math.exp(-2 * np.sum((unit[i] - unit[j]) ** 2))
        for i, j in itertools.combinations(range(len(x)), 2)
        if groups[i] != groups[j]
    ]
    return math.log(sum(terms) / len(terms))


@pytest.mark.parametrize("strip", [7, 256])
def test_equal_slow_loops(monkeypatch, strip):
    monkeypatch.setattr(module, "ROWS", strip)
    x, y = translations(60, 7, noise=0.5)
    groups = np.arange(60) // 2 * np.array([1, 2] * 30)  # some equal sentences, far and near
    assert alignment(x, y) == pytest.approx(slow_alignment(x, y), rel=1e-5)
    assert uniformity(x) == pytest.approx(slow_uniformity(x, range(60)), abs=1e-5)
    assert uniformity(x, groups=groups) == pytest.approx(slow_uniformity(x, groups), abs=1e-5)


@pytest.mark.parametrize("blocks", [2, 7, 20])
def test_jackknife_equals_deleting_each_block(blocks):
    x, y = translations(83, 12, noise=0.5)
    groups = np.random.default_rng(1).integers(0, 60, 83)
    left, right = (module.spread(side, groups, blocks=blocks) for side in (x, y))
    edges = [*block_starts(83, blocks), 83]
    subsets = [np.arange(83)] + [
        np.delete(np.arange(83), slice(start, end)) for start, end in itertools.pairwise(edges)
    ]
    slow = {
        ("alignment", "mean"): [slow_alignment(x[rows], y[rows]) for rows in subsets],
        ("uniformity", "left"): [slow_uniformity(x[rows], groups[rows]) for rows in subsets],
        ("uniformity", "right"): [slow_uniformity(y[rows], groups[rows]) for rows in subsets],
    }
    scores = module._scores(left, right)
    assert [(score.measure, score.estimator) for score in scores] == list(slow)
    for score, expected in zip(scores, slow.values(), strict=True):
        assert tuple(score[2:6]) == pytest.approx(jackknife(np.array(expected)), abs=1e-5)
        assert score.left_out == pytest.approx(expected[1:], abs=1e-5)
        assert score.low < score.value < score.high


def test_known_values():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((2000, 3))  # uniform on the sphere, in directions
    assert alignment(x, 7 * x) == 0
    assert alignment(x, -x) == pytest.approx(4)
    # cosines are uniform in [-1, 1], so the mean of exp(4 cos - 4) is exp(-4) sinh(4) / 4
    assert uniformity(x) == pytest.approx(math.log(math.sinh(4) / 4) - 4, abs=0.02)
    wide = generator.standard_normal((1000, 2000))
    assert uniformity(wide) == pytest.approx(-4, abs=0.02)
    assert alignment(wide, generator.standard_normal((1000, 2000))) == pytest.approx(2, abs=0.01)
    assert uniformity(np.ones((30, 5))) == pytest.approx(0, abs=1e-6)
    assert uniformity(np.array([[1.0, 0], [-1, 0]])) == pytest.approx(-8)


def test_are_invariant_to_rotation_and_scale():
    x, y = translations(90, 12, noise=0.5)
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((12, 12)))[0]
    assert alignment(x @ rotation, y @ rotation) == pytest.approx(alignment(x, y), rel=1e-5)
    assert alignment(1e-20 * x, 1e9 * y) == pytest.approx(alignment(x, y), rel=1e-5)
    assert uniformity(x @ rotation * 3) == pytest.approx(uniformity(x), abs=1e-6)
    assert alignment(x, y) == pytest.approx(alignment(y, x))
    assert uniformity(torch.tensor(x).bfloat16()) == pytest.approx(uniformity(x), abs=1e-2)


def test_equal_sentences_are_no_pair():
    x, _ = translations(40, 6, noise=0)
    twice, groups = np.concatenate([x, x]), np.tile(np.arange(40), 2)
    assert uniformity(twice, groups=groups) == pytest.approx(uniformity(x), abs=1e-6)
    assert uniformity(twice) > uniformity(x) + 0.01


def test_the_table_has_every_layer_and_side():
    en, de, ru = (Side("base", "full", language) for language in ("en", "de", "ru"))
    shared = np.random.default_rng(0).standard_normal((60, 6)) + 1
    noise = np.array([2, 1, 0.5])[:, None, None]
    states = {
        side: shared + noise * np.random.default_rng(seed).standard_normal((3, 60, 6))
        for seed, side in enumerate((en, de, ru))
    }
    groups = {"en": np.arange(60), "de": np.arange(60) // 2, "ru": np.arange(60)}
    table = uniformity_table(
        [Pair(en, de), Pair(en, ru)],
        states,
        blocks=5,
        groups=groups,
        seed=1,
        labels={"model": "tiny"},
    )
    assert len(table) == 2 * 3 * 3
    assert table.columns[:3].tolist() == ["model", "measure", "estimator"]
    found = table.set_index(["measure", "estimator", "right_language", "left_layer"])["value"]
    for layer in range(3):
        for side in (de, ru):
            expected = alignment(states[en][layer], states[side][layer])
            assert found["alignment", "mean", side.language, layer] == pytest.approx(expected)
            expected = uniformity(states[side][layer], groups=groups[side.language])
            assert found["uniformity", "right", side.language, layer] == pytest.approx(expected)
            expected = uniformity(states[en][layer])
            assert found["uniformity", "left", side.language, layer] == pytest.approx(expected)
    assert found["alignment", "mean", "de", 2] < found["alignment", "mean", "de", 0]


def test_unusable_input_is_an_error():
    x, y = translations(30, 5, noise=0.1)
    with pytest.raises(BabelscopeError, match="29"):
        alignment(x, y[:29])
    with pytest.raises(BabelscopeError, match="dimensions"):
        alignment(x, y[:, :3])
    with pytest.raises(BabelscopeError, match="zero vector"):
        uniformity(np.concatenate([x, np.zeros((1, 5))]))
    with pytest.raises(BabelscopeError, match="no two distinct"):
        uniformity(x, groups=np.zeros(30))
    with pytest.raises(BabelscopeError, match="no two distinct"):
        module.spread(x, np.repeat([0, 1], 15), blocks=2)
    with pytest.raises(BabelscopeError, match=r"compare\.blocks"):
        module.spread(x, np.arange(30), blocks=31)
    with pytest.raises(ValueError, match="30 numbers"):
        uniformity(x, groups=np.arange(29))
    x[7, 2] = np.nan
    with pytest.raises(BabelscopeError, match="sentence 7"):
        uniformity(x)
