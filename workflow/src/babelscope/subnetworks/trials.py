"""Networks of one task: read, trained under a mask and scored, always in the same way."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from babelscope.config import Task as Section
from babelscope.errors import BabelscopeError
from babelscope.evaluation.metrics import difference, score
from babelscope.seeds import derive_seed
from babelscope.subnetworks.masks import WeightMask
from babelscope.subnetworks.matrices import mask_tensors
from babelscope.tasks.base import Task
from babelscope.tasks.choice import make_task
from babelscope.tokenization.packing import check_positions
from babelscope.training import checkpoints
from babelscope.training.fitting import count_all, fit

HOUSEKEEPING = {"logging_steps", "save_steps"}  # to what a training ends with


@dataclass(frozen=True)
class Trial:
    """How networks of one task are trained and scored.

    Attributes
    ----------
    task
        What for.
    made_of
        Files that the task read to know its labels, if it did.
    model
        Folder of the network to start from.
    settings
        Section ``tasks.<task>``.
    seed
        Of what a training draws: the head that the folder does not have, order, dropout.
    examples_seed
        Of choices of examples, of masked positions when scoring, and of the bootstrap: the same
        for all that is compared.
    resamples
        Of the bootstrap.
    version
        Of what the results mean; a checkpoint of another one is not gone on from.
    device, precision
        See the section ``compute``.
    """

    task: Task
    made_of: Sequence[str]
    model: str
    settings: Section
    seed: int
    examples_seed: int
    resamples: int
    version: int
    device: str
    precision: str

    def load(self) -> Any:
        """Return the network, with the same head every time.

        Raises
        ------
        BabelscopeError
            If one of its weights is not finite.
        """
        network = self.task.load_model(self.model, seed=derive_seed(self.seed, "head"))
        for name, parameter in network.named_parameters():
            if not torch.isfinite(parameter).all():
                raise BabelscopeError(
                    f"The weights in {self.model} are not all finite: {name} is not.",
                    "Make or fetch the folder anew.",
                )
        return network

    def read(self, split: str, path: str) -> Sequence[Any]:
        """Return the examples of a file, as many as the settings say for train, valid or test.

        Raises
        ------
        BabelscopeError
            If there is but one to score, whose metric would have no interval.
        """
        number = getattr(self.settings, f"{split}_examples")
        found = self.task.read(path, examples=number, seed=derive_seed(self.examples_seed, split))
        if split != "train" and len(found) < 2:
            raise BabelscopeError(
                f"{path} has a single example, whose {self.task.metric.name} has no interval.",
                f"Give {split} more examples.",
            )
        return found

    def train(
        self,
        network: Any,
        examples: Sequence[Any],
        mask: WeightMask | None,
        folder: Path,
        *,
        steps: int | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> list[dict[str, Any]]:
        """Train a network, in place, and return the history; see :func:`fit`.

        Parameters
        ----------
        network, examples
            Of `load` and `read`.
        mask
            What to train of it; None: all.
        folder
            For checkpoints.
        steps
            How many, if not as many as the settings say.
        on_step
            See :func:`fit`.
        """
        settings = self.settings.training
        if steps is not None:
            epochs = steps * settings.batch_size * settings.accumulation / len(examples)
            settings = settings.model_copy(update={"max_steps": steps, "epochs": epochs})
        return fit(
            network,
            self.task,
            examples,
            settings,
            rate=settings.lr.get(network.config.model_type, settings.lr["default"]),
            seed=derive_seed(self.seed, "training"),
            device=self.device,
            precision=self.precision,
            masks=None if mask is None else mask_tensors(mask, network),
            folder=folder,
            on_step=on_step,
        )

    def count(self, network: Any, examples: Sequence[Any]) -> np.ndarray:
        """Return what the metric is computed from for each example; see :func:`count_all`."""
        return count_all(
            network,
            self.task,
            examples,
            batch_size=self.settings.eval_batch_size,
            seed=self.examples_seed,
            device=self.device,
            precision=self.precision,
        )

    def score(self, counts: np.ndarray, *, where: str) -> dict[str, Any]:
        """Return metric, value, low, high and n of counts."""
        metric = self.task.metric
        found = score(
            metric, counts, resamples=self.resamples, seed=self.examples_seed, where=where
        )
        return {"metric": metric.name, **found}

    def change(self, counts: np.ndarray, reference: np.ndarray, *, where: str) -> dict[str, Any]:
        """Return change, change_low and change_high of counts against others."""
        return difference(
            self.task.metric,
            counts,
            reference,
            resamples=self.resamples,
            seed=self.examples_seed,
            where=where,
        )

    def fingerprint(self, files: Mapping[str, str]) -> dict[str, Any]:
        """Return all that trainings on these files depend on, as plain values."""
        settings = self.settings.model_dump(exclude={"training": HOUSEKEEPING})
        model = sorted(path for path in Path(self.model).iterdir() if path.suffix == ".safetensors")
        return {
            "task": self.task.name,
            "made_of": [checkpoints.checksum(path) for path in self.made_of],
            "settings": settings,
            "seed": self.seed,
            "examples_seed": self.examples_seed,
            "resamples": self.resamples,
            "precision": self.precision,
            "version": self.version,
            "description": checkpoints.description(self.model),
            "model": {path.name: checkpoints.checksum(path) for path in model},
            "files": {name: checkpoints.checksum(path) for name, path in files.items()},
        }


def make_trial(
    name: str,
    model: str,
    settings: Mapping[str, Any],
    tickets: Mapping[str, Any],
    compute: Mapping[str, Any],
    *,
    made_of: Sequence[str],
    seed: int,
    version: int,
) -> Trial:
    """Return how networks of a task are trained and scored by the configuration.

    Parameters
    ----------
    name
        Of the task.
    model
        Folder of the network to start from.
    settings
        Section ``tasks.<name>``, as plain values; `transfer_steps` may be missing.
    tickets
        Of the section ``tickets``, `seed` and `bootstrap`.
    compute
        Of the section ``compute``, `device` and `precision`.
    made_of, seed, version
        See :class:`Trial`; the task reads `made_of`.

    Raises
    ------
    BabelscopeError
        If the model cannot do the task, or has too few positions for the longest examples.
    """
    if name != "mlm":
        check_positions(model, settings["max_tokens"], key=f"tasks.{name}.max_tokens")
    section = Section.model_validate({"transfer_steps": None, **settings})
    return Trial(
        task=make_task(name, settings, model, train=made_of),
        made_of=made_of,
        model=model,
        settings=section,
        seed=seed,
        examples_seed=tickets["seed"],
        resamples=tickets["bootstrap"],
        version=version,
        device=compute["device"],
        precision=compute["precision"],
    )
