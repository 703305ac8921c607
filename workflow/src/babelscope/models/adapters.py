"""A parallel bottleneck beside the feed-forward part of every layer (He et al., 2022)."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from babelscope.errors import BabelscopeError
from babelscope.io import read_arrays, write_arrays
from babelscope.models.anatomy import FeedForward, anatomy
from babelscope.seeds import derive_seed

WEIGHTS = "alignment.safetensors"


class Bottleneck(nn.Module):
    """``scale * (W_up relu(W_down x + b_down) + b_up)``."""

    def __init__(self, dimension: int, width: int, scale: float, seed: int) -> None:
        super().__init__()
        # Linear layers draw from the global generator when they are made; these do not.
        self.down = nn.utils.skip_init(nn.Linear, dimension, width)
        self.up = nn.utils.skip_init(nn.Linear, width, dimension)
        self.scale = scale
        generator = torch.Generator().manual_seed(seed)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5), generator=generator)
        for parameter in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(parameter)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return what is added to the output of the feed-forward part, shape as `states`."""
        return self.scale * self.up(torch.relu(self.down(states)))


class ParallelAdapter(nn.Module):
    """Bottlenecks beside the feed-forward parts of all layers of a network."""

    def __init__(
        self, network: Any, *, reduction: int = 2, scale: float = 4.0, seed: int = 0
    ) -> None:
        super().__init__()
        parts = anatomy(network).stack().feed_forwards
        self.reduction = reduction
        self.scale = scale
        self.enabled = True
        self.layers = nn.ModuleList()
        self._inputs: dict[int, torch.Tensor] = {}
        self._hooks = []
        for number, part in enumerate(parts):
            inner, outer = _linear(part)
            dimension = inner.in_features
            bottleneck = Bottleneck(
                dimension, dimension // reduction, scale, derive_seed(seed, "adapter", number)
            )
            self.layers.append(bottleneck.to(inner.weight.device, inner.weight.dtype))
            self._hooks += [
                inner.register_forward_pre_hook(partial(self._keep, number)),
                outer.register_forward_hook(partial(self._add, number)),
            ]

    def _keep(self, number: int, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        if self.enabled:
            self._inputs[number] = inputs[0]

    def _add(self, number: int, _: nn.Module, __: Any, output: torch.Tensor) -> Any:
        if not self.enabled:
            return None
        return output + self.layers[number](self._inputs.pop(number))

    @contextmanager
    def mode(self, enabled: bool) -> Iterator[None]:
        """Switch the adapter on or off while the block runs."""
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

    def save(self, folder: str | Path) -> None:
        """Write the weights as ``alignment.safetensors`` into a folder."""
        arrays = {name: value.detach().cpu().numpy() for name, value in self.state_dict().items()}
        metadata = {"reduction": str(self.reduction), "scale": repr(self.scale)}
        write_arrays(Path(folder) / WEIGHTS, arrays, metadata)

    def load(self, folder: str | Path) -> None:
        """Read weights that :meth:`save` wrote."""
        path = Path(folder) / WEIGHTS
        arrays = read_arrays(path)
        wanted = {name: tuple(value.shape) for name, value in self.state_dict().items()}
        found = {name: value.shape for name, value in arrays.items()}
        if found != wanted:
            raise BabelscopeError(
                f"{path} does not fit the network.", "Use one that was trained on this network."
            )
        self.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})


def _linear(part: FeedForward) -> tuple[Any, Any]:
    """Return the projections in and out, without the LoRA around them."""
    inner, outer = (getattr(one, "base_layer", one) for one in (part.inner[0], part.outer))
    return inner, outer
