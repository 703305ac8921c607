"""Fresh models: XLM-R's architecture at any size, and any model with random weights."""

import copy
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoConfig, AutoModelForMaskedLM, XLMRobertaConfig, XLMRobertaForMaskedLM

from babelscope.config import Architecture
from babelscope.seeds import derive_seed

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TODAY = {"gamma": "weight", "beta": "bias"}


def build_model(
    tokenizer: "PreTrainedTokenizerBase", architecture: Architecture, *, window: int, seed: int
) -> "PreTrainedModel":
    """Return a model of XLM-R's architecture with random weights.

    Parameters
    ----------
    tokenizer
        Gives the vocabulary and the special tokens.
    architecture
        Layers, heads and widths.
    window
        Longest input in tokens; the two positions below are RoBERTa's padding.
    seed
        Of the weights.

    Notes
    -----
    Unlike XLM-R, attention weights see no dropout (hidden states do, 0.1 as there): on a CPU it
    rules out the fused attention kernel and its random numbers are drawn by one thread, together a
    quarter of a small model's step. Weights have XLM-R-base's scale relative to the width, 0.02 at
    768: with 0.02 at 128, attention begins nearly uniform and a small model learns later.
    """
    special: Any = tokenizer  # its ids are declared wider than they are
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=architecture.hidden,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        intermediate_size=architecture.intermediate,
        max_position_embeddings=window + special.pad_token_id + 1,
        type_vocab_size=1,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.0,
        layer_norm_eps=1e-5,
        initializer_range=0.02 * math.sqrt(768 / architecture.hidden),
        tie_word_embeddings=True,
        bos_token_id=special.cls_token_id,
        eos_token_id=special.sep_token_id,
        pad_token_id=special.pad_token_id,
    )
    torch.manual_seed(seed)
    return XLMRobertaForMaskedLM(config)


def randomize_model(folder: str | Path, *, seed: int) -> "PreTrainedModel":
    """Return a model of a saved model's architecture with random weights, in eval mode.

    Only its configuration is read. The weights are drawn as the architecture prescribes, from a
    seed of their own: with that of :func:`build_model` they would be the ones that a built model's
    training began with, and resemble what it ended with.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    torch.manual_seed(derive_seed(seed, "random"))
    return AutoModelForMaskedLM.from_config(config, dtype=torch.float32).eval()


def randomize_body(model: nn.Module, folder: str | Path, *, seed: int) -> None:
    """Draw anew, in place, the weights that a model took from a folder; its task's head stays.

    Parameters
    ----------
    model
        A transformers model.
    folder
        Whose weights it was loaded with. What lies outside its base model and is not in the folder
        is the head of a task.
    seed
        Of the weights, which are drawn as the architecture prescribes.
    """
    stored: set[str] = set()
    for path in Path(folder).glob("*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            stored.update(map(_renamed, file.keys()))
    body = {id(parameter) for parameter in getattr(model, "base_model", model).parameters()}
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "random"))
        kind: Any = type(model)
        fresh = dict(kind(copy.deepcopy(model.config)).named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if id(parameter) in body or name in stored:
                parameter.copy_(fresh[name])


def _renamed(name: str) -> str:
    """Return what a parameter is called today; multilingual BERT's file has the names of 2018."""
    return re.sub(r"LayerNorm\.(gamma|beta)$", lambda old: f"LayerNorm.{TODAY[old[1]]}", name)
