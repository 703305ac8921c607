"""LoRA on every projection, compared with the sum of products written out."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from babelscope.errors import BabelscopeError
from babelscope.io import read_arrays
from babelscope.models.lora import (
    activate_lora,
    add_lora,
    load_lora,
    loras,
    merge_lora,
    projections,
    save_lora,
)

FAMILIES = ["bert", "roberta", "xlm-roberta", "m2m_100"]
SOURCE = Path(__file__).resolve().parents[3] / "workflow" / "src"
SETTINGS = {"rank": 3, "alpha": 6.0, "dropout": 0.1, "seed": 4}
TOKENS = torch.tensor([[0, 5, 6, 7, 2, 1, 1], [0, 8, 9, 10, 11, 12, 2]])


def encoder_of(model):
    return model.get_encoder() if model.config.model_type == "m2m_100" else model.base_model


def states(model):
    return encoder_of(model)(
        input_ids=TOKENS, attention_mask=(TOKENS != 1).long()
    ).last_hidden_state.detach()


def trained(model):
    return {name: one for name, one in model.named_parameters() if one.requires_grad}


@pytest.fixture(params=FAMILIES)
def model(request, make_model):
    return make_model(request.param)


def test_it_lies_on_the_six_matrices_of_every_layer(model):
    plain = {id(one) for one in model.modules() if isinstance(one, nn.Linear)}
    add_lora(model, "language", **SETTINGS)
    layers = [module for module in model.modules() if hasattr(module, "lora_A")]
    assert len(layers) == 6 * 3
    assert {id(layer.base_layer) for layer in layers} < plain
    inside = encoder_of(model).modules()
    assert all(any(layer is one for one in encoder_of(model).modules()) for layer in layers)
    assert sum(hasattr(one, "lora_A") for one in inside) == 6 * 3


def test_it_starts_as_the_identity(model):
    before = states(model)
    add_lora(model, "language", **SETTINGS)
    assert torch.equal(states(model), before)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_stays_as_it_is(xlmr, training):
    xlmr.train(training)
    add_lora(xlmr, "language", **SETTINGS)
    assert all(module.training == training for module in xlmr.modules())


def test_only_the_newest_is_trained(model, disturb):
    add_lora(model, "language", **SETTINGS)
    assert all(".lora_" in name and ".language." in name for name in trained(model))
    assert len(trained(model)) == 2 * 6 * 3
    disturb(trained(model).values())
    with_language = states(model)
    add_lora(model, "sentence", **SETTINGS)
    assert torch.equal(states(model), with_language)
    assert all(".sentence." in name for name in trained(model))
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    optimizer = torch.optim.SGD(trained(model).values(), lr=0.1)
    for _ in range(2):  # at first all gradients of one factor are zero, since the other is
        encoder_of(model)(input_ids=TOKENS).last_hidden_state.pow(3).sum().backward()
        optimizer.step()
    moved = {name for name, one in model.named_parameters() if not torch.equal(one, before[name])}
    assert moved == trained(model).keys()


def test_two_of_them_add_up_as_written_out(model, disturb):
    reference = copy.deepcopy(model)
    add_lora(model, "language", **SETTINGS)
    disturb(trained(model).values(), seed=1)
    add_lora(model, "sentence", rank=2, alpha=5.0, dropout=0.0, seed=4)
    disturb(trained(model).values(), seed=2)
    with torch.no_grad():
        for key, layer in projections(model).items():
            weight = projections(reference)[key].weight
            for name, scale in (("language", 6.0 / 3), ("sentence", 5.0 / 2)):
                weight += scale * layer.lora_B[name].weight @ layer.lora_A[name].weight
    assert torch.allclose(states(model), states(reference), atol=1e-5)


def test_merged_it_is_a_plain_network_again(model, disturb):
    names = [name for name, _ in model.named_parameters()]
    for number, name in enumerate(["language", "sentence"]):
        add_lora(model, name, **SETTINGS)
        disturb(trained(model).values(), seed=number)
    before = states(model)
    merge_lora(model)
    assert torch.allclose(states(model), before, atol=1e-5)
    assert [name for name, _ in model.named_parameters()] == names
    assert loras(model) == []
    assert all(type(one) is nn.Linear for one in projections(model).values())
    assert not hasattr(model, "peft_config")
    add_lora(model, "again", **SETTINGS)


def test_only_active_ones_take_part(xlmr, disturb):
    plain = states(xlmr)
    for number, name in enumerate(["a", "b"]):
        add_lora(xlmr, name, **SETTINGS)
        disturb(trained(xlmr).values(), seed=number)
    both = states(xlmr)
    activate_lora(xlmr, [])
    assert torch.equal(states(xlmr), plain)
    activate_lora(xlmr, ["a"])
    alone = states(xlmr)
    assert not torch.allclose(alone, both)
    activate_lora(xlmr, ["a", "b"])
    assert torch.equal(states(xlmr), both)
    assert not trained(xlmr)
    activate_lora(xlmr, ["a"])
    merge_lora(xlmr)
    assert torch.allclose(states(xlmr), alone, atol=1e-5)


def test_the_start_is_a_function_of_the_seed(make_model):
    found = []
    for seed, global_seed in ((1, 1), (1, 2), (2, 1)):
        model = make_model("bert")
        torch.manual_seed(global_seed)
        generator = torch.get_rng_state()
        add_lora(model, "language", **(SETTINGS | {"seed": seed}))
        assert torch.equal(torch.get_rng_state(), generator)
        found.append({name: one.detach() for name, one in trained(model).items()})
    first, same, other = found
    assert all(torch.equal(first[name], same[name]) for name in first)
    factors = [name for name in first if "lora_A" in name]
    assert not any(torch.equal(first[name], other[name]) for name in factors)
    assert len({tuple(first[name].flatten().tolist()) for name in factors}) == len(factors)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_makes_no_difference_to_the_file(make_model, tmp_path, disturb, family):
    under_head, body = make_model(family), encoder_of(make_model(family))
    add_lora(under_head, "language", **SETTINGS)
    disturb(trained(under_head).values())
    save_lora(under_head, "language", tmp_path / "a")
    load_lora(body, "other", tmp_path / "a")
    assert not trained(body).keys() & {
        name for name in dict(body.named_parameters()) if "lora" in name
    }
    expected = states(under_head)
    found = body(input_ids=TOKENS, attention_mask=(TOKENS != 1).long()).last_hidden_state
    assert torch.equal(found, expected)
    save_lora(body, "other", tmp_path / "b")
    for name in ("lora.safetensors", "lora.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    settings = json.loads((tmp_path / "a" / "lora.json").read_text())
    assert (settings["rank"], settings["alpha"], len(settings["targets"])) == (3, 6.0, 6)
    assert len(read_arrays(tmp_path / "a" / "lora.safetensors")) == 2 * 6 * 3


def test_one_of_several_is_saved(xlmr, tmp_path, make_model, disturb):
    for number, name in enumerate(["language", "sentence"]):
        add_lora(xlmr, name, **SETTINGS)
        disturb(trained(xlmr).values(), seed=number)
        save_lora(xlmr, name, tmp_path / name)
    other = make_model("xlm-roberta")
    for name in ("language", "sentence"):
        load_lora(other, name, tmp_path / name)
    assert torch.equal(states(other), states(xlmr))


@pytest.mark.parametrize("rank", [3, 5])
def test_one_of_the_same_name_is_replaced(xlmr, tmp_path, make_model, disturb, rank):
    add_lora(xlmr, "language", rank=rank, alpha=6.0, dropout=0.0, seed=0)
    disturb(trained(xlmr).values())
    save_lora(xlmr, "language", tmp_path)
    other = make_model("xlm-roberta")
    for name in ("language", "sentence"):
        add_lora(other, name, rank=3, alpha=6.0, dropout=0.5, seed=1)
    load_lora(other, "language", tmp_path)
    assert torch.equal(states(other), states(xlmr))
    assert sorted(loras(other)) == ["language", "sentence"]
    assert not trained(other)
    assert all(
        type(one.lora_dropout["language"]) is nn.Identity for one in projections(other).values()
    )


def test_a_network_of_another_size_or_architecture(make_model, tmp_path):
    model = make_model("bert")
    add_lora(model, "language", **SETTINGS)
    save_lora(model, "language", tmp_path)
    with pytest.raises(BabelscopeError, match="does not fit the network"):
        load_lora(make_model("m2m_100"), "language", tmp_path)
    config = copy.deepcopy(model.config)
    config.intermediate_size = 40
    wider = type(model)(config)
    with pytest.raises(BabelscopeError, match=r"intermediate\.dense.*\(48, 3\).*\(40, 3\)"):
        load_lora(wider, "language", tmp_path)
    assert loras(wider) == []
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = 2
    with pytest.raises(BabelscopeError, match="no such matrix"):
        load_lora(type(model)(config), "language", tmp_path)


def test_a_name_that_is_taken_or_unknown(xlmr, tmp_path):
    add_lora(xlmr, "language", **SETTINGS)
    with pytest.raises(ValueError, match="already"):
        add_lora(xlmr, "language", **SETTINGS)
    with pytest.raises(ValueError, match="no LoRA named other"):
        save_lora(xlmr, "other", tmp_path)


def test_peft_is_imported_only_when_it_is_used():
    code = "import sys, babelscope.models.lora; sys.exit('peft' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCE)}, check=True)
