"""What tickets share, against counting one subset of languages after the other."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from babelscope.errors import BabelscopeError
from babelscope.subnetworks import sharing
from babelscope.subnetworks.masks import PackedMask, PackedMatrix, Place, WeightMask, pack
from babelscope.subnetworks.sharing import shared_masks, sharing_table, sharing_tables
from babelscope.subnetworks.ticket_overlap import Ticket

LAYOUT = {
    "encoder.0.q": (Place("encoder", 0, "q"), (5, 7)),
    "encoder.0.ffn-in": (Place("encoder", 0, "ffn-in"), (9, 5)),
    "decoder.0.cross-q": (Place("decoder", 0, "cross-q"), (4, 4)),
    "encoder.-1.pooler": (Place("encoder", -1, "pooler"), (3, 3)),
}


def draw(density, seed):
    rng = np.random.default_rng(seed)
    shared = np.random.default_rng(99)  # part of it is the same in all
    return {
        name: (rng.random(shape) < density) | (shared.random(shape) < 0.2)
        for name, (_, shape) in LAYOUT.items()
    }


BITS = {code: draw(0.2 + 0.1 * at, at) for at, code in enumerate(("en", "de", "ru", "zh", "ar"))}


def packed(bits):
    return {
        name: PackedMatrix(pack(bits[name]), shape, place)
        for name, (place, shape) in LAYOUT.items()
    }


MASKS = {code: packed(bits) for code, bits in BITS.items()}


def stacked(codes):
    """Return the flattened masks of some languages, shape (languages, weights)."""
    return np.stack([np.concatenate([x.ravel() for x in BITS[code].values()]) for code in codes])


def test_every_component_stands_under_its_own_name(tmp_path):
    """The published intersection writes all components of a layer under one key."""
    every, some = shared_masks(MASKS)
    assert list(every.bits) == list(some.bits) == list(LAYOUT)
    for name, (place, _) in LAYOUT.items():
        bits = [mask[name] for mask in BITS.values()]
        np.testing.assert_array_equal(every.bits[name], np.logical_and.reduce(bits))
        np.testing.assert_array_equal(some.bits[name], np.logical_or.reduce(bits))
        assert every.places[name] == some.places[name] == place
    assert 0 < every.kept < min(mask.sum() for mask in stacked(BITS)) < some.kept
    every.save(tmp_path / "intersection.safetensors")
    assert len(PackedMask(tmp_path / "intersection.safetensors")) == len(LAYOUT)


@pytest.mark.parametrize("few", [0, 16], ids=["no subsets", "all subsets"])
def test_sizes_are_those_of_all_subsets(monkeypatch, few):
    monkeypatch.setattr(sharing, "FEW", few)
    table = sharing_table(MASKS).set_index(["operation", "languages"])
    for operation, reduce in (("intersection", np.all), ("union", np.any)):
        for k in range(1, 6):
            found = table.loc[(operation, k)]
            shares = [reduce(stacked(codes), axis=0).mean() for codes in combinations(BITS, k)]
            assert found["share"] == pytest.approx(np.mean(shares))
            assert found["subsets"] == len(shares)
            if few:
                assert found["low"] == pytest.approx(min(shares))
                assert found["high"] == pytest.approx(max(shares))
            else:
                assert found[["low", "high"]].isna().all()
    votes = stacked(BITS).sum(axis=0)
    for k in range(6):
        found = table.loc[("exactly", k)]
        assert found["share"] == found["low"] == found["high"] == np.mean(votes == k)
    assert (table["n"] == len(votes)).all()
    assert len(table) == 6 + 5 + 5


def test_what_chance_expects_is_what_shuffling_gives():
    """Each mask keeps as many weights of each matrix, at random."""
    rng = np.random.default_rng(1)
    table = sharing_table(MASKS).set_index(["operation", "languages"])
    tables = []
    for _ in range(150):
        shuffled = {
            code: packed({name: rng.permuted(x.ravel()) for name, x in bits.items()})
            for code, bits in BITS.items()
        }
        found = sharing_table(shuffled).set_index(["operation", "languages"])
        np.testing.assert_allclose(found["expected"], table["expected"])
        tables.append(found["share"])
    np.testing.assert_allclose(np.mean(tables, axis=0), table["expected"], atol=0.01)
    assert table.loc[("intersection", 5), "share"] > 3 * table.loc[("intersection", 5), "expected"]


def test_one_language_shares_all_with_itself():
    table = sharing_table({"en": MASKS["en"]}).set_index(["operation", "languages"])
    share = stacked(["en"]).mean()
    for operation in ("intersection", "union", "exactly"):
        assert table.loc[(operation, 1), "share"] == pytest.approx(share)
        assert table.loc[(operation, 1), "expected"] == pytest.approx(share)


def test_tables_of_every_seed_and_task():
    masks = {
        Ticket(seed, variant, task, code): mask
        for seed in (1, 2)
        for task in ("mlm", "ner")
        for variant in ("ticket", "repeat")
        for code, mask in list(MASKS.items())[seed:]  # other languages in each
    }
    table = sharing_tables(masks)
    assert len(table) == 2 * (5 + 4 + 4) + 2 * (4 + 3 + 3)
    found = table[(table["seed"] == 2) & (table["task"] == "ner")]
    expected = sharing_table({code: MASKS[code] for code in ("ru", "zh", "ar")})
    pd.testing.assert_frame_equal(found[expected.columns].reset_index(drop=True), expected)


def test_other_architectures_are_refused():
    fewer = {name: matrix for name, matrix in MASKS["de"].items() if "ffn" not in name}
    with pytest.raises(BabelscopeError, match=r"en and de .*ffn-in is there .* missing"):
        shared_masks({"en": MASKS["en"], "de": fewer})


def test_what_is_shared_is_for_the_network_the_masks_are_for(tmp_path):
    """Masks of a model with another vocabulary fit by shape and must be refused by name."""
    bits = {"layer.0.q": np.eye(3, dtype=bool)}
    places = {"layer.0.q": Place("encoder", 0, "q")}
    masks = {}
    for language, network in (("en", "bert with 9 tokens"), ("de", "bert with 9 tokens")):
        WeightMask(bits, places, network).save(tmp_path / language)
        masks[language] = PackedMask(tmp_path / language)
    assert {mask.network for mask in shared_masks(masks)} == {"bert with 9 tokens"}
