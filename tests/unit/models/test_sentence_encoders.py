"""Sentence encoders, compared with sentence-transformers on tiny random weights."""

import json
import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    Transformer,
)
from torch import nn
from transformers.models.m2m_100.modeling_m2m_100 import M2M100Encoder

from babelscope.errors import BabelscopeError
from babelscope.models.adapters import ParallelAdapter
from babelscope.models.lora import add_lora
from babelscope.models.sentence_encoders import SentenceEncoder, load_encoder, save_encoder

FAMILIES = ["bert", "roberta", "xlm-roberta", "m2m_100"]
POOLINGS = {"mean": "mean", "first": "cls", "last": "lasttoken", "max": "max"}
ACTIVATIONS = [nn.Tanh(), nn.Identity(), nn.GELU()]


def encode(encoder, sentences, batch_tokens=60):
    return encoder.encode(sentences, batch_tokens=batch_tokens)


def rewrite(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture(scope="module")
def theirs(folder_of, tmp_path_factory):
    """Return a folder that sentence-transformers wrote: XLM-R, mean, dense, normalized, prompt."""
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("theirs")
    network = Transformer(str(folder_of("xlm-roberta")), max_seq_length=20)
    steps = [network, Pooling(32, "mean"), Dense(32, 8, activation_function=nn.Tanh()), Normalize()]
    model = SentenceTransformer(
        modules=steps, prompts={"query": "w3 ", "document": "w1 w2 "}, default_prompt_name="query"
    )
    model.save(str(folder))
    return folder


@pytest.fixture
def changed(theirs, tmp_path):
    """Return a copy of that folder, to be damaged."""
    return shutil.copytree(theirs, tmp_path / "changed")


@pytest.fixture
def encoder(folder_of):
    return load_encoder(folder_of("xlm-roberta"))


def test_a_folder_of_sentence_transformers_gives_its_vectors(theirs, sentences):
    expected = SentenceTransformer(str(theirs), device="cpu").encode(sentences)
    encoder = load_encoder(theirs)
    assert encoder.prefix == "w3 "
    assert encoder.max_tokens == 20
    assert np.allclose(encode(encoder, sentences), expected, atol=1e-6)


@pytest.mark.parametrize(("ours", "name"), POOLINGS.items())
def test_pooling_is_that_of_sentence_transformers(folder_of, tmp_path, sentences, ours, name):
    steps = [Transformer(str(folder_of("bert"))), Pooling(32, name)]
    model = SentenceTransformer(modules=steps, device="cpu")
    model.save(str(tmp_path / "model"))
    encoder = load_encoder(tmp_path / "model")
    assert encoder.pooling == ours
    assert np.allclose(encode(encoder, sentences), model.encode(sentences), atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda one: type(one).__name__)
def test_dense_layers_are_those_of_sentence_transformers(
    folder_of, tmp_path, sentences, activation
):
    dense = Dense(32, 48, bias=False, activation_function=activation)
    steps = [Transformer(str(folder_of("bert"))), Pooling(32, "cls"), dense]
    model = SentenceTransformer(modules=steps, device="cpu")
    model.save(str(tmp_path / "model"))
    found = encode(load_encoder(tmp_path / "model"), sentences)
    assert found.shape == (len(sentences), 48)
    assert np.allclose(found, model.encode(sentences), atol=1e-6)


def test_the_steps_of_a_folder_can_be_left_out(theirs, folder_of, sentences):
    options = {"pooling": "first", "prefix": "w4 ", "max_tokens": 12}
    encoder = load_encoder(theirs, own_head=False, **options)
    plain = load_encoder(folder_of("xlm-roberta"), **options)
    assert np.array_equal(encode(encoder, sentences), encode(plain, sentences))


PLAIN = """
import sys
import numpy as np
from sentence_transformers import SentenceTransformer
assert "babelscope" not in sys.modules
*folders, sentences, output = sys.argv[1:]
sentences = open(sentences, encoding="utf-8").read().splitlines()
vectors = [SentenceTransformer(path, device="cpu").encode(sentences) for path in folders]
np.savez(output, *vectors)
"""


def test_plain_sentence_transformers_gives_the_same_vectors(folder_of, tmp_path, sentences):
    """In a process of its own that cannot see this package."""
    (tmp_path / "sentences").write_text("\n".join(sentences))
    torch.manual_seed(1)
    expected, folders = [], []
    for family, (pooling, activation, normalize, prefix) in zip(
        FAMILIES,
        [
            ("mean", None, True, "w1 w2 "),
            ("first", nn.Tanh(), True, ""),
            ("last", nn.GELU(), False, "w5 "),
            ("max", None, False, ""),
        ],
        strict=True,
    ):
        encoder = load_encoder(folder_of(family), pooling=pooling, prefix=prefix, max_tokens=16)
        if activation is not None:
            encoder.dense = nn.Sequential(nn.Linear(32, 24), activation)
        encoder.normalize = normalize
        folders.append(tmp_path / family)
        save_encoder(encoder, folders[-1])
        expected.append(encode(encoder, sentences))
        again = load_encoder(folders[-1])
        assert np.array_equal(encode(again, sentences), expected[-1])
        assert (again.prefix, again.max_tokens, again.normalize) == (prefix, 16, normalize)
    arguments = [*folders, tmp_path / "sentences", tmp_path / "vectors.npz"]
    subprocess.run([sys.executable, "-I", "-c", PLAIN, *arguments], check=True)
    with np.load(tmp_path / "vectors.npz") as found:
        for (name, vectors), wanted in zip(found.items(), expected, strict=True):
            assert np.abs(vectors - wanted).max() < 1e-6 * max(1, np.abs(wanted).max()), name


def test_older_names_of_the_same_things(changed, theirs, sentences):
    """As repositories made before version 5 of sentence-transformers have them."""
    for module in (modules := json.loads((changed / "modules.json").read_text())):
        module["type"] = f"sentence_transformers.models.{module['type'].rsplit('.', 1)[-1]}"
    (changed / "modules.json").write_text(json.dumps(modules))
    flags = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    pooling = {"word_embedding_dimension": 32} | flags
    (changed / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    old = {"max_seq_length": 20, "do_lower_case": False}
    (changed / "sentence_bert_config.json").write_text(json.dumps(old))
    shutil.rmtree(changed / "3_Normalize")  # the hub does not keep empty folders
    expected = encode(load_encoder(theirs), sentences)
    assert np.array_equal(encode(load_encoder(changed), sentences), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_is_left_out_and_no_pooler_made_up(folder_of, make_model, sentences, family):
    encoder = load_encoder(folder_of(family))
    model = make_model(family)
    body = model.get_encoder() if family == "m2m_100" else model.base_model
    assert encoder.network.state_dict().keys() == body.state_dict().keys()
    batch = encoder.batch(sentences)
    states = body(**batch).last_hidden_state
    row = encode(encoder, sentences)[2]
    tokens = int(batch["attention_mask"][2].sum())
    assert np.allclose(row, states[2, :tokens].mean(0).detach(), atol=1e-6)


def test_a_lone_encoder_of_m2m_100(folder_of, tmp_path, tokenizer, sentences):
    """As SONAR's, which comes without a decoder."""
    whole = load_encoder(folder_of("m2m_100"))
    whole.network.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["M2M100Encoder"]
    encoder = load_encoder(tmp_path)
    assert isinstance(encoder.network, M2M100Encoder)
    assert np.array_equal(encode(encoder, sentences), encode(whole, sentences))


@pytest.mark.parametrize("family", FAMILIES)
def test_sentences_are_cut_to_what_the_network_reads(folder_of, sentences, family, caplog):
    encoder = load_encoder(folder_of(family), max_tokens=1000)
    assert encoder.max_tokens == (68 if "roberta" in family else 70)
    with caplog.at_level(logging.WARNING):
        found = encode(encoder, sentences)
    assert "1 of 8 sentences cut" in caplog.text
    cut = " ".join(sentences[5].split()[: encoder.max_tokens - 2])
    assert np.allclose(found[5], encode(encoder, [cut])[0], atol=5e-6)


def test_a_batch_is_padded_on_the_right(encoder, tokenizer):
    encoder.prefix, encoder.max_tokens = "w1 ", 6
    batch = encoder.batch(["w5", "w6 w7 w8 w9"])
    assert {name: value.dtype for name, value in batch.items()} == {
        "input_ids": torch.int64,
        "attention_mask": torch.int64,
    }
    words = [tokenizer.convert_ids_to_tokens(row) for row in batch["input_ids"].tolist()]
    assert words == [
        ["<s>", "w1", "w5", "</s>", "<pad>", "<pad>"],
        ["<s>", "w1", "w6", "w7", "w8", "</s>"],  # cut, and its end is kept
    ]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0], [1] * 6]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_vector_depends_on_its_sentence_alone(folder_of, sentences, family):
    encoder = load_encoder(folder_of(family))
    together = encode(encoder, sentences, batch_tokens=10_000)
    alone = np.concatenate([encode(encoder, [sentence]) for sentence in sentences])
    assert np.allclose(together, alone, atol=5e-6)
    backwards = encode(encoder, sentences[::-1])[::-1]
    assert np.allclose(backwards, alone, atol=5e-6)
    assert len(np.unique(alone.round(3), axis=0)) == len(sentences)


def test_encoding_is_without_dropout_and_leaves_the_mode_alone(encoder, sentences):
    encoder.train()
    batch = encoder.batch(sentences)
    assert not torch.equal(encoder(**batch), encoder(**batch))
    assert np.array_equal(encode(encoder, sentences), encode(encoder, sentences))
    assert all(module.training for module in encoder.modules())


def test_normalized_vectors_have_length_one(folder_of, sentences):
    encoder = load_encoder(folder_of("bert"))
    encoder.normalize = True
    assert np.allclose(np.linalg.norm(encode(encoder, sentences), axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("prefix", ["", "w1 "])
@pytest.mark.parametrize("empty", ["", "  \t", "\n"])
def test_an_empty_sentence(encoder, prefix, empty):
    encoder.prefix = prefix
    for use in (encoder.batch, lambda given: encode(encoder, given)):
        with pytest.raises(BabelscopeError, match="Sentence 1 .* has no tokens"):
            use(["w5", empty, "w6"])


def test_unknown_words_are_words(encoder):
    assert np.isfinite(encode(encoder, ["never seen"])).all()


def test_no_sentences(encoder):
    with pytest.raises(BabelscopeError, match="no sentences"):
        encode(encoder, [])


def test_one_string_is_not_a_list_of_sentences(encoder):
    with pytest.raises(ValueError, match="one string"):
        encode(encoder, "w5")


def test_vectors_that_are_not_finite(encoder):
    nn.init.constant_(encoder.network.embeddings.word_embeddings.weight, float("nan"))
    with pytest.raises(BabelscopeError, match="not finite"):
        encode(encoder, ["w5"])


def test_an_unknown_pooling(encoder):
    with pytest.raises(ValueError, match="unknown pooling middle"):
        SentenceEncoder(encoder.network, encoder.tokenizer, pooling="middle", max_tokens=9)


def modules_of(*kinds):
    return json.dumps(
        [{"path": f"{n}_{kind}" if n else "", "type": f"x.{kind}"} for n, kind in enumerate(kinds)]
    )


@pytest.mark.parametrize(
    "text",
    [
        modules_of("Transformer", "Pooling", "Normalize", "Dense"),
        modules_of("Transformer", "Pooling", "Dense", "Dense"),
        modules_of("Transformer", "LSTM", "Pooling"),
        modules_of("Transformer"),
        "[]",
    ],
)
def test_steps_that_are_not_known(changed, text):
    (changed / "modules.json").write_text(text)
    with pytest.raises(BabelscopeError, match=r"modules\.json lists .* at most one Dense"):
        load_encoder(changed)


@pytest.mark.parametrize("text", ['{"a": 1}', "[1]", '[{"path": ""}]'])
def test_a_list_of_steps_that_is_none(changed, text):
    (changed / "modules.json").write_text(text)
    with pytest.raises(BabelscopeError, match="no list of modules"):
        load_encoder(changed)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pooling_mode": "weightedmean"}, "pools by weightedmean"),
        ({"pooling_mode": ["mean", "max"]}, "pools by mean, max"),
        ({"pooling_mode": "mean", "include_prompt": False}, "without the prompt"),
    ],
)
def test_poolings_that_are_not_known(changed, settings, message):
    rewrite(changed / "1_Pooling" / "config.json", **settings)
    with pytest.raises(BabelscopeError, match=message):
        load_encoder(changed)


@pytest.mark.parametrize(
    "settings",
    [
        {"activation_function": "torch.nn.modules.activation.SiLU"},
        {"activation_function": "os.system"},
        {"use_residual": True},
        {"module_input_name": "token_embeddings"},
    ],
)
def test_dense_layers_that_are_not_known(changed, settings):
    rewrite(changed / "2_Dense" / "config.json", **settings)
    with pytest.raises(BabelscopeError, match="a layer that is not known"):
        load_encoder(changed)


def test_a_dense_layer_that_is_not_the_described_one(changed):
    rewrite(changed / "2_Dense" / "config.json", out_features=9)
    with pytest.raises(BabelscopeError, match="does not hold the layer"):
        load_encoder(changed)


def test_a_dense_layer_that_is_a_pickle(changed):
    (changed / "2_Dense" / "model.safetensors").rename(changed / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(BabelscopeError, match="never read from pickle"):
        load_encoder(changed)


@pytest.mark.parametrize("settings", [{"do_lower_case": True}, {"transformer_task": "fill-mask"}])
def test_a_network_that_is_used_otherwise(changed, settings):
    rewrite(changed / "sentence_bert_config.json", **settings)
    with pytest.raises(BabelscopeError, match="asks for (lower case|fill-mask)"):
        load_encoder(changed)


def test_a_default_prompt_that_is_not_there(changed):
    rewrite(changed / "config_sentence_transformers.json", default_prompt_name="other")
    with pytest.raises(BabelscopeError, match="default prompt other"):
        load_encoder(changed)


def test_a_family_that_is_no_encoder_here(folder_of):
    with pytest.raises(BabelscopeError, match="is a t5 model"):
        load_encoder(folder_of("t5"))


def test_weights_that_are_missing(changed):
    path = changed / "model.safetensors"
    weights = load_file(path)
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(BabelscopeError, match=r"lacks 1 weights .*layer\.1\.output\.dense"):
        load_encoder(changed)


def test_weights_in_a_pickle(changed):
    (changed / "model.safetensors").rename(changed / "pytorch_model.bin")
    with pytest.raises(BabelscopeError, match="never read from pickle"):
        load_encoder(changed)


def test_a_tokenizer_larger_than_the_embeddings(changed, tokenizer):
    tokens = json.loads((changed / "tokenizer.json").read_text())
    tokens["model"]["vocab"]["more"] = 100
    (changed / "tokenizer.json").write_text(json.dumps(tokens))
    with pytest.raises(BabelscopeError, match="101 tokens, but only 100 embeddings"):
        load_encoder(changed)


def test_only_plain_networks_are_saved(encoder, tmp_path):
    adapter = ParallelAdapter(encoder.network)
    with pytest.raises(ValueError, match="fold it in or detach it"):
        save_encoder(encoder, tmp_path / "encoder")
    adapter.detach()
    add_lora(encoder.network, "language", rank=2, alpha=2, dropout=0, seed=0)
    with pytest.raises(ValueError, match="merge_lora first"):
        save_encoder(encoder, tmp_path / "encoder")
    assert not (tmp_path / "encoder").exists()
