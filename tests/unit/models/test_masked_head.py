"""Losses through predicted positions only equal those through full logits."""

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from babelscope.errors import BabelscopeError
from babelscope.models import masked_head
from babelscope.models.masked_head import (
    cross_entropies,
    example_losses,
    find_targets,
    head_sees,
    token_losses,
)

FAMILIES = ["bert", "roberta", "xlm-roberta", "t5", "mt5", "gpt2", "llama", "bloom", "xglm"]


def full_losses(model, batch):
    """Cross entropies through full logits, shape (batch, time), 0 where there is no label."""
    labels = batch["labels"]
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(labels=labels)
    logits = model(**inputs).logits
    if model.config.model_type in ("gpt2", "llama", "bloom", "xglm"):
        logits, labels = logits[:, :-1], labels[:, 1:]
    return functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none"), labels


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_to_full_logits_per_example_and_in_the_gradient(make_model, masked_batch, family):
    model = make_model(family)
    full, labels = full_losses(model, masked_batch)
    sums, counts = example_losses(model, masked_batch)
    torch.testing.assert_close(sums, full.sum(dim=1), rtol=1e-5, atol=1e-5)
    assert counts.tolist() == (labels != -100).sum(dim=1).tolist()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    expected = torch.autograd.grad(full.sum(), parameters, allow_unused=True)
    found = torch.autograd.grad(sums.sum(), parameters, allow_unused=True)
    for one, other in zip(expected, found, strict=True):
        if one is not None:
            torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4)


def test_the_head_sees_labelled_positions_only_and_recovers(xlmr, masked_batch):
    labels = masked_batch["labels"]
    inputs = {name: masked_batch[name] for name in ("input_ids", "attention_mask")}
    full = xlmr(**inputs).logits
    targets = find_targets(labels, causal=False)
    with head_sees(xlmr, targets.positions):
        some = xlmr(**inputs).logits
    torch.testing.assert_close(some, full[labels != -100], rtol=1e-5, atol=1e-5)
    assert (targets.tokens == labels[labels != -100]).all()
    assert (targets.examples == torch.nonzero(labels != -100)[:, 0]).all()
    assert xlmr(**inputs).logits.shape == (5, 12, 100)


def test_mean_over_tokens_is_the_models_own_loss(xlmr, masked_batch):
    losses, _ = token_losses(xlmr, masked_batch)
    torch.testing.assert_close(losses.mean(), xlmr(**masked_batch).loss)


def test_an_example_without_label_is_refused(xlmr, masked_batch):
    masked_batch["labels"][3] = -100
    with pytest.raises(ValueError, match="no label"):
        example_losses(xlmr, masked_batch)


def test_a_model_without_head_is_refused(xlmr, masked_batch):
    with pytest.raises(BabelscopeError, match="no language-model head"):
        token_losses(xlmr.base_model, masked_batch)


def some_logits(dtype, rows=23, words=61):
    """Logits that a layer made, with its input, the right tokens and a weight of each loss."""
    numbers = torch.Generator().manual_seed(0)
    states = (4 * torch.randn(rows, words, generator=numbers)).to(dtype).requires_grad_()
    tokens = torch.randint(words, (rows,), generator=numbers)
    return states, states * 1, tokens, torch.randn(rows, generator=numbers)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("part", [1, 5 * 61, 2**24])
def test_cross_entropies_and_gradients_are_the_usual_ones_to_the_bit(monkeypatch, dtype, part):
    monkeypatch.setattr(masked_head, "PART", part)
    states, logits, tokens, weights = some_logits(dtype)
    exact = logits.double() if dtype == torch.float64 else logits.float()
    expected = functional.cross_entropy(exact, tokens, reduction="none")
    (slopes,) = torch.autograd.grad((expected * weights).sum(), states)
    states, logits, tokens, weights = some_logits(dtype)
    found = cross_entropies(logits, tokens)
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)
    assert torch.equal(torch.autograd.grad((found * weights).sum(), states)[0], slopes)


def test_cross_entropies_of_nothing_are_nothing():
    states, logits, tokens, _ = some_logits(torch.float32, rows=0)
    cross_entropies(logits, tokens).sum().backward()
    assert states.grad is not None
    assert states.grad.shape == (0, 61)


def test_logits_that_became_their_gradient_are_not_taken_for_logits():
    _, logits, tokens, _ = some_logits(torch.float32)
    loss = cross_entropies(logits, tokens).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_cross_entropies_hold_no_second_array_of_the_logits_size(monkeypatch):
    rows, words = 23, 61
    monkeypatch.setattr(masked_head, "PART", 4 * words)
    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            here = [one for one in tree_leaves(out) if isinstance(one, torch.Tensor)]
            sizes.extend(one.untyped_storage().nbytes() for one in here if not is_logits(one))
            return out

    def is_logits(one):
        return one.untyped_storage().data_ptr() == place

    _, logits, tokens, weights = some_logits(torch.float32, rows, words)
    place = logits.untyped_storage().data_ptr()
    with Watch():
        losses = cross_entropies(logits, tokens)
        slopes = torch.autograd.grad(losses, logits, weights)[0]
    assert is_logits(slopes)
    assert max(sizes) == 4 * words * 4
