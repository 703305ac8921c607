"""Scores in the layout of MTEB: a JSON file per task, as its results repository keeps them."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from babelscope.errors import BabelscopeError
from babelscope.io import write_json

logger = logging.getLogger(__name__)

# By task: the metric whose value is the main score, and what MTEB calls it.
MAIN_SCORES = {
    "sts": ("spearman", "cosine_spearman"),
    "bitext": ("error", "accuracy"),
    "mining": ("f1", "f1"),
    "topics": ("accuracy", "accuracy"),
    "reading": ("accuracy", "accuracy"),
}
BESIDE = {"topics": {"macro_f1": "f1"}}  # further metrics that MTEB has a name for


def task_results(
    scores: pd.DataFrame, scripts: Mapping[str, str], *, revision: str = "no_revision_available"
) -> dict[str, dict[str, Any]]:
    """Return the documents of one encoder, by name of corpus and task.

    The fields are those of ``TaskResult`` in mteb 2.26, which reads them. ``mteb_version`` is null
    and the task is named ``<corpus>-<task>``, not after a task of MTEB, because MTEB did not
    compute them: its bitext retrieval has no margin, its classifiers see a few examples per label,
    and it retrieves in Belebele instead of choosing an answer.

    Parameters
    ----------
    scores
        Rows of `Results.scores` of one encoder. Structure and language bias, which MTEB does not
        know, are left out.
    scripts
        By language, its code in MTEB, such as ``deu-Latn``.
    revision
        Of the data.

    Returns
    -------
    Scores are shares of 1, with the ends of their intervals beside them; the subset is the language
    or, with a dash, two. Bitext retrieval is given as accuracy, 1 minus the error rate.

    Raises
    ------
    BabelscopeError
        If a language has no code, or there is no score that MTEB knows.
    """
    known = scores[scores["task"].isin(MAIN_SCORES)]
    others = sorted(set(scores["task"]) - set(MAIN_SCORES))
    if known.empty:
        raise BabelscopeError(
            f"MTEB has no place for the tasks {', '.join(others)}.", "Evaluate on other corpora."
        )
    if others:
        logger.info("MTEB has no place for %s, left out", ", ".join(others))
    documents = {}
    for (task, corpus), rows in known.groupby(["task", "corpus"], sort=False):
        subsets = []
        for languages, some in rows.groupby(["language1", "language2"], sort=False):
            subsets.append(_subset(str(task), dict.fromkeys(map(str, languages)), some, scripts))
        documents[f"{corpus}-{task}"] = {
            "dataset_revision": revision,
            "task_name": f"{corpus}-{task}",
            "mteb_version": None,
            "scores": {"test": subsets},
            "evaluation_time": None,
            "kg_co2_emissions": None,
        }
    return documents


def write_task_results(
    folder: str | Path,
    scores: pd.DataFrame,
    scripts: Mapping[str, str],
    *,
    name: str,
    revision: str = "no_revision_available",
) -> list[Path]:
    """Write one encoder's documents where mteb looks for them, and return their paths.

    They are ``<folder>/results/<name>/<revision>/<task>.json``, slashes of the name doubled as
    underscores, beside a ``model_meta.json``; ``mteb.ResultCache(folder).load_results()`` finds
    them.

    Parameters
    ----------
    folder
        A cache of results.
    scores, scripts
        As in `task_results`.
    name
        Of the encoder, ``organisation/model``.
    revision
        Of the encoder.
    """
    place = Path(folder) / "results" / name.replace("/", "__") / revision
    write_json(place / "model_meta.json", {"name": name, "revision": revision})
    paths = []
    for task, document in task_results(scores, scripts).items():
        paths.append(place / f"{task}.json")
        write_json(paths[-1], document)
    return paths


def _subset(
    task: str, languages: Mapping[str, Any], rows: pd.DataFrame, scripts: Mapping[str, str]
) -> dict[str, Any]:
    unknown = [language for language in languages if language not in scripts]
    if unknown:
        raise BabelscopeError(
            f"{', '.join(unknown)} has no code in MTEB's writing.", "Add it to languages.tsv."
        )
    by_metric = {row["metric"]: row for row in rows.to_dict("records")}
    metric, name = MAIN_SCORES[task]
    named = {metric: name} | BESIDE.get(task, {})
    found: dict[str, Any] = {}
    for own, theirs in named.items():
        row = by_metric[own]
        value, low, high = (float(row[column]) / 100 for column in ("value", "low", "high"))
        if own == "error":
            value, low, high = 1 - value, 1 - high, 1 - low
        found |= {theirs: value, f"{theirs}_low": low, f"{theirs}_high": high}
    return {
        **found,
        "main_score": found[name],
        "n": int(by_metric[metric]["n"]),
        "hf_subset": "-".join(languages),
        "languages": [scripts[language] for language in languages],
    }
