"""One vector per sentence from the layers of a left-to-right model (Li et al. 2024).

Layer 0 is the embeddings, layer k the output of block k, and the last layer is taken after the
final normalization, as in the `hidden_states` of transformers.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from babelscope.errors import BabelscopeError
from babelscope.models.anatomy import LAYOUTS, anatomy
from babelscope.models.masked_head import head_sees
from babelscope.models.sentences import pool_tokens

# By name, how tokens are pooled and the mean of which layers is; negative ones count from the end.
POOLERS: dict[str, tuple[str, tuple[int, ...] | None]] = {
    "avg": ("mean", (-1,)),
    "last": ("last", (-1,)),
    "max": ("max", (-1,)),
    "avg_first_last": ("mean", (1, -1)),
    "avg_top2": ("mean", (-2, -1)),
    "avg_bottom": ("mean", (1,)),
    "avg_bottom2": ("mean", (1, 2)),
    "avg_all": ("mean", None),
    "last_top2": ("last", (-2, -1)),
    "last_first_last": ("last", (1, -1)),
}
HOW = {"avg": "mean", "last": "last", "max": "max"}


class Pooler(NamedTuple):
    """How a sentence becomes a vector.

    Attributes
    ----------
    how
        Over tokens: ``mean``, ``last`` or ``max``; padding takes no part.
    layers
        Whose states are averaged first.
    """

    how: str
    layers: tuple[int, ...]


def find_pooler(name: str, layers: int) -> Pooler:
    """Return what the name of a pooler means in a model of so many blocks.

    Parameters
    ----------
    name
        ``avg-k``, ``last-k`` or ``max-k`` for layer k, or one of :data:`POOLERS`; `first` is layer
        1, `bottom2` layers 1 and 2, `top2` the last two, and `all` leaves the embeddings out.
    layers
        Number of blocks.

    Raises
    ------
    BabelscopeError
        If the name is not known, or the model has no such layer.
    """
    numbered = re.fullmatch(r"(avg|last|max)-(\d+)", name)
    if not numbered and name not in POOLERS:
        hint = " A model that reads from left to right has no CLS token." if "cls" in name else ""
        raise BabelscopeError(
            f"The pooler {name!r} is not known.{hint}",
            f"Use avg-k, last-k or max-k with a layer k from 0 to {layers}, or"
            f" {', '.join(POOLERS)}.",
        )
    if numbered:
        how, places = HOW[numbered[1]], (int(numbered[2]),)
    else:
        how, found = POOLERS[name]
        every = range(1, layers + 1) if found is None else found
        places = tuple(place if place >= 0 else layers + 1 + place for place in every)
    if max(places) > layers:
        raise BabelscopeError(
            f"The pooler {name} reads layer {max(places)}, and the model has layers 0 to {layers}.",
            f"Use avg-k, last-k or max-k with a layer k from 0 to {layers}, or one of"
            f" {', '.join(POOLERS)} that it has the layers for.",
        )
    return Pooler(how, places)


def pool_states(
    hidden: Mapping[int, torch.Tensor], attention_mask: torch.Tensor, pooler: Pooler
) -> torch.Tensor:
    """Return one vector per sentence, shape (batch, d).

    Parameters
    ----------
    hidden
        By layer, shape (batch, time, d): at least those that the pooler reads.
    attention_mask
        Shape (batch, time), 1 for a token and 0 for padding, on either side.
    pooler
        Of :func:`find_pooler`.
    """
    chosen = [hidden[layer] for layer in pooler.layers]
    states = chosen[0] if len(chosen) == 1 else torch.stack(chosen).mean(dim=0)
    return pool_tokens(states, attention_mask.bool(), pooler.how)


def sentence_states(
    model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, pooler: Pooler
) -> torch.Tensor:
    """Return one vector per sentence, with gradients, shape (batch, d).

    Blocks above the highest layer that is read do not run, and the output layer sees no position.

    Parameters
    ----------
    model
        A left-to-right transformers model, with or without its output layer.
    input_ids, attention_mask
        Shape (batch, time), padded on either side: tokens are counted from the first.
    pooler
        Of :func:`find_pooler`.
    """
    parts = anatomy(model)
    blocks = parts.stack().blocks
    highest = max(pooler.layers)
    hidden: dict[int, torch.Tensor] = {}
    inputs: dict[str, Any] = {"attention_mask": attention_mask, "use_cache": False}
    if parts.family != "bloom":  # which counts its positions by the mask
        inputs["position_ids"] = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)
    with ExitStack() as stack:
        for layer in pooler.layers:
            if layer == 0:
                handle = blocks[0].register_forward_pre_hook(_keep_input(hidden), with_kwargs=True)
            else:
                handle = blocks[layer - 1].register_forward_hook(_keep_output(hidden, layer))
            stack.callback(handle.remove)
        stack.enter_context(_lowest(model, max(highest, 1)))
        if parts.lm_head is not None:
            nothing = torch.empty(0, dtype=torch.long, device=input_ids.device)
            stack.enter_context(head_sees(model, nothing))
        if highest == len(blocks):
            handle = model.base_model.register_forward_hook(_keep_final(hidden, highest))
            stack.callback(handle.remove)
        model(input_ids=input_ids, **inputs)
    return pool_states(hidden, attention_mask, pooler)


@contextmanager
def _lowest(model: Any, count: int) -> Iterator[None]:
    """Let a model have its lowest blocks only while the block of code runs."""
    (layout,) = LAYOUTS[model.config.model_type].values()
    owner, _, name = layout.blocks.rpartition(".")
    stack = model.base_model.get_submodule(owner)
    blocks = getattr(stack, name)
    setattr(stack, name, blocks[:count])
    try:
        yield
    finally:
        setattr(stack, name, blocks)


def _keep_input(hidden: dict[int, torch.Tensor]) -> Any:
    def keep(_: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
        hidden[0] = inputs[0] if inputs else options["hidden_states"]

    return keep


def _keep_output(hidden: dict[int, torch.Tensor], layer: int) -> Any:
    def keep(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        hidden[layer] = output[0] if isinstance(output, tuple) else output

    return keep


def _keep_final(hidden: dict[int, torch.Tensor], layer: int) -> Any:
    def keep(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        hidden[layer] = output.last_hidden_state  # after the final normalization

    return keep
