"""The stream of training batches: which windows, in which order, what is predicted in them.

Everything is a function of (seed, epoch, example), so a batch is the same in one process or
several, with or without accumulation, and before or after a resume.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from babelscope.errors import BabelscopeError
from babelscope.models.masking import IGNORED, find_word_starts, mask_tokens
from babelscope.seeds import derive_seed
from babelscope.tokenization.matching import vocabulary_size

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

VALIDATION_SEED = 0  # not the training's, so that all seeds are validated on the same predictions


@dataclass(frozen=True)
class Masking:
    """How tokens are masked; see :func:`babelscope.models.masking.mask_tokens`."""

    mask_id: int
    vocab_size: int
    special_ids: tuple[int, ...]
    share: float
    word_starts: np.ndarray | None


def masking_of(tokenizer: "PreTrainedTokenizerBase", *, share: float, whole_words: bool) -> Masking:
    """Return how the text of a tokenizer is masked.

    Raises
    ------
    BabelscopeError
        If the tokenizer has no mask token.
    """
    mask_id = tokenizer.mask_token_id
    if not isinstance(mask_id, int):
        raise BabelscopeError(
            "The tokenizer has no mask token.",
            "Masked-language modelling needs one: choose another model in config/models.tsv.",
        )
    starts = find_word_starts(tokenizer) if whole_words else None
    size = vocabulary_size(tokenizer)
    unused = sorted(set(range(size)) - set(tokenizer.get_vocab().values()))
    never = (*tokenizer.all_special_ids, *unused)
    return Masking(mask_id, size, never, share, starts)


@dataclass(frozen=True)
class Batch:
    """Windows and what is predicted in them.

    Attributes
    ----------
    input_ids
        int64, shape (windows, window).
    positions
        Those whose states predict, indices into the flattened windows, shape (predicted,): the
        hidden ones, or of left-to-right models all but the last of each window.
    tokens
        The right tokens, shape (predicted,).
    """

    input_ids: np.ndarray
    positions: np.ndarray
    tokens: np.ndarray


def masked_batch(
    windows: np.ndarray, example_ids: np.ndarray, masking: Masking, *, seed: int, epochs: np.ndarray
) -> Batch:
    """Hide tokens of windows, each by its own epoch.

    Parameters
    ----------
    windows
        Shape (windows, window).
    example_ids, epochs
        Shape (windows,).
    """
    inputs = np.empty(windows.shape, np.int64)
    labels = np.empty(windows.shape, np.int64)
    for epoch in np.unique(epochs):  # one, or two where an epoch ends
        rows = epochs == epoch
        inputs[rows], labels[rows] = mask_tokens(
            windows[rows],
            example_ids=example_ids[rows],
            seed=seed,
            epoch=int(epoch),
            mask_id=masking.mask_id,
            vocab_size=masking.vocab_size,
            special_ids=masking.special_ids,
            share=masking.share,
            word_starts=masking.word_starts,
        )
    positions = np.flatnonzero(labels != IGNORED)
    return Batch(inputs, positions, labels.ravel()[positions])


def causal_batch(windows: np.ndarray) -> Batch:
    """Return windows, shape (windows, window), whose every token but the first is predicted."""
    inputs = windows.astype(np.int64)
    places = np.arange(inputs.size).reshape(inputs.shape)
    return Batch(inputs, places[:, :-1].ravel(), inputs[:, 1:].ravel())


class TrainingStream:
    """An endless stream of windows: the union of the languages, shuffled anew each epoch.

    Position k of the stream is example ``order(k // n)[k % n]`` of the n examples, masked for epoch
    ``k // n``. A batch may reach over the end of an epoch, so every window is used equally often
    and every batch is full.

    Parameters
    ----------
    chunks
        For each language its windows, shape (windows, window); may be mapped from a file.
    masking
        How tokens are hidden; None: none is, and each predicts the next.
    seed
        Of order, masks and choice.
    examples
        Windows per language at most, chosen at random; None takes all.
    """

    def __init__(
        self,
        chunks: Mapping[str, np.ndarray],
        masking: Masking | None,
        *,
        seed: int,
        examples: int | None = None,
    ) -> None:
        self.masking = masking
        self.seed = seed
        self.chunks = list(chunks.values())
        chosen = [
            _choose(language, len(windows), examples, seed) for language, windows in chunks.items()
        ]
        self.rows = np.concatenate(chosen)
        self.languages = np.repeat(np.arange(len(chosen)), [len(rows) for rows in chosen])
        self.order = lru_cache(maxsize=2)(self._order)

    def __len__(self) -> int:
        """Return the number of examples of one epoch."""
        return len(self.rows)

    def _order(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng(derive_seed(self.seed, "order", epoch))
        return rng.permutation(len(self.rows))

    def batch(self, places: Sequence[int]) -> Batch:
        """Return the windows at some places of the stream."""
        epochs, offsets = np.divmod(np.asarray(places), len(self.rows))
        examples = np.array(
            [self.order(int(epoch))[offset] for epoch, offset in zip(epochs, offsets, strict=True)]
        )
        windows = np.stack(
            [self.chunks[self.languages[i]][self.rows[i]].astype(np.int64) for i in examples]
        )
        if self.masking is None:
            return causal_batch(windows)
        seed = derive_seed(self.seed, "masks")
        return masked_batch(windows, examples, self.masking, seed=seed, epochs=epochs)


def _choose(language: str, available: int, wanted: int | None, seed: int) -> np.ndarray:
    if wanted is None or wanted >= available:
        if wanted is not None and wanted > available:
            logger.warning("%s: %d training windows, %d were asked", language, available, wanted)
        return np.arange(available)
    rng = np.random.default_rng(derive_seed(seed, "examples", language))
    return np.sort(rng.choice(available, wanted, replace=False))


def validation_batches(
    windows: np.ndarray, masking: Masking | None, *, examples: int, batch_size: int
) -> list[Batch]:
    """Return validation windows, spread evenly over the split, with masks that never change.

    Without `masking`, none is masked and every token but a window's first is predicted.
    """
    count = min(examples, len(windows))
    rows = np.arange(count) * len(windows) // count
    batches = []
    for some in np.array_split(rows, -(-count // batch_size)):
        chosen = np.asarray(windows[some])
        if masking is None:
            batches.append(causal_batch(chosen))
        else:
            epochs = np.zeros(len(some), np.int64)
            batches.append(masked_batch(chosen, some, masking, seed=VALIDATION_SEED, epochs=epochs))
    return batches
