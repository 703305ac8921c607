"""Sentences as batches of tokens, and the states of their tokens as one vector each."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from babelscope.errors import BabelscopeError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

POOLINGS = ("mean", "first", "last", "max")
BLOCK = 8192  # sentences tokenized together: what a tokenizer says of each takes ten kilobytes
LIKE_ROBERTA = ("roberta", "xlm-roberta")  # their positions begin after that of the padding


def window_of(network: Any, tokenizer: "PreTrainedTokenizerBase") -> int:
    """Return how many tokens a network reads at most, by its positions and its tokenizer."""
    config = network.config
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return tokenizer.model_max_length
    if config.model_type in LIKE_ROBERTA:
        positions -= config.pad_token_id + 1
    return min(tokenizer.model_max_length, positions)


def language_mark(tokenizer: "PreTrainedTokenizerBase", code: str) -> int:
    """Return the token by which a tokenizer such as NLLB's marks a language.

    Parameters
    ----------
    tokenizer
        One that has ``src_lang``.
    code
        Of FLORES-200, such as ``deu_Latn``.

    Raises
    ------
    BabelscopeError
        If it has no such token.
    """
    mark: Any = tokenizer.convert_tokens_to_ids(code)
    if mark == tokenizer.unk_token_id:
        near = sorted(token for token in tokenizer.get_vocab() if token.startswith(f"{code[:3]}_"))
        known = f"; near to it are {', '.join(near)}" if near else ""
        raise BabelscopeError(
            f"The tokenizer in {tokenizer.name_or_path} has no language {code}{known}.",
            "Correct the column flores of config/languages.tsv, choose another model, or take the"
            " language out of the configuration.",
        )
    return mark


def speak(tokenizer: "PreTrainedTokenizerBase", code: str) -> None:
    """Let a tokenizer mark what it reads from now on as text of a language, if it does so at all.

    NLLB's and SONAR's put a token of the language around every text; others are left as they are.
    A tokenizer that is saved keeps its language. Parameters and errors are those of
    :func:`language_mark`.
    """
    if hasattr(tokenizer, "src_lang"):
        language_mark(tokenizer, code)
        tokenizer.src_lang = code  # pyright: ignore


def tokenize(
    tokenizer: "PreTrainedTokenizerBase", sentences: Sequence[str], max_tokens: int
) -> tuple[list[torch.Tensor], int]:
    """Return the ids of each sentence, cut to `max_tokens`, and how many were cut."""
    if not sentences:
        raise BabelscopeError("There are no sentences to encode.", "Check the text.")
    ids: list[torch.Tensor] = []
    cut = 0
    for start in range(0, len(sentences), BLOCK):
        some = list(sentences[start : start + BLOCK])
        encoded = tokenizer(
            some,
            truncation=True,
            max_length=max_tokens,
            return_overflowing_tokens=True,
            return_attention_mask=False,
        )
        # The rest of a cut sentence comes as further rows that name the same sentence.
        pieces: dict[int, list[int]] = {}
        truncated = set()
        for piece, sentence in zip(
            encoded["input_ids"], encoded["overflow_to_sample_mapping"], strict=True
        ):
            if sentence in pieces:
                truncated.add(sentence)
            else:
                pieces[sentence] = piece
        for row, piece in pieces.items():
            if not piece:
                raise BabelscopeError(
                    f"Sentence {start + row} (counted from 0) has no tokens: {some[row]!r}.",
                    "Remove it from the text.",
                )
        ids += [torch.tensor(pieces[row]) for row in range(len(some))]
        cut += len(truncated)
    return ids, cut


def pad(ids: Sequence[torch.Tensor], padding: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the ids of sentences in one matrix, padded on the right, and where tokens are.

    Both have the shape (batch, time); the second holds bools.
    """
    lengths = torch.tensor([len(one) for one in ids])
    tokens = torch.arange(int(lengths.max())) < lengths[:, None]
    batch = torch.full(tokens.shape, padding)
    batch[tokens] = torch.cat(list(ids))
    return batch, tokens


def length_batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Yield rows in batches of falling length; the largest first, to run out of memory early."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        if batch and lengths[batch[0]] * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(row)
    yield batch


def pool(states: torch.Tensor, attention_mask: torch.Tensor, how: str) -> torch.Tensor:
    """Return one vector per sentence from the vectors of its tokens.

    Parameters
    ----------
    states
        Shape (batch, time, d).
    attention_mask
        Shape (batch, time), 1 for a token and 0 for padding, on either side.
    how
        ``mean``, ``first``, ``last`` or ``max``, over the tokens that are not padding; special
        tokens count.

    Returns
    -------
    Shape (batch, d).

    Raises
    ------
    ValueError
        If `how` is unknown, the shapes disagree or a sentence is all padding.
    """
    if states.ndim != 3 or attention_mask.shape != states.shape[:2]:
        raise ValueError(
            f"states {tuple(states.shape)} and mask {tuple(attention_mask.shape)} do not fit:"
            " expected (batch, time, d) and (batch, time)"
        )
    if not attention_mask.bool().any(dim=1).all():
        raise ValueError("a sentence without a token cannot be pooled")
    return pool_tokens(states, attention_mask.bool(), how)


def pool_tokens(states: torch.Tensor, tokens: torch.Tensor, how: str) -> torch.Tensor:
    """Pool as `pool` does without looking at values, so that a GPU need not be waited for."""
    if how == "mean":
        kept = states.masked_fill(~tokens[:, :, None], 0)  # padding may hold anything, NaN too
        return kept.sum(dim=1) / tokens.sum(dim=1, keepdim=True).to(states.dtype)
    if how == "max":
        return states.masked_fill(~tokens[:, :, None], float("-inf")).amax(dim=1)
    if how in ("first", "last"):
        places = torch.arange(tokens.shape[1], device=tokens.device)
        if how == "first":
            position = torch.where(tokens, places, tokens.shape[1]).amin(dim=1)
        else:
            position = torch.where(tokens, places, -1).amax(dim=1)
        return states[torch.arange(len(states), device=states.device), position]
    raise ValueError(f"unknown pooling {how}; known: {', '.join(POOLINGS)}")
