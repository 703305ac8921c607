import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from babelscope.plotting import layers


def curves(languages, panels=("",)):
    rows = [
        {"panel": panel, "language": code, "layer": layer, "value": layer / 10 + number}
        for panel in panels
        for number, code in enumerate(languages)
        for layer in (2, 0, 1)  # out of order
    ]
    table = pd.DataFrame(rows)
    return table.assign(low=table["value"] - 0.1, high=table["value"] + 0.2)


def test_a_curve_has_its_languages_colour_marker_and_band(languages):
    figure = layers.layer_curves(curves(languages), languages, ylabel="CKA")
    (axis,) = figure.axes
    assert len(axis.lines) == len(axis.collections) == 4
    for line, band, code in zip(axis.lines, axis.collections, languages, strict=True):
        assert to_hex(line.get_color()) == languages[code]["colour"]
        assert line.get_marker() == languages[code]["marker"]
        assert list(line.get_xdata()) == [0, 1, 2]
        low, high = np.sort(band.get_paths()[0].vertices[:, 1])[[0, -1]]
        assert low == pytest.approx(min(line.get_ydata()) - 0.1)
        assert high == pytest.approx(max(line.get_ydata()) + 0.2)
    assert [text.get_text() for text in figure.legends[0].get_texts()][1] == "Russian (ru)"


def test_panels_share_a_scale_unless_they_show_different_things(languages):
    table = curves(languages, ("a", "b"))
    table.loc[table["panel"] == "b", ["value", "low", "high"]] *= 10
    limits = [
        [axis.get_ylim() for axis in figure.axes]
        for figure in (
            layers.layer_curves(table, languages, ylabel="x", titles=["a", "b"], share_y=share)
            for share in (True, False)
        )
    ]
    assert limits[0][0] == limits[0][1]
    assert limits[1][0] != limits[1][1]


@pytest.mark.parametrize("wide", [0.01, 100.0])
def test_wide_bands_do_not_squeeze_curves_of_different_things(languages, wide):
    table = curves(languages, ("a", "b")).assign(low=lambda rows: rows["value"] - wide)
    table = table.assign(high=table["value"] + wide)
    table.loc[table["panel"] == "b", "value"] = 3.0
    figure = layers.layer_curves(table, languages, ylabel="x", titles=["a", "b"], share_y=False)
    part = table[table["panel"] == "a"]
    low, high = figure.axes[0].get_ylim()
    assert low < part["value"].min() < part["value"].max() < high
    assert np.ptp(part["value"]) > 0.45 * (high - low)
    if wide < 1:
        assert low < part["low"].min()
        assert high > part["high"].max()
    bottom, top = figure.axes[1].get_ylim()  # curves without any height
    assert bottom < 3.0 < top


def test_a_panel_without_data_is_refused(languages):
    table = curves(languages, ("a",))
    with pytest.raises(ValueError, match="'b'"):
        layers.layer_curves(table, languages, ylabel="x", titles=["a", "b"])


@pytest.mark.parametrize("count", [1, 4])
def test_rows_of_a_map_are_the_left_layers(languages, count):
    table = pd.DataFrame(
        [
            {"language": code, "left_layer": left, "right_layer": right, "value": left / 4}
            for code in list(languages)[:count]
            for left in range(4)
            for right in range(3)
        ]
    )
    limits = layers.map_limits(table)
    figure = layers.layer_maps(
        table, languages, left="base", right="tuned", label="CKA", limits=limits
    )
    maps = [axis for axis in figure.axes if axis.images]
    assert len(maps) == count
    for axis in maps:
        image = axis.images[0]
        assert image.get_array().shape == (4, 3)
        assert image.get_array()[:, 0].tolist() == [0, 0.25, 0.5, 0.75]
        assert image.get_clim() == (0, 1)


def test_maps_begin_at_a_tenth_below_their_values_where_all_are_high():
    assert layers.map_limits(pd.DataFrame({"value": [0.78, 0.99]})) == (0.7, 1.0)
    assert layers.map_limits(pd.DataFrame({"value": [-0.01, 1.02]})) == (-0.01, 1.02)


def test_a_shared_axis_begins_at_zero_unless_the_curves_would_be_squeezed(languages):
    def table(low, high):
        return pd.DataFrame({"low": [low], "high": [high]})

    low, high = layers.value_limits([table(0.2, 0.3), table(0.1, 0.5)])
    assert low == 0
    assert 0.5 < high < 0.55
    low, high = layers.value_limits([table(-0.02, 0.3)])
    assert -0.04 < low < -0.02
    close = curves(languages).assign(value=0.98, low=0.97, high=1.0)
    limits = layers.value_limits([close])
    assert 0.96 < limits[0] < 0.97
    figure = layers.layer_curves(close, languages, ylabel="CKA", zero=True, limits=limits)
    assert figure.axes[0].get_ylabel() == "CKA, axis from 0.97"
    assert figure.axes[0].get_ylim() == limits


def test_chance_is_a_dotted_line_in_every_panel(languages):
    table = curves(languages, ("a", "b"))
    figure = layers.layer_curves(table, languages, ylabel="x", titles=["a", "b"], chance=3.5)
    for axis in figure.axes:
        (dotted,) = [line for line in axis.lines if line.get_linestyle() == ":"]
        assert set(dotted.get_ydata()) == {3.5}
    assert "chance" in [text.get_text() for text in figure.legends[0].get_texts()]
