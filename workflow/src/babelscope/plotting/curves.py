"""Curves over something that is not a layer: what is removed or kept, steps, languages."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from babelscope.plotting.metrics import SCALES, TASKS
from babelscope.plotting.style import (
    COLUMN,
    GREY,
    PAGE,
    SMALL,
    Rows,
    language_legend,
    look,
    named,
    new_figure,
    panels,
    plain,
    plain_ticks,
    present,
)

# The ways of finding a ticket: name, and how its line looks; None is the language's colour.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "ticket": ("ticket", {"color": None, "linestyle": "-", "marker": "o"}),
    "repeat": (
        "ticket, second draw",
        {"color": None, "linestyle": "--", "marker": "o", "markerfacecolor": "white"},
    ),
    "component": (
        "pruned within each matrix",
        {"color": None, "linestyle": ":", "marker": "s"},
    ),
    "early": (
        "rewound to an early step",
        {"color": None, "linestyle": "-.", "marker": "^", "markerfacecolor": "white"},
    ),
    "unrewound": (
        "not rewound",
        {"color": GREY, "linestyle": "-.", "marker": "D", "markerfacecolor": "white"},
    ),
    "random": ("random weights kept", {"color": GREY, "linestyle": "--", "marker": "X"}),
}


@look()
def performance_curves(table: pd.DataFrame, languages: Rows, *, metric: str) -> Figure:
    """Draw a task's score against the share of weights kept, one panel per language.

    Parameters
    ----------
    table
        Columns ``language, variant, kept, value, low, high``: `kept` in percent; `variant` is
        ``full`` for the full model, a line across the panel, or a key of `VARIANTS`.
    languages
        Names and colours.
    metric
        A key of :data:`babelscope.plotting.metrics.SCALES`.
    """
    scale = SCALES[metric]
    codes = present(table, "language", languages)
    unknown = set(table["variant"]) - {"full", *VARIANTS}
    if unknown:
        raise ValueError(f"unknown variants: {sorted(unknown)}")
    shown = [name for name in VARIANTS if name in set(table["variant"])]
    figure, axes = panels(len(codes), columns=4, width=PAGE, height=2.0)
    for axis, code in zip(axes, codes, strict=True):
        part = table[table["language"] == code]
        for row in part[part["variant"] == "full"].to_dict("records"):
            axis.axhspan(row["low"], row["high"], color=GREY, alpha=0.15, linewidth=0, zorder=0)
            axis.axhline(row["value"], color=GREY, linewidth=0.8, zorder=0)
        if scale.chance is not None:
            axis.axhline(scale.chance, color="black", linewidth=0.8, linestyle=":", zorder=0)
        for variant in shown:
            curve = part[part["variant"] == variant].sort_values("kept")
            if curve.empty:
                raise ValueError(f"no values of {variant!r} for {code}")
            style = dict(VARIANTS[variant][1])
            style["color"] = style["color"] or languages[code]["colour"]
            axis.fill_between(
                curve["kept"],
                curve["low"],
                curve["high"],
                color=style["color"],
                alpha=0.12,
                linewidth=0,
            )
            axis.plot(curve["kept"], curve["value"], markersize=3.5, **style)
        axis.set_title(named(code, languages))
    kept = table[table["variant"] != "full"]["kept"]
    axes[0].set_xlim(max(100, kept.max()) + 3, kept.min() - 3)  # more is removed to the right
    axes[0].xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    if scale.ratio:
        axes[0].set_yscale("log")
        _plain_log(axes[0])
    else:
        axes[0].yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    figure.supxlabel("weights kept (%)")
    figure.supylabel(scale.label)
    legend = _variant_legend(shown, chance=scale.chance)
    figure.legend(handles=legend, ncols=5 if len(legend) < 6 else 4, loc="outside upper center")
    return figure


def _variant_legend(shown: list[str], *, chance: float | None) -> list[Any]:
    """Return what the lines of `performance_curves` are, in black where a language's colour is."""
    handles: list[Any] = []
    for variant in shown:
        name, style = VARIANTS[variant]
        look = {**style, "color": style["color"] or "black"}
        handles.append(Line2D([], [], label=name, markersize=3.5, **look))
    handles.append(Line2D([], [], label="full model", color=GREY, linewidth=0.8))
    if chance is not None:
        handles.append(Line2D([], [], label="chance", color="black", linewidth=0.8, linestyle=":"))
    return handles


@look()
def shared_curves(table: pd.DataFrame) -> Figure:
    """Draw what the tickets of more and more languages have in common, and what any of them keeps.

    Parameters
    ----------
    table
        Columns ``task, operation, languages, value, low, high, expected``: `operation` is
        ``intersection`` or ``union`` of the tickets of so many `languages`; shares of the prunable
        weights in percent, `expected` by chance for tickets of the same sizes.
    """
    operations = {
        "union": ("kept by any", "#0072b2", "s"),
        "intersection": ("kept by all", "#d55e00", "o"),
    }
    tasks = [task for task in TASKS if task in set(table["task"])]
    figure, axes = panels(len(tasks), columns=3, width=PAGE, height=2.3)
    for axis, task in zip(axes, tasks, strict=True):
        for operation, (_, colour, marker) in operations.items():
            curve = table[(table["task"] == task) & (table["operation"] == operation)]
            if curve.empty:
                raise ValueError(f"no {operation} for {task}")
            curve = curve.sort_values("languages")
            axis.fill_between(
                curve["languages"],
                curve["low"],
                curve["high"],
                color=colour,
                alpha=0.2,
                linewidth=0,
            )
            axis.plot(curve["languages"], curve["value"], color=colour, marker=marker)
            axis.plot(curve["languages"], curve["expected"], color=colour, linestyle=":")
        axis.set_title(TASKS[task])
        axis.set_xlabel("languages")
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes[0].set_ylim(0, 100)
    axes[0].set_ylabel("prunable weights (%)")
    handles: list[Any] = [
        Line2D([], [], color=colour, marker=marker, label=name)
        for name, colour, marker in operations.values()
    ]
    handles.append(Line2D([], [], color="black", linestyle=":", label="by chance"))
    handles.append(Patch(facecolor=GREY, alpha=0.3, label="range over choices"))
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure


@look()
def trajectories(
    table: pd.DataFrame,
    languages: Rows,
    *,
    ratios: Mapping[str, float],
    sparsities: Mapping[str, float],
) -> Figure:
    """Draw how perplexity grows as heads are removed, one curve per language.

    Parameters
    ----------
    table
        Columns ``language, sparsity, value, low, high``: share of heads removed, 0 to 1, and
        perplexity as a multiple of the full model's, with the range over draws and seeds.
    languages
        Names, colours and markers.
    ratios, sparsities
        Thresholds of the budgets by perplexity and by sparsity, by name; drawn as lines.
    """
    figure = new_figure(COLUMN, 2.5)
    axis = figure.subplots()
    for code in present(table, "language", languages):
        curve = table[table["language"] == code].sort_values("sparsity")
        style = languages[code]
        share = 100 * curve["sparsity"]
        axis.fill_between(
            share, curve["low"], curve["high"], color=style["colour"], alpha=0.18, linewidth=0
        )
        axis.plot(
            share,
            curve["value"],
            color=style["colour"],
            marker=style["marker"],
            label=named(code, languages),
        )
    note = {"textcoords": "offset points", "fontsize": SMALL, "color": GREY}
    for name, ratio in ratios.items():
        axis.axhline(ratio, color=GREY, linestyle="--", linewidth=0.7, zorder=0)
        axis.annotate(
            name, (0, ratio), (3, 2), va="bottom", xycoords=axis.get_yaxis_transform(), **note
        )
    for name, sparsity in sparsities.items():
        axis.axvline(100 * sparsity, color=GREY, linestyle="--", linewidth=0.7, zorder=0)
        axis.annotate(
            name,
            (100 * sparsity, 1),
            (0, 2),
            ha="center",
            xycoords=axis.get_xaxis_transform(),
            **note,
        )
    axis.set_yscale("log")
    _plain_log(axis)
    axis.set_xlabel("heads removed (%)")
    axis.set_ylabel("perplexity / full model's")
    language_legend(figure, axis)
    return figure


def _plain_log(axis: Axes) -> None:
    """Label a logarithmic vertical axis with a few plain numbers."""
    ticks = plain_ticks(*axis.get_ylim())
    axis.set_yticks(ticks, [plain(tick) for tick in ticks])
    axis.minorticks_off()


@look()
def training_curves(table: pd.DataFrame, languages: Rows, *, runs: Mapping[str, str]) -> Figure:
    """Draw the loss over the steps of each training: of the batches, and validation per language.

    Where a training was validated once only, the languages' marks stand side by side, before that
    step and at it.

    Parameters
    ----------
    table
        Columns ``run, language, step, value, low, high``; `language` is ``train`` for the loss of
        the training batches, and `value` is in nats per masked token.
    languages
        Names, colours and markers.
    runs
        The panels in order: value of the column ``run`` and its title.
    """
    figure = new_figure(PAGE, 2.7)
    axes = figure.subplots(1, len(runs), sharey=True, squeeze=False)[0]
    for axis, (run, title) in zip(axes, runs.items(), strict=True):
        part = table[table["run"] == run]
        batches = part[part["language"] == "train"].sort_values("step")
        if part.empty:
            raise ValueError(f"nothing to draw in panel {title!r}")
        axis.plot(
            batches["step"], batches["value"], color=GREY, linewidth=0.9, label="training batches"
        )
        held_out = part[part["language"] != "train"]
        codes = present(held_out, "language", languages)
        first, last = part["step"].min(), part["step"].max()
        for number, code in enumerate(codes):
            curve = held_out[held_out["language"] == code].sort_values("step")
            style = languages[code]
            step = curve["step"]
            if len(curve) == 1:  # markers at one step would cover each other
                step = step - (len(codes) - 1 - number) * (last - first) / 24
            axis.fill_between(
                step, curve["low"], curve["high"], color=style["colour"], alpha=0.18, linewidth=0
            )
            axis.plot(
                step,
                curve["value"],
                color=style["colour"],
                marker=style["marker"],
                label=named(code, languages),
            )
        axis.set_title(title)
        axis.set_xlabel("optimizer steps")
    axes[0].set_ylabel("loss (nats per masked token)")
    (batches, *rest), (name, *names) = axes[0].get_legend_handles_labels()
    heading = Line2D([], [], linestyle="")
    handles, labels = [batches, heading, *rest], [name, "validation text:", *names]
    figure.legend(handles, labels, loc="outside right upper")
    return figure
