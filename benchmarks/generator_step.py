"""A step of aligning a generative model: only what is read runs, against three padded passes.

The baseline is the published way: the first sentences of all pairs, the second ones and the
instructions are a pass each, one text to a row and padded to the longest that is allowed, through
all layers; logits are made of all positions; cosines are a broadcast of all pairs of vectors. Ours
pads to the longest of a pass, stops at the layer that sentence states are taken from, packs
instructions and makes logits where an answer is predicted. Both train the same random GPT-2 on the
same batches without dropout, so their losses must agree step by step. A second baseline pads to the
longest of a pass, so that what is left is not what padding costs.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks.in_context import gpt2
from benchmarks.measure import conclude, emit, measure
from benchmarks.shapes import BASE, SMALL, Shape, number_sentences, number_tokenizer

RATE = 1e-4
TEMPERATURE = 0.05
WEIGHT = 1.5  # of instructions


class Study:
    """A model, and samples about as long as those of Bactrian-X in the tokens of XGLM."""

    def __init__(self, shape: Shape, batch: int, steps: int) -> None:
        from babelscope.config import GeneratorTraining
        from babelscope.training.generator_steps import Steps
        from babelscope.training.instructions import read_samples

        self.model = gpt2(shape)
        for module in self.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        self.length = shape.window
        settings: Any = {
            "lr": RATE,
            "weight_decay": 0.0,
            "warmup": 0.0,
            "schedule": "constant",
            "epochs": 1,
            "max_steps": steps,
            "batch_size": batch,
            "mini_batch": None,
            "gradient_checkpointing": False,
            "max_grad_norm": 1.0,
            "logging_steps": 1,
            "eval_steps": steps,
            "save_steps": steps,
            "pooler": "avg-1",
            "temperature": TEMPERATURE,
            "hard_negative_weight": 0.0,
            "contrastive_weight": 1.0,
            "instruction_weight": WEIGHT,
            "max_tokens": self.length,
            "block": self.length,
            "lora": None,
            "sharded": False,
            "selected_by": None,
        }
        self.settings = GeneratorTraining.model_validate(settings)
        number = batch * steps
        first, second = (number_sentences(number, longest=60, seed=seed) for seed in (1, 2))
        asked, answers = (number_sentences(number, longest=60, seed=seed) for seed in (3, 4))
        with TemporaryDirectory() as folder:
            path = Path(folder, "samples.jsonl")
            rows = []
            for place in range(number):
                record = {"sent0": first[place], "sent1": second[place], "corpus": "made"}
                record |= {"clm_text": f"{asked[place]} {answers[place]}", "id": str(place)}
                rows.append(json.dumps(record | {"clm_prompt_len": len(asked[place])}))
            path.write_text("\n".join(rows), "utf-8")
            self.samples = read_samples(
                path, number_tokenizer(), max_tokens=self.length, block=self.length
            )
        self.order = Steps(self.samples, self.settings, "aligned-both", seed=0)


def ours(study: Study) -> None:
    """Train as the project does; print the median step and the losses."""
    from babelscope.models.poolers import find_pooler
    from babelscope.training.fitting import fit
    from babelscope.training.generator_steps import Objective

    layers = study.model.config.n_layer
    times = [time.perf_counter()]
    history = fit(
        study.model,
        Objective("both", find_pooler(study.settings.pooler, layers), study.settings),
        study.samples,
        study.settings,
        rate=RATE,
        seed=0,
        device="cpu",
        precision="float32",
        order=study.order,
        on_step=lambda _: times.append(time.perf_counter()),
    )
    losses = [[row["contrastive"], row["instruction"]] for row in history]
    emit(float(np.median(np.diff(times)[1:])), losses)  # the first sets up the optimizer


def padded(texts: Any, numbers: np.ndarray, width: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask of texts, one to a row, padded to so many tokens or to their longest."""
    width = width or int(texts.lengths[numbers].max())
    ids = torch.ones((len(numbers), width), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, number in enumerate(numbers):
        tokens = torch.from_numpy(texts[number].astype(np.int64))
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
    return ids, mask


def published(study: Study, width: int | None) -> None:
    """Train with three passes per step, padded so; print the median step and the losses."""
    model, samples = study.model.train(), study.samples
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    seconds, losses = [], []
    for step in range(study.order.steps):
        started = time.perf_counter()
        rows = study.order.rows(step)
        vectors = []
        for side in (0, 1):
            ids, mask = padded(samples.sentences, samples.pairs[rows, side], width)
            found = model.transformer(
                input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False
            ).hidden_states[1]
            kept = found * mask[:, :, None]
            vectors.append(kept.sum(dim=1) / mask.sum(dim=1, keepdim=True))
        first, second = vectors
        scores = functional.cosine_similarity(first[:, None], second[None], dim=-1) / TEMPERATURE
        right = torch.arange(len(rows))
        pairs = functional.cross_entropy(scores, right) + functional.cross_entropy(scores.T, right)
        pairs = pairs / 2
        ids, mask = padded(samples.instructions, rows, width)
        labels = torch.full_like(ids, -100)
        for row, number in enumerate(rows):
            answer = torch.from_numpy(samples.labels[samples.instructions.place(number)])
            labels[row, : len(answer)] = torch.where(answer, ids[row, : len(answer)], -100)
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        texts = functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        optimizer.zero_grad()
        (pairs + WEIGHT * texts).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - started)
        losses.append([pairs.item(), texts.item()])
    emit(float(np.median(seconds[1:])), losses)


def main() -> None:
    """Compare the two, or run one of them as the child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tiny model")
    parser.add_argument("--way", choices=("ours", "published", "unpadded"))
    parser.add_argument("--batch", type=int, default=8, help="samples in a step")
    parser.add_argument("--length", type=int, default=128, help="tokens of a text, at most")
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    base = replace(BASE, vocabulary=50_257, window=options.length)
    shape = replace(SMALL, window=128) if options.quick else base
    if options.way:
        study = Study(shape, options.batch, options.steps)
        if options.way == "ours":
            ours(study)
        else:
            published(study, shape.window if options.way == "published" else None)
        return
    sizes = [f"--{key}={getattr(options, key)}" for key in ("batch", "length", "steps")]
    sizes += ["--quick"] * options.quick
    ways = ("ours", "published", "unpadded")
    fast, slow, unpadded = (measure("generator_step", way, *sizes) for way in ways)
    print(f"GPT-2 {shape.layers} x {shape.heads} x {shape.hidden}, {shape.vocabulary} words,")
    print(f"{options.batch} samples a step, texts of at most {shape.window} tokens, float32")
    losses = np.array([fast.value, slow.value, unpadded.value])  # (ways, steps, losses)
    conclude(
        "generator_step",
        fast,
        slow,
        baseline_is="three padded passes",
        difference=float(np.max(np.abs(losses - losses[1]) / losses[1])),
        tolerance=1e-3,
        speed=1.5,
        facts={
            "against passes padded to their longest": f"{unpadded.seconds:.3f} s,"
            f" {unpadded.seconds / fast.seconds:.2f} times as fast"
        },
    )


if __name__ == "__main__":
    main()
