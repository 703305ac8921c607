"""Language-model training: many languages, exact resume, one loss whatever the split.

Masked models predict hidden tokens, left-to-right ones every next token; all else is the same.

`transformers.Trainer` runs the forward and backward passes, mixed precision and processes. What it
would get wrong or do by pickle is replaced here: the loss of masked-language models under
accumulation and data parallelism (transformers issue 47688), the position in the data and the
random numbers after a resume (issue 39215), checkpoints, and the average over languages.
"""

import logging
import math
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save_file
from torch import distributed
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset, SequentialSampler
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainingArguments

from babelscope.config import CausalTraining
from babelscope.errors import BabelscopeError
from babelscope.io import read_json, write_json
from babelscope.models.anatomy import anatomy
from babelscope.models.masked_head import cross_entropies, head_sees
from babelscope.progress import step_line
from babelscope.seeds import derive_seed
from babelscope.training import checkpoints
from babelscope.training.data import Batch, TrainingStream
from babelscope.training.processes import newest_of_all, wait
from babelscope.training.schedules import learning_rate_factor, steps_of
from babelscope.training.signals import SIGNALS, heeding_signals
from babelscope.training.state import (
    load_optimizer_state,
    load_weights,
    optimizer_state,
    weights_of,
)

logger = logging.getLogger(__name__)

AGREE = 10  # steps between agreements of several processes on time and signals
LOADERS = 2  # processes that prepare batches for a GPU


class Places(Dataset[int]):
    """The places of a stream, as a data set; the collator turns them into batches."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, place: int) -> int:
        return place


class MlmTrainer(Trainer):
    """The training loop of :func:`train_mlm`."""

    loss_is_scaled_for_ga = True  # compute_loss divides by the tokens of the whole step

    def __init__(
        self,
        model: PreTrainedModel,
        stream: TrainingStream,
        validation: Mapping[str, list[Batch]],
        settings: CausalTraining,
        folder: Path,
        arguments: TrainingArguments,
        **options: Any,
    ) -> None:
        processes = arguments.world_size
        length = arguments.max_steps * settings.batch_size * settings.accumulation * processes
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=Places(length),
            data_collator=lambda places: to_tensors(stream.batch(places)),
            **options,
        )
        self.remove_callback(PrinterCallback)
        self.network = model
        # keys and values of the text so far would be kept for a next token
        self.options = {"use_cache": False} if anatomy(model).causal else {}
        self.validation = validation
        self.settings = settings
        self.folder = folder
        self.window = stream.chunks[0].shape[1]
        self.per_epoch = len(stream)
        self.per_step = length // arguments.max_steps
        self.pending: list[torch.Tensor] = []  # losses and gradient norms not yet looked at
        self.losses: list[float] = []  # of the steps since the last row of the history
        self.norm = 0.0  # of the last step's gradient, before clipping
        self.rate = 0.0  # of the last step
        self.rows: list[dict[str, Any]] = []
        self.best_loss = math.inf
        self.best_step: int | None = None
        self.stale = 0  # evaluations since the best
        self.seconds = 0.0  # of earlier processes
        self.started = time.monotonic()
        self.share = 0.0  # of max_minutes
        self.stopped_by: str | None = None
        self.seen = 0  # steps dealt with

    # What Trainer asks

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # pyright: ignore

    def floating_point_ops(self, inputs: Any) -> int:
        """Return 0: Trainer would walk through all modules at every step to count."""
        return 0

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """Return a schedule over the share of the steps, or of the minutes, that is done."""

        def factor(step: int) -> float:
            share = max(step / num_training_steps, self.share)
            return learning_rate_factor(self.settings.schedule, share, self.settings.warmup)

        scheduler = LambdaLR(optimizer or self.optimizer, factor)  # pyright: ignore
        self.lr_scheduler = scheduler
        return scheduler

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Return the batches of one step; dropout in it depends on seed, step and process alone."""
        step = self.state.global_step
        samples = super().get_batch_samples(*args, **kwargs)
        torch.manual_seed(derive_seed(self.args.seed, "dropout", step, self.args.process_index))
        return samples

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        count = torch.tensor(float(sum(len(batch["tokens"]) for batch in batch_samples)))
        count = count.to(device)
        if self.args.world_size > 1:
            distributed.all_reduce(count)
        return count

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return this batch's part of the mean over all predicted tokens of the step."""
        losses = self._token_losses(model, inputs)
        # DistributedDataParallel averages the gradients of the processes; the loss is a sum
        return losses.sum() / num_items_in_batch * self.args.world_size

    def _token_losses(self, model: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        with head_sees(self.network, inputs["positions"]):
            out = model(input_ids=inputs["input_ids"], **self.options)
        return cross_entropies(out.logits, inputs["tokens"])

    def _maybe_log_save_evaluate(
        self, tr_loss: torch.Tensor, grad_norm: Any, *args: Any, learning_rate: Any = None
    ) -> None:
        step = self.state.global_step
        if step == self.seen:  # Trainer asks once more at the end of an epoch
            return
        self.seen = step
        self.rate = learning_rate
        self.pending.append(torch.stack([tr_loss.detach(), torch.as_tensor(grad_norm).detach()]))
        tr_loss.zero_()
        self._agree()
        patience, every = self.settings.patience, self.settings.eval_steps
        last = step == self.args.max_steps or self.share >= 1
        if self.args.device.type == "cpu" and self.args.world_size == 1:
            self._look()
        if step % self.settings.logging_steps == 0 or last:
            self._log_training()
        if step % every == 0 or last:
            self._evaluate_languages(last)
            last = last or (patience is not None and self.stale >= patience)
        if last:
            self.stopped_by = None  # a signal that comes too late
        if last or step % self.settings.save_steps == 0 or self.stopped_by:
            self._look()
            self._write_checkpoint(last)
            if self.stopped_by:
                wait()  # or the first to leave would have the one that saves killed
        self.control.should_training_stop = last or bool(self.stopped_by)

    # What happens after a step

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.started

    def _agree(self) -> None:
        """Let all processes know of a signal to one, and of the time, at the same step."""
        minutes = self.settings.max_minutes
        share = 0.0 if minutes is None else self._elapsed() / 60 / minutes
        if self.args.world_size == 1:
            self.share = share
            self.stopped_by = SIGNALS.received
        elif self.state.global_step % AGREE == 0:
            both = torch.tensor(
                [float(SIGNALS.received is not None), share], device=self.args.device
            )
            distributed.all_reduce(both, op=distributed.ReduceOp.MAX)
            stop, self.share = both.tolist()
            self.stopped_by = (SIGNALS.received or "a signal") if stop else None

    def _look(self) -> None:
        """Fetch the losses that wait on the device, and refuse those that are not finite."""
        if not self.pending:
            return
        values = torch.stack(self.pending)  # (steps, 2)
        if self.args.world_size > 1:
            distributed.all_reduce(values)
            values /= self.args.world_size
        first = self.state.global_step - len(self.pending) + 1
        self.pending = []
        for step, (loss, norm) in enumerate(values.tolist(), start=first):
            bad_norm = not self.args.fp16 and not math.isfinite(norm)  # fp16 skips such steps
            if not math.isfinite(loss) or bad_norm:
                what = "loss" if not math.isfinite(loss) else "gradient's norm"
                raise BabelscopeError(
                    f"The training {what} is not finite at step {step}.",
                    "Lower the learning rate or max_grad_norm, lengthen the warmup, or use another"
                    " precision.",
                )
            self.losses.append(loss)
            self.norm = norm

    def _row(self, split: str, language: str, loss: float, norm: float | None = None) -> None:
        step = self.state.global_step
        self.rows.append(
            {
                "step": step,
                "epoch": step * self.per_step / self.per_epoch,
                "split": split,
                "language": language,
                "loss": loss,
                "gradient_norm": norm,
                "learning_rate": self.rate,
                "tokens": step * self.per_step * self.window,
                "seconds": self._elapsed(),
            }
        )

    def _log_training(self) -> None:
        self._look()
        before = next((row for row in reversed(self.rows) if row["split"] == "train"), None)
        loss = math.fsum(self.losses) / len(self.losses)
        self.losses = []
        self._row("train", "all", loss, self.norm)
        row = self.rows[-1]
        tokens, seconds = row["tokens"], row["seconds"]
        if before:
            tokens, seconds = tokens - before["tokens"], seconds - before["seconds"]
        left = (self.args.max_steps / row["step"] - 1) * row["seconds"] / 60
        if self.settings.max_minutes is not None:
            left = min(left, max(self.settings.max_minutes - row["seconds"] / 60, 0))
        line = step_line(
            row["step"],
            self.args.max_steps,
            left,
            epoch=row["epoch"],
            loss=loss,
            rate=row["learning_rate"],
            tokens_per_second=tokens / max(seconds, 1e-9),
        )
        logger.info("%s", line)
        self.log({"loss": loss, "learning_rate": row["learning_rate"]})

    def _evaluate_languages(self, last: bool) -> None:
        self._look()
        losses = self.validate()
        mean = math.fsum(losses.values()) / len(losses)
        if not math.isfinite(mean):
            raise BabelscopeError(
                f"The validation loss is not finite at step {self.state.global_step}.",
                "Lower the learning rate, lengthen the warmup, or use another precision.",
            )
        for language, loss in losses.items():
            self._row("valid", language, loss)
        self._row("valid", "all", mean)
        logger.info("validation loss %.4f, the mean over languages", mean)
        self.log({"eval_loss": mean} | {f"eval_loss_{key}": loss for key, loss in losses.items()})
        if mean < self.best_loss:
            self.best_loss, self.best_step, self.stale = mean, self.state.global_step, 0
            if not last and self.args.should_save:
                checkpoints.keep_best(self.folder, self.best_step, weights_of(self.network))
        else:
            self.stale += 1

    def validate(self) -> dict[str, float]:
        """Return the mean loss over the predicted validation tokens of each language."""
        self.network.eval()
        names = list(self.validation)
        sums = torch.zeros(len(names), 2, dtype=torch.float64, device=self.args.device)
        rank, world = self.args.process_index, self.args.world_size
        for index, name in enumerate(names):
            for batch in self.validation[name][rank::world]:
                inputs = {
                    key: value.to(self.args.device) for key, value in to_tensors(batch).items()
                }
                with torch.no_grad(), self.compute_loss_context_manager():
                    losses = self._token_losses(self.network, inputs)
                sums[index, 0] += losses.double().sum()
                sums[index, 1] += losses.numel()
        if world > 1:
            distributed.all_reduce(sums)
        self.network.train()
        return dict(zip(names, (sums[:, 0] / sums[:, 1]).tolist(), strict=True))

    # Checkpoints

    def _write_checkpoint(self, last: bool) -> None:
        """Write what the training goes on from; at its end, without the optimizer."""
        if not self.args.should_save:
            return
        step = self.state.global_step
        scaler = getattr(self.accelerator, "scaler", None)
        progress = {
            "step": step,
            "finished": last,
            "scheduled": self.lr_scheduler.last_epoch,  # pyright: ignore
            "share": self.share,
            "scaler": scaler.state_dict() if scaler is not None else None,
            "best_loss": self.best_loss if self.best_step is not None else None,
            "best_step": self.best_step,
            "stale": self.stale,
            "losses": self.losses,
            "rows": self.rows,
            "seconds": self._elapsed(),
        }
        with checkpoints.writing(self.folder, step, self.best_step) as path:
            save_file(weights_of(self.network), path / checkpoints.WEIGHTS)
            if not last:
                optimizer: Any = self.optimizer
                save_file(optimizer_state(self.network, optimizer), path / checkpoints.OPTIMIZER)
            write_json(path / checkpoints.PROGRESS, progress)
            self.state.save_to_json(str(path / "trainer_state.json"))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        path = Path(resume_from_checkpoint)
        load_weights(self.network, path / checkpoints.WEIGHTS)
        progress = read_json(path / checkpoints.PROGRESS)
        self.seen = progress["step"]
        self.share = progress["share"]
        self.best_step = progress["best_step"]
        self.best_loss = math.inf if self.best_step is None else progress["best_loss"]
        self.stale = progress["stale"]
        self.losses = progress["losses"]
        self.rows = progress["rows"]
        self.seconds = progress["seconds"]
        logger.info("resuming after step %d", self.seen)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        path = Path(checkpoint)
        optimizer: Any = self.optimizer
        load_optimizer_state(self.network, optimizer, path / checkpoints.OPTIMIZER)
        scheduler: Any = self.lr_scheduler
        scheduled = read_json(path / checkpoints.PROGRESS)["scheduled"]
        scheduler.last_epoch = scheduled
        rates = [
            base * factor(scheduled)
            for base, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
        ]
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        scheduler._last_lr = rates

    def _load_scaler(self, checkpoint: str | None) -> None:
        scaler = getattr(self.accelerator, "scaler", None)
        if checkpoint is not None and scaler is not None:
            scaler.load_state_dict(read_json(Path(checkpoint) / checkpoints.PROGRESS)["scaler"])

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Do nothing: every step seeds its own random numbers."""


def to_tensors(batch: Batch) -> dict[str, torch.Tensor]:
    """Return a batch as tensors."""
    return {
        "input_ids": torch.from_numpy(batch.input_ids),
        "positions": torch.from_numpy(batch.positions),
        "tokens": torch.from_numpy(batch.tokens),
    }


def train_mlm(
    model: PreTrainedModel,
    stream: TrainingStream,
    validation: Mapping[str, list[Batch]],
    settings: CausalTraining,
    *,
    folder: str | Path,
    seed: int,
    device: str = "cpu",
    precision: str = "float32",
    reports: str | Path | None = None,
) -> pd.DataFrame:
    """Train a model in place and leave it with the weights of its best evaluation.

    Parameters
    ----------
    model
        With a language-model head, masked or left-to-right, float32.
    stream, validation
        Training data, and validation batches of each language; see :mod:`babelscope.training.data`.
        Tokens are masked for a masked model alone.
    settings
        A section ``mlm.build``, ``mlm.finetune`` or ``alignment.build`` of the configuration.
    folder
        Where checkpoints are kept, locked and prepared by the caller; training resumes from the
        newest one in it. The last one stays until the caller has written what comes of it.
    seed
        Of dropout; order and masks have the stream's.
    device
        ``cpu`` or ``cuda``. Several processes split each step's batch; see
        :mod:`babelscope.training.launching`.
    precision
        ``float32``, ``bf16`` or ``fp16`` (autocast; weights stay float32).
    reports
        Folder of TensorBoard's files.

    Returns
    -------
    pandas.DataFrame
        The history, one row per logged value: step, epoch, split (`train` or `valid`), language (or
        `all`: for `valid` the mean over languages), loss in nats per token, gradient_norm (of the
        step, before clipping; `train` only), learning_rate, tokens and seconds so far.

    Raises
    ------
    BabelscopeError
        If a loss is not finite, or if SIGTERM or SIGUSR1 arrived; a checkpoint is then written.
    """
    arguments = _arguments(settings, folder, seed, device, precision)
    arguments.max_steps = steps_of(settings, len(stream), arguments.world_size)
    callbacks = _reporters(settings.report_to, reports) if arguments.should_log else []
    if settings.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    trainer = MlmTrainer(
        model, stream, validation, settings, Path(folder), arguments, callbacks=callbacks
    )
    last = newest_of_all(folder, device)
    if last is not None and read_json(last / checkpoints.PROGRESS)["finished"]:
        trainer._load_from_checkpoint(str(last))
    else:
        with heeding_signals():
            trainer.train(resume_from_checkpoint=None if last is None else str(last))
    if trainer.stopped_by:
        raise BabelscopeError(
            f"Training was stopped by {trainer.stopped_by} after step {trainer.seen}; its state is"
            f" saved in {folder}.",
            "Run the same command again to go on from there.",
        )
    if trainer.best_step not in (None, trainer.seen):
        load_weights(model, checkpoints.best_path(folder, trainer.best_step))
    logger.info("best validation loss %.4f at step %d", trainer.best_loss, trainer.best_step)
    return pd.DataFrame(trainer.rows)


def _arguments(
    settings: CausalTraining, folder: str | Path, seed: int, device: str, precision: str
) -> TrainingArguments:
    gpu = device == "cuda"
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        max_steps=1,  # set once the number of processes is known
        learning_rate=settings.lr,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch_fused",
        use_cpu=not gpu,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        tf32=True if gpu else None,
        seed=seed,
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=LOADERS if gpu else 0,
        dataloader_pin_memory=gpu,
        ddp_find_unused_parameters=False,
    )
    # A process has one GPU. Over all that it sees, Trainer would spread a batch, and a larger one.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def _reporters(report_to: str, reports: str | Path | None) -> list[Any]:
    if report_to == "none":
        return []
    if find_spec(report_to) is None:
        raise BabelscopeError(
            f"report_to: {report_to} needs the package {report_to}, which is not installed.",
            f"Install it with `pip install {report_to}`, or set report_to: none.",
        )
    from transformers.integrations.integration_utils import TensorBoardCallback, WandbCallback

    if report_to == "wandb":
        return [WandbCallback()]
    from torch.utils.tensorboard import SummaryWriter

    return [TensorBoardCallback(SummaryWriter(str(reports)))]
