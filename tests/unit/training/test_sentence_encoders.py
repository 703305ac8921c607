import numpy as np
import pytest
import torch

from babelscope.errors import BabelscopeError
from babelscope.models.modular import LANGUAGE, Modules, build_encoder
from babelscope.models.sentence_encoders import load_encoder
from babelscope.training import sentence_encoders
from babelscope.training.contrastive import ranking_loss


@pytest.fixture
def study(encoder_study):
    return encoder_study()


def encoded(encoder, sentences=("de1 de2 de3", "de4", "de7 de8")):
    return encoder.encode(list(sentences), batch_tokens=100)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_sentence_module_learns_and_its_base_stays(study, kind):
    before = study.contents("de/language"), study.contents("source")
    history = study.train_sentences(kind=kind, max_steps=40, lr=0.01 if kind == "lora" else 0.001)
    assert history.loss[-8:].mean() < 0.7 * history.loss[:8].mean()
    assert (study.contents("de/language"), study.contents("source")) == before
    assert not (study.folder / "out.checkpoints").exists()
    language = study.modules["de"].language
    alone = build_encoder(study.source, Modules(language))
    found = build_encoder(study.source, Modules(language, study.folder / "out"), name="de")
    assert not np.allclose(encoded(alone), encoded(found), atol=1e-3)
    words = [one.network.get_input_embeddings().weight for one in (alone, found)]
    if kind == "lora":
        for name, value in found.network.named_parameters():
            if "lora_B.sentence" in name:
                value.data.zero_()
        assert (encoded(alone) == encoded(found)).all()
    assert torch.equal(*words) == (kind == "lora")


def test_frozen_weights_are_neither_trained_nor_kept(study, monkeypatch):
    seen = {}
    fit = sentence_encoders.fit

    def spy(model, *arguments, **options):
        before = {name: value.clone() for name, value in model.named_parameters()}
        rows = fit(model, *arguments, **options)
        moved = [name for name, value in model.named_parameters() if (value != before[name]).any()]
        seen.update(moved=moved, model=model)
        return rows

    monkeypatch.setattr(sentence_encoders, "fit", spy)
    study.train_sentences()
    assert all(".sentence.weight" in name for name in seen["moved"])
    assert any(f".{LANGUAGE}." in name for name, _ in seen["model"].named_parameters())
    assert len(seen["moved"]) == 2 * 3 * 6  # A and B of six projections in three layers


@pytest.fixture
def batches(monkeypatch):
    """Return the texts of each step: a list of anchors, one of positives, perhaps of negatives."""
    found, texts = [], []
    read, batch = sentence_encoders.read_pairs, sentence_encoders.Paraphrases.batch

    def listen(*arguments, **options):
        pairs = read(*arguments, **options)
        texts[:] = pairs.texts
        return pairs

    def look(self, examples, rows, **options):
        columns = [[texts[n] for n in column if n >= 0] for column in rows.texts.T]
        found.append([column for column in columns if column])
        return batch(self, examples, rows, **options)

    monkeypatch.setattr(sentence_encoders, "read_pairs", listen)
    monkeypatch.setattr(sentence_encoders.Paraphrases, "batch", look)
    return found


def test_the_first_loss_is_that_of_the_language_module(encoder_study, batches):
    """By the tokenizer, the network and the loss alone; the new LoRA changes nothing yet."""
    study = encoder_study(dropout=0.0)
    calm = {"lora": study.lora | {"dropout": 0.0}}
    history = study.train_sentences(**calm, max_steps=2)
    encoder = build_encoder(study.source, Modules(study.modules["de"].language))
    with torch.no_grad():
        vectors = [encoder(**encoder.batch(column)) for column in batches[0]]
    assert history.loss[0] == pytest.approx(ranking_loss(*vectors).item(), rel=1e-5)
    assert [len(columns) for columns in batches] == [3, 2]  # data sets take turns


def test_large_batches_by_parts_train_the_same(encoder_study):
    study = encoder_study(dropout=0.0)
    calm = {"lora": study.lora | {"dropout": 0.0}}
    one, two = (
        study.train_sentences(f"{mini_batch}", mini_batch=mini_batch, **calm)
        for mini_batch in (None, 2)
    )
    for column in ("loss", "gradient_norm"):
        np.testing.assert_allclose(one[column], two[column], rtol=1e-4)


def test_one_seed_gives_one_module(study):
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        study.train_sentences(name, seed=seed, max_steps=3)
    one, two, three = map(study.contents, ("one", "two", "three"))
    assert one == two
    assert one["lora.safetensors"] != three["lora.safetensors"]


def spoken(batches):
    return [{text[:2] for column in batch for text in column} for batch in batches]


def test_one_encoder_of_all_languages_takes_them_in_turn(study, batches):
    history = study.train_whole(max_steps=24, lr=0.001)
    assert spoken(batches) == [{"en"}, {"de"}] * 12
    assert history.loss[-8:].mean() < history.loss[:8].mean()
    source, found = load_encoder(study.source), load_encoder(study.folder / "out")
    sentences = ["p1 p2", "p3"]
    assert not np.allclose(encoded(source, sentences), encoded(found, sentences), atol=1e-3)


def test_one_encoder_of_all_languages_mixes_them(study, batches):
    study.train_whole(mixed=6, max_steps=4)
    assert spoken(batches) == [{"en", "de"}] * 4


def test_errors_name_language_and_data_set(study):
    with pytest.raises(BabelscopeError, match="no pairs in ru"):
        study.train_whole(languages={"en": "eng_Latn", "ru": "rus_Cyrl"})
    with pytest.raises(BabelscopeError, match="for de on pairs, de is not finite at step 2"):
        study.train_sentences(lr=1e38, warmup=0.0, max_steps=3)


def test_rows_that_do_not_fit_cannot_be_mixed(study):
    options = {"negatives": True, "seed": 3}
    pairs = [
        study.write_pairs("odd", 5, languages=("en",), **options),
        study.write_pairs("odd", 4, languages=("de",), file="de", **options),
    ]
    with pytest.raises(BabelscopeError, match="odd has 5 rows in en, 4 in de"):
        study.train_whole(mixed=2, pairs=pairs)
    study.train_whole(mixed=1, pairs=pairs, max_steps=2)
