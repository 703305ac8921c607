"""The weight matrices that pruning may touch, by name and place, in every family of models.

Six matrices of each block, ten with a decoder's attention to the encoder, one more with a gated
feed-forward part; never embeddings, norms, biases or the head of a task.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from babelscope.errors import BabelscopeError
from babelscope.models.anatomy import Attention, anatomy
from babelscope.subnetworks.masks import POOLER, Place, WeightMask, may_be_missing

FEED_FORWARD_INPUTS = ("ffn-in", "ffn-gate")


def weight_matrices(
    model: nn.Module, *, pooler: bool = False
) -> dict[str, tuple[Place, nn.Parameter]]:
    """Return the matrices that may be pruned, encoder first, bottom layer first.

    Parameters
    ----------
    model
        A model of a family that :func:`babelscope.models.anatomy.anatomy` knows, with or without a
        task's head.
    pooler
        Also the matrix of the pooler above a BERT, if this model has one.

    Returns
    -------
    dict
        Name of the parameter, as the base model calls it -> its place and the parameter. Names are
        the same whatever task's head is on top, so a mask fits all models of one architecture. A
        parameter that several blocks share is listed once, at its first place.
    """
    base = getattr(model, "base_model", model)
    names = {id(parameter): name for name, parameter in base.named_parameters()}
    found: dict[str, tuple[Place, nn.Parameter]] = {}
    for place, module in _projections(model, base if pooler else None):
        parameter = module.weight
        found.setdefault(names[id(parameter)], (place, parameter))  # pyright: ignore
    return found


def _projections(model: nn.Module, base: nn.Module | None) -> Iterator[tuple[Place, nn.Module]]:
    stacks = anatomy(model).stacks
    for name, stack in stacks.items():
        if name == "cross":  # stands in the decoder's blocks
            continue
        for layer, attention in enumerate(stack.attentions):
            for component, module in _attention(attention):
                yield Place(name, layer, component), module
            if name == "decoder" and "cross" in stacks:
                for component, module in _attention(stacks["cross"].attentions[layer]):
                    yield Place(name, layer, f"cross-{component}"), module
            if stack.feed_forwards:
                part = stack.feed_forwards[layer]
                for component, module in zip(FEED_FORWARD_INPUTS, part.inner, strict=False):
                    yield Place(name, layer, component), module
                yield Place(name, layer, "ffn-out"), part.outer
    dense = getattr(getattr(base, POOLER, None), "dense", None)
    if dense is not None:
        yield Place("encoder", -1, POOLER), dense


def _attention(attention: Attention) -> Iterator[tuple[str, nn.Module]]:
    if attention.query is attention.key:
        yield "qkv", attention.query
    else:
        yield from (("q", attention.query), ("k", attention.key), ("v", attention.value))
    yield "o", attention.output


def network_of(model: nn.Module) -> str:
    """Return what tells models of one shape apart, whatever their heads: family and vocabulary."""
    config: Any = model.config
    return f"{config.model_type} with {config.vocab_size} tokens"


def check_fits(mask: WeightMask, model: nn.Module, source: object) -> None:
    """Check that a mask is of this model's architecture and vocabulary.

    Parameters
    ----------
    mask, model
        What should fit. The pooler may be in one alone: tasks that do not use it have none. A model
        without a decoder fits a mask with one; the reverse would leave the decoder unpruned.
    source
        Where the mask comes from, for the message.

    Raises
    ------
    BabelscopeError
        If a matrix is missing on either side, or has another shape (it names the first), or the
        mask was found in a model of another family or vocabulary.
    """
    if mask.network and mask.network != network_of(model):
        raise BabelscopeError(
            f"The mask in {source} was found in a {mask.network}, not in a {network_of(model)} like"
            f" this {type(model).__name__}.",
            "Use a mask that was found in this model.",
        )
    there = {
        name: tuple(parameter.shape)
        for name, (_, parameter) in weight_matrices(model, pooler=True).items()
    }
    given = {name: bits.shape for name, bits in mask.bits.items()}
    for name in [*there, *given]:
        has, wants = given.get(name), there.get(name)
        if has == wants or (None in (has, wants) and POOLER in name):
            continue
        if wants is None and may_be_missing(name, there):
            continue
        raise BabelscopeError(
            f"The mask in {source} is of another architecture: {name} is {_shape(has)} in it and"
            f" {_shape(wants)} in this {type(model).__name__}.",
            "Use a mask that was found in this model.",
        )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else " x ".join(map(str, shape))


def mask_tensors(mask: WeightMask, model: nn.Module) -> dict[str, torch.Tensor]:
    """Return a mask as training takes it: by the name that the whole model gives a parameter.

    Parameters
    ----------
    mask
        One that fits; see :func:`check_fits`. What it says of a pooler or a decoder that the model
        has not is left out.
    model
        On whose device the tensors are put.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    matrices = weight_matrices(model, pooler=True)
    return {
        names[id(matrices[name][1])]: torch.from_numpy(bits).to(matrices[name][1].device)
        for name, bits in mask.bits.items()
        if name in matrices
    }


def apply_mask(mask: WeightMask, model: nn.Module) -> None:
    """Set the weights of a model that a mask does not keep to zero, in place."""
    matrices = weight_matrices(model, pooler=True)
    with torch.no_grad():
        for name, bits in mask.bits.items():
            if name in matrices:
                parameter = matrices[name][1]
                parameter.masked_fill_(torch.from_numpy(~bits).to(parameter.device), 0.0)
