"""Whether languages whose tickets are far apart are unlike each other in syntax or descent."""

import logging
import math
from collections.abc import Mapping
from itertools import combinations
from typing import get_args

import numpy as np
import pandas as pd

from babelscope.representations.typology import ends_of
from babelscope.seeds import derive_seed
from babelscope.typology import Method, mantel, syntactic_distance

logger = logging.getLogger(__name__)

FEWEST = 4  # languages: three have six permutations
ENUMERATED = 7  # languages, up to which all permutations are scored
PREDICTORS = {"syntactic_distance": "equally far apart in syntax", "family": "equally related"}


def ticket_typology(
    overlap: pd.DataFrame,
    languages: Mapping[str, Mapping[str, str]],
    *,
    permutations: int,
    seed: int,
) -> pd.DataFrame:
    """Correlate the distance of languages' tickets with their distance in syntax and descent.

    The distance of two tickets is 1 minus their Jaccard index over all weights, its mean over
    seeds. That of two languages is the cosine distance of their syntactic features
    (``syntactic_distance``), or 0 within one family and 1 across families (``family``).

    Parameters
    ----------
    overlap
        From :func:`babelscope.subnetworks.ticket_overlap.overlap_table`.
    languages
        Language -> its ``uriel`` code and its ``family``.
    permutations
        Most permutations scored, 5040 if that is more: up to seven languages, all there are.
    seed
        Draws them.

    Returns
    -------
    pandas.DataFrame
        One row per ``task, predictor, method`` (pearson, spearman): the fields of
        :class:`babelscope.typology.Correlation`, by a Mantel test; ``low, high``, the ends of its
        95 % jackknife interval; ``smallest_p``, the least that `p_greater` can be, which is that of
        the predictor with itself: large with few languages, or many of one family; ``seeds``, how
        many there are; and ``reason``. Where that says why there is no correlation, what it
        consists of is NA.
    """
    records = []
    pairs = overlap[(overlap["relation"] == "language") & (overlap["scope"] == "all")]
    for task, rows in pairs.groupby("left_task", sort=False):
        compared = {*rows["left_language"], *rows["right_language"]}
        found = [language for language in languages if language in compared]
        tickets = _distances(rows, found)
        codes = [languages[language]["uriel"] for language in found]
        families = np.array([languages[language]["family"] for language in found])
        others = {
            "syntactic_distance": syntactic_distance(codes),
            "family": (families[:, None] != families).astype(float),
        }
        for predictor, matrix in others.items():
            reason = _reason(tickets, matrix, predictor)
            if reason:
                logger.warning("%s, %s: no correlation, %s", task, predictor, reason)
            for method in get_args(Method):
                facts = {"task": task, "predictor": predictor, "method": method, "n": len(found)}
                facts |= {"seeds": rows["left_seed"].nunique(), "reason": reason}
                if not reason:
                    drawn = derive_seed(seed, str(task), predictor, method)
                    most = max(permutations, math.factorial(ENUMERATED))
                    result = mantel(tickets, matrix, permutations=most, seed=drawn, method=method)
                    best = mantel(matrix, matrix, permutations=most, seed=drawn, method=method)
                    facts |= result._asdict() | ends_of(result) | {"smallest_p": best.p_greater}
                records.append(facts)
    return pd.DataFrame(records, columns=list(COLUMNS)).astype(COLUMNS)


COLUMNS = {
    "task": "string",
    "predictor": "string",
    "method": "string",
    "value": "Float64",
    "p_two_sided": "Float64",
    "p_greater": "Float64",
    "p_less": "Float64",
    "standard_error": "Float64",
    "low": "Float64",
    "high": "Float64",
    "n": "Int64",
    "permutations": "Int64",
    "exact": "boolean",
    "smallest_p": "Float64",
    "seeds": "Int64",
    "reason": "string",
}


def _distances(rows: pd.DataFrame, found: list[str]) -> np.ndarray:
    """Return the distances of languages' tickets, mean over seeds; NaN where one is missing."""
    sides = ["left_language", "right_language"]
    jaccard = rows["jaccard"].astype("float64")
    by_pair = jaccard.groupby([frozenset(pair) for pair in rows[sides].to_numpy()]).mean()
    distances = np.zeros((len(found), len(found)))
    for (i, a), (j, b) in combinations(enumerate(found), 2):
        distances[i, j] = distances[j, i] = 1 - by_pair.get(frozenset((a, b)), math.nan)
    return distances


def _reason(tickets: np.ndarray, matrix: np.ndarray, predictor: str) -> str | None:
    """Return why two matrices of distances cannot be correlated, if they cannot."""
    if len(tickets) < FEWEST:
        return f"{len(tickets)} languages are fewer than {FEWEST}"
    pairs = np.triu_indices(len(tickets), 1)
    if not np.isfinite(tickets[pairs]).all():
        return "two tickets are both empty"
    if np.ptp(tickets[pairs]) < 1e-12:
        return "all tickets are equally far apart"
    if np.ptp(matrix[pairs]) < 1e-12:
        return f"all languages are {PREDICTORS[predictor]}"
    return None
