"""Another vocabulary for a model: word embeddings, the output layer tied to them, and its bias."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from babelscope.errors import BabelscopeError
from babelscope.tokenization.matching import vocabulary_size

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def replace_vocabulary(
    model: nn.Module,
    tokenizer: "PreTrainedTokenizerBase",
    embeddings: np.ndarray | torch.Tensor,
    matched: np.ndarray,
) -> None:
    """Give a transformers model the vocabulary of another tokenizer, in place.

    Modules stay what they are, so embeddings that are scaled still are, and an output layer that
    is tied to the embeddings stays tied. The output's bias follows tokens to their new ids; new
    ones get the mean of theirs, since 0 would let them outdo all others where a bias holds how
    frequent tokens are. The configuration gets the new size and special ids.

    Parameters
    ----------
    model
        A network of any family, with or without a language-model head.
    tokenizer
        Of the new vocabulary of V tokens.
    embeddings
        Shape (V, d), where d is the width of the model's embeddings. Copied to their kind of number
        and device.
    matched
        Shape (V,): id of the same token in the old vocabulary, -1 for new tokens.

    Raises
    ------
    BabelscopeError
        If the embeddings do not fit the tokenizer or the model, or are not finite; if the output
        layer has a matrix of its own; if the padding token moves in a model that counts positions
        from its id.
    """
    words: Any = model.get_input_embeddings()  # pyright: ignore
    old = words.weight
    new, same = _checked(tokenizer, embeddings, matched, old)
    output: Any = model.get_output_embeddings()  # pyright: ignore
    if output is not None and output.weight is not old:
        raise BabelscopeError(
            f"The output layer of {type(model).__name__} is not tied to its embeddings, so it would"
            " keep the old vocabulary.",
            "Choose a model with tied embeddings, or one without a language-model head.",
        )
    padding: Any = tokenizer.pad_token_id
    _check_positions(model, words, padding)
    config: Any = model.config
    with torch.no_grad():
        weight = nn.Parameter(new.to(old, copy=True), requires_grad=old.requires_grad)
        bias = getattr(output, "bias", None)
        if bias is not None:
            before = bias.cpu()
            known = before[same[same >= 0]] if bool((same >= 0).any()) else before
            moved = torch.where(same < 0, known.mean(), before[same.clamp_min(0)])
            _put(model, bias, nn.Parameter(moved.to(bias), requires_grad=bias.requires_grad))
    for module in _put(model, old, weight):
        if isinstance(module, nn.Embedding):
            module.num_embeddings, module.padding_idx = len(weight), padding
        else:
            module.out_features = len(weight)  # pyright: ignore
    config.vocab_size = len(weight)
    for role in ("pad", "bos", "eos"):
        number = getattr(tokenizer, f"{role}_token_id")
        if number is not None:
            setattr(config, f"{role}_token_id", number)


def _checked(
    tokenizer: "PreTrainedTokenizerBase",
    embeddings: np.ndarray | torch.Tensor,
    matched: np.ndarray,
    old: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return embeddings and matches as tensors that fit each other, the tokenizer and the model."""
    if not isinstance(embeddings, torch.Tensor):
        embeddings = torch.from_numpy(np.array(embeddings))  # a copy may be written to
    new, same = embeddings.detach(), torch.from_numpy(np.array(matched, np.int64))
    tokens = vocabulary_size(tokenizer)
    if len(new) != tokens:
        raise BabelscopeError(
            f"The embeddings have {len(new)} rows, but the tokenizer has {tokens} tokens.",
            "Make them anew for this tokenizer.",
        )
    if new.shape[1] != old.shape[1]:
        raise BabelscopeError(
            f"The embeddings have {new.shape[1]} dimensions, but the model's have {old.shape[1]}.",
            "Make them anew from this model's embeddings.",
        )
    if same.shape != (len(new),):
        raise BabelscopeError(
            f"{same.numel()} tokens are matched with the old vocabulary, but there are {len(new)}.",
            "Take the matches from the file of the embeddings.",
        )
    if int(same.max()) >= len(old):
        raise BabelscopeError(
            f"A token is matched with number {int(same.max())} of an old vocabulary of {len(old)}.",
            "Make the embeddings anew from this model's embeddings.",
        )
    if not bool(new.isfinite().all()):
        raise BabelscopeError("The new embeddings are not finite.", "Make them anew.")
    return new, same


def _put(model: nn.Module, old: nn.Parameter, new: nn.Parameter) -> list[nn.Module]:
    """Put a parameter in every place of another one, and return the modules that had it."""
    holders = []
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter is old:
                setattr(module, name, new)
                holders.append(module)
    return holders


def _check_positions(model: nn.Module, words: nn.Module, padding: int | None) -> None:
    """Refuse another padding id where positions are counted from it, as in RoBERTa and M2M100."""
    for module in model.modules():
        before = getattr(module, "padding_idx", None)
        is_words = isinstance(module, nn.Embedding) and module.weight is words.weight
        if before is not None and not is_words and before != padding:
            raise BabelscopeError(
                f"The tokenizer's padding token has the id {padding}, but the model counts"
                f" positions from {before} on, the id it had before.",
                "Train a tokenizer that keeps the source's special tokens in their places.",
            )
