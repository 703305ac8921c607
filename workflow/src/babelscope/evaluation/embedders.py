"""The encoder of any method as a function of sentences, their language and what they are for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from babelscope.evaluation.embeddings import Embed
from babelscope.models.modular import ModularEncoder, Modules
from babelscope.models.sentence_encoders import load_encoder
from babelscope.models.sentences import speak


def load_embedder(
    folder: str | Path,
    modules: Mapping[str, Mapping[str, str]],
    *,
    codes: Mapping[str, str],
    form: Mapping[str, Any],
    batch_tokens: int,
    device: str,
    precision: str,
) -> tuple[Embed, list[str]]:
    """Load an encoder.

    Parameters
    ----------
    folder
        Of one encoder for all languages, or of the source that modules were trained on.
    modules
        By language, the folders of its modules by part; empty if there are none.
    codes
        FLORES-200 codes by language, for tokenizers that mark it. That of a module carries its own.
    form
        Keywords of :func:`~babelscope.models.sentence_encoders.load_encoder`. An encoder without
        modules keeps the head that its folder names.
    batch_tokens, device, precision
        As in :meth:`~babelscope.models.sentence_encoders.SentenceEncoder.encode`.

    Returns
    -------
    embed
        See :class:`~babelscope.evaluation.embeddings.Embeddings`.
    switching
        The languages whose vectors differ with alignment.
    """
    options: dict[str, Any] = {
        "batch_tokens": batch_tokens,
        "device": device,
        "precision": precision,
    }
    if not modules:
        encoder = load_encoder(folder, **{**form, "own_head": True})

        def embed(sentences: Sequence[str], language: str, aligned: bool) -> np.ndarray:
            speak(encoder.tokenizer, codes[language])
            return encoder.encode(sentences, **options)

        return embed, []
    parts = {
        language: Modules(**{part: Path(path) for part, path in own.items()})
        for language, own in modules.items()
    }
    modular = ModularEncoder.assemble(folder, parts, form)

    def embed_by_language(sentences: Sequence[str], language: str, aligned: bool) -> np.ndarray:
        return modular.encode(sentences, language, aligned=aligned, **options)

    return embed_by_language, [language for language, own in parts.items() if own.alignment]
