"""Modular sentence encoders: one body for all languages, and what each language has of its own.

A language has a vocabulary with its embeddings and a LoRA (or a body of its own), a LoRA for
encoding sentences, and an adapter that aligns it with the pivot, which can be left out. Each of
these is a folder that names, by a checksum, the weights it was trained on.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import nn

from babelscope.errors import BabelscopeError
from babelscope.io import atomic, read_arrays, read_json, write_arrays, write_json
from babelscope.models.adapters import ParallelAdapter
from babelscope.models.checksums import checksum
from babelscope.models.loading import load_tokenizer
from babelscope.models.lora import activate_lora, load_lora, loras, merge_lora, save_lora
from babelscope.models.sentence_encoders import (
    POSITIONS_FROM_PADDING,
    SentenceEncoder,
    load_encoder,
    save_encoder,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LANGUAGE = "language"  # names of the LoRAs in a network that is trained
SENTENCE = "sentence"
ALIGNMENT = "alignment"
EMBEDDINGS = "embeddings.safetensors"
BODY = "body.safetensors"
MODULE = "module.json"
WHOLE = "modular.json"
SOURCE = "source"

Form = Mapping[str, Any]
PLAIN: Form = {}


@dataclass(frozen=True)
class Modules:
    """The folders of one language's modules; `alignment` is None for the pivot."""

    language: Path
    sentence: Path | None = None
    alignment: Path | None = None

    def present(self) -> dict[str, Path]:
        """Return the folders that there are, by part, in the order in which they were trained."""
        return {part: Path(path) for part, path in asdict(self).items() if path is not None}


def body_of(network: nn.Module) -> Any:
    """Return an encoder without the head that may be on it."""
    found: Any = network
    if found.config.model_type == "m2m_100":
        return found.get_encoder() if hasattr(found, "get_encoder") else found
    return found.base_model


def save_language_module(
    folder: str | Path,
    network: nn.Module,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    language: str,
    base: str,
) -> None:
    """Write a language's vocabulary, embeddings and LoRA, or all weights if there is no LoRA.

    Parameters
    ----------
    folder
        Replaced if it exists.
    network
        With or without a head, which is left out; its LoRA, if any, is named ``language``.
    tokenizer
        Whose ids the embeddings have.
    language
        Its code.
    base
        :func:`~babelscope.models.checksums.checksum` of the source's folder.

    Raises
    ------
    ValueError
        If the tokenizer has more tokens than there are embeddings.
    """
    size = len(_embeddings(network))
    if len(tokenizer) > size:
        raise ValueError(f"a tokenizer of {len(tokenizer)} tokens with {size} embeddings")
    with atomic(folder) as made:
        made.mkdir()
        tokenizer.save_pretrained(made)
        _write_embeddings(network, made)
        kind = _write_body(network, LANGUAGE, made)
        document = {"kind": kind, "language": language, "base": base, "vocabulary": size}
        write_json(made / MODULE, document)


def save_sentence_module(
    folder: str | Path, network: nn.Module, *, language: str, base: str
) -> None:
    """Write what encoding sentences added: the LoRA ``sentence``, or all weights if there is none.

    `base` is the checksum of the language module; the other parameters are as in
    :func:`save_language_module`.
    """
    with atomic(folder) as made:
        made.mkdir()
        kind = _write_body(network, SENTENCE, made)
        if kind == "full":
            _write_embeddings(network, made)
        write_json(made / MODULE, {"kind": kind, "language": language, "base": base})


def save_alignment_module(
    folder: str | Path, adapter: ParallelAdapter, *, language: str, strategy: str, base: str
) -> None:
    """Write an adapter that aligns a language with the pivot.

    Parameters
    ----------
    folder
        Replaced if it exists.
    adapter
        As it was trained.
    language
        Its code.
    strategy
        ``paraphrase``, ``parallel`` or ``both``.
    base
        Checksum of the sentence module.
    """
    with atomic(folder) as made:
        made.mkdir()
        adapter.save(made)
        document = {
            "kind": "parallel-adapter",
            "reduction": adapter.reduction,
            "scale": adapter.scale,
            "language": language,
            "strategy": strategy,
            "base": base,
        }
        write_json(made / MODULE, document)


def _embeddings(network: Any) -> torch.Tensor:
    return body_of(network).get_input_embeddings().weight


def _write_embeddings(network: nn.Module, folder: Path) -> None:
    write_arrays(folder / EMBEDDINGS, {"weight": _embeddings(network).detach().cpu().numpy()})


def _write_body(network: nn.Module, name: str, folder: Path) -> str:
    """Write a LoRA, or the whole body where no LoRA is, and return the kind of the module."""
    present = loras(network)
    if name in present:
        save_lora(network, name, folder)
        return "lora"
    if present:
        raise ValueError(f"no LoRA named {name}, but {present}: merge_lora first")
    weights = {key: value.cpu().numpy() for key, value in _own(body_of(network)).items()}
    write_arrays(folder / BODY, weights)
    return "full"


def _own(body: Any) -> dict[str, torch.Tensor]:
    """Return the weights of a body but its word embeddings and pooler, which no encoder reads."""
    words = body.get_input_embeddings().weight
    return {
        name: value.detach()
        for name, value in body.state_dict(keep_vars=True).items()
        if value is not words and not name.startswith("pooler.")
    }


def build_encoder(
    source: str | Path,
    modules: Modules,
    *,
    form: Form = PLAIN,
    aligned: bool = False,
    name: str = "",
) -> SentenceEncoder:
    """Put the modules of one language together into an encoder of its own, in eval mode.

    Its LoRAs are named ``language`` and ``sentence`` and lie in the network; the alignment adapter
    is the encoder's `adapter`. All of them are frozen.

    Parameters
    ----------
    source
        Folder of the encoder that the language modules were trained on.
    modules
        The language's folders.
    form
        How states become vectors: keywords of
        :func:`~babelscope.models.sentence_encoders.load_encoder`.
    aligned
        Use the alignment adapter, if there is one.
    name
        The language's code, for messages; by default not checked.

    Raises
    ------
    BabelscopeError
        If a module was trained on others than these, or does not fit.
    """
    check_modules(checksum(source), modules, name=name)
    return _build(load_encoder(source, **form), modules, aligned=aligned)


def _build(encoder: SentenceEncoder, modules: Modules, *, aligned: bool) -> SentenceEncoder:
    """Turn a freshly loaded source into the encoder of one language."""
    network, parts = encoder.network, modules.present()
    kinds = {part: read_json(path / MODULE)["kind"] for part, path in parts.items()}
    encoder.tokenizer = load_tokenizer(parts[LANGUAGE])
    encoder.max_tokens = min(encoder.max_tokens, encoder.tokenizer.model_max_length)
    whole = [part for part, kind in kinds.items() if kind == "full"]
    _put_embeddings(network, parts[whole[-1] if whole else LANGUAGE], encoder.tokenizer)
    if whole:
        _put_body(network, parts[whole[-1]])
    for part in (LANGUAGE, SENTENCE):
        # What lies below weights that were saved whole is in them.
        if kinds.get(part) == "lora" and not (part == LANGUAGE and SENTENCE in whole):
            load_lora(network, part, parts[part])
    if aligned and ALIGNMENT in parts:
        encoder.adapter = read_alignment(network, parts[ALIGNMENT])
    return encoder.requires_grad_(False).eval()


def read_alignment(network: nn.Module, folder: str | Path) -> ParallelAdapter:
    """Return an alignment module's adapter, on a network and switched on."""
    document = read_json(Path(folder) / MODULE)
    adapter = ParallelAdapter(network, reduction=document["reduction"], scale=document["scale"])
    try:
        adapter.load(folder)
    except BabelscopeError:
        adapter.detach()
        raise
    return adapter.eval()


def check_modules(base: str, modules: Modules, *, name: str = "") -> None:
    """Refuse modules that were not trained one on top of the other.

    Parameters
    ----------
    base
        Checksum of the source's folder.
    modules
        The language's folders.
    name
        The language's code, if the modules must be of that one.

    Raises
    ------
    BabelscopeError
        If one is missing, of another language, or was trained on another base.
    """
    below = "the source"
    for part, path in modules.present().items():
        if not (path / MODULE).is_file():
            raise BabelscopeError(
                f"{path} has no {MODULE}.", f"Name the folder of a {part} module."
            )
        document = read_json(path / MODULE)
        if name and document["language"] != name:
            raise BabelscopeError(
                f"{path} is a module of {document['language']}, not of {name}.",
                "Name the modules of the same language.",
            )
        if document["base"] != base:
            raise BabelscopeError(
                f"{path} was trained on other weights (checksum {document['base']}) than those of"
                f" {below} (checksum {base}).",
                "Train it on these, or name those it was trained on.",
            )
        base, below = checksum(path), str(path)


def _put_embeddings(network: Any, folder: Path, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Give a body the word embeddings of a module; the module that looks them up stays."""
    embedding = network.get_input_embeddings()
    path = folder / EMBEDDINGS
    weight = torch.from_numpy(read_arrays(path)["weight"])
    if weight.shape[1] != embedding.weight.shape[1] or len(weight) < len(tokenizer):
        raise BabelscopeError(
            f"{path} has the shape {tuple(weight.shape)}; the network needs"
            f" {embedding.weight.shape[1]} columns, and the tokenizer {len(tokenizer)} rows.",
            "Use a module that was trained on this network, with its own tokenizer.",
        )
    padding, before = tokenizer.pad_token_id, network.config.pad_token_id
    if network.config.model_type in POSITIONS_FROM_PADDING and padding != before:
        raise BabelscopeError(
            f"{folder} pads with id {padding}, but the network counts positions from {before}.",
            "Train the tokenizer with the source's special tokens in the source's order.",
        )
    embedding.weight = nn.Parameter(weight.to(embedding.weight.device), requires_grad=False)
    embedding.num_embeddings = len(weight)
    network.config.vocab_size = len(weight)
    network.config.pad_token_id = padding


def _put_body(network: Any, folder: Path) -> None:
    path = folder / BODY
    arrays, weights = read_arrays(path), _own(network)
    found = {name: array.shape for name, array in arrays.items()}
    wanted = {name: tuple(value.shape) for name, value in weights.items()}
    for name in sorted({*found, *wanted}):
        if found.get(name) != wanted.get(name):
            raise BabelscopeError(
                f"{path} does not fit the network: {name} is {found.get(name, 'missing')}, not"
                f" {wanted.get(name, 'there')}.",
                "Use a module that was trained on this network.",
            )
    with torch.no_grad():
        for name, value in weights.items():
            value.copy_(torch.from_numpy(arrays[name]))


class ModularEncoder:
    """Sentence encoders of many languages on one body, with and without alignment.

    Parameters
    ----------
    source
        Folder of the encoder that all language modules were trained on.
    modules
        By language.
    form
        As in :func:`build_encoder`.
    """

    def __init__(
        self, source: str | Path, modules: Mapping[str, Modules], form: Form = PLAIN
    ) -> None:
        self.source = Path(source)
        self.modules = dict(modules)
        self.form = dict(form)
        base = checksum(source)
        for language, own in self.modules.items():
            check_modules(base, own, name=language)
        self._shared: SentenceEncoder | None = None
        self._whole: tuple[tuple[str, bool], SentenceEncoder] | None = None

    @classmethod
    def assemble(
        cls, source: str | Path, modules: Mapping[str, Modules], form: Form = PLAIN
    ) -> Self:
        """Return an encoder of modules in folders, which must stay where they are.

        Raises
        ------
        BabelscopeError
            If a module is missing or was trained on another base.
        """
        return cls(source, modules, form)

    @property
    def languages(self) -> list[str]:
        """Languages that have modules."""
        return list(self.modules)

    def select(self, language: str, *, aligned: bool) -> SentenceEncoder:
        """Return the encoder of one language.

        Languages share one body in memory, so it must not be used any more once another one is
        selected.

        Parameters
        ----------
        language
            One of `languages`.
        aligned
            With its alignment adapter; the pivot has none and is the same either way.

        Raises
        ------
        BabelscopeError
            If the language has no modules, or they do not fit the body.
        """
        modules = self._modules(language)
        kinds = [read_json(path / MODULE)["kind"] for path in modules.present().values()]
        if "full" in kinds:  # nothing to share
            key = language, aligned
            if self._whole is None or self._whole[0] != key:
                self._whole = None  # the last one makes room first
                self._whole = (
                    key,
                    _build(load_encoder(self.source, **self.form), modules, aligned=aligned),
                )
            return self._whole[1]
        if self._shared is None:
            self._shared = load_encoder(self.source, **self.form).requires_grad_(False)
        shared, parts = self._shared, modules.present()
        if shared.adapter is not None:
            shared.adapter.detach()
        tokenizer = load_tokenizer(parts[LANGUAGE])
        _put_embeddings(shared.network, parts[LANGUAGE], tokenizer)
        own = [part for part in (LANGUAGE, SENTENCE) if part in parts]
        for part in own:
            load_lora(shared.network, part, parts[part])
        activate_lora(shared.network, own)
        adapter = None
        if aligned and ALIGNMENT in parts:
            adapter = read_alignment(shared.network, parts[ALIGNMENT])
        shared.adapter = adapter
        encoder = SentenceEncoder(
            shared.network,
            tokenizer,
            pooling=shared.pooling,
            max_tokens=min(shared.max_tokens, tokenizer.model_max_length),
            dense=shared.dense,
            normalize=shared.normalize,
            prefix=shared.prefix,
            adapter=adapter,
        )
        return encoder.requires_grad_(False).eval()

    def _modules(self, language: str) -> Modules:
        if language not in self.modules:
            raise BabelscopeError(
                f"There is no module for {language}; there are modules for"
                f" {', '.join(self.modules)}.",
                "Train one, or take the language out.",
            )
        return self.modules[language]

    def encode(
        self,
        sentences: Sequence[str],
        languages: str | Sequence[str],
        *,
        aligned: bool,
        batch_tokens: int,
        device: str | torch.device = "cpu",
        precision: str = "float32",
    ) -> np.ndarray:
        """Encode sentences of one or several languages, in the order they come in.

        Parameters
        ----------
        sentences
            At least one; none may be empty.
        languages
            Of all of them, or of each.
        aligned
            As in :meth:`select`; for comparisons across languages.
        batch_tokens, device, precision
            As in :meth:`SentenceEncoder.encode`.

        Returns
        -------
        Shape (sentences, d), float32.

        Raises
        ------
        BabelscopeError
            If a language has no modules, or a sentence is empty.
        """
        named = [languages] * len(sentences) if isinstance(languages, str) else list(languages)
        if len(named) != len(sentences):
            raise ValueError(f"{len(named)} languages for {len(sentences)} sentences")
        for language in dict.fromkeys(named):
            self._modules(language)
        vectors: np.ndarray | None = None
        for language in dict.fromkeys(named):
            rows = [row for row, one in enumerate(named) if one == language]
            encoder = self.select(language, aligned=aligned)
            found = encoder.encode(
                [sentences[row] for row in rows],
                batch_tokens=batch_tokens,
                device=device,
                precision=precision,
            )
            if vectors is None:
                vectors = np.empty((len(named), found.shape[1]), np.float32)
            vectors[rows] = found
        if vectors is None:
            raise BabelscopeError("There are no sentences to encode.", "Check the text.")
        return vectors

    def export(self, language: str, folder: str | Path, *, aligned: bool) -> None:
        """Write one language's encoder as a plain folder of sentence-transformers.

        LoRAs are merged into the weights and the adapter is folded into wider feed-forward parts,
        so that the folder needs nothing of this package.
        """
        encoder = _build(
            load_encoder(self.source, **self.form), self._modules(language), aligned=aligned
        )
        merge_lora(encoder.network)
        if encoder.adapter is not None:
            encoder.adapter.fold()
            encoder.adapter = None
        save_encoder(encoder, folder)

    def save(self, folder: str | Path) -> None:
        """Copy the source and all modules into one folder, with a ``modular.json``."""
        with atomic(folder) as made:
            shutil.copytree(self.source, made / SOURCE)
            for language, modules in self.modules.items():
                for part, path in modules.present().items():
                    shutil.copytree(path, made / language / part)
            parts = {language: list(own.present()) for language, own in self.modules.items()}
            write_json(made / WHOLE, {"languages": parts, "form": self.form})

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the encoder that :meth:`save` wrote.

        Raises
        ------
        BabelscopeError
            If the folder lacks something, or its modules do not belong together.
        """
        folder = Path(folder)
        if not (folder / WHOLE).is_file():
            raise BabelscopeError(
                f"{folder} has no {WHOLE}.", "Name a folder that a modular encoder was saved in."
            )
        document = read_json(folder / WHOLE)
        modules = {
            language: Modules(**{part: folder / language / part for part in parts})
            for language, parts in document["languages"].items()
        }
        return cls(folder / SOURCE, modules, document["form"])
