"""Semantic textual similarity: rank correlation of cosines with graded judgements."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from babelscope.errors import BabelscopeError
from babelscope.evaluation.embeddings import Embeddings, pair_cosines
from babelscope.evaluation.intervals import bootstrap, percentile_interval
from babelscope.evaluation.results import Results, Rows, naming, ordered
from babelscope.seeds import derive_seed

FEWEST = 3  # pairs, below which a rank correlation says nothing


def score_sts(
    vectors: Embeddings,
    corpus: str,
    table: pd.DataFrame,
    *,
    pivot: str,
    resamples: int,
    seed: int,
) -> Results:
    """Return Spearman's correlation x 100 of cosines and judged similarities.

    Parameters
    ----------
    vectors
        The encoder; aligned vectors where the languages of a pair differ.
    corpus
        Its name.
    table
        Columns ``pair_id, language1, language2, sentence1, sentence2, score``.
    pivot
        The language that is named first.
    resamples, seed
        Of the bootstrap over pairs of sentences. Pairs with the same `pair_id` are drawn together
        in both directions, since they are the same content.

    Returns
    -------
    Rows ``spearman``. A pair of languages whose first sentences are in either language, as in the
    extended STS 2017, is scored in each direction, ``spearman_forward`` with the first sentence in
    `language1`, and ``spearman`` is the mean of both, as Huang et al. (2025) report it.

    Raises
    ------
    BabelscopeError
        If there are fewer than three pairs of sentences, a score is not finite, a `pair_id`
        repeats, or all cosines or all scores are the same.
    """
    rows = Rows("sts", corpus)
    parts = embedded_pairs(vectors, corpus, table)
    for languages, directions in _directions(parts, pivot).items():
        where = f"{corpus}, {'-'.join(languages)}"
        setting = "monolingual" if languages[0] == languages[1] else "crosslingual"
        names = _unique(directions)

        statistic = partial(_correlations, directions=directions, names=names)
        values = statistic(np.ones((1, len(names)), np.int64))[0]
        drawn = bootstrap(
            statistic, len(names), resamples=resamples, seed=derive_seed(seed, "sts", corpus)
        )
        for number, (metric, part) in enumerate(directions.items()):
            rows.examples(
                languages, setting, metric, part["pair_id"], part["cosine"], part["score"]
            )
            interval = percentile_interval(drawn[:, number], where)
            rows.score(languages, setting, metric, float(values[number]), interval, len(part))
        if len(directions) > 1:
            interval = percentile_interval(drawn.mean(axis=1), where)
            n = sum(map(len, directions.values()))
            rows.score(languages, setting, "spearman", float(values.mean()), interval, n)
    return rows.results()


def embedded_pairs(
    vectors: Embeddings, corpus: str, table: pd.DataFrame, *, aligned: bool | None = None
) -> dict[tuple[str, str], pd.DataFrame]:
    """Return the cosine of every pair of sentences, by first and second language.

    Parameters
    ----------
    vectors, corpus, table
        As in `score_sts`.
    aligned
        Whether vectors are aligned; None: where the languages of a pair differ.

    Returns
    -------
    Tables ``pair_id, score, cosine``.
    """
    parts = {
        (str(key[0]), str(key[1])): part
        for key, part in table.groupby(["language1", "language2"], sort=False)
    }
    switches = {key: key[0] != key[1] if aligned is None else aligned for key in parts}
    for key, part in parts.items():
        for language, side in zip(key, ("sentence1", "sentence2"), strict=True):
            vectors.request(list(part[side]), language, aligned=switches[key])
    found = {}
    for key, part in parts.items():
        with naming(f"{corpus}, {'-'.join(key)}"):
            _check(part)
            first, second = (
                vectors.of(list(part[side]), language, aligned=switches[key])
                for language, side in zip(key, ("sentence1", "sentence2"), strict=True)
            )
            cosines = pair_cosines(first, second)
            if np.ptp(cosines) <= 1e-9:
                raise BabelscopeError(
                    "The cosines of all pairs of sentences are the same, so they have no order.",
                    "Check the encoder.",
                )
        found[key] = part[["pair_id", "score"]].assign(cosine=cosines).reset_index(drop=True)
    return found


def spearman(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return Spearman's rank correlation in each resample.

    Parameters
    ----------
    x, y
        Shape (n,); equal values share their mean rank.
    weights
        How often each pair of values is drawn, shape (resamples, n), whole numbers. Ranks are those
        among the values drawn. None: all once.

    Returns
    -------
    Shape (resamples,), from -1 to 1; NaN where all values drawn of one side are equal.
    """
    weights = np.ones((1, len(x)), np.int64) if weights is None else weights
    sides = [_ranks(values, weights) for values in (x, y)]
    middle = (weights.sum(axis=1, keepdims=True) + 1) / 2
    first, second = (side - middle for side in sides)
    covariance, *variances = (
        np.einsum("rn,rn,rn->r", weights, one, other)
        for one, other in ((first, second), (first, first), (second, second))
    )
    spread = np.sqrt(variances[0] * variances[1])
    return np.divide(
        covariance, spread, out=np.full(len(weights), np.nan), where=spread > 1e-9
    ).clip(-1, 1)


def spearman_of(part: pd.DataFrame, weights: np.ndarray, names: pd.Index) -> np.ndarray:
    """Return the correlation of some pairs' cosines and scores, by weights of all pairs' names."""
    drawn = weights[:, names.get_indexer(pd.Index(part["pair_id"]))]
    return spearman(part["cosine"].to_numpy(), part["score"].to_numpy(np.float64), drawn)


def _correlations(
    weights: np.ndarray, *, directions: Mapping[str, pd.DataFrame], names: pd.Index
) -> np.ndarray:
    """Return the correlation x 100 in each resample and direction."""
    found = [spearman_of(part, weights, names) for part in directions.values()]
    return 100 * np.stack(found, axis=1)


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean rank of each value among the values drawn, shape (resamples, n)."""
    _, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    counts = np.add.reduceat(weights[:, order], starts, axis=1)  # (resamples, different values)
    return (np.cumsum(counts, axis=1) - (counts - 1) / 2)[:, place]


def _directions(
    parts: Mapping[tuple[str, str], pd.DataFrame], pivot: str
) -> dict[tuple[str, str], dict[str, pd.DataFrame]]:
    """Return by pair of languages, named in their order, the parts by metric."""
    found: dict[tuple[str, str], dict[str, pd.DataFrame]] = {}
    for first, second in parts:
        languages = ordered(first, second, pivot)
        backward = languages[1], languages[0]
        if languages == backward or backward not in parts or languages not in parts:
            found[languages] = {"spearman": parts[first, second]}
        else:
            found[languages] = {
                "spearman_forward": parts[languages],
                "spearman_backward": parts[backward],
            }
    return found


def _unique(directions: Mapping[str, pd.DataFrame]) -> pd.Index:
    names = pd.concat([part["pair_id"] for part in directions.values()])
    return pd.Index(names.unique())


def _check(part: pd.DataFrame) -> None:
    if len(part) < FEWEST:
        raise BabelscopeError(
            f"There are {len(part)} pairs of sentences; a rank correlation needs {FEWEST}.",
            "Give that corpus more pairs, or leave it out.",
        )
    if part["pair_id"].duplicated().any():
        twice = part["pair_id"][part["pair_id"].duplicated()].iloc[0]
        raise BabelscopeError(f"The pair {twice} is there twice.", "Give every pair its own id.")
    scores = part["score"].to_numpy(np.float64, na_value=np.nan)
    if not np.isfinite(scores).all():
        bad = part["pair_id"].iloc[int(np.argmin(np.isfinite(scores)))]
        raise BabelscopeError(
            f"The score of the pair {bad} is missing or not a number.", "Correct the file."
        )
    if np.ptp(scores) == 0:
        raise BabelscopeError(
            f"All pairs of sentences have the same score, {scores[0]:g}, so they have no order.",
            "Give pairs of different similarity.",
        )
