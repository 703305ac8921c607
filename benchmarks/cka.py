"""CKA of every pair of languages at every layer: feature space against Gram matrices in NumPy.

Ours gives the unbiased and the biased value of each pair with their jackknife errors. The baseline
is the way published scripts do it: for each pair the three HSIC values from two n x n Gram matrices
each, one estimator, no errors. It is timed on some of the pairs and scaled to all of them.
"""

import argparse
import os
import tempfile
import time
from itertools import combinations
from pathlib import Path

import numpy as np

from babelscope.representations.comparisons import Pair, Side
from babelscope.representations.states import StatesFile, write_states
from benchmarks.measure import Measurement, conclude, emit, measure, report

LANGUAGES = ["aa", "bb", "cc", "dd", "ee", "ff", "gg"]
LIMIT_MB = 2000


def write_all(folder: Path, layers: int, n: int, d: int) -> None:
    """Write states of each language: a shared part that grows with the layer, and a scale."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((n, d), dtype=np.float32)
    scale = (1 + np.arange(d, dtype=np.float32)) ** -0.5  # few dimensions carry most variance
    for language in LANGUAGES:
        states = np.empty((layers, n, d), dtype=np.float32)
        for layer in range(layers):
            states[layer] = rng.standard_normal((n, d), dtype=np.float32)
            states[layer] += shared * (layer / layers)
            states[layer] = states[layer] * scale + 1
        names = [str(row) for row in range(n)]
        path = folder / f"{language}.safetensors"
        write_states(path, {"mean": states}, sentence_ids=names, sentences=names, origin={})


def open_all(folder: Path) -> dict[Side, StatesFile]:
    """Return the states of each language."""
    sides = [Side("finetuned", "full", language) for language in LANGUAGES]
    return {side: StatesFile(folder / f"{side.language}.safetensors", "mean") for side in sides}


def ours(folder: Path) -> None:
    """Compute the whole table; print the unbiased values by layer and pair."""
    from babelscope.representations.cka import cka_table

    started = time.perf_counter()
    states = open_all(folder)
    pairs = [Pair(left, right) for left, right in combinations(states, 2)]
    table = cka_table(pairs, states, blocks=20, threads=os.cpu_count() or 1)
    seconds = time.perf_counter() - started
    unbiased = table[table["estimator"] == "unbiased"]
    emit(seconds, unbiased["value"].tolist())


def gram(folder: Path, number: int) -> None:
    """Compute the first pairs of the table; print their values and the time scaled to all."""
    states = open_all(folder)
    depth = next(iter(states.values())).shape[0]
    every = [(layer, *pair) for layer in range(depth) for pair in combinations(states.values(), 2)]
    started = time.perf_counter()
    values = [gram_cka(left[layer], right[layer]) for layer, left, right in every[:number]]
    seconds = time.perf_counter() - started
    emit(seconds * len(every) / number, values)


def gram_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Return unbiased CKA by three HSIC values, each from its own Gram matrices."""

    def hsic(left: np.ndarray, right: np.ndarray) -> float:
        n = len(left)
        k, g = left @ left.T, right @ right.T
        np.fill_diagonal(k, 0)
        np.fill_diagonal(g, 0)
        rows = [one.sum(axis=1, dtype=np.float64) for one in (k, g)]
        trace = np.einsum("ij,ij->i", k, g).sum(dtype=np.float64)
        means = rows[0].sum() * rows[1].sum() / ((n - 1) * (n - 2))
        return float(trace + means - 2 / (n - 2) * (rows[0] @ rows[1]))

    x, y = (side - side.mean(axis=0) for side in (x, y))
    return hsic(x, y) / float(np.sqrt(hsic(x, x) * hsic(y, y)))


def peak(size: int) -> float:
    """Return the rate of NumPy's float32 matrix products, in FLOP/s."""
    square = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        np.matmul(square, square)
        times.append(time.perf_counter() - started)
    return 2 * size**3 / min(times)


def facts(way: Measurement, rate: float, layers: int, n: int, d: int) -> dict[str, str]:
    """Return how far ours is from the matrix products it cannot do without."""
    pairs = len(LANGUAGES) * (len(LANGUAGES) - 1) // 2
    # A side with itself is symmetric and takes half the arithmetic of a pair.
    flop = layers * n * d * d * (2 * pairs + len(LANGUAGES))
    floor = flop / rate
    return {
        "matrix products": f"{flop / 1e9:.0f} GFLOP at {rate / 1e9:.0f} GFLOP/s in float32",
        "floor": f"{floor:.2f} s, of which ours reaches {floor / way.seconds:.0%}",
        "peak memory of ours": f"{way.peak_mb:.0f} MB; goal: below {LIMIT_MB} MB",
    }


def main() -> None:
    """Compare the two, or run one of them as the child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small matrices")
    parser.add_argument("--way", choices=("ours", "gram", "peak"))
    parser.add_argument("--folder", type=Path, help="where the states are")
    parser.add_argument("--pairs", type=int, default=8, help="that the baseline is timed on")
    options = parser.parse_args()
    layers, n, d = (3, 300, 48) if options.quick else (13, 5000, 768)
    if options.way == "ours":
        ours(options.folder)
    elif options.way == "gram":
        gram(options.folder, options.pairs)
    elif options.way == "peak":
        report(lambda: peak(256 if options.quick else 4096))
    else:
        with tempfile.TemporaryDirectory() as folder:
            write_all(Path(folder), layers, n, d)
            sizes = [f"--folder={folder}", f"--pairs={options.pairs}"]
            sizes += ["--quick"] * options.quick
            fast, slow, rate = (measure("cka", way, *sizes) for way in ("ours", "gram", "peak"))
        found, expected = np.array(fast.value)[: len(slow.value)], np.array(slow.value)
        print(
            f"{layers} layers x 21 pairs of languages, n = {n}, d = {d}: {len(fast.value)} pairs,"
        )
        print(f"the baseline's time scaled from {len(slow.value)} of them")
        conclude(
            "cka",
            fast,
            slow,
            baseline_is="Gram matrices, no errors",
            difference=float(np.abs(found - expected).max()),
            tolerance=1e-5,
            speed=10.0,
            facts=facts(fast, rate.value, layers, n, d),
        )


if __name__ == "__main__":
    main()
