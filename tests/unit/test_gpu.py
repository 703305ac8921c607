"""On a GPU everything gives the CPU's result."""

import copy

import numpy as np
import pytest
import torch

from babelscope.config import TaskTraining
from babelscope.evaluation.perplexity import perplexity
from babelscope.models.masked_head import example_losses, token_losses
from babelscope.models.modes import arithmetic
from babelscope.subnetworks.head_pruning import prune_heads_iteratively
from babelscope.subnetworks.importance import head_importance
from babelscope.training.fitting import count_all, fit

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


class Hidden:
    """Examples of a batch, as a task."""

    name = "mlm"

    def batch(self, examples, rows, *, seed, epoch):
        whole = {name: torch.stack([example[name] for example in examples]) for name in FIELDS}
        return {name: value[rows] for name, value in whole.items()}

    def losses(self, model, batch):
        losses, targets = token_losses(model, batch)
        return losses.sum(), torch.tensor(len(targets.tokens))

    def count(self, model, batch):
        sums, counts = example_losses(model, batch)
        return torch.stack([sums.cpu(), counts], dim=1).double()


FIELDS = ("input_ids", "attention_mask", "labels")


@pytest.mark.parametrize(("precision", "tolerance"), [*PRECISIONS, ("fp16", 3e-2)])
def test_fitting_under_masks(pair, masked_batch, tmp_path, precision, tolerance):
    examples = [{name: masked_batch[name][row] for name in FIELDS} for row in range(5)]
    settings = TaskTraining(
        lr={"default": 1.0},
        weight_decay=0.1,
        warmup=0.2,
        schedule="linear",
        epochs=4,
        max_steps=None,
        batch_size=2,
        accumulation=2,
        gradient_checkpointing=False,
        max_grad_norm=1.0,
        logging_steps=2,
        save_steps=2,
    )
    here, there = pair
    generator = torch.Generator().manual_seed(0)
    masks = {
        name: torch.rand(value.shape, generator=generator) < 0.5
        for name, value in here.named_parameters()
        if ".layer." in name and value.ndim == 2
    }
    again = copy.deepcopy(there)
    courses, counts = [], []

    def kill(done):
        if done == 3:
            raise KeyboardInterrupt

    for model, device, kind in (
        (here, "cpu", "float32"),
        (there, DEVICE, precision),
        (again, DEVICE, precision),
    ):
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        options = {"rate": 1e-3, "seed": 1, "device": device, "precision": kind, "masks": masks}
        if model is again:
            killed = copy.deepcopy(again)
            with pytest.raises(KeyboardInterrupt):
                fit(killed, Hidden(), examples, settings, folder=tmp_path, on_step=kill, **options)
        rows = fit(model, Hidden(), examples, settings, folder=tmp_path, **options)
        courses.append([row["loss"] for row in rows])
        for name, value in model.named_parameters():
            if name in masks:
                assert (value.detach().cpu()[~masks[name]] == 0).all()
        options = {"batch_size": 2, "seed": 1, "device": device, "precision": kind}
        counts.append(count_all(model, Hidden(), examples, **options))
    for course, count in zip(courses[1:], counts[1:], strict=True):
        assert relative(course, courses[0]) < tolerance
        assert relative(count[:, 0], counts[0][:, 0]) < tolerance
