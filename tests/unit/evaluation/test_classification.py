import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from babelscope.errors import BabelscopeError
from babelscope.evaluation import classification
from babelscope.evaluation.classification import accuracies, macro_f1s, score_topics
from babelscope.evaluation.embeddings import Embeddings

OPTIONS = {"pivot": "en", "resamples": 100, "seed": 3}


def scored(embed, table, **options):
    return score_topics(Embeddings(embed), "c", table, **(OPTIONS | options))


def values(results):
    return results.scores.set_index(["language1", "language2", "metric"])["value"].to_dict()


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_those_of_scikit_learn_in_every_resample(seed):
    rng = np.random.default_rng(seed)
    gold, predictions = rng.integers(0, 4, 25), rng.integers(0, 5, (3, 25))
    weights = rng.multinomial(25, np.full(25, 1 / 25), size=6)
    for row, counts in enumerate(weights):
        for draw, guesses in enumerate(predictions):
            drawn = np.repeat(gold, counts), np.repeat(guesses, counts)
            expected = f1_score(*drawn, average="macro")
            assert macro_f1s(predictions, gold, weights)[row, draw] == pytest.approx(expected)
            expected = accuracy_score(*drawn)
            assert accuracies(predictions, gold, weights)[row, draw] == pytest.approx(expected)


def test_topics_that_can_be_told_apart_are(made_up, topics):
    found = scored(made_up(noise=0.2), topics("en", "de"))
    assert set(values(found).values()) == {100.0}
    assert found.scores["n"].tolist() == [30] * 6


def test_random_vectors_are_at_chance(made_up, topics):
    found = scored(made_up(known=False), topics("en", n=120))
    accuracy = found.scores.iloc[0]
    assert accuracy["low"] < 100 / 3 < accuracy["high"]


def test_scores_follow_from_the_examples(made_up, topics):
    found = scored(made_up(noise=3.0), topics("en"), draws=3)
    guesses = found.examples["prediction"].to_numpy().reshape(3, 30)
    gold = found.examples["gold"].to_numpy().reshape(3, 30)
    assert (gold == gold[0]).all()
    assert set(gold[0]) == {0, 1, 2}
    expected = np.mean([accuracy_score(gold[0], one) for one in guesses])
    assert values(found)["en", "en", "accuracy"] == pytest.approx(100 * expected)
    expected = np.mean([f1_score(gold[0], one, average="macro") for one in guesses])
    assert values(found)["en", "en", "macro_f1"] == pytest.approx(100 * expected)
    assert 40 < 100 * expected < 100
    assert (guesses[0] != guesses[1]).any()


def test_rotation_scaling_and_order_of_rows_change_nothing(made_up, topics, turn):
    table = topics("en", "de")
    base = values(scored(made_up(noise=2.0), table))
    turned = values(scored(made_up(noise=2.0, turn=turn, scale=40.0), table))
    shuffled = values(scored(made_up(noise=2.0), table.sample(frac=1, random_state=4)))
    assert turned == base
    assert shuffled == base


def test_the_pivot_is_tested_on_the_others_or_every_language_is(made_up, topics):
    table = topics("en", "de", "ru")
    pairs = list(dict.fromkeys(key[:2] for key in values(scored(made_up(noise=1.0), table))))
    assert pairs == [("en", "en"), ("en", "de"), ("en", "ru"), ("de", "de"), ("ru", "ru")]
    found = scored(made_up(noise=1.0), table, all_pairs=True)
    assert len(values(found)) == 2 * 9
    crossed = found.scores["language1"] != found.scores["language2"]
    assert set(found.scores["setting"][crossed]) == {"crosslingual"}
    assert set(found.scores["setting"][~crossed]) == {"monolingual"}


def test_an_offset_of_languages_harms_only_across_them(made_up, topics):
    found = scored(made_up(noise=0.2, offset=6.0), topics("en", "de"))
    assert values(found)["en", "en", "accuracy"] == 100
    assert values(found)["de", "de", "accuracy"] == 100
    assert values(found)["en", "de", "accuracy"] < 80


def test_only_what_is_needed_is_embedded_and_once(made_up, topics):
    encoder = made_up()
    scored(encoder, topics("en", "de"))
    found = {(language, aligned): len(texts) for texts, language, aligned in encoder.calls}
    expected = {("en", False): 60, ("de", False): 60, ("en", True): 30, ("de", True): 30}
    assert found == expected
    assert len(encoder.calls) == 4


def test_one_topic_is_refused(made_up, topics):
    with pytest.raises(BabelscopeError, match="c, de: All training sentences have the topic art"):
        scored(made_up(), topics("de", labels=("art",)))


def test_a_missing_split_or_an_id_twice_is_refused(made_up, topics):
    table = topics("en")
    with pytest.raises(BabelscopeError, match="c, en: There is no split test"):
        scored(made_up(), table[table["split"] == "train"])
    with pytest.raises(BabelscopeError, match="c, en: An id is there twice in the split train"):
        scored(made_up(), table.assign(sent_id="same"))


def test_no_convergence_is_an_error(made_up, topics, monkeypatch):
    monkeypatch.setattr(classification, "ITERATIONS", 1)
    with pytest.raises(BabelscopeError, match="c, en: The logistic regression did not converge"):
        scored(made_up(noise=1.0), topics("en"))


def test_a_constant_encoder_is_refused(topics):
    with pytest.raises(BabelscopeError, match="c, en: The vectors of all training sentences"):
        scored(lambda sentences, language, aligned: np.ones((len(sentences), 4)), topics("en"))
