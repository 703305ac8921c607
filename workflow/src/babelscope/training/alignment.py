"""Training the adapter that brings a language's sentences to where the pivot's are.

Nothing but the adapter moves. The pivot answers each of its sentences with the same vector in every
epoch, so its vectors are computed once, before the first step, and read from a file.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open

from babelscope.config import PairTraining
from babelscope.io import write_arrays, write_table
from babelscope.models.adapters import ParallelAdapter
from babelscope.models.checksums import checksum
from babelscope.models.modular import Form, Modules, build_encoder, save_alignment_module
from babelscope.models.sentence_encoders import SentenceEncoder
from babelscope.tasks.base import Batch
from babelscope.training import checkpoints
from babelscope.training.contrastive import cosine_loss, ranking_loss
from babelscope.training.fitting import fit
from babelscope.training.pairs import (
    Draw,
    Pairs,
    Rows,
    Stream,
    Tokens,
    Turns,
    fingerprint_of,
    mixing,
    read_pairs,
    speaking,
    text_batch,
    vectors_of,
)

logger = logging.getLogger(__name__)

STRATEGIES = ("paraphrase", "parallel", "both")
PIVOT = "pivot.safetensors"
TARGET, OTHER = 0, 1  # places of the two languages in what read_pairs gives


class PivotVectors:
    """Vectors of the pivot's texts, mapped from a file of the checkpoint folder.

    Parameters
    ----------
    folder
        Where the file is; it is made if it is not there.
    encoder
        The pivot's; it is only read, in eval mode.
    texts
        By number.
    wanted
        Numbers of those that will be asked for.
    max_tokens
        Longer ones are cut.
    batch_tokens, device, precision
        As in :meth:`~babelscope.models.sentence_encoders.SentenceEncoder.encode`.
    """

    def __init__(
        self,
        folder: Path,
        encoder: SentenceEncoder,
        texts: Sequence[str],
        wanted: np.ndarray,
        *,
        max_tokens: int,
        batch_tokens: int,
        device: str,
        precision: str,
    ) -> None:
        wanted = np.unique(wanted[wanted >= 0])
        self.places = np.full(len(texts), -1)
        self.places[wanted] = np.arange(len(wanted))
        path = folder / PIVOT
        if not path.is_file():
            logger.info("embedding %d texts of the pivot", len(wanted))
            encoder.max_tokens = min(encoder.max_tokens, max_tokens)
            numbers: list[int] = wanted.tolist()
            found = encoder.encode(
                [texts[number] for number in numbers],
                batch_tokens=batch_tokens,
                device=device,
                precision=precision,
            )
            write_arrays(path, {"vectors": found})
        with safe_open(path, framework="pt") as file:
            self.vectors: torch.Tensor = file.get_tensor("vectors")  # mapped, not read

    def __getitem__(self, numbers: np.ndarray) -> torch.Tensor:
        """Return the vectors of texts by number, shape (numbers, d)."""
        return self.vectors[torch.from_numpy(self.places[numbers])]


class Alignment:
    """Meeting the pivot: paraphrases among others by ranking, translations by their cosine.

    Texts of both languages may be anchors and compete as candidates. The target's vectors are
    computed with gradients, the pivot's are read.

    Parameters
    ----------
    language
        The target's, for messages.
    pivot
        The pivot's vectors.
    settings
        Say how a batch goes through the network.
    """

    def __init__(self, language: str, pivot: PivotVectors, settings: PairTraining) -> None:
        self.name = f"the alignment of {language}"
        self.pivot = pivot
        self.settings = settings

    def batch(self, examples: Tokens, rows: Rows, *, seed: int, epoch: int) -> Batch:
        """Return the target's texts as tensors, with the pivot's vectors.

        ``anchor`` and what follows it are places among the vectors of both, the target's first.
        """
        there = rows.texts >= 0
        ours, theirs = (there & (rows.languages == language) for language in (TARGET, OTHER))
        columns = {"target": rows.texts[ours]}
        batch: dict[str, torch.Tensor] = dict(text_batch(examples, columns, self.settings))
        batch["pivot"] = self.pivot[rows.texts[theirs]]
        places = torch.full(there.shape, -1)
        places[torch.from_numpy(ours)] = batch.pop("target")
        places[torch.from_numpy(theirs)] = torch.arange(ours.sum(), there.sum())
        anchors, positives, negatives = places.T
        if rows.parallel:
            return batch | {"anchor": anchors, "translation": positives}
        negatives = negatives[negatives >= 0]
        return batch | {"anchor": anchors, "positive": positives, "negative": negatives}

    def losses(self, model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss summed over anchors, and their number."""
        ours = vectors_of(model, batch, self.settings)
        vectors = torch.cat([ours, batch["pivot"].to(ours.device, non_blocking=True)])
        named = {
            name: vectors[batch[name].to(vectors.device, non_blocking=True)]
            for name in ("anchor", "positive", "negative", "translation")
            if name in batch
        }
        anchors = named["anchor"]
        if "translation" in named:
            loss = cosine_loss(anchors, named["translation"])
        else:
            negatives = named["negative"] if len(named["negative"]) else None
            loss = ranking_loss(anchors, named["positive"], negatives)
        count = torch.tensor(len(anchors))
        return loss * count, count


def train_alignment_adapter(
    source: str | Path,
    target: Modules,
    pivot: Modules,
    pairs: Sequence[str | Path],
    output: str | Path,
    history: str | Path,
    *,
    language: str,
    pivot_language: str,
    strategy: str,
    adapter: Mapping[str, Any],
    settings: PairTraining,
    form: Form,
    batch_tokens: int,
    folder: str | Path,
    seed: int,
    version: int,
    device: str = "cpu",
    precision: str = "float32",
) -> pd.DataFrame:
    """Train the adapter that aligns a language with the pivot, and write it.

    Parameters
    ----------
    source
        Folder of the encoder that all language modules were trained on.
    target, pivot
        Language and sentence modules of both, which stay as they are.
    pairs
        Files of :func:`~babelscope.training.pairs.read_pairs` that have both languages, row by row.
    output
        Folder of the alignment module.
    history
        Table to write, the one that is returned.
    language, pivot_language
        Their codes.
    strategy
        ``paraphrase``: a sentence of either language and its paraphrase in the other, by the
        ranking loss, with hard negatives of both; ``parallel``: a sentence of the target and its
        translation, by the cosine loss; ``both``: such batches in alternation.
    adapter
        `reduction` and `scale`.
    settings, form, folder, seed, version, device, precision
        As in :func:`~babelscope.training.sentence_encoders.train_encoder`.
    batch_tokens
        Tokens per batch of the pivot's sentences, padding included.

    Returns
    -------
    pandas.DataFrame
        The history; the loss of both kinds of batches is in one column.

    Raises
    ------
    BabelscopeError
        If modules do not fit, pairs of the two languages are not the same content, another process
        uses the checkpoints, a loss is not finite, or a signal arrived.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy is {strategy!r}; known: {', '.join(STRATEGIES)}")
    if target.sentence is None or pivot.sentence is None:
        raise ValueError("both languages need a sentence module")
    fingerprint = {
        "source": checksum(source),
        "target": [checksum(path) for path in target.present().values()],
        "pivot": [checksum(path) for path in pivot.present().values()],
        "descriptions": [
            checkpoints.description(path)
            for path in (source, *target.present().values(), *pivot.present().values())
        ],
        "version": version,
        "languages": [language, pivot_language],
        "strategy": strategy,
        "adapter": dict(adapter),
        "form": dict(form),
    } | fingerprint_of(pairs, settings, seed, precision)
    folder = Path(folder)
    with checkpoints.locked(folder):
        checkpoints.prepare(folder, fingerprint)
        found = read_pairs(pairs, [language, pivot_language], aligned=True)
        groups = streams_of(found, strategy, settings, seed)
        streams = [stream for group in groups for stream in group]
        ours, theirs = (
            np.concatenate([one.texts[language].ravel() for one in streams])
            for language in (TARGET, OTHER)
        )
        vectors = PivotVectors(
            folder,
            build_encoder(source, pivot, form=form, name=pivot_language),
            found.texts,
            theirs,
            max_tokens=settings.max_tokens,
            batch_tokens=batch_tokens,
            device=device,
            precision=precision,
        )
        encoder = build_encoder(source, target, form=form, name=language)
        encoder.adapter = ParallelAdapter(encoder.network, seed=seed, **adapter)
        rows = fit(
            encoder,
            Alignment(language, vectors, settings),
            Tokens(encoder, found.texts, ours, settings.max_tokens),
            settings,
            rate=settings.lr,
            seed=seed,
            device=device,
            precision=precision,
            order=Turns(groups, settings),
            folder=folder,
        )
        base = checksum(target.sentence)
        save_alignment_module(
            output, encoder.adapter, language=language, strategy=strategy, base=base
        )
        table = pd.DataFrame(rows)
        write_table(history, table)
        checkpoints.remove(folder)
    return table


def streams_of(
    pairs: Pairs, strategy: str, settings: PairTraining, seed: int
) -> list[list[Stream]]:
    """Return the batches that a strategy alternates between: of each data set in turn.

    For each row of paraphrases it is drawn in which language the anchor is, the positive being in
    the other, and in which the hard negative is (Huang et al. 2025).

    Parameters
    ----------
    pairs
        Data sets in the target's language and the pivot's, in this order.
    strategy
        ``paraphrase``, ``parallel`` or ``both``.
    settings
        Give the size of a batch.
    seed
        Of the order and the languages.
    """
    kinds: dict[str, Draw] = {"paraphrase": mixing(2, 2), "parallel": speaking(TARGET, OTHER)}
    return [
        [
            Stream(
                f"{one.name}, {kind}",
                _translations(one.texts) if kind == "parallel" else one.texts,
                draw,
                size=settings.batch_size,
                seed=seed,
                parallel=kind == "parallel",
            )
            for one in pairs.sets
        ]
        for kind, draw in kinds.items()
        if strategy in (kind, "both")
    ]


def _translations(texts: np.ndarray) -> np.ndarray:
    """Return every text of both languages beside its translation, each such pair once.

    From and to shape (2, rows, 3); the result's anchors are its positives, and nothing is negative.
    """
    there = texts[0] >= 0
    both = np.unique(texts[:, there], axis=1)  # (2, texts)
    return np.stack([both, both, np.full_like(both, -1)], axis=2)
