"""Aligning a generative model after its pretraining: sentence pairs, instructions, or both.

Li et al. (2024), arXiv 2311.08089: sentences that say the same in two languages are drawn together
inside the model, by InfoNCE on states of one of its layers, while it learns to follow instructions
whose answers are in another language.
"""

import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from babelscope.config import ALIGNED, GENERATORS, GeneratorTraining
from babelscope.errors import BabelscopeError
from babelscope.io import atomic, read_json, read_table, write_json, write_table
from babelscope.models.anatomy import anatomy
from babelscope.models.checksums import checksum
from babelscope.models.loading import load_tokenizer
from babelscope.models.lora import add_lora, merge_lora
from babelscope.models.poolers import find_pooler
from babelscope.models.removal import load_model
from babelscope.tokenization.packing import check_positions
from babelscope.training import checkpoints
from babelscope.training.fitting import Evaluation, fit
from babelscope.training.generator_steps import HeldOut, Objective, Steps
from babelscope.training.instructions import Samples, read_samples
from babelscope.training.launching import launch, main
from babelscope.training.processes import joined, largest, rank, shard, world
from babelscope.training.state import put_weights, weights_of

HARMLESS = {"logging_steps", "save_steps"}
LORA = "alignment"
ACCURACY = "in_context_accuracy"
PEAK = "peak.json"  # memory of the process that took the last step


@dataclass(frozen=True)
class GeneratorRun:
    """One alignment from folder to folder.

    Attributes
    ----------
    model
        Folder of the model to start from, with its tokenizer.
    network
        What is trained: ``aligned-contrastive``, ``aligned-instruction`` or ``aligned-both``.
    train, valid
        Files of samples; see :mod:`babelscope.training.instructions`.
    output
        Folder of the trained model, with its tokenizer.
    history, cost
        Tables beside it.
    checkpoints
        Folder that a killed training is resumed from; removed at the end.
    settings
        The section ``alignment.training``, as plain values.
    seed
        Of order, dropout, the adapter's first weights, and of examples in context.
    version
        Of what the output means; a checkpoint of another one is not gone on from.
    choices, prompts, languages, batch_tokens
        Of `selected_by`: the table of the corpus, the file of its prompts, the languages that are
        scored, tokens per batch; not read without it.
    device, precision, processes, nodes, threads
        See the section ``compute``; threads are of each process.
    """

    model: str
    network: str
    train: str
    valid: str
    output: str
    history: str
    cost: str
    checkpoints: str
    settings: dict[str, Any]
    seed: int
    version: int
    choices: str | None = None
    prompts: str | None = None
    languages: Sequence[str] = ()
    batch_tokens: int = 4096
    device: str = "cpu"
    precision: str = "float32"
    processes: int = 1
    nodes: int = 1
    threads: int = 1


def align_generator(run: GeneratorRun) -> None:
    """Align a model; write it with its history and its cost, and remove the checkpoints.

    The history has the columns step, epoch, measure and value. Measures of training steps, means
    since the last row: `contrastive` and `instruction` (nats), `loss` (their weighed sum),
    `gradient_norm`, `learning_rate`, `seconds` and `tokens` so far; of evaluations on held-out
    samples: `valid_contrastive`, `valid_instruction`, `retrieval_error` (%, both directions, by
    states of the pooler), and with `selected_by` `in_context_accuracy` (%).

    Raises
    ------
    BabelscopeError
        If the model is of another family or lacks the layer that is read, samples are missing,
        broken or fewer than a batch, another process uses the checkpoints, a loss is not finite, or
        a signal arrived.
    """
    if run.network not in ALIGNED:
        raise ValueError(f"network is {run.network!r}; known: {', '.join(ALIGNED)}")
    folder = Path(run.checkpoints)
    with checkpoints.locked(folder) as lock:
        checkpoints.prepare(folder, _fingerprint(run))
        if run.processes == 1:
            perform(run)
        else:
            launch("babelscope.training.generators", run, folder, lock)
        checkpoints.remove(folder)


def _fingerprint(run: GeneratorRun) -> dict[str, Any]:
    files = {"train": run.train, "valid": run.valid, "choices": run.choices, "prompts": run.prompts}
    return {
        "model": checksum(run.model),
        "description": checkpoints.description(run.model),
        "version": run.version,
        "network": run.network,
        "settings": {key: value for key, value in run.settings.items() if key not in HARMLESS},
        "seed": run.seed,
        "languages": list(run.languages),
        "precision": run.precision,
        "processes": run.processes,
    } | {name: checkpoints.checksum(path) for name, path in files.items() if path is not None}


def perform(run: GeneratorRun) -> None:
    """Do the work of one process of a run."""
    torch.set_num_threads(run.threads)
    settings = GeneratorTraining.model_validate(run.settings)
    with joined(run.device):
        model, tokenizer = _load(run, settings), load_tokenizer(run.model)
        pooler = find_pooler(settings.pooler, len(anatomy(model).stack().blocks))
        train, valid = _read(run, settings, tokenizer)
        order = Steps(train, settings, run.network, run.seed)
        divided = settings.sharded and world() > 1
        if divided:
            shard(model, run.device)
        held_out = HeldOut(valid, pooler, settings, device=run.device, precision=run.precision)
        accuracy = _accuracy(run, settings, tokenizer)

        def measure() -> dict[str, float]:
            found = held_out.measure(model)
            return found if accuracy is None else found | {ACCURACY: accuracy(model)}

        def note_peak(step: int) -> None:
            if step == order.steps:
                peak = _peak_memory(run)
                if rank() == 0:
                    write_json(Path(run.checkpoints) / PEAK, {"mb": peak})

        rows = fit(
            model,
            Objective(run.network, pooler, settings),
            train,
            settings,
            rate=settings.lr,
            seed=run.seed,
            device=run.device,
            precision=run.precision,
            order=order,
            folder=Path(run.checkpoints),
            on_step=note_peak,
            evaluation=Evaluation(
                settings.eval_steps, measure, None if accuracy is None else ACCURACY
            ),
        )
        if divided:
            weights = weights_of(model)
            if rank() == 0:
                model = _load(run, settings)
                put_weights(model, weights)
        if rank() == 0:
            peak = read_json(Path(run.checkpoints) / PEAK)["mb"]
            cost = cost_table(run, model, order, rows, peak)
            merge_lora(model)
            with atomic(run.output) as folder:
                model.save_pretrained(folder)
                tokenizer.save_pretrained(folder)
            write_table(run.history, history_table(order, rows))
            write_table(run.cost, cost)


def _load(run: GeneratorRun, settings: GeneratorTraining) -> Any:
    model = load_model(run.model)
    parts = anatomy(model)
    if parts.family not in GENERATORS or parts.lm_head is None:
        raise BabelscopeError(
            f"{run.model} holds a {type(model).__name__}, which writes no text from left to right.",
            f"Choose a model with its output layer of {', '.join(GENERATORS)}.",
        )
    if settings.lora is not None:
        add_lora(model, LORA, seed=run.seed, **settings.lora.model_dump())
    return model


def _read(
    run: GeneratorRun, settings: GeneratorTraining, tokenizer: Any
) -> tuple[Samples, Samples]:
    lengths = {"max_tokens": settings.max_tokens, "block": settings.block}
    for key, length in lengths.items():
        check_positions(run.model, length, key=f"alignment.training.{key}")
    train, valid = (read_samples(path, tokenizer, **lengths) for path in (run.train, run.valid))
    if len(train) < settings.batch_size:
        raise BabelscopeError(
            f"alignment.training.batch_size: {settings.batch_size} is more than the {len(train)}"
            f" samples of {run.train}: a batch would hold some of them twice.",
            "Lower it, or give more instructions.",
        )
    return train, valid


def _accuracy(
    run: GeneratorRun, settings: GeneratorTraining, tokenizer: Any
) -> Callable[[Any], float] | None:
    """Return what scores a model in context, if the best checkpoint is told by that."""
    if settings.selected_by is None:
        return None
    from babelscope.evaluation.generators import quick_accuracy
    from babelscope.evaluation.prompts import read_prompts

    if run.choices is None or run.prompts is None:
        raise ValueError("selected_by needs choices and prompts")
    options = {
        "table": read_table(run.choices),
        "prompts": read_prompts(run.prompts),
        "languages": run.languages,
        "shots": settings.selected_by.shots,
        "examples": settings.selected_by.examples,
        "seed": run.seed,
        "batch_tokens": run.batch_tokens,
        "device": run.device,
        "precision": run.precision,
    }
    return lambda model: quick_accuracy(model, tokenizer, **options)


def history_table(order: Steps, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the rows of :func:`~babelscope.training.fitting.fit` as a long table."""
    values = []
    for row in rows:
        tokens = {"tokens": order.tokens(row["step"])} if "seconds" in row else {}
        figures = {key: x for key, x in row.items() if key not in ("step", "epoch")} | tokens
        values += [(row["step"], row["epoch"], key, float(x)) for key, x in figures.items()]
    return pd.DataFrame(values, columns=["step", "epoch", "measure", "value"])


def _peak_memory(run: GeneratorRun) -> float:
    """Return how many MiB a process has had at most; all must ask."""
    if run.device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return largest(peak, run.device)


def cost_table(
    run: GeneratorRun, model: Any, order: Steps, rows: Sequence[Mapping[str, Any]], peak: float
) -> pd.DataFrame:
    """Return one row: how long the steps took, without evaluations, and how much memory at most."""
    seconds = [row["seconds"] for row in rows if "seconds" in row][-1]
    sizes = [(value.numel(), value.requires_grad) for value in model.parameters()]
    row = {
        "steps": order.steps,
        "seconds": seconds,
        "steps_per_second": order.steps / seconds,
        "tokens_per_second": order.tokens(order.steps) / seconds,
        "peak_memory_mb": peak,
        "parameters": sum(size for size, _ in sizes),
        "trained_parameters": sum(size for size, trained in sizes if trained),
        "processes": world(),
        "device": run.device,
        "precision": run.precision,
    }
    return pd.DataFrame([row])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], lambda described: perform(GeneratorRun(**described))))
