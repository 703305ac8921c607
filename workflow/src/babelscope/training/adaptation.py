"""Adapting an encoder to a language by masked-language modelling: embeddings and an adapter."""

import logging
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from babelscope.config import Training
from babelscope.errors import BabelscopeError
from babelscope.io import read_arrays, read_json, write_table
from babelscope.models.checksums import checksum
from babelscope.models.loading import load_config, load_tokenizer, model_class, read_model
from babelscope.models.lora import add_lora
from babelscope.models.modular import LANGUAGE, body_of, save_language_module
from babelscope.models.sentence_encoders import load_encoder
from babelscope.models.vocabulary import replace_vocabulary
from babelscope.seeds import derive_seed
from babelscope.tokenization.matching import vocabulary_size
from babelscope.tokenization.packing import check_positions, read_chunks
from babelscope.training import checkpoints
from babelscope.training.data import TrainingStream, masking_of, validation_batches
from babelscope.training.mlm import train_mlm
from babelscope.training.runs import HARMLESS

logger = logging.getLogger(__name__)

EMBEDDINGS = "embeddings.safetensors"


class MaskedEncoder(nn.Module):
    """An encoder of a family without masked-language models, under a head like BERT's.

    Parameters
    ----------
    network
        The encoder; the output layer is tied to its word embeddings.
    seed
        Of the head's weights.
    """

    def __init__(self, network: Any, seed: int) -> None:
        super().__init__()
        words = network.get_input_embeddings().weight
        vocabulary, width = words.shape
        with torch.random.fork_rng([]):
            torch.manual_seed(derive_seed(seed, "head"))
            self.lm_head = nn.Sequential(
                nn.Linear(width, width),
                nn.GELU(),
                nn.LayerNorm(width),
                nn.utils.skip_init(nn.Linear, width, vocabulary),
            )
        output = self.get_output_embeddings()
        output.weight = words
        nn.init.zeros_(output.bias)
        self.base_model = network
        self.config = network.config

    def forward(self, input_ids: torch.Tensor) -> SimpleNamespace:
        """Return the `logits` over the vocabulary, shape (batch, time, vocabulary)."""
        states = self.base_model(input_ids=input_ids).last_hidden_state
        return SimpleNamespace(logits=self.lm_head(states))

    def get_input_embeddings(self) -> Any:
        """Return the word embeddings."""
        return self.base_model.get_input_embeddings()

    def get_output_embeddings(self) -> Any:
        """Return the output layer."""
        return self.lm_head[-1]

    def activation_checkpointing_enable(self, *arguments: Any) -> None:
        """Recompute activations in the backward pass."""
        self.base_model.activation_checkpointing_enable(*arguments)


def load_masked_encoder(source: str | Path, *, seed: int) -> Any:
    """Return an encoder under a masked-language-model head, in eval mode and float32.

    Parameters
    ----------
    source
        A folder that :func:`~babelscope.models.sentence_encoders.load_encoder` reads. Its own head
        is used if it has one that belongs to a masked-language model.
    seed
        Of the head's weights otherwise; the global generator is neither used nor moved.
    """
    from transformers import AutoModelForMaskedLM

    folder = _network_folder(source)
    config = load_config(folder)
    if config.model_type == "m2m_100":
        return MaskedEncoder(load_encoder(source).network, seed).eval()
    kind: Any = AutoModelForMaskedLM._model_mapping[type(config)]  # pyright: ignore
    if model_class(folder, config) is kind:
        return read_model(folder, kind, torch.float32)
    network = load_encoder(source).network
    network.config.tie_word_embeddings = True
    with torch.random.fork_rng([]):
        torch.manual_seed(derive_seed(seed, "head"))
        model = kind(network.config)
    model.base_model.load_state_dict(network.state_dict())
    return model.eval()


def _network_folder(source: str | Path) -> Path:
    """Return where an encoder's network is: sentence-transformers may have it in a subfolder."""
    listed = Path(source) / "modules.json"
    return Path(source) / read_json(listed)[0]["path"] if listed.is_file() else Path(source)


def adapt_language(
    source: str | Path,
    start: str | Path,
    train: str | Path,
    valid: str | Path,
    output: str | Path,
    history: str | Path,
    *,
    language: str,
    kind: str,
    lora: Mapping[str, Any],
    settings: Training,
    folder: str | Path,
    seed: int,
    version: int,
    device: str = "cpu",
    precision: str = "float32",
) -> pd.DataFrame:
    """Train the language module of a language, and write it.

    Parameters
    ----------
    source
        Folder of the encoder to adapt. A head that it lacks is made for the training; none is kept.
    start
        Folder of the language's tokenizer and of the embeddings that its tokens begin with.
    train, valid
        Files of chunks, of that tokenizer.
    output
        Folder of the language module.
    history
        Table to write, the one that is returned.
    language
        Its code.
    kind
        ``lora``: the word embeddings and a low-rank adapter are trained; ``full``: everything.
    lora
        `rank`, `alpha` and `dropout`; not read by ``full``.
    settings
        Of the training.
    folder
        For checkpoints, from which a killed training goes on; removed at the end.
    seed
        Of order, masks, dropout, and new weights.
    version
        Of what the output means; a checkpoint of another one is not gone on from.
    device, precision
        As in :func:`~babelscope.training.mlm.train_mlm`.

    Returns
    -------
    pandas.DataFrame
        The history, as of :func:`~babelscope.training.mlm.train_mlm`.

    Raises
    ------
    BabelscopeError
        If embeddings, tokenizer, chunks and source do not fit each other, another process uses the
        checkpoints, a loss is not finite, or a signal arrived.
    """
    if kind not in ("lora", "full"):
        raise ValueError(f"kind is {kind!r}; known: lora, full")
    base = checksum(source)
    fingerprint = {
        "source": base,
        "start": checkpoints.checksum(Path(start) / EMBEDDINGS),
        "descriptions": [checkpoints.description(path) for path in (source, start)],
        "version": version,
        "chunks": [checkpoints.checksum(path) for path in (train, valid)],
        "language": language,
        "kind": kind,
        "lora": dict(lora) if kind == "lora" else None,
        "settings": settings.model_dump(exclude=HARMLESS),
        "seed": seed,
        "precision": precision,
    }
    with checkpoints.locked(folder):
        checkpoints.prepare(folder, fingerprint)
        tokenizer = load_tokenizer(start)
        arrays = read_arrays(Path(start) / EMBEDDINGS)
        chunks = {
            path: _chunks(path, vocabulary_size(tokenizer), language) for path in (train, valid)
        }
        check_positions(_network_folder(source), chunks[train].shape[1], key="encoders.window")
        model = load_masked_encoder(source, seed=seed)
        replace_vocabulary(model, tokenizer, arrays["weight"], arrays["matched"])
        network = body_of(model.base_model)
        if kind == "lora":
            add_lora(network, LANGUAGE, seed=seed, **lora)
            network.get_input_embeddings().weight.requires_grad_(True)
        masking = masking_of(tokenizer, share=settings.mask_share, whole_words=settings.whole_words)
        examples = settings.train_examples
        validation = validation_batches(
            chunks[valid],
            masking,
            examples=settings.valid_examples,
            batch_size=settings.batch_size,
        )
        rows = train_mlm(
            model,
            TrainingStream({language: chunks[train]}, masking, seed=seed, examples=examples),
            {language: validation},
            settings,
            folder=folder,
            seed=seed,
            device=device,
            precision=precision,
            reports=f"{output}.reports",
        )
        save_language_module(output, network, tokenizer, language=language, base=base)
        write_table(history, rows)
        checkpoints.remove(folder)
    return rows


def _chunks(path: str | Path, vocabulary: int, language: str) -> np.ndarray:
    chunks = read_chunks(path)
    if int(chunks.max(initial=0)) >= vocabulary:
        raise BabelscopeError(
            f"{path} has token {int(chunks.max())}, but the tokenizer of {language} has"
            f" {vocabulary} tokens.",
            "Pack the text anew with this tokenizer.",
        )
    return chunks
