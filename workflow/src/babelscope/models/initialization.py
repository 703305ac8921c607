"""Fresh models: XLM-R's and GPT-2's architectures at any size, and any with random weights."""

import copy
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import safe_open
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from babelscope.config import Architecture
from babelscope.errors import BabelscopeError
from babelscope.models.anatomy import CAUSAL
from babelscope.seeds import derive_seed
from babelscope.tokenization.frequencies import log_frequencies

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TODAY = {"gamma": "weight", "beta": "bias"}


def build_model(
    tokenizer: "PreTrainedTokenizerBase",
    architecture: Architecture,
    *,
    window: int,
    seed: int,
    family: str = "xlm-roberta",
    counts: np.ndarray | None = None,
) -> "PreTrainedModel":
    """Return a model with random weights, its output layer tied to its embeddings.

    Parameters
    ----------
    tokenizer
        Gives the vocabulary and the special tokens.
    architecture
        Layers, heads, widths, dropout, and what positions begin with.
    window
        Longest input in tokens; below them RoBERTa has two more positions, its padding.
    seed
        Of the weights. The global generator is neither used nor moved.
    family
        Whose architecture: ``xlm-roberta`` (masked) or ``gpt2`` (left to right).
    counts
        How often each token occurs in the training text, shape (vocabulary,). An output layer with
        a bias begins with the logarithm of its probability in a unigram model.

    Raises
    ------
    BabelscopeError
        If models of the family are not built here.

    Notes
    -----
    Unlike the published models', attention weights see no dropout: on a CPU it rules out the fused
    attention kernel and its random numbers are drawn by one thread, together a quarter of a small
    model's step. Weights have the published base size's scale
    relative to the width, 0.02 at 768: with 0.02 at 128, attention begins nearly uniform and a
    small model learns later.

    An XLM-R model's positions may begin as sinusoids (Vaswani et al. 2017) and are learned from
    there. From independent random vectors, attention to neighbours must first discover which
    positions are neighbours, and a small model stays near the loss of a unigram model much longer.
    It also does where `counts` are not given, since frequencies must then be learned through the
    embeddings, which the output shares.
    """
    if family not in BUILT:
        raise BabelscopeError(
            f"Models of the family {family} are not built here; these are: {', '.join(BUILT)}.",
            "Correct the family or the source in config/models.tsv.",
        )
    kind, describe = BUILT[family]
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed)
        model = kind(describe(tokenizer, architecture, window))
    with torch.no_grad():
        if family == "xlm-roberta" and architecture.positions is not None:
            positions = model.get_parameter("roberta.embeddings.position_embeddings.weight")
            scale = architecture.positions * _scale(architecture)
            positions[-window:] = sinusoids(window, architecture.hidden, scale)
        bias = getattr(model.get_output_embeddings(), "bias", None)
        if counts is not None and bias is not None:
            bias.copy_(torch.from_numpy(log_frequencies(counts)))
    return model


def sinusoids(positions: int, width: int, size: float) -> torch.Tensor:
    """Return sines and cosines of positions, of wavelengths from 2 pi to below 2 pi times them all.

    Parameters
    ----------
    positions, width
        Shape of what is returned. The source's longest wavelength is 2 pi times 10 000, whatever
        the number of positions.
    size
        Root mean square of the values of a position, exactly where `width` is even.

    References
    ----------
    Vaswani et al. 2017, Attention Is All You Need, section 3.5.
    """
    pairs = -(-width // 2)
    frequencies = positions ** -(torch.arange(pairs) / pairs)
    angles = torch.arange(positions)[:, None] * frequencies
    waves = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width]
    return math.sqrt(2) * size * waves


def _xlm_roberta(tokenizer: Any, architecture: Architecture, window: int) -> XLMRobertaConfig:
    return XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=architecture.hidden,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        intermediate_size=architecture.intermediate,
        max_position_embeddings=window + tokenizer.pad_token_id + 1,
        type_vocab_size=1,
        hidden_dropout_prob=architecture.dropout,
        attention_probs_dropout_prob=0.0,
        layer_norm_eps=1e-5,
        initializer_range=_scale(architecture),
        tie_word_embeddings=True,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _gpt2(tokenizer: Any, architecture: Architecture, window: int) -> GPT2Config:
    return GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=architecture.hidden,
        n_layer=architecture.layers,
        n_head=architecture.heads,
        n_inner=architecture.intermediate,
        n_positions=window,
        activation_function="gelu_pytorch_tanh",  # GPT-2's in one operation, not in eight
        embd_pdrop=architecture.dropout,
        resid_pdrop=architecture.dropout,
        attn_pdrop=0.0,
        initializer_range=_scale(architecture),
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _scale(architecture: Architecture) -> float:
    return 0.02 * math.sqrt(768 / architecture.hidden)


BUILT: dict[str, tuple[Any, Any]] = {  # by family, the class and what makes its configuration
    "xlm-roberta": (XLMRobertaForMaskedLM, _xlm_roberta),
    "gpt2": (GPT2LMHeadModel, _gpt2),
}


def randomize_model(folder: str | Path, *, seed: int) -> "PreTrainedModel":
    """Return a model of a saved model's architecture with random weights, in eval mode.

    Only its configuration is read: the sinusoids and frequencies that :func:`build_model` begins
    with are not there. The weights are drawn as the architecture prescribes, from a seed of their
    own: with that of :func:`build_model` they would be the ones that a built model's training began
    with, and resemble what it ended with.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    kind = AutoModelForCausalLM if config.model_type in CAUSAL else AutoModelForMaskedLM
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(derive_seed(seed, "random"))
        return kind.from_config(config, trust_remote_code=False, dtype=torch.float32).eval()


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
