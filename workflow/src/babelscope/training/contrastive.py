"""Losses that draw sentences together which belong together, and batches too large to hold.

All are functions of embeddings, on whatever device, and use cosine similarity. They compute in
float32 at least, inside of autocast too: 20 times a cosine of three digits is not a logit.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy, normalize
from torch.utils.checkpoint import checkpoint


class HardNegatives(NamedTuple):
    """Further candidates, each made to be mistaken for the partner of one row.

    Attributes
    ----------
    vectors
        Shape (m, d).
    owners
        Shape (m,), the row that each was made for; not every row need have one.
    groups
        Shape (m,), as the groups of rows: one that says what a row says is no negative of that row.
    weight
        Added to the score of a row and its own hard negative (Gao, Yao & Chen 2021); 0 makes it a
        candidate like the others.
    """

    vectors: torch.Tensor
    owners: torch.Tensor
    groups: torch.Tensor
    weight: float = 0.0


def info_nce(
    a: torch.Tensor,
    b: torch.Tensor,
    *,
    temperature: float = 0.05,
    symmetric: bool = True,
    groups: torch.Tensor | None = None,
    negatives: HardNegatives | None = None,
) -> torch.Tensor:
    """Return how badly each row finds its partner among the others, in nats, a mean over rows.

    Parameters
    ----------
    a, b
        Shape (n, d); row i of `a` belongs to row i of `b`, all other rows of `b` are its negatives.
    temperature
        Divides the cosines; > 0.
    symmetric
        The mean of both directions, so that exchanging `a` and `b` changes nothing; otherwise only
        `a` looks for its partners in `b`.
    groups
        Shape (n,), equal numbers for rows that say the same, which are no negatives of each other;
        None if no two do.
    negatives
        Candidates beside the other rows, in both directions; they need `groups`.

    Raises
    ------
    ValueError
        If the shapes disagree.

    Notes
    -----
    Oord et al. (2018), equation 4, with cosines.
    """
    _check(a, b)
    if groups is not None and groups.shape != a.shape[:1]:
        raise ValueError(f"groups {tuple(groups.shape)} for {len(a)} rows")
    if negatives is not None and groups is None:
        raise ValueError("hard negatives need groups")
    scores = _cosines(a, b) / temperature  # (n, n)
    if groups is not None:
        same = groups[:, None] == groups
        same.fill_diagonal_(False)
        scores = scores.masked_fill(same, float("-inf"))
    right = torch.arange(len(a), device=a.device)
    directions = [(a, scores), (b, scores.T)] if symmetric else [(a, scores)]
    losses = []
    for rows, candidates in directions:
        if negatives is not None and groups is not None:
            own = negatives.owners == right[:, None]  # (n, m)
            further = _cosines(rows, negatives.vectors) / temperature + negatives.weight * own
            further = further.masked_fill(negatives.groups == groups[:, None], float("-inf"))
            candidates = torch.cat([candidates, further], dim=1)
        losses.append(cross_entropy(candidates, right))
    return torch.stack(losses).mean()


def ranking_loss(
    anchors: torch.Tensor,
    positives: torch.Tensor,
    negatives: torch.Tensor | None = None,
    *,
    scale: float = 20.0,
) -> torch.Tensor:
    """Return how badly each anchor finds its positive among all candidates, a mean in nats.

    Parameters
    ----------
    anchors, positives
        Shape (n, d), row by row.
    negatives
        Shape (m, d), hard negatives, which are candidates of every anchor beside the n positives.
        m need not be n: not every row has one.
    scale
        Times the cosines; the inverse of a temperature.

    Raises
    ------
    ValueError
        If the shapes disagree.

    Notes
    -----
    Multiple negatives ranking, Henderson et al. (2017), section 4.4, with cosines.
    """
    _check(anchors, positives)
    candidates = positives if negatives is None else torch.cat([positives, negatives])
    scores = scale * _cosines(anchors, candidates)  # (n, n + m)
    return cross_entropy(scores, torch.arange(len(anchors), device=anchors.device))


def cosine_loss(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the mean over rows of 1 - cosine, in [0, 2].

    Parameters
    ----------
    a, b
        Shape (n, d); row i of `a` belongs to row i of `b`.

    Raises
    ------
    ValueError
        If the shapes disagree.
    """
    _check(a, b)
    return (1 - (_directions(a) * _directions(b)).sum(dim=1)).mean()


def embed_in_parts(
    embed: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    parts: Sequence[tuple[torch.Tensor, torch.Tensor]],
    *,
    cached: bool,
) -> torch.Tensor:
    """Embed a batch in several forward passes.

    Parameters
    ----------
    embed
        From ids and attention mask, shape (texts, time), to vectors, shape (texts, d).
    parts
        What each forward pass reads.
    cached
        Keep nothing of a forward pass but its vectors, and repeat it in the backward pass, with the
        same dropout, when the gradient of its vectors is known (Gao et al. 2021). Gradients are
        the same ones; a batch of any size takes the memory of one part, and a third more time.

    Returns
    -------
    Shape (texts of all parts, d), in the order of the parts.
    """
    if not cached:
        return torch.cat([embed(ids, mask) for ids, mask in parts])
    vectors = [checkpoint(embed, ids, mask, use_reentrant=False) for ids, mask in parts]
    return torch.cat(vectors)  # pyright: ignore


def _check(a: torch.Tensor, b: torch.Tensor) -> None:
    if a.ndim != 2 or a.shape != b.shape or not len(a):
        raise ValueError(f"{tuple(a.shape)} and {tuple(b.shape)} are not rows that belong together")


def _directions(vectors: torch.Tensor) -> torch.Tensor:
    half = vectors.dtype in (torch.bfloat16, torch.float16)
    return normalize(vectors.float() if half else vectors, dim=1)


def _cosines(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    with torch.autocast(a.device.type, enabled=False):
        return _directions(a) @ _directions(b).T
