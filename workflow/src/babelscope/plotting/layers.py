"""Curves over layers, one per language, and maps of layers against layers."""

import math
from collections.abc import Iterable, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from babelscope.plotting.style import (
    COLUMN,
    GREY,
    PAGE,
    SEQUENTIAL,
    Rows,
    language_legend,
    layer_ticks,
    look,
    named,
    new_figure,
    panels,
    present,
)

# How the measures are named: of a file of similarities, the panels by measure or measure.estimator,
# the vertical axis, and whether the panels show one quantity. {pivot} stands for its name.
MEASURES = {
    "rsa": {
        "titles": {
            "rsa_pearson": "Pearson",
            "rsa_spearman": "Spearman",
            "rsa_regression": "ridge regression",
        },
        "ylabel": "correlation of similarities",
        "share_y": True,
    },
    "isomorphism": {
        "titles": {
            "relational_similarity": "relational similarity\n(higher is more alike)",
            "eigenvector_similarity": "eigenvector similarity\n(lower is more alike)",
            "gromov_hausdorff": "Gromov–Hausdorff distance\n(lower is more alike)",
        },
        "ylabel": "score",
        "share_y": False,
    },
    "retrieval": {
        "titles": {
            "retrieval_error.forward": "from {pivot} to the other language",
            "retrieval_error.backward": "from the other language to {pivot}",
        },
        "ylabel": "retrieval error (%)",
        "share_y": True,
    },
}


@look()
def layer_curves(
    table: pd.DataFrame,
    languages: Rows,
    *,
    ylabel: str,
    limits: tuple[float, float] | None = None,
    zero: bool = False,
    chance: float | None = None,
    titles: Sequence[str] = (),
    share_y: bool = True,
) -> Figure:
    """Draw one curve per language over the layers, with its 95 % band.

    Parameters
    ----------
    table
        Columns ``language, layer, value, low, high`` and, for more than one panel, ``panel``; one
        row per point. Layer 0 is the embedding layer.
    languages
        Names, colours and markers.
    ylabel
        What the values are, with their unit.
    limits
        Range of the vertical axis, from `value_limits`. If it leaves out 0, the axis says so.
    zero
        Draw a line at zero, the value without any similarity.
    chance
        Draw a dotted line at this value, which an uninformed guess has.
    titles
        The panels, in order; values of the column ``panel``.
    share_y
        Give the panels one vertical scale; false where they show different quantities. Then, unless
        there are `limits`, the curves fill about half of a panel at least, and bands that reach
        farther are cut at its edges.
    """
    titles = list(titles)
    width = PAGE if len(titles) > 1 else COLUMN
    figure, axes = panels(max(len(titles), 1), columns=3, width=width, height=2.4, share_y=share_y)
    deepest = int(table["layer"].max())
    for number, axis in enumerate(axes):
        part = table[table["panel"] == titles[number]] if titles else table
        if part.empty:
            raise ValueError(f"nothing to draw in panel {titles[number]!r}")
        for code in present(table, "language", languages):
            curve = part[part["language"] == code].sort_values("layer")
            style = languages[code]
            draw_curve(axis, curve, style["colour"], style["marker"], named(code, languages))
        if zero:
            axis.axhline(0, color=GREY, linewidth=0.6, zorder=0)
        if chance is not None:
            axis.axhline(
                chance, color="black", linewidth=0.8, linestyle=":", zorder=0, label="chance"
            )
        if limits is not None:
            axis.set_ylim(*limits)
        elif not share_y:
            axis.set_ylim(*_curve_limits(part))
        axis.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        layer_ticks(axis, deepest)
        axis.set_xlabel("layer")
        if titles:
            axis.set_title(titles[number])
    if limits is not None and limits[0] > 0:
        ylabel = f"{ylabel}, axis from {limits[0]:.2g}"
    axes[0].set_ylabel(ylabel)
    language_legend(figure, axes[0])
    return figure


def draw_curve(axis: Axes, curve: pd.DataFrame, colour: str, marker: str, label: str) -> None:
    """Draw one curve over the layers with its band: columns ``layer, value, low, high``."""
    axis.fill_between(
        curve["layer"], curve["low"], curve["high"], color=colour, alpha=0.18, linewidth=0
    )
    axis.plot(curve["layer"], curve["value"], color=colour, marker=marker, label=label)


def _curve_limits(table: pd.DataFrame) -> tuple[float, float]:
    """Return limits in which the curves fill about half at least, whatever their bands."""
    low, high = float(table["value"].min()), float(table["value"].max())
    margin = (high - low) / 2
    bottom = max(float(table["low"].min()), low - margin)
    top = min(float(table["high"].max()), high + margin)
    space = 0.05 * (top - bottom) or 0.05  # for markers at an edge; a flat curve has no height
    return bottom - space, top + space


def value_limits(tables: Iterable[pd.DataFrame]) -> tuple[float, float]:
    """Return limits of the vertical axis that figures of one kind share.

    From 0, or from below where values are negative; but from the smallest where the curves would
    fill less than a third of the height otherwise.

    Parameters
    ----------
    tables
        What the figures show, with ``low`` and ``high``.
    """
    tables = list(tables)
    low = min(float(table["low"].min()) for table in tables)
    high = max(float(table["high"].max()) for table in tables)
    if low < 2 / 3 * high:
        low = min(low, 0.0)
    margin = 0.05 * (high - low)
    return (0.0 if low == 0 else low - margin), high + margin


def map_limits(table: pd.DataFrame) -> tuple[float, float]:
    """Return limits of the colours of `layer_maps`: 0 to 1, or from a higher tenth up to 1."""
    low, high = float(table["value"].min()), float(table["value"].max())
    if low > 0.5:
        return math.floor(10 * low) / 10, max(1.0, high)
    return min(0.0, low), max(1.0, high)


@look()
def layer_maps(
    table: pd.DataFrame,
    languages: Rows,
    *,
    left: str,
    right: str,
    label: str,
    limits: tuple[float, float],
) -> Figure:
    """Draw the similarity of every layer with every layer, one map per language, one colour scale.

    Parameters
    ----------
    table
        Columns ``language, left_layer, right_layer, value``; one row per cell.
    languages
        Names of the languages.
    left, right
        What the rows and the columns are layers of.
    label
        What the colours mean.
    limits
        Range of the colours, from `map_limits`.
    """
    codes = present(table, "language", languages)
    if len(codes) == 1:
        figure = new_figure(COLUMN, 2.9)
        axes = [figure.subplots()]
    else:
        figure, axes = panels(len(codes), columns=4, width=PAGE, height=1.75)
    image = None
    for axis, code in zip(axes, codes, strict=True):
        grid = table[table["language"] == code].pivot(
            index="left_layer", columns="right_layer", values="value"
        )  # (left layers, right layers)
        image = axis.imshow(
            grid.to_numpy(),
            origin="lower",
            cmap=SEQUENTIAL,
            vmin=limits[0],
            vmax=limits[1],
            aspect="equal",
        )
        layer_ticks(axis, grid.shape[1] - 1)
        layer_ticks(axis, grid.shape[0] - 1, "y")
        axis.set_title(named(code, languages))
    if len(codes) == 1:
        axes[0].set_xlabel(f"layer of the {right}")
        axes[0].set_ylabel(f"layer of the {left}")
    else:
        figure.supxlabel(f"layer of the {right}")
        figure.supylabel(f"layer of the {left}")
    assert image is not None
    figure.colorbar(image, ax=axes, label=label, shrink=0.8 if len(codes) == 1 else 0.6)
    return figure
