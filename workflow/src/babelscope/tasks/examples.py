"""What the tasks share: choosing examples of a file, padding them, and giving them to a network."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from babelscope.config import TEXT_TO_TEXT
from babelscope.errors import BabelscopeError
from babelscope.models.loading import load_config, load_tokenizer
from babelscope.seeds import derive_seed
from babelscope.tasks.base import Batch

logger = logging.getLogger(__name__)


def tokenizer_of(folder: str | Path) -> Any:
    """Return the tokenizer of a model's folder, if texts can be given to the model by it.

    Raises
    ------
    BabelscopeError
        If there is none, it cannot pad, or it has tokens that the model does not know.
    """
    tokenizer = load_tokenizer(folder)
    if tokenizer.pad_token_id is None:
        raise BabelscopeError(
            f"The tokenizer in {folder} has no token for padding.",
            "Name it pad_token in tokenizer_config.json.",
        )
    config: Any = load_config(folder)
    tokens = len(tokenizer)
    # those of T5 and mT5 have sentinels beyond the embeddings, which no text contains
    if config.model_type not in TEXT_TO_TEXT and tokens > config.vocab_size:
        raise BabelscopeError(
            f"The tokenizer in {folder} has {tokens} tokens, the model {config.vocab_size}.",
            "Put the model's own tokenizer beside it.",
        )
    return tokenizer


def choose_rows(available: int, wanted: int | None, seed: int, path: str | Path) -> np.ndarray:
    """Return indices of a file's examples, ascending: all, or so many drawn at random.

    Parameters
    ----------
    available, wanted
        How many there are and are asked for; None takes all. Fewer are taken, and reported, if
        there are not enough.
    seed
        Of the choice; files of equal size have the same rows chosen, so that parallel data stay
        parallel.
    path
        The file, for messages.

    Raises
    ------
    BabelscopeError
        If the file has none.
    """
    if not available:
        raise BabelscopeError(
            f"{path} has no examples.",
            "Give the language data for this split, or take it out of tickets.languages.",
        )
    if wanted is None or wanted >= available:
        if wanted is not None and wanted > available:
            logger.warning("%s: %d examples of the %d asked for", path, available, wanted)
        return np.arange(available)
    rng = np.random.default_rng(derive_seed(seed, "examples"))
    return np.sort(rng.choice(available, wanted, replace=False))


def report_cut(cut: int, examples: int, max_tokens: int, path: str | Path) -> None:
    """Say how many examples of a file were longer than the window."""
    if cut:
        logger.warning(
            "%s: %d of %d examples are longer than %d tokens and were cut",
            path,
            cut,
            examples,
            max_tokens,
        )


def pad(rows: Iterable[Sequence[int] | np.ndarray | torch.Tensor], value: int) -> torch.Tensor:
    """Return sequences as one int64 tensor, shape (rows, longest), filled up on the right."""
    tensors = [torch.as_tensor(row, dtype=torch.int64) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)


def network_inputs(model: Any, batch: Batch, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Return some tensors of a batch on a network's device, without waiting for it.

    A network looks into the mask of padding, and on a GPU the host then waits for all work before
    it. So a mask that hides nothing is left out, and, on a GPU, encoders are given a mask of pairs
    of positions, which they take as it is.

    Parameters
    ----------
    model
        The network.
    batch
        On the CPU; with ``attention_mask``.
    names
        Of the tensors that the network takes.
    """
    device = next(model.parameters()).device
    inputs = {name: batch[name] for name in names}
    mask = inputs.pop("attention_mask")
    if not bool(mask.all()):
        bare = model.config.is_encoder_decoder or model.config._attn_implementation != "sdpa"
        inputs["attention_mask"] = mask if bare or device.type == "cpu" else mask_pairs(mask)
    return {name: value.to(device, non_blocking=True) for name, value in inputs.items()}


def mask_pairs(mask: torch.Tensor) -> torch.Tensor:
    """Return which position may look at which: bool, shape (batch, 1, time, time)."""
    time = mask.shape[1]
    return mask.bool()[:, None, None, :].expand(-1, 1, time, time)
