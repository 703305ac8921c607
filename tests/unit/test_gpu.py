"""On a GPU everything gives the CPU's result."""

import copy

import numpy as np
import pytest
import torch

from babelscope.evaluation.perplexity import perplexity
from babelscope.models.masked_head import token_losses
from babelscope.models.modes import arithmetic
from babelscope.subnetworks.head_pruning import prune_heads_iteratively
from babelscope.subnetworks.importance import head_importance

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
PRECISIONS = [("float32", 1e-4), ("bf16", 3e-2)]


@pytest.fixture
def pair(xlmr):
    """Return a tiny model on the CPU and its copy on the GPU."""
    return xlmr, copy.deepcopy(xlmr).to(DEVICE)


def relative(found, wanted) -> float:
    return np.abs(np.asarray(found) - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS)
def test_importance(pair, masked_batch, precision, tolerance):
    here, there = pair
    wanted = head_importance(here, [masked_batch])
    found = head_importance(there, [masked_batch], precision=precision)
    assert relative(found.raw, wanted.raw) < tolerance
    assert relative(found.losses.sums, wanted.losses.sums) < tolerance


def test_importance_in_fp16_keeps_small_gradients(pair, masked_batch):
    here, there = pair
    wanted = head_importance(here, [masked_batch]).raw
    found = head_importance(there, [masked_batch], precision="fp16").raw
    assert relative(found, wanted) < 3e-2
    assert (found > 0).all()


@pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS)
def test_perplexity_under_a_mask(pair, masked_batch, precision, tolerance):
    here, there = pair
    gates = np.arange(12).reshape(3, 4) % 5 != 0
    wanted = perplexity(here, [masked_batch], gates=gates)
    found = perplexity(there, [masked_batch], gates=gates, precision=precision)
    assert relative(found.sums, wanted.sums) < tolerance
    np.testing.assert_array_equal(found.counts, wanted.counts)


def test_pruning(pair, masked_batch):
    wanted, found = (prune_heads_iteratively(model, [masked_batch], step=0.2) for model in pair)
    np.testing.assert_array_equal(found.masks, wanted.masks)
    np.testing.assert_array_equal(found.order, wanted.order)


@pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS)
def test_training_steps(pair, masked_batch, precision, tolerance):
    courses = []
    for model, kind in zip(pair, ("float32", precision), strict=True):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        course = []
        for _ in range(4):
            optimizer.zero_grad()
            with arithmetic(model, kind):
                loss = token_losses(model, masked_batch)[0].mean()
            loss.backward()
            optimizer.step()
            course.append(loss.item())
        courses.append(course)
    assert relative(courses[1], courses[0]) < tolerance


@pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS)
def test_encoding(pair, precision, tolerance):
    from transformers import XLMRobertaTokenizer

    from babelscope.representations.encoding import encode_corpus

    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    words = [(f"▁w{word}", -10.0) for word in range(90)]
    tokenizer = XLMRobertaTokenizer(vocab=[*special, *words, ("<mask>", 0.0)])
    sentences = [" ".join(f"w{word}" for word in range(end)) for end in (3, 40, 1, 17, 8)]
    options = {"poolings": ["mean"], "batch_tokens": 64, "max_tokens": 60}
    here, there = pair
    wanted = encode_corpus(here, tokenizer, sentences, device="cpu", **options).states["mean"]
    found = encode_corpus(
        there, tokenizer, sentences, device=DEVICE, precision=precision, **options
    ).states["mean"]
    assert relative(found, wanted) < tolerance
