"""Pairs and triples out of every format, the same rows in every language."""

import gzip
import json
import unicodedata

import pytest

from babelscope.corpus.pairs import read_pairs
from babelscope.errors import BabelscopeError

ROWS = {
    "en": [("It rains.", "Rain falls.", "It is dry."), ("Café", "Bar", "Sea"), ("a", "b", "c")],
    "zh": [("下雨了。", "雨水落下。", "天是干的。"), ("咖啡馆", "酒吧", "海"), ("甲", "乙", "丙")],
}


def write_lines(folder, rows=ROWS, width=3):
    """Write the published layout and return its files by language and number."""
    files = {}
    for language, texts in rows.items():
        for number in (1, 2, 3):
            path = folder / f"{language}_{number}.txt"
            files[f"{language}/{number}"] = str(path)
            if number <= width:
                path.write_text("".join(f"{row[number - 1]}\n" for row in texts), "utf-8")
    return files


def texts_of(table, language):
    part = table[table["language"] == language]
    return [tuple(row) for row in part[["anchor", "positive", "negative"]].itertuples(index=False)]


def ids_of(table):
    return {language: list(part["sent_id"]) for language, part in table.groupby("language")}


def test_the_published_layout(tmp_path):
    table, counts = read_pairs(write_lines(tmp_path), format="lines")
    assert list(table.columns) == ["language", "sent_id", "anchor", "positive", "negative"]
    for language, rows in ROWS.items():
        assert texts_of(table, language) == rows
    assert ids_of(table) == {"en": ["1", "2", "3"], "zh": ["1", "2", "3"]}
    rest = {"found": 3, "empty": 0, "rows": 3, "triples": 3, "duplicates": 0}
    assert counts == [{"language": language} | rest for language in ROWS]


def test_without_a_third_file_there_are_pairs(tmp_path):
    table, counts = read_pairs(write_lines(tmp_path, width=2), format="lines")
    assert texts_of(table, "zh") == [(a, b, None) for a, b, _ in ROWS["zh"]]
    assert [row["triples"] for row in counts] == [0, 0]
    only = {key: file for key, file in write_lines(tmp_path).items() if not key.endswith("3")}
    assert read_pairs(only, format="lines")[0].equals(table)


def test_a_text_missing_in_one_language_is_left_out_in_all(tmp_path):
    rows = {"en": ROWS["en"], "zh": [ROWS["zh"][0], ("咖啡馆", "  ", "海"), ROWS["zh"][2]]}
    table, counts = read_pairs(write_lines(tmp_path, rows), format="lines")
    assert ids_of(table) == {"en": ["1", "3"], "zh": ["1", "3"]}
    assert texts_of(table, "en") == [ROWS["en"][0], ROWS["en"][2]]
    assert [(row["found"], row["empty"], row["rows"]) for row in counts] == [(3, 1, 2)] * 2


def test_rows_that_repeat_are_kept_and_counted(tmp_path):
    rows = {"en": [ROWS["en"][0], ROWS["en"][0], ROWS["en"][2]], "zh": ROWS["zh"]}
    table, counts = read_pairs(write_lines(tmp_path, rows), format="lines")
    assert len(table) == 6
    assert [row["duplicates"] for row in counts] == [1, 0]


def test_texts_are_composed_and_stripped(tmp_path):
    rows = {"en": [(" " + unicodedata.normalize("NFD", "Café"), "b\t", "c\u3000")] * 2}
    table, _ = read_pairs(write_lines(tmp_path, rows), format="lines")
    assert texts_of(table, "en") == [("Café", "b", "c")] * 2


def test_lines_of_windows_and_a_byte_order_mark(tmp_path):
    files = write_lines(tmp_path, {"en": ROWS["en"]})
    for file in files.values():
        path = tmp_path / file
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert texts_of(read_pairs(files, format="lines")[0], "en") == ROWS["en"]


def test_files_of_unequal_length_are_named_with_their_numbers(tmp_path):
    files = write_lines(tmp_path)
    (tmp_path / "zh_2.txt").write_text("一\n二\n", "utf-8")
    with pytest.raises(BabelscopeError, match=r"zh_1\.txt has 3 lines, .*zh_2\.txt 2"):
        read_pairs(files, format="lines")
    files = write_lines(tmp_path, {**ROWS, "zh": ROWS["zh"][:2]})
    message = r"en has 3 rows \(to .*en_1\.txt, line 3\), zh 2 \(to .*zh_1\.txt, line 2\)"
    with pytest.raises(BabelscopeError, match=message):
        read_pairs(files, format="lines")


@pytest.mark.parametrize("missing", ["zh_1.txt", "zh_2.txt", "zh_3.txt"])
def test_a_language_without_a_file(missing, tmp_path):
    files = write_lines(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(BabelscopeError, match=rf"The corpus has no zh: .*{missing}"):
        read_pairs(files, format="lines")


def test_text_that_is_not_utf8(tmp_path):
    files = write_lines(tmp_path)
    (tmp_path / "zh_2.txt").write_bytes(b"a\nb\n\xff\n")
    with pytest.raises(BabelscopeError, match=r"zh_2\.txt is not UTF-8: .* in line 3"):
        read_pairs(files, format="lines")


def test_nothing_is_left(tmp_path):
    files = write_lines(tmp_path, {"en": [("a", "b", "")], "de": [("", "b", "c")]})
    with pytest.raises(BabelscopeError, match=r"holds no row .* in en, de: .*'found': 1"):
        read_pairs(files, format="lines")
    with pytest.raises(ValueError, match="no reader"):
        read_pairs(files, format="csv")


def test_tsv(tmp_path):
    for language, rows in ROWS.items():
        lines = ["note\tpositive\tanchor\tnegative", *(f"x\t{b}\t{a}\t{c}" for a, b, c in rows)]
        (tmp_path / f"{language}.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    files = {language: str(tmp_path / f"{language}.tsv") for language in ROWS}
    table, _ = read_pairs(files, format="tsv")
    assert texts_of(table, "zh") == ROWS["zh"]
    (tmp_path / "en.tsv").write_text("anchor\tpositive\na\tb\n", "utf-8")
    table, _ = read_pairs({"en": files["en"]}, format="tsv")
    assert texts_of(table, "en") == [("a", "b", None)]
    with pytest.raises(BabelscopeError, match=r"zh\.tsv, line 2: the row is of another shape"):
        read_pairs(files, format="tsv")
    (tmp_path / "en.tsv").write_text("anchor\tother\na\tb\n", "utf-8")
    with pytest.raises(BabelscopeError, match=r"en\.tsv has no column positive"):
        read_pairs(files, format="tsv")


def write_json(path, values):
    lines = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    path.write_bytes(gzip.compress(lines.encode()))
    return str(path)


def test_the_shapes_of_published_training_data(tmp_path):
    values = [
        ["a", "b"],
        ["c", "d", "e"],
        {"set": ["f", "g", "h", "i", "j"]},
        {"query": "k", "pos": ["l", "m"], "neg": ["n", "o"]},
        {"query": "p", "pos": ["q"]},
    ]
    table, counts = read_pairs({"en": write_json(tmp_path / "a.jsonl.gz", values)}, format="jsonl")
    assert texts_of(table, "en") == [
        ("a", "b", None),
        ("c", "d", "e"),
        ("f", "g", None),
        ("h", "i", None),
        ("k", "l", "n"),
        ("p", "q", None),
    ]
    assert list(table["sent_id"]) == ["1", "2", "3-1", "3-2", "4", "5"]
    assert (counts[0]["rows"], counts[0]["triples"]) == (6, 2)


@pytest.mark.parametrize(
    "value",
    [
        ["a"],
        ["a", "b", "c", "d"],
        ["a", 1],
        {"set": ["a"]},
        {"set": ["a", None]},
        {"query": "a", "pos": []},
        {"query": None, "pos": ["b"]},
        {"a": 1},
        "a",
    ],
)
def test_a_line_of_no_known_shape(value, tmp_path):
    path = write_json(tmp_path / "a.jsonl.gz", [["a", "b"], value])
    with pytest.raises(BabelscopeError, match=r"a\.jsonl\.gz, line 2: neither a pair"):
        read_pairs({"en": path}, format="jsonl")


def test_lines_of_another_shape_in_another_language(tmp_path):
    english = write_json(tmp_path / "en.jsonl.gz", [["a", "b"], {"set": ["c", "d", "e", "f"]}])
    german = write_json(tmp_path / "de.jsonl.gz", [["a", "b"], ["c", "d"]])
    with pytest.raises(BabelscopeError, match=r"de\.jsonl\.gz, line 2: .* than in en"):
        read_pairs({"en": english, "de": german}, format="jsonl")


def test_a_download_that_was_cut_off(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    write_json(path, [[f"a {n}", f"b {n * n}"] for n in range(1000)])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BabelscopeError, match=r"a\.jsonl\.gz is damaged or cut off"):
        read_pairs({"en": str(path)}, format="jsonl")


def test_the_rows_that_are_kept_are_the_same_in_every_language_and_nested(tmp_path):
    rows = {code: [(f"{code} {n}", f"b{n}", f"c{n}") for n in range(50)] for code in ("en", "de")}
    files = write_lines(tmp_path, rows)
    kept = {
        most: ids_of(read_pairs(files, format="lines", most=most, seed=3)[0]) for most in (5, 20)
    }
    assert [len(kept[most]["en"]) for most in (5, 20)] == [5, 20]
    assert kept[5]["en"] == kept[5]["de"]
    assert set(kept[5]["en"]) < set(kept[20]["en"])
    assert kept[20]["en"] == sorted(kept[20]["en"], key=int)
    other = ids_of(read_pairs(files, format="lines", most=5, seed=4)[0])
    assert other["en"] != kept[5]["en"]
    assert len(read_pairs(files, format="lines", most=70)[0]) == 100


NLI = [
    ("p1", "e1", "entailment"),
    ("p1", "n1", "neutral"),
    ("p2", "c2", "contradiction"),
    ("p1", "c1", "contradiction"),
    ("p2", "e2", "entailment"),
    ("p2", "e2 too", "entailment"),
    ("p3", "e3", "entailment"),
]


def write_nli(folder, **by_language):
    files = {}
    for language, rows in by_language.items():
        path = folder / f"{language}.tsv"
        lines = ["\t".join(row) for row in [("premise", "hypothesis", "label"), *rows]]
        path.write_text("\n".join(lines) + "\n", "utf-8")
        files[language] = str(path)
    return files


def translated(rows):
    return [(f"X {premise}", f"x {hypothesis}", label) for premise, hypothesis, label in rows]


def test_premises_with_both_become_triples(tmp_path):
    files = write_nli(tmp_path, en=NLI, de=translated(NLI))
    table, counts = read_pairs(files, format="nli")
    assert texts_of(table, "en") == [("p1", "e1", "c1"), ("p2", "e2", "c2")]
    assert texts_of(table, "de") == [("X p1", "x e1", "x c1"), ("X p2", "x e2", "x c2")]
    assert ids_of(table) == {"de": ["1", "5"], "en": ["1", "5"]}
    rest = {"found": 7, "empty": 0, "premises": 3, "incomplete": 1}
    rest |= {"rows": 2, "triples": 2, "duplicates": 0}
    assert counts == [{"language": language} | rest for language in ("en", "de")]


def test_premises_are_told_apart_by_the_first_language(tmp_path):
    """A translation may render two premises alike, or one in two ways."""
    alike = [("X", hypothesis, label) for _, hypothesis, label in NLI]
    table, _ = read_pairs(write_nli(tmp_path, en=NLI, de=alike), format="nli")
    assert ids_of(table)["de"] == ["1", "5"]
    assert texts_of(table, "de") == [("X", "e1", "c1"), ("X", "e2", "c2")]


def test_inference_that_lacks_a_text_in_one_language(tmp_path):
    german = translated(NLI)
    german[3] = ("X p1", " ", "contradiction")
    table, counts = read_pairs(write_nli(tmp_path, en=NLI, de=german), format="nli")
    assert ids_of(table) == {"de": ["5"], "en": ["5"]}
    assert (counts[0]["empty"], counts[0]["incomplete"]) == (1, 2)


def test_inference_that_is_not_aligned(tmp_path):
    german = translated(NLI)
    with pytest.raises(BabelscopeError, match=r"en\.tsv has 7 rows, .*de\.tsv 6"):
        read_pairs(write_nli(tmp_path, en=NLI, de=german[1:]), format="nli")
    swapped = [german[1], german[0], *german[2:]]
    with pytest.raises(BabelscopeError, match=r"de\.tsv, row 1: another label than in .*en\.tsv"):
        read_pairs(write_nli(tmp_path, en=NLI, de=swapped), format="nli")
    files = write_nli(tmp_path, en=NLI) | {"sw": str(tmp_path / "sw.tsv")}
    with pytest.raises(BabelscopeError, match=r"The corpus has no sw: .*sw\.tsv"):
        read_pairs(files, format="nli")


@pytest.mark.real_data
@pytest.mark.parametrize(("split", "premises"), [("dev", 830), ("test", 1670)])
def test_real_inference_gives_a_triple_for_every_premise(split, premises, real_data):
    languages = ("en", "de", "ur", "zh", "sw")
    folder = real_data / "nli" / "xnli"
    files = {language: str(folder / f"{split}.{language}.tsv.xz") for language in languages}
    table, counts = read_pairs(files, format="nli")
    assert {row["rows"] for row in counts} == {row["premises"] for row in counts} == {premises}
    assert {row["found"] for row in counts} == {3 * premises}
    ids = ids_of(table)
    assert all(ids[language] == ids["en"] for language in languages)
    assert not (table[["anchor", "positive", "negative"]] == "").any(axis=None)
