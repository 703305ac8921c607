"""Corpora that sentence encoders are judged by, each kind as a table of its own shape."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from babelscope.corpus.bitext import read_bitext, read_mining
from babelscope.corpus.comprehension import read_comprehension
from babelscope.corpus.similarity import read_similarity
from babelscope.corpus.topics import read_topics


def read_evaluation(
    files: Mapping[str, str],
    *,
    kind: str,
    format: str,
    id_column: str,
    parts: Mapping[str, tuple[str, float, float]],
    labels: Sequence[str],
    codes: Mapping[str, str],
    pivot: str,
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Read an evaluation corpus.

    Parameters
    ----------
    files
        Paths by language, or by two languages; then, where there are several, by the name of a
        file in `parts`, and by the number of the file among those that belong together: ``de``,
        ``de/en``, ``de/test``, ``zh/en/dev/3``.
    kind
        ``sts``: :func:`~babelscope.corpus.similarity.read_similarity`. ``bitext`` and ``mining``:
        :func:`~babelscope.corpus.bitext.read_bitext` and
        :func:`~babelscope.corpus.bitext.read_mining`. ``topics``:
        :func:`~babelscope.corpus.topics.read_topics`. ``reading``:
        :func:`~babelscope.corpus.comprehension.read_comprehension`.
    format, id_column, pivot
        As those readers take them.
    parts
        By split, ``train`` and ``test``, the name of its file and the shares of it, for mining and
        topics.
    labels
        The lowest and the highest score, for sts.
    codes
        What the corpus calls each language, for bitext.

    Returns
    -------
    table, counts
        As the readers return them: the rows, and what was found, left out and kept.

    Raises
    ------
    BabelscopeError
        As the readers do.
    """
    if kind == "sts":
        low, high = map(float, labels)
        return read_similarity(
            files, format=format, scale=(low, high), id_column=id_column, pivot=pivot
        )
    if kind == "bitext":
        return read_bitext(files, format=format, codes=codes)
    if kind == "mining":
        return read_mining(files, parts=parts)
    if kind == "topics":
        return read_topics(files, format=format, id_column=id_column, parts=parts)
    if kind == "reading":
        return read_comprehension(files)
    raise ValueError(f"no reader of evaluation corpora of the kind {kind!r}")
