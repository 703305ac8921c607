"""Encoding of sentences in batches of like length against batches in the order they come in.

The baseline pads each batch of as many sentences to the longest of them. Both encode with the same
random encoder in float32, so the vectors must agree.
"""

import argparse
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.measure import conclude, emit, measure
from benchmarks.shapes import SMALL, Shape, number_sentences, number_tokenizer, xlmr

STUDENT = Shape(4, 4, 256, vocabulary=905, window=128)
BATCH = 64  # sentences of an unsorted batch


def encoder_of(shape: Shape) -> Any:
    """Return a random sentence encoder."""
    from babelscope.models.sentence_encoders import SentenceEncoder

    network: Any = xlmr(shape, spread=0.1).base_model
    encoder = SentenceEncoder(network, number_tokenizer(), pooling="mean", max_tokens=shape.window)
    return encoder.eval()


def bucketed(shape: Shape, number: int) -> tuple[float, np.ndarray]:
    """Encode as the project does."""
    encoder, sentences = encoder_of(shape), number_sentences(number, longest=shape.window - 2)
    started = time.perf_counter()
    found = encoder.encode(sentences, batch_tokens=4096)
    return time.perf_counter() - started, found


def unsorted(shape: Shape, number: int) -> tuple[float, np.ndarray]:
    """Encode batch after batch as the sentences come in."""
    encoder, sentences = encoder_of(shape), number_sentences(number, longest=shape.window - 2)
    started = time.perf_counter()
    found = []
    with torch.inference_mode():
        for start in range(0, number, BATCH):
            batch = encoder.tokenizer(
                sentences[start : start + BATCH], padding=True, return_tensors="pt"
            )
            found.append(encoder(batch["input_ids"], batch["attention_mask"]))
    return time.perf_counter() - started, torch.cat(found).numpy()


def main() -> None:
    """Compare the two, or run one of them as the child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tiny model and few sentences")
    parser.add_argument("--way", choices=("bucketed", "unsorted"))
    parser.add_argument("--sentences", type=int, default=1024)
    options = parser.parse_args()
    shape = replace(SMALL, vocabulary=905, window=128) if options.quick else STUDENT
    number = 100 if options.quick else options.sentences
    if options.way:
        seconds, found = {"bucketed": bucketed, "unsorted": unsorted}[options.way](shape, number)
        emit(seconds, found[:, :4].ravel().astype(float).tolist())
        return
    given = [f"--sentences={options.sentences}", *["--quick"] * options.quick]
    fast, slow = (measure("encoder_batches", way, *given) for way in ("bucketed", "unsorted"))
    lengths = [len(one.split()) + 2 for one in number_sentences(number, longest=shape.window - 2)]
    padded = sum(BATCH * max(lengths[start : start + BATCH]) for start in range(0, number, BATCH))
    print(f"{shape.layers} x {shape.hidden}, {number} sentences, {sum(lengths)} tokens")
    conclude(
        "encoder_batches",
        fast,
        slow,
        baseline_is=f"batches of {BATCH} as they come",
        difference=float(np.abs(np.subtract(fast.value, slow.value)).max()),
        tolerance=1e-4,
        speed=2.0,
        facts={
            "tokens": f"{np.median(lengths):.0f} in the median sentence, {max(lengths)} at most",
            "padding": f"the baseline computes {padded / sum(lengths):.2f} times the tokens",
        },
    )


if __name__ == "__main__":
    main()
