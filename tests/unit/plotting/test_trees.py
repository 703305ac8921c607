import pandas as pd
import pytest
from matplotlib.colors import to_hex

from babelscope.plotting.trees import dendrograms

TITLES = {"ner": "NER", "syntax": "syntactic distance"}
MERGES = pd.DataFrame(
    [("en", "ru", 0.2), ("zh", "ar", 0.3), ("en+ru", "zh+ar", 0.5)],
    columns=["left", "right", "height"],
)


def table():
    return MERGES.assign(panel="ner")


def test_leaves_are_named_in_their_colours_and_joined_at_their_height(languages):
    figure = dendrograms(
        table(), languages, titles={"ner": "NER"}, xlabels={"ner": "1 − Jaccard index"}
    )
    (axis,) = figure.axes
    names = axis.get_yticklabels()
    assert [name.get_text() for name in names] == [
        "English (en)",
        "Russian (ru)",
        "Chinese (zh)",
        "Arabic (ar)",
    ]
    colours = [languages[code]["colour"] for code in ("en", "ru", "zh", "ar")]
    assert [to_hex(name.get_color()) for name in names] == colours
    branches = [line for line in axis.lines if len(line.get_xdata()) == 4]
    assert [list(line.get_xdata()) for line in branches] == [
        [0, 0.2, 0.2, 0],
        [0, 0.3, 0.3, 0],
        [0.2, 0.5, 0.5, 0.3],
    ]
    assert list(branches[2].get_ydata()) == [0.5, 0.5, 2.5, 2.5]
    assert axis.get_xlabel() == "1 − Jaccard index"
    assert axis.get_xlim()[0] > 0.5  # the root is at the left, inside the axis


def test_a_tree_without_branches_is_refused(languages):
    with pytest.raises(ValueError, match="syntax"):
        dendrograms(table(), languages, titles=TITLES, xlabels=dict.fromkeys(TITLES, "x"))
