"""Choices, prompts and demonstrations that cannot be scored: one clear error each."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from tokenizers.normalizers import Replace

from babelscope.errors import BabelscopeError
from babelscope.evaluation.generators import (
    InContextSettings,
    evaluate_in_context,
    quick_accuracy,
)
from babelscope.evaluation.in_context import Examples
from babelscope.evaluation.prompts import Filled, read_prompts

FOLDER = Path(__file__).resolve().parents[2] / "config" / "prompts"
TEXT = """\
separator: "{eos}"
languages:
  en: {text: "{premise} {choice} {hypothesis}", choices: ["Yes", "Also", "No"], source: "ours"}
"""


@pytest.fixture
def tokenizer():
    """Return a tokenizer of letters; it knows no others."""
    from transformers import XLMRobertaTokenizer

    tokens = ["<s>", "<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz,?.YAN", "<mask>"]
    return XLMRobertaTokenizer(vocab=[(token, 0.0) for token in tokens])


@pytest.fixture
def table():
    rows = [
        ("en", split, f"{split}{number}", number % 3, "a dog", f"no {'x' * number}.")
        for split in ("demonstrations", "test")
        for number in range(4)
    ]
    columns = ["language", "split", "example", "label", "premise", "hypothesis"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture
def evaluate(make_model, tokenizer, table):
    def run(model=None, languages=("en",), **changes):
        settings = {"shots": [0], "demonstrations": [1], "prompts": ["own"], "max_examples": None}
        settings |= {"normalize": ["none"], "bootstrap": 10, "seed": 1}
        return evaluate_in_context(
            model or make_model("gpt2"),
            tokenizer,
            {"corpus": ("xnli", table)},
            {"xnli": read_prompts(FOLDER / "xnli.yaml")},
            languages=list(languages),
            pivot="en",
            settings=InContextSettings(**(settings | changes)),
            batch_tokens=100,
            device="cpu",
        )

    return run


def test_demonstrations_that_do_not_fit_the_window(evaluate):
    evaluate(shots=[0, 1])
    message = (
        r"corpus, en, prompt in en: 3 shots: 4 of 4 examples need more than the 70 tokens that the"
        r" model reads, up to \d+\..* fewer demonstrations"
    )
    with pytest.raises(BabelscopeError, match=message):
        evaluate(shots=[0, 3])


def test_fewer_demonstrations_than_shots(evaluate, make_model, tokenizer, table):
    with pytest.raises(BabelscopeError, match=r"en: 5 shots: There are only 4 demonstrations"):
        evaluate(shots=[5])
    options = {"languages": ["en"], "seed": 0, "batch_tokens": 100, "device": "cpu"}
    prompts = read_prompts(FOLDER / "xnli.yaml")
    with pytest.raises(BabelscopeError, match=r"en, 4 shots: There are only 4 demonstrations"):
        quick_accuracy(
            make_model("gpt2"), tokenizer, table, prompts, shots=4, examples=9, **options
        )
    with pytest.raises(BabelscopeError, match="no demonstrations in de"):
        options["languages"] = ["de"]
        quick_accuracy(
            make_model("gpt2"), tokenizer, table, prompts, shots=0, examples=9, **options
        )


@pytest.mark.parametrize("split", ["test", "demonstrations"])
def test_a_label_outside_the_choices(evaluate, table, split):
    table.loc[table["example"] == f"{split}2", "label"] = 3
    with pytest.raises(BabelscopeError, match=f"{split}2 has the label 3, but there are 3 choices"):
        evaluate(shots=[0] if split == "test" else [1, 1, 1], demonstrations=[1, 2, 3, 4, 5, 6])


def test_a_language_without_a_prompt(evaluate, table):
    table["language"] = "cs"
    with pytest.raises(BabelscopeError, match="corpus, cs, prompt in cs: .* there are ar, de, en"):
        evaluate(languages=["cs"])


def test_a_corpus_without_the_languages(evaluate, caplog):
    with pytest.raises(BabelscopeError, match="corpus has no test in de, ru: it is in en"):
        evaluate(languages=["de", "ru"])
    evaluate(languages=["de", "en"])
    assert "corpus: not there in de" in caplog.text


def test_likelihoods_that_are_not_finite(evaluate, make_model):
    model = make_model("gpt2")
    with torch.no_grad():
        model.transformer.wpe.weight[5] = torch.nan
    with pytest.raises(BabelscopeError, match="12 of 12 likelihoods are not finite .* float32"):
        evaluate(model)


@pytest.mark.parametrize("choice", ["", " ", "zz"])
def test_a_choice_without_tokens(tokenizer, choice):
    tokenizer.backend_tokenizer.normalizer = Replace("z", "")
    with pytest.raises(BabelscopeError, match="has no tokens"):
        Examples(tokenizer, [Filled("a ", ("b", "c"), ""), Filled("a ", ("b", choice), "")], "")


def test_choices_with_the_same_tokens(tokenizer):
    """All that a tokenizer does not know is the same to it."""
    examples = Examples(tokenizer, [Filled("a ", ("Ж", "Щ"), " b")], "")
    with pytest.raises(BabelscopeError, match=r"the same tokens: Ж \| Щ"):
        examples.items()


def test_a_tokenizer_without_an_end_of_text(tokenizer):
    tokenizer.eos_token = None
    with pytest.raises(BabelscopeError, match="no token for the end of a text"):
        Examples(tokenizer, [Filled("a ", ("b", "c"), "")], "{eos}")


def test_a_question_without_a_connector():
    example = {"premise": "a", "question": "why", "choice1": "b", "choice2": "c"}
    with pytest.raises(BabelscopeError, match="'why' has no connector; cause, effect do"):
        read_prompts(FOLDER / "xcopa.yaml").of("en").fill(example)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("separator", "seperator", "separator: Field required|seperator: Extra inputs"),
        ("source", "sauce", r"languages\.en\.source: Field required"),
        ("{choice} {hyp", "{hyp", r"languages\.en: text must hold \{choice\} once"),
        ("{hypothesis}", "{choice}", r"languages\.en: text must hold \{choice\} once"),
        ("{hypothesis}", "{hypotesis}", r"languages\.en: \{hypotesis\} is no field of xnli; .*hyp"),
        ("{hypothesis}", "{connector}", r"languages\.en: text must hold \{connector\} if"),
        ('"Also", ', "", r"languages\.en\.choices: 2 are listed, of xnli there are 3"),
        ('"Also"', '"No"', r"languages\.en: choices lists something twice"),
        ('"No"', "No", r"languages\.en\.choices\.2: Input should be a valid string"),
        ('"No"', '""', r"languages\.en\.choices\.2: String should have at least 1"),
        ("  en: ", "  EN: ", r"languages\.EN"),
        ("  en: ", "  en: }", "not YAML"),
    ],
)
def test_a_file_of_prompts_that_is_wrong(tmp_path, old, new, message):
    path = tmp_path / "xnli.yaml"
    path.write_text(TEXT)
    assert read_prompts(path).of("en").source == "ours"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(BabelscopeError, match=rf"xnli\.yaml.*({message})"):
        read_prompts(path)


def test_a_file_of_prompts_that_is_not_there_or_of_no_format(tmp_path):
    with pytest.raises(BabelscopeError, match="xnli.yaml does not exist"):
        read_prompts(tmp_path / "xnli.yaml")
    with pytest.raises(BabelscopeError, match="nli.yaml is called after no format"):
        read_prompts(tmp_path / "nli.yaml")
