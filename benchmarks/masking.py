"""Iterative masking of heads, a fifth of them, against the published way, in float32.

Each round measures importance and perplexity anew and removes a tenth of all heads. The published
way takes one window at a time; see `benchmarks.importance` for what else it does. Its memory is
what it needs for as many windows at once as ours takes.
"""

import argparse
import time
from dataclasses import replace

import numpy as np
import torch

from benchmarks import published
from benchmarks.measure import conclude, emit, measure
from benchmarks.shapes import BASE, SMALL, Shape, masked_batch, split, xlmr

STEP, SPARSITY = 0.1, 0.2
SPREAD = 0.05  # of the weights, so that heads differ


def ours(shape: Shape, windows: int) -> None:
    """Prune with all windows in one batch; print the time and the masks."""
    from babelscope.subnetworks.head_pruning import prune_heads_iteratively

    model, batch = xlmr(shape, spread=SPREAD), masked_batch(shape, windows)
    started = time.perf_counter()
    trajectory = prune_heads_iteratively(model, [batch], step=STEP, max_sparsity=SPARSITY)
    emit(time.perf_counter() - started, trajectory.masks.tolist())


def plain(shape: Shape, windows: int) -> None:
    """Prune with one window at a time; print the time and the masks."""
    from babelscope.subnetworks.importance import normalize

    model = xlmr(shape, attention="eager", spread=SPREAD)
    batches = split(masked_batch(shape, windows), 1)
    total = shape.layers * shape.heads
    started = time.perf_counter()
    masks = [np.ones((shape.layers, shape.heads), dtype=bool)]
    while True:
        raw = published.head_importance(model, batches, gates=masks[-1])
        if masks[-1].sum() <= total - round(SPARSITY * total):
            break
        alive = np.flatnonzero(masks[-1])
        ranked = alive[np.argsort(normalize(raw, masks[-1]).ravel()[alive], kind="stable")]
        mask = masks[-1].copy()
        mask.ravel()[ranked[: max(1, round(STEP * total))]] = False
        masks.append(mask)
    emit(time.perf_counter() - started, np.stack(masks).tolist())


def at_once(shape: Shape, windows: int) -> None:
    """Measure importance twice as published with all windows in one batch, for its memory.

    Twice, since the second adds its gradients to those of the first, which takes the most memory.
    """
    model = xlmr(shape, attention="eager", spread=SPREAD)
    started = time.perf_counter()
    published.head_importance(model, [masked_batch(shape, windows)] * 2)
    emit(time.perf_counter() - started, None)


def main() -> None:
    """Compare the two, or run one of them as the child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tiny model")
    parser.add_argument("--way", choices=("ours", "plain", "at-once"))
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--window", type=int, default=512, help="tokens in a window")
    options = parser.parse_args()
    shape = SMALL if options.quick else replace(BASE, window=options.window)
    if options.quick:
        torch.set_num_threads(1)  # threads cost more than they save on tiny matrices
    if options.way:
        ways = {"ours": ours, "plain": plain, "at-once": at_once}
        ways[options.way](shape, options.windows)
        return
    sizes = [f"--{key}={getattr(options, key)}" for key in ("windows", "window")]
    sizes += ["--quick"] * options.quick
    fast, slow, whole = (measure("masking", way, *sizes) for way in ("ours", "plain", "at-once"))
    print(f"XLM-R {shape.layers} x {shape.heads} x {shape.hidden}, {shape.vocabulary} words,")
    print(f"{options.windows} windows of {shape.window} tokens, {len(fast.value)} rounds")
    print(f"as published, a batch of one takes {slow.peak_mb:.0f} MB")
    differing = np.mean(np.array(fast.value) != np.array(slow.value))
    conclude(
        "masking",
        fast,
        replace(slow, peak_mb=whole.peak_mb),
        baseline_is="as published",
        difference=float(differing),
        tolerance=0.0,
        speed=3.5,
        memory=0.5,
    )


if __name__ == "__main__":
    main()
