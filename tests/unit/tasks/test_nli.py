import numpy as np
import pytest
import torch
from torch.nn import functional

from babelscope.errors import BabelscopeError
from babelscope.tasks.choice import make_task
from babelscope.tasks.nli import LABELS, Inference
from babelscope.tasks.nli_text import TextInference
from babelscope.training.fitting import count_all

PAIRS = [
    {"premise": "rome is old", "hypothesis": "rome is", "label": "entailment"},
    {"premise": "paris", "hypothesis": "paris is old . is old", "label": "neutral"},
    {"premise": "is is is is is is", "hypothesis": "old", "label": "contradiction"},
    {"premise": "rome", "hypothesis": "paris", "label": "neutral"},
]
SETTINGS = {"form": "label", "max_tokens": 24}
FAMILIES = ["bert", "xlm-roberta", "mt5"]


@pytest.fixture
def make(network, table):
    def build(family="xlm-roberta", pairs=PAIRS, **settings):
        folder = network(family)
        task = make_task("nli", SETTINGS | settings, folder)
        return task, task.read(table("train", pairs), examples=None, seed=1), folder

    return build


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_the_plain_one_and_padding_changes_nothing(make, scramble, family):
    task, examples, folder = make(family)
    model = scramble(task.load_model(folder, seed=1))
    alone, right = [], []
    for pair in PAIRS:
        encoded = task.tokenizer(pair["premise"], pair["hypothesis"], return_tensors="pt")
        logits = model(**encoded).logits
        gold = torch.tensor([LABELS.index(pair["label"])])
        alone.append(functional.cross_entropy(logits, gold))
        right.append(int(logits.argmax() == gold))
    loss, terms = task.losses(model, task.batch(examples, range(4), seed=1, epoch=0))
    torch.testing.assert_close(loss, sum(alone), rtol=1e-4, atol=1e-5)
    assert terms == 4
    options = {"seed": 1, "device": "cpu", "precision": "float32"}
    counts = count_all(model, task, examples, batch_size=3, **options)
    np.testing.assert_array_equal(counts, [[answer, 1] for answer in right])
    assert counts.dtype == np.float64


def test_the_two_sentences_are_told_apart(make):
    task, examples, _ = make("bert")
    batch = task.batch(examples, [0, 1], seed=1, epoch=0)
    assert batch["token_type_ids"].sum(dim=1).tolist() == [3, 7]
    assert batch["attention_mask"].sum(dim=1).tolist() == [8, 10]
    task, examples, _ = make("xlm-roberta")
    text = task.tokenizer.decode(examples[0].inputs["input_ids"])
    assert text.count("</s>") == 3


def test_a_pair_longer_than_the_window_is_cut_and_counted(make, caplog):
    long = {"premise": "rome " * 300, "hypothesis": "paris is old", "label": "neutral"}
    _, examples, _ = make(pairs=[*PAIRS, long])
    assert "1 of 5 examples are longer than 24 tokens and were cut" in caplog.text
    assert len(examples[4]) == 24
    assert examples[4].inputs["input_ids"][-4:-1] == examples[1].inputs["input_ids"][4:7]


def test_an_unknown_label(make):
    bad = PAIRS[0] | {"label": "maybe"}
    with pytest.raises(BabelscopeError, match=r"train.parquet, row 4: the label 'maybe' is not"):
        make(pairs=[*PAIRS, bad])


@pytest.mark.parametrize("form", ["generate", "rank"])
def test_a_form_for_text_to_text_models_leaves_others_as_they_are(network, form):
    """So that mBERT and mT5 can stand in one configuration."""
    assert isinstance(make_task("nli", SETTINGS | {"form": form}, network("bert")), Inference)
    assert isinstance(make_task("nli", SETTINGS | {"form": form}, network("mt5")), TextInference)


def test_a_model_without_a_tokenizer_or_a_family(network):
    """transformers would make up a tokenizer of special tokens, and every text be unknown."""
    folder = network("xlm-roberta")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BabelscopeError, match=r"no usable tokenizer \(no vocabulary but 5 special"):
        make_task("nli", SETTINGS, folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(BabelscopeError, match=r"config.json does not name its model_type"):
        make_task("nli", SETTINGS, folder)
