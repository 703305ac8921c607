"""Annotated matrices: languages against languages, and maps of heads."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from babelscope.plotting.style import (
    DIVERGING,
    PAGE,
    SEQUENTIAL,
    SMALL,
    Rows,
    look,
    named,
    new_figure,
    panels,
    plain,
    plain_ticks,
    present,
    readable_on,
)

COMBINED = ("intersection", "union")
GAP = 1.0  # points between the numbers of neighbouring cells, at least
STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


def annotate(
    axis: Axes,
    values: np.ndarray,
    texts: Sequence[Sequence[str]],
    rows: Sequence[str],
    columns: Sequence[str],
    **colours: Any,
) -> AxesImage:
    """Draw a matrix with a text in each cell; values that are not known stay white."""
    image = axis.imshow(np.ma.masked_invalid(values), aspect="auto", **colours)
    for row, column in np.argwhere(np.isfinite(values)).tolist():
        axis.text(
            column,
            row,
            texts[row][column],
            ha="center",
            va="center",
            fontsize=SMALL,
            color=readable_on(image.to_rgba(values[row, column])),
            linespacing=1.1,
        )
    axis.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(rows)), rows)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return image


def fit_texts(figure: Figure) -> None:
    """Leave out what cells of the drawn figure have no room for, in all cells alike.

    If a text of two lines is too large for its cell, every cell of the figure keeps its first
    line; if that is still too wide somewhere, no cell has a text, and colours alone are left.

    Parameters
    ----------
    figure
        Finished, with matrices from `annotate`: cells are measured as they are laid out.
    """
    matrices = [axis for axis in figure.axes if axis.images and axis.texts]
    if _fit(figure, matrices):
        return
    for axis in matrices:
        for text in axis.texts:
            text.set_text(text.get_text().split("\n")[0])
    if _fit(figure, matrices):
        return
    for axis in matrices:
        for text in list(axis.texts):
            text.remove()


def _fit(figure: Figure, matrices: Sequence[Axes]) -> bool:
    """Say whether every text lies within its cell, with `GAP` between it and the next."""
    figure.draw_without_rendering()  # lays the figure out
    gap = GAP * figure.dpi / 72  # pixels
    for axis in matrices:
        rows, columns = axis.images[0].get_size()
        box = axis.get_window_extent()
        for text in axis.texts:
            size = text.get_window_extent()
            if size.width + gap > box.width / columns or size.height > box.height / rows:
                return False
    return True


def _stars(p: float) -> str:
    return next((stars for limit, stars in STARS if p < limit), "")


def _nothing(number: float) -> str:
    return ""


def _strength(number: float) -> str:
    """Write how many standard deviations something is beyond chance."""
    return f"z {number:.1f}" if abs(number) < 10 else f"z {number:,.0f}"


@look()
def overlap_matrices(table: pd.DataFrame, languages: Rows, *, scores: bool = False) -> Figure:
    """Draw the Jaccard overlap of the languages' masks, and what of it is beyond chance.

    Parameters
    ----------
    table
        Columns ``left, right, jaccard, expected, excess, p``, one row per unordered pair;
        ``left == right`` are independent draws of one language, the most that two languages can be
        expected to share. `excess` is the Jaccard index less its expectation by chance. If there
        is a column ``untrained``, its mean is marked as what single masks share with the mask of
        the largest untrained weights.
    languages
        Names of the languages.
    scores
        Write the column ``z`` under what is beyond chance, instead of stars for ``p``: masks of
        single weights have so many elements that no p is above 0.001.
    """
    both = pd.DataFrame({"code": [*table["left"], *table["right"]]})
    codes = present(both, "code", languages)
    place = {code: number for number, code in enumerate(codes)}
    columns = ("jaccard", "excess", "z" if scores else "p")
    grids = {name: np.full((len(codes), len(codes)), np.nan) for name in columns}
    for row in table.itertuples():
        first, second = place[str(row.left)], place[str(row.right)]
        for name, grid in grids.items():
            grid[first, second] = grid[second, first] = getattr(row, name)
    names = [named(code, languages) for code in codes]
    if len(codes) <= 8:
        figure = new_figure(PAGE, 0.28 * len(codes) + 1.9)
        axes = figure.subplots(1, 2, sharey=True)
    else:  # cells of two panels side by side would be too narrow for their numbers
        figure = new_figure(PAGE, 0.56 * len(codes) + 2.6)
        axes = figure.subplots(2, 1, sharex=True)
    span = float(np.nanmax(np.abs(grids["excess"]))) or 1.0
    shared = "Jaccard index (line: chance)"
    untrained = float(table["untrained"].mean()) if "untrained" in table else float("nan")
    if np.isfinite(untrained):
        shared = f"{shared[:-1]};\ndashed: with the largest untrained weights, {untrained:.2f})"
    for axis, key, title, label, colours in (
        (
            axes[0],
            "jaccard",
            "overlap",
            shared,
            {"cmap": SEQUENTIAL, "vmin": 0, "vmax": 1},
        ),
        (
            axes[1],
            "excess",
            "overlap beyond chance",
            "Jaccard index less chance",
            {"cmap": DIVERGING, "norm": TwoSlopeNorm(0, -span, span)},
        ),
    ):
        sign = "+" if key == "excess" else ""
        note = _stars
        if scores:
            note = _strength if key == "excess" else _nothing
        texts = [
            [
                f"{value:{sign}.2f}\n{note(number)}".replace("-", "−").strip()
                for value, number in zip(*pair, strict=True)
            ]
            for pair in zip(grids[key], grids[columns[2]], strict=True)
        ]
        image = annotate(axis, grids[key], texts, names, names, **colours)
        frame_cells(axis, image, [(place, place) for place in range(len(codes))])
        axis.set_title(title)
        bar = figure.colorbar(image, ax=axis, label=label, location="bottom", shrink=0.8, aspect=30)
        if key == "jaccard":
            bar.ax.axvline(float(table["expected"].mean()), color="white", linewidth=1.5)
            if np.isfinite(untrained):
                colour = readable_on(image.to_rgba(np.asarray(untrained)))
                bar.ax.axvline(untrained, color=colour, linestyle=(0, (0.8, 0.6)), linewidth=1.5)
    fit_texts(figure)
    return figure


def frame_cells(axis: Axes, image: AxesImage, cells: Iterable[tuple[int, int]]) -> None:
    """Frame cells (row, column), where a language meets itself say, in a colour seen on them."""
    values = np.ma.asarray(image.get_array())
    for row, column in cells:
        if values[row, column] is np.ma.masked:  # nothing is known: a single draw of a language
            continue
        colour = readable_on(image.to_rgba(values[row, column]))
        corner = (column - 0.46, row - 0.46)
        axis.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, edgecolor=colour, linewidth=1.0))


@look()
def perplexity_matrix(table: pd.DataFrame, languages: Rows, *, relative: bool) -> Figure:
    """Draw the perplexity of every subnetwork on every language.

    Parameters
    ----------
    table
        Columns ``network, language, value, low, high, kept_least, kept_most, heads``: `network` is
        ``full``, a language, ``random``, ``intersection`` or ``union``; values are perplexities, or
        their ratios to the full model's. Of intersection and union the label says how many heads
        they keep, as a range where seeds differ.
    languages
        Names of the languages.
    relative
        Whether the values are ratios; then colours diverge from 1, where nothing was lost. The
        colours' limits come from the rows other than intersection and union, without the most
        extreme tenth; an arrow on the colour bar says that cells lie beyond.
    """
    columns = present(table, "language", languages)
    found = set(table["network"])
    own = [code for code in languages if code in found]
    kinds = {
        "full": "full model",
        **{code: f"{named(code, languages)} subnetwork" for code in own},
        "random": "random masks",
        "intersection": "intersection of all",
        "union": "union of all",
    }
    for kind in found.intersection(COMBINED):
        kinds[kind] += f"\n({_heads_kept(table[table['network'] == kind])})"
    rows = [kind for kind in kinds if kind in found]
    if found - set(kinds):
        raise ValueError(f"unknown networks: {sorted(found - set(kinds))}")

    def grid(column: str) -> np.ndarray:
        wide = table.pivot(index="network", columns="language", values=column)
        return wide.reindex(index=rows, columns=columns).to_numpy(
            dtype=float
        )  # (networks, languages)

    values = grid("value")
    half = (grid("high") - grid("low")) / 2
    texts = [
        [_with_error(*cell) for cell in zip(*line, strict=True)]
        for line in zip(values, half, strict=True)
    ]
    usual = values[[number for number, row in enumerate(rows) if row not in COMBINED]]
    limits = ratio_limits(usual) if relative else log_limits(usual)
    beyond = (np.nanmin(values) < limits[0], np.nanmax(values) > limits[1])
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max"}
    figure = new_figure(PAGE, 0.3 * len(rows) + 1.1)
    axis = figure.subplots()
    image = annotate(
        axis,
        values,
        texts,
        [kinds[row] for row in rows],
        [named(code, languages) for code in columns],
        cmap=DIVERGING if relative else SEQUENTIAL,
        norm=LogNorm(*limits),
    )
    if own == columns:
        first = rows.index(own[0])
        frame_cells(axis, image, [(first + place, place) for place in range(len(own))])
    axis.set_xlabel("test text")
    label = "perplexity / full model's" if relative else "perplexity"
    bar = figure.colorbar(
        image, ax=axis, label=label, shrink=0.9, extend=extend.get(beyond, "both")
    )
    ticks = plain_ticks(*limits)
    bar.set_ticks(ticks, labels=[plain(tick) for tick in ticks])
    bar.ax.minorticks_off()
    fit_texts(figure)
    return figure


def _heads_kept(rows: pd.DataFrame) -> str:
    """Write how many heads a network keeps: ``0 of 32 heads``, or ``0–2 of 32 heads``."""
    least, most = int(rows["kept_least"].min()), int(rows["kept_most"].max())
    kept = f"{least}" if least == most else f"{least}–{most}"
    return f"{kept} of {int(rows['heads'].max())} heads"


def log_limits(values: np.ndarray) -> tuple[float, float]:
    """Return limits of colours for perplexities, without the tenth that is largest."""
    low, high = float(np.nanmin(values)), float(np.nanquantile(values, 0.9))
    return low, max(high, low * 1.2)


def ratio_limits(values: np.ndarray) -> tuple[float, float]:
    """Return limits about 1 for ratios, without the tenth that is farthest from it."""
    span = max(float(np.nanquantile(np.abs(np.log(values)), 0.9)), np.log(1.05))
    return float(np.exp(-span)), float(np.exp(span))


def _with_error(value: float, half: float) -> str:
    """Write a value and the half-width of its interval in two lines."""
    digits = 2 if value < 10 else (1 if value < 100 else 0)
    text = f"{value:.{digits}f}"
    return f"{text}\n±{half:.{digits}f}" if np.isfinite(half) and half > 0 else text


@look()
def head_maps(table: pd.DataFrame, languages: Rows) -> Figure:
    """Draw which heads each language keeps, and how many languages share each head.

    Parameters
    ----------
    table
        Columns ``language, layer, head, kept``; `kept` is the share of independent draws (and
        seeds) in which the head stays, 0 to 1. Layers and heads count from 1.
    languages
        Names of the languages.
    """
    codes = present(table, "language", languages)
    grids = {
        code: table[table["language"] == code].pivot(index="layer", columns="head", values="kept")
        for code in codes
    }
    shared = sum(grid.to_numpy(dtype=float) for grid in grids.values())  # (layers, heads)
    layers, heads = grids[codes[0]].shape
    columns = 3 if len(codes) < 9 else 4
    height = max(1.0, (PAGE / columns - 0.6) * layers / heads) + 0.35
    figure, axes = panels(len(codes) + 1, columns=columns, width=PAGE, height=height)
    image = None
    for axis, code in zip(axes, codes, strict=False):
        image = axis.imshow(
            grids[code].to_numpy(dtype=float),
            origin="lower",
            cmap=SEQUENTIAL,
            vmin=0,
            vmax=1,
            aspect="auto",
            extent=(0.5, heads + 0.5, 0.5, layers + 0.5),
        )
        axis.set_title(named(code, languages))
    count = axes[-1].imshow(
        np.asarray(shared),
        origin="lower",
        cmap="viridis",
        vmin=0,
        vmax=len(codes),
        aspect="auto",
        extent=(0.5, heads + 0.5, 0.5, layers + 0.5),
    )
    axes[-1].set_title("languages that keep it")
    for axis in axes:
        axis.set_xticks(range(1, heads + 1, 1 + heads // 9))
        axis.set_yticks(range(1, layers + 1, 1 + layers // 9))
    figure.supxlabel("head")
    figure.supylabel("layer")
    assert image is not None
    label = "single languages: share of draws that keep the head"
    figure.colorbar(image, ax=axes, label=label, shrink=0.6, aspect=30)
    beside = axes[-1].inset_axes((1.04, 0, 0.05, 1))
    beside.set_in_layout(len(axes) % columns == 0)  # else it stands in the room of no panel
    figure.colorbar(count, cax=beside, ticks=MaxNLocator(4, integer=True))
    return figure
