"""Whether training changed what networks score in context, and how far languages are apart.

The untouched network is scored once, a trained one once per seed, and these are averaged. Tests and
intervals are for these networks, and say nothing of what another seed would change.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from babelscope.errors import BabelscopeError
from babelscope.evaluation.alignment_summaries import BASE, FAMILY
from babelscope.evaluation.comparisons import compare_methods, holm, sign_flip_p
from babelscope.evaluation.intervals import bootstrap, percentile_interval
from babelscope.evaluation.results import ALL
from babelscope.seeds import derive_seed

BOTH = "aligned-both"
HALVES = ("aligned-contrastive", "aligned-instruction")


def compared(networks: Sequence[str]) -> list[tuple[str, str]]:
    """Return which networks are tested against which: pairs of a network and its reference.

    Each is compared with the untouched one, and what both losses trained with each half.
    """
    pairs = [(network, BASE) for network in networks if network != BASE]
    pairs += [(BOTH, half) for half in HALVES]
    return [pair for pair in pairs if set(pair) <= set(networks)]


def comparisons(
    examples: pd.DataFrame, networks: Sequence[str], *, resamples: int, seed: int
) -> pd.DataFrame:
    """Return tests between networks on the same examples: per language, and of their mean.

    See :func:`babelscope.evaluation.comparisons.compare_methods`.

    Parameters
    ----------
    examples
        From :func:`babelscope.evaluation.alignment_summaries.by_prompts`: columns ``model, network,
        seed, task, corpus, prompts, shots, metric, language, example, prediction, gold``. Draws of
        demonstrations are repetitions.
    networks
        Those to be compared, by `compared`.
    resamples, seed
        Of the bootstrap, and sign flips.

    Returns
    -------
    pandas.DataFrame
        Columns ``model, task, corpus, language, prompts, shots, metric, network, reference,
        difference, low, high, p, p_holm, test, n``; differences are points, `language` is ``all``
        for the mean. `p_holm` is corrected for all rows of the metric that are single languages or
        means, against the untouched network or against halves.
    """
    sides = {"language1": examples["language"], "language2": examples["language"]}
    rows = examples.assign(**sides).rename(columns={"network": "method"})
    found = compare_methods(rows, compared(networks), resamples=resamples, seed=seed, family=FAMILY)
    names = {"language1": "language", "method": "network"}
    table = pd.concat([found.means, found.pairs], ignore_index=True)
    table = table.drop(columns="language2").rename(columns=names)
    question = [table["metric"], table["language"] == ALL, table["reference"] == BASE]
    return table.assign(p_holm=_holm(table["p"], question))


def _holm(p: pd.Series, question: Sequence[pd.Series]) -> pd.Series:
    """Return p values corrected for all that ask the same."""
    return p.groupby(list(question)).transform(lambda some: holm(some.to_numpy(dtype=float)))


def gaps(examples: pd.DataFrame, *, pivot: str, resamples: int, seed: int) -> pd.DataFrame:
    """Return how far each language is from the pivot, and whether training moved it.

    Resamples are drawn by the names of examples for all languages and networks of a place at once,
    as translations of one sentence are not independent; where languages share no names that is the
    same as drawing for each. Places where the pivot has no examples are left out.

    Parameters
    ----------
    examples
        As in `comparisons`, with ``correct`` (0 or 1).
    pivot
        The language that the others are compared with.
    resamples, seed
        Of the bootstrap, and sign flips.

    Returns
    -------
    pandas.DataFrame
        Columns ``model, task, corpus, language, prompts, shots, metric, network, value, low, high,
        change, change_low, change_high, p, p_holm, n``: accuracy in the language less that in the
        pivot, in points, negative where the pivot is better; `change` is what is added to it
        against the untouched network, `p` two-sided. `language` is ``all`` for the mean. Changes
        are NaN for the untouched network. `p_holm` is corrected as in `comparisons`.

    Raises
    ------
    BabelscopeError
        If the pivot has examples nowhere.

    Notes
    -----
    A change is a sum over examples, so `p` is that of flipping the signs of what each adds to it,
    in all languages at once. Where languages share no names and training changed them all, flipped
    sums vary more than the change does, and p is too large rather than too small.
    """
    parts = []
    for key, rows in examples.groupby(["model", *FAMILY, "metric"], sort=False):
        place = dict(zip(["model", *FAMILY, "metric"], key, strict=True))
        if (rows["language"] == pivot).any() and rows["language"].nunique() > 1:
            drawn = derive_seed(seed, *(str(place[name]) for name in FAMILY))
            parts.append(_gaps(rows, pivot, place, resamples=resamples, seed=drawn))
    if not parts:
        raise BabelscopeError(
            f"No corpus of choices has examples in the pivot, {pivot}, and another language.",
            "Add one to alignment.evaluated, or choose another pivot.",
        )
    table = pd.concat(parts, ignore_index=True)
    p_holm = _holm(table["p"].dropna(), [table["metric"], table["language"] == ALL])
    table.insert(list(table).index("p") + 1, "p_holm", p_holm)
    front = ["model", "task", "corpus", "language", "prompts", "shots", "metric"]
    return table[[*front, *(name for name in table if name not in front)]]


def _gaps(
    rows: pd.DataFrame, pivot: str, place: Mapping[str, object], *, resamples: int, seed: int
) -> pd.DataFrame:
    """Return the gaps of one place; see `gaps`."""
    means = rows.groupby(["network", "language", "example"], sort=False)["correct"].mean()
    outcomes = means.unstack("example")  # rows of (network, language)
    there = outcomes.notna().to_numpy(float)
    right = outcomes.fillna(0).to_numpy(float)

    def scores(weights: np.ndarray) -> np.ndarray:
        totals = weights @ there.T
        return 100 * np.divide(
            weights @ right.T, totals, out=np.full(totals.shape, np.nan), where=totals > 0
        )

    languages = [code for code in dict.fromkeys(rows["language"]) if code != pivot]
    at = {key: number for number, key in enumerate(outcomes.index)}
    networks = list(dict.fromkeys(rows["network"]))
    columns = [[at[network, code] for code in languages] for network in networks]
    pivots = [at[network, pivot] for network in networks]

    def apart(found: np.ndarray) -> np.ndarray:
        each = found[:, columns] - found[:, pivots, None]  # (r, networks, languages)
        return np.concatenate([each, each.mean(axis=-1, keepdims=True)], axis=-1)

    def resampled(weights: np.ndarray) -> np.ndarray:
        return apart(scores(weights))

    values = resampled(np.ones((1, there.shape[1]), np.int64))[0]
    drawn = bootstrap(resampled, there.shape[1], resamples=resamples, seed=seed)
    added = apart(100 * (right / there.sum(axis=1, keepdims=True)).T)  # by each example
    sizes = {code: int(there[at[networks[0], code]].sum()) for code in languages}
    sizes[ALL] = there.shape[1]
    base = networks.index(BASE)
    records = []
    for one, network in enumerate(networks):
        for other, (code, n) in enumerate(sizes.items()):
            where = f"{', '.join(map(str, place.values()))}, {code}"
            ends = percentile_interval(drawn[:, one, other], where)
            record = dict(zip(("value", "low", "high"), (values[one, other], *ends), strict=True))
            change: tuple[float, ...] = (np.nan,) * 4
            if network != BASE:
                moved = drawn[:, one, other] - drawn[:, base, other]
                by = values[one, other] - values[base, other]
                single = added[:, one, other] - added[:, base, other]
                p = sign_flip_p(single, flips=resamples, seed=seed)
                change = (by, *percentile_interval(moved, where), p)
            record |= dict(zip(("change", "change_low", "change_high", "p"), change, strict=True))
            records.append({**place, "language": code, "network": network, **record, "n": n})
    return pd.DataFrame(records)
