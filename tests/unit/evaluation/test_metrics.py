import warnings

import numpy as np
import pytest
from seqeval.metrics import f1_score

from babelscope.errors import BabelscopeError
from babelscope.evaluation.metrics import ACCURACY, F1, PERPLEXITY, difference, score, value_of
from babelscope.tasks.ner import count_entities

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
OPTIONS = {"resamples": 400, "seed": 3}


@pytest.mark.parametrize("seed", range(8))
def test_f1_is_that_of_seqeval(seed):
    """Over random tags, ``I-`` without ``B-`` among them, and sentences without an entity."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 12, 30)
    gold, found = ([list(rng.choice(TAGS, n)) for n in lengths] for _ in range(2))
    gold[3] = found[3] = ["O"] * 5
    found[5] = gold[5]
    counts = np.array([count_entities(one, two) for one, two in zip(gold, found, strict=True)])
    assert value_of(F1, counts) == pytest.approx(f1_score(gold, found), abs=1e-12)


def test_f1_is_over_all_entities_and_not_a_mean_over_sentences():
    counts = np.array([[1, 1, 1], [0, 4, 4]])
    assert value_of(F1, counts) == pytest.approx(0.2)


def test_perplexity_is_the_mean_over_tokens_and_not_over_batches():
    counts = np.array([[10.0, 10], [60.0, 20]])
    assert value_of(PERPLEXITY, counts) == pytest.approx(np.exp(70 / 30))


def test_accuracy_and_its_further_columns():
    counts = np.array([[1, 1, 0], [0, 1, 1], [1, 1, 0]])
    assert value_of(ACCURACY, counts) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("metric", "counts"), [(F1, [[0, 0, 0]] * 3), (PERPLEXITY, [[0, 0]]), (ACCURACY, [])]
)
def test_an_undefined_metric_is_named(metric, counts):
    counts = np.array(counts, float).reshape(-1, 3 if metric is F1 else 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BabelscopeError, match=rf"{metric.name} of the test of de.*undefined"):
            value_of(metric, counts, where="the test of de")


def test_an_infinite_perplexity_is_refused():
    with pytest.raises(BabelscopeError, match="perplexity of these examples.*infinite"):
        value_of(PERPLEXITY, np.array([[1e6, 1.0]]))


def test_the_interval_holds_the_value_and_narrows_with_examples():
    rng = np.random.default_rng(0)
    few = np.stack([rng.random(40) < 0.7, np.ones(40)], axis=1).astype(float)
    found = score(ACCURACY, few, **OPTIONS)
    assert found["low"] < found["value"] < found["high"]
    assert found["n"] == 40
    error = np.sqrt(found["value"] * (1 - found["value"]) / 40)
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * error, rel=0.15)
    many = score(ACCURACY, np.repeat(few, 25, axis=0), **OPTIONS)
    assert many["high"] - many["low"] < 0.3 * (found["high"] - found["low"])
    assert score(ACCURACY, few, **OPTIONS) == found


def test_a_difference_is_paired():
    """Examples differ widely, the two networks little: unpaired intervals would hide it."""
    rng = np.random.default_rng(1)
    reference = np.stack([rng.gamma(1.0, 20.0, 60), np.full(60, 10.0)], axis=1)
    counts = reference * [1.05, 1]
    found = difference(PERPLEXITY, counts, reference, **OPTIONS)
    values = value_of(PERPLEXITY, counts), value_of(PERPLEXITY, reference)
    assert found["change"] == pytest.approx(values[0] - values[1])
    assert 0 < found["change_low"] < found["change"] < found["change_high"]
    alone = score(PERPLEXITY, counts, **OPTIONS)
    assert alone["low"] < values[1] < alone["high"]
    same = difference(PERPLEXITY, reference, reference, **OPTIONS)
    assert same == {"change": 0, "change_low": 0, "change_high": 0}


def test_a_difference_of_other_examples():
    with pytest.raises(ValueError, match="cannot be paired"):
        difference(ACCURACY, np.ones((3, 2)), np.ones((4, 2)), **OPTIONS)


def test_undefined_resamples_are_left_out_and_reported(caplog):
    counts = np.array([[1.0, 1, 2], [0, 0, 0], [0, 0, 0]])
    found = score(F1, counts, **OPTIONS)
    assert found["value"] == found["low"] == found["high"] == pytest.approx(2 / 3)
    assert "f1 of these examples is undefined in" in caplog.text


def test_a_single_example_has_no_interval():
    with pytest.raises(BabelscopeError, match="a single example among these examples"):
        score(ACCURACY, np.ones((1, 2)), **OPTIONS)
