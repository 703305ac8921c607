"""Masks come back from their files bit by bit, at an eighth of a byte each."""

import numpy as np
import pytest

from babelscope.errors import BabelscopeError
from babelscope.io import read_arrays, read_metadata, write_arrays
from babelscope.subnetworks.masks import (
    HeadMask,
    Place,
    WeightMask,
    load_masks,
    load_packed,
    save_masks,
    unpack,
)


def test_head_masks_of_unequal_layers_and_heads(tmp_path):
    generator = np.random.default_rng(0)
    masks = {f"{name}/d0": HeadMask(generator.random((3, 5)) < 0.5) for name in ("en", "zh", "ar")}
    save_masks(tmp_path / "masks.safetensors", masks)
    again = load_masks(tmp_path / "masks.safetensors")
    assert list(again) == list(masks)
    for name, mask in masks.items():
        np.testing.assert_array_equal(again[name].bits, mask.bits)
    mask = HeadMask(np.array([[True, False, False], [True, True, False]]))
    assert (mask.kept, mask.sparsity) == (3, 0.5)
    mask.save(tmp_path / "one.safetensors")
    np.testing.assert_array_equal(HeadMask.load(tmp_path / "one.safetensors").bits, mask.bits)


PLACES = {"b.weight": Place("encoder", 1, "ffn-in"), "a": Place("decoder", 0, "cross-q")}


def weight_mask():
    bits = {
        "b.weight": np.random.default_rng(1).random((100, 81)) < 0.3,
        "a": np.ones((3, 1), bool),
    }
    return WeightMask(bits, PLACES, "bert")


def test_weight_masks_take_a_bit_per_weight(tmp_path):
    mask = weight_mask()
    mask.save(tmp_path / "weights.safetensors")
    again = WeightMask.load(tmp_path / "weights.safetensors")
    assert list(again.bits) == ["b.weight", "a"]
    assert again.places == PLACES
    assert again.network == "bert"
    for name, expected in mask.bits.items():
        np.testing.assert_array_equal(again.bits[name], expected)
    kept = int(mask.bits["b.weight"].sum())
    assert mask.counts == {"b.weight": kept, "a": 3}
    assert (mask.kept, mask.size) == (kept + 3, 8103)
    assert mask.sparsity == pytest.approx(1 - (kept + 3) / 8103)
    assert (tmp_path / "weights.safetensors").stat().st_size < 8103 / 8 + 500


def test_packed_bits_of_weight_masks_count_as_the_bits_do(tmp_path):
    """Bits that fill up the last byte are zeros, so set bits can be counted in whole bytes."""
    mask = weight_mask()
    mask.save(tmp_path / "weights.safetensors")
    packed = load_packed(tmp_path / "weights.safetensors")
    assert {name: matrix.place for name, matrix in packed.items()} == PLACES
    for name, (bits, shape, _) in packed.items():
        assert np.bitwise_count(bits).sum() == mask.counts[name]
        np.testing.assert_array_equal(unpack(bits, shape), mask.bits[name])


def test_a_weight_mask_with_other_bits_than_were_saved_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    weight_mask().save(path)
    arrays, metadata = read_arrays(path), read_metadata(path)
    for name, damaged in (("a", arrays["a"] ^ 1), ("b.weight", arrays["b.weight"][:-1])):
        write_arrays(path, arrays | {name: damaged}, metadata)
        with pytest.raises(
            BabelscopeError, match=rf"weights.safetensors is damaged: {name} should"
        ):
            WeightMask.load(path)


def test_what_is_no_mask_is_refused(tmp_path):
    with pytest.raises(ValueError, match="head mask"):
        HeadMask(np.ones((2, 3)))
    with pytest.raises(ValueError, match="weight mask"):
        WeightMask({"a": np.ones(3)}, {"a": PLACES["a"]})
    with pytest.raises(ValueError, match="place for each"):
        WeightMask({"a": np.ones(3, bool)}, PLACES)
    write_arrays(tmp_path / "other.safetensors", {"x": np.ones(3)})
    with pytest.raises(BabelscopeError, match="holds no masks"):
        load_masks(tmp_path / "other.safetensors")
    HeadMask(np.ones((2, 3), bool)).save(tmp_path / "heads.safetensors")
    with pytest.raises(BabelscopeError, match="holds no weight mask"):
        WeightMask.load(tmp_path / "heads.safetensors")
