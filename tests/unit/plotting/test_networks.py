import pandas as pd
import pytest
from matplotlib.colors import to_hex

from babelscope.config import ALIGNED
from babelscope.evaluation.alignment_summaries import HISTORY, LAYERS
from babelscope.plotting import networks as drawing
from babelscope.plotting.networks import CURVES, NETWORKS


def test_every_network_has_a_look_and_every_measure_a_panel():
    assert list(NETWORKS) == ["base", *ALIGNED]
    assert len({style.marker for style in NETWORKS.values()}) == len(NETWORKS)
    assert set(CURVES) == {panel for panel, _ in HISTORY.values()}


def history(networks=tuple(ALIGNED), panels=("retrieval_error", "contrastive"), seeds=("all",)):
    rows = [
        {"panel": panel, "network": network, "split": split, "seed": seed, "step": step}
        | {"value": 100.0 * number + step + (seed != "all")}
        for panel in panels
        for number, network in enumerate(networks)
        for split in ("train", "valid")
        for seed in (seeds if split == "valid" else ("all",))
        for step in (20, 0, 10)
    ]
    return pd.DataFrame(rows)


def test_a_line_is_its_network_s_and_runs_in_the_order_of_steps():
    figure = drawing.history_curves(history(seeds=("all", "1", "2")))
    contrastive, retrieval = figure.axes
    assert contrastive.get_title() == CURVES["contrastive"]
    assert retrieval.get_title() == CURVES["retrieval_error"]
    marked = [line for line in retrieval.lines if line.get_marker() != "None"]
    assert [to_hex(line.get_color()) for line in marked] == [
        NETWORKS[name].colour for name in ALIGNED
    ]
    for number, line in enumerate(marked):
        assert list(line.get_xdata()) == [0, 10, 20]
        assert list(line.get_ydata()) == [100 * number + step for step in (0, 10, 20)]
    assert len(retrieval.lines) == 3 * 4
    assert sum(line.get_linestyle() == ":" for line in retrieval.lines) == 3
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[-3:] == ["held-out samples", "training batches", "single seeds"]
    figure = drawing.history_curves(history(["aligned-both"]))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["both losses", "held-out samples", "training batches"]


def curves(codes, measures=("retrieval",), networks=tuple(NETWORKS), seeds=("all",)):
    rows = [
        {"measure": measure, "network": network, "language": code, "layer": layer, "seed": seed}
        | {"value": 10.0 * number + place + layer + (seed != "all")}
        for measure in measures
        for place, code in enumerate(codes)
        for number, network in enumerate(networks)
        for seed in seeds
        for layer in (2, 0, 1)
    ]
    table = pd.DataFrame(rows)
    return table.assign(low=table["value"] - 1, high=table["value"] + 1)


def test_a_panel_is_a_language_and_a_curve_a_network(languages):
    table = curves(["ru", "ar"])
    ylabels = {"retrieval": "error (%)"}
    figure = drawing.network_layers(table, languages, ylabels=ylabels, chance=90.0, layer=1)
    assert [axis.get_title() for axis in figure.axes] == ["Russian (ru)", "Arabic (ar)"]
    assert figure.axes[0].get_ylabel() == "error (%)"
    for place, axis in enumerate(figure.axes):
        for number, (line, style) in enumerate(zip(axis.lines, NETWORKS.values(), strict=False)):
            assert to_hex(line.get_color()) == style.colour
            assert line.get_marker() == style.marker
            assert list(line.get_ydata()) == [10 * number + place + layer for layer in range(3)]
        assert len(axis.collections) == 4
        aligned, chance = axis.lines[4:]
        assert list(aligned.get_xdata()) == [1, 1]
        assert list(chance.get_ydata()) == [90, 90]
        assert [tick.get_text() for tick in axis.get_xticklabels()] == ["emb", "1", "2"]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [*(style.name for style in NETWORKS.values()), "chance", "aligned layer"]


def test_measures_have_blocks_and_scales_of_their_own(languages):
    table = pd.concat([curves(["ru", "ar"], ["alignment"]), curves(languages, ["uniformity"])])
    table.loc[table["measure"] == "uniformity", ["value", "low", "high"]] -= 100
    ylabels = {measure: measure for measure in LAYERS["uniformity"]}
    figure = drawing.network_layers(table, languages, ylabels=ylabels)
    above, below = figure.axes[:2], figure.axes[2:]
    assert [axis.get_title() for axis in above] == ["Russian (ru)", "Arabic (ar)"]
    assert len(below) == 4
    assert (above[0].get_ylabel(), below[0].get_ylabel()) == ("alignment", "uniformity")
    assert len({axis.get_ylim() for axis in above}) == 1
    assert len({axis.get_ylim() for axis in below}) == 1
    assert above[0].get_ylim()[0] > below[0].get_ylim()[1] - 50


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (5, 5), (6, 3), (7, 4), (11, 4)])
def test_panels_are_in_rows_of_about_equal_length(count, columns):
    rows = {
        f"l{place}": {"english": f"Name {place}", "colour": "#000000", "marker": "o"}
        for place in range(count)
    }
    figure = drawing.network_layers(curves(rows), rows, ylabels={"retrieval": "x"}, zero=True)
    assert len(figure.axes) == count
    assert figure.axes[0].get_gridspec().ncols == columns


def test_single_seeds_are_thin_and_have_no_band(languages):
    table = curves(["ru"], networks=["aligned-both"], seeds=("all", "1", "2"))
    figure = drawing.network_layers(table, languages, ylabels={"retrieval": "x"})
    (axis,) = figure.axes
    assert len(axis.lines) == 3
    assert len(axis.collections) == 1
    assert axis.lines[0].get_linewidth() > axis.lines[1].get_linewidth()


def test_an_unknown_network_is_refused(languages):
    with pytest.raises(ValueError, match="'else'"):
        drawing.network_layers(curves(["ru"], networks=["else"]), languages, ylabels={})
    with pytest.raises(ValueError, match="'else'"):
        drawing.history_curves(history(["else"]))
