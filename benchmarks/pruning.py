"""Steps of magnitude pruning of all matrices of a BERT-base, against PyTorch's own pruning.

Each step removes a tenth of the original weights, the smallest over all matrices. Ours selects
among NumPy arrays of weights and returns bool masks; the baseline is
``torch.nn.utils.prune.global_unstructured``, which keeps masks as float tensors beside the weights.
No two weights have the same magnitude, so the masks must be identical.
"""

import argparse
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.measure import conclude, emit, measure
from benchmarks.shapes import BASE, SMALL, Shape, xlmr

STEPS = 3
SHARE = 0.1
VOCABULARY = 1000  # embeddings are not pruned


def network(shape: Shape) -> Any:
    """Return a model whose prunable weights all have different magnitudes."""
    from babelscope.subnetworks.matrices import weight_matrices

    model = xlmr(replace(shape, vocabulary=VOCABULARY))
    first = 0
    for _, weight in weight_matrices(model).values():
        spread_out(weight.data, first)
        first += weight.numel()
    return model


def spread_out(weight: torch.Tensor, first: int) -> None:
    """Give weights the magnitudes that a shuffled count, from `first` on, stands for as float32.

    An odd factor modulo a power of two shuffles without repetition; signs come from its lower half.
    """
    count = np.arange(first, first + weight.numel(), dtype=np.uint32)
    shuffled = count * np.uint32(0x9E3779B1) % np.uint32(2**27)
    signs = (count * np.uint32(0x85EBCA6B)) & np.uint32(2**31)
    bits = (shuffled + np.uint32(0x38000000)) | signs  # magnitudes from 3e-5 to 2
    weight.copy_(torch.from_numpy(bits.view(np.float32)).view(weight.shape))


def timed(step: Callable[[], None], prints: Callable[[], list[int]]) -> None:
    """Print, in the child, the time of a step and what the masks were after each."""
    seconds, found = [], []
    for _ in range(STEPS):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
        found.append(prints())
    emit(float(np.median(seconds)), found)


def ours(shape: Shape) -> None:
    """Prune NumPy views of the weights."""
    from babelscope.subnetworks.matrices import weight_matrices
    from babelscope.subnetworks.selection import prune_step

    parameters = {name: weight for name, (_, weight) in weight_matrices(network(shape)).items()}
    masks = {name: np.ones(weight.shape, dtype=bool) for name, weight in parameters.items()}
    amount = round(SHARE * sum(mask.size for mask in masks.values()))

    def step() -> None:
        weights = {name: weight.detach().numpy() for name, weight in parameters.items()}
        masks.update(prune_step(weights, masks, amount))

    timed(step, lambda: [zlib.crc32(np.packbits(mask).data) for mask in masks.values()])


def plain(shape: Shape) -> None:
    """Prune modules by PyTorch."""
    from torch.nn.utils import prune

    from babelscope.subnetworks.matrices import weight_matrices

    model = network(shape)
    matrices = {id(weight) for _, weight in weight_matrices(model).values()}
    modules = [
        module for module in model.modules() if id(getattr(module, "weight", None)) in matrices
    ]
    amount = round(SHARE * sum(module.weight.numel() for module in modules))

    def step() -> None:
        prune.global_unstructured(
            [(module, "weight") for module in modules],
            pruning_method=prune.L1Unstructured,
            amount=amount,
        )

    def prints() -> list[int]:
        return [zlib.crc32(np.packbits(module.weight_mask.numpy() != 0).data) for module in modules]

    timed(step, prints)


def main() -> None:
    """Compare the two, or run one of them as the child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tiny model")
    parser.add_argument("--way", choices=("ours", "plain"))
    options = parser.parse_args()
    shape = SMALL if options.quick else BASE
    if options.way:
        {"ours": ours, "plain": plain}[options.way](shape)
        return
    sizes = ["--quick"] * options.quick
    fast, slow = (measure("pruning", way, *sizes) for way in ("ours", "plain"))
    weights = shape.block_weights
    print(f"{shape.layers} x {shape.hidden}, {weights / 1e6:.1f} million weights, {STEPS} steps")
    conclude(
        "pruning",
        fast,
        slow,
        baseline_is="global_unstructured",
        difference=float(np.mean(np.array(fast.value) != np.array(slow.value))),
        tolerance=0.0,
        speed=5.0,
        memory=0.5,
        facts={
            "floor": f"{4 * weights / 1e6:.0f} MB of weights must be read once; ours goes through"
            f" {4 * weights / 1e9 / fast.seconds:.1f} GB of them a second"
        },
    )


if __name__ == "__main__":
    main()
