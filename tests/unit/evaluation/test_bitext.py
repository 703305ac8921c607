import logging

import faiss
import numpy as np
import pandas as pd
import pytest

from babelscope.errors import BabelscopeError
from babelscope.evaluation.bitext import best_threshold, mine, score_bitext, score_mining
from babelscope.evaluation.embeddings import Embeddings
from babelscope.representations.retrieval import margin_retrieval, wilson

MINING = {"pivot": "en", "resamples": 200, "seed": 3}


def scored(embed, table, **options):
    return score_bitext(Embeddings(embed), "c", table, **({"pivot": "en"} | options))


def mined(embed, table, **options):
    return score_mining(Embeddings(embed), "c", table, **(MINING | options))


def values(results):
    return results.scores.set_index("metric")["value"].to_dict()


def test_a_perfect_encoder_makes_no_error_and_its_interval_has_a_width(made_up, bitext):
    found = scored(made_up(), bitext(("de", "en")))
    assert set(values(found).values()) == {0.0}
    assert found.scores["high"].to_numpy() == pytest.approx(100 * wilson(0, 30)[1])
    assert (found.examples["prediction"] == 1).all()


def test_chance_is_one_in_all(made_up, bitext):
    found = scored(made_up(known=False), bitext(("de", "en"), n=100), margin="distance")
    assert found.scores["low"].max() < 99 < found.scores["high"].min()


@pytest.mark.parametrize("margin", ["absolute", "distance", "ratio"])
def test_errors_are_those_of_margin_retrieval_from_the_pivot(made_up, bitext, margin):
    encoder, table = made_up(noise=1.2), bitext(("de", "en"), n=60)
    found = scored(encoder, table, margin=margin, k=3)
    english = encoder(table["sentence2"], "en", True)
    german = encoder(table["sentence1"], "de", True)
    expected = margin_retrieval(english, german, margin=margin, k=3)
    assert values(found) == pytest.approx(
        {
            "error_forward": expected.error_forward,
            "error_backward": expected.error_backward,
            "error": (expected.error_forward + expected.error_backward) / 2,
        }
    )
    assert 0 < values(found)["error"] < 100
    assert found.scores[["language1", "language2"]].drop_duplicates().values.tolist() == [
        ["en", "de"]
    ]
    forward = found.examples[found.examples["metric"] == "error_forward"]
    assert forward["prediction"].tolist() == expected.forward.tolist()


def test_equal_sentences_are_as_good_as_each_other(made_up, bitext):
    table = bitext(("de", "en"))
    table.loc[5, "sentence1"] = table.loc[6, "sentence1"]
    table.loc[5, "sentence2"] = "en:another way to say c6"
    assert values(scored(made_up(), table))["error_forward"] == pytest.approx(100 / 30)
    table.loc[5, "sentence2"] = table.loc[6, "sentence2"]
    assert values(scored(made_up(), table))["error"] == 0


def test_rotation_scaling_and_order_of_rows_change_nothing(made_up, bitext, turn):
    table = bitext(("de", "en"), ("en", "ru"), n=50)
    base = scored(made_up(noise=1.2), table).scores["value"].tolist()
    turned = scored(made_up(noise=1.2, turn=turn, scale=40.0), table).scores["value"].tolist()
    shuffled = scored(made_up(noise=1.2), table.sample(frac=1, random_state=1)).scores
    assert turned == base
    assert sorted(shuffled["value"]) == sorted(base)


def test_a_pair_of_languages_or_an_id_twice_is_refused(made_up, bitext):
    with pytest.raises(BabelscopeError, match="c: en-de is not a pair of languages, or.*twice"):
        scored(made_up(), bitext(("de", "en"), ("en", "de")))
    with pytest.raises(BabelscopeError, match="c, en-de: an id is there twice"):
        scored(made_up(), bitext(("de", "en")).assign(pair_id="p"))


def test_a_constant_encoder_is_refused(bitext):
    with pytest.raises(BabelscopeError, match="c, en-de: .*the same for all sentences"):
        scored(
            lambda sentences, language, aligned: np.ones((len(sentences), 4)), bitext(("de", "en"))
        )


def proposals(x, y, k, margin):
    """Artetxe & Schwenk (2019), one sentence and one pair at a time."""
    x, y = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (x, y))
    cosines = x @ y.T
    near = [np.sort(matrix, axis=1)[:, -k:].mean(axis=1) for matrix in (cosines, cosines.T)]
    level = (near[0][:, None] + near[1][None]) / 2
    if margin == "absolute":
        margins = cosines
    else:
        margins = cosines - level if margin == "distance" else cosines / level
    found = set()
    for i in range(len(x)):
        among = np.argsort(-cosines[i])[:k]
        found.add((i, int(among[np.argmax(margins[i, among])])))
    for j in range(len(y)):
        among = np.argsort(-cosines[:, j])[:k]
        found.add((int(among[np.argmax(margins[among, j])]), j))
    taken, left, right = [], set(), set()
    for i, j in sorted(found, key=lambda pair: -margins[pair]):
        if i not in left and j not in right:
            taken.append((i, j))
            left.add(i)
            right.add(j)
    return taken, [margins[pair] for pair in taken]


@pytest.mark.parametrize("margin", ["absolute", "distance", "ratio"])
@pytest.mark.parametrize(("n", "m"), [(40, 25), (7, 60), (3, 2)])
@pytest.mark.parametrize("shared", [1, 3000])  # then cosines differ by 1e-6 only
@pytest.mark.parametrize("from_products", [False, True])  # as faiss works out those of many rows
def test_mined_pairs_are_those_of_a_loop(n, m, margin, shared, from_products, monkeypatch):
    if from_products:
        monkeypatch.setattr(faiss.cvar, "distance_compute_blas_threshold", 1)
    rng = np.random.default_rng(n)
    x, y = rng.standard_normal((n, 8)) + 1, rng.standard_normal((m, 8)) + 1
    x[:, 0] += shared
    y[:, 0] += shared
    first, second, scores = mine(x, y, k=min(4, n, m), margin=margin)
    pairs, margins = proposals(x, y, min(4, n, m), margin)
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == pairs
    assert scores == pytest.approx(np.array(margins), abs=1e-6)


def test_no_sentence_is_mined_twice():
    rng = np.random.default_rng(0)
    found = mine(rng.standard_normal((300, 6)) + 1, rng.standard_normal((200, 6)) + 1)
    for side in (found.first, found.second):
        assert len(np.unique(side)) == len(side)
    assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize("seed", range(10))
def test_the_threshold_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 12, 30) / 4 + 1
    gold = rng.random(30) < 0.4
    scores[:3], gold[:3] = -np.inf, True

    def f1(threshold):
        kept = scores >= threshold
        return 2 * (kept & gold).sum() / (kept.sum() + gold.sum())

    threshold = best_threshold(scores, gold)
    assert f1(threshold) == pytest.approx(max(f1(one) for one in np.unique(scores[3:])))
    assert np.isfinite(threshold)


def test_a_perfect_encoder_mines_all_translations_and_no_other_pair(made_up, mining):
    found = mined(made_up(), mining())
    row = found.scores.iloc[0]
    assert (row["metric"], row["value"], row["high"], row["n"]) == ("f1", 100, 100, 15)
    assert (row["language1"], row["language2"]) == ("en", "de")
    assert found.examples["example"].iloc[0].split()[0].startswith("test1-")


def test_f1_is_that_of_the_examples(made_up, mining):
    found = mined(made_up(noise=1.0), mining(n=60, translated=30))
    given, gold = (found.examples[name].to_numpy() for name in ("prediction", "gold"))
    value = found.scores["value"].iloc[0]
    assert value == pytest.approx(200 * (given * gold).sum() / (given.sum() + gold.sum()))
    assert gold.sum() == 30
    assert 0 < value < 100
    assert found.scores["low"].iloc[0] < value < found.scores["high"].iloc[0]


def test_the_threshold_comes_from_the_training_split_alone(made_up, mining, caplog):
    caplog.set_level(logging.INFO)
    table = mining(n=60, translated=30)
    other = table.copy()
    other.loc[other["split"] == "test", "partner"] = None
    other.loc[other.index[other["split"] == "test"][:1], "partner"] = "test2-7"
    thresholds = []
    for one in (table, other):
        caplog.clear()
        mined(made_up(noise=1.0), one)
        thresholds.append(caplog.messages)
    assert thresholds[0] == thresholds[1]
    assert "margin of at least" in thresholds[0][0]


def test_equal_sentences_of_a_side_are_one(made_up, mining):
    table = mining()
    again = table[(table["side"] == 1) & (table["split"] == "test")].head(3)
    again = again.assign(sent_id=["again0", "again1", "again2"])
    more = mined(made_up(), pd.concat([table, again], ignore_index=True))
    assert more.scores["value"].iloc[0] == 100
    assert more.scores["n"].iloc[0] == 15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[t["split"] == "test"], "side 1 .de. in the split train"),
        (lambda t: t[(t["split"] == "train") | (t["side"] == 1)], "side 2 .en. in the split test"),
        (lambda t: t.assign(partner=None), "no gold pair"),
        (lambda t: t.assign(partner="nobody"), "partner nobody of the sentence"),
        (lambda t: t.assign(sent_id="same"), "id of side 1 .de. is there twice"),
    ],
)
def test_a_corpus_that_cannot_be_mined(made_up, mining, change, message):
    with pytest.raises(BabelscopeError, match=f"c, en-de: .*{message}"):
        mined(made_up(), change(mining()))


def test_an_encoder_that_finds_no_translation_scores_nothing(made_up, mining, caplog):
    caplog.set_level(logging.WARNING)
    found = mined(made_up(known=False), mining(n=40, translated=1), margin="distance")
    assert found.scores[["value", "low", "high"]].to_numpy().tolist() == [[0, 0, 0]]
    assert "c, en-de: no translation of the train split is among the candidates" in caplog.text
    assert best_threshold(np.array([2.0, 1.0, -np.inf]), np.array([False, False, True])) == 1
