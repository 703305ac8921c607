"""Masked-language modelling for T5 and mT5: spans are hidden and written out, in order."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from babelscope.errors import BabelscopeError
from babelscope.evaluation.metrics import PERPLEXITY
from babelscope.models.loading import load_config
from babelscope.models.masked_head import example_losses, token_losses
from babelscope.models.masking import IGNORED
from babelscope.models.removal import load_model
from babelscope.seeds import derive_seed
from babelscope.tasks.base import Batch
from babelscope.tasks.examples import choose_rows, pad, tokenizer_of
from babelscope.tokenization.packing import read_chunks

SHARE = 0.15  # of the tokens that are hidden
SPAN = 3.0  # tokens of a hidden span, on average
SENTINELS = 100  # at most; T5 and mT5 have so many


def hide_spans(
    tokens: np.ndarray, sentinels: Sequence[int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Hide spans of a text as T5's pretraining does (Raffel et al. 2020, section 3.1.4).

    Parameters
    ----------
    tokens
        Ids without special ones, at least 2, shape (tokens,).
    sentinels
        Ids that stand for the first span, the second, and so on.
    rng
        Of the lengths of hidden spans and of those between them.

    Returns
    -------
    source, target
        The text with each hidden span replaced by its sentinel, and the sentinels each followed by
        their span. Exactly ``max(1, round(0.15 n))`` tokens are hidden.

    Notes
    -----
    Spans are apart by at least one token. Unlike in the published code they may lie anywhere: there
    a text always ends with a hidden span, which is the only one of a short window. The target has
    no last sentinel without a span, as there.
    """
    count = len(tokens)
    hidden = max(1, round(SHARE * count))
    seen = count - hidden
    spans = min(max(1, round(hidden / SPAN)), seen + 1)
    if spans > len(sentinels):
        raise BabelscopeError(
            f"A window of {count} tokens has {spans} hidden spans; the tokenizer has"
            f" {len(sentinels)} sentinels.",
            "Lower mlm.window.",
        )
    lengths = np.empty(2 * spans + 1, np.int64)  # seen, hidden, seen, ..., hidden, seen
    lengths[::2] = _split(seen + 2, spans + 1, rng)
    lengths[[0, -1]] -= 1  # what is seen before the first span and after the last may be empty
    lengths[1::2] = _split(hidden, spans, rng)
    pieces = np.split(tokens, np.cumsum(lengths)[:-1])
    source, target = [pieces[0]], []
    for place, sentinel in enumerate(sentinels[:spans]):
        target += [[sentinel], pieces[2 * place + 1]]
        source += [[sentinel], pieces[2 * place + 2]]
    return np.concatenate(source), np.concatenate(target)


def _split(total: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """Return lengths, at least 1 each, that add up to a total; all ways are equally likely."""
    cuts = np.sort(rng.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


class SpanCorruption:
    """The task ``mlm`` for text-to-text networks, on windows of running text.

    Perplexity is over all tokens of the targets: hidden tokens, sentinels and the end.

    Parameters
    ----------
    folder
        Of a network of the family, for its tokenizer.
    """

    name = "mlm"
    metric = PERPLEXITY

    def __init__(self, folder: str | Path) -> None:
        self.tokenizer: Any = tokenizer_of(folder)
        self.special = np.array(sorted(self.tokenizer.all_special_ids))
        self.sentinels = _sentinels(self.tokenizer, load_config(folder).vocab_size)
        if not self.sentinels:
            raise BabelscopeError(
                f"The tokenizer in {folder} has no <extra_id_0>, which stands for a hidden span.",
                "Choose a T5 or mT5 model for mlm, or take mlm out of tickets.tasks.",
            )

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
        """Return ``input_ids``, ``attention_mask`` and ``labels``, -100 beyond a target's end."""
        sources, targets = [], []
        for row in rows:
            tokens = np.asarray(examples[row]).astype(np.int64)
            rng = np.random.default_rng(derive_seed(seed, "spans", epoch, int(row)))
            ordinary = tokens[~np.isin(tokens, self.special)]
            source, target = hide_spans(ordinary, self.sentinels, rng)
            sources.append(np.append(source, self.tokenizer.eos_token_id))
            targets.append(np.append(target, self.tokenizer.eos_token_id))
        return {
            "input_ids": pad(sources, self.tokenizer.pad_token_id),
            "attention_mask": pad([np.ones(len(source)) for source in sources], 0),
            "labels": pad(targets, IGNORED),
        }

    def losses(self, model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the summed loss over target tokens, and their number."""
        losses, targets = token_losses(model, batch)
        return losses.sum(), torch.tensor(len(targets.tokens))

    def count(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return each window's summed loss and number of target tokens, shape (windows, 2)."""
        sums, counts = example_losses(model, batch)
        return torch.stack([sums.cpu().double(), counts.double()], dim=1)


def _sentinels(tokenizer: Any, vocab_size: int) -> list[int]:
    """Return the ids of the sentinels that a network has embeddings for, the first one first.

    In mT5 they are pieces of the vocabulary, with the mark of a word's beginning; the tokens
    without it that transformers adds lie beyond the embeddings.
    """
    vocabulary = tokenizer.get_vocab()
    found = []
    for number in range(SENTINELS):
        name = f"<extra_id_{number}>"
        place = vocabulary.get(f"▁{name}", vocabulary.get(name))
        if place is None or place >= vocab_size:
            break
        found.append(place)
    return found
