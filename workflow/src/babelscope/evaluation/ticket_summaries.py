"""What the figures of the tickets study show: replicates pooled, one row per drawn mark.

Seeds, and random masks, are averaged by :func:`babelscope.evaluation.tables.pool`, perplexities by
their logarithms; with one seed the interval is the bootstrap's over examples. Shares are in
percent, F1 and accuracy too, and their changes in points; changes of perplexity are ratios.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from babelscope.evaluation.summaries import layer_curves, pool_logarithms
from babelscope.evaluation.tables import pool, ranged, require_finite

RATIO = "perplexity"  # the metric whose changes are ratios
BESIDE = {"ceiling": "draw", "untrained": "untrained"}  # references of overlaps, and relations
CHANGES = {"value": "change", "low": "change_low", "high": "change_high"}


def metric_of(scores: pd.DataFrame, task: str) -> str:
    """Return the metric that a task is scored by."""
    (metric,) = scores.loc[scores["task"] == task, "metric"].unique()
    return str(metric)


def _pooled(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Pool a task's scores: percentages, or perplexities by their logarithms."""
    if (rows["metric"] == RATIO).all():
        return pool_logarithms(rows, by)
    scaled = {name: 100 * rows[name].astype(float) for name in ("value", "low", "high")}
    return pool(require_finite(rows.assign(**scaled)), by)


def _pooled_changes(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Pool a task's changes: points, or for perplexity ratios to a reference taken as exact."""
    value, (change, low, high) = (
        rows["value"].astype(float),
        (rows[name].astype(float) for name in ("change", "change_low", "change_high")),
    )
    if (rows["metric"] == RATIO).all():
        reference = value - change
        change, low, high = (1 + one / reference for one in (change, low, high))
    else:
        change, low, high = (100 * one for one in (change, low, high))
    return pool(require_finite(rows.assign(value=change, low=low, high=high)), by)


def performance(scores: pd.DataFrame, task: str) -> pd.DataFrame:
    """Return a task's test scores of every language against the percent of weights kept.

    Parameters
    ----------
    scores
        Rows of the rounds of finding, all variants; those after training, on test examples, are
        used.
    task
        The task.

    Returns
    -------
    pandas.DataFrame
        Columns ``language, variant, kept, value, low, high, replicates``; `variant` ``full`` is the
        first round of the tickets, the full model.
    """
    rows = scores[
        (scores["task"] == task) & (scores["stage"] == "trained") & (scores["split"] == "test")
    ]
    full = rows[(rows["variant"] == "ticket") & (rows["kept"] == 100)].assign(variant="full")
    if full.empty:
        raise ValueError(f"{task}: no score of the full model")
    return _pooled(pd.concat([full, rows]), ["language", "variant", "kept"])


def transfer(table: pd.DataFrame, task: str, kept: int) -> pd.DataFrame:
    """Return what a task's masks of every language are worth in every language.

    Parameters
    ----------
    table
        Scores of masks that were trained anew; `compared_with` is the percent of weights that the
        own ticket keeps, which changes are against.
    task
        The task that masks are found with, trained for and scored by.
    kept
        Percent of weights that the masks keep.

    Returns
    -------
    pandas.DataFrame
        Columns ``mask, language, value, low, high, change, change_low, change_high, replicates``:
        `mask` is the language it was found with, or ``full``, ``untrained`` (the largest weights
        before any training), ``random`` (as many weights of each matrix as the own ticket) or
        ``reinitialized`` (the own ticket on random weights); changes are against the own ticket,
        points or for perplexity ratios.
    """
    rows = _trained_there(table, kept)
    rows = rows[(rows["task"] == task) & (rows["mask_task"].isna() | (rows["mask_task"] == task))]
    mask = _control(rows).fillna(rows["mask_language"])
    return _with_changes(rows.assign(mask=mask), ["mask", "language"])


def task_transfer(table: pd.DataFrame, kept: int) -> pd.DataFrame:
    """Return what every task's masks of a language are worth for every task in it.

    Returns
    -------
    pandas.DataFrame
        Columns ``task`` and those of `transfer`, but `mask` is the task it was found with.
    """
    rows = _trained_there(table, kept)
    same = rows["mask_language"].isna() | (rows["mask_language"] == rows["language"])
    rows = rows[same]
    rows = rows.assign(mask=_control(rows).fillna(rows["mask_task"]))
    keys = ["task", "mask", "language"]
    tasks = dict.fromkeys(rows["task"])
    return pd.concat(
        [_with_changes(rows[rows["task"] == task], keys) for task in tasks], ignore_index=True
    )


def _trained_there(table: pd.DataFrame, kept: int) -> pd.DataFrame:
    """Return the scores in the language that was trained on, of full model and one sparsity."""
    return table[(table["language"] == table["trained_on"]) & (table["compared_with"] == kept)]


def _control(rows: pd.DataFrame) -> pd.Series:
    """Name the rows that are no ticket on pretrained weights; NA for those that are."""
    name = rows["mask_kind"].where(rows["mask_kind"] != "ticket")
    return name.mask(rows["weights"] == "random", "reinitialized")


def _with_changes(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    scores = _pooled(rows, by)
    changes = _pooled_changes(rows, by).drop(columns="replicates")
    merged = scores.merge(changes.rename(columns=CHANGES), on=list(by), validate="1:1")
    return merged[[*by, "value", "low", "high", *CHANGES.values(), "replicates"]]


def zero_shot(table: pd.DataFrame, task: str, kept: int) -> pd.DataFrame:
    """Return a task's scores in languages that were not trained on, beside those that were.

    Returns
    -------
    pandas.DataFrame
        Columns ``mask, trained_on, language, value, low, high, replicates, change, change_low,
        change_high``; `mask` is ``full`` or ``ticket``, the one found with `trained_on`; changes
        are the full model's against that ticket's.
    """
    rows = table[(table["task"] == task) & (table["compared_with"] == kept)]
    full = rows["mask_kind"] == "full"
    own = (
        (rows["mask_kind"] == "ticket")
        & (rows["weights"] == "pretrained")
        & (rows["mask_language"] == rows["trained_on"])
        & (rows["mask_task"] == task)
    )
    keys = ["trained_on", "language"]
    scores = _pooled(rows[full | own].assign(mask=rows["mask_kind"]), ["mask", *keys])
    changes = _pooled_changes(rows[full], keys).drop(columns="replicates")
    return scores.merge(changes.rename(columns=CHANGES), on=keys, validate="m:1")


def language_overlap(overlap: pd.DataFrame, task: str, order: Sequence[str]) -> pd.DataFrame:
    """Return the overlap of each pair of languages' tickets for one task, seeds averaged.

    Parameters
    ----------
    overlap
        Rows of one sparsity; those of scope ``all`` are used.
    task
        The task that both tickets were found with.
    order
        The languages in the order in which a pair is named.

    Returns
    -------
    pandas.DataFrame
        Columns ``left, right, jaccard, low, high, expected, excess, z, replicates, untrained``.
        Where `left` is `right`, two draws of one language are compared. `low` and `high` are the
        range over seeds and draws, `expected` the mean by chance, `excess` what is beyond it, `z`
        the smallest number of standard deviations beyond it; `untrained`, the same everywhere, is
        the mean overlap of all tickets of the task with the largest untrained weights.
    """
    rows = _pairs(overlap, "all")
    rows = rows[rows["left_task"] == task]
    untrained = rows.loc[rows["relation"] == "untrained", "jaccard"].mean()
    rows = rows[rows["relation"].isin(["language", "draw"])]
    place = {code: number for number, code in enumerate(order)}
    swap = rows["left_language"].map(place) > rows["right_language"].map(place)
    left = rows["left_language"].where(~swap, rows["right_language"])
    right = rows["right_language"].where(~swap, rows["left_language"])
    groups = rows.assign(left=left, right=right).groupby(["left", "right"], sort=False)
    summary = groups.agg(
        jaccard=("jaccard", "mean"),
        low=("jaccard", "min"),
        high=("jaccard", "max"),
        expected=("expected", "mean"),
        z=("z", "min"),
        replicates=("jaccard", "size"),
    ).reset_index()
    summary.insert(6, "excess", summary["jaccard"] - summary["expected"])
    return require_finite(summary.assign(untrained=untrained), "jaccard")


def _pairs(overlap: pd.DataFrame, scope: str) -> pd.DataFrame:
    """Return the comparisons of tickets at one scope."""
    rows = overlap[overlap["scope"] == scope]
    return rows.astype(dict.fromkeys(("jaccard", "expected", "z"), float))


def task_overlap(overlap: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Return how far each language's tickets for different tasks overlap, seeds averaged.

    Parameters
    ----------
    overlap
        Rows of one sparsity; those of scope ``all`` are used.
    names
        Names of the tasks, in the order in which a pair is named.

    Returns
    -------
    pandas.DataFrame
        Columns ``panel, place, language, value, low, high, replicates, expected, ceiling,
        untrained``: `place` is a pair of tasks, `ceiling` the mean overlap of two draws of either
        task, `untrained` of the tickets of either with the largest untrained weights; NA where
        there are none.
    """
    rows = _pairs(overlap, "all")
    seen = set(rows["left_task"]) | set(rows["right_task"])
    means = rows.groupby(["relation", "left_task", "left_language"])["jaccard"].mean().to_dict()
    parts = []
    for one, other in combinations([task for task in names if task in seen], 2):
        pair = rows[
            (rows["relation"] == "task")
            & rows["left_task"].isin([one, other])
            & rows["right_task"].isin([one, other])
        ].assign(place=f"{names[one]} – {names[other]}")
        part = _range_with_chance(pair, ["place", "left_language"])
        for name, relation in BESIDE.items():
            part[name] = [
                np.mean([means.get((relation, task, code), np.nan) for task in (one, other)])
                for code in part["left_language"]
            ]
        parts.append(part)
    table = pd.concat(parts, ignore_index=True).rename(columns={"left_language": "language"})
    return table.assign(panel="")


def _range_with_chance(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return mean and range of the overlaps, and their mean expectation by chance."""
    means = ranged(require_finite(rows, "jaccard"), by, "jaccard")
    chance = rows.groupby(list(by), sort=False)["expected"].mean().reset_index()
    return means.merge(chance, on=list(by), validate="1:1")


def overlap_by_place(overlap: pd.DataFrame, scope: str, names: Mapping[str, str]) -> pd.DataFrame:
    """Return how far each language's ticket overlaps with the others', per layer or component.

    Parameters
    ----------
    overlap
        Rows of one sparsity.
    scope
        ``layer`` or ``component``.
    names
        Names of the tasks.

    Returns
    -------
    pandas.DataFrame
        Columns ``panel, title, place or layer, language, value, low, high, replicates, expected,
        ceiling, untrained``: mean and range over the other languages and seeds; `ceiling` is the
        mean overlap of two draws, over languages, `untrained` that of tickets with the largest
        untrained weights; NA where there are none.
    """
    rows = _placed(_pairs(overlap, scope), names, "left_task")
    place = "layer" if scope == "layer" else "place"
    between = rows[rows["relation"] == "language"]
    turned = between.assign(left_language=between["right_language"])
    both = pd.concat([between, turned], ignore_index=True)
    keys = ["panel", "title", place, "left_language"]
    table = _range_with_chance(both, keys).rename(columns={"left_language": "language"})
    for name, relation in BESIDE.items():
        means = rows[rows["relation"] == relation].groupby(["panel", place])["jaccard"].mean()
        table = table.join(means.rename(name), on=["panel", place])
    return table


def kept_by_place(sizes: pd.DataFrame, scope: str, names: Mapping[str, str]) -> pd.DataFrame:
    """Return the percentage of weights that each ticket keeps, per layer or component.

    Parameters
    ----------
    sizes
        Rows of one sparsity: what every ticket keeps of every scope.
    scope
        ``layer`` or ``component``.
    names
        Names of the tasks.

    Returns
    -------
    pandas.DataFrame
        Columns ``panel, title, place or layer, language, value, low, high, replicates, average``:
        mean and range over seeds; `average` is the percentage kept of all prunable weights.
    """
    rows = sizes[(sizes["scope"] == scope) & (sizes["variant"] == "ticket")]
    rows = _placed(rows, names, "task")
    rows = rows.assign(percent=100 * rows["share"].astype(float))
    place = "layer" if scope == "layer" else "place"
    keys = ["panel", "title", place, "language"]
    table = ranged(require_finite(rows, "percent"), keys, "percent")
    whole = sizes[(sizes["scope"] == "all") & (sizes["variant"] == "ticket")]
    return table.assign(average=100 * whole["share"].astype(float).mean())


def _placed(rows: pd.DataFrame, names: Mapping[str, str], task: str) -> pd.DataFrame:
    """Name panels, which are tasks and, if there are two, stacks; and places, the components."""
    stack = ", " + rows["stack"].astype("string") if rows["stack"].nunique() > 1 else ""
    place = rows["component"].astype("string")
    return rows.assign(panel=rows[task] + stack, title=rows[task].map(names) + stack, place=place)


def titles_of(table: pd.DataFrame, names: Mapping[str, str]) -> dict[str, str]:
    """Return the titles of a table's panels, in the order of the tasks."""
    found = dict(zip(table["panel"], table["title"], strict=True))
    first = {title: number for number, title in enumerate(names.values())}
    return dict(sorted(found.items(), key=lambda item: first[item[1].split(",")[0]]))


def shared_by_languages(shared: pd.DataFrame) -> pd.DataFrame:
    """Return what the tickets of so many languages all keep, and what any of them keeps.

    Parameters
    ----------
    shared
        Rows of one sparsity: ``task, operation, languages, share, low, high, expected``, shares in
        0 to 1; ends are missing where there are too many choices of languages to look at all.

    Returns
    -------
    pandas.DataFrame
        Columns ``task, operation, languages, value, low, high, expected, replicates``, in percent
        of the prunable weights: means over seeds, and the range over choices of languages and
        seeds.
    """
    keys = ["task", "operation", "languages"]
    rows = shared[shared["operation"].isin(["intersection", "union"])]
    rows = rows.assign(value=rows["share"]).astype({"low": float, "high": float})
    for end in ("low", "high"):
        rows[end] = rows[end].fillna(rows["share"])
    percent = {name: 100 * rows[name] for name in ("value", "low", "high", "expected")}
    groups = require_finite(rows.assign(**percent)).groupby(keys, sort=False)
    return groups.agg(
        value=("value", "mean"),
        low=("low", "min"),
        high=("high", "max"),
        expected=("expected", "mean"),
        replicates=("value", "size"),
    ).reset_index()


def merges(pairs: pd.DataFrame) -> pd.DataFrame:
    """Cluster languages by average linkage (UPGMA; Sokal & Michener 1958).

    Parameters
    ----------
    pairs
        Columns ``left, right, distance``, one row per unordered pair.

    Returns
    -------
    pandas.DataFrame
        Columns ``left, right, height``, one row per merge in rising height. A cluster is written as
        its languages joined by ``+``; `height` is the mean distance of the pairs between the two.
    """
    distance = {
        frozenset((left, right)): float(value)
        for left, right, value in pairs[["left", "right", "distance"]].to_numpy()
    }
    clusters: list[tuple[str, ...]] = [
        (code,) for code in dict.fromkeys([*pairs["left"], *pairs["right"]])
    ]
    rows = []
    while len(clusters) > 1:
        heights = {
            (one, other): np.mean([distance[frozenset((a, b))] for a in one for b in other])
            for one, other in combinations(clusters, 2)
        }
        one, other = min(heights, key=lambda pair: heights[pair])
        rows.append(("+".join(one), "+".join(other), heights[one, other]))
        clusters[clusters.index(one)] = one + other
        clusters.remove(other)
    return pd.DataFrame(rows, columns=["left", "right", "height"])


def ticket_points(points: pd.DataFrame) -> pd.DataFrame:
    """Return each pair of languages with the distance of its tickets and its syntactic distance.

    Parameters
    ----------
    points
        Columns ``seed, task, left_language, right_language, distance, syntactic_distance``.

    Returns
    -------
    pandas.DataFrame
        Columns ``panel, left, right, x, value, low, high, replicates``: `panel` is the task, `x`
        the syntactic distance; mean and range over seeds.
    """
    names = {"task": "panel", "left_language": "left", "right_language": "right"}
    rows = points.rename(columns={**names, "syntactic_distance": "x"})
    return ranged(require_finite(rows, "distance"), ["panel", "left", "right", "x"], "distance")


def mantel_tests(typology: pd.DataFrame) -> pd.DataFrame:
    """Return how well the distances of tickets go along with syntactic distance, by task.

    Returns
    -------
    pandas.DataFrame
        Columns ``panel, r, p, n``: Pearson's correlation, two-sided p of the Mantel test, NA where
        there is none, and the number of languages.
    """
    syntax = typology["predictor"] == "syntactic_distance"
    rows = typology[syntax & (typology["method"] == "pearson")]
    names = {"task": "panel", "value": "r", "p_two_sided": "p"}
    return rows.rename(columns=names)[["panel", "r", "p", "n"]].reset_index(drop=True)


def trees(points: pd.DataFrame) -> pd.DataFrame:
    """Return the merges of every panel of the dendrograms: one per task, and syntactic distance.

    Parameters
    ----------
    points
        What `ticket_points` returned.

    Returns
    -------
    pandas.DataFrame
        Columns ``panel, left, right, height``; the last panel is ``syntax``.
    """

    def panels() -> Iterator[tuple[str, pd.DataFrame]]:
        for panel, rows in points.groupby("panel", sort=False):
            yield str(panel), rows.assign(distance=rows["value"])
        one = points[points["panel"] == points["panel"].iloc[0]]
        yield "syntax", one.assign(distance=one["x"])

    return pd.concat(
        [merges(rows).assign(panel=panel) for panel, rows in panels()], ignore_index=True
    )


def retrieval_errors(similarity: pd.DataFrame, pivot: str, name: str) -> pd.DataFrame:
    """Return the errors of retrieval between pivot and other languages, with and without tickets.

    Parameters
    ----------
    similarity
        Rows of one corpus and pooling.
    pivot, name
        The language the others are compared with, and its name.

    Returns
    -------
    pandas.DataFrame
        Columns ``panel, language, layer, value, low, high, replicates, chance``, values in percent;
        panels are named and ordered: from the pivot in the full model, in each language's own
        ticket and in the pivot's, then to the pivot. `chance` is the error of a random neighbour.
    """
    networks = {
        "base-languages": "full model",
        "tickets": "each language's ticket",
        "pivot-ticket": f"ticket of {name}",
    }
    directions = {"forward": f"from {name}", "backward": f"to {name}"}
    n = similarity.loc[similarity["measure"] == "retrieval_error", "n"].astype(float).mean()
    parts = []
    for direction, way in directions.items():
        for comparison, network in networks.items():
            panels = {f"retrieval_error.{direction}": f"{network},\n{way}"}
            parts.append(layer_curves(similarity, comparison, pivot, panels))
    return pd.concat(parts, ignore_index=True).assign(chance=100 * (1 - 1 / n))
