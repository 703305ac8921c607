import pandas as pd
import pytest
from matplotlib.colors import to_hex

from babelscope.plotting import parts

PLACES = ["q", "ffn-in"]


def table(languages, **columns):
    rows = [
        {"panel": panel, "language": code, "place": place, "layer": layer, "value": 0.4 + shift}
        for panel, shift in (("mlm", 0.0), ("ner", 0.1))
        for code in languages
        for layer, place in ((2, "q"), (1, "ffn-in"))
    ]
    frame = pd.DataFrame(rows).assign(**columns)
    return frame.assign(low=frame["value"] - 0.1, high=frame["value"] + 0.2)


TITLES = {"ner": "NER", "mlm": "MLM"}


def test_layers_count_from_1_and_references_stand_beside(languages):
    shown = table(languages, expected=0.3, ceiling=0.8, untrained=0.7)
    figure = parts.depth_curves(shown, languages, titles=TITLES, ylabel="Jaccard index")
    assert [axis.get_title() for axis in figure.axes] == ["NER", "MLM"]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    assert figure.axes[0].get_ylim()[0] == 0
    for axis, level in zip(figure.axes, (0.5, 0.4), strict=True):
        *curves, chance, ceiling, untrained = axis.lines
        assert [to_hex(line.get_color()) for line in curves] == [
            row["colour"] for row in languages.values()
        ]
        assert all(list(line.get_xdata()) == [1, 2] for line in curves)
        assert set(curves[0].get_ydata()) == {level}
        assert set(chance.get_ydata()) == {0.3}
        assert set(ceiling.get_ydata()) == {0.8}
        assert set(untrained.get_ydata()) == {0.7}
        assert untrained.get_linestyle() == "--"
        assert untrained.get_color() != ceiling.get_color()
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[0] == "English (en)"
    assert names[-3:] == ["by chance", "two draws of one language", "untrained weights"]


def test_a_reference_that_is_missing_everywhere_is_not_named(languages):
    shown = table(languages, expected=0.3, ceiling=float("nan"))
    figure = parts.depth_curves(shown, languages, titles=TITLES, ylabel="Jaccard index")
    assert len(figure.legends[0].get_texts()) == len(languages) + 1
    assert all(len(axis.lines) == len(languages) + 1 for axis in figure.axes)


def test_points_of_a_place_stand_side_by_side_with_their_intervals(languages):
    shown = table(languages, average=0.45)
    figure = parts.place_points(shown, languages, titles=TITLES, ylabel="weights kept")
    axis = figure.axes[1]
    assert [label.get_text() for label in axis.get_xticklabels()] == PLACES
    points = axis.lines[: len(languages)]
    first = [line.get_xdata()[0] for line in points]
    assert first == sorted(set(first))
    assert -0.5 < first[0] < first[-1] < 0.5
    segments = axis.collections[0].get_segments()
    assert [[round(y, 6) for y in segment[:, 1]] for segment in segments] == [[0.3, 0.6]] * 2
    assert [line.get_marker() for line in points] == [row["marker"] for row in languages.values()]


def test_an_empty_panel_is_refused(languages):
    shown = table(languages)
    with pytest.raises(ValueError, match="nli"):
        parts.place_points(shown, languages, titles={"nli": "NLI"}, ylabel="x")
    with pytest.raises(ValueError, match="nli"):
        parts.depth_curves(shown, languages, titles={"nli": "NLI"}, ylabel="x")
