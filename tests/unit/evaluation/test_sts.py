import numpy as np
import pytest
from scipy.stats import spearmanr

from babelscope.errors import BabelscopeError
from babelscope.evaluation.embeddings import Embeddings, pair_cosines
from babelscope.evaluation.sts import score_sts, spearman

OPTIONS = {"pivot": "en", "resamples": 200, "seed": 3}


def scored(embed, table, **options):
    return score_sts(Embeddings(embed), "c", table, **(OPTIONS | options))


def values(results):
    keys = ["language1", "language2", "metric"]
    return results.scores.set_index(keys)["value"].to_dict()


@pytest.mark.parametrize("seed", range(5))
def test_spearman_is_that_of_scipy_with_ties_in_every_resample(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 6, (2, 30)) + rng.integers(0, 2, (2, 30)) * 0.25
    weights = rng.multinomial(30, np.full(30, 1 / 30), size=7)
    expected = [spearmanr(np.repeat(x, w), np.repeat(y, w)).statistic for w in weights]
    assert spearman(x, y, weights) == pytest.approx(expected, abs=1e-12)
    assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


def test_a_resample_of_equal_values_has_no_correlation():
    x = np.arange(3.0)
    weights = np.array([[3, 0, 0], [1, 2, 0]])
    assert np.isnan(spearman(x, x, weights)).tolist() == [True, False]


def test_a_score_is_the_correlation_of_cosines_and_judgements(made_up, sts):
    table, encoder = sts(("de", "en")), made_up(noise=1.0)
    first = encoder(table["sentence1"], "de", True)
    second = encoder(table["sentence2"], "en", True)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosines = np.sum(first * second, axis=1) / lengths
    found = scored(encoder, table)
    expected = 100 * spearmanr(cosines, table["score"]).statistic
    assert values(found) == pytest.approx({("en", "de", "spearman"): expected})
    assert found.examples["prediction"].to_numpy() == pytest.approx(cosines)
    assert found.examples["gold"].tolist() == table["score"].tolist()
    assert found.examples["example"].tolist() == table["pair_id"].tolist()


def test_the_interval_holds_the_value_and_that_of_chance_holds_zero(made_up, sts):
    row = scored(made_up(noise=1.0), sts(("de", "de"))).scores.iloc[0]
    assert row["low"] < row["value"] < row["high"]
    chance = scored(made_up(known=False), sts(("de", "en"), n=200)).scores.iloc[0]
    assert chance["low"] < 0 < chance["high"]
    assert chance["high"] - chance["low"] == pytest.approx(2 * 196 / np.sqrt(200), rel=0.25)


def test_cosines_in_the_order_of_the_judgements_are_perfect(sts):
    table = sts(("de", "de")).assign(score=np.arange(40.0))
    angles = dict(zip(table["sentence2"], np.linspace(1.5, 0, 40), strict=True))
    clash = table["sentence1"].isin(table["sentence2"])
    table = table[~clash]

    def embed(sentences, language, aligned):
        return np.array([[np.cos(angles.get(s, 0)), np.sin(angles.get(s, 0))] for s in sentences])

    assert values(scored(embed, table)) == pytest.approx({("de", "de", "spearman"): 100})


def test_rotation_scaling_and_order_of_rows_change_nothing(made_up, sts, turn):
    table = sts(("de", "de"), ("de", "en"))
    base = values(scored(made_up(noise=0.7), table))
    turned = values(scored(made_up(noise=0.7, turn=turn, scale=40.0), table))
    shuffled = values(scored(made_up(noise=0.7), table.sample(frac=1, random_state=2)))
    assert turned == pytest.approx(base)
    assert shuffled == pytest.approx(base)


def test_both_directions_are_scored_and_averaged_with_the_pivot_first(made_up, sts):
    encoder = made_up(noise=1.0)
    both = values(scored(encoder, sts(("de", "en"), ("en", "de"))))
    to, back = (
        values(scored(encoder, sts(pair)))["en", "de", "spearman"]
        for pair in (("en", "de"), ("de", "en"))
    )
    assert both == pytest.approx(
        {
            ("en", "de", "spearman_forward"): to,
            ("en", "de", "spearman_backward"): back,
            ("en", "de", "spearman"): (to + back) / 2,
        }
    )


def test_one_direction_has_one_row_and_other_pairs_are_in_order_of_the_alphabet(made_up, sts):
    found = values(scored(made_up(noise=0.5), sts(("ru", "de"), ("de", "de"), ("ru", "en"))))
    assert list(found) == [
        ("de", "ru", "spearman"),
        ("de", "de", "spearman"),
        ("en", "ru", "spearman"),
    ]


def test_vectors_are_aligned_across_languages_only_and_made_once(made_up, sts):
    encoder = made_up(noise=0.5)
    found = scored(encoder, sts(("de", "de"), ("de", "en"), ("en", "de")))
    assert found.scores["setting"].tolist() == ["monolingual", *["crosslingual"] * 3]
    keys = [(language, aligned) for _, language, aligned in encoder.calls]
    assert sorted(keys) == [("de", False), ("de", True), ("en", True)]
    assert all(len(set(sentences)) == len(sentences) for sentences, _, _ in encoder.calls)


def test_equal_sentences_are_tied_though_products_differ_in_their_last_bits():
    vectors = np.random.default_rng(0).standard_normal((50, 300))
    assert set(pair_cosines(vectors, vectors)) == {1.0}


def constant(sentences, language, aligned):
    return np.ones((len(sentences), 4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": 3.0}, "c, de-de: All pairs of sentences have the same score, 3"),
        ({"score": np.nan}, "c, de-de: The score of the pair p0 is missing"),
        ({"pair_id": "p7"}, "c, de-de: The pair p7 is there twice"),
    ],
)
def test_judgements_that_cannot_be_ranked(made_up, sts, change, message):
    with pytest.raises(BabelscopeError, match=message):
        scored(made_up(), sts(("de", "de")).assign(**change))


def test_two_pairs_are_too_few(made_up, sts):
    with pytest.raises(BabelscopeError, match="c, de-de: There are 2 pairs"):
        scored(made_up(), sts(("de", "de"), n=2))


def test_a_constant_encoder_is_refused(sts):
    with pytest.raises(BabelscopeError, match="c, de-de: The cosines of all pairs.*are the same"):
        scored(constant, sts(("de", "de")))


@pytest.mark.parametrize(
    ("value", "message"), [(0.0, "zero.*no cosine"), (np.nan, "not finite"), (np.inf, "not finite")]
)
def test_vectors_without_a_cosine_are_refused(made_up, sts, value, message):
    def embed(sentences, language, aligned):
        vectors = made_up()(sentences, language, aligned)
        vectors[2] = value
        return vectors

    with pytest.raises(BabelscopeError, match=message):
        scored(embed, sts(("de", "de")))


def test_an_encoder_that_loses_a_sentence_is_found_out(made_up, sts):
    with pytest.raises(ValueError, match="vectors for"):
        scored(lambda *request: made_up()(*request)[1:], sts(("de", "de")))
