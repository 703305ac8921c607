"""How alike tickets are: bits that masks of weights share, in every part of a network.

Masks stay packed. One pass over the matrices, all masks side by side, counts the weights that each
mask keeps and that both masks of a pair keep; every score of every part follows from these counts.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtr

from babelscope.errors import BabelscopeError
from babelscope.subnetworks.masks import POOLER, PackedMatrix, Place, may_be_missing
from babelscope.subnetworks.overlap import Chance, moments_of_both, moments_of_jaccard
from babelscope.subnetworks.scopes import scopes_of

TICKET, REPEAT = "ticket", "repeat"  # variants: as published, and another draw of it
EXACT = 2**10  # possible overlaps, up to which their distribution is computed, not approximated
SCORES = ["jaccard", "agreement", "expected", "sd", "z", "p", "ones_overlap", "sparsity_overlap"]
COUNTS = ["n", "kept_left", "kept_right"]

Packed = Mapping[str, PackedMatrix]


class Ticket(NamedTuple):
    """Which run of pruning a mask comes from; `UNTRAINED` comes from none."""

    seed: int | None
    variant: str
    task: str | None
    language: str | None

    def __str__(self) -> str:
        if self == UNTRAINED:
            return "of the largest untrained weights"
        return f"{self.task}/{self.language}/{self.variant} of seed {self.seed}"


UNTRAINED = Ticket(None, "untrained", None, None)
"""The mask of the largest weights of the network that all tickets begin with."""


@dataclass(frozen=True, eq=False)
class Counts:
    """Numbers of weights in each matrix.

    Attributes
    ----------
    places
        Of each matrix.
    size
        int64, shape (masks, matrices): its weights; 0 where a mask has no such matrix.
    kept
        int64, same shape: how many of them a mask keeps.
    pairs
        Shape (pairs, 2): the two masks of each pair, as rows of `kept`.
    both
        int64, shape (pairs, matrices): how many weights both masks of a pair keep.
    """

    places: Sequence[Place]
    size: np.ndarray
    kept: np.ndarray
    pairs: np.ndarray
    both: np.ndarray


def words_of(matrix: PackedMatrix) -> np.ndarray:
    """Return the bits of a matrix as uint64, zeros after the last weight."""
    size = math.prod(matrix.shape)
    if size % 64 == 0:
        return matrix.bits.view(np.uint64)
    words = np.zeros(-(-size // 64), dtype=np.uint64)
    whole = words.view(np.uint8)
    whole[: len(matrix.bits)] = matrix.bits
    if size % 8:
        whole[size // 8] &= 0xFF << (8 - size % 8) & 0xFF
    return words


def ones(words: np.ndarray) -> int:
    """Return the number of set bits."""
    return int(np.bitwise_count(words).sum(dtype=np.int64))


def matrix_names(masks: Mapping[Any, Packed]) -> list[str]:
    """Return the names of the matrices that masks of one architecture have.

    A pooler, or a whole decoder, may be missing in some: tasks that do not use it do not prune it.

    Raises
    ------
    BabelscopeError
        If a mask lacks another matrix; it names both masks.
    """
    names = dict.fromkeys(name for mask in masks.values() for name in mask)
    for name in names:
        without = [
            ticket
            for ticket, mask in masks.items()
            if name not in mask and not may_be_missing(name, mask)
        ]
        if without:
            having = next(ticket for ticket, mask in masks.items() if name in mask)
            raise _other_architecture(name, having, "there", without[0], "missing")
    return list(names)


def side_by_side(masks: Mapping[Any, Packed], name: str) -> dict[Any, PackedMatrix]:
    """Return one matrix of all masks that have it.

    Raises
    ------
    BabelscopeError
        If it has not the same shape in all of them.
    """
    found = {ticket: mask[name] for ticket, mask in masks.items() if name in mask}
    first = next(iter(found))
    for ticket, matrix in found.items():
        if matrix.shape != found[first].shape:
            shapes = (" x ".join(map(str, found[one].shape)) for one in (first, ticket))
            raise _other_architecture(name, first, next(shapes), ticket, next(shapes))
    return found


def common_matrices(masks: Mapping[Any, Packed]) -> Iterator[tuple[str, list[PackedMatrix]]]:
    """Yield name and masks of each matrix that all masks have; errors as in `side_by_side`."""
    for name in matrix_names(masks):
        found = side_by_side(masks, name)
        if len(found) == len(masks):
            yield name, list(found.values())


def _other_architecture(name: str, a: Any, shape_a: str, b: Any, shape_b: str) -> BabelscopeError:
    return BabelscopeError(
        f"The masks {a} and {b} are of different architectures: {name} is {shape_a} in the first"
        f" and {shape_b} in the second.",
        "Compare masks that were found in one model; delete those of another.",
    )


def count_bits(masks: Mapping[Any, Packed], pairs: Sequence[tuple[Any, Any]]) -> Counts:
    """Count the weights that each mask keeps, and that both masks of each pair keep.

    Parameters
    ----------
    masks
        Masks of one architecture, packed: dicts, or files that are read a matrix at a time
        (:class:`babelscope.subnetworks.masks.PackedMask`), of which one matrix of all masks is in
        memory.
    pairs
        Keys of `masks`. A pooler or a decoder that one mask of a pair lacks is left out.

    Raises
    ------
    BabelscopeError
        If masks are of different architectures.
    """
    rows = {ticket: row for row, ticket in enumerate(masks)}
    indices = np.array([[rows[a], rows[b]] for a, b in pairs]).reshape(-1, 2)
    names = matrix_names(masks)
    places = []
    size, kept = np.zeros((2, len(rows), len(names)), dtype=np.int64)
    both = np.zeros((len(pairs), len(names)), dtype=np.int64)
    for column, name in enumerate(names):
        found = side_by_side(masks, name)
        bits = {rows[ticket]: words_of(matrix) for ticket, matrix in found.items()}
        first = next(iter(found.values()))
        places.append(first.place)
        for row, words in bits.items():
            size[row, column] = math.prod(first.shape)
            kept[row, column] = ones(words)
        for pair, (a, b) in enumerate(indices.tolist()):
            if a in bits and b in bits:
                both[pair, column] = ones(bits[a] & bits[b])
    return Counts(places, size, kept, indices, both)


def ones_overlap(masks: Mapping[Any, Packed], *, pooler: bool = True) -> float:
    """Return the share of weights that all masks keep among those that any keeps.

    The "ones overlap" of Foroutan et al. (2022, arXiv 2205.12672) over a whole network: numerator
    and denominator are summed over all matrices. Of two masks it is their Jaccard index.

    Parameters
    ----------
    masks
        Two or more of one architecture.
    pooler
        Whether the pooler's matrix counts, as it did there whenever masks had one. In no case does
        it belong to a layer.

    Raises
    ------
    ValueError
        If all masks are empty.

    Notes
    -----
    The published program counts the last layer twice if there is a pooler: it adds the pooler to
    the sums of that layer, and these to the totals once more. What it prints is (I + i) / (U + u),
    with I and U the two sums over the network and i and u those over its last layer. In an mT5 its
    overlap of a layer is that of the layer's last matrix alone.
    """
    every, some, _ = _common(masks, pooler)
    if not some:
        raise ValueError("the ones overlap of empty masks is undefined")
    return every / some


def sparsity_overlap(masks: Mapping[Any, Packed], *, pooler: bool = True) -> float:
    """Return the share of weights that all masks keep or none does.

    The "sparsity overlap" of Foroutan et al. (2022); of two masks, their agreement. Parameters and
    the mistake of the published program are those of :func:`ones_overlap`.
    """
    every, some, size = _common(masks, pooler)
    return (every + size - some) / size


def _common(masks: Mapping[Any, Packed], pooler: bool) -> tuple[int, int, int]:
    """Return how many weights all masks keep, how many any keeps, and how many there are."""
    every = some = size = 0
    for name, matrices in common_matrices(masks):
        if pooler or POOLER not in name:
            bits = [words_of(matrix) for matrix in matrices]
            every += ones(np.bitwise_and.reduce(bits))
            some += ones(np.bitwise_or.reduce(bits))
            size += math.prod(matrices[0].shape)
    return every, some, size


def ticket_pairs(tickets: Sequence[Ticket]) -> dict[tuple[Ticket, Ticket], str]:
    """Return the pairs of tickets worth comparing, each with its relation.

    Returns
    -------
    dict
        Pair -> ``language`` (languages of one task and seed), ``task`` (tasks of one language and
        seed), ``draw`` (one task and language drawn twice: the variant ``repeat`` of the same
        seed, or another seed) or ``untrained`` (a ticket and `UNTRAINED`, if that is there; it
        stands on the right). Other variants are compared with nothing.

    Notes
    -----
    Two languages' tickets of one seed share the task's random head, dropout, and the order of
    examples by number; two draws share none of these. So a draw is no upper bound of the overlap
    of languages: of tiny networks with parallel examples, languages agree more.
    """
    found = {}
    for a, b in combinations(tickets, 2):
        relation = None
        if (a.variant, b.variant) == (TICKET, TICKET):
            differ = [
                key for key in ("seed", "task", "language") if getattr(a, key) != getattr(b, key)
            ]
            if len(differ) == 1:
                relation = "draw" if differ[0] == "seed" else differ[0]
        elif {a.variant, b.variant} == {TICKET, REPEAT} and a._replace(variant=b.variant) == b:
            relation = "draw"
        if relation:
            found[a, b] = relation
    if UNTRAINED in tickets:
        for ticket in tickets:
            if ticket.variant == TICKET:
                found[ticket, UNTRAINED] = "untrained"
    return found


def overlap_scores(counts: Counts) -> pd.DataFrame:
    """Return the scores of every pair in every part of the network.

    Parameters
    ----------
    counts
        From :func:`count_bits`.

    Returns
    -------
    pandas.DataFrame
        ``pair`` (its index), ``scope, stack, layer, component`` as
        :func:`babelscope.subnetworks.scopes.scopes_of` has them, then ``jaccard, agreement,
        expected, sd, z, p, ones_overlap, sparsity_overlap, n, kept_left, kept_right``. Chance: two
        random masks that keep as many weights of each matrix as these do; expected, sd and z are
        those of the Jaccard index, p is the probability of at least as large an overlap. Where two
        masks are both empty, all that depends on the Jaccard index is NA.

    Notes
    -----
    The number of weights that both random masks keep is hypergeometric in each matrix. Up to 1024
    possible values its distribution is exact. Beyond, its mean and variance are exact, the Jaccard
    index is expanded around them, and p is the tail of a normal distribution: far out, an order of
    magnitude. A p below 2.2e-308, the smallest normal number, is given as that.
    """
    parts, members = scopes_of(counts.places)
    size, a, b = _of_pairs(counts)
    centre, variance = moments_of_both(np.maximum(size, 1), a, b)
    possible = np.minimum(a, b) - np.maximum(0, a + b - size)
    per_matrix = (size, a, b, counts.both, possible, centre, variance)
    sums = [(one @ members.T).ravel() for one in per_matrix]  # (pairs * parts,)
    pair, part = (index.ravel() for index in np.indices((len(size), len(parts))))
    there = sums[0] > 0  # a part may be a pooler that one mask lacks
    n, left, right, both, possible, centre, variance = (one[there] for one in sums)
    pair, part = pair[there], part[there]
    kept, spread = left + right, np.sqrt(variance)
    with np.errstate(invalid="ignore", divide="ignore"):  # both empty: NA below
        jaccard = both / (kept - both)
        expected, sd = moments_of_jaccard(kept, centre, spread)
        z = (jaccard - expected) / sd
        p = ndtr((centre - both + 0.5) / spread)
    for row in np.flatnonzero((possible <= EXACT) & (kept > 0)):
        inside = members[part[row]] & (size[pair[row]] > 0)
        chance = Chance.of(*(one[pair[row], inside].tolist() for one in (size, a, b)))
        expected[row], sd[row] = chance.mean, chance.deviation
        z[row], p[row] = chance.z(jaccard[row]), chance.p(int(both[row]))
    agreement = (n - kept + 2 * both) / n
    scores = parts.iloc[part].reset_index(drop=True)
    scores.insert(0, "pair", pair)
    p = np.maximum(p, np.finfo(np.float64).tiny)
    values = (jaccard, agreement, expected, sd, z, p, jaccard, agreement)
    for name, value in zip(SCORES, values, strict=True):
        found = pd.Series(value, dtype="Float64")
        scores[name] = found if value is agreement else found.where(kept > 0, pd.NA)
    return scores.assign(**dict(zip(COUNTS, (n, left, right), strict=True)))


def _of_pairs(counts: Counts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return sizes, and what each side keeps, of the matrices that both masks of a pair have."""
    left, right = counts.pairs.T
    shared = (counts.size[left] > 0) & (counts.size[right] > 0)
    return counts.size[left] * shared, counts.kept[left] * shared, counts.kept[right] * shared


def overlap_table(counts: Counts, pairs: Mapping[tuple[Ticket, Ticket], str]) -> pd.DataFrame:
    """Return the overlap of pairs of tickets, whole and in parts.

    Parameters
    ----------
    counts
        Of these pairs, in this order.
    pairs
        From :func:`ticket_pairs`.

    Returns
    -------
    pandas.DataFrame
        ``left_seed, left_variant, left_task, left_language, right_...`` (of `UNTRAINED`, NA but
        the variant), ``relation``, and the columns of :func:`overlap_scores` but ``pair``. The
        published ``ones_overlap`` and ``sparsity_overlap``, see :func:`ones_overlap`, are of pairs
        the Jaccard index and the agreement, with the pooler where both masks have one.
    """
    rows = [(*left, *right, relation) for (left, right), relation in pairs.items()]
    sides = [f"{side}_{field}" for side in ("left", "right") for field in Ticket._fields]
    labels = pd.DataFrame(rows, columns=[*sides, "relation"])
    labels = labels.astype({"left_seed": "Int64", "right_seed": "Int64"})
    scores = overlap_scores(counts)
    labels = labels.iloc[scores.pop("pair")].reset_index(drop=True)
    return pd.concat([labels, scores], axis=1)


def size_table(counts: Counts, tickets: Sequence[Ticket]) -> pd.DataFrame:
    """Return the share of weights that each ticket keeps, whole and in parts.

    Parameters
    ----------
    counts
        Of these tickets, in this order.

    Returns
    -------
    pandas.DataFrame
        ``seed, variant, task, language, scope, stack, layer, component``, ``n`` (weights),
        ``n_kept`` and ``share``, their quotient: 1 - sparsity.
    """
    parts, members = scopes_of(counts.places)
    n, kept = (one @ members.T for one in (counts.size, counts.kept))  # (masks, parts)
    mask, part = np.nonzero(n)
    labels = pd.DataFrame(tickets, columns=list(Ticket._fields)).astype({"seed": "Int64"})
    labels = labels.iloc[mask].reset_index(drop=True)
    table = pd.concat([labels, parts.iloc[part].reset_index(drop=True)], axis=1)
    sizes = {"n": n[mask, part], "n_kept": kept[mask, part]}
    return table.assign(**sizes, share=sizes["n_kept"] / sizes["n"])
