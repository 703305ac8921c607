"""What networks score in context, language by language: accuracies, gaps and changes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from babelscope.plotting.methods import method_handles
from babelscope.plotting.networks import NETWORKS, REFERENCES, networks_of
from babelscope.plotting.style import GREY, PAGE, SMALL, Rows, look, named, new_figure, present

TASKS = {
    "xnli": "XNLI",
    "pawsx": "PAWS-X",
    "xcopa": "XCOPA",
    "xstorycloze": "XStoryCloze",
    "xwinograd": "XWinograd",
}
"""The tasks in the order in which they are shown, as figures name them."""

MEAN = "mean"
STRIPE = "#f2f2f2"


def _corpora_of(table: pd.DataFrame) -> dict[str, str]:
    """Return the names of the corpora of a table, with that of the corpus if a task has several."""
    unknown = set(table["task"]) - set(TASKS)
    if unknown or table.empty:
        raise ValueError(f"tasks without a name: {sorted(map(str, unknown))}")
    found = table[["task", "corpus"]].drop_duplicates()
    found = sorted(found.to_numpy().tolist(), key=lambda row: list(TASKS).index(row[0]))
    tasks = [task for task, _ in found]
    return {
        corpus: TASKS[task] if tasks.count(task) == 1 else f"{TASKS[task]}\n{corpus}"
        for task, corpus in found
    }


def shots_named(shots: int) -> str:
    """Return how figures name a number of examples in the prompt."""
    return {0: "no examples", 1: "1 example"}.get(shots, f"{shots} examples")


@look()
def language_dots(table: pd.DataFrame, languages: Rows, *, xlabel: str) -> Figure:
    """Draw a point with its interval per language and network: a row of panels per corpus.

    Panels of a row, one per number of examples in the prompt, share their scale.

    Parameters
    ----------
    table
        Columns ``task, corpus, shots, language, network, seed, value, low, high, star`` and perhaps
        ``chance``, what a guess is right in, drawn as a line; without it there is a line at zero.
        Rows of seed ``all`` are the marks, the others are drawn small; a star stands beside a clear
        difference. The language ``all`` is the mean, at the bottom.
    languages
        Names of the languages.
    xlabel
        What the values are, with their unit.
    """
    networks, corpora = networks_of(table), _corpora_of(table)
    shots = sorted(table["shots"].unique())
    codes = {corpus: _codes(table[table["corpus"] == corpus], languages) for corpus in corpora}
    most = max(map(len, codes.values()))
    step = (0.08 + 0.06 * len(networks)) if most <= 8 else (0.05 + 0.045 * len(networks))
    heights = [step * len(some) + 0.1 for some in codes.values()]
    figure = new_figure(PAGE, sum(heights) + 0.3 * len(corpora) + 0.75)
    grid = figure.subplots(
        *(len(corpora), len(shots)),
        squeeze=False,
        sharex="row",
        sharey="row",
        gridspec_kw={"height_ratios": heights},
    )
    for line, corpus in zip(grid, corpora, strict=True):
        part = table[table["corpus"] == corpus]
        for axis, count in zip(line, shots, strict=True):
            _dots(axis, part[part["shots"] == count], codes[corpus], networks)
            if axis in grid[0]:
                axis.set_title(shots_named(int(count)))
        names = [MEAN if code == "all" else named(code, languages) for code in codes[corpus]]
        line[0].set_yticks(range(len(names)), names)
        line[0].set_ylim(len(names) - 0.5, -0.5)
        line[0].set_ylabel(corpora[corpus], fontweight="bold")
        line[0].xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    figure.supxlabel(xlabel)
    handles: list[Any] = method_handles(networks, NETWORKS)
    if "chance" in table:
        handles.append(Line2D([], [], **REFERENCES["chance"]))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def _codes(table: pd.DataFrame, languages: Rows) -> list[str]:
    """Return the languages of a table in their order, and the mean over them last."""
    single = table[table["language"] != "all"]
    return [*present(single, "language", languages), *["all"][: len(single) < len(table)]]


def _dots(axis: Axes, part: pd.DataFrame, codes: Sequence[str], networks: Sequence[str]) -> None:
    """Draw one panel of `language_dots`."""
    for place in range(0, len(codes), 2):
        axis.axhspan(place - 0.5, place + 0.5, color=STRIPE, linewidth=0, zorder=0)
    if "chance" in part:
        for chance in part["chance"].unique():
            axis.axvline(chance, **REFERENCES["chance"])
    else:
        axis.axvline(0, color="black", linewidth=0.7, zorder=1)
    for network, shift in zip(networks, _shifts(len(networks)), strict=True):
        drawn = part[part["network"] == network]
        _marks(axis, drawn, drawn["language"].map(codes.index) + shift, network)
    if "all" in codes:
        axis.axhline(len(codes) - 1.5, color=GREY, linewidth=0.6, zorder=0)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)


def _shifts(count: int) -> Sequence[float]:
    """Return how far marks of one row stand from its middle."""
    return np.linspace(-0.34, 0.34, count).tolist() if count > 1 else [0.0]


def _marks(axis: Axes, drawn: pd.DataFrame, y: pd.Series, network: str) -> None:
    """Draw a network's points with intervals, seeds and stars at some heights."""
    style, pooled = NETWORKS[network], drawn["seed"] == "all"
    marks, height = drawn[pooled], y[pooled]
    axis.plot(
        drawn.loc[~pooled, "value"],
        y[~pooled],
        linestyle="",
        color=style.colour,
        marker="|",
        markersize=3,
        markeredgewidth=0.7,
        zorder=2,
    )
    axis.hlines(height, marks["low"], marks["high"], color=style.colour, linewidth=0.9)
    axis.plot(
        marks["value"],
        height,
        linestyle="",
        color=style.colour,
        marker=style.marker,
        markersize=3.5,
        markeredgewidth=0,
        zorder=3,
    )
    for high, at in zip(marks.loc[marks["star"], "high"], height[marks["star"]], strict=True):
        note = {"textcoords": "offset points", "fontsize": SMALL, "va": "center"}
        axis.annotate("*", (high, at), (2, -1.5), annotation_clip=False, **note)


@look()
def change_dots(table: pd.DataFrame, *, prompts: Mapping[str, str]) -> Figure:
    """Draw the mean change of each network: a panel per corpus and kind of prompt.

    Parameters
    ----------
    table
        Columns ``task, corpus, prompts, shots, network, seed, value, low, high, star``; see
        `language_dots`. Beside each mark stands its value.
    prompts
        The rows of panels in order: value of the column ``prompts`` and its name.
    """
    networks, corpora = networks_of(table), _corpora_of(table)
    shots = sorted(table["shots"].unique())
    height = (0.14 * len(networks) + 0.08) * len(shots) + 0.1
    figure = new_figure(PAGE, (height + 0.35) * len(prompts) + 0.75)
    grid = figure.subplots(len(prompts), len(corpora), squeeze=False, sharex="col", sharey=True)
    for line, (kind, name) in zip(grid, prompts.items(), strict=True):
        for axis, corpus in zip(line, corpora, strict=True):
            part = table[(table["prompts"] == kind) & (table["corpus"] == corpus)]
            if part.empty:
                raise ValueError(f"nothing to draw of {corpus} with prompts {kind!r}")
            for place in range(0, len(shots), 2):
                axis.axhspan(place - 0.5, place + 0.5, color=STRIPE, linewidth=0, zorder=0)
            axis.axvline(0, color="black", linewidth=0.7, zorder=1)
            for network, shift in zip(networks, _shifts(len(networks)), strict=True):
                drawn = part[part["network"] == network]
                _marks(
                    axis, drawn.assign(star=False), drawn["shots"].map(shots.index) + shift, network
                )
                for row in drawn[drawn["seed"] == "all"].to_dict("records"):
                    text = f"{row['value']:+.1f}".replace("-", "−") + "*" * bool(row["star"])
                    axis.annotate(
                        text,
                        (row["high"], shots.index(row["shots"]) + shift),
                        xytext=(3, 0),
                        textcoords="offset points",
                        va="center",
                        fontsize=SMALL,
                    )
            axis.tick_params(axis="y", length=0)
            axis.spines["left"].set_visible(False)
            if axis in grid[0]:
                axis.set_title(corpora[corpus])
        line[0].set_ylabel(name)
    grid[0, 0].set_yticks(range(len(shots)), [shots_named(int(count)) for count in shots])
    grid[0, 0].set_ylim(len(shots) - 0.5, -0.5)
    for column, corpus in zip(grid.T, corpora, strict=True):
        part = table[table["corpus"] == corpus]
        low, high = min(part["low"].min(), 0.0), max(part["high"].max(), 0.0)
        room = max(high - low, 2.0)
        column[0].set_xlim(low - 0.08 * room, high + (0.1 + 0.08 * len(corpora)) * room)
        column[0].xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    figure.supxlabel("change in accuracy, mean over languages (points)")
    handles = method_handles(networks, NETWORKS)
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure
