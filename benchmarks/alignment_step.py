"""A training step of an alignment adapter: the pivot's vectors kept, against computed each time.

The baseline is the published way: the frozen pivot runs at every step, a batch is put together row
by row, and all texts are padded to the longest that the encoder reads. A second baseline pads to
the longest of the batch, so that what is left is what the pivot costs. All train the same adapter
on the same batches, of paraphrases whose texts are in either language and of translations, in
alternation, so the losses must agree.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks.measure import conclude, emit, measure
from benchmarks.shapes import Shape, number_sentences, number_tokenizer, xlmr

STUDENT = Shape(4, 4, 128, vocabulary=905, window=128)
RATE = 1e-3


class Study:
    """A pivot, a target that differs from it, and rows of sentences in both languages."""

    def __init__(self, shape: Shape, rows: int, batch: int, steps: int) -> None:
        from babelscope.config import PairTraining
        from babelscope.models.adapters import ParallelAdapter
        from babelscope.models.sentence_encoders import SentenceEncoder
        from babelscope.training.alignment import streams_of
        from babelscope.training.pairs import Pairs, PairSet, Turns

        torch.manual_seed(0)
        networks: list[Any] = [xlmr(shape, seed=seed, spread=0.1).base_model for seed in (0, 1)]
        for network in networks:
            for module in network.modules():  # the ways draw dropout in other orders
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0
        self.target, self.pivot = (
            SentenceEncoder(
                network, number_tokenizer(), pooling="mean", max_tokens=shape.window
            ).eval()
            for network in networks
        )
        for encoder in (self.target, self.pivot):
            encoder.requires_grad_(False)
        self.target.adapter = ParallelAdapter(self.target.network)
        self.texts = number_sentences(6 * rows, longest=shape.window - 2)
        numbers = np.arange(6 * rows).reshape(2, rows, 3)
        self.settings = PairTraining.model_validate(
            {
                "lr": RATE,
                "weight_decay": 0.0,
                "warmup": 0.0,
                "schedule": "constant",
                "epochs": 1000,
                "max_steps": steps,
                "batch_size": batch,
                "mini_batch": None,
                "max_grad_norm": 1.0,
                "logging_steps": 1,
                "save_steps": steps,
                "max_tokens": shape.window,
            }
        )
        spoken = {"target": range(3 * rows), "pivot": range(3 * rows, 6 * rows)}
        pairs = Pairs(self.texts, [PairSet("pairs", list(spoken), numbers)], spoken)
        self.order = Turns(streams_of(pairs, "both", self.settings, seed=0), self.settings)
        self.numbers = numbers


def ours(study: Study) -> None:
    """Train as the project does; print the median step, the losses, and the pivot's time."""
    from babelscope.training.alignment import OTHER, TARGET, Alignment, PivotVectors
    from babelscope.training.fitting import fit
    from babelscope.training.pairs import Tokens

    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        vectors = PivotVectors(
            Path(folder),
            study.pivot,
            study.texts,
            study.numbers[OTHER].ravel(),
            max_tokens=study.settings.max_tokens,
            batch_tokens=4096,
            device="cpu",
            precision="float32",
        )
        once = time.perf_counter() - started
        ours = study.numbers[TARGET].ravel()
        tokens = Tokens(study.target, study.texts, ours, study.settings.max_tokens)
        times = [time.perf_counter()]
        history = fit(
            study.target,
            Alignment("the target", vectors, study.settings),
            tokens,
            study.settings,
            rate=RATE,
            seed=0,
            device="cpu",
            precision="float32",
            order=study.order,
            on_step=lambda _: times.append(time.perf_counter()),
        )
    steps = np.diff(times)[1:]  # the first sets up the optimizer
    value = {"losses": [row["loss"] for row in history], "once": once}
    emit(float(np.median(steps)), value)


def row_by_row(tokenizer: Any, texts: list[str], longest: int | None) -> dict[str, torch.Tensor]:
    """Return a batch that grows by a row at a time, padded to `longest`, or to its longest row."""
    width = longest or max(len(tokenizer(text)["input_ids"]) for text in texts)
    ids = torch.empty((0, width), dtype=torch.int64)
    mask = torch.empty((0, width), dtype=torch.int64)
    for text in texts:
        row = tokenizer(text, padding="max_length", max_length=width, return_tensors="pt")
        ids = torch.cat([ids, row["input_ids"]])
        mask = torch.cat([mask, row["attention_mask"]])
    return {"input_ids": ids, "attention_mask": mask}


def published(study: Study, longest: int | None) -> None:
    """Train with the pivot in the loop; print the median step and the losses."""
    from babelscope.training.alignment import OTHER, TARGET

    adapter: Any = study.target.adapter
    weights = list(adapter.parameters())
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.0)
    tokenizer = study.target.tokenizer
    study.target.train()
    seconds, losses = [], []
    for step in range(study.order.steps):
        started = time.perf_counter()
        ((_, rows),) = study.order.parts(step)
        there = rows.texts >= 0
        vectors: dict[tuple[int, int], torch.Tensor] = {}
        for language, encoder in ((TARGET, study.target), (OTHER, study.pivot)):
            places = np.argwhere(there & (rows.languages == language))  # grouped by language
            texts = [study.texts[rows.texts[row, column]] for row, column in places]
            with torch.set_grad_enabled(language == TARGET):
                found = encoder(**row_by_row(tokenizer, texts, longest))
            for (row, column), vector in zip(places.tolist(), found, strict=True):
                vectors[row, column] = vector
        anchors, positives, *negatives = (
            torch.stack([vectors[row, column] for row in np.flatnonzero(some).tolist()])
            for column, some in enumerate(there.T)
            if some.any()
        )
        if rows.parallel:
            loss = (1 - functional.cosine_similarity(anchors, positives)).mean()
        else:
            candidates = functional.normalize(torch.cat([positives, *negatives]), dim=1)
            scores = 20 * functional.normalize(anchors, dim=1) @ candidates.T
            loss = functional.cross_entropy(scores, torch.arange(len(anchors)))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - started)
        losses.append(loss.item())
    emit(float(np.median(seconds[1:])), {"losses": losses})


def main() -> None:
    """Compare the ways, or run one of them as the child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tiny model")
    parser.add_argument("--way", choices=("ours", "published", "unpadded"))
    parser.add_argument("--batch", type=int, default=32, help="pairs in a batch")
    parser.add_argument("--rows", type=int, default=256, help="pairs in the data set")
    parser.add_argument("--steps", type=int, default=15)
    options = parser.parse_args()
    shape = replace(STUDENT, layers=2, hidden=64) if options.quick else STUDENT
    sizes = (32, 8, 5) if options.quick else (options.rows, options.batch, options.steps)
    if options.way:
        study = Study(shape, *sizes)
        ways: dict[str, Callable[[], None]] = {
            "ours": lambda: ours(study),
            "published": lambda: published(study, shape.window),
            "unpadded": lambda: published(study, None),
        }
        ways[options.way]()
        return
    given = [f"--{name}={getattr(options, name)}" for name in ("batch", "rows", "steps")]
    given += ["--quick"] * options.quick
    fast, slow, unpadded = (
        measure("alignment_step", way, *given) for way in ("ours", "published", "unpadded")
    )
    rows, batch, steps = sizes
    print(f"{shape.layers} x {shape.hidden}, batches of {batch} of {rows} pairs, {steps} steps")
    losses = [np.array(way.value["losses"]) for way in (fast, slow, unpadded)]
    conclude(
        "alignment_step",
        fast,
        slow,
        baseline_is="pivot in the loop",
        difference=float(max(np.abs(losses[0] - other).max() for other in losses[1:])),
        tolerance=1e-3,
        speed=1.5,
        facts={
            "padded to the batch's longest": f"the baseline takes {unpadded.seconds:.3f} s,"
            f" {unpadded.seconds / fast.seconds:.2f} times ours",
            "the pivot's vectors, once": f"{fast.value['once']:.2f} s, as long as"
            f" {fast.value['once'] / fast.seconds:.0f} steps",
        },
    )


if __name__ == "__main__":
    main()
