"""Encoding of parallel sentences: batches of similar length against one sentence at a time.

The baseline is the published way: each sentence by itself, padded to the longest the model reads.
Both pool the same layers of the same random XLM-R model in float32, so the states must agree.
"""

import argparse
import time
from functools import partial

import numpy as np
import torch

from benchmarks import published
from benchmarks.floor import matrix_peak
from benchmarks.measure import Measurement, conclude, emit, measure, report
from benchmarks.shapes import (
    BASE,
    SMALL,
    Shape,
    number_sentences,
    number_tokenizer,
    xlmr,
)


def bucketed(shape: Shape, number: int) -> tuple[float, list[float]]:
    """Encode as the project does; return the time and some of the states."""
    from babelscope.representations.encoding import encode_corpus

    model, tokenizer = xlmr(shape), number_tokenizer()
    sentences = number_sentences(number, longest=shape.window - 2)
    started = time.perf_counter()
    found = encode_corpus(
        model,
        tokenizer,
        sentences,
        poolings=["mean"],
        batch_tokens=4096,
        max_tokens=shape.window,
        device="cpu",
    )
    return time.perf_counter() - started, sample(found.states["mean"], number)


def single(shape: Shape, number: int, timed: int) -> tuple[float, list[float]]:
    """Encode the first sentences one by one; return the time scaled to all, and some states."""
    model, tokenizer = xlmr(shape), number_tokenizer()
    sentences = number_sentences(number, longest=shape.window - 2)
    started = time.perf_counter()
    states = published.encode(model, tokenizer, sentences[:timed], length=shape.window)
    return (time.perf_counter() - started) * number / timed, sample(states, timed)


def sample(states: np.ndarray, rows: int) -> list[float]:
    """Return eight numbers of each layer of each of the first rows."""
    return states[:, :rows, :8].transpose(1, 0, 2).ravel().astype(float).tolist()


def facts(shape: Shape, number: int, ours: Measurement, rate: float) -> dict[str, str]:
    """Return how far ours is from the arithmetic of the sentences' own tokens."""
    sentences = number_sentences(number, longest=shape.window - 2)
    lengths = [len(sentence.split()) + 2 for sentence in sentences]
    flop = sum(shape.forward_flop(1, 0, length) for length in lengths)
    padded = number * shape.forward_flop(1, 0)
    return {
        "tokens": f"{sum(lengths)} in {number} sentences, {max(lengths)} at most",
        "arithmetic": f"{flop / 1e9:.0f} GFLOP without padding, {padded / 1e9:.0f} with all of it",
        "floor": f"{flop / rate:.2f} s at {rate / 1e9:.0f} GFLOP/s, of which ours reaches"
        f" {flop / rate / ours.seconds:.0%}",
    }


def main() -> None:
    """Compare the two, or run one of them as the child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tiny model")
    parser.add_argument("--way", choices=("bucketed", "single", "peak"))
    parser.add_argument("--sentences", type=int, default=128)
    parser.add_argument("--timed", type=int, default=12, help="sentences of the baseline")
    options = parser.parse_args()
    shape = SMALL if options.quick else BASE
    match options.way:
        case "bucketed":
            emit(*bucketed(shape, options.sentences))
        case "single":
            emit(*single(shape, options.sentences, options.timed))
        case "peak":
            size = 256 if options.quick else 4096
            report(partial(matrix_peak, torch.device("cpu"), torch.float32, size))
        case _:
            sizes = [f"--{key}={getattr(options, key)}" for key in ("sentences", "timed")]
            sizes += ["--quick"] * options.quick
            ours, slow, peak = (
                measure("encoding", way, *sizes) for way in ("bucketed", "single", "peak")
            )
            print(f"XLM-R {shape.layers} x {shape.heads} x {shape.hidden}, float32,")
            print(f"{options.sentences} sentences; the baseline's time scaled from {options.timed}")
            expected = np.array(slow.value)
            conclude(
                "encoding",
                ours,
                slow,
                baseline_is=f"one by one, padded to {shape.window}",
                difference=float(np.abs(np.array(ours.value)[: len(expected)] - expected).max()),
                tolerance=1e-4,
                speed=5.0,
                facts=facts(shape, options.sentences, ours, peak.value),
            )


if __name__ == "__main__":
    main()
