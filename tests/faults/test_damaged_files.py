"""Files, each of which once ended a reader with another error than ours, or without an end."""

import bz2
import gzip
import json
import signal
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
import zstandard

from babelscope.config import Corpus, Model, load_settings, read_rows
from babelscope.corpus import bounded_wikiextractor, wikipages
from babelscope.corpus.choices import read_choices
from babelscope.corpus.cleaning import clean
from babelscope.corpus.disambiguation import is_disambiguation
from babelscope.corpus.dumps import find_dump
from babelscope.corpus.json_arrays import read_json_objects
from babelscope.corpus.multistream import _pages_of, read_index
from babelscope.corpus.ner import read_ner
from babelscope.corpus.rows import read_dataset, read_tsv
from babelscope.corpus.similarity import read_similarity
from babelscope.corpus.wikipages import read_pages
from babelscope.errors import LONGEST, BabelscopeError
from babelscope.evaluation.prompts import read_prompts
from babelscope.io import read_json, read_jsonl, read_lines, read_table
from babelscope.models.hub import fetch_model
from babelscope.models.loading import load_tokenizer

ROOT = Path(__file__).resolve().parents[2]
DEEP = 100_000  # brackets in each other
LONG = 300_000  # characters, with which what is quadratic does not come to an end


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * DEEP, "nested too deeply|an object is missing"),
        ('{"a": ' * DEEP, "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "Exceeds the limit"),
        (r'{"a": "\ud800"}', "half a character"),
        (r'{"\udfff": 1}', "half a character"),
    ],
)
def test_json_that_python_cannot_take(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    for read in (read_json, read_jsonl, read_json_objects):
        with pytest.raises(BabelscopeError, match=rf"a\.json.* not JSON \(.*{message}"):
            found = read(path)
            assert list(found) if read is not read_json else found
    path.write_text(r'{"a": "\ud83d\ude00 \\ud800"}')
    assert next(read_jsonl(path)) == {"a": "\U0001f600 \\ud800"}


def test_a_quotation_mark_that_is_missing_in_a_long_array(tmp_path):
    """The rest of the file would be read anew with each chunk of it."""
    path = tmp_path / "a.json"
    path.write_text('[{"a": "' + "x" * 20_000_000)
    with pytest.raises(BabelscopeError, match="Unterminated string"):
        list(read_json_objects(path))


def test_a_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(BabelscopeError, match="cannot be read: Is a directory"):
        list(read_lines(tmp_path))


def test_a_line_that_is_neither_utf8_nor_complete(tmp_path):
    """The line is looked for in a second reading, which ends at the damage."""
    path = tmp_path / "a.txt.gz"
    whole = gzip.compress(b"a\n" + b"b\xff" + bytes(range(128, 255)) * 400)
    path.write_bytes(whole[:-40])
    with pytest.raises(BabelscopeError, match=r"not UTF-8: .* in line 2"):
        list(read_lines(path))


def test_a_block_of_zstandard_that_becomes_large(tmp_path):
    """It is handed out in small pieces, none of them by copying the rest."""
    path = tmp_path / "a.txt.zst"
    path.write_bytes(zstandard.compress((b"x" * 1023 + b"\n") * 60_000))
    assert sum(1 for _ in read_lines(path)) == 60_000


def test_a_message_is_one_line_that_can_be_read():
    error = BabelscopeError("a\nb\u2028c" + "x" * 10**6, "Repair it.")
    assert str(error).startswith("a b cxxx")
    assert str(error).endswith("xxx Repair it.")
    assert len(str(error)) < LONGEST


def test_a_header_of_very_many_columns(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("\t" * LONG + "\n")
    with pytest.raises(BabelscopeError, match=r"a\.tsv has several columns"):
        list(read_tsv(path))


def table(path: Path, metadata: dict[str, str] | None = None, **columns) -> Path:
    pq.write_table(pa.table(columns, metadata=metadata), path)
    return path


@pytest.mark.parametrize(
    "metadata",
    [
        *("{", "[]", "5", '{"info": []}', '{"info": {"features": {"a": 3}}}', "[" * DEEP),
        '{"info": {"features": {"a": {"_type": "ClassLabel"}}}}',
        '{"info": {"features": {"a": []}}}',
    ],
)
def test_metadata_that_describe_nothing(tmp_path, metadata):
    path = table(tmp_path / "a.parquet", {"huggingface": metadata}, a=[1])
    with pytest.raises(BabelscopeError, match=r"a\.parquet is damaged"):
        list(read_dataset(path))


def test_texts_in_a_table_that_are_not_utf8(tmp_path):
    column = pa.StringArray.from_buffers(
        1, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")
    )
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink:
        batch = pa.record_batch([column], ["a"])
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
    with pytest.raises(BabelscopeError, match=r"a\.arrow is damaged"):
        list(read_dataset(tmp_path / "a.arrow"))


@pytest.mark.parametrize("state", ["[]", "{}", '{"_data_files": 3}', '{"_data_files": [{}]}'])
def test_a_folder_that_lists_no_files(tmp_path, state):
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(BabelscopeError, match="does not list files"):
        list(read_dataset(tmp_path))


def test_a_type_of_columns_that_pandas_does_not_know(tmp_path):
    path = table(tmp_path / "a.parquet", {"pandas": '{"columns": 3}'}, a=[1])
    with pytest.raises(BabelscopeError, match=r"a\.parquet is not a readable"):
        read_table(path)


def test_a_tag_that_is_a_list(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"tokens": ["a"], "tags": [["O"]]}\n')
    with pytest.raises(BabelscopeError, match=r"the tag \['O'\] is not one of"):
        read_ner(tmp_path / "a.jsonl", format="datasets", language="en", types=["PER"])


def similarity(files: dict[str, Path], format: str) -> None:
    named = {key: str(path) for key, path in files.items()}
    read_similarity(named, format=format, scale=(0.0, 5.0), id_column="", pivot="en")


def test_a_score_that_is_larger_than_any(tmp_path):
    row = json.dumps({"sentence1": "a", "sentence2": "b", "score": 10**400})
    (tmp_path / "a.jsonl").write_text(row)
    with pytest.raises(BabelscopeError, match="is not between 0 and 5"):
        similarity({"en": tmp_path / "a.jsonl"}, "jsonl")


@pytest.mark.parametrize("text", ['"' + "x" * 200_000, "x" * 200_000 + ",b,1\n", 'a,b"c,1\n"'])
def test_a_cell_without_an_end(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(BabelscopeError, match=r"a\.csv"):
        similarity({"en": tmp_path / "a.csv"}, "csv")


def test_scores_of_the_first_language_that_are_missing(tmp_path):
    files = {}
    for language, lines in (("de", ""), ("en", "1\n2\n")):
        for number in (1, 2, 3):
            path = files[f"{language}/{number}"] = tmp_path / f"{language}.{number}"
            path.write_text(lines)
    with pytest.raises(BabelscopeError, match=r"de\.3 has no line"):
        similarity(files, "lines")


@pytest.mark.parametrize(
    "candidates",
    ["[[1, 1], [2, 0]]", '[["a", "x"], ["b", "y"]]', '[["a", null], ["b", 1]]', "[" * DEEP],
)
def test_candidates_that_are_no_texts_or_have_no_label(tmp_path, candidates):
    cells = ["en", "x", "y", "a b", '["a", "b"]', '["b", [1, 2], []]', candidates]
    (tmp_path / "a.tsv").write_text("\t".join(cells) + "\n")
    parts = {"train": ("a", 0.0, 0.5), "test": ("a", 0.5, 1.0)}
    files = {"en/a": str(tmp_path / "a.tsv")}
    with pytest.raises(BabelscopeError, match=r"a\.tsv, line 1: neither a pronoun"):
        read_choices(files, format="xwinograd", parts=parts, codes={})


FILE = {f"enwiki-20260101-pages-articles{'9' * 5000}.xml.bz2": {"size": 3, "sha1": "a" * 40}}
ENDLESS = json.dumps({"jobs": {"articlesdump": {"status": "done", "files": FILE}}}).encode()


@pytest.mark.parametrize("listed", [b"[" * DEEP, b"\xff\xfe", b"9" * 5000, ENDLESS])
def test_lists_of_dumps_that_name_none(tmp_path, listed):
    home = tmp_path / "enwiki" / "20260101"
    home.mkdir(parents=True)
    (home / "dumpstatus.json").write_bytes(listed)
    with pytest.raises(BabelscopeError, match=r"dumpstatus\.json"):
        find_dump(str(tmp_path), "enwiki", "20260101")


@pytest.mark.parametrize(
    "line", ["9" * 5000 + ":1:a", "1:" + "9" * 5000 + ":a", "x" * LONG, "\u0663:1:a"]
)
def test_an_index_with_a_line_that_is_none(tmp_path, line):
    path = tmp_path / "index.txt.bz2"
    path.write_bytes(bz2.compress(line.encode() + b"\n"))
    with pytest.raises(BabelscopeError, match="not offset:page id:title"):
        list(read_index(path))


def test_very_many_pages_that_do_not_end():
    assert _pages_of(b"<page>\n" * LONG) == {}
    assert _pages_of(b"<page>\n<page><id>7</id></page>\n") == {
        7: b"<page>\n<page><id>7</id></page>\n"
    }


def archive(path: Path, text: bytes) -> Path:
    path.write_bytes(bz2.compress(text, 1))
    return path


PAGE = b"<mediawiki><page><id>%s</id><revision><id>%s</id></revision></page></mediawiki>"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'<?xml version="1.0" encoding="x"?><mediawiki/>', "unknown encoding"),
        (b'<?xml version="1.0" encoding="euc-jp"?><mediawiki/>', "multi-byte encodings"),
        (PAGE % (b"x", b"1"), "a page has the id 'x'"),
        (PAGE % (b"1", b"&lt;/page&gt;"), "its revision '</page>'"),
        (PAGE % (b"9" * 5000, b"1"), "a page has the id '9999"),
        (b"<mediawiki><page><title>" + b"x" * 2**25, "a page of more than 16 MiB"),
        (b"<mediawiki><page " + b"x" * LONG, "unclosed token"),
        (b"<a>" * DEEP, "a part is missing"),
    ],
)
def test_pages_that_are_none(tmp_path, text, message):
    with pytest.raises(BabelscopeError, match=f"damaged or cut off: .*{message}"):
        list(read_pages(archive(tmp_path / "a.xml.bz2", text)))


def test_entities_that_become_very_long(tmp_path):
    names = "abcdefghij"
    entities = '<!ENTITY a "xxxxxxxxxx">' + "".join(
        f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in pairwise(names)
    )
    text = f"<!DOCTYPE x [{entities}]><mediawiki><page><title>&j;</title></page></mediawiki>"
    with pytest.raises(BabelscopeError, match="damaged"):
        list(read_pages(archive(tmp_path / "a.xml.bz2", text.encode())))


def test_a_large_page_that_is_meant(tmp_path):
    """As large as MediaWiki takes them, of nothing but what must be escaped."""
    assert 2**21 * len("&quot;") + 2**20 < wikipages.LARGEST
    text = b"<mediawiki><page><id>1</id><revision><text>%s</text></revision></page></mediawiki>"
    (page,) = read_pages(archive(tmp_path / "a.xml.bz2", text % (b"&quot;" * LONG)))
    assert isinstance(page, wikipages.Page)
    assert page.text == '"' * LONG


@pytest.mark.parametrize("token", [",", "، ", "(,", "{{ ", "{{", "[[a: ", "<b ", "&#", " ", "\t*"])
def test_markup_that_goes_on_and_on(token):
    text = token * (LONG // len(token))
    clean(text, "a")
    assert not is_disambiguation("a", "{{" + text, "en")
    assert not is_disambiguation("a", "{{a" + text, "en")


def test_what_is_found_in_markup_is_what_was_found():
    assert clean("a (b, ) c ( , d) e,, f, (g,;)", "") == "a (b) c (d) e,, f, (g)"
    assert clean("a&#" + "9" * 5000 + ";b&#65;&#x42;", "") == "a\ufffdbAB"
    for mark in ("{{disambig}}", "{{ Disambig \n|x}}", "{{disambig\n\n}}", "{{a}}{{dab<!-- -->}}"):
        assert is_disambiguation("a", mark, "en")


@pytest.fixture
def extract(monkeypatch):
    """Return a function that lets wikiextractor have a page, a quarter of a second and no more."""
    monkeypatch.setattr(bounded_wikiextractor, "SECONDS", 0.25)
    monkeypatch.setattr(bounded_wikiextractor, "_limit_memory", lambda: None)
    before = signal.signal(signal.SIGALRM, bounded_wikiextractor._give_up)

    def extract(text: str, **templates: str) -> dict[str, str]:
        out = StringIO()
        known = {f"Template:{name}": content for name, content in templates.items()}
        page = ("7", "8", "https://example.org", "A", [text])
        bounded_wikiextractor.BoundedExtractor(*page, templates=known, to_json=True).extract(out)
        assert out.getvalue().count("\n") == 1
        return json.loads(out.getvalue())

    yield extract
    signal.signal(signal.SIGALRM, before)


def test_an_article_that_takes_too_long_says_so(extract):
    """Headings of nothing but equal signs take hours."""
    found = extract("==" * 20_000)
    assert found["text"] == ""
    assert found["failure"] == "Bounds: more than 0 s"
    assert (found["id"], found["revid"], found["title"]) == ("7", "8", "A")
    assert "failure" not in extract("Some text.")


def test_an_article_that_becomes_too_long_says_so(extract, monkeypatch):
    monkeypatch.setattr(bounded_wikiextractor, "LONGEST", 1000)
    assert extract("x" * 2000)["failure"] == "Bounds: more than 1000 characters"


def test_an_article_that_breaks_wikiextractor_says_so(extract, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(bounded_wikiextractor.WikiExtractor.Extractor, "clean_text", fail)
    assert extract("a")["failure"] == "MemoryError: "


def test_a_failed_article_is_counted_and_named(tmp_path, monkeypatch, caplog):
    from babelscope.corpus import extraction

    program = tmp_path / "bounded.py"
    source = Path(extraction.PROGRAM).read_text().replace("LONGEST = 2**23", "LONGEST = 500")
    program.write_text(source)
    monkeypatch.setattr(extraction, "PROGRAM", program)
    page = "<page><title>T{0}</title><ns>0</ns><id>{0}</id><revision><id>1</id><text>{1}</text>"
    page += "</revision></page>"
    texts = ["One article.", "x " * 900, "Another one."]
    pages = "".join(page.format(number, text) for number, text in enumerate(texts, start=1))
    head = "<mediawiki><siteinfo><base>https://a.org/b</base></siteinfo>"
    archive(tmp_path / "a.bz2", f"{head}{pages}</mediawiki>".encode())
    files = [{"name": "a.bz2", "kind": "archive"}]
    (tmp_path / "dump.json").write_text(json.dumps({"date": "20260101", "files": files}))
    counts = extraction.extract_articles(
        tmp_path, tmp_path / "out", language="sw", templates=False, processes=1
    )
    assert (counts["pages"], counts["articles"], counts["failed"]) == (3, 2, 1)
    assert "page 2, T2: Bounds: more than 500 characters" in caplog.text


def test_workers_have_bounds_of_memory(monkeypatch):
    limits = []
    resource = bounded_wikiextractor.resource
    infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: infinite)
    monkeypatch.setattr(resource, "setrlimit", lambda kind, pair: limits.append(pair))
    bounded_wikiextractor._limit_memory()
    if Path("/proc/self/statm").exists():
        assert bounded_wikiextractor.MEMORY < limits[0][0] < bounded_wikiextractor.MEMORY + 2**42


@pytest.mark.parametrize(
    "text",
    [
        *("a: 2020-13-45", "!!timestamp x", "[" * 500, "!!int ''", "!!bool x", "a: &a [*a]"),
        *("&a [*a]", "? [a]\n: b", "\x00", "languages: {en: 3}", "languages: {en: &a [*a]}"),
        *("9" * 5000, ""),
    ],
)
def test_prompts_that_are_none(tmp_path, text):
    path = tmp_path / "xnli.yaml"
    path.write_text(text)
    with pytest.raises(BabelscopeError, match=r"xnli\.yaml"):
        read_prompts(path)


@pytest.fixture(scope="module")
def document() -> dict:
    return yaml.safe_load((ROOT / "config" / "config.yaml").read_text("utf-8"))


def endless() -> list:
    found: list = []
    found.append(found)
    return found


def laughs() -> list:
    """Return a list of ten, of ten, and so on, which as text would be of 10 to the power of 40."""
    found = ["lol"]
    for _ in range(40):
        found = [found] * 10
    return found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": endless()}, "config: seeds: more than 50 levels"),
        ({"models": laughs()}, "config: models: more than"),
        ({"seeds": [10**5000]}, r"seeds\.0: .*a very large int"),
        ({"data_root": 5}, "data_root: Input should be a valid string"),
        ({"languages": ["\ud800"]}, r"languages\.0: "),
        ({"a\nb": 1}, r"config: 'a\\nb': unknown key"),
        ({5: 1}, "config: 5: Keys should be strings"),
        ({None: 1}, "config: None: "),
        ({"x" * 10_000: 1}, "config: x{200}: unknown key"),
        ({"pivot": "x" * 10_000}, r"pivot: .*\(found 'x{199}\.\.\.\)"),
        ({str(number): 1 for number in range(500)}, "; 488 more"),
    ],
)
def test_configurations_without_an_end_or_a_line(document, change, message):
    with pytest.raises(BabelscopeError, match=message) as caught:
        load_settings(document | change)
    assert len(str(caught.value)) < LONGEST
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, [], "x"])
def test_numbers_that_are_none(document, value):
    mlm = document["mlm"] | {"build": document["mlm"]["build"] | {"lr": value}}
    with pytest.raises(BabelscopeError, match=r"mlm\.build\.lr"):
        load_settings(document | {"mlm": mlm})


@pytest.mark.parametrize("found", [None, [], "text", 3])
def test_a_configuration_that_is_none(found):
    with pytest.raises(BabelscopeError, match="config: there are no keys"):
        load_settings(found)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name\tfamily\na\n", "line 2: 1 cells, but the header has 2"),
        (b"name\tfamily\na\tb\tc\n", "line 2: 3 cells, but the header has 2"),
        (b"name\xff\n", "cannot be read"),
        (b'name\n"a\n', "cannot be read"),
        (b"nome\nx\n", "line 2: name: Field required"),
    ],
)
def test_tables_that_are_none(tmp_path, content, message):
    (tmp_path / "models.tsv").write_bytes(content)
    with pytest.raises(BabelscopeError, match=rf"models\.tsv.*{message}"):
        read_rows(tmp_path / "models.tsv", Model)
    with pytest.raises(BabelscopeError, match=r"other\.tsv cannot be read"):
        read_rows(tmp_path / "other.tsv", Model)


def test_a_table_may_begin_with_a_byte_order_mark(tmp_path):
    whole = (ROOT / "config" / "models.tsv").read_bytes()
    (tmp_path / "models.tsv").write_bytes(b"\xef\xbb\xbf" + whole)
    known = read_rows(ROOT / "config" / "models.tsv", Model)
    assert read_rows(tmp_path / "models.tsv", Model) == known


def test_a_very_long_address(document):
    row = dict.fromkeys(Corpus.model_fields, "") | {"name": "x", "kind": "reading"}
    row |= {"format": "jsonl", "path": "{fetched}/a", "url": "x" * LONG}
    with pytest.raises(ValueError, match="https addresses"):
        Corpus.model_validate(row)
    load_settings(document | {"dumps": document["dumps"] | {"source": "x" * LONG}})


@pytest.fixture
def model(tmp_path, make_model) -> Path:
    path = tmp_path / "model"
    make_model("xlm-roberta").save_pretrained(path)
    (path / "tokenizer.json").write_text("{}")
    return path


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", "[]"),
        ("config.json", "5"),
        ("tokenizer_config.json", "null"),
        ("modules.json", "{}"),
        ("modules.json", '[{"type": "x"}]'),
        ("modules.json", '[{"path": 3}]'),
        ("modules.json", "5"),
        ("model.safetensors.index.json", "{}"),
        ("model.safetensors.index.json", '{"weight_map": {"a": 3}}'),
        ("model.safetensors.index.json", '{"weight_map": {"a": "pytorch_model.bin"}}'),
        ("model.safetensors.index.json", '{"weight_map": {"a": "model/../../x.safetensors"}}'),
        ("model.safetensors.index.json", '{"weight_map": []}'),
    ],
)
def test_model_folders_that_describe_nothing(model, tmp_path, file, content):
    (model / file).write_text(content)
    if (file, content) == ("modules.json", "{}"):
        fetch_model(str(model), tmp_path / "taken")
        return
    with pytest.raises(BabelscopeError, match=file):
        fetch_model(str(model), tmp_path / "taken")
    assert not (tmp_path / "taken").exists()


def test_a_step_that_is_listed_twice(model, tmp_path):
    modules = [{"path": "1_Pooling", "type": "Pooling"}] * 2
    (model / "modules.json").write_text(json.dumps(modules))
    fetch_model(str(model), tmp_path / "taken")
    assert (tmp_path / "taken" / "1_Pooling").is_dir()


@pytest.mark.parametrize("content", ["{}", "5", "[", '{"version": "1.0"}'])
def test_a_tokenizer_that_is_none(model, content):
    (model / "tokenizer.json").write_text(content)
    with pytest.raises(BabelscopeError, match="no usable tokenizer"):
        load_tokenizer(model)
