"""One look for every figure: fonts, widths, languages' colours and markers, and how it is saved."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from babelscope.io import atomic, write_table

Rows = Mapping[str, Mapping[str, str]]
"""Rows of languages.tsv by code, in the order in which the languages are shown."""

COLUMN = 3.3  # inches, one column of a two-column page
PAGE = 6.9  # inches, both columns
SMALL = 6  # points, numbers in cells and names beside points; no text is smaller
GREY = "#777777"
SEQUENTIAL = "cividis"
DIVERGING = "RdBu_r"

LOOK: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so figures are equal everywhere
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "figure.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,  # text stays text, with the font inside
}


def look():
    """Return the look as a context manager, which also serves as a decorator."""
    return matplotlib.rc_context(LOOK)


def named(code: str, languages: Rows) -> str:
    """Return a language as figures write it: ``German (de)``."""
    return f"{languages[code]['english']} ({code})"


def present(table: pd.DataFrame, column: str, languages: Rows) -> list[str]:
    """Return the languages of a column in the order of `languages`.

    Raises
    ------
    ValueError
        If the column holds a language without a row, or none at all.
    """
    found = set(table[column])
    unknown = found - set(languages)
    if unknown or not found:
        raise ValueError(f"{column}: languages without a row: {sorted(map(str, unknown))}")
    return [code for code in languages if code in found]


def layer_ticks(axis: Axes, layers: int, which: str = "x", labels: int = 7) -> None:
    """Label layers 0 to `layers` on one axis, about `labels` of them; 0 is the embedding layer."""
    step = -(-layers // labels)
    ticks = list(range(0, layers + 1, step))
    names = ["emb" if tick == 0 else str(tick) for tick in ticks]
    if which == "x":
        axis.set_xticks(ticks, names)
    else:
        axis.set_yticks(ticks, names)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, size in inches, that no global state knows of."""
    return Figure(figsize=(width, height), layout="constrained")


def panels(
    count: int,
    *,
    columns: int,
    width: float,
    height: float,
    share_x: bool = True,
    share_y: bool = True,
) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` equal panels in a grid, none of them empty.

    Parameters
    ----------
    count
        Number of panels.
    columns
        Panels in a full row.
    width, height
        Width of the figure and height of one row, in inches.
    share_x, share_y
        Give all panels one horizontal, one vertical scale.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = new_figure(width, height * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=share_x, sharey=share_y)
    for spare in grid.flat[count:]:
        figure.delaxes(spare)
    for column in range(columns):  # the lowest panel of a column carries the tick labels
        lowest = max(row for row in range(rows) if row * columns + column < count)
        grid[lowest, column].tick_params(labelbottom=True)
    return figure, list(grid.flat[:count])


def language_legend(figure: Figure, axis: Axes) -> None:
    """Put the languages' legend to the right of all panels, or below a figure of one column."""
    handles, labels = axis.get_legend_handles_labels()
    if figure.get_figwidth() > COLUMN:
        figure.legend(handles, labels, loc="outside right upper")
    else:
        figure.set_figheight(figure.get_figheight() + 0.15 * -(-len(labels) // 3))
        narrow = {"columnspacing": 0.8, "handlelength": 1.5, "handletextpad": 0.5}
        figure.legend(handles, labels, loc="outside lower center", ncols=3, **narrow)


def plain_ticks(low: float, high: float) -> list[float]:
    """Return three to eight round numbers within the limits of a logarithmic scale."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [digit * 10.0**power for power in powers for digit in digits]
        ticks = [round(tick, 9) for tick in ticks if low <= tick <= high]
        if len(ticks) >= 4:
            return ticks[:: -(-len(ticks) // 8)]
    step = 10.0 ** math.floor(math.log10(high - low))
    step = next(step * part for part in (1, 0.5, 0.2, 0.1) if (high - low) / (step * part) >= 3)
    return [
        round(number * step, 9)
        for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def plain(number: float) -> str:
    """Write a number without an exponent: ``0.5``, ``1.2``, ``20,000``."""
    return f"{number:,.0f}" if number >= 1000 else f"{number:g}"


def readable_on(colour: Any) -> str:
    """Return black or white, whichever is readable on a colour (red, green, blue, in 0 to 1)."""
    luminance = float(np.dot(colour[:3], (0.299, 0.587, 0.114)))
    return "black" if luminance > 0.5 else "white"


def save_figure(figure: Figure, table: pd.DataFrame, path: str | Path) -> None:
    """Write a figure as ``.pdf`` and ``.png`` and its numbers as ``.csv``, whole or not at all.

    No date is written into the files: the same table gives the same bytes.

    Parameters
    ----------
    figure
        What one of the functions of this package returned.
    table
        The plotted numbers.
    path
        Where one of the three files goes; the others lie beside it.
    """
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # else one line per font and table
    path = Path(path)
    with look():
        with atomic(path.with_suffix(".png")) as temporary:
            figure.savefig(temporary, dpi=200, metadata={"Software": None})
        figure.set_layout_engine("none")  # keeps the layout, which takes longest, for the other
        with atomic(path.with_suffix(".pdf")) as temporary:
            figure.savefig(temporary, metadata={"CreationDate": None})
    write_table(path.with_suffix(".csv"), table)
