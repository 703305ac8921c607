"""Tables of the other measures: every layer, every measure, errors that name the side."""

import numpy as np
import pytest

from babelscope.errors import BabelscopeError
from babelscope.representations.cka import cka_table
from babelscope.representations.comparisons import Pair, Side
from babelscope.representations.isomorphism import gromov_hausdorff, isomorphism_table
from babelscope.representations.retrieval import margin_retrieval, retrieval_table
from babelscope.representations.rsa import rsa, rsa_table
from babelscope.representations.scores import Score, score_pairs

EN, DE, ZH = (Side("finetuned", "full", language) for language in ("en", "de", "zh"))
PAIRS = [Pair(EN, DE), Pair(EN, ZH)]
COLUMNS = [
    *("model", "measure", "estimator"),
    *(
        f"{side}_{part}"
        for side in ("left", "right")
        for part in ("network", "subnetwork", "language", "layer")
    ),
    *("value", "standard_error", "low", "high", "left_out", "n"),
]


@pytest.fixture
def states() -> dict[Side, np.ndarray]:
    """Five layers (not twelve), 60 sentences, 6 dimensions; the last layers agree the most."""
    generator = np.random.default_rng(0)
    shared = generator.standard_normal((60, 6)) + 1
    noise = np.array([4, 2, 1, 0.5, 0.2])[:, None, None]
    return {
        side: (shared + noise * generator.standard_normal((5, 60, 6))).astype(np.float32)
        for side in (EN, DE, ZH)
    }


def row(table, measure, layer, language="de", **more):
    chosen = (table["measure"] == measure) & (table["left_layer"] == layer)
    chosen &= table["right_language"] == language
    for column, value in more.items():
        chosen &= table[column] == value
    assert chosen.sum() == 1
    return table[chosen].iloc[0]


def test_correlations(states):
    table = rsa_table(PAIRS, states, blocks=5, folds=3, seed=1, labels={"model": "tiny"})
    assert list(table.columns) == COLUMNS
    assert len(table) == 2 * 5 * 3
    for kind in ("pearson", "spearman"):
        found = row(table, f"rsa_{kind}", 3)
        expected = rsa(states[EN][3], states[DE][3], correlation=kind)
        assert found["value"] == pytest.approx(expected, abs=1e-6)
    values = [row(table, "rsa_regression", layer)["value"] for layer in range(5)]
    assert values[4] > 0.8 > values[0]
    again = rsa_table(PAIRS, states, blocks=5, folds=3, seed=1, labels={"model": "tiny"})
    assert table.equals(again)


def test_isomorphism(states):
    table = isomorphism_table(PAIRS, states, blocks=5, parts=4, seed=1)
    assert len(table) == 2 * 5 * 3
    first, last = (row(table, "gromov_hausdorff", layer) for layer in (0, 4))
    assert first["estimator"] == "parts-of-15"
    assert 0 <= last["low"] <= last["value"] <= last["high"]
    assert last["value"] < first["value"]
    whole = gromov_hausdorff(states[EN][4], states[DE][4])
    assert last["value"] == pytest.approx(whole, abs=0.3)
    with pytest.raises(BabelscopeError, match="too few"):
        isomorphism_table(PAIRS, states, blocks=5, parts=10, seed=1)


def test_retrieval_reads_every_layer_and_knows_equal_text(states):
    groups = {language: np.arange(60) for language in ("en", "de", "zh")}
    table = retrieval_table(PAIRS, states, k=4, margin="ratio", groups=groups, seed=1)
    assert len(table) == 2 * 5 * 2
    expected = margin_retrieval(states[EN][2], states[DE][2])
    found = row(table, "retrieval_error", 2, estimator="backward")
    assert found["value"] == pytest.approx(expected.error_backward)
    for side in states:
        states[side] = np.concatenate([states[side], states[side]], axis=1)
    doubled = {language: np.tile(one, 2) for language, one in groups.items()}
    table = retrieval_table(PAIRS, states, k=4, margin="ratio", groups=doubled, seed=1)
    assert row(table, "retrieval_error", 4, estimator="forward")["value"] < 5


def test_errors_name_the_side_and_layer(states):
    states[ZH][2] = 7
    with pytest.raises(BabelscopeError, match="finetuned/full, language zh, layer 2"):
        rsa_table(PAIRS, states, blocks=5, folds=3, seed=1)


def test_a_score_that_is_no_number_is_an_error(states):
    with pytest.raises(BabelscopeError, match="not a number"):
        score_pairs(
            PAIRS,
            states,
            prepare=lambda rows, _: rows,
            compare=lambda *_: [Score("made-up", "none", float("nan"), 0, 0, 0)],
            seed=0,
        )


def test_sides_with_different_sentences_are_refused(states):
    states[ZH] = states[ZH][:, :50]
    with pytest.raises(BabelscopeError, match=r"sentences: .*zh 50"):
        rsa_table(PAIRS, states, blocks=5, folds=3, seed=1)


def test_embeddings_of_a_first_token_that_all_sentences_share_have_no_scores(states):
    """Nothing can be told from them; above them the first token has read its sentence."""
    groups = {language: np.arange(60) for language in ("en", "de", "zh")}
    options = {"k": 4, "margin": "distance", "groups": groups, "seed": 1}
    whole = retrieval_table(PAIRS, states, **options)
    for side in states:
        states[side][0] = states[side][0, 0] * (1 + 1e-8 * np.arange(60)[:, None])
    table = retrieval_table(PAIRS, states, **options)
    assert table.equals(whole[whole["left_layer"] > 0].reset_index(drop=True))
    layers = [Pair(EN, DE, all_layers=True)]
    found = cka_table(layers, states, blocks=5)
    assert set(found["left_layer"]) == set(found["right_layer"]) == {1, 2, 3, 4}
    for side in states:
        states[side][1] = 7
    with pytest.raises(BabelscopeError, match="layer 1.*same for all"):
        cka_table(PAIRS, states, blocks=5)
    alone = {side: one[:1] for side, one in states.items()}
    with pytest.raises(BabelscopeError, match="same for all"):
        cka_table(PAIRS, alone, blocks=5)
