import json

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing

from babelscope.errors import BabelscopeError
from babelscope.io import write_jsonl
from babelscope.tokenization.packing import (
    check_positions,
    load_packing_tokenizer,
    pack_chunks,
    pack_file,
    read_chunks,
    tokenize,
    windows_of,
    write_chunks,
)

WORDS = ["<s>", "</s>", "<unk>", "<mask>", "one", "two", "three"]


def save(folder, template, **named):
    """Write a tokenizer of whole words."""
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.add_special_tokens(["<s>", "</s>", "<mask>"])
    tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    return folder


@pytest.fixture
def folder(tmp_path):
    return save(tmp_path, "<s> $A </s>", mask_token="<mask>")


def test_only_the_last_short_window_is_lost():
    rng = np.random.default_rng(0)
    documents = [rng.integers(10, 90, size).tolist() for size in (7, 0, 1, 40, 13, 2, 1500)]
    tokens = [token for document in documents for token in document]
    for window in (3, 8, 17):
        chunks = pack_chunks(documents, window=window, bos_id=1, eos_id=2)
        whole = len(tokens) // (window - 2)
        assert chunks.shape == (whole, window)
        assert (chunks[:, 0] == 1).all()
        assert (chunks[:, -1] == 2).all()
        assert chunks[:, 1:-1].ravel().tolist() == tokens[: whole * (window - 2)]


def test_the_rest_of_a_batch_is_carried_into_the_next(monkeypatch):
    documents = [[10 + i] * (i % 5) for i in range(50)]
    whole = pack_chunks(documents, window=6, bos_id=0, eos_id=1)
    monkeypatch.setattr("babelscope.tokenization.packing.DOCUMENTS", 3)
    blocks = list(windows_of(iter(documents), window=6, bos_id=0, eos_id=1))
    assert len(blocks) > 1
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_separated_documents_end_and_windows_do_not():
    rng = np.random.default_rng(0)
    documents = [rng.integers(10, 90, size).tolist() for size in (7, 0, 1, 40, 13, 2, 1500)]
    tokens = [token for document in documents for token in [*document, 2]]
    for window in (3, 8, 17):
        chunks = pack_chunks(documents, window=window, bos_id=1, eos_id=2, separated=True)
        whole = len(tokens) // (window - 1)
        assert chunks.shape == (whole, window)
        assert (chunks[:, 0] == 1).all()
        assert chunks[:, 1:].ravel().tolist() == tokens[: whole * (window - 1)]


def test_no_dtype_larger_than_needed():
    assert pack_chunks([[65535] * 4], window=4, bos_id=0, eos_id=1).dtype == np.uint16
    assert pack_chunks([[65536] * 4], window=4, bos_id=0, eos_id=1).dtype == np.int32


def test_too_little_text_gives_no_window():
    assert pack_chunks([[5, 6]], window=8, bos_id=0, eos_id=1).shape == (0, 8)


def test_a_window_needs_room():
    with pytest.raises(ValueError, match="no room"):
        pack_chunks([[5, 6]], window=2, bos_id=0, eos_id=1)


@pytest.mark.parametrize(("size", "dtype"), [(300, np.uint16), (70_000, np.int32)])
def test_chunks_survive_the_file(tmp_path, size, dtype):
    rng = np.random.default_rng(1)
    blocks = [rng.integers(0, size, (n, 8)).astype(np.int32) for n in (5, 0, 900)]
    path = tmp_path / "train.arrow"
    assert write_chunks(path, iter(blocks), 8, size) == 905
    chunks = read_chunks(path)
    assert chunks.dtype == dtype
    np.testing.assert_array_equal(chunks, np.concatenate(blocks))
    assert not chunks.flags.owndata
    assert [file.name for file in tmp_path.iterdir()] == ["train.arrow"]


def test_an_id_beyond_the_vocabulary_is_refused(tmp_path):
    path = tmp_path / "train.arrow"
    with pytest.raises(ValueError, match="id 70000 in a vocabulary of 60000"):
        write_chunks(path, [np.array([[1, 70_000, 3]])], 3, 60_000)
    assert not path.exists()


def test_datasets_reads_the_file(tmp_path):
    from datasets import Dataset

    chunks = np.arange(24, dtype=np.int32).reshape(3, 8)
    write_chunks(tmp_path / "x.arrow", [chunks], 8, 100)
    dataset = Dataset.from_file(str(tmp_path / "x.arrow"))
    assert dataset[2]["input_ids"] == chunks[2].tolist()


def test_an_empty_file_of_chunks(tmp_path):
    assert write_chunks(tmp_path / "x.arrow", [], 8, 100) == 0
    assert read_chunks(tmp_path / "x.arrow").shape == (0, 8)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "x.arrow"
    path.write_bytes(b"no arrow at all, but long enough to be read")
    with pytest.raises(BabelscopeError, match=r"x\.arrow"):
        read_chunks(path)


def test_a_file_that_was_cut_off_is_named(tmp_path):
    path = tmp_path / "a.arrow"
    write_chunks(path, [np.arange(4000).reshape(1000, 4)], 4, 5000)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(BabelscopeError, match=r"a.arrow is not a readable file of chunks"):
        read_chunks(path)


def test_special_tokens_in_a_text_are_text(folder):
    packing = load_packing_tokenizer(folder)
    assert (packing.bos_id, packing.eos_id, packing.size) == (0, 1, len(WORDS))
    assert list(tokenize(["one two", "one <mask>"], packing)) == [[4, 5], [4, 2, 2]]


def test_ids_that_no_token_has_count_for_the_size(folder, tmp_path):
    """Ids may leave gaps; then there are fewer tokens than the largest id says."""
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace('"three": 6', '"three": 70000'))
    packing = load_packing_tokenizer(folder)
    assert packing.size == 70_001
    write_jsonl(tmp_path / "train.jsonl.zst", [{"text": "one three"}])
    pack_file(tmp_path / "train.jsonl.zst", tmp_path / "x.arrow", packing, window=4, language="en")
    assert read_chunks(tmp_path / "x.arrow").tolist() == [[0, 4, 70_000, 1]]


def test_a_tokenizer_without_a_mask_token_is_refused(folder):
    (folder / "tokenizer_config.json").write_text(json.dumps({"mask_token": "[MASK]"}))
    with pytest.raises(BabelscopeError, match="no mask token"):
        load_packing_tokenizer(folder)


def test_a_tokenizer_whose_texts_only_end(tmp_path):
    """T5's: nothing is masked, and a window has no beginning."""
    from transformers import T5Tokenizer

    pieces = ["<pad>", "</s>", "<unk>", "▁", "▁one", "▁two", "▁three"]
    T5Tokenizer(vocab=[(piece, 0.0) for piece in pieces], extra_ids=0).save_pretrained(tmp_path)
    packing = load_packing_tokenizer(tmp_path)
    assert (packing.bos_id, packing.eos_id) == (None, 1)
    documents = tokenize(["one two three", "two one"], packing)
    chunks = pack_chunks(documents, window=3, bos_id=None, eos_id=1)
    assert chunks.tolist() == [[4, 5, 1], [6, 5, 1]]


@pytest.mark.parametrize("first", ["<s>", "</s>"])
def test_a_tokenizer_whose_texts_only_begin(tmp_path, first):
    """A left-to-right model's; XGLM's texts begin with what ends the one before."""
    save(tmp_path, f"{first} $A", eos_token={"content": "</s>"})
    packing = load_packing_tokenizer(tmp_path)
    begin = WORDS.index(first)
    assert (packing.bos_id, packing.eos_id, packing.separated) == (begin, 1, True)
    write_jsonl(tmp_path / "train.jsonl.zst", [{"text": "one two three"}, {"text": "one </s>"}])
    options = {"packing": packing, "language": "en", "window": 4}
    assert pack_file(tmp_path / "train.jsonl.zst", tmp_path / "train.arrow", **options) == 2
    chunks = read_chunks(tmp_path / "train.arrow").tolist()
    assert chunks == [[begin, 4, 5, 6], [begin, 1, 4, 2]]
    save(tmp_path, "<s> $A", eos_token="<end>")
    with pytest.raises(BabelscopeError, match="no end-of-text token"):
        load_packing_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "xlm-roberta", "max_position_embeddings": 10, "pad_token_id": 1},
        {"model_type": "gpt2", "n_positions": 8},
    ],
)
def test_a_window_beyond_the_positions_is_refused(folder, config):
    (folder / "config.json").write_text(json.dumps(config))
    check_positions(folder, 8)
    with pytest.raises(BabelscopeError, match="8 positions"):
        check_positions(folder, 9)


def test_a_split_is_packed(folder, tmp_path):
    packing = load_packing_tokenizer(folder)
    write_jsonl(tmp_path / "train.jsonl.zst", [{"text": "one two three"}, {"text": "one two"}])
    options = {"packing": packing, "language": "en"}
    assert (
        pack_file(tmp_path / "train.jsonl.zst", tmp_path / "train.arrow", window=4, **options) == 2
    )
    assert read_chunks(tmp_path / "train.arrow").tolist() == [[0, 4, 5, 1], [0, 6, 4, 1]]
    with pytest.raises(BabelscopeError, match=r"\(en\) does not fill one window of 9 tokens"):
        pack_file(tmp_path / "train.jsonl.zst", tmp_path / "x.arrow", window=9, **options)
    assert not (tmp_path / "x.arrow").exists()
