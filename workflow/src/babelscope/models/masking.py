"""Masking tokens for masked-language models, as a fixed function of seed, epoch and example.

No state and no generator: the numbers of an example are a hash of (seed, epoch, example id, place),
so they do not depend on the batch, its order or padding, the process, or how often it is asked.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from babelscope.errors import BabelscopeError
from babelscope.tokenization.matching import token_reader, vocabulary_size

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # label of a position without loss, as in PyTorch's cross entropy
UNSPACED = (  # code points of scripts written without spaces, where every piece counts as a word
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x31FF),  # CJK radicals and punctuation, kana, Bopomofo
    (0x3400, 0x9FFF),  # Han
    (0xF900, 0xFAFF),  # Han, compatibility
    (0x20000, 0x3FFFF),  # Han, supplementary planes
)


def mask_tokens(
    input_ids: np.ndarray,
    *,
    example_ids: np.ndarray,
    seed: int,
    mask_id: int,
    vocab_size: int,
    special_ids: Collection[int],
    share: float = 0.15,
    epoch: int = 0,
    word_starts: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose positions to predict and hide them as BERT does (Devlin et al. 2019, section 3.1).

    Of the chosen tokens 80 % become the mask token, 10 % another token, 10 % stay as they are.

    Parameters
    ----------
    input_ids
        Token ids, shape (examples, length), any integer type; left unchanged.
    example_ids
        Non-negative integers that name the examples, shape (examples,).
    seed, epoch
        Together with an example's id, all that the chosen positions and replacements depend on.
        Evaluation leaves the epoch at 0.
    mask_id
        Id of the mask token.
    vocab_size
        Replacements are drawn uniformly from [0, vocab_size) without `special_ids`.
    special_ids
        Tokens that are never chosen and never drawn: padding, separators, the mask token.
    share
        Share of the ordinary tokens to choose, in (0, 1).
    word_starts
        Choose whole words: a table of shape (vocab_size,), True where a token begins a word; see
        :func:`find_word_starts`. None chooses single tokens.

    Returns
    -------
    inputs, labels
        int64, shape (examples, length); labels are the original ids at chosen positions and -100
        elsewhere.

    Raises
    ------
    BabelscopeError
        If an example has no ordinary token.

    Notes
    -----
    An example of n ordinary tokens has exactly max(1, round(share * n)) chosen ones, not a binomial
    number, so no example is without loss and scores vary less. With whole words, words are taken in
    random order until that number is reached; the last one may exceed it.
    """
    tokens = np.asarray(input_ids).astype(np.int64)
    special = np.unique([*special_ids, mask_id])
    ordinary = ~np.isin(tokens, special)
    counts = ordinary.sum(axis=1)
    if not counts.all():
        bad = np.asarray(example_ids)[counts == 0][0]
        raise BabelscopeError(
            f"Example {bad} has no token but special ones, so nothing in it can be masked.",
            "Remove empty texts before packing.",
        )
    place = np.cumsum(ordinary, axis=1)  # counts ordinary tokens only: padding changes nothing
    unit = place if word_starts is None else _first_place(tokens, ordinary, place, word_starts)
    keys = _keys(example_ids, seed, epoch)

    order = np.where(ordinary, _uniform(keys, unit, 0), np.inf)
    wanted = np.maximum(1, np.rint(share * counts).astype(np.int64))
    last = np.take_along_axis(np.sort(order, axis=1), wanted[:, None] - 1, axis=1)
    chosen = order <= last  # (examples, length)

    fate = _uniform(keys, place, 1)
    drawn = (_uniform(keys, place, 2) * (vocab_size - len(special))).astype(np.int64)
    drawn += np.searchsorted(special - np.arange(len(special)), drawn, side="right")
    inputs = np.where(chosen & (fate < 0.8), mask_id, tokens)
    inputs = np.where(chosen & (fate >= 0.9), drawn, inputs)
    return inputs, np.where(chosen, tokens, IGNORED)


def find_word_starts(tokenizer: "PreTrainedTokenizerBase") -> np.ndarray:
    """Return which tokens begin a word, shape (vocabulary,).

    Read from the mark of the tokenizer's kind: ``##`` before a continuation (WordPiece), ``▁`` or
    ``Ġ`` before a beginning (SentencePiece, byte-level BPE). In scripts without spaces every token
    counts as a word, as BERT does for Chinese, since a whole sentence would be one otherwise.

    Raises
    ------
    BabelscopeError
        If the tokenizer is of another kind.
    """
    read = token_reader(tokenizer)  # by kind: a token may be spelt like the mark of another kind
    starts = np.zeros(vocabulary_size(tokenizer), dtype=bool)
    for piece, place in tokenizer.get_vocab().items():
        starts[place] = _unspaced(piece) or any(begins for begins, _ in read(piece))
    return starts


def _unspaced(piece: str) -> bool:
    return any(low <= ord(piece[:1] or " ") <= high for low, high in UNSPACED)


def _first_place(
    tokens: np.ndarray, ordinary: np.ndarray, place: np.ndarray, word_starts: np.ndarray
) -> np.ndarray:
    """Return, for each position, the place of its word's first token."""
    after_special = np.pad(~ordinary, ((0, 0), (1, 0)), constant_values=True)[:, :-1]
    starts = ordinary & (word_starts[tokens] | after_special)
    return np.maximum.accumulate(np.where(starts, place, 0), axis=1)


def _keys(example_ids: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Return one 64-bit key per example, shape (examples, 1)."""
    ids = np.asarray(example_ids).astype(np.uint64)
    key = _mix(np.full(ids.shape, seed, dtype=np.uint64))
    key = _mix(key ^ np.uint64(epoch))
    return _mix(key ^ ids)[:, None]


def _uniform(keys: np.ndarray, place: np.ndarray, stream: int) -> np.ndarray:
    """Return numbers in [0, 1) for places of examples; streams are independent of each other."""
    bits = _mix(_mix(keys ^ np.uint64(stream)) ^ place.astype(np.uint64))
    return (bits >> np.uint64(11)) * 2.0**-53


def _mix(bits: np.ndarray) -> np.ndarray:
    """Mix 64-bit integers: the output function of SplitMix64 (Steele et al. 2014)."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
