"""A translator that knows three words: what it is asked, how often, and what becomes of rows."""

import itertools
import json
import random
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoTokenizer, GenerationMixin, M2M100ForConditionalGeneration

from babelscope.errors import BabelscopeError
from babelscope.io import read_table, write_table
from babelscope.translation import translate_pairs

GERMAN = {"the": "der", "dog": "hund", "sees": "sieht"}
CODES = {"en": "eng_Latn", "de": "deu_Latn", "zh": "zho_Hans"}
SETTINGS = {
    "pivot": "en",
    "language": "de",
    "codes": CODES,
    "beams": 1,
    "max_tokens": 10,
    "batch_tokens": 60,
    "shard_sentences": 16,
    "device": "cpu",
    "precision": "float32",
}


def german(text):
    return None if text is None else " ".join(GERMAN[word] for word in text.split())


def english(count, seed=0):
    """Return different sentences of one to four words."""
    every = [list(itertools.product(GERMAN, repeat=length)) for length in range(1, 5)]
    texts = [" ".join(words) for words in itertools.chain(*every)]
    return random.Random(seed).sample(texts, count)


@pytest.fixture
def translate(translator, tmp_path):
    """Return a function that translates columns of text, and gives counts and the new table."""

    def run(anchor, positive, negative=None, model=translator, **changes):
        table = pd.DataFrame(
            {
                "language": changes.get("pivot", "en"),
                "sent_id": [f"x{number}" for number in range(len(anchor))],
                "anchor": anchor,
                "positive": positive,
                "negative": negative if negative is not None else [None] * len(anchor),
            }
        )
        other = table.assign(language="fr", anchor="le chat", sent_id="y")
        write_table(tmp_path / "read.parquet", pd.concat([other, table]))
        counts = translate_pairs(
            tmp_path / "read.parquet",
            tmp_path / "de.parquet",
            model=model,
            folder=tmp_path / "work",
            **(SETTINGS | changes),
        )
        assert not (tmp_path / "work").exists()
        found = read_table(tmp_path / "de.parquet").astype(object)
        return counts, found.where(found.notna(), None)

    return run


@pytest.fixture
def asked(monkeypatch):
    """Return a list to which every batch given to the model adds its source tokens."""
    batches = []
    generate = GenerationMixin.generate

    def note(self, *args, **options):
        batches.append(options["input_ids"])
        return generate(self, *args, **options)

    monkeypatch.setattr(GenerationMixin, "generate", note)
    return batches


def same(found, wanted):
    """Nearly all are right: the translator learned for a few seconds."""
    return np.mean([one == other for one, other in zip(found, wanted, strict=True)]) > 0.9


@pytest.mark.parametrize("beams", [1, 3])
def test_rows_are_translated_in_their_order(translate, beams):
    texts = english(60)
    negative = [text if number % 3 else None for number, text in enumerate(texts[40:])]
    counts, table = translate(texts[:20], texts[20:40], negative, beams=beams)
    assert list(table) == ["language", "sent_id", "anchor", "positive", "negative"]
    assert set(table.language) == {"de"}
    assert list(table.sent_id) == [f"x{number}" for number in range(20)]
    assert same(table.anchor, map(german, texts[:20]))
    assert same(table.positive, map(german, texts[20:40]))
    assert same(table.negative, map(german, negative))
    assert [text is None for text in table.negative] == [text is None for text in negative]
    assert counts == {"rows": 20, "sentences": 53, "cut": 0, "unfinished": 0, "empty": 0}


def test_pairs_without_negatives_stay_pairs(translate):
    texts = english(6)
    _, table = translate(texts[:3], texts[3:])
    assert list(table.negative) == [None] * 3


def test_every_sentence_is_translated_once(translate, asked):
    one, two, three = english(3)
    counts, table = translate([one, two, one], [two, one, three], [three, None, two])
    assert sum(len(batch) for batch in asked) == 3
    assert counts["sentences"] == 3
    assert table.anchor[0] == table.anchor[2] == table.positive[1]
    assert table.negative[0] == table.positive[2]


@pytest.mark.parametrize("beams", [1, 3])
def test_a_translation_does_not_depend_on_its_batch(translate, asked, beams):
    texts = english(40)
    _, together = translate(texts[:20], texts[20:], beams=beams, batch_tokens=10_000)
    rounds = len(asked)
    _, alone = translate(texts[:20], texts[20:], beams=beams, batch_tokens=1)
    assert rounds == 3  # one for every shard
    assert [len(batch) for batch in asked[rounds:]] == [1] * 40
    assert together.equals(alone)


def test_batches_hold_similar_lengths_within_the_budget(translate, asked):
    texts = english(100)
    translate(texts[:50], texts[50:], batch_tokens=80, beams=2, shard_sentences=1000)
    shapes = [tuple(batch.shape) for batch in asked]
    widths = [width for _, width in shapes]
    assert widths == sorted(widths, reverse=True)
    assert all(rows * width * 2 <= 80 for rows, width in shapes)
    # No batch could have taken the next one's first sentence too.
    assert all((rows + 1) * width * 2 > 80 for rows, width in shapes[:-1])
    padding = sum(int((batch == 1).sum()) for batch in asked)
    assert padding < 0.02 * sum(batch.numel() for batch in asked)


@torch.no_grad()
def greedy(folder, text, source, target, most):
    """Translate by hand: the likeliest token, one after another, without a cache."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = M2M100ForConditionalGeneration.from_pretrained(folder).eval()
    code = tokenizer.convert_tokens_to_ids
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    inputs = torch.tensor([[code(source), *ids, code("</s>")]])
    tokens = [code("</s>"), code(target)]
    while tokens[-1] != code("</s>") and len(tokens) <= most:
        logits = model(input_ids=inputs, decoder_input_ids=torch.tensor([tokens])).logits
        tokens.append(int(logits[0, -1].argmax()))
    return tokenizer.decode(tokens, skip_special_tokens=True), tokens[-1] == code("</s>")


@pytest.mark.parametrize("language", ["de", "zh"])
@pytest.mark.parametrize("pivot", ["en", "de"])
def test_both_languages_are_told_to_the_model(translate, translator, pivot, language):
    texts = english(12)
    counts, table = translate(texts[:6], texts[6:], pivot=pivot, language=language, max_tokens=7)
    found = [*table.anchor, *table.positive]
    wanted = [greedy(translator, text, CODES[pivot], CODES[language], 7) for text in texts]
    assert found == [text for text, _ in wanted]
    assert counts["unfinished"] == sum(not finished for _, finished in wanted)


def test_unfinished_translations_are_counted_and_kept(translate, caplog):
    texts = ["the dog sees the", "sees dog the dog", "dog", "the"]
    counts, table = translate(texts[:2], texts[2:], max_tokens=4)
    assert counts["unfinished"] == 2
    assert list(table.anchor) == [" ".join(german(text).split()[:3]) for text in texts[:2]]
    assert "2 of 4 are unfinished" in caplog.text


def test_sources_longer_than_the_model_reads_are_cut(translate, asked):
    counts, _ = translate([" ".join(["dog"] * 38), " ".join(["dog"] * 39)], ["the", "sees"])
    assert counts["cut"] == 1
    assert max(batch.shape[1] for batch in asked) == 40
    assert all((batch == 2).sum() == len(batch) for batch in asked)  # their end is marked


@pytest.fixture
def mute(monkeypatch, translator):
    """Return a function that makes the model say nothing to some sentences."""
    tokenizer = AutoTokenizer.from_pretrained(translator, src_lang="eng_Latn")
    generate = GenerationMixin.generate
    unanswered = set()

    def say_nothing(self, *args, **options):
        tokens = generate(self, *args, **options)
        for row, text in enumerate(tokenizer.batch_decode(options["input_ids"], True)):
            if text in unanswered:
                tokens[row, 2:] = tokenizer.eos_token_id
        return tokens

    monkeypatch.setattr(GenerationMixin, "generate", say_nothing)
    return unanswered.update


def test_what_comes_out_empty_keeps_its_source(translate, mute, caplog):
    texts = english(6)
    mute([texts[4]])
    counts, table = translate(texts[:3], texts[3:])
    assert counts["empty"] == 1
    assert list(table.positive) == [german(texts[3]), texts[4], german(texts[5])]
    assert "1 of 6 are empty" in caplog.text


def test_a_translator_that_says_nothing_is_refused(translate, mute):
    texts = english(6)
    mute(texts[4:])
    with pytest.raises(BabelscopeError, match="translated 2 of 6 sentences into de as not"):
        translate(texts[:3], texts[3:])


def test_the_folders_own_way_of_generating_has_no_say(translate, translator, tmp_path):
    texts = english(8)
    _, wanted = translate(texts[:4], texts[4:])
    folder = tmp_path / "wilful"
    shutil.copytree(translator, folder)
    wilful = {"max_length": 3, "do_sample": True, "num_beams": 2, "no_repeat_ngram_size": 1}
    (folder / "generation_config.json").write_text(json.dumps(wilful))
    _, found = translate(texts[:4], texts[4:], model=folder)
    assert found.equals(wanted)
    (folder / "generation_config.json").unlink()
    _, found = translate(texts[:4], texts[4:], model=folder)
    assert found.equals(wanted)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_translates_alike(translate, precision):
    texts = english(40)
    _, table = translate(texts[:20], texts[20:], precision=precision)
    assert same([*table.anchor, *table.positive], map(german, texts))


def test_an_overflow_is_an_error(translate, translator, tmp_path):
    folder = changed_weight(translator, tmp_path, "model.decoder.layer_norm.weight", 1e6)
    translate(["the"], ["dog"], model=folder)
    with pytest.raises(BabelscopeError, match="not numbers with precision fp16.*bf16"):
        translate(["the"], ["dog"], model=folder, precision="fp16")


def changed_weight(translator, tmp_path, name, factor):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "changed"
    shutil.copytree(translator, folder)
    weights = load_file(folder / "model.safetensors")
    weights[name] = weights[name] * factor
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"de": "zho_Hant"}, "no language zho_Hant; near to it are zho_Hans.*languages.tsv"),
        ({"en": "fra_Latn"}, "no language fra_Latn. Correct the column flores"),
    ],
)
def test_a_language_that_the_tokenizer_lacks(translate, changes, message):
    with pytest.raises(BabelscopeError, match=message):
        translate(["the"], ["dog"], codes=CODES | changes)


@pytest.mark.parametrize("family", ["xlm-roberta", "t5"])
def test_a_model_that_is_no_translator(translate, make_model, tmp_path, family):
    folder = tmp_path / "model"
    make_model(family).save_pretrained(folder)
    with pytest.raises(BabelscopeError, match="holds a .*, which does not translate"):
        translate(["the"], ["dog"], model=folder)


def test_an_encoder_alone_is_no_translator(translate, translator, tmp_path):
    folder = tmp_path / "encoder"
    model = M2M100ForConditionalGeneration.from_pretrained(translator)
    model.model.encoder.save_pretrained(folder)
    with pytest.raises(BabelscopeError, match="holds a M2M100Encoder, which does not translate"):
        translate(["the"], ["dog"], model=folder)


def test_weights_in_a_pickle_are_not_read(translate, translator, tmp_path):
    folder = tmp_path / "pickle"
    shutil.copytree(translator, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BabelscopeError, match="has no model.safetensors"):
        translate(["the"], ["dog"], model=folder)


def test_a_tokenizer_of_another_model(translate, translator, tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(translator, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["katze"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(BabelscopeError, match="has 41 tokens, its model only 40"):
        translate(["the"], ["dog"], model=folder)


def test_a_tokenizer_that_does_not_mark_languages(translate, translator, tmp_path):
    folder = tmp_path / "plain"
    shutil.copytree(translator, folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text()) | {"tokenizer_class": "TokenizersBackend"}
    path.write_text(json.dumps(settings))
    with pytest.raises(BabelscopeError, match="does not mark the language.*NllbTokenizer"):
        translate(["the"], ["dog"], model=folder, codes=CODES | {"en": "zho_Hans"})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ((["the", " "], ["dog", "sees"]), "sent_id x1: the anchor has no text"),
        ((["the", "dog"], ["dog", None]), "sent_id x1: the positive has no text"),
        ((["the", "dog"], ["dog", "the"], ["", None]), "sent_id x0: the negative has no text"),
    ],
)
def test_a_row_without_a_text(translate, columns, message):
    with pytest.raises(BabelscopeError, match=message):
        translate(*columns)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"anchor": ["the"]}, "no column positive, negative; there are language, sent_id, anchor"),
        ({"anchor": ["le"], "positive": ["chat"], "negative": [None]}, "no pairs in en"),
    ],
)
def test_a_table_without_a_column_or_the_pivot(translator, tmp_path, columns, message):
    table = pd.DataFrame({"language": ["fr"], "sent_id": ["a"]} | columns)
    write_table(tmp_path / "read.parquet", table)
    with pytest.raises(BabelscopeError, match=message):
        translate_pairs(
            tmp_path / "read.parquet",
            tmp_path / "de.parquet",
            model=translator,
            folder=tmp_path / "work",
            **SETTINGS,
        )
