"""Training encoders on pairs of sentences: a language's module, or one network for all."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from babelscope.config import PairTraining
from babelscope.io import write_table
from babelscope.models.checksums import checksum
from babelscope.models.lora import add_lora, merge_lora
from babelscope.models.modular import (
    SENTENCE,
    Form,
    Modules,
    build_encoder,
    save_sentence_module,
)
from babelscope.models.sentence_encoders import SentenceEncoder, load_encoder, save_encoder
from babelscope.tasks.base import Batch
from babelscope.training import checkpoints
from babelscope.training.contrastive import ranking_loss
from babelscope.training.fitting import fit
from babelscope.training.pairs import (
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


class Paraphrases:
    """Telling the paraphrase of a sentence from the others of its batch and from hard negatives.

    Parameters
    ----------
    name
        Of what is trained, for messages.
    settings
        Say how a batch goes through the network.
    """

    def __init__(self, name: str, settings: PairTraining) -> None:
        self.name = name
        self.settings = settings

    def batch(self, examples: Tokens, rows: Rows, *, seed: int, epoch: int) -> Batch:
        """Return texts as tensors; nothing in them is random."""
        anchors, positives, negatives = rows.texts.T
        columns = {"anchor": anchors, "positive": positives, "negative": negatives[negatives >= 0]}
        return text_batch(examples, columns, self.settings)

    def losses(self, model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss summed over anchors, and their number."""
        vectors = vectors_of(model, batch, self.settings)
        anchors, positives, negatives = (
            vectors[batch[name].to(vectors.device, non_blocking=True)]
            for name in ("anchor", "positive", "negative")
        )
        loss = ranking_loss(anchors, positives, negatives if len(negatives) else None)
        count = torch.tensor(len(anchors))
        return loss * count, count


def train_encoder(
    source: str | Path,
    module: str | Path,
    pairs: Sequence[str | Path],
    output: str | Path,
    history: str | Path,
    *,
    language: str,
    kind: str,
    lora: Mapping[str, Any],
    settings: PairTraining,
    form: Form,
    folder: str | Path,
    seed: int,
    version: int,
    device: str = "cpu",
    precision: str = "float32",
) -> pd.DataFrame:
    """Train the sentence module of a language on top of its language module, and write it.

    Parameters
    ----------
    source
        Folder of the encoder that the language module was trained on.
    module
        Folder of the language module, which stays as it is.
    pairs
        Files of :func:`~babelscope.training.pairs.read_pairs`; their data sets take turns.
    output
        Folder of the sentence module.
    history
        Table to write, the one that is returned.
    language
        Its code.
    kind
        ``lora``: a low-rank adapter beside the language's, all else frozen; ``full``: all
        parameters of the network, embeddings too.
    lora
        `rank`, `alpha` and `dropout`; not read by ``full``.
    settings
        Of the training.
    form
        How the source's states become vectors: keywords of
        :func:`~babelscope.models.sentence_encoders.load_encoder`.
    folder
        For checkpoints, from which a killed training goes on; removed at the end.
    seed
        Of the order of the pairs, of dropout and of the adapter's first weights.
    version
        Of what the output means; a checkpoint of another one is not gone on from.
    device, precision
        As in :func:`~babelscope.training.fitting.fit`.

    Returns
    -------
    pandas.DataFrame
        The history, as of :func:`~babelscope.training.fitting.fit`.

    Raises
    ------
    BabelscopeError
        If the module does not fit the source, there are no pairs, another process uses the
        checkpoints, a loss is not finite, or a signal arrived.
    """
    _check_kind(kind)
    fingerprint = {
        "source": checksum(source),
        "module": checksum(module),
        "descriptions": [checkpoints.description(path) for path in (source, module)],
        "version": version,
        "language": language,
        "kind": kind,
        "lora": dict(lora) if kind == "lora" else None,
        "form": dict(form),
    } | fingerprint_of(pairs, settings, seed, precision)
    with checkpoints.locked(folder):
        checkpoints.prepare(folder, fingerprint)
        encoder = build_encoder(source, Modules(Path(module)), form=form, name=language)
        if kind == "lora":
            add_lora(encoder.network, SENTENCE, seed=seed, **lora)
        else:
            merge_lora(encoder.network)
            encoder.network.requires_grad_(True)
        found = read_pairs(pairs, [language])
        rows = _train(
            encoder,
            found,
            _streams(found, settings, seed),
            language,
            settings,
            folder=Path(folder),
            seed=seed,
            device=device,
            precision=precision,
        )
        base = checksum(module)
        save_sentence_module(output, encoder.network, language=language, base=base)
        write_table(history, rows)
        checkpoints.remove(folder)
    return rows


def train_whole_encoder(
    source: str | Path,
    pairs: Sequence[str | Path],
    output: str | Path,
    history: str | Path,
    *,
    languages: Mapping[str, str],
    mixed: int,
    settings: PairTraining,
    form: Form,
    folder: str | Path,
    seed: int,
    version: int,
    device: str = "cpu",
    precision: str = "float32",
) -> pd.DataFrame:
    """Train all parameters of an encoder on pairs of many languages, and write it.

    Parameters
    ----------
    source
        Folder of the encoder to begin with.
    pairs
        Files of :func:`~babelscope.training.pairs.read_pairs`.
    output
        Folder of the encoder, for sentence-transformers.
    history
        Table to write, the one that is returned.
    languages
        Whose pairs: FLORES-200 codes by language, for tokenizers that mark it.
    mixed
        Languages in a batch, at most. With 1, batches are of one data set in one language, which
        all take turns; with more, of one data set, each text in one of the languages that were
        drawn for the batch.
    settings, form, folder, seed, version, device, precision
        As in :func:`train_encoder`.

    Returns
    -------
    pandas.DataFrame
        The history.

    Raises
    ------
    BabelscopeError
        As :func:`train_encoder`, and if languages are mixed whose rows are not the same content.
    """
    if mixed < 1:
        raise ValueError(f"{mixed} languages in a batch")
    fingerprint = {
        "source": checksum(source),
        "languages": dict(languages),
        "mixed": mixed,
        "description": checkpoints.description(source),
        "version": version,
        "form": dict(form),
    } | fingerprint_of(pairs, settings, seed, precision)
    with checkpoints.locked(folder):
        checkpoints.prepare(folder, fingerprint)
        encoder = load_encoder(source, **form)
        encoder.requires_grad_(True)
        found = read_pairs(pairs, list(languages), aligned=mixed > 1)
        rows = _train(
            encoder,
            found,
            _streams(found, settings, seed, mixed),
            "one encoder of " + ", ".join(languages),
            settings,
            spoken=[(languages[one], numbers) for one, numbers in found.spoken.items()],
            folder=Path(folder),
            seed=seed,
            device=device,
            precision=precision,
        )
        save_encoder(encoder, output)
        write_table(history, rows)
        checkpoints.remove(folder)
    return rows


def _check_kind(kind: str) -> None:
    if kind not in ("lora", "full"):
        raise ValueError(f"kind is {kind!r}; known: lora, full")


def _streams(pairs: Pairs, settings: PairTraining, seed: int, mixed: int = 1) -> list[Stream]:
    return [
        Stream(
            f"{one.name}, {', '.join(one.languages)}",
            one.texts,
            speaking(0, 0) if mixed == 1 else mixing(len(one.languages), mixed),
            size=settings.batch_size,
            seed=seed,
        )
        for one in pairs.sets
    ]


def _train(
    encoder: SentenceEncoder,
    pairs: Pairs,
    streams: Sequence[Stream],
    name: str,
    settings: PairTraining,
    *,
    spoken: Sequence[tuple[str, range]] | None = None,
    folder: Path,
    seed: int,
    device: str,
    precision: str,
) -> pd.DataFrame:
    wanted = np.concatenate([one.texts.ravel() for one in streams])
    tokens = Tokens(encoder, pairs.texts, wanted, settings.max_tokens, spoken)
    rows = fit(
        encoder,
        Paraphrases(name, settings),
        tokens,
        settings,
        rate=settings.lr,
        seed=seed,
        device=device,
        precision=precision,
        order=Turns([streams], settings),
        folder=folder,
    )
    return pd.DataFrame(rows)
