import logging

import numpy as np
import pytest

from babelscope.errors import BabelscopeError
from babelscope.evaluation.encoders import EvaluationSettings, evaluate_encoder
from babelscope.evaluation.results import EXAMPLE_COLUMNS, PLACE, SCORE_COLUMNS

SETTINGS = EvaluationSettings(resamples=50, seed=2, draws=2, blocks=8)


@pytest.fixture
def corpora(sts, bitext, parallel, topics, reading, mining):
    return {
        "s": ("sts", sts(("en", "en"), ("en", "de"))),
        "b": ("bitext", bitext(("de", "en"), ("ru", "en"))),
        "p": ("parallel", parallel("en", "de", "ru")),
        "t": ("topics", topics("en", "de")),
        "r": ("reading", reading("en", "de")),
        "m": ("mining", mining()),
    }


def evaluate(embed, corpora, languages=("en", "de", "ru"), settings=SETTINGS, **options):
    return evaluate_encoder(
        embed, corpora, languages=languages, pivot="en", settings=settings, **options
    )


def test_rows_are_complete_finite_and_of_the_agreed_columns(made_up, corpora):
    found = evaluate(made_up(noise=0.8), corpora)
    assert list(found.scores) == SCORE_COLUMNS
    assert list(found.examples) == EXAMPLE_COLUMNS
    assert np.isfinite(found.scores[["value", "low", "high"]].to_numpy()).all()
    assert not found.scores.duplicated(PLACE).any()
    assert (found.scores["low"] <= found.scores["high"]).all()
    assert found.scores["n"].min() > 0
    tasks = {"sts", "language_bias", "bitext", "structure", "topics", "reading", "mining"}
    assert set(found.scores["task"]) == tasks
    assert set(found.scores["setting"]) == {"monolingual", "crosslingual", "multilingual"}
    assert found.examples[["prediction", "gold"]].dtypes.tolist() == [np.float64] * 2
    assert np.isfinite(found.examples[["prediction", "gold"]].to_numpy()).all()


def test_a_perfect_encoder_is_perfect(made_up, corpora):
    scores = evaluate(made_up(), corpora).scores
    values = {
        metric: scores["value"][scores["metric"].str.startswith(metric)]
        for metric in ("error", "accuracy", "macro_f1", "f1", "rsim")
    }
    assert (values["error"] == 0).all()
    assert values["rsim"].to_numpy() == pytest.approx(1)
    assert (values["f1"] == 100).all()
    assert (values["macro_f1"] == 100).all()
    dropped = scores["metric"].str.endswith("drop")
    assert set(scores["value"][scores["metric"].str.startswith("accuracy") & ~dropped]) == {100}


def test_the_same_call_gives_the_same_numbers(made_up, corpora):
    one, other = (evaluate(made_up(noise=1.0), corpora) for _ in range(2))
    assert one.scores.equals(other.scores)
    assert one.examples.equals(other.examples)


@pytest.mark.parametrize("name", ["s", "b", "p", "t", "r", "m"])
def test_no_sentence_of_a_corpus_is_embedded_twice(made_up, corpora, name):
    encoder = made_up(noise=0.5)
    evaluate(encoder, {name: corpora[name]})
    asked = [(text, *key) for texts, *key in encoder.calls for text in texts]
    assert len(asked) == len(set(asked))
    assert len({tuple(key) for _, *key in encoder.calls}) >= len(encoder.calls) - 1


def test_alignment_is_asked_for_where_it_makes_a_difference(made_up, corpora):
    encoder = made_up(noise=0.5)
    evaluate(encoder, {"p": corpora["p"], "s": corpora["s"]}, switching=["de"])
    assert {language for _, language, aligned in encoder.calls if aligned} == {"de"}


def test_languages_that_a_corpus_lacks_are_reported(made_up, corpora, caplog):
    caplog.set_level(logging.INFO)
    found = evaluate(made_up(noise=0.5), {"p": corpora["p"]}, languages=["en", "fr", "ru"])
    assert "p: scored in 2 of 3 languages; not in fr" in caplog.text
    assert "p: not asked for in de, left out" in caplog.text
    assert set(found.scores["language1"]) | set(found.scores["language2"]) == {"en", "ru", "all"}


@pytest.mark.parametrize("name", ["s", "b", "p", "t", "r", "m"])
def test_a_corpus_with_nothing_in_the_languages_is_refused(made_up, corpora, name):
    with pytest.raises(BabelscopeError, match=f"{name} has nothing in fr, sw: it is in .*en"):
        evaluate(made_up(), {name: corpora[name]}, languages=["fr", "sw"])


def test_sentences_without_a_translation_are_left_out_and_reported(made_up, parallel, caplog):
    caplog.set_level(logging.WARNING)
    table = parallel("en", "de")
    table.loc[3, "de"] = None
    table.loc[5, "en"] = ""
    found = evaluate(made_up(noise=0.5), {"p": ("parallel", table)}, languages=["en", "de"])
    assert "p: 2 sentences lack a translation, left out" in caplog.text
    assert set(found.scores["n"]) == {38}


def test_a_parallel_corpus_without_the_pivot_needs_all_pairs(made_up, parallel):
    corpora = {"p": ("parallel", parallel("de", "ru"))}
    with pytest.raises(BabelscopeError, match="p is not in en"):
        evaluate(made_up(), corpora)
    every = EvaluationSettings(resamples=50, seed=2, all_pairs=True, blocks=8)
    assert len(evaluate(made_up(noise=0.5), corpora, settings=every).scores) > 0


def test_structure_and_bias_are_of_some_sentences_and_bitext_of_all(made_up, parallel):
    settings = EvaluationSettings(resamples=50, seed=2, blocks=8, sentences=32)
    corpora = {"p": ("parallel", parallel("en", "de"))}
    found = evaluate(made_up(noise=0.5), corpora, settings=settings).scores
    numbers = found.groupby("task")["n"].unique().map(list).to_dict()
    assert numbers == {"bitext": [40], "language_bias": [32], "structure": [32]}


def test_an_unknown_kind_or_margin_is_refused(made_up, corpora):
    with pytest.raises(ValueError, match="x: quiz"):
        evaluate(made_up(), {"x": ("quiz", corpora["s"][1])})
    with pytest.raises(ValueError, match="unknown margin none"):
        EvaluationSettings(resamples=10, seed=1, margin="none")
