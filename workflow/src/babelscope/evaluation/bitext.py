"""Finding translations: in aligned pairs by error rate, in comparable texts by F1."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from babelscope.errors import BabelscopeError
from babelscope.evaluation.embeddings import Embeddings
from babelscope.evaluation.metrics import F1, score
from babelscope.evaluation.results import Results, Rows, naming, ordered
from babelscope.representations.retrieval import (
    Margin,
    centred_units,
    margin_retrieval,
    margins,
    nearest,
    wilson,
)
from babelscope.seeds import derive_seed

logger = logging.getLogger(__name__)


class Candidates(NamedTuple):
    """Pairs of sentences that may be translations, the best first; no sentence is in two.

    Attributes
    ----------
    first, second
        Shape (m,): rows of either side.
    scores
        Shape (m,), descending: the margins.
    """

    first: np.ndarray
    second: np.ndarray
    scores: np.ndarray


def score_bitext(
    vectors: Embeddings,
    corpus: str,
    table: pd.DataFrame,
    *,
    pivot: str,
    k: int = 4,
    margin: Margin = "ratio",
) -> Results:
    """Return the error rate of finding each sentence's translation, in %.

    Parameters
    ----------
    vectors
        The encoder; aligned vectors on both sides.
    corpus
        Its name.
    table
        Columns ``pair_id, language1, language2, sentence1, sentence2``.
    pivot
        The language that is named first.
    k, margin
        See `margin_retrieval`; equal sentences count as each other's equals there.

    Returns
    -------
    Rows ``error_forward``, from `language1` to `language2`, ``error_backward``, and ``error``,
    their mean, with intervals of Wilson (1927). Examples have prediction 1 where the right sentence
    was found, 0 where not, and gold 1.

    Raises
    ------
    BabelscopeError
        As in `margin_retrieval`; if a language is paired with itself, or a `pair_id` repeats.
    """
    rows = Rows("bitext", corpus)
    parts = {}
    for key, part in table.groupby(["language1", "language2"], sort=False):
        languages = ordered(str(key[0]), str(key[1]), pivot)
        if languages[0] == languages[1] or languages in parts:
            raise BabelscopeError(
                f"{corpus}: {'-'.join(languages)} is not a pair of languages, or is there twice.",
                "Give every pair of languages once.",
            )
        if part["pair_id"].duplicated().any():
            raise BabelscopeError(
                f"{corpus}, {'-'.join(languages)}: an id is there twice.",
                "Give every pair its own id.",
            )
        turned = languages[0] != key[0]
        sides = [list(part[side]) for side in ("sentence1", "sentence2")]
        parts[languages] = (part["pair_id"], sides[::-1] if turned else sides)
    for languages, (_, sides) in parts.items():
        for language, sentences in zip(languages, sides, strict=True):
            vectors.request(sentences, language, aligned=True)
    for languages, (names, sides) in parts.items():
        with naming(f"{corpus}, {'-'.join(languages)}"):
            first, second = (
                vectors.of(sentences, language, aligned=True)
                for language, sentences in zip(languages, sides, strict=True)
            )
            groups = pd.factorize(np.array(sides[0]))[0], pd.factorize(np.array(sides[1]))[0]
            found = margin_retrieval(first, second, k=k, margin=margin, groups=groups)
        n = len(names)
        hits = {"error_forward": found.forward, "error_backward": found.backward}
        for metric, right in hits.items():
            rows.examples(languages, "crosslingual", metric, names, right, 1.0)
            _add_error(rows, languages, metric, 1 - float(right.mean()), n)
        mean = 1 - float(np.mean([right.mean() for right in hits.values()]))
        _add_error(rows, languages, "error", mean, n)
    return rows.results()


def score_mining(
    vectors: Embeddings,
    corpus: str,
    table: pd.DataFrame,
    *,
    pivot: str,
    resamples: int,
    seed: int,
    k: int = 4,
    margin: Margin = "ratio",
) -> Results:
    """Return the F1 of mining translations out of comparable texts, in %, as in BUCC.

    The threshold on the margin is the one with the best F1 on the split ``train``; the score is
    that on ``test``.

    Parameters
    ----------
    vectors
        The encoder; aligned vectors on both sides.
    corpus
        Its name.
    table
        Columns ``language1, language2, split, side, sent_id, text, partner``.
    pivot
        The language that is named first.
    resamples, seed
        Of the bootstrap over the pairs of sentences that were mined or are gold.
    k, margin
        See `mine`.

    Returns
    -------
    A row ``f1`` per pair of languages, with the number of gold pairs. Examples are the pairs that
    were mined or are gold, named by their ids on sides 1 and 2: prediction 1 where mined, gold 1
    where gold.

    Raises
    ------
    BabelscopeError
        If a split is missing or has no gold pair, a partner is not there, or the margin cannot be
        computed.

    Notes
    -----
    Equal sentences of a side are one sentence, known by its first id.
    """
    rows = Rows("mining", corpus)
    for key, part in table.groupby(["language1", "language2"], sort=False):
        sides = str(key[0]), str(key[1])
        languages = ordered(*sides, pivot)
        where = f"{corpus}, {'-'.join(languages)}"
        with naming(where):
            for split in ("train", "test"):
                _request(vectors, part[part["split"] == split], sides, split)
            train, test = (
                _judged(vectors, part[part["split"] == split], sides, k=k, margin=margin)
                for split in ("train", "test")
            )
            threshold = best_threshold(train["score"].to_numpy(), train["gold"].to_numpy())
        mined = test["score"].to_numpy() >= threshold
        shown = test[mined | test["gold"]]
        mined, gold = mined[shown.index], shown["gold"].to_numpy()
        counts = np.stack([mined & gold, mined, gold], axis=1).astype(np.float64)
        found = score(
            F1,
            counts,
            resamples=resamples,
            seed=derive_seed(seed, "mining", corpus),
            where=f"the test split of {where}",
        )
        logger.info("%s: pairs with a margin of at least %.4f are mined", where, threshold)
        if not (train["gold"] & np.isfinite(train["score"])).any():
            logger.warning("%s: no translation of the train split is among the candidates", where)
        interval = 100 * found["low"], 100 * found["high"]
        rows.examples(languages, "crosslingual", "f1", list(shown["name"]), mined, gold)
        rows.score(languages, "crosslingual", "f1", 100 * found["value"], interval, int(gold.sum()))
    return rows.results()


def mine(
    first: np.ndarray, second: np.ndarray, *, k: int = 4, margin: Margin = "ratio"
) -> Candidates:
    """Return pairs of rows that may be translations (Artetxe & Schwenk 2019, section 3.2).

    Each row of either side proposes the one with the highest margin among its k nearest
    neighbours. Of all proposals together the best is taken, every other one with a row of it is
    dropped, and so on: the strategy ``max`` of the paper.

    Parameters
    ----------
    first, second
        Shapes (n1, d) and (n2, d).
    k
        Neighbours that are candidates and that set the margin; at most as many as there are rows.
    margin
        See `margin_retrieval`.

    Raises
    ------
    BabelscopeError
        If a row is zero, or a ratio's denominator is not positive.
    """
    sides = centred_units(first, second)
    near, cosines, neighbours = [], [], []
    for queries, base in (sides, sides[::-1]):
        found, rows = nearest(queries, base, min(k, len(base)))  # (queries, k)
        cosines.append(found)
        neighbours.append(rows)
        near.append(found.mean(axis=1))
    proposals = []
    for side in (0, 1):
        level = (near[side][:, None] + near[1 - side][neighbours[side]]) / 2
        reached = margins(cosines[side], level, margin)
        best = reached.argmax(axis=1)[:, None]
        partner = np.take_along_axis(neighbours[side], best, axis=1)[:, 0]
        pair = np.arange(len(partner)), partner
        proposals.append((*pair[:: 1 - 2 * side], np.take_along_axis(reached, best, axis=1)[:, 0]))
    left, right, scores = (np.concatenate(column) for column in zip(*proposals, strict=True))
    order = np.argsort(-scores, kind="stable")
    return _one_to_one(left[order], right[order], scores[order])


def best_threshold(scores: np.ndarray, gold: np.ndarray) -> float:
    """Return the least score of a pair to be mined that gives the best F1.

    Parameters
    ----------
    scores
        Shape (m,): of each pair, minus infinity for a gold pair that is no candidate.
    gold
        Shape (m,), bool.

    Returns
    -------
    Half-way between the scores on both sides of the cut; the lowest score of all candidates where
    the best is to mine them all, or no candidate is gold and so every F1 is 0.
    """
    order = np.argsort(-scores, kind="stable")
    order = order[np.isfinite(scores[order])]
    ranked, right = scores[order], np.cumsum(gold[order])
    f1 = 2 * right / (np.arange(1, len(right) + 1) + gold.sum())
    f1[np.flatnonzero(np.diff(ranked) == 0)] = 0  # equal scores are not told apart by a threshold
    cut = int(np.argmax(f1)) if f1.any() else len(f1) - 1
    return float(ranked[cut] if cut + 1 == len(ranked) else ranked[cut : cut + 2].mean())


def _one_to_one(first: np.ndarray, second: np.ndarray, scores: np.ndarray) -> Candidates:
    """Keep, of pairs in descending order, those that share no row with a better one that is kept.

    All pairs that come first for both of their rows are taken at once, which is what taking them
    one after the other leads to.
    """
    kept = []
    places = np.arange(len(scores))
    while len(places):
        heads = [np.unique(side[places], return_index=True)[1] for side in (first, second)]
        taken = places[np.intersect1d(*heads, assume_unique=True)]
        kept.append(taken)
        used = np.isin(first[places], first[taken]) | np.isin(second[places], second[taken])
        places = places[~used]
    chosen = np.sort(np.concatenate(kept))
    return Candidates(first[chosen], second[chosen], scores[chosen])


def _judged(
    vectors: Embeddings, split: pd.DataFrame, languages: tuple[str, str], *, k: int, margin: Margin
) -> pd.DataFrame:
    """Return the pairs of a split that are candidates or gold: name, score and whether gold."""
    sides = [split[split["side"] == side] for side in (1, 2)]
    texts = [list(dict.fromkeys(side["text"])) for side in sides]
    rows: list[dict[str, int]] = []
    for side, unique in zip(sides, texts, strict=True):
        places = pd.Index(unique).get_indexer(pd.Index(side["text"]))
        rows.append(dict(zip(side["sent_id"], places.tolist(), strict=True)))
    gold = _gold(sides, rows)
    first, second, scores = mine(
        *(
            vectors.of(unique, language, aligned=True)
            for unique, language in zip(texts, languages, strict=True)
        ),
        k=k,
        margin=margin,
    )
    names = [list(side.drop_duplicates("text")["sent_id"]) for side in sides]
    width = len(texts[1])
    keys = first * width + second
    missed = np.setdiff1d(gold, keys)
    everything = np.concatenate([keys, missed])
    return pd.DataFrame(
        {
            "name": [f"{names[0][key // width]} {names[1][key % width]}" for key in everything],
            "score": np.concatenate([scores, np.full(len(missed), -np.inf)]),
            "gold": np.isin(everything, gold),
        }
    )


def _gold(sides: Sequence[pd.DataFrame], rows: Sequence[dict[str, int]]) -> np.ndarray:
    """Return the gold pairs as row of side 1 x number of rows of side 2 + row of side 2."""
    width = max(rows[1].values()) + 1
    keys = set()
    for number, side in enumerate(sides):
        paired = side[side["partner"].notna()]
        for name, partner in zip(paired["sent_id"], paired["partner"], strict=True):
            if partner not in rows[1 - number]:
                raise BabelscopeError(
                    f"The partner {partner} of the sentence {name} is not there.",
                    "Correct the file of gold pairs.",
                )
            pair = (name, partner)[:: 1 - 2 * number]
            keys.add(rows[0][pair[0]] * width + rows[1][pair[1]])
    if not keys:
        raise BabelscopeError("There is no gold pair in a split.", "Give its translations.")
    return np.array(sorted(keys), np.int64)


def _request(
    vectors: Embeddings, split: pd.DataFrame, languages: tuple[str, str], name: str
) -> None:
    for number, language in enumerate(languages, start=1):
        side = split[split["side"] == number]
        if side.empty:
            raise BabelscopeError(
                f"There is no sentence of side {number} ({language}) in the split {name}.",
                "Give both sides of the splits train and test.",
            )
        if side["sent_id"].duplicated().any():
            raise BabelscopeError(
                f"An id of side {number} ({language}) is there twice in the split {name}.",
                "Give every sentence its own id.",
            )
        vectors.request(list(side["text"]), language, aligned=True)


def _add_error(rows: Rows, languages: tuple[str, str], metric: str, share: float, n: int) -> None:
    low, high = wilson(share, n)
    rows.score(languages, "crosslingual", metric, 100 * share, (100 * low, 100 * high), n)
