import pytest
import torch

from babelscope.errors import BabelscopeError
from babelscope.models.anatomy import anatomy
from babelscope.models.poolers import POOLERS, find_pooler, pool_states, sentence_states

FAMILIES = ("gpt2", "xglm", "bloom", "llama")
LAYERS = 3
NUMBERED = [f"{how}-{layer}" for how in ("avg", "last", "max") for layer in range(LAYERS + 1)]
# Which layers the published poolers read, in a model of three.
READ = {
    "avg": [3],
    "last": [3],
    "max": [3],
    "avg_first_last": [1, 3],
    "avg_top2": [2, 3],
    "avg_bottom": [1],
    "avg_bottom2": [1, 2],
    "avg_all": [1, 2, 3],
    "last_top2": [2, 3],
    "last_first_last": [1, 3],
}


def padded(side):
    """Return ids and mask of three sentences of 7, 3 and 5 tokens."""
    generator = torch.Generator().manual_seed(2)
    rows = [torch.randint(4, 99, (length,), generator=generator) for length in (7, 3, 5)]
    ids, mask = torch.ones(3, 7, dtype=torch.long), torch.zeros(3, 7, dtype=torch.long)
    for row, tokens in enumerate(rows):
        place = slice(7 - len(tokens), 7) if side == "left" else slice(len(tokens))
        ids[row, place], mask[row, place] = tokens, 1
    return ids, mask, rows


def alone(model, rows):
    """Return all hidden states of each sentence, alone and unpadded."""
    return [model(input_ids=row[None], output_hidden_states=True).hidden_states for row in rows]


def by_hand(hidden, name):
    """Return the vector of one sentence from all its hidden states."""
    layers = [int(name.split("-")[1])] if "-" in name else READ[name]
    states = sum(hidden[layer][0] for layer in layers) / len(layers)  # (time, d)
    if name.startswith("last"):
        return states[-1]
    return states.mean(dim=0) if name.startswith("avg") else states.max(dim=0).values


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_pooler_is_that_of_the_whole_model_without_padding(make_model, family, side):
    model = make_model(family)
    ids, mask, rows = padded(side)
    assert set(READ) == set(POOLERS)
    with torch.no_grad():
        whole = alone(model, rows)
        for name in (*POOLERS, *NUMBERED):
            found = sentence_states(model, ids, mask, find_pooler(name, LAYERS))
            wanted = torch.stack([by_hand(hidden, name) for hidden in whole])
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5, msg=name)


def test_the_published_last_token_is_wrong_with_left_padding(make_model):
    """The sum of the mask is no position: what the test above would have to find."""
    model = make_model("gpt2")
    ids, mask, rows = padded("left")
    hidden = model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    wrong = hidden[2][torch.arange(3), mask.sum(dim=1) - 1]
    right = torch.stack([by_hand(one, "last-2") for one in alone(model, rows)])
    assert torch.cosine_similarity(wrong, right).min() < 0.9


@pytest.mark.parametrize("family", FAMILIES)
def test_only_what_is_needed_runs(make_model, family):
    model = make_model(family)
    ids, mask, _ = padded("right")
    ran, seen = [], []
    for number, block in enumerate(anatomy(model).stack().blocks, start=1):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    anatomy(model).lm_head.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    names = list(model.state_dict())
    for name, wanted in (("avg-0", [1]), ("avg-1", [1]), ("max-2", [1, 2]), ("last", [1, 2, 3])):
        ran.clear()
        sentence_states(model, ids, mask, find_pooler(name, LAYERS)).sum().backward()
        assert ran == wanted
    assert set(seen) == {0}
    assert list(model.state_dict()) == names
    assert model(input_ids=ids).logits.shape == (3, 7, 100)  # and everything runs again


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["avg-2", "last", "max-0"])
def test_gradients_are_those_of_the_whole_model(make_model, family, name):
    """With and without the activations kept."""
    ids, mask, rows = padded("left")
    grads = []
    for way in ("whole", "lowest", "recomputed"):
        model = make_model(family)
        if way == "recomputed":
            model.activation_checkpointing_enable({"use_reentrant": False})
        for module in model.modules():  # checkpointing needs the mode, and dropout would differ
            module.training = way == "recomputed"
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            for key in ("dropout", "attention_dropout", "activation_dropout"):
                if isinstance(getattr(module, key, None), float):
                    setattr(module, key, 0.0)
        if way == "whole":
            vectors = torch.stack([by_hand(hidden, name) for hidden in alone(model, rows)])
        else:
            vectors = sentence_states(model, ids, mask, find_pooler(name, LAYERS))
        torch.tanh(vectors).sum().backward()
        grads.append({key: value.grad for key, value in model.named_parameters()})
    for other in grads[1:]:
        for key, value in grads[0].items():
            if value is not None and value.any():
                torch.testing.assert_close(other[key], value, rtol=1e-3, atol=1e-4, msg=key)
            else:  # above the layer that is read
                assert other[key] is None or not other[key].any(), key


def test_states_of_layers_are_pooled_without_padding():
    states = torch.arange(24.0).reshape(2, 4, 3)
    hidden = {1: states, 2: -states}
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 1]])
    found = pool_states(hidden, mask, find_pooler("avg-1", 2))
    torch.testing.assert_close(found, torch.stack([states[0, :2].mean(0), states[1, 3]]))
    found = pool_states(hidden, mask, find_pooler("max-2", 2))
    torch.testing.assert_close(found, torch.stack([-states[0, 0], -states[1, 3]]))
    assert not pool_states(hidden, mask, find_pooler("last_top2", 2)).any()


@pytest.mark.parametrize("name", ["cls", "cls_before_pooler", "avg-x", "mean-2", "avg--1", ""])
def test_an_unknown_pooler_is_refused_with_those_that_are_known(name):
    with pytest.raises(BabelscopeError, match=r"avg-k, last-k or max-k .* 0 to 3, or avg, last"):
        find_pooler(name, 3)


@pytest.mark.parametrize(("name", "layers"), [("avg-4", 3), ("last-13", 12), ("avg_bottom2", 1)])
def test_a_layer_that_the_model_does_not_have(name, layers):
    with pytest.raises(BabelscopeError, match=rf"reads layer \d+, .* 0 to {layers}"):
        find_pooler(name, layers)
