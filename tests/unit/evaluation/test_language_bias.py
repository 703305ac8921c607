import numpy as np
import pytest
from scipy.stats import spearmanr

from babelscope.errors import BabelscopeError
from babelscope.evaluation.embeddings import Embeddings
from babelscope.evaluation.language_bias import score_retrieval_bias, score_similarity_bias

OPTIONS = {"resamples": 100, "seed": 3}
PAIRS = [(a, b) for a in ("de", "en", "ru") for b in ("de", "en", "ru")]


def similarity(embed, table):
    return score_similarity_bias(Embeddings(embed), "c", table, **OPTIONS)


def retrieval(embed, table, **options):
    return score_retrieval_bias(
        Embeddings(embed),
        "c",
        {language: list(table[language]) for language in table.columns[1:]},
        names=list(table["sent_id"]),
        **({"pivot": "en"} | OPTIONS | options),
    )


def over_all(results):
    rows = results.scores[results.scores["language1"] == "all"]
    return rows.set_index("metric")[["value", "low", "high"]]


def test_an_encoder_without_offset_loses_nothing_when_languages_are_concatenated(made_up, sts):
    found = over_all(similarity(made_up(), sts(*PAIRS)))
    single, together, drop = found["value"]
    assert single > 80
    assert together == pytest.approx(single, abs=0.5)
    assert drop == pytest.approx(single - together)


def test_an_offset_of_each_language_is_a_bias_of_similarity(made_up, sts):
    """Within a pair of languages it changes little; across them, one language goes with itself."""
    found = over_all(similarity(made_up(offset=2.0), sts(*PAIRS)))
    assert found["value"]["spearman_bilingual"] > 60
    assert found["low"]["spearman_drop"] > 15


def test_similarity_bias_is_the_mean_correlation_minus_that_of_all_pairs(made_up, sts):
    encoder, table = made_up(noise=0.5, offset=1.0), sts(*PAIRS)
    found = similarity(encoder, table)
    examples = found.examples
    parts = [part for _, part in examples.groupby(["language1", "language2"])]
    assert len(parts) == 9
    single = np.mean([spearmanr(part["prediction"], part["gold"]).statistic for part in parts])
    together = spearmanr(examples["prediction"], examples["gold"]).statistic
    expected = {
        "spearman_bilingual": 100 * single,
        "spearman_multilingual": 100 * together,
        "spearman_drop": 100 * (single - together),
    }
    assert over_all(found)["value"].to_dict() == pytest.approx(expected)
    assert all(aligned for _, _, aligned in encoder.calls)


def test_one_pair_of_languages_has_no_similarity_bias(made_up, sts):
    with pytest.raises(BabelscopeError, match="c: there is one pair of languages"):
        similarity(made_up(), sts(("de", "en")))


def test_an_encoder_without_offset_loses_nothing_in_a_pool_of_all_languages(made_up, parallel):
    found = over_all(retrieval(made_up(), parallel("en", "de", "ru")))
    assert found["value"].tolist() == [100, 100, 0]


def beside(length):
    """Contents of length 1, and an offset of each language at right angles to all of them."""

    def embed(sentences, language, aligned):
        vectors = np.zeros((len(sentences), 128))
        for row, sentence in enumerate(sentences):
            vectors[row, int(sentence.split(":c")[1])] = 1
        vectors[:, ("de", "en", "ru").index(language) - 3] = length
        return vectors

    return embed


@pytest.mark.parametrize(("length", "drop"), [(0.0, 0), (0.9, 0), (1.1, 100)])
def test_sentences_of_the_own_language_come_first_if_the_offset_is_longer(parallel, length, drop):
    """The cosine with the translation is 1, with another of the own language length ** 2."""
    found = over_all(retrieval(beside(length), parallel("en", "de", "ru")))
    assert found["value"].tolist() == [100, 100 - drop, drop]


def test_an_offset_at_right_angles_mixes_the_orders_of_pairs_of_languages(sts):
    """Cosines are 1 or 0 across languages; within one, both are raised by the offset."""
    table = sts(*PAIRS)
    table["sentence2"] = table["sentence2"].str.replace(":c1..", ":c60", regex=True)
    table["score"] = table["score"].round()
    for length, drop in ((0.0, 0), (1.0, 20)):
        found = over_all(similarity(beside(length), table))["value"]
        assert found["spearman_bilingual"] == pytest.approx(100)
        assert found["spearman_drop"] >= drop - 1e-9
        assert found["spearman_drop"] == pytest.approx(100 - found["spearman_multilingual"])
        assert (length > 0) == (found["spearman_drop"] > 1)


def by_definition(encoder, table, first, second):
    languages = list(table.columns[1:])
    vectors = {language: encoder(table[language], language, True) for language in languages}
    units = {key: v / np.linalg.norm(v, axis=1, keepdims=True) for key, v in vectors.items()}
    single, pooled = [], []
    for i in range(len(table)):
        right = units[first][i] @ units[second][i]
        others = {
            language: max(units[first][i] @ units[language][j] for j in range(len(table)) if j != i)
            for language in languages
        }
        single.append(right > others[second])
        pooled.append(right > max(others.values()))
    return np.array(single, float), np.array(pooled, float)


@pytest.mark.parametrize("strip", [7, 1000])
@pytest.mark.parametrize("shared", [0, 3000])  # then cosines differ by 1e-6 only
def test_retrieval_bias_is_that_of_its_definition(made_up, parallel, monkeypatch, strip, shared):
    monkeypatch.setattr("babelscope.evaluation.language_bias.STRIP", strip)
    own, table = made_up(noise=0.6, offset=0.7), parallel("en", "de", "ru")

    def encoder(*given):
        vectors = own(*given)
        return np.hstack([vectors, np.full((len(vectors), 1), shared)])

    found = retrieval(encoder, table, all_pairs=True)
    scores = found.scores.set_index(["language1", "language2", "metric"])["value"]
    for pair in (("en", "de"), ("en", "ru"), ("de", "ru")):
        ways = [by_definition(encoder, table, *one) for one in (pair, pair[::-1])]
        single, pooled = (np.mean([way[number] for way in ways], axis=0) for number in (0, 1))
        assert scores[*pair, "accuracy_bilingual"] == pytest.approx(100 * single.mean())
        assert scores[*pair, "accuracy_multilingual"] == pytest.approx(100 * pooled.mean())
        rows = found.examples[
            (found.examples["language1"] == pair[0]) & (found.examples["language2"] == pair[1])
        ]
        assert rows["prediction"].tolist() == (single - pooled).tolist()
    drops = scores[scores.index.get_level_values("metric") == "accuracy_drop"]
    assert drops["all", "all", "accuracy_drop"] == pytest.approx(drops.iloc[:3].mean())
    assert 0 < drops["all", "all", "accuracy_drop"] < 100


def test_a_drop_is_never_negative(made_up, parallel):
    found = retrieval(made_up(noise=1.5), parallel("en", "de", "ru"))
    assert (found.examples["prediction"] >= 0).all()
    assert (found.examples["gold"] == 0).all()


def test_equal_sentences_are_no_obstacles(made_up, parallel):
    table = parallel("en", "de", "ru")
    table.loc[4, "de"] = table.loc[3, "de"]
    found = retrieval(made_up(), table, all_pairs=True)
    missed = found.examples[(found.examples["prediction"] != 0)]
    assert missed.empty
    scores = found.scores.set_index(["language1", "language2", "metric"])["value"]
    assert scores["en", "ru", "accuracy_multilingual"] == 100
    # Content 4 is not said in German: it is not found there, but what stands there is.
    assert scores["en", "de", "accuracy_bilingual"] == pytest.approx(100 * (1 - 0.5 / 40))


def test_rotation_scaling_and_order_of_rows_change_nothing(made_up, parallel, turn):
    table = parallel("en", "de", "ru")
    base = over_all(retrieval(made_up(noise=0.6, offset=0.7), table))["value"].to_dict()
    turned = made_up(noise=0.6, offset=0.7, turn=turn, scale=30.0)
    assert over_all(retrieval(turned, table))["value"].to_dict() == pytest.approx(base)
    shuffled = table.sample(frac=1, random_state=1)
    again = over_all(retrieval(made_up(noise=0.6, offset=0.7), shuffled))["value"].to_dict()
    assert again == pytest.approx(base)


def test_a_constant_encoder_is_refused(parallel):
    with pytest.raises(BabelscopeError, match="c, en: The vectors of all sentences are the same"):
        retrieval(lambda sentences, *_: np.ones((len(sentences), 4)), parallel("en", "de"))
