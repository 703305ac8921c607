"""What the tables and figures of the encoders study show: one row per drawn mark.

A score belongs to a corpus and a language, or a pair of languages. Seeds are pooled by
:func:`babelscope.evaluation.tables.pool`; then languages or pairs are averaged within a corpus, and
corpora with equal weights. The ends of their intervals are averaged like the values: that is exact
if all errors go together, as where all languages read translations of the same sentences, and
otherwise too wide, never too narrow (the standard error of a mean is at most the mean of the
standard errors). Mean gains have intervals from resamples that all languages of a corpus share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from babelscope.errors import BabelscopeError
from babelscope.evaluation.results import ALL
from babelscope.evaluation.tables import pool, require_finite, student, wide

SOURCE = "source"  # the method that gains are against
UNALIGNED = "modular-mono"  # the method that strategies of alignment are compared with
STRATEGIES = ("modular-paraphrase", "modular-parallel", "modular-both")
ITEM = ["corpus", "language1", "language2"]
CHANGES = {"value": "gain", "low": "gain_low", "high": "gain_high"}
SIGNED = (-100.0, 100.0)  # limits of a correlation x 100
DROP = (-200.0, 200.0)  # of the difference of two
FEWEST = 3  # languages, for a jackknife over them


@dataclass(frozen=True)
class Measure:
    """One column of the main tables.

    Attributes
    ----------
    group
        The table it stands in: ``monolingual``, ``crosslingual`` or ``alignment``.
    task, setting, metric
        The scores that it averages.
    higher_is_better
        The direction; gains are positive where a method is better.
    limits
        The lowest and highest value there is, at which intervals end.
    """

    group: str
    task: str
    setting: str
    metric: str
    higher_is_better: bool = True
    limits: tuple[float, float] = (0.0, 100.0)


MEASURES = {
    "sts.monolingual": Measure("monolingual", "sts", "monolingual", "spearman", limits=SIGNED),
    "topics.monolingual": Measure("monolingual", "topics", "monolingual", "accuracy"),
    "reading.monolingual": Measure("monolingual", "reading", "monolingual", "accuracy"),
    "sts.crosslingual": Measure("crosslingual", "sts", "crosslingual", "spearman", limits=SIGNED),
    "bitext.crosslingual": Measure("crosslingual", "bitext", "crosslingual", "error", False),
    "mining.crosslingual": Measure("crosslingual", "mining", "crosslingual", "f1"),
    "topics.crosslingual": Measure("crosslingual", "topics", "crosslingual", "accuracy"),
    "reading.crosslingual": Measure("crosslingual", "reading", "crosslingual", "accuracy"),
    "structure.crosslingual": Measure(
        "alignment", "structure", "crosslingual", "rsim", limits=(-1.0, 1.0)
    ),
    "bias.sts": Measure("alignment", "language_bias", "multilingual", "spearman_drop", False, DROP),
    "bias.bitext": Measure("alignment", "language_bias", "multilingual", "accuracy_drop", False),
}
"""The columns of the main tables in order."""

TRANSFER = ("sts", "topics", "reading", "bitext", "mining")
"""Tasks across languages that RSIM is compared with, in order."""


def measured(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that the main tables average, with a column ``measure``.

    Of scores of all languages together there is one row per corpus, none for pairs of languages.
    """
    parts = []
    for name, measure in MEASURES.items():
        chosen = rows[
            (rows["task"] == measure.task)
            & (rows["setting"] == measure.setting)
            & (rows["metric"] == measure.metric)
        ]
        if measure.setting == "multilingual":
            chosen = chosen[chosen["language1"] == ALL]
        parts.append(chosen.assign(measure=name))
    table = pd.concat(parts, ignore_index=True)
    if table.empty:
        raise ValueError("no score of any measure")
    return table


def scores_by_item(scores: pd.DataFrame) -> pd.DataFrame:
    """Return each method's scores on each corpus and language or pair, seeds pooled.

    Returns
    -------
    pandas.DataFrame
        Columns ``measure, method, corpus, language1, language2, value, low, high, replicates``;
        intervals are cut off at the limits of the measure.

    Raises
    ------
    BabelscopeError
        If two methods were not scored on the same corpora and languages: their means would not be
        comparable.
    """
    table = pool(require_finite(measured(scores)), ["measure", "method", *ITEM])
    lowest, highest = zip(*(MEASURES[str(name)].limits for name in table["measure"]), strict=True)
    low, high = np.maximum(table["low"], lowest), np.minimum(table["high"], highest)
    table = table.assign(low=low, high=high)
    items = {
        key: set(map(tuple, part[ITEM].to_numpy()))
        for key, part in table.groupby(["measure", "method"], sort=False)
    }
    for measure in dict.fromkeys(table["measure"]):
        there = {method: found for (name, method), found in items.items() if name == measure}
        everything = set().union(*there.values())
        for method, found in there.items():
            if found != everything:
                corpus, *languages = sorted(everything - found)[0]
                raise BabelscopeError(
                    f"{method} has no score of {measure} on {corpus} ({'-'.join(languages)}), which"
                    " other methods have.",
                    "Delete its scores and run the same command again.",
                )
    return table


def compared(methods: Sequence[str]) -> list[tuple[str, str]]:
    """Return which methods are tested against which: pairs of a method and its reference.

    Each is compared with the source, each strategy of alignment with none, and modules with one
    network for all languages that was trained on the same pairs, before and after what is meant to
    bring languages together.
    """
    pairs = [(method, SOURCE) for method in methods if method != SOURCE]
    pairs += [(method, UNALIGNED) for method in STRATEGIES]
    pairs += [(UNALIGNED, "full-mono"), (STRATEGIES[-1], "full-cross")]
    return [pair for pair in pairs if set(pair) <= set(methods)]


def gains(
    scores: pd.DataFrame, comparisons: pd.DataFrame, reference: str, *, together: bool
) -> pd.DataFrame:
    """Return how far each method is better than a reference on each corpus, seeds pooled.

    Comparisons have the sampling error of the examples, on which both methods are scored, for the
    mean over seeds; the differences of single seeds add the variance between trainings.

    Parameters
    ----------
    scores
        Rows of all methods and seeds.
    comparisons
        Rows of :class:`babelscope.evaluation.comparisons.Comparisons`, pairs and means together.
    reference
        The method that the others are compared with.
    together
        Whether to return the mean over languages or pairs of languages, or each for itself.

    Returns
    -------
    pandas.DataFrame
        Columns ``measure, method, corpus, language1, language2, value, low, high, replicates``:
        positive where the method is better, also where a lower score is. What has no examples to
        pair is left out.
    """
    rows = comparisons[comparisons["reference"] == reference]
    rows = measured(rows)
    over_all = (rows["language1"] == ALL) & (rows["language2"] == ALL)
    rows = rows[over_all == together]
    keys = ["measure", "method", *ITEM]
    seeds = _differences(scores, reference)
    if together:
        means = seeds.groupby(["seed", "measure", "method", "corpus"], sort=False)["apart"].mean()
        seeds = means.reset_index().assign(language1=ALL, language2=ALL)
    columns = ["difference", "low", "high"]
    merged = seeds.merge(rows[[*keys, *columns]], on=keys, validate="m:1")
    apart, difference, low, high = (merged[name].astype(float) for name in ("apart", *columns))
    up = merged["measure"].map({name: one.higher_is_better for name, one in MEASURES.items()})
    ends = {"low": apart - (difference - low), "high": apart + (high - difference)}
    turned = {
        "value": apart.where(up, -apart),
        "low": ends["low"].where(up, -ends["high"]),
        "high": ends["high"].where(up, -ends["low"]),
    }
    return pool(require_finite(merged[keys].assign(**turned)), keys)


def _differences(scores: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return by how much each method's score exceeds a reference's, seed by seed, as ``apart``."""
    rows = measured(scores)
    keys = ["seed", "measure", *ITEM]
    base = rows[rows["method"] == reference][[*keys, "value"]]
    both = rows.merge(base, on=keys, suffixes=("", "_reference"), validate="m:1")
    both = both[both["method"] != reference]
    apart = both["value"].astype(float) - both["value_reference"].astype(float)
    return both.assign(apart=apart)[[*keys, "method", "apart"]]


def averaged(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return means of values and of the ends of their intervals: within corpora, then of these.

    Parameters
    ----------
    rows
        Columns `by`, ``corpus, value, low, high, replicates``.
    by
        What identifies a mean.

    Returns
    -------
    pandas.DataFrame
        Columns `by`, ``value, low, high, replicates, corpora, scores``: how many corpora there are,
        and how many rows in all.
    """
    ends = dict.fromkeys(("value", "low", "high"), "mean")
    within = rows.assign(scores=1).groupby([*by, "corpus"], sort=False)
    corpora = within.agg({**ends, "replicates": "min", "scores": "sum"}).reset_index()
    groups = corpora.assign(corpora=1).groupby(list(by), sort=False)
    counts = {"replicates": "min", "corpora": "sum", "scores": "sum"}
    return groups.agg({**ends, **counts}).reset_index()


def method_table(
    scores: pd.DataFrame,
    comparisons: pd.DataFrame,
    *,
    methods: Sequence[str],
    reference: str,
) -> pd.DataFrame:
    """Return each method's mean of each measure, and its gain over a reference.

    Parameters
    ----------
    scores, comparisons
        Rows of all methods and seeds.
    methods
        The methods that are shown, in order.
    reference
        One of them, which the others are compared with.

    Returns
    -------
    pandas.DataFrame
        Columns ``group, measure, method``, those of `averaged`, ``gain, gain_low, gain_high``;
        gains are NaN for the reference and where there are no examples to pair. The order is that
        of `MEASURES` and of `methods`.
    """
    table = averaged(scores_by_item(scores), ["measure", "method"])
    table = table[table["method"].isin(methods)]
    missing = set(methods) - set(table["method"])
    if missing:
        raise ValueError(f"no score of {sorted(missing)}")
    table = _with_gains(
        table, gains(scores, comparisons, reference, together=True), ["measure", "method"]
    )
    table.insert(0, "group", [MEASURES[str(name)].group for name in table["measure"]])
    order = {name: place for place, name in enumerate([*MEASURES, *methods])}
    ranks = table[["measure", "method"]].apply(lambda column: column.map(order))
    return table.loc[ranks.sort_values(["measure", "method"]).index].reset_index(drop=True)


def strategy_table(scores: pd.DataFrame, comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return how modular encoders fare across languages by how their adapters were trained.

    Returns
    -------
    pandas.DataFrame
        As from `method_table`, of the modular methods that there are, against the one without
        alignment; without monolingual measures, which no alignment is used for.
    """
    there = set(scores["method"])
    shown = [name for name in (UNALIGNED, *STRATEGIES) if name in there]
    if UNALIGNED not in shown or len(shown) == 1:
        raise ValueError(f"nothing to compare strategies by: {sorted(there)}")
    rows = scores[scores["setting"] != "monolingual"]
    return method_table(rows, comparisons, methods=shown, reference=UNALIGNED)


def starred(table: pd.DataFrame) -> pd.Series:
    """Return whether the interval of a row's gain lacks zero; False where there is no gain."""
    return (table["gain_low"] > 0) | (table["gain_high"] < 0)


def main_readers(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of methods as papers print it: methods in rows, measures in columns.

    Parameters
    ----------
    table
        From `method_table`.

    Returns
    -------
    pandas.DataFrame
        Column ``method`` and one per measure; a cell is ``value [low, high]``, with a star if the
        interval of the gain over the reference does not contain zero.
    """
    digits = [3 if MEASURES[str(name)].metric == "rsim" else 1 for name in table["measure"]]
    ends = table[["value", "low", "high"]].to_numpy(dtype=float)
    cells = [
        f"{value:.{places}f}{'*' if star else ''} [{low:.{places}f}, {high:.{places}f}]"
        for (value, low, high), star, places in zip(ends, starred(table), digits, strict=True)
    ]
    return wide(table.assign(cell=cells), ["method"], ["measure"], "cell")


def per_language(
    scores: pd.DataFrame, comparisons: pd.DataFrame, *, reference: str = SOURCE
) -> pd.DataFrame:
    """Return each method's scores and gains in each language.

    Across languages, a pair counts for both of its languages: a language's score is the mean over
    its pairs with others.

    Returns
    -------
    pandas.DataFrame
        Columns ``measure, method, language``, those of `averaged`, ``gain, gain_low, gain_high``;
        gains are NaN for the reference and where there are no examples to pair.
    """
    keys = ["measure", "method", "language"]
    table = averaged(_by_language(scores_by_item(scores)), keys)
    apart = gains(scores, comparisons, reference, together=False)
    return _with_gains(table, _by_language(apart), keys)


def _with_gains(table: pd.DataFrame, apart: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return a table with the means of gains beside its scores."""
    means = averaged(apart, keys).rename(columns=CHANGES)
    return table.merge(means[[*keys, *CHANGES.values()]], on=keys, how="left", validate="1:1")


def _by_language(rows: pd.DataFrame) -> pd.DataFrame:
    """Return each row once for each of its languages; rows of all together are left out."""
    first = rows.assign(language=rows["language1"])
    second = rows[rows["language1"] != rows["language2"]].assign(language=rows["language2"])
    both = pd.concat([first, second], ignore_index=True)
    return both[both["language"] != ALL]


def language_gains(table: pd.DataFrame, sizes: pd.DataFrame, task: str, item: str) -> pd.DataFrame:
    """Return the gains in one task, languages with the most training data first.

    Parameters
    ----------
    table
        From `per_language`.
    sizes
        Columns ``language, item, count``: how much each language was trained on.
    task
        The task; its measures are the panels.
    item
        Which count sorts the languages.

    Returns
    -------
    pandas.DataFrame
        Columns ``panel, language, method, value, low, high, size``: `panel` is the measure, `value`
        the gain, positive where the method is better.
    """
    counts = sizes[sizes["item"] == item].set_index("language")["count"].astype(float)
    names = [name for name, measure in MEASURES.items() if measure.task == task]
    rows = table[table["measure"].isin(names) & table["gain"].notna()]
    if rows.empty:
        raise ValueError(f"no gains in {task}")
    rows = rows.assign(size=rows["language"].map(counts))
    lacking = sorted(rows.loc[rows["size"].isna(), "language"].unique())
    if lacking:
        raise ValueError(f"no count of {item} for {lacking}")
    columns = {"measure": "panel", "gain": "value", "gain_low": "low", "gain_high": "high"}
    rows = rows[["measure", "language", "method", *CHANGES.values(), "size"]]
    rows = rows.rename(columns=columns)
    place = {name: number for number, name in enumerate(names)}
    order = rows.assign(place=rows["panel"].map(place)).sort_values(
        ["place", "size", "language"], ascending=[True, False, True], kind="stable"
    )
    return order.drop(columns="place").reset_index(drop=True)


def transfer_points(scores: pd.DataFrame) -> pd.DataFrame:
    """Return how alike two languages' spaces are against the scores across them.

    Returns
    -------
    pandas.DataFrame
        Columns ``panel, method, left, right, x, value``, a row per measure across languages, method
        and pair of languages: `x` is RSIM and `value` the score, means over corpora, seeds and both
        directions; languages of a pair in alphabetical order.
    """
    table = scores_by_item(scores)
    sides = np.sort(table[["language1", "language2"]].to_numpy(dtype=str), axis=1)
    keys = ["measure", "method", "left", "right"]
    table = table.assign(left=sides[:, 0], right=sides[:, 1])
    means = table.groupby(keys, sort=False)["value"].mean().reset_index()
    rsim = means[means["measure"] == "structure.crosslingual"]
    rsim = rsim.rename(columns={"value": "x"}).drop(columns="measure")
    names = [f"{task}.crosslingual" for task in TRANSFER]
    points = means[means["measure"].isin(names)].merge(rsim, on=keys[1:], validate="m:1")
    if points.empty:
        raise ValueError("no pair of languages has both RSIM and a score")
    points = points.rename(columns={"measure": "panel"})
    place = points["panel"].map({name: number for number, name in enumerate(names)})
    points = points.loc[place.sort_values(kind="stable").index]
    return points[["panel", *keys[1:], "x", "value"]].reset_index(drop=True)


def transfer_correlations(points: pd.DataFrame) -> pd.DataFrame:
    """Return how well RSIM goes along with scores across languages, with intervals.

    Pearson's correlation over all methods and pairs of a panel, and within methods: after the
    method's mean is taken off both, so that it does not tell better from worse methods. Pairs that
    share a language are not independent; the interval is a jackknife that leaves out one language
    with all its pairs (Efron & Tibshirani 1993, ch. 11), with Student's t of languages - 1 degrees
    of freedom, cut off at -1 and 1. A language that is in every pair, such as the pivot, is never
    left out.

    Parameters
    ----------
    points
        From `transfer_points`.

    Returns
    -------
    pandas.DataFrame
        Columns ``panel, kind`` (``all`` or ``within``), ``r, low, high, n`` (points),
        ``languages`` (those left out in turn). `r` is NaN where one side does not vary, the
        interval where there are fewer than three languages to leave out or a correlation without
        one of them is undefined.
    """
    records = []
    for panel, rows in points.groupby("panel", sort=False):
        pairs = [{left, right} for left, right in rows[["left", "right"]].to_numpy()]
        codes = sorted(set.union(*pairs) - set.intersection(*pairs))
        for kind in ("all", "within"):
            left_out = [
                _correlation(rows[(rows["left"] != code) & (rows["right"] != code)], kind)
                for code in codes
            ]
            r = _correlation(rows, kind)
            low = high = np.nan
            if len(codes) >= FEWEST and np.isfinite([r, *left_out]).all():
                error = np.sqrt((len(codes) - 1) * np.var(left_out))
                half = float(student(np.array([1 / (len(codes) - 1)]))[0] * error)
                low, high = max(r - half, -1.0), min(r + half, 1.0)
            facts = {"panel": panel, "kind": kind, "r": r, "low": low, "high": high}
            records.append(facts | {"n": len(rows), "languages": len(codes)})
    return pd.DataFrame(records)


def _correlation(rows: pd.DataFrame, kind: str) -> float:
    """Return Pearson's correlation of x and value, of all rows or within methods."""
    both = rows[["x", "value"]].astype(float)
    if kind == "within":
        both = both - both.groupby(rows["method"]).transform("mean")
    x, y = both.to_numpy().T if len(both) > 2 else np.zeros((2, 1))
    if min(np.ptp(x), np.ptp(y)) < 1e-9:
        return np.nan
    return float(np.corrcoef(x, y)[0, 1])


def sentence_map(
    embeddings: Mapping[str, Mapping[str, np.ndarray]],
    *,
    sentences: int,
    joined: int,
) -> pd.DataFrame:
    """Return the first sentences of a parallel corpus in two dimensions, method by method.

    The vectors are normalized to length 1, and all languages' together are centred; x and y are
    their first two principal components, of each method for itself.

    Parameters
    ----------
    embeddings
        By method and language, shape (n, d): rows are the same sentences in each language.
    sentences
        How many of them are shown, if there are so many.
    joined
        Of how many the translations are joined by lines, chosen at equal distances.

    Returns
    -------
    pandas.DataFrame
        Columns ``panel`` (the method), ``language, sentence, x, y, joined``, and, the same in all
        rows of a panel, the shares of the variance that x and y hold, ``x_share`` and ``y_share``,
        and that the means of the languages make up in all dimensions, ``language_share``: 0 to 1.
    """
    parts = []
    for method, by_language in embeddings.items():
        lengths = {len(array) for array in by_language.values()}
        if len(lengths) != 1:
            raise ValueError(f"{method}: languages have {sorted(lengths)} sentences")
        count = min(sentences, *lengths)
        stacked = np.stack([array[:count].astype(np.float64) for array in by_language.values()])
        stacked /= np.linalg.norm(stacked, axis=-1, keepdims=True)  # (languages, sentences, d)
        stacked -= stacked.mean(axis=(0, 1))
        _, sizes, axes = np.linalg.svd(stacked.reshape(-1, stacked.shape[-1]), full_matrices=False)
        signs = np.sign(axes[np.arange(2), np.abs(axes[:2]).argmax(axis=1)])  # else arbitrary
        places = stacked @ (axes[:2] * signs[:, None]).T  # (languages, sentences, 2)
        total = float(np.sum(sizes**2))
        apart = count * float(np.sum(stacked.mean(axis=1) ** 2))
        chosen = np.linspace(0, count - 1, min(joined, count)).round().astype(int)
        parts.append(
            pd.DataFrame(
                {
                    "panel": method,
                    "language": np.repeat(list(by_language), count),
                    "sentence": np.tile(np.arange(count), len(by_language)),
                    "x": places[..., 0].ravel(),
                    "y": places[..., 1].ravel(),
                    "joined": np.tile(np.isin(np.arange(count), chosen), len(by_language)),
                    "x_share": sizes[0] ** 2 / total,
                    "y_share": sizes[1] ** 2 / total,
                    "language_share": apart / total,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
