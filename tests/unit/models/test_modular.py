"""Modular encoders on tiny random modules: what is picked, what is refused, what is written."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from babelscope.errors import BabelscopeError
from babelscope.io import read_arrays, read_json, write_arrays, write_json
from babelscope.models.adapters import ParallelAdapter
from babelscope.models.checksums import checksum
from babelscope.models.loading import load_tokenizer
from babelscope.models.lora import add_lora, loras
from babelscope.models.modular import (
    ModularEncoder,
    Modules,
    body_of,
    build_encoder,
    save_alignment_module,
    save_language_module,
    save_sentence_module,
)
from babelscope.models.sentence_encoders import load_encoder, save_encoder

# Ranks of LoRAs for language and sentences, 0 for all weights; and the size of the vocabulary.
PLAN = {"en": (2, 3, 60), "de": (3, 2, 80), "ru": (0, 2, 99), "ar": (0, 0, 90)}
PIVOT = "en"
SETTINGS = {"alpha": 4.0, "dropout": 0.1, "seed": 0}


@pytest.fixture(scope="session", params=["xlm-roberta", "m2m_100"])
def made(request, make_model, make_tokenizer, tokenizer, tmp_path_factory):
    """Return folders of a source and of modules of four languages, written as training would."""
    generator = torch.Generator().manual_seed(1)

    def move(module, by):
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.data += by * torch.randn(parameter.shape, generator=generator)

    folder = tmp_path_factory.mktemp("modular")
    source = folder / "source"
    make_model(request.param).save_pretrained(source)
    tokenizer.save_pretrained(source)
    encoder = load_encoder(source)
    encoder.dense = torch.nn.Sequential(torch.nn.Linear(32, 8), torch.nn.Tanh())
    encoder.normalize = True
    encoder.prefix = "w1 "
    save_encoder(encoder, source)
    modules = {}
    for language, (rank, sentence_rank, size) in PLAN.items():
        own = Modules(*(folder / language / part for part in ("language", "sentence", "alignment")))
        model = make_model(request.param)
        weight = 0.3 * torch.randn(size, 32, generator=generator)
        body_of(model).get_input_embeddings().weight = torch.nn.Parameter(weight)
        if rank:
            add_lora(model, "language", rank=rank, **SETTINGS)
        move(model, 0.1 if rank else 0.02)
        words = make_tokenizer([f"w{number}" for number in reversed(range(size - 5))])
        base = checksum(source)
        save_language_module(own.language, model, words, language=language, base=base)
        network = build_encoder(source, Modules(own.language)).network
        if sentence_rank:
            add_lora(network, "sentence", rank=sentence_rank, **SETTINGS)
        else:
            network.requires_grad_(True)
        move(network, 0.1 if sentence_rank else 0.02)
        base = checksum(own.language)
        save_sentence_module(own.sentence, network, language=language, base=base)
        if language == PIVOT:
            own = replace(own, alignment=None)
        else:
            adapter = ParallelAdapter(build_encoder(source, replace(own, alignment=None)).network)
            move(adapter, 0.1)
            base = checksum(own.sentence)
            save_alignment_module(
                own.alignment, adapter, language=language, strategy="both", base=base
            )
        modules[language] = own
    return source, modules


@pytest.fixture
def modular(made):
    return ModularEncoder.assemble(*made)


@pytest.fixture
def copied(made, tmp_path):
    """Return a source and German modules that may be damaged."""
    source, modules = made
    own = Modules(*(tmp_path / part for part in ("language", "sentence", "alignment")))
    for part, path in modules["de"].present().items():
        shutil.copytree(path, own.present()[part])
    return source, own


def encode(modular, sentences, languages, *, aligned):
    return modular.encode(sentences, languages, aligned=aligned, batch_tokens=60)


@pytest.fixture
def mixed(sentences):
    languages = list(PLAN)
    return [languages[row % 3 if row < 6 else 3] for row in range(len(sentences))]


@pytest.mark.parametrize("aligned", [True, False])
def test_mixed_languages_are_encoded_as_one_by_one(made, modular, sentences, mixed, aligned):
    source, modules = made
    together = encode(modular, sentences, mixed, aligned=aligned)
    alone = [
        encode(modular, [sentence], language, aligned=aligned)[0]
        for sentence, language in zip(sentences, mixed, strict=True)
    ]
    assert np.abs(together - np.stack(alone)).max() < 1e-6
    encoders = {
        language: build_encoder(source, own, aligned=aligned) for language, own in modules.items()
    }
    apart = [
        encoders[language].encode([sentence], batch_tokens=60)[0]
        for sentence, language in zip(sentences, mixed, strict=True)
    ]
    assert np.abs(together - np.stack(apart)).max() < 1e-6
    order = np.random.default_rng(0).permutation(len(sentences))
    shuffled = encode(
        modular, [sentences[i] for i in order], [mixed[i] for i in order], aligned=aligned
    )
    assert np.abs(shuffled - together[order]).max() < 1e-6


@pytest.mark.gpu
def test_gpu_equals_cpu(modular, sentences, mixed):
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    cpu = encode(modular, sentences, mixed, aligned=True)
    settings = {"aligned": True, "batch_tokens": 60, "device": "cuda"}
    gpu = modular.encode(sentences, mixed, **settings)
    np.testing.assert_allclose(gpu, cpu, atol=1e-3)
    half = modular.encode(sentences, mixed, **settings, precision="bf16")
    assert np.corrcoef(half.ravel(), cpu.ravel())[0, 1] > 0.99


def test_languages_differ_and_alignment_spares_the_pivot(modular, sentences):
    vectors = {
        (language, aligned): encode(modular, sentences, language, aligned=aligned)
        for language in PLAN
        for aligned in (False, True)
    }
    assert np.array_equal(vectors[PIVOT, True], vectors[PIVOT, False])
    different = [key for key in vectors if key != (PIVOT, True)]
    for number, key in enumerate(different):
        for other in different[:number]:
            assert np.abs(vectors[key] - vectors[other]).max() > 0.01, (key, other)


def test_selecting_comes_back_to_the_same(modular, sentences):
    first = encode(modular, sentences, "de", aligned=True)
    for language, aligned in (("en", True), ("ru", True), ("de", False), ("ar", False)):
        modular.select(language, aligned=aligned)
    assert np.array_equal(encode(modular, sentences, "de", aligned=True), first)


def test_languages_with_lora_share_one_body(modular):
    english, german = (modular.select(one, aligned=True) for one in ("en", "de"))
    assert english.network is german.network
    assert english.tokenizer is not german.tokenizer
    assert modular.select("ru", aligned=True).network is not german.network


def test_the_settings_of_the_source_stay(modular):
    encoder = modular.select("de", aligned=False)
    assert (encoder.prefix, encoder.normalize, encoder.pooling) == ("w1 ", True, "mean")
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_an_assembled_encoder_names_its_parts(made):
    source, modules = made
    encoder = build_encoder(source, modules["de"], aligned=True)
    assert loras(encoder.network) == ["language", "sentence"]
    assert encoder.adapter is not None
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert build_encoder(source, modules["en"], aligned=True).adapter is None


@pytest.mark.parametrize("aligned", [True, False])
def test_an_exported_language_is_a_plain_encoder(modular, sentences, tmp_path, aligned):
    for language in PLAN:
        folder = tmp_path / language
        modular.export(language, folder, aligned=aligned)
        encoder = load_encoder(folder)
        assert loras(encoder.network) == []
        found = encoder.encode(sentences, batch_tokens=60)
        expected = encode(modular, sentences, language, aligned=aligned)
        assert np.abs(found - expected).max() < 2e-6
        names = {path.name for path in folder.rglob("*.safetensors")}
        assert names == {"model.safetensors"}


def test_saved_as_a_whole_and_loaded_again(made, sentences, mixed, tmp_path):
    source, modules = made
    kept = shutil.copytree(source.parent, tmp_path / "kept")
    moved = {
        language: Modules(**{part: kept / language / part for part in own.present()})
        for language, own in modules.items()
    }
    modular = ModularEncoder.assemble(kept / "source", moved)
    before = encode(modular, sentences, mixed, aligned=True)
    modular.save(tmp_path / "whole")
    shutil.rmtree(kept)
    again = ModularEncoder.load(tmp_path / "whole")
    assert again.languages == list(PLAN)
    assert np.array_equal(encode(again, sentences, mixed, aligned=True), before)
    assert read_json(tmp_path / "whole" / "modular.json")["languages"]["en"] == [
        "language",
        "sentence",
    ]


def test_how_states_become_vectors_is_saved_too(made, sentences, tmp_path):
    source, modules = made
    form = {"pooling": "first", "own_head": False, "prefix": "w2 ", "max_tokens": 9}
    modular = ModularEncoder.assemble(source, {"de": modules["de"]}, form)
    before = encode(modular, sentences, "de", aligned=True)
    assert before.shape == (len(sentences), 32)
    modular.save(tmp_path / "whole")
    again = ModularEncoder.load(tmp_path / "whole")
    assert np.array_equal(encode(again, sentences, "de", aligned=True), before)
    modular.export("de", tmp_path / "plain", aligned=True)
    found = load_encoder(tmp_path / "plain").encode(sentences, batch_tokens=60)
    assert np.abs(found - before).max() < 1e-5


def test_module_folders_hold_what_they_should(made):
    _, modules = made
    files = {
        language: {
            part: {path.name for path in folder.iterdir()}
            for part, folder in modules[language].present().items()
        }
        for language in ("de", "ar")
    }
    lora, body = {"lora.safetensors", "lora.json"}, {"body.safetensors"}
    words = {"tokenizer.json", "tokenizer_config.json", "embeddings.safetensors", "module.json"}
    assert files["de"]["language"] == words | lora
    assert files["de"]["sentence"] == lora | {"module.json"}
    assert files["de"]["alignment"] == {"alignment.safetensors", "module.json"}
    assert files["ar"]["language"] == words | body
    assert files["ar"]["sentence"] == body | {"embeddings.safetensors", "module.json"}
    own = {part: read_json(path / "module.json") for part, path in modules["de"].present().items()}
    assert own["language"].keys() == {"kind", "language", "base", "vocabulary"}
    assert own["language"]["vocabulary"] == 80
    del own["alignment"]["base"]
    assert own["alignment"] == {
        "kind": "parallel-adapter",
        "reduction": 2,
        "scale": 4.0,
        "language": "de",
        "strategy": "both",
    }


def test_the_words_of_a_module_are_not_in_its_body(made):
    _, modules = made
    shapes = {
        array.shape for array in read_arrays(modules["ar"].language / "body.safetensors").values()
    }
    assert (90, 32) not in shapes
    assert (100, 32) not in shapes


def test_a_language_without_a_module(modular, sentences):
    with pytest.raises(BabelscopeError, match="no module for fr; .* en, de, ru, ar"):
        encode(modular, sentences, ["fr"] * len(sentences), aligned=False)
    with pytest.raises(BabelscopeError, match="no module for fr"):
        modular.select("fr", aligned=True)


def test_as_many_languages_as_sentences(modular, sentences):
    with pytest.raises(ValueError, match="2 languages for 8 sentences"):
        encode(modular, sentences, ["en", "de"], aligned=False)


def test_no_sentences(modular):
    with pytest.raises(BabelscopeError, match="no sentences"):
        encode(modular, [], "de", aligned=False)


@pytest.mark.parametrize(
    ("changed", "told"),
    [("source", "language"), ("language", "sentence"), ("sentence", "alignment")],
)
def test_a_module_trained_on_another_base(copied, tmp_path, changed, told):
    """One number of what lies below is another."""
    source, own = copied
    if changed == "source":
        source = shutil.copytree(source, tmp_path / "source")
        path = source / "2_Dense" / "model.safetensors"
    else:
        path = own.present()[changed] / "lora.safetensors"
    arrays = read_arrays(path)
    next(iter(arrays.values())).flat[0] += 1
    write_arrays(path, arrays, {"format": "pt"})
    with pytest.raises(BabelscopeError, match=f"/{told} was trained on other weights"):
        ModularEncoder.assemble(source, {"de": own})
    with pytest.raises(BabelscopeError, match=f"/{told} was trained on other weights"):
        build_encoder(source, own)


def test_a_module_of_another_language(made):
    source, modules = made
    with pytest.raises(BabelscopeError, match="a module of de, not of fr"):
        ModularEncoder.assemble(source, {"fr": modules["de"]})


def test_a_folder_that_is_no_module(copied):
    source, own = copied
    (own.sentence / "module.json").unlink()
    with pytest.raises(BabelscopeError, match=r"sentence has no module\.json"):
        ModularEncoder.assemble(source, {"de": own})


def test_a_folder_that_is_no_modular_encoder(tmp_path):
    with pytest.raises(BabelscopeError, match=r"no modular\.json"):
        ModularEncoder.load(tmp_path)


def rebase(folder, base):
    """Let a module claim another base, as if it had been trained there."""
    write_json(folder / "module.json", read_json(folder / "module.json") | {"base": base})


@pytest.mark.parametrize("shape", [(80, 16), (79, 32)])
def test_embeddings_of_another_size(copied, shape):
    source, own = copied
    path = own.language / "embeddings.safetensors"
    write_arrays(path, {"weight": np.zeros(shape, np.float32)})
    with pytest.raises(BabelscopeError, match=r"32 columns, and the tokenizer 80 rows"):
        build_encoder(source, Modules(own.language))
    with pytest.raises(BabelscopeError, match=r"32 columns, and the tokenizer 80 rows"):
        ModularEncoder.assemble(source, {"de": Modules(own.language)}).select("de", aligned=False)


@pytest.mark.parametrize("language", ["de", "ar"])
def test_modules_of_a_network_of_another_size(made, make_model, tokenizer, tmp_path, language):
    source, modules = made
    config = load_encoder(source).network.config
    for name in ("num_hidden_layers", "encoder_layers"):
        if hasattr(config, name):
            setattr(config, name, 2)
    network = type(load_encoder(source).network)(config)
    other = tmp_path / "source"
    network.save_pretrained(other)
    tokenizer.save_pretrained(other)
    own = shutil.copytree(modules[language].language, tmp_path / "language")
    rebase(own, checksum(other))
    with pytest.raises(BabelscopeError, match="does not fit the network"):
        build_encoder(other, Modules(own))


def test_padding_that_would_shift_positions(copied, tokenizer):
    source, own = copied
    settings = json.loads((own.language / "tokenizer_config.json").read_text())
    settings["pad_token"] = "</s>"
    (own.language / "tokenizer_config.json").write_text(json.dumps(settings))
    assert load_tokenizer(own.language).pad_token_id == 2
    with pytest.raises(BabelscopeError, match="pads with id 2, .* positions from 1"):
        build_encoder(source, Modules(own.language))


def test_embeddings_that_the_tokenizer_exceeds_are_not_written(make_model, tokenizer, tmp_path):
    model = make_model("bert")
    model.get_input_embeddings().weight = torch.nn.Parameter(torch.zeros(99, 32))
    with pytest.raises(ValueError, match="100 tokens with 99 embeddings"):
        save_language_module(tmp_path / "a", model, tokenizer, language="de", base="")
    assert not (tmp_path / "a").exists()


def test_other_loras_are_not_taken_for_weights(make_model, tokenizer, tmp_path):
    model = make_model("bert")
    add_lora(model, "other", rank=2, **SETTINGS)
    with pytest.raises(ValueError, match="no LoRA named language"):
        save_language_module(tmp_path / "a", model, tokenizer, language="de", base="")
    assert not (tmp_path / "a").exists()


def test_a_checksum_is_of_names_and_values_and_not_of_files(tmp_path):
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}

    def write(name, parts):
        (tmp_path / name).mkdir()
        for number, part in enumerate(parts):
            save_file(part, tmp_path / name / f"model-{number}.safetensors")
        return checksum(tmp_path / name)

    one = write("one", [weights])
    assert one == write("two", [{"b": weights["b"]}, {"a": weights["a"]}])
    assert checksum(weights) == checksum(dict(reversed(weights.items())))
    changes = [
        {"a": weights["a"].reshape(3, 2)},
        {"a": weights["a"] + 1e-6},
        {"b": weights["b"].float()},
        {"b": -weights["b"]},
    ]
    others = [write(f"other{n}", [weights | change]) for n, change in enumerate(changes)]
    others += [write("renamed", [{"a": weights["a"], "c": weights["b"]}])]
    assert len({one, *others}) == 6
    with pytest.raises(BabelscopeError, match="no weights"):
        checksum(tmp_path / "nothing")
