"""Every GPU measurement of the project, and checks against the CPU, in one command.

``python benchmarks/gpu.py`` from the root of a clone: no installation, network or Snakemake, only
torch, transformers, numpy, pandas and safetensors. ``--quick --device cpu`` runs all of it tiny.

Each thing is measured beside the plain way of the field on the same input in the same run, and
computed at a small size on the GPU and on the CPU in float32, which must agree. Shares of the peak
are useful arithmetic (matrix products, nothing recomputed) over the rate of one large bf16 matrix
product on this device, measured first. What needs more packages, loops of training that resume
and modular encoders, is checked against the CPU by ``python -m pytest -m gpu``.
"""

import argparse
import copy
import gc
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run as a script

import numpy as np
import torch

from benchmarks import published
from benchmarks.floor import copy_peak, matrix_peak, seconds_of, synchronize
from benchmarks.measure import machine
from benchmarks.shapes import (
    BASE,
    END,
    LARGE,
    PADDING,
    SMALL,
    START,
    Shape,
    masked_batch,
    number_sentences,
    number_tokenizer,
    predicted,
    random_windows,
    split,
    xlmr,
)

MINUTES = 8.0
PRECISIONS = ("bf16", "float32")


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes
    ----------
    section, what
        What was measured.
    rate, unit
        Speed; None if there was not enough memory.
    share
        Of the measured bf16 matrix peak, where the arithmetic is known.
    memory_gb
        Peak memory of the device.
    baseline
        The `what` of the row it is compared with.
    ratio
        Its rate over the baseline's.
    goal
        The least ratio or share asked for, in words, with whether it is reached.
    """

    section: str
    what: str
    rate: float | None
    unit: str
    share: float | None = None
    memory_gb: float | None = None
    baseline: str = ""
    ratio: float | None = None
    goal: str = ""


@dataclass(frozen=True)
class Check:
    """One comparison of results that must agree."""

    section: str
    what: str
    difference: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether the difference is a number within the tolerance."""
        return bool(self.difference <= self.tolerance)


@dataclass
class Run:
    """The device, how much to do on it, and what was found."""

    device: torch.device
    quick: bool
    deadline: float
    peak: float = float("nan")
    rows: list[Row] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def shape(self, full: Shape) -> Shape:
        """Return a shape, or the small one in a quick run."""
        return SMALL if self.quick else full

    def number(self, full: int) -> int:
        """Return how many of something, few in a quick run."""
        return min(full, 4) if self.quick else full

    def model(self, shape: Shape, attention: str = "sdpa") -> Any:
        """Return a random model on the device."""
        return xlmr(shape, attention=attention, device=self.device)

    def pair(self, attention: str = "sdpa") -> tuple[Any, Any]:
        """Return a small model on the CPU, whose heads differ, and its copy on the device."""
        model: Any = xlmr(SMALL, attention=attention, spread=0.2)
        return model, copy.deepcopy(model).to(self.device)

    def check(self, section: str, what: str, one: Any, other: Any, tolerance: float) -> None:
        """Note the largest difference of two results, relative to the largest value."""
        left, right = (np.asarray(value, dtype=np.float64) for value in (one, other))
        difference = float(np.max(np.abs(left - right)) / np.max(np.abs(right)))
        self.checks.append(Check(section, what, difference, tolerance))

    def measure(
        self,
        section: str,
        what: str,
        work: Callable[[], Any],
        *,
        amount: float,
        unit: str = "tokens/s",
        flop: float | None = None,
        baseline: str = "",
        least_ratio: float | None = None,
        least_share: float | None = None,
        repetitions: int = 5,
        limit: float = 6.0,
    ) -> None:
        """Time some work and note its rate, or that it does not fit in memory.

        Parameters
        ----------
        amount
            How many of `unit` one run of the work does.
        flop
            Useful arithmetic of one run.
        baseline
            The `what` of an earlier row of the section.
        least_ratio, least_share
            Goals.
        repetitions, limit
            See :func:`benchmarks.floor.seconds_of`.
        """
        clean(self.device)
        try:
            seconds = seconds_of(work, self.device, warmup=1, repetitions=repetitions, limit=limit)
        except torch.OutOfMemoryError:
            self.rows.append(Row(section, what, None, unit))
            return
        rate = amount / seconds
        earlier = [row for row in self.rows if (row.section, row.what) == (section, baseline)]
        ratio = rate / earlier[0].rate if earlier and earlier[0].rate else None
        share = None if flop is None else flop / seconds / self.peak
        goals = []
        if least_ratio and ratio:
            goals.append(f"{least_ratio:g}x: {'yes' if ratio >= least_ratio else 'no'}")
        if least_share and share:
            goals.append(f"{least_share:.0%}: {'yes' if share >= least_share else 'no'}")
        self.rows.append(
            Row(
                section,
                what,
                rate,
                unit,
                share,
                peak_memory(self.device),
                baseline if ratio else "",
                ratio,
                ", ".join(goals),
            )
        )
        print(f"  {what}: {rate:.4g} {unit}", flush=True)


def clean(device: torch.device) -> None:
    """Give unused memory back and start counting its peak anew."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> float | None:
    """Return the peak of allocated device memory in GB since `clean`; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None


# Peaks


def measure_peaks(run: Run) -> None:
    """Measure what the device can do at most; every share refers to it."""
    size = 8192 if run.device.type == "cuda" else 256
    for name, dtype in (("bf16", torch.bfloat16), ("float32", torch.float32)):
        rate = matrix_peak(run.device, dtype, size)
        if name == "bf16":
            run.peak = rate
        what = f"matrix product {size}, {name}"
        run.rows.append(Row("peak", what, rate / 1e12, "TFLOP/s", share=rate / run.peak))
    bandwidth = copy_peak(run.device, 2048 if run.device.type == "cuda" else 16)
    run.rows.append(Row("peak", "memory, read and written", bandwidth / 1e12, "TB/s"))


# Training


def trainer(model: Any, precision: str, fused: bool = True) -> Callable[[dict, bool], torch.Tensor]:
    """Return a function that trains one step on a batch and returns its loss on the device."""
    from babelscope.models.masked_head import token_losses
    from babelscope.models.modes import arithmetic

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=fused)

    def step(batch: dict[str, torch.Tensor], full_logits: bool) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        with arithmetic(model, precision):
            if full_logits:
                device = next(model.parameters()).device
                inputs = {name: value.to(device) for name, value in batch.items()}
                loss = model(**inputs).loss
            else:
                loss = token_losses(model, batch)[0].mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.detach()

    return step


def train_at(run: Run, section: str, full: Shape, windows: int, larger: int) -> None:
    """Measure a training step at one size: the same batch both ways, then a larger batch."""
    shape = run.shape(full)
    for number, ways in ((windows, (True, False)), (larger, (False,))):
        batch = training_batch(shape, run.number(number), run.device)
        losses = {}
        for full_logits in ways:
            model = run.model(shape).train()
            step = trainer(model, "bf16")
            way = "full logits" if full_logits else "masked only"
            what = f"{way}, {len(batch['labels'])} windows"
            torch.manual_seed(0)
            try:
                losses[way] = step(batch, full_logits).item()
            except torch.OutOfMemoryError:
                run.rows.append(Row(section, what, None, "tokens/s"))
                del model, step
                continue
            run.measure(
                section,
                what,
                partial(step, batch, full_logits),
                amount=batch["input_ids"].numel(),
                flop=shape.training_flop(len(batch["labels"]), predicted(batch)),
                baseline="" if full_logits else what.replace("masked only", "full logits"),
                least_ratio=None if full_logits else 2.0,
                least_share=None if full_logits else 0.4,
            )
            del model, step
        if len(losses) == 2:
            both = losses["masked only"], losses["full logits"]
            run.check(section, "bf16 loss, masked only and full logits", *both, 5e-3)


def training_batch(shape: Shape, windows: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Return a batch of full windows as the trainer sees it: no padding, labels on the CPU."""
    batch = masked_batch(shape, windows)
    return {"input_ids": batch["input_ids"].to(device), "labels": batch["labels"]}


def train_base(run: Run) -> None:
    """Train at XLM-R-base's size; check steps against the CPU."""
    section = "MLM step, base"
    train_at(run, section, BASE, 32, 128)
    here, there = run.pair()
    batch = training_batch(SMALL, 8, torch.device("cpu"))
    courses = {}
    for name, model, precision, full_logits in (
        ("CPU", copy.deepcopy(here), "float32", True),
        ("float32", copy.deepcopy(there), "float32", False),
        ("bf16", there, "bf16", False),
    ):
        step = trainer(model, precision)
        courses[name] = [step(batch, full_logits).item() for _ in range(5)]
    run.check(section, "losses of 5 steps, CPU", courses["float32"], courses["CPU"], 1e-4)
    run.check(section, "the same in bf16", courses["bf16"], courses["CPU"], 2e-2)


def train_large(run: Run) -> None:
    """Train at XLM-R-large's size."""
    train_at(run, "MLM step, large", LARGE, 16, 64)


def train_compiled(run: Run) -> None:
    """Train at base size with every block compiled; compared with the step as it is."""
    section = "MLM step, compiled"
    if run.quick:
        run.notes.append(f"{section}: left out of a quick run")
        return
    batch = training_batch(BASE, 128, run.device)
    losses = []
    for what in ("as it is", "blocks compiled"):
        model = run.model(BASE).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # for equal losses; compiled dropout draws other numbers
        if what == "blocks compiled":
            for block in model.base_model.encoder.layer:
                block.compile()
        step = trainer(model, "bf16")
        losses.append(step(batch, False).item())
        run.measure(
            section,
            what,
            partial(step, batch, False),
            amount=batch["input_ids"].numel(),
            flop=BASE.training_flop(len(batch["labels"]), predicted(batch)),
            baseline="as it is" if what == "blocks compiled" else "",
            least_share=0.4,
        )
        del model, step
    run.check(section, "bf16 loss, compiled and not", losses[1], losses[0], 5e-3)


def feed_training(run: Run) -> None:
    """Measure how fast one process draws and masks training batches on the CPU."""
    from babelscope.training.data import Masking, TrainingStream

    shape = run.shape(BASE)
    masking = Masking(shape.mask_id, shape.vocabulary, (START, PADDING, END), 0.15, None)
    stream = TrainingStream({"en": random_windows(shape, 512)}, masking, seed=0)
    places = range(run.number(128))
    run.measure(
        "MLM step, base",
        "batches drawn and masked, one CPU process",
        lambda: stream.batch(places),
        amount=len(places) * shape.window,
    )


# Analysis


def importance(run: Run) -> None:
    """Measure head importance against batches of one, eager attention and full logits."""
    from babelscope.subnetworks.importance import head_importance

    section = "head importance"
    shape = run.shape(BASE)
    few = split(masked_batch(shape, run.number(16)), 1)
    model = run.model(shape, "eager")
    for precision in reversed(PRECISIONS):
        run.measure(
            section,
            f"published way, {precision}",
            partial(published.head_importance, model, few, precision=precision),
            amount=len(few) * shape.window,
            repetitions=2,
        )
    whole = masked_batch(shape, run.number(256))
    number = len(whole["labels"])
    model = run.model(shape)
    for precision in PRECISIONS:
        run.measure(
            section,
            f"ours, batch {min(64, number)}, {precision}",
            partial(head_importance, model, split(whole, 64), precision=precision),
            amount=number * shape.window,
            flop=2 * shape.forward_flop(number, predicted(whole)) if precision == "bf16" else None,
            baseline="published way, float32",
            least_ratio=10.0 if precision == "bf16" else None,
            repetitions=2,
        )

    here, there = run.pair("eager")
    batch = masked_batch(SMALL, 12)
    wanted = published.head_importance(here, split(batch, 1))
    for attention in ("eager", "sdpa"):
        there.set_attn_implementation(attention)
        found = head_importance(there, split(batch, 5)).raw
        run.check(section, f"float32, {attention}, published way on the CPU", found, wanted, 1e-4)
    found = head_importance(there, split(batch, 5), precision="bf16").raw
    run.check(section, "bf16, published way on the CPU", found, wanted, 5e-2)


def iterative_masking(run: Run) -> None:
    """Measure whole trajectories of head pruning against rounds of the published way."""
    from babelscope.subnetworks.head_pruning import prune_heads_iteratively

    section = "iterative masking"
    shape = run.shape(BASE)
    unit = "tokens x rounds/s"
    few = split(masked_batch(shape, run.number(8)), 1)
    model = run.model(shape, "eager")

    def plain_round() -> None:
        published.head_importance(model, few)
        published.mean_loss(model, few)

    run.measure(
        section,
        "published way, one round, float32",
        plain_round,
        amount=len(few) * shape.window,
        unit=unit,
        repetitions=2,
    )
    model = run.model(shape)
    whole = masked_batch(shape, run.number(64))
    batches = split(whole, 64)
    limits: Any = {"step": 0.1, "max_sparsity": 0.5, "precision": "bf16"}
    rounds = len(prune_heads_iteratively(model, batches, **limits).masks)

    run.measure(
        section,
        "ours, half of the heads, bf16",
        partial(prune_heads_iteratively, model, batches, **limits),
        amount=rounds * whole["labels"].numel(),
        unit=unit,
        flop=2 * rounds * shape.forward_flop(len(whole["labels"]), predicted(whole)),
        baseline="published way, one round, float32",
        least_ratio=10.0,
        repetitions=1,
    )

    here, there = run.pair()
    batches = split(masked_batch(SMALL, 12), 5)
    wanted, found = (prune_heads_iteratively(one, batches, step=0.2) for one in (here, there))
    run.check(section, "masks of all rounds, CPU", found.masks, wanted.masks, 0.0)
    run.check(section, "perplexities, CPU", found.perplexities, wanted.perplexities, 1e-3)


def perplexity(run: Run) -> None:
    """Measure evaluation under a head mask against logits at every position."""
    from babelscope.evaluation.perplexity import perplexity as ours

    section = "perplexity"
    shape = run.shape(BASE)
    whole = masked_batch(shape, run.number(256))
    tokens = whole["labels"].numel()
    gates = np.arange(shape.layers * shape.heads).reshape(shape.layers, shape.heads) % 3 != 0
    model = run.model(shape)
    few = split(masked_batch(shape, run.number(64)), 8)
    run.measure(
        section,
        "full logits, batch 8, float32",
        lambda: published.mean_loss(model, few, gates=gates),
        amount=sum(batch["labels"].numel() for batch in few),
        repetitions=3,
    )
    for precision in PRECISIONS:
        run.measure(
            section,
            f"ours, batch 64, {precision}",
            partial(ours, model, split(whole, 64), gates=gates, precision=precision),
            amount=tokens,
            flop=shape.forward_flop(len(whole["labels"]), predicted(whole))
            if precision == "bf16"
            else None,
            baseline="full logits, batch 8, float32",
            repetitions=3,
        )

    here, there = run.pair()
    gates = gates[: SMALL.layers, : SMALL.heads]
    batches = split(masked_batch(SMALL, 12), 5)
    wanted = ours(here, batches, gates=gates)
    found = ours(there, batches, gates=gates)
    run.check(section, "loss of each example, CPU", found.sums, wanted.sums, 1e-4)
    full = published.mean_loss(here, split(masked_batch(SMALL, 12), 12), gates=gates)
    run.check(section, "mean loss, full logits on the CPU", found.loss, full, 1e-4)
    half = ours(there, batches, gates=gates, precision="bf16")
    run.check(section, "mean loss in bf16, CPU", half.loss, wanted.loss, 2e-2)


def encoding(run: Run) -> None:
    """Measure encoding against one sentence at a time, padded to the full length."""
    from babelscope.representations.encoding import encode_corpus

    section = "encoding"
    unit = "sentences/s"
    shape = run.shape(BASE)
    tokenizer = number_tokenizer()
    sentences = number_sentences(run.number(4000), longest=shape.window - 2)
    lengths = [min(sentence.count(" ") + 3, shape.window) for sentence in sentences]
    model = run.model(shape)
    few = sentences[:64]
    run.measure(
        section,
        f"one at a time, padded to {shape.window}, float32",
        lambda: published.encode(model, tokenizer, few, length=shape.window),
        amount=len(few),
        unit=unit,
        repetitions=2,
    )
    options = {"poolings": ["mean"], "max_tokens": shape.window, "device": run.device}
    for precision in PRECISIONS:
        flop = sum(shape.forward_flop(1, 0, length) for length in lengths)
        run.measure(
            section,
            f"ours, {precision}",
            partial(
                encode_corpus,
                model,
                tokenizer,
                sentences,
                batch_tokens=2**16,
                precision=precision,
                **options,
            ),
            amount=len(sentences),
            unit=unit,
            flop=flop if precision == "bf16" else None,
            baseline=f"one at a time, padded to {shape.window}, float32",
            least_ratio=5.0,
            repetitions=2,
        )

    here, there = run.pair()
    sentences = number_sentences(24, longest=SMALL.window - 2)
    wanted = published.encode(here, tokenizer, sentences, length=SMALL.window)
    options = {"poolings": ["mean"], "max_tokens": SMALL.window, "device": run.device}
    for precision, tolerance in (("float32", 1e-4), ("bf16", 3e-2)):
        found = encode_corpus(
            there, tokenizer, sentences, batch_tokens=128, precision=precision, **options
        ).states["mean"]
        what = f"states in {precision}, one at a time on the CPU"
        run.check(section, what, found, wanted, tolerance)


def pruning(run: Run) -> None:
    """Measure a step of magnitude pruning of weights on the device against PyTorch's there."""
    from torch.nn.utils import prune

    from babelscope.subnetworks.matrices import weight_matrices
    from babelscope.subnetworks.selection import prune_step

    section = "magnitude pruning"

    def ours(model: Any) -> dict[str, np.ndarray]:
        matrices = weight_matrices(model).items()
        weights = {name: weight.detach().cpu().numpy() for name, (_, weight) in matrices}
        masks = {name: np.ones(weight.shape, dtype=bool) for name, weight in weights.items()}
        return prune_step(weights, masks, sum(mask.size for mask in masks.values()) // 10)

    def plain(model: Any) -> list[Any]:
        matrices = [weight for _, weight in weight_matrices(model).values()]
        modules = [prune_alone(weight) for weight in matrices]
        amount = sum(weight.numel() for weight in matrices) // 10
        prune.global_unstructured(
            [(module, "weight") for module in modules],
            pruning_method=prune.L1Unstructured,
            amount=amount,
        )
        return modules

    model = run.model(run.shape(BASE))
    weights = sum(weight.numel() for _, weight in weight_matrices(model).values())
    for what, way in (("global_unstructured", plain), ("ours, on the CPU", ours)):
        run.measure(
            section,
            what,
            partial(way, model),
            amount=weights,
            unit="weights/s",
            baseline="" if way is plain else "global_unstructured",
        )
    here, there = run.pair()
    wanted = [module.weight_mask.cpu().numpy() for module in plain(there)]
    found = list(ours(here).values())
    differing = np.mean([np.mean(left != right) for left, right in zip(found, wanted, strict=True)])
    run.checks.append(Check(section, "masks, PyTorch on the device", float(differing), 0.0))


def prune_alone(weight: torch.Tensor) -> torch.nn.Module:
    """Return a module of its own for a weight, so that pruning leaves the model as it is."""
    module = torch.nn.Module()
    module.weight = torch.nn.Parameter(weight.detach())
    return module


# What to run, in order of importance, and the seconds each is expected to take on a large GPU.
SECTIONS: list[tuple[Callable[[Run], None], float]] = [
    (measure_peaks, 15),
    (train_base, 45),
    (importance, 60),
    (iterative_masking, 30),
    (encoding, 30),
    (perplexity, 30),
    (pruning, 10),
    (train_large, 60),
    (feed_training, 10),
    (train_compiled, 90),
]


@contextmanager
def reporting(run: Run, name: str) -> Iterator[None]:
    """Go on with the next section if one fails; the run fails in the end."""
    try:
        yield
    except Exception:
        traceback.print_exc()
        run.notes.append(f"{name}: FAILED")
    finally:
        clean(run.device)
        synchronize(run.device)


def measure_all(run: Run) -> None:
    """Run the sections that the time allows."""
    for section, expected in SECTIONS:
        name = section.__name__.replace("_", " ")
        left = run.deadline - time.monotonic()
        if left < expected and not run.quick:
            run.notes.append(f"{name}: skipped, {left:.0f} s left of about {expected:.0f} needed")
            print(run.notes[-1], flush=True)
            continue
        started = time.monotonic()
        print(f"{name} ...", flush=True)
        with reporting(run, name):
            section(run)
        print(f"  {time.monotonic() - started:.1f} s", flush=True)


def table(run: Run, device: str) -> str:
    """Return the results as a fragment of Markdown, which is readable as it stands."""

    def number(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    lines = [
        f"### GPU: {device}",
        "",
        machine() + ".",
        "",
        "| what | speed | share of the bf16 peak | GB | against its baseline | goal |",
        "|---|---|---|---|---|---|",
    ]
    for row in run.rows:
        speed = "out of memory" if row.rate is None else f"{row.rate:,.4g} {row.unit}"
        against = f"{row.ratio:.1f}x" if row.ratio else ""
        lines.append(
            f"| {row.section}: {row.what} | {speed} | {number(row.share, '.0%')} |"
            f" {number(row.memory_gb, '.1f')} | {against} | {row.goal} |"
        )
    lines += ["", "| results that must agree | difference | allowed | |", "|---|---|---|---|"]
    for check in run.checks:
        verdict = "agrees" if check.agrees else "DISAGREES"
        lines.append(
            f"| {check.section}: {check.what} | {check.difference:.1e} |"
            f" {check.tolerance:.0e} | {verdict} |"
        )
    return "\n".join([*lines, "", *run.notes]).rstrip() + "\n"


def main() -> None:
    """Run everything and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny models, to try the program")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="at most")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    parser.add_argument("--markdown", type=Path, help="file for the tables")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("There is no CUDA device here. Try: --quick --device cpu")
    if options.quick:
        torch.set_num_threads(1)  # threads cost more than they save on tiny matrices
    run = Run(device, options.quick, time.monotonic() + 60 * options.minutes)
    measure_all(run)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "none, a CPU"
    text = table(run, name)
    print(text)
    if options.markdown:
        options.markdown.write_text(text, "utf-8")
    if options.json:
        facts = {
            "device": name,
            "machine": machine(),
            "rows": [asdict(row) for row in run.rows],
            "checks": [asdict(check) | {"agrees": check.agrees} for check in run.checks],
            "notes": run.notes,
        }
        options.json.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    failed = [note for note in run.notes if note.endswith("FAILED")]
    failed += [f"{check.section}: {check.what}" for check in run.checks if not check.agrees]
    if failed:
        sys.exit("failed: " + "; ".join(failed))


if __name__ == "__main__":
    main()
