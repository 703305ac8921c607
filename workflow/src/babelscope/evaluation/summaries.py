"""What the figures show of the collected tables: replicates pooled, one row per drawn mark."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from babelscope.evaluation.tables import pool, ranged, require_finite, student

SHARED = "token_overlap_sentence_types"
BOTH = ("base", "finetuned")


def of_corpus(table: pd.DataFrame, *, corpus: str, pooling: str) -> pd.DataFrame:
    """Return the rows of one corpus and, where a table tells poolings apart, of one pooling."""
    chosen = table["corpus"] == corpus
    if "pooling" in table:
        chosen &= table["pooling"] == pooling
    return table[chosen]


def _require_one_pooling(similarity: pd.DataFrame) -> pd.DataFrame:
    """Return the table unless it holds several poolings, which would pass for replicates."""
    if "pooling" in similarity and similarity["pooling"].nunique() > 1:
        raise ValueError(f"several poolings: {', '.join(similarity['pooling'].unique())}")
    return similarity


def layer_curves(
    similarity: pd.DataFrame,
    comparison: str,
    pivot: str,
    panels: Mapping[str, str],
) -> pd.DataFrame:
    """Return a comparison's scores layer by layer, averaged over seeds.

    Parameters
    ----------
    similarity
        Rows of one corpus and pooling.
    comparison
        A key of :data:`babelscope.representations.comparisons.COMPARISONS`.
    pivot
        Of a pair of two languages one must be the pivot; the curve is named after the other.
    panels
        Title of the panel by ``measure`` or ``measure.estimator``; other rows are left out.

    Returns
    -------
    pandas.DataFrame
        Columns ``panel, language, layer, value, low, high, replicates``.
    """
    rows = _require_one_pooling(similarity[similarity["comparison"] == comparison])
    precise = rows["measure"] + "." + _direction(rows, pivot)
    title = precise.map(panels).fillna(rows["measure"].map(panels))
    rows = rows.assign(panel=title, language=_other(rows, pivot), layer=rows["left_layer"])
    rows = rows[
        rows["panel"].notna()
        & rows["language"].notna()
        & (rows["left_layer"] == rows["right_layer"])
    ]
    missing = set(panels.values()) - set(rows["panel"])
    if missing:
        raise ValueError(f"{comparison}: no rows for {sorted(missing)}")
    return pool(require_finite(rows), ["panel", "language", "layer"])


def _direction(rows: pd.DataFrame, pivot: str) -> pd.Series:
    """Return the estimators, a direction as seen from the pivot wherever one side alone is it."""
    turned = (rows["right_language"] == pivot) & (rows["left_language"] != pivot)
    swapped = rows["estimator"].replace({"forward": "backward", "backward": "forward"})
    return rows["estimator"].where(~turned, swapped)


def _other(rows: pd.DataFrame, pivot: str) -> pd.Series:
    """Name the language of a pair that is not the pivot; NA where neither side is the pivot."""
    left, right = rows["left_language"], rows["right_language"]
    name = right.where(left == pivot, left.where(right == pivot))
    return name.where(left != right, left)


def layer_maps(similarity: pd.DataFrame, measure: str, estimator: str) -> pd.DataFrame:
    """Return the similarity of each layer of one network with each of another, seeds averaged.

    Parameters
    ----------
    similarity
        Rows of one corpus and pooling.
    measure, estimator
        Which of its scores.

    Returns
    -------
    pandas.DataFrame
        Columns ``language, left_layer, right_layer, value, low, high, replicates``.
    """
    rows = similarity[
        (similarity["comparison"] == "layers")
        & (similarity["measure"] == measure)
        & (similarity["estimator"] == estimator)
    ].rename(columns={"left_language": "language"})
    rows = _require_one_pooling(rows)
    return pool(require_finite(rows), ["language", "left_layer", "right_layer"])


def layer_differences(
    similarity: pd.DataFrame, first: str, second: str, pivot: str, measure: str, estimator: str
) -> pd.DataFrame:
    """Return how much two comparisons differ, per language and layer.

    Both are scored on the same sentences, so their errors mostly agree in sign. The error is that
    of the difference itself: a jackknife that leaves the same block out of both (Efron & Tibshirani
    1993, ch. 11), with Student's t of blocks - 1 degrees of freedom for the 95 % interval.

    Parameters
    ----------
    similarity
        Rows of one corpus and pooling, with ``n`` and ``left_out``, the values without each block
        of sentences.
    first, second
        Comparisons with the same languages and layers; the second is subtracted from the first.
    pivot, measure, estimator
        As in `layer_curves`.

    Returns
    -------
    pandas.DataFrame
        Columns ``language, layer, value, low, high, replicates``.
    """
    rows = similarity[(similarity["measure"] == measure) & (similarity["estimator"] == estimator)]
    rows = rows[rows["left_layer"] == rows["right_layer"]]
    rows = rows.assign(language=_other(rows, pivot), layer=rows["left_layer"])
    rows = rows[rows["language"].notna()]
    keys = ["seed", "language", "layer"]
    both = rows[rows["comparison"] == first].merge(
        rows[rows["comparison"] == second], on=keys, suffixes=("_first", "_second"), validate="1:1"
    )
    if both.empty:
        raise ValueError(f"{first} and {second} have no language and layer in common")
    if (both["n_first"] != both["n_second"]).any():
        raise ValueError(f"{first} and {second} were not scored on the same sentences")
    left_out = [np.stack(list(both[f"left_out_{side}"])) for side in ("first", "second")]
    blocks = left_out[0].shape[1]
    if blocks < 2 or left_out[1].shape[1] != blocks:
        raise ValueError(f"{first} and {second} have not the same blocks of sentences")
    both["value"] = both["value_first"] - both["value_second"]
    apart = left_out[0] - left_out[1]  # (rows, blocks)
    error = np.sqrt((blocks - 1) * apart.var(axis=1))
    half = student(np.array([1 / (blocks - 1)])) * error
    return pool(both.assign(low=both["value"] - half, high=both["value"] + half), keys[1:])


def difference_table(
    similarity: pd.DataFrame, pairs: Sequence[tuple[str, str]], pivot: str
) -> pd.DataFrame:
    """Return the differences of unbiased CKA between pairs of comparisons, for every corpus.

    Returns
    -------
    pandas.DataFrame
        Columns ``corpus, first, second``, then those of `layer_differences`.
    """
    parts = []
    for corpus, rows in similarity.groupby("corpus", sort=False):
        for first, second in pairs:
            part = layer_differences(rows, first, second, pivot, "cka", "unbiased")
            for place, (name, value) in enumerate(
                {"corpus": corpus, "first": first, "second": second}.items()
            ):
                part.insert(place, name, value)
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def network_perplexities(perplexity: pd.DataFrame, budget: str, *, relative: bool) -> pd.DataFrame:
    """Return the perplexity of every subnetwork of a budget on every language.

    Of a language's draws the first is shown, which defines its subnetwork; seeds and random masks
    are pooled by their logarithms: the value is the geometric mean, that of the mean loss.

    Parameters
    ----------
    perplexity
        Rows of all networks and masks.
    budget
        The budget whose masks are shown.
    relative
        Ratios to the full model's perplexity, and no row for the full model, instead of
        perplexities.

    Returns
    -------
    pandas.DataFrame
        Columns ``network, language, value, low, high, replicates, kept_least, kept_most, heads``;
        `network` is ``full``, the language whose subnetwork it is, ``random``, ``intersection`` or
        ``union``. Its masks keep `kept_least` to `kept_most` of `heads` heads; NA for the full
        model.
    """
    rows = perplexity[perplexity["network"] == "finetuned"]
    rows = rows[rows["budget"].isin([budget] if relative else ["full", budget])]
    rows = rows[(rows["kind"] != "language") | (rows["draw"] == 0)]
    name = rows["mask_language"].where(rows["kind"] == "language", rows["kind"])
    rows = rows.assign(network=name)
    if relative:
        rows = rows.assign(value=rows["ratio"], low=rows["ratio_low"], high=rows["ratio_high"])
    else:
        rows = rows.assign(value=rows["perplexity"])
    by = ["network", "language"]
    sizes = rows.groupby(by, as_index=False).agg(
        kept_least=("kept", "min"), kept_most=("kept", "max"), heads=("heads", "max")
    )
    return pool_logarithms(rows, by).merge(sizes, on=by, validate="one_to_one")


def pool_logarithms(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Pool positive scores; of their logarithms no interval reaches below 0."""
    scores = ("value", "low", "high")
    logs = {name: np.log(rows[name].astype(float)) for name in scores}
    pooled = pool(require_finite(rows.assign(**logs)), by)
    return pooled.assign(**{name: np.exp(pooled[name]) for name in scores})


def finetuning(perplexity: pd.DataFrame, unigram: pd.DataFrame) -> pd.DataFrame:
    """Return each language's perplexity before and after fine-tuning, seeds pooled by logarithms.

    Parameters
    ----------
    perplexity
        Rows of all networks; those without a mask are used.
    unigram
        Rows of the languages' unigram models.

    Returns
    -------
    pandas.DataFrame
        Columns ``language, group, value, low, high, replicates``; `group` is ``unigram``, ``base``
        (before) or ``finetuned`` (after).
    """
    full = perplexity[(perplexity["kind"] == "full") & perplexity["network"].isin(BOTH)]
    full = pd.concat([unigram.assign(network="unigram"), full])
    full = full.assign(value=full["perplexity"], group=full["network"])
    return pool_logarithms(full, ["language", "group"])


def overlap_summary(overlap: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """Return the overlap of each pair of languages, draws and seeds averaged.

    Parameters
    ----------
    overlap
        Rows of one budget; those of scope ``all`` are used.
    order
        The languages in the order in which a pair is named.

    Returns
    -------
    pandas.DataFrame
        Columns ``left, right, jaccard, low, high, expected, excess, z, p, replicates``. Where
        `left` is `right`, independent draws of one language are compared. `low` and `high` are the
        range over draws and seeds, `expected` the mean by chance, `excess` what is beyond it, `z`
        the mean of the replicates' standard scores, and `p` the largest of theirs.
    """
    rows = overlap[overlap["scope"] == "all"]
    rows = rows.astype(dict.fromkeys(("jaccard", "expected", "z", "p"), float))
    rows = rows[(rows["left"] != rows["right"]) | (rows["left_draw"] != rows["right_draw"])]
    place = {code: number for number, code in enumerate(order)}
    swap = rows["left"].map(place) > rows["right"].map(place)
    left = rows["left"].where(~swap, rows["right"])
    right = rows["right"].where(~swap, rows["left"])
    groups = rows.assign(left=left, right=right).groupby(["left", "right"], sort=False)
    summary = groups.agg(
        jaccard=("jaccard", "mean"),
        low=("jaccard", "min"),
        high=("jaccard", "max"),
        expected=("expected", "mean"),
        z=("z", "mean"),
        p=("p", "max"),
        replicates=("jaccard", "size"),
    ).reset_index()
    summary.insert(6, "excess", summary["jaccard"] - summary["expected"])
    return summary


def head_shares(heads: pd.DataFrame, budget: str) -> pd.DataFrame:
    """Return in what share of draws and seeds each language keeps each head.

    Returns
    -------
    pandas.DataFrame
        Columns ``language, layer, head, kept, replicates``, `kept` in 0 to 1.
    """
    rows = heads[heads["budget"] == budget]
    groups = rows.groupby(["language", "layer", "head"], sort=False)["kept"]
    return groups.agg(kept="mean", replicates="size").reset_index()


def masked_percentages(masks: pd.DataFrame, budget: str) -> pd.DataFrame:
    """Return the percentage of masked heads per language and layer, with its range over replicates.

    Returns
    -------
    pandas.DataFrame
        Columns ``language, layer, value, low, high, replicates``.
    """
    rows = masks[masks["budget"] == budget]
    return ranged(rows.assign(percent=100 * rows["share"]), ["language", "layer"], "percent")


def pruning_curves(trajectories: pd.DataFrame) -> pd.DataFrame:
    """Return each language's perplexity ratio as heads are removed, draws and seeds averaged.

    A curve ends where the first draw or seed ends: those that go on are the ones which lose least,
    and a mean of them alone would fall.

    Parameters
    ----------
    trajectories
        Rows of :func:`babelscope.subnetworks.trajectory.trajectory_table` with their language.

    Returns
    -------
    pandas.DataFrame
        Columns ``language, sparsity, value, low, high, replicates``; `low` to `high` is the range.
    """
    curves = ranged(require_finite(trajectories, "ratio"), ["language", "sparsity"], "ratio")
    whole = curves.groupby("language")["replicates"].transform("max")
    return curves[curves["replicates"] == whole].reset_index(drop=True)


def before_and_after(trained: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Return the published table of perplexities before and after, and those of unigram models.

    Parameters
    ----------
    trained
        What `finetuning` returned.
    names
        The languages' names by code, in the order of the rows.

    Returns
    -------
    pandas.DataFrame
        One row per language: ``language, name``, and each with `_low` and `_high` ``unigram``,
        ``before, after``.
    """
    table = pd.DataFrame({"language": list(names), "name": list(names.values())})
    for network, title in zip(("unigram", *BOTH), ("unigram", "before", "after"), strict=True):
        part = trained[trained["group"] == network].set_index("language")
        for column, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
            table[f"{title}{suffix}"] = table["language"].map(part[column])
    for title in ("unigram", "before", "after"):
        require_finite(table, title)
    return table


def loss_curves(history: pd.DataFrame) -> pd.DataFrame:
    """Return the losses of every training, seeds averaged, with their range over seeds.

    Parameters
    ----------
    history
        Columns ``run, seed, step, split, language, loss``.

    Returns
    -------
    pandas.DataFrame
        Columns ``run, language, step, value, low, high, replicates``; `language` is ``train`` for
        the loss of the training batches. Means over languages are left out.
    """
    batches = history["split"] == "train"
    rows = history.assign(language=history["language"].mask(batches, "train"))
    rows = rows[batches | (rows["language"] != "all")]
    return ranged(require_finite(rows, "loss"), ["run", "language", "step"], "loss")


def pair_points(points: pd.DataFrame, similarity: pd.DataFrame, pivot: str) -> pd.DataFrame:
    """Return each pair of languages with its similarity over all layers and what may explain it.

    Parameters
    ----------
    points
        Columns ``seed, left_language, right_language, layer, similarity, syntactic_distance``,
        ``shared_types`` and ``token_overlap_sentence_types``; layer -1, the mean over layers, is
        used.
    similarity
        Rows of the same measure and comparison, for the errors. That of a mean over layers is at
        most the mean of the layers' errors, so the interval takes the mean of their half-widths.
    pivot
        The language that stands second in every pair with it.

    Returns
    -------
    pandas.DataFrame
        Columns ``panel, left, right, x, value, low, high, replicates``; `panel` is
        ``syntactic_distance``, ``shared_types`` or ``token_overlap`` (both in percent; the latter
        of pairs with the pivot only).
    """
    pair = ["seed", "left_language", "right_language"]
    widths = similarity.assign(half=(similarity["high"] - similarity["low"]) / 2)
    halves = require_finite(widths, "half").groupby(pair)["half"].mean()
    rows = points[points["layer"] == -1].join(halves, on=pair)
    first = rows["left_language"] == pivot
    left = rows["left_language"].where(~first, rows["right_language"])
    right = rows["right_language"].where(~first, pivot)
    half, value = require_finite(rows, "half")["half"], rows["similarity"]
    rows = rows.assign(left=left, right=right, value=value, low=value - half, high=value + half)
    parts = [
        rows.assign(panel="syntactic_distance", x=rows["syntactic_distance"]),
        rows.assign(panel="shared_types", x=100 * rows["shared_types"]),
        rows.assign(panel="token_overlap", x=100 * rows[SHARED]),
    ]
    drawn = pd.concat(parts, ignore_index=True).dropna(subset="x")
    return pool(drawn, ["panel", "left", "right", "x"])


def correlations(typology: pd.DataFrame) -> pd.DataFrame:
    """Return Pearson's correlation of similarity with typology, seeds averaged.

    Parameters
    ----------
    typology
        Columns ``seed, predictor, scope, layer, method, value, low, high, p_two_sided, n``.

    Returns
    -------
    pandas.DataFrame
        Columns ``predictor, layer, value, low, high, p, n, replicates``; `predictor` is
        ``syntactic_distance`` or ``shared_types`` (over all pairs), ``syntactic_distance_pivot`` or
        ``token_overlap`` (over pairs with the pivot; types by sentence). Interval and p are the
        widest of the seeds', `n` is the number of languages that are permuted.
    """
    rows = typology[typology["method"] == "pearson"]
    names = {
        ("syntactic_distance", "pairs"): "syntactic_distance",
        ("shared_types", "pairs"): "shared_types",
        ("syntactic_distance", "pivot"): "syntactic_distance_pivot",
        (SHARED, "pivot"): "token_overlap",
    }
    keys = pd.Series(list(zip(rows["predictor"], rows["scope"], strict=True)), rows.index)
    rows = rows.assign(predictor=keys.map(names)).dropna(subset="predictor")
    rows = rows.astype({"low": float, "high": float})
    groups = rows.groupby(["predictor", "layer"], sort=False)
    return groups.agg(
        value=("value", "mean"),
        low=("low", "min"),
        high=("high", "max"),
        p=("p_two_sided", "max"),
        n=("n", "min"),
        replicates=("value", "size"),
    ).reset_index()


def token_shares(token_overlap: pd.DataFrame) -> pd.DataFrame:
    """Return the percentages of tokens shared with the pivot, as bars per language.

    Returns
    -------
    pandas.DataFrame
        Columns ``language, group, value, low, high``; `group` is ``level.unit``.
    """
    group = token_overlap["level"] + "." + token_overlap["unit"]
    shares = {name: 100 * token_overlap[name] for name in ("value", "low", "high")}
    table = token_overlap.assign(group=group, **shares)
    return table[["language", "group", "value", "low", "high"]].reset_index(drop=True)
