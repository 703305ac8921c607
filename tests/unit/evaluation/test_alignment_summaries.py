import numpy as np
import pandas as pd
import pytest

from babelscope.evaluation import alignment_summaries as summaries
from babelscope.evaluation.alignment_summaries import LAYERS, network_curves

WHERE = {"metric": "accuracy", "pivot": "en"}
VALUES = {("base", 1): 40.0, ("aligned-both", 1): 50.0, ("aligned-both", 2): 56.0}
SHIFTS = {"en": 10.0, "de": 0.0, "ru": -4.0}


@pytest.fixture
def scores():
    """Scores with prompts in the own language; two seeds of the trained network."""
    rows = [
        {"network": network, "seed": seed, "language": code, "prompt": code, "shots": shots}
        | {"demonstrations": draws, "value": value + shift + 3 * shots + extra}
        for (network, seed), value in VALUES.items()
        for code, shift in SHIFTS.items()
        for shots, draws, extra in ((0, "0", 0), (3, "1", 7), (3, "2", -7), (3, "all", 0))
    ]
    table = pd.DataFrame(rows).assign(model="m", task="xnli", corpus="c", metric="accuracy")
    return table.assign(low=table["value"] - 5, high=table["value"] + 6, n=90, chance=100 / 3)


def compared_rows(rows):
    """Return tests of the trained network: p_holm by language and shots."""
    table = pd.DataFrame(rows, columns=["language", "shots", "difference", "p_holm"])
    table = table.assign(low=table["difference"] - 3, high=table["difference"] + 2)
    fixed = {"task": "xnli", "corpus": "c", "prompts": "own", "metric": "accuracy"}
    return table.assign(**fixed, network="aligned-both", reference="base")


@pytest.fixture
def tests():
    rows = [(code, shots, 13.0, 0.5) for code in (*SHIFTS, "all") for shots in (0, 3)]
    rows[rows.index(("de", 3, 13.0, 0.5))] = ("de", 3, 13.0, 0.049)
    rows[rows.index(("all", 0, 13.0, 0.5))] = ("all", 0, 13.0, 0.01)
    return compared_rows(rows)


def test_accuracies_are_means_over_seeds_and_draws(scores, tests):
    table = summaries.accuracies(scores, tests, prompts="own", **WHERE)
    pooled = table[table["seed"] == "all"].set_index(["network", "language", "shots"])
    assert len(pooled) == 2 * 3 * 2
    assert pooled.loc[("base", "en", 0), "value"] == 50
    row = pooled.loc[("aligned-both", "de", 3)]
    assert row["value"] == 62
    assert (row["low"], row["high"]) == (57, 68)
    assert row["chance"] == pytest.approx(33.3, abs=0.1)
    assert pooled.index[pooled["star"]].tolist() == [("aligned-both", "de", 3)]


def test_single_seeds_are_shown_where_there_are_several(scores, tests):
    table = summaries.accuracies(scores, tests, prompts="own", **WHERE)
    single = table[table["seed"] != "all"]
    assert set(single["network"]) == {"aligned-both"}
    assert single[["low", "high"]].isna().to_numpy().all()
    assert not single["star"].any()
    one = single[(single["language"] == "ru") & (single["shots"] == 0)]
    assert one.set_index("seed")["value"].to_dict() == {"1": 46, "2": 52}
    first = scores[scores["seed"] == 1]
    table = summaries.accuracies(first, tests, prompts="own", **WHERE)
    assert set(table["seed"]) == {"all"}


def test_what_was_not_scored_is_not_drawn(scores, tests):
    with pytest.raises(ValueError, match="no accuracy_characters with prompts own"):
        place = {"metric": "accuracy_characters", "pivot": "en"}
        summaries.accuracies(scores, tests, prompts="own", **place)


def test_gaps_of_single_seeds_stand_around_the_mean(scores):
    rows = [
        (network, code, shots, shift - 10, p)
        for network, p in (("base", np.nan), ("aligned-both", 0.01))
        for code, shift in (("de", 0), ("ru", -4), ("all", -2))
        for shots in (0, 3)
    ]
    gaps = pd.DataFrame(rows, columns=["network", "language", "shots", "value", "p_holm"])
    fixed = {"task": "xnli", "corpus": "c", "prompts": "own", "metric": "accuracy"}
    gaps = gaps.assign(**fixed, low=gaps["value"] - 1, high=gaps["value"] + 2)
    table = summaries.drawn_gaps(gaps, scores, prompts="own", **WHERE)
    pooled = table[table["seed"] == "all"]
    assert len(pooled) == len(gaps)
    assert set(pooled[pooled["star"]]["network"]) == {"aligned-both"}
    single = table[table["seed"] != "all"]
    assert set(single["network"]) == {"aligned-both"}
    keys = ["network", "language", "shots"]
    means = single.groupby(keys)["value"].mean()
    expected = pooled.set_index(keys)["value"]
    pd.testing.assert_series_equal(means, expected[means.index])
    with pytest.raises(ValueError, match="no gaps with prompts pivot"):
        summaries.drawn_gaps(gaps, scores, prompts="pivot", **WHERE)


def test_changes_are_means_over_languages(scores, tests):
    table = summaries.changes(tests, scores, prompts=["own"], **WHERE)
    pooled = table[table["seed"] == "all"].set_index("shots")
    assert pooled["value"].tolist() == [13, 13]
    assert pooled.loc[0, ["low", "high"]].tolist() == [10, 15]
    assert pooled["star"].tolist() == [True, False]
    single = table[table["seed"] != "all"].set_index(["shots", "seed"])["value"].to_dict()
    assert single == pytest.approx({(0, "1"): 10, (0, "2"): 16, (3, "1"): 10, (3, "2"): 16})


def test_readers_see_networks_and_seeds_side_by_side(scores):
    table = summaries.score_readers(scores)
    assert list(table)[-3:] == ["base.s1", "aligned-both.s1", "aligned-both.s2"]
    row = table[(table["language"] == "ru") & (table["demonstrations"] == "all")].iloc[0]
    assert row[["base.s1", "aligned-both.s2"]].tolist() == [45, 61]


def history(network, seed, values, measure="contrastive"):
    rows = {"step": [10 * number for number in range(len(values))], "value": values}
    return pd.DataFrame(rows).assign(network=network, seed=seed, measure=measure)


def test_histories_are_averaged_over_seeds():
    rows = [
        history("aligned-both", 1, [3.0, 1.0]),
        history("aligned-both", 2, [4.0, 2.0]),
        history("aligned-both", 1, [90.0, 20.0], "retrieval_error"),
        history("aligned-both", 2, [92.0, 24.0], "retrieval_error"),
        history("aligned-instruction", 1, [5.0], "valid_instruction"),
        history("aligned-both", 1, [1e-4], "learning_rate"),
    ]
    table = summaries.history_lines(pd.concat(rows))
    assert set(table["panel"]) == {"contrastive", "instruction", "retrieval_error"}
    keys = ["panel", "network", "split", "seed"]
    lines = {key: part["value"].tolist() for key, part in table.groupby(keys)}
    assert lines == {
        ("contrastive", "aligned-both", "train", "all"): [3.5, 1.5],
        ("retrieval_error", "aligned-both", "valid", "all"): [91, 22],
        ("retrieval_error", "aligned-both", "valid", "1"): [90, 20],
        ("retrieval_error", "aligned-both", "valid", "2"): [92, 24],
        ("instruction", "aligned-instruction", "valid", "all"): [5],
    }
    with pytest.raises(ValueError, match="no measure"):
        summaries.history_lines(rows[-1])


def similarity(measure, estimator, value, *, left="en", right="de", **place):
    row = {"model": "m", "seed": 1, "corpus": "c", "pooling": "mean", "n": 50}
    row |= {"measure": measure, "estimator": estimator, "value": value}
    row |= {"low": value - 1, "high": value + 2, "left_language": left, "right_language": right}
    networks = {"left_network": "base", "right_network": "base", "comparison": "x"}
    layers = {"left_layer": place.pop("layer", 1)}
    return row | networks | layers | {"right_layer": layers["left_layer"]} | place


BOTH = {"left_network": "aligned-both", "right_network": "aligned-both"}


def test_retrieval_is_the_mean_of_both_directions_and_of_seeds():
    rows = [
        similarity("retrieval_error", "forward", 60.0),
        similarity("retrieval_error", "backward", 70.0),
        *(
            similarity("retrieval_error", estimator, value, seed=seed, **BOTH)
            for seed, values in ((1, (10.0, 30.0)), (2, (40.0, 60.0)))
            for estimator, value in zip(("forward", "backward"), values, strict=True)
        ),
    ]
    table = network_curves(pd.DataFrame(rows), "en", LAYERS["retrieval"])
    pooled = table[table["seed"] == "all"].set_index("network")
    assert pooled["value"].to_dict() == {"base": 65, "aligned-both": 35}
    assert pooled.loc["aligned-both", ["low", "high"]].tolist() == [34, 37]
    single = table[table["seed"] != "all"]
    assert single["network"].tolist() == ["aligned-both"] * 2
    assert single["value"].tolist() == [20, 50]
    assert set(table["language"]) == {"de"}


def test_uniformity_is_each_language_s_own_and_the_pivot_s_is_not_counted_twice():
    rows = [similarity("alignment", "mean", 0.5, right=code) for code in ("de", "ru")]
    for code, value in (("de", -2.0), ("ru", -3.0)):
        rows.append(similarity("uniformity", "left", -1.0, right=code))
        rows.append(similarity("uniformity", "right", value, right=code))
    table = network_curves(pd.DataFrame(rows), "en", LAYERS["uniformity"])
    found = table.set_index(["measure", "language"])["value"].to_dict()
    assert found == {
        ("alignment", "de"): 0.5,
        ("alignment", "ru"): 0.5,
        ("uniformity", "en"): -1,
        ("uniformity", "de"): -2,
        ("uniformity", "ru"): -3,
    }


def test_networks_are_compared_with_the_untouched_one_in_each_language():
    place = {"left_network": "base", "right_network": "aligned-both"}
    rows = [
        similarity("cka", "unbiased", 0.3),
        similarity("cka", "biased", 0.9),
        *(similarity("cka", "unbiased", 0.8, left=one, right=one, **place) for one in ("en", "de")),
    ]
    table = network_curves(pd.DataFrame(rows), "en", LAYERS["kept"], within=False)
    assert table["network"].tolist() == ["aligned-both"] * 2
    assert table["language"].tolist() == ["en", "de"]
    assert table["value"].tolist() == [0.8, 0.8]
    table = network_curves(pd.DataFrame(rows), "en", LAYERS["cka"])
    assert table[["network", "value"]].to_numpy().tolist() == [["base", 0.3]]


def test_the_best_layer_is_above_the_embeddings():
    rows = [
        similarity("retrieval_error", estimator, value, layer=layer, right=code, **BOTH)
        for layer, value in enumerate((5.0, 40.0, 20.0, 30.0))
        for code in ("de", "ru")
        for estimator in ("forward", "backward")
    ]
    curves = network_curves(pd.DataFrame(rows), "en", LAYERS["retrieval"])
    assert summaries.best_layer(curves, "aligned-both") == 2


@pytest.mark.parametrize(
    ("pooler", "layer"),
    [("avg-2", 2), ("last-0", 0), ("max", 12), ("avg_bottom", 1), ("avg_first_last", None)],
)
def test_the_layer_of_a_pooler(pooler, layer):
    assert summaries.aligned_layer(pooler, 12) == layer
