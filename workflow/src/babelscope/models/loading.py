"""Model folders: which class one holds, weights from safetensors alone, no code from the hub."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from babelscope.config import ENCODERS, TEXT_TO_TEXT
from babelscope.errors import BabelscopeError
from babelscope.seeds import derive_seed

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

# Kinds of heads that a pretrained network can be given, and the families that have them: those
# that see a text whole. A head on a left-to-right network sees what its padding lets it see.
HEADS = {
    "token": "AutoModelForTokenClassification",
    "sequence": "AutoModelForSequenceClassification",
}
HEADED = (*ENCODERS, *TEXT_TO_TEXT)

# How an architecture's name ends, and the name of the mapping from configurations to classes.
KINDS = (
    ("ForMaskedLM", "AutoModelForMaskedLM"),
    ("ForPreTraining", "AutoModelForMaskedLM"),
    ("ForCausalLM", "AutoModelForCausalLM"),
    ("LMHeadModel", "AutoModelForCausalLM"),
    ("ForConditionalGeneration", "AutoModelForSeq2SeqLM"),
    ("ForSequenceClassification", "AutoModelForSequenceClassification"),
    ("ForTokenClassification", "AutoModelForTokenClassification"),
    ("EncoderModel", "AutoModelForTextEncoding"),
    ("Model", "AutoModel"),
)


def load_config(path: str | Path) -> "PretrainedConfig":
    """Return the configuration of a model folder."""
    from transformers import AutoConfig

    if not (Path(path) / "config.json").is_file():
        raise BabelscopeError(f"{path} has no config.json.", "Name a folder that holds a model.")
    try:
        return AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise BabelscopeError(
            f"{path}/config.json cannot be used ({error}).",
            "Choose a model that transformers knows without code from the hub.",
        ) from error


def model_class(path: str | Path, config: "PretrainedConfig") -> type[Any]:
    """Return the transformers class of a model folder, by the architecture its config names."""
    import transformers

    architecture = (config.architectures or ["none"])[0]
    for ending, auto in KINDS:
        if architecture.endswith(ending):
            mapping = getattr(transformers, auto)._model_mapping
            if type(config) in mapping:
                found = mapping[type(config)]
                return found[0] if isinstance(found, tuple | list) else found
    raise BabelscopeError(
        f"{path}/config.json names the architecture {architecture}, which is not known here.",
        f"Use one that ends in {', '.join(ending for ending, _ in KINDS)}.",
    )


def read_model(path: str | Path, kind: type[Any], dtype: torch.dtype, **options: Any) -> Any:
    """Read a folder's weights into a model of the given class, in eval mode.

    Further options go to its constructor, such as ``add_pooling_layer``.

    Raises
    ------
    BabelscopeError
        If the folder has no safetensors weights, or they lack some that the model has: transformers
        would fill those in at random.
    """
    model, missing = _read(path, kind, dtype=dtype, **options)
    if missing:
        raise _lacks(path, kind, missing)
    return model


def load_with_head(path: str | Path, head: str, *, labels: Sequence[str], seed: int) -> Any:
    """Load a folder's network with a head that tells labels apart, in eval mode and float32.

    Parameters
    ----------
    path
        A folder with ``config.json`` and safetensors weights, under whatever head.
    head
        ``token`` (a label for every token) or ``sequence`` (one for the text).
    labels
        What the head tells apart, in the order of its outputs.
    seed
        Of the head's weights, and of those of a pooler that the folder lacks; both are drawn as
        the architecture prescribes. Without such a head in the folder, the head is a function of
        the seed and its shape; the global generator is neither used nor moved.

    Raises
    ------
    BabelscopeError
        If the family has no such head, or the folder lacks weights of its body.
    """
    import transformers

    config = load_config(path)
    family = config.model_type
    if family not in HEADED:
        raise BabelscopeError(
            f"{path} is a {family} model, which has no head for a label of every {head} here; these"
            f" have: {', '.join(HEADED)}.",
            "Choose another model for this task, or take the task out of tickets.tasks.",
        )
    kind = getattr(transformers, HEADS[head])._model_mapping[type(config)]
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    with torch.random.fork_rng([]), without_report():
        torch.default_generator.manual_seed(derive_seed(seed, "head"))
        model, missing = _read(path, kind, dtype=torch.float32, config=config)
    prefix = f"{model.base_model_prefix}."
    body = [
        name
        for name in missing
        if name.startswith(prefix) and not name.startswith(f"{prefix}pooler.")
    ]
    if body:
        raise _lacks(path, kind, body)
    logger.info("%s: new weights for %s", path, ", ".join(missing) or "nothing")
    return model


def _read(path: str | Path, kind: type[Any], **options: Any) -> tuple[Any, list[str]]:
    """Return a folder's model in eval mode, and the names of the weights the folder lacks."""
    folder = Path(path)
    if not any((folder / f"model.safetensors{end}").is_file() for end in ("", ".index.json")):
        raise BabelscopeError(
            f"{path} has no model.safetensors; weights are never read from pickle files.",
            "Convert it: from_pretrained(folder), then save_pretrained(folder).",
        )
    try:
        model, report = kind.from_pretrained(
            path,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise BabelscopeError(
            f"The weights in {path} cannot be loaded as {kind.__name__} ({reason}).",
            "Make or fetch the folder anew.",
        ) from error
    return model.eval(), sorted(report["missing_keys"])


def _lacks(path: str | Path, kind: type[Any], missing: list[str]) -> BabelscopeError:
    return BabelscopeError(
        f"{path} lacks {len(missing)} weights of {kind.__name__}, such as {missing[0]}.",
        "Choose a checkpoint of the architecture its config.json names.",
    )


@contextmanager
def without_report() -> Iterator[None]:
    """Keep transformers from telling that a head is new or left out, where that is the point."""
    from transformers.utils import logging as reports

    before = reports.get_verbosity()
    reports.set_verbosity_error()
    try:
        yield
    finally:
        reports.set_verbosity(before)


def load_tokenizer(path: str | Path) -> "PreTrainedTokenizerBase":
    """Return the tokenizer of a model folder.

    Raises
    ------
    BabelscopeError
        If the folder has none, or no vocabulary: transformers then makes up one that knows nothing
        but special tokens.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
        if len(tokenizer) <= len(tokenizer.all_special_ids):
            raise ValueError(f"no vocabulary but {len(tokenizer)} special tokens")
        return tokenizer
    except Exception as error:  # the tokenizers library raises nothing more special
        raise BabelscopeError(
            f"{path} has no usable tokenizer ({str(error).strip() or type(error).__name__}).",
            "Put tokenizer.json and tokenizer_config.json beside the model.",
        ) from error
