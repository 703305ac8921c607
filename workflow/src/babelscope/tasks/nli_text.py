"""Natural-language inference as text to text: T5 and mT5 write the label, or rank the three."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from babelscope.errors import BabelscopeError
from babelscope.evaluation.metrics import ACCURACY
from babelscope.io import read_table
from babelscope.models.masked_head import token_losses
from babelscope.models.masking import IGNORED
from babelscope.models.removal import load_model
from babelscope.tasks.base import Batch
from babelscope.tasks.examples import choose_rows, pad, report_cut, tokenizer_of
from babelscope.tasks.nli import LABELS, numbers_of

TARGET = 16  # tokens of a label at most, as published


@dataclass(frozen=True)
class Question:
    """One pair as a text.

    Attributes
    ----------
    tokens
        Ids of the source text, its end included, cut to the window.
    label
        Place in `LABELS`.
    """

    tokens: Sequence[int]
    label: int

    def __len__(self) -> int:
        return len(self.tokens)


def source_text(premise: str, hypothesis: str) -> str:
    """Return what the network reads (Foroutan et al. 2022, after Raffel et al. 2020, app. D)."""
    return f"xnli: premise: {premise} hypothesis: {hypothesis}"


class TextInference:
    """The task ``nli`` for text-to-text networks; the answer is the label's English word.

    Parameters
    ----------
    folder
        Of a network of the family, for its tokenizer.
    form
        ``generate``: the answer is what greedy decoding writes; what is not a label is wrong.
        ``rank``: the answer is the label whose text has the highest likelihood.
    max_tokens
        Longer source texts are cut, and counted in the log.

    Raises
    ------
    BabelscopeError
        If the tokenizer does not give a label's text back.
    """

    name = "nli"
    metric = ACCURACY

    def __init__(self, folder: str | Path, *, form: str, max_tokens: int) -> None:
        self.tokenizer: Any = tokenizer_of(folder)
        self.form = form
        self.max_tokens = max_tokens
        self.targets = [
            torch.tensor(ids) for ids in self.tokenizer(list(LABELS))["input_ids"]
        ]  # the end included
        read = tuple(self._texts(self.targets))
        longest = max(len(target) for target in self.targets)
        if read != LABELS or longest > TARGET:
            raise BabelscopeError(
                f"The tokenizer in {folder} turns the labels {', '.join(LABELS)} into"
                f" {', '.join(read)} ({longest} tokens, at most {TARGET} are allowed).",
                "Set tasks.nli.form: label, or choose another tokenizer.",
            )
        self.longest = longest

    def load_model(self, folder: str | Path, *, seed: int) -> Any:
        """Return a folder's network, which has its head: there is nothing to draw."""
        return load_model(folder)

    def read(self, path: str | Path, *, examples: int | None, seed: int) -> list[Question]:
        """Return the pairs of a Parquet file: ``premise``, ``hypothesis``, ``label``."""
        table = read_table(path)
        labels = numbers_of(table["label"], path)
        rows = choose_rows(len(table), examples, seed, path)
        table = table.iloc[rows]
        texts = [
            source_text(premise, hypothesis)
            for premise, hypothesis in zip(table["premise"], table["hypothesis"], strict=True)
        ]
        encoded = self.tokenizer(texts, truncation=True, max_length=self.max_tokens)
        cut = sum(bool(encoding.overflowing) for encoding in encoded.encodings)
        report_cut(cut, len(table), self.max_tokens, path)
        return [
            Question(ids, labels[row]) for ids, row in zip(encoded["input_ids"], rows, strict=True)
        ]

    def batch(
        self, examples: Sequence[Any], rows: Sequence[int], *, seed: int, epoch: int
    ) -> Batch:
        """Return ``input_ids``, ``attention_mask``, ``labels`` (target texts) and ``answers``."""
        questions = [examples[row] for row in rows]
        return {
            "input_ids": pad([one.tokens for one in questions], self.tokenizer.pad_token_id),
            "attention_mask": pad([[1] * len(one) for one in questions], 0),
            "labels": pad([self.targets[one.label] for one in questions], IGNORED),
            "answers": torch.tensor([one.label for one in questions]),
        }

    def losses(self, model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the summed loss over the tokens of the labels' texts, and their number."""
        parts = {name: value for name, value in batch.items() if name != "answers"}
        losses, targets = token_losses(model, parts)
        return losses.sum(), torch.tensor(len(targets.tokens))

    def count(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return, for each pair, whether the answer is right, 1, and whether it is no label."""
        answers = self._generated(model, batch) if self.form == "generate" else None
        if answers is None:
            answers = self.log_likelihoods(model, batch).argmax(dim=1).cpu()
        right = answers == batch["answers"]
        return torch.stack([right, torch.ones_like(right), answers < 0], dim=1).double()

    def log_likelihoods(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return that of each label's text, in nats; float32, shape (pairs, labels)."""
        device = next(model.parameters()).device
        inputs = {name: batch[name].to(device) for name in ("input_ids", "attention_mask")}
        count, pairs = len(LABELS), len(inputs["input_ids"])
        states = model.get_encoder()(**inputs).last_hidden_state  # (pairs, time, width)
        labels = pad(self.targets, IGNORED).repeat(pairs, 1).to(device)  # (pairs * labels, target)
        logits = model(
            encoder_outputs=(states.repeat_interleave(count, dim=0),),
            attention_mask=inputs["attention_mask"].repeat_interleave(count, dim=0),
            decoder_input_ids=model.prepare_decoder_input_ids_from_labels(labels=labels),
            use_cache=False,
        ).logits.float()
        losses = functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
        )
        return -losses.view(pairs, count, -1).sum(dim=2)

    def _generated(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return the places of the labels that a network writes, -1 for other texts."""
        device = next(model.parameters()).device
        tokens = model.generate(
            input_ids=batch["input_ids"].to(device),
            attention_mask=batch["attention_mask"].to(device),
            max_new_tokens=self.longest,  # what is longer than every label is none
            do_sample=False,
            num_beams=1,
        )
        texts = self._texts(list(tokens.cpu()))
        return torch.tensor([LABELS.index(text) if text in LABELS else -1 for text in texts])

    def _texts(self, tokens: Sequence[torch.Tensor]) -> list[str]:
        decoded = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [text.strip() for text in decoded]
