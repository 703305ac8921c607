"""Correlations of similarity with typology: the right pairs, scopes and tests."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr

from babelscope.errors import BabelscopeError
from babelscope.representations.typology import MEAN, typology_correlations, typology_points
from babelscope.typology import syntactic_distance

CODES = {"en": "eng", "de": "deu", "zh": "cmn", "hi": "hin", "ur": "urd"}
SHARES = {"de": 0.4, "zh": 0.05, "hi": 0.1, "ur": 0.15}
TEST = {"pivot": "en", "permutations": 120, "seed": 1}


def tables(languages: list[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return similarities that fall exactly with syntactic distance, faster at layer 1.

    The pairs of `shared` have their languages in another order.
    """
    distances = syntactic_distance([CODES[language] for language in languages])
    similarity = [
        (one, other, layer, 1 - (1 + layer) * distances[a, b])
        for layer in (0, 1)
        for (a, one), (b, other) in combinations(enumerate(languages), 2)
    ]
    overlap = [
        (language, level, "types", value)
        for language, value in SHARES.items()
        for level in ("sentence", "corpus")
    ]
    pairs = [(other, one, shared(one, other)) for one, other in combinations(sorted(languages), 2)]
    sides = ["left_language", "right_language"]
    return (
        pd.DataFrame(similarity, columns=[*sides, "left_layer", "value"]),
        pd.DataFrame(overlap, columns=["language", "level", "unit", "value"]),
        pd.DataFrame(pairs, columns=[*sides, "value"]),
    )


def shared(one: str, other: str) -> float:
    """Return a share of types that tells every pair of languages from the others."""
    numbers = {language: number for number, language in enumerate(CODES, 1)}
    return (numbers[one] ** 2 + numbers[other] ** 2) / 100


def test_points_hold_every_pair_and_the_mean_over_layers():
    similarity, overlap, pairs = tables(["de", "en", "zh", "hi", "ur"])
    points = typology_points(similarity, overlap, pairs, CODES, pivot="en")
    assert len(points) == 10 * 3
    pair = (points["left_language"] == "de") & (points["right_language"] == "en")
    row = points[pair & (points["layer"] == MEAN)].iloc[0]
    assert row["similarity"] == pytest.approx(1 - 1.5 * row["syntactic_distance"])
    assert row["token_overlap_sentence_types"] == 0.4
    given = zip(points["left_language"], points["right_language"], strict=True)
    assert points["shared_types"].tolist() == [shared(*pair) for pair in given]
    without = points[(points["left_language"] != "en") & (points["right_language"] != "en")]
    assert without["token_overlap_sentence_types"].isna().all()
    assert len(without) == 6 * 3


def test_correlations_by_scope_layer_and_method():
    similarity, overlap, pairs = tables(["de", "en", "zh", "hi", "ur"])
    points = typology_points(similarity, overlap, pairs, CODES, pivot="en")
    table = typology_correlations(points, CODES, **TEST)
    assert len(table) == (3 + 3) * 3 * 2
    mean = table[(table["layer"] == MEAN) & (table["method"] == "pearson")]
    mantel = mean[mean["scope"] == "pairs"].iloc[0]
    assert mantel["value"] == pytest.approx(-1)
    assert mantel["n"] == 5
    assert mantel["exact"]
    assert mantel["low"] <= mantel["value"] <= mantel["high"]
    types = mean[mean["scope"] == "pairs"].iloc[1]
    assert (types["predictor"], types["n"], types["permutations"]) == ("shared_types", 5, 120)
    of_pairs = points[points["layer"] == MEAN]
    expected = pearsonr(of_pairs["similarity"], of_pairs["shared_types"]).statistic
    assert types["value"] == pytest.approx(expected)
    overlap_row = table.query(
        "predictor == 'token_overlap_corpus_types' and layer == 1 and method == 'pearson'"
    ).iloc[0]
    others = ["de", "zh", "hi", "ur"]
    distances = syntactic_distance(["eng", *(CODES[one] for one in others)])[0, 1:]
    expected = pearsonr(-distances, [SHARES[one] for one in others]).statistic
    assert overlap_row["value"] == pytest.approx(expected)
    assert overlap_row["permutations"] == 24
    assert np.isfinite(table["standard_error"]).all()


def test_few_languages():
    similarity, overlap, pairs = tables(["en", "de", "zh"])
    points = typology_points(similarity, overlap, pairs, CODES, pivot="en")
    table = typology_correlations(points, CODES, **TEST)
    assert set(table["scope"]) == {"pairs"}
    assert set(table["predictor"]) == {"syntactic_distance", "shared_types"}
    assert table["standard_error"].isna().all()
    with pytest.raises(BabelscopeError, match="2 languages"):
        typology_points(*tables(["en", "de"]), CODES, pivot="en")


def test_languages_of_as_many_scripts_share_nothing(caplog):
    similarity, overlap, pairs = tables(list(CODES))
    points = typology_points(similarity, overlap, pairs.assign(value=0.0), CODES, pivot="en")
    table = typology_correlations(points, CODES, **TEST)
    assert "shared_types" not in set(table["predictor"])
    assert set(table["scope"]) == {"pairs", "pivot"}
    assert "as many token types" in caplog.text
