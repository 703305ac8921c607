"""Trees of languages, by how far their tickets are apart."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from babelscope.plotting.style import GREY, PAGE, Rows, look, named, panels


@look()
def dendrograms(
    table: pd.DataFrame, languages: Rows, *, titles: Mapping[str, str], xlabels: Mapping[str, str]
) -> Figure:
    """Draw one tree per panel, its leaves at 0 to the right and named in their colours.

    Parameters
    ----------
    table
        Columns ``panel, left, right, height``, one row per merge of two clusters in rising height.
        A cluster is written as its languages joined by ``+``.
    languages
        Names, colours and markers.
    titles
        The panels in order: value of the column ``panel`` and its title.
    xlabels
        What the heights of a panel are.
    """
    empty = [panel for panel in titles if panel not in set(table["panel"])]
    if empty:
        raise ValueError(f"nothing to draw in panels {empty}")
    leaves = max(len(_leaves(table[table["panel"] == panel])) for panel in titles)
    columns = 2 if len(titles) in (2, 4) else 3
    height = 0.19 * leaves + 0.75
    figure, axes = panels(
        len(titles), columns=columns, width=PAGE, height=height, share_x=False, share_y=False
    )
    for axis, (panel, title) in zip(axes, titles.items(), strict=True):
        part = table[table["panel"] == panel]
        order = _leaves(part)
        _tree(axis, part, order, languages)
        axis.set_title(title)
        axis.set_xlabel(xlabels[panel])
        axis.set_ylim(len(order) - 0.5, -0.5)
        axis.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axis.spines["left"].set_visible(False)
        axis.yaxis.tick_right()
        axis.set_yticks(range(len(order)), [named(code, languages) for code in order])
        axis.tick_params(axis="y", length=0, pad=6)
        for label, code in zip(axis.get_yticklabels(), order, strict=True):
            label.set_color(languages[code]["colour"])
    return figure


def _leaves(merges: pd.DataFrame) -> list[str]:
    """Return the languages in an order in which no branches cross: that of the last merge."""
    last = merges.iloc[-1]
    return f"{last['left']}+{last['right']}".split("+")


def _tree(axis: Axes, merges: pd.DataFrame, order: list[str], languages: Rows) -> None:
    """Draw the branches; a cluster stands at the mean place of its two parts."""
    spots = {code: (0.0, float(place)) for place, code in enumerate(order)}
    for left, right, height in merges[["left", "right", "height"]].to_numpy():
        (x_left, y_left), (x_right, y_right) = spots[left], spots[right]
        axis.plot(
            [x_left, height, height, x_right],
            [y_left, y_left, y_right, y_right],
            color=GREY,
            linewidth=1.0,
            solid_joinstyle="miter",
            zorder=1,
        )
        spots[f"{left}+{right}"] = (float(height), (y_left + y_right) / 2)
    for place, code in enumerate(order):
        axis.plot(
            0,
            place,
            marker=languages[code]["marker"],
            color=languages[code]["colour"],
            clip_on=False,
            zorder=2,
        )
    highest = float(merges["height"].max())
    axis.set_xlim(1.05 * highest or 1, -0.02 * highest)  # leaves to the right
