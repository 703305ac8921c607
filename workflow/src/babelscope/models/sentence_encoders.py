"""Sentence encoders: a network, how its states become one vector, and folders that hold them.

A folder is that of sentence-transformers, so that ``SentenceTransformer(folder)`` gives the same
vectors without this package.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from babelscope.errors import BabelscopeError
from babelscope.io import atomic, read_json
from babelscope.models.adapters import ParallelAdapter, has_adapter
from babelscope.models.loading import (
    load_config,
    load_tokenizer,
    model_class,
    read_model,
    without_report,
)
from babelscope.models.lora import loras
from babelscope.models.modes import arithmetic, evaluating
from babelscope.models.sentences import (
    LIKE_ROBERTA,
    POOLINGS,
    length_batches,
    pad,
    pool_tokens,
    tokenize,
    window_of,
)
from babelscope.progress import progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

FAMILIES = ("bert", "roberta", "xlm-roberta", "m2m_100")
POSITIONS_FROM_PADDING = (*LIKE_ROBERTA, "m2m_100")  # counted from the id of the padding

# Names of sentence-transformers for our poolings, and the older ones, of one flag each.
POOLING_NAMES = {"mean": "mean", "first": "cls", "last": "lasttoken", "max": "max"}
POOLING_FLAGS = {
    "mean": "pooling_mode_mean_tokens",
    "first": "pooling_mode_cls_token",
    "last": "pooling_mode_lasttoken",
    "max": "pooling_mode_max_tokens",
}
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "torch.nn.modules.activation.Tanh": nn.Tanh,
    "torch.nn.modules.linear.Identity": nn.Identity,
    "torch.nn.modules.activation.GELU": nn.GELU,
}
PROMPTS = ("query", "document")


class SentenceEncoder(nn.Module):
    """A network with the steps from its last states to one vector per sentence.

    Parameters
    ----------
    network
        The encoder body, without a head; called with ids and attention mask, its result has
        ``last_hidden_state``.
    tokenizer
        Its tokenizer.
    pooling
        ``mean``, ``first``, ``last`` or ``max``, as in ``representations.encoding.pool``.
    dense
        Applied to the pooled vector; a linear layer and an activation.
    normalize
        Divide the result by its length.
    prefix
        Put before every sentence, such as ``query: ``.
    max_tokens
        Longer sentences, special tokens included, are cut.
    adapter
        One that is on the network, so that it moves and is trained with the encoder.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: "PreTrainedTokenizerBase",
        *,
        pooling: str,
        max_tokens: int,
        dense: nn.Module | None = None,
        normalize: bool = False,
        prefix: str = "",
        adapter: ParallelAdapter | None = None,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"unknown pooling {pooling}; known: {', '.join(POOLINGS)}")
        self.network = network
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.dense = dense
        self.normalize = normalize
        self.prefix = prefix
        self.max_tokens = max_tokens
        self.adapter = adapter

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return one vector per sentence, shape (batch, d).

        Parameters
        ----------
        input_ids, attention_mask
            Shape (batch, time), as :meth:`batch` makes them, on the network's device.
        """
        states = self.network(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        vectors = pool_tokens(states, attention_mask.bool(), self.pooling)
        if self.dense is not None:
            vectors = self.dense(vectors)
        return nn.functional.normalize(vectors, dim=-1) if self.normalize else vectors

    def batch(self, sentences: Sequence[str]) -> dict[str, torch.Tensor]:
        """Return sentences as ids, padded on the right, with their attention mask.

        Both are int64 tensors of the shape (sentences, tokens of the longest), on the CPU.

        Raises
        ------
        BabelscopeError
            If there is no sentence, or one is empty or has no tokens.
        """
        batch, tokens = pad(self._ids(sentences)[0], self._padding())
        return {"input_ids": batch, "attention_mask": tokens.long()}

    def encode(
        self,
        sentences: Sequence[str],
        *,
        batch_tokens: int,
        device: str | torch.device = "cpu",
        precision: str = "float32",
    ) -> np.ndarray:
        """Encode sentences in batches of similar length, without dropout or gradients.

        A vector does not depend on what else is in its batch, up to rounding.

        Parameters
        ----------
        sentences
            At least one; none may be empty.
        batch_tokens
            Most tokens in a batch, padding included; a longer sentence is a batch by itself.
        device
            Such as ``cpu`` or ``cuda``; the encoder is moved there.
        precision
            ``float32``, or ``bf16`` or ``fp16`` by autocast.

        Returns
        -------
        Shape (sentences, d), float32, row i for sentence i.

        Raises
        ------
        BabelscopeError
            If there is no sentence, one is empty, or a vector is not finite.
        """
        device = torch.device(device)
        ids, truncated = self._ids(sentences)
        if truncated:
            logger.warning(
                "%d of %d sentences cut to %d tokens", truncated, len(ids), self.max_tokens
            )
        self.to(device)
        batches = list(length_batches([len(one) for one in ids], batch_tokens))
        vectors = torch.empty(0)
        with torch.inference_mode(), evaluating(self), arithmetic(self, precision):
            for rows in progress(batches, "batches"):
                batch, tokens = pad([ids[row] for row in rows], self._padding())
                found = self(batch.to(device), tokens.long().to(device)).float()
                if not vectors.numel():
                    vectors = found.new_empty(len(ids), found.shape[1])
                vectors[torch.tensor(rows, device=device)] = found
        if not torch.isfinite(vectors).all():
            raise BabelscopeError(
                f"The encoder gave vectors that are not finite with precision {precision}.",
                "Use compute.precision: float32, or bf16.",
            )
        return vectors.cpu().numpy()

    def _padding(self) -> int:
        padding: Any = self.tokenizer.pad_token_id
        return 0 if padding is None else padding

    def _ids(self, sentences: Sequence[str]) -> tuple[list[torch.Tensor], int]:
        """Return the ids of each sentence and how many were cut; refuse those that say nothing."""
        if isinstance(sentences, str):
            raise ValueError("one string where a list of sentences is expected")
        ids, truncated = tokenize(
            self.tokenizer, [self.prefix + sentence for sentence in sentences], self.max_tokens
        )
        # No more tokens than the prefix alone is rare, and only then it is worth a closer look.
        least = len(self.tokenizer(self.prefix)["input_ids"])  # pyright: ignore
        for row, (sentence, found) in enumerate(zip(sentences, ids, strict=True)):
            silent = len(found) <= least and not self.tokenizer.tokenize(sentence)
            if silent or not sentence.strip():
                raise BabelscopeError(
                    f"Sentence {row} (counted from 0) has no tokens: {sentence!r}.",
                    "Remove it from the text.",
                )
        return ids, truncated


def load_encoder(
    path: str | Path,
    *,
    pooling: str = "mean",
    own_head: bool = True,
    prefix: str = "",
    max_tokens: int | None = None,
) -> SentenceEncoder:
    """Load a sentence encoder in eval mode and float32; its weights from safetensors alone.

    Parameters
    ----------
    path
        A folder of sentence-transformers, which has a ``modules.json``, or one of transformers,
        whose head is left out.
    pooling
        Of a folder of transformers; the other kind names its own.
    own_head
        Of a folder of sentence-transformers, whether its pooling and what comes after it are taken,
        too; else it is pooled as `pooling` says, and that is all.
    prefix
        Put before every sentence instead of the folder's default prompt, if not empty.
    max_tokens
        Longer sentences are cut; by default, and at most, what folder and network allow.

    Raises
    ------
    BabelscopeError
        If the folder lacks something, or does what a :class:`SentenceEncoder` cannot.
    """
    folder = Path(path)
    if not (folder / "modules.json").is_file():
        return _assemble(folder, pooling, None, False, prefix, max_tokens)
    modules = _modules(folder)
    settings = _settings(folder / modules[0][1])
    limit = settings.get("max_seq_length")
    limits = [one for one in (max_tokens, limit) if one is not None]
    dense = [_read_dense(folder / where) for kind, where in modules if kind == "Dense" and own_head]
    return _assemble(
        folder / modules[0][1],
        _read_pooling(folder / modules[1][1]) if own_head else pooling,
        dense[0] if dense else None,
        modules[-1][0] == "Normalize" and own_head,
        prefix or _default_prompt(folder),
        min(limits) if limits else None,
    )


def _assemble(
    folder: Path,
    pooling: str,
    dense: nn.Module | None,
    normalize: bool,
    prefix: str,
    max_tokens: int | None,
) -> SentenceEncoder:
    network = _read_network(folder)
    tokenizer = load_tokenizer(folder)
    if len(tokenizer) > network.get_input_embeddings().num_embeddings:
        raise BabelscopeError(
            f"{folder} has a tokenizer of {len(tokenizer)} tokens, but only"
            f" {network.get_input_embeddings().num_embeddings} embeddings.",
            "Put the tokenizer that belongs to the weights beside them.",
        )
    window = window_of(network, tokenizer)
    encoder = SentenceEncoder(
        network,
        tokenizer,
        pooling=pooling,
        dense=dense,
        normalize=normalize,
        prefix=prefix,
        max_tokens=window if max_tokens is None else min(window, max_tokens),
    )
    return encoder.eval()


def _read_network(folder: Path) -> Any:
    """Return the encoder body of a folder of transformers, in eval mode and float32."""
    from transformers import AutoModel
    from transformers.models.m2m_100.modeling_m2m_100 import M2M100Encoder

    config = load_config(folder)
    if config.model_type not in FAMILIES:
        raise BabelscopeError(
            f"{folder} is a {config.model_type} model, which is no sentence encoder here.",
            f"Choose one of: {', '.join(FAMILIES)}.",
        )
    with without_report():
        if config.model_type != "m2m_100":
            kind: Any = AutoModel._model_mapping[type(config)]  # pyright: ignore
            return read_model(folder, kind, torch.float32, add_pooling_layer=False)
        if config.architectures == ["M2M100Encoder"]:
            return read_model(folder, M2M100Encoder, torch.float32)
        return read_model(folder, model_class(folder, config), torch.float32).get_encoder()


def _modules(folder: Path) -> list[tuple[str, str]]:
    """Return kind and subfolder of each step that a ``modules.json`` lists."""
    path = folder / "modules.json"
    try:
        found = [(str(one["type"]).rsplit(".", 1)[-1], str(one["path"])) for one in read_json(path)]
    except (KeyError, TypeError):
        raise BabelscopeError(
            f"{path} is no list of modules with type and path.", "Make or fetch the folder anew."
        ) from None
    kinds = [kind for kind, _ in found]
    known = ["Transformer", "Pooling", *(["Dense"] if "Dense" in kinds else [])]
    if kinds not in (known, [*known, "Normalize"]):
        raise BabelscopeError(
            f"{path} lists {', '.join(kinds) or 'nothing'}.",
            "Choose a model of Transformer, Pooling, at most one Dense, at most one Normalize.",
        )
    return found


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "sentence_bert_config.json"
    settings = read_json(path) if path.is_file() else {}
    task = settings.get("transformer_task", "feature-extraction")
    if settings.get("do_lower_case") or task != "feature-extraction":
        what = "lower case" if settings.get("do_lower_case") else task
        raise BabelscopeError(
            f"{path} asks for {what}, which is not known here.", "Choose a model without it."
        )
    return settings


def _default_prompt(folder: Path) -> str:
    path = folder / "config_sentence_transformers.json"
    settings = read_json(path) if path.is_file() else {}
    name = settings.get("default_prompt_name")
    if name is None:
        return ""
    if name not in settings.get("prompts", {}):
        raise BabelscopeError(
            f"{path}: the default prompt {name} is not among the prompts.", "Add it there."
        )
    return settings["prompts"][name]


def _read_pooling(folder: Path) -> str:
    settings = read_json(folder / "config.json")
    if "pooling_mode" in settings:
        named = settings["pooling_mode"]
        chosen = [named] if isinstance(named, str) else list(named)
        found = [how for how, name in POOLING_NAMES.items() if [name] == chosen]
    else:
        chosen = [flag for flag, on in settings.items() if flag.startswith("pooling_mode_") and on]
        found = [how for how, flag in POOLING_FLAGS.items() if [flag] == chosen]
    if not found or settings.get("include_prompt") is False:
        raise BabelscopeError(
            f"{folder}/config.json pools by {', '.join(chosen)}"
            f"{' without the prompt' if found else ''}, which is not known here.",
            f"Choose a model that pools by one of: {', '.join(POOLING_NAMES.values())}.",
        )
    return found[0]


def _read_dense(folder: Path) -> nn.Sequential:
    settings = read_json(folder / "config.json")
    activation = settings["activation_function"]
    plain = "sentence_embedding"
    if (
        activation not in ACTIVATIONS
        or settings.get("use_residual")
        or {settings.get(f"module_{side}_name", plain) for side in ("input", "output")} != {plain}
    ):
        raise BabelscopeError(
            f"{folder}/config.json describes a layer that is not known here ({activation}).",
            f"Choose a model with one of: {', '.join(ACTIVATIONS)}.",
        )
    path = folder / "model.safetensors"
    if not path.is_file():
        raise BabelscopeError(
            f"{folder} has no model.safetensors; weights are never read from pickle files.",
            "Choose a revision that has it.",
        )
    sizes = settings["in_features"], settings["out_features"]
    linear = nn.utils.skip_init(nn.Linear, *sizes, bias=settings["bias"])
    try:
        weights = load_file(path)
        linear.load_state_dict({name.removeprefix("linear."): one for name, one in weights.items()})
    except (RuntimeError, SafetensorError) as error:
        raise BabelscopeError(
            f"{path} does not hold the layer that its config.json describes ({error}).",
            "Make or fetch the folder anew.",
        ) from error
    return nn.Sequential(linear, ACTIVATIONS[activation]())


def save_encoder(encoder: SentenceEncoder, folder: str | Path) -> None:
    """Write an encoder as a folder from which sentence-transformers makes the same vectors.

    Parameters
    ----------
    encoder
        Its network must be a plain one: LoRA merged, adapters folded or detached.
    folder
        Replaced if it exists.
    """
    if loras(encoder.network):
        raise ValueError("the network has LoRA inside: merge_lora first")
    if has_adapter(encoder.network):
        raise ValueError("the network has an adapter: fold it in or detach it first")
    with atomic(folder) as made:
        made.mkdir()
        encoder.network.save_pretrained(made)
        encoder.tokenizer.save_pretrained(made)
        steps = ["Transformer", "Pooling"]
        _write(
            made / "sentence_bert_config.json",
            {"max_seq_length": encoder.max_tokens, "do_lower_case": False},
        )
        _write(
            made / "config_sentence_transformers.json",
            {
                "prompts": dict.fromkeys(PROMPTS, encoder.prefix),
                "default_prompt_name": PROMPTS[-1] if encoder.prefix else None,
                "similarity_fn_name": "cosine",
            },
        )
        _write(
            made / "1_Pooling" / "config.json",
            {"word_embedding_dimension": encoder.network.config.hidden_size}
            | {flag: how == encoder.pooling for how, flag in POOLING_FLAGS.items()}
            | {"include_prompt": True},
        )
        if encoder.dense is not None:
            steps.append("Dense")
            _write_dense(encoder.dense, made / "2_Dense")
        if encoder.normalize:
            steps.append("Normalize")
            (made / f"{len(steps) - 1}_Normalize").mkdir()
        _write(
            made / "modules.json",
            [
                {
                    "idx": number,
                    "name": str(number),
                    "path": f"{number}_{kind}" if number else "",
                    "type": f"sentence_transformers.models.{kind}",
                }
                for number, kind in enumerate(steps)
            ],
        )


def _write_dense(dense: Any, folder: Path) -> None:
    linear, activation = dense
    names = {kind: name for name, kind in ACTIVATIONS.items()}
    _write(
        folder / "config.json",
        {
            "in_features": linear.in_features,
            "out_features": linear.out_features,
            "bias": linear.bias is not None,
            "activation_function": names[type(activation)],
        },
    )
    weights = {f"linear.{name}": one.contiguous() for name, one in linear.state_dict().items()}
    save_file(weights, folder / "model.safetensors")


def _write(path: Path, document: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", "utf-8")
