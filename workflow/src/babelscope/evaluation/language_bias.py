"""Language bias: what scores lose when languages are evaluated together.

Roy et al. (2020, LAReQA) call an encoder strongly aligned if related sentences of two languages are
closer than unrelated sentences of one, and test it by retrieval from a pool of all languages.
Reimers & Gurevych (2020), in their section on language bias, compare, for graded similarity, the
mean score of single pairs of languages with the score of all their data concatenated. The measure
of Huang et al. (2025), the drop from bilingual to concatenated multilingual evaluation, follows
them. Their published code has no such step, so two things are decided here and may differ from
theirs: pairs within one language belong to the pool, and all vectors are aligned ones. Without the
former an offset that is as large for every language would stay unseen, and it is the case that Roy
et al. describe.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations_with_replacement

import faiss
import numpy as np
import pandas as pd

from babelscope.errors import BabelscopeError
from babelscope.evaluation.embeddings import Embeddings
from babelscope.evaluation.intervals import bootstrap, percentile_interval
from babelscope.evaluation.results import ALL, Results, Rows, language_pairs, naming
from babelscope.evaluation.sts import embedded_pairs, spearman_of
from babelscope.representations.retrieval import centred_units
from babelscope.seeds import derive_seed

TASK = "language_bias"
STRIP = 512  # sentences whose cosines with all others are held at a time


def score_similarity_bias(
    vectors: Embeddings,
    corpus: str,
    table: pd.DataFrame,
    *,
    resamples: int,
    seed: int,
) -> Results:
    """Return by how much Spearman's correlation x 100 drops when all languages are one data set.

    An encoder for which, say, two sentences of one language are always nearer than two of different
    languages ranks well within each pair of languages and badly across them.

    Parameters
    ----------
    vectors
        The encoder; aligned vectors everywhere, also within a language.
    corpus, table
        As in `score_sts`.
    resamples, seed
        Of the bootstrap over pairs of sentences; those with one `pair_id` are drawn together.

    Returns
    -------
    Rows over ``all`` languages in the setting ``multilingual``: ``spearman_bilingual``, the mean
    over the pairs of languages, ``spearman_multilingual``, that of their concatenation, and
    ``spearman_drop``, the first minus the second. Examples have cosine and score by pair of
    languages, as metric ``spearman_drop``.

    Raises
    ------
    BabelscopeError
        As in `score_sts`; if there is one pair of languages only.

    Notes
    -----
    Where the scores of different pairs of languages are distributed differently, the concatenation
    also changes what is ranked: the drop of an unbiased encoder is zero only for data that are the
    same in every language.
    """
    rows = Rows(TASK, corpus)
    parts = embedded_pairs(vectors, corpus, table, aligned=True)
    if len(parts) < 2:
        raise BabelscopeError(
            f"{corpus}: there is one pair of languages, of which nothing can be concatenated.",
            "Give two or more for language bias.",
        )
    together = pd.concat(parts.values(), ignore_index=True)
    names = pd.Index(together["pair_id"].unique())
    statistic = partial(drops, parts=list(parts.values()), together=together, names=names)
    values = statistic(np.ones((1, len(names)), np.int64))[0]
    drawn = bootstrap(
        statistic, len(names), resamples=resamples, seed=derive_seed(seed, TASK, corpus)
    )
    for number, name in enumerate(("bilingual", "multilingual", "drop")):
        interval = percentile_interval(drawn[:, number], f"{corpus}, all languages")
        metric = f"spearman_{name}"
        value = float(values[number])
        rows.score((ALL, ALL), "multilingual", metric, value, interval, len(together))
    for languages, part in parts.items():
        rows.examples(
            languages, "multilingual", metric, part["pair_id"], part["cosine"], part["score"]
        )
    return rows.results()


def drops(
    weights: np.ndarray, *, parts: Sequence[pd.DataFrame], together: pd.DataFrame, names: pd.Index
) -> np.ndarray:
    """Return mean correlation, correlation of the concatenation, and the difference, x 100.

    Parameters
    ----------
    weights
        Shape (resamples, names).
    parts
        Tables ``pair_id, score, cosine`` of the pairs of languages.
    together
        Their concatenation.
    names
        The different values of `pair_id`.

    Returns
    -------
    Shape (resamples, 3).
    """
    single = np.mean([spearman_of(part, weights, names) for part in parts], axis=0)
    whole = spearman_of(together, weights, names)
    return 100 * np.stack([single, whole, single - whole], axis=1)


def score_retrieval_bias(
    vectors: Embeddings,
    corpus: str,
    sentences: Mapping[str, Sequence[str]],
    *,
    pivot: str,
    names: Sequence[str],
    all_pairs: bool = False,
    resamples: int,
    seed: int,
) -> Results:
    """Return by how much retrieval of translations drops when the pool has all languages.

    Bilingual: a sentence of language A is looked up among the sentences of B, and right if its
    translation is nearest. Multilingual: among the sentences of all languages, those of A too. Its
    translations into other languages than B are as right as that into B, so they are neither hits
    nor obstacles: it is right if its translation into B is nearer than every sentence of other
    content in any language.

    Parameters
    ----------
    vectors
        The encoder; aligned vectors everywhere.
    corpus
        Its name.
    sentences
        By language, n sentences; row i is the same content in every language.
    pivot
        The language that is paired with all others, and named first.
    names
        Shape (n,): a name of each content.
    all_pairs
        Whether all others are paired with each other, too; the pool has all languages anyway.
    resamples, seed
        Of the bootstrap over contents.

    Returns
    -------
    Rows in the setting ``multilingual``: ``accuracy_bilingual``, ``accuracy_multilingual`` and
    ``accuracy_drop``, in %, means of both directions, for each pair of languages and, as ``all``,
    their mean. Examples have, as ``accuracy_drop``, the drop of each content of a pair as
    prediction, and gold 0.

    Raises
    ------
    BabelscopeError
        If all vectors of a language are the same, or there are fewer than two contents.

    Notes
    -----
    Nearest by cosine: a margin would divide out what is measured. A larger pool has more that can
    be mistaken, so the drop of a noisy encoder without bias is small but not zero; it is never
    negative. An equal sentence, and the translation of an equal one, are right as in
    `margin_retrieval`.
    """
    rows = Rows(TASK, corpus)
    languages = list(sentences)
    n = len(names)
    if n < 2:
        raise BabelscopeError(f"{corpus}: there is one sentence.", "Give two or more.")
    for language in languages:
        vectors.request(sentences[language], language, aligned=True)
    sides = [vectors.of(sentences[language], language, aligned=True) for language in languages]
    units = dict(zip(languages, centred_units(*sides), strict=True))
    groups = {}
    for language in languages:
        with naming(f"{corpus}, {language}"):
            if np.ptp(units[language], axis=0).max() <= 1e-6:
                raise BabelscopeError(
                    "The vectors of all sentences are the same: nothing can be retrieved.",
                    "Give different sentences, or check the encoder.",
                )
            groups[language] = pd.factorize(np.array(sentences[language]))[0]
    pairs = language_pairs(languages, pivot, all_pairs=all_pairs)
    right, obstacles = {}, {}
    for first, second in combinations_with_replacement(languages, 2):
        there, back = _nearest(units[first], units[second], groups[first], groups[second])
        right[first, second], obstacles[first, second] = there
        right[second, first], obstacles[second, first] = back
    highest = {
        first: np.max([obstacles[first, second] for second in languages], axis=0)
        for first in languages
    }
    metrics = ("accuracy_bilingual", "accuracy_multilingual", "accuracy_drop")
    found = []
    for pair in pairs:
        both = (pair, pair[::-1])
        single = np.mean([right[one] > obstacles[one] for one in both], axis=0)
        pooled = np.mean([right[one] > highest[one[0]] for one in both], axis=0)
        found.append(np.stack([single, pooled, single - pooled]))
        rows.examples(pair, "multilingual", metrics[-1], names, single - pooled, 0.0)
    hits = 100 * np.stack(found)  # (pairs, metrics, n)
    series = dict(zip([*pairs, (ALL, ALL)], [*hits, hits.mean(axis=0)], strict=True))
    for pair, values in series.items():
        drawn = bootstrap(
            partial(_means, values), n, resamples=resamples, seed=derive_seed(seed, TASK, corpus)
        )
        for number, metric in enumerate(metrics):
            interval = percentile_interval(drawn[:, number], f"{corpus}, {'-'.join(pair)}")
            value = float(values[number].mean())
            rows.score(pair, "multilingual", metric, value, interval, n)
    return rows.results()


def _means(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean of each row of values in each resample, shape (resamples, rows)."""
    return weights @ values.T / weights.sum(axis=1, keepdims=True)


def _nearest(
    first: np.ndarray, second: np.ndarray, left: np.ndarray, right: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return how near each row's own on the other side is, and the nearest of the others.

    That is minus the square of the distance, which puts rows in the order of their cosines. An
    equal sentence, and the translation of a sentence equal to it, are its own as well.

    Parameters
    ----------
    first, second
        Shape (n, d), from `centred_units`.
    left, right
        Shape (n,): numbers that are equal for equal sentences.

    Returns
    -------
    Both for the rows of `first`, then for those of `second`, shape (n,) each.
    """
    n = len(first)
    own, others = np.full((2, 2, n), -np.inf, np.float32)  # by side
    for start in range(0, n, STRIP):
        strip = slice(start, start + STRIP)
        near = -faiss.pairwise_distances(first[strip], second)
        same = (left[strip][:, None] == left) | (right[strip][:, None] == right)
        for largest, kept in ((own, same), (others, ~same)):
            shown = np.where(kept, near, -np.inf)
            largest[0, strip] = shown.max(axis=1)
            np.maximum(largest[1], shown.max(axis=0), out=largest[1])
    return (own[0], others[0]), (own[1], others[1])
