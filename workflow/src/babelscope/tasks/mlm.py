"""Masked-language modelling on windows of running text, judged by perplexity."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from babelscope.evaluation.metrics import PERPLEXITY
from babelscope.models.masked_head import example_losses, token_losses
from babelscope.models.removal import load_model
from babelscope.seeds import derive_seed
from babelscope.tasks.base import Batch
from babelscope.tasks.examples import choose_rows, tokenizer_of
from babelscope.tokenization.packing import read_chunks
from babelscope.training.data import masked_batch, masking_of

SHARE = 0.15  # of the tokens that are hidden, as Devlin et al. (2019) and Foroutan et al. (2022)


class MaskedLanguageModelling:
    """The task ``mlm``: predict hidden tokens of windows that all have the same length.

    Parameters
    ----------
    folder
        Of a network of the family, for its tokenizer.
    """

    name = "mlm"
    metric = PERPLEXITY

    def __init__(self, folder: str | Path) -> None:
        self.masking = masking_of(tokenizer_of(folder), share=SHARE, whole_words=False)

    def load_model(self, folder: str | Path, *, seed: int) -> Any:
        """Return a folder's network, which has its head: there is nothing to draw."""
        return load_model(folder)

    def read(self, path: str | Path, *, examples: int | None, seed: int) -> Any:
        """Return windows of a file of chunks, shape (examples, window); all are left on disk."""
        windows = read_chunks(path)
        rows = choose_rows(len(windows), examples, seed, path)
        return windows if len(rows) == len(windows) else windows[rows]

    def batch(
        self, examples: Sequence[Any], rows: Sequence[int], *, seed: int, epoch: int
    ) -> Batch:
        """Return windows with hidden tokens: ``input_ids`` and ``labels``, -100 if not hidden."""
        hidden = masked_batch(
            np.stack([examples[row] for row in rows]),
            np.asarray(rows),
            self.masking,
            seed=derive_seed(seed, "masks"),
            epochs=np.full(len(rows), epoch),
        )
        labels = np.full(hidden.input_ids.size, -100)
        labels[hidden.positions] = hidden.tokens
        return {
            "input_ids": torch.from_numpy(hidden.input_ids),
            "labels": torch.from_numpy(labels.reshape(hidden.input_ids.shape)),
        }

    def losses(self, model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the summed loss over hidden tokens, and their number."""
        losses, targets = token_losses(model, batch)
        return losses.sum(), torch.tensor(len(targets.tokens))

    def count(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return each window's summed loss and number of hidden tokens, shape (windows, 2)."""
        sums, counts = example_losses(model, batch)
        return torch.stack([sums.cpu().double(), counts.double()], dim=1)
