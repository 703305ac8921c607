"""Whole trainings: folders in, folders out, in this process or in several."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import babelscope
from babelscope.config import CausalTraining, Training
from babelscope.errors import BabelscopeError
from babelscope.io import atomic, read_json, write_json, write_table
from babelscope.tokenization.packing import check_positions, read_chunks
from babelscope.training import checkpoints

logger = logging.getLogger(__name__)

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
    device, precision, processes, threads
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
    device: str = "cpu"
    precision: str = "float32"
    processes: int = 1
    threads: int = 1


def execute(run: Run) -> None:
    """Train, write model and history, and remove the checkpoints.

    With several processes, ``torch.distributed.run`` starts them on this machine; a signal to this
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
        shutil.rmtree(folder)


def perform(run: Run) -> None:
    """Do the work of one process of a run."""
    import torch
    from transformers import AutoTokenizer

    from babelscope.models.anatomy import anatomy
    from babelscope.models.removal import load_model
    from babelscope.training.data import TrainingStream, masking_of, validation_batches
    from babelscope.training.mlm import train_mlm

    torch.set_num_threads(run.threads)
    tokenizer = AutoTokenizer.from_pretrained(run.model, local_files_only=True)
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
        "model": [_checksum(np.memmap(path, np.uint8, "r")) for path in weights],
        "train": {name: _checksum(read_chunks(path)) for name, path in run.train.items()},
        "valid": {name: _checksum(read_chunks(path)) for name, path in run.valid.items()},
    }


def _checksum(array: np.ndarray) -> list[int]:
    return [*array.shape, zlib.crc32(array.data)]


def launch(module: str, run: Any, folder: Path, lock: int) -> None:
    """Let several processes do the work of a run.

    Parameters
    ----------
    module
        Whose :func:`main` each process calls.
    run
        A dataclass of plain values, with `processes`, and `threads` of each of them.
    folder
        Of the checkpoints, where the run is written to.
    lock
        Descriptor of its lock.

    Raises
    ------
    BabelscopeError
        If a process fails.
    """
    job = folder / "run.json"
    write_json(job, asdict(run))
    library = str(Path(babelscope.__file__).parents[1])
    paths = [library, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": str(run.threads),
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={run.processes}", "-m", module, str(job)]
    process = subprocess.Popen(command, env=environment, pass_fds=[lock])
    with _passing_on(process):
        status = process.wait()
    if status:
        raise BabelscopeError(
            f"The training with {run.processes} processes failed (status {status}).",
            "Its error stands above in this log; after a signal, run the same command again.",
        )


@contextmanager
def _passing_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Pass the signals that end a training on to its processes, whose state is then saved."""

    def stop(number: int, frame: Any) -> None:
        process.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: list[str], work: Callable[[dict[str, Any]], None]) -> int:
    """Do the work of one of several processes; the run stands in the JSON file that is named."""
    logging.basicConfig(
        level=logging.INFO if os.environ["RANK"] == "0" else logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
    )
    try:
        work(read_json(arguments[0]))
    except BabelscopeError as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], lambda described: perform(Run(**described))))
