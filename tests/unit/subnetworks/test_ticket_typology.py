"""Mantel tests of tickets' distances, against enumerating the permutations one by one."""

from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest

from babelscope.subnetworks.typology import ticket_typology
from babelscope.typology import syntactic_distance

LANGUAGES = {
    "en": {"uriel": "eng", "family": "Indo-European"},
    "de": {"uriel": "deu", "family": "Indo-European"},
    "ru": {"uriel": "rus", "family": "Indo-European"},
    "zh": {"uriel": "cmn", "family": "Sino-Tibetan"},
    "ar": {"uriel": "ara", "family": "Afro-Asiatic"},
}


def overlap(codes, jaccard, seeds=(1,), task="mlm"):
    """Return what of an overlap table is read; `jaccard` of two languages and a seed."""
    rows = [
        {
            "relation": "language",
            "scope": scope,
            "left_seed": seed,
            "left_task": task,
            "left_language": a,
            "right_language": b,
            "jaccard": jaccard(a, b, seed) if scope == "all" else 0.0,
        }
        for seed in seeds
        for a, b in combinations(codes, 2)
        for scope in ("all", "layer")
    ]
    other = {**rows[0], "relation": "draw", "jaccard": 1.0}
    largest = {**rows[0], "relation": "untrained", "right_language": None, "jaccard": 0.9}
    return pd.DataFrame([*rows, other, largest]).astype({"jaccard": "Float64"})


def drawn(seed=0):
    rng = np.random.default_rng(seed)
    values = {}
    return lambda a, b, run: values.setdefault((a, b, run), rng.uniform(0.3, 0.8))


def cells(table, predictor, method="pearson", task="mlm"):
    rows = table[(table["predictor"] == predictor) & (table["method"] == method)]
    rows = rows[rows["task"] == task]
    assert len(rows) == 1
    return rows.iloc[0]


def test_all_permutations_of_few_languages_are_scored():
    codes = list(LANGUAGES)
    jaccard = drawn()
    table = ticket_typology(overlap(codes, jaccard, (1, 2)), LANGUAGES, permutations=10, seed=0)
    pairs = list(combinations(range(5), 2))
    ours = np.array(
        [1 - np.mean([jaccard(codes[i], codes[j], run) for run in (1, 2)]) for i, j in pairs]
    )
    family = [[a["family"] != b["family"] for a in LANGUAGES.values()] for b in LANGUAGES.values()]
    predictors = {
        "syntactic_distance": syntactic_distance([row["uriel"] for row in LANGUAGES.values()]),
        "family": np.array(family, float),
    }
    for predictor, matrix in predictors.items():
        own = np.array([matrix[i, j] for i, j in pairs])
        every, unchanged = [], 0
        for order in permutations(range(5)):
            moved = np.array([matrix[order[i], order[j]] for i, j in pairs])
            every.append(np.corrcoef(ours, moved)[0, 1])
            unchanged += np.allclose(moved, own)
        value = np.corrcoef(ours, own)[0, 1]
        found = cells(table, predictor)
        assert found["value"] == pytest.approx(value)
        assert found["p_greater"] == pytest.approx(np.mean(np.array(every) >= value - 1e-9))
        assert found["p_two_sided"] == pytest.approx(np.mean(np.abs(every) >= abs(value) - 1e-9))
        assert (found["permutations"], bool(found["exact"]), found["n"]) == (120, True, 5)
        assert found["smallest_p"] == pytest.approx(unchanged / 120)
        assert found["seeds"] == 2
        assert pd.isna(found["reason"])
    assert cells(table, "family")["smallest_p"] == pytest.approx(12 / 120)  # 3! x 2! leave it


def test_tickets_that_follow_families_are_found():
    def jaccard(a, b, run):
        return 0.8 if LANGUAGES[a]["family"] == LANGUAGES[b]["family"] else 0.4

    table = ticket_typology(overlap(list(LANGUAGES), jaccard), LANGUAGES, permutations=10, seed=0)
    found = cells(table, "family")
    assert found["value"] == pytest.approx(1)
    assert found["p_greater"] == found["smallest_p"] == pytest.approx(0.1)


def test_many_languages_are_sampled():
    more = ("es", "spa"), ("ur", "urd"), ("hi", "hin"), ("fr", "fra"), ("tr", "tur")
    languages = LANGUAGES | {code: {"uriel": uriel, "family": code} for code, uriel in more}
    table = ticket_typology(overlap(list(languages), drawn()), languages, permutations=99, seed=0)
    found = cells(table, "syntactic_distance")
    assert (found["permutations"], bool(found["exact"])) == (5041, False)


@pytest.mark.parametrize(
    ("codes", "jaccard", "reason", "only"),
    [
        (["en", "de", "zh"], drawn(), "3 languages are fewer than 4", None),
        (["en", "de", "ru", "zh"], lambda *_: 0.5, "all tickets are equally far", None),
        (["en", "de", "ru", "zh"], lambda *_: pd.NA, "both empty", None),
        (["en", "de", "ru", "es"], drawn(), "all languages are equally related", "family"),
    ],
)
def test_what_cannot_be_correlated_says_why(codes, jaccard, reason, only):
    languages = LANGUAGES | {"es": {"uriel": "spa", "family": "Indo-European"}}
    table = ticket_typology(overlap(codes, jaccard), languages, permutations=10, seed=0)
    assert len(table) == 4
    for predictor in ("syntactic_distance", "family"):
        found = cells(table, predictor)
        if only in (None, predictor):
            assert reason in found["reason"]
            assert found[["value", "p_greater", "permutations", "smallest_p"]].isna().all()
        else:
            assert pd.isna(found["reason"])
            assert found[["value", "p_greater", "permutations", "smallest_p"]].notna().all()


def test_tasks_are_apart():
    codes = ["en", "de", "ru", "zh"]
    both = pd.concat([overlap(codes, drawn(1)), overlap(codes, drawn(2), task="ner")])
    table = ticket_typology(both, LANGUAGES, permutations=10, seed=0)
    alone = ticket_typology(
        overlap(codes, drawn(2), task="ner"), LANGUAGES, permutations=10, seed=0
    )
    columns = ["value", "p_greater", "standard_error"]
    for predictor in ("syntactic_distance", "family"):
        one, other = (cells(found, predictor, task="ner") for found in (table, alone))
        pd.testing.assert_series_equal(one[columns], other[columns], check_names=False)
