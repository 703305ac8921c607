"""Whole trainings: folders in, folders out, in this process or in several."""

import os
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from babelscope.config import CausalTraining, Training
from babelscope.errors import BabelscopeError
from babelscope.io import atomic, write_table
from babelscope.tokenization.packing import check_positions, read_chunks
from babelscope.training import checkpoints
from babelscope.training.launching import launch, main, placement

HARMLESS = {"logging_steps", "save_steps", "max_minutes", "report_to"}  # to a resumed training


@dataclass(frozen=True)
class Run:
    """One training from folder to folder.

    Attributes
    ----------
    model
        Folder of the model to start from, with its tokenizer.
    train, valid
        Files of chunks by language.
    output
        Folder of the trained model, with its tokenizer.
    history
        Table beside it.
    checkpoints
        Folder that a killed training is resumed from; removed at the end.
    settings
        A section ``mlm.build``, ``mlm.finetune`` or ``alignment.build``, as plain values.
    seed
        Of order, masks, dropout and choice of examples.
    version
        Of what the output means; a checkpoint of another one is not gone on from.
    device, precision, processes, nodes, threads
        See the section ``compute``; threads are of each process.
    """

    model: str
    train: dict[str, str]
    valid: dict[str, str]
    output: str
    history: str
    checkpoints: str
    settings: dict[str, Any]
    seed: int
    version: int
    device: str = "cpu"
    precision: str = "float32"
    processes: int = 1
    nodes: int = 1
    threads: int = 1


def run_of(snakemake: Any, *, model: str, seed: int) -> Run:
    """Return the run that a rule describes.

    Parameters
    ----------
    snakemake
        The object that Snakemake puts into a script: inputs ``train`` and ``valid``, outputs
        ``model`` and ``history``, parameters ``languages, checkpoints, settings, version`` and
        ``compute``, and among the resources the settings that change nothing of the outcome.
    model, seed
        As in `Run`.
    """
    params, output = snakemake.params, snakemake.output
    housekeeping = {key: snakemake.resources[key] for key in ("save_steps", "report_to")}
    return Run(
        model=model,
        train=dict(zip(params.languages, snakemake.input.train, strict=True)),
        valid=dict(zip(params.languages, snakemake.input.valid, strict=True)),
        output=output.model,
        history=output.history,
        checkpoints=params.checkpoints,
        settings=params.settings | housekeeping,
        seed=seed,
        version=params.version,
        **placement(snakemake),
    )


def execute(run: Run) -> None:
    """Train, write model and history, and remove the checkpoints.

    Several processes are started by :func:`~babelscope.training.launching.launch`; a signal to this
    process is passed on.

    Raises
    ------
    BabelscopeError
        If another process uses the checkpoint folder, or the training fails.
    """
    folder = Path(run.checkpoints)
    with checkpoints.locked(folder) as lock:
        checkpoints.prepare(folder, fingerprint(run))
        if run.processes == 1:
            perform(run)
        else:
            launch("babelscope.training.runs", run, folder, lock)
        checkpoints.remove(folder)


def perform(run: Run) -> None:
    """Do the work of one process of a run."""
    import torch

    from babelscope.models.anatomy import anatomy
    from babelscope.models.loading import load_tokenizer
    from babelscope.models.removal import load_model
    from babelscope.training.data import TrainingStream, masking_of, validation_batches
    from babelscope.training.mlm import train_mlm

    torch.set_num_threads(run.threads)
    tokenizer = load_tokenizer(run.model)
    model = load_model(run.model)
    if anatomy(model).causal:
        if "mask_share" in run.settings:
            raise BabelscopeError(
                f"{run.model} is a left-to-right model: no masked words can be learned with it.",
                "Choose another model in config/models.tsv.",
            )
        settings, masking = CausalTraining.model_validate(run.settings), None
    else:
        settings = Training.model_validate(run.settings)
        masking = masking_of(tokenizer, share=settings.mask_share, whole_words=settings.whole_words)
    train = {language: read_chunks(path) for language, path in run.train.items()}
    check_positions(run.model, next(iter(train.values())).shape[1])
    stream = TrainingStream(train, masking, seed=run.seed, examples=settings.train_examples)
    validation = {
        language: validation_batches(
            read_chunks(path),
            masking,
            examples=settings.valid_examples,
            batch_size=settings.batch_size,
        )
        for language, path in run.valid.items()
    }
    history = train_mlm(
        model,
        stream,
        validation,
        settings,
        folder=run.checkpoints,
        seed=run.seed,
        device=run.device,
        precision=run.precision,
        reports=f"{run.output}.reports",
    )
    if int(os.environ.get("RANK", "0")) == 0:
        with atomic(run.output) as folder:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        write_table(run.history, history)


def fingerprint(run: Run) -> dict[str, Any]:
    """Return all that the course of a training depends on: settings, seed, weights and data."""
    settings = {key: value for key, value in run.settings.items() if key not in HARMLESS}
    weights = sorted(Path(run.model).glob("*.safetensors"))
    return {
        "settings": settings,
        "seed": run.seed,
        "precision": run.precision,
        "processes": run.processes,
        "version": run.version,
        "description": checkpoints.description(run.model),
        "model": [_checksum(np.memmap(path, np.uint8, "r")) for path in weights],
        "train": {name: _checksum(read_chunks(path)) for name, path in run.train.items()},
        "valid": {name: _checksum(read_chunks(path)) for name, path in run.valid.items()},
    }


def _checksum(array: np.ndarray) -> list[int]:
    return [*array.shape, zlib.crc32(array.data)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], lambda described: perform(Run(**described))))
