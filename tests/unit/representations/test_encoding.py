"""Pooling on either padding side; encoding that depends on nothing but the sentence."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from babelscope.errors import BabelscopeError
from babelscope.models import sentences as batching
from babelscope.models.gates import head_gates
from babelscope.models.sentences import tokenize
from babelscope.representations.encoding import encode_corpus, pool
from babelscope.subnetworks.masks import WeightMask
from babelscope.subnetworks.matrices import apply_mask, weight_matrices

SETTINGS = {"poolings": ["mean"], "batch_tokens": 64, "max_tokens": 20, "device": "cpu"}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Words w4..w98 to their numbers, with the tiny models' special tokens."""
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3} | {f"w{i}": i for i in range(4, 99)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
    )


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 15, 30)
    return [" ".join(f"w{i}" for i in generator.integers(4, 99, length)) for length in lengths]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("how", ["mean", "first", "last", "max"])
def test_pooling_ignores_padding_on_either_side(side, how):
    generator = torch.Generator().manual_seed(0)
    lengths = [5, 1, 3]
    whole = [torch.randn(length, 4, generator=generator) for length in lengths]
    states = torch.full((3, 5, 4), float("nan") if how != "max" else 1e9)
    mask = torch.zeros(3, 5, dtype=torch.long)
    for row, tokens in enumerate(whole):
        place = slice(0, len(tokens)) if side == "right" else slice(5 - len(tokens), 5)
        states[row, place] = tokens
        mask[row, place] = 1
    expected = {
        "mean": lambda tokens: tokens.mean(dim=0),
        "first": lambda tokens: tokens[0],
        "last": lambda tokens: tokens[-1],
        "max": lambda tokens: tokens.amax(dim=0),
    }[how]
    torch.testing.assert_close(
        pool(states, mask, how), torch.stack([expected(tokens) for tokens in whole])
    )


def test_unknown_pooling_and_sentences_without_tokens_are_errors():
    states, mask = torch.ones(2, 3, 4), torch.ones(2, 3)
    with pytest.raises(ValueError, match="unknown pooling cls"):
        pool(states, mask, "cls")
    with pytest.raises(ValueError, match="without a token"):
        pool(states, torch.tensor([[1, 1, 0], [0, 0, 0]]), "mean")
    with pytest.raises(ValueError, match="do not fit"):
        pool(states, torch.ones(2, 4), "mean")


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_rows_are_in_order_and_equal_one_sentence_at_a_time(xlmr, tokenizer, sentences, pooling):
    found = encode_corpus(xlmr, tokenizer, sentences, **SETTINGS | {"poolings": [pooling]})
    states = found.states[pooling]
    assert states.shape == (4, 30, 32)
    assert states.dtype == np.float32
    assert found.truncated == 0
    for row in (0, 13, 29):
        with torch.inference_mode():
            batch = tokenizer(sentences[row], return_tensors="pt", return_token_type_ids=False)
            hidden = xlmr(**batch, output_hidden_states=True).hidden_states
        expected = [pool(layer, batch["attention_mask"], pooling)[0] for layer in hidden]
        np.testing.assert_allclose(states[:, row], torch.stack(expected), atol=2e-5)


def test_two_poolings_equal_two_runs_and_take_one_pass(xlmr, tokenizer, sentences):
    passes = []
    hook = xlmr.base_model.register_forward_hook(lambda *_: passes.append(1))
    both = encode_corpus(xlmr, tokenizer, sentences, **SETTINGS | {"poolings": ["mean", "first"]})
    together = len(passes)
    for pooling in ("mean", "first"):
        single = encode_corpus(xlmr, tokenizer, sentences, **SETTINGS | {"poolings": [pooling]})
        assert list(single.states) == [pooling]
        np.testing.assert_array_equal(both.states[pooling], single.states[pooling])
    hook.remove()
    assert len(passes) == 3 * together
    assert np.abs(both.states["mean"] - both.states["first"]).max() > 0.1


DECODERS = ["gpt2", "xglm", "bloom", "llama"]


@pytest.mark.parametrize("family", ["xlm-roberta", "t5", "mt5", "m2m_100", *DECODERS])
def test_does_not_depend_on_the_batch(make_model, tokenizer, sentences, family):
    model = make_model(family)
    settings = SETTINGS | {"poolings": ["mean", "last"]}
    together, alone = (
        encode_corpus(model, tokenizer, given, **settings | {"batch_tokens": size}).states
        for given, size in ((sentences, 10_000), (sentences[::-1], 1))
    )
    for how in ("mean", "last"):
        np.testing.assert_allclose(together[how], alone[how][:, ::-1], atol=2e-4, rtol=1e-4)
        assert together[how].shape[0] == 4


@pytest.mark.parametrize("family", DECODERS)
def test_the_last_state_of_a_decoder_is_what_predicts_the_next_token(
    make_model, tokenizer, sentences, family
):
    """After the last layer's final normalization, from the last token of a sentence."""
    model = make_model(family)
    settings = SETTINGS | {"poolings": ["last", "first"]}
    states = encode_corpus(model, tokenizer, sentences, **settings).states
    for row in (0, 13, 29):
        ids = tokenizer(sentences[row], return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            expected = model(input_ids=ids).logits[0, -1]
            found = model.get_output_embeddings()(torch.tensor(states["last"][-1, row]))
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)
    assert np.ptp(states["first"], axis=1).max() < 1e-4  # the token that begins all sentences
    assert np.ptp(states["last"][1:], axis=1).max(axis=1).min() > 0.1


@pytest.mark.parametrize("family", ["t5", "mt5"])
def test_only_the_encoder_of_two_stacks_is_run(make_model, tokenizer, sentences, family):
    model = make_model(family)
    before = encode_corpus(model, tokenizer, sentences, **SETTINGS).states["mean"]
    for part in (model.decoder, model.lm_head):
        part.register_forward_hook(lambda *_: pytest.fail("more than the encoder was run"))
    np.testing.assert_array_equal(
        encode_corpus(model, tokenizer, sentences, **SETTINGS).states["mean"], before
    )


def test_encodes_in_evaluation_mode_and_restores_the_mode(xlmr, tokenizer, sentences):
    xlmr.train()
    twice = [encode_corpus(xlmr, tokenizer, sentences, **SETTINGS).states["mean"] for _ in range(2)]
    np.testing.assert_array_equal(*twice)
    assert xlmr.roberta.training
    np.testing.assert_array_equal(
        twice[0], encode_corpus(xlmr.eval(), tokenizer, sentences, **SETTINGS).states["mean"]
    )


def test_gates_reach_the_states(xlmr, tokenizer, sentences):
    full = encode_corpus(xlmr, tokenizer, sentences, **SETTINGS).states["mean"]
    gates = torch.ones(3, 4)
    gates[1, 2] = 0
    with head_gates(xlmr, gates):
        gated = encode_corpus(xlmr, tokenizer, sentences, **SETTINGS).states["mean"]
    np.testing.assert_array_equal(gated[:2], full[:2])  # embeddings and the first block
    assert np.abs(gated[2] - full[2]).max() > 1e-3


@pytest.mark.parametrize("family", ["xlm-roberta", "mt5"])
def test_states_of_a_ticket_are_those_of_weights_multiplied_by_its_mask(
    make_model, tokenizer, sentences, family
):
    generator = np.random.default_rng(0)
    model, by_hand = make_model(family), make_model(family)
    full = encode_corpus(model, tokenizer, sentences, **SETTINGS).states["mean"]
    places = {name: place for name, (place, _) in weight_matrices(model).items()}
    weights = dict(by_hand.base_model.named_parameters())
    bits = {name: generator.random(weights[name].shape) < 0.5 for name in places}
    for name, kept in bits.items():
        weights[name].data *= torch.from_numpy(kept)
    apply_mask(WeightMask(bits, places), model)
    found, expected = (
        encode_corpus(one, tokenizer, sentences, **SETTINGS).states["mean"]
        for one in (model, by_hand)
    )
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found[0], full[0])  # embeddings are never pruned
    assert np.abs(found[1:] - full[1:]).max(axis=(1, 2)).min() > 0.01


def test_long_sentences_are_cut_and_counted(xlmr, tokenizer):
    long = " ".join(f"w{i}" for i in range(4, 60))
    cut = " ".join(f"w{i}" for i in range(4, 22))
    found = encode_corpus(xlmr, tokenizer, ["w4", long, long + " w5", cut], **SETTINGS)
    assert found.truncated == 2
    states = found.states["mean"]
    np.testing.assert_allclose(states[:, 1], states[:, 3], atol=1e-6)


def test_sentences_are_cut_to_what_a_model_reads(make_model, tokenizer):
    """Of a tokenizer whose folder does not say it, the positions do."""
    model = make_model("xlm-roberta")
    positions = model.config.max_position_embeddings - model.config.pad_token_id - 1
    long = " ".join(["w4"] * 200)
    settings = SETTINGS | {"max_tokens": 500, "batch_tokens": 500}
    found = encode_corpus(model, tokenizer, [long, "w4"], **settings)
    assert found.truncated == 1
    cut = encode_corpus(model, tokenizer, [long], **settings | {"max_tokens": positions})
    np.testing.assert_allclose(found.states["mean"][:, 0], cut.states["mean"][:, 0], atol=1e-6)


def test_unusable_input_is_an_error(xlmr, tokenizer, sentences):
    with pytest.raises(BabelscopeError, match="no sentences"):
        encode_corpus(xlmr, tokenizer, [], **SETTINGS)
    for poolings in (["mean", "cls"], [], "mean"):
        with pytest.raises(ValueError, match="unknown pooling"):
            encode_corpus(xlmr, tokenizer, sentences, **SETTINGS | {"poolings": poolings})
    with torch.no_grad():
        xlmr.roberta.encoder.layer[1].output.dense.bias.fill_(float("nan"))
    with pytest.raises(BabelscopeError, match="not finite"):
        encode_corpus(xlmr, tokenizer, sentences, **SETTINGS)


@pytest.mark.gpu
def test_gpu_equals_cpu(xlmr, tokenizer, sentences):
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    cpu = encode_corpus(xlmr, tokenizer, sentences, **SETTINGS).states["mean"]
    settings = SETTINGS | {"device": "cuda"}
    gpu = encode_corpus(xlmr, tokenizer, sentences, **settings).states["mean"]
    np.testing.assert_allclose(gpu, cpu, atol=1e-2)
    half = encode_corpus(xlmr, tokenizer, sentences, **settings, precision="bf16").states["mean"]
    assert np.corrcoef(half.ravel(), cpu.ravel())[0, 1] > 0.99


def test_few_sentences_are_tokenized_at_once(tokenizer, sentences, monkeypatch):
    """A tokenizer says far more of a sentence than its ids, too much to hold for a million."""
    expected, cut = tokenize(tokenizer, sentences, 8)
    calls = []

    class Listening:
        def __call__(self, some, **options):
            calls.append(len(some))
            return tokenizer(some, **options)

    monkeypatch.setattr(batching, "BLOCK", 7)
    found, also_cut = tokenize(Listening(), sentences, 8)
    assert calls == [7, 7, 7, 7, 2]
    assert also_cut == cut > 0
    assert [ids.tolist() for ids in found] == [ids.tolist() for ids in expected]
    tokenizer_of_words = tokenizer.backend_tokenizer.post_processor
    tokenizer.backend_tokenizer.post_processor = processors.Sequence([])
    try:
        with pytest.raises(BabelscopeError, match="Sentence 30 "):
            tokenize(tokenizer, [*sentences, ""], 8)
    finally:
        tokenizer.backend_tokenizer.post_processor = tokenizer_of_words
