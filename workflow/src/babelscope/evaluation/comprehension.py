"""Reading comprehension without training: the answer that lies nearest to the passage."""

import logging

import numpy as np
import pandas as pd

from babelscope.errors import BabelscopeError
from babelscope.evaluation.embeddings import ROUNDING, Embeddings
from babelscope.evaluation.results import Results, Rows, language_pairs, naming
from babelscope.representations.retrieval import wilson
from babelscope.representations.rows import unit_rows

logger = logging.getLogger(__name__)


def score_reading(
    vectors: Embeddings,
    corpus: str,
    table: pd.DataFrame,
    *,
    pivot: str,
    all_pairs: bool = False,
) -> Results:
    """Return how often the right answer is nearest to the passage, in %.

    After Huang et al. (2025) on Belebele: the question, a space and an answer are embedded as one
    sentence, and the answer with the largest cosine with the passage is chosen.

    Parameters
    ----------
    vectors
        The encoder; aligned vectors where passage and question are in different languages.
    corpus
        Its name.
    table
        Columns ``language, item_id, passage, question, choices, answer``; choices is a list of
        answers, equally many everywhere, and answer the number of the right one, from 0.
    pivot
        The language that is paired with all others, and named first.
    all_pairs
        Whether all others are paired with each other, too.

    Returns
    -------
    Rows ``accuracy`` for each language; for each pair of languages ``accuracy_forward``, the
    passage in `language1` and the question in `language2`, ``accuracy_backward``, and their mean
    ``accuracy``; with intervals of Wilson (1927). Examples have the numbers of the chosen and the
    right answer.

    Raises
    ------
    BabelscopeError
        If an item has no such answers or repeats, two languages share no item, or all answers of
        every item are equally near.
    """
    rows = Rows("reading", corpus)
    parts = {}
    for language, part in table.groupby("language", sort=False):
        with naming(f"{corpus}, {language}"):
            _check(part)
        parts[str(language)] = part.set_index("item_id")
    pairs = language_pairs(list(parts), pivot, all_pairs=all_pairs)
    crossing = {language for pair in pairs for language in pair}
    for language, part in parts.items():
        for aligned in (False, True)[: 1 + (language in crossing)]:
            vectors.request(list(part["passage"]), language, aligned=aligned)
            vectors.request(_answers(part), language, aligned=aligned)
    for language, part in parts.items():
        with naming(f"{corpus}, {language}"):
            chosen = _chosen(vectors, part, part, (language, language))
        gold = part["answer"].to_numpy()
        _add(rows, (language, language), "monolingual", "accuracy", [chosen == gold])
        rows.examples(
            (language, language), "monolingual", "accuracy", list(part.index), chosen, gold
        )
    for pair in pairs:
        hits = []
        turned = pair[1], pair[0]
        for metric, sides in (("accuracy_forward", pair), ("accuracy_backward", turned)):
            where = f"{corpus}, {'-'.join(pair)}"
            with naming(where):
                passages, questions = _common(parts[sides[0]], parts[sides[1]], where)
                chosen = _chosen(vectors, passages, questions, sides)
            gold = questions["answer"].to_numpy()
            hits.append(chosen == gold)
            _add(rows, pair, "crosslingual", metric, hits[-1:])
            rows.examples(pair, "crosslingual", metric, list(questions.index), chosen, gold)
        _add(rows, pair, "crosslingual", "accuracy", hits)
    return rows.results()


def _chosen(
    vectors: Embeddings, passages: pd.DataFrame, questions: pd.DataFrame, sides: tuple[str, str]
) -> np.ndarray:
    """Return the number of the nearest answer to each passage, shape (n,)."""
    aligned = sides[0] != sides[1]
    texts = unit_rows(vectors.of(list(passages["passage"]), sides[0], aligned=aligned))
    answers = unit_rows(vectors.of(_answers(questions), sides[1], aligned=aligned))
    answers = answers.reshape(len(texts), -1, texts.shape[1])  # (n, answers, d)
    cosines = np.einsum("nd,nad->na", texts, answers).round(ROUNDING)
    if np.ptp(cosines, axis=1).max() <= 1e-9:
        raise BabelscopeError(
            "All answers are equally near to their passage.", "Check the encoder."
        )
    return cosines.argmax(axis=1)


def _answers(part: pd.DataFrame) -> list[str]:
    """Return question and answer of every choice of every item, item by item."""
    return [
        f"{question} {choice}"
        for question, choices in zip(part["question"], part["choices"], strict=True)
        for choice in choices
    ]


def _common(
    first: pd.DataFrame, second: pd.DataFrame, where: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the items that both languages have, in the order of the first."""
    shared = first.index[first.index.isin(second.index)]
    if shared.empty:
        raise BabelscopeError(
            "No item is there in both languages.", "Give the same item_id to the same content."
        )
    alone = len(first.index.union(second.index)) - len(shared)
    if alone:
        logger.warning("%s: %d items are in one of the languages only, left out", where, alone)
    return first.loc[shared], second.loc[shared]


def _check(part: pd.DataFrame) -> None:
    if part["item_id"].duplicated().any():
        twice = part["item_id"][part["item_id"].duplicated()].iloc[0]
        raise BabelscopeError(f"The item {twice} is there twice.", "Give every item its own id.")
    sizes = part["choices"].map(len)
    wrong = (sizes < 2) | (sizes != sizes.iloc[0]) | ~part["answer"].between(0, sizes - 1)
    if wrong.any():
        raise BabelscopeError(
            f"The item {part['item_id'][wrong].iloc[0]} has not {sizes.iloc[0]} answers, two or"
            " more, with the right one among them.",
            "Correct its choices, or its answer, which is counted from 0.",
        )


def _add(
    rows: Rows, languages: tuple[str, str], setting: str, metric: str, hits: list[np.ndarray]
) -> None:
    n = len(hits[0])
    share = float(np.mean([one.mean() for one in hits]))
    low, high = wilson(share, n)
    rows.score(languages, setting, metric, 100 * share, (100 * low, 100 * high), n)
