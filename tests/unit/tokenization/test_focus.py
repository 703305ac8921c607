import random

import numpy as np
import pytest
import torch
from transformers import XLMRobertaTokenizer

from babelscope.errors import BabelscopeError
from babelscope.tokenization import focus
from babelscope.tokenization.focus import (
    combine_rows,
    focus_embeddings,
    initialize_embeddings,
    sparsemax,
)
from babelscope.tokenization.matching import match_tokens
from babelscope.tokenization.training import train_tokenizer

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def unigram(*tokens):
    return XLMRobertaTokenizer(vocab=[(token, -1.0) for token in [*SPECIAL, *tokens, "<mask>"]])


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def sparsemax_by_sorting(row):
    """The closed form of Martins & Astudillo (2016), algorithm 1, one row at a time."""
    ordered = sorted(map(float, row), reverse=True)
    total, threshold = 0.0, None
    for k, value in enumerate(ordered, start=1):
        total += value
        if 1 + k * value > total:
            threshold = (total - 1) / k
    return np.maximum(np.asarray(row, float) - threshold, 0)


def focus_in_words(matched, embeddings, vectors, tokens):
    """The paper's method, token by token in float64; rows without a vector are None."""
    anchors = [i for i, j in enumerate(matched) if j >= 0 and vectors.get(tokens[i]) is not None]
    rows = []
    for i, j in enumerate(matched):
        vector = vectors.get(tokens[i])
        if j >= 0:
            rows.append(embeddings[j])
        elif vector is None:
            rows.append(None)
        else:
            cosines = [
                vector
                @ vectors[tokens[k]]
                / np.linalg.norm(vector)
                / np.linalg.norm(vectors[tokens[k]])
                for k in anchors
            ]
            weights = sparsemax_by_sorting(cosines)
            rows.append(
                sum(w * embeddings[matched[k]] for w, k in zip(weights, anchors, strict=True))
            )
    return rows


def similarities(kind, rng):
    shape = (23, 1511)
    match kind:
        case "spread out":
            return rng.uniform(-1, 1, shape)
        case "hardly different":  # nearly all entries have weight
            return 0.9 + 1e-4 * rng.standard_normal(shape)
        case "all equal":
            return np.full(shape, 0.3)
        case "one above all":
            z = rng.uniform(-1, -0.5, shape)
            z[np.arange(23), rng.integers(0, 1511, 23)] = 1.0
            return z
        case "few levels":  # ties, also at the threshold
            return rng.integers(0, 8, shape) / 8
        case "best in one group":  # the maxima of groups then say little
            z = rng.uniform(0, 0.1, shape)
            z[:, :: 1511 // focus.GROUP] += 0.5
            return z
        case "fewer than a group":
            return rng.uniform(-1, 1, (23, 5))
        case "a single one":
            return rng.uniform(-1, 1, (23, 1))


@pytest.mark.parametrize(
    "kind",
    [
        "spread out",
        "hardly different",
        "all equal",
        "one above all",
        "few levels",
        "best in one group",
        "fewer than a group",
        "a single one",
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparsemax_is_that_of_a_full_sort(kind, dtype, rng):
    z = similarities(kind, rng).astype(dtype)
    weights = sparsemax(z).toarray()
    expected = np.stack([sparsemax_by_sorting(row) for row in z])
    np.testing.assert_allclose(weights, expected, atol=2e-7)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)


def test_sparsemax_is_the_nearest_point_of_the_simplex(rng):
    z = rng.normal(size=(4, 60))
    weights = sparsemax(z).toarray()
    for row, best in zip(z, weights, strict=True):
        for other in rng.dirichlet(np.full(60, 0.05), size=50):
            assert np.sum((row - best) ** 2) <= np.sum((row - other) ** 2) + 1e-6


def test_sparsemax_ignores_what_is_added_to_a_row(rng):
    z = rng.uniform(-1, 1, (5, 300))
    np.testing.assert_allclose(sparsemax(z).toarray(), sparsemax(z + 0.7).toarray(), atol=1e-6)


def test_only_entries_near_the_threshold_are_sorted(rng, monkeypatch):
    """The point of it: of 20 000 cosines with anchors a few hundred are looked at."""
    sizes = []
    plain = focus._thresholds
    monkeypatch.setattr(focus, "_thresholds", lambda z: sizes.append(z.shape[1]) or plain(z))
    new, anchors = rng.standard_normal((2, 8, 50)), rng.standard_normal((20_000, 50))
    for rows in new:
        sparsemax(unit(rows) @ unit(anchors).T)
    assert max(sizes) <= 20_000 / focus.GROUP


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("block", [1, 900, 2**23])
def test_blocks_do_not_change_the_rows(block, rng, monkeypatch):
    new, anchors = unit(rng.normal(size=(31, 20))), unit(rng.normal(size=(300, 20)))
    rows, source = rng.permutation(500)[:300], rng.normal(size=(500, 12)).astype(np.float32)
    monkeypatch.setattr(focus, "BLOCK", block)
    weights = np.stack([sparsemax_by_sorting(row) for row in new.astype(float) @ anchors.T])
    found = combine_rows(new, anchors, rows, source)
    np.testing.assert_allclose(found, weights @ source[rows], atol=1e-5)


@pytest.fixture
def example(rng):
    """Vocabularies with 40 common tokens, 60 new ones of which 20 have no vector, and noise."""
    words = [f"▁w{i}" for i in range(130)]
    source, target = unigram(*words[:70]), unigram(*words[30:])
    vectors = {word: rng.normal(size=16).astype(np.float32) for word in words[35:110]}
    vectors["▁w36"] = np.zeros(16, np.float32)  # no direction
    embeddings = rng.normal(size=(len(source), 24)).astype(np.float32)
    return source, target, embeddings, vectors


@pytest.mark.parametrize("form", ["mapping", "function", "torch"])
def test_focus_does_what_the_paper_says(example, form):
    source, target, embeddings, vectors = example
    auxiliary = vectors.get if form == "function" else vectors
    given = torch.tensor(embeddings, requires_grad=True) if form == "torch" else embeddings
    found = initialize_embeddings(source, target, given, auxiliary)
    weight = focus_embeddings(source, target, given, auxiliary)
    np.testing.assert_array_equal(weight, found.weight)
    assert (weight.shape, weight.dtype) == ((len(target), 24), np.float32)
    tokens = target.convert_ids_to_tokens(range(len(target)))
    directed = {token: vector for token, vector in vectors.items() if vector.any()}
    expected = focus_in_words(found.matched, embeddings.astype(float), directed, tokens)
    for i, row in enumerate(expected):
        if row is not None:
            np.testing.assert_allclose(weight[i], row, atol=1e-5)
        assert found.combined[i] == (row is not None and found.matched[i] < 0)
    np.testing.assert_array_equal(found.matched, match_tokens(source, target))
    assert found.counts == {"copied": 45, "combined": 40, "random": 20}


def test_the_order_of_the_new_vocabulary_does_not_matter(example):
    source, target, embeddings, vectors = example
    words = [f"▁w{i}" for i in range(30, 130)]
    turned = unigram(*words[::-1])
    one = initialize_embeddings(source, target, embeddings, vectors)
    other = focus_embeddings(source, turned, embeddings, vectors)
    sure = np.flatnonzero((one.matched >= 0) | one.combined)
    there = turned.convert_tokens_to_ids(target.convert_ids_to_tokens(sure.tolist()))
    np.testing.assert_allclose(other[there], one.weight[sure], atol=1e-5)


def test_a_new_token_like_one_old_token_becomes_it():
    source, target = unigram("▁a", "▁b"), unigram("▁a", "▁b", "▁c")
    embeddings = np.arange(21, dtype=np.float32).reshape(7, 3)
    vectors = {"▁a": [1, 0, 0], "▁b": [-1, 0.1, 0], "▁c": [5, 0, 0]}
    weight = focus_embeddings(source, target, embeddings, vectors)
    np.testing.assert_allclose(weight[6], embeddings[4], atol=1e-6)
    vectors["▁c"] = [0, 0.0, 2]  # equally unlike both
    vectors["▁b"] = [-1, 0, 0]
    weight = focus_embeddings(source, target, embeddings, vectors)
    np.testing.assert_allclose(weight[6], embeddings[4:6].mean(axis=0), atol=1e-6)


def test_tokens_without_a_vector_look_like_the_source_s_embeddings(rng):
    words = [f"▁w{i}" for i in range(3000)]
    source, target = unigram(*words[:1000]), unigram(*words)
    embeddings = rng.normal([2.0, -1.0, 0.0], [0.5, 3.0, 1e-3], size=(len(source), 3))
    found = initialize_embeddings(source, target, embeddings, {}, seed=3)
    drawn = found.weight[found.matched < 0]
    assert found.counts == {"copied": 1005, "combined": 0, "random": 2000}
    np.testing.assert_allclose(drawn.mean(axis=0), embeddings.mean(axis=0), atol=0.2)
    np.testing.assert_allclose(drawn.std(axis=0), embeddings.std(axis=0), rtol=0.1)
    again = initialize_embeddings(source, target, embeddings, {}, seed=3).weight
    np.testing.assert_array_equal(again, found.weight)
    other = initialize_embeddings(source, target, embeddings, {}, seed=4).weight
    assert (other[found.matched < 0] != drawn).all()


def test_the_global_generator_is_left_alone(example):
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    focus_embeddings(*example)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


@pytest.mark.parametrize("rows", [74, 76])
def test_embeddings_of_another_model(example, rows):
    source, target, embeddings, vectors = example
    embeddings = np.resize(embeddings, (rows, 24))
    with pytest.raises(BabelscopeError, match=f"have {rows} rows, but its tokenizer has 75 tokens"):
        focus_embeddings(source, target, embeddings, vectors)


def test_rows_that_pad_a_large_matrix_are_no_error():
    words = [f"▁w{i}" for i in range(2000)]
    source, target = unigram(*words), unigram("▁w7")
    embeddings = np.random.default_rng(0).normal(size=(2007, 2))
    np.testing.assert_allclose(focus_embeddings(source, target, embeddings, {})[4], embeddings[11])


def test_embeddings_that_are_not_finite(example):
    source, target, embeddings, vectors = example
    embeddings[9, 3] = np.nan
    with pytest.raises(BabelscopeError, match="source's embeddings are not finite"):
        focus_embeddings(source, target, embeddings, vectors)


def test_vocabularies_without_a_common_token():
    with pytest.raises(BabelscopeError, match="shares no token"):
        focus_embeddings(unigram("▁a"), unigram("▁б"), np.ones((6, 2)), {"▁б": [1.0]})


def test_no_common_token_has_a_vector():
    source, target = unigram("▁a"), unigram("▁a", "▁b")
    with pytest.raises(BabelscopeError, match="has an auxiliary vector"):
        focus_embeddings(source, target, np.ones((6, 2)), {"▁b": [1.0]})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_auxiliary_vectors_that_are_not_finite(example, bad):
    source, target, embeddings, vectors = example
    vectors["▁w80"][5] = bad
    with pytest.raises(BabelscopeError, match="vector of '▁w80' is not finite"):
        focus_embeddings(source, target, embeddings, vectors)


def test_auxiliary_vectors_of_two_models(example):
    source, target, embeddings, vectors = example
    vectors["▁w80"] = vectors["▁w80"][:4]
    with pytest.raises(BabelscopeError, match="differ in length"):
        focus_embeddings(source, target, embeddings, vectors)


LETTERS = "bdfgklmnprstvz"


def words(rng, n):
    return ["".join(rng.choice(LETTERS) + rng.choice("aeiou") for _ in range(4)) for _ in range(n)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["unigram", "wordpiece"])
def test_deepfocus_gives_the_same_rows(kind):
    """Where its matching is right: not for BPE on bytes, nor for marks and Han characters."""
    pytest.importorskip("deepfocus")
    from deepfocus.focus import focus_additional_token_initialization, get_overlapping_tokens

    rng = random.Random(2)
    common, one, other = (words(rng, 150) for _ in range(3))
    old, new = (
        [" ".join(rng.sample(pool, 8)) for _ in range(400)]
        for pool in (common + one, common + other)
    )
    source = train_tokenizer(old, vocabulary=400, kind=kind)
    target = train_tokenizer(new, vocabulary=400, kind="unigram")
    generator = np.random.default_rng(3)
    embeddings = generator.normal(size=(400, 16)).astype(np.float32)
    special = set(target.all_special_tokens)
    tokens = sorted(token for token in target.get_vocab() if token not in special)
    vectors = dict(zip(tokens, generator.normal(size=(395, 10)).astype(np.float32), strict=True))
    found = initialize_embeddings(source, target, embeddings, vectors)
    shared, fresh = get_overlapping_tokens(target, source, False, True, False)
    shared, fresh = ({t: part[t] for t in tokens if t in part} for part in (shared, fresh))
    assert len(shared) > 100
    assert len(fresh) > 100
    for token, facts in shared.items():
        assert found.matched[facts.target.id] == facts.source[0].id
        facts.source_embedding = torch.from_numpy(embeddings[facts.source[0].id])
        facts.auxiliary_embedding = vectors[token]
    for token, facts in fresh.items():
        facts.auxiliary_embedding = vectors[token]
    ids = [facts.target.id for facts in fresh.values()]
    assert found.combined.nonzero()[0].tolist() == sorted(ids)
    theirs = focus_additional_token_initialization(shared, fresh, torch.zeros(400, 16))
    np.testing.assert_allclose(found.weight[ids], theirs[ids], atol=1e-5)
