"""The tables of the tickets study that a reader opens, from the scores of many jobs."""

from collections.abc import Iterator, Mapping

import pandas as pd

from babelscope.evaluation.summaries import pool_logarithms
from babelscope.evaluation.tables import pool, ranged, require_finite
from babelscope.typology import syntactic_distance

RATIO = "perplexity"  # the score that is averaged by logarithms
KEYS = [
    *("part", "task", "language", "kind", "kept", "split", "stage", "trained_on", "mask_task"),
    *(
        "mask_language",
        "weights",
        "compared_with",
        "languages",
        "corpus",
        "pooling",
        "layer",
        "metric",
    ),
]
"""What identifies a score in the summary; NA where it does not apply."""


def task_counts(
    tables: Mapping[str, pd.DataFrame], windows: Mapping[tuple[str, str], int]
) -> pd.DataFrame:
    """Return how many examples of each task there are in every language and split.

    Parameters
    ----------
    tables
        By task: columns ``dataset, language, split, file`` and then counts.
    windows
        By (language, split): windows of text, the examples of masked language modelling.

    Returns
    -------
    pandas.DataFrame
        Columns ``task, dataset, language, split, item, count``.
    """
    ids = ["task", "dataset", "language", "split"]
    parts = [
        pd.DataFrame(
            [("mlm", "text", *place, "rows", count) for place, count in windows.items()],
            columns=[*ids, "item", "count"],
        )
    ]
    for task, table in tables.items():
        table = table.drop(columns="file").assign(task=task)
        tall = table.melt(ids, var_name="item", value_name="count", ignore_index=False)
        tall = tall.sort_index(kind="stable").dropna(subset="count")  # items of a row together
        parts.append(tall.astype({"count": "int64"}))
    return pd.concat(parts, ignore_index=True)


def ticket_distances(overlap: pd.DataFrame, codes: Mapping[str, str]) -> pd.DataFrame:
    """Return how far each two languages' tickets are apart, and how far the languages in syntax.

    Parameters
    ----------
    overlap
        Overlaps of tickets; those between languages, of all weights, are used.
    codes
        URIEL code of each language.

    Returns
    -------
    pandas.DataFrame
        Columns ``kept, seed, task, left_language, right_language, distance`` (1 less the Jaccard
        index) and ``syntactic_distance``.
    """
    rows = overlap[(overlap["relation"] == "language") & (overlap["scope"] == "all")]
    names = {"left_seed": "seed", "left_task": "task"}
    columns = ["kept", "seed", "task", "left_language", "right_language"]
    table = rows.rename(columns=names)[columns].reset_index(drop=True)
    table["distance"] = 1 - rows["jaccard"].astype(float).to_numpy()
    places = {code: number for number, code in enumerate(codes)}
    syntax = syntactic_distance(list(codes.values()))  # (languages, languages)
    left, right = (table[f"{side}_language"].map(places) for side in ("left", "right"))
    return table.assign(syntactic_distance=syntax[left, right])


def summary(
    *,
    scores: pd.DataFrame,
    transfer: pd.DataFrame,
    overlap: pd.DataFrame,
    shared: pd.DataFrame,
    typology: pd.DataFrame,
    similarity: pd.DataFrame,
    encoded: Mapping[str, str | int],
) -> pd.DataFrame:
    """Return every score of the study in one tidy table, seeds averaged.

    Scores of seeds and random masks are averaged by :func:`babelscope.evaluation.tables.pool`,
    perplexities by their logarithms: with one seed the interval is the score's own, by bootstrap
    over examples or jackknife over sentences. Overlaps and shares have no interval of their own:
    low and high are the range over seeds, draws and choices of languages. F1, accuracy and shares
    are in 0 to 1.

    Parameters
    ----------
    scores, transfer, overlap, shared, typology, similarity
        The tables of the study.
    encoded
        ``task`` and ``kept`` of the tickets whose representations are compared.

    Returns
    -------
    pandas.DataFrame
        Columns `KEYS`, then ``value, low, high, n`` (examples, weights, sentences or languages),
        ``seeds``. `part` is ``finding`` (`kind`: the variant), ``transfer`` (`kind`: the mask's;
        zero-shot where `language` is not `trained_on`), ``overlap`` (`kind`: what differs, or
        ``untrained``: with the largest untrained weights), ``sharing`` (`kind`: intersection or
        union of so many `languages`), ``typology`` (`kind`: what the distances of tickets are
        correlated with) or ``representations`` (`kind`: the comparison).
    """
    parts = [
        *_averaged(scores.assign(part="finding", kind=scores["variant"])),
        *_averaged(_trained(transfer)),
        *_averaged(_changed(transfer)),
        *_spread(_overlaps(overlap)),
        _shares(shared),
        _correlations(typology),
        *_averaged(_representations(similarity, encoded)),
    ]
    table = pd.concat([part for part in parts if not part.empty], ignore_index=True)
    table = table.reindex(columns=[*KEYS, "value", "low", "high", "n", "seeds"])
    types = dict.fromkeys(KEYS, "string")
    types |= dict.fromkeys(("kept", "compared_with", "languages", "layer", "n", "seeds"), "Int64")
    return require_finite(table.astype(types))


def _trained(transfer: pd.DataFrame) -> pd.DataFrame:
    kind = transfer["mask_kind"].where(transfer["weights"] != "random", "reinitialized")
    return transfer.assign(part="transfer", kind=kind, split="test", stage="trained")


def _changed(transfer: pd.DataFrame) -> pd.DataFrame:
    """Return the changes against the own ticket as scores of their own."""
    rows = _trained(transfer).drop(columns=["value", "low", "high"])
    names = {"change": "value", "change_low": "low", "change_high": "high"}
    return rows.rename(columns=names).assign(metric="change in " + rows["metric"])


def _overlaps(overlap: pd.DataFrame) -> pd.DataFrame:
    """Return the overlaps of whole tickets and what is expected of them by chance."""
    rows = overlap[overlap["scope"] == "all"]
    names = {
        **{"left_seed": "seed", "left_task": "task", "left_language": "language"},
        **{"right_task": "mask_task", "right_language": "mask_language", "relation": "kind"},
    }
    rows = rows.rename(columns=names).assign(part="overlap")
    return pd.concat(
        [
            rows.assign(metric=metric, value=rows[column])
            for metric, column in (
                ("jaccard", "jaccard"),
                ("jaccard by chance", "expected"),
                ("agreement", "agreement"),
            )
        ],
        ignore_index=True,
    )


def _shares(shared: pd.DataFrame) -> pd.DataFrame:
    """Return the shares of weights that numbers of languages have in common, and by chance."""
    keys = ["task", "kept", "operation", "languages"]
    rows = shared.assign(
        low=shared["low"].fillna(shared["share"]), high=shared["high"].fillna(shared["share"])
    )
    groups = rows.groupby(keys, sort=False)
    parts = [
        groups.agg(value=("share", "mean"), low=("low", "min"), high=("high", "max"))
        .reset_index()
        .assign(metric="share"),
        ranged(rows, keys, "expected").assign(metric="share by chance"),
    ]
    table = pd.concat(parts, ignore_index=True).rename(columns={"operation": "kind"})
    counts = {"n": int(shared["n"].max()), "seeds": shared["seed"].nunique()}
    return table.assign(part="sharing", **counts)


def _correlations(typology: pd.DataFrame) -> pd.DataFrame:
    """Return the correlations that there are; their p values are in the table they come from."""
    rows = typology[typology["value"].notna()]
    metric = "Mantel " + rows["method"]
    return rows.assign(part="typology", kind=rows["predictor"], metric=metric)


def _representations(similarity: pd.DataFrame, encoded: Mapping[str, str | int]) -> pd.DataFrame:
    """Return the similarities; `mask_language` is the left side's, `language` the right side's."""
    names = {"left_layer": "layer", "comparison": "kind", "right_language": "language"}
    rows = similarity.rename(columns={**names, "left_language": "mask_language"})
    rows = rows.assign(part="representations", metric=rows["measure"] + "." + rows["estimator"])
    of_tickets = (rows["left_network"] == "ticket") | (rows["right_network"] == "ticket")
    return rows.assign(
        task=of_tickets.map({True: encoded["task"], False: None}),
        kept=of_tickets.map({True: encoded["kept"], False: 100}),
    )


def _filled(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with all of `KEYS`, empty instead of NA, since groups leave NA out."""
    keys = rows.reindex(columns=KEYS).astype("object")
    others = rows.drop(columns=KEYS, errors="ignore")
    return pd.concat([keys.where(keys.notna(), ""), others], axis=1)


def _restored(pooled: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Put NA back, and add examples and seeds."""
    counts = rows.groupby(KEYS, sort=False).agg(n=("n", "min"), seeds=("seed", "nunique"))
    return pooled.merge(counts.reset_index(), on=KEYS, validate="1:1").replace({"": None})


def _averaged(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the means of scores with intervals over seeds and random masks."""
    rows = _filled(rows)
    for ratio, part in rows.groupby(rows["metric"] == RATIO):
        yield _restored((pool_logarithms if ratio else pool)(part, KEYS), part)


def _spread(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the means and ranges of scores without intervals."""
    rows = _filled(rows)
    yield _restored(ranged(rows, KEYS, "value"), rows)
