"""Whether one encoder or network is better than another: paired tests on the same examples."""

from collections.abc import Callable, Sequence
from functools import partial
from math import erfc, sqrt
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from babelscope.errors import BabelscopeError
from babelscope.evaluation.classification import macro_f1s
from babelscope.evaluation.intervals import bootstrap, percentile_interval
from babelscope.evaluation.results import ALL
from babelscope.evaluation.sts import spearman
from babelscope.seeds import derive_seed

Metric = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

SIGNS = 2**22  # held at a time
FAMILY = ["task", "corpus", "setting"]
LANGUAGES = ["language1", "language2"]
TESTED = ["method", "reference", "difference", "low", "high", "p", "p_holm", "test", "n"]


class Comparisons(NamedTuple):
    """Differences of methods, by pair of languages and averaged over them.

    Both have the columns ``task, corpus, language1, language2, setting, metric, method, reference,
    difference, low, high, p, p_holm, test, n``, after ``model`` where the examples have it and with
    other columns for ``setting`` where a family has others: difference of the scores in the
    metric's own unit, with 95 % interval, two-sided p, and p by `holm` over the whole table;
    languages are ``all`` in `means`.
    """

    pairs: pd.DataFrame
    means: pd.DataFrame


class _Part(NamedTuple):
    """The examples of one pair of languages and direction.

    Attributes
    ----------
    places
        Shape (n,): their numbers among the examples of all languages.
    gold
        Shape (n,).
    predictions
        By method, shape (repetitions, n).
    """

    places: np.ndarray
    gold: np.ndarray
    predictions: dict[str, np.ndarray]


def compare_methods(
    examples: pd.DataFrame,
    comparisons: Sequence[tuple[str, str]],
    *,
    resamples: int,
    seed: int,
    family: Sequence[str] = FAMILY,
) -> Comparisons:
    """Test whether methods differ, on the examples that all of them were given.

    Parameters
    ----------
    examples
        Rows of `Results.examples` with ``method``, and perhaps ``model`` and ``seed``, in front.
    comparisons
        Pairs of a method and the reference that is subtracted.
    resamples
        Of the bootstrap, and sign flips.
    seed
        Draws them.
    family
        Columns of the examples that, with the metric, tell apart what languages are averaged
        within; task and corpus come first.

    Returns
    -------
    See `Comparisons`.

    Raises
    ------
    BabelscopeError
        If a method is not there, or methods do not have the same examples.

    Notes
    -----
    Intervals come from the paired bootstrap (Koehn 2004). Examples are drawn by name for all
    languages of a corpus at once: translations of one sentence are not independent, so drawing them
    language by language would make intervals of means too narrow; where languages share no names
    the two are the same. The p value is that of flipping the signs of the examples' differences
    where a score is a mean over examples (``sign-flip``), and otherwise twice the smaller share of
    resamples on either side of zero (``bootstrap``); where nothing drawn is as extreme, that of the
    normal distribution with the same standard deviation. It is never below 2 / 2 ** n, the least
    that n examples can give if the signs of their differences are flipped in all ways.

    A score is averaged over repetitions (seeds, training sets), and the test is conditional on
    them: it says whether these encoders differ, not whether the methods would if trained anew.
    """
    methods = list(dict.fromkeys(method for pair in comparisons for method in pair))
    missing = [method for method in methods if not (examples["method"] == method).any()]
    if missing:
        raise BabelscopeError(
            f"There are no examples of {', '.join(missing)}.", "Evaluate those methods first."
        )
    used = examples[examples["method"].isin(methods)].rename(columns={"metric": "direction"})
    metric = used["direction"].str.replace(r"_(forward|backward)$", "", regex=True)
    used = used.assign(metric=metric).reset_index(drop=True)
    labels = ["model"] if "model" in used else []
    pairs, means = [], []
    for key, rows in used.groupby([*labels, *family, "metric"], sort=False):
        named = dict(zip([*labels, *family, "metric"], key, strict=True))
        ids = pd.Index(rows["example"].unique())
        parts = _parts(rows, ids, methods, named)
        metrics = [str(named["metric"])]
        if named["task"] == "topics":
            metrics.append("macro_f1")  # from the same examples
        for metric in metrics:
            place = named | {"metric": metric}
            tested = _tested(
                parts,
                len(ids),
                comparisons,
                metric=metric,
                resamples=resamples,
                seed=derive_seed(seed, *(str(named[column]) for column in family)),
                where=", ".join(map(str, place.values())),
            )
            for row in tested:
                (means if row["language1"] == ALL else pairs).append(place | row)
    columns = [*labels, *family[:2], *LANGUAGES, *family[2:], "metric", *TESTED]
    return Comparisons(*(_corrected(rows, columns) for rows in (pairs, means)))


def holm(p: np.ndarray) -> np.ndarray:
    """Return p values that control the error over all of them together (Holm 1979)."""
    m = len(p)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(m)
    adjusted[order] = np.maximum.accumulate((m - np.arange(m)) * p[order]).clip(max=1)
    return adjusted


def sign_flip_p(differences: np.ndarray, *, flips: int, seed: int) -> float:
    """Return the two-sided p value of a sum of paired differences, by random flips of their signs.

    Parameters
    ----------
    differences
        Shape (n,), each exchanged for its negative if the methods are.
    flips, seed
        How many are drawn; p is (1 + as extreme) / (1 + drawn), where there are such, and never
        below 2 / 2 ** n of the n differences that are not zero.
    """
    rng = np.random.default_rng(seed)
    observed = abs(differences.sum())
    size = max(1, SIGNS // len(differences))
    extreme = 0
    for start in range(0, flips, size):
        shape = min(size, flips - start), len(differences)
        signs = rng.integers(0, 2, shape, dtype=np.int8).astype(np.float64) * 2 - 1
        sums = np.abs(signs @ differences)
        extreme += int((sums >= observed * (1 - 1e-9) - 1e-12).sum())
    if extreme:
        p = (1 + extreme) / (1 + flips)
    else:
        p = _tail(observed, np.sqrt(np.sum(differences**2)), 1 / (1 + flips))
    return max(p, _least(int(np.count_nonzero(differences))))


def bootstrap_p(observed: float, resampled: np.ndarray, *, n: int) -> float:
    """Return the two-sided p value of a difference from its values in resamples.

    Parameters
    ----------
    observed
        The difference.
    resampled
        Shape (resamples,); p is 2 (1 + on the other side of zero) / (1 + resamples), at most 1
        and never below 2 / 2 ** n. NaN is left out; where nothing else is, p is 1.
    n
        Number of examples.

    Notes
    -----
    Resamples of few examples vary too little, and not at all where all examples differ alike:
    their standard deviation alone would give any p, down to 0.
    """
    known = resampled[np.isfinite(resampled)]
    beyond = int(min((known <= 0).sum(), (known >= 0).sum()))
    if beyond or not len(known):
        p = 2 * (1 + beyond) / (1 + len(known))
    else:
        p = _tail(observed, known.std(), 2 / (1 + len(known)))
    return min(1.0, max(p, _least(n)))


def _tail(difference: float, deviation: float, most: float) -> float:
    """Return the two-sided p of a difference with this standard deviation, at most `most`.

    Where nothing drawn is as extreme, drawing has told no more than `most`, which a correction for
    many comparisons would raise above any level; beyond it the normal distribution is trusted.
    """
    ratio = abs(difference) / deviation if deviation else np.inf
    return min(most, erfc(float(ratio) / sqrt(2)))


def _least(n: int) -> float:
    """Return the least two-sided p of n paired examples, 2 / 2 ** n, at most 1.

    It is that of all differences having one sign: of the 2 ** n ways to exchange the methods in
    examples, only this one and its opposite are as extreme.
    """
    return min(1.0, 2.0 ** (1 - n))


def _corrected(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=[column for column in columns if column != "p_holm"])
    return table.assign(p_holm=holm(table["p"].to_numpy(np.float64)))[list(columns)]


def _parts(
    family: pd.DataFrame, ids: pd.Index, methods: Sequence[str], named: dict[str, Any]
) -> dict[tuple[str, str], list[_Part]]:
    """Return by pair of languages the examples of each direction."""
    places = ids.get_indexer(pd.Index(family["example"]))
    owners = pd.Index(methods).get_indexer(pd.Index(family["method"]))
    seeds = pd.factorize(family["seed"])[0] if "seed" in family else np.zeros_like(places)
    predictions, gold = (family[name].to_numpy(np.float64) for name in ("prediction", "gold"))
    found: dict[tuple[str, str], list[_Part]] = {}
    for key, rows in family.groupby([*LANGUAGES, "direction"], sort=False).indices.items():
        first, second, _ = cast("tuple[str, str, str]", key)
        where = ", ".join([*map(str, named.values()), *dict.fromkeys((first, second))])
        used = np.unique(places[rows])
        right = np.empty(len(ids))
        right[places[rows]] = gold[rows]
        if (right[places[rows]] != gold[rows]).any():
            raise BabelscopeError(
                f"{where}: what is right of an example differs between methods.",
                "Evaluate all methods on the same corpus.",
            )
        tables = {}
        for number, method in enumerate(methods):
            own = rows[owners[rows] == number]
            table = _by_repetition(np.searchsorted(used, places[own]), seeds[own], len(used))
            filled = np.full(table.shape, np.nan)
            filled[table >= 0] = predictions[own][table[table >= 0]]
            if named["task"] == "mining":
                filled[table < 0] = 0  # gold, or mined by another method or seed, but not by this
            if not filled.size or np.isnan(filled).any():
                raise BabelscopeError(
                    f"{where}: {method} was not given the same examples as"
                    f" {', '.join(one for one in methods if one != method)}.",
                    "Evaluate all methods on the same corpus and languages.",
                )
            tables[method] = filled
        found.setdefault((first, second), []).append(_Part(used, right[used], tables))
    return found


def _by_repetition(places: np.ndarray, seeds: np.ndarray, n: int) -> np.ndarray:
    """Return which row holds each example in each repetition, -1 where none does.

    Repetitions are seeds and, within one, the first, second, ... rows of the same example.

    Parameters
    ----------
    places, seeds
        Shape (rows,): number of the example, below n, and of the seed.

    Returns
    -------
    Shape (repetitions, n).
    """
    kinds, seed = np.unique(seeds, return_inverse=True)
    keys = seed * n + places
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    sizes = np.diff(starts, append=len(keys))
    rank = np.arange(len(keys)) - np.repeat(starts, sizes)
    table = np.full((len(kinds), int(sizes.max(initial=0)), n), -1)
    table[seed[order], rank, places[order]] = order
    return table.reshape(-1, n)


def _tested(
    parts: dict[tuple[str, str], list[_Part]],
    n: int,
    comparisons: Sequence[tuple[str, str]],
    *,
    metric: str,
    resamples: int,
    seed: int,
    where: str,
) -> list[dict[str, Any]]:
    """Return the rows of one metric: each pair of languages, then the mean over them."""
    methods = list(dict.fromkeys(method for pair in comparisons for method in pair))
    numbers = {method: number for number, method in enumerate(methods)}
    if metric == "spearman_drop":
        statistic = partial(_bias, [part for some in parts.values() for part in some], methods)
    else:
        statistic = partial(_scores, METRICS[metric], list(parts.values()), methods)
    values = statistic(np.ones((1, n), np.int64))[0]  # (methods, columns)
    drawn = bootstrap(statistic, n, resamples=resamples, seed=seed)  # (resamples, methods, columns)
    columns = [(ALL, ALL)] if metric == "spearman_drop" else [*parts, (ALL, ALL)]
    rows = []
    for column, languages in enumerate(columns):
        some = [parts[languages]] if languages in parts else list(parts.values())
        used = np.unique(np.concatenate([part.places for one in some for part in one]))
        for method, reference in comparisons:
            one, other = numbers[method], numbers[reference]
            differences = drawn[:, one, column] - drawn[:, other, column]
            low, high = percentile_interval(differences, where)
            change = float(values[one, column] - values[other, column])
            if metric in OUTCOMES:
                single = _single(OUTCOMES[metric], some, n, method, reference)
                p = sign_flip_p(single[used], flips=resamples, seed=seed)
            else:
                p = bootstrap_p(change, differences, n=len(used))
            rows.append(
                {
                    "language1": languages[0],
                    "language2": languages[1],
                    "method": method,
                    "reference": reference,
                    "difference": change,
                    "low": low,
                    "high": high,
                    "p": p,
                    "test": "sign-flip" if metric in OUTCOMES else "bootstrap",
                    "n": len(used),
                }
            )
    return rows


def _scores(
    metric: Metric, parts: Sequence[Sequence[_Part]], methods: Sequence[str], weights: np.ndarray
) -> np.ndarray:
    """Return each method's score in % by pair of languages, and the mean over them, last.

    Returns
    -------
    Shape (resamples, methods, pairs of languages + 1).
    """
    columns = []
    for some in parts:
        directions = []
        for part in some:
            drawn = weights[:, part.places]
            directions.append(
                [metric(part.predictions[one], part.gold, drawn).mean(axis=1) for one in methods]
            )
        columns.append(np.mean(directions, axis=0))  # (methods, resamples)
    single = 100 * np.stack(columns, axis=-1).swapaxes(0, 1)  # (resamples, methods, pairs)
    return np.concatenate([single, single.mean(axis=-1, keepdims=True)], axis=-1)


def _bias(parts: Sequence[_Part], methods: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """Return each method's drop of Spearman's correlation x 100, shape (resamples, methods, 1)."""
    drawn = [weights[:, part.places] for part in parts]
    together = np.concatenate(drawn, axis=1)
    gold = np.concatenate([part.gold for part in parts])
    found = []
    for method in methods:
        predictions = [part.predictions[method] for part in parts]
        single = [
            _correlations(one, part.gold, some)
            for one, part, some in zip(predictions, parts, drawn, strict=True)
        ]
        whole = _correlations(np.concatenate(predictions, axis=1), gold, together)
        found.append((np.mean(single, axis=0) - whole).mean(axis=1))
    return 100 * np.stack(found, axis=-1)[..., None]


def _single(
    of: Callable[[np.ndarray, np.ndarray], np.ndarray],
    parts: Sequence[Sequence[_Part]],
    n: int,
    method: str,
    reference: str,
) -> np.ndarray:
    """Return what each example adds to the difference of two methods, shape (n,)."""
    found = np.zeros(n)
    for some in parts:
        for part in some:
            one, other = (
                of(part.predictions[name], part.gold).mean(axis=0) for name in (method, reference)
            )
            found[part.places] += (one - other) / (len(part.places) * len(some) * len(parts))
    return found


def _errors(predictions: np.ndarray, gold: np.ndarray) -> np.ndarray:
    return gold - predictions


def _hits(predictions: np.ndarray, gold: np.ndarray) -> np.ndarray:
    return (predictions == gold).astype(np.float64)


def _drops(predictions: np.ndarray, gold: np.ndarray) -> np.ndarray:
    return predictions - gold


# Scores that are means over examples, by what each example counts.
OUTCOMES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "error": _errors,
    "accuracy": _hits,
    "accuracy_characters": _hits,
    "accuracy_drop": _drops,
}


def _correlations(predictions: np.ndarray, gold: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.stack([spearman(one, gold, weights) for one in predictions], axis=1)


def _f1s(predictions: np.ndarray, gold: np.ndarray, weights: np.ndarray) -> np.ndarray:
    right = weights @ (predictions * gold).T
    sums = weights @ predictions.T + (weights @ gold)[:, None]
    return np.divide(2 * right, sums, out=np.full(sums.shape, np.nan), where=sums > 0)


def _mean_outcomes(
    of: Callable[[np.ndarray, np.ndarray], np.ndarray],
    predictions: np.ndarray,
    gold: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    totals = weights.sum(axis=1, keepdims=True)
    sums = weights @ of(predictions, gold).T
    return np.divide(sums, totals, out=np.full(sums.shape, np.nan), where=totals > 0)


METRICS: dict[str, Metric] = {
    "spearman": _correlations,
    "macro_f1": macro_f1s,
    "f1": _f1s,
} | {name: partial(_mean_outcomes, of) for name, of in OUTCOMES.items()}
