"""Lottery tickets: rounds of training, pruning and rewinding (Frankle & Carbin, 2019).

Each round trains a network from the same weights under the mask so far, then removes a fixed share
of the original weights. A killed search goes on where it was.
"""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.torch import save_file

from babelscope.errors import BabelscopeError
from babelscope.io import atomic, read_table, write_table
from babelscope.progress import stage_line
from babelscope.seeds import derive_seed
from babelscope.subnetworks.masks import WeightMask
from babelscope.subnetworks.matrices import apply_mask, network_of, weight_matrices
from babelscope.subnetworks.selection import prune_random, prune_step, prune_within
from babelscope.subnetworks.trials import Trial
from babelscope.training import checkpoints
from babelscope.training.fitting import forget
from babelscope.training.schedules import steps_of
from babelscope.training.state import load_weights, weights_of

logger = logging.getLogger(__name__)

MASK = "mask.safetensors"
WEIGHTS = "weights.safetensors"
SCORES = "scores.parquet"
HISTORY = "history.parquet"
START = "start.safetensors"  # the weights of the first round before training
EARLY = "early.safetensors"  # after some of its steps


@dataclass(frozen=True)
class Search:
    """One search for tickets, from files to files.

    Attributes
    ----------
    labels
        Values of the first columns of the tables, ``language`` among them.
    variant
        ``ticket`` or ``repeat`` (weights of the smallest magnitude of a stack go), ``component``
        (of each matrix), ``random`` (any weights of a stack go), ``early`` (rewound to the weights
        after `early_step` steps of the first round), ``unrewound`` (weights go on as they are).
    step
        Percent of the original weights that one round removes.
    rounds
        Number of rounds that remove some; one more trains what is left.
    early_step
        Read by the variant ``early`` alone.
    pooler
        Also prune the pooler's matrix.
    files
        Examples by split: train, valid, test.
    masks
        Percent of weights kept -> file of the mask to write.
    scores, history
        Tables to write.
    checkpoints
        Folder that a killed search goes on from; removed at the end.
    """

    labels: Mapping[str, str | int]
    variant: str
    step: int
    rounds: int
    early_step: int
    pooler: bool
    files: Mapping[str, str]
    masks: Mapping[int, str]
    scores: str
    history: str
    checkpoints: str

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.step * self.rounds >= 100:
            raise ValueError(f"{self.rounds} rounds of {self.step} % leave nothing, or remove none")
        if list(self.masks) != [self.kept(number + 1) for number in range(self.rounds)]:
            raise ValueError(f"masks of {list(self.masks)} % for {self.rounds} x {self.step} %")

    def kept(self, number: int) -> int:
        """Return the percent of the weights that a round trains."""
        return 100 - self.step * number


def find_ticket(search: Search, trial: Trial) -> None:
    """Find tickets, and write masks, scores and training histories.

    Parameters
    ----------
    search
        What to find and where to write it.
    trial
        How networks are trained and scored.

    Raises
    ------
    BabelscopeError
        If another process uses the checkpoint folder, a training fails, or `early_step` is beyond
        the first round.

    Notes
    -----
    All rounds see the same head, order of examples and dropout: they differ in the mask alone.
    Optimizer and schedule start anew in each. A stack (mT5's encoder, its decoder) loses its own
    share of its own weights; after round r it keeps exactly round(N * (100 - r * step) / 100) of
    its N, in the variant ``component`` each matrix does. Examples for pruning are those of
    training; ``test`` scores trained networks only and decides nothing.

    One row of the scores per round, stage and split: the stage ``trained`` is a round's network
    after its training, ``pruned`` the same right after its weights were removed, before it is
    rewound; `kept` is what the scored network has.
    """
    folder = Path(search.checkpoints)
    facts = {
        key: getattr(search, key) for key in ("variant", "step", "rounds", "early_step", "pooler")
    }
    with checkpoints.locked(folder):
        checkpoints.prepare(folder, facts | trial.fingerprint(search.files))
        _play_rounds(search, trial, folder)
        rounds = [folder / f"round-{number}" for number in range(search.rounds + 1)]
        for number, done in enumerate(rounds[:-1], start=1):
            with atomic(search.masks[search.kept(number)]) as path:
                shutil.copyfile(done / MASK, path)
        for name, target in ((SCORES, search.scores), (HISTORY, search.history)):
            write_table(target, pd.concat([read_table(done / name) for done in rounds]))
        checkpoints.remove(folder)


def _play_rounds(search: Search, trial: Trial, folder: Path) -> None:
    """Play the rounds that are not in the checkpoint folder yet."""
    network = trial.load()
    mask = _whole(network, search.pooler)
    examples = {split: trial.read(split, path) for split, path in search.files.items()}
    steps = steps_of(trial.settings.training, len(examples["train"]))
    if search.variant == "early" and steps < search.early_step:
        raise BabelscopeError(
            f"tickets.early_step is {search.early_step}, but a round has {steps} steps.",
            "Lower it, or give rounds more steps.",
        )
    with atomic(folder / START) as path:
        save_file(weights_of(network), path)
    _drop_damaged(search, folder)
    for number in range(search.rounds + 1):
        done = folder / f"round-{number}"
        if not done.is_dir():
            text = f"round {number}, {search.kept(number)} % kept"
            logger.info("%s", stage_line("training", number + 1, search.rounds + 1, text))
            load_weights(network, _origin(search, number, folder))
            _play_round(search, trial, network, examples, mask, number, folder)
            _forget_weights(folder / f"round-{number - 1}")
        if number < search.rounds:
            mask = WeightMask.load(done / MASK)


def _drop_damaged(search: Search, folder: Path) -> None:
    """Remove the rounds that are not as they were written; they are played again."""
    rounds = list(folder.glob("round-*"))
    damaged = [done for done in rounds if not checkpoints.is_sound(done)]
    for done in damaged:
        logger.warning("%s is damaged and not used", done)
    # Without rewinding, a round begins with weights that are kept no longer than it takes.
    for done in rounds if damaged and search.variant == "unrewound" else damaged:
        shutil.rmtree(done)


def _forget_weights(done: Path) -> None:
    """Remove the weights of a round that the next one, which is done now, began with."""
    if (done / WEIGHTS).is_file():
        kept = (MASK, SCORES, HISTORY)
        checkpoints.seal(done, [done / name for name in kept])
        (done / WEIGHTS).unlink()


def _origin(search: Search, number: int, folder: Path) -> Path:
    """Return the file of the weights that a round starts from."""
    if number and search.variant == "early":
        return folder / EARLY
    if number and search.variant == "unrewound":
        return folder / f"round-{number - 1}" / WEIGHTS
    return folder / START


def _play_round(
    search: Search,
    trial: Trial,
    network: Any,
    examples: Mapping[str, Any],
    mask: WeightMask,
    number: int,
    folder: Path,
) -> None:
    """Train, score, prune and score again; leave all that came of it in the checkpoint folder."""

    def keep_early(step: int) -> None:
        if step == search.early_step:
            with atomic(folder / EARLY) as path:
                save_file(weights_of(network), path)

    early = number == 0 and search.variant == "early"
    history = trial.train(
        network,
        examples["train"],
        mask if number else None,
        folder,
        on_step=keep_early if early else None,
    )
    steps = history[-1]["step"]
    rows = []

    def note(stage: str, percent: int, *splits: str) -> None:
        for split in splits:
            where = f"the {split} examples of {search.labels['language']}"
            found = trial.score(trial.count(network, examples[split]), where=where)
            here = {"kept": percent, "stage": stage, "split": split}
            rows.append(labels | here | found | {"steps": steps})
            logger.info(
                "round %d, %d %% kept, %s: %s %.4f", number, percent, stage, split, found["value"]
            )

    labels = {**search.labels, "variant": search.variant, "round": number}
    note("trained", search.kept(number), "valid", "test")
    with atomic(folder / f"round-{number}") as done:
        done.mkdir()
        if number < search.rounds:
            percent = search.kept(number + 1)
            drawn = derive_seed(trial.seed, "random")
            smaller = _prune(network, mask, percent, variant=search.variant, seed=drawn)
            smaller.save(done / MASK)
            apply_mask(smaller, network)
            note("pruned", percent, "valid")
            if search.variant == "unrewound":
                save_file(weights_of(network), done / WEIGHTS)
        write_table(done / SCORES, pd.DataFrame(rows))
        kept = labels | {"kept": search.kept(number)}
        write_table(done / HISTORY, pd.DataFrame([kept | row for row in history]))
        checkpoints.seal(done, [*done.iterdir(), *([folder / EARLY] if early else [])])
    forget(folder)


def untrained_mask(model: Any, percent: int, *, pooler: bool) -> WeightMask:
    """Return the mask of a model's largest weights, found without any training.

    What tickets share with it, they may share because they begin with the same weights.

    Parameters
    ----------
    model
        Of whose every stack the weights of the largest magnitude are kept.
    percent
        How many of them: in a stack of N weights exactly round(N * percent / 100), as a ticket.
    pooler
        Also prune the pooler's matrix, if the model has one.
    """
    return _prune(model, _whole(model, pooler), percent, variant="ticket", seed=0)


def _whole(network: Any, pooler: bool) -> WeightMask:
    """Return the mask that keeps all weights."""
    matrices = weight_matrices(network, pooler=pooler)
    return WeightMask(
        {name: np.ones(weight.shape, dtype=bool) for name, (_, weight) in matrices.items()},
        {name: place for name, (place, _) in matrices.items()},
        network_of(network),
    )


def _prune(network: Any, mask: WeightMask, percent: int, *, variant: str, seed: int) -> WeightMask:
    """Return a mask that keeps so many percent of the original weights of every part.

    The seed is for the variant ``random``.
    """
    weights = {
        name: parameter.detach().cpu().numpy()
        for name, (_, parameter) in weight_matrices(network, pooler=True).items()
        if name in mask.bits
    }
    found = {}
    for stack in dict.fromkeys(place.stack for place in mask.places.values()):
        bits = {name: mask.bits[name] for name in mask.bits if mask.places[name].stack == stack}
        own = {name: weights[name] for name in bits}
        excess = {
            name: int(np.count_nonzero(kept)) - round(kept.size * percent / 100)
            for name, kept in bits.items()
        }
        size = sum(kept.size for kept in bits.values())
        amount = sum(int(np.count_nonzero(kept)) for kept in bits.values())
        amount -= round(size * percent / 100)
        match variant:
            case "component":
                found |= prune_within(own, bits, excess)
            case "random":
                found |= prune_random(bits, amount, seed=derive_seed(seed, stack, percent))
            case _:
                found |= prune_step(own, bits, amount)
    return WeightMask(found, mask.places, mask.network)
