"""Scores of pairs of sides, layer by layer, as one tidy table."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from babelscope.errors import BabelscopeError
from babelscope.progress import progress
from babelscope.representations.comparisons import Pair, Side
from babelscope.seeds import derive_seed

if TYPE_CHECKING:
    import pandas as pd

Prepared = TypeVar("Prepared")

logger = logging.getLogger(__name__)

ROUNDING = 1e-5  # of the largest value; what differs by less in float32 is the same


class Score(NamedTuple):
    """One number with its uncertainty; the interval covers 95 %.

    `left_out` has the estimates without each block of sentences, from which the error of a
    difference of two scores follows; it is empty for measures that are not subtracted.
    """

    measure: str
    estimator: str
    value: float
    standard_error: float
    low: float
    high: float
    left_out: tuple[float, ...] = ()


class LayeredStates(Protocol):
    """The states of one side: an array, or a file that reads a layer when asked for it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Layers + 1, sentences, dimensions."""
        ...

    def __getitem__(self, layer: int, /) -> Any:
        """Return one layer's rows, shape (n, d); layer 0 is the embeddings."""
        ...


def score_pairs(
    pairs: Sequence[Pair],
    states: Mapping[Side, LayeredStates],
    *,
    prepare: Callable[[np.ndarray, Side], Prepared],
    compare: Callable[[Prepared, Prepared], list[Score]],
    seed: int,
    labels: Mapping[str, Any] | None = None,
    threads: int = 1,
) -> "pd.DataFrame":
    """Score every pair at every layer; each side is prepared once per layer.

    One layer of all sides is in memory at a time, or one side's layers where a pair compares all
    layers with all. The embeddings are left out where all sentences of a side have the same: that
    of a first token which every sentence shares, from which nothing can be told.

    Parameters
    ----------
    pairs
        What is compared.
    states
        The states of each side.
    prepare
        Turns one side's rows at one layer, and the side, into what `compare` takes.
    compare
        Scores a prepared left and right side.
    seed
        For the permutation of sentences in shuffled pairs; a language's is the same at every layer
        and for every measure.
    labels
        Columns with one value, put first.
    threads
        Sides or pairs worked on at a time. If more than one, each has one thread of the numerical
        libraries: pairs need not wait for each other, the threads of one small product must.

    Returns
    -------
    One row per score: the labels, measure, estimator, then network, subnetwork, language and layer
    of the left and the right side, then value, standard_error, low, high, left_out, n.

    Raises
    ------
    BabelscopeError
        If sides have different numbers of sentences, or of layers where equal ones are compared, or
        a score is not finite.
    """
    import pandas as pd

    labels = dict(labels or {})
    n = _check(pairs, states)
    compared = dict.fromkeys(side for pair in pairs for side in (pair.left, pair.right))
    lowest = int(_same_embeddings(states[side] for side in compared))
    if lowest:
        logger.info("All sentences have the same embedding; scores begin at layer 1.")

    def prepared(layer: int, key: tuple[Side, bool]) -> Prepared:
        side, shuffled = key
        rows = np.asarray(states[side][layer])
        if shuffled:
            generator = np.random.default_rng(derive_seed(seed, "shuffle", side.language))
            rows = rows[generator.permutation(n)]
        try:
            return prepare(rows, side)
        except BabelscopeError as error:
            where = f"{side.network}/{side.subnetwork}, language {side.language}, layer {layer}"
            raise BabelscopeError(f"{where}: {error.what}", error.remedy) from None

    records: list[dict[str, Any]] = []

    def record(pair: Pair, layers: tuple[int, int], scores: list[Score]) -> None:
        for score in scores:
            if not all(np.isfinite(value) for value in (*score[2:6], *score.left_out)):
                raise BabelscopeError(
                    f"{score.measure} ({score.estimator}) of {pair.left} and {pair.right} at layers"
                    f" {layers[0]} and {layers[1]} is not a number.",
                    "Give more or more varied sentences.",
                )
            records.append(
                labels
                | {"measure": score.measure, "estimator": score.estimator}
                | _columns("left", pair.left, layers[0])
                | _columns("right", pair.right, layers[1])
                | dict(zip(score._fields[2:], score[2:], strict=True))
                | {"n": n}
            )

    aligned = [pair for pair in pairs if not pair.all_layers]
    depth = states[aligned[0].left].shape[0] if aligned else 0
    both = [((pair.left, False), (pair.right, pair.shuffled)) for pair in aligned]
    keys = list(dict.fromkeys(key for sides in both for key in sides))
    with _workers(threads) as each:
        for layer in progress(range(lowest, depth), "layers"):
            one_layer = partial(prepared, layer)
            sides = dict(zip(keys, each(one_layer, keys), strict=True))
            found = each(compare, *zip(*((sides[a], sides[b]) for a, b in both), strict=True))
            for pair, scores in zip(aligned, found, strict=True):
                record(pair, (layer, layer), scores)
        for pair in progress([pair for pair in pairs if pair.all_layers], "pairs"):
            sides = (states[side] for side in (pair.left, pair.right))
            lefts, rights = (range(lowest, side.shape[0]) for side in sides)
            right = [prepared(layer, (pair.right, pair.shuffled)) for layer in rights]
            for layer in lefts:
                left = prepared(layer, (pair.left, False))
                for other, scores in zip(rights, each(partial(compare, left), right), strict=True):
                    record(pair, (layer, other), scores)
    return pd.DataFrame.from_records(records)


def _same_embeddings(states: Iterable[LayeredStates]) -> bool:
    """Say whether a side has one embedding for all sentences, and layers above it."""
    for side in states:
        rows = np.asarray(side[0])
        spread = np.ptp(rows, axis=0).max()
        if side.shape[0] > 1 and spread <= ROUNDING * np.abs(rows).max():
            return True
    return False


@contextmanager
def _workers(threads: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Yield a function like `map` that keeps so many threads busy."""
    if threads == 1:
        yield map
        return
    with threadpool_limits(1), ThreadPoolExecutor(threads) as workers:
        yield workers.map


def _columns(name: str, side: Side, layer: int) -> dict[str, Any]:
    return {
        f"{name}_network": side.network,
        f"{name}_subnetwork": side.subnetwork,
        f"{name}_language": side.language,
        f"{name}_layer": layer,
    }


def _check(pairs: Sequence[Pair], states: Mapping[Side, LayeredStates]) -> int:
    """Return the common number of sentences; refuse sides that do not fit together."""
    counts = {side: states[side].shape[1] for pair in pairs for side in (pair.left, pair.right)}
    depths = {
        side: states[side].shape[0]
        for pair in pairs
        if not pair.all_layers
        for side in (pair.left, pair.right)
    }
    for what, found in (("sentences", counts), ("layers", depths)):
        if len(set(found.values())) > 1:
            listed = ", ".join(f"{side.language} {number}" for side, number in found.items())
            raise BabelscopeError(
                f"The sides of a comparison have different numbers of {what}: {listed}.",
                "Encode all of them from the same corpus and model.",
            )
    if not counts:
        raise ValueError("no pairs to compare")
    return next(iter(counts.values()))
