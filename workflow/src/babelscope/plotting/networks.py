"""How the networks of the alignment study look, and figures that compare them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from babelscope.plotting.layers import draw_curve
from babelscope.plotting.methods import Method, method_handles, methods_of
from babelscope.plotting.style import (
    GREY,
    PAGE,
    Rows,
    layer_ticks,
    look,
    named,
    new_figure,
    panels,
    present,
)

NETWORKS = {
    "base": Method("untouched", "#222222", "o"),
    "aligned-contrastive": Method("contrastive loss alone", "#ddaa33", "<"),
    "aligned-instruction": Method("instruction loss alone", "#bb5566", ">"),
    "aligned-both": Method("both losses", "#004488", "P"),
}
"""The networks in the order in which they are shown."""

REFERENCES: dict[str, dict[str, Any]] = {
    "chance": {
        "label": "chance",
        "color": "black",
        "linewidth": 0.8,
        "linestyle": ":",
        "zorder": 0,
    },
    "layer": {
        "label": "aligned layer",
        "color": GREY,
        "linewidth": 0.7,
        "linestyle": "--",
        "zorder": 0,
    },
}
"""Lines to compare with."""


def networks_of(table: pd.DataFrame) -> list[str]:
    """Return the networks of a table in the order in which they are shown."""
    return methods_of(table.rename(columns={"network": "method"}), NETWORKS)


CURVES = {
    "contrastive": "contrastive loss (nats)",
    "instruction": "instruction loss (nats per token)",
    "retrieval_error": "retrieval error (%)",
    "in_context_accuracy": "in-context accuracy (%)",
}
"""The panels of `history_curves` in order, and what their values are."""

LINES: dict[str, dict[str, Any]] = {
    "mean": {"linewidth": 1.1},
    "seed": {"linewidth": 0.5, "alpha": 0.6},
    "train": {"linewidth": 0.9, "linestyle": ":"},
}


@look()
def history_curves(table: pd.DataFrame) -> Figure:
    """Draw what happens over the steps of each training: losses, retrieval, perhaps accuracy.

    Parameters
    ----------
    table
        Columns ``panel, network, split, seed, step, value``: `panel` is a key of `CURVES`, `split`
        is ``train`` for the training batches, pale, or ``valid``; seed ``all`` is the mean, single
        seeds are thin.
    """
    networks = networks_of(table)
    shown = [panel for panel in CURVES if panel in set(table["panel"])]
    columns = 2 if len(shown) == 4 else 3
    figure, axes = panels(
        len(shown), columns=columns, width=PAGE, height=2.2, share_x=False, share_y=False
    )
    for axis, panel in zip(axes, shown, strict=True):
        for network in networks:
            part = table[(table["panel"] == panel) & (table["network"] == network)]
            style = NETWORKS[network]
            for (split, seed), curve in part.groupby(["split", "seed"], sort=False):
                curve = curve.sort_values("step")
                kind = "train" if split == "train" else "mean" if seed == "all" else "seed"
                marker = {"marker": style.marker} if kind == "mean" else {}
                axis.plot(
                    curve["step"], curve["value"], color=style.colour, **marker, **LINES[kind]
                )
        axis.set_xlabel("optimizer steps")
        axis.set_title(CURVES[panel])
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        axis.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    handles = method_handles(networks, NETWORKS, line="-")
    handles.append(Line2D([], [], color=GREY, marker="o", label="held-out samples"))
    if (table["split"] == "train").any():
        handles.append(Line2D([], [], color=GREY, label="training batches", **LINES["train"]))
    if (table["seed"] != "all").any():
        handles.append(Line2D([], [], color=GREY, label="single seeds", **LINES["seed"]))
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


@look()
def network_layers(
    table: pd.DataFrame,
    languages: Rows,
    *,
    ylabels: Mapping[str, str],
    chance: float | None = None,
    zero: bool = False,
    layer: int | None = None,
) -> Figure:
    """Draw one curve per network over the layers: a panel per language, a block per measure.

    Parameters
    ----------
    table
        Columns ``measure, network, language, layer, seed, value, low, high``: seed ``all`` is the
        mean, single seeds are thin. Layer 0 is the embeddings.
    languages
        Names of the languages.
    ylabels
        The measures in order, and what they are; panels of one share their scale.
    chance
        Draw a dotted line at this value, which a guess has.
    zero
        Draw a line at zero, the value without any similarity.
    layer
        Draw a line at the layer whose states the contrastive loss takes.
    """
    networks = networks_of(table)
    blocks = {
        measure: present(table[table["measure"] == measure], "language", languages)
        for measure in ylabels
    }
    most = max(map(len, blocks.values()))
    columns = -(-most // -(-most // 5))  # at most five, in rows of about equal length
    lines = {measure: -(-len(codes) // columns) for measure, codes in blocks.items()}
    height = 2.2 if sum(lines.values()) == 1 else 1.65
    figure = new_figure(PAGE, height * sum(lines.values()) + 0.55)
    grid = figure.subplots(sum(lines.values()), columns, squeeze=False, sharex=True)
    axes = iter(grid.flat)
    for measure, codes in blocks.items():
        first = None
        for place in range(lines[measure] * columns):
            axis = next(axes)
            if place >= len(codes):
                figure.delaxes(axis)
                continue
            first = first or axis
            axis.sharey(first)
            part = table[(table["measure"] == measure) & (table["language"] == codes[place])]
            _layer_panel(axis, part, networks, chance=chance, zero=zero, layer=layer)
            axis.set_title(named(codes[place], languages))
            axis.tick_params(labelleft=axis is first or place % columns == 0)
            axis.tick_params(labelbottom=place + columns >= len(codes))
            if place % columns == 0:
                axis.set_ylabel(ylabels[measure])
    layer_ticks(grid[0, 0], int(table["layer"].max()))
    figure.supxlabel("layer")
    handles = method_handles(networks, NETWORKS, line="-")
    drawn = {"chance": chance, "layer": layer}
    handles += [Line2D([], [], **REFERENCES[name]) for name in drawn if drawn[name] is not None]
    if (table["seed"] != "all").any():
        handles.append(Line2D([], [], color=GREY, label="single seeds", **LINES["seed"]))
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure


def _layer_panel(
    axis: Axes,
    part: pd.DataFrame,
    networks: Sequence[str],
    *,
    chance: float | None,
    zero: bool,
    layer: int | None,
) -> None:
    """Draw one panel of `network_layers`."""
    for network in networks:
        style = NETWORKS[network]
        for seed, curve in part[part["network"] == network].groupby("seed", sort=False):
            curve = curve.sort_values("layer")
            if seed == "all":
                draw_curve(axis, curve, style.colour, style.marker, style.name)
            else:
                axis.plot(curve["layer"], curve["value"], color=style.colour, **LINES["seed"])
    if layer is not None:
        axis.axvline(layer, **REFERENCES["layer"])
    if zero:
        axis.axhline(0, color=GREY, linewidth=0.6, zorder=0)
    if chance is not None:
        axis.axhline(chance, **REFERENCES["chance"])
    axis.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
