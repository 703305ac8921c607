"""What shares its computation has the numbers of what is scored string by string."""

import json

import numpy as np
import pytest
import torch

from babelscope.errors import BabelscopeError
from babelscope.evaluation.in_context import (
    ALIKE,
    WORTH_CACHING,
    Examples,
    Item,
    front_tokens,
    score_choices,
    window_of,
)
from babelscope.evaluation.prompts import Filled

FAMILIES = ("gpt2", "xglm", "bloom", "llama")
LAYOUTS = {"none": "$A", "front": "<s> $A", "both": "<s> $A </s>"}
MERGED = ("ab", "▁no", "es,", "d▁e")  # of letters on both sides of a choice, among others


@pytest.fixture
def make_tokenizer():
    """Return a function that makes a tokenizer of letters and a few merged ones."""
    from tokenizers.processors import TemplateProcessing
    from transformers import XLMRobertaTokenizer

    def make(layout="front"):
        letters = ["▁", *"abcdefghijklmnopqrstuvwxyz0123456789.,?!;"]
        pieces = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
        pieces += [(letter, -3.0) for letter in letters] + [(piece, -1.0) for piece in MERGED]
        tokenizer = XLMRobertaTokenizer(vocab=[*pieces, ("<mask>", 0.0)], model_max_length=1000)
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            LAYOUTS[layout], special_tokens=[("<s>", 0), ("</s>", 2)]
        )
        return tokenizer

    return make


def example(number, choices=("yes", "no", "eh")):
    return Filled(f"it was {number * 37} ", choices, f", so {number}."[: 4 + number % 5])


EXAMPLES = [example(number, ("yes", "no", "eh" * number)) for number in range(1, 8)]
SHOWN = ["we say 1 yes.", "and 22 no!"]


def likelihood(model, ids, start=1):
    """Return the log-likelihood of tokens from `start` on, by a single pass over all."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(float(logits[place - 1, ids[place]]) for place in range(start, len(ids)))


def scored(model, tokenizer, items, **options):
    given = {"batch_tokens": 100, "device": "cpu"} | options
    return score_choices(model, tokenizer, items, **given)


def differences(values):
    return values - values.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("shown", [[], SHOWN], ids=["0 shots", "2 shots"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_choices_differ_as_their_whole_strings_do(
    make_model, make_tokenizer, family, layout, shown
):
    model, tokenizer = make_model(family), make_tokenizer(layout)
    items = Examples(tokenizer, EXAMPLES, "{eos}").items(shown)
    front = [] if layout == "none" else [0]
    before = "".join(f"{one}</s>" for one in shown)
    whole = [
        [
            likelihood(
                model, front + tokenizer(before + string, add_special_tokens=False).input_ids
            )
            for string in one.strings
        ]
        for one in EXAMPLES
    ]
    found = scored(model, tokenizer, items)
    np.testing.assert_allclose(differences(found), differences(np.array(whole)), atol=1e-4)
    after_stem = [
        [likelihood(model, item.stem + choice, len(item.stem)) for choice in item.choices]
        for item in items
    ]
    np.testing.assert_allclose(found, after_stem, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_batches_padding_and_attention_change_nothing(make_model, make_tokenizer, family):
    model, tokenizer = make_model(family), make_tokenizer()
    items = Examples(tokenizer, EXAMPLES, "{eos}").items(SHOWN)
    expected = scored(model, tokenizer, items, batch_tokens=10)  # one row each
    for size in (60, 150, 10_000):
        found = scored(model, tokenizer, items, batch_tokens=size)
        np.testing.assert_allclose(found, expected, atol=1e-4)
    tokenizer.pad_token, tokenizer.padding_side = "<mask>", "left"
    np.testing.assert_allclose(scored(model, tokenizer, items), expected, atol=1e-4)
    np.testing.assert_allclose(scored(model, tokenizer, items[::-1])[::-1], expected, atol=1e-4)
    model.set_attn_implementation("eager")
    np.testing.assert_allclose(scored(model, tokenizer, items), expected, atol=1e-4)
    half = scored(model, tokenizer, items, precision="bf16")
    assert 1e-4 < np.abs(half - expected).max() < 1


def test_a_model_in_training_is_scored_without_dropout_and_left_as_it_was(
    make_model, make_tokenizer
):
    model, tokenizer = make_model("xglm"), make_tokenizer()
    items = Examples(tokenizer, EXAMPLES, "{eos}").items(SHOWN)
    expected = scored(model, tokenizer, items)
    state = torch.get_rng_state()
    np.testing.assert_array_equal(scored(model.train(), tokenizer, items), expected)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_shared_is_computed_once(make_model, make_tokenizer, family):
    model, tokenizer = make_model(family), make_tokenizer()
    items = Examples(tokenizer, EXAMPLES, "{eos}").items(SHOWN)
    shared = next(place for place in range(99) if len({item.stem[place] for item in items}) > 1)
    assert shared > WORTH_CACHING
    read, asked = [], []
    model.get_input_embeddings().register_forward_pre_hook(
        lambda _, inputs: read.append(inputs[0].numel())
    )
    model.lm_head.register_forward_hook(lambda *parts: asked.append(len(parts[-1])))
    scored(model, tokenizer, items, batch_tokens=10)  # without padding
    own = sum(
        (len(item.stem) - shared) * (3 if family == "bloom" else 1)
        + sum(len(choice) - 1 for choice in item.choices)
        for item in items
    )
    assert sum(read) == shared + own
    targets = sum(len(choice) for item in items for choice in item.choices)
    assert sum(asked) == targets
    read.clear()
    scored(model, tokenizer, items, batch_tokens=10_000)  # little padding, whatever fits a batch
    assert sum(read) < shared + own / ALIKE


@pytest.mark.parametrize("family", FAMILIES)
def test_a_single_item_and_long_common_stems(make_model, make_tokenizer, family):
    """Where items share all but nothing of their own, one token of the stem is left to run."""
    model, tokenizer = make_model(family), make_tokenizer()
    items = [Item([0, *range(5, 25)], [[7, end], [end, 9, 4]], [1, 1]) for end in (11, 12, 30)]
    for some in (items, items[:1]):
        expected = [
            [likelihood(model, item.stem + choice, len(item.stem)) for choice in item.choices]
            for item in some
        ]
        np.testing.assert_allclose(scored(model, tokenizer, some), expected, atol=1e-4)


def test_tokens_that_join_text_and_choice_are_scored_whole(make_model, make_tokenizer):
    """Cutting the string's tokens by the number of the text's own would lose some of a choice."""
    model, tokenizer = make_model("gpt2"), make_tokenizer()
    filled = Filled("xa", ("b", "c", "bb"), "d.")
    assert "ab" in tokenizer.tokenize("xabd.")
    (item,) = Examples(tokenizer, [filled], "{eos}").items()
    assert tokenizer.convert_ids_to_tokens(item.stem) == ["<s>", "▁", "x"]
    assert tokenizer.convert_ids_to_tokens(item.choices[0]) == ["ab", "d", "."]
    whole = [likelihood(model, tokenizer(string).input_ids) for string in filled.strings]
    found = scored(model, tokenizer, [item])
    np.testing.assert_allclose(differences(found), differences(np.array([whole])), atol=1e-4)
    text = len(tokenizer("xa").input_ids)
    cut = [likelihood(model, tokenizer(string).input_ids, text) for string in filled.strings]
    assert np.abs(differences(found) - differences(np.array([cut]))).max() > 0.1


def test_a_choice_that_begins_another_is_scored(make_tokenizer, make_model):
    tokenizer = make_tokenizer("both")
    (item,) = Examples(tokenizer, [Filled("we say ", ("f", "fg"), "")], "{eos}").items()
    assert tokenizer.convert_ids_to_tokens(item.choices[0]) == ["f"]
    assert tokenizer.convert_ids_to_tokens(item.choices[1]) == ["f", "g"]
    short, long = scored(make_model("llama"), tokenizer, [item])[0]
    assert long < short < 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_special_tokens_in_front_are_kept_and_those_behind_are_not_scored(make_tokenizer, layout):
    tokenizer = make_tokenizer(layout)
    assert front_tokens(tokenizer) == ([] if layout == "none" else [0])
    for item in Examples(tokenizer, EXAMPLES, "{eos}").items(SHOWN):
        assert all(choice[-1] != 2 for choice in item.choices)
        assert (item.stem[0] == 0) == (layout != "none")
        assert item.stem.count(2) == len(SHOWN)


def test_a_text_that_begins_with_the_choice_has_a_token_before_it(make_tokenizer):
    """As in lm_eval, the beginning of a text, or the end of another."""
    tokenizer = make_tokenizer("none")
    filled = [Filled("", ("fa", "ga"), "x")]
    tokenizer.backend_tokenizer.pre_tokenizer = None  # which would begin both with a space
    assert Examples(tokenizer, filled, "").items()[0].stem == [0]
    tokenizer.bos_token = None
    assert Examples(tokenizer, filled, "").items()[0].stem == [2]
    tokenizer.eos_token = None
    with pytest.raises(BabelscopeError, match="Nothing comes before the choices"):
        Examples(tokenizer, filled, "").items()


@pytest.mark.parametrize("separator", ["{eos}", "; ", "{eos} "])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_items_are_the_tokens_of_demonstrations_and_text_as_one_string(
    make_tokenizer, layout, separator
):
    tokenizer = make_tokenizer(layout)
    examples = Examples(tokenizer, EXAMPLES, separator)
    for shown in ([], SHOWN[:1], SHOWN, SHOWN[::-1]):
        before = "".join(one + separator.replace("{eos}", "</s>") for one in shown)
        for item, one in zip(examples.items(shown), EXAMPLES, strict=True):
            for choice, string in zip(item.choices, one.strings, strict=True):
                ids = tokenizer(before + string).input_ids
                assert item.stem + choice == (ids[:-1] if layout == "both" else ids)
            assert item.characters == [len(choice + one.rest) for choice in one.choices]


def test_the_window_is_the_smaller_of_both(make_model, make_tokenizer):
    tokenizer = make_tokenizer()
    windows = [window_of(make_model(family), tokenizer) for family in FAMILIES]
    assert windows == [70, 70, 1000, 70]  # BLOOM's positions have no end
    tokenizer.model_max_length = 20
    assert window_of(make_model("gpt2"), tokenizer) == 20
    model = make_model("gpt2")
    fits = Item(list(range(4, 64)), [[*range(4, 15)], [*range(5, 9)]], [1, 1])  # reads 70
    tokenizer.model_max_length = 1000
    assert scored(model, tokenizer, [fits]).shape == (1, 2)
    with pytest.raises(BabelscopeError, match="1 of 2 examples need more than the 70 .* up to 71"):
        scored(model, tokenizer, [fits, Item([1, *fits.stem], fits.choices, [1, 1])])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("layout", "family"), [("none", "gpt2"), ("front", "llama")])
def test_lm_eval_finds_the_same(make_model, make_tokenizer, tmp_path, monkeypatch, layout, family):
    """Likelihoods, accuracy, and accuracy by characters, without and with demonstrations."""
    pytest.importorskip("lm_eval", reason="lm_eval is not installed")
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda _: None)  # takes seconds
    model, tokenizer = make_model(family), make_tokenizer(layout)
    rows = [
        {"premise": f"it was {number * 37}", "label": number % 3, "first": f"yes {number}"}
        for number in range(9)
    ]
    for split, some in (("train", rows[:2]), ("test", rows[2:])):
        lines = "".join(json.dumps(row) + "\n" for row in some)
        (tmp_path / f"{split}.jsonl").write_text(lines)
    files = {split: str(tmp_path / f"{split}.jsonl") for split in ("train", "test")}
    task = {
        "task": "ours",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files, "cache_dir": str(tmp_path / "cache")},
        "output_type": "multiple_choice",
        "test_split": "test",
        "fewshot_split": "train",
        "fewshot_config": {"sampler": "first_n"},
        "doc_to_text": "{{premise}}",
        "doc_to_target": "label",
        "doc_to_choice": "{{[first, 'no', 'eh?']}}",
        "target_delimiter": " ",
        "fewshot_delimiter": "; ",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "ours.yaml").write_text(json.dumps(task))
    manager = TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False)
    harness = HFLM(
        pretrained=model,
        tokenizer=tokenizer,
        device="cpu",
        batch_size=4,
        max_length=70,
        add_bos_token=layout == "front",
    )
    filled = [Filled(row["premise"] + " ", (row["first"], "no", "eh?"), "") for row in rows]
    gold = np.array([row["label"] for row in rows])
    examples = Examples(tokenizer, filled[2:], "; ")
    for shots in (0, 2):
        shown = [one.strings[label] for one, label in zip(filled, gold[:shots], strict=False)]
        items = examples.items(shown)
        found = scored(model, tokenizer, items)
        theirs = lm_eval.simple_evaluate(
            model=harness,
            tasks=["ours"],
            task_manager=manager,
            num_fewshot=shots,
            bootstrap_iters=0,
            log_samples=True,
            device="cpu",
        )
        samples = sorted(theirs["samples"]["ours"], key=lambda one: one["doc_id"])
        expected = [[float(answer[0][0]) for answer in one["resps"]] for one in samples]
        np.testing.assert_allclose(found, expected, atol=1e-4)
        by_characters = found / np.array([item.characters for item in items])
        results = theirs["results"]["ours"]
        for name, values in (("acc", found), ("acc_norm", by_characters)):
            right = np.mean(values.argmax(axis=1) == gold[2:])
            assert results[f"{name},none"] == pytest.approx(right)
