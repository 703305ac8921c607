import copy
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, GPT2Config, GPT2LMHeadModel, XLMRobertaTokenizer

from babelscope.config import Architecture
from babelscope.errors import BabelscopeError
from babelscope.models.initialization import (
    build_model,
    randomize_body,
    randomize_model,
    sinusoids,
)
from babelscope.tokenization.frequencies import log_frequencies

SHAPE = Architecture(layers=3, heads=2, hidden=16, intermediate=24, dropout=0.1, positions=2.0)


def tokenizer():
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁a", "▁b", "c", "<mask>"]
    return XLMRobertaTokenizer(vocab=[(piece, 0.0) for piece in pieces])


def weights(model):
    return torch.cat([parameter.detach().ravel() for parameter in model.parameters()])


def test_a_built_model_has_the_shape_that_was_asked():
    model = build_model(tokenizer(), SHAPE, window=10, seed=1)
    assert model.get_input_embeddings().weight.shape == (8, 16)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert len(model.base_model.encoder.layer) == 3
    assert model.config.num_attention_heads == 2
    assert model(torch.full((1, 10), 4)).logits.shape == (1, 10, 8)  # the whole window fits


def test_a_built_gpt2_has_the_shape_that_was_asked():
    model = build_model(tokenizer(), SHAPE, window=10, seed=1, family="gpt2")
    assert model.get_input_embeddings().weight.shape == (8, 16)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert len(model.base_model.h) == 3
    assert model.base_model.h[0].mlp.c_fc.weight.shape == (16, 24)
    assert model.config.num_attention_heads == 2
    assert model.config._attn_implementation == "sdpa"
    special = model.config.bos_token_id, model.config.pad_token_id, model.config.eos_token_id
    assert special == (0, 1, 2)
    whole = model(torch.full((1, 10), 4)).logits
    assert whole.shape == (1, 10, 8)  # the whole window fits
    assert model.base_model.wpe.weight.shape == (10, 16)


def test_a_built_gpt2_computes_what_the_published_one_does():
    model = build_model(tokenizer(), SHAPE, window=10, seed=1, family="gpt2").eval()
    config = copy.deepcopy(model.config)
    config.activation_function = GPT2Config().activation_function
    published = GPT2LMHeadModel(config).eval()
    published.load_state_dict(model.state_dict())
    ids = torch.arange(10)[None] % 8
    torch.testing.assert_close(model(ids).logits, published(ids).logits, atol=1e-5, rtol=1e-4)


def test_small_models_have_the_scale_of_wide_ones():
    shape = Architecture(
        layers=1, heads=4, hidden=192, intermediate=200, dropout=0.1, positions=None
    )
    for family in ("xlm-roberta", "gpt2"):
        model = build_model(tokenizer(), shape, window=500, seed=1, family=family)
        spread = max(parameter.std().item() for parameter in model.parameters())
        assert spread == pytest.approx(0.04, rel=0.05)


def test_sinusoids_are_those_of_their_definition():
    waves = sinusoids(6, 8, 1.0).double().numpy()
    for position in range(6):
        for pair in range(4):
            angle = position / 6 ** (pair / 4)
            expected = math.sqrt(2) * np.array([math.sin(angle), math.cos(angle)])
            assert waves[position, 2 * pair : 2 * pair + 2] == pytest.approx(expected, abs=1e-6)


def test_the_likeness_of_sinusoids_depends_on_their_distance_alone():
    waves = sinusoids(50, 16, 0.3).double()
    products = waves @ waves.T
    for distance in (0, 1, 7):
        diagonal = products.diagonal(distance)
        assert diagonal.numpy() == pytest.approx(diagonal[0].item(), abs=1e-5)
    assert products[0, 0] == pytest.approx(16 * 0.3**2)
    assert products[0, 1] > products[0, 2] > products[0, 10]


def test_positions_of_a_masked_model_begin_as_sinusoids():
    """From the second after the padding's, where RoBERTa's first token is; they are learned."""
    model = build_model(tokenizer(), SHAPE, window=10, seed=1)
    embeddings = model.base_model.embeddings
    assert embeddings.position_embeddings.weight.shape == (12, 16)
    assert embeddings.position_embeddings.weight.requires_grad
    size = 2 * 0.02 * math.sqrt(768 / 16)
    torch.testing.assert_close(
        embeddings.position_embeddings.weight[2:].detach(), sinusoids(10, 16, size)
    )
    used = embeddings.create_position_ids_from_input_ids(torch.full((1, 10), 4), 1)
    assert used.tolist() == [list(range(2, 12))]


def test_positions_may_begin_at_random():
    shape = SHAPE.model_copy(update={"positions": None, "hidden": 200})
    model = build_model(tokenizer(), shape, window=300, seed=1)
    positions = model.base_model.embeddings.position_embeddings.weight[2:].detach()
    assert positions.std().item() == pytest.approx(0.02 * math.sqrt(768 / 200), rel=0.02)
    neighbours = (positions[1:] * positions[:-1]).sum(1) / positions[0].square().sum()
    assert abs(neighbours.mean().item()) < 0.05


def test_a_masked_model_begins_as_a_unigram_model():
    counts = np.array([0, 0, 0, 2, 500, 300, 190, 0])
    model = build_model(tokenizer(), SHAPE, window=10, seed=1, counts=counts)
    expected = log_frequencies(counts)
    assert model.lm_head.bias.detach().numpy() == pytest.approx(expected, abs=1e-6)
    with torch.no_grad():
        model.base_model.embeddings.word_embeddings.weight.zero_()
    logits = model(torch.full((1, 10), 4)).logits
    np.testing.assert_allclose(logits.log_softmax(-1)[0, 3].detach().numpy(), expected, rtol=1e-5)


def test_an_output_without_a_bias_takes_no_counts():
    arguments = {"window": 10, "seed": 1, "family": "gpt2"}
    without = build_model(tokenizer(), SHAPE, **arguments)
    given = build_model(tokenizer(), SHAPE, **arguments, counts=np.arange(8))
    assert torch.equal(weights(without), weights(given))


@pytest.mark.parametrize("family", ["xlm-roberta", "gpt2"])
@pytest.mark.parametrize("share", [0.0, 0.25])
def test_hidden_states_see_the_dropout_that_was_asked(family, share):
    shape = SHAPE.model_copy(update={"dropout": share})
    model = build_model(tokenizer(), shape, window=10, seed=1, family=family)
    shares = {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}
    assert shares - {0.0} == {share} - {0.0}
    assert 0.0 in shares or family == "xlm-roberta"  # attention weights see none


def test_a_family_that_is_not_built():
    with pytest.raises(BabelscopeError, match="family bloom.*xlm-roberta, gpt2"):
        build_model(tokenizer(), SHAPE, window=10, seed=1, family="bloom")


@pytest.mark.parametrize("family", ["xlm-roberta", "gpt2"])
def test_the_seed_decides_the_weights(family):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, same, other = (
        weights(build_model(tokenizer(), SHAPE, window=10, seed=seed, family=family))
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("family", ["xlm-roberta", "gpt2"])
def test_random_weights_are_new_ones_of_the_same_shape(tmp_path, family):
    model = build_model(tokenizer(), SHAPE, window=10, seed=1, family=family)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    model.save_pretrained(tmp_path)
    random = randomize_model(tmp_path, seed=1)
    assert not random.training
    assert type(random) is type(model)
    assert random.config.num_hidden_layers == AutoConfig.from_pretrained(tmp_path).num_hidden_layers
    embeddings = random.get_input_embeddings().weight.detach()
    assert abs(embeddings.mean().item()) < 0.05
    assert not torch.equal(weights(randomize_model(tmp_path, seed=2)), weights(random))


def test_random_weights_are_not_those_a_built_model_began_with(tmp_path):
    """With one seed for both, training would be compared with its own beginning."""
    model = build_model(tokenizer(), SHAPE, window=10, seed=1)
    model.save_pretrained(tmp_path)
    drawn = randomize_model(tmp_path, seed=1)
    for one, other in zip(model.parameters(), drawn.parameters(), strict=True):
        if one.numel() > 100 and one.std() > 0:  # norms and biases begin alike everywhere
            correlation = torch.corrcoef(torch.stack([one.ravel(), other.ravel()]))[0, 1]
            assert abs(correlation) < 0.3


def test_all_of_a_body_is_drawn_anew_whatever_its_norms_are_called(make_model, tmp_path):
    """Multilingual BERT's file calls them gamma and beta, in its language-model head too."""
    model = make_model("bert")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(3.0)
    names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    tensors = {}
    for name, value in model.named_parameters():
        for today, once in names.items():
            name = name.replace(today, once)
        tensors[name] = value.detach().contiguous()
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    randomize_body(model, tmp_path, seed=1)
    assert not [
        name for name, value in model.named_parameters() if torch.equal(value, before[name])
    ]
