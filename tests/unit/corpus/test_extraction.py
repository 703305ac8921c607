"""Articles out of a small dump that has what real dumps have."""

import bz2
import inspect
import json
import re
import time
import tracemalloc
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from babelscope.corpus.cleaning import clean, prepare
from babelscope.corpus.disambiguation import is_disambiguation
from babelscope.corpus.extraction import PROGRAM, extract_articles
from babelscope.corpus.wikipages import Page, read_pages
from babelscope.errors import BabelscopeError
from babelscope.io import read_jsonl, write_jsonl

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <dbname>dewiki</dbname>
    <base>https://de.wikipedia.org/wiki/Wikipedia:Hauptseite</base>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="1" case="first-letter">Diskussion</namespace>
      <namespace key="6" case="first-letter">Datei</namespace>
      <namespace key="10" case="first-letter">Vorlage</namespace>
      <namespace key="14" case="first-letter">Kategorie</namespace>
    </namespaces>
  </siteinfo>
"""
CITY = """<!-- Text: {{Vorlage -->{{Infobox|Name=Köln
|Bild=Dom.jpg}}
[[Datei:Dom.jpg|mini|Der [[Kölner Dom]] bei {{Wert|3}} Uhr]]
'''Köln''' ({{Sprache|Colonia}}) ist eine [[Stadt]] am ''Rhein''<ref name="a">{{Buch|x}}</ref> mit
{{Wert|1}} Hafen &amp; Dom, siehe [[Kill Bill: Volume 1]] und [[Tatort: Tote|die Folge]].

== Geschichte ==
Die Stadt wurde von den Römern gegründet.<ref name="b" />
{| class="wikitable"
|-
! Jahr !! Einwohner
|-
| 1900 || 372.529
|}
* ein Punkt
Heute &lt; 2 Millionen&nbsp;Menschen leben<br />hier.

== Leer ==
[[Kategorie:Stadt]]
[[en:Cologne]]
"""
ARABIC = "'''القاهرة''' (بالإنجليزية: Cairo) هي عاصمة [[مصر]] وأكبر مدنها، وتقع على نهر النيل."
CHINESE = "'''北京'''（{{lang|Peking}}）是-{zh-hans:中华人民共和国; zh-hant:中華民國}-的首都。"
HINDI = "'''दिल्ली''' [[भारत]] की राजधानी है। क्षेत्र\u200dफल १४८४ वर्ग कि॰मी॰ है।"


def page(number, title, text, namespace=0, redirect=None):
    moved = f'    <redirect title="{escape(redirect)}" />\n' if redirect else ""
    return (
        f"  <page>\n    <title>{escape(title)}</title>\n    <ns>{namespace}</ns>\n"
        f"    <id>{number}</id>\n{moved}    <revision>\n      <id>{number + 1000}</id>\n"
        f"      <contributor>\n        <username>A</username>\n        <id>7</id>\n"
        f"      </contributor>\n      <text bytes='9' xml:space='preserve'>{escape(text)}</text>\n"
        f"    </revision>\n  </page>\n"
    )


PAGES = [
    page(1, "Köln", CITY),
    page(2, "Cöln", "#WEITERLEITUNG [[Köln]]", redirect="Köln"),
    page(3, "Vorlage:Wert", "{{Zahl|{{{1}}}}}<noinclude>Doku</noinclude>", 10),
    page(4, "Diskussion:Köln", "Eine Frage zum Artikel.", 1),
    page(5, "Mars (Begriffsklärung)", "'''Mars''' steht für:\n* einen Planeten"),
    page(6, "Merkur", "'''Merkur''' steht für:\n{{Begriffsklärung}}"),
    page(7, "Vorlagen der Antike", "Eine {{Wert|2}} am Anfang des Titels ist keine Vorlage."),
    page(8, "Leer", "{{Infobox|Name=Leer}}"),
    page(9, "A & B <C>", "Ein Titel mit Zeichen, die XML &amp; HTML vergeben."),
    page(10, "Vorlage:Zahl", "Zahl {{{1}}}", 10),
    page(11, "Vorlage:Sprache", "#WEITERLEITUNG [[Vorlage:Zahl]]", 10, "Vorlage:Zahl"),
    page(12, "القاهرة", ARABIC),
    page(13, "दिल्ली", HINDI),
    page(14, "Ohne Text", ""),
]
FATES = {
    "pages": 14,
    "other_namespaces": 4,
    "redirects": 1,
    "disambiguations": 2,
    "repeated": 0,
    "failed": 0,
    "empty": 2,
    "articles": 5,
}


def write_dump(folder: Path, *archives: list[str], streams: int = 1) -> Path:
    """Write a dump of one archive per list of pages, each of several bz2 streams."""
    folder.mkdir(parents=True)
    files = []
    for number, pages in enumerate(archives, start=1):
        name = f"dewiki-20260101-pages-articles{number}.xml.bz2"
        size = -(-len(pages) // streams) or 1
        blocks = ["".join(pages[i : i + size]) for i in range(0, len(pages), size)]
        content = [HEAD, *blocks, "</mediawiki>\n"]
        (folder / name).write_bytes(b"".join(bz2.compress(block.encode()) for block in content))
        files.append({"name": name, "size": 0, "sha1": "", "kind": "archive"})
    files.append({"name": "index.txt.bz2", "size": 0, "sha1": "", "kind": "index"})
    (folder / "dump.json").write_text(json.dumps({"date": "20190203", "files": files}))
    return folder


def extract(dump: Path, output: Path, language="de", templates=True, processes=2):
    counts = extract_articles(
        dump, output, language=language, templates=templates, processes=processes
    )
    shards = sorted(output.iterdir())
    return counts, [record for shard in shards for record in read_jsonl(shard)]


def test_what_becomes_of_each_page(tmp_path):
    counts, records = extract(write_dump(tmp_path / "d", PAGES, streams=3), tmp_path / "out")
    assert counts == FATES
    assert counts["pages"] == sum(counts.values()) - counts["pages"]
    assert [record["id"] for record in records] == ["1", "7", "9", "12", "13"]
    assert {tuple(record) for record in records} == {("id", "revid", "url", "title", "text")}
    assert records[0]["revid"] == "1001"
    assert records[0]["url"] == "https://de.wikipedia.org/wiki?curid=1"
    assert records[2]["title"] == "A & B <C>"
    assert records[2]["text"] == "Ein Titel mit Zeichen, die XML & HTML vergeben."


def test_the_text_of_an_article(tmp_path):
    _, records = extract(write_dump(tmp_path / "d", PAGES), tmp_path / "out")
    assert records[0]["text"].split("\n") == [
        'Köln (Zahl Colonia) ist eine Stadt am "Rhein" mit',
        "Zahl 1 Hafen & Dom, siehe Kill Bill: Volume 1 und die Folge.",
        "Geschichte.",
        "Die Stadt wurde von den Römern gegründet.",
        "Heute < 2 Millionen\u00a0Menschen leben hier.",
    ]
    assert records[1]["text"] == "Eine Zahl 2 am Anfang des Titels ist keine Vorlage."


def test_scripts_survive(tmp_path):
    _, records = extract(write_dump(tmp_path / "d", PAGES), tmp_path / "out")
    assert records[3]["text"] == re.sub(r"'''|\[\[|\]\]", "", ARABIC)
    assert records[4]["text"] == re.sub(r"'''|\[\[|\]\]", "", HINDI)
    pages = [page(1, "北京", CHINESE)]
    _, records = extract(write_dump(tmp_path / "z", pages), tmp_path / "zh", language="zh")
    assert records[0]["text"] == "北京是中华人民共和国的首都。"


def test_without_templates(tmp_path):
    counts, records = extract(
        write_dump(tmp_path / "d", PAGES), tmp_path / "out", templates=False, processes=1
    )
    assert counts == FATES
    assert records[0]["text"].startswith('Köln ist eine Stadt am "Rhein" mit\n')


def test_archives_share_their_templates(tmp_path):
    """One archive or two, one process or two: the same articles in the same order."""
    one = extract(write_dump(tmp_path / "a", PAGES), tmp_path / "one", processes=1)
    two = extract(write_dump(tmp_path / "b", PAGES[:2], PAGES[2:]), tmp_path / "two")
    assert one == two


def test_parts_may_overlap_by_a_page(tmp_path):
    """wikiextractor drops such a page without a word."""
    counts, records = extract(write_dump(tmp_path / "d", PAGES[:1], PAGES), tmp_path / "out")
    assert counts == {**FATES, "pages": 15, "repeated": 1}
    assert len(records) == 5


def test_shards_hold_a_limited_number_of_articles(tmp_path, monkeypatch):
    monkeypatch.setattr("babelscope.corpus.extraction.ARTICLES_PER_SHARD", 2)
    extract(write_dump(tmp_path / "d", PAGES), tmp_path / "out")
    shards = sorted((tmp_path / "out").iterdir())
    assert [shard.name for shard in shards] == [f"shard-0000{n}.jsonl.zst" for n in range(3)]
    assert [len(list(read_jsonl(shard))) for shard in shards] == [2, 2, 1]
    assert not list(tmp_path.glob(".*"))


def test_the_text_does_not_depend_on_today(tmp_path):
    pages = [
        page(1, "Jahr", "Im Jahr {{CURRENTYEAR}} im {{Monat}}. Monat."),
        page(2, "Vorlage:Monat", "{{LocalMonth}}", 10),
    ]
    _, records = extract(write_dump(tmp_path / "d", pages), tmp_path / "out")
    assert records[0]["text"] == "Im Jahr 2019 im 02. Monat."


def test_memory_does_not_grow_with_the_dump(tmp_path):
    pages = [page(i, f"T{i}", "Wort " * 1000) for i in range(1200)]  # 6 MB
    archive = next(write_dump(tmp_path / "d", pages).glob("*.bz2"))
    tracemalloc.start()
    assert sum(isinstance(item, Page) for item in read_pages(archive)) == 1200
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6


def wait_for_rest(touched: Path) -> None:
    """Return when a file has not been touched for half a second."""
    while time.time() - touched.stat().st_mtime < 0.5:
        time.sleep(0.05)


SLOW_WORKER = f"""
import runpy, time
from pathlib import Path
from wikiextractor import WikiExtractor
{inspect.getsource(wait_for_rest)}
extract = WikiExtractor.Extractor.extract
def slowly(self, *given):
    if self.id == "1":
        wait_for_rest(Path(__file__).with_name("touched"))
    extract(self, *given)
WikiExtractor.Extractor.extract = slowly
runpy.run_path({str(PROGRAM)!r}, run_name="__main__")
"""


@pytest.mark.parametrize("slow", ["worker", "writer"])
def test_reading_is_never_far_ahead_of_writing(slow, tmp_path, monkeypatch):
    """Of all that lies between the two, pipes and queues, nothing takes in a whole dump."""
    words = " ".join(map(str, range(2000)))  # 9 kB, so that few articles fit into a pipe
    pages = [page(i, f"T{i}", words) for i in range(1, 201)]
    dump = write_dump(tmp_path / "d", pages, streams=len(pages))
    touched = tmp_path / "touched"
    read, ahead = [], []

    def read_and_touch(archive):
        for item in read_pages(archive):
            touched.touch()
            read.append(item)
            yield item

    def write_and_compare(path, records):
        def compared():
            for written, record in enumerate(records):
                if slow == "writer" and not written:
                    wait_for_rest(touched)
                ahead.append(len(read) - written)
                yield record

        return write_jsonl(path, compared())

    monkeypatch.setattr("babelscope.corpus.extraction.read_pages", read_and_touch)
    monkeypatch.setattr("babelscope.corpus.extraction.write_jsonl", write_and_compare)
    if slow == "worker":
        (tmp_path / "slow.py").write_text(SLOW_WORKER)
        monkeypatch.setattr("babelscope.corpus.extraction.PROGRAM", tmp_path / "slow.py")
    counts, _ = extract(dump, tmp_path / "out", templates=False)
    assert counts["articles"] == len(ahead) == 200
    assert max(ahead) < 80  # ten a worker in wikiextractor, and what fits into two pipes


def test_an_archive_that_is_named_must_be_there(tmp_path):
    dump = write_dump(tmp_path / "d", PAGES)
    next(dump.glob("*.bz2")).unlink()
    with pytest.raises(BabelscopeError, match="articles1.xml.bz2 does not exist"):
        extract(dump, tmp_path / "out")


@pytest.mark.parametrize(
    ("language", "title", "text"),
    [
        ("en", "Mercury (disambiguation)", ""),
        ("en", "Mercury", "{{Hndis|name=Mercury}}"),
        ("en", "Mercury", "{{ disambiguation\n|geo}}"),
        ("en", "Mercury", "{{Human_name_disambiguation}}"),
        ("sw", "Mars", "text __DISAMBIG__"),
        ("es", "Mercurio", "{{desambiguación}}"),
        ("ru", "Меркурий (значения)", ""),
        ("zh", "水星", "{{消歧義}}"),
        ("ar", "عطارد", "{{توضيح}}"),
        ("ur", "عطارد", "{{ضد ابہام}}"),
        ("hi", "बुध", "{{बहुविकल्पी शब्द}}"),
        ("fr", "Mercure", "{{Homonymie}}"),
        ("tr", "Merkür", "{{Anlam ayrımı}}"),
        ("tr", "Merkür", "{{Kişi adları (anlam ayrımı)|x}}"),
        ("mr", "बुध", "{{निःसंदिग्धीकरण}}"),
    ],
)
def test_disambiguation_pages_are_known(language, title, text):
    assert is_disambiguation(title, text, language)


@pytest.mark.parametrize(
    ("language", "title", "text"),
    [
        ("en", "Mercury", "{{Other uses|Mercury (disambiguation)}} A planet."),
        ("en", "Mercury", "See [[Mercury (disambiguation)]]. {{disambiguation needed}}"),
        ("de", "Merkur", "{{Begriffsklärungshinweis}} Ein Planet."),
        ("fr", "Mercure", "{{Voir homonymes|Mercure}}"),
        ("de", "Disambiguation", "Ein Wort."),
    ],
)
def test_articles_that_point_to_them_are_not(language, title, text):
    assert not is_disambiguation(title, text, language)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Köln\nKöln ist eine Stadt.", "Köln ist eine Stadt."),
        ("Berlin () ist", "Berlin ist"),
        ('Berlin („“, "") ist', "Berlin ist"),
        ("柏林（，）是", "柏林是"),
        ("Achilles (;, Greek,) was", "Achilles (Greek) was"),
        ("a<ref>b</ref> &apos;c&apos; H<sub>2</sub>O", "ab 'c' H2O"),
        ("x {{eqm}} y [[z] w]]", "x y z] w"),
        ("* one\n*two\n# three\n#MeToo\n:four", "one\ntwo\nthree\n#MeToo\nfour"),
        ("1 < 2 and 3 > 2, f(x), {1, 2}", "1 < 2 and 3 > 2, f(x), {1, 2}"),
        ("می\u200cخواهم क्\u200dष e\u0301", "می\u200cخواهم क्\u200dष e\u0301"),
        ("\u200f(مصر)\u200e", "\u200f(مصر)\u200e"),
        (" \n\n ", ""),
    ],
)
def test_what_is_left_of_markup_goes(text, cleaned):
    assert clean(text, "Köln") == cleaned


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a-{甲}-b", "a甲b"),
        ("a-{zh-hant:乙; zh-hans:甲;}-b", "a甲b"),
        ("a-{zh-tw:乙}-b", "a乙b"),
        ("a-{T|zh-hans:甲}-b", "ab"),
        ("a-{A|zh-cn:甲; zh-tw:乙}-b", "a甲b"),
        ("a-{10:30}-b", "a10:30b"),
    ],
)
def test_one_variant_of_chinese_is_shown(text, shown):
    assert prepare(text, frozenset(), "zh") == shown
    assert prepare(text, frozenset(), "sr") == text


def test_links_with_a_colon_are_titles_unless_it_ends_a_namespace():
    spaces = frozenset({"kategorie", "file"})
    assert prepare("[[Kategorie: X]] [[File: a.jpg|b]] [[fr: Y]]", spaces, "de").count("[[") == 3
    assert prepare("[[Alien: Covenant|2017]] [[Foo:Bar]]", spaces, "de") == "2017 [[Foo:Bar]]"


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("wiki", "articles"),
    [("arwiki", 3), ("enwiki", 97), ("hiwiki", 1), ("mrwiki", 151), ("zhwiki", 1)],
)
def test_real_dumps_leave_no_markup(wiki, articles, real_data, tmp_path):
    source = next((real_data / "dumps" / wiki).glob("*/*.bz2"))
    (tmp_path / source.name).symlink_to(source)
    description = {"date": "20230101", "files": [{"name": source.name, "kind": "archive"}]}
    (tmp_path / "dump.json").write_text(json.dumps(description))
    counts, records = extract(tmp_path, tmp_path / "out", language=wiki[:2], templates=False)
    assert counts["articles"] == len(records) == articles
    left = re.compile(
        r"\{\{|\}\}|\[\[|\]\]|</?(?:ref|br|div|span)\b|&\w+;|''|-\{|\(\s*\)|^[*=|]", re.M
    )
    for record in records:
        assert not left.search(record["text"]), record["title"]
