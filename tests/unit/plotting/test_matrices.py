import numpy as np
import pandas as pd
import pytest

from babelscope.plotting import matrices


def overlap(codes, own=True):
    rows = [
        {"left": one, "right": two, "jaccard": 0.2 + 0.1 * (i + j), "p": 0.004 if i == j else 0.2}
        for i, one in enumerate(codes)
        for j, two in enumerate(codes)
        if i < j or (own and i == j)
    ]
    table = pd.DataFrame(rows).assign(expected=0.3)
    return table.assign(excess=table["jaccard"] - 0.3)


def test_overlap_is_symmetric_and_centred_on_chance(languages):
    figure = matrices.overlap_matrices(overlap(list(languages)), languages)
    left, right = (axis for axis in figure.axes if axis.images)
    values = left.images[0].get_array()
    assert np.array_equal(values, values.T)
    assert values[0, 1] == pytest.approx(0.3)
    low, high = right.images[0].get_clim()
    assert low == -high
    texts = [text.get_text() for text in left.texts]
    assert texts[0] == "0.20\n**"
    assert texts[1] == "0.30"
    assert len(left.patches) == 4  # the diagonal is framed


def test_overlap_of_single_draws_has_no_diagonal(languages):
    figure = matrices.overlap_matrices(overlap(list(languages), own=False), languages)
    values = figure.axes[0].images[0].get_array()
    assert values.shape == (4, 4)
    assert np.ma.getmaskarray(values).diagonal().all()


def perplexities(codes):
    rows = [
        {"network": network, "language": code, "value": 2.0 ** (i - j), "low": 0, "high": 1}
        for i, network in enumerate(["union", *reversed(codes), "random"])
        for j, code in enumerate(codes)
    ]
    return pd.DataFrame(rows).assign(kept_least=29, kept_most=29, heads=32)


def test_networks_and_languages_stand_in_one_order(languages):
    codes = list(languages)
    figure = matrices.perplexity_matrix(perplexities(codes), languages, relative=True)
    axis = figure.axes[0]
    rows = [label.get_text() for label in axis.get_yticklabels()]
    assert rows[0] == "English (en) subnetwork"
    assert rows[-2:] == ["random masks", "union of all\n(29 of 32 heads)"]
    assert axis.images[0].get_array()[-1, 0] == 1.0
    assert len(axis.patches) == 4
    image = axis.images[0]
    assert image.norm(1.0) == pytest.approx(0.5)  # white is no loss


@pytest.mark.parametrize(("count", "shown"), [(8, {"1.10\n±0.05"}), (20, {"1.10"}), (24, set())])
def test_cells_show_no_more_than_they_have_room_for(languages, count, shown):
    many = {f"x{number}": languages["en"] for number in range(count)}
    table = perplexities(list(many)).assign(value=1.1, low=1.05, high=1.15)
    figure = matrices.perplexity_matrix(table, many, relative=True)
    axis = figure.axes[0]
    assert {text.get_text() for text in axis.texts} == shown
    assert len(axis.texts) == ((count + 2) * count if shown else 0)
    figure.draw_without_rendering()
    width = axis.get_window_extent().width / count
    assert all(text.get_window_extent().width < width for text in axis.texts)


def test_numbers_of_all_matrices_of_a_figure_are_left_out_together(languages):
    many = {f"x{number}": languages["en"] for number in range(24)}
    table = overlap(list(many)).assign(jaccard=0.5, excess=0.2)
    for axis in matrices.overlap_matrices(table, many).axes:
        assert not axis.texts


def test_large_ratios_have_fewer_decimals(languages):
    table = perplexities(list(languages)).assign(value=148.66, low=113.3, high=184.0)
    figure = matrices.perplexity_matrix(table, languages, relative=True)
    assert {text.get_text() for text in figure.axes[0].texts} == {"149\n±35"}


def test_an_unknown_network_is_refused(languages):
    table = perplexities(list(languages)).replace({"network": {"union": "else"}})
    with pytest.raises(ValueError, match="else"):
        matrices.perplexity_matrix(table, languages, relative=False)


def test_maps_of_heads_have_layers_as_rows(languages):
    table = pd.DataFrame(
        [
            {"language": code, "layer": layer, "head": head, "kept": float(layer == 3)}
            for code in languages
            for layer in (1, 2, 3)
            for head in (1, 2, 3, 4)
        ]
    )
    figure = matrices.head_maps(table, languages)
    maps = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in maps][-1] == "languages that keep it"
    assert len(maps[-1].child_axes) == 1  # its colours are explained beside it
    assert [axis.get_ylabel() for axis in figure.axes if axis not in maps] == [
        "single languages: share of draws that keep the head"
    ]
    for axis in maps:
        assert axis.images[0].get_array().shape == (3, 4)
        assert axis.images[0].origin == "lower"
    assert maps[-1].images[0].get_array().sum() == 4 * 4
    assert maps[-1].images[0].get_array()[2].tolist() == [4, 4, 4, 4]


@pytest.mark.parametrize("relative", [True, False])
def test_one_bad_row_does_not_set_the_colours(languages, relative):
    codes = list(languages)
    table = perplexities(codes)
    table["value"] = [1 + number / 50 for number in range(len(table))]
    worst = pd.DataFrame(
        {"network": "intersection", "language": codes, "value": 5e4, "low": 4e4, "high": 6e4}
    )
    table = pd.concat([table, worst.assign(kept_least=0, kept_most=2, heads=32)])
    if not relative:
        table["value"] *= 200
    figure = matrices.perplexity_matrix(table, languages, relative=relative)
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert "intersection of all\n(0–2 of 32 heads)" in rows
    image, bar = figure.axes[0].images[0], figure.axes[1]
    assert image.norm.vmax < (1.5 if relative else 300)
    assert image.colorbar.extend == ("max" if relative else "both")
    if relative:
        assert image.norm(1.0) == pytest.approx(0.5)
    labels = [label.get_text() for label in bar.get_yticklabels()]
    assert 3 <= len(labels) <= 8
    assert all("e" not in label for label in labels)


def test_strength_beyond_chance_replaces_stars(languages):
    table = overlap(list(languages)).assign(z=[7.25, 1234, -3.0, 8.0, 9.0, 1.0, 2.0, 4.0, 5.0, 6.0])
    figure = matrices.overlap_matrices(table, languages, scores=True)
    left, right = (axis for axis in figure.axes if axis.images)
    assert left.texts[0].get_text() == "0.20"
    assert [text.get_text() for text in right.texts[:3]] == [
        "−0.10\nz 7.2",
        "+0.00\nz 1,234",
        "+0.10\nz −3.0",
    ]


def test_what_untrained_weights_share_is_marked_beside_chance(languages):
    figure = matrices.overlap_matrices(overlap(list(languages)).assign(untrained=0.973), languages)
    bar = next(axis for axis in figure.axes if "Jaccard index (" in axis.get_xlabel())
    assert [line.get_xdata()[0] for line in bar.lines[-2:]] == pytest.approx([0.3, 0.973])
    assert "with the largest untrained weights, 0.97" in bar.get_xlabel()
    assert bar.lines[-1].get_color() != "white"  # on the bright end
    plain = matrices.overlap_matrices(overlap(list(languages)), languages)
    labels = [axis.get_xlabel() for axis in plain.axes]
    assert "Jaccard index (line: chance)" in labels
