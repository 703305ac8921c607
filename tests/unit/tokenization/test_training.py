import json
import random
import re
from collections import Counter

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from babelscope.errors import BabelscopeError
from babelscope.tokenization.packing import load_packing_tokenizer, tokenize
from babelscope.tokenization.training import sample_text, split_lines, train_tokenizer

SENTENCES = [
    "The river flows through the capital of the country.",
    "El río cruza la capital del país y llega al mar.",
    "Река течёт через столицу страны и впадает в море.",
    "Der Fluss fließt durch die Hauptstadt des Landes.",
    "这条河流经该国的首都，然后流入大海。",
    "يمر النهر عبر عاصمة البلاد ويصب في البحر.",
    "یہ دریا ملک کے دارالحکومت سے گزر کر سمندر میں گرتا ہے۔",
    "यह नदी देश की राजधानी से होकर समुद्र में गिरती है।",
]


XLMR = ["<s>", "<pad>", "</s>", "<unk>"]


def lines(n=400):
    rng = random.Random(3)
    for _ in range(n):
        words = rng.choice(SENTENCES).split(" ")
        rng.shuffle(words)
        yield " ".join(words)


def corpora(sizes):
    return {
        language: lambda language=language, n=n: [(f"d{i}", language * 10) for i in range(n)]
        for language, n in sizes.items()
    }


def shares(temperature, characters, sizes):
    texts = sample_text(corpora(sizes), characters=characters, temperature=temperature, seed=1)
    counts = Counter("".join(texts))
    return {language: counts[language] for language in sizes}


def test_shares_follow_the_temperature():
    sizes = {"a": 900, "b": 100}
    assert shares(1.0, 1000, sizes) == {"a": 900, "b": 100}
    assert shares(0.5, 1000, sizes) == pytest.approx({"a": 750, "b": 250}, abs=1)


def test_a_small_language_is_repeated_to_its_share():
    assert shares(0.5, 10_000, {"a": 810, "b": 10}) == pytest.approx({"a": 7380, "b": 820}, abs=1)


def test_the_sample_does_not_depend_on_the_order_of_documents():
    documents = [(f"d{i}", f"text {i} " * (i % 7 + 1)) for i in range(50)]
    one = {"a": lambda: documents}
    other = {"a": lambda: documents[::-1]}
    options = {"characters": 300, "temperature": 1.0}
    first = list(sample_text(one, seed=1, **options))
    assert sum(map(len, first)) == 300
    assert sorted(first) == sorted(sample_text(other, seed=1, **options))
    assert sorted(first) != sorted(sample_text(one, seed=2, **options))


def test_a_language_without_text_is_an_error():
    with pytest.raises(BabelscopeError, match="text for b"):
        list(sample_text(corpora({"a": 5, "b": 0}), characters=9, temperature=1.0, seed=1))


def test_long_lines_are_cut_and_none_is_lost():
    text = "ab cd\n\n" + "x" * 25 + "\n" + "word " * 6
    cut = list(split_lines([text], length=10))
    assert max(map(len, cut)) <= 10
    assert "".join(cut).replace(" ", "") == text.replace(" ", "").replace("\n", "")


def test_unigram_has_the_ids_of_xlmr_and_survives_saving(tmp_path):
    tokenizer = train_tokenizer(lines(), vocabulary=180)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert type(again).__name__ == "XLMRobertaTokenizer"
    assert again.convert_ids_to_tokens([0, 1, 2, 3, 179]) == [
        "<s>",
        "<pad>",
        "</s>",
        "<unk>",
        "<mask>",
    ]
    assert len(again) == 180
    assert (again.mask_token_id, again.pad_token_id) == (179, 1)
    for sentence in SENTENCES:
        ids = again(sentence)["input_ids"]
        assert ids == tokenizer(sentence)["input_ids"]
        assert (ids[0], ids[-1]) == (0, 2)


def test_a_left_to_right_text_only_begins(tmp_path):
    """Loaded beside a GPT-2's config, as from a model's folder; token types would be embedded."""
    import unicodedata

    from transformers import GPT2Config

    tokenizer = train_tokenizer(lines(), vocabulary=180, causal=True)
    tokenizer.save_pretrained(tmp_path)
    GPT2Config(vocab_size=180, bos_token_id=0, eos_token_id=2).save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert again.convert_ids_to_tokens([0, 1, 2, 3]) == XLMR
    assert (again.bos_token_id, again.pad_token_id, again.eos_token_id) == (0, 1, 2)
    assert again.mask_token is None
    assert len(again) == 180
    for sentence in SENTENCES:
        encoded = again(sentence)
        assert set(encoded) == {"input_ids", "attention_mask"}
        ids = encoded["input_ids"]
        assert ids[0] == 0
        assert not {0, 1, 2, 3} & set(ids[1:])
        assert again.decode(ids, skip_special_tokens=True) == unicodedata.normalize(
            "NFKC", sentence
        )
    one, whole = (again(text)["input_ids"] for text in ("the river", "the river\n  flows"))
    assert whole[: len(one)] == one
    assert whole == again("the river flows")["input_ids"]
    assert again("the", "river")["input_ids"] == one
    packing = load_packing_tokenizer(tmp_path)
    assert (packing.bos_id, packing.eos_id, packing.size, packing.separated) == (0, 2, 180, True)


def test_left_to_right_pieces_are_those_of_masked_models():
    """One more takes the place of the mask."""
    masked, causal = (
        train_tokenizer(lines(), vocabulary=size, causal=size == 179) for size in (180, 179)
    )
    assert masked.convert_ids_to_tokens(range(179)) == causal.convert_ids_to_tokens(range(179))
    with pytest.raises(BabelscopeError, match="kind bpe.*unigram"):
        train_tokenizer(lines(), vocabulary=400, kind="bpe", causal=True)


@pytest.mark.parametrize(
    ("kind", "vocabulary"), [("unigram", 180), ("wordpiece", 260), ("bpe", 400)]
)
def test_text_in_every_script_survives(tmp_path, kind, vocabulary):
    import unicodedata

    train_tokenizer(lines(), vocabulary=vocabulary, kind=kind).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert len(tokenizer) == vocabulary
    for sentence in SENTENCES:
        ids = tokenizer(sentence, add_special_tokens=False)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        back = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        expected = unicodedata.normalize("NFKC", sentence) if kind == "unigram" else sentence
        if kind == "wordpiece":  # spaces around punctuation and Han characters are not kept
            back, expected = back.replace(" ", ""), expected.replace(" ", "")
        assert back.strip() == expected


@pytest.mark.parametrize(
    ("kind", "vocabulary"), [("unigram", 170), ("wordpiece", 260), ("bpe", 400)]
)
def test_training_is_reproducible(kind, vocabulary):
    made = [train_tokenizer(lines(), vocabulary=vocabulary, kind=kind) for _ in range(4)]
    assert len({tokenizer.backend_tokenizer.to_str() for tokenizer in made}) == 1


def test_letters_that_continue_words_are_tokens_like_others():
    """They are numbered before training, as special tokens are, but none is one afterwards."""
    tokenizer = train_tokenizer(lines(), vocabulary=260, kind="wordpiece")
    continuing = {token for token in tokenizer.get_vocab() if re.fullmatch("##.", token)}
    assert len(continuing) > 10
    assert not continuing & {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
    assert sorted(tokenizer.get_added_vocab()) == sorted(tokenizer.all_special_tokens)


@pytest.mark.parametrize("kind", ["unigram", "wordpiece", "bpe"])
def test_a_vocabulary_larger_than_the_text_supports(kind):
    with pytest.raises(BabelscopeError, match=r"vocabulary: 30000 is larger.* at most \d+"):
        train_tokenizer(lines(), vocabulary=30_000, kind=kind)


def test_a_vocabulary_smaller_than_the_alphabet():
    with pytest.raises(BabelscopeError, match="vocabulary: 60 is too small"):
        train_tokenizer(lines(), vocabulary=60)


def test_errors_name_the_key_that_asked():
    with pytest.raises(
        BabelscopeError, match=r"^encoders.size: 60 is too small.* Set encoders.size"
    ):
        train_tokenizer(lines(), vocabulary=60, key="encoders.size")
    source = train_tokenizer(lines(), vocabulary=180)
    for options in ({"kind": "bpe"}, {"source": source}, {}):
        with pytest.raises(BabelscopeError, match=r"^encoders.size: 30000.* Set encoders.size"):
            train_tokenizer(lines(), vocabulary=30_000, key="encoders.size", **options)


def loaded(tokenizer, folder):
    """Save a tokenizer that takes 64 tokens at most, and load it as a user's folder is."""
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("kind", "size", "smaller"),
    [("unigram", 180, 140), ("wordpiece", 260, 250), ("bpe", 400, 390)],
)
def test_a_source_passes_on_all_but_its_vocabulary(tmp_path, kind, size, smaller):
    source = loaded(train_tokenizer(lines(), vocabulary=size, kind=kind), tmp_path / "source")
    new = train_tokenizer(lines(300), vocabulary=smaller, source=source)
    new.save_pretrained(tmp_path / "new")
    again = AutoTokenizer.from_pretrained(tmp_path / "new")
    assert again.backend_tokenizer.to_str() == new.backend_tokenizer.to_str()
    assert type(again) is type(source)
    assert len(again) == smaller
    assert again.special_tokens_map == source.special_tokens_map
    assert again.model_max_length == 64
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        one, other = (getattr(t.backend_tokenizer, part) for t in (source, again))
        assert str(one) == str(other), part
    ids, old = again("the river <mask> [MASK]"), source("the river <mask> [MASK]")
    assert again.decode(ids["input_ids"]) == source.decode(old["input_ids"])
    assert ids["input_ids"][0] == again.cls_token_id
    assert ids["input_ids"][-1] == again.sep_token_id
    assert ids["input_ids"].count(again.mask_token_id) == 1
    pair = again("the river", "the capital")["input_ids"]
    assert pair.count(again.sep_token_id) == source("the", "a")["input_ids"].count(
        source.sep_token_id
    )
    assert again.pad_token_id == source.pad_token_id


def test_a_unigram_source_keeps_the_places_of_its_special_tokens(tmp_path):
    """No piece is spelt like one of them, however often the text has it."""
    from tokenizers import AddedToken

    source = train_tokenizer(lines(), vocabulary=180)
    source.add_tokens([AddedToken("ing", special=True)])
    source = loaded(source, tmp_path)
    rng = random.Random(1)
    parts = (("".join(rng.choices("abcdefgh", k=6)) for _ in range(3)) for _ in range(500))
    text = [f"{'ing'.join(three)} <pad>" for three in parts]
    new = train_tokenizer(text, vocabulary=30, source=source)
    assert new.convert_ids_to_tokens([0, 1, 2, 3, 28, 29]) == [*XLMR, "<mask>", "ing"]
    assert sorted(new.get_vocab().values()) == list(range(30))
    assert set(new.added_tokens_decoder) == {0, 1, 2, 3, 28, 29}


def test_a_unigram_source_s_texts_stand_between_the_same_tokens(tmp_path):
    """Also where a token's place changes, and where the unknown token is but a piece."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocab = [("<pad>", 0.0), ("<unk>", 0.0), ("▁a", -1.0), ("<de>", 0.0), ("</s>", 0.0)]
    backend = Tokenizer(models.Unigram(vocab, unk_id=1))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.add_special_tokens(["<pad>", "<de>", "</s>"])
    backend.post_processor = processors.Sequence(
        [
            processors.TemplateProcessing(
                single="<de> $A </s>", special_tokens=[("<de>", 3), ("</s>", 4)]
            )
        ]
    )
    source = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>")
    new = train_tokenizer(lines(), vocabulary=140, source=loaded(source, tmp_path))
    assert new.convert_ids_to_tokens([0, 1, 138, 139]) == ["<pad>", "<unk>", "<de>", "</s>"]
    ids = new("The river ☃")["input_ids"]
    assert (ids[0], ids[-2], ids[-1]) == (138, 1, 139)


def test_pieces_are_learned_from_what_the_normalizer_leaves(tmp_path):
    """Full-width letters are letters to a source with NFKC."""
    source = loaded(train_tokenizer(lines(), vocabulary=180), tmp_path)
    wide = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
    options = {"vocabulary": 150, "source": source}
    one = train_tokenizer(lines(), **options)
    other = train_tokenizer((line.translate(wide) for line in lines()), **options)
    assert one.backend_tokenizer.to_str() == other.backend_tokenizer.to_str()


def test_a_source_s_pieces_are_those_of_training_afresh(tmp_path):
    fresh = loaded(train_tokenizer(lines(), vocabulary=180), tmp_path)
    again = train_tokenizer(lines(), vocabulary=180, source=fresh)
    assert again.get_vocab() == fresh.get_vocab()


@pytest.mark.parametrize(
    ("kind", "vocabulary"), [("unigram", 180), ("wordpiece", 260), ("bpe", 400)]
)
def test_special_tokens_spelt_in_a_text_are_text(tmp_path, kind, vocabulary):
    tokenizer = train_tokenizer(lines(), vocabulary=vocabulary, kind=kind)
    tokenizer.save_pretrained(tmp_path)
    packing = load_packing_tokenizer(tmp_path)
    assert (packing.bos_id, packing.eos_id) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
    assert packing.size == vocabulary
    texts = [f"The {token} river {token}" for token in tokenizer.all_special_tokens]
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    for ids in tokenize(texts, packing):
        assert not special & set(ids)


def test_a_wordpiece_source_without_splitter_or_normalizer():
    source = train_tokenizer(lines(), vocabulary=260, kind="wordpiece")
    backend = source.backend_tokenizer
    state = json.loads(backend.to_str()) | {"pre_tokenizer": None, "normalizer": None}
    plain = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), unk_token="[UNK]"
    )
    assert len(train_tokenizer(["low lower lowest"] * 9, vocabulary=25, source=plain)) == 25
