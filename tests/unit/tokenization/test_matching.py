import random

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    BertTokenizer,
    GPT2Tokenizer,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    XLMRobertaTokenizer,
)

from babelscope.errors import BabelscopeError
from babelscope.tokenization.matching import match_tokens, special_tokens, vocabulary_size
from babelscope.tokenization.training import train_tokenizer

BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
XLMR = ["<s>", "<pad>", "</s>", "<unk>"]


def wordpiece(*tokens):
    return BertTokenizer(vocab={token: i for i, token in enumerate([*BERT, *tokens])})


def unigram(*tokens):
    return XLMRobertaTokenizer(vocab=[(token, -1.0) for token in [*XLMR, *tokens, "<mask>"]])


def spelt(text):
    """Return a text in the byte alphabet, as the library spells it."""
    speller = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return "".join(piece for piece, _ in speller.pre_tokenize_str(text))


def byte_bpe(*texts):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = dict.fromkeys([*XLMR, "<mask>", *alphabet, *map(spelt, texts)])
    return RobertaTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[])


def matches(source, target):
    """Return which token of the source each token of the target got."""
    matched = match_tokens(source, target)
    assert matched.dtype == np.int64
    assert matched.shape == (len(target),)
    names = {-1: None, **{i: token for token, i in source.get_vocab().items()}}
    return {token: names[int(matched[i])] for token, i in target.get_vocab().items()}


def test_the_beginning_of_a_word_is_written_in_three_ways():
    pieces, words = unigram("▁river", "ver", "▁ri", "▁ver"), wordpiece("river", "##ver", "##ri")
    bytes_ = byte_bpe(" river", "ver", " ri")
    expected = {"▁river": "river", "ver": "##ver", "▁ri": None, "▁ver": None}
    assert matches(words, pieces).items() >= expected.items()
    assert (
        matches(pieces, words).items() >= {"river": "▁river", "##ver": "ver", "##ri": None}.items()
    )
    expected = {"▁river": "Ġriver", "ver": "ver", "▁ri": "Ġri", "▁ver": None}
    assert matches(bytes_, pieces).items() >= expected.items()
    assert matches(bytes_, words).items() >= {"river": "Ġriver", "##ver": "ver"}.items()
    assert (
        matches(words, bytes_).items() >= {"Ġriver": "river", "ver": "##ver", "Ġri": None}.items()
    )


def test_letters_outside_ascii_are_spelt_in_bytes():
    texts = [" столица", "首都", " río", "ع"]
    pieces = [text.replace(" ", "▁") for text in texts]
    found = matches(unigram(*pieces), byte_bpe(*texts))
    assert [found[spelt(text)] for text in texts] == pieces
    back = matches(byte_bpe(*texts), unigram(*pieces))
    assert [back[piece] for piece in pieces] == [spelt(text) for text in texts]


def test_single_bytes_are_not_the_letters_that_spell_them():
    """`Ã` in BPE on bytes is the first byte of many letters, and no letter."""
    letters = unigram("Ã", "ä", "é", "A", "▁", "Ġ")
    found = matches(byte_bpe(), letters)
    assert (found["Ã"], found["ä"], found["é"], found["Ġ"]) == (None, None, None, None)
    assert (found["A"], found["▁"]) == ("A", "Ġ")
    back = matches(letters, byte_bpe())
    assert {token for token, same in back.items() if same and token not in special(letters)} == {
        "A",
        "Ġ",
    }


def special(tokenizer):
    return set(special_tokens(tokenizer).values())


def test_bytes_match_the_same_bytes_and_no_others():
    source, target = byte_bpe("é", " the"), byte_bpe(" the", "é")
    found = matches(source, target)
    assert all(same == token for token, same in found.items())
    assert len(set(match_tokens(source, target))) == len(target)


def test_sentencepiece_s_bytes_are_bytes():
    source = unigram("<0xC3>", "<0x41>", "A")
    found = matches(source, byte_bpe())
    assert found["Ã"] == "<0xC3>"
    assert found["A"] == "A"


def test_special_tokens_match_by_their_role():
    words, pieces = wordpiece("a"), unigram("▁a")
    assert (
        matches(words, pieces).items()
        >= {
            "<s>": "[CLS]",
            "</s>": "[SEP]",
            "<pad>": "[PAD]",
            "<unk>": "[UNK]",
            "<mask>": "[MASK]",
        }.items()
    )
    assert matches(pieces, words).items() >= {"[CLS]": "<s>", "[SEP]": "</s>"}.items()


def test_one_special_token_may_have_many_roles():
    vocab = {token: i for i, token in enumerate(["<|endoftext|>", "Ġa"])}
    found = matches(GPT2Tokenizer(vocab=vocab, merges=[]), unigram("▁a"))
    assert (found["<s>"], found["</s>"], found["<unk>"]) == ("<|endoftext|>",) * 3
    assert (found["<pad>"], found["<mask>"], found["▁a"]) == (None, None, "Ġa")


def test_special_tokens_are_not_text_that_is_spelt_like_them():
    words, pieces = wordpiece("<s>", "##</s>"), unigram("▁[CLS]", "[SEP]")
    found = matches(words, pieces)
    assert (found["<s>"], found["</s>"]) == ("[CLS]", "[SEP]")
    assert (found["▁[CLS]"], found["[SEP]"]) == (None, None)
    back = matches(pieces, words)
    assert (back["<s>"], back["##</s>"]) == (None, None)


def test_special_tokens_without_a_role_match_by_spelling():
    one, other = unigram("▁a", "▁<de>"), wordpiece("a")
    for tokenizer in (one, other):
        tokenizer.add_special_tokens({"extra_special_tokens": ["<de>"]})
    assert matches(one, other)["<de>"] == "<de>"
    assert matches(other, one)["▁<de>"] is None


def test_wordpiece_has_one_token_for_a_mark_wherever_it_stands():
    words = wordpiece("!", "首", "a", "##首", "##!")
    pieces = unigram("!", "▁!", "首", "▁首", "a", "▁a")
    assert (
        matches(words, pieces).items()
        >= {
            "!": "!",
            "▁!": "!",
            "首": "首",
            "▁首": "首",
            "a": None,
            "▁a": "a",
        }.items()
    )
    back = matches(pieces, words)
    assert (back["!"], back["首"], back["##!"], back["##首"]) == ("!", "首", None, None)
    assert matches(unigram("▁!"), words)["!"] == "▁!"
    assert all(token == same for token, same in matches(words, words).items())


def test_spaces_inside_a_token_are_kept():
    found = matches(unigram("▁New▁York", "▁▁", "▁"), byte_bpe(" New York", "  ", "New York"))
    assert (found["ĠNewĠYork"], found["ĠĠ"], found["Ġ"]) == ("▁New▁York", "▁▁", "▁")
    assert found["NewĠYork"] is None


def test_bpe_of_sentencepiece_s_kind_is_read_as_it_writes():
    pieces = {token: i for i, token in enumerate(["<unk>", "▁río", "<0xC3>", "Ã"])}
    backend = Tokenizer(models.BPE(vocab=pieces, merges=[], unk_token="<unk>"))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Replace("▁", " ")
    source = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    found = matches(source, byte_bpe(" río"))
    assert found["ĠrÃŃo"] == "▁río"
    assert found["Ã"] == "<0xC3>"


def test_a_tokenizer_that_writes_otherwise_is_refused():
    backend = Tokenizer(models.BPE(vocab={"a</w>": 0}, merges=[], end_of_word_suffix="</w>"))
    other = PreTrainedTokenizerFast(tokenizer_object=backend)
    with pytest.raises(BabelscopeError, match=r"\(BPE\) marks where words begin neither"):
        match_tokens(other, unigram("▁a"))


@pytest.fixture(scope="module")
def trained():
    sentences = [
        "The river flows through the capital of the country.",
        "El río cruza la capital del país y llega al mar.",
        "Река течёт через столицу страны и впадает в море.",
        "这条河流经该国的首都，然后流入大海。",
    ]
    rng = random.Random(5)
    lines = [" ".join(rng.sample(line.split(" "), len(line.split(" ")))) for line in sentences * 60]
    sizes = {"unigram": 95, "wordpiece": 170, "bpe": 340}
    return {kind: train_tokenizer(lines, vocabulary=n, kind=kind) for kind, n in sizes.items()}


@pytest.mark.parametrize("kind", ["unigram", "wordpiece", "bpe"])
def test_every_token_is_its_own_match(trained, kind):
    tokenizer = trained[kind]
    assert match_tokens(tokenizer, tokenizer).tolist() == list(range(len(tokenizer)))
    assert vocabulary_size(tokenizer) == len(tokenizer)


@pytest.mark.parametrize("one", ["unigram", "wordpiece", "bpe"])
@pytest.mark.parametrize("other", ["unigram", "wordpiece", "bpe"])
def test_matched_tokens_decode_to_the_same_text(trained, one, other):
    source, target = trained[one], trained[other]
    matched = match_tokens(source, target)
    text = 0
    for i, j in enumerate(matched.tolist()):
        if j < 0 or i in special_tokens(target):
            continue
        ours, theirs = target.decode([i]), source.decode([j])
        if "�" in ours + theirs:
            assert target.convert_ids_to_tokens(i) == source.convert_ids_to_tokens(j)
        else:
            assert ours.strip().removeprefix("##") == theirs.strip().removeprefix("##")
            text += 1
    assert text > 20
