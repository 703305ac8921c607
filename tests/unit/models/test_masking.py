"""Masked positions depend on seed, epoch and example alone."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models
from transformers import (
    BertTokenizer,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    XLMRobertaTokenizer,
)

from babelscope.errors import BabelscopeError
from babelscope.models.masking import IGNORED, find_word_starts, mask_tokens
from babelscope.training.data import masking_of

SPECIAL = [0, 1, 2, 3, 99]
RULES = {"mask_id": 99, "vocab_size": 100, "special_ids": SPECIAL, "seed": 7}


@pytest.fixture
def windows():
    tokens = np.random.default_rng(0).integers(4, 99, (12, 40)).astype(np.uint16)
    tokens[:, 0], tokens[:, -1] = 0, 2
    return tokens


def test_an_example_is_masked_alike_in_any_batch_order_and_padding(windows):
    ids = np.arange(100, 112)
    inputs, labels = mask_tokens(windows, example_ids=ids, **RULES)
    turned = mask_tokens(windows[::-1], example_ids=ids[::-1], **RULES)
    np.testing.assert_array_equal(turned[0][::-1], inputs)
    for padding in ((5, 0), (0, 5)):
        padded = np.pad(windows[3:4], ((0, 0), padding), constant_values=1)
        one, target = mask_tokens(padded, example_ids=ids[3:4], **RULES)
        body = slice(padding[0], padding[0] + 40)
        np.testing.assert_array_equal(one[0, body], inputs[3])
        np.testing.assert_array_equal(target[0, body], labels[3])
        assert (target != IGNORED).sum() == (labels[3] != IGNORED).sum()


def test_seed_epoch_and_example_each_change_the_positions(windows):
    ids = np.zeros(12, dtype=int)
    same = np.repeat(windows[:1], 12, axis=0)
    _, labels = mask_tokens(same, example_ids=ids, **RULES)
    assert (labels == labels[0]).all()
    for change in ({"example_ids": ids + 1}, {"seed": 8}, {"epoch": 1}):
        _, other = mask_tokens(same, **{"example_ids": ids, **RULES, **change})
        assert (other != labels).any()


def test_exact_share_and_never_a_special_token(windows):
    inputs, labels = mask_tokens(windows, example_ids=np.arange(12), **RULES)
    chosen = labels != IGNORED
    assert (chosen.sum(axis=1) == round(0.15 * 38)).all()
    assert not np.isin(labels[chosen], SPECIAL).any()
    np.testing.assert_array_equal(inputs[~chosen], windows[~chosen])
    np.testing.assert_array_equal(labels[chosen], windows[chosen])
    short = np.array([[0, 50, 2, 1]])
    assert (mask_tokens(short, example_ids=[4], **RULES)[1] != IGNORED).sum() == 1


def test_eighty_ten_ten_and_uniform_positions():
    tokens = np.full((20000, 20), 50)
    inputs, labels = mask_tokens(tokens, example_ids=np.arange(20000), **RULES)
    hidden = inputs[labels != IGNORED]
    shares = [(hidden == 99).mean(), (hidden == 50).mean()]
    np.testing.assert_allclose(shares, [0.8, 0.1 + 0.1 / 95], atol=0.01)
    drawn = np.bincount(hidden[hidden != 99], minlength=100)
    assert set(np.flatnonzero(drawn)) == set(range(4, 99))
    np.testing.assert_allclose((labels != IGNORED).mean(axis=0), 0.15, atol=0.01)
    order = mask_tokens(tokens, example_ids=np.arange(1, 20001), **RULES)[1] != IGNORED
    assert abs(np.corrcoef(order.ravel(), (labels != IGNORED).ravel())[0, 1]) < 0.01


def test_whole_words_are_chosen_together():
    starts = np.zeros(100, dtype=bool)
    starts[4:50] = True
    generator = np.random.default_rng(1)
    tokens = np.where(
        generator.random((200, 60)) < 0.5,
        generator.integers(4, 50, (200, 60)),
        generator.integers(50, 99, (200, 60)),
    )
    tokens[:, 0] = 0
    _, labels = mask_tokens(tokens, example_ids=np.arange(200), word_starts=starts, **RULES)
    chosen = labels != IGNORED
    for row, flags in zip(tokens, chosen, strict=True):
        words = np.split(np.arange(1, 60), np.flatnonzero(starts[row[2:]]) + 1)
        assert all(len(set(flags[word])) == 1 for word in words)
    assert (chosen.sum(axis=1) >= round(0.15 * 59)).all()
    assert chosen.mean() < 0.25


def test_an_example_of_special_tokens_is_refused():
    with pytest.raises(BabelscopeError, match="Example 17"):
        mask_tokens(np.array([[0, 5, 2], [0, 1, 2]]), example_ids=[16, 17], **RULES)


def wordpiece(pieces):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return BertTokenizer(vocab={piece: i for i, piece in enumerate([*special, *pieces])})


def unigram(pieces):
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    return XLMRobertaTokenizer(vocab=[(piece, -1.0) for piece in [*special, *pieces]])


def byte_bpe(pieces):
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocab = {piece: i for i, piece in enumerate([*special, *pieces])}
    return RobertaTokenizer(vocab=vocab, merges=[])


@pytest.mark.parametrize(
    ("kind", "starts", "others"),
    [
        (wordpiece, ["un", "中", "Ġ"], ["##do", "##中"]),
        (unigram, ["▁un", "中国", "▁##"], ["do", "##", "###", "Ġa"]),
        (byte_bpe, ["Ġun", "Ġ##"], ["do", "##", "###"]),
    ],
)
def test_word_starts_by_the_mark_of_each_kind_of_tokenizer(kind, starts, others):
    """A mark of headings in the text that a vocabulary was made of does not make it WordPiece."""
    tokenizer = kind([*starts, *others])
    found = find_word_starts(tokenizer)
    assert found.shape == (len(tokenizer),)
    assert found[tokenizer.convert_tokens_to_ids(starts)].all()
    assert not found[tokenizer.convert_tokens_to_ids(others)].any()


def test_ids_between_those_of_tokens_are_never_drawn():
    """A vocabulary may have gaps, and ids above the number of its tokens."""
    pieces = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "un": 5, "##do": 41}
    tokenizer = BertTokenizer(vocab=pieces)
    assert np.flatnonzero(find_word_starts(tokenizer)).tolist() == [0, 1, 2, 3, 4, 5]
    masking = masking_of(tokenizer, share=0.5, whole_words=False)
    tokens = np.tile([5, 41], (400, 8))
    inputs, _ = mask_tokens(
        tokens,
        example_ids=range(400),
        seed=1,
        epoch=0,
        share=0.5,
        mask_id=masking.mask_id,
        vocab_size=masking.vocab_size,
        special_ids=masking.special_ids,
    )
    assert set(inputs[inputs != tokens].tolist()) == {4, 5, 41}


def test_a_tokenizer_that_marks_the_ends_of_words_has_no_word_starts():
    vocab = {"<unk>": 0, "un": 1, "do</w>": 2}
    backend = Tokenizer(models.BPE(vocab, [], unk_token="<unk>", end_of_word_suffix="</w>"))
    with pytest.raises(BabelscopeError, match="marks where words begin"):
        find_word_starts(PreTrainedTokenizerFast(tokenizer_object=backend))


def test_masks_never_change_between_versions():
    """Published numbers rest on these positions: a change here needs a word in the changelog."""
    tokens = np.arange(4, 64).reshape(2, 30)
    inputs, labels = mask_tokens(tokens, example_ids=[0, 2**40], epoch=3, share=0.4, **RULES)
    places = [np.flatnonzero(row != IGNORED).tolist() for row in labels]
    assert places == [
        [4, 7, 10, 12, 14, 16, 17, 21, 23, 26, 27, 29],
        [0, 1, 2, 3, 8, 13, 19, 21, 22, 23, 24, 29],
    ]
    assert inputs[labels != IGNORED].tolist() == [
        99,
        11,
        99,
        99,
        99,
        99,
        99,
        99,
        99,
        30,
        99,
        99,
        99,
        99,
        36,
        99,
        99,
        99,
        99,
        99,
        99,
        51,
        99,
        99,
    ]
