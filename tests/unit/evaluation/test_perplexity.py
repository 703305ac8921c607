"""Perplexity weighs tokens equally; intervals come from resampled examples, ratios from pairs."""

import itertools

import numpy as np
import pytest
import torch

from babelscope.errors import BabelscopeError
from babelscope.evaluation.perplexity import (
    Losses,
    bootstrap_weights,
    describe_mask,
    interval,
    log_perplexities,
    perplexity,
    perplexity_table,
    unigram_losses,
    unigram_table,
)
from babelscope.models.gates import head_gates
from babelscope.subnetworks.masks import HeadMask
from babelscope.tokenization.frequencies import log_frequencies

MASK = HeadMask(np.array([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 1]], dtype=bool))


def split(batch, *sizes):
    edges = np.cumsum([0, *sizes])
    return [
        {name: value[start:end] for name, value in batch.items()}
        for start, end in itertools.pairwise(edges)
    ]


def test_mean_over_tokens_whatever_the_batches(xlmr, masked_batch):
    with torch.no_grad():
        whole = float(xlmr(**masked_batch).loss)
    for sizes in ((5,), (1, 4), (2, 2, 1)):
        found = perplexity(xlmr, split(masked_batch, *sizes))
        assert found.loss == pytest.approx(whole, rel=1e-5)
        assert found.perplexity == pytest.approx(np.exp(whole), rel=1e-5)
    with torch.no_grad():
        batch_means = [float(xlmr(**batch).loss) for batch in split(masked_batch, 1, 4)]
    assert abs(np.mean(batch_means) - whole) > 1e-3  # the published mean of batch means


def test_masks_dropout_and_mode(xlmr, masked_batch):
    xlmr.train()
    first = perplexity(xlmr, [masked_batch], gates=MASK.bits)
    np.testing.assert_array_equal(
        perplexity(xlmr, [masked_batch], gates=MASK.bits).sums, first.sums
    )
    assert xlmr.training
    xlmr.eval()
    with head_gates(xlmr, MASK.bits), torch.no_grad():
        assert first.loss == pytest.approx(float(xlmr(**masked_batch).loss), rel=1e-5)


def test_bootstrap_agrees_with_a_loop():
    rng = np.random.default_rng(0)
    losses = Losses(rng.gamma(20, 2, 40), rng.integers(5, 15, 40))
    weights = bootstrap_weights(40, 3000, seed=1)
    assert (weights.sum(axis=1) == 40).all()
    drawn = np.repeat(np.arange(40), weights[7])
    expected = losses.sums[drawn].sum() / losses.counts[drawn].sum()
    assert log_perplexities(losses, weights)[7] == pytest.approx(expected)
    low, high = interval(log_perplexities(losses, weights))
    assert low < losses.perplexity < high
    slow = []
    for _ in range(3000):
        rows = rng.integers(0, 40, 40)
        slow.append(losses.sums[rows].sum() / losses.counts[rows].sum())
    np.testing.assert_allclose((low, high), np.exp(np.quantile(slow, [0.025, 0.975])), rtol=0.03)


def test_ratios_are_paired():
    rng = np.random.default_rng(0)
    counts = np.full(50, 10)
    full = Losses(rng.gamma(20, 2, 50), counts)
    part = Losses(full.sums + 1.0, counts)  # every example worse by the same
    weights = bootstrap_weights(50, 500, seed=1)
    low, high = interval(log_perplexities(part, weights) - log_perplexities(full, weights))
    np.testing.assert_allclose((low, high), np.exp(0.1))


def test_table(xlmr, masked_batch):
    batches = {"en": split(masked_batch, 3), "zh": split(masked_batch, 1, 4)}
    masks = dict.fromkeys(("en/d0", "en/d1", "zh/d0", "random/zh/2", "union"), MASK)
    options = {"resamples": 50, "seed": 1}
    full = perplexity_table(xlmr, batches, {}, **options)
    assert full["kind"].tolist() == ["full", "full"]
    assert full[["ratio", "kept", "draw"]].isna().all(axis=None)
    table = perplexity_table(xlmr, batches, masks, **options)
    assert table.groupby("mask").size().to_dict() == {
        "en/d0": 2,
        "en/d1": 1,  # later draws on their own language only
        "random/zh/2": 2,
        "union": 2,
        "zh/d0": 2,
    }
    for _, row in table.iterrows():
        whole = full[full["language"] == row["language"]].iloc[0]
        assert row["ratio"] == pytest.approx(row["perplexity"] / whole["perplexity"])
        assert row["low"] <= row["perplexity"] <= row["high"]
        assert row["ratio_low"] <= row["ratio_high"]
        assert (row["kept"], row["heads"]) == (6, 12)
    assert table.loc[table["mask"] == "random/zh/2", "draw"].eq(2).all()
    assert describe_mask("union") == {"kind": "union", "mask_language": None, "draw": None}


def test_a_loss_that_is_not_finite_is_refused(xlmr, masked_batch):
    with torch.no_grad():
        xlmr.lm_head.bias[7] = torch.inf
    with pytest.raises(BabelscopeError, match="not a finite number"):
        perplexity(xlmr, [masked_batch])
    with pytest.raises(ValueError, match="no batches"):
        perplexity(xlmr, [])


def test_a_single_example_has_no_interval(xlmr, masked_batch):
    batches = {"en": split(masked_batch, 5), "hi": split(masked_batch, 1)}
    with pytest.raises(BabelscopeError, match="single test window of hi"):
        perplexity_table(xlmr, batches, {}, resamples=50, seed=1)


def test_unigram_losses_agree_with_a_loop():
    counts = np.array([0, 5, 3, 0])  # of 2 kinds, so with a half each: 0.5, 5.5, 3.5, 0.5 of 10
    labels = torch.tensor([[-100, 1, 2], [3, -100, -100], [-100, -100, -100]])
    losses = unigram_losses([{"labels": labels[:2]}, {"labels": labels[2:]}], counts)
    expected = [-np.log(0.55) - np.log(0.35), -np.log(0.05), 0.0]
    assert losses.sums == pytest.approx(expected)
    assert losses.counts.tolist() == [2, 1, 0]


def test_unigram_perplexity_is_that_of_a_network_without_weights(xlmr, masked_batch):
    counts = np.arange(xlmr.config.vocab_size)
    with torch.no_grad():
        for parameter in xlmr.parameters():
            parameter.zero_()
        xlmr.lm_head.bias.copy_(torch.from_numpy(log_frequencies(counts)))
    batches = {"de": split(masked_batch, 2, 3)}
    network = perplexity_table(xlmr, batches, {}, resamples=40, seed=3)
    table = unigram_table(batches, {"de": counts}, resamples=40, seed=3)
    assert list(table.columns) == [
        *("language", "loss", "perplexity", "low", "high", "n_tokens", "n_examples")
    ]
    for name in ("loss", "perplexity", "low", "high", "n_tokens", "n_examples"):
        assert table[name].tolist() == pytest.approx(network[name].tolist(), rel=1e-5)


def test_a_unigram_model_of_a_single_example_has_no_interval(masked_batch):
    batches = {"de": [{name: value[:1] for name, value in masked_batch.items()}]}
    with pytest.raises(BabelscopeError, match="single test window of de"):
        unigram_table(batches, {"de": np.ones(1000)}, resamples=10, seed=1)
