"""Samples as published, but for its mistakes: rows belong together by id, and there are as many."""

import gzip
import json
import random
import tracemalloc
from collections import Counter
from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babelscope.corpus.instructions import make_instruction_pairs
from babelscope.corpus.rows import within
from babelscope.errors import BabelscopeError
from babelscope.io import read_jsonl, write_table

NAMES = {"en": "English", "de": "German", "zh": "Chinese", "ar": "Arabic"}
SAMPLES = {
    "cross_probability": 0.5,
    "change_probability": 0.5,
    "repeat": 1.0,
    "valid": 0.25,
    "weights": {},
    "seed": 1,
}


def row(language, number, **changes):
    return {
        "id": f"x-{number}",
        "instruction": f"{language} say {number}!",
        "input": f"{language} given {number}" if number % 2 else "",
        "output": f"{language} answer {number}",
    } | changes


def corpus(folder, languages=("en", "de"), count=40, name="bx", rows=None):
    """Write the files of a corpus, each in an order of its own, and return them."""
    files = {}
    for language in languages:
        found = list((rows or {}).get(language, [row(language, n) for n in range(count)]))
        random.Random(language).shuffle(found)
        path = folder / f"{name}.{language}.json"
        path.write_text(json.dumps(found, ensure_ascii=False, indent=1), "utf-8")
        files[language] = str(path)
    return files


def translated(folder, rows, name="opus"):
    path = folder / f"{name}.parquet"
    write_table(
        path,
        pd.DataFrame(rows, columns=["language", "sent_id", "anchor", "positive", "negative"]),
    )
    return str(path)


def make(folder, files=None, translations=None, languages=("en", "de"), pivot="en", **changes):
    """Return the samples by split, and the counts."""
    outputs = {split: str(folder / "out" / f"{split}.jsonl.zst") for split in ("train", "valid")}
    counts = make_instruction_pairs(
        files or {},
        translations or {},
        outputs,
        languages={code: NAMES[code] for code in languages},
        pivot=pivot,
        **(SAMPLES | changes),
    )
    return {split: list(read_jsonl(path)) for split, path in outputs.items()}, counts


def all_of(samples):
    return [*samples["train"], *samples["valid"]]


def number_of(text):
    return int("".join(filter(str.isdigit, text.rpartition(" ")[2])))


def test_prompts_are_the_published_ones(tmp_path):
    samples, _ = make(tmp_path, {"bx": corpus(tmp_path)})
    for sample in all_of(samples):
        source, target = sample["source_lang"], sample["target_lang"]
        number = int(sample["id"].removeprefix("x-"))
        given = f" {source} given {number}" if number % 2 else ""
        prompt = f"{source} say {number}!{given} Answer in {NAMES[target]}: "
        assert sample["clm_text"] == f"{prompt}{target} answer {number}"
        assert sample["clm_prompt_len"] == len(prompt)
        assert sample["corpus"] == "bx"


def test_sentence_pairs_are_instructions_in_the_pivot_and_another_language(tmp_path):
    samples, _ = make(tmp_path, {"bx": corpus(tmp_path)})
    pairs = Counter()
    for sample in all_of(samples):
        assert (sample["lang0"], sample["lang1"]) == ("en", "de")
        number = number_of(sample["sent0"])
        assert (sample["sent0"], sample["sent1"]) == (f"en say {number}!", f"de say {number}!")
        assert "sent2" not in sample
        pairs[number] += 1
    assert pairs == Counter(range(40))
    other = [s for s in all_of(samples) if s["id"] != f"x-{number_of(s['sent0'])}"]
    assert len(other) > 30  # another row's pair, as published


def test_there_are_as_many_samples_as_rows_and_no_one_more(tmp_path):
    files = {"bx": corpus(tmp_path)}
    for repeat in (0.5, 1.0, 2.0, 2.5):
        samples, counts = make(tmp_path, files, repeat=repeat)
        kept = {count["split"]: count["kept"] for count in counts}
        for split, found in samples.items():
            assert len(found) == round(repeat * kept[split])
            uses = Counter(sample["id"] for sample in found)
            assert max(uses.values()) - min(uses.values()) <= 1
            assert (len(uses) == kept[split]) == (repeat >= 1)


def test_rows_belong_together_by_id_and_not_by_position(tmp_path):
    rows = {
        "en": [row("en", n) for n in range(30)],
        "de": [row("de", n) for n in (7, 3, 29, 28, 5, 100, 11, 12, 13, 14, 15, 16)],
    }
    samples, counts = make(tmp_path, {"bx": corpus(tmp_path, rows=rows)})
    common = {7, 3, 29, 28, 5, 11, 12, 13, 14, 15, 16}
    assert {int(sample["id"][2:]) for sample in all_of(samples)} == common
    for sample in all_of(samples):
        assert number_of(sample["clm_text"]) == int(sample["id"][2:])
        assert number_of(sample["sent0"]) == number_of(sample["sent1"])
    total = pd.DataFrame(counts).groupby("language")[["rows", "kept", "unmatched_id"]].sum()
    assert total.loc["en"].to_list() == [30, 11, 19]
    assert total.loc["de"].to_list() == [12, 11, 1]


def test_the_order_of_the_files_does_not_matter(tmp_path):
    first, _ = make(tmp_path, {"bx": corpus(tmp_path)})
    rows = {code: [row(code, n) for n in range(39, -1, -1)] for code in ("en", "de")}
    again, _ = make(tmp_path, {"bx": corpus(tmp_path, rows=rows)})
    assert again == first


def test_the_seed_decides_all_and_corpora_do_not_depend_on_each_other(tmp_path):
    files = {"bx": corpus(tmp_path), "cx": corpus(tmp_path, name="cx")}
    samples, _ = make(tmp_path, files)
    assert make(tmp_path, files)[0] == samples
    other = make(tmp_path, files, seed=2)[0]
    assert other != samples
    assert [s["id"] for s in other["train"]] != [s["id"] for s in samples["train"]]
    alone, _ = make(tmp_path, {"bx": files["bx"]})
    assert [s for s in samples["train"] if s["corpus"] == "bx"] == alone["train"]


def test_corpora_are_mixed_by_weight(tmp_path):
    files = {"bx": corpus(tmp_path, count=200), "cx": corpus(tmp_path, count=100, name="cx")}
    samples, counts = make(tmp_path, files, weights={"bx": 0.3, "cx": 2.0})
    kept = {(c["corpus"], c["split"]): c["kept"] for c in counts}
    for split, found in samples.items():
        wanted = {name: round(w * kept[name, split]) for name, w in (("bx", 0.3), ("cx", 2.0))}
        assert Counter(sample["corpus"] for sample in found) == wanted
    order = [sample["corpus"] for sample in samples["train"]]
    changes = sum(a != b for a, b in pairwise(order))
    assert changes > len(order) / 5


def test_ids_are_held_out_by_their_hash_in_every_language(tmp_path):
    samples, counts = make(tmp_path, {"bx": corpus(tmp_path, ("en", "de", "zh"))})
    held = {f"x-{n}" for n in range(40) if within(f"x-{n}", 0.0, 0.25)}
    assert 3 < len(held) < 20
    assert {sample["id"] for sample in samples["valid"]} == held
    assert {f"x-{number_of(s['sent0'])}" for s in samples["valid"]} <= held
    assert {f"x-{number_of(s['sent0'])}" for s in samples["train"]}.isdisjoint(held)
    assert {sample["id"] for sample in samples["train"]}.isdisjoint(held)
    for count in counts:
        assert count["kept"] == (len(held) if count["split"] == "valid" else 40 - len(held))


@pytest.mark.parametrize(("cross", "expected"), [(0.0, 0.0), (1.0, 1.0), (0.3, 0.3)])
def test_two_languages_cross_as_often_as_asked_and_each_asks_as_often(cross, expected, tmp_path):
    files = {"bx": corpus(tmp_path, count=300)}
    samples, _ = make(tmp_path, files, repeat=3.0, cross_probability=cross, change_probability=0.0)
    found = all_of(samples)
    crossed = sum(sample["source_lang"] != sample["target_lang"] for sample in found)
    assert crossed / len(found) == pytest.approx(expected, abs=0.05)
    asked = Counter(sample["source_lang"] for sample in found)
    assert asked["en"] / len(found) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("change", [0.0, 0.25, 1.0])
def test_of_more_languages_the_pivot_is_one_side_and_change_turns_it(change, tmp_path):
    codes = ("en", "de", "zh", "ar")
    samples, _ = make(
        tmp_path,
        {"bx": corpus(tmp_path, codes, count=300)},
        languages=codes,
        repeat=3.0,
        change_probability=change,
    )
    found = all_of(samples)
    directions = Counter((sample["source_lang"], sample["target_lang"]) for sample in found)
    crossed = {pair: number for pair, number in directions.items() if pair[0] != pair[1]}
    assert all("en" in pair for pair in crossed)
    assert sum(crossed.values()) / len(found) == pytest.approx(0.5, abs=0.05)
    back = sum(number for pair, number in crossed.items() if pair[1] == "en")
    assert back / sum(crossed.values()) == pytest.approx(change, abs=0.06)
    same = Counter(source for source, target in directions.elements() if source == target)
    assert min(same.values()) > 0.7 * max(same.values())
    others = Counter(sample["lang1"] for sample in found)
    assert set(others) == {"de", "zh", "ar"}
    assert {sample["lang0"] for sample in found} == {"en"}
    for sample in found:
        if sample["source_lang"] != sample["target_lang"]:
            assert sample["lang1"] in (sample["source_lang"], sample["target_lang"])


def test_a_row_is_not_paired_again_before_the_others_in_whatever_language(tmp_path):
    codes = ("en", "de", "zh", "ar")
    samples, _ = make(
        tmp_path, {"bx": corpus(tmp_path, codes, count=100)}, languages=codes, repeat=2.0
    )
    for found in samples.values():
        paired = [number_of(sample["sent0"]) for sample in found]
        half = len(paired) // 2
        assert len(set(paired[:half])) == len(set(paired[half:])) == half


def test_the_first_language_need_not_be_the_pivot(tmp_path):
    samples, _ = make(tmp_path, {"bx": corpus(tmp_path)}, languages=("de", "en"))
    assert {sample["lang0"] for sample in all_of(samples)} == {"en"}
    samples, _ = make(tmp_path, {"bx": corpus(tmp_path)}, languages=("en", "de"), pivot="de")
    assert {sample["lang0"] for sample in all_of(samples)} == {"de"}


def test_a_corpus_may_have_some_of_the_languages(tmp_path):
    files = {"bx": corpus(tmp_path, ("en", "zh"))}
    samples, counts = make(tmp_path, files, languages=("en", "de", "zh"))
    assert {sample["lang1"] for sample in all_of(samples)} == {"zh"}
    assert {count["language"] for count in counts} == {"en", "zh"}


def test_missing_and_empty_fields_are_counted_and_left_out(tmp_path):
    rows = {code: [row(code, n) for n in range(40)] for code in ("en", "de")}
    rows["de"][1] = row("de", 1, output="  ")
    rows["de"][2] = row("de", 2, instruction="")
    rows["de"][3] = row("de", 3, output=None)
    del rows["de"][4]["instruction"]
    del rows["en"][5]["id"]
    del rows["en"][6]["input"]
    rows["de"][7] = row("de", 7, input=None)
    samples, counts = make(tmp_path, {"bx": corpus(tmp_path, rows=rows)}, repeat=9.0)
    kept = {sample["id"] for sample in all_of(samples)}
    assert kept == {f"x-{n}" for n in range(40)} - {f"x-{n}" for n in (1, 2, 3, 4, 5)}
    total = pd.DataFrame(counts).groupby("language").sum(numeric_only=True)
    expected = {
        "en": {"rows": 40, "kept": 35, "missing_field": 1, "empty_field": 0, "unmatched_id": 4},
        "de": {"rows": 40, "kept": 35, "missing_field": 2, "empty_field": 2, "unmatched_id": 1},
    }
    for code, numbers in expected.items():
        assert {key: total.loc[code, key] for key in numbers} == numbers
    for name, code in (("6", "en"), ("7", "de")):
        asked = [s for s in all_of(samples) if (s["id"], s["source_lang"]) == (f"x-{name}", code)]
        assert asked[0]["clm_text"].startswith(f"{code} say {name}! Answer in")


def test_the_same_text_in_both_languages_makes_no_sentence_pair(tmp_path):
    rows = {code: [row(code, n) for n in range(40)] for code in ("en", "de")}
    for number in range(10):
        rows["de"][number]["instruction"] = rows["en"][number]["instruction"]
    samples, counts = make(tmp_path, {"bx": corpus(tmp_path, rows=rows)})
    assert {number_of(sample["sent0"]) for sample in all_of(samples)} == set(range(10, 40))
    assert len({sample["id"] for sample in all_of(samples)}) == 40
    same = pd.DataFrame(counts).groupby("language")["same_text"].sum()
    assert same.to_dict() == {"de": 10, "en": 0}


def test_counts_are_tidy(tmp_path):
    _, counts = make(tmp_path, {"bx": corpus(tmp_path)})
    assert [list(count) for count in counts] == [
        [
            *("corpus", "language", "split", "rows", "kept"),
            *("missing_field", "empty_field", "unmatched_id", "same_text"),
        ]
    ] * 4
    assert [(count["language"], count["split"]) for count in counts] == [
        (code, split) for code in ("en", "de") for split in ("train", "valid")
    ]


def test_other_layouts_of_the_file(tmp_path):
    expected, _ = make(tmp_path, {"bx": corpus(tmp_path)})
    files = {}
    for code in ("en", "de"):
        rows = [row(code, n) | {"more": n} for n in range(40)]
        if code == "en":
            files[code] = str(tmp_path / "en.jsonl")
            text = "".join(json.dumps(one) + "\n" for one in rows)
            (tmp_path / "en.jsonl").write_text(text)
        else:
            files[code] = str(tmp_path / "de.json.gz")
            (tmp_path / "de.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    assert make(tmp_path, {"bx": files})[0] == expected


def test_ids_may_be_numbers_and_texts_are_composed_and_stripped(tmp_path):
    rows = {code: [row(code, n, id=n) for n in range(40)] for code in ("en", "de")}
    rows["en"][0] |= {"instruction": " Cafe\u0301?\n", "input": " "}
    samples, _ = make(tmp_path, {"bx": corpus(tmp_path, rows=rows)}, cross_probability=1.0)
    texts = {sample["sent0"] for sample in all_of(samples)}
    assert "Café?" in texts
    asked = [s for s in all_of(samples) if s["id"] == "0" and s["source_lang"] == "en"]
    assert all(s["clm_text"].startswith("Café? Answer in German: ") for s in asked)


def test_translations_become_prompts_and_pairs_of_one_row(tmp_path):
    rows = [
        (
            code,
            str(n),
            f"{code} text {n}",
            f"{code} other {n}",
            f"{code} wrong {n}" if n % 3 else None,
        )
        for code in ("en", "de")
        for n in range(60)
    ]
    samples, counts = make(tmp_path, translations={"opus": translated(tmp_path, rows)}, repeat=2.0)
    forms = Counter()
    for sample in all_of(samples):
        source, target, number = sample["lang0"], sample["lang1"], int(sample["id"])
        assert (sample["source_lang"], sample["target_lang"]) == (source, target)
        assert {source, target} == {"en", "de"}
        assert sample["sent0"] == f"{source} text {number}"
        assert sample["sent1"] == f"{target} text {number}"
        assert sample.get("sent2") == (f"{target} wrong {number}" if number % 3 else None)
        prompt = sample["clm_text"][: sample["clm_prompt_len"]]
        assert sample["clm_text"] == prompt + sample["sent1"]
        forms[prompt.removeprefix(sample["sent0"])] += 1
    assert set(forms) == {" Translate into German: ", " Translate into English: ", " = "}
    assert forms[" = "] / 120 == pytest.approx(0.5, abs=0.15)
    assert Counter(sample["id"] for sample in all_of(samples)) == {str(n): 2 for n in range(60)}
    assert sum(count["kept"] for count in counts if count["language"] == "de") == 60


def test_parallel_text_is_translated_from_its_columns(tmp_path):
    rows = [("en", str(n), f"en {n}", "", None) for n in range(40)]
    rows += [("de", str(n), f"de {n}", "", None) for n in range(40)]
    table = pd.DataFrame({"sent_id": [str(n) for n in range(40)]})
    wide = table.assign(**{code: [f"{code} {n}" for n in range(40)] for code in ("en", "de", "ru")})
    path = tmp_path / "parallel.parquet"
    wide.to_parquet(path)
    found = make(tmp_path, translations={"ntrex": str(path)})
    assert found == make(tmp_path, translations={"ntrex": translated(tmp_path, rows)})
    assert len(all_of(found[0])) == 40


@pytest.mark.parametrize("change", [0.0, 1.0, 0.3])
def test_translations_change_direction(change, tmp_path):
    rows = [
        (code, str(n), f"{code} text {n}", "", None)
        for code in ("de", "en", "zh")
        for n in range(300)
    ]
    samples, _ = make(
        tmp_path,
        translations={"opus": translated(tmp_path, rows)},
        languages=("en", "de", "zh"),
        change_probability=change,
    )
    found = all_of(samples)
    back = sum(sample["lang1"] == "en" for sample in found)
    assert back / len(found) == pytest.approx(change, abs=0.08)
    assert all("en" in (sample["lang0"], sample["lang1"]) for sample in found)
    others = Counter(({s["lang0"], s["lang1"]} - {"en"}).pop() for s in found)
    assert min(others.values()) > 100


def test_instructions_and_translations_are_mixed(tmp_path):
    rows = [
        (code, str(n), f"{code} text {n}", "", None)
        for code in ("en", "de", "fr")
        for n in range(40)
    ]
    samples, _ = make(
        tmp_path, {"bx": corpus(tmp_path)}, {"opus": translated(tmp_path, rows)}, repeat=2.0
    )
    assert Counter(sample["corpus"] for sample in all_of(samples)) == {"bx": 80, "opus": 80}
    assert "fr" not in {sample["lang1"] for sample in all_of(samples)}


def test_memory_does_not_grow_with_the_texts(tmp_path):
    peaks = []
    for length in (10, 6000):
        rows = {
            code: [row(code, n, output=f"{code} {n} " + "x" * length) for n in range(500)]
            for code in ("en", "de")
        }
        files = {"bx": corpus(tmp_path, rows=rows)}
        del rows
        outputs = {split: str(tmp_path / f"{split}.jsonl.zst") for split in ("train", "valid")}
        tracemalloc.start()
        make_instruction_pairs(
            files, {}, outputs, languages={"en": "E", "de": "G"}, pivot="en", **SAMPLES
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    texts = 2 * 500 * 6000
    assert peaks[1] - peaks[0] < texts / 4


@settings(max_examples=25, deadline=None, database=None)
@given(
    numbers=st.lists(st.integers(0, 60), unique=True, min_size=12, max_size=30),
    lacking=st.sets(st.integers(0, 60), max_size=6),
    cross=st.floats(0, 1),
    change=st.floats(0, 1),
    repeat=st.sampled_from([0.7, 1.0, 1.3]),
    codes=st.sampled_from([("en", "de"), ("en", "de", "zh")]),
    seed=st.integers(0, 99),
)
def test_any_corpus(tmp_path_factory, numbers, lacking, cross, change, repeat, codes, seed):
    folder = tmp_path_factory.mktemp("any")
    rows = {code: [row(code, n) for n in numbers] for code in codes}
    rows["de"] = [one for one in rows["de"] if int(one["id"][2:]) not in lacking]
    common = {f"x-{n}" for n in numbers if n not in lacking}
    held = {name for name in common if within(name, 0.0, 0.25)}
    if min(len(held), len(common - held)) < 2:
        return
    samples, counts = make(
        folder,
        {"bx": corpus(folder, codes, rows=rows)},
        languages=codes,
        cross_probability=cross,
        change_probability=change,
        repeat=repeat,
        seed=seed,
    )
    for split, ids in (("valid", held), ("train", common - held)):
        assert len(samples[split]) == round(repeat * len(ids))
        assert {sample["id"] for sample in samples[split]} <= ids
        for sample in samples[split]:
            prompt = sample["clm_text"][: sample["clm_prompt_len"]]
            number = sample["id"][2:]
            assert prompt.endswith(f" Answer in {NAMES[sample['target_lang']]}: ")
            assert sample["clm_text"][len(prompt) :] == f"{sample['target_lang']} answer {number}"
            assert number_of(sample["sent0"]) == number_of(sample["sent1"])
    for count in counts:
        lost = ("missing_field", "empty_field", "unmatched_id")
        assert count["rows"] == count["kept"] + sum(count[key] for key in lost)


@pytest.mark.parametrize("languages", [("en",), ("de", "zh"), ()])
def test_fewer_than_two_languages_or_no_pivot(languages, tmp_path):
    with pytest.raises(BabelscopeError, match="Samples need the pivot, en, and another language"):
        make(tmp_path, {"bx": corpus(tmp_path)}, languages=languages)


def test_a_corpus_without_the_pivot_or_any_other_language(tmp_path):
    for codes in (("de", "zh"), ("en",)):
        message = rf"Of en, de, zh the corpus bx has {', '.join(codes)}, but samples need en and"
        with pytest.raises(BabelscopeError, match=message):
            make(tmp_path, {"bx": corpus(tmp_path, codes)}, languages=("en", "de", "zh"))
    path = translated(tmp_path, [("fr", "1", "a", "b", None)])
    with pytest.raises(BabelscopeError, match="the corpus opus has none, but"):
        make(tmp_path, translations={"opus": path})


def test_nothing_in_common(tmp_path):
    rows = {"en": [row("en", n) for n in range(9)], "de": [row("de", n) for n in range(9, 20)]}
    with pytest.raises(BabelscopeError, match="No id of the corpus bx is there, with all its"):
        make(tmp_path, {"bx": corpus(tmp_path, rows=rows)})
    empty = {"en": [row("en", n) for n in range(9)], "de": []}
    with pytest.raises(BabelscopeError, match="No id of the corpus bx is there, with all its"):
        make(tmp_path, {"bx": corpus(tmp_path, rows=empty)})


def test_one_text_everywhere(tmp_path):
    rows = {code: [row(code, n, instruction="Do it.") for n in range(40)] for code in ("en", "de")}
    with pytest.raises(BabelscopeError, match=r"bx says the same in en and de in all \d+ rows for"):
        make(tmp_path, {"bx": corpus(tmp_path, rows=rows)})


def test_no_sample_for_a_split(tmp_path):
    with pytest.raises(BabelscopeError, match=r"No sample is made for valid of its rows: 0 of bx"):
        make(tmp_path, {"bx": corpus(tmp_path)}, valid=1e-9)
    with pytest.raises(BabelscopeError, match=r"No sample is made for train of its rows: \d+ of"):
        make(tmp_path, {"bx": corpus(tmp_path)}, repeat=1e-3)


def test_an_id_that_is_there_twice(tmp_path):
    rows = {"en": [row("en", 3), row("en", 4), row("en", 3)], "de": [row("de", 3)]}
    with pytest.raises(BabelscopeError, match=r"en\.json, object \d: the id x-3 is there twice"):
        make(tmp_path, {"bx": corpus(tmp_path, rows=rows)})
