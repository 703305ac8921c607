from pathlib import Path

import pytest
import yaml
from transformers import XLMRobertaTokenizer

from babelscope.errors import BabelscopeError
from babelscope.models.initialization import build_model
from babelscope.models.sizes import parse_shape, shape_of_config
from babelscope.planning.beliefs import Quantities

CONFIG = Path(__file__).resolve().parents[3] / "config"
FAMILIES = ("bert", "roberta", "xlm-roberta", "gpt2", "bloom", "xglm", "m2m_100", "llama")


def count(model):
    return sum(value.numel() for value in model.parameters())


@pytest.mark.parametrize("family", [*FAMILIES, "t5", "mt5"])
def test_parameters_are_those_of_the_model(make_model, family):
    model = make_model(family)
    shape = shape_of_config(model.config.to_dict())
    assert shape.parameters == count(model)
    inside = sum(
        value.numel()
        for name, value in model.named_parameters()
        if any(part.isdigit() for part in name.split("."))
    )
    buckets = 2 * 32 * 4 if "5" in family else 0  # of T5's positions, kept in the first blocks
    assert shape.blocks == inside - buckets


@pytest.mark.parametrize("model", ["demo-xlmr", "demo-gpt2"])
def test_a_model_that_is_built_is_counted_exactly(model, tmp_path):
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁a", "<mask>"]
    tokenizer = XLMRobertaTokenizer(vocab=[(piece, 0.0) for piece in pieces])
    config = yaml.safe_load((CONFIG / "config.yaml").read_text("utf-8"))
    for section in ("mlm", "alignment"):
        config[section]["tokenizer"]["vocabulary"] = len(pieces)
    found = Quantities(config, CONFIG, tmp_path)
    settings = found.settings.alignment if model == "demo-gpt2" else found.settings.mlm
    built = build_model(
        tokenizer,
        settings.architecture,
        window=settings.window,
        seed=1,
        family=found.models[model].family,
    )
    assert found.shape(model).parameters == count(built)


@pytest.mark.parametrize(
    ("family", "text", "published"),
    [
        ("xlm-roberta", "12x768x3072x250002", 278e6),
        ("bert", "12x768x3072x119547", 178e6),
        ("m2m_100", "24x2048x8192x256206", 3.3e9),
        ("bloom", "24x1024x4096x250880", 559e6),
        ("gpt2", "12x768x3072x50257", 124e6),
        ("llama", "32x4096x11008x32000", 6.74e9),
        ("xglm", "24x1024x4096x256008", 564e6),
    ],
)
def test_published_models_are_as_large_as_they_are_called(family, text, published):
    assert parse_shape(family, text).parameters == pytest.approx(published, rel=0.015)


def test_a_family_that_is_not_known():
    with pytest.raises(BabelscopeError, match="mamba"):
        shape_of_config({"model_type": "mamba", "hidden_size": 4, "num_attention_heads": 2})
