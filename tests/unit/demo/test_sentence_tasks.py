"""The files for sentence encoders: aligned, tidy, and no fact where it must not be."""

import csv
import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from babelscope.demo.grammar import load_grammar
from babelscope.demo.knowledge import LANGUAGES, load
from babelscope.demo.plan import hold_out
from babelscope.demo.sentence_tasks import write_sentence_tasks
from babelscope.demo.tasks import split_facts
from babelscope.demo.wording import wordings
from babelscope.errors import BabelscopeError

HELD_OUT = {fact.id for fact in hold_out(load(), 400, seed=1)}
SIZES = {"pairs": 90, "sts": 60, "topics": 80, "reading": 40}
SCRIPTS = {
    "ru": r"[Ѐ-ӿ]",
    "zh": r"[一-鿿]",
    "ar": r"[؀-ۿ]",
    "ur": r"[؀-ۿ]",
    "hi": r"[ऀ-ॿ]",
}
SYMBOLS = {fact.text for fact in load().facts.values() if fact.text}


def _write(folder, languages=LANGUAGES, *, seed=1, **sizes):
    sizes = dict.fromkeys(SIZES, 0) | sizes
    write_sentence_tasks(folder, load(), list(languages), HELD_OUT, **sizes, seed=seed)
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return _write(tmp_path_factory.mktemp("sentences"), **SIZES)


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _items(folder: Path, language: str) -> list[dict]:
    lines = (folder / f"reading/{language}.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _rows(folder: Path, language: str) -> dict[str, list[list[str]]]:
    """Return all texts of a language by file, row by row."""
    sides = [
        (folder / f"pairs/{language}_{number}.txt").read_text("utf-8").splitlines()
        for number in (1, 2, 3)
    ]
    sts = [
        [row["sentence1"], row["sentence2"]]
        for row in _table(folder / f"sts/{language}-{language}.tsv")
    ]
    topics = {
        split: [[row["text"]] for row in _table(folder / f"topics/{language}/{split}.tsv")]
        for split in ("train", "test")
    }
    reading = [
        [item["flores_passage"], item["question"], *(item[f"mc_answer{n}"] for n in range(1, 5))]
        for item in _items(folder, language)
    ]
    return {
        "pairs": [list(row) for row in zip(*sides, strict=True)],
        "sts": sts,
        **topics,
        "reading": reading,
    }


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_file_is_there_with_its_rows(written):
    rows = {"pairs": 90, "sts": 60, "train": 80, "test": 40, "reading": 40}
    for language in LANGUAGES:
        assert {name: len(texts) for name, texts in _rows(written, language).items()} == rows
    assert len(_digests(written)) == 8 * 3 + (8 + 2 * 7) + 8 * 2 + 8


def test_numbers_agree_row_by_row_in_every_language(written):
    def numbers(texts):
        text = re.sub(r"(?<=\d)[.,\u00a0](?=\d)", "", " | ".join(texts))
        return Counter(re.findall(r"[0-9]+", text))

    english = _rows(written, "en")
    for language in LANGUAGES[1:]:
        for name, rows in _rows(written, language).items():
            for mine, theirs in zip(english[name], rows, strict=True):
                if "K2" not in " ".join(mine):
                    assert numbers(mine) == numbers(theirs)


def test_labels_agree_in_every_language(written):
    for name, column in (("sts/{0}-{0}.tsv", "score"), ("topics/{}/test.tsv", "category")):
        labels = [
            [row[column] for row in _table(written / name.format(code))] for code in LANGUAGES
        ]
        assert all(label == labels[0] for label in labels)
    answers = [
        [(item["link"], item["question_number"], item["correct_answer_num"]) for item in items]
        for items in (_items(written, code) for code in LANGUAGES)
    ]
    assert all(answer == answers[0] for answer in answers)
    assert len({(link, number) for link, number, _ in answers[0]}) == SIZES["reading"]


def test_texts_are_tidy_and_in_their_script(written):
    for language in LANGUAGES:
        for rows in _rows(written, language).values():
            for text in (text for row in rows for text in row):
                assert text == text.strip()
                assert not re.search(r"[\t\n{}|_]| {2}", text)
                words = re.findall(r"[A-Za-zÀ-ɏ]+", text)
                if language in SCRIPTS:
                    assert set(words) <= SYMBOLS, text
                    if not re.fullmatch(r"[\d.,\u00a0A-Za-z]+", text):
                        assert re.search(SCRIPTS[language], text)
                else:
                    assert not re.search("[Ѐ-ӿ؀-ۿऀ-ॿ一-鿿]", text)
                if language == "ar":
                    assert not re.search("[یکںےہگچپڈٹڑ۔]", text), text
                if language == "ur":
                    assert not re.search("[يىكةه]", text), text


def test_across_languages_the_sentences_are_those_of_the_monolingual_files(written):
    english = _table(written / "sts/en-en.tsv")
    for language in LANGUAGES[1:]:
        own = _table(written / f"sts/{language}-{language}.tsv")
        there = _table(written / f"sts/en-{language}.tsv")
        back = _table(written / f"sts/{language}-en.tsv")
        for mine, theirs, one, other in zip(english, own, there, back, strict=True):
            assert one == mine | {"sentence2": theirs["sentence2"]}
            assert other == theirs | {"sentence2": mine["sentence2"]}
            assert re.fullmatch(r"[0-5]\.0", one["score"])


def test_fields_are_those_of_the_public_sets(written):
    item = _items(written, "zh")[0]
    assert list(item) == [
        *("link", "question_number", "flores_passage", "question"),
        *("mc_answer1", "mc_answer2", "mc_answer3", "mc_answer4"),
        *("correct_answer_num", "dialect"),
    ]
    assert item["dialect"] == "zho_Hans"
    assert item["correct_answer_num"] in {"1", "2", "3", "4"}
    for split, first in (("train", 0), ("test", 80)):
        rows = _table(written / f"topics/de/{split}.tsv")
        assert list(rows[0]) == ["index_id", "category", "text"]
        assert [int(row["index_id"]) for row in rows] == list(range(first, first + len(rows)))


@pytest.mark.parametrize("language", ["en", "ru"])
def test_no_text_states_a_fact_of_another_split_or_of_the_parallel_sentences(written, language):
    """Looks for the sentences themselves, whatever the plans say."""
    splits = split_facts(load(), HELD_OUT, 1)
    sentences = {
        split: {text for fact in facts for text in wordings(fact, language)}
        for split, facts in splits.items()
    }
    sentences["held out"] = {
        text for key in HELD_OUT for text in wordings(load().facts[key], language)
    }
    connectives = load_grammar(language).rules["connectives"]
    allowed = {"pairs": "train", "train": "train", "sts": "test", "test": "test", "reading": "test"}
    found = Counter()
    for name, rows in _rows(written, language).items():
        for text in (text for row in rows for text in row):
            for sentence in re.findall(r".*?[.?](?= |$) ?", text):
                said = sentence.strip()
                for opening in connectives:
                    said = said.removeprefix(opening)
                for split, known in sentences.items():
                    if {said, said[:1].upper() + said[1:]} & known:
                        found[name, split] += 1
    assert set(found) == set(allowed.items())


def test_equal_arguments_give_equal_bytes_and_languages_do_not_depend_on_others(written, tmp_path):
    again = _digests(_write(tmp_path / "again", ("en", "ar"), **SIZES))
    assert again == {name: sha for name, sha in _digests(written).items() if name in again}
    other = _digests(_write(tmp_path / "other", ("en", "ar"), seed=2, **SIZES))
    assert all(again[name] != other[name] for name in again)


def test_the_first_language_is_the_pivot(tmp_path):
    _write(tmp_path, ("hi", "en", "zh"), sts=12)
    names = {path.stem for path in tmp_path.glob("sts/*.tsv")}
    assert names == {"hi-hi", "en-en", "zh-zh", "hi-en", "en-hi", "hi-zh", "zh-hi"}


def test_what_is_not_asked_for_is_not_written(tmp_path):
    _write(tmp_path, ("en",), reading=4)
    assert [path.name for path in tmp_path.iterdir()] == ["reading"]


@pytest.mark.parametrize("task", list(SIZES))
def test_a_size_beyond_the_facts_names_the_key_and_a_size_that_works(tmp_path, task):
    with pytest.raises(BabelscopeError, match=rf"demo\.{task} is 100000, but") as caught:
        _write(tmp_path, ("en",), **{task: 100_000})
    limit = int(str(caught.value).partition(f"Set demo.{task} to ")[2].split()[0])
    _write(tmp_path, ("en",), **{task: limit})
    with pytest.raises(BabelscopeError, match=f"at most {limit}"):
        _write(tmp_path, ("en",), **{task: limit + 1})
