import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from babelscope.plotting import curves


@pytest.mark.parametrize("worst", [1.2, 3.0, 5000.0])
def test_trajectories_show_percent_and_plain_ratios(languages, worst):
    table = pd.DataFrame(
        [
            {"language": code, "sparsity": share, "value": value}
            for code in languages
            for share, value in zip((0.8, 0.0, 0.4), (worst, 1.0, (1 + worst) / 2), strict=True)
        ]
    )
    table = table.assign(low=table["value"], high=table["value"])
    figure = curves.trajectories(
        table, languages, ratios={"ratio-1.1": 1.1}, sparsities={"half": 0.5}
    )
    (axis,) = figure.axes
    assert list(axis.lines[0].get_xdata()) == pytest.approx([0, 40, 80])
    ticks = [label.get_text() for label in axis.get_yticklabels()]
    assert "1" in ticks
    assert 3 <= len(ticks) <= 16
    assert {text.get_text() for text in axis.texts} == {"ratio-1.1", "half"}


def test_trainings_stand_side_by_side_on_one_scale(languages):
    table = pd.DataFrame(
        [
            {"run": run, "language": code, "step": step, "value": np.exp(-step / 10) + number}
            for number, run in enumerate(("base", "finetuned"))
            for code in ("train", *languages)
            for step in (0, 10, 20)
        ]
    )
    table = table.assign(low=table["value"], high=table["value"])
    runs = {"base": "from scratch", "finetuned": "fine-tuning"}
    figure = curves.training_curves(table, languages, runs=runs)
    assert [axis.get_title() for axis in figure.axes] == ["from scratch", "fine-tuning"]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    assert all(len(axis.lines) == 5 for axis in figure.axes)
    with pytest.raises(ValueError, match="else"):
        curves.training_curves(table, languages, runs={"other": "else"})


def test_validated_once_the_marks_stand_side_by_side(languages):
    rows = [
        {"run": "finetuned", "language": "train", "step": step, "value": 5.0}
        for step in (0, 50, 100)
    ]
    rows += [
        {"run": "finetuned", "language": code, "step": 100, "value": 4.0} for code in languages
    ]
    table = pd.DataFrame(rows).assign(
        low=lambda rows: rows["value"], high=lambda rows: rows["value"]
    )
    figure = curves.training_curves(table, languages, runs={"finetuned": "fine-tuning"})
    places = [line.get_xdata()[0] for line in figure.axes[0].lines[1:]]
    assert places == sorted(set(places))
    assert places[-1] == 100
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[:3] == ["training batches", "validation text:", "English (en)"]


def performance(languages, variants):
    rows = [
        {"language": code, "variant": variant, "kept": kept, "value": 20.0 + kept / 2}
        for code in languages
        for variant in variants
        for kept in ((100,) if variant == "full" else (10, 100, 50))
    ]
    table = pd.DataFrame(rows)
    return table.assign(low=table["value"] - 1, high=table["value"] + 1)


@pytest.mark.parametrize("metric", ["perplexity", "accuracy"])
def test_a_panel_per_language_compares_ways_of_finding(languages, metric):
    table = performance(languages, ("full", "random", "ticket", "repeat"))
    figure = curves.performance_curves(table, languages, metric=metric)
    assert [axis.get_title() for axis in figure.axes][2] == "Chinese (zh)"
    for axis, row in zip(figure.axes, languages.values(), strict=True):
        ticket, repeat, other = axis.lines[-3:]
        assert list(ticket.get_xdata()) == [10, 50, 100]
        assert to_hex(ticket.get_color()) == to_hex(repeat.get_color()) == row["colour"]
        assert to_hex(other.get_color()) == "#777777"
        assert len({line.get_linestyle() for line in (ticket, repeat)}) == 2
        assert axis.lines[0].get_ydata()[0] == 70  # the full model
        assert axis.get_xlim()[0] > axis.get_xlim()[1]
        assert axis.get_yscale() == ("log" if metric == "perplexity" else "linear")
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[:3] == ["ticket", "ticket, second draw", "random weights kept"]
    assert ("chance" in names) == (metric == "accuracy")
    words = {"perplexity": "lower is better", "accuracy": "higher is better"}
    assert words[metric] in figure.get_supylabel()


def test_a_way_of_finding_that_one_language_lacks_is_refused(languages):
    table = performance(languages, ("full", "ticket", "random"))
    lacking = table[(table["language"] != "zh") | (table["variant"] != "random")]
    with pytest.raises(ValueError, match="'random' for zh"):
        curves.performance_curves(lacking, languages, metric="f1")
    with pytest.raises(ValueError, match="else"):
        other = table.replace({"variant": {"random": "else"}})
        curves.performance_curves(other, languages, metric="f1")


def test_what_languages_share_stands_beside_chance():
    table = pd.DataFrame(
        [
            {"task": task, "operation": operation, "languages": count, "value": 50.0 + sign * count}
            for task in ("ner", "mlm")
            for operation, sign in (("union", 5), ("intersection", -5))
            for count in (3, 1, 2)
        ]
    )
    table = table.assign(low=table["value"] - 1, high=table["value"] + 1, expected=25.0)
    figure = curves.shared_curves(table)
    assert [axis.get_title() for axis in figure.axes] == ["MLM", "NER"]
    for axis in figure.axes:
        union, chance, intersection, _ = axis.lines
        assert list(union.get_xdata()) == [1, 2, 3]
        assert list(union.get_ydata()) == [55, 60, 65]
        assert list(intersection.get_ydata()) == [45, 40, 35]
        assert set(chance.get_ydata()) == {25}
        assert axis.get_ylim() == (0, 100)
    with pytest.raises(ValueError, match="no union for ner"):
        curves.shared_curves(table[(table["operation"] != "union") | (table["task"] == "mlm")])
