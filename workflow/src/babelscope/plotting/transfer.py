"""Annotated matrices of what masks are worth in other languages and for other tasks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure

from babelscope.plotting.matrices import (
    annotate,
    fit_texts,
    frame_cells,
    log_limits,
    ratio_limits,
)
from babelscope.plotting.metrics import SCALES, TASKS, Scale
from babelscope.plotting.style import (
    DIVERGING,
    PAGE,
    SEQUENTIAL,
    Rows,
    look,
    named,
    new_figure,
    plain,
    plain_ticks,
    present,
)

CONTROLS = {
    "full": "full model",
    "untrained": "largest untrained weights",
    "random": "random mask",
    "reinitialized": "own ticket, random weights",
}
"""Rows below those of the tickets, in order."""


@look()
def transfer_matrix(table: pd.DataFrame, languages: Rows, *, metric: str) -> Figure:
    """Draw how much each language loses under other languages' tickets, and under controls.

    Parameters
    ----------
    table
        Columns ``mask, language, value, change, change_low, change_high``: `mask` is a language or
        a key of `CONTROLS`; `change` is against the own ticket, as `metric` counts changes. Where
        `mask` is `language`, the cell shows `value`, the own ticket's score.
    languages
        Names of the languages.
    metric
        A key of :data:`babelscope.plotting.metrics.SCALES`.
    """
    codes = present(table, "language", languages)
    masks = {code: f"{named(code, languages)} ticket" for code in codes} | CONTROLS
    rows = _rows(table, masks)
    figure = new_figure(PAGE, 0.3 * len(rows) + 1.3)
    axis = figure.subplots()
    own = [code in codes and code in rows for code in codes]
    _changes(
        figure,
        axis,
        table,
        rows={row: masks[row] for row in rows},
        codes=codes,
        languages=languages,
        scale=SCALES[metric],
        own=[
            (rows.index(code), codes.index(code))
            for code, there in zip(codes, own, strict=True)
            if there
        ],
    )
    axis.set_xlabel("trained and scored on")
    fit_texts(figure)
    return figure


@look()
def task_transfer_matrices(
    table: pd.DataFrame, languages: Rows, *, metrics: Mapping[str, str]
) -> Figure:
    """Draw how much each task loses under other tasks' tickets of the same language.

    Parameters
    ----------
    table
        Columns ``task, mask, language, value, change, change_low, change_high``: `task` is trained
        and scored; `mask` is the task whose ticket it is, or a key of `CONTROLS`.
    languages
        Names of the languages.
    metrics
        The metric of each task: a key of :data:`babelscope.plotting.metrics.SCALES`.
    """
    tasks = [task for task in TASKS if task in set(table["task"])]
    codes = present(table, "language", languages)
    masks = {task: f"{name} ticket" for task, name in TASKS.items()} | CONTROLS
    heights = [len(_rows(table[table["task"] == task], masks)) for task in tasks]
    figure = new_figure(PAGE, sum(0.3 * height + 0.45 for height in heights) + 0.8)
    axes = figure.subplots(
        len(tasks), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    for axis, task in zip(axes, tasks, strict=True):
        part = table[table["task"] == task]
        rows = _rows(part, masks)
        _changes(
            figure,
            axis,
            part,
            rows={row: masks[row] for row in rows},
            codes=codes,
            languages=languages,
            scale=SCALES[metrics[task]],
            own=[(rows.index(task), column) for column in range(len(codes))]
            if task in rows
            else [],
        )
        axis.set_title(f"trained for and scored on {TASKS[task]}")
    fit_texts(figure)
    return figure


def _rows(table: pd.DataFrame, masks: Mapping[str, str]) -> list[str]:
    unknown = set(table["mask"]) - set(masks)
    if unknown:
        raise ValueError(f"unknown masks: {sorted(unknown)}")
    return [mask for mask in masks if mask in set(table["mask"])]


def _changes(
    figure: Figure,
    axis: Axes,
    table: pd.DataFrame,
    *,
    rows: Mapping[str, str],
    codes: Sequence[str],
    languages: Rows,
    scale: Scale,
    own: Sequence[tuple[int, int]],
) -> None:
    """Draw one matrix of changes, red where worse, the own ticket's cells framed."""
    grids = {
        name: _grid(table, "mask", name, list(rows), codes)
        for name in ("value", "change", "change_low", "change_high")
    }
    none = 1.0 if scale.ratio else 0.0
    change = grids["change"]
    colours = np.array(change)
    for row, column in own:
        colours[row, column] = none
    usual = [number for number, row in enumerate(rows) if row not in ("random", "reinitialized")]
    limits = _limits(colours[usual], scale)
    digits = 1
    if scale.ratio:  # enough for different colours to have different numbers
        digits = 3 if limits[1] - limits[0] < 0.2 else 2
    texts = [
        [_change_text(*cell, scale=scale, digits=digits) for cell in zip(*line, strict=True)]
        for line in zip(change, grids["change_low"], grids["change_high"], strict=True)
    ]
    for row, column in own:
        texts[row][column] = _value_text(grids["value"][row, column], scale)
    norm: Normalize = LogNorm(*limits) if scale.ratio else TwoSlopeNorm(0, *limits)
    image = annotate(
        axis,
        colours,
        texts,
        list(rows.values()),
        [named(code, languages) for code in codes],
        cmap=DIVERGING if not scale.higher_is_better else DIVERGING.removesuffix("_r"),
        norm=norm,
    )
    frame_cells(axis, image, own)
    beyond = (np.nanmin(colours) < limits[0], np.nanmax(colours) > limits[1])
    bar = figure.colorbar(
        image, ax=axis, label=scale.change, shrink=0.9, extend=_EXTEND[beyond], aspect=15
    )
    if scale.ratio:
        ticks = plain_ticks(*limits)
        bar.set_ticks(ticks, labels=[plain(tick) for tick in ticks])
        bar.ax.minorticks_off()


_EXTEND: dict[tuple[Any, Any], Any] = {
    (False, False): "neither",
    (True, False): "min",
    (False, True): "max",
    (True, True): "both",
}


def _grid(
    table: pd.DataFrame, index: str, value: str, rows: Sequence[str], codes: Sequence[str]
) -> np.ndarray:
    """Return the cells of a matrix, shape (rows, languages), NaN where there is no score."""
    wide = table.pivot(index=index, columns="language", values=value)
    return wide.reindex(index=list(rows), columns=list(codes)).to_numpy(dtype=float)


def _limits(changes: np.ndarray, scale: Scale) -> tuple[float, float]:
    """Return limits of colours about no change, without the tenth of changes farthest from it."""
    if scale.ratio:
        return ratio_limits(changes)
    span = max(float(np.nanquantile(np.abs(changes), 0.9)), 1.0)
    return -span, span


def _change_text(change: float, low: float, high: float, *, scale: Scale, digits: int) -> str:
    """Write a change with its sign, and a star where its interval does not contain 'no change'."""
    if scale.ratio:
        text = f"{change:.{digits}f}" if change < 10 else f"{change:.1f}"
    else:
        text = f"{change:+.{digits}f}".replace("-", "−")
    return text + _star(low, high, scale)


def _star(low: float, high: float, scale: Scale) -> str:
    """Return a star if an interval does not contain 'no change': 0, or a ratio of 1."""
    none = 1.0 if scale.ratio else 0.0
    return "*" if low > none or high < none else ""


def _value_text(value: float, scale: Scale) -> str:
    """Write a score."""
    digits = 2 if scale.ratio and value < 10 else (1 if value < 100 else 0)
    return f"{value:.{digits}f}" + ("" if scale.ratio else " %")


@look()
def zero_shot_matrices(table: pd.DataFrame, languages: Rows, *, metric: str) -> Figure:
    """Draw the scores on languages that a network was not trained on, full model and own ticket.

    Parameters
    ----------
    table
        Columns ``mask, trained_on, language, value, low, high, change_low, change_high``: `mask` is
        ``full`` or ``ticket``, the one found with `trained_on`. Cells where both languages are one
        are framed; a star marks a ticket whose change to the full model has an interval without
        zero (of ratios: one).
    languages
        Names of the languages.
    metric
        A key of :data:`babelscope.plotting.metrics.SCALES`.
    """
    scale = SCALES[metric]
    codes = present(table, "language", languages)
    names = [named(code, languages) for code in codes]
    titles = {"full": "full model", "ticket": "the training language's ticket"}
    table = table.assign(
        half=(table["high"] - table["low"]) / 2,
        star=[
            _star(low, high, scale) if mask == "ticket" else ""
            for mask, low, high in table[["mask", "change_low", "change_high"]].to_numpy()
        ],
    )
    parts = {
        mask: {
            column: table[table["mask"] == mask]
            .pivot(index="trained_on", columns="language", values=column)
            .reindex(index=codes, columns=codes)
            .to_numpy()
            for column in ("value", "half", "star")
        }
        for mask in titles
    }
    if any(pd.isna(part["value"]).all() for part in parts.values()):
        raise ValueError("no scores of the full model, or of tickets")
    beside = len(codes) <= 6
    if beside:
        figure = new_figure(PAGE, 0.32 * len(codes) + 1.75)
        axes = figure.subplots(1, 2, sharey=True)
    else:
        figure = new_figure(PAGE, 0.6 * len(codes) + 2.0)
        axes = figure.subplots(2, 1, sharex=True)
    both = np.concatenate([part["value"] for part in parts.values()])
    limits = log_limits(both) if scale.ratio else (0.0, 100.0)
    norm: Normalize = LogNorm(*limits) if scale.ratio else Normalize(*limits)
    image = None
    for axis, (mask, title) in zip(axes, titles.items(), strict=True):
        texts = [
            [_with_half(*cell, scale=scale) for cell in zip(*line, strict=True)]
            for line in zip(*parts[mask].values(), strict=True)
        ]
        image = annotate(
            axis, parts[mask]["value"], texts, names, names, cmap=SEQUENTIAL, norm=norm
        )
        frame_cells(axis, image, [(place, place) for place in range(len(codes))])
        axis.set_title(title)
        axis.set_ylabel("trained on" if mask == "full" or not beside else "")
        axis.set_xlabel("scored on" if mask == "ticket" or beside else "")
    assert image is not None
    beyond = (False, bool(np.nanmax(both) > limits[1]))
    bar = figure.colorbar(
        image, ax=list(axes), label=scale.label, shrink=0.8, extend=_EXTEND[beyond]
    )
    if scale.ratio:
        ticks = plain_ticks(*limits)
        bar.set_ticks(ticks, labels=[plain(tick) for tick in ticks])
        bar.ax.minorticks_off()
    fit_texts(figure)
    return figure


def _with_half(value: float, half: float, star: str, *, scale: Scale) -> str:
    """Write a score, perhaps with a star, and half of its interval in two lines."""
    digits = 2 if scale.ratio and value < 10 else (1 if value < 100 else 0)
    return f"{value:.{digits}f}{star}\n±{half:.{digits}f}"
