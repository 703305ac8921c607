"""Pruning takes exactly the smallest weights, however they are spread over the matrices."""

import numpy as np
import pytest

from babelscope.subnetworks import selection
from babelscope.subnetworks.selection import prune_random, prune_step, prune_within, random_masks

SHAPES = {"b": (40, 7), "a": (3, 50), "c": (13, 13)}  # unequal, and not in alphabetical order
SIZE = sum(rows * columns for rows, columns in SHAPES.values())


def network(seed=0, share=0.7):
    generator = np.random.default_rng(seed)
    weights = {
        name: (generator.standard_normal(shape) * scale).astype(np.float32)
        for scale, (name, shape) in enumerate(SHAPES.items(), start=1)
    }
    return weights, {name: generator.random(shape) < share for name, shape in SHAPES.items()}


def slowly(weights, masks, amount):
    """Sort all kept weights by magnitude, then name, then index; drop the first."""
    kept = [
        (abs(float(weight)), name, index)
        for name in weights
        for index, weight in enumerate(weights[name].ravel())
        if masks[name].ravel()[index]
    ]
    found = {name: mask.copy() for name, mask in masks.items()}
    for _, name, index in sorted(kept)[:amount]:
        found[name].ravel()[index] = False
    return found


def count(masks):
    return sum(int(mask.sum()) for mask in masks.values())


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, mask in expected.items():
        np.testing.assert_array_equal(found[name], mask)


@pytest.mark.parametrize("share", [1.0, 0.7, 0.1])
@pytest.mark.parametrize("sample", [selection.SAMPLE, 150])
def test_the_smallest_of_all_matrices_go(monkeypatch, share, sample):
    monkeypatch.setattr(selection, "SAMPLE", sample)
    monkeypatch.setattr(selection, "SPREAD", 0.4 if sample == 150 else selection.SPREAD)
    weights, masks = network(share=share)
    for amount in (1, count(masks) // 3, count(masks) - 1, count(masks)):
        before = {name: mask.copy() for name, mask in masks.items()}
        found = prune_step(weights, masks, amount)
        assert_same(found, slowly(weights, masks, amount))
        assert count(found) == count(masks) - amount
        assert_same(masks, before)


def test_a_sample_that_misleads_costs_time_only(monkeypatch):
    """Every second weight is large, and the sample sees no other."""
    monkeypatch.setattr(selection, "SAMPLE", 128)
    weights = {"a": np.where(np.arange(256) % 2, 0.1, 1.0) + np.arange(256) / 1e4}
    masks = {"a": np.ones(256, bool)}
    assert_same(prune_step(weights, masks, 64), slowly(weights, masks, 64))


@pytest.mark.parametrize("amount", [1, 60, 150, 400])
def test_ties_are_cut_by_name_and_index(amount):
    weights, masks = network()
    weights = {name: np.round(array) for name, array in weights.items()}
    weights["a"][:] = -2.0  # a sign makes no difference
    found = prune_step(weights, masks, amount)
    assert_same(found, slowly(weights, masks, amount))
    order = ["c", "a", "b"]
    again = prune_step(
        {name: weights[name] for name in order}, {name: masks[name] for name in order}, amount
    )
    for name in order:
        np.testing.assert_array_equal(again[name], found[name])


def test_pruned_weights_do_not_come_back_or_count_again():
    """In the second step pruned weights are the smallest; they must not use up the amount."""
    weights, masks = network(share=1.0)
    first = prune_step(weights, masks, 100)
    zeroed = {name: weights[name] * first[name] for name in weights}
    second = prune_step(zeroed, first, 100)
    assert count(second) == SIZE - 200
    assert not any((second[name] & ~first[name]).any() for name in weights)
    assert_same(second, prune_step(weights, masks, 200))


def test_nothing_to_remove_and_too_much():
    weights, masks = network()
    found = prune_step(weights, masks, 0)
    assert_same(found, masks)
    assert not any(np.shares_memory(found[name], masks[name]) for name in masks)
    for amount in (-1, count(masks) + 1):
        with pytest.raises(ValueError, match="are kept"):
            prune_step(weights, masks, amount)
        with pytest.raises(ValueError, match="are kept"):
            prune_random(masks, amount, seed=1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused(bad):
    weights, masks = network()
    weights["c"][3, 4] = bad
    with pytest.raises(ValueError, match="not finite"):
        prune_step(weights, masks, 5)


def test_masks_of_other_matrices_are_refused():
    weights, masks = network()
    with pytest.raises(ValueError, match=r"differ: \['c'\]"):
        prune_step(weights, {name: masks[name] for name in ("a", "b")}, 5)
    for wrong in (masks["a"].T, masks["a"].astype(np.uint8)):
        with pytest.raises(ValueError, match="^a: a mask of"):
            prune_step(weights, masks | {"a": wrong}, 5)


def test_each_matrix_for_itself():
    weights, masks = network()
    amounts = {"a": 20, "b": 3, "c": 0}
    found = prune_within(weights, masks, amounts)
    for name in masks:
        alone = slowly({name: weights[name]}, {name: masks[name]}, amounts[name])
        np.testing.assert_array_equal(found[name], alone[name])
    with pytest.raises(ValueError, match="are kept"):
        prune_within(weights, masks, amounts | {"a": 151})


def test_random_pruning_is_exact_reproducible_and_uniform():
    _, masks = network()
    found = prune_random(masks, 200, seed=4)
    assert count(found) == count(masks) - 200
    assert not any((found[name] & ~masks[name]).any() for name in masks)
    assert_same(prune_random(masks, 200, seed=4), found)
    shuffled = prune_random({name: masks[name] for name in sorted(masks)}, 200, seed=4)
    assert all((shuffled[name] == found[name]).all() for name in masks)
    draws = [prune_random(masks, 200, seed=seed) for seed in range(200)]
    for name, mask in masks.items():
        left = np.mean([draw[name][mask] for draw in draws], axis=0)
        assert abs(left.mean() - count(found) / count(masks)) < 0.01
        assert left.std() < 1.5 * 0.5 / 200**0.5


def test_random_masks_keep_each_matrix_as_full():
    _, masks = network()
    found = random_masks(masks, seed=2)
    assert {n: int(m.sum()) for n, m in found.items()} == {
        n: int(m.sum()) for n, m in masks.items()
    }
    assert_same(random_masks(masks, seed=2), found)
    assert not all((found[name] == masks[name]).all() for name in masks)
    assert not all((found[n] == m).all() for n, m in random_masks(masks, seed=3).items())
