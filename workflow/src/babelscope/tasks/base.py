"""What every task offers: the engine of the tickets study knows this page and no task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

Batch = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Metric:
    """A score that is a function of sums over examples.

    Attributes
    ----------
    name
        ``perplexity``, ``f1`` or ``accuracy``.
    higher_is_better
        Its direction.
    of
        Maps sums of counts, shape (..., k), to values, shape (...); NaN where it is undefined.
    """

    name: str
    higher_is_better: bool
    of: Callable[[np.ndarray], np.ndarray]


class Task(Protocol):
    """A task for a network of one family in one language after another.

    Attributes
    ----------
    name
        ``mlm``, ``ner`` or ``nli``.
    metric
        What it is judged by.
    """

    name: str
    metric: Metric

    def load_model(self, folder: str | Path, *, seed: int) -> Any:
        """Return a folder's network with this task's head, in eval mode and float32.

        A head that the folder does not have gets random weights that follow from `seed` alone.
        """
        ...

    def read(self, path: str | Path, *, examples: int | None, seed: int) -> Sequence[Any]:
        """Return the examples of a file, tokenized; at most so many, chosen by `seed`.

        The `len` of an example is its number of tokens.
        """
        ...

    def batch(
        self, examples: Sequence[Any], rows: Sequence[int], *, seed: int, epoch: int
    ) -> Batch:
        """Return some examples as tensors on the CPU, padded to the longest of them.

        What is random in it, such as masked positions, follows from seed, epoch and row alone.
        """
        ...

    def losses(self, model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the summed loss of a batch in nats and the number of its terms, both scalars."""
        ...

    def count(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return what the metric is computed from, float64 on the CPU, shape (examples, k)."""
        ...
