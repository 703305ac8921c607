import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from babelscope.errors import BabelscopeError
from babelscope.models.vocabulary import replace_vocabulary

SPECIAL = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"}
OLD, WIDTH = 100, 32  # of the tiny models
PAD = 1


def tokenizer(size, order=("<s>", "<pad>", "</s>")):
    words = [*order, *(f"w{i}" for i in range(size - 3))]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **SPECIAL)


def build(make_model, family):
    """Return a model: `name+head`, or `name` for the network alone."""
    name, _, head = family.partition("+")
    model = make_model(name)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.shape == (OLD,):  # the output's bias is zero at first
                parameter.normal_()
    if head:
        return model
    return model.get_encoder() if name == "m2m_100" else model.base_model


FAMILIES = ["bert", "bert+head", "xlm-roberta", "xlm-roberta+head", "m2m_100", "m2m_100+head"]


def states(model, ids):
    inputs = {"input_ids": ids, "attention_mask": (ids != PAD).long()}
    if model.config.is_encoder_decoder and hasattr(model, "lm_head"):
        inputs["decoder_input_ids"] = ids[:, :4]
    with torch.no_grad():
        return model(**inputs)[0]


@pytest.fixture
def shuffle():
    """A new order of the old tokens, the special ones in their places, and 12 new tokens."""
    rng = np.random.default_rng(3)
    matched = np.concatenate([np.arange(3), 3 + rng.permutation(97), np.full(12, -1)])
    ids = torch.from_numpy(rng.integers(3, OLD, (4, 9)))
    ids[1, 5:], ids[3, 2:] = PAD, PAD
    return matched, ids


def numbers(model):
    return model.get_input_embeddings().weight.detach().clone()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_keeps_its_states_and_tokens_their_scores(make_model, shuffle, family):
    """Scores belong to tokens, so the output's matrix and its bias move with them."""
    model = build(make_model, family)
    matched, ids = shuffle
    place = torch.from_numpy(np.argsort(matched[:OLD]))  # old id -> new id
    before = states(model, ids)
    new = torch.cat([numbers(model)[matched[:OLD]], torch.ones(12, WIDTH)])
    replace_vocabulary(model, tokenizer(112), new.numpy(), matched)
    after = states(model, place[ids])
    if "head" in family:
        assert after.shape[-1] == 112
        after = after[..., place]
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["bert+head", "xlm-roberta+head"])
def test_new_tokens_have_the_mean_bias_of_those_that_stay(make_model, shuffle, family):
    model = build(make_model, family)
    matched, _ = shuffle
    with torch.no_grad():
        model.get_output_embeddings().bias.copy_(torch.arange(OLD) - 9.0)
    before = model.get_output_embeddings().bias.detach().clone()
    matched = np.where(matched % 2, matched, -1)  # even ones are new, too
    matched[3] = matched.max()
    replace_vocabulary(model, tokenizer(112), np.zeros((112, WIDTH)), matched)
    bias = model.get_output_embeddings().bias
    assert bias.shape == (112,)
    stay = matched >= 0
    torch.testing.assert_close(bias[~stay], before[matched[stay]].mean().expand((~stay).sum()))
    torch.testing.assert_close(bias[stay], before[matched[stay]])


def test_where_no_token_stays_all_have_the_mean_bias(make_model):
    model = build(make_model, "bert+head")
    with torch.no_grad():
        model.get_output_embeddings().bias.fill_(-7.0)
    replace_vocabulary(model, tokenizer(60), np.ones((60, WIDTH)), np.full(60, -1))
    assert model.get_output_embeddings().bias.eq(-7).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_tied_stays_tied_and_is_trained_as_before(make_model, shuffle, family):
    model = build(make_model, family)
    kind, names = type(model.get_input_embeddings()), sorted(dict(model.named_parameters()))
    holders = {name for name, weight in model.state_dict().items() if weight.shape == (OLD, WIDTH)}
    scale = getattr(model.get_input_embeddings(), "embed_scale", None)
    replace_vocabulary(model, tokenizer(112), np.zeros((112, WIDTH)), shuffle[0])
    words = model.get_input_embeddings()
    assert type(words) is kind
    assert getattr(words, "embed_scale", None) == scale
    assert (words.num_embeddings, words.padding_idx) == (112, PAD)
    assert words.weight.requires_grad
    if "head" in family:
        assert model.get_output_embeddings().out_features == 112
    assert sorted(dict(model.named_parameters())) == names
    found = {name: weight for name, weight in model.state_dict().items() if weight.shape[0] == 112}
    assert {name for name, weight in found.items() if weight.ndim == 2} == holders
    assert len({weight.data_ptr() for weight in found.values() if weight.ndim == 2}) == 1
    assert len({weight.data_ptr() for weight in found.values() if weight.ndim == 1}) <= 1


def test_m2m100_scales_its_embeddings(make_model):
    """Else this family would not test that scaling is kept."""
    assert build(make_model, "m2m_100").get_input_embeddings().embed_scale == WIDTH**0.5


@pytest.mark.parametrize("family", FAMILIES)
def test_the_folder_loads_as_any_other(make_model, shuffle, family, tmp_path):
    model = build(make_model, family)
    rows = np.random.default_rng(1).normal(size=(112, WIDTH))
    replace_vocabulary(model, tokenizer(112), rows, shuffle[0])
    assert (model.config.vocab_size, model.config.pad_token_id) == (112, PAD)
    model.save_pretrained(tmp_path)
    kind = getattr(transformers, type(model).__name__, type(model))
    again, report = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not [name for name in report["missing_keys"] if "pooler" not in name]
    ids = shuffle[1] + 12
    ids[ids == PAD + 12] = PAD
    torch.testing.assert_close(states(again.eval(), ids), states(model, ids))


def test_special_ids_follow_the_tokenizer(make_model):
    model = build(make_model, "bert+head")
    special = tokenizer(60, order=("<pad>", "</s>", "<s>"))
    replace_vocabulary(model, special, np.ones((60, WIDTH)), np.full(60, -1))
    config = model.config
    assert (config.pad_token_id, config.eos_token_id, config.bos_token_id) == (0, 1, 2)
    assert model.get_input_embeddings().padding_idx == 0


@pytest.mark.parametrize("family", ["xlm-roberta", "m2m_100"])
def test_positions_counted_from_the_padding_id_need_it_where_it_was(make_model, family):
    model = build(make_model, family)
    moved = tokenizer(60, order=("<pad>", "</s>", "<s>"))
    with pytest.raises(
        BabelscopeError, match="has the id 0, but the model counts positions from 1"
    ):
        replace_vocabulary(model, moved, np.ones((60, WIDTH)), np.full(60, -1))
    assert len(numbers(model)) == OLD


def test_the_array_is_copied_in_the_model_s_precision(make_model):
    model = build(make_model, "bert+head").half()
    rows = np.ones((60, WIDTH), np.float32)
    rows.flags.writeable = False  # as arrays read from a file are
    replace_vocabulary(model, tokenizer(60), rows, np.full(60, -1))
    model.get_input_embeddings().weight.data.zero_()
    assert {weight.dtype for weight in model.parameters()} == {torch.float16}
    assert rows.all()
    model, tensor = build(make_model, "bert"), torch.ones(60, WIDTH)
    replace_vocabulary(model, tokenizer(60), tensor, np.full(60, -1))
    model.get_input_embeddings().weight.data.zero_()
    assert tensor.all()


def test_frozen_embeddings_stay_frozen(make_model):
    model = build(make_model, "xlm-roberta").requires_grad_(False)
    replace_vocabulary(model, tokenizer(60), torch.ones(60, WIDTH), np.full(60, -1))
    assert not any(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize(
    ("rows", "width", "matches", "what"),
    [
        (61, WIDTH, 61, "have 61 rows, but the tokenizer has 60 tokens"),
        (60, 48, 60, "have 48 dimensions, but the model's have 32"),
        (60, WIDTH, 59, "59 tokens are matched .* there are 60"),
    ],
)
def test_embeddings_of_the_wrong_size(make_model, rows, width, matches, what):
    model = build(make_model, "bert+head")
    with pytest.raises(BabelscopeError, match=what):
        replace_vocabulary(model, tokenizer(60), np.ones((rows, width)), np.full(matches, -1))
    assert len(numbers(model)) == OLD


def test_matches_with_a_larger_vocabulary(make_model):
    with pytest.raises(BabelscopeError, match="number 100 of an old vocabulary of 100"):
        replace_vocabulary(
            build(make_model, "bert"), tokenizer(60), np.ones((60, WIDTH)), np.full(60, 100)
        )


def test_embeddings_that_are_not_finite(make_model):
    rows = np.ones((60, WIDTH))
    rows[7, 7] = np.nan
    with pytest.raises(BabelscopeError, match="not finite"):
        replace_vocabulary(build(make_model, "bert"), tokenizer(60), rows, np.full(60, -1))


def test_an_output_layer_of_its_own_is_refused(make_model):
    model = make_model("llama")
    with pytest.raises(BabelscopeError, match="LlamaForCausalLM is not tied"):
        replace_vocabulary(model, tokenizer(60), np.ones((60, WIDTH)), np.full(60, -1))
