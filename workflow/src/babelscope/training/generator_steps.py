"""What a generative model learns from in each step of its alignment, and how well it does so.

Several processes share a step: sentences are dealt out to them by length, and so are blocks of
instructions, and the vectors of all sentences are gathered, so that a step is the same whatever
their number.
"""

import math
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch

from babelscope.config import GeneratorTraining
from babelscope.models.modes import arithmetic, evaluating
from babelscope.models.poolers import Pooler, sentence_states
from babelscope.models.sentences import pad
from babelscope.representations.retrieval import margin_retrieval
from babelscope.seeds import derive_seed
from babelscope.tasks.base import Batch
from babelscope.training.contrastive import HardNegatives, embed_in_parts, info_nce
from babelscope.training.fitting import Weighed
from babelscope.training.instructions import Samples, instruction_loss, pack, packed_batch
from babelscope.training.pairs import FEWEST, SHORTER
from babelscope.training.processes import add_up, gather, rank, world

PAIRS, TEXTS = "contrastive", "instruction"  # the losses, as the history calls them
HELD_OUT = 1000  # samples that evaluations in between look at, at most


class Steps:
    """The samples of each step: all of them, shuffled anew each epoch, and no remainder.

    Position k of the stream of samples is ``order(k // n)[k % n]`` of the n samples, so a batch may
    reach over the end of an epoch. Each process gets its part of a step.

    Parameters
    ----------
    samples
        Of the training.
    settings
        Say how many make a step, and how many steps there are.
    network
        Which losses there are; see :class:`~babelscope.training.generators.GeneratorRun`.
    seed
        Of the order.
    """

    def __init__(
        self, samples: Samples, settings: GeneratorTraining, network: str, seed: int
    ) -> None:
        self.samples = samples
        self.settings = settings
        self.weights = {PAIRS: settings.contrastive_weight, TEXTS: settings.instruction_weight}
        if network != "aligned-both":
            self.weights = {name: x for name, x in self.weights.items() if network.endswith(name)}
        self.seed = seed
        self.steps = max(1, math.ceil(settings.epochs * len(samples) / settings.batch_size))
        if settings.max_steps is not None:
            self.steps = min(self.steps, settings.max_steps)
        self.order = lru_cache(maxsize=2)(self._order)
        self.lengths = np.zeros(len(samples), np.int64)  # tokens of each sample that are read
        if PAIRS in self.weights:
            lengths = np.append(samples.sentences.lengths, 0)  # -1 is no sentence
            self.lengths += lengths[samples.pairs].sum(axis=1)
        if TEXTS in self.weights:
            self.lengths += samples.instructions.lengths

    def _order(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng(derive_seed(self.seed, "order", epoch))
        return rng.permutation(len(self.samples))

    def rows(self, step: int) -> np.ndarray:
        """Return the samples of a step, counted from 0."""
        size = self.settings.batch_size
        places = range(step * size, (step + 1) * size)
        return np.array([self.order(x // len(self.samples))[x % len(self.samples)] for x in places])

    def parts(self, step: int) -> list[tuple[int, Weighed]]:
        """Return this process's part of a step: its pairs, and forward passes of instructions."""
        rows = self.rows(step)
        losses = []
        if PAIRS in self.weights:
            losses.append(Weighed(PAIRS, self.weights[PAIRS] / len(rows), rows))
        if TEXTS in self.weights:
            factor = self.weights[TEXTS] / max(1, int(self.samples.predicted[rows].sum()))
            passes = block_passes(self.samples, rows, self.settings)
            losses += [Weighed(TEXTS, factor, blocks) for blocks in passes]
        return [(int(self.epochs(step)), loss) for loss in losses]

    def epochs(self, steps: int) -> float:
        """Return how many epochs so many steps are."""
        return steps * self.settings.batch_size / len(self.samples)

    def name(self, step: int) -> str:
        """Return nothing: every step learns from the same samples."""
        return ""

    def tokens(self, steps: int) -> int:
        """Return how many tokens so many steps read, padding not counted, in all processes."""
        epochs, rest = divmod(steps * self.settings.batch_size, len(self.samples))
        begun = self.lengths[self.order(epochs)[:rest]]
        return int(epochs * self.lengths.sum() + begun.sum())


def block_passes(
    samples: Samples, rows: np.ndarray, settings: GeneratorTraining
) -> list[list[list[int]]]:
    """Return this process's forward passes of some samples' instructions, packed into blocks.

    Every process has equally many, of at most `mini_batch` blocks; one may hold nothing.
    """
    lengths = samples.instructions.lengths[rows].tolist()
    blocks = [[int(rows[place]) for place in block] for block in pack(lengths, settings.block)]
    count = max(1, math.ceil(len(blocks) / (settings.mini_batch or len(rows)) / world()))
    return [blocks[number * world() + rank() :: count * world()] or [[]] for number in range(count)]


def text_batch(samples: Samples, numbers: np.ndarray, settings: GeneratorTraining) -> Batch:
    """Return sentences as tensors: this process's part of the forward passes of all.

    Every process has equally many passes, of at most the sentences of `mini_batch` samples of two.
    """
    lengths = samples.sentences.lengths[numbers]
    order = np.argsort(-lengths, kind="stable")
    size = 2 * settings.mini_batch * world() if settings.mini_batch else len(numbers)
    batch: dict[str, torch.Tensor] = {}
    own, places, rows = [], [], 0
    for number, some in enumerate(np.split(order, _cuts(lengths[order].tolist(), size))):
        mine = some[rank() :: world()]
        if len(mine):
            own += range(rows, rows + len(mine))
            places += mine.tolist()
        else:
            mine = some[:1]  # it is another's, and read only to keep in step
        rows += len(mine)
        ids = [torch.from_numpy(samples.sentences[x].astype(np.int64)) for x in numbers[mine]]
        padded, mask = pad(ids, samples.padding)
        batch |= {f"ids {number}": padded, f"mask {number}": mask.long()}
    numbered = {"own": own, "places": places}  # of few sentences, this process may have none
    return batch | {key: torch.tensor(x, dtype=torch.long) for key, x in numbered.items()}


def _cuts(lengths: Sequence[int], size: int) -> list[int]:
    """Return where a new forward pass begins among sentences of falling length.

    A pass ends before sentences that are much shorter than its longest, once it has some for every
    process: what padding would cost is more than another pass does.
    """
    cuts, start = [], 0
    for place, length in enumerate(lengths):
        count = place - start
        if count == size or (count >= FEWEST * world() and length < SHORTER * lengths[start]):
            cuts.append(place)
            start = place
    return cuts


def text_vectors(
    model: Any, batch: Batch, pooler: Pooler, *, total: int, cached: bool
) -> torch.Tensor:
    """Return the vectors of all sentences of a :func:`text_batch`, those of other processes, too.

    Parameters
    ----------
    model
        Left to right.
    batch
        This process's.
    pooler
        Of which states a vector is made.
    total
        Sentences of all processes.
    cached
        See :func:`~babelscope.training.contrastive.embed_in_parts`.

    Returns
    -------
    Shape (total, d), with gradients.
    """
    device = next(model.parameters()).device

    def there(name: str) -> torch.Tensor:
        return batch[name].to(device, non_blocking=True)

    parts = []
    while f"ids {len(parts)}" in batch:
        parts.append((there(f"ids {len(parts)}"), there(f"mask {len(parts)}")))
    vectors = embed_in_parts(partial(_embed, model, pooler), parts, cached=cached)
    return gather(vectors[there("own")], there("places"), total)


def _embed(model: Any, pooler: Pooler, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return sentence_states(model, ids, mask, pooler)


class Objective:
    """Telling a sentence's partner from the others of a batch, and predicting answers.

    Parameters
    ----------
    name
        Of the network, for messages.
    pooler
        Of which states a sentence's vector is made.
    settings
        Of the training.
    """

    def __init__(self, name: str, pooler: Pooler, settings: GeneratorTraining) -> None:
        self.name = name
        self.pooler = pooler
        self.settings = settings

    def batch(self, examples: Samples, rows: Weighed, *, seed: int, epoch: int) -> Batch:
        """Return pairs or instructions as tensors; nothing in them is random."""
        if rows.measure == TEXTS:
            return packed_batch(examples, rows.rows)
        pairs = examples.pairs[rows.rows]
        hard = np.flatnonzero(pairs[:, 2] >= 0)
        numbers = np.concatenate([pairs[:, 0], pairs[:, 1], pairs[hard, 2]])
        sets = {"groups": examples.contents[numbers], "owners": hard}
        columns = {name: torch.from_numpy(value) for name, value in sets.items()}
        return {**text_batch(examples, numbers, self.settings), **columns}

    def losses(self, model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the summed loss of this process's part, and its number of terms."""
        if "groups" not in batch:
            return instruction_loss(model, batch)
        hard = len(batch["owners"])
        size = (len(batch["groups"]) - hard) // 2
        vectors = text_vectors(
            model,
            batch,
            self.pooler,
            total=2 * size + hard,
            cached=self.settings.mini_batch is not None,
        )
        groups = batch["groups"].to(vectors.device, non_blocking=True)
        owners = batch["owners"].to(vectors.device, non_blocking=True)
        loss = contrastive_loss(vectors, groups, owners, self.settings)
        # all processes know all vectors and have the same loss: each has its share of it
        share = torch.tensor(size / world())
        return loss * share, share


def contrastive_loss(
    vectors: torch.Tensor, groups: torch.Tensor, owners: torch.Tensor, settings: GeneratorTraining
) -> torch.Tensor:
    """Return the mean loss of pairs in nats.

    Parameters
    ----------
    vectors, groups
        Of all first sentences, then all second ones, then hard negatives; and what they say, equal
        for those that say the same.
    owners
        Pairs of the hard negatives.
    settings
        Temperature and weight.
    """
    size = (len(vectors) - len(owners)) // 2
    hard = HardNegatives(
        vectors[2 * size :], owners, groups[2 * size :], settings.hard_negative_weight
    )
    return info_nce(
        vectors[:size],
        vectors[size : 2 * size],
        temperature=settings.temperature,
        groups=groups[:size],
        negatives=hard if len(owners) else None,
    )


# How well it does meanwhile


class HeldOut:
    """Losses and retrieval on held-out samples, always the same ones in the same batches.

    Parameters
    ----------
    samples
        Held out; a thousand, spread evenly, if there are more.
    pooler, settings
        Of the training.
    device, precision
        Where and how it is computed.
    """

    def __init__(
        self,
        samples: Samples,
        pooler: Pooler,
        settings: GeneratorTraining,
        *,
        device: str,
        precision: str,
    ) -> None:
        count = min(HELD_OUT, len(samples))
        rows = np.arange(count) * len(samples) // count
        self.samples = samples
        self.pooler = pooler
        self.settings = settings
        self.device = device
        self.precision = precision
        self.batches = np.array_split(rows, math.ceil(count / settings.batch_size))
        self.sentences = np.unique(samples.pairs[rows])
        self.sentences = self.sentences[self.sentences >= 0]

    def measure(self, model: Any) -> dict[str, float]:
        """Return both losses, and the share of sentences whose partner is not the nearest in %."""
        with evaluating(model), torch.no_grad(), arithmetic(model, self.precision):
            batches = [
                self.sentences[start : start + 2 * self.settings.batch_size]
                for start in range(0, len(self.sentences), 2 * self.settings.batch_size)
            ]
            vectors = torch.cat([self._vectors(model, numbers) for numbers in batches])
            return {
                "valid_contrastive": self._contrastive(vectors),
                "valid_instruction": self._instruction(model),
                "retrieval_error": self._retrieval_error(vectors),
            }

    def _vectors(self, model: Any, numbers: np.ndarray) -> torch.Tensor:
        batch = text_batch(self.samples, numbers, self.settings)
        return text_vectors(model, batch, self.pooler, total=len(numbers), cached=False)

    def _contrastive(self, vectors: torch.Tensor) -> float:
        total = count = 0
        for rows in self.batches:
            pairs = self.samples.pairs[rows]
            hard = np.flatnonzero(pairs[:, 2] >= 0)
            numbers = np.concatenate([pairs[:, 0], pairs[:, 1], pairs[hard, 2]])
            places = torch.from_numpy(np.searchsorted(self.sentences, numbers)).to(vectors.device)
            groups, owners = (
                torch.from_numpy(values).to(vectors.device)
                for values in (self.samples.contents[numbers], hard)
            )
            loss = contrastive_loss(vectors[places], groups, owners, self.settings)
            total += float(loss) * len(rows)
            count += len(rows)
        return total / count

    def _instruction(self, model: Any) -> float:
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        for rows in self.batches:
            for blocks in block_passes(self.samples, rows, self.settings):
                loss, count = instruction_loss(model, packed_batch(self.samples, blocks))
                sums[0] += loss.double()
                sums[1] += count
        total, count = add_up(sums).tolist()
        return total / max(count, 1)

    def _retrieval_error(self, vectors: torch.Tensor) -> float:
        pairs = np.unique(self.samples.pairs[np.concatenate(self.batches)][:, :2], axis=0)
        states = vectors.float().cpu().numpy()
        x, y = (states[np.searchsorted(self.sentences, side)] for side in pairs.T)
        groups = self.samples.contents[pairs[:, 0]]
        # a ratio of cosines would have no meaning where training makes them negative
        found = margin_retrieval(x, y, margin="distance", groups=(groups, groups))
        return (found.error_forward + found.error_backward) / 2
