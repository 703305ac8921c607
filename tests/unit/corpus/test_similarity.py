"""Scored pairs out of every published format."""

import json
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from babelscope.config import Corpus, read_rows
from babelscope.corpus.similarity import read_similarity
from babelscope.errors import BabelscopeError

CORPORA = Path(__file__).resolve().parents[3] / "config" / "corpora.tsv"
ROWS = [("It rains.", "Rain falls.", 4.5), ('He said "no".', "Yes, no", 1.25), ("Café", "Bar", 0)]
COLUMNS = ["sentence1", "sentence2", "score"]


def read(files, format, scale=(0.0, 5.0), id_column="", pivot="en"):
    files = {key: str(file) for key, file in files.items()}
    return read_similarity(files, format=format, scale=scale, id_column=id_column, pivot=pivot)


def write(path, rows=ROWS, columns=COLUMNS):
    table = pd.DataFrame(rows, columns=columns)
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    elif path.suffix == ".jsonl":
        lines = (json.dumps(dict(zip(columns, row, strict=True))) for row in rows)
        path.write_text("".join(f"{line}\n" for line in lines))
    else:
        lines = ["\t".join(map(str, row)) for row in [columns, *rows]]
        path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


@pytest.mark.parametrize("format", ["tsv", "csv", "jsonl"])
def test_one_language_and_two(format, tmp_path):
    path = write(tmp_path / f"a.{format}")
    table, counts = read({"en": path, "en/de": path}, format)
    assert list(table.columns) == ["pair_id", "language1", "language2", *COLUMNS]
    for (first, second), part in table.groupby(["language1", "language2"]):
        assert (first, second) in (("en", "en"), ("en", "de"))
        assert [tuple(row) for row in part[COLUMNS].itertuples(index=False)] == ROWS
        assert list(part["pair_id"]) == ["1", "2", "3"]
    assert table["score"].dtype == float
    rest = {"found": 3, "empty": 0, "rows": 3, "duplicates": 0}
    assert counts == [
        {"language1": "en", "language2": "en"} | rest,
        {"language1": "en", "language2": "de"} | rest,
    ]


def test_only_pairs_of_languages_with_a_file_are_read(tmp_path):
    """The published STS17 has es-en, but no en-es."""
    path = write(tmp_path / "es-en.tsv")
    absent = tmp_path / "absent.tsv"
    table, _ = read({"en/en": absent, "en/es": absent, "es/en": path}, "tsv")
    assert set(zip(table["language1"], table["language2"], strict=True)) == {("es", "en")}
    with pytest.raises(BabelscopeError, match=r"The corpus has no tr: .*absent\.tsv"):
        read({"es/en": path, "tr/en": absent, "en/tr": absent}, "tsv")


def test_ids_may_stand_in_a_column(tmp_path):
    rows = [(*row, f"p{number}") for number, row in enumerate(ROWS)]
    path = write(tmp_path / "a.jsonl", rows, [*COLUMNS, "id"])
    assert list(read({"en": path}, "jsonl", id_column="id")[0]["pair_id"]) == ["p0", "p1", "p2"]
    path = write(tmp_path / "b.jsonl", [(*row, "p") for row in ROWS], [*COLUMNS, "id"])
    with pytest.raises(BabelscopeError, match=r"b\.jsonl, line 2: the id p is there twice"):
        read({"en": path}, "jsonl", id_column="id")


def test_empty_and_repeated_pairs_are_counted(tmp_path):
    rows = [*ROWS, ("", "a", 1.0), ("a", "  ", 2.0), ROWS[0]]
    table, counts = read({"en": write(tmp_path / "a.tsv", rows)}, "tsv")
    assert list(table["pair_id"]) == ["1", "2", "3", "6"]
    rest = {"found": 6, "empty": 2, "rows": 4, "duplicates": 1}
    assert counts == [{"language1": "en", "language2": "en"} | rest]


@pytest.mark.parametrize("score", ["5.01", "-0.1", "nan", "inf", "", "high"])
def test_a_score_outside_the_scale(score, tmp_path):
    path = write(tmp_path / "a.tsv", [*ROWS, ("a", "b", score)])
    with pytest.raises(BabelscopeError, match=rf"a\.tsv, line 5: the score '{score}' is not betwe"):
        read({"en": path}, "tsv")


@pytest.mark.parametrize("score", [True, None, [1], "5.5", 6])
def test_a_score_that_is_no_number(score, tmp_path):
    path = write(tmp_path / "a.jsonl", [*ROWS, ("a", "b", score)])
    with pytest.raises(BabelscopeError, match=r"a\.jsonl, line 4: the score .* between 0 and 5"):
        read({"en": path}, "jsonl")


def test_a_text_that_is_no_text(tmp_path):
    path = write(tmp_path / "a.jsonl", [*ROWS, ("a", 7, 1)])
    with pytest.raises(BabelscopeError, match=r"a\.jsonl, line 4: 7 is not a text"):
        read({"en": path}, "jsonl")


def test_scores_that_are_all_equal(tmp_path):
    path = write(tmp_path / "a.tsv", [("a", "b", 2), ("c", "d", 2.0), ("", "e", 3)])
    with pytest.raises(BabelscopeError, match=r"a\.tsv, line 2, and all 2 pairs in en: the score"):
        read({"en": path}, "tsv")
    with pytest.raises(BabelscopeError, match=r"no pair of sentences in en and de; 1 rows"):
        read({"en/de": write(tmp_path / "b.tsv", [("", "b", 2)])}, "tsv")


@pytest.mark.parametrize("format", ["tsv", "csv", "jsonl"])
def test_a_missing_column(format, tmp_path):
    path = write(tmp_path / f"a.{format}", ROWS, ["sentence1", "sentence2", "similarity"])
    with pytest.raises(
        BabelscopeError, match=rf"a\.{format}.*: no column score or relatedness_score; there are"
    ):
        read({"en": path}, format)
    with pytest.raises(ValueError, match="no reader"):
        read({"en": path}, "xlsx")


SEMREL = '''PairID,Text,Score
A-1,"One, two
 Three ",0.5
A-2,"""Quoted.""
""Also quoted.""",1.0
A-3,first\tsecond,0.0
'''


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_semrel_keeps_two_sentences_in_a_cell(ends, tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbf" + SEMREL.replace("\n", ends).encode())
    table, counts = read({"hi": path}, "semrel", scale=(0.0, 1.0))
    assert list(table["pair_id"]) == ["A-1", "A-2", "A-3"]
    assert list(table["sentence1"]) == ["One, two", '"Quoted."', "first"]
    assert list(table["sentence2"]) == ["Three", '"Also quoted."', "second"]
    assert list(table["score"]) == [0.5, 1.0, 0.0]
    assert counts[0]["rows"] == 3


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('A-4,"one\ntwo\nthree",0.5', "line 7: the text holds 3 lines"),
        ("A-4,one,0.5", "line 7: the text holds 1 lines"),
        ('A-4,"one\ntwo",1.5', "line 7: the score '1.5' is not between 0 and 1"),
        ('A-4,"one\ntwo",0.5,x', "line 7: 4 cells, but the header has 3"),
        ('A-4,"one\ntwo,0.5', "line 7: unexpected end of data"),
        ('A-4,"one" two,0.5', "line 7: .* expected after"),
    ],
)
def test_semrel_rows_that_do_not_fit(row, message, tmp_path):
    """Cells go over lines, so a row is named by the line in which it begins."""
    path = tmp_path / "a.csv"
    path.write_text(f"{SEMREL}{row}\n", "utf-8")
    with pytest.raises(BabelscopeError, match=rf"a\.csv, {message}"):
        read({"hi": path}, "semrel", scale=(0.0, 1.0))


STSB = ["", "sentence1", "sentence2", "score", "s1_translation", "s2_translation"]


def write_stsb(path, language, rows=ROWS):
    cells = [
        (10 * number, first, second, score, f"{language} {first}", f"{language} {second}")
        for number, (first, second, score) in enumerate(rows)
    ]
    write(path, cells, STSB)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    return path


def test_translations_of_sts_b_are_crossed_in_all_directions(tmp_path):
    files = {code: write_stsb(tmp_path / f"{code}.csv", code) for code in ("az", "kk")}
    table, counts = read(files, "stsb")
    pairs = {(a, b) for a in ("en", "az", "kk") for b in ("en", "az", "kk")}
    groups = dict(list(table.groupby(["language1", "language2"])))
    assert set(groups) == pairs
    for (first, second), part in groups.items():
        start, end = ("" if code == "en" else f"{code} " for code in (first, second))
        assert list(part["sentence1"]) == [f"{start}{row[0]}" for row in ROWS]
        assert list(part["sentence2"]) == [f"{end}{row[1]}" for row in ROWS]
        assert list(part["score"]) == [row[2] for row in ROWS]
        assert list(part["pair_id"]) == ["0", "10", "20"]
    assert len(counts) == 9
    assert {row["differ"] for row in counts} == {0}
    table, _ = read(files, "stsb", pivot="kk")
    assert set(table["language1"]) == {"az", "kk"}


@pytest.mark.parametrize(
    ("cyrillic", "arabic"),
    [
        ("Бир киши гитар челиватиду.", "بىر كىشى گىتار چېلىۋاتىدۇ."),
        ("Аяллар, уйғур?", "ئاياللار، ئۇيغۇر؟"),
        ("саәт вә өй", "سائەت ۋە ئۆي"),
        ("ئۆي, MP3", "ئۆي, MP3"),
    ],
)
def test_uyghur_is_read_in_the_arabic_script(tmp_path, cyrillic, arabic):
    """The corpus has Cyrillic letters, of which a tokenizer of Uyghur Wikipedia knows none."""
    rows = [(cyrillic, cyrillic, 1), ("b", "c", 2), ("d", "e", 3)]
    files = {"ug": tmp_path / "ug.csv", "kk": tmp_path / "kk.csv"}
    for file in files.values():
        write_stsb(file, "", rows)
    table, _ = read(files, "stsb")
    first = table.groupby("language1")["sentence1"].first()
    assert (first["ug"], first["kk"]) == (arabic, cyrillic)


def test_english_sentences_that_differ_are_counted_and_scores_must_not(tmp_path):
    files = {code: write_stsb(tmp_path / f"{code}.csv", code) for code in ("az", "kk")}
    write_stsb(files["kk"], "kk", [("it rains.", *ROWS[0][1:2], 4.4999), *ROWS[1:]])
    table, counts = read(files, "stsb")
    assert set(table.loc[table["language1"] == "en", "sentence1"]) == {row[0] for row in ROWS}
    assert set(table["score"]) == {4.5, 1.25, 0}
    differ = {(row["language1"], row["language2"]): row["differ"] for row in counts}
    assert (differ["en", "az"], differ["kk", "az"]) == (0, 1)
    write_stsb(files["kk"], "kk", [ROWS[0], (*ROWS[1][:2], 1.5), ROWS[2]])
    with pytest.raises(BabelscopeError, match=r"kk\.csv, line 3: another index or score than at"):
        read(files, "stsb")
    write_stsb(files["kk"], "kk", ROWS[:2])
    with pytest.raises(BabelscopeError, match="az has 3 pairs, kk 2"):
        read(files, "stsb")
    files["kk"].unlink()
    with pytest.raises(BabelscopeError, match=r"The corpus has no kk: .*kk\.csv"):
        read(files, "stsb")


def write_halves(folder, code, rows=ROWS):
    files = {}
    for number, column in enumerate(range(3), start=1):
        name = f"{code}.{number}.txt" if number < 3 else "scores.txt"
        files[f"{code}/{number}"] = folder / name
        text = "".join(f"{row[column]}\n" for row in rows)
        (folder / name).write_text(text, "utf-8")
    return files


def test_the_extension_of_sts17_in_plain_lines(tmp_path):
    german = [(f"de {first}", f"de {second}", score) for first, second, score in ROWS]
    files = write_halves(tmp_path, "fr") | write_halves(tmp_path, "de", german)
    table, counts = read(files, "lines")
    crossed = table[(table["language1"] == "fr") & (table["language2"] == "de")]
    assert list(crossed["sentence1"]) == [row[0] for row in ROWS]
    assert list(crossed["sentence2"]) == [f"de {row[1]}" for row in ROWS]
    assert list(crossed["score"]) == [row[2] for row in ROWS]
    assert [row["rows"] for row in counts] == [3] * 4
    files["de/2"].write_text("eins\n", "utf-8")
    with pytest.raises(BabelscopeError, match=r"scores\.txt has 3 lines, .*de\.2\.txt 1"):
        read(files, "lines")


def test_plain_lines_have_the_same_scores_in_every_language(tmp_path):
    """Otherwise pairs of languages would be judged by the scores of the last one."""
    files = write_halves(tmp_path, "fr") | write_halves(tmp_path, "de")
    for scores in ("5\n0\n2.5\n", "0\n2.5\n"):
        files["de/3"] = tmp_path / "others.txt"
        files["de/3"].write_text(scores, "utf-8")
        for half in ("de/1", "de/2"):
            files[half].write_text("eins\n" * scores.count("\n"), "utf-8")
        with pytest.raises(
            BabelscopeError, match=r"others\.txt does not hold .*scores\.txt, line 1"
        ):
            read(files, "lines")


BARE = """Ein Hund.,Ein Hund.,5.0
"Ein Hund, der bellt.",Ein Hund.,3.8
Eine Frau.,"Sie sagte ""nein"".",0.0
"""
SICK = "pair_ID\tsentence_A\tsentence_B\tentailment_label\trelatedness_score\tSemEval_set\n"
SICK_NL = f"""{SICK}1\tEen hond\tTwee "honden"\tNEUTRAL\t4.5\tTRAIN
7\tDe bal\tEen bal\tNEUTRAL\t3\tTEST
"""
SICK_FR = """,sentence_A,sentence_B,relatedness_score
0,"Un chien, noir",Deux chiens,4.5
1,Le ballon,Un ballon,3.0
"""
NEWS = """{"id": "1_2", "score": 3.0, "sentence1": "Erste Nachricht", "sentence2": "Zweite"}
{"id": "3_4", "score": 1.0, "sentence1": "", "sentence2": "Leer"}
{"id": "5_6", "score": 4.0, "sentence1": "Dritte", "sentence2": "Dritte"}
"""


@pytest.mark.parametrize(
    ("name", "key", "text", "pairs"),
    [
        ("stsb-multi", "de", BARE, [("1", "Ein Hund.", 5.0), ("2", "Ein Hund, der bellt.", 3.8)]),
        ("sick-nl", "nl", SICK_NL, [("1", "Een hond", 4.5), ("7", "De bal", 3.0)]),
        ("sick-fr", "fr", SICK_FR, [("1", "Un chien, noir", 4.5), ("2", "Le ballon", 3.0)]),
        ("sts22", "de", NEWS, [("1", "Erste Nachricht", 3.0), ("3", "Dritte", 4.0)]),
        ("sts22-cross", "de/en", NEWS, [("1", "Erste Nachricht", 3.0), ("3", "Dritte", 4.0)]),
    ],
)
def test_folders_as_they_are_published(name, key, text, pairs, tmp_path):
    """Rows of corpora.tsv, whose files are in the layout of their archives."""
    row = read_rows(CORPORA, Corpus)[name]
    spoken = key.split("/")
    named = {"lang": spoken[0], "lang1": spoken[0], "lang2": spoken[-1]}
    path = Path(row.path.format(data_root=tmp_path, fetched=tmp_path, **named))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    low, high = map(float, row.labels.split())
    table, _ = read({key: path}, row.format, (low, high), row.id_column)
    found = table[["pair_id", "sentence1", "score"]].itertuples(index=False, name=None)
    assert list(found)[:2] == pairs
    assert set(spoken) <= set(row.languages.split())


def test_a_bare_table_is_told_by_its_numbers(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("first,second,grade\nA dog.,A cat.,2.0\n")
    with pytest.raises(BabelscopeError, match="no column sentence1 or sentence_A; there are first"):
        read({"en": path}, "csv")
    path.write_text("A dog.,A cat.,2.0\nA dog.,A cat\n")
    with pytest.raises(BabelscopeError, match="line 2: 2 cells, but the header has 3"):
        read({"en": path}, "csv")


def test_sentences_are_composed_and_stripped(tmp_path):
    rows = [(f" {unicodedata.normalize('NFD', 'Café')}\u3000", "b ", 1), ("c", "d", 2)]
    table, _ = read({"fr": write(tmp_path / "a.tsv", rows)}, "tsv")
    assert (table["sentence1"][0], table["sentence2"][0]) == ("Café", "b")


@pytest.mark.real_data
@pytest.mark.parametrize(("split", "rows"), [("dev", 200), ("test", 800)])
def test_real_translations_of_sts_b(split, rows, real_data):
    codes = ("az", "kk", "ky", "ug", "uz")
    folder = real_data / "sts" / "kardes"
    table, counts = read({code: folder / f"sts.{split}.{code}.csv" for code in codes}, "stsb")
    assert {row["rows"] for row in counts} == {rows}
    assert len(counts) == 36
    assert {row["differ"] for row in counts} == ({0, 1} if split == "dev" else {0, 2})
    assert table["score"].between(0, 5).all()
    frame = pd.read_csv(folder / f"sts.{split}.kk.csv")
    part = table[(table["language1"] == "kk") & (table["language2"] == "en")]
    assert list(part["sentence1"]) == [text.strip() for text in frame["s1_translation"]]
    assert list(part["pair_id"]) == [str(index) for index in frame.iloc[:, 0]]


@pytest.mark.real_data
def test_real_relatedness_agrees_with_pandas(real_data):
    files = sorted((real_data / "sts" / "semrel2024").glob("*/*.csv"))
    assert files
    for file in files:
        table, counts = read({"xx": file}, "semrel", scale=(0.0, 1.0))
        frame = pd.read_csv(file)
        assert counts[0]["found"] == counts[0]["rows"] == len(frame)
        assert list(table["pair_id"]) == list(frame["PairID"])
        assert list(table["score"]) == list(frame["Score"])
        joined = table["sentence1"] + "\n" + table["sentence2"]
        texts = [
            unicodedata.normalize("NFC", "\n".join(part.strip() for part in text.split("\n")))
            for text in frame["Text"]
        ]
        assert list(joined) == texts
