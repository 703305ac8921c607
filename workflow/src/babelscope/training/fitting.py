"""Training a network on one task and counting how it does, on one device, in a loop of our own.

`transformers.Trainer` would cost five seconds of import in each of the many short jobs that find
and transfer tickets, and has no place for masks between the gradient and its clipping.
"""

import json
import logging
import math
import shutil
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from babelscope.config import GeneratorTraining, PairTraining, TaskTraining
from babelscope.errors import BabelscopeError
from babelscope.io import read_json, write_json
from babelscope.models.modes import arithmetic, evaluating
from babelscope.progress import step_line
from babelscope.seeds import derive_seed
from babelscope.tasks.base import Batch, Task
from babelscope.training import checkpoints
from babelscope.training.processes import (
    add_up,
    add_up_gradients,
    agreed,
    is_sharded,
    largest,
    newest_of_all,
    rank,
    wait,
    whole,
    world,
)
from babelscope.training.schedules import learning_rate_factor, steps_of
from babelscope.training.signals import SIGNALS, heeding_signals
from babelscope.training.state import (
    load_optimizer_state,
    load_weights,
    optimizer_state,
    weights_of,
)

logger = logging.getLogger(__name__)

FIRST_SCALE = 2.0**12  # the default of 2 ** 16 overflows, which skips steps of short trainings
HARMLESS = {"logging_steps", "save_steps", "lr"}  # the rate is given apart
STORE = "training"  # the folder of checkpoints in the caller's
AGREE = 10  # steps between agreements of several processes on signals


class Learnable(Protocol):
    """What training asks of a task; see :class:`babelscope.tasks.base.Task`."""

    name: str

    def batch(self, examples: Any, rows: Any, *, seed: int, epoch: int) -> Batch:
        """Return some examples as tensors on the CPU."""
        ...

    def losses(self, model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the summed loss of a batch in nats and the number of its terms, both scalars."""
        ...


class Order(Protocol):
    """Which examples each step sees: a function of the step, so that a resume needs nothing else.

    Attributes
    ----------
    steps
        How many there are.
    """

    steps: int

    def parts(self, step: int) -> list[tuple[int, Any]]:
        """Return the forward passes of a step, counted from 0: for each the epoch and its rows.

        Rows are whatever the task's `batch` takes, and have a length; or they are :class:`Weighed`,
        in all passes or in none.
        """
        ...

    def epochs(self, steps: int) -> float:
        """Return how many epochs so many steps are."""
        ...

    def name(self, step: int) -> str:
        """Return what a step learns from, for messages; empty if there is no choice."""
        ...


@dataclass(frozen=True)
class Weighed:
    """Rows whose loss is one of several of a step, each of which is a mean over its own terms.

    Attributes
    ----------
    measure
        Which loss, as the history calls it. Every step has the same ones.
    factor
        What the summed loss of this pass is multiplied by: the weight of the loss over the number
        of its terms in the step, on all processes together.
    rows
        Whatever the task's `batch` takes.
    """

    measure: str
    factor: float
    rows: Any


@dataclass(frozen=True)
class Evaluation:
    """How well a network does while it is trained.

    Attributes
    ----------
    every
        Steps between evaluations; there is one before the first step and one after the last, too.
    measure
        Returns figures by name; it leaves the network as it was, and the global generator may be
        moved.
    select
        The figure, the higher the better, whose best network the training ends with; None for the
        last one. The network before the first step does not count.
    """

    every: int
    measure: Callable[[], Mapping[str, float]]
    select: str | None = None


class Shuffled:
    """The union of all examples, shuffled anew each epoch.

    Position k of the stream of examples is ``order(k // n)[k % n]`` of the n examples, so all are
    used equally often and every step has the same number of them.

    Parameters
    ----------
    settings
        Says how many examples a step and a forward pass have, and how many steps there are.
    examples
        How many there are.
    seed
        Of the order.
    """

    def __init__(self, settings: TaskTraining, examples: int, seed: int) -> None:
        self.steps = steps_of(settings, examples)
        self.size = settings.batch_size
        self.per_step = settings.batch_size * settings.accumulation
        self.examples = examples
        self.seed = seed
        self.order = lru_cache(maxsize=2)(self._order)

    def _order(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng(derive_seed(self.seed, "order", epoch))
        return rng.permutation(self.examples)

    def parts(self, step: int) -> list[tuple[int, list[int]]]:
        """Return the forward passes of a step: at most a batch of one epoch each."""
        places = range(step * self.per_step, (step + 1) * self.per_step)
        parts = []
        for epoch, group in groupby(places, key=lambda place: place // self.examples):
            rows = [int(self.order(epoch)[place % self.examples]) for place in group]
            parts += [(epoch, rows[at : at + self.size]) for at in range(0, len(rows), self.size)]
        return parts

    def epochs(self, steps: int) -> float:
        """Return how many epochs so many steps are."""
        return steps * self.per_step / self.examples

    def name(self, step: int) -> str:
        """Return nothing: every step learns from the same examples."""
        return ""


def fit(
    model: Any,
    task: Task | Learnable,
    examples: Any,
    settings: TaskTraining | PairTraining | GeneratorTraining,
    *,
    rate: float,
    seed: int,
    device: str,
    precision: str,
    masks: Mapping[str, torch.Tensor] | None = None,
    order: Order | None = None,
    folder: Path | None = None,
    on_step: Callable[[int], None] | None = None,
    evaluation: Evaluation | None = None,
) -> list[dict[str, Any]]:
    """Train a network on one task, in place; it is in eval mode afterwards.

    Parameters
    ----------
    model
        As the task's `load_model` returns it. Parameters that require no gradient are frozen.
    task, examples
        What to learn, and the examples as the task's `read` returns them.
    settings
        How; its `lr` is not read.
    rate
        Peak learning rate.
    seed
        Of the examples' order, of what is random in them, and of dropout.
    device
        ``cpu`` or ``cuda``; the model is moved there.
    precision
        ``float32``, ``bf16`` or ``fp16`` (autocast; weights stay float32).
    masks
        For names of parameters, which weights there are, True for those that are kept. The others
        are set to zero and stay exactly zero: their gradients are zero before clipping, so they
        have neither moments nor a part in the gradient's norm, and the decay of zero is zero.
    order
        Which examples each step sees; None for :class:`Shuffled`.
    folder
        Where checkpoints of this one training are kept, in a folder ``training``. The caller holds
        the folder, and removes what is in it, or calls :func:`forget`, once all that comes of the
        training is written: until then, the last checkpoint spares it from being trained again.
        Training resumes from the newest checkpoint with the same settings, initial weights and
        masks; that the examples are the same is for the caller to see to.
    on_step
        Called after each optimizer step with the number of steps done, and before a checkpoint
        of that step is written. Steps before a resume are not called again.
    evaluation
        What is evaluated in between, and whether the best network is kept, for which `folder` is
        needed.

    Returns
    -------
    list of dict
        The history, a row every `logging_steps` steps and at the end: step, epoch, loss (in nats
        per term, the mean of the steps since the last row), each loss of :class:`Weighed` rows by
        its name, gradient_norm (of the step, before clipping), learning_rate, seconds (of training
        alone). Evaluations are rows of their own: step, epoch, figures.

    Raises
    ------
    BabelscopeError
        If there is no example, if a loss or gradient is not finite, or if SIGTERM or SIGUSR1
        arrived; in the last case a checkpoint is written.

    Notes
    -----
    The gradient is that of the mean over all loss terms of a step, however the step is split. As in
    Devlin et al. (2019), vectors (biases, norms) do not decay.

    Several processes (see :mod:`babelscope.training.processes`) sum the gradients of their parts of
    a step; the order gives each its own, of :class:`Weighed` rows, and the first process writes.
    """
    if not len(examples):
        raise BabelscopeError(
            f"There are no training examples for {task.name}.",
            "Give the language training data, or take it out of tickets.languages.",
        )
    if order is None:
        if not isinstance(settings, TaskTraining):
            raise ValueError("pairs bring an order of their own")
        order = Shuffled(settings, len(examples), seed)
    training = _Training(
        model, task, examples, settings, rate, seed, device, precision, masks, order, evaluation
    )
    store = None if folder is None else Path(folder) / STORE
    if evaluation is not None and evaluation.select is not None and store is None:
        raise ValueError("the best network needs a folder to be kept in")
    training.begin(store)
    gpus = [torch.cuda.current_device()] if device == "cuda" else []
    with heeding_signals(), torch.random.fork_rng(gpus):
        training.run(on_step, store)
    training.check_pruned()
    if store is not None:
        training.end(store)
    return training.rows


def forget(folder: Path) -> None:
    """Remove the checkpoints of a :func:`fit` in this folder, when its results are written."""
    shutil.rmtree(folder / STORE)


class _Training:
    """One training: its state, and what moves it on."""

    def __init__(
        self,
        model: Any,
        task: Task | Learnable,
        examples: Any,
        settings: TaskTraining | PairTraining | GeneratorTraining,
        rate: float,
        seed: int,
        device: str,
        precision: str,
        masks: Mapping[str, torch.Tensor] | None,
        order: Order,
        evaluation: Evaluation | None,
    ) -> None:
        self.model = model.to(device)
        self.task = task
        self.examples = examples
        self.settings = settings
        self.rate = rate
        self.seed = seed
        self.device = device
        self.precision = precision
        self.order = order
        self.steps = order.steps
        self.evaluation = evaluation
        self.recomputed = not isinstance(settings, PairTraining) and settings.gradient_checkpointing
        parameters = dict(model.named_parameters())
        unknown = sorted(set(masks or {}) - set(parameters))
        if unknown:
            raise ValueError(f"masks for parameters the model does not have: {unknown[:3]}")
        self.masked: dict[str, tuple[nn.Parameter, torch.Tensor]] = {
            name: (parameters[name], mask.to(device)) for name, mask in (masks or {}).items()
        }
        self.trained = [value for value in parameters.values() if value.requires_grad]
        groups = [
            {
                "params": [value for value in self.trained if value.ndim > 1],
                "weight_decay": settings.weight_decay,
            },
            {
                "params": [value for value in self.trained if value.ndim <= 1],
                "weight_decay": 0.0,
            },
        ]
        groups = [group for group in groups if group["params"]]
        self.optimizer = torch.optim.AdamW(groups, lr=rate, fused=True)
        self.scaler = torch.amp.GradScaler(device, FIRST_SCALE, enabled=precision == "fp16")
        self.step = 0
        self.names: list[str] = []  # of the losses
        self.pending: list[torch.Tensor] = []  # (norm, losses) of steps not yet looked at
        self.losses: list[list[float]] = []  # of the steps since the last row
        self.norm = 0.0
        self.best = -math.inf
        self.best_step: int | None = None
        self.rows: list[dict[str, Any]] = []
        self.seconds = 0.0  # of earlier processes
        self.started = time.monotonic()

    # The loop

    def begin(self, store: Path | None) -> None:
        """Set pruned weights to zero, and go on from a checkpoint if there is one."""
        if store is not None:
            fingerprint = self._fingerprint()
            if rank() == 0:
                store.mkdir(parents=True, exist_ok=True)
                checkpoints.prepare(store, fingerprint)
            wait()
        with torch.no_grad():
            for weight, mask in self.masked.values():
                weight.mul_(mask)
        last = newest_of_all(store, self.device) if store is not None else None
        if last is not None:
            self._resume(last)

    def run(self, on_step: Callable[[int], None] | None, store: Path | None) -> None:
        """Do the steps that are left."""
        if self.evaluation is not None and self.step == 0:
            self._evaluate(self.evaluation, store)
        self.model.train()
        if self.recomputed:
            self.model.activation_checkpointing_enable({"use_reentrant": False})
        try:
            while self.step < self.steps:
                self.pending.append(self._take_step(self.order.parts(self.step)))
                self.step += 1
                self._after_step(on_step, store)
        finally:
            self.model.eval()
            if self.recomputed:
                self.model.activation_checkpointing_disable()
        self.optimizer.zero_grad()

    def end(self, store: Path) -> None:
        """Put the best weights back, if they are wanted."""
        if self.best_step not in (None, self.steps):
            load_weights(self.model, checkpoints.best_path(store, self.best_step))
            logger.info("the best weights are those of step %d", self.best_step)

    def _take_step(self, parts: list[tuple[int, Any]]) -> torch.Tensor:
        """Make one optimizer step; return its gradient norm and its losses, on the device."""
        own = [rank()] if world() > 1 else []
        torch.manual_seed(derive_seed(self.seed, "dropout", self.step, *own))
        factor = learning_rate_factor(
            self.settings.schedule, self.step / self.steps, self.settings.warmup
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * factor
        self.optimizer.zero_grad()
        weighed = isinstance(parts[0][1], Weighed)
        losses = self._weighed_losses(parts) if weighed else self._mean_loss(parts)
        # on a CPU six times as fast as masked_fill_, which one thread does
        for weight, mask in self.masked.values():
            if weight.grad is not None:
                weight.grad.mul_(mask)
        norm = nn.utils.clip_grad_norm_(self.trained, self.settings.max_grad_norm, foreach=True)
        if is_sharded(norm):
            norm = norm.full_tensor()  # pyright: ignore
        if self.device == "cpu":  # on a GPU the host would have to wait
            self._check(self.step + 1, float(losses[0]), float(norm))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return torch.cat([norm[None], losses])

    def _mean_loss(self, parts: list[tuple[int, Any]]) -> torch.Tensor:
        """Take the gradient of the mean over all terms of a step, and return that mean."""
        self.names = ["loss"]
        total = torch.zeros((), device=self.device)
        terms = torch.zeros((), device=self.device)
        count = sum(len(rows) for _, rows in parts)
        for epoch, rows in parts:
            loss, found = self._losses(epoch, rows)
            # the number of terms of the whole step is not known yet, that of its examples is
            divisor = found.clamp(min=1) if len(parts) == 1 else count
            self.scaler.scale(loss / divisor).backward()
            total += loss.detach()
            terms += found
        terms.clamp_(min=1)
        self.scaler.unscale_(self.optimizer)
        if len(parts) > 1:
            gradients = [value.grad for value in self.trained if value.grad is not None]
            torch._foreach_mul_(gradients, count / terms)  # pyright: ignore
        return (total / terms)[None]

    def _weighed_losses(self, parts: list[tuple[int, Any]]) -> torch.Tensor:
        """Take the gradient of the weighed sum of several means; return that sum and the means."""
        measures = list(dict.fromkeys(rows.measure for _, rows in parts))
        self.names = ["loss", *measures]
        sums = torch.zeros(3, len(measures), device=self.device)  # weighed, plain, terms
        for epoch, rows in parts:
            loss, found = self._losses(epoch, rows)
            self.scaler.scale(loss * rows.factor).backward()
            place = measures.index(rows.measure)
            for row, value in enumerate((loss.detach() * rows.factor, loss.detach(), found)):
                sums[row, place] += value
        add_up(sums)
        add_up_gradients(self.trained)
        self.scaler.unscale_(self.optimizer)
        return torch.cat([sums[0].sum()[None], sums[1] / sums[2].clamp(min=1)])

    def _losses(self, epoch: int, rows: Any) -> tuple[torch.Tensor, torch.Tensor]:
        batch = self.task.batch(self.examples, rows, seed=self.seed, epoch=epoch)
        with arithmetic(self.model, self.precision):
            return self.task.losses(self.model, pinned(batch, self.device))

    def _after_step(self, on_step: Callable[[int], None] | None, store: Path | None) -> None:
        if on_step is not None:
            on_step(self.step)
        last = self.step == self.steps
        if self.step % self.settings.logging_steps == 0 or last:
            self._log()
        if self.evaluation is not None and (self.step % self.evaluation.every == 0 or last):
            self._evaluate(self.evaluation, store)
        signal = self._signal(last)
        wanted = self.step % self.settings.save_steps == 0 or last or signal
        if store is not None and wanted:
            self._look()
            self._save(store)
        if signal:
            wait()  # or the first to leave would have the one that saves killed
            saved = "nothing is saved" if store is None else f"its state is saved in {store}"
            raise BabelscopeError(
                f"Training was stopped by {signal} after step {self.step}; {saved}.",
                "Run the same command again.",
            )

    def _signal(self, last: bool) -> str | None:
        """Return the signal to heed after this step; several processes heed it at the same one."""
        if world() == 1:
            return SIGNALS.received
        if self.step % AGREE and not last:
            return None
        heard = largest(float(SIGNALS.received is not None), self.device)
        return (SIGNALS.received or "a signal to another process") if heard else None

    def _evaluate(self, evaluation: Evaluation, store: Path | None) -> None:
        """Add a row of figures, and keep the weights if they are the best so far."""
        started = time.monotonic()
        self._look()
        found = evaluation.measure()
        figures = dict(zip(found, agreed(list(found.values()), self.device), strict=True))
        for name, value in figures.items():
            if not math.isfinite(value):
                raise BabelscopeError(
                    f"{name} for {self.task.name} is not finite after step {self.step}.",
                    "Lower the learning rate, lengthen the warmup, or use another precision.",
                )
        self.rows.append({"step": self.step, "epoch": self.order.epochs(self.step), **figures})
        shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        logger.info("%s: after step %d %s", self.task.name, self.step, shown)
        value = -math.inf if evaluation.select is None else figures[evaluation.select]
        if store is not None and self.step and value > self.best:
            self.best, self.best_step = value, self.step
            weights = weights_of(self.model) if self.step < self.steps else {}
            if rank() == 0 and weights:
                checkpoints.keep_best(store, self.step, weights)
        self.started += time.monotonic() - started

    # What a step gave

    def _check(self, step: int, loss: float, norm: float) -> None:
        bad_norm = self.precision != "fp16" and not math.isfinite(norm)  # fp16 skips such steps
        if not math.isfinite(loss) or bad_norm:
            what = "loss" if not math.isfinite(loss) else "gradient's norm"
            name = self.order.name(step - 1)
            raise BabelscopeError(
                f"The training {what} for {self.task.name}{name and f' on {name}'} is not finite at"
                f" step {step}.",
                "Lower the learning rate or max_grad_norm, lengthen the warmup, or use another"
                " precision.",
            )

    def _look(self) -> None:
        """Fetch the losses that wait on the device, and refuse those that are not finite."""
        if not self.pending:
            return
        first = self.step - len(self.pending) + 1
        for step, (norm, *losses) in enumerate(torch.stack(self.pending).tolist(), start=first):
            self._check(step, losses[0], norm)
            self.losses.append(losses)
            self.norm = norm
        self.pending = []

    def _log(self) -> None:
        self._look()
        row = {
            "step": self.step,
            "epoch": self.order.epochs(self.step),
            **{
                name: math.fsum(values) / len(values)
                for name, *values in zip(self.names, *self.losses, strict=True)
            },
            "gradient_norm": self.norm,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "seconds": self._elapsed(),
        }
        self.losses = []
        self.rows.append(row)
        line = step_line(
            row["step"],
            self.steps,
            (self.steps / self.step - 1) * row["seconds"] / 60,
            epoch=row["epoch"],
            loss=row["loss"],
            rate=row["learning_rate"],
            name=self.task.name,
        )
        logger.info("%s", line)

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.started

    def check_pruned(self) -> None:
        """Refuse a network in which a pruned weight has come back."""
        for name, (weight, mask) in self.masked.items():
            alive = int(((weight.detach() != 0) & ~mask).sum())
            if alive:
                raise RuntimeError(f"{alive} pruned weights of {name} are not zero")

    # Checkpoints

    def _fingerprint(self) -> dict[str, Any]:
        settings = self.settings.model_dump(exclude=HARMLESS)
        return {
            "task": self.task.name,
            "settings": settings,
            "rate": self.rate,
            "seed": self.seed,
            "precision": self.precision,
            "processes": world(),
            "examples": len(self.examples),
            "weights": _checksum(dict(self.model.named_parameters())),
            "masks": _checksum({name: mask for name, (_, mask) in self.masked.items()}),
        }

    def _save(self, store: Path) -> None:
        """Write a checkpoint; after the last step, without the optimizer."""
        progress = {
            "step": self.step,
            "best_step": self.best_step,
            "best": None if self.best_step is None else self.best,
            "scaler": self.scaler.state_dict(),
            "losses": self.losses,
            "rows": self.rows,
            "seconds": self._elapsed(),
        }
        weights = weights_of(self.model)
        last = self.step == self.steps
        moments = {} if last else optimizer_state(self.model, self.optimizer)
        if rank() > 0:
            return
        with checkpoints.writing(store, self.step, self.best_step) as path:
            save_file(weights, path / checkpoints.WEIGHTS)
            if not last:
                save_file(moments, path / checkpoints.OPTIMIZER)
            write_json(path / checkpoints.PROGRESS, progress)

    def _resume(self, path: Path) -> None:
        load_weights(self.model, path / checkpoints.WEIGHTS)
        progress = read_json(path / checkpoints.PROGRESS)
        self.step = progress["step"]
        if self.step < self.steps:
            load_optimizer_state(self.model, self.optimizer, path / checkpoints.OPTIMIZER)
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(progress["scaler"])
        self.best_step = progress["best_step"]
        self.best = -math.inf if self.best_step is None else progress["best"]
        self.losses = progress["losses"]
        self.rows = progress["rows"]
        self.seconds = progress["seconds"]
        logger.info("resuming after step %d", self.step)


def _checksum(tensors: Mapping[str, torch.Tensor]) -> int:
    found = 0
    for name, tensor in tensors.items():
        full = whole(tensor.detach())
        if full is None:
            continue  # the first process has it
        found = zlib.crc32(json.dumps([name, *full.shape]).encode(), found)
        array = full.cpu().contiguous().numpy()
        found = zlib.crc32(array.reshape(-1).view(np.uint8).data, found)
    return found


def pinned(batch: Batch, device: str) -> Batch:
    """Return a batch in memory that a GPU can copy from while the host goes on."""
    if device == "cpu":
        return batch
    return {name: value.pin_memory() for name, value in batch.items()}


def count_all(
    model: Any,
    task: Task,
    examples: Sequence[Any],
    *,
    batch_size: int,
    seed: int,
    device: str,
    precision: str,
) -> np.ndarray:
    """Return what the task's metric is computed from, for every example.

    Parameters
    ----------
    model
        On return in the mode it was in, on `device`.
    task, examples
        As in :func:`fit`.
    batch_size
        Examples per forward pass; those of like length go together, which changes no count.
    seed
        Of what is random in an example, such as masked positions.
    device, precision
        As in :func:`fit`.

    Returns
    -------
    np.ndarray
        Float64, shape (examples, k), in the order of the examples.
    """
    model.to(device)
    order = np.argsort([-len(example) for example in examples], kind="stable")
    counted = []
    with evaluating(model), torch.no_grad(), arithmetic(model, precision):
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size].tolist()
            batch = task.batch(examples, rows, seed=seed, epoch=0)
            counted.append(task.count(model, pinned(batch, device)).numpy())
    if not counted:
        raise BabelscopeError(
            f"There are no examples to score {task.name} on.",
            "Give the language data for this split, or take it out of tickets.languages.",
        )
    counts = np.empty((len(examples), counted[0].shape[1]))
    counts[order] = np.concatenate(counted)
    return counts
