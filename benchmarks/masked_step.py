"""A training step under a mask against one without, at BERT-base size.

Both are steps of `babelscope.training.fitting.fit` on the same batch. They take turns in one
process, since the machine's own ups and downs are larger than the difference; processor time is
given beside, and that of the masking alone, which other jobs disturb less. Half of the weights of
every matrix are pruned, and must be exactly zero afterwards.
"""

import argparse
import statistics
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import yaml

from benchmarks.measure import ROOT, Measurement, conclude, emit, measure
from benchmarks.shapes import BASE, SMALL, Shape, masked_batch, xlmr

VOCABULARY = 30_522
STEPS = 3  # of one turn; the first sets up the optimizer and is not counted
LIMIT = 1.03  # goal: the most that masks may cost


def now() -> tuple[float, float]:
    """Return the time on the clock and that of this process, in seconds."""
    return time.perf_counter(), time.process_time()


class Windows:
    """Masked-language modelling of one batch over and over."""

    name = "mlm"

    def __init__(self, shape: Shape, windows: int) -> None:
        self.inputs = masked_batch(shape, windows)
        self.started = (0.0, 0.0)

    def batch(self, *_: Any, **__: Any) -> dict[str, torch.Tensor]:
        """Return the batch and note that a step begins."""
        self.started = now()
        return dict(self.inputs)

    def losses(self, model: Any, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the sum over hidden tokens, and their number."""
        from babelscope.models.masked_head import token_losses

        losses, targets = token_losses(model, batch)
        return losses.sum(), torch.tensor(len(targets.tokens))


def settings_of(windows: int) -> dict[str, Any]:
    """Return the configuration's training section for such turns."""
    document = yaml.safe_load((ROOT / "config" / "config.yaml").read_text("utf-8"))
    return document["tasks"]["mlm"]["training"] | {
        "epochs": STEPS,
        "max_steps": STEPS,
        "batch_size": windows,
        "accumulation": 1,
        "warmup": 0.0,
        "logging_steps": STEPS,
    }


def both(shape: Shape, windows: int, turns: int) -> None:
    """Train in turns; print the times of the steps of each way, and how many weights came back."""
    from babelscope.config import TaskTraining
    from babelscope.subnetworks.matrices import weight_matrices
    from babelscope.training.fitting import fit

    model, task = xlmr(shape), Windows(shape, windows)
    generator = torch.Generator().manual_seed(0)
    matrices = {id(weight) for _, weight in weight_matrices(model).values()}
    masks = {
        name: torch.rand(weight.shape, generator=generator) < 0.5
        for name, weight in model.named_parameters()
        if id(weight) in matrices
    }
    weights = dict(model.named_parameters())
    found: dict[str, list[list[float]]] = {"masked": [], "unmasked": []}
    revived = 0
    for turn in range(turns):
        for way in sorted(found, reverse=bool(turn % 2)):
            seconds: list[list[float]] = []
            fit(
                model,
                task,  # pyright: ignore
                range(windows),
                TaskTraining.model_validate(settings_of(windows)),
                rate=1e-4,
                seed=turn,
                device="cpu",
                precision="float32",
                masks=masks if way == "masked" else None,
                on_step=lambda _, seconds=seconds: seconds.append(
                    np.subtract(now(), task.started).tolist()
                ),
            )
            found[way] += seconds[1:]
            if way == "masked":
                revived += sum(
                    int(weights[name][~mask].count_nonzero()) for name, mask in masks.items()
                )
    alone = [masking([(weights[name].data, mask) for name, mask in masks.items()]) for _ in "12345"]
    emit(0.0, found | {"revived": revived, "alone": statistics.median(alone)})


def masking(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Return the processor time of what a mask adds to a step: a product per matrix."""
    _, started = now()
    for gradient, mask in pairs:
        gradient.mul_(mask)
    return now()[1] - started


def main() -> None:
    """Compare the two, or run both as the child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tiny model")
    parser.add_argument("--way", choices=("both",))
    parser.add_argument("--windows", type=int, default=16, help="windows in a batch")
    parser.add_argument("--window", type=int, default=128, help="tokens in a window")
    parser.add_argument("--turns", type=int, default=6)
    options = parser.parse_args()
    shape = replace(BASE, vocabulary=VOCABULARY, window=options.window)
    shape = SMALL if options.quick else shape
    if options.way:
        both(shape, options.windows, options.turns)
        return
    sizes = [f"--{key}={getattr(options, key)}" for key in ("windows", "window", "turns")]
    run = measure("masked_step", "both", *sizes, *["--quick"] * options.quick)
    steps = np.array([run.value["masked"], run.value["unmasked"]])  # (way, step, clock or process)
    (masked, own), (unmasked, other) = np.median(steps, axis=1).tolist()
    low, high = np.quantile(steps[0, :, 0] / steps[1, :, 0], (0.25, 0.75))
    print(f"{shape.layers} x {shape.heads} x {shape.hidden}, {shape.vocabulary} words,")
    print(
        f"{options.windows} windows of {shape.window} tokens, {steps.shape[1]} steps each, in turns"
    )
    conclude(
        "masked_step",
        Measurement(masked, run.peak_mb, None),
        Measurement(unmasked, run.peak_mb, None),
        baseline_is="no mask",
        difference=float(run.value["revived"]),
        tolerance=0.0,
        speed=1 / LIMIT,
        facts={
            "a step with masks": f"{masked / unmasked:.3f} times one without; half of the"
            f" neighbouring steps between {low:.3f} and {high:.3f}; at most {LIMIT} wanted",
            "in processor time": f"{own / other:.3f} times; the masking alone takes"
            f" {run.value['alone'] / other:.2%} of a step without",
        },
    )


if __name__ == "__main__":
    main()
