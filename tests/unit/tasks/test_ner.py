import json

import numpy as np
import pytest
import torch
from torch.nn import functional

from babelscope.errors import BabelscopeError
from babelscope.evaluation.metrics import F1, value_of
from babelscope.tasks.choice import make_task
from babelscope.tasks.examples import mask_pairs
from babelscope.training.fitting import count_all

SENTENCES = [
    {"tokens": ["rome", "is", "old"], "tags": ["B-LOC", "O", "O"]},
    {"tokens": ["zabc", "paris", "x", "is"], "tags": ["B-PER", "I-PER", "I-PER", "O"]},
    {"tokens": ["is", "is"], "tags": ["O", "O"]},
    {"tokens": ["paris", "rome", "old", "xy", "is", "."], "tags": ["B-LOC", "B-LOC"] + ["O"] * 4},
]
SETTINGS = {"form": "label", "max_tokens": 16}
FAMILIES = ["bert", "xlm-roberta", "mt5"]


@pytest.fixture
def make(network, table):
    def build(family="xlm-roberta", sentences=SENTENCES, **settings):
        folder = network(family)
        path = table("train", sentences)
        task = make_task("ner", SETTINGS | settings, folder, train=[path])
        return task, task.read(path, examples=None, seed=1), folder

    return build


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_stand_at_first_tokens_only(make, family):
    task, examples, _ = make(family)
    assert task.scheme == ("B-LOC", "B-PER", "I-PER", "O")
    batch = task.batch(examples, [1], seed=1, epoch=0)
    tokens = task.tokenizer.convert_ids_to_tokens(batch["input_ids"][0].tolist())
    labels = batch["labels"][0].tolist()
    read = [(token, task.scheme[n]) for token, n in zip(tokens, labels, strict=True) if n >= 0]
    assert [tag for _, tag in read] == SENTENCES[1]["tags"]
    assert [token.strip("▁")[:1] for token, _ in read][1:2] == ["p"]
    assert len(tokens) > 4 + 2  # zabc is several tokens, of which the first has the label
    assert labels[0] == -100 or family == "mt5"
    assert labels[-1] == -100


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_the_plain_one_and_padding_changes_nothing(make, scramble, family):
    task, examples, folder = make(family)
    model = scramble(task.load_model(folder, seed=1))
    alone = []
    for row, sentence in enumerate(SENTENCES):
        loss, terms = task.losses(model, task.batch(examples, [row], seed=1, epoch=0))
        assert terms == len(sentence["tags"])
        encoded = task.tokenizer([sentence["tokens"]], is_split_into_words=True)
        logits = model(torch.tensor(encoded["input_ids"])).logits[0]
        ids = encoded.word_ids(0)
        firsts = [ids.index(word) for word in range(len(sentence["tokens"]))]
        gold = torch.tensor([task.scheme.index(tag) for tag in sentence["tags"]])
        plain = functional.cross_entropy(logits[firsts], gold, reduction="sum")
        torch.testing.assert_close(loss, plain, rtol=1e-4, atol=1e-5)
        alone.append(loss)
    together, terms = task.losses(model, task.batch(examples, [3, 1, 2, 0], seed=1, epoch=0))
    torch.testing.assert_close(together, sum(alone), rtol=1e-4, atol=1e-5)
    assert terms == 15
    options = {"seed": 1, "device": "cpu", "precision": "float32"}
    one = count_all(model, task, examples, batch_size=1, **options)
    np.testing.assert_array_equal(one, count_all(model, task, examples, batch_size=4, **options))


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
def test_a_mask_of_pairs_is_the_mask_of_padding(make, scramble, family):
    task, examples, folder = make(family)
    model = scramble(task.load_model(folder, seed=1))
    batch = task.batch(examples, range(4), seed=1, epoch=0)
    padded, pairs = batch["attention_mask"], mask_pairs(batch["attention_mask"])
    assert padded.sum() < padded.numel()
    seen = padded.bool()
    one, two = (model(batch["input_ids"], attention_mask=mask).logits for mask in (padded, pairs))
    torch.testing.assert_close(one[seen], two[seen])
    assert (model(batch["input_ids"]).logits[seen] - one[seen]).abs().max() > 1e-3


class Oracle(torch.nn.Module):
    """A network that knows the tags of the words it sees."""

    def __init__(self, task, sentence):
        super().__init__()
        self.anything = torch.nn.Parameter(torch.zeros(1))
        self.task, self.sentence = task, sentence

    def forward(self, input_ids):
        logits = torch.zeros(*input_ids.shape, len(self.task.scheme))
        for place, tag in zip(self.sentence.words, self.sentence.tags, strict=True):
            if place >= 0:
                logits[0, place, tag] = 1
        return type("Output", (), {"logits": logits})


def test_a_sentence_of_300_words_is_cut_and_what_is_cut_off_is_missed(make, caplog):
    words = ["paris", "is", "old"] * 100
    long = {"tokens": words, "tags": ["B-LOC", "O", "O"] * 100}
    task, examples, _ = make(sentences=[*SENTENCES, long], max_tokens=32)
    assert "1 of 5 examples are longer than 32 tokens and were cut" in caplog.text
    assert len(examples[4]) == 32
    assert (examples[4].words >= 0).sum() == 30
    counts = task.count(Oracle(task, examples[4]), task.batch(examples, [4], seed=1, epoch=0))
    assert counts.tolist() == [[10, 10, 100]]  # ninety are missed, and not left out
    assert value_of(F1, counts.numpy()) == pytest.approx(20 / 110)
    _, terms = task.losses(Oracle(task, examples[4]), task.batch(examples, [4], seed=1, epoch=0))
    assert terms == 30


def test_a_word_without_a_token_is_missed_and_shifts_nothing(make):
    hidden = {"tokens": ["rome", "\u200b", "paris"], "tags": ["B-LOC", "B-PER", "B-LOC"]}
    task, examples, _ = make("bert", sentences=[*SENTENCES, hidden])
    assert examples[4].words.tolist() == [1, -1, 2]
    batch = task.batch(examples, [4], seed=1, epoch=0)
    assert task.count(Oracle(task, examples[4]), batch).tolist() == [[2, 2, 3]]
    assert (batch["labels"] >= 0).sum() == 2


def test_a_tag_that_training_data_lack(make, table):
    task, _, _ = make()
    bad = [*SENTENCES, {"tokens": ["rome"], "tags": ["B-ORG"]}]
    with pytest.raises(BabelscopeError, match=r"test.parquet, row 4: the tag 'B-ORG' is not in"):
        task.read(table("test", bad), examples=None, seed=1)


def test_a_split_without_an_entity_stops_before_training(make, table):
    """Its F1 would be undefined, or 0 whatever the network does."""
    task, _, _ = make()
    with pytest.raises(BabelscopeError, match=r"test.parquet: none of the 3 sentences has an ent"):
        task.read(table("test", [SENTENCES[2]] * 3), examples=None, seed=1)


def test_unequal_tokens_and_tags(make, table):
    task, _, _ = make()
    bad = [*SENTENCES, {"tokens": ["rome", "is"], "tags": ["B-LOC"]}]
    with pytest.raises(BabelscopeError, match=r"test.parquet, row 4: .*differ in number"):
        task.read(table("test", bad), examples=None, seed=1)


def test_the_scheme_is_that_of_all_languages(network, table):
    paths = [table("one", SENTENCES[:1]), table("two", SENTENCES[1:2])]
    task = make_task("ner", SETTINGS, network("bert"), train=paths)
    assert task.scheme == ("B-LOC", "B-PER", "I-PER", "O")
    assert task.load_model(network("bert"), seed=1).config.num_labels == 4
    with pytest.raises(BabelscopeError, match=r"no tags but O"):
        make_task("ner", SETTINGS, network("bert"), train=[table("three", SENTENCES[2:3])])


def test_examples_are_chosen_by_seed(make, table, caplog):
    task, _, _ = make()
    path = table("many", SENTENCES * 10)
    lengths = [len(task.read(path, examples=n, seed=1)) for n in (None, 7, 40, 50)]
    assert lengths == [40, 7, 40, 40]
    assert "40 examples of the 50 asked for" in caplog.text
    picks = [
        [sentence.tokens for sentence in task.read(path, examples=9, seed=seed)]
        for seed in (1, 1, 2)
    ]
    assert picks[0] == picks[1] != picks[2]
    with pytest.raises(BabelscopeError, match="none.parquet has no examples"):
        empty = table("none", [{"tokens": [], "tags": []}])
        import pandas as pd

        pd.read_parquet(empty).iloc[:0].to_parquet(empty)
        task.read(empty, examples=None, seed=1)


def test_a_tokenizer_that_cannot_pad(network, table):
    folder = network("xlm-roberta")
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text()) | {"pad_token": None}
    path.write_text(json.dumps(config | {"tokenizer_class": "PreTrainedTokenizerFast"}))
    with pytest.raises(BabelscopeError, match=r"xlm-roberta has no token for padding\. Name it"):
        make_task("ner", SETTINGS, folder, train=[table("train", SENTENCES)])


@pytest.mark.parametrize("name", ["mlm", "ner", "nli"])
def test_the_tokenizer_of_a_larger_model(network, make_model, table, name):
    folder = network("bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 9}))
    with pytest.raises(BabelscopeError, match=r"bert has \d+ tokens, the model 9\. Put"):
        make_task(name, SETTINGS, folder, train=[table("train", SENTENCES)])
