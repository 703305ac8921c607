import numpy as np
import pytest
import torch

from babelscope.evaluation.metrics import PERPLEXITY, value_of
from babelscope.tasks.choice import make_task
from babelscope.tokenization.packing import write_chunks
from babelscope.training.fitting import count_all


@pytest.fixture
def make(network, tmp_path):
    def build(family="xlm-roberta"):
        windows = np.random.default_rng(0).integers(4, 99, (9, 20)).astype(np.uint16)
        windows[:, 0], windows[:, -1] = 0, 2
        write_chunks(tmp_path / "w.arrow", [windows], 20, 100)
        folder = network(family)
        task = make_task("mlm", {"form": "label", "max_tokens": 20}, folder)
        return task, task.read(tmp_path / "w.arrow", examples=None, seed=1), folder

    return build


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
def test_the_loss_is_that_of_full_logits(make, family):
    task, examples, folder = make(family)
    model = task.load_model(folder, seed=1)
    batch = task.batch(examples, [4, 0, 7], seed=2, epoch=1)
    loss, terms = task.losses(model, batch)
    plain = model(**batch).loss
    torch.testing.assert_close(loss / terms, plain)
    assert terms == (batch["labels"] != -100).sum() == 3 * 3  # 15 % of 18


def test_counts_give_the_perplexity_over_tokens(make):
    task, examples, folder = make()
    model = task.load_model(folder, seed=1)
    options = {"seed": 4, "device": "cpu", "precision": "float32"}
    counts = count_all(model, task, examples, batch_size=2, **options)
    batch = task.batch(examples, range(9), seed=4, epoch=0)
    assert value_of(PERPLEXITY, counts) == pytest.approx(model(**batch).loss.exp().item(), rel=1e-5)


def test_what_is_hidden_follows_from_seed_epoch_and_row(make):
    task, examples, _ = make()

    def hidden(rows, seed, epoch):
        return task.batch(examples, rows, seed=seed, epoch=epoch)["input_ids"]

    one = hidden([0, 3, 5], 1, 2)
    assert torch.equal(hidden([5], 1, 2)[0], one[2])
    assert not torch.equal(hidden([0, 3, 5], 1, 3), one)
    assert not torch.equal(hidden([0, 3, 5], 2, 2), one)
    assert torch.equal(hidden([0, 3, 5], 1, 2), one)


def test_windows_are_chosen_by_seed(make, tmp_path):
    task, examples, _ = make()
    some = task.read(tmp_path / "w.arrow", examples=4, seed=1)
    assert some.shape == (4, 20)
    assert all((examples == window).all(axis=1).any() for window in some)
    again, other = (task.read(tmp_path / "w.arrow", examples=4, seed=seed) for seed in (1, 2))
    assert (again == some).all()
    assert (other != some).any()
