from itertools import product

import numpy as np
import pandas as pd
import pytest

from babelscope.errors import BabelscopeError
from babelscope.evaluation.comparisons import bootstrap_p, compare_methods, holm, sign_flip_p
from babelscope.evaluation.encoders import EvaluationSettings, evaluate_encoder
from babelscope.evaluation.resampling import bootstrap_weights
from babelscope.evaluation.results import PLACE

SETTINGS = EvaluationSettings(resamples=60, seed=2, all_pairs=True, draws=2, blocks=8)
OPTIONS = {"resamples": 200, "seed": 5}


@pytest.fixture
def corpora(sts, parallel, topics, reading, mining):
    pairs = [("en", "en"), ("de", "de"), ("en", "de"), ("de", "en")]
    return {
        "s": ("sts", sts(*pairs)),
        "p": ("parallel", parallel("en", "de", "ru")),
        "t": ("topics", topics("en", "de")),
        "r": ("reading", reading("en", "de")),
        "m": ("mining", mining(n=50, translated=25)),
    }


EVALUATED = {}


@pytest.fixture
def evaluated(made_up, corpora):
    """Return the results of encoders by name; each amount of noise is evaluated once."""

    def results(**noise):
        options = {"languages": ["en", "de", "ru"], "pivot": "en", "settings": SETTINGS}
        for amount in noise.values():
            if amount not in EVALUATED:
                encoder = made_up(noise=amount, offset=0.4)
                EVALUATED[amount] = evaluate_encoder(encoder, corpora, **options)
        return {name: EVALUATED[amount] for name, amount in noise.items()}

    return results


def examples_of(results):
    return pd.concat(
        [found.examples.assign(method=name) for name, found in results.items()], ignore_index=True
    )


def test_differences_are_those_of_the_scores(evaluated):
    results = evaluated(source=1.5, better=0.7)
    found = compare_methods(examples_of(results), [("better", "source")], **OPTIONS)
    values = [results[name].scores.set_index(PLACE)["value"] for name in ("better", "source")]
    changes = values[0] - values[1]
    expected = changes[found.pairs.set_index(PLACE).index]
    assert found.pairs["difference"].to_numpy() == pytest.approx(expected.to_numpy())
    metrics = {"spearman", "error", "accuracy_drop", "accuracy", "macro_f1", "f1"}
    assert set(found.pairs["metric"]) == metrics
    assert set(found.means["metric"]) == metrics | {"spearman_drop"}
    assert (found.pairs["low"] <= found.pairs["difference"]).mean() > 0.9
    assert (found.pairs["difference"] <= found.pairs["high"]).mean() > 0.9
    for row in found.means.itertuples():
        same = found.pairs[
            (found.pairs["task"] == row.task)
            & (found.pairs["setting"] == row.setting)
            & (found.pairs["metric"] == row.metric)
        ]
        mean = same["difference"].mean() if len(same) else changes.xs("spearman_drop", level=5)
        assert row.difference == pytest.approx(float(np.mean(mean)))


def test_a_better_encoder_is_found_to_be_better(evaluated):
    found = compare_methods(
        examples_of(evaluated(source=3.0, better=0.7)), [("better", "source")], **OPTIONS
    ).means
    rows = found.set_index(["task", "setting", "metric"])
    for key in (
        ("bitext", "crosslingual", "error"),
        ("sts", "crosslingual", "spearman"),
        ("mining", "crosslingual", "f1"),
        ("topics", "crosslingual", "macro_f1"),
    ):
        row = rows.loc[key]
        sign = -1 if key[2] == "error" else 1
        assert sign * row["difference"] > 0
        assert sign * (row["low"] if sign > 0 else row["high"]) > 0
        assert row["p"] < 0.05
        assert row["p"] <= row["p_holm"] <= 1


def test_a_method_does_not_differ_from_itself(evaluated):
    found = evaluated(source=1.5)
    rows = compare_methods(
        examples_of({"source": found["source"], "copy": found["source"]}),
        [("copy", "source")],
        **OPTIONS,
    )
    for table in rows:
        assert (table[["difference", "low", "high"]] == 0).to_numpy().all()
        assert (table[["p", "p_holm"]] == 1).to_numpy().all()


def test_exchanging_methods_changes_signs_alone(evaluated):
    examples = examples_of(evaluated(source=1.5, better=0.7))
    one = compare_methods(examples, [("better", "source")], **OPTIONS).pairs
    other = compare_methods(examples, [("source", "better")], **OPTIONS).pairs
    assert one["difference"].to_numpy() == pytest.approx(-other["difference"].to_numpy())
    assert one["low"].to_numpy() == pytest.approx(-other["high"].to_numpy())
    assert one["p"].to_numpy() == pytest.approx(other["p"].to_numpy())


def test_order_of_rows_changes_nothing(evaluated):
    examples = examples_of(evaluated(source=1.5, better=0.7))
    examples = examples[examples["task"] != "topics"]  # rows of one example are its repetitions
    one = compare_methods(examples, [("better", "source")], **OPTIONS).pairs
    shuffled = examples.sample(frac=1, random_state=1)
    other = compare_methods(shuffled, [("better", "source")], **OPTIONS).pairs
    changes = [table.set_index(PLACE)["difference"] for table in (one, other)]
    assert changes[0].to_dict() == pytest.approx(changes[1].to_dict())


def outcomes(method, values, seed=1, **place):
    """Return the rows of errors, 1 for an error."""
    fixed = {"task": "bitext", "corpus": "c", "language1": "en", "language2": "de"}
    fixed |= {"setting": "crosslingual", "metric": "error_forward", "gold": 1.0}
    names = [f"p{number}" for number in range(len(values))]
    table = pd.DataFrame({"example": names, "prediction": 1 - np.asarray(values, float)})
    return table.assign(**fixed | place, method=method, seed=seed, model="m")


def test_seeds_are_averaged_and_models_are_told_apart():
    rng = np.random.default_rng(0)
    errors = {name: rng.random((2, 50)) < 0.5 for name in ("a", "b")}
    rows = [
        outcomes(name, errors[name][number], seed=number) for name, number in product("ab", (0, 1))
    ]
    other = pd.concat([outcomes("a", errors["b"][0]), outcomes("b", errors["b"][0])])
    found = compare_methods(pd.concat([*rows, other.assign(model="n")]), [("a", "b")], **OPTIONS)
    assert found.pairs["model"].tolist() == ["m", "n"]
    expected = 100 * (errors["a"].mean() - errors["b"].mean())
    assert found.pairs["difference"].tolist() == pytest.approx([expected, 0])
    assert found.pairs["n"].tolist() == [50, 50]


def test_a_pair_that_one_seed_mined_counts_for_that_seed():
    """Seed 0 mines two of two gold pairs, seed 1 one of them and a wrong one: F1 1 and 0.5."""
    place = {"task": "mining", "metric": "f1"}

    def mined(method, seed, names, gold):
        table = outcomes(method, np.zeros(len(names)), seed=seed, **place)
        given = [float("x" not in name) for name in names]
        return table.assign(example=[n.strip("x") for n in names], prediction=given, gold=gold)

    rows = [
        mined("a", 0, ["p0", "p1"], [1.0, 1.0]),
        mined("a", 1, ["p0", "p1x", "p2"], [1.0, 1.0, 0.0]),
        mined("b", 0, ["p0x", "p1x"], [1.0, 1.0]),
    ]
    found = compare_methods(pd.concat(rows), [("a", "b")], **OPTIONS).pairs
    assert found["difference"].iloc[0] == pytest.approx(75)


def test_translations_of_one_sentence_are_drawn_together():
    """With the same errors in ten languages, the mean over them is as uncertain as one of them."""
    errors = np.random.default_rng(1).random(80) < 0.4
    rows = [
        outcomes(name, values, language2=f"l{number}")
        for number in range(10)
        for name, values in (("a", errors), ("b", np.zeros(80)))
    ]
    found = compare_methods(pd.concat(rows), [("a", "b")], **OPTIONS)
    width = (found.pairs["high"] - found.pairs["low"]).iloc[0]
    assert (found.means["high"] - found.means["low"]).iloc[0] == pytest.approx(width)
    assert found.means["n"].iloc[0] == 80


def test_p_of_chance_is_rarely_small():
    """Of 60 comparisons of encoders that differ by chance alone, few are below 0.1."""
    rng = np.random.default_rng(4)
    below = 0
    for trial in range(60):
        rows = pd.concat([outcomes(name, rng.random(40) < 0.3) for name in ("a", "b")])
        found = compare_methods(rows, [("a", "b")], resamples=200, seed=trial).pairs
        below += int(found["p"].iloc[0] < 0.1)
    assert 0 < below <= 13


@pytest.mark.parametrize("seed", range(4))
def test_sign_flips_come_to_the_exact_p(seed):
    differences = np.random.default_rng(seed).integers(-3, 5, 10).astype(float)
    signs = np.array(list(product((-1, 1), repeat=10)))
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9)
    assert sign_flip_p(differences, flips=20_000, seed=seed) == pytest.approx(exact, abs=0.012)


def test_beyond_all_draws_p_is_that_of_the_normal_distribution():
    few = sign_flip_p(np.ones(40), flips=500, seed=1)
    assert few == pytest.approx(2.5e-10, rel=0.05)  # 40 ** 0.5 standard deviations
    resampled = np.random.default_rng(0).normal(6, 1, 500)
    assert bootstrap_p(6.0, resampled, n=60) == pytest.approx(2e-9, rel=0.9)
    assert sign_flip_p(np.ones(3), flips=500, seed=1) > 0.2


def test_bootstrap_p_counts_the_other_side_of_zero():
    resampled = np.concatenate([np.full(19, -1.0), np.full(980, 2.0), [np.nan]])
    assert bootstrap_p(2.0, resampled, n=60) == pytest.approx(2 * 20 / 1000)
    assert bootstrap_p(0.0, np.zeros(99), n=9) == 1
    assert bootstrap_p(1.0, np.full(99, np.nan), n=9) == 1


@pytest.mark.parametrize("last", [1.0, 0.5, 2.0, 0.0])
@pytest.mark.parametrize("n", [1, 3, 6, 8])
def test_few_examples_give_no_p_below_that_of_all_sign_flips(n, last):
    """The bootstrap's deviation of a few examples that differ alike is small, or 0."""
    differences = np.array([1.0] * n + [last])
    resampled = bootstrap_weights(n + 1, 1000, 0) @ differences / (n + 1)
    assert bootstrap_p(differences.mean(), resampled, n=n + 1) >= 2 / 2 ** (n + 1)
    flips = sign_flip_p(differences, flips=20, seed=0)
    assert flips >= 2 / 2 ** np.count_nonzero(differences)


def test_a_score_that_no_resample_changes_has_the_least_p():
    """All four gold pairs are mined by one method and none by the other: F1 100 and 0."""
    place = {"task": "mining", "metric": "f1"}
    rows = [outcomes("a", np.zeros(4), **place), outcomes("b", np.ones(4), **place)]
    found = compare_methods(pd.concat(rows), [("a", "b")], **OPTIONS).pairs.iloc[0]
    assert (found["difference"], found["low"], found["high"]) == pytest.approx((100, 100, 100))
    assert found["p"] == 2 / 2**4


def test_holm_is_that_of_his_paper_by_hand():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.5])) == pytest.approx([1, 1])


def test_no_comparison_gives_empty_tables():
    found = compare_methods(outcomes("a", [0, 1, 0]), [], **OPTIONS)
    assert [len(table) for table in found] == [0, 0]
    assert list(found.pairs)[-4:] == ["p", "p_holm", "test", "n"]


def test_a_missing_method_is_named(evaluated):
    with pytest.raises(BabelscopeError, match="no examples of other"):
        compare_methods(examples_of(evaluated(source=1.5)), [("other", "source")], **OPTIONS)


def test_other_examples_are_refused():
    rows = [outcomes("a", [0, 1, 0]), outcomes("b", [0, 1])]
    with pytest.raises(BabelscopeError, match="en, de: b was not given the same examples as a"):
        compare_methods(pd.concat(rows), [("a", "b")], **OPTIONS)
    rows = [outcomes("a", [0, 1, 0]), outcomes("b", [0, 1, 0], language2="ru")]
    with pytest.raises(BabelscopeError, match="en, de: b was not given the same examples as a"):
        compare_methods(pd.concat(rows), [("a", "b")], **OPTIONS)


def test_other_right_answers_are_refused():
    rows = [outcomes("a", [0, 1, 0]), outcomes("b", [0, 1, 0]).assign(gold=0.0)]
    with pytest.raises(BabelscopeError, match="what is right of an example differs"):
        compare_methods(pd.concat(rows), [("a", "b")], **OPTIONS)
