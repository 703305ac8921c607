"""Splits that share nothing, and hold the same items in every language."""

import pytest

from babelscope.config import Corpus
from babelscope.corpus.examples import read_examples
from babelscope.errors import BabelscopeError

SPLITS = ("train", "valid", "test")
BLANK = dict.fromkeys(Corpus.model_fields, "") | {"path": "x"}
LANGUAGES = ("en", "de", "zh")


def parts(splits, kind="nli"):
    fields = {"kind": kind, "format": {"nli": "tsv", "ner": "panx"}[kind], "name": "x"}
    fields |= {"splits": splits, "labels": "LOC" if kind == "ner" else ""}
    return Corpus.model_validate(BLANK | fields).parts


def read(files, splits, kind="nli", format="", types=("LOC",)):
    formats = {"nli": "tsv", "ner": "panx"}
    found = read_examples(
        files,
        kind=kind,
        format=format or formats[kind],
        parts=parts(splits, kind),
        id_column="",
        types=types if kind == "ner" else (),
    )
    tables, counts = {}, {}
    for language, by_split, rows in found:
        tables[language] = by_split
        counts |= {(row["language"], row["split"]): row for row in rows}
    return tables, counts


def write_nli(path, rows):
    lines = ["premise\thypothesis\tlabel", *("\t".join(row) for row in rows)]
    path.write_text("".join(line + "\n" for line in lines), "utf-8")
    return str(path)


def write_ner(path, sentences):
    blocks = ["".join(f"{token}\tO\n" for token in sentence.split()) for sentence in sentences]
    path.write_text("\n".join(blocks), "utf-8")
    return str(path)


def pairs(language, premises=200, name=""):
    """Return three pairs for each premise, as in XNLI."""
    labels = ("entailment", "neutral", "contradiction")
    return [
        (f"{language} {name}{n}", f"{language} {name}{n} {label}", label)
        for n in range(premises)
        for label in labels
    ]


@pytest.fixture
def files(tmp_path):
    """Return a parallel corpus in three languages: one file for two splits, one for the test."""
    return {
        language: {
            "dev": write_nli(tmp_path / f"dev.{language}", pairs(language)),
            "test": write_nli(tmp_path / f"test.{language}", pairs(language, 20, "t")),
        }
        for language in LANGUAGES
    }


def test_splits_are_disjoint_and_the_same_in_every_language(files):
    tables, counts = read(files, "dev:0.8 dev:0.2 test")
    first = tables["en"]
    for language in LANGUAGES:
        for split in SPLITS:
            assert list(tables[language][split]["sent_id"]) == list(first[split]["sent_id"])
    train, valid = (set(first[split]["sent_id"]) for split in SPLITS[:2])
    assert not train & valid
    assert len(train | valid) == 600
    assert 60 < len(valid) < 180  # 0.2 of 600, give or take 3 standard deviations of 200 premises
    assert len(first["test"]) == 60
    assert counts["de", "valid"] == {
        **{"language": "de", "split": "valid", "file": "dev", "found": 600},
        **{"unlabelled": 0, "empty": 0, "replaced": 0, "duplicates": 0, "rows": len(valid)},
        **dict.fromkeys(("entailment", "neutral", "contradiction"), len(valid) // 3),
    }


def test_pairs_with_one_premise_stay_together(files):
    tables, _ = read(files, "dev:0.5 dev:0.3 dev:0.2")
    premises = [set(tables["en"][split]["premise"]) for split in SPLITS]
    assert sum(map(len, premises)) == len(set.union(*premises)) == 200


def test_a_part_does_not_depend_on_the_other_shares(files):
    larger = read(files, "dev:0.8 dev:0.2 test")[0]["en"]["train"]
    smaller = read(files, "dev:0.5 dev:0.2 test")[0]["en"]["train"]
    assert set(smaller["sent_id"]) < set(larger["sent_id"])


def test_parts_are_the_same_on_every_machine(tmp_path):
    file = write_nli(tmp_path / "a", [(f"p{n}", "h", "neutral") for n in range(1, 13)])
    tables, _ = read({"en": {"a": file}}, "a:0.4 a:0.3 a:0.3")
    found = [" ".join(tables["en"][split]["sent_id"]) for split in SPLITS]
    assert found == ["4 5 6 10 11", "7 9", "1 2 3 8 12"]


def test_a_translation_follows_its_row_where_premises_are_translated_unevenly(files, tmp_path):
    rows = pairs("zh")
    rows = [(f"{premise} {n}", *rest) for n, (premise, *rest) in enumerate(rows)]
    files["zh"]["dev"] = write_nli(tmp_path / "dev.zh", rows)
    tables, _ = read(files, "dev:0.8 dev:0.2 test")
    assert list(tables["zh"]["valid"]["sent_id"]) == list(tables["en"]["valid"]["sent_id"])


def test_repeated_rows_do_not_validate_what_was_trained_on(tmp_path):
    """As published: data were repeated and then split, so validation examples were trained on."""
    sentences = [f"Satz {n} ist da" for n in range(60)] * 3
    file = write_ner(tmp_path / "all", sentences)
    tables, counts = read({"de": {"all": file}}, "all:0.6 all:0.2 all:0.2", "ner")
    texts = [set(map(tuple, tables["de"][split]["tokens"])) for split in SPLITS]
    assert not texts[0] & texts[1]
    assert not texts[0] & texts[2]
    assert not texts[1] & texts[2]
    rows = sum(counts["de", split]["rows"] + counts["de", split]["duplicates"] for split in SPLITS)
    assert rows == 180
    assert counts["de", "train"]["duplicates"] > 20


def test_what_is_tested_is_taken_out_of_training_and_nothing_out_of_the_test(tmp_path, caplog):
    names = {"train": "a b c b", "dev": "b d c", "test": "c c e"}
    files = {
        name: write_ner(tmp_path / name, sentences.split()) for name, sentences in names.items()
    }
    tables, counts = read({"sw": files}, "train dev test", "ner")
    found = {split: "".join(table["tokens"].sum()) for split, table in tables["sw"].items()}
    assert found == {"train": "a", "valid": "bd", "test": "cce"}
    assert [counts["sw", split]["duplicates"] for split in SPLITS] == [3, 1, 0]
    assert [counts["sw", split]["found"] for split in SPLITS] == [4, 3, 3]
    assert "sw: 3 examples of train are also in a later split and dropped" in caplog.text


def test_entities_and_tokens_are_counted(tmp_path):
    (tmp_path / "a").write_text("x\tB-LOC\ny\tI-LOC\n\nz\tI-LOC\nu\tB-LOC\n")
    files = {"train": write_ner(tmp_path / "t", ["p"]), "a": str(tmp_path / "a")}
    files |= {"v": write_ner(tmp_path / "v", ["q"])}
    _, counts = read({"en": files}, "train v a", "ner")
    assert counts["en", "test"] == {
        **{"language": "en", "split": "test", "file": "a", "found": 2, "repaired": 1},
        **{"replaced": 0, "duplicates": 0, "rows": 2, "tokens": 4, "LOC": 3},
    }


def test_a_language_without_training_data_is_named(files, tmp_path):
    files["zh"]["dev"] = str(tmp_path / "nothing.tsv")
    with pytest.raises(BabelscopeError) as caught:
        read(files, "dev:0.8 dev:0.2 test")
    words = ("zh has no examples for train and valid", "nothing.tsv does not exist")
    for word in (*words, "tickets.languages", "config/corpora.tsv"):
        assert word in str(caught.value)


def test_a_split_without_an_example_is_named(tmp_path):
    files = {name: write_ner(tmp_path / name, ["a"]) for name in ("train", "dev", "test")}
    with pytest.raises(BabelscopeError, match=r"ur: no example is left for train in .*train \(1 "):
        read({"ur": files}, "train dev test", "ner")
    files = {"all": write_ner(tmp_path / "all", ["a"])}
    with pytest.raises(BabelscopeError, match="ur: no example is left"):
        read({"ur": files}, "all:0.6 all:0.2 all:0.2", "ner")


def test_a_data_set_of_several_files(tmp_path):
    from datasets import Dataset

    for name, language in (("train", "en"), ("test", "de"), ("validation", "zh")):
        rows = pairs(language, 2)
        columns = zip(("premise", "hypothesis", "label"), zip(*rows, strict=True), strict=True)
        data = Dataset.from_dict({key: list(values) for key, values in columns})
        for n in range(2):
            shard = data.shard(2, n, contiguous=True)
            shard.to_parquet(tmp_path / f"{name}-0000{n}-of-00002.parquet")
    paths = {name: str(tmp_path / f"{name}-*.parquet") for name in ("train", "validation", "test")}
    tables, _ = read({"en": paths}, "train validation test", format="datasets")
    assert [len(tables["en"][split]) for split in SPLITS] == [6, 6, 6]
    paths["train"] = str(tmp_path / "x" / "train-*.parquet")
    with pytest.raises(BabelscopeError, match=r"en has no examples for train: .*\*\.parquet does"):
        read({"en": paths}, "train validation test", format="datasets")


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        ("train dev test", [("train", 0, 1), ("dev", 0, 1), ("test", 0, 1)]),
        ("dev:0.8 dev:0.2 test", [("dev", 0, 0.8), ("dev", 0.8, 1), ("test", 0, 1)]),
        ("a:.7 a:0.1 a:0.2", [("a", 0, 0.7), ("a", 0.7, 0.8), ("a", 0.8, 1)]),
    ],
)
def test_shares_of_a_file(splits, expected):
    assert list(parts(splits).values()) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"splits": "dev:0.8 dev:0.3 test"}, "more of dev than there is"),
        ({"splits": "dev dev:0.2 test"}, "more of dev than there is"),
        ({"splits": "dev test"}, "splits must say"),
        ({"splits": "dev:2 dev test"}, "must be two or three names"),
        ({"splits": ""}, "splits must say"),
        ({"labels": "LOC"}, "labels must name"),
        ({"kind": "ner", "format": "panx"}, "labels must name"),
        ({"path": "{fetched}/a"}, "needs a url"),
        ({"url": "https://example.org/a.zip", "path": "{data_root}/a"}, "needs a url"),
        ({"format": "panx"}, "nli has the formats tsv, jsonl, datasets"),
    ],
)
def test_rows_of_the_table_that_contradict_themselves(change, message):
    good = {"name": "x", "kind": "nli", "format": "tsv", "splits": "train dev test"}
    Corpus.model_validate(BLANK | good)
    with pytest.raises(ValueError, match=message):
        Corpus.model_validate(BLANK | good | change)


@pytest.mark.real_data
def test_real_splits_are_disjoint_and_the_same_in_every_language(real_data):
    folder = real_data / "nli" / "xnli"
    files = {
        lang: {name: str(folder / f"{name}.{lang}.tsv.xz") for name in ("dev", "test")}
        for lang in ("en", "zh", "ur")
    }
    tables, counts = read(files, "dev:0.8 dev:0.2 test")
    for lang in files:
        train, valid, _ = (list(tables[lang][split]["sent_id"]) for split in SPLITS)
        assert not set(train) & set(valid)
        assert [train, valid] == [list(tables["en"][split]["sent_id"]) for split in SPLITS[:2]]
        assert (len(train), len(valid), counts[lang, "test"]["rows"]) == (1977, 513, 5010)


@pytest.mark.real_data
def test_real_entities_lose_what_is_tested(real_data):
    folder = real_data / "ner" / "panx"
    files = {
        lang: {name: str(folder / lang / f"{name}.tsv") for name in ("train", "dev", "test")}
        for lang in ("en", "de", "sw")
    }
    _, counts = read(files, "train dev test", "ner", types=("LOC", "ORG", "PER"))
    dropped = {lang: [counts[lang, split]["duplicates"] for split in SPLITS] for lang in files}
    assert dropped == {"en": [14, 3, 0], "de": [115, 28, 0], "sw": [118, 37, 0]}
