import csv
import itertools
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.colors import to_rgb

from babelscope.plotting import style


def drawing():
    with style.look():
        figure = style.new_figure(style.COLUMN, 2)
        figure.subplots().plot([1, 2], [3, 4])
    return figure, pd.DataFrame({"x": [1, 2], "y": [3, 4]})


def test_a_figure_is_saved_thrice_and_the_same_bytes_come_again(tmp_path):
    for name in ("a", "b"):
        style.save_figure(*drawing(), tmp_path / name / "figure.png")
    for suffix in ("pdf", "png", "csv"):
        first = (tmp_path / "a" / f"figure.{suffix}").read_bytes()
        assert first == (tmp_path / "b" / f"figure.{suffix}").read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "figure.csv",
        "figure.pdf",
        "figure.png",
    ]


def test_text_in_a_pdf_is_text_with_its_font(tmp_path):
    style.save_figure(*drawing(), tmp_path / "figure.pdf")
    content = (tmp_path / "figure.pdf").read_bytes()
    assert b"/Type3" not in content
    assert b"/CreationDate" not in content
    assert b"DejaVuSans" in content


def test_a_failed_figure_leaves_nothing_behind(tmp_path):
    figure, table = drawing()
    figure.savefig = lambda *args, **kwargs: (_ for _ in ()).throw(RuntimeError("no"))
    with pytest.raises(RuntimeError):
        style.save_figure(figure, table, tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())


def test_languages_are_shown_in_the_given_order(languages):
    table = pd.DataFrame({"language": ["zh", "en", "zh"]})
    assert style.present(table, "language", languages) == ["en", "zh"]
    assert style.named("zh", languages) == "Chinese (zh)"


def test_a_language_without_a_row_is_an_error(languages):
    with pytest.raises(ValueError, match="xx"):
        style.present(pd.DataFrame({"language": ["xx"]}), "language", languages)


def test_no_panel_is_left_empty():
    figure, axes = style.panels(7, columns=4, width=7, height=1)
    assert len(axes) == len(figure.axes) == 7
    assert axes[3].xaxis.get_tick_params()["labelbottom"]  # the lowest of its column


def test_the_embedding_layer_is_named():
    figure = style.new_figure(3, 2)
    axis = figure.subplots()
    style.layer_ticks(axis, 24)
    texts = [label.get_text() for label in axis.get_xticklabels()]
    assert texts[0] == "emb"
    assert len(texts) <= 8


def test_every_language_has_a_colour_and_a_marker_of_its_own(request):
    with (request.config.rootpath / "config/languages.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len({row["marker"] for row in rows}) == len(rows)
    for one, other in itertools.combinations(rows, 2):
        distance = np.abs(np.subtract(to_rgb(one["colour"]), to_rgb(other["colour"]))).max()
        assert distance > 0.1, (one["code"], other["code"])


# What a colour becomes without the cones of one kind, in linear RGB: Machado, Oliveira & Fernandes
# 2009, A Physiologically-based Model for Simulation of Color Vision Deficiency, severity 1.
COLOUR_VISION = {
    "all cones": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)  # of sRGB


def seen(colour: str, vision: str) -> np.ndarray:
    """Return how a colour looks, in CIELAB, where a difference of about 2 is just noticed."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    left = TO_XYZ @ np.clip(COLOUR_VISION[vision] @ linear, 0, 1) / TO_XYZ.sum(axis=1)
    x, y, z = np.where(left > 216 / 24389, np.cbrt(left), (24389 / 27 * left + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", COLOUR_VISION)
def test_languages_of_a_study_are_told_apart_without_cones_of_a_kind(vision, request):
    folder = request.config.rootpath / "config"
    with (folder / "languages.tsv").open(encoding="utf-8") as file:
        colours = {row["code"]: row["colour"] for row in csv.DictReader(file, delimiter="\t")}
    files = [*folder.glob("*.yaml"), *folder.glob("paper/*.yaml")]
    studies = [yaml.safe_load(path.read_text("utf-8")) for path in files]
    for study in studies:
        for one, other in itertools.combinations(study.get("languages", []), 2):
            difference = seen(colours[one], vision) - seen(colours[other], vision)
            assert np.linalg.norm(difference) > 10, (one, other)


def test_figures_need_no_display_and_no_model():
    """Neither pyplot, which keeps global state, nor torch nor scipy is imported."""
    code = (
        "import sys; sys.path.insert(0, 'workflow/src')\n"
        "from babelscope.plotting import bars, curves, layers, matrices, scatter\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}), 'matplotlib.pyplot' in"
        " sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not re.search(r"\b(torch|scipy|transformers|True)\b", found.stdout)


@pytest.mark.parametrize(
    ("low", "high"), [(0.4, 2.4), (0.95, 1.05), (95, 500), (95, 52000), (1, 1.8), (0.02, 4000)]
)
def test_ticks_of_a_logarithmic_scale_are_few_and_round(low, high):
    ticks = style.plain_ticks(low, high)
    assert 3 <= len(ticks) <= 11
    assert ticks == sorted(set(ticks))
    assert all(low <= tick <= high for tick in ticks)
    names = [style.plain(tick) for tick in ticks]
    assert len(set(names)) == len(names)
    assert all("e" not in name and len(name) <= 6 for name in names)


def test_a_figure_of_one_column_has_its_legend_below():
    with style.look():
        figure = style.new_figure(style.COLUMN, 2)
        axis = figure.subplots()
        for number in range(12):
            axis.plot([0, 1], [number, number], label=f"Portuguese (p{number})")
        style.language_legend(figure, axis)
        figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.x1
    assert legend.y1 <= axis.get_tightbbox().y0
    assert figure.get_figheight() > 2.5


def test_figures_have_a_printed_width_and_shared_sizes_of_text(request):
    """Then a size in points is the same size on paper, whichever figure it stands in."""
    folder = request.config.rootpath / "workflow/src/babelscope/plotting"
    for path in sorted(folder.glob("[!_]*.py")):
        text = path.read_text("utf-8")
        widths = re.findall(r"(?:new_figure\(|\swidth=)(\w+)", text)
        sizes = re.findall(r"\bfontsize\"?[=:]\s*(\w+)", text.replace("legend.fontsize", ""))
        assert set(widths) <= {"COLUMN", "PAGE", "width"}, path
        assert set(sizes) <= {"SMALL"}, path
