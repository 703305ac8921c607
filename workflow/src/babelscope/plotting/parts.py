"""What single layers and components of tickets keep and share."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from babelscope.plotting.style import (
    GREY,
    PAGE,
    Rows,
    look,
    named,
    panels,
    present,
)

REFERENCES: dict[str, dict[str, Any]] = {
    "expected": {"label": "by chance", "linestyle": ":", "color": "black"},
    "ceiling": {"label": "two draws of one language", "linestyle": "--", "color": "black"},
    "untrained": {"label": "untrained weights", "linestyle": "--", "color": GREY},
    "average": {"label": "all prunable weights", "linestyle": "-", "color": GREY},
}
"""Columns that hold something to compare with, the same for all languages of a place."""


@look()
def depth_curves(
    table: pd.DataFrame, languages: Rows, *, titles: Mapping[str, str], ylabel: str
) -> Figure:
    """Draw one curve per language over the layers of weights, which count from 1.

    Parameters
    ----------
    table
        Columns ``panel, language, layer, value, low, high`` and any of `REFERENCES`, whose mean
        over languages is drawn.
    languages
        Names, colours and markers.
    titles
        The panels in order: value of the column ``panel`` and its title.
    ylabel
        What the values are, with their unit.
    """
    codes = present(table, "language", languages)
    references = [name for name in REFERENCES if name in table and table[name].notna().any()]
    figure, axes = panels(len(titles), columns=3, width=PAGE, height=2.1)
    for axis, (panel, title) in zip(axes, titles.items(), strict=True):
        part = table[table["panel"] == panel]
        if part.empty:
            raise ValueError(f"nothing to draw in panel {panel!r}")
        for code in codes:
            curve = part[part["language"] == code].sort_values("layer")
            style = languages[code]
            axis.fill_between(
                curve["layer"],
                curve["low"],
                curve["high"],
                color=style["colour"],
                alpha=0.12 if len(codes) < 6 else 0.04,
                linewidth=0,
            )
            axis.plot(curve["layer"], curve["value"], color=style["colour"], marker=style["marker"])
        for name in references:
            mean = part.groupby("layer")[name].mean()
            look = {key: value for key, value in REFERENCES[name].items() if key != "label"}
            axis.plot(mean.index, mean, **look)
        axis.set_title(title)
        axis.set_xlabel("layer")
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes[0].set_ylabel(ylabel)
    _from_zero(axes[0])
    _add_legend(figure, codes, languages, references)
    return figure


@look()
def place_points(
    table: pd.DataFrame,
    languages: Rows,
    *,
    titles: Mapping[str, str],
    ylabel: str,
) -> Figure:
    """Draw one point per language at each place of a row: components, or pairs of tasks.

    Parameters
    ----------
    table
        Columns ``panel, place, language, value, low, high`` and any of `REFERENCES`, drawn as a
        short line at each place, the mean over languages. Places stand in the order of the rows;
        a panel may lack some.
    languages
        Names, colours and markers.
    titles
        The panels in order: value of the column ``panel`` and its title, which may be empty.
    ylabel
        What the values are, with their unit.
    """
    codes = present(table, "language", languages)
    references = [name for name in REFERENCES if name in table and table[name].notna().any()]
    shown = list(dict.fromkeys(table["place"]))
    shift = np.linspace(-0.3, 0.3, len(codes)) if len(codes) > 1 else np.zeros(1)
    size = 4 if len(codes) * len(shown) < 50 else 2.5
    figure, axes = panels(
        len(titles), columns=1, width=PAGE, height=1.9 if len(titles) < 4 else 1.5
    )
    for axis, (panel, title) in zip(axes, titles.items(), strict=True):
        part = table[table["panel"] == panel]
        if part.empty:
            raise ValueError(f"nothing to draw in panel {panel!r}")
        for code, aside in zip(codes, shift, strict=True):
            points = part[part["language"] == code]
            x = points["place"].map(shown.index) + aside
            colour = languages[code]["colour"]
            axis.vlines(x, points["low"], points["high"], color=colour, linewidth=1.0)
            axis.plot(
                x,
                points["value"],
                linestyle="",
                color=colour,
                marker=languages[code]["marker"],
                markersize=size,
            )
        for name in references:
            mean = part.groupby("place")[name].mean().dropna()
            style = {"color": REFERENCES[name]["color"], "linestyle": REFERENCES[name]["linestyle"]}
            x = mean.index.map(shown.index).to_numpy()
            axis.hlines(mean, x - 0.42, x + 0.42, linewidth=1.1, **style)
        axis.set_title(title)
        axis.set_xticks(range(len(shown)), shown)
        axis.set_xlim(-0.5, len(shown) - 0.5)
        axis.tick_params(axis="x", length=0)
        for place in range(1, len(shown)):
            axis.axvline(place - 0.5, color="#e5e5e5", linewidth=0.6, zorder=0)
    if len(axes) > 1:
        figure.supylabel(ylabel)
    else:
        axes[0].set_ylabel(ylabel)
    _from_zero(axes[0])
    _add_legend(figure, codes, languages, references, line="")
    return figure


def _from_zero(axis: Any) -> None:
    """Let the shared vertical axis begin at 0 where its values leave more than a third of it."""
    low, high = axis.get_ylim()
    if 0 < low < 2 / 3 * high:
        axis.set_ylim(0, high)
    axis.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def _add_legend(
    figure: Figure,
    codes: Sequence[str],
    languages: Rows,
    references: Sequence[str],
    line: Any = "-",
) -> None:
    """Name languages and references above the panels, which need the whole width."""
    handles = [
        Line2D(
            [],
            [],
            linestyle=line,
            color=languages[code]["colour"],
            marker=languages[code]["marker"],
            label=named(code, languages),
        )
        for code in codes
    ]
    handles += [Line2D([], [], **REFERENCES[name]) for name in references]
    figure.legend(handles=handles, loc="outside upper center", ncols=5 if len(codes) > 4 else 6)
