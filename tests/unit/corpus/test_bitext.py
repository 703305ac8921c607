"""Aligned translations, and translations to be found among other sentences."""

import lzma
import unicodedata

import pytest

from babelscope.corpus.bitext import read_bitext, read_mining
from babelscope.errors import BabelscopeError

PAIRS = [("Es regnet.", "It rains."), ("Hallo!", "Hi!"), ('"Nein"', "No, no")]
CODES = {"de": "deu", "en": "eng", "zh": "cmn"}


def write(path, rows):
    text = "".join("\t".join(row) + "\n" for row in rows).encode()
    path.write_bytes(lzma.compress(text) if path.suffix == ".xz" else text)
    return str(path)


def read(files, format="tsv"):
    return read_bitext(files, format=format, codes=CODES)


def pairs_of(table):
    return list(zip(table["sentence1"], table["sentence2"], strict=True))


@pytest.mark.parametrize("header", [("deu", "eng"), ("de", "en"), ("deu", "en")])
def test_columns_named_by_language(header, tmp_path):
    table, counts = read({"de/en": write(tmp_path / "a.tsv", [header, *PAIRS])})
    columns = ["pair_id", "language1", "language2", "sentence1", "sentence2"]
    assert list(table.columns) == columns
    assert pairs_of(table) == PAIRS
    assert list(table["pair_id"]) == ["1", "2", "3"]
    assert set(table["language1"]) == {"de"}
    rest = {"found": 3, "empty": 0, "rows": 3, "repeated1": 0, "repeated2": 0}
    assert counts == [{"language1": "de", "language2": "en"} | rest]


def test_columns_count_by_their_names_and_not_by_their_order(tmp_path):
    rows = [("eng", "deu"), *((second, first) for first, second in PAIRS)]
    assert pairs_of(read({"de/en": write(tmp_path / "a.tsv", rows)})[0]) == PAIRS


@pytest.mark.parametrize("header", [("fra", "eng"), ("deu", "eng", "x"), ("deu",), ("deu", "deu")])
def test_columns_of_other_languages(header, tmp_path):
    path = write(tmp_path / "a.tsv", [header])
    message = r"a\.tsv has the columns .*; de \(or deu\) and en \(or eng\) are needed"
    with pytest.raises(BabelscopeError, match=message):
        read({"de/en": path})


def test_only_one_direction_has_a_file(tmp_path):
    path = write(tmp_path / "deu-eng.tsv", [("deu", "eng"), *PAIRS])
    absent = str(tmp_path / "eng-deu.tsv")
    table, _ = read({"de/de": absent, "de/en": path, "en/de": absent})
    assert pairs_of(table) == PAIRS
    with pytest.raises(BabelscopeError, match=r"The corpus has no zh: .*eng-deu\.tsv"):
        read({"de/en": path, "zh/en": absent, "en/zh": absent})


def test_repeated_sentences_are_legal_and_counted(tmp_path):
    rows = [("deu", "eng"), *PAIRS, ("Hallo!", "Hello!"), ("Nein", "Hi!"), PAIRS[0]]
    table, counts = read({"de/en": write(tmp_path / "a.tsv", rows)})
    assert len(table) == 6
    assert (counts[0]["repeated1"], counts[0]["repeated2"]) == (2, 2)


def test_empty_sides_are_left_out_without_moving_the_others(tmp_path):
    rows = [("deu", "eng"), PAIRS[0], ("", "Hi!"), ("Hallo!", "  "), PAIRS[2]]
    table, counts = read({"de/en": write(tmp_path / "a.tsv", rows)})
    assert pairs_of(table) == [PAIRS[0], PAIRS[2]]
    assert list(table["pair_id"]) == ["1", "4"]
    assert (counts[0]["found"], counts[0]["empty"], counts[0]["rows"]) == (4, 2, 2)
    with pytest.raises(BabelscopeError, match=r"a\.tsv holds no pair that has both sides; 1 rows"):
        read({"de/en": write(tmp_path / "a.tsv", [("deu", "eng"), ("", "a")])})


def test_a_row_that_is_short(tmp_path):
    path = write(tmp_path / "a.tsv", [("deu", "eng"), *PAIRS, ("Hallo!",)])
    with pytest.raises(BabelscopeError, match=r"a\.tsv, line 5: 1 cells, but the header has 2"):
        read({"de/en": path})


def test_line_files(tmp_path):
    files = {
        f"de/en/{side + 1}": write(tmp_path / f"tatoeba.{side}", [(pair[side],) for pair in PAIRS])
        for side in (0, 1)
    }
    assert pairs_of(read(files, "moses")[0]) == PAIRS
    write(tmp_path / "tatoeba.1", [("one",)])
    with pytest.raises(BabelscopeError, match=r"tatoeba\.0 has 3 lines, .*tatoeba\.1 1"):
        read(files, "moses")
    with pytest.raises(ValueError, match="no reader"):
        read(files, "csv")


def test_sentences_are_composed_and_stripped(tmp_path):
    rows = [("deu", "eng"), (unicodedata.normalize("NFD", "Köln "), "\u3000Cologne")]
    assert pairs_of(read({"de/en": write(tmp_path / "a.tsv", rows)})[0]) == [("Köln", "Cologne")]


GOLD = 60
SIZE = 200  # sentences of each side; the first of both are translations of each other


def write_bucc(folder, name="dev", size=SIZE, gold=GOLD):
    sides = [[(f"{code}-{n}", f"{code} text {n}") for n in range(size)] for code in ("zh", "en")]
    pairs = [(sides[0][n][0], sides[1][n][0]) for n in range(gold)]
    files = [sides[0][::-1], sides[1], pairs]
    return {
        f"zh/en/{name}/{number}": write(folder / f"zh-en.{name}.{end}.xz", rows)
        for number, (end, rows) in enumerate(zip(("zh", "en", "gold"), files, strict=True), start=1)
    }


HALVES = {"train": ("dev", 0.0, 0.5), "test": ("dev", 0.5, 1.0)}
WHOLE = {"train": ("training", 0.0, 1.0), "test": ("test", 0.0, 1.0)}


def gold_of(table, split, side):
    part = table[(table["split"] == split) & (table["side"] == side) & table["partner"].notna()]
    return dict(zip(part["sent_id"], part["partner"], strict=True))


def test_pairs_stay_together_and_all_others_are_shared_out(tmp_path):
    table, counts = read_mining(write_bucc(tmp_path), parts=HALVES)
    columns = ["language1", "language2", "split", "side", "sent_id", "text", "partner"]
    assert list(table.columns) == columns
    assert len(table) == 2 * SIZE
    assert not table.duplicated(["side", "sent_id"]).any()
    for split in HALVES:
        forward, backward = gold_of(table, split, 1), gold_of(table, split, 2)
        assert forward == {f"zh-{n}": f"en-{n}" for n in range(GOLD) if f"zh-{n}" in forward}
        assert {partner: name for name, partner in backward.items()} == forward
        for side in (1, 2):
            part = table[(table["split"] == split) & (table["side"] == side)]
            assert 0.35 < len(part) / SIZE < 0.65  # four standard deviations
    assert sum(row["gold"] for row in counts if row["side"] == 1) == GOLD
    assert {(row["found"], row["empty"], row["repeated"]) for row in counts} == {(SIZE, 0, 0)}
    assert sum(row["rows"] for row in counts) == len(table)


def test_a_sentence_falls_by_its_text_alone(tmp_path):
    """Neither what else is in the file nor its ids decide."""
    table, _ = read_mining(write_bucc(tmp_path), parts=HALVES)
    (tmp_path / "more").mkdir()
    larger, _ = read_mining(write_bucc(tmp_path / "more", size=300), parts=HALVES)
    common = larger[larger["sent_id"].isin(table["sent_id"])].reset_index(drop=True)
    for split in HALVES:
        for side in (1, 2):
            chosen = [
                frame[(frame["split"] == split) & (frame["side"] == side)]["text"]
                for frame in (table, common)
            ]
            assert list(chosen[0]) == list(chosen[1])


def test_published_parts_of_their_own(tmp_path):
    files = write_bucc(tmp_path, "training") | write_bucc(tmp_path, "test", size=100, gold=10)
    table, counts = read_mining(files, parts=WHOLE)
    assert [row["rows"] for row in counts] == [200, 200, 100, 100]
    assert [row["gold"] for row in counts] == [60, 60, 10, 10]
    assert len(gold_of(table, "train", 2)) == 60
    with pytest.raises(BabelscopeError, match="zh and en have no file test, for test"):
        read_mining(write_bucc(tmp_path, "training"), parts=WHOLE)


def test_what_cannot_count_is_counted_as_left_out(tmp_path):
    files = write_bucc(tmp_path)
    rows = [("zh-0", " "), *((f"zh-{n}", "same") for n in (1, 2)), ("zh-3", "other")]
    write(tmp_path / "zh-en.dev.zh.xz", rows)
    gold = [("zh-0", "en-0"), ("zh-1", "en-1"), ("zh-1", "en-5"), ("zh-3", "en-3")]
    write(tmp_path / "zh-en.dev.gold.xz", gold)
    table, counts = read_mining(files, parts=dict.fromkeys(("train", "test"), ("dev", 0.0, 1.0)))
    assert gold_of(table, "train", 1) == {"zh-1": "en-1", "zh-3": "en-3"}
    assert gold_of(table, "test", 2) == {"en-1": "zh-1", "en-3": "zh-3"}
    first, second = counts[:2]
    assert (first["found"], first["empty"], first["rows"], first["duplicates"]) == (4, 1, 3, 1)
    assert (second["empty"], second["repeated"], second["gold"]) == (0, 1, 2)


@pytest.mark.parametrize(
    ("file", "rows", "message"),
    [
        ("gold", [("zh-1", "en-1"), ("zh-2", "en-9999")], r"gold\.xz, line 2: .*no sentence en-99"),
        ("gold", [("en-1", "zh-1")], r"gold\.xz, line 1: .*zh\.xz has no sentence en-1"),
        ("gold", [("zh-1",)], r"gold\.xz, line 1: 1 cells"),
        ("gold", [], r"train has no gold pair of zh and en \(.*gold\.xz"),
        ("en", [("en-1", "a"), ("en-1", "b")], r"en\.xz, line 2: the id en-1 is there twice"),
        ("en", [("en-1", "a", "b")], r"en\.xz, line 1: 3 cells"),
    ],
)
def test_files_that_do_not_fit(file, rows, message, tmp_path):
    files = write_bucc(tmp_path)
    write(tmp_path / f"zh-en.dev.{file}.xz", rows)
    with pytest.raises(BabelscopeError, match=message):
        read_mining(files, parts=HALVES)


@pytest.mark.real_data
def test_real_translations(real_data):
    folder = real_data / "parallel" / "tatoeba"
    codes = {"de": "deu", "zh": "cmn", "sw": "swh", "en": "eng"}
    files = {
        f"{first}/{second}": str(folder / f"{codes[first]}-{codes[second]}.tsv")
        for first in codes
        for second in codes
    }
    table, counts = read_bitext(files, format="tsv", codes=codes)
    rows = {(row["language1"], row["language2"]): row["rows"] for row in counts}
    assert rows == {("de", "en"): 1000, ("zh", "en"): 1000, ("sw", "en"): 390}
    assert len(table) == 2390


@pytest.mark.real_data
def test_real_mining_loses_no_pair(real_data):
    folder = real_data / "bitext" / "bucc2018"
    names = ("zh-en.dev.zh.xz", "zh-en.dev.en.xz", "zh-en.dev.gold")
    files = {f"zh/en/dev/{n}": str(folder / name) for n, name in enumerate(names, start=1)}
    table, counts = read_mining(files, parts=HALVES)
    assert [row["found"] for row in counts] == [8624, 13589] * 2
    assert len(table) == 8624 + 13589
    gold = [line.split("\t") for line in (folder / names[2]).read_text().splitlines()]
    assert len(gold) == 257
    found = [item for split in HALVES for item in gold_of(table, split, 1).items()]
    assert sorted(found) == sorted(map(tuple, gold))
