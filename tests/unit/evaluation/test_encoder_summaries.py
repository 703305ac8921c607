from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from babelscope.errors import BabelscopeError
from babelscope.evaluation import encoder_summaries as summaries
from babelscope.evaluation.comparisons import compare_methods

KINDS = {  # measure -> task, setting, metric
    "sts.monolingual": ("sts", "monolingual", "spearman"),
    "topics.monolingual": ("topics", "monolingual", "accuracy"),
    "sts.crosslingual": ("sts", "crosslingual", "spearman"),
    "bitext.crosslingual": ("bitext", "crosslingual", "error"),
    "structure.crosslingual": ("structure", "crosslingual", "rsim"),
    "bias.sts": ("language_bias", "multilingual", "spearman_drop"),
}


def score(measure, method, languages, value, corpus="one", seed=1, half=1.0):
    task, setting, metric = KINDS[measure]
    one, other = languages.split("-")
    return {
        **{"seed": seed, "method": method, "task": task, "corpus": corpus, "language1": one},
        **{"language2": other, "setting": setting, "metric": metric, "value": value},
        **{"low": value - half, "high": value + half, "n": 50},
    }


def comparison(
    measure, method, languages, difference, reference="source", corpus="one", reach=(1, 1)
):
    row = score(measure, method, languages, 0.0, corpus)
    row |= {"reference": reference, "difference": difference}
    return row | {"low": difference - reach[0], "high": difference + reach[1]}


def test_corpora_have_equal_weights_whatever_languages_they_have():
    rows = [
        score("sts.monolingual", "source", "de-de", 10.0, "large", half=1),
        score("sts.monolingual", "source", "ru-ru", 20.0, "large", half=3),
        score("sts.monolingual", "source", "de-de", 45.0, "small", half=4),
    ]
    rows.append({**rows[0], "setting": "else", "value": 99.0})
    rows.append({**rows[0], "metric": "spearman_forward", "value": 99.0})
    comparisons = pd.DataFrame([comparison("sts.monolingual", "full-mono", "all-all", 1.0)])
    table = summaries.method_table(
        pd.DataFrame(rows), comparisons, methods=["source"], reference="source"
    )
    row = table.to_dict("records")[0]
    assert (row["value"], row["low"], row["high"]) == (30, 27, 33)
    assert (row["group"], row["corpora"], row["scores"]) == ("monolingual", 2, 3)
    assert np.isnan(row["gain"])


@pytest.mark.parametrize(
    ("measure", "sign"), [("sts.crosslingual", 1), ("bitext.crosslingual", -1), ("bias.sts", -1)]
)
def test_a_gain_is_positive_where_a_method_is_better(measure, sign):
    pair = "all-all" if measure == "bias.sts" else "en-de"
    rows = [score(measure, "source", pair, 50.0), score(measure, "full-mono", pair, 58.0)]
    comparisons = pd.DataFrame([comparison(measure, "full-mono", "all-all", 8.0, reach=(2, 9))])
    table = summaries.method_table(
        pd.DataFrame(rows), comparisons, methods=["source", "full-mono"], reference="source"
    ).set_index("method")
    found = table.loc["full-mono", ["gain", "gain_low", "gain_high"]].tolist()
    assert found == ([8, 6, 17] if sign > 0 else [-8, -17, -6])
    assert summaries.starred(table).to_dict() == {"source": False, "full-mono": True}


def test_seeds_widen_the_interval_of_a_gain_by_their_spread():
    def rows(*values):
        found = [score("sts.monolingual", "source", "de-de", 50.0, seed=seed) for seed in (1, 2, 3)]
        for seed, value in zip((1, 2, 3), values, strict=True):
            found.append(score("sts.monolingual", "full-mono", "de-de", value, seed=seed))
        return pd.DataFrame(found)

    comparisons = pd.DataFrame([comparison("sts.monolingual", "full-mono", "all-all", 4.0)])
    alike, apart = (
        summaries.gains(rows(*values), comparisons, "source", together=True).iloc[0]
        for values in ((54.0, 54.0, 54.0), (51.0, 54.0, 57.0))
    )
    assert alike[["value", "low", "high"]].tolist() == pytest.approx([4, 3, 5])
    assert alike["replicates"] == 3
    assert apart["value"] == pytest.approx(4)
    assert apart["low"] < 1  # the spread alone: 4 - 4.3 * 3 / sqrt(3)


def test_means_and_single_languages_have_their_own_intervals():
    rows = [
        score("sts.monolingual", method, f"{code}-{code}", value)
        for method, shift in (("source", 0.0), ("full-mono", 5.0))
        for code, value in (("de", 40.0), ("ru", 60.0))
    ]
    comparisons = pd.DataFrame(
        [
            comparison("sts.monolingual", "full-mono", "all-all", 0.0, reach=(0.5, 0.5)),
            comparison("sts.monolingual", "full-mono", "de-de", 0.0, reach=(3, 3)),
            comparison("sts.monolingual", "full-mono", "ru-ru", 0.0, reach=(5, 5)),
        ]
    )
    scores = pd.DataFrame(rows)
    together = summaries.gains(scores, comparisons, "source", together=True)
    single = summaries.gains(scores, comparisons, "source", together=False)
    assert (together["high"] - together["value"]).tolist() == [0.5]
    assert (single["high"] - single["value"]).tolist() == [3, 5]
    by_language = summaries.per_language(scores, comparisons).set_index(["method", "language"])
    assert by_language.loc[("full-mono", "ru"), "gain_high"] == 5


def test_a_pair_counts_for_both_of_its_languages():
    rows = [
        score("sts.crosslingual", "source", pair, value)
        for pair, value in (("en-de", 10.0), ("en-ru", 30.0), ("de-ru", 50.0))
    ]
    rows += [
        score("sts.monolingual", "source", "de-de", 70.0),
        score("bias.sts", "source", "all-all", 5),
    ]
    comparisons = pd.DataFrame([comparison("sts.crosslingual", "full-mono", "en-de", 1.0)])
    table = summaries.per_language(pd.DataFrame(rows), comparisons)
    values = table.set_index(["measure", "language"])["value"].to_dict()
    assert values == {
        ("sts.monolingual", "de"): 70,
        ("sts.crosslingual", "en"): 20,
        ("sts.crosslingual", "de"): 30,
        ("sts.crosslingual", "ru"): 40,
    }


def test_methods_on_other_languages_are_not_averaged():
    rows = [score("sts.monolingual", "source", f"{code}-{code}", 1.0) for code in ("de", "ru")]
    rows.append(score("sts.monolingual", "full-mono", "de-de", 9.0))
    with pytest.raises(BabelscopeError, match=r"full-mono has no score of sts.monolingual on one"):
        summaries.scores_by_item(pd.DataFrame(rows))


def test_intervals_end_where_scores_do():
    """Two seeds far apart have an interval by Student's t that no percentage can reach."""
    rows = [
        score("bitext.crosslingual", "source", "en-de", value, seed=seed)
        for seed, value in ((1, 2.0), (2, 40.0))
    ]
    rows += [
        score("sts.crosslingual", "source", "en-de", value, seed=seed)
        for seed, value in ((1, -80.0), (2, -20.0))
    ]
    table = summaries.scores_by_item(pd.DataFrame(rows)).set_index("measure")
    assert table.loc["bitext.crosslingual", ["value", "low", "high"]].tolist() == [21, 0, 100]
    assert table.loc["sts.crosslingual", ["value", "low", "high"]].tolist() == [-50, -100, 100]


def examples(method, seed, language, right, setting="monolingual"):
    rng = np.random.default_rng([seed, len(method)])
    hits = rng.permutation(np.arange(40) < right)
    return pd.DataFrame(
        {
            **{"method": method, "seed": seed, "task": "topics", "corpus": "one"},
            **{"language1": language, "language2": language, "setting": setting},
            **{"metric": "accuracy", "example": [f"e{number}" for number in range(40)]},
            **{"prediction": hits.astype(float), "gold": 1.0},
        }
    )


def test_the_tests_of_the_study_give_the_differences_of_its_scores():
    """From examples to the table: a gain is what the two scores differ by."""
    places = [(m, s, c) for m in ("source", "full-mono") for s in (1, 2) for c in ("de", "ru")]
    right = dict(zip(places, (20, 24, 20, 24, 36, 30, 38, 28), strict=True))
    table = pd.concat([examples(*place, count) for place, count in right.items()])
    table = table.reset_index(drop=True)
    found = compare_methods(table, [("full-mono", "source")], resamples=200, seed=1)
    comparisons = pd.concat([found.means, found.pairs], ignore_index=True)
    scores = pd.DataFrame(
        [
            score("topics.monolingual", method, f"{code}-{code}", 100 * count / 40, seed=seed)
            for (method, seed, code), count in right.items()
        ]
    )
    shown = summaries.method_table(
        scores, comparisons, methods=["source", "full-mono"], reference="source"
    ).set_index("method")
    gain = shown.loc["full-mono", "gain"]
    assert gain == pytest.approx(shown.loc["full-mono", "value"] - shown.loc["source", "value"])
    assert gain == pytest.approx(27.5)
    assert shown.loc["full-mono", "gain_low"] < gain < shown.loc["full-mono", "gain_high"]
    single = summaries.per_language(scores, comparisons).set_index(["method", "language"])["gain"]
    assert single["full-mono", "de"] == pytest.approx(42.5)
    assert single["full-mono", "ru"] == pytest.approx(12.5)


def test_every_method_is_tested_against_what_it_adds_to():
    methods = ["source", "full-mono", "full-cross", "modular-mono", "modular-both"]
    assert summaries.compared(methods) == [
        ("full-mono", "source"),
        ("full-cross", "source"),
        ("modular-mono", "source"),
        ("modular-both", "source"),
        ("modular-both", "modular-mono"),
        ("modular-mono", "full-mono"),
        ("modular-both", "full-cross"),
    ]
    assert summaries.compared(["source", "modular-mono"]) == [("modular-mono", "source")]


def test_strategies_are_compared_with_no_alignment_across_languages():
    methods = ["source", "modular-parallel", "modular-mono", "modular-paraphrase"]
    rows = [
        score(measure, method, pair, 50.0 + number)
        for number, method in enumerate(methods)
        for measure, pair in (("sts.monolingual", "de-de"), ("sts.crosslingual", "en-de"))
    ]
    comparisons = [
        comparison("sts.crosslingual", method, "all-all", 5.0, reference)
        for method in methods[1:]
        for reference in ("source", "modular-mono")
    ]
    table = summaries.strategy_table(pd.DataFrame(rows), pd.DataFrame(comparisons))
    assert table["method"].tolist() == ["modular-mono", "modular-paraphrase", "modular-parallel"]
    assert set(table["measure"]) == {"sts.crosslingual"}
    assert table["gain"].tolist()[1:] == [1, -1]
    alone = pd.DataFrame(rows)[lambda table: table["method"] == "modular-mono"]
    with pytest.raises(ValueError, match="strategies"):
        summaries.strategy_table(alone, pd.DataFrame(comparisons))


def test_a_reader_sees_intervals_and_stars():
    table = pd.DataFrame(
        {
            "measure": ["sts.monolingual", "structure.crosslingual"] * 2,
            "method": ["source", "source", "full-mono", "full-mono"],
            **{"value": [50.04, 0.5, 60.0, 0.6], "low": [49.0, 0.4, 55.0, 0.5]},
            **{"high": [51.0, 0.6, 65.0, 0.7], "gain_low": [None, None, 1.0, None]},
            "gain_high": [None, None, 19.0, None],
        }
    ).astype({"gain_low": float, "gain_high": float})
    assert summaries.main_readers(table).to_dict("records") == [
        {
            "method": "source",
            "sts.monolingual": "50.0 [49.0, 51.0]",
            "structure.crosslingual": "0.500 [0.400, 0.600]",
        },
        {
            "method": "full-mono",
            "sts.monolingual": "60.0* [55.0, 65.0]",
            "structure.crosslingual": "0.600 [0.500, 0.700]",
        },
    ]


def test_the_language_with_the_most_text_comes_first():
    table = pd.DataFrame(
        {
            "measure": ["sts.crosslingual", "sts.monolingual", "sts.monolingual", "bias.sts"],
            **{"method": "full-mono", "language": ["de", "de", "ru", "de"]},
            **{"gain": 1.0, "gain_low": 0.0, "gain_high": 2.0, "value": 9.0},
        }
    )
    sizes = pd.DataFrame(
        [("de", "windows", 5), ("ru", "windows", 9), ("de", "pairs", 90), ("ru", "pairs", 1)],
        columns=["language", "item", "count"],
    )
    shown = summaries.language_gains(table, sizes, "sts", "windows")
    assert shown[["panel", "language", "size"]].to_numpy().tolist() == [
        ["sts.monolingual", "ru", 9],
        ["sts.monolingual", "de", 5],
        ["sts.crosslingual", "de", 5],
    ]
    assert shown["value"].tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match=r"no count of windows for \['ru'\]"):
        summaries.language_gains(table, sizes[sizes["language"] == "de"], "sts", "windows")
    with pytest.raises(ValueError, match="no gains in mining"):
        summaries.language_gains(table, sizes, "mining", "windows")


def test_rsim_meets_the_scores_of_the_same_method_and_pair():
    rows = [
        score("structure.crosslingual", method, pair, rsim)
        for method, shift in (("source", 0.0), ("full-mono", 0.2))
        for pair, rsim in (("en-de", 0.3 + shift), ("en-ru", 0.1 + shift))
    ]
    rows += [
        score("sts.crosslingual", method, pair, value)
        for method, shift in (("source", 0.0), ("full-mono", 30.0))
        for pair, value in (("de-en", 10.0 + shift), ("en-de", 20.0 + shift), ("en-ru", 50.0))
    ]
    points = summaries.transfer_points(pd.DataFrame(rows))
    assert points.to_numpy().tolist() == [
        ["sts.crosslingual", "source", "de", "en", 0.3, 15.0],
        ["sts.crosslingual", "source", "en", "ru", 0.1, 50.0],
        ["sts.crosslingual", "full-mono", "de", "en", 0.5, 45.0],
        ["sts.crosslingual", "full-mono", "en", "ru", pytest.approx(0.3), 50.0],
    ]


def cloud(codes, methods=("source", "full-mono"), pivot=False, seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        (
            *("sts.crosslingual", method, left, right),
            *(shift + rng.normal(), 10 * shift + rng.normal()),
        )
        for shift, method in enumerate(methods)
        for left, right in combinations(codes, 2)
        if not pivot or left == codes[0]
    ]
    return pd.DataFrame(rows, columns=["panel", "method", "left", "right", "x", "value"])


@pytest.mark.parametrize("pivot", [False, True])
def test_correlations_agree_with_a_slow_jackknife(pivot):
    stats = pytest.importorskip("scipy.stats")
    points = cloud("abcdef", pivot=pivot)
    found = summaries.transfer_correlations(points).set_index("kind").loc["all"]
    assert found["r"] == pytest.approx(stats.pearsonr(points["x"], points["value"])[0])
    codes = "bcdef" if pivot else "abcdef"
    estimates = []
    for code in codes:
        rest = points[(points["left"] != code) & (points["right"] != code)]
        estimates.append(stats.pearsonr(rest["x"], rest["value"])[0])
    n = len(codes)
    error = np.sqrt((n - 1) / n * np.sum((np.array(estimates) - np.mean(estimates)) ** 2))
    reach = stats.t.ppf(0.975, n - 1) * error
    assert found["low"] == pytest.approx(max(-1, found["r"] - reach), abs=1e-3)
    assert found["high"] == pytest.approx(min(1, found["r"] + reach), abs=1e-3)
    assert found["languages"] == n


def test_better_methods_do_not_make_a_correlation_within_them():
    points = cloud("abcdefgh").assign(x=lambda rows: rows["x"] + 20 * (rows["method"] == "source"))
    found = summaries.transfer_correlations(points).set_index("kind")["r"]
    assert found["all"] < -0.9
    assert abs(found["within"]) < 0.4


def test_too_few_languages_have_a_correlation_without_an_interval():
    found = summaries.transfer_correlations(cloud("abc", pivot=True))
    assert found["r"].notna().all()
    assert found["low"].isna().all()
    found = summaries.transfer_correlations(cloud("ab"))
    assert found[["r", "low"]].isna().to_numpy().all()


def vectors(languages, apart, seed=0, n=30, d=8):
    """Sentences that differ, in languages that lie apart."""
    rng = np.random.default_rng(seed)
    content = rng.normal(size=(n, d))
    return {
        code: (content + apart * rng.normal(size=d) + 0.1 * rng.normal(size=(n, d))).astype(
            "float32"
        )
        for code in languages
    }


def test_places_are_principal_components_of_unit_vectors():
    decomposition = pytest.importorskip("sklearn.decomposition")
    found = vectors("abc", 1.0)
    shown = summaries.sentence_map({"source": found}, sentences=20, joined=3)
    stacked = np.concatenate([array[:20] for array in found.values()]).astype(float)
    oracle = decomposition.PCA(2).fit(stacked / np.linalg.norm(stacked, axis=1, keepdims=True))
    places = oracle.transform(stacked / np.linalg.norm(stacked, axis=1, keepdims=True))
    for column, axis in zip("xy", places.T, strict=True):
        agreement = np.corrcoef(shown[column], axis)[0, 1]
        assert abs(agreement) == pytest.approx(1)
        assert shown[column].std(ddof=0) == pytest.approx(axis.std())
    shares = shown[["x_share", "y_share"]].drop_duplicates().to_numpy()[0]
    assert shares == pytest.approx(oracle.explained_variance_ratio_)
    assert len(shown) == 60
    assert sorted(shown.loc[shown["joined"], "sentence"].unique()) == [0, 10, 19]


def test_a_rotated_space_looks_the_same():
    found = vectors("abc", 1.0)
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))
    turned = {code: array @ turn for code, array in found.items()}
    shown, other = (
        summaries.sentence_map({"source": each}, sentences=30, joined=1) for each in (found, turned)
    )
    for column in ("x", "y"):
        agreement = np.corrcoef(shown[column], other[column])[0, 1]
        assert abs(agreement) == pytest.approx(1, abs=1e-5)
    assert shown["language_share"][0] == pytest.approx(other["language_share"][0], abs=1e-6)


def test_the_share_of_languages_is_none_where_they_agree_and_all_where_nothing_else_differs():
    alike = vectors("a", 0.0)["a"]
    same = {"a": alike, "b": alike, "c": alike}
    shown = summaries.sentence_map({"source": same}, sentences=30, joined=1)
    assert shown["language_share"][0] == pytest.approx(0, abs=1e-12)
    single = {code: np.tile(array[:1], (5, 1)) for code, array in vectors("abc", 1.0).items()}
    shown = summaries.sentence_map({"source": single}, sentences=30, joined=1)
    assert shown["language_share"][0] == pytest.approx(1)
    near, far = (
        summaries.sentence_map({"source": vectors("abc", apart)}, sentences=30, joined=1)
        for apart in (0.2, 3.0)
    )
    assert near["language_share"][0] < 0.2 < 0.8 < far["language_share"][0]


def test_languages_with_other_sentences_are_refused():
    found = vectors("ab", 1.0)
    with pytest.raises(ValueError, match="source: languages have"):
        summaries.sentence_map(
            {"source": {"a": found["a"], "b": found["b"][1:]}}, sentences=9, joined=1
        )
