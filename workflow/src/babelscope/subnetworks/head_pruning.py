"""Removing the least important attention heads round by round."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from babelscope.models.anatomy import anatomy
from babelscope.progress import progress
from babelscope.subnetworks.budgets import heads_at
from babelscope.subnetworks.importance import Importance, head_importance
from babelscope.subnetworks.trajectory import Trajectory, select_mask

__all__ = ["prune_heads_iteratively", "select_mask"]


def prune_heads_iteratively(
    model: Any,
    batches: Sequence[Mapping[str, torch.Tensor]],
    *,
    step: float = 0.1,
    max_ratio: float | None = None,
    max_sparsity: float | None = None,
    stack: str | None = None,
    precision: str = "float32",
) -> Trajectory:
    """Remove heads in rounds, measuring importance and perplexity anew before each.

    Parameters
    ----------
    model
        A language model with all its heads; unchanged on return.
    batches
        Dicts of ``input_ids``, ``labels`` and ``attention_mask``; the same in every round, so that
        rounds are compared on the same predictions. Never of the split that later scores the mask.
    step
        Share of *all* heads that a round removes, in (0, 1); at least one head.
    max_ratio, max_sparsity
        Stop once the perplexity exceeds `max_ratio` times the full model's *and* the sparsity has
        reached `max_sparsity`. Without either, or where a ratio is never exceeded, one head stays.
    stack
        Which stack, where a model has several: ``encoder``, ``decoder`` or ``cross``.
    precision
        ``float32``, ``bf16`` or ``fp16``.

    Notes
    -----
    A round removes the heads that are least important after normalization (ties: the lower layer,
    then the lower head, goes first) and records their order, so that a mask of any size can be cut
    from the trajectory, not only those at the end of a round. A layer may lose all its heads.
    """
    if not 0 < step < 1:
        raise ValueError(f"step is {step}, not between 0 and 1")
    heads = anatomy(model).stack(stack).heads
    shape = (len(heads), max(heads))
    total = shape[0] * shape[1]
    count = max(1, round(step * total))
    target = 1 if max_sparsity is None else heads_at(max_sparsity, total)
    mask = np.ones(shape, dtype=bool)
    rounds: list[tuple[np.ndarray, Importance]] = []
    order: list[int] = []
    for _ in progress(itertools.count(), "rounds of pruning"):
        found = head_importance(model, batches, gates=mask, stack=stack, precision=precision)
        rounds.append((mask, found))
        alive = np.flatnonzero(mask)
        ranked = alive[np.argsort(found.normalized.ravel()[alive], kind="stable")]
        limits = []
        if max_ratio is not None:
            limits.append(found.losses.perplexity > max_ratio * rounds[0][1].losses.perplexity)
        if max_sparsity is not None:
            limits.append(len(alive) <= target)
        if len(alive) == 1 or (limits and all(limits)):
            break
        removed = ranked[: min(count, len(alive) - 1)]
        order.extend(removed.tolist())
        mask = mask.copy()
        mask.ravel()[removed] = False
    all_losses = [found.losses for _, found in rounds]
    return Trajectory(
        masks=np.stack([mask for mask, _ in rounds]),
        raw=np.stack([found.raw for _, found in rounds]),
        normalized=np.stack([found.normalized for _, found in rounds]),
        losses=np.array([losses.loss for losses in all_losses]),
        perplexities=np.array([losses.perplexity for losses in all_losses]),
        examples=np.array([len(all_losses[0].counts)]),
        tokens=np.array([all_losses[0].counts.sum()]),
        order=np.array(order + ranked.tolist()),
    )
