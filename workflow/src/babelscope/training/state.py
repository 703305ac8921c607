"""What a training has changed so far: a model's weights and its optimizer's moments, by name."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim import Optimizer


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return a model's parameters and buffers, each tied one once, on their devices.

    Parameters that require no gradient are left out: whoever froze them has them.
    """
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    tensors = trained | dict(model.named_buffers())
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def load_weights(model: nn.Module, path: Path) -> None:
    """Put weights of :func:`weights_of` back into a model, in place."""
    saved = load_file(path)
    with torch.no_grad():
        for name, tensor in weights_of(model).items():
            tensor.copy_(saved[name])


def optimizer_state(model: nn.Module, optimizer: Optimizer) -> dict[str, torch.Tensor]:
    """Return what an optimizer keeps of each parameter, as ``parameter/quantity``."""
    return {
        f"{name}/{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_state(model: nn.Module, optimizer: Optimizer, path: Path) -> None:
    """Put what :func:`optimizer_state` returned back."""
    fused = bool(optimizer.param_groups[0].get("fused"))
    parameters: Mapping[str, nn.Parameter] = dict(model.named_parameters())
    for name, value in load_file(path).items():
        owner, key = name.rsplit("/", 1)
        parameter = parameters[owner]
        on_device = fused or key != "step"
        optimizer.state[parameter][key] = value.to(parameter.device) if on_device else value
