"""The vectors of a task's sentences, each computed once."""

from collections.abc import Callable, Collection, Sequence

import numpy as np

from babelscope.errors import BabelscopeError
from babelscope.representations.rows import rows_of, unit_rows

Embed = Callable[[Sequence[str], str, bool], np.ndarray]

ROUNDING = 12  # decimals of a cosine: products of equal vectors differ in their last bits


class Embeddings:
    """Vectors of sentences by language, with and without alignment.

    Requests are collected and made in one call per language, so that an encoder can fill its
    batches; no sentence is embedded twice.

    Parameters
    ----------
    embed
        Maps sentences, their language, and whether the vectors are compared with other languages'
        to vectors, shape (n, d). It is all that is known of an encoder.
    switching
        Languages whose vectors differ with alignment; for the others `embed` is always asked
        without it, which saves half of the work. None: all languages.

    Raises
    ------
    BabelscopeError
        If a vector is not finite, or zero, so that it has no cosine with others.
    """

    def __init__(self, embed: Embed, *, switching: Collection[str] | None = None) -> None:
        self._embed = embed
        self._switching = switching
        self._places: dict[tuple[str, bool], dict[str, int]] = {}
        self._vectors: dict[tuple[str, bool], np.ndarray] = {}

    def request(self, sentences: Sequence[str], language: str, *, aligned: bool) -> None:
        """Say that vectors will be wanted; they are computed when the first of them is."""
        places = self._places.setdefault(self._key(language, aligned), {})
        for sentence in sentences:
            places.setdefault(sentence, len(places))

    def of(self, sentences: Sequence[str], language: str, *, aligned: bool) -> np.ndarray:
        """Return the vectors of sentences in their order, shape (n, d), float32 or float64."""
        self.request(sentences, language, aligned=aligned)
        key = self._key(language, aligned)
        places = self._places[key]
        known = self._vectors.get(key)
        done = 0 if known is None else len(known)
        if done < len(places):
            new = self._computed(list(places)[done:], key)
            known = new if known is None else np.concatenate([known, new])
            self._vectors[key] = known
        assert known is not None
        return known[[places[sentence] for sentence in sentences]]

    def _key(self, language: str, aligned: bool) -> tuple[str, bool]:
        return language, aligned and (self._switching is None or language in self._switching)

    def _computed(self, sentences: list[str], key: tuple[str, bool]) -> np.ndarray:
        language, aligned = key
        vectors = rows_of(self._embed(sentences, language, aligned))
        if len(vectors) != len(sentences):
            raise ValueError(f"{len(vectors)} vectors for {len(sentences)} sentences")
        zero = ~vectors.any(axis=1)
        if zero.any():
            raise BabelscopeError(
                f"The vector of the sentence {sentences[int(np.argmax(zero))]!r} in {language} is"
                " zero, so it has no cosine with others.",
                "Check the sentence, which may be empty, and the encoder.",
            )
        return vectors


def pair_cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the cosine of each row of one matrix with the same row of the other, shape (n,)."""
    return np.einsum("nd,nd->n", unit_rows(first), unit_rows(second)).round(ROUNDING)
