import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from babelscope.plotting import in_context as drawing
from babelscope.plotting.networks import NETWORKS

CORPORA = {"xwinograd": "w", "xnli": "n"}  # not in the order in which they are shown


def marks(languages, *, networks=tuple(NETWORKS), seeds=("all",), corpora=None, shots=(3, 0)):
    rows = [
        {"task": task, "corpus": corpus, "shots": count, "language": code, "network": network}
        | {"seed": seed, "value": 30.0 + 10 * number + place + count, "star": False}
        for task, corpus in (corpora or CORPORA).items()
        for count in shots
        for place, code in enumerate(languages)
        for number, network in enumerate(networks)
        for seed in seeds
    ]
    table = pd.DataFrame(rows)
    table = table.assign(low=table["value"] - 3, high=table["value"] + 2)
    single = table["seed"] != "all"
    table.loc[single, ["low", "high"]] = np.nan
    table.loc[single, "value"] += 1
    return table


def points(axis, marker):
    """Return the line of a network's marks."""
    (line,) = [line for line in axis.lines if line.get_marker() == marker]
    return line


def test_a_mark_stands_at_its_language_with_its_interval(languages):
    table = marks(languages).assign(chance=25.0).sample(frac=1, random_state=0)
    figure = drawing.language_dots(table, languages, xlabel="accuracy (%)")
    axes = np.reshape(figure.axes, (2, 2))
    assert [axis.get_title() for axis in axes[0]] == ["no examples", "3 examples"]
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ["XNLI", "XWinograd"]
    names = [label.get_text() for label in axes[0, 0].get_yticklabels()]
    assert names == ["English (en)", "Russian (ru)", "Chinese (zh)", "Arabic (ar)"]
    for axis, count in zip(axes[1], (0, 3), strict=True):
        for number, style in enumerate(NETWORKS.values()):
            line = points(axis, style.marker)
            assert to_hex(line.get_color()) == style.colour
            places = np.round(np.asarray(line.get_ydata(), float))
            found = dict(zip(places, np.asarray(line.get_xdata(), float), strict=True))
            assert found == {place: 30 + 10 * number + place + count for place in range(4)}
            segments = axis.collections[number].get_segments()
            widths = {(float(end[0]) - start[0]) for start, end in segments}
            assert widths == {5}
        assert any(list(line.get_xdata()) == [25, 25] for line in axis.lines)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [*(style.name for style in NETWORKS.values()), "chance"]
    assert axes[0, 0].get_ylim() == (3.5, -0.5)


def test_marks_of_two_languages_do_not_mix(languages):
    figure = drawing.language_dots(marks(languages), languages, xlabel="x")
    axis = figure.axes[0]
    heights = [
        np.asarray(points(axis, style.marker).get_ydata(), float) for style in NETWORKS.values()
    ]
    offsets = np.array(heights) - np.round(heights)
    assert np.abs(offsets).max() < 0.4
    assert (np.diff(offsets, axis=0) > 0).all()


def test_the_mean_is_at_the_bottom_and_gaps_have_a_line_at_zero(languages):
    table = marks(["all", "ar", "en"])
    figure = drawing.language_dots(table, languages, xlabel="gap")
    axis = figure.axes[0]
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names == ["English (en)", "Arabic (ar)", "mean"]
    assert any(list(line.get_xdata()) == [0, 0] for line in axis.lines)
    assert "chance" not in [text.get_text() for text in figure.legends[0].get_texts()]


def test_seeds_are_small_and_have_no_interval_and_stars_stand_beside_theirs(languages):
    table = marks(languages, seeds=("all", "1", "2"), corpora={"xnli": "n"}, shots=(0,))
    chosen = (table["seed"] == "all") & (table["network"] == "aligned-both")
    table["star"] = chosen & (table["language"] == "zh")
    (axis,) = drawing.language_dots(table, languages, xlabel="x").axes
    strokes = [line for line in axis.lines if line.get_marker() == "|"]
    assert [len(line.get_xdata()) for line in strokes] == [8] * 4
    assert [len(points(axis, style.marker).get_xdata()) for style in NETWORKS.values()] == [4] * 4
    (star,) = axis.texts
    assert star.get_text() == "*"
    x, y = star.xy
    assert x == 30 + 30 + 2 + 2
    assert round(y) == 2


def test_two_corpora_of_a_task_are_told_apart(languages):
    table = pd.concat(
        marks(languages, corpora={"xnli": name}, shots=(0,)) for name in ("one", "two")
    )
    figure = drawing.language_dots(table, languages, xlabel="x")
    assert [axis.get_ylabel() for axis in figure.axes] == ["XNLI\none", "XNLI\ntwo"]


def changes(values):
    table = marks(["en"], networks=list(NETWORKS)[1:], corpora={"xnli": "n", "pawsx": "p"})
    table = pd.concat(table.assign(prompts=kind) for kind in ("own", "pivot"))
    table = table.drop(columns="language").reset_index(drop=True)
    table["value"] = np.resize(values, len(table))
    return table.assign(low=table["value"] - 3, high=table["value"] + 2)


def test_changes_are_written_beside_their_marks():
    table = changes([1.25, -2.0, 0.0])
    table["star"] = table["network"] == "aligned-instruction"
    prompts = {"pivot": "prompts in English", "own": "own prompts"}
    figure = drawing.change_dots(table, prompts=prompts)
    axes = np.reshape(figure.axes, (2, 2))
    assert [axis.get_title() for axis in axes[0]] == ["XNLI", "PAWS-X"]
    assert [axis.get_ylabel() for axis in axes[:, 0]] == list(prompts.values())
    names = [label.get_text() for label in axes[0, 0].get_yticklabels()]
    assert names == ["no examples", "3 examples"]
    for axis in axes.flat:
        texts = sorted(text.get_text() for text in axis.texts)
        assert texts == sorted(["+1.2", "−2.0*", "+0.0"] * 2)
        low, high = axis.get_xlim()
        assert low < -5
        assert high > 3.25
    figure.draw_without_rendering()
    for axis in axes.flat:
        right = axis.get_window_extent().x1
        assert all(text.get_window_extent().x1 < right + 15 for text in axis.texts)


def test_what_cannot_be_drawn_is_refused(languages):
    with pytest.raises(ValueError, match="'else'"):
        drawing.language_dots(marks(languages, networks=["else"]), languages, xlabel="x")
    with pytest.raises(ValueError, match="'qa'"):
        drawing.language_dots(marks(languages, corpora={"qa": "q"}), languages, xlabel="x")
    with pytest.raises(ValueError, match="'xx'"):
        drawing.language_dots(marks(["xx"]), languages, xlabel="x")
    table = changes([1.0])
    gone = (table["task"] == "xnli") & (table["prompts"] == "own")
    with pytest.raises(ValueError, match="nothing to draw of n with prompts 'own'"):
        drawing.change_dots(table[~gone], prompts={"own": "own"})
