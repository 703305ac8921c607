import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from babelscope.plotting.networks import NETWORKS
from babelscope.plotting.sentence_map import sentence_map


def places(languages, panels=("source", "modular-both")):
    rows = [
        {
            **{"panel": panel, "language": code, "sentence": sentence, "joined": sentence == 1},
            **{"x": float(number), "y": float(sentence)},
        }
        for panel in panels
        for number, code in enumerate(languages)
        for sentence in range(3)
    ]
    return pd.DataFrame(rows).assign(x_share=0.4, y_share=0.25, language_share=0.61)


def test_languages_have_their_colours_and_translations_are_tied(languages):
    figure = sentence_map(places(languages), languages)
    first, second = figure.axes
    assert first.get_title() == "source encoder\nlanguage: 61 % of variance"
    assert second.get_title().startswith("modular, both")
    assert first.get_xlabel() == "component 1 (40 %)"
    assert first.get_ylabel() == "component 2 (25 %)"
    clouds = first.lines[:4]
    assert [to_hex(line.get_color()) for line in clouds] == [
        row["colour"] for row in languages.values()
    ]
    assert [len(line.get_xdata()) for line in clouds] == [3] * 4
    ties = [line for line in first.lines if line.get_linestyle() == "-"]
    assert len(ties) == 4
    for line, x in zip(ties, range(4), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [x, 1.5])
        np.testing.assert_array_equal(line.get_ydata(), [1, 1])
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[:2] == ["English (en)", "Russian (ru)"]
    assert first.get_aspect() == 1


def test_networks_have_looks_of_their_own(languages):
    figure = sentence_map(places(languages, ["aligned-both", "base"]), languages, NETWORKS)
    titles = [axis.get_title().split("\n")[0] for axis in figure.axes]
    assert titles == ["untouched", "both losses"]


def test_an_unknown_method_or_language_is_refused(languages):
    with pytest.raises(ValueError, match="else"):
        sentence_map(places(languages, ["else"]), languages)
    with pytest.raises(ValueError, match="'ar'"):
        sentence_map(places(languages), {code: languages[code] for code in ("en", "ru", "zh")})
