"""The parallel adapter, compared with its formula written out layer by layer."""

import copy
import json

import pytest
import torch
from torch import nn
from transformers.models.m2m_100.modeling_m2m_100 import M2M100Encoder

from babelscope.errors import BabelscopeError
from babelscope.models.adapters import SHARPNESS, ParallelAdapter, has_adapter
from babelscope.models.lora import add_lora, merge_lora

FAMILIES = ["bert", "roberta", "xlm-roberta", "m2m_100"]
TOKENS = torch.tensor([[0, 5, 6, 7, 2, 1, 1], [0, 8, 9, 10, 11, 12, 2]])
BATCH = {"input_ids": TOKENS, "attention_mask": (TOKENS != 1).long()}


def body_of(model):
    return model.get_encoder() if model.config.model_type == "m2m_100" else model.base_model


def states(network):
    with torch.no_grad():
        return network(**BATCH).last_hidden_state


@pytest.fixture(params=FAMILIES)
def network(request, make_model):
    return body_of(make_model(request.param))


@pytest.fixture
def trained(disturb):
    """Return a function that puts an adapter on a network, with weights as if it was trained."""

    def attach(network, **options):
        adapter = ParallelAdapter(network, **options)
        disturb(adapter.parameters())
        return adapter

    return attach


def bottleneck(weights, layer, scale, x):
    """Return one layer's contribution, by matrix products."""
    part = {name: weights[f"layers.{layer}.{name}"] for name in ("down.weight", "down.bias")}
    middle = (x @ part["down.weight"].T + part["down.bias"]).clamp(min=0)
    up = weights[f"layers.{layer}.up.weight"], weights[f"layers.{layer}.up.bias"]
    return scale * (middle @ up[0].T + up[1])


def slow_states(network, adapter):
    """Return the states of a network with an adapter that is not on it."""
    weights, scale = dict(adapter.state_dict()), adapter.scale
    attended = torch.zeros(2, 1, 7, 7).masked_fill((TOKENS == 1)[:, None, None], float("-inf"))
    if network.config.model_type == "m2m_100":
        x = network.embed_tokens(TOKENS) + network.embed_positions(TOKENS)
        for number, layer in enumerate(network.layers):
            x = x + layer.self_attn(layer.self_attn_layer_norm(x), attention_mask=attended)[0]
            y = layer.final_layer_norm(x)
            inside = layer.fc2(layer.fc1(y).clamp(min=0))
            x = x + inside + bottleneck(weights, number, scale, y)
        return network.layer_norm(x)
    x = network.embeddings(TOKENS)
    for number, layer in enumerate(network.encoder.layer):
        y = layer.attention(x, attended)[0]
        inside = layer.output.dense(nn.functional.gelu(layer.intermediate.dense(y)))
        x = layer.output.LayerNorm(inside + y + bottleneck(weights, number, scale, y))
    return x


@pytest.mark.parametrize(("reduction", "scale"), [(2, 4.0), (4, 0.5)])
def test_it_computes_the_published_formula(network, trained, reduction, scale):
    adapter = trained(network, reduction=reduction, scale=scale)
    found = states(network)
    adapter.detach()
    with torch.no_grad():
        expected = slow_states(network, adapter)
    kept = BATCH["attention_mask"].bool()
    assert torch.allclose(found[kept], expected[kept], atol=2e-5)
    assert not torch.allclose(found[kept], states(network)[kept], atol=0.01)


def test_it_starts_as_the_identity(network):
    before = states(network)
    ParallelAdapter(network)
    assert torch.equal(states(network), before)


def test_off_it_is_the_base_output_bit_for_bit(network, trained):
    before = states(network)
    adapter = trained(network)
    on = states(network)
    assert not torch.allclose(on, before, atol=0.1)
    with adapter.mode(False):
        assert torch.equal(states(network), before)
        with adapter.mode(True):
            assert torch.equal(states(network), on)
        assert torch.equal(states(network), before)
    assert torch.equal(states(network), on)
    adapter.enabled = False
    assert torch.equal(states(network), before)


def test_an_error_inside_leaves_the_mode_as_it_was(xlmr):
    adapter = ParallelAdapter(xlmr)
    with pytest.raises(KeyError), adapter.mode(False):
        raise KeyError
    assert adapter.enabled


def test_the_weights_of_the_network_keep_their_names(network):
    before = list(network.state_dict())
    adapter = ParallelAdapter(network)
    assert list(network.state_dict()) == before
    parts = ("down.weight", "down.bias", "up.weight", "up.bias")
    assert {name for name, _ in adapter.named_parameters()} == {
        f"layers.{layer}.{part}" for layer in range(3) for part in parts
    }
    assert adapter.layers[0].down.weight.shape == (16, 32)


def test_training_moves_the_adapter_alone(network):
    adapter = ParallelAdapter(network)
    network.requires_grad_(False)
    before = {name: one.clone() for name, one in network.state_dict().items()}
    start = {name: one.clone() for name, one in adapter.state_dict().items()}
    optimizer = torch.optim.SGD(adapter.parameters(), lr=0.1)
    for _ in range(2):
        network(**BATCH).last_hidden_state.pow(3).sum().backward()
        optimizer.step()
    assert all(torch.equal(one, before[name]) for name, one in network.state_dict().items())
    assert not any(torch.equal(one, start[name]) for name, one in adapter.state_dict().items())


def test_detached_the_network_is_as_before(network, trained):
    before = states(network)
    adapter = trained(network)
    with pytest.raises(ValueError, match="already"):
        ParallelAdapter(network)
    assert has_adapter(network)
    adapter.detach()
    assert not has_adapter(network)
    assert torch.equal(states(network), before)
    ParallelAdapter(network)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_makes_no_difference(make_model, trained, family):
    model, body = make_model(family), body_of(make_model(family))
    trained(model)
    trained(body)
    assert torch.equal(states(body_of(model)), states(body))
    assert has_adapter(body_of(model))


def test_the_start_is_a_function_of_the_seed(make_model):
    found = []
    for seed, global_seed in ((1, 1), (1, 2), (2, 1)):
        model = make_model("bert")
        torch.manual_seed(global_seed)
        generator = torch.get_rng_state()
        found.append(ParallelAdapter(model, seed=seed).layers)
        assert torch.equal(torch.get_rng_state(), generator)
    first, same, other = ([layer.down.weight for layer in layers] for layers in found)
    assert all(torch.equal(*pair) for pair in zip(first, same, strict=True))
    assert not any(torch.equal(*pair) for pair in zip(first, other, strict=True))
    assert not torch.equal(first[0], first[1])


def test_saved_and_loaded_it_is_the_same(network, trained, tmp_path):
    adapter = trained(network)
    on = states(network)
    adapter.save(tmp_path)
    adapter.detach()
    ParallelAdapter(network, seed=3).load(tmp_path)
    assert torch.equal(states(network), on)


def test_adapters_of_another_kind_or_size(make_model, tmp_path):
    ParallelAdapter(make_model("bert")).save(tmp_path)
    ParallelAdapter(make_model("m2m_100")).load(
        tmp_path
    )  # the same sizes: the base tells them apart
    with pytest.raises(BabelscopeError, match=r"layers\.0\.down\.bias is \(16,\), not \(8,\)"):
        ParallelAdapter(make_model("bert"), reduction=4).load(tmp_path)
    with pytest.raises(BabelscopeError, match=r"scale is 4\.0, not 1\.0"):
        ParallelAdapter(make_model("bert"), scale=1).load(tmp_path)
    config = copy.deepcopy(make_model("bert").config)
    config.num_hidden_layers = 4
    deeper = type(make_model("bert"))(config)
    with pytest.raises(BabelscopeError, match=r"layers\.3\.down\.bias is missing"):
        ParallelAdapter(deeper).load(tmp_path)


def test_a_damaged_file(make_model, tmp_path):
    ParallelAdapter(make_model("bert")).save(tmp_path)
    path = tmp_path / "alignment.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(BabelscopeError, match="not a readable safetensors"):
        ParallelAdapter(make_model("bert")).load(tmp_path)


def test_feed_forward_parts_with_a_gate(make_model):
    with pytest.raises(BabelscopeError, match="gated"):
        ParallelAdapter(make_model("llama"))


@pytest.mark.parametrize("attached_first", [True, False])
def test_lora_and_adapter_in_either_order(xlmr, make_model, disturb, trained, attached_first):
    network = xlmr.base_model
    adapter = trained(network) if attached_first else None
    add_lora(network, "sentence", rank=2, alpha=4, dropout=0, seed=0)
    disturb([one for one in network.parameters() if one.requires_grad])
    adapter = adapter or trained(network)
    both = states(network)
    with pytest.raises(ValueError, match="merge_lora first"):
        adapter.fold()
    merge_lora(network)
    assert torch.allclose(states(network), both, atol=1e-5)
    with adapter.mode(False):
        assert not torch.allclose(states(network), both, atol=0.1)
    adapter.detach()
    with torch.no_grad():
        expected = slow_states(network, adapter)
    kept = BATCH["attention_mask"].bool()
    assert torch.allclose(both[kept], expected[kept], atol=2e-5)


def relative(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


def test_folded_the_plain_architecture_gives_the_same(network, trained, tmp_path):
    names = list(network.state_dict())
    adapter = trained(network)
    on = states(network)
    adapter.fold()
    assert not has_adapter(network)
    assert relative(states(network), on) < 1e-6
    assert list(network.state_dict()) == names
    network.save_pretrained(tmp_path)
    width = "encoder_ffn_dim" if isinstance(network, M2M100Encoder) else "intermediate_size"
    assert json.loads((tmp_path / "config.json").read_text())[width] == 48 + 16
    again = type(network).from_pretrained(tmp_path).eval()
    assert torch.equal(states(again), states(network))


@pytest.mark.parametrize("activation", SHARPNESS)
def test_folding_for_every_activation(make_model, trained, activation):
    config = copy.deepcopy(make_model("bert").config)
    config.hidden_act = activation
    network = type(make_model("bert"))(config).eval().base_model
    adapter = trained(network)
    on = states(network)
    adapter.fold()
    assert relative(states(network), on) < 1e-6


def test_folding_in_bfloat16(make_model, trained):
    """Its precision is coarse, but c z stays in its range."""
    network = make_model("bert").base_model
    adapter = trained(network)
    on = states(network)
    adapter.fold()
    assert relative(states(network.bfloat16()).float(), on) < 0.05


@pytest.mark.parametrize("activation", SHARPNESS)
def test_the_bound_that_folding_promises(activation):
    from transformers.activations import ACT2FN

    sharpness = SHARPNESS[activation]
    small = torch.linspace(-9, 9, 20_001) / sharpness  # where the two differ
    large = torch.tensor([0.01, 0.3, 7.0, 1e3]).repeat(2) * torch.tensor([1, -1]).repeat(4)
    z = torch.cat([small, large])
    error = (ACT2FN[activation](sharpness * z) / sharpness - z.clamp(min=0)).abs()
    bound = 0.0 if activation == "relu" else 0.171 / sharpness
    assert (error <= bound + 1e-7 * z.abs()).all()
    if activation != "relu":
        assert error.max() > 0.16 / sharpness  # the bound is not larger than it needs to be


def test_an_activation_that_cannot_be_folded(make_model):
    config = copy.deepcopy(make_model("bert").config)
    config.hidden_act = "silu"
    adapter = ParallelAdapter(type(make_model("bert"))(config))
    with pytest.raises(BabelscopeError, match="use silu"):
        adapter.fold()
    assert adapter.enabled
