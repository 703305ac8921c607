"""How many of a language's tokens another language also uses."""

from collections.abc import Mapping, Sequence
from itertools import chain, combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_array

BLOCK = 100  # bootstrap samples at a time; bounds memory


def token_overlap(tokens: Sequence[int], reference: Sequence[int]) -> float:
    """Return the share of the token types of one text that also occur in another.

    ``|set(tokens) & set(reference)| / |set(tokens)|``: not symmetric.

    Parameters
    ----------
    tokens, reference
        Token ids without special tokens.

    Raises
    ------
    ValueError
        If `tokens` is empty, for which no share is defined.
    """
    types = set(tokens)
    if not types:
        raise ValueError("the overlap of a text without tokens is undefined")
    return len(types & set(reference)) / len(types)


def shared_types(sentences: Mapping[str, Sequence[Sequence[int]]]) -> "pd.DataFrame":
    """Return what share of the token types of either of two languages both use, for all pairs.

    The Jaccard similarity of the types of the whole texts, ``|A & B| / |A | B|``: symmetric, unlike
    `token_overlap`, so that it can be compared with other matrices over pairs of languages.

    Parameters
    ----------
    sentences
        As in `overlap_table`.

    Returns
    -------
    pandas.DataFrame
        One row per pair of languages; columns left_language, right_language and value, from 0 to 1.
    """
    import pandas as pd

    types = {language: set(chain.from_iterable(own)) for language, own in sentences.items()}
    rows = [
        (left, right, len(types[left] & types[right]) / len(types[left] | types[right]))
        for left, right in combinations(types, 2)
    ]
    return pd.DataFrame(rows, columns=["left_language", "right_language", "value"])


def overlap_table(
    sentences: Mapping[str, Sequence[Sequence[int]]], *, pivot: str, samples: int, seed: int
) -> "pd.DataFrame":
    """Return the overlap of each language of a parallel corpus with the pivot.

    Parameters
    ----------
    sentences
        For each language the token ids of its sentences, without special tokens; the same number
        of sentences in the same order. No sentence is empty.
    pivot
        The language the others are compared with.
    samples
        Bootstrap samples of sentences.
    seed
        Of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        One row per language, level and unit; columns language, level, unit, value, low, high and
        n, the number of sentences.
        Level `sentence` is the mean over sentences of the share that the translation also has;
        level `corpus` compares the whole texts. Unit `types` counts every token type once, `tokens`
        every occurrence.

    Notes
    -----
    Intervals are 95 %, value ± 1.96 bootstrap standard errors within [0, 1]. A sentence is drawn
    together with its translation. Percentiles would be off for types: a resample has fewer distinct
    types, and those are the frequent ones. For the same reason the standard errors of level
    `corpus` are not exact: on simulated text those of types were about a fifth too small, those of
    tokens a little too large.
    """
    import pandas as pd

    reference = sentences[pivot]
    n = len(reference)
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=samples)
    rows = []
    for language, own in sentences.items():
        if language == pivot:
            continue
        values = {
            ("sentence", "types"): [
                token_overlap(x, y) for x, y in zip(own, reference, strict=True)
            ],
            ("sentence", "tokens"): [
                float(np.isin(x, y).mean()) for x, y in zip(own, reference, strict=True)
            ],
        }
        scores = {key: (np.mean(one), draws @ np.asarray(one) / n) for key, one in values.items()}
        scores |= _corpus_scores(own, reference, draws)
        for (level, unit), (value, resampled) in scores.items():
            error = 1.96 * np.std(resampled, ddof=1)
            low, high = max(0.0, value - error), min(1.0, value + error)
            rows.append((language, level, unit, value, low, high, n))
    columns = ["language", "level", "unit", "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


def _corpus_scores(
    own: Sequence[Sequence[int]], reference: Sequence[Sequence[int]], draws: np.ndarray
) -> dict[tuple[str, str], tuple[float, np.ndarray]]:
    """Return the corpus-level shares, of the whole and of each resample, shape (samples,)."""
    types, counts = _occurrences(own)
    others, references = _occurrences(reference)
    _, at, there = np.intersect1d(types, others, assume_unique=True, return_indices=True)
    references = references[:, there]  # a resample can share no others

    def shares(weights: np.ndarray) -> np.ndarray:  # (resamples, sentences) -> (2, resamples)
        drawn = counts.T @ weights.T  # (types, resamples)
        shared = references.T @ weights.T > 0
        return np.stack(
            [
                ((drawn[at] > 0) & shared).sum(axis=0) / (drawn > 0).sum(axis=0),
                (drawn[at] * shared).sum(axis=0) / drawn.sum(axis=0),
            ]
        )

    whole = shares(np.ones((1, len(own))))[:, 0]
    blocks = [shares(draws[i : i + BLOCK]) for i in range(0, len(draws), BLOCK)]
    resampled = np.concatenate(blocks, axis=1)
    return {
        ("corpus", unit): (float(whole[row]), resampled[row])
        for row, unit in enumerate(("types", "tokens"))
    }


def _occurrences(sentences: Sequence[Sequence[int]]) -> "tuple[np.ndarray, csr_array]":
    """Return the types of a text and how often each sentence has each, (sentences, types)."""
    from scipy.sparse import csr_array

    tokens = np.concatenate([np.asarray(sentence) for sentence in sentences])
    sentence = np.repeat(np.arange(len(sentences)), [len(one) for one in sentences])
    types, column = np.unique(tokens, return_inverse=True)
    shape = (len(sentences), len(types))
    return types, csr_array((np.ones(len(tokens)), (sentence, column)), shape=shape)
