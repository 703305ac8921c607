"""Which task it is, for which family of networks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from babelscope.config import TEXT_TO_TEXT
from babelscope.errors import BabelscopeError
from babelscope.io import read_json
from babelscope.tasks.base import Task


def make_task(
    name: str,
    settings: Mapping[str, Any],
    folder: str | Path,
    *,
    train: Sequence[str | Path] = (),
) -> Task:
    """Return a task for the networks of a model.

    Parameters
    ----------
    name
        ``mlm``, ``ner`` or ``nli``.
    settings
        The section ``tasks.{name}`` of the configuration, as plain values; `form` and `max_tokens`
        are read. Other models than T5 and mT5 answer by a label, whatever the form.
    folder
        Of the model, with its ``config.json`` and tokenizer.
    train
        For ``ner``, the training files of all languages: the tags in them are the scheme, so that
        a network of one language can be scored on another.

    Raises
    ------
    BabelscopeError
        If the model cannot do the task.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise BabelscopeError(f"{folder} has no config.json.", "Name a folder that holds a model.")
    family = read_json(path).get("model_type")
    if family is None:
        raise BabelscopeError(
            f"{path} does not name its model_type.", "Make or fetch the folder anew."
        )
    text_to_text = family in TEXT_TO_TEXT
    if name == "mlm" and text_to_text:
        from babelscope.tasks.span_corruption import SpanCorruption

        return SpanCorruption(folder)
    if name == "mlm":
        from babelscope.tasks.mlm import MaskedLanguageModelling

        return MaskedLanguageModelling(folder)
    if name == "ner":
        from babelscope.tasks.ner import NamedEntities, read_scheme

        return NamedEntities(folder, read_scheme(train), max_tokens=settings["max_tokens"])
    if name == "nli" and text_to_text and settings["form"] != "label":
        from babelscope.tasks.nli_text import TextInference

        return TextInference(folder, form=settings["form"], max_tokens=settings["max_tokens"])
    if name == "nli":
        from babelscope.tasks.nli import Inference

        return Inference(folder, max_tokens=settings["max_tokens"])
    raise ValueError(f"task is {name!r}; known: mlm, ner, nli")
