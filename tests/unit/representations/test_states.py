"""States files: what was written is read; files of different sentences are refused."""

import numpy as np
import pytest

from babelscope.errors import BabelscopeError
from babelscope.representations.comparisons import (
    ALIGNMENT_COMPARISONS,
    ALIGNMENT_MEASURES,
    COMPARISONS,
    HEAD_MEASURES,
    MEASURES,
    TICKET_COMPARISONS,
    TICKET_MEASURES,
    Pair,
    Side,
    alignment_measures,
    pairs_of,
    parts_of,
    sides_of,
)
from babelscope.representations.states import StatesFile, open_comparison, write_states

LANGUAGES = ["en", "de", "ur"]


def write(folder, language, *, ids=("a", "b", "c"), text=None, seed=0):
    states = np.random.default_rng(seed).standard_normal((3, len(ids), 4)).astype(np.float32)
    sentences = text or [f"{language} {one}" for one in ids]
    folder.mkdir(exist_ok=True, parents=True)
    write_states(
        folder / f"{language}.safetensors",
        {"mean": states, "first": -states},
        sentence_ids=list(ids),
        sentences=sentences,
        origin={"model": "tiny"},
    )
    return states


def test_reads_what_was_written(tmp_path):
    states = write(tmp_path, "de", text=["eins", "zwei", "eins"])
    file = StatesFile(tmp_path / "de.safetensors", "mean")
    assert file.shape == (3, 3, 4)
    np.testing.assert_array_equal(file[2], states[2])
    assert file.groups[0] == file.groups[2] != file.groups[1]
    assert file.metadata["language"] == "de"
    assert file.metadata["model"] == "tiny"
    np.testing.assert_array_equal(StatesFile(file.path, "first")[2], -states[2])
    with pytest.raises(BabelscopeError, match="pooled by last, only by first, mean"):
        StatesFile(file.path, "last")


def test_wrong_counts_and_damaged_files_are_errors(tmp_path):
    with pytest.raises(ValueError, match="do not fit"):
        write(tmp_path, "de", text=["eins"])
    (tmp_path / "en.safetensors").write_bytes(b"not a file of tensors")
    with pytest.raises(BabelscopeError, match="not a readable states file"):
        StatesFile(tmp_path / "en.safetensors", "mean")


def test_opens_the_languages_that_the_corpus_has(tmp_path):
    parts = parts_of("own", LANGUAGES, "en")
    assert set(parts) == {("finetuned", one) for one in ("full", *LANGUAGES)}
    folders = {part: tmp_path / part[1] for part in parts}
    for folder in folders.values():
        write(folder, "en")
        write(folder, "de")
    pairs, states = open_comparison("own", list(folders.values()), LANGUAGES, "en", "mean")
    assert pairs == pairs_of("own", ["en", "de"], "en")
    assert set(states) == set(sides_of("own", ["en", "de"], "en"))


def test_a_missing_file_or_pivot_is_an_error(tmp_path):
    folders = {part: tmp_path / part[1] for part in parts_of("own", LANGUAGES, "en")}
    for folder in folders.values():
        write(folder, "en")
    with pytest.raises(BabelscopeError, match="at least one other"):
        open_comparison("own", list(folders.values()), LANGUAGES, "en", "mean")
    with pytest.raises(BabelscopeError, match="pivot de"):
        open_comparison("own", list(folders.values()), LANGUAGES, "de", "mean")
    write(folders["finetuned", "full"], "de")
    with pytest.raises(BabelscopeError, match="missing"):
        open_comparison("own", list(folders.values()), LANGUAGES, "en", "mean")


@pytest.mark.parametrize(
    "changed", [{"ids": ("a", "x", "c")}, {"text": ["de a", "anders", "de c"]}]
)
def test_files_of_different_sentences_are_refused(tmp_path, changed):
    folders = {part: tmp_path / "-".join(part) for part in parts_of("random", LANGUAGES, "en")}
    for folder in folders.values():
        for language in LANGUAGES:
            write(folder, language)
    open_comparison("random", list(folders.values()), LANGUAGES, "en", "mean")
    write(folders["random", "full"], "de", **changed)
    with pytest.raises(BabelscopeError, match="different sentences"):
        open_comparison("random", list(folders.values()), LANGUAGES, "en", "mean")


def test_every_measure_names_known_comparisons():
    assert {comparison for names in MEASURES.values() for comparison in names} == set(COMPARISONS)
    for comparison in {*MEASURES["retrieval"], *MEASURES["uniformity"]}:
        for pair in pairs_of(comparison, LANGUAGES, "en"):
            assert pair.left.language != pair.right.language
            assert not pair.all_layers


def test_no_study_grows_by_another():
    for comparisons in HEAD_MEASURES.values():
        assert not set(comparisons) & {*TICKET_COMPARISONS, *ALIGNMENT_COMPARISONS}
    for measures, own in (
        (TICKET_MEASURES, TICKET_COMPARISONS),
        (ALIGNMENT_MEASURES, ALIGNMENT_COMPARISONS),
    ):
        assert {one for names in measures.values() for one in names} == set(own)


def test_aligned_networks_are_compared_with_the_base_model():
    measures = alignment_measures(["aligned-both"])
    assert measures["uniformity"] == measures["retrieval"]
    languages, changes = measures["retrieval"], measures["cka"][2:]
    assert languages == ("generator-base", "generator-aligned-both") == measures["cka"][:2]
    assert changes == ("base-aligned-both",)
    for comparison, network in zip(languages, ("base", "aligned-both"), strict=True):
        assert pairs_of(comparison, LANGUAGES, "en") == [
            Pair(Side(network, "full", "en"), Side(network, "full", one)) for one in ("de", "ur")
        ]
        assert parts_of(comparison, LANGUAGES, "en") == [(network, "full")]
    assert pairs_of(changes[0], LANGUAGES, "en") == [
        Pair(Side("base", "full", one), Side("aligned-both", "full", one)) for one in LANGUAGES
    ]
    with pytest.raises(ValueError, match="unknown comparison generator-other"):
        pairs_of("generator-other", LANGUAGES, "en")


def test_tickets_are_compared_with_the_base_model_and_each_other():
    def base(language):
        return Side("base", "full", language)

    def ticket(found_for, language):
        return Side("ticket", found_for, language)

    expected = {
        "base-languages": [Pair(base("en"), base(one)) for one in ("de", "ur")],
        "ticket-own": [Pair(base(one), ticket(one, one)) for one in ("de", "en", "ur")],
        "tickets": [Pair(ticket("en", "en"), ticket(one, one)) for one in ("de", "ur")],
        "pivot-ticket": [Pair(ticket("en", "en"), ticket("en", one)) for one in ("de", "ur")],
    }
    assert expected.keys() == TICKET_COMPARISONS.keys()
    for comparison, pairs in expected.items():
        assert pairs_of(comparison, ["de", "en", "ur"], "en") == pairs


def test_the_pivot_is_on_the_left_in_any_order_of_languages():
    """Otherwise ridge regression would predict the pivot for some languages, from it for others."""
    for comparison in COMPARISONS:
        for pair in pairs_of(comparison, ["de", "ur", "en"], "en"):
            assert pair.left.language == pair.right.language or pair.right.language != "en"
    assert len(pairs_of("languages", ["de", "ur", "en"], "en")) == 3
