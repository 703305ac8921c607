"""The space of sentences in two dimensions, languages in their colours."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from babelscope.plotting.methods import METHODS, Method, methods_of
from babelscope.plotting.style import COLUMN, PAGE, Rows, look, named, new_figure, present


@look()
def sentence_map(
    table: pd.DataFrame, languages: Rows, looks: Mapping[str, Method] = METHODS
) -> Figure:
    """Draw one panel per method, each in its own two principal components.

    Parameters
    ----------
    table
        Columns ``panel, language, sentence, x, y, joined, x_share, y_share, language_share``:
        `panel` is a method; a joined sentence's translations are tied to their mean by lines;
        shares of the variance are in 0 to 1.
    languages
        Names, colours and markers.
    looks
        The methods in their order, by name.
    """
    codes = present(table, "language", languages)
    methods = methods_of(table.rename(columns={"panel": "method"}), looks)
    width, columns = (PAGE, 5 if len(codes) > 4 else 4) if len(methods) > 1 else (COLUMN, 2)
    legend = -(-len(codes) // columns)
    figure = new_figure(width, min(width / len(methods), 3.2) + 0.55 + 0.16 * legend)
    axes = figure.subplots(1, len(methods), squeeze=False)[0]
    for axis, method in zip(axes, methods, strict=True):
        part = table[table["panel"] == method]
        for code in codes:
            points = part[part["language"] == code]
            style = languages[code]
            axis.plot(
                points["x"],
                points["y"],
                linestyle="",
                marker=style["marker"],
                color=style["colour"],
                markersize=2.6 if len(codes) <= 8 else 1.8,
                markeredgewidth=0,
                alpha=0.55,
                zorder=1,
            )
        _join(axis, part[part["joined"]], codes, languages)
        first = part.iloc[0]
        axis.set_title(
            f"{looks[method].name}\nlanguage: {100 * first['language_share']:.0f} % of variance"
        )
        axis.set_xlabel(f"component 1 ({100 * first['x_share']:.0f} %)")
        axis.set_ylabel(f"component 2 ({100 * first['y_share']:.0f} %)")
        axis.set_aspect("equal", adjustable="datalim")
        axis.set_xticks([])
        axis.set_yticks([])
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=languages[code]["marker"],
            color=languages[code]["colour"],
            label=named(code, languages),
        )
        for code in codes
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    return figure


def _join(axis: Axes, part: pd.DataFrame, codes: list[str], languages: Rows) -> None:
    """Tie the translations of each sentence to their mean, and draw them larger."""
    for _, points in part.groupby("sentence"):
        middle = points[["x", "y"]].mean()
        for x, y in points[["x", "y"]].to_numpy():
            axis.plot(
                [x, middle["x"]],
                [y, middle["y"]],
                color="#333333",
                linewidth=0.6 if len(codes) <= 8 else 0.35,
                zorder=2,
            )
    for code in codes:
        points = part[part["language"] == code]
        axis.plot(
            points["x"],
            points["y"],
            linestyle="",
            marker=languages[code]["marker"],
            color=languages[code]["colour"],
            markersize=5 if len(codes) <= 8 else 3.5,
            markeredgecolor="black",
            markeredgewidth=0.4,
            zorder=3,
        )
