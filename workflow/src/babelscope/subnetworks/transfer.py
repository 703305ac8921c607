"""What a ticket is worth where it was not found: masks trained and scored on one task and language.

All networks of a target see the same head, order of examples, dropout and number of steps.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from babelscope.io import atomic, read_arrays, read_metadata, write_arrays, write_table
from babelscope.models.initialization import randomize_body
from babelscope.progress import stage_line
from babelscope.seeds import derive_seed
from babelscope.subnetworks.magnitude import untrained_mask
from babelscope.subnetworks.masks import POOLER, WeightMask
from babelscope.subnetworks.matrices import check_fits
from babelscope.subnetworks.selection import random_masks
from babelscope.subnetworks.trials import Trial
from babelscope.training import checkpoints
from babelscope.training.fitting import forget

logger = logging.getLogger(__name__)

STEPS = "steps"
COUNTS = "counts.safetensors"
WHOLE = 100  # percent kept of a network without a mask


@dataclass(frozen=True)
class Transfer:
    """All masks of one size on one task and language, from files to a table.

    Attributes
    ----------
    labels
        Values of the first columns of the table: model, seed.
    task, language
        The target.
    kept
        Percent of weights that the masks keep.
    train
        The target's training examples.
    tests
        Language -> test examples of the task, the target's among them.
    masks
        (task, language) -> file of the ticket found there, the target's own among them.
    random_masks
        How many to compare with.
    steps
        Of each training; None: as many as in a round of a search.
    scores
        Table to write.
    checkpoints
        Folder that a killed transfer goes on from; removed at the end.
    """

    labels: Mapping[str, str | int]
    task: str
    language: str
    kept: int
    train: str
    tests: Mapping[str, str]
    masks: Mapping[tuple[str, str], str]
    random_masks: int
    steps: int | None
    scores: str
    checkpoints: str


@dataclass(frozen=True)
class Network:
    """One of the networks that are trained.

    Attributes
    ----------
    kind
        ``full``, ``ticket``, ``untrained`` (the mask of the largest pretrained weights) or
        ``random``.
    task, language
        Where the ticket was found whose mask it has, or whose numbers of weights; None if full or
        untrained.
    draw
        Number of a random mask, else 0.
    weights
        ``pretrained``, or ``random``: all that the model's folder holds is drawn anew.
    """

    kind: str
    task: str | None = None
    language: str | None = None
    draw: int = 0
    weights: str = "pretrained"

    @property
    def name(self) -> str:
        """What its file is called."""
        parts = (self.kind, self.task, self.language, str(self.draw), self.weights)
        return "-".join(part for part in parts if part)


def transfer_ticket(transfer: Transfer, trial: Trial) -> None:
    """Train and score a target's own ticket, those of others, and what they are compared with.

    The own ticket, the ticket of each other language and of each other task, the full model, the
    mask of the largest pretrained weights, random masks with as many weights of each matrix as the
    own ticket, and the own ticket with random weights. Full model and own ticket are also scored on
    the other languages, whose training data they have not seen.

    Raises
    ------
    BabelscopeError
        If a mask is of another architecture, another process uses the checkpoint folder, or a
        training fails.

    Notes
    -----
    The table has a row per network and scored language: `change` is against the own ticket from
    pretrained weights on the same examples, by a paired bootstrap. The head and the order of
    examples are not those of the search, which would favour the ticket that was found with them.
    """
    folder = Path(transfer.checkpoints)
    files = {"train": transfer.train}
    files |= {f"test {language}": path for language, path in transfer.tests.items()}
    files |= {" ".join(place): path for place, path in transfer.masks.items()}
    with checkpoints.locked(folder):
        checkpoints.prepare(folder, {"steps": transfer.steps} | trial.fingerprint(files))
        _check_masks(transfer, trial)
        examples = trial.read("train", transfer.train)
        tests = {language: trial.read("test", path) for language, path in transfer.tests.items()}
        counts = {}
        wanted = networks(transfer)
        for number, network in enumerate(wanted, start=1):
            logger.info("%s", stage_line("network", number, len(wanted), network.name))
            done = folder / network.name
            if not checkpoints.is_sound(done):
                _play(transfer, trial, network, examples, tests, done)
            path = done / COUNTS
            counts[network] = read_arrays(path), int(read_metadata(path)[STEPS])
        write_table(transfer.scores, pd.DataFrame(_rows(transfer, trial, counts)))
        checkpoints.remove(folder)


def networks(transfer: Transfer) -> list[Network]:
    """Return the networks of a target, the own ticket first."""
    own = (transfer.task, transfer.language)
    others = [place for place in transfer.masks if place != own]
    return [
        Network("ticket", *own),
        *(Network("ticket", *place) for place in others),
        Network("full"),
        Network("untrained"),
        *(Network("random", *own, draw) for draw in range(transfer.random_masks)),
        Network("ticket", *own, weights="random"),
    ]


def _check_masks(transfer: Transfer, trial: Trial) -> None:
    """Refuse masks that do not fit before anything is trained."""
    network = trial.load()
    for path in transfer.masks.values():
        check_fits(WeightMask.load(path), network, path)


def _mask_of(transfer: Transfer, trial: Trial, network: Network, model: Any) -> WeightMask | None:
    """Return the mask of a network; of the model, which nothing has trained yet, if untrained."""
    if network.kind == "untrained":
        own = WeightMask.load(transfer.masks[transfer.task, transfer.language])
        pooler = any(POOLER in name for name in own.bits)
        return untrained_mask(model, transfer.kept, pooler=pooler)
    if network.task is None or network.language is None:
        return None
    mask = WeightMask.load(transfer.masks[network.task, network.language])
    if network.kind == "ticket":
        return mask
    place = (network.task, network.language, transfer.kept, network.draw)
    return WeightMask(
        random_masks(mask.bits, seed=derive_seed(trial.seed, "mask", *place)),
        mask.places,
        mask.network,
    )


def _play(
    transfer: Transfer,
    trial: Trial,
    network: Network,
    examples: Any,
    tests: Mapping[str, Any],
    done: Path,
) -> None:
    """Train one network and save what it counts on each test it is scored on."""
    model = trial.load()
    if network.weights == "random":
        randomize_body(model, trial.model, seed=trial.seed)
    mask = _mask_of(transfer, trial, network, model)
    history = trial.train(model, examples, mask, done.parent, steps=transfer.steps)
    counts = {
        language: trial.count(model, tests[language]) for language in _scored_on(transfer, network)
    }
    with atomic(done) as folder:
        folder.mkdir()
        write_arrays(folder / COUNTS, counts, {STEPS: str(history[-1]["step"])})
        checkpoints.seal(folder, folder.iterdir())
    forget(done.parent)


def _scored_on(transfer: Transfer, network: Network) -> list[str]:
    """Return the languages a network is scored on, the target first."""
    own = Network("ticket", transfer.task, transfer.language)
    others = [language for language in transfer.tests if language != transfer.language]
    return [transfer.language, *(others if network in (own, Network("full")) else [])]


def _rows(
    transfer: Transfer, trial: Trial, found: Mapping[Network, tuple[dict[str, np.ndarray], int]]
) -> Iterator[dict[str, Any]]:
    own, _ = found[Network("ticket", transfer.task, transfer.language)]
    for network, (counts, steps) in found.items():
        for language in _scored_on(transfer, network):
            where = f"the test examples of {language}"
            score = trial.score(counts[language], where=where)
            change = trial.change(counts[language], own[language], where=where)
            number = score.pop("n")
            yield {
                **transfer.labels,
                "kept": WHOLE if network.kind == "full" else transfer.kept,
                "task": transfer.task,
                "trained_on": transfer.language,
                "language": language,
                "mask_kind": network.kind,
                "mask_task": network.task,
                "mask_language": network.language,
                "draw": network.draw,
                "weights": network.weights,
                **score,
                **change,
                "n": number,
                "steps": steps,
            }
