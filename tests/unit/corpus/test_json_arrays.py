"""Objects of long arrays, whatever the chunks they come in."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babelscope.corpus import json_arrays
from babelscope.corpus.json_arrays import read_json_objects
from babelscope.errors import BabelscopeError

OBJECTS = [
    {"id": "a", "text": 'quotes " and \\ and ] , { }', "number": -1.5e-3},
    {},
    {"id": "b", "text": "é 漢字 \U0001f600", "nested": [{"deep": [1, None, True, False]}, {}]},
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def _read(path):
    return [value for _, value in read_json_objects(path)]


@pytest.fixture(params=[1, 2, 7, 2**18])
def chunk(request, monkeypatch):
    monkeypatch.setattr(json_arrays, "CHUNK", request.param)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("indent", [None, 0, 4])
@pytest.mark.parametrize("escaped", [True, False])
def test_an_array_in_whatever_layout(indent, escaped, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(OBJECTS, indent=indent, ensure_ascii=escaped), "utf-8")
    assert _read(path) == OBJECTS
    path.write_text(json.dumps(OBJECTS, separators=("\n,\t", " : ")) + "\n\n", "utf-8")
    assert _read(path) == OBJECTS
    path.write_text(" [ ] ", "utf-8")
    assert _read(path) == []


@pytest.mark.usefixtures("chunk")
def test_json_lines_a_byte_order_mark_and_compression(tmp_path):
    lines = "\r\n".join(map(json.dumps, OBJECTS)) + "\n"
    (tmp_path / "x.jsonl").write_text("\ufeff" + lines, "utf-8")
    assert _read(tmp_path / "x.jsonl") == OBJECTS
    (tmp_path / "x.json.gz").write_bytes(gzip.compress(json.dumps(OBJECTS).encode()))
    assert _read(tmp_path / "x.json.gz") == OBJECTS
    (tmp_path / "empty.json").write_text("")
    assert _read(tmp_path / "empty.json") == []


@settings(max_examples=60, deadline=None, database=None)
@given(
    objects=st.lists(st.dictionaries(st.text(), VALUES, max_size=3), max_size=4),
    size=st.integers(1, 40),
    escaped=st.booleans(),
    indent=st.sampled_from([None, 1]),
)
def test_any_objects_in_any_chunks(tmp_path_factory, objects, size, escaped, indent):
    path = tmp_path_factory.mktemp("any") / "x.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_arrays, "CHUNK", size)
        text = json.dumps(objects, ensure_ascii=escaped, indent=indent)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            expected = json.loads(path.read_text("utf-8"))
        except UnicodeDecodeError:  # half a character, which is no UTF-8
            with pytest.raises(BabelscopeError, match="is not UTF-8"):
                _read(path)
        else:
            assert _read(path) == expected


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('[{"a": 1},\n {"b": 2]\n', 2, 9),
        ('[{"a": 1},\n {"b" 2}]', 2, 7),
        ('[{"a": 1}, {"b": "line\nbreak"}]', 1, 23),
        ('[{"a": 1}, {"b": tru}]', 1, 18),
        ('[{"a": 1} {"b": 2}]', 1, 11),
        ('[{"a": 1},]', 1, 11),
        ('[{"a": 1}\n', 2, 1),
        ('[{"a": 1}]\n[', 2, 1),
        ('[{"a": 1}, 3]', 1, 12),
        ('["a"]', 1, 2),
        ('{"a": 1}\nnull', 2, 1),
        ("<html>", 1, 1),
    ],
)
def test_broken_files_are_refused_with_line_and_column(text, line, column, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(text, "utf-8")
    with pytest.raises(BabelscopeError, match=rf"x\.json, line {line}, column {column}: not JSON"):
        _read(path)


@pytest.mark.usefixtures("chunk")
def test_a_file_that_was_cut_off(tmp_path):
    whole = json.dumps(OBJECTS, ensure_ascii=False)
    for length in range(1, len(whole)):
        path = tmp_path / "x.json"
        path.write_text(whole[:length], "utf-8")
        with pytest.raises(BabelscopeError, match="not JSON"):
            _read(path)


def test_places_are_numbered(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(OBJECTS))
    assert [place for place, _ in read_json_objects(path)] == [
        f"{path}, object {number}" for number in (1, 2, 3)
    ]


def test_no_more_is_held_than_a_chunk_and_an_object(tmp_path, monkeypatch):
    monkeypatch.setattr(json_arrays, "CHUNK", 1000)
    held = []
    read_on = json_arrays._Text._read_on

    def watched(self):
        more = read_on(self)
        held.append(len(self._text))
        return more

    monkeypatch.setattr(json_arrays._Text, "_read_on", watched)
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"id": n, "text": "x" * 300} for n in range(500)]))
    assert len(_read(path)) == 500
    assert max(held) < 1000 + 400
