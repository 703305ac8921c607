"""Natural-language inference as classification of pairs of sentences, judged by accuracy."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from babelscope.errors import BabelscopeError
from babelscope.evaluation.metrics import ACCURACY
from babelscope.io import read_table
from babelscope.models.loading import load_with_head
from babelscope.tasks.base import Batch
from babelscope.tasks.examples import choose_rows, network_inputs, pad, report_cut, tokenizer_of

LABELS = ("entailment", "neutral", "contradiction")  # in XNLI's order


@dataclass(frozen=True)
class Pair:
    """One pair, tokenized as the network takes it.

    Attributes
    ----------
    inputs
        By name, ``input_ids`` first: numbers of its tokens, special ones included.
    label
        Place in `LABELS`.
    """

    inputs: dict[str, Sequence[int]]
    label: int

    def __len__(self) -> int:
        return len(self.inputs["input_ids"])


def numbers_of(labels: Iterable[str], path: str | Path) -> list[int]:
    """Return the places of labels in `LABELS`.

    Raises
    ------
    BabelscopeError
        If one is not there.
    """
    found = []
    for row, label in enumerate(labels):
        if label not in LABELS:
            raise BabelscopeError(
                f"{path}, row {row}: the label {label!r} is not one of {', '.join(LABELS)}.",
                "Correct it.",
            )
        found.append(LABELS.index(label))
    return found


class Inference:
    """The task ``nli`` for networks with a head that tells three labels apart.

    Parameters
    ----------
    folder
        Of a network of the family, for its tokenizer.
    max_tokens
        Longer pairs lose the end of their longer sentence, and are counted in the log.
    """

    name = "nli"
    metric = ACCURACY

    def __init__(self, folder: str | Path, *, max_tokens: int) -> None:
        self.tokenizer = tokenizer_of(folder)
        self.max_tokens = max_tokens

    def load_model(self, folder: str | Path, *, seed: int) -> Any:
        """Return a folder's network with a head over the three labels."""
        return load_with_head(folder, "sequence", labels=LABELS, seed=seed)

    def read(self, path: str | Path, *, examples: int | None, seed: int) -> list[Pair]:
        """Return the pairs of a Parquet file: ``premise``, ``hypothesis``, ``label``."""
        table = read_table(path)
        labels = numbers_of(table["label"], path)
        rows = choose_rows(len(table), examples, seed, path)
        table = table.iloc[rows]
        encoded: Any = self.tokenizer(
            table["premise"].tolist(),
            table["hypothesis"].tolist(),
            truncation="longest_first",
            max_length=self.max_tokens,
        )
        cut = sum(bool(encoding.overflowing) for encoding in encoded.encodings)
        report_cut(cut, len(table), self.max_tokens, path)
        return [
            Pair({name: values[place] for name, values in encoded.items()}, labels[row])
            for place, row in enumerate(rows)
        ]

    def batch(
        self, examples: Sequence[Any], rows: Sequence[int], *, seed: int, epoch: int
    ) -> Batch:
        """Return what the tokenizer makes of a pair, and ``labels``, shape (pairs,)."""
        pairs = [examples[row] for row in rows]
        fill: Any = {"input_ids": self.tokenizer.pad_token_id}
        inputs = {
            name: pad([pair.inputs[name] for pair in pairs], fill.get(name, 0))
            for name in pairs[0].inputs
        }
        return inputs | {"labels": torch.tensor([pair.label for pair in pairs])}

    def losses(self, model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the summed loss over pairs, and their number."""
        logits = self._logits(model, batch).float()
        labels = batch["labels"].to(logits.device, non_blocking=True)
        loss = functional.cross_entropy(logits, labels, reduction="sum")
        return loss, torch.tensor(len(labels))

    def count(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return, for each pair, whether the answer is right, and 1; shape (pairs, 2)."""
        right = self._logits(model, batch).argmax(dim=-1).cpu() == batch["labels"]
        return torch.stack([right.double(), torch.ones(len(right), dtype=torch.float64)], dim=1)

    def _logits(self, model: Any, batch: Batch) -> torch.Tensor:
        return model(
            **network_inputs(model, batch, batch.keys() - {"labels"})
        ).logits  # (pairs, labels)
