"""Sentences with topics: the same ones in every language, and a test that was taught."""

import json
import unicodedata

import pandas as pd
import pytest

from babelscope.corpus.topics import read_topics
from babelscope.errors import BabelscopeError

TRAIN = [(11, "sports", "They won."), (7, "travel", 'A "hotel", open'), (9, "sports", "A goal!")]
TEST = [(3, "travel", "By train."), (4, "sports", "They lost.")]
COLUMNS = ["index_id", "category", "text"]
PARTS = {"train": ("train", 0.0, 1.0), "test": ("test", 0.0, 1.0)}


def translated(rows, code):
    return [(number, label, f"{code} {text}") for number, label, text in rows]


def write(folder, splits, columns=COLUMNS, format="tsv"):
    """Write the rows by language and split as SIB-200 is published; return the files."""
    files = {}
    for (language, split), rows in splits.items():
        path = folder / f"{language}.{split}.{format}"
        frame = pd.DataFrame(rows, columns=columns)
        if format == "tsv":
            frame.to_csv(path, sep="\t", index=False)
        else:
            frame.to_json(path, orient="records", lines=True, force_ascii=False)
        files[f"{language}/{split}"] = str(path)
    return files


def both(train=TRAIN, test=TEST, codes=("en", "sw")):
    splits = {}
    for code in codes:
        splits |= {(code, "train"): translated(train, code), (code, "test"): translated(test, code)}
    return splits


def read(files, format="tsv", id_column="", parts=PARTS):
    return read_topics(files, format=format, id_column=id_column, parts=parts)


@pytest.mark.parametrize("format", ["tsv", "jsonl"])
def test_the_published_layout(format, tmp_path):
    table, counts = read(write(tmp_path, both(), format=format), format)
    assert list(table.columns) == ["language", "split", "sent_id", "text", "label"]
    for (language, split), part in table.groupby(["language", "split"]):
        rows = TRAIN if split == "train" else TEST
        assert list(part["sent_id"]) == [str(number) for number, *_ in rows]
        assert list(part["label"]) == [label for _, label, _ in rows]
        assert list(part["text"]) == [f"{language} {text}" for *_, text in rows]
    rest = {"incomplete": 0, "duplicates": 0}
    train = {"split": "train", "found": 3, "rows": 3, "sports": 2, "travel": 1} | rest
    test = {"split": "test", "found": 2, "rows": 2, "sports": 1, "travel": 1} | rest
    assert counts == [{"language": code} | row for code in ("en", "sw") for row in (train, test)]


def test_other_names_of_the_columns(tmp_path):
    table, _ = read(write(tmp_path, both(), ["sent_id", "label", "sentence"]))
    assert list(table["sent_id"][:3]) == ["11", "7", "9"]
    files = write(tmp_path, both(), ["key", "label", "text"])
    assert read(files, id_column="key")[0].equals(table)
    with pytest.raises(BabelscopeError, match=r"line 2: no column index_id or sent_id; there are"):
        read(files)
    with pytest.raises(ValueError, match="no reader"):
        read(files, format="csv")


def test_sentences_that_lack_in_one_language_are_left_out_in_all(tmp_path):
    splits = both()
    splits["sw", "train"] = splits["sw", "train"][::-1][:2]  # in another order, and one lacks
    splits["sw", "test"][1] = (4, "sports", " ")
    splits["sw", "test"].append((5, "travel", "sw only"))
    splits["en", "test"].append((6, "travel", "en only"))
    table, counts = read(write(tmp_path, splits))
    for language in ("en", "sw"):
        part = table[table["language"] == language]
        assert list(part["sent_id"]) == ["7", "9", "3"]
        assert part["text"].str.startswith(language).all()
    assert [(row["found"], row["incomplete"], row["rows"]) for row in counts] == [
        (3, 1, 2),
        (4, 3, 1),
    ] * 2


def test_what_is_tested_is_not_trained_on(tmp_path):
    splits = both()
    splits["sw", "train"][2] = (9, "sports", "sw They lost.")  # alike in this language only
    table, counts = read(write(tmp_path, splits))
    for language in ("en", "sw"):
        part = table[(table["language"] == language) & (table["split"] == "train")]
        assert list(part["sent_id"]) == ["11", "7"]
    assert [row["duplicates"] for row in counts] == [1, 0, 1, 0]


def test_texts_are_composed_and_stripped(tmp_path):
    rows = [*TRAIN[:2], (9, "sports", f" {unicodedata.normalize('NFD', 'Café')}\u3000")]
    table, _ = read(write(tmp_path, both(rows, codes=("en",))))
    assert table["text"][2] == "en  Café"


def test_splits_may_share_a_file(tmp_path):
    rows = [(n, ("a", "b")[n % 2], f"text {n}") for n in range(300)]
    files = write(tmp_path, {(code, "all"): translated(rows, code) for code in ("en", "sw")})
    table, _ = read(files, parts={"train": ("all", 0.0, 0.7), "test": ("all", 0.7, 1.0)})
    ids = {key: list(part["sent_id"]) for key, part in table.groupby(["language", "split"])}
    assert ids["en", "train"] == ids["sw", "train"]
    assert sorted(ids["en", "train"] + ids["en", "test"]) == sorted(str(n) for n in range(300))
    assert 0.6 < len(ids["en", "train"]) / 300 < 0.8


def test_one_class_only(tmp_path):
    rows = [(number, "sports", text) for number, _, text in TRAIN]
    message = r"All 3 training sentences have the label sports \(.*en\.train\.tsv"
    with pytest.raises(BabelscopeError, match=message):
        read(write(tmp_path, both(rows, TEST[1:])))


def test_a_label_that_was_never_taught(tmp_path):
    test = [*TEST, (5, "health", "Be well.")]
    with pytest.raises(BabelscopeError, match="No training sentence has the label health"):
        read(write(tmp_path, both(test=test)))


def test_an_empty_split(tmp_path):
    with pytest.raises(BabelscopeError, match="No sentence is left for test"):
        read(write(tmp_path, both(test=[])))


def test_labels_that_differ_between_languages(tmp_path):
    splits = both()
    splits["sw", "train"][1] = (7, "sports", "sw hotel")
    with pytest.raises(
        BabelscopeError,
        match=r"sw\.train\.tsv, line 3: the label is sports, but travel in another language",
    ):
        read(write(tmp_path, splits))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((7, "travel", "again"), "line 5: the id 7 is there twice"),
        ((8, "", "a"), "line 5: no label"),
    ],
)
def test_a_row_that_does_not_fit(row, message, tmp_path):
    with pytest.raises(BabelscopeError, match=rf"en\.train\.tsv, {message}"):
        read(write(tmp_path, both([*TRAIN, row], codes=("en",))))


def test_a_language_without_a_file(tmp_path):
    files = write(tmp_path, both())
    files["de/train"] = str(tmp_path / "de.train.tsv")
    with pytest.raises(BabelscopeError, match=r"The corpus has no de: .*de\.train\.tsv"):
        read(files)


def test_a_label_that_is_a_number(tmp_path):
    """A class number says nothing without its name."""
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"index_id": 1, "category": 3, "text": "a"}))
    with pytest.raises(BabelscopeError, match=r"a\.jsonl, line 1: 3 is not a text"):
        read({"en/train": str(path), "en/test": str(path)}, "jsonl")
