"""Embeddings for a new vocabulary out of those of an old one: FOCUS (Dobler & de Melo 2023).

Similarities of some 30 000 new tokens with 20 000 old ones are made in blocks, and a row of them is
never sorted: a lower bound of sparsemax's threshold leaves out nearly all of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array

from babelscope.errors import BabelscopeError
from babelscope.seeds import derive_seed
from babelscope.tokenization.matching import match_tokens, special_tokens, vocabulary_size

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Of a token: a vector, or None for one that is too rare to have any.
Auxiliary = Mapping[str, Any] | Callable[[str], Any]

BLOCK = 2**23  # similarities held at once, 32 MB
GROUP = 32  # similarities of which the bound reads the largest
SLACK = 1e-6  # the bound's rounding errors are smaller
PADDING = 1e-3  # rows that models add to a matrix beyond the last token, as a share of all


@dataclass(frozen=True, eq=False)
class FocusEmbeddings:
    """Embeddings for a new vocabulary, and where each comes from.

    Attributes
    ----------
    weight
        Shape (V, d), float32: a row for each token of the new vocabulary.
    matched
        Shape (V,), int64: id of the same token in the old vocabulary, -1 for new tokens.
    combined
        Shape (V,), bool: new tokens made of old ones. Rows that are neither matched nor combined
        were drawn at random.
    """

    weight: np.ndarray
    matched: np.ndarray
    combined: np.ndarray

    @property
    def counts(self) -> dict[str, int]:
        """How many tokens were ``copied``, ``combined`` and drawn at ``random``."""
        copied, combined = int((self.matched >= 0).sum()), int(self.combined.sum())
        random = len(self.matched) - copied - combined
        return {"copied": copied, "combined": combined, "random": random}


def focus_embeddings(
    source_tokenizer: "PreTrainedTokenizerBase",
    target_tokenizer: "PreTrainedTokenizerBase",
    source_embeddings: Any,
    auxiliary: Auxiliary,
    *,
    seed: int = 0,
) -> np.ndarray:
    """Return embeddings for a new vocabulary, shape (V, d), float32.

    See :func:`initialize_embeddings`, of whose result these are the weights.
    """
    return initialize_embeddings(
        source_tokenizer, target_tokenizer, source_embeddings, auxiliary, seed=seed
    ).weight


def initialize_embeddings(
    source_tokenizer: "PreTrainedTokenizerBase",
    target_tokenizer: "PreTrainedTokenizerBase",
    source_embeddings: Any,
    auxiliary: Auxiliary,
    *,
    seed: int = 0,
) -> FocusEmbeddings:
    """Make embeddings for a new vocabulary and say where they come from.

    A token that the source has too keeps its embedding. A new one gets a weighted mean of the
    embeddings of those, with the sparsemax of the cosines of their auxiliary vectors as weights
    (Dobler & de Melo 2023, section 3). One without an auxiliary vector is drawn from a normal
    distribution with the mean and standard deviation of each dimension of the source's embeddings.

    Parameters
    ----------
    source_tokenizer, target_tokenizer
        Of the old and the new vocabulary; see :func:`match_tokens` for the kinds.
    source_embeddings
        NumPy array or torch tensor, shape (tokens of the source, d). Float32 is not copied.
    auxiliary
        A mapping or function from a token of the target, as its vocabulary spells it, to its vector
        or None; see :func:`auxiliary_vectors`. A vector of zeros counts as None.
    seed
        Of what is drawn at random.

    Raises
    ------
    BabelscopeError
        If the embeddings are not finite or not those of the source tokenizer; if the vocabularies
        share no text; if auxiliary vectors are not finite, differ in length, or no token that both
        vocabularies have has one.
    """
    source = _matrix(source_embeddings)
    tokens = vocabulary_size(source_tokenizer)
    if not tokens <= len(source) <= tokens * (1 + PADDING):
        raise BabelscopeError(
            f"The source's embeddings have {len(source)} rows, but its tokenizer has {tokens}"
            " tokens.",
            "Take the embeddings and the tokenizer from the same model.",
        )
    mean, deviation = _moments(source)
    matched = match_tokens(source_tokenizer, target_tokenizer)
    text = np.ones(len(matched), bool)
    text[list(special_tokens(target_tokenizer))] = False
    if not (matched[text] >= 0).any():
        raise BabelscopeError(
            "The new vocabulary shares no token with the source's, from which its embeddings could"
            " be made.",
            "Train the tokenizer on text in a script that the source knows.",
        )
    ids, vectors = _unit_vectors(target_tokenizer, auxiliary)
    anchor = matched[ids] >= 0
    weight = np.empty((len(matched), source.shape[1]), np.float32)
    weight[matched >= 0] = source[matched[matched >= 0]]
    combined = np.zeros(len(matched), bool)
    combined[ids[~anchor]] = True
    if combined.any():
        if not anchor.any():
            raise BabelscopeError(
                "No token that the new vocabulary shares with the source's has an auxiliary"
                " vector.",
                "Give more text, or count rarer tokens too.",
            )
        weight[ids[~anchor]] = combine_rows(
            vectors[~anchor], vectors[anchor], matched[ids[anchor]], source
        )
    drawn = (matched < 0) & ~combined
    generator = np.random.default_rng(derive_seed(seed, "focus"))
    noise = generator.standard_normal((int(drawn.sum()), source.shape[1]), np.float32)
    weight[drawn] = mean + deviation * noise
    return FocusEmbeddings(weight, matched, combined)


def combine_rows(
    new: np.ndarray, anchors: np.ndarray, rows: np.ndarray, source: np.ndarray
) -> np.ndarray:
    """Return means of rows of a matrix, weighted by the sparsemax of cosines; float32.

    Parameters
    ----------
    new, anchors
        Unit vectors, shape (m, a) and (n, a), float32.
    rows
        The row of `source` that belongs to each anchor, shape (n,).
    source
        Shape (tokens, d), float32.

    Returns
    -------
    np.ndarray
        Shape (m, d). Beside it memory holds one block of similarities.
    """
    combined = np.empty((len(new), source.shape[1]), np.float32)
    size = max(1, BLOCK // len(anchors))
    for start in range(0, len(new), size):
        weights = sparsemax(new[start : start + size] @ anchors.T)
        parts = (weights.data, rows[weights.indices], weights.indptr)
        chosen = csr_array(parts, shape=(len(weights.indptr) - 1, len(source)))
        combined[start : start + size] = chosen @ source
    return combined


def sparsemax(similarities: np.ndarray) -> csr_array:
    """Return the sparsemax of each row (Martins & Astudillo 2016), exactly.

    Parameters
    ----------
    similarities
        Shape (m, n), finite.

    Returns
    -------
    csr_array
        Shape (m, n), float32: non-negative, rows sum to 1; the point of the simplex nearest to the
        row.

    Notes
    -----
    The weights are max(z - t, 0), where t is the number at which they sum to 1. That sum falls
    with t and grows with every further entry, so t of some of a row's entries is at most t of all,
    and entries below it have no weight. The largest of every group of entries give a good bound;
    what lies above it is a few hundred of 20 000, and is sorted.
    """
    rows, columns = similarities.shape
    width = columns // GROUP
    # Groups are every width-th entry: their maxima are elementwise ones of long runs.
    groups = similarities[:, : width * GROUP].reshape(rows, GROUP, width)
    largest = groups.max(axis=1) if width else similarities
    bound = _thresholds(largest) - SLACK
    # Flat indices: NumPy is ten times as slow at finding pairs of them.
    near = np.flatnonzero(similarities > bound[:, None].astype(similarities.dtype))
    row, column = np.divmod(near, columns)
    values = similarities.ravel()[near].astype(np.float64)
    counts = np.bincount(row, minlength=rows)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    candidates = np.full((rows, counts.max()), -np.inf)
    candidates[row, place] = values
    weights = values - _thresholds(candidates)[row]
    kept = weights > 0
    ends = np.cumsum(np.bincount(row[kept], minlength=rows))
    parts = (weights[kept].astype(np.float32), column[kept], np.concatenate([[0], ends]))
    return csr_array(parts, shape=(rows, columns))


def _thresholds(entries: np.ndarray) -> np.ndarray:
    """Return for each row the t at which max(entries - t, 0) sum to 1, by sorting."""
    ordered = np.sort(entries, axis=1)[:, ::-1].astype(np.float64)
    excess = np.cumsum(ordered, axis=1) - 1
    place = np.arange(1, ordered.shape[1] + 1)
    support = (ordered * place > excess).sum(axis=1)
    return excess[np.arange(len(excess)), support - 1] / support


def _unit_vectors(
    tokenizer: "PreTrainedTokenizerBase", auxiliary: Auxiliary
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of tokens with an auxiliary vector, in order, and its direction."""
    find = auxiliary if callable(auxiliary) else auxiliary.get
    ids, tokens, vectors = [], [], []
    for token, number in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        vector = find(token)
        if vector is not None:
            ids.append(number)
            tokens.append(token)
            vectors.append(np.asarray(vector, np.float32))
    if len({vector.shape for vector in vectors}) > 1:
        raise BabelscopeError(
            "Auxiliary vectors of tokens differ in length.", "Take them from one model."
        )
    if not vectors:
        return np.empty(0, np.int64), np.empty((0, 1), np.float32)
    found = np.stack(vectors)
    length = np.sqrt(np.einsum("ij,ij->i", found, found, dtype=np.float64))
    if not np.isfinite(length).all():
        token = tokens[int(np.argmin(np.isfinite(length)))]
        raise BabelscopeError(
            f"The auxiliary vector of {token!r} is not finite.",
            "Train the auxiliary vectors anew, with fewer epochs.",
        )
    some = length > 0
    units = found[some] / length[some, None].astype(np.float32)
    return np.array(ids)[some], units


def _matrix(embeddings: Any) -> np.ndarray:
    """Return an array or tensor as a float32 array."""
    if hasattr(embeddings, "detach"):
        embeddings = embeddings.detach().cpu().float().numpy()
    return np.ascontiguousarray(embeddings, np.float32)


def _moments(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the columns; nothing as large as the matrix is made."""
    mean = matrix.mean(axis=0, dtype=np.float64)
    squares = np.zeros(matrix.shape[1])
    for start in range(0, len(matrix), 4096):
        squares += np.square(matrix[start : start + 4096] - mean).sum(axis=0)
    deviation = np.sqrt(squares / max(len(matrix) - 1, 1))
    if not np.isfinite(deviation).all():
        raise BabelscopeError(
            "The source's embeddings are not finite.", "Make or fetch the source model anew."
        )
    return mean.astype(np.float32), deviation.astype(np.float32)
