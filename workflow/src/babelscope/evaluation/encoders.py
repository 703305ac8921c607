"""Every corpus that an encoder is judged by, in one call."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pandas as pd

from babelscope.errors import BabelscopeError
from babelscope.evaluation.bitext import score_bitext, score_mining
from babelscope.evaluation.classification import score_topics
from babelscope.evaluation.comprehension import score_reading
from babelscope.evaluation.embeddings import Embed, Embeddings
from babelscope.evaluation.language_bias import score_retrieval_bias, score_similarity_bias
from babelscope.evaluation.results import Results, joined, language_pairs
from babelscope.evaluation.structure import score_structure
from babelscope.evaluation.sts import score_sts
from babelscope.progress import progress
from babelscope.representations.retrieval import Margin
from babelscope.seeds import derive_seed

logger = logging.getLogger(__name__)

KINDS = ("sts", "bitext", "mining", "topics", "reading", "parallel")


@dataclass(frozen=True)
class EvaluationSettings:
    """How encoders are judged.

    Attributes
    ----------
    resamples, seed
        Of the bootstrap, and of choices of examples.
    k, margin
        Of retrieval; see `margin_retrieval`.
    all_pairs
        Whether languages are paired with each other too, and not with the pivot alone, where a
        corpus has all of them.
    draws
        Training sets of the topic classifier.
    blocks
        Of the jackknife of structure.
    sentences
        Most sentences of a parallel corpus by which structure and language bias are measured, whose
        cost grows with their square; the seed chooses them.
    """

    resamples: int
    seed: int
    k: int = 4
    margin: Margin = "ratio"
    all_pairs: bool = False
    draws: int = 5
    blocks: int = 20
    sentences: int = 1000

    def __post_init__(self) -> None:
        if self.margin not in get_args(Margin):
            raise ValueError(f"unknown margin {self.margin}; known: {get_args(Margin)}")


def evaluate_encoder(
    embed: Embed,
    corpora: Mapping[str, tuple[str, pd.DataFrame]],
    *,
    languages: Sequence[str],
    pivot: str,
    settings: EvaluationSettings,
    switching: Collection[str] | None = None,
) -> Results:
    """Score an encoder on every corpus.

    Parameters
    ----------
    embed
        Maps sentences, their language and whether they are compared with other languages' to
        vectors; see `Embeddings`. Each corpus is embedded for itself, each sentence of it once.
    corpora
        By name, the kind and the table: ``sts``, ``bitext``, ``mining``, ``topics``, ``reading``,
        with the columns that their modules say; or ``parallel``, ``sent_id`` and a column per
        language, which gives bitext retrieval, structure and language bias.
    languages
        Those to score; what a corpus has in other languages is left out, and reported, as are those
        that a corpus lacks.
    pivot
        The language the others are aligned with.
    settings
        See `EvaluationSettings`.
    switching
        Languages whose vectors differ with alignment, see `Embeddings`.

    Returns
    -------
    See `Results`. An ``sts`` corpus of two or more pairs of languages also gives language bias.

    Raises
    ------
    BabelscopeError
        If a corpus has nothing in the languages; as its kind's module says.
    """
    unknown = [f"{name}: {kind}" for name, (kind, _) in corpora.items() if kind not in KINDS]
    if unknown or not corpora:
        raise ValueError(f"corpora must have kinds of {KINDS}, not {unknown}")
    found = []
    for name, (kind, table) in progress(corpora.items(), "corpora", total=len(corpora)):
        vectors = Embeddings(embed, switching=switching)
        usable = _usable(name, kind, table, languages)
        found += _scored(vectors, name, kind, usable, pivot, settings)
    return joined(found)


def _scored(
    vectors: Embeddings,
    name: str,
    kind: str,
    table: pd.DataFrame,
    pivot: str,
    settings: EvaluationSettings,
) -> list[Results]:
    resamples, seed, all_pairs = settings.resamples, settings.seed, settings.all_pairs
    k, margin = settings.k, settings.margin
    match kind:
        case "sts":
            bootstrap = {"resamples": resamples, "seed": seed}
            scored = [score_sts(vectors, name, table, pivot=pivot, **bootstrap)]
            if len(table[["language1", "language2"]].drop_duplicates()) > 1:
                scored.append(score_similarity_bias(vectors, name, table, **bootstrap))
            else:
                logger.info("%s has one pair of languages: no language bias", name)
            return scored
        case "bitext":
            return [score_bitext(vectors, name, table, pivot=pivot, k=k, margin=margin)]
        case "mining":
            mined = score_mining(
                vectors,
                name,
                table,
                pivot=pivot,
                resamples=resamples,
                seed=seed,
                k=k,
                margin=margin,
            )
            return [mined]
        case "topics":
            classified = score_topics(
                vectors,
                name,
                table,
                pivot=pivot,
                all_pairs=all_pairs,
                draws=settings.draws,
                resamples=resamples,
                seed=seed,
            )
            return [classified]
        case "reading":
            return [score_reading(vectors, name, table, pivot=pivot, all_pairs=all_pairs)]
        case _:
            return _parallel(vectors, name, table, pivot, settings)


def _parallel(
    vectors: Embeddings, name: str, table: pd.DataFrame, pivot: str, settings: EvaluationSettings
) -> list[Results]:
    languages = _columns(table)
    pairs = language_pairs(languages, pivot, all_pairs=settings.all_pairs)
    if not pairs:
        raise BabelscopeError(
            f"{name} is not in {pivot}, with which all languages are paired.",
            "Leave the corpus out, or pair all languages.",
        )
    names = {"sent_id": "pair_id"}
    parts = [
        table.assign(
            language1=first, language2=second, sentence1=table[first], sentence2=table[second]
        ).rename(columns=names)
        for first, second in pairs
    ]
    bitext = pd.concat(parts, ignore_index=True)
    chosen = table
    if len(table) > settings.sentences:
        logger.info("%s: structure and bias of %d sentences", name, settings.sentences)
        rng = np.random.default_rng(derive_seed(settings.seed, "sentences", name))
        rows = rng.choice(len(table), settings.sentences, replace=False)
        chosen = table.iloc[np.sort(rows)]
    sentences = {language: list(chosen[language]) for language in languages}
    k, margin, all_pairs = settings.k, settings.margin, settings.all_pairs
    return [
        score_bitext(vectors, name, bitext, pivot=pivot, k=k, margin=margin),
        score_structure(
            vectors, name, sentences, pivot=pivot, all_pairs=all_pairs, blocks=settings.blocks
        ),
        score_retrieval_bias(
            vectors,
            name,
            sentences,
            pivot=pivot,
            names=list(chosen["sent_id"]),
            all_pairs=all_pairs,
            resamples=settings.resamples,
            seed=settings.seed,
        ),
    ]


def _columns(table: pd.DataFrame) -> list[str]:
    """Return the languages of a parallel table."""
    return [str(column) for column in table if column != "sent_id"]


def _usable(name: str, kind: str, table: pd.DataFrame, languages: Sequence[str]) -> pd.DataFrame:
    """Return what a table has in the languages, and report what is left out."""
    if kind == "parallel":
        present = _columns(table)
        used = [language for language in present if language in languages]
        kept = table[["sent_id", *used]]
        gaps = kept[used].isna().any(axis=1) | (kept[used] == "").any(axis=1)
        if gaps.any():
            logger.warning("%s: %d sentences lack a translation, left out", name, gaps.sum())
        kept = kept[~gaps]
        enough = len(used) > 1 and len(kept) > 1
    else:
        columns = ["language"] if kind in ("topics", "reading") else ["language1", "language2"]
        present = [str(one) for one in pd.unique(table[columns].to_numpy().ravel())]
        kept = table[table[columns].isin(languages).all(axis=1)]
        used = [language for language in present if (kept[columns] == language).to_numpy().any()]
        enough = len(kept) > 0
    if not enough:
        raise BabelscopeError(
            f"{name} has nothing in {', '.join(languages)}: it is in {', '.join(present)}.",
            "Leave the corpus out, or add a language.",
        )
    lacking = [language for language in languages if language not in used]
    if lacking:
        logger.warning(
            "%s: scored in %d of %d languages; not in %s",
            name,
            len(used),
            len(languages),
            ", ".join(lacking),
        )
    more = [language for language in present if language not in used]
    if more:
        logger.info("%s: not asked for in %s, left out", name, ", ".join(more))
    return kept.reset_index(drop=True)
