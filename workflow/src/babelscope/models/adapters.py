"""A parallel bottleneck beside the feed-forward part of every layer.

He et al. (2022), "Towards a unified view of parameter-efficient transfer learning": the parallel
adapter, ParBn in the names of Pfeiffer et al.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakSet

import torch
from torch import nn

from babelscope.errors import BabelscopeError
from babelscope.io import read_arrays, read_metadata, write_arrays
from babelscope.models.anatomy import FeedForward, anatomy
from babelscope.seeds import derive_seed

WEIGHTS = "alignment.safetensors"

# Activations a of which a(c z) / c tends to relu(z), and the c that serves for each.
SHARPNESS = {
    "relu": 1.0,
    "gelu": 2.0**20,
    "gelu_new": 2.0**20,
    "gelu_pytorch_tanh": 2.0**20,
}
ACTIVATIONS = ("hidden_act", "activation_function")  # of a configuration
WIDTHS = ("intermediate_size", "encoder_ffn_dim")

# The first blocks of networks that an adapter is on; a block is the same with and without a head.
_ADAPTED: "WeakSet[nn.Module]" = WeakSet()


class Bottleneck(nn.Module):
    """``scale * (W_up relu(W_down x + b_down) + b_up)``, zero at first.

    Parameters
    ----------
    dimension
        Of states.
    width
        Units in the middle.
    scale
        Factor of the result.
    seed
        Of ``W_down``; the global generator is neither used nor moved.
    """

    def __init__(self, dimension: int, width: int, *, scale: float, seed: int) -> None:
        super().__init__()
        # Linear layers draw from the global generator when they are made; these do not.
        down: Any = nn.utils.skip_init(nn.Linear, dimension, width)
        up: Any = nn.utils.skip_init(nn.Linear, width, dimension)
        generator = torch.Generator().manual_seed(seed)
        nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5), generator=generator)
        for parameter in (down.bias, up.weight, up.bias):
            nn.init.zeros_(parameter)
        self.down, self.up, self.scale = down, up, scale

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return what is added to the feed-forward part's output, in the shape of its input."""
        return self.scale * self.up(torch.relu(self.down(states)))


class ParallelAdapter(nn.Module):
    """Bottlenecks beside the feed-forward parts of all layers of a network.

    Each reads what its feed-forward part reads, and what it makes is added to what that part
    makes. The adapter is a module of its own: the network's weights keep their names, and those of
    the adapter are trained, moved and saved as the adapter's. It changes nothing at first.

    Parameters
    ----------
    network
        An encoder with one projection into its feed-forward parts, with or without a head; see
        :func:`babelscope.models.anatomy.anatomy`. It may have LoRA inside.
    reduction
        The middle of a bottleneck is this many times narrower than the states.
    scale
        Factor of what the bottlenecks make; 4 in the paper.
    seed
        Of the start, which is a function of it.

    Notes
    -----
    The sum is formed right after the outer projection, so that it is the network's own dropout,
    if any, that acts on it; in evaluation this is the same as adding behind the dropout.
    """

    def __init__(
        self, network: nn.Module, *, reduction: int = 2, scale: float = 4.0, seed: int = 0
    ) -> None:
        super().__init__()
        if has_adapter(network):
            raise ValueError("the network has a parallel adapter already: detach that one first")
        self.reduction = reduction
        self.scale = scale
        self.enabled = True
        self.layers = nn.ModuleList()
        # In lists, since modules named by a module count as parts of it.
        self._network = [network]
        self._parts = [_projections(part) for part in anatomy(network).stack().feed_forwards]
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self._inputs: dict[int, torch.Tensor] = {}
        for number, (inner, outer) in enumerate(self._parts):
            size, weight = inner.in_features, inner.weight
            bottleneck = Bottleneck(
                size, size // reduction, scale=scale, seed=derive_seed(seed, "adapter", number)
            )
            self.layers.append(bottleneck.to(weight.device, weight.dtype))
            self._hooks += [
                inner.register_forward_pre_hook(partial(self._keep, number)),
                outer.register_forward_hook(partial(self._add, number)),
            ]
        _ADAPTED.add(_first(network))

    def _keep(self, number: int, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        if self.enabled:
            self._inputs[number] = inputs[0]

    def _add(self, number: int, _: nn.Module, __: Any, output: torch.Tensor) -> Any:
        if not self.enabled:
            return None
        return output + self.layers[number](self._inputs.pop(number))

    @contextmanager
    def mode(self, enabled: bool) -> Iterator[None]:
        """Switch the adapter on or off while the block runs; off, it is as if it was not there."""
        before, self.enabled = self.enabled, enabled
        try:
            yield
        finally:
            self.enabled = before

    def detach(self) -> None:
        """Take the adapter off the network, which is then as it was before."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        _ADAPTED.discard(_first(self._network[0]))

    def save(self, folder: str | Path) -> None:
        """Write the weights as ``alignment.safetensors`` into a folder."""
        arrays = {name: value.detach().cpu().numpy() for name, value in self.state_dict().items()}
        write_arrays(Path(folder) / WEIGHTS, arrays, self._shape())

    def load(self, folder: str | Path) -> None:
        """Read weights that :meth:`save` wrote.

        Raises
        ------
        BabelscopeError
            If they are of an adapter of another size, reduction or scale.
        """
        path = Path(folder) / WEIGHTS
        arrays = read_arrays(path)
        wanted: dict[str, Any] = {key: tuple(one.shape) for key, one in self.state_dict().items()}
        found: dict[str, Any] = {name: array.shape for name, array in arrays.items()}
        wanted |= self._shape()
        found |= read_metadata(path)
        for name in sorted({*wanted, *found}):
            if found.get(name) != wanted.get(name):
                raise BabelscopeError(
                    f"{path} does not fit the network: {name} is {found.get(name, 'missing')}, not"
                    f" {wanted.get(name, 'anything')}.",
                    "Use an adapter that was trained on this network.",
                )
        self.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})

    def _shape(self) -> dict[str, str]:
        return {"reduction": str(self.reduction), "scale": repr(float(self.scale))}

    @torch.no_grad()
    def fold(self) -> None:
        """Put the adapter into the network's own matrices, and take it off.

        The units of the bottlenecks become further units of the feed-forward parts: their weights
        in are multiplied by c, those out by scale / c, and the configuration's width grows. With
        a feed-forward part of relu, c = 1 and the result is the same function. With gelu, c is
        2**20: gelu(c z) / c differs from relu(z) by at most 0.17 / c = 1.7e-7 for any z, and only
        where z is itself that small. Since c is a power of two, multiplying and dividing by it
        rounds nothing in float32 or bfloat16; float16 has too small a range for c z, so a folded
        gelu network must not run in it.

        Raises
        ------
        BabelscopeError
            If the activation is none of these.
        ValueError
            If the network has LoRA inside, which must be merged first.
        """
        network: Any = self._network[0]
        config = network.config
        activation = next(getattr(config, name) for name in ACTIVATIONS if hasattr(config, name))
        if activation not in SHARPNESS:
            raise BabelscopeError(
                f"The feed-forward parts use {activation}, which cannot act as a relu.",
                f"Choose a network with one of: {', '.join(SHARPNESS)}.",
            )
        parts = anatomy(network).stack().feed_forwards
        if any(
            [part.inner[0], part.outer] != list(own)
            for part, own in zip(parts, self._parts, strict=True)
        ):
            raise ValueError("the network has LoRA inside: merge_lora first")
        sharpness = SHARPNESS[activation]
        width = 0
        for bottleneck, (inner, outer) in zip(self.layers, self._parts, strict=True):
            down: Any = bottleneck.down
            up: Any = bottleneck.up
            inner.weight = _longer(inner.weight, sharpness * down.weight, 0)
            inner.bias = _longer(inner.bias, sharpness * down.bias, 0)
            outer.weight = _longer(outer.weight, self.scale / sharpness * up.weight, 1)
            outer.bias += self.scale * up.bias
            width = inner.out_features = outer.in_features = len(inner.weight)
        setattr(config, next(name for name in WIDTHS if hasattr(config, name)), width)
        self.detach()


def has_adapter(network: nn.Module) -> bool:
    """Return whether a parallel adapter is on a network; its weights would not be saved with it."""
    return _first(network) in _ADAPTED


def _first(network: nn.Module) -> nn.Module:
    return anatomy(network).stack().blocks[0]


def _longer(weight: nn.Parameter, more: torch.Tensor, axis: int) -> nn.Parameter:
    return nn.Parameter(torch.cat([weight, more], axis), requires_grad=weight.requires_grad)


def _projections(part: FeedForward) -> tuple[Any, Any]:
    """Return the projections in and out; those that LoRA lies around, which outlast it."""
    if len(part.inner) != 1:
        raise BabelscopeError(
            "The feed-forward parts are gated, which a parallel adapter is not made for.",
            "Choose a network whose feed-forward parts have one projection in.",
        )
    inner, outer = (getattr(one, "base_layer", one) for one in (part.inner[0], part.outer))
    return inner, outer
