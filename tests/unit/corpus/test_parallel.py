"""One table out of every format, and an error for whatever does not align."""

import json
import lzma
import unicodedata

import pytest

from babelscope.corpus.parallel import read_parallel
from babelscope.errors import BabelscopeError

LANGUAGES = ["en", "ur", "zh"]
TEXTS = {
    "en": ["It rains.", 'He said "no".', "Café"],
    "ur": ["بارش ہو رہی ہے۔", "اس نے کہا نہیں۔", "کیفے"],
    "zh": ["下雨了。", "他说不。", "咖啡馆"],
}
IDS = ["n1", "n2", "w1"]


def write_tsv(path, header=("sent_id", "fact", "zh", "en", "ur"), lines=None):
    columns = {**TEXTS, "sent_id": IDS, "fact": ["a", "b", "c"]}
    rows = zip(*(columns[name] for name in header), strict=True)
    lines = lines or ["\t".join(row) for row in rows]
    content = "\n".join(["\t".join(header), *lines]) + "\n"
    if path.suffix == ".xz":
        path.write_bytes(lzma.compress(content.encode()))
    else:
        path.write_text(content, "utf-8", newline="")
    return path


def read(path, languages=LANGUAGES, format="tsv", id_column="sent_id", missing="refuse"):
    return read_parallel(path, languages, format=format, id_column=id_column, missing=missing)


def check(table, ids=IDS):
    assert list(table.columns) == ["sent_id", *LANGUAGES]
    assert list(table["sent_id"]) == ids
    for language in LANGUAGES:
        assert list(table[language]) == TEXTS[language]


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.xz"])
def test_tsv(name, tmp_path):
    table, counts = read(write_tsv(tmp_path / name))
    check(table)
    assert counts == {
        "rows": 3,
        "kept": 3,
        "dropped": 0,
        "missing": {"en": 0, "ur": 0, "zh": 0},
    }


def test_tsv_without_ids_numbers_its_rows(tmp_path):
    table, _ = read(write_tsv(tmp_path / "a.tsv", ("en", "ur", "zh")), id_column="")
    check(table, ["1", "2", "3"])


def test_two_columns_without_a_header_as_opus_exports_them(tmp_path):
    path = tmp_path / "en-ur.tsv.xz"
    pairs = zip(TEXTS["ur"], TEXTS["en"], strict=True)
    path.write_bytes(lzma.compress("".join(f"{ur}\t{en}\n" for ur, en in pairs).encode()))
    options = {"format": "opus", "id_column": "", "missing": "refuse"}
    table, counts = read_parallel(path, ["en", "ur"], columns=["ur", "en"], **options)
    assert list(table["sent_id"]) == ["1", "2", "3"]
    assert [list(table[name]) for name in ("en", "ur")] == [TEXTS["en"], TEXTS["ur"]]
    assert counts["rows"] == 3
    with pytest.raises(BabelscopeError, match="line 1: 2 cells"):
        read_parallel(path, ["en"], columns=["ur", "en", "zh"], **options)


def objects():
    return [
        {"sent_id": IDS[i], **{language: texts[i] for language, texts in TEXTS.items()}}
        for i in range(3)
    ]


def test_jsonl(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in objects()), "utf-8")
    check(read(path, format="jsonl")[0])


def test_json_as_the_bible_was_published(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(objects(), ensure_ascii=False), "utf-8")
    check(read(path, format="json", id_column="")[0], ["1", "2", "3"])
    path.write_text('{"en": []}')
    with pytest.raises(BabelscopeError, match="is not a list"):
        read(path, format="json")


def write_moses(folder):
    for language, texts in TEXTS.items():
        (folder / f"test.{language}.txt").write_text("\n".join(texts) + "\n", "utf-8")
    return str(folder / "test.{lang}.txt")


def test_moses(tmp_path):
    path = write_moses(tmp_path)
    check(read(path, format="moses")[0], ["1", "2", "3"])
    files = {language: path.replace("{lang}", language) for language in reversed(LANGUAGES)}
    check(read(files, format="moses")[0], ["1", "2", "3"])


def write_conllu(folder, leave_out=()):
    for language, texts in TEXTS.items():
        blocks = [
            f"# newdoc id = x\n# sent_id = {name}\n# text = {text}\n# text_en = {text}\n1\ta\t_\n\n"
            for name, text in zip(IDS, texts, strict=True)
            if (language, name) not in leave_out
        ]
        (folder / f"{language}_pud.conllu").write_text(
            "".join(reversed(blocks) if language == "zh" else blocks), "utf-8"
        )
    return str(folder / "{lang}_pud.conllu")


def test_conllu_is_aligned_by_id_not_by_place(tmp_path):
    check(read(write_conllu(tmp_path), format="conllu")[0])


def test_conllu_with_an_id_twice(tmp_path):
    path = write_conllu(tmp_path)
    file = tmp_path / "ur_pud.conllu"
    file.write_text(file.read_text("utf-8").replace("n2", "n1"), "utf-8")
    with pytest.raises(BabelscopeError, match=r"ur_pud.conllu, line \d+: the id n1 is there twice"):
        read(path, format="conllu")


def test_text_is_composed_and_stripped(tmp_path):
    decomposed = unicodedata.normalize("NFD", "Café")
    lines = [f"n1\t {decomposed} \tب\t字\r", "n2\tb\tب\t字"]
    table, _ = read(write_tsv(tmp_path / "a.tsv", ("sent_id", *LANGUAGES), lines))
    assert list(table["en"]) == ["Café", "b"]
    assert list(table["zh"]) == ["字", "字"]


def test_a_byte_order_mark_is_not_part_of_the_first_name(tmp_path):
    path = write_tsv(tmp_path / "a.tsv")
    path.write_text("\ufeff" + path.read_text("utf-8"), "utf-8")
    check(read(path)[0])


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(BabelscopeError) as caught:
        read(write_tsv(tmp_path / "a.tsv"), ["en", "de"])
    for word in ("no column de", "sent_id, fact, zh, en, ur", "config/corpora.tsv"):
        assert word in str(caught.value)


@pytest.mark.parametrize(("line", "cells"), [("n9\ta\tb", 3), ("n9\ta\tb\tc\td\te", 6)])
def test_a_short_or_long_row_is_named(line, cells, tmp_path):
    path = write_tsv(tmp_path / "a.tsv")
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(BabelscopeError, match=f"a.tsv, line 5: {cells} cells, .* header has 5"):
        read(path)


def test_a_missing_translation_is_refused_by_id_and_language(tmp_path):
    path = write_conllu(tmp_path, leave_out={("ur", "n2"), ("zh", "w1")})
    with pytest.raises(BabelscopeError) as caught:
        read(path, format="conllu")
    for word in ("2 translations are missing", "n2 in ur", "w1 in zh", "parallel.missing: drop"):
        assert word in str(caught.value)


def test_a_missing_translation_is_dropped_in_all_languages(tmp_path):
    path = write_tsv(tmp_path / "a.tsv", ("sent_id", *LANGUAGES), ["1\ta\t \tc", "2\td\te\tf"])
    table, counts = read(path, missing="drop")
    assert list(table["sent_id"]) == ["2"]
    assert counts == {"rows": 2, "kept": 1, "dropped": 1, "missing": {"en": 0, "ur": 1, "zh": 0}}
    with pytest.raises(ValueError, match="refuse or drop"):
        read(path, missing="ignore")


def test_nothing_left_is_an_error(tmp_path):
    path = write_tsv(tmp_path / "a.tsv", ("sent_id", *LANGUAGES), ["1\ta\t\tc"])
    with pytest.raises(BabelscopeError, match="holds no sentence"):
        read(path, missing="drop")


def test_an_id_twice_is_an_error(tmp_path):
    path = write_tsv(tmp_path / "a.tsv", ("sent_id", *LANGUAGES), ["1\ta\tb\tc", "1\td\te\tf"])
    with pytest.raises(BabelscopeError, match="the id 1 is there twice"):
        read(path)


def test_equal_sentences_are_kept(tmp_path):
    path = write_tsv(tmp_path / "a.tsv", ("sent_id", *LANGUAGES), ["1\ta\tb\tc", "2\ta\tb\tc"])
    assert len(read(path)[0]) == 2


def test_files_of_unequal_length_are_named(tmp_path):
    path = write_moses(tmp_path)
    with (tmp_path / "test.ur.txt").open("a") as file:
        file.write("x\n")
    with pytest.raises(BabelscopeError, match=r"test.en.txt has 3 lines, .*test.ur.txt 4"):
        read(path, format="moses")


def test_a_language_without_a_file_is_named(tmp_path):
    path = write_moses(tmp_path)
    with pytest.raises(BabelscopeError, match=r"has no de: .*test.de.txt does not exist"):
        read(path, ["en", "de"], format="moses")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ('["a"]', "JSON object"),
        ('{"sent_id": 2, "en": "a", "ur": 5, "zh": "c"}', "ur is not a text"),
        ('{"en": "a", "ur": "b", "zh": "c"}', "no sent_id"),
    ],
)
def test_objects_of_another_shape(item, message, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(objects()[0]) + "\n" + item + "\n", "utf-8")
    with pytest.raises(BabelscopeError, match=message):
        read(path, format="jsonl")


def test_a_key_that_one_object_lacks_is_a_missing_translation(tmp_path):
    rows = objects()
    del rows[0]["ur"]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows), "utf-8")
    assert read(path, format="json", missing="drop")[1]["missing"]["ur"] == 1
    with pytest.raises(BabelscopeError, match="no column de; it has sent_id, en, zh, ur"):
        read(path, ["en", "de"], format="json")


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "id_column", "rows", "languages"),
    [
        ("pud.tsv", "sent_id", 1000, "en de es ru zh ar hi fr tr"),
        ("ntrex.tsv.xz", "sent_id", 1997, "en de es ru zh ar ur hi fr tr sw"),
        ("tatoeba/ara-eng.tsv", "", 1000, "ara eng"),
    ],
)
def test_real_corpora(name, id_column, rows, languages, real_data):
    table, counts = read(real_data / "parallel" / name, languages.split(), id_column=id_column)
    assert len(table) == counts["kept"] == rows
