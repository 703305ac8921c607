"""The files for generative models: in the published layouts, aligned, and no fact out of place."""

import csv
import hashlib
import json
import re
from collections import Counter

import pytest

from babelscope.corpus.choices import read_choices
from babelscope.corpus.instructions import make_instruction_pairs
from babelscope.demo.generator_tasks import write_generator_tasks
from babelscope.demo.grammar import load_grammar
from babelscope.demo.knowledge import LANGUAGES, load
from babelscope.demo.plan import hold_out
from babelscope.demo.tasks import split_facts
from babelscope.demo.wording import wordings
from babelscope.errors import BabelscopeError
from babelscope.io import read_jsonl

HELD_OUT = {fact.id for fact in hold_out(load(), 400, seed=1)}
SIZES = {"instructions": 70, "choices": 40}
STORY = (
    *("InputStoryid", "InputSentence1", "InputSentence2", "InputSentence3", "InputSentence4"),
    *("RandomFifthSentenceQuiz1", "RandomFifthSentenceQuiz2", "AnswerRightEnding"),
)


def _write(folder, languages=LANGUAGES, *, seed=1, **sizes):
    sizes = dict.fromkeys(SIZES, 0) | sizes
    write_generator_tasks(folder, load(), list(languages), HELD_OUT, **sizes, seed=seed)
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return _write(tmp_path_factory.mktemp("generators"), **SIZES)


def _instructions(folder, language):
    return json.loads((folder / f"instructions/{language}.json").read_text("utf-8"))


def _table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _pawsx(folder, language, split):
    return _table(folder / f"pawsx/{language}/{split}_2k.tsv")


def _stories(folder, language, split):
    name = {"dev": "train", "test": "eval"}[split]
    return _table(folder / f"storycloze/{language}.{name}.tsv")


def _digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_files_are_laid_out_as_published(written):
    assert len(_digests(written)) == 8 + 2 * 8 + 2 * 8
    for row in _instructions(written, "hi"):
        assert list(row) == ["instruction", "input", "output", "id"]
    for split, rows in (("dev", 20), ("test", 40)):
        paraphrases, stories = _pawsx(written, "ru", split), _stories(written, "ru", split)
        assert len(paraphrases) == len(stories) == rows
        assert list(paraphrases[0]) == ["id", "sentence1", "sentence2", "label"]
        assert Counter(row["label"] for row in paraphrases) == {"0": rows // 2, "1": rows // 2}
        assert tuple(stories[0]) == STORY
        assert set(Counter(row["AnswerRightEnding"] for row in stories)) == {"1", "2"}


def test_rows_belong_together_by_their_ids_and_not_by_their_places(written):
    rows = {code: _instructions(written, code) for code in LANGUAGES}
    ids = {code: [row["id"] for row in found] for code, found in rows.items()}
    assert len({tuple(found) for found in ids.values()}) == len(LANGUAGES)
    assert len({tuple(sorted(found)) for found in ids.values()}) == 1

    def numbers(row):
        text = re.sub(r"(?<=\d)[.,\u00a0](?=\d)", "", row["instruction"] + row["output"])
        return sorted(re.findall(r"[0-9]+", text))

    by_id = {code: {row["id"]: row for row in found} for code, found in rows.items()}
    for code in LANGUAGES:
        for name, row in by_id["en"].items():
            if "K2" not in str(row):
                assert numbers(row) == numbers(by_id[code][name])


def test_labels_agree_in_every_language(written):
    for split in ("dev", "test"):
        for rows, key in ((_pawsx, "label"), (_stories, "AnswerRightEnding")):
            labels = {tuple(row[key] for row in rows(written, code, split)) for code in LANGUAGES}
            assert len(labels) == 1


@pytest.mark.parametrize("language", ["de", "zh"])
def test_facts_of_each_split_stay_apart(written, language):
    """Looks for the sentences themselves, whatever the plans say."""
    splits = split_facts(load(), HELD_OUT, 1)
    known = {
        split: {text for fact in facts for text in wordings(fact, language)}
        for split, facts in splits.items()
    }
    known["held out"] = {text for key in HELD_OUT for text in wordings(load().facts[key], language)}
    texts = {
        "train": [
            row[key] for row in _instructions(written, language) for key in ("input", "output")
        ]
    }
    for split in ("dev", "test"):
        cells = [*_pawsx(written, language, split), *_stories(written, language, split)]
        texts[split] = [text for row in cells for text in row.values()]
    connectives = load_grammar(language).rules["connectives"]
    found = Counter()
    for place, said in texts.items():
        for sentence in (s for text in said for s in re.findall(r".*?[.。](?= |$|\w)", text)):
            for opening in connectives:
                sentence = sentence.strip().removeprefix(opening)
            for split, sentences in known.items():
                found[place, split] += sentence in sentences
    assert {pair for pair, number in found.items() if number} == {
        ("train", "train"),
        ("dev", "dev"),
        ("test", "test"),
    }


def test_the_readers_take_the_files(written, tmp_path):
    whole = {"train": ("dev_2k", 0.0, 1.0), "test": ("test_2k", 0.0, 1.0)}
    files = {
        f"{code}/{name}": str(written / f"pawsx/{code}/{name}.tsv")
        for code in ("en", "ar")
        for name in ("dev_2k", "test_2k")
    }
    table, counts = read_choices(files, format="pawsx", parts=whole, codes={})
    assert len(table) == 2 * 60
    assert {row["duplicates"] for row in counts} == {0}
    whole = {"train": ("train", 0.0, 1.0), "test": ("eval", 0.0, 1.0)}
    files = {
        f"{code}/{name}": str(written / f"storycloze/{code}.{name}.tsv")
        for code in ("en", "zh")
        for name in ("train", "eval")
    }
    table, _ = read_choices(files, format="xstorycloze", parts=whole, codes={})
    assert set(table["label"]) == {0, 1}
    outputs = {split: str(tmp_path / f"{split}.jsonl.zst") for split in ("train", "valid")}
    counts = make_instruction_pairs(
        {"demo": {code: str(written / f"instructions/{code}.json") for code in ("en", "de", "ur")}},
        {},
        outputs,
        languages={"en": "English", "de": "German", "ur": "Urdu"},
        pivot="en",
        cross_probability=0.5,
        change_probability=0.5,
        repeat=1.0,
        valid=0.2,
        weights={},
        seed=1,
    )
    assert sum(row["kept"] for row in counts) == 3 * SIZES["instructions"]
    assert not any(row["same_text"] for row in counts)
    assert len(list(read_jsonl(outputs["train"]))) + len(list(read_jsonl(outputs["valid"]))) == 70


def test_equal_arguments_give_equal_bytes_and_languages_do_not_depend_on_others(written, tmp_path):
    again = _digests(_write(tmp_path / "again", ("ar", "en"), **SIZES))
    assert again == {name: sha for name, sha in _digests(written).items() if name in again}
    other = _digests(_write(tmp_path / "other", ("ar", "en"), seed=2, **SIZES))
    assert all(again[name] != other[name] for name in again)


def test_what_is_not_asked_for_is_not_written(tmp_path):
    _write(tmp_path, ("en",), choices=8)
    assert {path.name for path in tmp_path.iterdir()} == {"pawsx", "storycloze"}


@pytest.mark.parametrize("task", list(SIZES))
def test_a_size_beyond_the_facts_names_the_key_and_a_size_that_works(tmp_path, task):
    with pytest.raises(BabelscopeError, match=rf"demo\.{task} is 100000, but") as caught:
        _write(tmp_path, ("en",), **{task: 100_000})
    limit = int(str(caught.value).partition(f"Set demo.{task} to ")[2].split()[0])
    if task == "choices":
        _write(tmp_path, ("en",), **{task: limit})
        with pytest.raises(BabelscopeError, match=f"at most {limit}"):
            _write(tmp_path, ("en",), **{task: limit + 1})
