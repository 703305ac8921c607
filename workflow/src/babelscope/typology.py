"""Typological distances of languages, and permutation tests of what goes along with them."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from babelscope.errors import BabelscopeError
from babelscope.representations.rows import ranks

Method = Literal["pearson", "spearman"]

# Permutations scored at once; bounds memory.
CHUNK = 1000


class Correlation(NamedTuple):
    """A correlation with its permutation test.

    Attributes
    ----------
    value
        Pearson's or Spearman's coefficient, from -1 to 1.
    p_two_sided
        Share of permutations whose coefficient is at least as far from 0.
    p_greater, p_less
        Share of permutations whose coefficient is at least as large, or as small.
    standard_error
        Delete-one-language jackknife; None where the correlation is undefined without one of them.
    n
        Number of languages.
    permutations
        How many were scored, the identity included.
    exact
        Whether these were all there are.
    """

    value: float
    p_two_sided: float
    p_greater: float
    p_less: float
    standard_error: float | None
    n: int
    permutations: int
    exact: bool


def syntactic_distance(codes: Sequence[str]) -> np.ndarray:
    """Return cosine distances between the syntactic features of languages.

    The features are URIEL's ``syntax_knn`` (Littell et al. 2017): 103 binary ones, those that no
    source gives predicted from the nearest languages.

    Parameters
    ----------
    codes
        ISO 639-3 codes as URIEL spells them (column ``uriel`` of languages.tsv).

    Returns
    -------
    Shape (languages, languages), from 0 to 1, symmetric, zero on the diagonal.

    Raises
    ------
    BabelscopeError
        If URIEL does not know a code, or lang2vec is not installed.

    Notes
    -----
    Read from the files inside the lang2vec package, whose import needs an old setuptools. Published
    distances come from a precomputed table and may differ a little.
    """
    features = _syntax(codes)
    lengths = np.linalg.norm(features, axis=1)
    distances = np.clip(1 - features @ features.T / np.outer(lengths, lengths), 0, 1)
    np.fill_diagonal(distances, 0)
    return distances


def _syntax(codes: Sequence[str]) -> np.ndarray:
    """Return the syntactic features, shape (languages, 103)."""
    package = find_spec("lang2vec")
    if package is None or not package.submodule_search_locations:
        raise BabelscopeError(
            "The package lang2vec, which holds the URIEL features, is not installed.",
            "Install the environment as the README says.",
        )
    path = Path(package.submodule_search_locations[0]) / "data" / "feature_predictions.npz"
    with np.load(path, allow_pickle=False) as file:
        known = [str(code) for code in file["langs"]]
        columns = [at for at, name in enumerate(file["feats"]) if str(name).startswith("S_")]
        source = [str(name) for name in file["sources"]].index("predicted")
        missing = [code for code in codes if code not in known]
        if missing:
            raise BabelscopeError(
                f"URIEL has no language {', '.join(missing)}.",
                "Correct the column uriel of config/languages.tsv.",
            )
        rows = [known.index(code) for code in codes]
        return file["data"][np.ix_(rows, columns, [source])][:, :, 0].astype(np.float64)


def mantel(
    a: Any, b: Any, *, permutations: int, seed: int, method: Method = "pearson"
) -> Correlation:
    """Correlate two matrices over pairs of languages (Mantel 1967).

    Rows and columns of `b` are permuted together. If there are no more than `permutations`
    permutations, all of them are scored and the p values are exact; otherwise that many are drawn
    and (1 + as extreme) / (1 + drawn) is reported.

    Parameters
    ----------
    a, b
        Symmetric matrices, shape (languages, languages); diagonals are ignored.
    permutations
        Most permutations scored.
    seed
        Draws them.
    method
        ``pearson`` or ``spearman``.

    Raises
    ------
    BabelscopeError
        If there are fewer than three languages, or a matrix does not vary.
    """
    first, second = (np.asarray(one, dtype=np.float64) for one in (a, b))
    for one in (first, second):
        if one.ndim != 2 or one.shape[0] != one.shape[1] or not np.allclose(one, one.T):
            raise ValueError(f"expected a symmetric matrix, not shape {one.shape}")
    if first.shape != second.shape:
        raise ValueError(
            f"matrices of shapes {first.shape} and {second.shape} cannot be correlated"
        )
    n = len(first)
    upper = np.triu_indices(n, 1)
    left = _standardized(first[upper], method, n)
    right = np.zeros_like(second)
    right[upper] = _standardized(second[upper], method, n)
    right += right.T

    def score(orders: np.ndarray) -> np.ndarray:
        return right[orders[:, upper[0]], orders[:, upper[1]]] @ left

    def without(language: int) -> float:
        kept = np.delete(np.arange(n), language)
        inner = np.triu_indices(n - 1, 1)
        rows, columns = kept[inner[0]], kept[inner[1]]
        return _coefficient(first[rows, columns], second[rows, columns], method, n - 1)

    return _test(score, without, n, permutations, seed)


def correlate(
    a: Any, b: Any, *, permutations: int, seed: int, method: Method = "pearson"
) -> Correlation:
    """Correlate two values per language, with the same permutation test as `mantel`.

    Parameters
    ----------
    a, b
        Shape (languages,): a value for each language, its similarity to the pivot say.
    permutations, seed, method
        As in `mantel`.

    Raises
    ------
    BabelscopeError
        If there are fewer than three languages, or the values do not vary.
    """
    first, second = (np.asarray(one, dtype=np.float64) for one in (a, b))
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"vectors of shapes {first.shape} and {second.shape} cannot be correlated")
    n = len(first)
    left, right = (_standardized(one, method, n) for one in (first, second))
    return _test(
        lambda orders: right[orders] @ left,
        lambda at: _coefficient(np.delete(first, at), np.delete(second, at), method, n - 1),
        n,
        permutations,
        seed,
    )


def _test(
    score: Callable[[np.ndarray], np.ndarray],
    without: Callable[[int], float],
    n: int,
    permutations: int,
    seed: int,
) -> Correlation:
    value = float(score(np.arange(n)[None])[0])
    exact = math.factorial(n) <= permutations
    counts = np.zeros(3, dtype=np.int64)
    scored = 0
    for orders in _orders(n, None if exact else permutations, seed):
        found = score(orders)
        # Sums in another order differ in their last bits, and equal coefficients must count.
        slack = 1e-12
        counts += [
            np.count_nonzero(np.abs(found) >= abs(value) - slack),
            np.count_nonzero(found >= value - slack),
            np.count_nonzero(found <= value + slack),
        ]
        scored += len(orders)
    if not exact:  # the identity belongs to the permutations
        counts += 1
        scored += 1
    two_sided, greater, less = (float(count) / scored for count in counts)
    return Correlation(
        value=value,
        p_two_sided=two_sided,
        p_greater=greater,
        p_less=less,
        standard_error=_jackknife(without, n),
        n=n,
        permutations=scored,
        exact=exact,
    )


def _jackknife(without: Callable[[int], float], n: int) -> float | None:
    """Return the standard error from the coefficients without each language."""
    try:
        left_out = np.array([without(language) for language in range(n)])
    except BabelscopeError:  # two languages are left, or what is left is constant
        return None
    return math.sqrt((n - 1) / n * float(np.sum((left_out - left_out.mean()) ** 2)))


def _orders(n: int, drawn: int | None, seed: int) -> Iterator[np.ndarray]:
    """Yield all permutations, or as many random ones as `drawn`, in chunks."""
    if drawn is None:
        every = itertools.permutations(range(n))
        while chunk := list(itertools.islice(every, CHUNK)):
            yield np.array(chunk)
        return
    generator = np.random.default_rng(seed)
    for start in range(0, drawn, CHUNK):
        rows = np.tile(np.arange(n), (min(CHUNK, drawn - start), 1))
        yield generator.permuted(rows, axis=1)


def _coefficient(first: np.ndarray, second: np.ndarray, method: Method, n: int) -> float:
    return float(_standardized(first, method, n) @ _standardized(second, method, n))


def _standardized(values: np.ndarray, method: Method, n: int) -> np.ndarray:
    """Return values, or ranks, with mean 0 and length 1."""
    if method not in ("pearson", "spearman"):
        raise ValueError(f"unknown method {method}; known: pearson, spearman")
    if n < 3 or not np.isfinite(values).all():
        raise BabelscopeError(
            f"{n} languages with finite values are too few for a correlation.",
            "Compare at least three languages.",
        )
    ranked = ranks(values) if method == "spearman" else values
    centred = ranked - ranked.mean()
    length = np.linalg.norm(centred)
    if length <= 1e-12 * max(1.0, float(np.abs(ranked).max())):
        raise BabelscopeError(
            "The values are equal for all languages: a correlation is undefined.",
            "Compare more languages.",
        )
    return centred / length
