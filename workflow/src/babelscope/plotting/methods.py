"""How the methods of the encoders study look, and figures that compare them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from babelscope.plotting.style import (
    COLUMN,
    GREY,
    PAGE,
    SMALL,
    Rows,
    look,
    named,
    new_figure,
    plain,
    present,
)


@dataclass(frozen=True)
class Method:
    """The look of one method, the same in every figure.

    Attributes
    ----------
    name
        What figures call it.
    colour, marker, hatch
        Of its points and bars. Colours are pairs of a light and a dark one, which also differ in
        grey and for the colour-blind: red for one network of all languages, blue for modules
        without and with all alignment, yellow for either strategy of alignment alone.
    """

    name: str
    colour: str
    marker: str
    hatch: str = ""


METHODS = {
    "source": Method("source encoder", "#222222", "o"),
    "full-mono": Method("full, monolingual", "#ee99aa", "s"),
    "full-cross": Method("full, + cross-lingual", "#994455", "D", "////"),
    "modular-mono": Method("modular, no alignment", "#6699cc", "^"),
    "modular-paraphrase": Method("modular, paraphrases", "#eecc66", "<"),
    "modular-parallel": Method("modular, parallel", "#997700", ">", "////"),
    "modular-both": Method("modular, both", "#004488", "P", "...."),
}
"""The methods in the order in which they are shown."""


@dataclass(frozen=True)
class Scale:
    """How one measure is drawn.

    Attributes
    ----------
    title
        The task, and on a second line what the values are and which way is better.
    task
        The task and setting in words.
    unit
        What a gain is.
    digits
        Digits after the point.
    least
        Smallest range of an axis, so that small differences look small.
    """

    title: str
    task: str
    unit: str
    digits: int = 1
    least: float = 5.0


MEASURES = {
    "sts.monolingual": Scale("STS\nSpearman × 100 ↑", "STS, within a language", "Spearman × 100"),
    "topics.monolingual": Scale(
        "topics\naccuracy (%) ↑", "topics, within a language", "points of accuracy"
    ),
    "reading.monolingual": Scale(
        "reading\naccuracy (%) ↑", "reading, within a language", "points of accuracy"
    ),
    "sts.crosslingual": Scale(
        "STS, two languages\nSpearman × 100 ↑", "STS, two languages", "Spearman × 100"
    ),
    "bitext.crosslingual": Scale("bitext search\nerror (%) ↓", "bitext search", "points of error"),
    "mining.crosslingual": Scale("bitext mining\nF1 (%) ↑", "bitext mining", "points of F1"),
    "topics.crosslingual": Scale(
        "zero-shot topics\naccuracy (%) ↑", "topics, zero-shot", "points of accuracy"
    ),
    "reading.crosslingual": Scale(
        "reading, two lang.\naccuracy (%) ↑", "reading, two languages", "points of accuracy"
    ),
    "structure.crosslingual": Scale("RSIM\ncorrelation ↑", "RSIM", "RSIM", 2, 0.1),
    "bias.sts": Scale(
        "language bias, STS\nSpearman × 100 lost ↓", "language bias, STS", "Spearman × 100 lost"
    ),
    "bias.bitext": Scale(
        "language bias, bitext\naccuracy (%) lost ↓", "language bias, bitext", "points of accuracy"
    ),
}
"""The measures of :data:`babelscope.evaluation.encoder_summaries.MEASURES`."""


def methods_of(table: pd.DataFrame, looks: Mapping[str, Method] = METHODS) -> list[str]:
    """Return the methods of a table in the order in which they are shown, that of their looks.

    Raises
    ------
    ValueError
        If a method has no look, or there is none at all.
    """
    found = set(table["method"])
    unknown = found - set(looks)
    if unknown or not found:
        raise ValueError(f"methods without a look: {sorted(map(str, unknown))}")
    return [name for name in looks if name in found]


def _measures_of(table: pd.DataFrame, column: str = "measure") -> list[str]:
    """Return the measures of a table in their order."""
    unknown = set(table[column]) - set(MEASURES)
    if unknown or table.empty:
        raise ValueError(f"measures without a scale: {sorted(map(str, unknown))}")
    return [name for name in MEASURES if name in set(table[column])]


def _rows_of_panels(count: int, methods: Sequence[str], columns: int) -> tuple[Figure, list[Axes]]:
    """Return panels that share their rows, one per method, named at the left."""
    columns = min(columns, count)
    lines = -(-count // columns)
    width = PAGE if columns > 1 else COLUMN
    figure = new_figure(width, lines * (0.27 * len(methods) + 0.62))
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for spare in grid.flat[count:]:
        figure.delaxes(spare)
    for place, axis in enumerate(grid.flat[:count]):
        axis.set_ylim(len(methods) - 0.4, -0.65)
        axis.set_yticks(range(len(methods)), [METHODS[name].name for name in methods])
        axis.tick_params(axis="y", length=0, labelleft=place % columns == 0)
        axis.spines["left"].set_visible(False)
    return figure, list(grid.flat[:count])


def _by_method(
    part: pd.DataFrame, methods: Sequence[str], measure: str
) -> dict[Any, dict[Any, Any]]:
    """Return one measure's row of each method."""
    rows = {row["method"]: row for row in part.to_dict("records")}
    missing = [method for method in methods if method not in rows]
    if missing:
        raise ValueError(f"no {measure} of {missing}")
    return rows


def _spread(axis: Axes, part: pd.DataFrame, scale: Scale, margin: float) -> None:
    """Let an axis hold all intervals, and the numbers beside them, within a margin."""
    low, high = part["low"].min(), part["high"].max()
    missing = max(scale.least - (high - low), 0)
    below = missing / 2
    if low >= 0:  # an axis of scores of 0, as of bitext mining, need not hold impossible ones
        below = min(below, low)
    room = margin * max(high - low, scale.least)
    axis.set_xlim(low - below - room, high + missing - below + room)
    axis.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))


def _written(value: float, scale: Scale, star: bool) -> str:
    return f"{value:.{scale.digits}f}".replace("-", "−") + ("*" if star else "")


@look()
def method_dots(table: pd.DataFrame, *, reference: str, columns: int = 5) -> Figure:
    """Draw each method's mean scores with intervals, one panel per measure.

    Parameters
    ----------
    table
        Columns ``measure, method, value, low, high, star``; `star` marks a clear difference from
        the reference.
    reference
        The method that a line and a band go through all rows for.
    columns
        Panels in a full row.
    """
    methods, measures = methods_of(table), _measures_of(table)
    figure, axes = _rows_of_panels(len(measures), methods, columns)
    for axis, measure in zip(axes, measures, strict=True):
        scale = MEASURES[measure]
        part = table[table["measure"] == measure]
        scores = _by_method(part, methods, measure)
        line = scores[reference]
        axis.axvspan(line["low"], line["high"], color=GREY, alpha=0.12, linewidth=0, zorder=0)
        axis.axvline(line["value"], color=GREY, linewidth=0.7, linestyle="--", zorder=0)
        for row, method in enumerate(methods):
            drawn, style = scores[method], METHODS[method]
            axis.hlines(row, drawn["low"], drawn["high"], color=style.colour, linewidth=1.3)
            axis.plot(drawn["value"], row, color=style.colour, marker=style.marker, markersize=4.5)
            axis.annotate(
                _written(drawn["value"], scale, bool(drawn["star"])),
                (drawn["value"], row),
                xytext=(0, 3.5),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=SMALL,
                path_effects=[withStroke(linewidth=1.5, foreground="white")],
            )
        _spread(axis, part, scale, 0.2)
        axis.set_title(scale.title)
    return figure


@look()
def method_bars(table: pd.DataFrame) -> Figure:
    """Draw a bar with its interval per method, one panel per measure.

    Parameters
    ----------
    table
        Columns ``measure, method, value, low, high``.
    """
    methods, measures = methods_of(table), _measures_of(table)
    figure, axes = _rows_of_panels(len(measures), methods, 3)
    for axis, measure in zip(axes, measures, strict=True):
        scale = MEASURES[measure]
        part = table[table["measure"] == measure]
        scores = _by_method(part, methods, measure)
        for row, method in enumerate(methods):
            drawn, style = scores[method], METHODS[method]
            axis.barh(
                row,
                drawn["value"],
                0.62,
                color=style.colour,
                hatch=style.hatch,
                edgecolor="white",
                linewidth=0,
            )
            shade = "#999999" if sum(to_rgb(style.colour)) < 0.5 else "black"
            axis.hlines(row, drawn["low"], drawn["high"], color=shade, linewidth=1.0)
            right = drawn["value"] >= 0
            axis.annotate(
                _written(drawn["value"], scale, star=False),
                (drawn["high"] if right else drawn["low"], row),
                xytext=(3 if right else -3, 0),
                textcoords="offset points",
                ha="left" if right else "right",
                va="center",
                fontsize=SMALL,
            )
        low, high = min(part["low"].min(), 0.0), max(part["high"].max(), 0.0)
        room = 0.2 * max(high - low, scale.least)
        axis.set_xlim(low - room if low < 0 else 0, high + room)
        axis.axvline(0, color="black", linewidth=0.6)
        axis.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axis.set_title(scale.title)
    return figure


@look()
def language_gains(table: pd.DataFrame, languages: Rows, *, item: str) -> Figure:
    """Draw what each method gains in each language, most training data at the top.

    Parameters
    ----------
    table
        Columns ``panel, language, method, value, low, high, size``; `panel` is a measure, `size`
        how much the language was trained on.
    languages
        Names of the languages.
    item
        What `size` counts.
    """
    methods, measures = methods_of(table), _measures_of(table, "panel")
    sizes = table.drop_duplicates("language").set_index("language")["size"]
    codes = sorted(present(table, "language", languages), key=lambda code: (-sizes[code], code))
    row = 0.08 + 0.06 * len(methods) if len(codes) <= 10 else 0.05 + 0.045 * len(methods)
    row = max(row, 0.27)  # two lines of text
    figure = new_figure(PAGE, row * len(codes) + 1.15)
    axes = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    shifts = np.linspace(-0.36, 0.36, len(methods)) if len(methods) > 1 else [0.0]
    for axis, measure in zip(axes, measures, strict=True):
        part = table[table["panel"] == measure]
        for place in range(0, len(codes), 2):
            axis.axhspan(place - 0.5, place + 0.5, color="#f2f2f2", linewidth=0, zorder=0)
        axis.axvline(0, color="black", linewidth=0.7, zorder=1)
        for method, shift in zip(methods, shifts, strict=True):
            drawn, style = part[part["method"] == method], METHODS[method]
            y = drawn["language"].map(codes.index) + shift
            axis.hlines(y, drawn["low"], drawn["high"], color=style.colour, linewidth=0.9)
            axis.plot(
                drawn["value"],
                y,
                linestyle="",
                color=style.colour,
                marker=style.marker,
                markersize=3.5 if len(codes) <= 10 else 2.8,
            )
        axis.set_ylim(len(codes) - 0.5, -0.5)
        axis.set_title(MEASURES[measure].task)
        axis.set_xlabel(f"gain over the source ({MEASURES[measure].unit})")
        axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
    names = [f"{named(code, languages)}\n{plain(sizes[code])}" for code in codes]
    axes[0].set_yticks(range(len(codes)), names)
    axes[0].set_ylabel(f"languages by {item}")
    figure.legend(handles=method_handles(methods), loc="outside upper center", ncols=3)
    return figure


def method_handles(
    methods: Sequence[str], looks: Mapping[str, Method] = METHODS, *, line: Any = ""
) -> list[Line2D]:
    """Return what a legend shows of methods: colour, marker and perhaps line beside their names."""
    return [
        Line2D(
            [],
            [],
            linestyle=line,
            color=looks[name].colour,
            marker=looks[name].marker,
            label=looks[name].name,
        )
        for name in methods
    ]


@look()
def transfer_scatter(table: pd.DataFrame, tests: pd.DataFrame) -> Figure:
    """Draw one point per method and pair of languages: RSIM against the scores across them.

    Parameters
    ----------
    table
        Columns ``panel, method, left, right, x, value``; `panel` is a measure, `x` is RSIM.
    tests
        Columns ``panel, kind, r, low, high, languages``, a row ``all`` and a row ``within`` per
        panel; NaN where there is no correlation or no interval.
    """
    methods, measures = methods_of(table), _measures_of(table, "panel")
    columns = len(measures) if len(measures) < 4 else 2 if len(measures) == 4 else 3
    lines = -(-len(measures) // columns)
    figure = new_figure(PAGE, 2.5 * lines + 0.45)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True)
    for spare in grid.flat[len(measures) :]:
        figure.delaxes(spare)
    pairs = len(table[["left", "right"]].drop_duplicates())
    for axis, measure in zip(grid.flat, measures, strict=False):
        part = table[table["panel"] == measure]
        for method in methods:
            points, style = part[part["method"] == method], METHODS[method]
            axis.plot(
                points["x"],
                points["value"],
                linestyle="",
                color=style.colour,
                marker=style.marker,
                markersize=4.5 if pairs <= 30 else 2.5,
                markeredgewidth=0,
                alpha=0.85 if pairs <= 30 else 0.5,
            )
        found = {row["kind"]: row for row in tests[tests["panel"] == measure].to_dict("records")}
        axis.set_title(
            f"{MEASURES[measure].task}\nr = {_with_interval(found['all'])}"
            f"\nwithin: {_with_interval(found['within'])}"
        )
        axis.set_ylabel(MEASURES[measure].title.split("\n")[1])
        axis.tick_params(labelbottom=True)
        axis.set_xlabel("RSIM")
    figure.legend(handles=method_handles(methods), loc="outside upper center", ncols=4)
    return figure


def _with_interval(test: Mapping[Any, Any]) -> str:
    """Write a correlation with its interval, or that there is none."""
    if pd.isna(test["r"]):
        return "not defined"
    text = f"{test['r']:.2f}"
    if pd.notna(test["low"]):
        text += f" [{test['low']:.2f}, {test['high']:.2f}]"
    return text.replace("-", "−")
