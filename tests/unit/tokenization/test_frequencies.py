import numpy as np
import pytest

from babelscope.tokenization.frequencies import count_tokens, log_frequencies
from babelscope.tokenization.packing import write_chunks


def test_tokens_are_counted_in_all_files_but_special_ones(tmp_path, monkeypatch):
    monkeypatch.setattr("babelscope.tokenization.frequencies.BLOCK", 4)
    rng = np.random.default_rng(2)
    parts = [rng.integers(0, 6, (n, 8)).astype(np.int32) for n in (3, 11, 0)]
    paths = [tmp_path / f"{number}.arrow" for number in range(3)]
    for path, part in zip(paths, parts, strict=True):
        write_chunks(path, [part], 8, 9)
    tokens = [token for part in parts for token in part.ravel().tolist()]
    expected = [0 if token in (0, 3) else tokens.count(token) for token in range(9)]
    assert count_tokens(paths, 9, [0, 3]).tolist() == expected


def test_new_kinds_of_tokens_are_as_likely_as_they_have_been():
    """Witten & Bell: 6 tokens of 2 kinds, so 2 of 8 for any of the 4 there are."""
    found = np.exp(log_frequencies(np.array([5, 1, 0, 0])))
    assert found == pytest.approx([5.5 / 8, 1.5 / 8, 0.5 / 8, 0.5 / 8])
    assert found.sum() == pytest.approx(1)


def test_without_text_all_tokens_are_as_likely():
    assert np.exp(log_frequencies(np.zeros(4, np.int64))) == pytest.approx([0.25] * 4)


def test_a_large_vocabulary_takes_little_from_what_was_seen():
    counts = np.zeros(250_000)
    counts[:10] = 100
    seen = np.exp(log_frequencies(counts))[:10].sum()
    assert seen == pytest.approx(1000 / 1010, rel=1e-4)  # adding one to each would leave 0.4 %
