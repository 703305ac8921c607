"""What tickets of several languages share: intersection and union, and how large they are."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from babelscope.subnetworks.masks import PackedMatrix, WeightMask, unpack
from babelscope.subnetworks.ticket_overlap import TICKET, Packed, Ticket, common_matrices

FEW = 16  # languages, of which all subsets are looked at


def shared_masks(masks: Mapping[Any, Packed]) -> tuple[WeightMask, WeightMask]:
    """Return the masks of the weights that all masks keep, and of those that any keeps.

    Parameters
    ----------
    masks
        One or more of one architecture, by whatever names them in messages.

    Returns
    -------
    tuple
        Intersection and union, with every matrix under its own name, for the network that all
        masks are for, if their files say so. The intersection may be empty.

    Raises
    ------
    BabelscopeError
        If masks are of different architectures.
    """
    every, some, places = {}, {}, {}
    for name, matrices in common_matrices(masks):
        bits = [matrix.bits for matrix in matrices]
        places[name] = matrices[0].place
        every[name] = unpack(np.bitwise_and.reduce(bits), matrices[0].shape)
        some[name] = unpack(np.bitwise_or.reduce(bits), matrices[0].shape)
    networks = {getattr(mask, "network", "") for mask in masks.values()}
    network = networks.pop() if len(networks) == 1 else ""
    return WeightMask(every, places, network), WeightMask(some, places, network)


def sharing_tables(masks: Mapping[Ticket, Packed]) -> pd.DataFrame:
    """Return :func:`sharing_table` of the published variant for every ``seed`` and ``task``."""
    groups: dict[tuple[int | None, str | None], dict[Any, Packed]] = {}
    for ticket, mask in masks.items():
        if ticket.variant == TICKET:
            groups.setdefault((ticket.seed, ticket.task), {})[ticket] = mask
    tables = [
        sharing_table(group).assign(seed=seed, task=task) for (seed, task), group in groups.items()
    ]
    return pd.concat(tables, ignore_index=True)


def sharing_table(masks: Mapping[Any, Packed]) -> pd.DataFrame:
    """Return how much of a network any number of languages share.

    Parameters
    ----------
    masks
        Tickets of one task and seed, one per language.

    Returns
    -------
    pandas.DataFrame
        ``languages`` (k), ``operation``, ``share``, ``low, high``, ``expected``, ``subsets``, ``n``
        (weights). For ``intersection`` and ``union`` of k = 1, 2, ... languages: the mean share of
        weights in it over all subsets of k languages, the least and the largest of these shares (NA
        beyond 16 languages), and how many subsets there are. For ``exactly``, k = 0, 1, ...: the
        share of weights that k of all languages keep, no more and no fewer.

    Notes
    -----
    ``expected`` is the share if each ticket kept as many weights of each matrix at random and
    independently of the others. The mean over subsets follows from the numbers of languages that
    keep a weight: a weight that v of L languages keep is in the intersection of k with probability
    C(v, k) / C(L, k), and outside their union with C(L - v, k) / C(L, k). The range needs the
    number of weights that just these languages keep, for every subset of them.
    """
    count = len(masks)
    patterns = np.zeros(2**count if count <= FEW else 0, dtype=np.int64)
    votes = np.zeros(count + 1, dtype=np.int64)  # weights kept by 0, 1, ... languages
    chance = np.zeros(count + 1)
    for _, matrices in common_matrices(masks):
        size = math.prod(matrices[0].shape)
        if len(patterns):
            patterns += np.bincount(_codes(matrices, size), minlength=len(patterns))
        else:
            votes += np.bincount(sum(_bits(one, size) for one in matrices), minlength=len(votes))
        chance += size * _votes_by_chance([_bits(one, size).mean() for one in matrices])
    if len(patterns):
        keeping = np.bitwise_count(np.arange(len(patterns)))
        votes = np.bincount(keeping, weights=patterns, minlength=len(votes))
    n = int(votes.sum())
    rows: list[tuple[Any, ...]] = [
        (k, "exactly", votes[k] / n, votes[k] / n, votes[k] / n, chance[k] / n, 1)
        for k in range(count + 1)
    ]
    ranges = _ranges(patterns)
    for operation, mean in (("intersection", _mean_intersection), ("union", _mean_union)):
        for k in range(1, count + 1):
            share, expected = mean(votes, k) / n, mean(chance, k) / n
            ends = [end / n for end in ranges[operation, k]] if ranges else [None, None]
            rows.append((k, operation, share, *ends, expected, math.comb(count, k)))
    columns = ["languages", "operation", "share", "low", "high", "expected", "subsets"]
    table = pd.DataFrame(rows, columns=columns).astype({"low": "Float64", "high": "Float64"})
    return table.assign(n=n)


def _bits(matrix: PackedMatrix, size: int) -> np.ndarray:
    return np.unpackbits(matrix.bits, count=size)


def _codes(matrices: Sequence[PackedMatrix], size: int) -> np.ndarray:
    """Return for each weight the languages that keep it: language i as 2**i."""
    codes = np.zeros(size, dtype=np.uint16)
    for number, matrix in enumerate(matrices):
        codes |= _bits(matrix, size).astype(np.uint16) << number
    return codes


def _votes_by_chance(densities: Sequence[float]) -> np.ndarray:
    """Return the probabilities that 0, 1, ... of independent masks keep a weight."""
    probability = np.ones(1)
    for density in densities:
        probability = np.convolve(probability, [1 - density, density])
    return probability


def _mean_intersection(votes: np.ndarray, k: int) -> float:
    """Return the mean size of the intersection of k languages, over all subsets of so many."""
    count = len(votes) - 1
    chosen = [math.comb(vote, k) / math.comb(count, k) for vote in range(count + 1)]
    return float(votes @ np.array(chosen))


def _mean_union(votes: np.ndarray, k: int) -> float:
    """Return the mean size of the union: what is not in the intersection of what is dropped."""
    return float(votes.sum()) - _mean_intersection(votes[::-1], k)


def _ranges(patterns: np.ndarray) -> dict[tuple[str, int], tuple[int, int]]:
    """Return the least and largest size of intersections and unions of each number of languages."""
    if not len(patterns):
        return {}
    count = len(patterns).bit_length() - 1
    cube = patterns.reshape((2,) * count)  # an axis per language, 1: keeps the weight
    every, none = cube, cube
    for axis in range(count):
        dropped, kept = (np.take(every, [side], axis) for side in (0, 1))
        every = np.concatenate([dropped + kept, kept], axis)  # 1: is asked to keep it
        dropped, kept = (np.take(none, [side], axis) for side in (0, 1))
        none = np.concatenate([dropped + kept, dropped], axis)  # 1: is asked to drop it
    asked = np.bitwise_count(np.arange(len(patterns)))
    sizes = {"intersection": every.ravel(), "union": patterns.sum() - none.ravel()}
    return {
        (operation, k): (int(found[asked == k].min()), int(found[asked == k].max()))
        for operation, found in sizes.items()
        for k in range(1, count + 1)
    }
