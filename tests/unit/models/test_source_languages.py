"""Tokenizers that mark the language of a text, as NLLB's and SONAR's, in every place that reads."""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, NllbTokenizer

from babelscope.config import PairTraining
from babelscope.errors import BabelscopeError
from babelscope.evaluation.embedders import load_embedder
from babelscope.models.checksums import checksum
from babelscope.models.loading import load_tokenizer
from babelscope.models.lora import add_lora
from babelscope.models.modular import (
    ModularEncoder,
    Modules,
    body_of,
    build_encoder,
    save_language_module,
    save_sentence_module,
)
from babelscope.models.sentence_encoders import load_encoder
from babelscope.models.sentences import speak
from babelscope.tokenization.focus import initialize_embeddings
from babelscope.tokenization.packing import load_packing_tokenizer
from babelscope.tokenization.training import train_tokenizer
from babelscope.training.pairs import Tokens, read_pairs
from babelscope.training.sentence_encoders import train_whole_encoder

CODES = {"en": "eng_Latn", "de": "deu_Latn"}
SIZE = 36  # of a language's own vocabulary
SENTENCES = ["der hund sieht", "taxi"]
LORA = {"rank": 2, "alpha": 4.0, "dropout": 0.0, "seed": 0}


@pytest.fixture(scope="module")
def source(make_model, tmp_path_factory):
    """Return the folder of a tiny encoder whose tokenizer marks languages."""
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *letters])}
    marks = ["eng_Latn", "deu_Latn", "arb_Arab"]
    tokenizer = NllbTokenizer(
        vocab=vocabulary, merges=[], extra_special_tokens=marks, model_max_length=60
    )
    folder = tmp_path_factory.mktemp("sonar")
    make_model("m2m_100").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def own(source):
    """Return a tokenizer of German, made of the source's."""
    found = train_tokenizer(
        ["der hund sieht das taxi"] * 9, vocabulary=SIZE, source=load_tokenizer(source)
    )
    speak(found, "deu_Latn")
    return found


@pytest.fixture
def german(source, own, make_model, tmp_path):
    """Return modules of German, with its own tokenizer."""
    sentence = tmp_path / "sentence"
    modules = Modules(tmp_path / "language", sentence)
    model = make_model("m2m_100")
    weight = torch.randn(SIZE, 32, generator=torch.Generator().manual_seed(2))
    body_of(model).get_input_embeddings().weight = torch.nn.Parameter(weight)
    add_lora(model, "language", **LORA)
    options = {"language": "de", "base": checksum(source)}
    save_language_module(modules.language, model, own, **options)
    network = build_encoder(source, Modules(modules.language)).network
    add_lora(network, "sentence", **LORA)
    options["base"] = checksum(modules.language)
    save_sentence_module(sentence, network, **options)
    return modules


def first(tokenizer, ids):
    return str(tokenizer.convert_ids_to_tokens(int(ids[0])))


def test_a_language_that_the_tokenizer_lacks_is_refused(source, tokenizer):
    marking = load_tokenizer(source)
    with pytest.raises(BabelscopeError, match="no language arb_Latn; near to it are arb_Arab"):
        speak(marking, "arb_Latn")
    assert first(marking, marking("hund")["input_ids"]) == "eng_Latn"
    before = tokenizer("w1 w2")["input_ids"]
    speak(tokenizer, "deu_Latn")  # it marks none
    assert tokenizer("w1 w2")["input_ids"] == before


def test_a_tokenizer_of_a_language_carries_it(source, own, tmp_path):
    """From training, over windows of running text, to the embedding that the source knows."""
    own.save_pretrained(tmp_path)
    found = load_tokenizer(tmp_path)
    mark = found.convert_tokens_to_ids("deu_Latn")
    assert found("der hund")["input_ids"][0] == mark
    assert load_packing_tokenizer(tmp_path).bos_id == mark
    before = load_tokenizer(source)
    weight = torch.randn(len(before), 8)
    vectors = {token: np.ones(4, np.float32) for token in found.get_vocab()}
    start = initialize_embeddings(before, found, weight, vectors, seed=0)
    copied = weight[before.convert_tokens_to_ids("deu_Latn")]
    np.testing.assert_array_equal(start.weight[mark], copied)


def test_every_text_is_read_in_its_language(source, encoder_study):
    """Those that two languages spell alike, too."""
    import pandas as pd

    study = encoder_study()
    path = study.write_pairs("p", 4, negatives=False, seed=0)
    table = pd.read_parquet(path)
    table.loc[table["sent_id"] == "r1", "anchor"] = "taxi"
    table.to_parquet(path)
    found = read_pairs([path], list(CODES))
    encoder = load_encoder(source)
    spoken = [(CODES[language], numbers) for language, numbers in found.spoken.items()]
    tokens = Tokens(encoder, found.texts, np.arange(len(found.texts)), 40, spoken)
    for one in found.sets:
        numbers = np.unique(one.texts[one.texts >= 0])
        assert "taxi" in [found.texts[number] for number in numbers]
        parts, _ = tokens.parts(numbers, 100)
        marks = {first(encoder.tokenizer, row) for ids, _ in parts for row in ids}
        assert marks == {CODES[one.languages[0]]}


def test_one_encoder_of_all_languages_learns_them_marked(source, encoder_study, tmp_path):
    """The trainings differ by nothing but what the languages are called."""
    study = encoder_study()
    settings = PairTraining.model_validate(study.pair_settings | {"max_steps": 3})
    losses = []
    for name, codes in (("a", CODES), ("b", CODES), ("c", CODES | {"de": "arb_Arab"})):
        history = train_whole_encoder(
            source,
            study.pairs,
            tmp_path / name,
            tmp_path / f"{name}.history.parquet",
            languages=codes,
            mixed=2,
            settings=settings,
            form={},
            folder=tmp_path / f"{name}.checkpoints",
            seed=1,
            version=1,
        )
        losses.append(history.loss.tolist())
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_evaluation_reads_each_language_as_such(source):
    options = {"batch_tokens": 100, "device": "cpu", "precision": "float32"}
    embed, _ = load_embedder(source, {}, codes=CODES, form={}, **options)
    encoder = load_encoder(source)
    found = {}
    for language in ("de", "en", "de"):
        encoder.tokenizer.src_lang = CODES[language]
        found[language] = embed(SENTENCES, language, True)
        np.testing.assert_array_equal(found[language], encoder.encode(SENTENCES, batch_tokens=100))
    assert not np.allclose(found["de"], found["en"], atol=1e-3)


def test_modules_and_what_is_exported_of_them_are_in_their_language(source, german, tmp_path):
    modular = ModularEncoder.assemble(source, {"de": german})
    vectors = modular.encode(SENTENCES, "de", aligned=False, batch_tokens=100)
    alone = build_encoder(source, german, name="de")
    ids = alone.batch(SENTENCES)["input_ids"]
    assert {first(alone.tokenizer, row) for row in ids} == {"deu_Latn"}
    modular.export("de", tmp_path / "plain", aligned=False)
    plain = AutoTokenizer.from_pretrained(tmp_path / "plain")  # as sentence-transformers does
    assert plain(SENTENCES)["input_ids"] == alone.tokenizer(SENTENCES)["input_ids"]
    exported = load_encoder(tmp_path / "plain").encode(SENTENCES, batch_tokens=100)
    np.testing.assert_allclose(exported, vectors, atol=1e-5)
