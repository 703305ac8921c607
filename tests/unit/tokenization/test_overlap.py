import tracemalloc

import numpy as np
import pytest

from babelscope.tokenization.overlap import overlap_table, shared_types, token_overlap


def test_the_published_definition():
    assert token_overlap([1, 2, 2, 3], [2, 3, 9]) == pytest.approx(2 / 3)
    assert token_overlap([2, 3, 9], [1, 2, 2, 3]) == pytest.approx(2 / 3)
    assert token_overlap([7], [1, 7, 8]) == 1.0
    assert token_overlap([7], [8]) == 0.0


def test_no_tokens_is_an_error():
    with pytest.raises(ValueError, match="undefined"):
        token_overlap([], [1])


def scores(table, language):
    rows = table[table.language == language]
    return {(row.level, row.unit): row for row in rows.itertuples()}


def test_levels_and_units():
    sentences = {"en": [[1, 2], [3, 3]], "de": [[1, 1, 1, 5], [1, 2]], "es": [[9], [8, 7]]}
    table = overlap_table(sentences, pivot="en", samples=50, seed=1)
    assert len(table) == 8
    german = scores(table, "de")
    assert german["sentence", "types"].value == pytest.approx((1 / 2 + 0) / 2)
    assert german["sentence", "tokens"].value == pytest.approx((3 / 4 + 0) / 2)
    assert german["corpus", "types"].value == pytest.approx(2 / 3)
    assert german["corpus", "tokens"].value == pytest.approx(5 / 6)
    assert {row.value for row in scores(table, "es").values()} == {0.0}


def test_intervals_hold_the_value_and_shrink_with_more_sentences():
    rng = np.random.default_rng(0)

    def corpus(n):
        return [rng.integers(0, 60, rng.integers(4, 20)).tolist() for _ in range(n)]

    def width(n):
        sentences = {"en": corpus(n), "de": [[t + 20 for t in s] for s in corpus(n)]}
        table = overlap_table(sentences, pivot="en", samples=200, seed=2)
        assert (table.low <= table.value).all()
        assert (table.value <= table.high).all()
        return table[(table.level == "corpus") & (table.unit == "tokens")].eval("high - low").item()

    assert width(400) < 0.7 * width(50)


def test_a_resample_draws_a_sentence_with_its_translation():
    rng = np.random.default_rng(0)
    english = [rng.integers(0, 40, rng.integers(2, 6)).tolist() for _ in range(30)]
    german = [rng.integers(20, 60, rng.integers(2, 6)).tolist() for _ in range(30)]
    table = overlap_table({"en": english, "de": german}, pivot="en", samples=150, seed=3)
    draws = np.random.default_rng(3).multinomial(30, np.full(30, 1 / 30), size=150)
    resamples = [np.repeat(np.arange(30), draw) for draw in draws]
    texts = [
        [[token for at in resample for token in side[at]] for side in (german, english)]
        for resample in resamples
    ]
    expected = {
        "types": [token_overlap(own, reference) for own, reference in texts],
        "tokens": [np.isin(own, reference).mean() for own, reference in texts],
    }
    for unit, shares in expected.items():
        row = scores(table, "de")["corpus", unit]
        assert row.high - row.value == pytest.approx(1.96 * np.std(shares, ddof=1))


def test_memory_does_not_grow_with_the_resamples():
    rng = np.random.default_rng(0)
    sentences = {code: [rng.integers(0, 50_000, 500).tolist() for _ in range(10)] for code in "ab"}

    def peak(samples):
        tracemalloc.start()
        overlap_table(sentences, pivot="a", samples=samples, seed=0)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2)  # imports what it needs
    assert peak(1000) < 1.5 * peak(100)


def test_shared_types_are_those_of_the_whole_texts():
    sentences = {"en": [[1, 2], [3, 3]], "de": [[3, 1, 1], [5]], "es": [[9], [9, 9]]}
    table = shared_types(sentences)
    values = {(row.left_language, row.right_language): row.value for row in table.itertuples()}
    assert values == {("en", "de"): 2 / 4, ("en", "es"): 0.0, ("de", "es"): 0.0}


def test_shared_types_are_symmetric_and_of_equal_texts_1():
    sentences = {"en": [[1, 2, 3, 4, 5]], "de": [[5, 6]], "es": [[6], [5, 5]]}
    forward = shared_types(sentences)["value"]
    backward = shared_types(dict(reversed(sentences.items())))["value"]
    assert forward.tolist() == pytest.approx([1 / 6, 1 / 6, 1.0])
    assert backward.tolist() == forward.tolist()[::-1]


def test_the_same_seed_gives_the_same_table():
    sentences = {"en": [[1, 2], [3, 3], [4]], "de": [[1, 5], [2], [4]]}
    one, two = (overlap_table(sentences, pivot="en", samples=20, seed=3) for _ in range(2))
    assert one.equals(two)
