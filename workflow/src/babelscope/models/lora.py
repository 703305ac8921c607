"""Low-rank updates of every linear projection (LoRA; Hu et al., 2022), by `peft`.

Several can lie in one network at once; those that are active add up.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from babelscope.errors import BabelscopeError
from babelscope.io import read_arrays, read_json, write_arrays, write_json
from babelscope.models.anatomy import Stack, anatomy
from babelscope.seeds import derive_seed

WEIGHTS = "lora.safetensors"
SETTINGS = "lora.json"


def add_lora(
    network: nn.Module, name: str, *, rank: int, alpha: float, dropout: float, seed: int
) -> None:
    """Put a LoRA on every projection of attention and feed-forward parts, in place.

    It changes nothing at first. It is active beside those that are there, and from now on it alone
    is trained: all other weights of the network are frozen.

    Parameters
    ----------
    network
        Of one stack, with or without a head; see :func:`babelscope.models.anatomy.anatomy`.
    name
        Of the LoRA, in this network.
    rank
        Of the update of each matrix, 1 or more.
    alpha
        The update is scaled by ``alpha / rank``.
    dropout
        Of what goes into the update, in training; in [0, 1).
    seed
        The start is a function of it; the global generator is neither used nor moved.
    """
    _inject(network, name, rank=rank, alpha=alpha, dropout=dropout)
    with torch.no_grad():
        for key, layer in projections(network).items():
            generator = torch.Generator().manual_seed(derive_seed(seed, "lora", name, key))
            weight = layer.lora_A[name].weight
            drawn = torch.empty(weight.shape)
            nn.init.kaiming_uniform_(drawn, a=5**0.5, generator=generator)
            weight.copy_(drawn)
            layer.lora_B[name].weight.zero_()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    for layer in projections(network).values():
        for part in (layer.lora_A, layer.lora_B):
            part[name].requires_grad_(True)


def save_lora(network: nn.Module, name: str, folder: str | Path) -> None:
    """Write one LoRA of a network as ``lora.safetensors`` and ``lora.json`` into a folder.

    The names of the weights start at the number of the layer, so that they are the same with and
    without a head on the network.
    """
    layers = projections(network)
    first = next(iter(layers.values()))
    if name not in loras(network):
        raise ValueError(f"no LoRA named {name}; there are {loras(network)}")
    arrays = {
        f"{key}.{part}.weight": getattr(layer, part)[name].weight.detach().cpu().numpy()
        for key, layer in layers.items()
        for part in ("lora_A", "lora_B")
    }
    write_arrays(Path(folder) / WEIGHTS, arrays)
    targets = sorted({key.split(".", 1)[1] for key in layers})
    settings = {"rank": first.r[name], "alpha": first.lora_alpha[name], "targets": targets}
    write_json(Path(folder) / SETTINGS, settings)


def load_lora(network: nn.Module, name: str, folder: str | Path) -> None:
    """Put a LoRA from a folder on a network, active beside those that are there, all frozen.

    One of that name is replaced; if it has the same rank and alpha, only its weights are, which is
    much faster.

    Raises
    ------
    BabelscopeError
        If it belongs to a network of another architecture or size.
    """
    path = Path(folder) / WEIGHTS
    settings = read_json(Path(folder) / SETTINGS)
    arrays = read_arrays(path)
    layers = projections(network)
    shapes = {
        f"{key}.{part}.weight": shape
        for key, layer in layers.items()
        for part, shape in (
            ("lora_A", (settings["rank"], layer.in_features)),
            ("lora_B", (layer.out_features, settings["rank"])),
        )
    }
    found = {key: array.shape for key, array in arrays.items()}
    for key in sorted({*found, *shapes}):
        if found.get(key) != shapes.get(key):
            raise BabelscopeError(
                f"{path} does not fit the network: {key} is {found.get(key, 'missing')}, and the"
                f" network needs {shapes.get(key, 'no such matrix')}.",
                "Use a module that was trained on this network.",
            )
    if not _alike(network, name, settings):
        _remove(network, name)
        _inject(network, name, rank=settings["rank"], alpha=settings["alpha"], dropout=0.0)
    with torch.no_grad():
        for key, layer in projections(network).items():
            for part in ("lora_A", "lora_B"):
                weight = getattr(layer, part)[name].weight
                weight.copy_(torch.from_numpy(arrays[f"{key}.{part}.weight"]))
    activate_lora(network, loras(network))


def _alike(network: nn.Module, name: str, settings: Mapping[str, Any]) -> bool:
    """Return whether there is a LoRA of that name, rank and alpha, without dropout."""
    if name not in loras(network):
        return False
    layer = next(iter(projections(network).values()))
    own = layer.r[name], layer.lora_alpha[name], type(layer.lora_dropout[name])
    return own == (settings["rank"], settings["alpha"], nn.Identity)


def _remove(network: Any, name: str) -> None:
    remaining = [one for one in loras(network) if one != name]
    if name in loras(network):
        for layer in projections(network).values():
            layer.set_adapter(remaining, inference_mode=True)
            layer.delete_adapter(name)
        del network.peft_config[name]


def merge_lora(network: nn.Module) -> None:
    """Add the active LoRAs to the weights they update, in place; the network is plain again."""
    names = {id(module): path for path, module in network.named_modules()}
    for layer in projections(network).values():
        if hasattr(layer, "lora_A"):
            layer.merge(adapter_names=list(layer.active_adapters))
            owner, _, attribute = names[id(layer)].rpartition(".")
            setattr(network.get_submodule(owner), attribute, layer.get_base_layer())
    if hasattr(network, "peft_config"):
        del network.peft_config


def activate_lora(network: nn.Module, names: Sequence[str]) -> None:
    """Let these LoRAs, and no others, take part; none of them is trained."""
    for layer in projections(network).values():
        if hasattr(layer, "lora_A"):
            layer.set_adapter(list(names), inference_mode=True)


def loras(network: nn.Module) -> list[str]:
    """Return the names of the LoRAs in a network."""
    first = next(iter(projections(network).values()))
    return list(getattr(first, "lora_A", {}))


def projections(network: nn.Module) -> dict[str, Any]:
    """Return every linear projection of the blocks, by layer and path in its block."""
    found = {}
    for number, (block, modules) in enumerate(_layers(anatomy(network).stack())):
        names = {id(module): path for path, module in block.named_modules()}
        found |= {f"{number}.{names[id(module)]}": module for module in modules}
    return found


def _layers(stack: Stack) -> Iterator[tuple[nn.Module, list[nn.Module]]]:
    for block, attention, feed_forward in zip(
        stack.blocks, stack.attentions, stack.feed_forwards, strict=True
    ):
        attended = [attention.query, attention.key, attention.value, attention.output]
        yield block, [*attended, *feed_forward.inner, feed_forward.outer]


def _inject(network: nn.Module, name: str, *, rank: int, alpha: float, dropout: float) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    present = loras(network)
    if name in present:
        raise ValueError(f"there is a LoRA named {name} already")
    paths = {id(module): path for path, module in network.named_modules()}
    targets = [paths[id(module)] for module in projections(network).values()]
    modes = [module.training for module in projections(network).values()]
    plain = [getattr(module, "base_layer", module) for module in projections(network).values()]
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # pyright: ignore
        lora_dropout=dropout,
        target_modules=targets,
        fan_in_fan_out=type(plain[0]).__name__ == "Conv1D",  # GPT-2's weights are transposed
    )
    with torch.random.fork_rng([]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # that is the point
        inject_adapter_in_model(config, network, adapter_name=name)
    for layer, training in zip(projections(network).values(), modes, strict=True):
        layer.set_adapter([*present, name], inference_mode=True)
        layer.train(training)  # new modules are in training mode, with dropout
