import numpy as np
import pytest
import torch

from babelscope.errors import BabelscopeError
from babelscope.evaluation.metrics import PERPLEXITY, value_of
from babelscope.tasks.choice import make_task
from babelscope.tasks.span_corruption import hide_spans
from babelscope.tokenization.packing import write_chunks
from babelscope.training.fitting import count_all

SENTINELS = list(range(1000, 900, -1))


@pytest.mark.parametrize("count", [2, 3, 7, 40, 512])
def test_source_and_target_give_the_text_back(count):
    tokens = np.arange(10, 10 + count)
    source, target = hide_spans(tokens, SENTINELS, np.random.default_rng(count))
    spans, text = {}, []
    for token in target:
        if token in SENTINELS:
            spans[token] = []
            last = spans[token]
        else:
            last.append(token)
    assert list(spans) == SENTINELS[: len(spans)]
    assert all(spans.values())
    for token in source:
        text += spans.get(token, [token])
    assert text == tokens.tolist()
    hidden = sum(len(span) for span in spans.values())
    assert hidden == max(1, round(0.15 * count))
    assert len(spans) == min(max(1, round(hidden / 3)), count - hidden + 1)
    neighbours = np.isin(source, SENTINELS)
    assert not (neighbours[1:] & neighbours[:-1]).any()


def test_spans_have_three_tokens_on_average_and_lie_anywhere():
    hidden = np.zeros(100)
    lengths: list[int] = []
    for seed in range(1000):
        _, target = hide_spans(np.arange(100), SENTINELS, np.random.default_rng(seed))
        hidden[target[target < 900]] += 1
        lengths += list(np.diff(np.append(np.flatnonzero(target > 900), len(target))) - 1)
    assert np.mean(lengths) == 3
    assert len(set(lengths)) > 5
    assert hidden.sum() == 1000 * 15
    assert hidden.min() > 30  # at the edges less often than the 150 on average
    assert hidden[10:-10].max() < 220


def test_too_few_sentinels():
    with pytest.raises(BabelscopeError, match="has 5 hidden spans; the tokenizer has 4 sentinels"):
        hide_spans(np.arange(100), SENTINELS[:4], np.random.default_rng(0))


@pytest.fixture
def make(network, tmp_path):
    def build(family="mt5"):
        windows = np.random.default_rng(0).integers(3, 70, (9, 30)).astype(np.uint16)
        windows[:, -1] = 1
        write_chunks(tmp_path / "w.arrow", [windows], 30, 100)
        folder = network(family)
        task = make_task("mlm", {"form": "label", "max_tokens": 30}, folder)
        return task, task.read(tmp_path / "w.arrow", examples=None, seed=1), folder

    return build


@pytest.mark.parametrize("family", ["t5", "mt5"])
def test_the_loss_is_that_of_full_logits_over_target_tokens(make, family):
    task, examples, folder = make(family)
    model = task.load_model(folder, seed=1)
    batch = task.batch(examples, [4, 0, 7], seed=2, epoch=1)
    assert task.tokenizer.convert_ids_to_tokens(batch["labels"][0, 0].item()) == "<extra_id_0>"
    assert (batch["labels"][:, -1] == 1).all()  # the end
    loss, terms = task.losses(model, batch)
    torch.testing.assert_close(loss / terms, model(**batch).loss, rtol=1e-4, atol=1e-5)
    assert terms == 3 * (4 + 1 + 1)  # four hidden tokens of 29, a sentinel, the end
    options = {"seed": 4, "device": "cpu", "precision": "float32"}
    counts = count_all(model, task, examples, batch_size=2, **options)
    whole = model(**task.batch(examples, range(9), seed=4, epoch=0)).loss.exp().item()
    assert value_of(PERPLEXITY, counts) == pytest.approx(whole, rel=1e-4)


def test_what_is_hidden_follows_from_seed_epoch_and_row(make):
    task, examples, _ = make()

    def hidden(rows, seed, epoch):
        return task.batch(examples, rows, seed=seed, epoch=epoch)["input_ids"]

    one = hidden([0, 3, 5], 1, 2)
    assert torch.equal(hidden([5], 1, 2)[0], one[2])
    for seed, epoch in ((1, 3), (2, 2)):
        other = hidden([0, 3, 5], seed, epoch)
        assert other.shape != one.shape or not torch.equal(other, one)


def test_sentinels_of_mt5_are_pieces_with_the_mark_of_a_word(network):
    folder = network("mt5")
    text = (folder / "tokenizer.json").read_text()
    for name in ("<w30>", "<w31>"):
        assert f'"{name}"' in text
    text = text.replace('"<w30>"', '"▁<extra_id_0>"').replace('"<w31>"', '"▁<extra_id_1>"')
    (folder / "tokenizer.json").write_text(text)
    task = make_task("mlm", {"form": "label", "max_tokens": 30}, folder)
    pieces = task.tokenizer.convert_ids_to_tokens(task.sentinels[:3])
    assert pieces == ["▁<extra_id_0>", "▁<extra_id_1>", "<extra_id_2>"]


def test_padding_changes_nothing(make, scramble):
    """Windows with more special tokens than others have shorter sources."""
    task, examples, folder = make()
    model = scramble(task.load_model(folder, seed=1))
    windows = np.array(examples)
    windows[0, 5:12] = windows[2, 20:23] = 1
    together = task.batch(windows, [0, 1, 2], seed=2, epoch=0)
    assert together["attention_mask"].sum(dim=1).unique().numel() == 3
    alone = [task.losses(model, task.batch(windows, [row], seed=2, epoch=0)) for row in range(3)]
    loss, terms = task.losses(model, together)
    torch.testing.assert_close(loss, sum(one for one, _ in alone), rtol=1e-4, atol=1e-4)
    assert terms == sum(count for _, count in alone)
    del together["attention_mask"]
    assert (task.losses(model, together)[0] - loss).abs() > 1e-2
