"""Which matrices are pruned follows from a model's modules, and masks fit one architecture."""

import numpy as np
import pytest
import torch
import transformers

from babelscope.errors import BabelscopeError
from babelscope.models.loading import load_with_head
from babelscope.subnetworks.masks import Place, WeightMask
from babelscope.subnetworks.matrices import (
    apply_mask,
    check_fits,
    mask_tensors,
    network_of,
    weight_matrices,
)

SIX = ["q", "k", "v", "o", "ffn-in", "ffn-out"]
CROSS = [f"cross-{component}" for component in SIX[:4]]
BERTS = ["bert", "roberta", "xlm-roberta"]


def mask_of(model, share=0.5, seed=0, pooler=False):
    generator = np.random.default_rng(seed)
    matrices = weight_matrices(model, pooler=pooler)
    return WeightMask(
        {name: generator.random(weight.shape) < share for name, (_, weight) in matrices.items()},
        {name: place for name, (place, _) in matrices.items()},
    )


def classifier(family, model):
    names = {"bert": "Bert", "roberta": "Roberta", "xlm-roberta": "XLMRoberta"}
    return getattr(transformers, f"{names[family]}ForSequenceClassification")(model.config).eval()


@pytest.mark.parametrize("family", BERTS)
def test_six_matrices_of_every_block(make_model, family):
    places = [place for place, _ in weight_matrices(make_model(family)).values()]
    assert places == [Place("encoder", layer, part) for layer in range(3) for part in SIX]


@pytest.mark.parametrize(("family", "inner"), [("t5", SIX[4:5]), ("mt5", ["ffn-in", "ffn-gate"])])
def test_decoders_have_cross_attention_and_mt5_a_gate(make_model, family, inner):
    rest = [*inner, "ffn-out"]
    found = weight_matrices(make_model(family))
    places = [place for place, _ in found.values()]
    encoder = [Place("encoder", layer, part) for layer in range(3) for part in SIX[:4] + rest]
    decoder = [
        Place("decoder", layer, part) for layer in range(2) for part in SIX[:4] + CROSS + rest
    ]
    assert places == encoder + decoder
    weights = {place: name for name, (place, _) in found.items()}
    assert (
        weights[Place("decoder", 1, "cross-v")]
        == "decoder.block.1.layer.1.EncDecAttention.v.weight"
    )
    assert weights[Place("decoder", 1, "v")] == "decoder.block.1.layer.0.SelfAttention.v.weight"


def test_a_fused_projection_is_one_matrix(make_model):
    places = [place for place, _ in weight_matrices(make_model("gpt2")).values()]
    parts = ["qkv", "o", "ffn-in", "ffn-out"]
    assert places == [Place("decoder", layer, part) for layer in range(3) for part in parts]


@pytest.mark.parametrize("family", [*BERTS, "t5", "mt5"])
def test_only_matrices_of_blocks_and_each_once(make_model, family):
    model = make_model(family)
    found = weight_matrices(model, pooler=True)
    assert all(weight.ndim == 2 for _, weight in found.values())
    assert len({id(weight) for _, weight in found.values()}) == len(found)
    vocabulary = {id(weight) for weight in model.parameters() if 100 in weight.shape}
    assert not vocabulary & {id(weight) for _, weight in found.values()}
    blocks = [
        name
        for name, weight in model.base_model.named_parameters()
        if weight.ndim == 2 and (".layer." in name or ".block." in name)
    ]
    assert set(blocks) - set(found) == {name for name in blocks if "relative_attention" in name}


def test_a_parameter_that_blocks_share_is_listed_once(make_model):
    model = make_model("bert")
    layers = model.base_model.encoder.layer
    layers[2].attention.self.key.weight = layers[0].attention.self.key.weight
    found = weight_matrices(model)
    assert len(found) == 17
    assert [p.layer for p, _ in found.values() if p.component == "k"] == [0, 1]


@pytest.mark.parametrize("family", BERTS)
def test_names_do_not_depend_on_the_task(make_model, family):
    model = make_model(family)
    other = classifier(family, model)
    assert list(weight_matrices(model)) == list(weight_matrices(other))
    assert list(weight_matrices(model)) == list(weight_matrices(model.base_model))
    check_fits(mask_of(model), other, "mask")


def test_the_pooler_on_demand_and_where_there_is_one(make_model):
    model = make_model("bert")
    other = classifier("bert", model)
    assert not [name for name in weight_matrices(other) if "pooler" in name]
    found = weight_matrices(other, pooler=True)
    assert list(found)[-1] == "pooler.dense.weight"
    assert found["pooler.dense.weight"][0] == Place("encoder", -1, "pooler")
    assert len(weight_matrices(model, pooler=True)) == 18
    mask = mask_of(other, pooler=True)
    check_fits(mask, model, "mask")
    assert len(mask_tensors(mask, model)) == 18
    check_fits(mask_of(model), other, "mask")


@pytest.mark.parametrize("family", ["bert", "mt5"])
def test_masks_reach_the_parameters_they_name(make_model, family):
    model = make_model(family)
    mask = mask_of(model)
    tensors = mask_tensors(mask, model)
    parameters = dict(model.named_parameters())
    for name, (_, weight) in weight_matrices(model).items():
        whole = next(key for key, parameter in parameters.items() if parameter is weight)
        np.testing.assert_array_equal(tensors[whole].numpy(), mask.bits[name])
    before = {name: weight.detach().clone() for name, weight in parameters.items()}
    apply_mask(mask, model)
    for name, weight in parameters.items():
        expected = before[name].where(tensors[name], 0) if name in tensors else before[name]
        torch.testing.assert_close(weight.detach(), expected, rtol=0, atol=0)


@pytest.mark.parametrize("family", ["t5", "mt5"])
def test_a_tagger_has_no_decoder_and_its_ticket_fits_no_whole_network(make_model, tmp_path, family):
    """A whole network's ticket fits the encoder; the reverse would leave a decoder unpruned."""
    model = make_model(family)
    model.save_pretrained(tmp_path)
    tagger = load_with_head(tmp_path, "token", labels=["O", "B-X"], seed=1)
    encoder = [name for name in weight_matrices(model) if name.startswith("encoder.")]
    assert list(weight_matrices(tagger)) == encoder
    mask = mask_of(model)
    check_fits(mask, tagger, "mask")
    assert len(mask_tensors(mask, tagger)) == len(encoder)
    apply_mask(mask, tagger)
    for name, (_, weight) in weight_matrices(tagger).items():
        np.testing.assert_array_equal(weight.detach().numpy() != 0, mask.bits[name])
    with pytest.raises(BabelscopeError, match=r"decoder.block.0.*q.weight is missing in it"):
        check_fits(mask_of(tagger), model, "mask")
    del mask.bits["encoder.block.2.layer.0.SelfAttention.v.weight"]
    with pytest.raises(BabelscopeError, match=r"encoder.block.2.*v.weight is missing in it"):
        check_fits(mask, tagger, "mask")


def test_a_mask_of_a_model_with_another_tokenizer_is_refused(make_model):
    """BERT and XLM-R have the same matrices, and so have two BERTs of unequal vocabularies."""
    model = make_model("xlm-roberta")
    mask = mask_of(model)
    own = WeightMask(mask.bits, mask.places, network_of(model))
    check_fits(own, model, "mask")
    check_fits(own, classifier("xlm-roberta", model), "mask")
    check_fits(mask, make_model("bert"), "mask")  # nothing is known of it
    model.config.vocab_size = 101
    for other, name in ((model, "xlm-roberta with 101"), (make_model("bert"), "bert with 100")):
        message = f"k50.safetensors was found in a xlm-roberta with 100 tokens, not in a {name}"
        with pytest.raises(BabelscopeError, match=message):
            check_fits(own, other, "k50.safetensors")


@pytest.mark.parametrize("change", ["wider", "deeper", "shallower", "family"])
def test_a_mask_of_another_architecture_is_refused(make_model, change):
    model = make_model("xlm-roberta")
    config = model.config.to_dict()
    config |= {"wider": {"intermediate_size": 40}, "deeper": {"num_hidden_layers": 4}}.get(
        change, {}
    )
    if change == "shallower":
        config["num_hidden_layers"] = 2
    other = transformers.XLMRobertaForMaskedLM(transformers.XLMRobertaConfig(**config))
    if change == "family":
        other = make_model("mt5")
    matrix = {
        "wider": r"layer.0.intermediate.dense.weight is 40 x 32 in it and 48 x 32",
        "deeper": r"layer.3.attention.self.query.weight is 32 x 32 in it and missing",
        "shallower": r"layer.2.attention.self.query.weight is missing in it and 32 x 32",
        "family": r"layer.0.attention.self.query.weight is missing in it",
    }[change]
    with pytest.raises(BabelscopeError, match=rf"k50.safetensors is of another .*{matrix}"):
        check_fits(mask_of(other), model, "k50.safetensors")
