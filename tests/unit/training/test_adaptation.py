import numpy as np
import pytest
import torch

from babelscope.errors import BabelscopeError
from babelscope.io import read_arrays, read_json, write_arrays
from babelscope.models.checksums import checksum
from babelscope.models.modular import Modules, build_encoder
from babelscope.models.sentence_encoders import load_encoder, save_encoder
from babelscope.training import adaptation
from babelscope.training.adaptation import load_masked_encoder


@pytest.fixture
def study(encoder_study):
    return encoder_study()


def headless(study, make_model, family, **changes):
    """Write an encoder without a head, for sentence-transformers or, by `plain`, transformers."""
    folder = study.folder / family
    model = make_model(family)
    network = model.get_encoder() if family == "m2m_100" else model.base_model
    network.save_pretrained(folder)
    study.tokenizer("p", 95).save_pretrained(folder)
    if family != "m2m_100":
        save_encoder(load_encoder(folder), study.folder / f"{family}-saved")
        return study.folder / f"{family}-saved"
    return folder


def validation(history):
    return history[(history.split == "valid") & (history.language == "de")].loss


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_language_module_learns_and_fits_its_source(study, kind):
    before = study.contents("source")
    history = study.adapt(kind=kind, max_steps=50, eval_steps=25, lr=0.02)
    losses = history[history.split == "train"].loss
    assert losses[-8:].mean() < losses[:8].mean() - 0.5
    assert study.contents("source") == before
    assert not (study.folder / "out.checkpoints").exists()
    out = study.folder / "out"
    assert read_json(out / "module.json") == {
        "kind": kind,
        "language": "de",
        "base": checksum(study.source),
        "vocabulary": 65,
    }
    encoder = build_encoder(study.source, Modules(out), name="de")
    vectors = encoder.encode(["de1 de2", "de3"], batch_tokens=50)
    assert np.isfinite(vectors).all()
    start = read_arrays(study.folder / "de" / "start" / "embeddings.safetensors")["weight"]
    moved = read_arrays(out / "embeddings.safetensors")["weight"] - start
    assert (np.abs(moved).max(axis=1) > 1e-3).all()
    files = {"lora": "lora.safetensors", "full": "body.safetensors"}
    assert (out / files[kind]).is_file()
    assert len(list(out.glob("*.safetensors"))) == 2


def trained_network(study, monkeypatch, **options):
    """Adapt and return the network's weights before and after, and the model that was trained."""
    seen = {}
    train = adaptation.train_mlm

    def spy(model, *arguments, **keywords):
        seen["before"] = {name: value.clone() for name, value in model.named_parameters()}
        history = train(model, *arguments, **keywords)
        seen["model"] = model
        return history

    monkeypatch.setattr(adaptation, "train_mlm", spy)
    seen["history"] = study.adapt(**options)
    seen["moved"] = {
        name
        for name, value in seen["model"].named_parameters()
        if not torch.equal(value, seen["before"][name])
    }
    return seen


def test_the_body_is_frozen_beneath_an_adapter(study, monkeypatch):
    seen = trained_network(study, monkeypatch)
    body = dict(seen["model"].base_model.named_parameters())
    words = seen["model"].get_input_embeddings().weight
    moved = {
        name
        for name, value in body.items()
        if value is not words and f"roberta.{name}" in seen["moved"]
    }
    assert all(".lora_" in name for name in moved)
    assert len(moved) == 2 * 3 * 6
    head = {name for name in seen["moved"] if name.startswith("lm_head.")}
    assert {"lm_head.dense.weight", "lm_head.decoder.weight"} <= head  # the latter are the words
    assert seen["model"].get_output_embeddings().weight is words


def test_kept_of_a_checkpoint_is_what_is_trained(study, monkeypatch):
    from babelscope.training import mlm

    saved = []
    save = mlm.save_file

    def look(tensors, path):
        saved.append(set(tensors))
        save(tensors, path)

    monkeypatch.setattr(mlm, "save_file", look)
    study.adapt()
    assert saved
    for names in saved:
        assert not any("base_layer" in name for name in names)


def test_a_head_of_the_source_is_used_and_its_bias_follows_its_tokens(study, monkeypatch):
    seen = trained_network(study, monkeypatch, lr=1e-12)
    source = load_masked_encoder(study.source, seed=9)
    bias = seen["before"]["lm_head.bias"]
    assert torch.equal(bias[:4], source.lm_head.bias[:4])
    assert not bias[4:-1].any()
    assert torch.equal(seen["before"]["lm_head.dense.weight"], source.lm_head.dense.weight)


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "m2m_100"])
def test_an_encoder_without_a_head_gets_one(study, make_model, monkeypatch, family):
    source = headless(study, make_model, family)
    seen = trained_network(study, monkeypatch, source=source, max_steps=30, eval_steps=10)
    losses = validation(seen["history"])
    assert losses.iloc[-1] < losses.iloc[0]
    model = seen["model"]
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    encoder = build_encoder(source, Modules(study.folder / "out"))
    with torch.no_grad():
        batch = encoder.batch(["de1 de2", "de5"])
        states = model.eval().base_model(**batch).last_hidden_state
        found = encoder.network(**batch).last_hidden_state
    torch.testing.assert_close(found, states)


@pytest.mark.parametrize("family", ["bert", "m2m_100"])
def test_a_new_head_follows_from_its_seed(study, make_model, family):
    source = headless(study, make_model, family)
    state = torch.random.get_rng_state()
    one, two, three = (
        torch.nn.utils.parameters_to_vector(load_masked_encoder(source, seed=seed).parameters())
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_one_seed_gives_one_module(study):
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        study.adapt(name, seed=seed, max_steps=3)
    one, two, three = map(study.contents, ("one", "two", "three"))
    assert one == two
    assert one["lora.safetensors"] != three["lora.safetensors"]


def test_embeddings_that_do_not_fit_are_refused(study):
    start = study.write_start()
    path = start / "embeddings.safetensors"
    arrays = read_arrays(path)
    for weight, message in (
        (arrays["weight"][:-1], "64 rows, but the tokenizer has 65"),
        (arrays["weight"][:, :16], "16 dimensions"),
    ):
        write_arrays(path, {"weight": weight, "matched": arrays["matched"]})
        with pytest.raises(BabelscopeError, match=message):
            study.adapt(start=start)


def test_windows_of_another_tokenizer_are_refused(study):
    windows = study.write_windows("other", 30, words=90)
    with pytest.raises(BabelscopeError, match="token 93, but the tokenizer of de has 65"):
        study.adapt(train=windows)
