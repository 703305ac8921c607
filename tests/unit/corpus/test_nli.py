"""Labelled pairs out of every format, with the same ids in every language."""

import json
import lzma

import pytest

from babelscope.corpus.nli import read_nli
from babelscope.errors import BabelscopeError

ROWS = [
    ("It rains.", "The street is dry.", "contradiction"),
    ("It rains.", 'He said "no".', "neutral"),
    ("Es regnet.", "水落下。", "entailment"),
]


def read(path, format="tsv", language="en", id_column=""):
    return read_nli(path, format=format, language=language, id_column=id_column)


def write(path, header="premise hypothesis label", rows=ROWS):
    lines = ["\t".join(header.split())] if header else []
    content = "".join(f"{line}\n" for line in [*lines, *("\t".join(row) for row in rows)])
    path.write_bytes(lzma.compress(content.encode()) if path.suffix == ".xz" else content.encode())
    return path


def check(table, rows=ROWS, ids=("1", "2", "3")):
    assert list(table.columns) == ["sent_id", "premise", "hypothesis", "label"]
    assert list(table["sent_id"]) == list(ids)
    assert [tuple(row[1:]) for row in table.itertuples(index=False)] == list(rows)


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.xz"])
@pytest.mark.parametrize(
    "header", ["premise hypothesis label", "sentence1 sentence2 gold_label", ""]
)
def test_tsv_as_published(name, header, tmp_path):
    table, counts = read(write(tmp_path / name, header))
    check(table)
    assert counts == {"found": 3, "unlabelled": 0, "empty": 0, "replaced": 0}


def test_the_translated_training_data_of_xnli(tmp_path):
    rows = [(*row[:2], row[2].replace("contradiction", "contradictory")) for row in ROWS]
    check(read(write(tmp_path / "a.tsv", "premise hypo label", rows))[0])


def published(tmp_path, id_column=""):
    """Return the tables of a file that holds two languages, as the published test data does."""
    rows = [("de", "neutral", f"d{n}", f"e{n}", f"p{n}") for n in range(3)]
    rows += [("en", "-" if n == 1 else "neutral", f"a{n}", f"b{n}", f"p{n}") for n in range(3)]
    path = write(tmp_path / "a.tsv", "language gold_label sentence1 sentence2 pairID", rows)
    return [read(path, language=language, id_column=id_column) for language in ("de", "en")]


def test_a_file_with_several_languages_is_numbered_within_each(tmp_path):
    (german, _), (english, counts) = published(tmp_path)
    assert list(german["sent_id"]) == ["1", "2", "3"]
    assert list(english["sent_id"]) == ["1", "3"]
    assert list(english["premise"]) == ["a0", "a2"]
    assert counts == {"found": 3, "unlabelled": 1, "empty": 0, "replaced": 0}


def test_ids_may_stand_in_a_column(tmp_path):
    tables = published(tmp_path, "pairID")
    assert [list(table["sent_id"]) for table, _ in tables] == [["p0", "p1", "p2"], ["p0", "p2"]]


def test_a_language_that_the_file_does_not_have(tmp_path):
    published(tmp_path)
    with pytest.raises(BabelscopeError, match=r"a\.tsv holds no labelled pair in sw: 0 rows"):
        read(tmp_path / "a.tsv", language="sw")


def test_jsonl(tmp_path):
    path = tmp_path / "a.jsonl"
    keys = ("sentence1", "sentence2", "gold_label", "language")
    rows = [dict(zip(keys, (*row, "en"), strict=True)) for row in ROWS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    check(read(path, "jsonl")[0])


def test_a_data_set_of_the_hub(tmp_path):
    from datasets import ClassLabel, Dataset, Features, Value

    names = ["neutral", "contradiction", "entailment"]  # the file's own order is what counts
    features = Features(
        {
            "premise": Value("string"),
            "hypothesis": Value("string"),
            "label": ClassLabel(names=names),
        }
    )
    rows = {
        "premise": [row[0] for row in ROWS] + ["x"],
        "hypothesis": [row[1] for row in ROWS] + ["y"],
        "label": [names.index(row[2]) for row in ROWS] + [-1],
    }
    data = Dataset.from_dict(rows, features=features)
    data.to_parquet(tmp_path / "test-00000-of-00001.parquet")
    data.save_to_disk(tmp_path / "saved")
    for path in ("test-*.parquet", "saved"):
        table, counts = read(tmp_path / path, "datasets")
        check(table)
        assert counts["unlabelled"] == 1


def test_numbers_without_names_are_those_of_xnli(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"premise": "a", "hypothesis": "b", "label": number} for number in (0, 1, 2, -1)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    table, counts = read(path, "datasets")
    assert list(table["label"]) == ["entailment", "neutral", "contradiction"]
    assert counts["unlabelled"] == 1


def test_pairs_without_text_are_left_out_and_counted(tmp_path):
    rows = [*ROWS, ("", "x", "neutral"), ("x", " ", "neutral"), ("caf\ufffd", "x", "neutral")]
    table, counts = read(write(tmp_path / "a.tsv", rows=rows))
    assert list(table["sent_id"]) == ["1", "2", "3", "6"]
    assert counts == {"found": 6, "unlabelled": 0, "empty": 2, "replaced": 1}


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("premise hypothesis label", ("a", "b", "yes"), "line 2: the label 'yes' is not one of"),
        ("premise hypothesis label", ("a", "b", "Neutral"), "line 2: the label 'Neutral'"),
        ("premise hypothesis label", ("a", "b"), "line 2: 2 cells, but the header has 3"),
        ("premise hypothesis", ("a", "b"), "line 2: no column label or gold_label"),
        (
            "premise text label",
            ("a", "b", "-"),
            "line 2: no column hypothesis or hypo or sentence2",
        ),
    ],
)
def test_a_row_that_does_not_fit(header, row, message, tmp_path):
    path = write(tmp_path / "a.tsv", header, [row])
    with pytest.raises(BabelscopeError, match=rf"a\.tsv, {message}"):
        read(path)


@pytest.mark.parametrize("label", [3, True, 1.0, ["neutral"], "1"])
def test_a_label_of_another_kind(label, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"premise": "a", "hypothesis": "b", "label": label}))
    with pytest.raises(BabelscopeError, match=r"a\.jsonl, line 1: the label .* is not one of"):
        read(path, "jsonl")


def test_an_id_twice(tmp_path):
    path = write(tmp_path / "a.tsv", "id premise hypothesis label", [("1", *ROWS[0])] * 2)
    with pytest.raises(BabelscopeError, match=r"a\.tsv, line 3: the id 1 is there twice"):
        read(path, id_column="id")
    with pytest.raises(BabelscopeError, match=r"a\.tsv, line 2: no column pairID"):
        read(path, id_column="pairID")


@pytest.mark.parametrize("content", ["", "premise\thypothesis\tlabel\n"])
def test_a_file_without_a_pair(content, tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text(content)
    with pytest.raises(BabelscopeError, match=r"a\.tsv holds no labelled pair in en"):
        read(path)


def test_text_that_is_not_utf8(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(b"premise\thypothesis\tlabel\na\tgr\xfcn\tneutral\n")
    with pytest.raises(BabelscopeError, match=r"a\.tsv is not UTF-8: .* in line 2"):
        read(path)
    with pytest.raises(ValueError, match="no reader"):
        read(path, "csv")


@pytest.mark.real_data
@pytest.mark.parametrize("split", ["dev", "test"])
def test_real_pairs_are_the_same_in_every_language(split, real_data):
    labels = []
    for language in ("en", "de", "ur", "zh", "sw"):
        path = real_data / "nli" / "xnli" / f"{split}.{language}.tsv.xz"
        table, counts = read(path, language=language)
        assert counts["found"] == len(table) == {"dev": 2490, "test": 5010}[split]
        labels.append(list(table["label"]))
    assert all(one == labels[0] for one in labels)
    assert len(set(labels[0])) == 3
