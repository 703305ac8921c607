import numpy as np
import pytest
import torch

from babelscope.config import TaskTraining
from babelscope.errors import BabelscopeError
from babelscope.tasks.choice import make_task
from babelscope.tasks.nli import LABELS
from babelscope.training.fitting import count_all, fit

PAIRS = [
    {"premise": "rome is old", "hypothesis": "rome is", "label": "entailment"},
    {"premise": "paris", "hypothesis": "paris is old . is old", "label": "neutral"},
    {"premise": "is is is is is is", "hypothesis": "old", "label": "contradiction"},
    {"premise": "rome", "hypothesis": "paris", "label": "neutral"},
]
SETTINGS = {"form": "generate", "max_tokens": 70}
OPTIONS = {"seed": 1, "device": "cpu", "precision": "float32"}


@pytest.fixture
def make(network, table):
    def build(family="mt5", pairs=PAIRS, **settings):
        folder = network(family)
        task = make_task("nli", SETTINGS | settings, folder)
        return task, task.read(table("train", pairs), examples=None, seed=1), folder

    return build


def test_source_and_target_are_as_published_and_decode_back(make):
    task, examples, _ = make()
    batch = task.batch(examples, range(4), seed=1, epoch=0)
    inputs = batch["input_ids"], batch["attention_mask"]
    texts = task.tokenizer.batch_decode(
        [ids[keep.bool()] for ids, keep in zip(*inputs, strict=True)],
        skip_special_tokens=True,
    )
    assert texts[0] == "xnli: premise: rome is old hypothesis: rome is"
    labels = [ids[ids != -100] for ids in batch["labels"]]
    assert all(ids[-1] == task.tokenizer.eos_token_id for ids in labels)
    decoded = task.tokenizer.batch_decode(labels, skip_special_tokens=True)
    assert decoded == [pair["label"] for pair in PAIRS]
    assert len({len(ids) for ids in labels}) > 1


@pytest.mark.parametrize("family", ["t5", "mt5"])
def test_the_loss_is_that_of_full_logits_and_padding_changes_nothing(make, family):
    task, examples, folder = make(family)
    model = task.load_model(folder, seed=1)
    batch = task.batch(examples, range(4), seed=1, epoch=0)
    loss, terms = task.losses(model, batch)
    plain = model(**{name: batch[name] for name in ("input_ids", "attention_mask", "labels")}).loss
    torch.testing.assert_close(loss / terms, plain, rtol=1e-4, atol=1e-5)
    alone = [task.losses(model, task.batch(examples, [row], seed=1, epoch=0)) for row in range(4)]
    torch.testing.assert_close(sum(one for one, _ in alone), loss, rtol=1e-4, atol=1e-5)
    assert sum(int(count) for _, count in alone) == terms


def test_ranking_compares_the_likelihoods_of_the_texts(make, scramble):
    task, examples, folder = make(form="rank")
    model = scramble(task.load_model(folder, seed=1))
    found = task.log_likelihoods(model, task.batch(examples, range(4), seed=1, epoch=0))
    for row, pair in enumerate(PAIRS):
        text = f"xnli: premise: {pair['premise']} hypothesis: {pair['hypothesis']}"
        inputs = task.tokenizer(text, return_tensors="pt")
        for column, label in enumerate(LABELS):
            target = task.tokenizer(label, return_tensors="pt")["input_ids"]
            sum_ = -model(**inputs, labels=target).loss * target.shape[1]
            torch.testing.assert_close(found[row, column], sum_, rtol=1e-4, atol=1e-4)
    counts = count_all(model, task, examples, batch_size=2, **OPTIONS)
    best = found.argmax(dim=1).tolist()
    right = [LABELS[one] == pair["label"] for one, pair in zip(best, PAIRS, strict=True)]
    np.testing.assert_array_equal(counts, [[answer, 1, 0] for answer in right])


def test_what_is_no_label_is_wrong_and_counted(make):
    task, examples, folder = make()
    model = task.load_model(folder, seed=1)
    counts = count_all(model, task, examples, batch_size=4, **OPTIONS)
    assert counts[:, 1:].tolist() == [[1, 1]] * 4
    assert counts[:, 0].tolist() == [0] * 4


def test_generated_texts_are_compared_with_the_labels(make, monkeypatch):
    task, examples, folder = make()
    model = task.load_model(folder, seed=1)
    start, end = torch.tensor([0]), torch.tensor([1])
    entail, neutral, contra = task.targets
    rows = [entail, contra, contra, torch.cat([neutral[:-1], contra[:1], end])]
    written = torch.nn.utils.rnn.pad_sequence(
        [torch.cat([start, row]) for row in rows], batch_first=True, padding_value=0
    )
    monkeypatch.setattr(model, "generate", lambda **options: written)
    counts = task.count(model, task.batch(examples, range(4), seed=1, epoch=0))
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 1, 0], [0, 1, 1]]


@pytest.mark.parametrize("form", ["generate", "rank"])
def test_a_network_learns_to_answer(make, form):
    task, examples, folder = make(form=form)
    model = task.load_model(folder, seed=1)
    settings = TaskTraining(
        lr={"default": 1.0},
        weight_decay=0.0,
        warmup=0.1,
        schedule="constant",
        epochs=100,
        max_steps=None,
        batch_size=4,
        accumulation=1,
        gradient_checkpointing=False,
        max_grad_norm=1.0,
        logging_steps=100,
        save_steps=100,
    )
    fit(model, task, examples, settings, rate=0.005, **OPTIONS)
    counts = count_all(model, task, examples, batch_size=2, **OPTIONS)
    assert counts.tolist() == [[1, 1, 0]] * 4


def test_a_text_longer_than_the_window_is_cut_and_counted(make, caplog):
    long = {"premise": "rome " * 300, "hypothesis": "paris is old", "label": "neutral"}
    _, examples, _ = make(pairs=[*PAIRS, long])
    assert "1 of 5 examples are longer than 70 tokens and were cut" in caplog.text
    assert len(examples[4]) == 70


def test_a_tokenizer_that_cannot_spell_a_label(network):
    folder = network("mt5")
    text = (folder / "tokenizer.json").read_text().replace('"m"', '"<gone>"')
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(BabelscopeError, match="turns the labels entailment, neutral, contra"):
        make_task("nli", SETTINGS, folder)
