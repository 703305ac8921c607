"""The demo's files: official in form, deterministic, and without a leak between text and test."""

import bz2
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from babelscope.demo.build import build_demo, parallel_sentences
from babelscope.demo.grammar import load_grammar
from babelscope.demo.knowledge import LANGUAGES, load
from babelscope.demo.plan import hold_out, plan_articles
from babelscope.errors import BabelscopeError

SIZES = {"date": "20260101", "articles": 130, "sentences": 60, "ner": 16, "nli": 16, "seed": 1}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    build_demo(folder, languages={"ru": "ruwiki", "zh": "zhwiki"}, **SIZES)
    return folder


def _archive(folder: Path, wiki: str = "ruwiki") -> Path:
    return folder / f"dumps/{wiki}/20260101/{wiki}-20260101-pages-articles-multistream.xml.bz2"


def _pages(path: Path) -> list[ET.Element]:
    root = ET.fromstring(bz2.decompress(path.read_bytes()))
    return root.findall("{*}page")


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_equal_arguments_give_equal_bytes(built, tmp_path):
    build_demo(tmp_path, languages={"ru": "ruwiki", "zh": "zhwiki"}, **SIZES)
    assert _digests(built) == _digests(tmp_path)


def test_another_seed_gives_other_text(built, tmp_path):
    build_demo(tmp_path, languages={"ru": "ruwiki"}, **SIZES | {"seed": 2})
    assert _archive(built).read_bytes() != _archive(tmp_path).read_bytes()


def test_a_language_does_not_depend_on_the_others(built, tmp_path):
    build_demo(tmp_path, languages={"ru": "ruwiki"}, **SIZES)
    assert _archive(built).read_bytes() == _archive(tmp_path).read_bytes()


def test_data_for_sentence_encoders_come_beside_the_same_bytes(built, tmp_path):
    sizes = {"pairs": 20, "sts": 12, "topics": 20, "reading": 8}
    build_demo(tmp_path, languages={"ru": "ruwiki", "zh": "zhwiki"}, **SIZES, **sizes)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"dumps", "parallel.tsv", "ner", "nli", *sizes}
    after = _digests(tmp_path)
    assert _digests(built) == {name: after[name] for name in _digests(built)}


def test_index_points_at_streams_that_hold_the_pages(built):
    data = _archive(built).read_bytes()
    index = _archive(built).with_name("ruwiki-20260101-pages-articles-multistream-index.txt.bz2")
    lines = bz2.decompress(index.read_bytes()).decode().splitlines()
    entries = [line.split(":", 2) for line in lines]
    offsets = sorted({int(offset) for offset, _, _ in entries})
    assert len(offsets) >= 2
    for offset in offsets:
        stream = bz2.BZ2Decompressor().decompress(data[offset:])
        root = ET.fromstring(b"<pages>" + stream + b"</pages>")
        found = [(page.findtext("id"), page.findtext("title")) for page in root]
        assert found == [(i, title) for o, i, title in entries if int(o) == offset]
        assert len(found) <= 100
    assert bz2.BZ2Decompressor().decompress(data).rstrip().endswith(b"</siteinfo>")


def test_status_and_sums_describe_the_files(built):
    folder = _archive(built).parent
    status = json.loads((folder / "dumpstatus.json").read_text())
    files = status["jobs"]["articlesmultistreamdump"]["files"]
    sums = dict(
        reversed(line.split("  "))
        for line in (folder / "ruwiki-20260101-sha1sums.txt").read_text().splitlines()
    )
    assert set(files) == set(sums)
    for name, entry in files.items():
        data = (folder / name).read_bytes()
        assert entry["size"] == len(data)
        assert entry["url"] == f"/ruwiki/20260101/{name}"
        assert entry["sha1"] == sums[name] == hashlib.sha1(data).hexdigest()
        assert entry["md5"] == hashlib.md5(data).hexdigest()


def test_pages_exercise_extraction(built):
    pages = _pages(_archive(built))
    namespaces = {page.findtext("{*}ns") for page in pages}
    assert {"0", "1", "2", "4", "6", "10", "14"} <= namespaces
    assert any(page.find("{*}redirect") is not None for page in pages)
    text = "\n".join(page.findtext("{*}revision/{*}text") or "" for page in pages)
    for markup in ("'''", "[[", "{{Карточка", "{|", "<ref>", "<!--", "[[Категория:", "|thumb"):
        assert markup in text
    assert any((page.findtext("{*}title") or "").startswith("Шаблон:") for page in pages)


def test_articles_follow_the_knob(built):
    plans = plan_articles(load(), set(), 130, seed=1)
    assert len(plans) == 130
    articles = [
        page
        for page in _pages(_archive(built))
        if page.findtext("{*}ns") == "0"
        and page.find("{*}redirect") is None
        and "disambig" not in (page.findtext("{*}revision/{*}text") or "")
    ]
    assert len(articles) == 130


def test_parallel_table(built):
    rows = [line.split("\t") for line in (built / "parallel.tsv").read_text("utf-8").splitlines()]
    assert rows[0] == ["sent_id", "fact", "ru", "zh"]
    assert len(rows) == 61
    assert all(len(row) == 4 and all(row) for row in rows)
    for column in range(4):
        assert len({row[column] for row in rows}) == 61


def test_no_article_states_a_held_out_fact(built):
    knowledge = load()
    held_out = hold_out(knowledge, 700, seed=1)
    secret = {fact.id for fact in held_out}
    plans = plan_articles(knowledge, secret, 900, seed=1)
    for plan in plans:
        assert not secret & {fact.id for fact in (*plan.facts, *plan.related)}
        if plan.kind == "list":
            group = plan.keys[1]
            told = {fact.subject for fact in held_out if group in fact.objects}
            assert not told & set(plan.keys[2:])
    for language in ("ru", "zh"):
        grammar = load_grammar(language)
        pages = _pages(_archive(built, f"{language}wiki"))
        text = " ".join(p.findtext("{*}revision/{*}text") or "" for p in pages).lower()
        text = re.sub(r"\[\[(?:[^|\]]*\|)?([^\]]*)\]\]", r"\1", text.replace("'''", ""))
        text = re.sub(r"\{\{[^|{}]*\|([^{}]*)\}\}", r"\1", text)
        stated = [
            fact
            for fact in plan_articles(knowledge, secret, 1, seed=1)[0].facts
            if any(
                grammar.fill(p, fact).text.lower() in text for p in grammar.patterns(fact.relation)
            )
        ]
        assert stated  # so the search below does find what is there
        for fact in hold_out(knowledge, 60, seed=1):
            for pattern in grammar.patterns(fact.relation):
                assert grammar.fill(pattern, fact).text.lower() not in text


def test_every_entity_keeps_a_fact_for_its_article():
    knowledge = load()
    held_out = {fact.id for fact in hold_out(knowledge, 1000, seed=2)}
    entities = [key for key, entity in knowledge.entities.items() if entity.article]
    plans = plan_articles(knowledge, held_out, len(entities), seed=2)
    assert {plan.keys[0] for plan in plans} == set(entities)
    assert all(plan.facts for plan in plans)


def test_more_held_out_facts_keep_those_before():
    knowledge = load()
    assert hold_out(knowledge, 600, seed=1)[:400] == hold_out(knowledge, 400, seed=1)


def test_sentences_are_distinct_in_every_language_at_full_size():
    facts = hold_out(load(), 1000, seed=3)
    columns = zip(*parallel_sentences(facts, list(LANGUAGES), seed=3), strict=True)
    assert all(len(set(column)) == 1000 for column in columns)


def test_too_many_sentences_name_the_key_and_the_most(tmp_path):
    with pytest.raises(BabelscopeError, match=r"demo\.sentences is 99999.*at most \d+"):
        build_demo(tmp_path, languages={"de": "dewiki"}, **SIZES | {"sentences": 99999})


def test_too_many_articles_name_the_key_and_the_most(tmp_path):
    with pytest.raises(BabelscopeError, match=r"demo\.articles is 10000000.*at most \d+"):
        build_demo(tmp_path, languages={"de": "dewiki"}, **SIZES | {"articles": 10_000_000})


def test_unknown_language_lists_the_known_ones(tmp_path):
    with pytest.raises(BabelscopeError, match="'fr'.*en, es, ru"):
        build_demo(tmp_path, languages={"fr": "frwiki"}, **SIZES)
