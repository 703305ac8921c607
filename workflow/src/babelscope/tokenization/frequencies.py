"""How frequent tokens are in text: the unigram model, which knows nothing else."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

BLOCK = 4096  # windows counted together; bounds memory


def count_tokens(paths: Iterable[str | Path], size: int, special_ids: Iterable[int]) -> np.ndarray:
    """Return how often each token occurs in files of windows, special tokens never.

    Parameters
    ----------
    paths
        Files of :func:`~babelscope.tokenization.packing.write_chunks`.
    size
        Of the vocabulary: larger than every token's id.
    special_ids
        Tokens that stand at the ends of windows, or are never predicted.

    Returns
    -------
    np.ndarray
        int64, shape (size,).
    """
    from babelscope.tokenization.packing import read_chunks  # needs pyarrow; perplexity does not

    counts = np.zeros(size, np.int64)
    for path in paths:
        chunks = read_chunks(path)
        for start in range(0, len(chunks), BLOCK):
            counts += np.bincount(chunks[start : start + BLOCK].ravel(), minlength=size)
    counts[list(special_ids)] = 0
    return counts


def log_frequencies(counts: np.ndarray) -> np.ndarray:
    """Return the logarithm of each token's probability in a unigram model, shape (vocabulary,).

    Of N tokens of T kinds, one that occurs c times has the probability (c + T / V) / (N + T) in a
    vocabulary of V: as much as new kinds came up goes to all tokens alike, so none is impossible
    (Witten & Bell 1991, method C, with the uniform distribution to fall back on). Adding one to
    each count would give nearly everything to unseen tokens where the vocabulary is large against
    the text.

    Parameters
    ----------
    counts
        Shape (vocabulary,). Where all are 0, all tokens are as likely.
    """
    kinds = max(np.count_nonzero(counts), 1)
    return np.log(counts + kinds / len(counts)) - np.log(counts.sum() + kinds)
