"""Topics by logistic regression on frozen vectors, in a language and across languages."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from babelscope.errors import BabelscopeError
from babelscope.evaluation.embeddings import Embeddings
from babelscope.evaluation.intervals import bootstrap, percentile_interval
from babelscope.evaluation.results import Results, Rows, naming
from babelscope.representations.rows import unit_rows
from babelscope.seeds import derive_seed, stable_hash

ITERATIONS = 2000  # of the solver, at most; it needs some tens
TRAIN_SHARE = 0.8  # of the sentences of each topic, in one draw


def score_topics(
    vectors: Embeddings,
    corpus: str,
    table: pd.DataFrame,
    *,
    pivot: str,
    all_pairs: bool = False,
    draws: int = 5,
    resamples: int,
    seed: int,
) -> Results:
    """Return accuracy and macro F1 of a linear classifier of sentence vectors, in %.

    Parameters
    ----------
    vectors
        The encoder; without alignment where a language is tested on itself, aligned where the
        classifier is trained in another language.
    corpus
        Its name.
    table
        Columns ``language, split, sent_id, text, label``; splits ``train`` and ``test``.
    pivot
        The language whose classifier is tested on all others.
    all_pairs
        Whether every other language's classifier is, too.
    draws
        Training sets. The regression is convex and has no seed, so what is repeated is the choice
        of training sentences: each draw takes `TRAIN_SHARE` of the sentences of each topic, the
        same ones in every language and for every encoder.
    resamples, seed
        Of the bootstrap over test sentences and draws; the seed also makes the draws.

    Returns
    -------
    Rows ``accuracy`` and ``macro_f1``, means over the draws, with `language1` the language of
    training and `language2` that of the test. Examples have the numbers of the labels in the order
    of the alphabet, one row per draw, and serve both metrics.

    Raises
    ------
    BabelscopeError
        If a language lacks a split or has one topic only, an id repeats in a split, all vectors are
        the same, or the regression does not converge.

    Notes
    -----
    Vectors are put to length 1, then moved by the training sentences' mean and divided by the root
    of their mean squared distance from it. That is one number for all dimensions, so results do
    not change under rotation or scaling, and the penalty (L2, ``C`` = 1, scikit-learn's default)
    means the same for encoders whose cosines lie close together and for those where they do not.
    Standardizing each dimension would give up the first and raise noise to the size of signal.
    """
    rows = Rows("topics", corpus)
    languages = [str(language) for language in table["language"].unique()]
    labels = sorted(table["label"].unique())
    splits = {
        (str(key[0]), str(key[1])): part.assign(
            label=pd.Index(labels).get_indexer(pd.Index(part["label"]))
        )
        for key, part in table.groupby(["language", "split"], sort=False)
    }
    trained = languages if all_pairs else [one for one in languages if one == pivot]
    for language in languages:
        with naming(f"{corpus}, {language}"):
            _check(language, splits, labels)
        vectors.request(list(splits[language, "train"]["text"]), language, aligned=False)
        vectors.request(list(splits[language, "test"]["text"]), language, aligned=False)
        if language in trained and len(languages) > 1:
            vectors.request(list(splits[language, "train"]["text"]), language, aligned=True)
        if set(trained) - {language}:
            vectors.request(list(splits[language, "test"]["text"]), language, aligned=True)
    for source in languages:
        targets = [source], [one for one in languages if one != source] if source in trained else []
        for setting, tested in zip(("monolingual", "crosslingual"), targets, strict=True):
            if not tested:
                continue
            with naming(f"{corpus}, {source}"):
                found = _predicted(
                    vectors,
                    splits[source, "train"],
                    {target: splits[target, "test"] for target in tested},
                    source,
                    aligned=setting == "crosslingual",
                    draws=draws,
                    seed=derive_seed(seed, "topics", corpus),
                )
            for target, predictions in found.items():
                test = splits[target, "test"]
                _add(
                    rows,
                    (source, target),
                    setting,
                    test,
                    predictions,
                    where=f"{corpus}, {source}-{target}",
                    resamples=resamples,
                    seed=derive_seed(seed, "topics", corpus),
                )
    return rows.results()


def accuracies(predictions: np.ndarray, gold: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the share of right labels in each resample, shape (resamples, draws).

    Parameters
    ----------
    predictions
        Shape (draws, n).
    gold
        Shape (n,).
    weights
        How often each example is drawn, shape (resamples, n).
    """
    return weights @ (predictions == gold).T / weights.sum(axis=1, keepdims=True)


def macro_f1s(predictions: np.ndarray, gold: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean F1 over labels in each resample, shape (resamples, draws).

    Labels count that are predicted or right in a resample, as in scikit-learn. Parameters as in
    `accuracies`.
    """
    total = np.zeros((len(weights), len(predictions)))
    labels = np.zeros_like(total)
    for label in np.union1d(predictions, gold):
        given, true = predictions == label, gold == label
        found, there = weights @ given.T, (weights @ true)[:, None]
        right = weights @ (given & true).T
        sums = found + there
        total += np.divide(2 * right, sums, out=np.zeros_like(total), where=sums > 0)
        labels += sums > 0
    return np.divide(total, labels, out=np.full_like(total, np.nan), where=labels > 0)


def _add(
    rows: Rows,
    languages: tuple[str, str],
    setting: str,
    test: pd.DataFrame,
    predictions: np.ndarray,
    *,
    where: str,
    resamples: int,
    seed: int,
) -> None:
    draws, n = predictions.shape
    gold = test["label"].to_numpy()
    picks = np.random.default_rng(derive_seed(seed, "draws")).integers(
        draws, size=(resamples, draws)
    )
    for metric, of in (("accuracy", accuracies), ("macro_f1", macro_f1s)):
        value = float(_percent(of, predictions, gold, np.ones((1, n), np.int64)).mean())

        drawn = bootstrap(
            partial(_percent, of, predictions, gold), n, resamples=resamples, seed=seed
        )
        drawn = np.take_along_axis(drawn, picks, axis=1).mean(axis=1)
        rows.score(languages, setting, metric, value, percentile_interval(drawn, where), n)
    rows.examples(
        languages,
        setting,
        "accuracy",
        list(test["sent_id"]) * draws,
        predictions.ravel(),
        np.tile(gold, draws),
    )


def _percent(
    of: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    predictions: np.ndarray,
    gold: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    return 100 * of(predictions, gold, weights)


def _predicted(
    vectors: Embeddings,
    train: pd.DataFrame,
    tests: Mapping[str, pd.DataFrame],
    language: str,
    *,
    aligned: bool,
    draws: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Return the predicted labels of each language's test, shape (draws, n)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    known = unit_rows(vectors.of(list(train["text"]), language, aligned=aligned))
    unseen = {
        target: unit_rows(vectors.of(list(test["text"]), target, aligned=aligned))
        for target, test in tests.items()
    }
    found: dict[str, list[np.ndarray]] = {target: [] for target in tests}
    for draw in range(draws):
        chosen = _draw(train, derive_seed(seed, draw))
        middle = known[chosen].mean(axis=0)
        spread = np.sqrt(np.mean(np.sum((known[chosen] - middle) ** 2, axis=1)))
        if spread <= 1e-6:
            raise BabelscopeError(
                "The vectors of all training sentences are the same: nothing can be told from"
                " them.",
                "Give different sentences, or check the encoder.",
            )
        model = LogisticRegression(C=1.0, max_iter=ITERATIONS)
        # Threads that wait for each other take ten times as long as one at such sizes.
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            try:
                model.fit((known[chosen] - middle) / spread, train["label"].to_numpy()[chosen])
            except ConvergenceWarning as error:
                raise BabelscopeError(
                    f"The logistic regression did not converge in {ITERATIONS} steps.",
                    "Check the encoder: its vectors may be extreme.",
                ) from error
        for target, matrix in unseen.items():
            found[target].append(np.asarray(model.predict((matrix - middle) / spread)))
    return {target: np.stack(guesses) for target, guesses in found.items()}


def _draw(train: pd.DataFrame, seed: int) -> np.ndarray:
    """Return rows of training sentences, some of each topic, chosen by their ids alone."""
    keys = np.array([stable_hash(seed, str(name)) for name in train["sent_id"]])
    place = pd.Series(keys).groupby(train["label"].to_numpy()).rank()
    size = train.groupby("label")["label"].transform("size").to_numpy()
    return np.flatnonzero(place.to_numpy() <= np.ceil(TRAIN_SHARE * size))


def _check(
    language: str, splits: Mapping[tuple[str, str], pd.DataFrame], labels: Sequence[str]
) -> None:
    for split in ("train", "test"):
        if (language, split) not in splits:
            raise BabelscopeError(
                f"There is no split {split}.", "Give it, or leave out the language."
            )
        if splits[language, split]["sent_id"].duplicated().any():
            raise BabelscopeError(
                f"An id is there twice in the split {split}.", "Give every sentence its own id."
            )
    known = splits[language, "train"]["label"].unique()
    if len(known) < 2:
        raise BabelscopeError(
            f"All training sentences have the topic {labels[known[0]]}: there is nothing to tell"
            " apart.",
            "Give sentences of two or more topics.",
        )
    if len(splits[language, "test"]) < 2:
        raise BabelscopeError("There is a single test sentence.", "Give that split more sentences.")
