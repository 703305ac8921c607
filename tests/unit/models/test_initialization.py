import torch
from safetensors.torch import save_file
from transformers import AutoConfig, XLMRobertaTokenizer

from babelscope.config import Architecture
from babelscope.models.initialization import build_model, randomize_body, randomize_model

SHAPE = Architecture(layers=3, heads=2, hidden=16, intermediate=24)


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


def test_the_seed_decides_the_weights():
    one, same, other = (
        weights(build_model(tokenizer(), SHAPE, window=10, seed=seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_random_weights_are_new_ones_of_the_same_shape(tmp_path):
    model = build_model(tokenizer(), SHAPE, window=10, seed=1)
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
