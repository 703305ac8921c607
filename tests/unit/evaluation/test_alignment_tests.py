from itertools import product

import numpy as np
import pandas as pd
import pytest

from babelscope.errors import BabelscopeError
from babelscope.evaluation.alignment_summaries import by_prompts
from babelscope.evaluation.alignment_tests import compared, comparisons, gaps
from babelscope.evaluation.comparisons import holm

NETWORKS = ["base", "aligned-contrastive", "aligned-instruction", "aligned-both"]
OPTIONS = {"resamples": 200, "seed": 3}


def outcomes(right, *, network="base", language="de", names="p", **place):
    """Return rows of examples that are right or wrong, with prompts in their own language."""
    fixed = {"model": "m", "seed": 1, "task": "xnli", "corpus": "c", "prompts": "own", "shots": 0}
    fixed |= {"metric": "accuracy", "demonstrations": "0"}
    right = np.asarray(right, int)
    table = pd.DataFrame({"example": [f"{names}{number}" for number in range(len(right))]})
    table = table.assign(prediction=right, gold=1, correct=right.astype(float))
    return table.assign(**fixed | place, network=network, language=language)


def drawn(share, n=60, seed=0):
    return np.random.default_rng(seed).random(n) < share


def test_networks_are_compared_with_the_untouched_one_and_both_with_halves():
    assert compared(NETWORKS) == [
        ("aligned-contrastive", "base"),
        ("aligned-instruction", "base"),
        ("aligned-both", "base"),
        ("aligned-both", "aligned-contrastive"),
        ("aligned-both", "aligned-instruction"),
    ]
    assert compared(["base", "aligned-instruction"]) == [("aligned-instruction", "base")]


def test_prompts_in_the_pivot_count_for_both_kinds():
    rows = pd.DataFrame({"language": ["en", "de", "de", "ru"], "prompt": ["en", "de", "en", "en"]})
    found = by_prompts(rows, ["own", "pivot"], "en")
    assert found[found["prompts"] == "own"]["language"].tolist() == ["en", "de"]
    assert found[found["prompts"] == "pivot"]["language"].tolist() == ["en", "de", "ru"]
    assert "prompt" not in found
    assert by_prompts(rows, ["own"], "en")["prompts"].tolist() == ["own", "own"]


def test_draws_and_seeds_are_averaged_and_the_untouched_network_needs_no_second_seed():
    rng = np.random.default_rng(0)
    rows, right = [outcomes(drawn(0.4), demonstrations=str(draw), shots=3) for draw in (1, 2)], []
    for seed in (1, 2):
        for draw in ("1", "2"):
            right.append(rng.random(60) < 0.5)
            place = {"seed": seed, "demonstrations": draw, "shots": 3}
            rows.append(outcomes(right[-1], network="aligned-both", **place))
    table = comparisons(pd.concat(rows), ["base", "aligned-both"], **OPTIONS)
    assert table["language"].tolist() == ["all", "de"]
    expected = 100 * (np.mean(right) - drawn(0.4).mean())
    assert table["difference"].to_numpy() == pytest.approx([expected, expected])
    assert table["n"].tolist() == [60, 60]
    assert table["shots"].tolist() == [3, 3]


def test_means_over_languages_are_those_of_the_rows_and_no_difference_has_p_1():
    rows = [
        outcomes(drawn(0.5, seed=place), network=network, language=code)
        for place, code in enumerate(("en", "de", "ru"))
        for network in ("base", "aligned-both")
    ]
    better = outcomes(np.ones(60), network="aligned-contrastive", language="en")
    rows += [better, better.assign(language="de"), better.assign(language="ru")]
    table = comparisons(pd.concat(rows), NETWORKS[:2] + NETWORKS[3:], **OPTIONS)
    table = table.set_index(["network", "reference", "language"]).sort_index()
    same = table.loc["aligned-both", "base"]
    assert (same[["difference", "low", "high"]] == 0).to_numpy().all()
    assert (same["p"] == 1).all()
    gain = table.loc["aligned-contrastive", "base"]
    assert gain.loc["all", "difference"] == pytest.approx(gain.drop("all")["difference"].mean())
    assert gain.loc["all", "p_holm"] < 0.001


def test_p_is_corrected_for_what_asks_the_same():
    """Single languages, means, halves and either metric are questions of their own."""
    rows = [
        outcomes(drawn(0.3 + 0.1 * number, seed=place), network=network, language=code, metric=name)
        for number, network in enumerate(NETWORKS)
        for place, code in enumerate(("en", "de"))
        for name in ("accuracy", "accuracy_characters")
    ]
    table = comparisons(pd.concat(rows), NETWORKS, **OPTIONS)
    for single, against, size in ((True, True, 6), (False, True, 3), (True, False, 4)):
        for metric in ("accuracy", "accuracy_characters"):
            part = table[
                (table["metric"] == metric)
                & ((table["language"] != "all") == single)
                & ((table["reference"] == "base") == against)
            ]
            assert len(part) == size
            np.testing.assert_allclose(part["p_holm"], holm(part["p"].to_numpy()))


def test_a_network_with_other_examples_is_named():
    rows = [outcomes(drawn(0.5)), outcomes(drawn(0.5)[:-1], network="aligned-both")]
    with pytest.raises(
        BabelscopeError, match="xnli, c, own, 0, accuracy, de: aligned-both was not"
    ):
        comparisons(pd.concat(rows), ["base", "aligned-both"], **OPTIONS)


def gap_rows(before, after, *, names=None):
    """Return rows of two networks in languages, given what is right in each."""
    return pd.concat(
        outcomes(right, network=network, language=code, names=(names or {}).get(code, "p"))
        for network, by_language in (("base", before), ("aligned-both", after))
        for code, right in by_language.items()
    )


def test_gaps_and_their_changes_are_differences_of_scores():
    before = {code: drawn(share, seed=7) for code, share in (("en", 0.8), ("de", 0.5), ("ru", 0.3))}
    after = before | {"de": drawn(0.7, seed=7)}
    table = gaps(gap_rows(before, after), pivot="en", **OPTIONS).set_index(["network", "language"])
    scores = {code: 100 * right.mean() for code, right in before.items()}
    assert table.loc[("base", "de"), "value"] == pytest.approx(scores["de"] - scores["en"])
    expected = 100 * after["de"].mean() - scores["de"]
    assert table.loc[("aligned-both", "de"), "change"] == pytest.approx(expected)
    assert table.loc[("aligned-both", "ru"), "change"] == 0
    assert table.loc[("aligned-both", "ru"), "p"] == 1
    assert table.loc[("aligned-both", "all"), "change"] == pytest.approx(expected / 2)
    assert table.loc["base", ["change", "change_low", "p", "p_holm"]].isna().to_numpy().all()
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    moved = table.loc[("aligned-both", "de")]
    assert 0 < moved["change_low"] < moved["change"] < moved["change_high"]
    assert moved["p_holm"] == pytest.approx(min(2 * moved["p"], 1))


@pytest.mark.parametrize("names", [None, {"de": "q"}])
def test_p_of_a_change_is_that_of_flipping_all_signs(names):
    """Of each example in all its languages at once."""
    before = {"en": [1, 0, 1, 1, 0, 1], "de": [0, 0, 0, 1, 0, 0]}
    after = {"en": [1, 0, 1, 1, 1, 1], "de": [1, 1, 1, 1, 0, 1]}
    en, de = (np.subtract(after[code], before[code]) / 6 for code in ("en", "de"))
    single = np.concatenate([de, -en]) if names else de - en
    signs = np.array(list(product((-1, 1), repeat=len(single))))
    exact = np.mean(np.abs(signs @ single) >= abs(single.sum()) - 1e-9)
    table = gaps(gap_rows(before, after, names=names), pivot="en", resamples=20_000, seed=3)
    moved = table[table["network"] != "base"]
    assert moved["change"].tolist() == pytest.approx([100 * single.sum()] * 2)
    assert moved["p"].tolist() == pytest.approx([exact] * 2, abs=0.012)


def test_three_examples_prove_nothing():
    rows = gap_rows({"en": [1, 1, 1], "de": [0, 0, 0]}, {"en": [1, 1, 1], "de": [1, 1, 1]})
    moved = gaps(rows, pivot="en", **OPTIONS).query("network != 'base'")
    assert (moved[["change", "change_low", "change_high"]] == 100).to_numpy().all()
    assert (moved["p"] >= 2 / 2**3).all()


def test_translations_are_drawn_together():
    """The same errors in two languages leave no doubt about the gap, others of that number do."""
    right = {"en": drawn(0.6), "de": drawn(0.6)}
    together = gaps(gap_rows(right, right), pivot="en", **OPTIONS)
    assert (together[["value", "low", "high"]] == 0).to_numpy().all()
    apart = gaps(gap_rows(right, right, names={"de": "q"}), pivot="en", **OPTIONS)
    assert (apart["value"] == 0).all()
    assert (apart["high"] - apart["low"] > 20).all()
    assert (apart.loc[apart["network"] != "base", "change_high"] == 0).all()


def test_a_corpus_without_the_pivot_has_no_gap():
    right = {"en": drawn(0.6), "de": drawn(0.5)}
    rows = gap_rows(right, right)
    other = rows[rows["language"] == "de"].assign(corpus="d")
    table = gaps(pd.concat([rows, other]), pivot="en", **OPTIONS)
    assert set(table["corpus"]) == {"c"}
    with pytest.raises(BabelscopeError, match="examples in the pivot, en, and another language"):
        gaps(other, pivot="en", **OPTIONS)
