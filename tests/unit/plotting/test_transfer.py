import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from babelscope.plotting import transfer

CONTROLS = ("full", "untrained", "random", "reinitialized")


def changes(codes, none=0.0, step=-1.0):
    """Every mask on every language; a mask is the worse, the lower its row."""
    rows = [
        {"mask": mask, "language": code, "value": 60.0 + column, "change": none + step * row}
        for row, mask in enumerate([*codes, *CONTROLS])
        for column, code in enumerate(codes)
    ]
    table = pd.DataFrame(rows)
    own = table["mask"] == table["language"]
    table["change"] = table["change"].where(~own, none)
    half = 1.5 * abs(step)
    return table.assign(change_low=table["change"] - half, change_high=table["change"] + half)


def texts(axis):
    return {
        (round(text.get_position()[1]), round(text.get_position()[0])): text.get_text()
        for text in axis.texts
    }


def test_a_change_has_its_sign_and_a_star_where_it_is_clear(languages):
    codes = list(languages)
    figure = transfer.transfer_matrix(changes(codes), languages, metric="f1")
    axis, bar = figure.axes
    rows = [label.get_text() for label in axis.get_yticklabels()]
    assert rows[0] == "English (en) ticket"
    assert rows[-4:-2] == ["full model", "largest untrained weights"]
    assert rows[-2:] == ["random mask", "own ticket, random weights"]
    cells = texts(axis)
    assert len(cells) == 8 * 4
    assert cells[1, 0] == "−1.0"  # its interval holds 0
    assert cells[2, 1] == "−2.0*"
    assert cells[3, 3] == "63.0 %"  # the own ticket: its score
    assert len(axis.patches) == 4
    assert "points of F1" in bar.get_ylabel()


@pytest.mark.parametrize(
    ("metric", "none", "step"), [("accuracy", 0.0, -2.0), ("perplexity", 1.0, 0.2)]
)
def test_worse_is_red_and_no_change_is_white_in_both_directions(languages, metric, none, step):
    codes = list(languages)
    table = changes(codes, none, step)
    table.loc[table["mask"] == "full", "change"] = none - step / 2
    figure = transfer.transfer_matrix(table, languages, metric=metric)
    image = figure.axes[0].images[0]
    white, worse, better = (image.to_rgba(none + step * much)[:3] for much in (0, 1, -1))
    assert min(white) > 0.9
    assert worse[0] > worse[2]
    assert better[2] > better[0]
    low, high = image.get_clim()
    assert (low * high if metric == "perplexity" else low + high) == pytest.approx(
        2 * none / (1 + none)
    )
    bar = figure.axes[1]
    assert bar.get_ylabel()


@pytest.mark.parametrize(("step", "expected"), [(0.004, "1.008*"), (0.1, "1.20*")])
def test_ratios_have_the_decimals_that_their_scale_needs(languages, step, expected):
    table = changes(list(languages), 1.0, step)
    cells = texts(transfer.transfer_matrix(table, languages, metric="perplexity").axes[0])
    assert cells[2, 1] == expected
    assert cells[2, 2] == "62.0"  # a score, not a ratio


def test_controls_do_not_set_the_colours(languages):
    table = changes(list(languages))
    table.loc[table["mask"].isin(["random", "reinitialized"]), "change"] = -80.0
    image = transfer.transfer_matrix(table, languages, metric="f1").axes[0].images[0]
    assert image.get_clim()[0] > -6


def test_an_unknown_mask_is_refused(languages):
    table = changes(list(languages)).replace({"mask": {"full": "else"}})
    with pytest.raises(ValueError, match="else"):
        transfer.transfer_matrix(table, languages, metric="f1")


def test_every_task_has_its_own_scale(languages):
    codes = list(languages)
    rows = [
        {"task": task, "mask": mask, "language": code, "value": 50.0, "change": none + step * row}
        for task, none, step in (("ner", 0.0, -1.0), ("mlm", 1.0, 0.1))
        for row, mask in enumerate(["mlm", "ner", "full", "random"])
        for code in codes
    ]
    table = pd.DataFrame(rows)
    table = table.assign(change_low=table["change"], change_high=table["change"])
    metrics = {"mlm": "perplexity", "ner": "f1"}
    figure = transfer.task_transfer_matrices(table, languages, metrics=metrics)
    first, second = (axis for axis in figure.axes if axis.images)
    assert first.get_title() == "trained for and scored on MLM"
    assert texts(first)[0, 0] == "50.0"
    assert texts(first)[1, 0] == "1.10*"
    assert texts(second)[0, 0] == "+0.0"
    assert texts(second)[1, 0] == "50.0 %"
    assert first.images[0].norm is not second.images[0].norm
    assert all(len(axis.patches) == len(codes) for axis in (first, second))


@pytest.mark.parametrize("metric", ["f1", "perplexity"])
def test_zero_shot_scores_stand_by_training_language(languages, metric):
    codes = list(languages)
    rows = [
        {"mask": mask, "trained_on": one, "language": other, "value": 20.0 + 10 * i + j}
        for mask in ("full", "ticket")
        for i, one in enumerate(codes)
        for j, other in enumerate(codes)
    ]
    table = pd.DataFrame(rows)
    table = table.assign(low=table["value"] - 2, high=table["value"] + 2)
    table = table.assign(change_low=0.0, change_high=2.0)
    clear = (table["trained_on"] == "zh") & (table["language"] == "en")
    table.loc[clear, ["change_low", "change_high"]] = [1.5, 2.0]
    figure = transfer.zero_shot_matrices(table, languages, metric=metric)
    maps = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in maps] == ["full model", "the training language's ticket"]
    for axis in maps:
        assert texts(axis)[1, 2] == "32.0\n±2.0"
        assert len(axis.patches) == len(codes)
        starred = "*" if axis.get_title() != "full model" else ""
        assert texts(axis)[2, 0] == f"40.0{starred}\n±2.0"
        assert to_rgb(axis.texts[0].get_color()) in {(0, 0, 0), (1, 1, 1)}
    with pytest.raises(ValueError, match="tickets"):
        full = table[table["mask"] == "full"]
        transfer.zero_shot_matrices(full, languages, metric=metric)


def test_no_matrix_keeps_numbers_that_its_cells_have_no_room_for(languages):
    many = {f"x{number}": languages["en"] for number in range(24)}
    table = changes(list(many))
    tasks = table.replace({"mask": dict.fromkeys(many, "mlm")}).assign(task="mlm")
    tasks = tasks.drop_duplicates(["mask", "language"])
    rows = [
        {"mask": mask, "trained_on": one, "language": other}
        for mask in ("full", "ticket")
        for one in many
        for other in many
    ]
    scores = {"value": 50.0, "low": 49.0, "high": 51.0, "change_low": 0.0, "change_high": 2.0}
    for figure in (
        transfer.transfer_matrix(table, many, metric="f1"),
        transfer.task_transfer_matrices(tasks, many, metrics={"mlm": "f1"}),
        transfer.zero_shot_matrices(pd.DataFrame(rows).assign(**scores), many, metric="f1"),
    ):
        assert not any(axis.texts for axis in figure.axes)
