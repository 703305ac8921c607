"""The demo's labelled data: the same items in every language, split by fact, in tidy files."""

import csv
import hashlib
from collections import Counter
from pathlib import Path

import pytest

from babelscope.demo.entities import plan_sentences
from babelscope.demo.inference import plan_pairs
from babelscope.demo.knowledge import LANGUAGES, load
from babelscope.demo.plan import hold_out
from babelscope.demo.tasks import SPLITS, sizes, split_facts, write_tasks
from babelscope.errors import BabelscopeError

HELD_OUT = {fact.id for fact in hold_out(load(), 400, seed=1)}


def _write(folder, languages=LANGUAGES, *, ner=48, nli=96, seed=1):
    write_tasks(folder, load(), list(languages), HELD_OUT, ner=ner, nli=nli, seed=seed)
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return _write(tmp_path_factory.mktemp("tasks"))


def _tags(path: Path) -> list[list[tuple[str, ...]]]:
    blocks = path.read_text("utf-8").rstrip("\n").split("\n\n")
    return [[tuple(line.split("\t")) for line in block.split("\n")] for block in blocks]


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.tsv")
    }


def test_every_language_and_split_has_its_rows(written):
    assert sizes(48) == {"train": 48, "dev": 6, "test": 12}
    for language in LANGUAGES:
        for split in SPLITS:
            assert len(_tags(written / f"ner/{language}/{split}.tsv")) == sizes(48)[split]
            lines = (written / f"nli/{language}/{split}.tsv").read_text("utf-8").splitlines()
            assert lines[0] == "premise\thypothesis\tlabel"
            assert len(lines) == 1 + sizes(96)[split]
            assert all(len(line.split("\t")) == 3 for line in lines)
    assert len(list(written.rglob("*.tsv"))) == 2 * len(LANGUAGES) * len(SPLITS)


def test_pairs_survive_a_csv_reader(written):
    for path in written.glob("nli/*/train.tsv"):
        lines = path.read_text("utf-8").splitlines()
        with path.open(encoding="utf-8", newline="") as file:
            assert [line.split("\t") for line in lines] == list(csv.reader(file, delimiter="\t"))


def test_tags_are_iob2_and_words_carry_their_language(written):
    for language in LANGUAGES:
        for sentence in _tags(written / f"ner/{language}/train.tsv"):
            before = "O"
            for word, tag in sentence:
                assert word.startswith(f"{language}:")
                assert word.removeprefix(f"{language}:").strip()
                assert tag in {"O", *(f"{p}-{k}" for p in "BI" for k in ("PER", "LOC", "MISC"))}
                assert tag[0] != "I" or before[1:] == tag[1:]
                before = tag


def test_rows_are_the_same_items_in_every_language(written):
    for split in SPLITS:
        english = _tags(written / f"ner/en/{split}.tsv")
        labels = (written / f"nli/en/{split}.tsv").read_text("utf-8").splitlines()
        for language in LANGUAGES[1:]:
            others = _tags(written / f"ner/{language}/{split}.tsv")
            for mine, theirs in zip(english, others, strict=True):
                names = [
                    Counter(tag for _, tag in sentence if tag[0] == "B")
                    for sentence in (mine, theirs)
                ]
                assert names[0] == names[1]
            theirs = (written / f"nli/{language}/{split}.tsv").read_text("utf-8").splitlines()
            assert [line.split("\t")[2] for line in theirs] == [
                line.split("\t")[2] for line in labels
            ]


def test_languages_draw_their_patterns_by_themselves(written):
    first = [
        _tags(written / f"ner/{language}/train.tsv")[row][0][1] != "O"
        for row in range(48)
        for language in ("en", "de")
    ]
    assert any(a != b for a, b in zip(first[::2], first[1::2], strict=True))


def test_equal_arguments_give_equal_bytes_and_languages_do_not_depend_on_others(written, tmp_path):
    again = _digests(_write(tmp_path / "again", ("zh", "ar")))
    assert again == {name: sha for name, sha in _digests(written).items() if name in again}
    other = _digests(_write(tmp_path / "other", ("zh", "ar"), seed=2))
    assert all(again[name] != other[name] for name in again)


def test_no_fact_is_in_two_splits_or_in_the_parallel_sentences():
    knowledge = load()
    splits = split_facts(knowledge, HELD_OUT, seed=1)
    ids = {split: {fact.id for fact in facts} for split, facts in splits.items()}
    subjects = {split: {fact.subject for fact in facts} for split, facts in splits.items()}
    assert set().union(*ids.values()) == set(knowledge.facts) - HELD_OUT
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        assert not ids[one] & ids[other]
        assert not subjects[one] & subjects[other]
    for split, facts in splits.items():
        sentences, _ = plan_sentences(knowledge, facts, 60, split, 1)
        pairs, _ = plan_pairs(knowledge, facts, 60, split, 1)
        stated = {fact.id for row in sentences for fact in row}
        stated |= {fact.id for pair in pairs for fact in (*pair.premise, pair.hypothesis)}
        assert stated <= ids[split]


def test_splits_have_every_kind_of_subject_and_about_their_share():
    knowledge = load()
    splits = split_facts(knowledge, HELD_OUT, seed=1)
    kinds = {
        split: {knowledge.entities[fact.subject].kind for fact in facts}
        for split, facts in splits.items()
    }
    assert kinds["train"] == kinds["test"]
    total = sum(map(len, splits.values()))
    for split, facts in splits.items():
        assert len(facts) / total == pytest.approx(SPLITS[split], abs=0.03)


@pytest.mark.parametrize("task", ["ner", "nli"])
def test_a_size_beyond_the_facts_names_the_key_and_a_size_that_works(tmp_path, task):
    with pytest.raises(BabelscopeError, match=rf"demo\.{task} is 100000, but") as caught:
        _write(tmp_path, ("en",), **{task: 100_000})
    limit = int(str(caught.value).partition(f"Set demo.{task} to ")[2].split()[0])
    _write(tmp_path, ("en",), **{task: limit})
