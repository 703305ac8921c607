import numpy as np
import pandas as pd
import pytest

from babelscope.evaluation import ticket_summaries as summaries

TASKS = {"mlm": "MLM", "ner": "NER"}


def found(task, metric, **columns):
    """Return scores of two seeds after rounds with 100, 90 and 80 % kept."""
    rows = [
        {"seed": seed, "variant": variant, "kept": kept, "stage": stage, "split": split}
        for seed in (1, 2)
        for variant in ("ticket", "random")
        for kept in (100, 90, 80)
        for stage, split in (("trained", "valid"), ("trained", "test"), ("pruned", "valid"))
    ]
    table = pd.DataFrame(rows).assign(task=task, language="de", metric=metric, **columns)
    return table.assign(low=table["value"] * 0.9, high=table["value"] * 1.1)


def test_performance_is_of_test_text_after_training():
    table = found("ner", "f1", value=0.5)
    table.loc[(table["split"] != "test") | (table["stage"] != "trained"), "value"] = 0.1
    shown = summaries.performance(table, "ner")
    assert set(shown["value"].round(6)) == {50.0}  # percent
    assert set(shown["replicates"]) == {2}
    full = shown[shown["variant"] == "full"]
    assert full["kept"].tolist() == [100]
    assert shown[shown["variant"] == "random"]["kept"].tolist() == [100, 90, 80]
    with pytest.raises(ValueError, match="full model"):
        summaries.performance(table[table["kept"] < 100], "ner")


def test_perplexities_of_seeds_are_averaged_by_their_logarithms():
    table = found("mlm", "perplexity", value=0.0)
    table["value"] = table["seed"].map({1: 10.0, 2: 40.0})
    table = table.assign(low=table["value"] / 1.1, high=table["value"] * 1.1)
    shown = summaries.performance(table, "mlm")
    assert shown["value"].tolist() == pytest.approx([20.0] * len(shown))
    one = summaries.performance(table[table["seed"] == 1], "mlm")
    assert one["low"].tolist() == pytest.approx([10 / 1.1] * len(one))  # the bootstrap's interval


def trained(metric="f1", task="ner", compared_with=50):
    """Return every kind of row that a transfer to German has."""
    rows = [
        # kind, mask's task, its language, draw, weights, scored language, value, change
        ("ticket", task, "de", -1, "pretrained", "de", 0.60, 0.0),
        ("ticket", task, "de", -1, "pretrained", "ru", 0.30, 0.0),
        ("ticket", task, "ru", -1, "pretrained", "de", 0.50, -0.10),
        ("ticket", "mlm", "de", -1, "pretrained", "de", 0.55, -0.05),
        ("full", None, None, -1, "pretrained", "de", 0.70, 0.10),
        ("full", None, None, -1, "pretrained", "ru", 0.35, 0.05),
        ("untrained", None, None, -1, "pretrained", "de", 0.58, -0.02),
        ("random", task, "de", 0, "pretrained", "de", 0.40, -0.20),
        ("random", task, "de", 1, "pretrained", "de", 0.30, -0.30),
        ("ticket", task, "de", -1, "random", "de", 0.10, -0.50),
    ]
    names = ["mask_kind", "mask_task", "mask_language", "draw", "weights", "language"]
    table = pd.DataFrame(rows, columns=[*names, "value", "change"])
    table = table.assign(task=task, trained_on="de", metric=metric, seed=1)
    table["kept"] = np.where(table["mask_kind"] == "full", 100, compared_with)
    ends = {"low": table["value"] - 0.02, "high": table["value"] + 0.02}
    ends |= {"change_low": table["change"] - 0.04, "change_high": table["change"] + 0.04}
    return table.assign(compared_with=compared_with, **ends)


def test_a_transfer_is_told_from_its_controls():
    table = pd.concat([trained(), trained(compared_with=20).assign(change=0.9)])
    shown = summaries.transfer(table, "ner", 50).set_index("mask")
    assert shown["change"].round(6).to_dict() == {
        "de": 0,
        "ru": -10,
        "full": 10,
        "untrained": -2,
        "random": -25,  # mean of two masks
        "reinitialized": -50,
    }
    assert shown["value"].round(6)["de"] == 60
    assert shown.loc["ru", ["change_low", "change_high"]].round(6).tolist() == [-14, -6]
    assert shown["replicates"]["random"] == 2


def test_changes_of_perplexity_are_ratios_to_the_own_ticket():
    table = trained(metric="perplexity")
    shown = summaries.transfer(table, "ner", 50).set_index("mask")
    assert shown["change"]["ru"] == pytest.approx(0.5 / 0.6)
    assert shown["change"]["de"] == 1
    assert shown["change_high"]["ru"] == pytest.approx(1 - 0.06 / 0.6)
    clear = trained()["change_high"] < 0  # what is clear as a difference is so as a ratio
    assert (shown["change_high"]["ru"] < 1) == clear[2]


def test_masks_of_other_tasks_are_compared_in_one_language():
    shown = summaries.task_transfer(trained(), 50)
    assert set(shown["mask"]) == {"mlm", "ner", "full", "untrained", "random", "reinitialized"}
    assert shown.set_index("mask")["change"].round(6)["mlm"] == -5
    assert shown.set_index("mask")["change"].round(6)["ner"] == 0  # without those of Russian
    assert len(shown) == 6


def test_zero_shot_shows_full_model_and_own_ticket_and_what_parts_them():
    both = pd.concat([trained(), trained(compared_with=20).assign(value=0.9, change=0.9)])
    shown = summaries.zero_shot(both, "ner", 50)
    cells = shown.set_index(["mask", "trained_on", "language"])["value"].round(6).to_dict()
    assert cells == {
        ("ticket", "de", "de"): 60,
        ("ticket", "de", "ru"): 30,
        ("full", "de", "de"): 70,
        ("full", "de", "ru"): 35,
    }
    assert shown.set_index(["mask", "language"])["change"].round(6)["ticket", "ru"] == 5


LARGEST = (None, "untrained", None, None)
SIDES = ("seed", "variant", "task", "language")


def compared(left, right, relation, jaccard, places=(("all", None, None),), stack="encoder"):
    """Return the overlap of two tickets (seed, variant, task, language) at some places."""
    sides = {f"left_{name}": value for name, value in zip(SIDES, left, strict=True)}
    sides |= {f"right_{name}": value for name, value in zip(SIDES, right, strict=True)}
    return [
        {
            **sides,
            **{"relation": relation, "scope": scope, "layer": layer, "component": component},
            **{"jaccard": jaccard, "expected": 0.2, "z": 9.0},
            "stack": None if scope == "all" else stack,
        }
        for scope, layer, component in places
    ]


def test_two_draws_of_a_language_stand_on_the_diagonal():
    table = pd.DataFrame(
        [
            *compared((1, "ticket", "ner", "ru"), (1, "ticket", "ner", "de"), "language", 0.5),
            *compared((2, "ticket", "ner", "de"), (2, "ticket", "ner", "ru"), "language", 0.4),
            *compared((1, "ticket", "ner", "de"), (1, "repeat", "ner", "de"), "draw", 0.7),
            *compared((1, "ticket", "ner", "de"), (2, "ticket", "ner", "de"), "draw", 0.9),
            *compared((1, "ticket", "mlm", "de"), (1, "ticket", "mlm", "ru"), "language", 0.1),
            *compared((1, "ticket", "ner", "de"), (1, "ticket", "mlm", "de"), "task", 0.1),
            *compared((1, "ticket", "ner", "de"), LARGEST, "untrained", 0.6),
            *compared((1, "ticket", "ner", "ru"), LARGEST, "untrained", 0.8),
            *compared((1, "ticket", "mlm", "de"), LARGEST, "untrained", 0.1),
        ]
    )
    shown = summaries.language_overlap(table, "ner", ["de", "ru"]).set_index(["left", "right"])
    assert shown["jaccard"].round(6).to_dict() == {("de", "ru"): 0.45, ("de", "de"): 0.8}
    assert shown["excess"].round(6)["de", "ru"] == 0.25
    assert shown.loc[("de", "ru"), ["low", "high"]].tolist() == [0.4, 0.5]
    assert shown["untrained"].tolist() == pytest.approx([0.7, 0.7])


def test_tasks_are_compared_within_a_language_beside_two_draws():
    table = pd.DataFrame(
        [
            *compared((1, "ticket", "ner", "de"), (1, "ticket", "mlm", "de"), "task", 0.4),
            *compared((1, "ticket", "mlm", "ru"), (1, "ticket", "ner", "ru"), "task", 0.3),
            *compared((1, "ticket", "ner", "de"), (1, "repeat", "ner", "de"), "draw", 0.7),
            *compared((1, "ticket", "mlm", "de"), (1, "repeat", "mlm", "de"), "draw", 0.9),
            *compared((1, "ticket", "ner", "de"), LARGEST, "untrained", 0.5),
            *compared((1, "ticket", "mlm", "de"), LARGEST, "untrained", 0.6),
        ]
    )
    shown = summaries.task_overlap(table, TASKS).set_index("language")
    assert shown["value"].to_dict() == {"de": 0.4, "ru": 0.3}
    assert set(shown["place"]) == {"MLM – NER"}
    assert shown["ceiling"]["de"] == pytest.approx(0.8)
    assert np.isnan(shown["ceiling"]["ru"])
    assert shown["untrained"]["de"] == pytest.approx(0.55)


PLACES = [("layer", 1, None), ("layer", 2, None), ("component", None, "q")]


@pytest.mark.parametrize("stacks", [("encoder",), ("encoder", "decoder")])
def test_a_layer_s_overlap_is_the_mean_of_the_other_languages(stacks):
    rows = []
    for stack in stacks:
        for other, jaccard in (("ru", 0.4), ("zh", 0.6)):
            pair = (1, "ticket", "ner", "de"), (1, "ticket", "ner", other)
            rows += compared(*pair, "language", jaccard, PLACES, stack)
        pair = (1, "ticket", "ner", "de"), (1, "repeat", "ner", "de")
        rows += compared(*pair, "draw", 0.9, PLACES, stack)
        for language, jaccard in (("de", 0.6), ("zh", 0.8)):
            pair = (1, "ticket", "ner", language), LARGEST
            rows += compared(*pair, "untrained", jaccard, PLACES, stack)
    table = pd.DataFrame(rows)
    shown = summaries.overlap_by_place(table, "layer", TASKS)
    german = shown[shown["language"] == "de"]
    assert german["value"].round(6).unique().tolist() == [0.5]
    assert german[["low", "high"]].drop_duplicates().to_numpy().tolist() == [[0.4, 0.6]]
    assert shown[shown["language"] == "zh"]["value"].unique().tolist() == [0.6]
    assert set(shown["layer"]) == {1, 2}
    assert set(shown["ceiling"]) == {0.9}
    assert set(shown["untrained"].round(6)) == {0.7}
    titles = {"ner": "NER"}
    if len(stacks) > 1:
        titles = {f"ner, {stack}": f"NER, {stack}" for stack in stacks}
    assert summaries.titles_of(shown, TASKS) == titles
    shown = summaries.overlap_by_place(table, "component", TASKS)
    assert set(shown["place"]) == {"q"}
    assert summaries.titles_of(shown, TASKS) == titles


def test_shares_kept_are_those_of_tickets_in_percent():
    rows = [
        {"variant": variant, "scope": scope, "layer": layer, "stack": stack, "share": share}
        for variant, shift in (("ticket", 0.0), ("random", 0.3), ("untrained", 0.2))
        for scope, layer, stack, share in (
            ("all", None, None, 0.5 + shift),
            ("layer", 1, "encoder", 0.4 + shift),
            ("layer", 2, "encoder", 0.6 + shift),
        )
    ]
    table = pd.DataFrame(rows).assign(seed=1, task="ner", language="de", component=None)
    shown = summaries.kept_by_place(table, "layer", TASKS)
    assert shown["value"].tolist() == pytest.approx([40, 60])
    assert set(shown["average"]) == {50}


def test_what_languages_share_keeps_the_range_of_all_seeds():
    rows = [
        {"seed": seed, "operation": operation, "languages": 2, "share": 0.2 + seed / 10}
        for seed in (1, 2)
        for operation in ("intersection", "union", "exactly")
    ]
    table = pd.DataFrame(rows).assign(task="ner", expected=0.1)
    table = table.assign(low=table["share"] - 0.05, high=float("nan"))
    table = table.astype({"low": "Float64", "high": "Float64"})
    shown = summaries.shared_by_languages(table)
    assert shown["operation"].tolist() == ["intersection", "union"]
    assert shown["value"].tolist() == pytest.approx([35, 35])
    assert shown["low"].tolist() == pytest.approx([25, 25])
    assert shown["high"].tolist() == pytest.approx([40, 40])  # unknown ends: the shares themselves


def test_clusters_merge_at_the_mean_distance_of_their_languages():
    """Worked by hand; scipy's average linkage agrees."""
    pairs = pd.DataFrame(
        [
            *[("en", "de", 1.0), ("en", "ru", 4.0), ("en", "zh", 9.0)],
            *[("ru", "de", 5.0), ("zh", "de", 8.0), ("ru", "zh", 7.0)],
        ],
        columns=["left", "right", "distance"],
    )
    found = summaries.merges(pairs)
    assert found.to_numpy().tolist() == [
        ["en", "de", 1.0],
        ["en+de", "ru", 4.5],
        ["en+de+ru", "zh", 8.0],
    ]


def test_merges_agree_with_scipy():
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy")
    rng = np.random.default_rng(3)
    codes = list("abcdefghi")
    left, right = np.triu_indices(len(codes), 1)
    distances = rng.uniform(size=len(left))
    pairs = pd.DataFrame(
        {
            "left": [codes[one] for one in left],
            "right": [codes[one] for one in right],
            "distance": distances,
        }
    )
    heights = hierarchy.average(distances)[:, 2]
    assert summaries.merges(pairs)["height"].tolist() == pytest.approx(heights.tolist())


def test_every_task_and_syntax_have_a_tree():
    points = pd.DataFrame(
        [
            {"seed": seed, "task": task, "left_language": a, "right_language": b, "distance": d}
            for seed in (1, 2)
            for task in ("mlm", "ner")
            for a, b, d in (("en", "de", 0.3), ("en", "ru", 0.5), ("de", "ru", 0.5 + seed / 10))
        ]
    ).assign(syntactic_distance=lambda rows: rows["distance"].round(1) / 2)
    shown = summaries.ticket_points(points.assign(syntactic_distance=[0.1, 0.2, 0.3] * 4))
    assert len(shown) == 6
    assert shown["value"].tolist()[:3] == pytest.approx([0.3, 0.5, 0.65])
    trees = summaries.trees(shown)
    assert trees["panel"].unique().tolist() == ["mlm", "ner", "syntax"]
    assert trees[trees["panel"] == "syntax"]["height"].tolist() == pytest.approx([0.1, 0.25])


def test_one_mantel_test_is_shown_per_task():
    typology = pd.DataFrame(
        [
            ("mlm", "syntactic_distance", "pearson", 0.5, 0.04, 5),
            ("mlm", "syntactic_distance", "spearman", 0.6, 0.03, 5),
            ("mlm", "family", "pearson", 0.1, 0.9, 5),
            ("ner", "syntactic_distance", "pearson", None, None, 5),
        ],
        columns=["task", "predictor", "method", "value", "p_two_sided", "n"],
    )
    shown = summaries.mantel_tests(typology)
    assert shown.to_dict("records")[0] == {"panel": "mlm", "r": 0.5, "p": 0.04, "n": 5}
    assert shown["panel"].tolist() == ["mlm", "ner"]
    assert shown["r"].isna().tolist() == [False, True]


def test_retrieval_is_shown_both_ways_in_three_networks():
    rows = [
        {
            **{"comparison": comparison, "estimator": estimator, "value": value + layer},
            **{"left_language": "en", "right_language": "de"},
            **{"left_layer": layer, "right_layer": layer},
        }
        for comparison, value in (("base-languages", 10), ("tickets", 20), ("pivot-ticket", 30))
        for estimator in ("forward", "backward")
        for layer in (0, 1)
    ]
    table = pd.DataFrame(rows).assign(measure="retrieval_error", seed=1, n=50, pooling="mean")
    table = table.assign(low=table["value"] - 1, high=table["value"] + 1)
    shown = summaries.retrieval_errors(table, "en", "English")
    assert list(dict.fromkeys(shown["panel"])) == [
        "full model,\nfrom English",
        "each language's ticket,\nfrom English",
        "ticket of English,\nfrom English",
        "full model,\nto English",
        "each language's ticket,\nto English",
        "ticket of English,\nto English",
    ]
    assert set(shown["chance"]) == {98.0}
    assert shown["value"].tolist()[:4] == [10, 11, 20, 21]
