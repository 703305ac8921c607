"""Sentences to pooled hidden states, every layer in one pass."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from babelscope.errors import BabelscopeError
from babelscope.models.anatomy import CAUSAL
from babelscope.models.modes import arithmetic, evaluating
from babelscope.models.sentences import (
    POOLINGS,
    length_batches,
    pad,
    pool_tokens,
    tokenize,
    window_of,
)
from babelscope.models.sentences import pool as pool
from babelscope.progress import progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


class Encoded(NamedTuple):
    """Pooled states of some sentences.

    Attributes
    ----------
    states
        By pooling, shape (layers + 1, n, d), float32; layer 0 is the embeddings, row i is
        sentence i. The last layer of a left-to-right model has its final normalization behind it,
        as what the output layer reads; those below have not.
    truncated
        How many sentences were longer than `max_tokens` and were cut.
    """

    states: dict[str, np.ndarray]
    truncated: int


def encode_corpus(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    sentences: Sequence[str],
    *,
    poolings: Sequence[str],
    batch_tokens: int,
    max_tokens: int,
    device: str | torch.device,
    precision: str = "float32",
) -> Encoded:
    """Encode sentences in batches of similar length, without dropout or gradients.

    One forward pass serves all layers and poolings. A sentence's states do not depend on what else
    is in its batch, up to rounding: padding is on the right, where no token of a left-to-right
    model looks, and hidden from the others.

    Parameters
    ----------
    model
        Any transformers model; a head is left out, and of an encoder-decoder the encoder is used.
        It is moved to `device`, and in evaluation mode meanwhile.
    tokenizer
        The model's.
    sentences
        At least one; none may be without tokens.
    poolings
        At least one; see `pool`. The ``first`` token of a left-to-right model sees itself alone.
    batch_tokens
        Most tokens in a batch, padding included; a sentence longer than that is a batch by itself.
    max_tokens
        Sentences longer than this, special tokens included, or than the model reads, are cut.
    device
        Such as ``cpu`` or ``cuda``.
    precision
        ``float32``, or ``bf16`` or ``fp16`` by autocast; the result is float32.

    Raises
    ------
    BabelscopeError
        If there are no sentences, one has no tokens, or a state is not finite.
    """
    unknown = [how for how in poolings if how not in POOLINGS]
    if unknown or not poolings or isinstance(poolings, str):
        raise ValueError(f"unknown poolings {unknown or poolings!r}; known: {', '.join(POOLINGS)}")
    device = torch.device(device)
    max_tokens = min(max_tokens, window_of(model, tokenizer))
    ids, truncated = tokenize(tokenizer, sentences, max_tokens)
    if truncated:
        logger.warning("%d of %d sentences cut to %d tokens", truncated, len(ids), max_tokens)
    padding: Any = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    network = _encoder_of(model)
    network.to(device)
    # the keys and values of a whole batch would be kept for a next token
    options = {"use_cache": False} if model.config.model_type in CAUSAL else {}
    states: dict[str, torch.Tensor] = {}
    batches = list(length_batches([len(one) for one in ids], batch_tokens))
    with torch.inference_mode(), evaluating(network), arithmetic(network, precision):
        for rows in progress(batches, "batches"):
            batch, tokens = (part.to(device) for part in pad([ids[row] for row in rows], padding))
            hidden = network(
                input_ids=batch,
                attention_mask=tokens.long(),
                output_hidden_states=True,
                **options,
            ).hidden_states
            places = torch.tensor(rows, device=device)
            for how in poolings:
                pooled = torch.stack([pool_tokens(layer.float(), tokens, how) for layer in hidden])
                if how not in states:
                    states[how] = pooled.new_empty(len(pooled), len(ids), pooled.shape[2])
                states[how][:, places] = pooled
    if not all(torch.isfinite(one).all() for one in states.values()):
        raise BabelscopeError(
            f"The encoder gave states that are not finite with precision {precision}.",
            "Use compute.precision: float32, or bf16.",
        )
    return Encoded({how: one.cpu().numpy() for how, one in states.items()}, truncated)


def _encoder_of(model: "PreTrainedModel") -> Any:
    """Return the part that makes the states: no head, and no decoder beside an encoder."""
    if model.config.is_encoder_decoder:
        return model.get_encoder()
    return model.base_model
