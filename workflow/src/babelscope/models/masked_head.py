"""Language-model losses whose output layer sees only the positions that are predicted.

With 250 000 words and 15 % of the positions masked, logits at the other 85 % are most of the
arithmetic and nearly all of the memory of a step, and nobody reads them. A hook in front of the
output layer leaves them out, so the model is called as ever: under DistributedDataParallel,
``torch.compile`` or autocast the loss is the same number. The logits that are left are still the
largest array of a step; their cross entropy is taken by rows, and their gradient in their place.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from babelscope.errors import BabelscopeError
from babelscope.models.anatomy import anatomy
from babelscope.models.masking import IGNORED

PART = 2**24  # logits dealt with at a time: 64 MiB in float32


@dataclass(frozen=True)
class Targets:
    """The predicted positions of a batch.

    Attributes
    ----------
    positions
        Index of each in the flattened (batch * time) states that predict, shape (predicted,).
    tokens
        The right token of each, shape (predicted,).
    examples
        The row of the batch each belongs to, shape (predicted,).
    """

    positions: torch.Tensor
    tokens: torch.Tensor
    examples: torch.Tensor

    def to(self, device: torch.device | str) -> "Targets":
        """Return a copy on a device, without waiting for it."""
        parts = (self.positions, self.tokens, self.examples)
        return Targets(*(part.to(device, non_blocking=True) for part in parts))


@dataclass(frozen=True, eq=False)
class Losses:
    """Losses of examples.

    Attributes
    ----------
    sums
        Each example's loss in nats, summed over its predicted tokens; float64, shape (examples,).
    counts
        Each example's number of predicted tokens, shape (examples,).
    """

    sums: np.ndarray
    counts: np.ndarray

    def __post_init__(self) -> None:
        bad = np.flatnonzero(~np.isfinite(self.sums))
        if len(bad):
            raise BabelscopeError(
                f"The loss is not a finite number for {len(bad)} of {len(self.sums)} examples, the"
                f" first being number {bad[0]}.",
                "Check the model's weights, or set compute.precision to float32.",
            )

    @property
    def loss(self) -> float:
        """Mean over tokens, in nats."""
        return float(self.sums.sum() / self.counts.sum())

    @property
    def perplexity(self) -> float:
        """Exponential of the mean over tokens."""
        return math.exp(self.loss)


def find_targets(labels: torch.Tensor, *, causal: bool) -> Targets:
    """Return the predicted positions of labels, -100 where there is no loss.

    Parameters
    ----------
    labels
        Shape (batch, time). Best on the CPU: finding them on a GPU makes the host wait.
    causal
        The state at t - 1 predicts the label at t, as in GPT-2; the first label is then unused.
    """
    if causal:
        labels = labels.clone()
        labels[:, 0] = IGNORED
    flat = torch.nonzero(labels.flatten() != IGNORED).squeeze(-1)
    examples = torch.div(flat, labels.shape[1], rounding_mode="floor")
    return Targets(flat - int(causal), labels.flatten()[flat], examples)


@contextmanager
def head_sees(model: nn.Module, positions: torch.Tensor) -> Iterator[None]:
    """Let the output layer see only some positions while the block runs.

    Parameters
    ----------
    model
        The model itself, not its DistributedDataParallel or compiled wrapper, which is what may be
        called inside the block.
    positions
        Indices into the flattened states, shape (predicted,), on the model's device. Logits are
        then of shape (predicted, vocabulary).
    """
    head = anatomy(model).lm_head
    if head is None:
        raise BabelscopeError(
            f"{type(model).__name__} has no language-model head.",
            "Use a checkpoint whose architecture ends in ForMaskedLM, LMHeadModel or the like.",
        )

    def select(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return inputs[0].flatten(0, 1).index_select(0, positions), *inputs[1:]

    handle = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


def cross_entropies(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy of every row of logits, holding little beside the logits.

    Values and gradients are those of ``functional.cross_entropy(logits.float(), tokens,
    reduction="none")``, which holds three float32 arrays of their shape in a training step.

    Parameters
    ----------
    logits
        Shape (predicted, vocabulary). The backward pass, of which there can be one, overwrites
        them with their gradient, so nothing else may read them after it.
    tokens
        The right token of each row, shape (predicted,).

    Returns
    -------
    losses
        In nats, shape (predicted,); float32, or float64 if the logits are.
    """
    return _CrossEntropies.apply(logits, tokens)  # pyright: ignore


class _CrossEntropies(torch.autograd.Function):
    """The arithmetic of :func:`cross_entropies`; a row's never depends on the other rows."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(logits, tokens)
        return torch.cat([_entropies(*part) for part in _parts(logits, tokens)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits, tokens = ctx.saved_tensors  # refuses if they were overwritten before
        logits = logits.detach()
        for rows, right, slopes in _parts(logits, tokens, *gradients):
            with torch.enable_grad():
                leaf = rows.detach().requires_grad_()
                losses = _entropies(leaf, right)
            rows.copy_(torch.autograd.grad(losses, leaf, slopes)[0])
        return logits, None


def _parts(logits: torch.Tensor, *others: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Cut arrays of equally many rows into parts with no more than `PART` logits."""
    rows = max(PART // logits.shape[1], 1)
    return zip(*(array.split(rows) for array in (logits, *others)), strict=True)


def _entropies(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return functional.cross_entropy(exact, tokens, reduction="none")


def token_losses(
    model: nn.Module, batch: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, Targets]:
    """Return the cross entropy of every predicted token.

    Parameters
    ----------
    model
        A model with a language-model head.
    batch
        ``input_ids`` and ``labels`` (-100 where there is no loss), shape (batch, time), and
        ``attention_mask`` if there is padding. Labels are best left on the CPU.

    Returns
    -------
    losses
        In nats, shape (predicted,), on the model's device.
    targets
        What was predicted, on the labels' device.
    """
    device = next(model.parameters()).device
    labels = batch["labels"]
    causal = anatomy(model).causal
    targets = find_targets(labels, causal=causal)
    inputs: dict[str, Any] = {
        name: value.to(device, non_blocking=True)
        for name, value in batch.items()
        if name != "labels"
    }
    if model.config.is_encoder_decoder:  # pyright: ignore
        shifted = model.prepare_decoder_input_ids_from_labels(labels=labels)  # pyright: ignore
        inputs |= {"decoder_input_ids": shifted.to(device), "use_cache": False}
    elif causal:
        inputs["use_cache"] = False
    there = targets.to(device)
    with head_sees(model, there.positions):
        logits = model(**inputs).logits  # (predicted, vocabulary)
    return cross_entropies(logits, there.tokens), targets


def example_losses(
    model: nn.Module, batch: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each example's summed loss in nats and its number of predicted tokens.

    Returns
    -------
    sums, counts
        Shape (batch,), on the model's and on the labels' device.

    Raises
    ------
    ValueError
        If an example has no label.
    """
    losses, targets = token_losses(model, batch)
    size = len(batch["labels"])
    counts = torch.bincount(targets.examples, minlength=size)
    if not bool(counts.all()):
        raise ValueError("an example of the batch has no label")
    examples = targets.examples.to(losses.device, non_blocking=True)
    return losses.new_zeros(size).index_add(0, examples, losses), counts
