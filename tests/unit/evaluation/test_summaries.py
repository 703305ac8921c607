import numpy as np
import pandas as pd
import pytest

from babelscope.evaluation import summaries
from babelscope.representations.cka import cka_table, linear_cka
from babelscope.representations.comparisons import Side, pairs_of, sides_of

LANGUAGES = ["ru", "en", "zh"]  # the pivot is not the first


def similarity(comparison, value=0.5, error=0.01, measure="cka", estimators=("unbiased",)):
    rows = [
        {
            "seed": 1,
            "comparison": comparison,
            "measure": measure,
            "estimator": estimator,
            "left_language": pair.left.language,
            "left_layer": left,
            "right_language": pair.right.language,
            "right_layer": right,
            "value": value + number / 10,
            "standard_error": error,
            "low": value + number / 10 - 2 * error,
            "high": value + number / 10 + 2 * error,
        }
        for pair in pairs_of(comparison, LANGUAGES, "en")
        for left in range(3)
        for right in (range(3) if pair.all_layers else [left])
        for number, estimator in enumerate(estimators)
    ]
    return pd.DataFrame(rows)


def test_curves_are_named_after_the_language_that_is_not_the_pivot():
    curves = summaries.layer_curves(similarity("languages"), "languages", "en", {"cka": "CKA"})
    assert set(curves["language"]) == {"ru", "zh"}  # ru and zh are no pair with the pivot
    assert curves.groupby("language")["layer"].apply(list).tolist() == [[0, 1, 2]] * 2


def test_directions_are_seen_from_the_pivot():
    """In the pair of ru and en the pivot is on the right: forward starts at the other language."""
    table = similarity("languages", measure="retrieval_error", estimators=("forward", "backward"))
    turned = {"left_language": "right_language", "right_language": "left_language"}
    with_ru = table["right_language"] == "ru"
    table = pd.concat([table[~with_ru], table[with_ru].rename(columns=turned)])
    panels = {"retrieval_error.forward": "from", "retrieval_error.backward": "to"}
    curves = summaries.layer_curves(table, "languages", "en", panels)
    start = curves[curves["layer"] == 0].set_index(["language", "panel"])["value"]
    assert start["ru", "from"] == pytest.approx(0.6)
    assert start["ru", "to"] == pytest.approx(0.5)
    assert start["zh", "from"] == pytest.approx(0.5)


def test_curves_are_those_of_one_pooling():
    """Else two ways to pool would be averaged as if they were two seeds."""
    mean = similarity("languages", measure="retrieval_error", estimators=("forward",))
    first = mean.assign(pooling="first", value=mean["value"] + 0.3)
    both = pd.concat([mean.assign(pooling="mean"), first]).assign(corpus="demo")
    panels = {"retrieval_error": "error"}
    chosen = summaries.of_corpus(both, corpus="demo", pooling="mean")
    pd.testing.assert_frame_equal(
        summaries.layer_curves(chosen, "languages", "en", panels),
        summaries.layer_curves(mean, "languages", "en", panels),
    )
    with pytest.raises(ValueError, match="several poolings: mean, first"):
        summaries.layer_curves(both, "languages", "en", panels)
    maps = similarity("layers")
    both = pd.concat([maps.assign(pooling=one) for one in ("mean", "first")])
    with pytest.raises(ValueError, match="several poolings"):
        summaries.layer_maps(both, "cka", "unbiased")


def test_tables_without_a_pooling_are_chosen_by_corpus():
    table = pd.DataFrame({"corpus": ["demo", "pud"], "value": [1, 2]})
    chosen = summaries.of_corpus(table, corpus="pud", pooling="mean")
    assert chosen["value"].tolist() == [2]


def test_a_panel_without_rows_is_an_error():
    with pytest.raises(ValueError, match="biased"):
        summaries.layer_curves(similarity("own"), "own", "en", {"cka.biased": "biased"})


def test_maps_have_every_layer_against_every_layer():
    maps = summaries.layer_maps(similarity("layers"), "cka", "unbiased")
    assert len(maps) == 3 * 3 * 3


def test_errors_of_a_difference_come_from_leaving_the_same_block_out_of_both():
    generator = np.random.default_rng(0)
    shared = 0.1 * generator.standard_normal(20)
    own = 0.001 * generator.standard_normal(20)
    first, second = similarity("languages", 0.8, 0.3), similarity("subnetworks", 0.5, 0.3)
    first["left_out"] = [tuple(0.8 + shared)] * len(first)
    second["left_out"] = [tuple(0.5 + shared + own)] * len(second)
    table = pd.concat([first, second]).assign(n=400)
    difference = summaries.layer_differences(
        table, "languages", "subnetworks", "en", "cka", "unbiased"
    )
    assert set(difference["language"]) == {"ru", "zh"}
    assert difference["value"].to_numpy() == pytest.approx(0.3)
    error = np.sqrt(19 / 20 * sum((one - np.mean(own)) ** 2 for one in own))
    assert (difference["high"] - difference["value"]).to_numpy() == pytest.approx(
        2.093 * error, rel=1e-3
    )
    assert (difference["value"] - difference["low"]).to_numpy() == pytest.approx(
        2.093 * error, rel=1e-3
    )
    for column, values, message in (
        ("n", [400] * len(first) + [300] * len(second), "same sentences"),
        ("left_out", [*first["left_out"], *[(0.1, 0.2)] * len(second)], "same blocks"),
    ):
        with pytest.raises(ValueError, match=message):
            summaries.layer_differences(
                table.assign(**{column: values}),
                "languages",
                "subnetworks",
                "en",
                "cka",
                "unbiased",
            )


def test_the_interval_of_a_difference_equals_brute_force():
    """Delete each block from the states themselves, subtract, and take the spread."""
    generator = np.random.default_rng(1)
    shared = generator.standard_normal((60, 4))
    sides = sides_of("languages", LANGUAGES, "en") + sides_of("subnetworks", LANGUAGES, "en")
    states = {side: shared + generator.standard_normal((2, 60, 4)) for side in dict.fromkeys(sides)}
    table = pd.concat(
        cka_table(
            pairs_of(name, LANGUAGES, "en"),
            states,
            blocks=6,
            labels={"corpus": "toy", "seed": 1, "comparison": name},
        )
        for name in ("languages", "subnetworks")
    )
    found = summaries.difference_table(table, [("languages", "subnetworks")], "en")
    row = found.set_index(["language", "layer"]).loc[("zh", 1)]
    full, part = Side("finetuned", "full", "en"), Side("finetuned", "en", "en")
    other, other_part = Side("finetuned", "full", "zh"), Side("finetuned", "zh", "zh")

    def difference(rows):
        return linear_cka(states[full][1][rows], states[other][1][rows]) - linear_cka(
            states[part][1][rows], states[other_part][1][rows]
        )

    every = np.arange(60)
    left_out = np.array([difference(np.delete(every, every[i : i + 10])) for i in range(0, 60, 10)])
    error = np.sqrt(5 / 6 * np.sum((left_out - left_out.mean()) ** 2))
    assert row["value"] == pytest.approx(difference(every), abs=1e-5)
    assert row["high"] - row["value"] == pytest.approx(2.571 * error, rel=1e-3)
    assert row["corpus"] == "toy"


def perplexities():
    whole = {"network": "finetuned", "seed": 1, "budget": "full", "kind": "full"}
    part = whole | {"budget": "half"}
    rows = []
    for number, language in enumerate(LANGUAGES):
        base = 10.0 + number
        rows += [
            whole | {"language": language, "perplexity": base},
            whole | {"network": "base", "language": language, "perplexity": 2 * base},
        ]
        rows += [
            part
            | {"kind": kind, "mask_language": source, "draw": draw, "language": language}
            | {"perplexity": base * ratio, "ratio": ratio}
            for kind, source, draw, ratio in [
                ("language", "ru", 0, 1.2),
                ("language", "ru", 1, 9.0),
                ("random", "ru", 0, 2.0),
                ("random", "zh", 0, 4.0),
                ("union", None, None, 1.1),
            ]
        ]
    table = pd.DataFrame(rows).astype({"draw": "Int64", "ratio": "Float64"})
    spread = {"low": table["perplexity"] - 1, "high": table["perplexity"] + 1}
    table = table.assign(**spread, ratio_low=table["ratio"] - 0.1, ratio_high=table["ratio"] + 0.1)
    kept = table["kind"].map({"language": 4, "random": 4, "union": 6}).astype("Int64")
    return table.assign(kept=kept, heads=kept.where(kept.isna(), 8))


def unigrams():
    values = np.array([100.0, 90.0, 80.0])
    table = pd.DataFrame({"language": LANGUAGES, "perplexity": values})
    return table.assign(low=values - 5, high=values + 5)


def test_a_network_says_how_many_heads_its_masks_keep():
    one, two = perplexities(), perplexities().assign(seed=2)
    two["kept"] = two["kept"].where(two["kind"] != "union", 7)
    table = pd.concat([one, two], ignore_index=True)
    shown = summaries.network_perplexities(table, "half", relative=False)
    sizes = shown[shown["language"] == "zh"].set_index("network")
    sizes = sizes[["kept_least", "kept_most", "heads"]]
    assert sizes.loc["union"].tolist() == [6, 7, 8]
    assert sizes.loc["ru"].tolist() == [4, 4, 8]
    assert sizes.loc["full"].isna().all()


def test_the_first_draw_defines_the_subnetwork_and_random_masks_are_averaged():
    shown = summaries.network_perplexities(perplexities(), "half", relative=True)
    cells = shown[shown["language"] == "zh"].set_index("network")["value"]
    assert cells.to_dict() == pytest.approx({"ru": 1.2, "random": 8**0.5, "union": 1.1})


def test_no_interval_of_a_perplexity_reaches_below_zero():
    """Two seeds leave one degree of freedom, so ± 12.7 standard errors."""
    table = pd.concat([perplexities(), perplexities().assign(seed=2)], ignore_index=True)
    second = (table["seed"] == 2).to_numpy()
    for name in ("perplexity", "low", "high", "ratio", "ratio_low", "ratio_high"):
        table[name] = table[name].where(~second, 1.5 * table[name])
    for relative in (True, False):
        shown = summaries.network_perplexities(table, "half", relative=relative)
        assert (shown["low"] > 0).all()
        assert ((shown["low"] < shown["value"]) & (shown["value"] < shown["high"])).all()
    assert (summaries.finetuning(table, unigrams())["low"] > 0).all()


def test_absolute_perplexities_include_the_full_model_but_not_the_base():
    shown = summaries.network_perplexities(perplexities(), "half", relative=False)
    cells = shown[shown["language"] == "ru"].set_index("network")["value"]
    assert cells["full"] == pytest.approx(10.0)
    assert cells["ru"] == pytest.approx(12.0)


def test_pruning_curves_end_where_the_first_replicate_ends():
    long = {"language": "ru", "draw": 0, "sparsity": [0, 0.2, 0.4], "ratio": [1.0, 1.2, 1.3]}
    short = {"language": "ru", "draw": 1, "sparsity": [0, 0.2], "ratio": [1.0, 2.0]}
    single = {"language": "zh", "draw": 0, "sparsity": [0, 0.2], "ratio": [1.0, 1.1]}
    table = pd.concat([pd.DataFrame(one) for one in (long, short, single)])
    curves = summaries.pruning_curves(table).set_index("language")
    assert curves.loc["ru", "value"].tolist() == pytest.approx([1.0, 1.6])  # not 1.3 at the end
    assert curves.loc["ru", "high"].tolist() == [1.0, 2.0]
    assert curves.loc["zh", "sparsity"].tolist() == [0, 0.2]


def test_before_is_base_and_after_is_finetuned():
    names = {"en": "English", "ru": "Russian", "zh": "Chinese"}
    table = summaries.before_and_after(summaries.finetuning(perplexities(), unigrams()), names)
    assert table["name"].tolist() == ["English", "Russian", "Chinese"]
    assert table["before"].to_numpy() == pytest.approx(2 * table["after"].to_numpy())
    assert (table["after_low"] < table["after"]).all()
    assert table["unigram"].tolist() == pytest.approx([90, 100, 80])
    assert table["unigram_high"].tolist() == pytest.approx([95, 105, 85])


def test_overlap_sets_draws_of_one_language_apart():
    common = {"scope": "all", "expected": 0.3, "z": 2.0, "p": 0.01}
    rows = [
        common | {"left": "ru", "left_draw": 0, "right": "ru", "right_draw": 1, "jaccard": 0.9},
        common | {"left": "en", "left_draw": 0, "right": "ru", "right_draw": 0, "jaccard": 0.5}
        | {"z": 3.0, "p": 0.02},
        common | {"left": "ru", "left_draw": 1, "right": "en", "right_draw": 1, "jaccard": 0.7},
        common | {"left": "ru", "left_draw": 0, "right": "ru", "right_draw": 0, "jaccard": 1.0},
        common | {"left": "ru", "left_draw": 1, "right": "en", "right_draw": 0, "jaccard": 0.1}
        | {"scope": "layer"},
    ]  # fmt: skip
    summary = summaries.overlap_summary(pd.DataFrame(rows), LANGUAGES)
    pairs = summary.set_index(["left", "right"])
    assert pairs.loc[("ru", "ru"), "jaccard"] == pytest.approx(0.9)
    assert pairs.loc[("ru", "en"), "jaccard"] == pytest.approx(0.6)
    assert pairs.loc[("ru", "en"), "excess"] == pytest.approx(0.3)
    assert pairs.loc[("ru", "en"), ["z", "p", "replicates"]].tolist() == [2.5, 0.02, 2]


def test_losses_leave_the_mean_over_languages_out():
    history = pd.DataFrame(
        {
            "run": "base",
            "seed": [1, 1, 1, 2],
            "step": 5,
            "split": ["train", "valid", "valid", "valid"],
            "language": ["all", "all", "ru", "ru"],
            "loss": [3.0, 9.0, 4.0, 5.0],
        }
    )
    curves = summaries.loss_curves(history).set_index("language")
    assert set(curves.index) == {"train", "ru"}
    assert curves.loc["ru", ["value", "low", "high"]].tolist() == [4.5, 4.0, 5.0]


def test_points_take_the_bound_on_the_error_of_a_mean():
    points = pd.DataFrame(
        {
            "seed": 1,
            "left_language": ["en", "ru", "en"],
            "right_language": ["ru", "zh", "zh"],
            "layer": -1,
            "similarity": [0.4, 0.5, 0.6],
            "syntactic_distance": [0.1, 0.2, 0.3],
            "shared_types": [0.4, 0.05, 0.1],
            "token_overlap_sentence_types": [0.5, np.nan, 0.2],
        }
    )
    drawn = summaries.pair_points(points, similarity("languages", error=0.02), "en")
    assert drawn["panel"].value_counts().to_dict() == {
        "syntactic_distance": 3,
        "shared_types": 3,
        "token_overlap": 2,
    }
    assert (drawn["high"] - drawn["value"]).to_numpy() == pytest.approx(2 * 0.02)
    both = drawn[drawn["panel"] == "shared_types"].set_index(["left", "right"])["x"]
    assert both.to_dict() == pytest.approx({("ru", "en"): 40, ("ru", "zh"): 5, ("zh", "en"): 10})
    shared = drawn[drawn["panel"] == "token_overlap"]
    assert shared["x"].tolist() == [50.0, 20.0]
    assert shared[["left", "right"]].to_numpy().tolist() == [["ru", "en"], ["zh", "en"]]


def test_correlations_with_the_pivot_and_over_all_pairs_are_told_apart():
    common = {"layer": 0, "method": "pearson", "low": None, "high": None, "n": 7}
    rows = [
        common | {"predictor": predictor, "scope": scope, "value": value, "p_two_sided": p}
        | {"seed": seed}
        for seed, p in ((1, 0.01), (2, 0.2))
        for predictor, scope, value in (
            ("syntactic_distance", "pairs", -0.5),
            ("syntactic_distance", "pivot", -0.7),
            ("shared_types", "pairs", 0.4),
            ("shared_types", "pivot", 0.6),
            ("token_overlap_sentence_types", "pivot", 0.3),
            ("token_overlap_corpus_types", "pivot", 0.9),
        )
    ]  # fmt: skip
    rows.append(rows[0] | {"method": "spearman", "value": 0.0})
    table = summaries.correlations(pd.DataFrame(rows)).set_index("predictor")
    assert table["value"].to_dict() == pytest.approx(
        {
            "syntactic_distance": -0.5,
            "shared_types": 0.4,
            "syntactic_distance_pivot": -0.7,
            "token_overlap": 0.3,
        }
    )
    assert (table["p"] == 0.2).all()  # the larger one
    assert table["low"].isna().all()
