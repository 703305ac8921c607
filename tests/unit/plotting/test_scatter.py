from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.transforms import Bbox

from babelscope.plotting import scatter


def test_every_pair_is_a_point_and_a_test_is_named_where_there_is_one(languages):
    pairs = list(combinations(languages, 2))
    table = pd.DataFrame(
        [
            {"panel": panel, "left": one, "right": two, "x": number / 10, "value": 0.5}
            for panel in ("syntax", "tokens")
            for number, (one, two) in enumerate(pairs)
        ]
    )
    table = table.assign(low=0.4, high=0.6)
    tests = pd.DataFrame({"panel": ["syntax"], "r": [-0.456], "p": [0.0014], "n": [4]})
    figure = scatter.pair_scatter(
        table,
        tests,
        languages,
        titles={"syntax": "distance", "tokens": "share"},
        tested={"syntax": "Mantel test"},
        ylabel="CKA",
    )
    first, second = figure.axes
    points = [line for line in first.lines if len(line.get_xdata()) == 1]
    assert [line.get_xdata()[0] for line in points] == pytest.approx(
        [number / 10 for number in range(6)]
    )
    assert points[0].get_markeredgecolor() == languages["ru"]["colour"]
    assert first.get_title() == "Mantel test, 4 languages:\nr = −0.46, p = 0.001"
    assert second.get_title() == ""


def test_names_cover_no_point_and_no_other_name(languages):
    generator = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "panel": "a",
            "left": generator.choice(list(languages), 60),
            "right": "en",
            "x": generator.random(60),
            "value": generator.random(60) ** 2,
        }
    )
    table = table.assign(low=table["value"], high=table["value"])
    tests = pd.DataFrame(columns=["panel", "r", "p", "n"])
    figure = scatter.pair_scatter(table, tests, languages, titles={"a": "x"}, tested={}, ylabel="y")
    figure.draw_without_rendering()
    (axis,) = figure.axes
    boxes = [text.get_window_extent() for text in axis.texts]
    assert 5 < len(boxes) < 60
    for one, two in combinations(boxes, 2):
        shared = Bbox.intersection(one, two)
        assert shared is None or min(shared.width, shared.height) < 1  # of a pixel
    points = axis.transData.transform(table[["x", "value"]].to_numpy())
    assert not any(box.contains(x, y) for box in boxes for x, y in points)


def test_clear_correlations_are_filled():
    table = pd.DataFrame(
        {
            "predictor": "d",
            "layer": [0, 1, 2],
            "value": [0.1, 0.8, 0.9],
            "low": [None, 0.5, 0.6],
            "high": [None, 1.0, 1.0],
            "p": [0.5, 0.01, 0.02],
        }
    ).astype({"low": float, "high": float})
    figure = scatter.correlation_curves(table, titles={"d": "distance"})
    fills = {
        line.get_markerfacecolor(): len(line.get_xdata())
        for line in figure.axes[0].lines
        if line.get_marker() == "o"
    }
    assert fills == {"white": 1, "black": 2}


def test_a_panel_without_a_test_says_so(languages):
    points = pd.DataFrame(
        {
            **{"panel": ["ner", "mlm"], "left": "en", "right": "zh", "x": 0.2},
            **{"value": 0.5, "low": 0.4, "high": 0.6},
        }
    )
    tests = pd.DataFrame({"panel": ["ner", "mlm"], "r": [None, 0.7], "p": [None, 0.03], "n": 2})
    titles = {"mlm": "syntactic distance", "ner": "syntactic distance"}
    names = {"mlm": "MLM", "ner": "NER"}
    figure = scatter.pair_scatter(
        points, tests, languages, titles=titles, tested=names, ylabel="distance"
    )
    assert [axis.get_title() for axis in figure.axes] == [
        "MLM, 2 languages:\nr = 0.70, p = 0.03",
        "NER, 2 languages:\ntoo few or too alike to test",
    ]
