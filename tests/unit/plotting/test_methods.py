from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb

from babelscope.evaluation import encoder_summaries
from babelscope.plotting import methods as drawing
from babelscope.plotting.methods import MEASURES, METHODS
from babelscope.plotting.networks import NETWORKS

# Machado, Oliveira & Fernandes (2009), severity 1: what is left of linear red, green and blue.
BLINDNESS = {
    "none": ("1 0 0", "0 1 0", "0 0 1"),
    "protan": (
        "0.152286 1.052583 -0.204868",
        "0.114503 0.786281 0.099216",
        "-0.003882 -0.048116 1.051998",
    ),
    "deutan": (
        "0.367322 0.860646 -0.227968",
        "0.280085 0.672501 0.047413",
        "-0.011820 0.042940 0.968881",
    ),
    "tritan": (
        "1.255528 -0.076749 -0.178779",
        "-0.078411 0.930809 0.147602",
        "0.004733 0.691367 0.303900",
    ),
}


def lab(colour, blindness):
    """CIE L*a*b* of a colour as it is seen with some colour-blindness."""
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    matrix = np.array([row.split() for row in BLINDNESS[blindness]], float)
    seen = np.clip(matrix @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ratios = np.array(to_xyz) @ seen / [0.9505, 1, 1.089]
    cubes = np.where(ratios > 0.008856, np.cbrt(ratios), 7.787 * ratios + 16 / 116)
    x, y, z = cubes
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("blindness", BLINDNESS)
@pytest.mark.parametrize("looks", [METHODS, NETWORKS], ids=["methods", "networks"])
def test_methods_can_be_told_apart_by_everybody(looks, blindness):
    for one, other in combinations(looks.values(), 2):
        apart = np.linalg.norm(lab(one.colour, blindness) - lab(other.colour, blindness))
        assert apart > 20, (one.name, other.name)


def test_no_two_methods_look_alike():
    assert len({method.name for method in METHODS.values()}) == 7
    assert len({method.marker for method in METHODS.values()}) == 7
    assert len({(method.colour, method.hatch) for method in METHODS.values()}) == 7


def test_every_measure_of_the_study_has_a_scale_that_points_its_way():
    assert list(MEASURES) == list(encoder_summaries.MEASURES)
    for name, measure in encoder_summaries.MEASURES.items():
        arrow = "↑" if measure.higher_is_better else "↓"
        assert MEASURES[name].title.endswith(arrow)


def scores(measures, methods=tuple(METHODS)):
    rows = [
        {"measure": measure, "method": method, "value": 50.0 - 4 * row + column}
        for column, measure in enumerate(measures)
        for row, method in enumerate(methods)
    ]
    table = pd.DataFrame(rows).sample(frac=1, random_state=0)
    star = table["method"] == "full-mono"
    return table.assign(low=table["value"] - 2, high=table["value"] + 1, star=star)


def test_a_point_is_its_method_s_and_has_its_interval():
    figure = drawing.method_dots(
        scores(["topics.monolingual", "sts.monolingual"]), reference="source"
    )
    first, second = figure.axes
    assert first.get_title() == "STS\nSpearman × 100 ↑"
    names = [label.get_text() for label in first.get_yticklabels()]
    assert names == [method.name for method in METHODS.values()]
    for axis, top in ((first, 51.0), (second, 50.0)):
        points = [line for line in axis.lines if line.get_marker() not in ("None", None)]
        assert [line.get_xdata()[0] for line in points] == [top - 4 * row for row in range(7)]
        assert [to_hex(line.get_color()) for line in points] == [
            method.colour for method in METHODS.values()
        ]
        spans = [line.get_segments()[0] for line in axis.collections]
        assert [(span[0][0], span[1][0]) for span in spans] == [
            (top - 4 * row - 2, top - 4 * row + 1) for row in range(7)
        ]
        assert axis.lines[0].get_xdata()[0] == top  # the reference's line
        low, high = axis.get_xlim()
        assert low < top - 4 * 6 - 2
        assert high > top + 1
    texts = [text.get_text() for text in first.texts]
    assert texts[:3] == ["51.0", "47.0*", "43.0"]


def test_small_differences_look_small():
    table = scores(["sts.monolingual"], ["source", "modular-mono"])
    table = table.assign(value=99.9, low=99.85, high=99.95)
    (axis,) = drawing.method_dots(table, reference="source").axes
    assert np.ptp(axis.get_xlim()) >= 5


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_scores_near_0_are_not_drawn_among_negative_ones(value):
    table = scores(["mining.crosslingual"], ["source", "modular-mono"])
    table = table.assign(value=value, low=value, high=value)
    (axis,) = drawing.method_dots(table, reference="source").axes
    low, high = axis.get_xlim()
    shown = [tick for tick in axis.get_xticks() if low <= tick <= high]
    assert shown == [0, 2, 4, 6]
    assert low < value  # the point is not cut
    assert np.ptp((low, high)) >= 5


def test_the_worst_is_written_with_a_minus():
    table = scores(["sts.crosslingual"], ["source", "modular-mono"])
    table = table.assign(value=-3.25, low=-9, high=2)
    (axis,) = drawing.method_dots(table, reference="source").axes
    assert axis.texts[0].get_text() == "−3.2"


@pytest.mark.parametrize(
    "draw", [lambda table: drawing.method_dots(table, reference="source"), drawing.method_bars]
)
def test_what_cannot_be_drawn_is_refused(draw):
    table = scores(["sts.monolingual", "topics.monolingual"])
    with pytest.raises(ValueError, match=r"no topics.monolingual of \['modular-both'\]"):
        drop = (table["method"] == "modular-both") & (table["measure"] == "topics.monolingual")
        draw(table[~drop])
    with pytest.raises(ValueError, match="'else'"):
        draw(table.replace({"method": {"source": "else"}}))
    with pytest.raises(ValueError, match="'else'"):
        draw(table.replace({"measure": {"sts.monolingual": "else"}}))
    with pytest.raises(ValueError, match="without"):
        draw(table[:0])


def test_bars_stand_on_zero_also_below_it():
    table = scores(["bias.sts", "structure.crosslingual"], ["source", "modular-both"])
    table.loc[table["measure"] == "bias.sts", ["value", "low", "high"]] = [-2.0, -3.0, -1.5]
    structure, bias = drawing.method_bars(table).axes
    assert [bar.get_width() for bar in bias.patches] == [-2, -2]
    assert structure.get_xlim()[0] == 0
    low, high = bias.get_xlim()
    assert low < -3
    assert high > 0
    assert [text.get_text() for text in bias.texts] == ["−2.0", "−2.0"]
    assert [bar.get_hatch() for bar in bias.patches] == ["", "...."]


def gains(codes, panels=("sts.monolingual", "sts.crosslingual")):
    rows = [
        {"panel": panel, "language": code, "method": method, "value": 10.0 * place + number}
        for panel in panels
        for place, code in enumerate(codes)
        for number, method in enumerate(("modular-mono", "full-mono"))
    ]
    table = pd.DataFrame(rows)
    sizes = {code: 1000.0 + place for place, code in enumerate(codes)}
    table["size"] = table["language"].map(sizes)
    return table.assign(low=table["value"] - 2, high=table["value"] + 1)


def test_the_language_with_the_most_text_is_on_top(languages):
    figure = drawing.language_gains(gains(list(languages)), languages, item="windows")
    first, second = figure.axes
    assert [text.get_text() for text in first.get_yticklabels()] == [
        "Arabic (ar)\n1,003",
        "Chinese (zh)\n1,002",
        "Russian (ru)\n1,001",
        "English (en)\n1,000",
    ]
    assert first.get_title() == "STS, within a language"
    assert second.get_title() == "STS, two languages"
    full, modular = first.lines[1:]
    assert to_hex(full.get_color()) == METHODS["full-mono"].colour
    places = {
        round(float(y)): x for x, y in zip(modular.get_xdata(), modular.get_ydata(), strict=True)
    }
    assert places == {0: 30, 1: 20, 2: 10, 3: 0}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "full, monolingual",
        "modular, no alignment",
    ]


@pytest.mark.parametrize("count", [2, 25])
def test_marks_of_two_languages_do_not_mix(count):
    rows = {
        f"l{place}": {
            "english": f"A long name of language {place}",
            "colour": "#000000",
            "marker": "o",
        }
        for place in range(count)
    }
    figure = drawing.language_gains(gains(list(rows)), rows, item="windows")
    for line in figure.axes[0].lines[1:]:
        offsets = np.asarray(line.get_ydata(), float) - np.round(line.get_ydata())
        assert np.abs(offsets).max() < 0.5
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(upper.y0 >= lower.y1 - 1 for upper, lower in pairwise(boxes))
    assert min(box.x0 for box in boxes) >= 0


def test_points_of_a_method_and_the_correlations():
    points = pd.DataFrame(
        [
            {"panel": panel, "method": method, "left": "de", "right": other, "x": x, "value": 9.0}
            for panel in ("topics.crosslingual", "bitext.crosslingual")
            for method, x in (("modular-both", 0.9), ("source", 0.5))
            for other in ("en", "ru")
        ]
    )
    tests = pd.DataFrame(
        [
            ("topics.crosslingual", "all", -0.456, -0.8, 0.1),
            ("topics.crosslingual", "within", np.nan, np.nan, np.nan),
            ("bitext.crosslingual", "all", 0.9, np.nan, np.nan),
            ("bitext.crosslingual", "within", 0.5, 0.25, 0.75),
        ],
        columns=["panel", "kind", "r", "low", "high"],
    )
    bitext, topics = drawing.transfer_scatter(points, tests).axes
    assert topics.get_title() == ("topics, zero-shot\nr = −0.46 [−0.80, 0.10]\nwithin: not defined")
    assert bitext.get_title() == "bitext search\nr = 0.90\nwithin: 0.50 [0.25, 0.75]"
    assert bitext.get_ylabel() == "error (%) ↓"
    source, both = topics.lines
    assert to_hex(source.get_color()) == METHODS["source"].colour
    assert list(source.get_xdata()) == [0.5, 0.5]
    assert list(both.get_xdata()) == [0.9, 0.9]
