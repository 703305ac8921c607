"""What a training has changed so far: a model's weights and its optimizer's moments, by name.

Of a sharded model all processes must ask; the first gets everything, the others nothing.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim import Optimizer

from babelscope.training.processes import fill, is_sharded, part_of, settle, whole


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return a model's parameters and buffers, each tied one once, on their devices.

    Parameters that require no gradient are left out: whoever froze them has them.
    """
    found = {name: whole(tensor.detach()) for name, tensor in _tensors(model).items()}
    return {name: tensor.contiguous() for name, tensor in found.items() if tensor is not None}


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    settle(model)
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    return trained | dict(model.named_buffers())


def load_weights(model: nn.Module, path: Path) -> None:
    """Put weights of :func:`weights_of` back into a model, in place."""
    put_weights(model, load_file(path))


def put_weights(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Put weights of :func:`weights_of` into a model, which may be sharded in another way."""
    with torch.no_grad():
        for name, tensor in _tensors(model).items():
            fill(tensor, weights[name])


def optimizer_state(model: nn.Module, optimizer: Optimizer) -> dict[str, torch.Tensor]:
    """Return what an optimizer keeps of each parameter, as ``parameter/quantity``."""
    settle(model)
    found = {
        f"{name}/{key}": whole(value)
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }
    return {name: value for name, value in found.items() if value is not None}


def load_optimizer_state(model: nn.Module, optimizer: Optimizer, path: Path) -> None:
    """Put what :func:`optimizer_state` returned back."""
    settle(model)
    fused = bool(optimizer.param_groups[0].get("fused"))
    parameters: Mapping[str, nn.Parameter] = dict(model.named_parameters())
    for name, value in load_file(path).items():
        owner, key = name.rsplit("/", 1)
        parameter = parameters[owner]
        if key != "step" and is_sharded(parameter):
            value = part_of(value, parameter)
        on_device = fused or key != "step"
        optimizer.state[parameter][key] = value.to(parameter.device) if on_device else value
