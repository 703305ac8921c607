"""Overlap of tickets: known values, the published mistakes, agreement with plain arrays."""

import numpy as np
import pandas as pd
import pytest

from babelscope.errors import BabelscopeError
from babelscope.subnetworks import ticket_overlap
from babelscope.subnetworks.masks import PackedMask, PackedMatrix, Place, WeightMask, pack
from babelscope.subnetworks.overlap import agreement, expected_jaccard, jaccard
from babelscope.subnetworks.sharing import sharing_tables
from babelscope.subnetworks.ticket_overlap import (
    UNTRAINED,
    Ticket,
    count_bits,
    ones_overlap,
    overlap_scores,
    overlap_table,
    size_table,
    sparsity_overlap,
    ticket_pairs,
)

BERT = ("q", "k", "v", "o", "ffn-in", "ffn-out")
MT5 = ("q", "k", "v", "o", "ffn-in", "ffn-gate", "ffn-out")
CROSS = tuple(f"cross-{component}" for component in ("q", "k", "v", "o"))


def layout(stacks, pooler=False):
    """Return places and shapes of a network whose matrices fill no whole bytes."""
    places = [
        Place(stack, layer, component)
        for stack, (layers, components) in stacks.items()
        for layer in range(layers)
        for component in components
    ]
    places += [Place("encoder", -1, "pooler")] * pooler
    shapes = {"ffn-in": (9, 5), "ffn-gate": (9, 5), "ffn-out": (5, 9)}
    return {
        f"{place.stack}.{place.layer}.{place.component}": (
            place,
            shapes.get(place.component, (5, 5)),
        )
        for place in places
    }


def bert(pooler=False):
    return layout({"encoder": (3, BERT)}, pooler)


def mt5():
    return layout({"encoder": (3, MT5), "decoder": (2, MT5 + CROSS)})


def draw(network, density=0.4, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.random(shape) < density for name, (_, shape) in network.items()}


def packed(network, bits):
    return {
        name: PackedMatrix(pack(bits[name]), shape, place)
        for name, (place, shape) in network.items()
    }


def flat(bits, names=None):
    return np.concatenate([bits[name].ravel() for name in names or bits])


def scores_of(network, a, b):
    masks = {"a": packed(network, a), "b": packed(network, b)}
    return overlap_scores(count_bits(masks, [("a", "b")]))


def row(table, scope="all", stack=None, layer=None, component=None):
    found = table[table["scope"] == scope]
    for column, value in (("stack", stack), ("layer", layer), ("component", component)):
        found = found[found[column].isna() if value is None else found[column] == value]
    assert len(found) == 1
    return found.iloc[0]


def test_a_pair_counted_by_hand():
    """Two matrices of 3 and 10 weights: 1 of 3 and 2 of 6 kept by both of those kept by either."""
    network = {
        "x": (Place("encoder", 0, "q"), (1, 3)),
        "y": (Place("decoder", 0, "cross-q"), (2, 5)),
    }
    a = {"x": [[1, 1, 0]], "y": [[1, 1, 1, 1, 0], [0, 0, 0, 0, 0]]}
    b = {"x": [[1, 0, 1]], "y": [[0, 0, 1, 1, 1], [1, 0, 0, 0, 0]]}
    a, b = ({name: np.array(bits, bool) for name, bits in mask.items()} for mask in (a, b))
    table = scores_of(network, a, b)
    whole = row(table)
    assert (whole["n"], whole["kept_left"], whole["kept_right"]) == (13, 6, 6)
    assert whole["jaccard"] == pytest.approx(3 / 9)
    assert whole["agreement"] == pytest.approx((3 + 4) / 13)
    assert row(table, "stack", "encoder")["jaccard"] == pytest.approx(1 / 3)
    assert row(table, "layer-component", "decoder", 0, "cross-q")["jaccard"] == pytest.approx(2 / 6)
    # Of 2 and 2 of 3 weights, 1 (2 of 3 ways; Jaccard 1/3) or 2 (1 of 3; 1) are kept by both.
    x = row(table, "component", "encoder", component="q")
    assert x["expected"] == pytest.approx(2 / 3 * 1 / 3 + 1 / 3)
    assert x["sd"] == pytest.approx(np.sqrt(2 / 3 * 1 / 9 + 1 / 3 - (5 / 9) ** 2))
    assert x["z"] == pytest.approx((1 / 3 - x["expected"]) / x["sd"])
    assert x["p"] == pytest.approx(1)


@pytest.mark.parametrize(
    "network", [bert(), bert(pooler=True), mt5()], ids=["bert", "pooler", "mt5"]
)
def test_every_part_agrees_with_plain_arrays(network):
    a, b = draw(network, 0.4, 1), draw(network, 0.6, 2)
    table = scores_of(network, a, b)
    parts = {
        "all": lambda place: (None, None, None),
        "stack": lambda place: (place.stack, None, None),
        "layer": lambda place: (place.stack, place.layer, None),
        "component": lambda place: (place.stack, None, place.component),
        "layer-component": lambda place: (place.stack, place.layer, place.component),
    }
    seen = 0
    for scope, key_of in parts.items():
        groups = {}
        for name, (place, _) in network.items():
            if place.layer >= 0 or "layer" not in scope:
                groups.setdefault(key_of(place), []).append(name)
        for key, names in groups.items():
            found, left, right = row(table, scope, *key), flat(a, names), flat(b, names)
            assert found["jaccard"] == pytest.approx(jaccard(left, right))
            assert found["agreement"] == pytest.approx(agreement(left, right))
            assert found["n"] == left.size
            assert (found["kept_left"], found["kept_right"]) == (left.sum(), right.sum())
            assert found["ones_overlap"] == found["jaccard"]
            assert found["sparsity_overlap"] == found["agreement"]
            seen += 1
    assert seen == len(table)


def test_a_layer_of_an_mt5_is_more_than_its_last_matrix():
    """The published overlap of a layer starts anew with each matrix: 1.0 here."""
    network = mt5()
    a = draw(network, 0.5, 3)
    b = {name: bits if name.endswith("ffn-out") else ~bits for name, bits in a.items()}
    table = scores_of(network, a, b)
    for stack, layers in (("encoder", 3), ("decoder", 2)):
        for layer in range(layers):
            names = [name for name in a if name.startswith(f"{stack}.{layer}.")]
            last = f"{stack}.{layer}.ffn-out"
            assert jaccard(a[last].ravel(), b[last].ravel()) == 1  # the published value
            expected = jaccard(flat(a, names), flat(b, names))
            assert row(table, "layer", stack, layer)["jaccard"] == pytest.approx(expected)
            assert expected < 0.3


def test_a_pooler_does_not_make_the_last_layer_count_twice():
    network = bert(pooler=True)
    a, b = draw(network, 0.5, 4), draw(network, 0.5, 5)
    for name in a:
        if name.startswith("encoder.2."):
            b[name] = a[name]  # alike in the last layer alone
    masks = {"a": packed(network, a), "b": packed(network, b)}
    right = jaccard(flat(a), flat(b))
    last = [name for name in a if name.startswith("encoder.2.")]
    published = jaccard(flat(a, [*a, *last]), flat(b, [*b, *last]))
    assert published - right > 0.05
    assert ones_overlap(masks) == pytest.approx(right)
    assert row(scores_of(network, a, b))["jaccard"] == pytest.approx(right)
    # The published number follows from the table, as the notes of ones_overlap say.
    table = scores_of(network, a, b)
    parts = [row(table), row(table, "layer", "encoder", 2)]
    some = [(part["kept_left"] + part["kept_right"]) / (1 + part["jaccard"]) for part in parts]
    every = [part["jaccard"] * either for part, either in zip(parts, some, strict=True)]
    assert sum(every) / sum(some) == pytest.approx(published)


def test_published_scores_of_three_masks_with_and_without_pooler():
    network = bert(pooler=True)
    bits = {name: draw(network, density, 6) for name, density in [("a", 0.5), ("c", 0.7)]}
    bits["b"] = draw(network, 0.6, 7)
    masks = {name: packed(network, one) for name, one in bits.items()}
    for pooler in (True, False):
        names = [name for name in network if pooler or "pooler" not in name]
        votes = sum(flat(one, names).astype(int) for one in bits.values())
        assert ones_overlap(masks, pooler=pooler) == pytest.approx(
            np.sum(votes == 3) / np.sum(votes > 0)
        )
        assert sparsity_overlap(masks, pooler=pooler) == pytest.approx(np.mean(votes % 3 == 0))
    with pytest.raises(ValueError, match="undefined"):
        ones_overlap({"a": packed(network, {name: x & False for name, x in bits["a"].items()})})


def test_a_pooler_in_one_mask_alone_is_left_out():
    """Tasks that do not use a pooler do not prune it."""
    with_pooler, without = bert(pooler=True), bert()
    a, b = draw(with_pooler, 0.5, 8), draw(without, 0.5, 9)
    masks = {"a": packed(with_pooler, a), "b": packed(without, b)}
    for one, other in (("a", "b"), ("b", "a")):
        counts = count_bits({one: masks[one], other: masks[other]}, [(one, other)])
        table = overlap_scores(counts)
        expected = jaccard(flat(a, without), flat(b, without))
        assert row(table)["jaccard"] == pytest.approx(expected)
        assert row(table)["n"] == flat(b).size
        assert "pooler" not in set(table["component"].dropna())
        assert ones_overlap({one: masks[one], other: masks[other]}) == pytest.approx(expected)


def test_symmetry_and_invariances():
    network = mt5()
    a, b = draw(network, 0.3, 10), draw(network, 0.5, 11)
    there, back = scores_of(network, a, b), scores_of(network, b, a)
    same = ["jaccard", "agreement", "expected", "sd", "z", "p", "n"]
    np.testing.assert_allclose(there[same].astype(float), back[same].astype(float), rtol=1e-9)
    # The same order of weights in both masks and any order of matrices give the same.
    rng = np.random.default_rng(12)
    orders = {name: rng.permutation(bits.size) for name, bits in a.items()}
    shuffled = [
        {name: bits.ravel()[orders[name]].reshape(bits.shape) for name, bits in mask.items()}
        for mask in (a, b)
    ]
    backwards = dict(reversed(network.items()))
    found = row(scores_of(backwards, *shuffled))
    assert found["jaccard"] == row(there)["jaccard"]
    assert found["z"] == pytest.approx(row(there)["z"])
    own = row(scores_of(network, a, a))
    assert (own["jaccard"], own["agreement"]) == (1, 1)


def test_two_empty_matrices_are_not_compared():
    network = bert()
    a, b = draw(network, 0.5, 13), draw(network, 0.5, 14)
    for mask in (a, b):
        mask["encoder.1.k"][:] = False
    table = scores_of(network, a, b)
    empty = row(table, "layer-component", "encoder", 1, "k")
    assert empty["agreement"] == empty["sparsity_overlap"] == 1
    assert empty[["jaccard", "expected", "sd", "z", "p", "ones_overlap"]].isna().all()
    others = table.drop(empty.name)[["jaccard", "agreement", "expected", "sd", "z", "p"]]
    assert others.notna().all(axis=None)
    assert np.isfinite(others.astype(float)).all(axis=None)


@pytest.mark.parametrize("exact", [0, 10**6])
def test_chance_agrees_with_simulation(monkeypatch, exact):
    """Masks that keep as many of each matrix; the expansion and the exact way."""
    monkeypatch.setattr(ticket_overlap, "EXACT", exact)
    shape = (20, 20)
    network = {
        name: (Place("encoder", 0, name), shape) for name in ("q", "k")
    }  # one keeps many, one few
    rng = np.random.default_rng(15)

    def mask():
        keys = {"q": rng.random(400).argsort() < 300, "k": rng.random(400).argsort() < 60}
        return {name: bits.reshape(shape) for name, bits in keys.items()}

    found = row(scores_of(network, mask(), mask()))
    pairs = [(flat(mask()), flat(mask())) for _ in range(2000)]
    values = np.array([jaccard(a, b) for a, b in pairs])
    assert found["expected"] == pytest.approx(values.mean(), rel=0.003)
    assert found["sd"] == pytest.approx(values.std(), rel=0.06)
    assert found["p"] == pytest.approx(np.mean(values >= found["jaccard"] - 1e-12), abs=0.04)
    # Chance that ignores the matrices would expect less.
    assert found["expected"] > expected_jaccard(800, 360, 360)[0] + 0.1


def test_large_overlaps_are_scored_as_exact_ones(monkeypatch):
    network = bert()
    a, b = draw(network, 0.5, 16), draw(network, 0.5, 17)
    exact = scores_of(network, a, b)
    monkeypatch.setattr(ticket_overlap, "EXACT", 0)
    rough = scores_of(network, a, b)
    for scope, tolerance in (("all", 0.02), ("layer", 0.03)):
        one, other = (table[table["scope"] == scope] for table in (exact, rough))
        for column in ("expected", "sd"):
            np.testing.assert_allclose(one[column], other[column], rtol=tolerance)
        np.testing.assert_allclose(one["z"].astype(float), other["z"].astype(float), atol=0.1)
        np.testing.assert_allclose(one["p"].astype(float), other["p"].astype(float), atol=0.01)


def test_no_probability_is_zero(monkeypatch):
    monkeypatch.setattr(ticket_overlap, "EXACT", 0)
    network = {"x": (Place("encoder", 0, "q"), (100, 100))}
    a = draw(network, 0.5, 18)
    found = row(scores_of(network, a, a))
    assert 0 < found["p"] < 1e-300
    assert found["z"] > 50


def test_a_decoder_in_one_mask_alone_is_left_out():
    """T5 tags words with its encoder, so a ticket of that task has no decoder."""
    whole, encoder = mt5(), layout({"encoder": (3, MT5)})
    a, b, c = draw(whole, 0.5, 1), draw(encoder, 0.5, 2), draw(whole, 0.5, 3)
    masks = {"a": packed(whole, a), "b": packed(encoder, b), "c": packed(whole, c)}
    table = overlap_scores(count_bits(masks, [("a", "b"), ("a", "c")]))
    one, two = (rows for _, rows in table.groupby("pair"))
    assert set(one["stack"].dropna()) == {"encoder"}
    assert set(two["stack"].dropna()) == {"encoder", "decoder"}
    left, right = (np.concatenate([bits[name].ravel() for name in encoder]) for bits in (a, b))
    assert one.iloc[0]["jaccard"] == pytest.approx(jaccard(left, right))
    assert one.iloc[0]["n"] == left.size
    assert ones_overlap(masks) == pytest.approx(
        ones_overlap({name: {key: mask[key] for key in encoder} for name, mask in masks.items()})
    )
    partly = {
        name: matrix for name, matrix in masks["c"].items() if not name.startswith("decoder.1")
    }
    with pytest.raises(BabelscopeError, match=r"decoder.1.q is there in the first and missing"):
        count_bits({"a": masks["a"], "d": partly}, [("a", "d")])


def test_masks_of_other_architectures_are_refused_by_name():
    network = bert()
    bits = draw(network)
    ticket = Ticket(1, "ticket", "mlm", "en")
    other = ticket._replace(language="de")
    fewer = {name: matrix for name, matrix in packed(network, bits).items() if "2.q" not in name}
    masks = {ticket: packed(network, bits), other: fewer}
    with pytest.raises(BabelscopeError, match=r"mlm/en/ticket.*mlm/de/ticket.*encoder\.2\.q.*miss"):
        count_bits(masks, [(ticket, other)])
    turned = {**network, "encoder.0.ffn-in": (Place("encoder", 0, "ffn-in"), (5, 9))}
    bits["encoder.0.ffn-in"] = bits["encoder.0.ffn-in"].T.copy()
    masks[other] = packed(turned, bits)
    with pytest.raises(
        BabelscopeError, match=r"encoder\.0\.ffn-in is 9 x 5 in the first and 5 x 9"
    ):
        count_bits(masks, [(ticket, other)])


def test_bits_after_the_last_weight_do_not_count():
    network = {"x": (Place("encoder", 0, "q"), (3, 7))}
    bits = draw(network)
    clean, dirty = packed(network, bits), packed(network, bits)
    dirty["x"].bits[-1] |= 0b111
    counts = count_bits({"a": clean, "b": dirty}, [("a", "b")])
    assert counts.kept[0] == counts.kept[1] == counts.both[0] == bits["x"].sum()


def test_pairs_and_their_relations():
    tickets = [
        Ticket(seed, variant, task, language)
        for seed in (1, 2)
        for task in ("mlm", "ner")
        for language in ("en", "de", "ru")
        for variant in ("ticket", "repeat", "random")
    ]
    pairs = ticket_pairs(tickets)
    counts = {
        relation: sum(found == relation for found in pairs.values())
        for relation in ("language", "task", "draw")
    }
    # Per seed 2 tasks x 3 pairs of languages and 3 languages x 1 pair of tasks; each of 12
    # tickets with its repeat, and 6 across the seeds.
    assert counts == {"language": 12, "task": 6, "draw": 12 + 6}
    for (a, b), relation in pairs.items():
        assert "random" not in (a.variant, b.variant)
        assert (a.task == b.task) == (relation != "task")
        assert (a.language == b.language) == (relation != "language")
        assert a.seed == b.seed or (relation == "draw" and a.variant == b.variant == "ticket")


def test_tickets_are_compared_with_the_untrained_weights_on_the_right():
    tickets = [
        Ticket(seed, variant, task, language)
        for seed in (1, 2)
        for task in ("mlm", "ner")
        for language in ("en", "de")
        for variant in ("ticket", "repeat", "random")
    ]
    without, pairs = ticket_pairs(tickets), ticket_pairs([UNTRAINED, *tickets])
    added = pairs.keys() - without.keys()
    assert added == {(ticket, UNTRAINED) for ticket in tickets if ticket.variant == "ticket"}
    assert {pairs[pair] for pair in added} == {"untrained"}
    assert {pair: pairs[pair] for pair in without} == without


def test_the_untrained_weights_have_neither_seed_nor_place_in_the_tables():
    network = bert()
    en, de, largest = (draw(network, 0.5, seed) for seed in (1, 2, 3))
    tickets = [Ticket(7, "ticket", "mlm", "en"), Ticket(7, "ticket", "mlm", "de"), UNTRAINED]
    masks = {
        ticket: packed(network, bits)
        for ticket, bits in zip(tickets, (en, de, largest), strict=True)
    }
    pairs = ticket_pairs(tickets)
    counts = count_bits(masks, list(pairs))
    table = overlap_table(counts, pairs)
    assert set(table["scope"]) == set(table.loc[table["relation"] == "untrained", "scope"])
    found = table[(table["relation"] == "untrained") & (table["scope"] == "all")]
    assert found["left_language"].tolist() == ["en", "de"]
    assert found["jaccard"].tolist() == pytest.approx(
        [jaccard(flat(bits), flat(largest)) for bits in (en, de)]
    )
    assert set(found["right_variant"]) == {"untrained"}
    assert found[["right_seed", "right_task", "right_language"]].isna().all(axis=None)
    assert table["left_seed"].tolist() == [7] * len(table)
    assert str(table["left_seed"].dtype) == str(table["right_seed"].dtype) == "Int64"
    sizes = size_table(counts, tickets)
    assert row(sizes[sizes["variant"] == "untrained"])["n_kept"] == flat(largest).sum()
    pd.testing.assert_frame_equal(
        sharing_tables(masks), sharing_tables({one: masks[one] for one in tickets[:2]})
    )


def test_tables_from_files(tmp_path):
    network = mt5()
    places = {name: place for name, (place, _) in network.items()}
    bits = {
        Ticket(1, variant, "mlm", language): draw(network, density, seed)
        for seed, (variant, language, density) in enumerate(
            [
                ("ticket", "en", 0.5),
                ("ticket", "de", 0.4),
                ("repeat", "en", 0.5),
                ("random", "en", 0.2),
            ]
        )
    }
    masks = {}
    for number, (ticket, mask) in enumerate(bits.items()):
        path = tmp_path / f"{number}.safetensors"
        WeightMask(mask, places).save(path)
        masks[ticket] = PackedMask(path)
    pairs = ticket_pairs(list(masks))
    counts = count_bits(masks, list(pairs))
    table = overlap_table(counts, pairs)
    whole = table[table["scope"] == "all"].set_index("relation")
    assert set(whole.index) == {"language", "draw"}
    en, de = (Ticket(1, "ticket", "mlm", language) for language in ("en", "de"))
    found = whole.loc["language"]
    assert (found["left_language"], found["right_language"]) == ("en", "de")
    assert found["jaccard"] == pytest.approx(jaccard(flat(bits[en]), flat(bits[de])))
    assert whole.loc["draw", "right_variant"] == "repeat"
    assert str(table["layer"].dtype) == "Int64"
    sizes = size_table(counts, list(masks))
    assert len(sizes) == 4 * (1 + 2 + 5 + 18 + 21 + 22)
    found = row(sizes[(sizes["variant"] == "random")], "layer", "decoder", 1)
    names = [name for name in network if name.startswith("decoder.1.")]
    kept = flat(bits[Ticket(1, "random", "mlm", "en")], names)
    assert (found["n"], found["n_kept"]) == (kept.size, kept.sum())
    assert found["share"] == pytest.approx(kept.mean())
