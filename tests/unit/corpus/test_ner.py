"""Sentences with entities out of every format, tags as published scores read them."""

import json
import lzma

import pytest
from seqeval.metrics.sequence_labeling import get_entities

from babelscope.corpus.ner import read_ner, to_iob2
from babelscope.errors import BabelscopeError

SENTENCES = [
    (["Ali", "Khan", "besucht", "Köln"], ["B-PER", "I-PER", "O", "B-LOC"]),
    (["北", "京", "。"], ["B-LOC", "I-LOC", "O"]),
]
TYPES = ["LOC", "PER"]


def read(path, format="panx", language="de", types=TYPES):
    return read_ner(path, format=format, language=language, types=types)


def write(path, separator="\t", prefix="", sentences=SENTENCES):
    blocks = [
        "".join(f"{prefix}{token}{separator}{tag}\n" for token, tag in zip(*sentence, strict=True))
        for sentence in sentences
    ]
    content = "\n".join(blocks).encode()
    path.write_bytes(lzma.compress(content) if path.suffix == ".xz" else content)
    return path


def check(table, ids=("1", "2")):
    assert list(table.columns) == ["sent_id", "tokens", "tags"]
    assert list(table["sent_id"]) == list(ids)
    assert list(zip(table["tokens"], table["tags"], strict=True)) == SENTENCES


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.xz"])
@pytest.mark.parametrize("prefix", ["", "de:"])
def test_panx_with_and_without_the_language(name, prefix, tmp_path):
    table, counts = read(write(tmp_path / name, prefix=prefix))
    check(table)
    assert counts == {"found": 2, "repaired": 0, "replaced": 0}


def test_a_prefix_is_taken_off_once_and_only_if_it_is_the_rule(tmp_path):
    sentences = [(["de:", "de:x"], ["O", "O"]), (["y", "z"], ["O", "O"])]
    table, _ = read(write(tmp_path / "a.tsv", sentences=sentences))
    assert table["tokens"].sum() == ["de:", "de:x", "y", "z"]
    table, _ = read(write(tmp_path / "a.tsv", prefix="de:", sentences=[(["de:b"], ["O"])]))
    assert table["tokens"][0] == ["de:b"]


def test_a_file_of_another_language_or_with_a_lost_prefix_is_refused(tmp_path):
    """Else all its tokens would keep the prefix, and every text be misread."""
    message = r"a.tsv, line 1: the token 'en:.*' does not begin with de:, .* begin with en:"
    with pytest.raises(BabelscopeError, match=message):
        read(write(tmp_path / "a.tsv", prefix="en:"))
    sentences = [(["de:a", "de:x"], ["O", "O"]), (["y"], ["O"])]
    with pytest.raises(BabelscopeError, match=r"a.tsv, line 4: the token 'y' does not begin"):
        read(write(tmp_path / "a.tsv", sentences=sentences))


@pytest.mark.parametrize("separator", [" ", "\t", " NN B-NP ", "\tNN\tB-NP\t", "  "])
def test_conll_takes_the_first_and_the_last_column(separator, tmp_path):
    path = write(tmp_path / "a.conll", separator)
    path.write_text("-DOCSTART- -X- -X- O\n\n" + path.read_text())
    check(read(path, "conll")[0])


def test_conll_comments_name_sentences(tmp_path):
    path = write(tmp_path / "a.conll")
    first, second = path.read_text().split("\n\n")
    path.write_text(
        f"# sent_id = n01\n# text = Ali in O\n{first}\n\n\n# newdoc\n# sent_id = w2\n{second}"
    )
    check(read(path, "conll")[0], ["n01", "w2"])
    path.write_text(path.read_text().replace("w2", "n01"))
    with pytest.raises(BabelscopeError, match=r"a\.conll, line \d+: the id n01 is there twice"):
        read(path, "conll")


@pytest.mark.parametrize("line", ["# O", "#\tO", "# SYM B-NP O", "#tag O"])
def test_a_token_that_looks_like_a_comment(line, tmp_path):
    path = tmp_path / "a.conll"
    path.write_text(f"{line}\n1 O\n\n1 O\n{line}\n")
    table, _ = read(path, "conll")
    assert [len(tokens) for tokens in table["tokens"]] == [2, 2]


def test_white_space_of_other_scripts_is_no_separator(tmp_path):
    tokens = ["a\u00a0b", "x\u3000y", "\u2028z", "e\u0301"]
    for separator, format in (("\t", "panx"), (" ", "conll")):
        sentence = (tokens, ["O"] * len(tokens))
        table, _ = read(write(tmp_path / "a", separator, sentences=[sentence]), format)
        assert table["tokens"][0] == tokens


def dataset(names=("O", "B-PER", "I-PER", "B-LOC", "I-LOC"), column="ner_tags"):
    from datasets import ClassLabel, Dataset, Features, List, Value

    label = ClassLabel(names=list(names))
    features = Features({"tokens": List(Value("string")), column: List(label)})
    rows = {
        "tokens": [tokens for tokens, _ in SENTENCES],
        column: [[names.index(tag) for tag in tags] for _, tags in SENTENCES],
    }
    return Dataset.from_dict(rows, features=features)


@pytest.mark.parametrize("column", ["ner_tags", "tags"])
def test_a_data_set_of_the_hub(column, tmp_path):
    dataset(column=column).to_parquet(tmp_path / "train-00000-of-00001.parquet")
    check(read(tmp_path / "train-*.parquet", "datasets")[0])
    check(read(tmp_path / "train-00000-of-00001.parquet", "datasets")[0])


def test_a_data_set_saved_to_disk(tmp_path):
    dataset().save_to_disk(tmp_path / "train", num_shards=2)
    check(read(tmp_path / "train", "datasets")[0])


def test_a_data_set_as_json_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"tokens": tokens, "ner_tags": tags} for tokens, tags in SENTENCES]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    check(read(path, "datasets")[0])


@pytest.mark.parametrize(
    ("tags", "iob2"),
    [
        ("O I-PER I-PER O", "O B-PER I-PER O"),
        ("I-LOC", "B-LOC"),
        ("B-PER I-LOC I-LOC", "B-PER B-LOC I-LOC"),
        ("I-PER B-PER I-PER", "B-PER B-PER I-PER"),  # IOB1: two entities side by side
        ("B-LOC I-LOC O I-LOC", "B-LOC I-LOC O B-LOC"),
    ],
)
def test_an_entity_that_begins_with_i_is_repaired_as_seqeval_reads_it(tags, iob2, tmp_path):
    tags, iob2 = tags.split(), iob2.split()
    assert to_iob2(tags) == iob2
    assert get_entities(tags) == get_entities(iob2)
    table, counts = read(write(tmp_path / "a.tsv", sentences=[(["x"] * len(tags), tags)]))
    assert table["tags"][0] == iob2
    assert counts["repaired"] == sum(a != b for a, b in zip(tags, iob2, strict=True))


def test_lost_characters_are_counted(tmp_path):
    path = write(tmp_path / "a.tsv", sentences=[(["caf\ufffd", "x", "\ufffd\ufffd"], ["O"] * 3)])
    assert read(path)[1]["replaced"] == 2


@pytest.mark.parametrize("format", ["panx", "conll"])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Bonn\tB-ORG", "line 2: the tag 'B-ORG' is not one of B-LOC, B-PER, I-LOC, I-PER, O"),
        ("Bonn\tLOC", "line 2: the tag 'LOC' is not one of"),
        ("Bonn\tS-LOC", "line 2: the tag 'S-LOC' is not one of"),
        ("Bonn\tB-", "line 2: the tag 'B-' is not one of"),
        ("Bonn\t", "line 2: the tag '' is not one of"),
        ("Bonn", "line 2: 1 columns; a token and a tag are needed"),
        ("\tO", "line 2: the token is empty"),
        ("\u3000\tO", "line 2: the token is empty"),
    ],
)
def test_a_row_that_is_no_token_with_a_tag(line, message, format, tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text(f"x\tO\n{line}\n", "utf-8")
    with pytest.raises(BabelscopeError, match=rf"a\.tsv, {message}"):
        read(path, format)


def test_panx_has_two_columns(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("x\tNN\tO\n")
    with pytest.raises(BabelscopeError, match=r"a\.tsv, line 1: 3 columns"):
        read(path)


def test_an_empty_token_behind_the_prefix(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("de:x\tO\nde:\tO\n")
    with pytest.raises(BabelscopeError, match=r"a\.tsv, line 2: the token is empty"):
        read(path)


@pytest.mark.parametrize("content", ["", "\n\n", " \n"])
@pytest.mark.parametrize("format", ["panx", "conll", "datasets"])
def test_a_file_without_a_sentence(content, format, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("" if format == "datasets" else content)
    with pytest.raises(BabelscopeError, match=r"a\.jsonl holds no sentence"):
        read(path, format)


def test_text_that_is_not_utf8_is_named_with_its_line(tmp_path):
    path = tmp_path / "a.tsv.xz"
    path.write_bytes(lzma.compress(b"x\tO\n" * 9000 + "K\u00f6ln\tB-LOC\n".encode("latin-1")))
    with pytest.raises(BabelscopeError, match=r"a\.tsv\.xz is not UTF-8: .* in line 9001"):
        read(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "line 2: 2 tokens and 1 tags"),
        ({"tokens": [], "tags": []}, "line 2: 0 tokens and 0 tags"),
        ({"tokens": ["a", ""], "tags": ["O", "O"]}, "line 2: the token is empty"),
        ({"tokens": ["a", None], "tags": ["O", "O"]}, "line 2: the token is empty"),
        ({"tokens": ["a"], "tags": [1]}, "line 2: the tag 1 is not one of"),
        ({"tokens": ["a"], "labels": ["O"]}, "line 2: lists of tokens and of ner_tags are needed"),
        ({"tokens": "a", "tags": "O"}, "line 2: lists of tokens and of ner_tags are needed"),
    ],
)
def test_rows_of_a_data_set_that_do_not_fit(row, message, tmp_path):
    path = tmp_path / "a.jsonl"
    good = {"tokens": ["x"], "tags": ["O"]}
    path.write_text(f"{json.dumps(good)}\n{json.dumps(row)}\n")
    with pytest.raises(BabelscopeError, match=rf"a\.jsonl, {message}"):
        read(path, "datasets")


def test_data_sets_that_cannot_be_read(tmp_path):
    with pytest.raises(BabelscopeError, match=r"train-\*\.parquet fits no file"):
        read(tmp_path / "train-*.parquet", "datasets")
    path = tmp_path / "a.parquet"
    with pytest.raises(BabelscopeError, match=r"a\.parquet does not exist"):
        read(path, "datasets")
    dataset().to_parquet(path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(BabelscopeError, match=r"a\.parquet is damaged"):
        read(path, "datasets")
    with pytest.raises(BabelscopeError, match="not a folder that save_to_disk wrote"):
        read(tmp_path, "datasets")
    with pytest.raises(ValueError, match="no reader"):
        read(path, "csv")


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "format", "types", "found", "repaired"),
    [
        *((f"panx/{lang}/test.tsv", "panx", "LOC ORG PER", 1000, 0) for lang in ("en", "de", "ar")),
        ("panx/zh/train.tsv", "panx", "LOC ORG PER", 2500, 115),
        ("panx/ur/train.tsv", "panx", "LOC ORG PER", 2500, 0),
        ("panx/sw/dev.tsv", "panx", "LOC ORG PER", 500, 0),
        ("masakhaner/amh/train.txt", "conll", "DATE LOC ORG PER", 1750, 0),
        ("masakhaner/swa/test.txt", "conll", "DATE LOC ORG PER", 604, 0),
        *((f"uner_pud/{lang}.tsv", "conll", "LOC ORG PER", 1000, 0) for lang in ("de", "zh")),
    ],
)
def test_real_corpora(name, format, types, found, repaired, real_data):
    path = real_data / "ner" / name
    table, counts = read(path, format, types=types.split())
    assert counts == {"found": found, "repaired": repaired, "replaced": 0}
    rows = [line for line in path.read_text("utf-8").split("\n") if line and line[:2] != "# "]
    assert sum(len(tokens) for tokens in table["tokens"]) == len(rows)
    if format == "conll" and "\t" in rows[0]:
        assert table["sent_id"].str.match(r"[nw]\d+$").all()


@pytest.mark.real_data
def test_real_types_that_are_not_among_those_named(real_data):
    path = real_data / "ner" / "masakhaner" / "swa" / "dev.txt"
    with pytest.raises(BabelscopeError, match=r"dev\.txt, line \d+: the tag 'B-DATE'"):
        read(path, "conll", types=["LOC", "ORG", "PER"])
