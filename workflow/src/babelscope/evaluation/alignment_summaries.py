"""What the tables and figures of the alignment study show: one row per drawn mark.

A score belongs to a corpus, a language, a number of examples in the prompt (shots) and one of two
kinds of prompts: in the examples' own language, or in the pivot. In the pivot both are one, and its
rows count for both.

Values are means over the seeds of a network, and intervals are over examples or sentences, for
these networks; what another seed would change is shown by the values of the single seeds.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from babelscope.evaluation.results import ALL
from babelscope.evaluation.summaries import layer_curves
from babelscope.evaluation.tables import require_finite, wide

BASE = "base"  # the untouched network
FAMILY = ["task", "corpus", "prompts", "shots"]
AVERAGED = ("0", ALL)  # draws of demonstrations: none, or the mean over all of them
LEVEL = 0.05  # of tests whose difference is starred
METRICS = {"none": "accuracy", "characters": "accuracy_characters"}
"""The metric by what log-likelihoods are divided by."""

LAYERS = {
    "retrieval": {"retrieval": ["retrieval_error.forward", "retrieval_error.backward"]},
    "cka": {"cka": ["cka.unbiased"]},
    "kept": {"kept": ["cka.unbiased"]},
    "uniformity": {"alignment": ["alignment.mean"], "uniformity": ["uniformity.each"]},
}
"""What is drawn over layers: by figure and measure, the scores that it is the mean of."""

HISTORY = {
    "contrastive": ("contrastive", "train"),
    "valid_contrastive": ("contrastive", "valid"),
    "instruction": ("instruction", "train"),
    "valid_instruction": ("instruction", "valid"),
    "retrieval_error": ("retrieval_error", "valid"),
    "in_context_accuracy": ("in_context_accuracy", "valid"),
}
"""What is drawn of a history: the panel and the split by measure."""


def by_prompts(rows: pd.DataFrame, prompts: Sequence[str], pivot: str) -> pd.DataFrame:
    """Return the rows of each kind of prompt, `own` or `pivot`, told apart by ``prompts``.

    The column ``prompt``, the language of the prompt, is dropped.
    """
    kinds = {"own": rows["prompt"] == rows["language"], "pivot": rows["prompt"] == pivot}
    parts = [rows[kinds[kind]].assign(prompts=kind) for kind in prompts]
    return pd.concat(parts, ignore_index=True).drop(columns="prompt")


def score_readers(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the scores as papers print them: networks and their seeds in columns."""
    index = ["task", "corpus", "language", "prompt", "shots", "demonstrations", "metric", "chance"]
    return wide(scores.assign(seed="s" + scores["seed"].astype(str)), index, ["network", "seed"])


def accuracies(
    scores: pd.DataFrame, tests: pd.DataFrame, *, prompts: str, metric: str, pivot: str
) -> pd.DataFrame:
    """Return each network's accuracy in each language by one kind of prompt.

    Parameters
    ----------
    scores
        Rows of all networks and seeds.
    tests
        From `comparisons`.
    prompts, metric
        Which of them.
    pivot
        The language of prompts in the pivot.

    Returns
    -------
    pandas.DataFrame
        Columns ``task, corpus, shots, language, network, chance, seed, value, low, high, star``, in
        percent: a row of seed ``all``, the mean, for each mark, and where there are several a row
        for each seed, without interval. Ends of intervals are averaged over seeds, which are scored
        on the same examples: at most too wide. `star` marks a difference from the untouched network
        by the test, corrected by Holm.
    """
    place = ["task", "corpus", "shots", "language", "network"]
    keys = [*place, "chance"]
    rows = require_finite(_singles(scores, prompts=prompts, metric=metric, pivot=pivot))
    table = rows.groupby(keys, sort=False)[["value", "low", "high"]].mean().reset_index()
    tests = tests[(tests["prompts"] == prompts) & (tests["metric"] == metric)]
    tests = tests[(tests["reference"] == BASE) & (tests["language"] != ALL)]
    table = table.merge(tests[[*place, "p_holm"]], on=place, how="left", validate="1:1")
    return _with_seeds(table, rows, keys)


def _singles(scores: pd.DataFrame, *, prompts: str, metric: str, pivot: str) -> pd.DataFrame:
    """Return the scores of each seed, draws of demonstrations averaged, of one kind and metric."""
    rows = scores[(scores["metric"] == metric) & scores["demonstrations"].isin(AVERAGED)]
    rows = by_prompts(rows, [prompts], pivot)
    if rows.empty:
        raise ValueError(f"no {metric} with prompts {prompts}")
    return rows.astype(dict.fromkeys(("value", "low", "high"), float))


def _with_seeds(table: pd.DataFrame, singles: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return means as seed ``all``, starred by ``p_holm``, then the values of seeds if several."""
    seeds = singles[[*keys, "seed", "value"]].merge(table[list(keys)], on=list(keys))
    seeds = seeds[seeds.groupby(list(keys))["seed"].transform("nunique") > 1]
    seeds = seeds.assign(seed=seeds["seed"].astype(str), low=np.nan, high=np.nan, star=False)
    table = table.assign(seed=ALL, star=table["p_holm"] < LEVEL)
    columns = [*keys, "seed", "value", "low", "high", "star"]
    return pd.concat([table[columns], seeds[columns]], ignore_index=True)


def drawn_gaps(
    table: pd.DataFrame, scores: pd.DataFrame, *, prompts: str, metric: str, pivot: str
) -> pd.DataFrame:
    """Return each network's gap to the pivot in each language by one kind of prompt.

    Parameters
    ----------
    table
        From `gaps`.
    scores
        Rows of all networks and seeds.
    prompts, metric, pivot
        As in `accuracies`.

    Returns
    -------
    pandas.DataFrame
        Columns ``task, corpus, shots, language, network, seed, value, low, high, star``, in points,
        with rows as in `accuracies`, and of the mean over languages, ``all``; `star` marks a gap
        that differs from the untouched network's, corrected by Holm.
    """
    table = table[(table["prompts"] == prompts) & (table["metric"] == metric)]
    if table.empty:
        raise ValueError(f"no gaps with prompts {prompts}")
    rows = _singles(scores, prompts=prompts, metric=metric, pivot=pivot)
    at = ["task", "corpus", "shots", "network", "seed"]
    in_pivot = rows[rows["language"] == pivot].set_index(at)["value"].rename("in_pivot")
    apart = rows[rows["language"] != pivot].join(in_pivot, on=at, how="inner")
    apart = apart.assign(value=apart["value"] - apart["in_pivot"])
    means = apart.groupby(at, sort=False)["value"].mean().reset_index().assign(language=ALL)
    singles = pd.concat([apart, means], ignore_index=True)
    return _with_seeds(table, singles, ["task", "corpus", "shots", "language", "network"])


def changes(
    tests: pd.DataFrame, scores: pd.DataFrame, *, prompts: Sequence[str], metric: str, pivot: str
) -> pd.DataFrame:
    """Return how much training changed the mean accuracy over languages.

    Parameters
    ----------
    tests
        From `comparisons`.
    scores
        Rows of all networks and seeds.
    prompts
        The kinds of prompts.
    metric, pivot
        As in `accuracies`.

    Returns
    -------
    pandas.DataFrame
        Columns ``task, corpus, prompts, shots, network, seed, value, low, high, star``: points
        more than the untouched network has; rows and stars as in `accuracies`.
    """
    keys = [*FAMILY, "network"]
    tests = tests[(tests["reference"] == BASE) & (tests["language"] == ALL)]
    tests = tests[tests["metric"] == metric].rename(columns={"difference": "value"})
    parts = [_singles(scores, prompts=kind, metric=metric, pivot=pivot) for kind in prompts]
    rows = pd.concat(parts, ignore_index=True)
    means = rows.groupby([*keys, "seed"], sort=False)["value"].mean().reset_index()
    before = means[means["network"] == BASE].set_index(FAMILY)["value"].rename("before")
    singles = means[means["network"] != BASE].join(before, on=FAMILY)
    return _with_seeds(tests, singles.assign(value=singles["value"] - singles["before"]), keys)


def history_lines(history: pd.DataFrame) -> pd.DataFrame:
    """Return what happens while networks are trained, the mean over seeds and each seed.

    Parameters
    ----------
    history
        Columns ``network, seed, step, measure, value``.

    Returns
    -------
    pandas.DataFrame
        Columns ``panel, network, split, seed, step, value``, by `HISTORY`: rows of seed ``all`` are
        means over the seeds, and those of single seeds follow if there are several; of the training
        batches there are means alone.
    """
    rows = history[history["measure"].isin(list(HISTORY))].astype({"value": float})
    if rows.empty:
        raise ValueError("no measure of any training")
    rows = require_finite(rows)
    kinds = [HISTORY[name] for name in rows["measure"]]
    panels, splits = zip(*kinds, strict=True)
    rows = rows.assign(panel=panels, split=splits, seed=rows["seed"].astype(str))
    keys = ["panel", "network", "split", "step"]
    means = rows.groupby(keys, sort=False)["value"].mean().reset_index().assign(seed=ALL)
    several = rows.groupby("network")["seed"].transform("nunique") > 1
    table = pd.concat([means, rows[several & (rows["split"] == "valid")]], ignore_index=True)
    return table[["panel", "network", "split", "seed", "step", "value"]]


def network_curves(
    similarity: pd.DataFrame,
    pivot: str,
    scores: Mapping[str, Sequence[str]],
    *,
    within: bool = True,
) -> pd.DataFrame:
    """Return how alike the languages are in each network, layer by layer.

    Parameters
    ----------
    similarity
        Rows of one corpus and pooling.
    pivot
        The language that the others are compared with.
    scores
        By the name of a measure, the scores that it is the mean of: ``measure.estimator``, but
        ``uniformity``, which each language has by itself, the pivot too.
    within
        Compare the pivot and the other languages in each network; otherwise each trained network
        and the untouched one, in each language.

    Returns
    -------
    pandas.DataFrame
        Columns ``measure, network, language, layer, seed, value, low, high``: rows of seed ``all``
        are means over seeds, and so are the ends of their intervals; values of single seeds follow
        for trained networks if there are several.
    """
    rows = similarity[(similarity["left_network"] == similarity["right_network"]) == within]
    rows = _by_side(rows.assign(network=rows["right_network"], comparison=rows["right_network"]))
    names = {score: measure for measure, some in scores.items() for score in some}
    parts = []
    for (network, seed), some in rows.groupby(["network", "seed"], sort=False):
        curves = layer_curves(some, str(network), pivot, {score: score for score in names})
        parts.append(curves.assign(network=str(network), seed=str(seed)))
    table = pd.concat(parts, ignore_index=True)
    table["measure"] = table["panel"].map(names)
    keys = ["measure", "network", "language", "layer"]
    means = table.groupby(keys, sort=False)[["value", "low", "high"]].mean().reset_index()
    trained = table[table["network"] != BASE]
    singles = trained.groupby([*keys, "seed"], sort=False)["value"].mean().reset_index()
    if singles["seed"].nunique() < 2:
        singles = singles[:0]
    columns = [*keys, "seed", "value", "low", "high"]
    return pd.concat([means.assign(seed=ALL), singles], ignore_index=True)[columns]


def _by_side(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the uniformity of each language once, as of a pair with itself."""
    single = rows["measure"] == "uniformity"
    sides = rows[single]
    language = sides["left_language"].where(sides["estimator"] == "left", sides["right_language"])
    sides = sides.assign(left_language=language, right_language=language, estimator="each")
    place = ["network", "seed", "left_language", "left_layer"]
    return pd.concat([rows[~single], sides.drop_duplicates(place)], ignore_index=True)


def best_layer(curves: pd.DataFrame, network: str) -> int:
    """Return the layer above the embeddings at which a network finds most translations.

    Parameters
    ----------
    curves
        From `network_curves`, of the measure ``retrieval``.
    network
        The network.
    """
    rows = curves[(curves["network"] == network) & (curves["seed"] == ALL) & (curves["layer"] > 0)]
    means = rows.groupby("layer")["value"].mean()
    return int(means.index.to_numpy()[means.to_numpy().argmin()])


def aligned_layer(pooler: str, layers: int) -> int | None:
    """Return the layer that a pooler reads in a network of so many; None if it reads several."""
    _, _, numbered = pooler.partition("-")
    if numbered:
        return int(numbered)
    return {"avg_bottom": 1}.get(pooler, None if "_" in pooler else layers)
