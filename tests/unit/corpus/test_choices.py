"""Few-shot tasks in their published layouts as one table, and what is refused."""

import json
import lzma
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from babelscope.config import Corpus, read_rows
from babelscope.corpus.choices import FIELDS, read_choices
from babelscope.errors import BabelscopeError

CORPORA = Path(__file__).resolve().parents[3] / "config" / "corpora.tsv"
PAWSX = [("1", "A is B.", "B is A.", "1"), ("2", "A is B.", "A is C.", "0")]
STORY = (
    *("InputStoryid", "InputSentence1", "InputSentence2", "InputSentence3", "InputSentence4"),
    *("RandomFifthSentenceQuiz1", "RandomFifthSentenceQuiz2", "AnswerRightEnding"),
)
WHOLE = {"train": ("dev", 0.0, 1.0), "test": ("test", 0.0, 1.0)}
SHARED = {"train": ("all", 0.0, 0.3), "test": ("all", 0.3, 1.0)}


def tsv(header, rows, end="\n"):
    lines = [header, *rows] if header else rows
    return "".join("\t".join(cells) + end for cells in lines)


def pawsx(rows, end="\n"):
    return tsv(("id", "sentence1", "sentence2", "label"), rows, end)


def write(folder, texts, suffix="tsv"):
    """Write texts by language and name of a file, and return the files."""
    files = {}
    for key, text in texts.items():
        path = folder / f"{key.replace('/', '.')}.{suffix}"
        data = text.encode()
        path.write_bytes(lzma.compress(data) if suffix.endswith("xz") else data)
        files[key] = str(path)
    return files


def read(files, format, parts=WHOLE, codes=None):
    return read_choices(files, format=format, parts=parts, codes=codes or {})


def rows_of(table, split):
    part = table[table["split"] == split]
    return list(part.drop(columns=["language", "split"]).itertuples(index=False, name=None))


@pytest.mark.parametrize("suffix", ["tsv", "tsv.xz"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_pawsx(suffix, end, tmp_path):
    test = [("1", "X", "Y", "0"), ("7", "Z", "Cafe\u0301 ", "1")]
    texts = {"de/dev": pawsx(PAWSX, end), "de/test": pawsx(test, end)}
    table, counts = read(write(tmp_path, texts, suffix), "pawsx")
    assert list(table.columns) == ["language", "split", "example", "label", *FIELDS["pawsx"]]
    assert rows_of(table, "demonstrations") == [
        ("1", 1, "A is B.", "B is A."),
        ("2", 0, "A is B.", "A is C."),
    ]
    assert rows_of(table, "test") == [("1", 0, "X", "Y"), ("7", 1, "Z", "Café")]
    assert table["label"].dtype == int
    rest = {"unlabelled": 0, "placeholder": 0, "empty": 0, "replaced": 0, "duplicates": 0}
    numbers = {"found": 2, **rest, "rows": 2, "label 0": 1, "label 1": 1}
    assert counts == [
        {"language": "de", "split": split, **numbers} for split in ("demonstrations", "test")
    ]


def test_placeholders_and_empty_fields_of_pawsx_are_counted_and_left_out(tmp_path):
    more = [
        ("3", "NS", "A.", "0"),
        ("4", "NS", "NS", "0"),
        ("5", "B.", " ", "1"),
        ("6", "NS is no placeholder", "lost \ufffd", "1"),
    ]
    texts = {"de/dev": pawsx([*PAWSX, *more]), "de/test": pawsx([("1", "X", "Y", "0")])}
    table, counts = read(write(tmp_path, texts), "pawsx")
    assert [row[0] for row in rows_of(table, "demonstrations")] == ["1", "2", "6"]
    left_out = {"found": 6, "placeholder": 2, "empty": 1, "replaced": 1, "rows": 3}
    assert {key: counts[0][key] for key in left_out} == left_out


def test_xnli(tmp_path):
    dev = [("p", "h", "entailment"), ("p", "i", "neutral"), ("p", "j", "contradiction")]
    test = [
        ("q", "h", "neutral"),
        ("q", "", "neutral"),
        ("q", "k", "-"),
        (" e\u0301 ", "x", "neutral"),
    ]
    header = ("premise", "hypothesis", "label")
    texts = {"en/dev": tsv(header, dev), "en/test": tsv(header, test)}
    table, counts = read(write(tmp_path, texts, "tsv.xz"), "xnli")
    assert rows_of(table, "demonstrations") == [
        ("1", 0, "p", "h"),
        ("2", 1, "p", "i"),
        ("3", 2, "p", "j"),
    ]
    assert rows_of(table, "test") == [("1", 1, "q", "h"), ("4", 1, "é", "x")]
    assert list(counts[1].values())[2:] == [4, 1, 0, 1, 0, 0, 2, 0, 2, 0]


def test_xnli_of_all_languages_in_one_file(tmp_path):
    header = ("language", "gold_label", "sentence1", "sentence2")
    dev = [("en", "neutral", "p", "h"), ("de", "neutral", "P", "H"), ("en", "neutral", "q", "i")]
    test = [("de", "entailment", "X", "Y"), ("en", "contradiction", "x", "y")]
    files = write(tmp_path, {"dev": tsv(header, dev), "test": tsv(header, test)})
    places = {f"{code}/{name}": files[name] for code in ("en", "de") for name in files}
    table, _ = read(places, "xnli")
    english, german = (table[table["language"] == code] for code in ("en", "de"))
    assert rows_of(english, "demonstrations") == [("1", 1, "p", "h"), ("2", 1, "q", "i")]
    assert rows_of(german, "demonstrations") == [("1", 1, "P", "H")]
    assert rows_of(german, "test") == [("1", 0, "X", "Y")]


def copa(number, label, question="cause", **changes):
    return {
        **{"premise": f"premise {number}", "choice1": "one", "choice2": "two"},
        **{"question": question, "label": label, "idx": number, "changed": False},
    } | changes


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_xcopa(end, tmp_path):
    rows = [copa(0, 1), copa(1, 0, "effect")]
    texts = {
        f"et/{name}": "".join(json.dumps(row) + end for row in found)
        for name, found in (("dev", rows), ("test", [copa(0, 0, premise="other")]))
    }
    table, _ = read(write(tmp_path, texts, "jsonl"), "xcopa")
    assert rows_of(table, "demonstrations") == [
        ("0", 1, "premise 0", "cause", "one", "two"),
        ("1", 0, "premise 1", "effect", "one", "two"),
    ]
    assert rows_of(table, "test") == [("0", 0, "other", "cause", "one", "two")]


def test_xcopa_in_the_layout_of_the_hub(tmp_path):
    files = {}
    for name, row in (("dev", copa(4, 1)), ("test", copa(5, 0))):
        files[f"et/{name}"] = str(tmp_path / f"{name}.parquet")
        pd.DataFrame([row]).to_parquet(files[f"et/{name}"])
    table, _ = read(files, "xcopa")
    assert rows_of(table, "test") == [("5", 0, "premise 5", "cause", "one", "two")]


@pytest.mark.parametrize(
    "header",
    [
        STORY,
        (
            *("story_id", "input_sentence_1", "input_sentence_2", "input_sentence_3"),
            *("input_sentence_4", "sentence_quiz1", "sentence_quiz2", "answer_right_ending"),
        ),
    ],
)
def test_xstorycloze(header, tmp_path):
    rows = [("a", "S1.", "S2.", "S3.", "S4.", 'She said "no".', "End.", "2")]
    more = [("b", "T1.", "T2.", "T3.", "T4.", "E.", "F.", "1"), ("c", "U1.", "", *"5678"[:4], "1")]
    texts = {"ru/dev": tsv(header, rows), "ru/test": tsv(header, more)}
    table, counts = read(write(tmp_path, texts), "xstorycloze")
    assert rows_of(table, "demonstrations") == [
        ("a", 1, "S1. S2. S3. S4.", 'She said "no".', "End.")
    ]
    assert rows_of(table, "test") == [("b", 0, "T1. T2. T3. T4.", "E.", "F.")]
    assert counts[1]["empty"] == 1


def winograd(language, sentence, tokens, span, first=True, second=False, choices=("Ann", "Eve")):
    start, stop = span
    pronoun = [" ".join(tokens[start:stop]), [start, stop], tokens[start:stop]]
    marks = (first, second)
    candidates = [[c, [0, 1], [c], mark] for c, mark in zip(choices, marks, strict=True)]
    cells = (json.dumps(tokens), json.dumps(pronoun), json.dumps(candidates))
    return (language, "original", "?", sentence, *cells)


def schemas(language="en", number=60):
    rows = []
    for n in range(number):
        for word, first in (("won", True), ("lost", False)):
            tokens = [f"Ann{n}", "met", f"Eve{n}", "because", "she", word, "."]
            sentence = f"Ann{n} met Eve{n} because she {word}."
            choices = (f"Ann{n}", f"Eve{n}")
            rows.append(winograd(language, sentence, tokens, (4, 5), first, not first, choices))
    return rows


def test_xwinograd(tmp_path):
    quoted = winograd(
        "en",
        '“Her” story ("Eve\'s") made her cry',
        ["``", "Her", "''", "story", "(", "``", "Eve", "'s", "''", ")", "made", "her", "cry"],
        (11, 12),
    )
    first = winograd("fr", "Elle aime Ève.", ["Elle", "aime", "Ève", "."], (0, 1), False, True)
    japanese = winograd(
        "jp",
        "花子が\u304b\u3099来た。彼女だ。 ",
        ["花子", "が\u304b\u3099来た。", "彼女", "だ。 "],
        (2, 3),
    )
    path = tmp_path / "x.tsv"
    path.write_text(tsv(None, [*schemas(), quoted, first, japanese]), "utf-8")
    files = {f"{code}/all": str(path) for code in ("en", "fr", "ja")}
    parts = {"train": ("all", 0.0, 1.0), "test": ("all", 0.0, 1.0)}
    with pytest.raises(BabelscopeError, match="leaves no example in en for the demonstrations"):
        read(files, "xwinograd", parts)  # all are tested
    table, counts = read({"en/all": str(path)}, "xwinograd", SHARED)
    rows = {
        row[0]: row[1:] for split in ("demonstrations", "test") for row in rows_of(table, split)
    }
    assert rows["1"] == (0, "Ann0 met Eve0 because ", " won.", "Ann0", "Eve0")
    assert rows["2"] == (1, "Ann0 met Eve0 because ", " lost.", "Ann0", "Eve0")
    assert rows["121"] == (0, '“Her” story ("Eve\'s") made ', " cry", "Ann", "Eve")
    assert [count["found"] for count in counts] == [121, 121]
    assert sum(count["rows"] for count in counts) == 121
    for code, expected in (
        ("fr", ("122", 1, "", " aime Ève.", "Ann", "Eve")),
        (
            "ja",
            ("123", 0, unicodedata.normalize("NFC", "花子がか\u3099来た。"), "だ。", "Ann", "Eve"),
        ),
    ):
        parts = {"train": ("one", 0.0, 1.0), "test": ("all", 0.0, 1.0)}
        other = tmp_path / f"{code}.tsv"
        own = {"ja": "jp"}.get(code, code)
        other.write_text(tsv(None, schemas(own, 1)), "utf-8")
        places = {f"{code}/one": str(other), f"{code}/all": str(path)}
        table, _ = read(places, "xwinograd", parts, {"ja": "jp"})
        assert rows_of(table, "test") == [expected]


def test_twins_of_xwinograd_stay_together(tmp_path):
    path = tmp_path / "x.tsv"
    rows = schemas(number=200)
    for n in range(200):  # the word may stand before the pronoun, and the choices in any order
        tokens = [f"Ann{n}", "lent", "to", f"Eve{n}", "because", "she", "lost", "."]
        sentence = f"Ann{n} lent to Eve{n} , because she lost."
        choices = (f"eve{n}", f"Ann{n}")
        rows.append(winograd("en", sentence, tokens, (5, 6), True, False, choices))
    path.write_text(tsv(None, rows), "utf-8")
    table, _ = read({"en/all": str(path)}, "xwinograd", SHARED)
    split = table.set_index("example")["split"]
    for n in range(200):
        assert split[str(2 * n + 1)] == split[str(2 * n + 2)] == split[str(401 + n)]
    assert 0.2 < (split == "demonstrations").mean() < 0.4


def test_splits_share_a_file_the_same_way_in_every_language(tmp_path):
    texts = {
        f"{code}/all": pawsx(
            [(str(n), f"{code} {n}", f"{code} x{n}", str(n % 2)) for n in range(300)]
        )
        for code in ("en", "de")
    }
    table, counts = read(write(tmp_path, texts), "pawsx", SHARED)
    chosen = {
        key: list(part["example"]) for key, part in table.groupby(["language", "split"], sort=False)
    }
    assert chosen["en", "test"] == chosen["de", "test"]
    assert chosen["en", "demonstrations"] == chosen["de", "demonstrations"]
    assert 60 < len(chosen["en", "demonstrations"]) < 120
    assert [count["found"] for count in counts] == [300] * 4
    assert [count["rows"] for count in counts][:2] == [len(found) for found in chosen.values()][:2]


def test_what_is_tested_is_no_demonstration(tmp_path):
    for pair in (("A is B.", "A is C."), ("A is C.", "A is B.")):
        texts = {"en/dev": pawsx(PAWSX), "en/test": pawsx([("9", *pair, "0")])}
        table, counts = read(write(tmp_path, texts), "pawsx")
        assert [row[0] for row in rows_of(table, "demonstrations")] == ["1"]
        assert [count["duplicates"] for count in counts] == [1, 0]


@pytest.mark.parametrize(
    ("format", "text", "message"),
    [
        ("pawsx", pawsx([("1", "a", "b", "2")]), r"line 2: the label 2 is not one of 0, 1"),
        ("pawsx", pawsx([("1", "a", "b", "")]), r"line 2: the label  is not one of 0, 1"),
        ("pawsx", pawsx([("1", "a", "b")]), r"line 2: 3 cells, but the header has 4"),
        ("pawsx", tsv(("id", "sentence1", "label"), []), "has no column sentence2"),
        ("pawsx", pawsx([*PAWSX, PAWSX[0]]), "line 4: the id 1 is there twice"),
        (
            "xnli",
            tsv(("premise", "hypothesis", "label"), [("a", "b", "yes")]),
            "label 'yes' is not",
        ),
        ("xnli", tsv(("premise", "label"), [("a", "neutral")]), "no column hypothesis or"),
        ("xcopa", json.dumps(copa(0, 2)), "line 1: the label 2 is not one of 0, 1"),
        ("xcopa", json.dumps(copa(0, "-1")), "line 1: the label -1 is not one of 0, 1"),
        (
            "xcopa",
            json.dumps(copa(0, 1, "why")),
            "line 1: the question is 'why', not cause or effect",
        ),
        ("xcopa", json.dumps(copa(0, 1, choice1=3)), "line 1: 3 is not a text"),
        ("xcopa", '{"premise": "p"}', "line 1: no column question"),
        ("xcopa", "{", "line 1: not JSON"),
        ("xstorycloze", tsv(STORY, [tuple("abcdefg0")]), "line 2: the label 0 is not one of 1, 2"),
        ("xstorycloze", tsv(STORY[:-1], [tuple("abcdefg")]), "line 2: no column AnswerRightEnding"),
        ("xwinograd", tsv(None, [("en", "a")]), "line 1: 2 cells, but the header has 7"),
        (
            "xwinograd",
            tsv(None, [("en", "o", "?", "s", "[]", "{", "[]")]),
            "line 1: neither a pronoun",
        ),
        (
            "xwinograd",
            tsv(None, [winograd("en", "She ran", ["He", "ran"], (0, 1))]),
            "line 1: neither a pronoun nor two candidates can be made out .He is not in",
        ),
        (
            "xwinograd",
            tsv(None, [winograd("en", "She ran", ["She", "ran"], (0, 1), True, True)]),
            "line 1: the label both or none is not one of 0, 1",
        ),
    ],
)
def test_broken_files(format, text, message, tmp_path):
    suffix = "jsonl" if format == "xcopa" else "tsv"
    files = write(tmp_path, {"en/dev": text, "en/test": text}, suffix)
    with pytest.raises(BabelscopeError, match=rf"en\.dev\.{suffix}.*{message}"):
        read(files, format)


def test_a_language_without_a_file_or_without_an_example(tmp_path):
    files = write(tmp_path, {"en/dev": pawsx(PAWSX), "en/test": pawsx(PAWSX)})
    with pytest.raises(BabelscopeError, match=r"The corpus has no de: .*x\.tsv does not exist"):
        read(files | {"de/dev": str(tmp_path / "x.tsv")}, "pawsx")
    files = write(tmp_path, {"en/dev": pawsx([("1", "NS", "b", "0")]), "en/test": pawsx(PAWSX)})
    with pytest.raises(BabelscopeError, match=r"dev\.tsv leaves no example in en for the demonstr"):
        read(files, "pawsx")


@pytest.mark.parametrize("name", ["xnli-choices", "pawsx", "xcopa", "xcopa-en", "xwinograd"])
def test_real_files(name, real_data):
    row = read_rows(CORPORA, Corpus)[name]
    files = {
        f"{language}/{split}": row.path.replace("{data_root}", str(real_data))
        .replace("{lang}", language)
        .replace("{split}", split)
        for language in row.codes
        for split in {part[0] for part in row.parts.values()}
    }
    table, counts = read(files, row.format, row.parts, row.codes)
    assert set(table["language"]) == set(row.codes)
    assert len(table) == sum(count["rows"] for count in counts)
    assert table[list(FIELDS[row.format])].notna().all(axis=None)
    for count in counts:
        lost = ("unlabelled", "placeholder", "empty", "duplicates")
        if row.format != "xwinograd":
            assert count["rows"] == count["found"] - sum(count[key] for key in lost)
            assert not any(count[key] for key in ("unlabelled", "empty"))
    if row.format == "xwinograd":
        found = {count["language"]: count["found"] for count in counts}
        assert len(table) == sum(found.values()) == 3961
