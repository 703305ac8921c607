"""Scoring choices in context: what they share computed once, against one choice at a time.

The baseline is the published way: every choice of every example is a text of its own, with the
demonstrations, and logits are made of all its tokens. Both score the same examples, of three
choices and about the lengths of XNLI, without demonstrations and with three, by a random GPT-2 in
float32, so the likelihoods of an example's choices must differ by the same.
"""

import argparse
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.measure import conclude, emit, measure
from benchmarks.shapes import BASE, SMALL, Shape, number_sentences, number_tokenizer

SHOTS = (0, 3)
CHOICES = ("w1", "w2", "w3")


def gpt2(shape: Shape) -> Any:
    """Return a GPT-2 with random weights, in evaluation mode."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=shape.vocabulary,
        n_positions=shape.window,
        n_embd=shape.hidden,
        n_layer=shape.layers,
        n_head=shape.heads,
        bos_token_id=0,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    return GPT2LMHeadModel(config).eval()


def study(shape: Shape, number: int) -> tuple[Any, Any, Any, list[str]]:
    """Return a model, its tokenizer, filled prompts, and demonstrations."""
    from babelscope.evaluation.prompts import Filled

    premises = number_sentences(number + max(SHOTS), longest=60, seed=1)
    hypotheses = [
        " ".join(one.split()[: max(2, len(one.split()) // 2)])
        for one in number_sentences(number + max(SHOTS), longest=60, seed=2)
    ]
    filled = [
        Filled(f"{premise} ", CHOICES, f" {hypothesis}")
        for premise, hypothesis in zip(premises, hypotheses, strict=True)
    ]
    shown = [one.strings[0] for one in filled[number:]]
    return gpt2(shape), number_tokenizer(), filled[:number], shown


def shared(shape: Shape, number: int) -> None:
    """Score as the project does; print the times and the likelihoods."""
    from babelscope.evaluation.in_context import Examples, score_choices

    model, tokenizer, filled, shown = study(shape, number)
    times, found = [], []
    for shots in SHOTS:
        started = time.perf_counter()
        items = Examples(tokenizer, filled, "{eos}").items(shown[:shots])
        found.append(score_choices(model, tokenizer, items, batch_tokens=1024, device="cpu"))
        times.append(time.perf_counter() - started)
    emit(sum(times), {"times": times, "likelihoods": [one.tolist() for one in found]})


def single(shape: Shape, number: int, timed: int) -> None:
    """Score the first examples choice by choice; print the times, scaled to all."""
    model, tokenizer, filled, shown = study(shape, number)
    times, found = [], []
    for shots in SHOTS:
        before = "".join(f"{one}</s>" for one in shown[:shots])
        started = time.perf_counter()
        rows = []
        for one in filled[:timed]:
            row = []
            for string in one.strings:
                ids = tokenizer(before + string, return_tensors="pt")["input_ids"][:, :-1]
                with torch.inference_mode():
                    logits = model(input_ids=ids).logits.log_softmax(-1)
                row.append(float(logits[0, :-1].gather(1, ids[0, 1:, None]).double().sum()))
            rows.append(row)
        times.append((time.perf_counter() - started) * number / timed)
        found.append(rows)
    emit(sum(times), {"times": times, "likelihoods": found})


def main() -> None:
    """Compare the two, or run one of them as the child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tiny model")
    parser.add_argument("--way", choices=("shared", "single"))
    parser.add_argument("--examples", type=int, default=48)
    parser.add_argument("--timed", type=int, default=12, help="examples of the baseline")
    options = parser.parse_args()
    shape = replace(BASE, vocabulary=50_257, window=1024)
    if options.quick:
        shape = replace(SMALL, window=300)
    if options.way == "shared":
        return shared(shape, options.examples)
    if options.way == "single":
        return single(shape, options.examples, options.timed)
    sizes = [f"--{key}={getattr(options, key)}" for key in ("examples", "timed")]
    sizes += ["--quick"] * options.quick
    ours, slow = (measure("in_context", way, *sizes) for way in ("shared", "single"))
    print(f"GPT-2 {shape.layers} x {shape.heads} x {shape.hidden}, float32, {options.examples}")
    print(f"examples of three choices; the baseline's time scaled from {options.timed}")
    differences = []
    for quick, plain in zip(ours.value["likelihoods"], slow.value["likelihoods"], strict=True):
        both = np.array(quick)[: len(plain)], np.array(plain)
        first, second = (one - one.mean(axis=1, keepdims=True) for one in both)
        differences.append(np.abs(first - second).max())
    ratios = np.array(slow.value["times"]) / np.array(ours.value["times"])
    conclude(
        "in_context",
        ours,
        slow,
        baseline_is="one choice at a time",
        difference=float(max(differences)),
        tolerance=1e-3,
        speed=3,
        facts={
            f"{shots} shots": f"{quick:.2f} s against {plain:.2f} s, {ratio:.1f} times as fast"
            for shots, quick, plain, ratio in zip(
                SHOTS, ours.value["times"], slow.value["times"], ratios, strict=True
            )
        },
    )


if __name__ == "__main__":
    main()
