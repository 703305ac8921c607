"""Quoted tables agree with what Python and pandas write, and which files belong together."""

import csv
import gzip
import io

import pandas as pd
import pytest

from babelscope.corpus.rows import by_place, files_by_pair, read_csv, within
from babelscope.errors import BabelscopeError

CELLS = ["plain", "a, b", 'says "no"', "two\nlines", "tab\tin", "", " space ", "'", '"', "سلام"]


@pytest.mark.parametrize("separator", [",", "\t"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_quoted_cells_come_back_as_they_were_written(separator, ends, tmp_path):
    rows = [CELLS, CELLS[::-1]]
    header = [f"c{number}" for number in range(len(CELLS))]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator=ends).writerows([header, *rows])
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.getvalue().encode()))
    found = list(read_csv(path, ["c0"], separator=separator))
    assert [list(row.values()) for _, row in found] == rows
    assert [list(row) for _, row in found] == [header] * 2
    assert [place for place, _ in found] == [f"{path}, line {n}" for n in (2, 4)]


def test_what_pandas_writes_with_tabs_is_read(tmp_path):
    """SIB-200 is written so: only cells with quotation marks are quoted."""
    frame = pd.DataFrame({"index_id": [1, 2], "text": ['He said "no".', "It's 5\u201d"]})
    frame.to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    rows = [row for _, row in read_csv(tmp_path / "a.tsv", separator="\t")]
    assert [row["text"] for row in rows] == list(frame["text"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2,3\n", "line 2: 3 cells, but the header has 2"),
        ('a,b\n1,"x\ny"\n\n1\n', "line 5: 1 cells"),
        ('a,b\n1,"x', "line 2: unexpected end of data"),
        ('a,b\n1,"x"y\n', "line 2: "),
    ],
)
def test_a_row_that_is_damaged(text, message, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(BabelscopeError, match=rf"a\.csv, {message}"):
        list(read_csv(path))


def test_headers_that_do_not_fit(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b,a\n1,2,3\n")
    with pytest.raises(BabelscopeError, match=r"a\.csv has several columns a"):
        list(read_csv(path))
    with pytest.raises(BabelscopeError, match=r"a\.csv has no column c; it has a, b, a"):
        list(read_csv(path, ["c"]))
    path.write_text("")
    with pytest.raises(BabelscopeError, match=r"a\.csv has no column c"):
        list(read_csv(path, ["c"]))
    assert list(read_csv(path)) == []


def test_the_parts_of_a_key():
    files = {"de": "a", "de/en": "b", "zh-yue/test": "c", "zh/en/dev/1": "d", "zh/en/dev/2": "e"}
    assert by_place(files) == {
        ("de",): ["a"],
        ("de", "en"): ["b"],
        ("zh-yue", "test"): ["c"],
        ("zh", "en", "dev"): ["d", "e"],
    }


def test_files_that_belong_together_are_there_together_or_not_at_all(tmp_path, caplog):
    for name in ("a", "b"):
        (tmp_path / name).touch()
    here, there, gone = (str(tmp_path / name) for name in ("a", "b", "c"))
    files = {"de/en/1": here, "de/en/2": there, "en/de/1": gone, "en/de/2": gone}
    assert files_by_pair(files) == {("de", "en"): [here, there]}
    assert caplog.messages == ["no files for en/de"]
    with pytest.raises(BabelscopeError, match="The corpus has no de/en: .*/c does not exist"):
        files_by_pair({"de/en/1": here, "de/en/2": gone})


def test_shares_follow_each_other_and_leave_nothing_out():
    names = [f"n{number}" for number in range(2000)]
    parts = [{name for name in names if within(name, *ends)} for ends in ((0, 0.3), (0.3, 1))]
    assert parts[0] | parts[1] == set(names)
    assert not parts[0] & parts[1]
    assert abs(len(parts[0]) / len(names) - 0.3) < 0.04  # four standard deviations
