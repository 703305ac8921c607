"""Whether similar languages have similar representations: correlations with typology."""

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from babelscope.errors import BabelscopeError
from babelscope.representations.jackknife import interval
from babelscope.seeds import derive_seed
from babelscope.typology import Correlation, Method, correlate, mantel, syntactic_distance

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

MEAN = -1  # in the column `layer`: averaged over layers


def typology_points(
    similarity: "pd.DataFrame",
    overlap: "pd.DataFrame",
    pairs: "pd.DataFrame",
    codes: Mapping[str, str],
    *,
    pivot: str,
) -> "pd.DataFrame":
    """Return what is known of each pair of languages, layer by layer.

    Parameters
    ----------
    similarity
        One row per pair of languages and layer: left_language, right_language, left_layer, value.
    overlap
        Overlap of each language's tokens with the pivot's: language, level, unit, value.
    pairs
        Share of two languages' token types that both use: left_language, right_language, value;
        one row for each pair, in either order.
    codes
        URIEL code of each language.
    pivot
        The language the others are compared with.

    Returns
    -------
    Columns left_language, right_language, layer (`MEAN` is the mean over layers, the embeddings
    among them), similarity, syntactic_distance, shared_types, and token_overlap_<level>_<unit> for
    each kind of overlap with the pivot, missing where no side is the pivot.
    """
    import pandas as pd

    sides = ["left_language", "right_language"]
    names = {"left_layer": "layer", "value": "similarity"}
    by_layer = similarity.rename(columns=names)[[*sides, "layer", "similarity"]]
    mean = by_layer.groupby(sides, sort=False, as_index=False)["similarity"].mean()
    points = pd.concat([by_layer, mean.assign(layer=MEAN)], ignore_index=True)
    found = _languages(points, codes)
    syntax = syntactic_distance([codes[language] for language in found])
    left, right = (points[side].map(found.index) for side in sides)
    points["syntactic_distance"] = syntax[left, right]
    of_pair = dict(zip(map(frozenset, pairs[sides].to_numpy()), pairs["value"], strict=True))
    points["shared_types"] = [of_pair[frozenset(pair)] for pair in points[sides].to_numpy()]
    with_pivot = (points[sides] == pivot).any(axis=1)
    other = points["right_language"].where(points["left_language"] == pivot, points[sides[0]])
    for (level, unit), rows in overlap.groupby(["level", "unit"], sort=False):
        shares = rows.set_index("language")["value"]
        points[f"token_overlap_{level}_{unit}"] = other.map(shares).where(with_pivot)
    return points


def typology_correlations(
    points: "pd.DataFrame", codes: Mapping[str, str], *, pivot: str, permutations: int, seed: int
) -> "pd.DataFrame":
    """Correlate similarity with syntactic distance and token overlap, layer by layer.

    Syntactic distance and shared token types are correlated over all pairs of languages (scope
    ``pairs``, Mantel 1967) and, like token overlap, which exists with the pivot alone, over the
    other languages (scope ``pivot``), if there are at least three.

    Parameters
    ----------
    points
        From `typology_points`.
    codes
        Names the languages.
    pivot
        The language the others are compared with.
    permutations, seed
        As in `babelscope.typology.mantel`.

    Returns
    -------
    Columns predictor (a column of `points`), scope, layer, method, the fields of
    `babelscope.typology.Correlation`, low and high: the ends of the 95 % jackknife interval within
    [-1, 1], missing where there is no standard error.

    Raises
    ------
    BabelscopeError
        If there are fewer than three languages, or a predictor is equal for all; of shared types,
        which may be, there are then no rows.
    """
    import pandas as pd

    found = _languages(points, codes)
    if points["shared_types"].nunique() == 1:
        logger.warning("all pairs share as many token types: no correlation with shared_types")
    if len(found) < 4:
        logger.warning("%d languages: no correlation over those beside the pivot", len(found))
    records = []
    for layer, rows in points.groupby("layer", sort=False):
        for predictor, scope, a, b in _variables(rows, found, pivot):
            for method in get_args(Method):
                drawn = derive_seed(seed, predictor, scope, str(layer), method)
                test = mantel if scope == "pairs" else correlate
                result = test(a, b, permutations=permutations, seed=drawn, method=method)
                records.append(
                    {"predictor": predictor, "scope": scope, "layer": layer, "method": method}
                    | result._asdict()
                    | ends_of(result)
                )
    return pd.DataFrame.from_records(records)


def _variables(
    rows: "pd.DataFrame", found: list[str], pivot: str
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Yield predictor, scope, similarities and the predictor's values, of one layer.

    In scope ``pairs`` the latter are symmetric matrices over the languages, in scope ``pivot``
    vectors over those beside the pivot, of every column that follows ``similarity``.
    """

    def matrix(column: str) -> np.ndarray:
        values = np.zeros((len(found), len(found)))
        left = rows["left_language"].map(found.index)
        right = rows["right_language"].map(found.index)
        values[left, right] = values[right, left] = rows[column]
        return values

    def beside(column: str) -> np.ndarray:
        return np.delete(matrix(column)[found.index(pivot)], found.index(pivot))

    yield "syntactic_distance", "pairs", matrix("similarity"), matrix("syntactic_distance")
    # languages of as many scripts may have no token in common
    shared = rows["shared_types"].nunique() > 1
    if shared:
        yield "shared_types", "pairs", matrix("similarity"), matrix("shared_types")
    if len(found) > 3:
        columns = list(rows.columns)
        for column in columns[columns.index("similarity") + 1 :]:
            if shared or column != "shared_types":
                yield column, "pivot", beside("similarity"), beside(column)


def _languages(points: "pd.DataFrame", codes: Mapping[str, str]) -> list[str]:
    """Return the languages that were compared, in the order of `codes`."""
    compared = {*points["left_language"], *points["right_language"]}
    found = [language for language in codes if language in compared]
    if len(found) < 3:
        raise BabelscopeError(
            f"{len(found)} languages are too few to correlate similarity with typology.",
            "Compare at least three languages.",
        )
    return found


def ends_of(result: Correlation) -> dict[str, Any]:
    """Return the ends of the 95 % interval, as far as there is a standard error."""
    if result.standard_error is None:
        return {"low": None, "high": None}
    low, high = interval(result.value, result.standard_error, result.n - 1)
    return {"low": max(-1.0, low), "high": min(1.0, high)}
