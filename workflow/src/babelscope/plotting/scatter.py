"""Similarity of representations against another relation between the same pairs of languages."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from babelscope.plotting.style import (
    GREY,
    PAGE,
    SMALL,
    Rows,
    layer_ticks,
    look,
    named,
    new_figure,
    panels,
)

Box = tuple[float, float, float, float]


@look()
def pair_scatter(
    table: pd.DataFrame,
    tests: pd.DataFrame,
    languages: Rows,
    *,
    titles: Mapping[str, str],
    tested: Mapping[str, str],
    ylabel: str,
) -> Figure:
    """Draw one point per pair of languages and panel, with the result of its permutation test.

    Parameters
    ----------
    table
        Columns ``panel, left, right, x, value, low, high``.
    tests
        Columns ``panel, r, p, n``: a test per panel over `n` languages, NA where it could not be
        made; or none where there are too few.
    languages
        Names, colours and markers; a point has the left language's marker, filled with the left
        and edged with the right language's colour.
    titles
        The panels in order: value of the column ``panel`` and the label of its horizontal axis.
    tested
        Name of the test by panel.
    ylabel
        What the values are.
    """
    figure = new_figure(PAGE, 3.0)
    axes = figure.subplots(1, len(titles), sharey=True, squeeze=False)[0]
    for axis, (panel, xlabel) in zip(axes, titles.items(), strict=True):
        points = table[table["panel"] == panel]
        if points.empty:
            raise ValueError(f"nothing to draw in panel {panel!r}")
        axis.errorbar(
            points["x"],
            points["value"],
            yerr=[points["value"] - points["low"], points["high"] - points["value"]],
            fmt="none",
            ecolor="#d0d0d0",
            elinewidth=0.6,
            zorder=1,
        )
        for left, right, x, y in _points(points):
            axis.plot(
                x,
                y,
                marker=languages[left]["marker"],
                markerfacecolor=languages[left]["colour"],
                markeredgecolor=languages[right]["colour"],
                markeredgewidth=1.1,
                markersize=5,
            )
        for test in tests[tests["panel"] == panel].to_dict("records"):
            found = "too few or too alike to test"
            if pd.notna(test["r"]):
                found = f"r = {test['r']:.2f}, p = {_probability(test['p'])}".replace("-", "−")
            axis.set_title(f"{tested[panel]}, {test['n']} languages:\n{found}")
        axis.set_xlabel(xlabel)
    axes[0].set_ylabel(ylabel)
    shown = [code for code in languages if code in set(table["left"]) | set(table["right"])]
    handles = [
        axes[0].plot(
            [],
            [],
            linestyle="",
            marker=languages[code]["marker"],
            markersize=5,
            color=languages[code]["colour"],
            label=named(code, languages),
        )[0]
        for code in shown
    ]
    figure.legend(handles=handles, loc="outside right upper")
    figure.draw_without_rendering()  # lays the panels out, so that names can be measured
    for axis, panel in zip(axes, titles, strict=True):
        _name_pairs(axis, table[table["panel"] == panel])
    return figure


def _points(table: pd.DataFrame) -> Iterator[tuple[str, str, float, float]]:
    """Yield the two languages, x and y of each row."""
    for left, right, x, y in table[["left", "right", "x", "value"]].to_numpy():
        yield str(left), str(right), float(x), float(y)


def _name_pairs(axis: Axes, table: pd.DataFrame) -> None:
    """Write the pairs' codes beside their points, where a name covers no point and no other name.

    Sizes are in points of the page; a letter is taken to be as wide as 0.6 of the font size.
    """
    figure = axis.get_figure(root=True)
    assert figure is not None
    scale = 72 / figure.dpi
    spots = scale * axis.transData.transform(table[["x", "value"]].to_numpy(dtype=float))
    taken = [(x - 3, y - 3, x + 3, y + 3) for x, y in spots]
    left_end, bottom, right_end, top = scale * np.asarray(axis.bbox.extents)
    for (left, right, x, y), (across, up) in zip(_points(table), spots, strict=True):
        name = f"{left}–{right}"
        width, height = 0.6 * SMALL * len(name), 1.1 * SMALL
        for dx, dy in (
            *((4, -height / 2), (-4 - width, -height / 2)),
            *((-width / 2, 4), (-width / 2, -4 - height)),
            *((3, 3), (-3 - width, 3), (3, -3 - height), (-3 - width, -3 - height)),
        ):
            box = (across + dx, up + dy, across + dx + width, up + dy + height)
            inside = left_end <= box[0] and box[2] <= right_end + 8
            inside = inside and bottom <= box[1] and box[3] <= top
            if inside and not any(_overlap(box, other) for other in taken):
                axis.annotate(
                    name,
                    (x, y),
                    xytext=(dx, dy),
                    textcoords="offset points",
                    fontsize=SMALL,
                    color="#333333",
                )
                taken.append(box)
                break


def _overlap(one: Box, other: Box) -> bool:
    """Return whether two boxes (left, bottom, right, top) have a point in common."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@look()
def correlation_curves(table: pd.DataFrame, *, titles: Mapping[str, str]) -> Figure:
    """Draw how well something goes along with similarity, layer by layer, with 95 % intervals.

    Parameters
    ----------
    table
        Columns ``predictor, layer, value, low, high, p``; intervals may be missing.
    titles
        The panels in order: value of the column ``predictor`` and its title. Points with p below
        0.05 are filled.
    """
    figure, axes = panels(len(titles), columns=4, width=PAGE, height=2.3)
    for axis, (predictor, title) in zip(axes, titles.items(), strict=True):
        curve = table[table["predictor"] == predictor].sort_values("layer")
        if curve.empty:
            raise ValueError(f"nothing to draw in panel {predictor!r}")
        axis.axhline(0, color=GREY, linewidth=0.6, zorder=0)
        axis.fill_between(
            curve["layer"], curve["low"], curve["high"], color="black", alpha=0.12, linewidth=0
        )
        axis.plot(curve["layer"], curve["value"], color="black", zorder=1)
        for clear, part in curve.groupby(curve["p"] < 0.05):
            axis.plot(
                part["layer"],
                part["value"],
                linestyle="",
                marker="o",
                color="black",
                markerfacecolor="black" if clear else "white",
            )
        axis.set_ylim(-1.05, 1.05)
        layer_ticks(axis, int(table["layer"].max()))
        axis.set_title(title)
        axis.set_xlabel("layer")
    axes[0].set_ylabel("correlation with CKA")
    legend = [
        Line2D([], [], linestyle="", marker="o", color="black", markerfacecolor=fill, label=name)
        for fill, name in (("black", "p < 0.05"), ("white", "p ≥ 0.05"))
    ]
    figure.legend(handles=legend, loc="outside right upper")
    return figure


def _probability(p: float) -> str:
    return f"{p:.2f}" if p >= 0.01 else f"{p:.1g}"
