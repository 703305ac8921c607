"""Questions with four answers, the same ones in every language; and which reader reads what."""

import json
import unicodedata

import pytest

from babelscope.corpus.comprehension import read_comprehension
from babelscope.corpus.evaluation import read_evaluation
from babelscope.errors import BabelscopeError


def item(code, number, answer="1", **changes):
    return {
        "link": f"https://en.wikibooks.org/{number // 2}",
        "question_number": 1 + number % 2,
        "flores_passage": f"{code} passage {number // 2}",
        "question": f"{code} question {number}",
        **{f"mc_answer{n}": f"{code} answer {number}.{n}" for n in (1, 2, 3, 4)},
        "correct_answer_num": answer,
        "dialect": code,
        "ds": "2023-05-03",
        **changes,
    }


ANSWERS = ("3", "1", "4", "2")
ITEMS = {
    code: [item(code, number, answer) for number, answer in enumerate(ANSWERS)]
    for code in ("en", "sw")
}


def write(folder, items):
    files = {}
    for code, rows in items.items():
        path = folder / f"{code}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        files[code] = str(path)
    return files


def test_the_published_layout(tmp_path):
    table, counts = read_comprehension(write(tmp_path, ITEMS))
    columns = ["language", "item_id", "passage", "question", "choices", "answer"]
    assert list(table.columns) == columns
    for code, part in table.groupby("language"):
        assert list(part["answer"]) == [2, 0, 3, 1]
        assert list(part["passage"]) == [f"{code} passage {n // 2}" for n in range(4)]
        assert part["choices"].iloc[3] == [f"{code} answer 3.{n}" for n in (1, 2, 3, 4)]
        assert part["item_id"].iloc[1] == "https://en.wikibooks.org/0 2"
    rest = {"found": 4, "incomplete": 0, "rows": 4}
    assert counts == [{"language": code} | rest for code in ("en", "sw")]


def test_items_are_matched_by_link_and_number_and_not_by_order(tmp_path):
    table, _ = read_comprehension(write(tmp_path, {**ITEMS, "sw": ITEMS["sw"][::-1]}))
    english, swahili = (table[table["language"] == code] for code in ("en", "sw"))
    assert list(english["item_id"]) == list(swahili["item_id"])
    assert [text[3:] for text in english["question"]] == [text[3:] for text in swahili["question"]]


def test_two_splits_may_have_the_same_link(tmp_path):
    rows = [item("en", 0, split=split) for split in ("dev", "test")]
    table, _ = read_comprehension(write(tmp_path, {"en": rows}))
    assert table["item_id"].is_unique


def test_numbers_may_be_texts_or_numbers(tmp_path):
    rows = [
        row | {"question_number": str(row["question_number"]), "correct_answer_num": int(answer)}
        for row, answer in zip(ITEMS["sw"], ANSWERS, strict=True)
    ]
    table, counts = read_comprehension(write(tmp_path, {**ITEMS, "sw": rows}))
    assert counts[0]["rows"] == 4
    assert list(table["answer"][:4]) == list(table["answer"][4:])


@pytest.mark.parametrize("key", ["flores_passage", "question", "mc_answer2"])
def test_items_that_lack_in_one_language_are_left_out_in_all(key, tmp_path):
    rows = [ITEMS["sw"][0], ITEMS["sw"][1] | {key: "  "}, ITEMS["sw"][3]]
    table, counts = read_comprehension(write(tmp_path, {**ITEMS, "sw": rows}))
    assert list(table["answer"]) == [2, 1] * 2
    assert [(row["found"], row["incomplete"], row["rows"]) for row in counts] == [
        (4, 2, 2),
        (3, 2, 2),
    ]


def test_texts_are_composed_and_stripped(tmp_path):
    rows = [item("en", 0, question=f" {unicodedata.normalize('NFD', 'Café')}?\n")]
    assert read_comprehension(write(tmp_path, {"en": rows}))[0]["question"][0] == "Café?"


@pytest.mark.parametrize("answer", ["0", "5", "", "one", "1.0", None, 2.0])
def test_a_right_answer_that_is_none(answer, tmp_path):
    rows = [*ITEMS["en"], item("en", 9, answer)]
    with pytest.raises(BabelscopeError, match=r"en\.jsonl, line 5: the right answer is .* none of"):
        read_comprehension(write(tmp_path, {"en": rows}))


def test_right_answers_that_differ_between_languages(tmp_path):
    rows = [ITEMS["sw"][0] | {"correct_answer_num": "2"}, *ITEMS["sw"][1:]]
    message = (
        r"sw\.jsonl, line 1: the right answer to .*/0 1 is number 2, but 3 in another language"
    )
    with pytest.raises(BabelscopeError, match=message):
        read_comprehension(write(tmp_path, {**ITEMS, "sw": rows}))


def test_files_that_do_not_fit(tmp_path):
    with pytest.raises(BabelscopeError, match=r"en\.jsonl, line 5: the question .* is there twice"):
        read_comprehension(write(tmp_path, {"en": [*ITEMS["en"], ITEMS["en"][0]]}))
    rows = [{key: value for key, value in item("en", 0).items() if key != "mc_answer4"}]
    with pytest.raises(BabelscopeError, match=r"en\.jsonl, line 1: no column mc_answer4"):
        read_comprehension(write(tmp_path, {"en": rows}))
    with pytest.raises(BabelscopeError, match=r"en\.jsonl, line 1: 3 is not a text"):
        read_comprehension(write(tmp_path, {"en": [item("en", 0, mc_answer1=3)]}))
    apart = {"en": ITEMS["en"][:1], "sw": ITEMS["sw"][1:]}
    with pytest.raises(BabelscopeError, match="No question is there in all of en, sw"):
        read_comprehension(write(tmp_path, apart))
    files = write(tmp_path, ITEMS) | {"de": str(tmp_path / "de.jsonl")}
    with pytest.raises(BabelscopeError, match=r"The corpus has no de: .*de\.jsonl"):
        read_comprehension(files)


def evaluation(files, kind, format, **changes):
    keywords = {"id_column": "", "parts": {}, "labels": [], "codes": {}, "pivot": "en"} | changes
    return read_evaluation(files, kind=kind, format=format, **keywords)


def test_every_kind_has_its_reader(tmp_path):
    table, _ = evaluation(write(tmp_path, ITEMS), "reading", "jsonl")
    assert "choices" in table
    path = tmp_path / "sts.tsv"
    path.write_text("sentence1\tsentence2\tscore\na\tb\t1\nc\td\t0\n")
    table, _ = evaluation({"en/de": str(path)}, "sts", "tsv", labels=["0", "1"])
    assert list(table["score"]) == [1.0, 0.0]
    path = tmp_path / "bitext.tsv"
    path.write_text("deu\teng\na\tb\n")
    codes = {"de": "deu", "en": "eng"}
    table, _ = evaluation({"de/en": str(path)}, "bitext", "tsv", codes=codes)
    assert list(table["sentence2"]) == ["b"]
    for name, text in {"1": "x\ta\ny\tb\n", "2": "p\ta\nq\tb\n", "3": "x\tp\n"}.items():
        (tmp_path / name).write_text(text)
    files = {f"zh/en/dev/{number}": str(tmp_path / number) for number in ("1", "2", "3")}
    parts = dict.fromkeys(("train", "test"), ("dev", 0.0, 1.0))
    table, _ = evaluation(files, "mining", "bucc", parts=parts)
    assert list(table["partner"].dropna()) == ["p", "x"] * 2
    files = {}
    for name, text in {"train": "1\ta\tx\n2\tb\ty\n", "test": "3\ta\tz\n"}.items():
        (tmp_path / name).write_text(f"index_id\tcategory\ttext\n{text}")
        files[f"en/{name}"] = str(tmp_path / name)
    parts = {name: (name, 0.0, 1.0) for name in ("train", "test")}
    table, _ = evaluation(files, "topics", "tsv", parts=parts)
    assert list(table["label"]) == ["a", "b", "a"]
    with pytest.raises(ValueError, match="no reader"):
        evaluation(files, "summaries", "tsv")
