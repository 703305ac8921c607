import os
import signal

import numpy as np
import pytest
import torch

from babelscope.config import TaskTraining
from babelscope.errors import BabelscopeError
from babelscope.progress import latest
from babelscope.tasks.choice import make_task
from babelscope.tokenization.packing import write_chunks
from babelscope.training.fitting import Evaluation, count_all, fit, forget

SETTINGS = {
    "lr": {"default": 1.0},
    "weight_decay": 0.1,
    "warmup": 0.2,
    "schedule": "linear",
    "epochs": 100,
    "max_steps": 7,
    "batch_size": 8,
    "accumulation": 1,
    "gradient_checkpointing": False,
    "max_grad_norm": 0.5,
    "logging_steps": 1,
    "save_steps": 2,
}


@pytest.fixture
def study(tmp_path, make_model, tokenizer, windows):
    """Return a task, its training examples, and a function that loads its network."""

    folder = tmp_path / "model"
    model = make_model("xlm-roberta")
    model.config.hidden_dropout_prob = 0.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_chunks(tmp_path / "train.arrow", [windows(21, 0)], 12, 100)
    task = make_task("mlm", {"form": "label", "max_tokens": 12}, folder)
    examples = task.read(tmp_path / "train.arrow", examples=None, seed=1)

    def load(dropout=0.0):
        model = task.load_model(folder, seed=1)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = dropout
        return model

    return task, examples, load


def train(model, task, examples, *, masks=None, folder=None, on_step=None, **changes):
    settings = TaskTraining.model_validate(SETTINGS | changes)
    options = {"rate": 0.01, "seed": 5, "device": "cpu", "precision": "float32"}
    return fit(
        model, task, examples, settings, masks=masks, folder=folder, on_step=on_step, **options
    )


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def half(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(value.shape, generator=generator) < 0.5
        for name, value in model.named_parameters()
        if ".layer." in name and value.ndim == 2
    }


def test_a_step_is_that_of_the_plain_loss(study):
    task, examples, load = study
    model, plain = load(), load().train()
    seen = []
    batch = task.batch

    def spy(*arguments, **options):
        seen.append(batch(*arguments, **options))
        return seen[-1]

    task.batch = spy
    rows = train(model, task, examples, max_steps=1, warmup=0.0, weight_decay=0.0)
    inputs = {name: value.clone() for name, value in seen[0].items()}
    optimizer = torch.optim.AdamW(plain.parameters(), lr=0.01, weight_decay=0.0)
    loss = plain(**inputs).loss
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
    optimizer.step()
    assert rows[0]["loss"] == pytest.approx(loss.item(), rel=1e-6)
    assert rows[0]["gradient_norm"] == pytest.approx(norm.item(), rel=1e-5)
    for name, value in plain.named_parameters():
        moved = dict(model.named_parameters())[name]
        # Adam's first step is the sign of the gradient, so tiny gradients may differ
        assert (moved - value).abs().median() < 1e-6, name


def test_accumulation_is_one_big_batch(study):
    task, examples, load = study
    big, small, apart = load(), load(), load()
    options = {"max_steps": 6, "logging_steps": 1}
    one = train(big, task, examples, **options)
    two = train(small, task, examples, batch_size=2, accumulation=4, **options)
    three = train(apart, task, examples, batch_size=3, accumulation=3, **options)
    for column in ("loss", "gradient_norm"):
        np.testing.assert_allclose(
            [row[column] for row in one], [row[column] for row in two], rtol=1e-4
        )
    assert one[0]["loss"] != pytest.approx(three[0]["loss"], rel=1e-4)  # nine examples, not eight


def test_a_step_divides_by_its_terms_and_not_by_its_parts(study):
    """Parts with unequal numbers of terms: a mean of means would differ."""
    _, _, load = study

    class Lopsided:
        name = "lopsided"

        def batch(self, examples, rows, *, seed, epoch):
            return {"rows": torch.tensor(rows)}

        def losses(self, model, batch):
            terms = batch["rows"] + 1
            return (terms * model.lm_head.dense.bias[0] * batch["rows"]).sum(), terms.sum()

    model = load()
    start = model.lm_head.dense.bias[0].item()
    options = {"max_steps": 1, "batch_size": 2, "accumulation": 2, "warmup": 0.0}
    rows = train(model, Lopsided(), list(range(4)), **options)
    wanted = sum((row + 1) * row for row in range(4)) / 10
    assert rows[0]["gradient_norm"] == pytest.approx(wanted)
    assert rows[0]["loss"] == pytest.approx(wanted * start)


def test_pruned_weights_stay_exactly_zero_and_the_others_move(study):
    task, examples, load = study
    model = load(0.1)
    masks, before = half(model), state(model)
    zeros = []

    def look(step):
        parameters = dict(model.named_parameters())
        zeros.append(all((parameters[name][~mask] == 0).all() for name, mask in masks.items()))

    train(model, task, examples, masks=masks, on_step=look)
    after = dict(model.named_parameters())
    assert zeros == [True] * 7
    for name, mask in masks.items():
        assert (before[name][~mask] != 0).any()
        assert (after[name].detach()[mask] != before[name][mask]).float().mean() > 0.9


def test_pruned_weights_do_not_count_in_the_clipped_norm(study):
    task, examples, load = study
    model, plain = load(), load().train()
    masks = half(model)
    with torch.no_grad():
        for name, mask in masks.items():
            dict(plain.named_parameters())[name].mul_(mask)
    rows = train(model, task, examples, masks=masks, max_steps=1)
    order = []
    task_batch = task.batch

    def spy(examples, rows, **options):
        order.append(rows)
        return task_batch(examples, rows, **options)

    task.batch = spy
    train(load(), task, examples, max_steps=1)
    plain(**task_batch(examples, order[0], seed=5, epoch=0)).loss.backward()
    whole = torch.nn.utils.get_total_norm([p.grad for p in plain.parameters()])
    for name, mask in masks.items():
        dict(plain.named_parameters())[name].grad.mul_(mask)
    kept = torch.nn.utils.get_total_norm([p.grad for p in plain.parameters()])
    assert rows[0]["gradient_norm"] == pytest.approx(kept.item(), rel=1e-5)
    assert whole > 1.01 * kept


def test_a_mask_that_keeps_all_changes_nothing(study):
    task, examples, load = study
    one, two = load(0.1), load(0.1)
    train(one, task, examples)
    masks = {name: torch.ones_like(mask) for name, mask in half(two).items()}
    train(two, task, examples, masks=masks)
    assert equal(state(one), state(two))


def test_an_unknown_parameter_in_a_mask(study):
    task, examples, load = study
    with pytest.raises(ValueError, match="nothing.weight"):
        train(load(), task, examples, masks={"nothing.weight": torch.ones(2, dtype=torch.bool)})


class Killed(Exception):
    pass


@pytest.mark.parametrize("step", [1, 3, 4, 6])
def test_a_killed_training_ends_with_the_same_weights(study, tmp_path, step):
    task, examples, load = study
    options = {"batch_size": 4, "accumulation": 2}
    whole, cut, again = load(0.1), load(0.1), load(0.1)
    masks = half(whole)
    history = train(whole, task, examples, masks=masks, **options)

    def kill(done):
        if done == step:
            raise Killed

    steps = []
    with pytest.raises(Killed):
        train(cut, task, examples, masks=masks, folder=tmp_path / "c", on_step=kill, **options)
    resumed = train(
        again, task, examples, masks=masks, folder=tmp_path / "c", on_step=steps.append, **options
    )
    assert equal(state(whole), state(again))
    assert steps[0] == (step - 1) // 2 * 2 + 1
    for one, two in zip(history, resumed, strict=True):
        assert one | {"seconds": 0} == two | {"seconds": 0}
    forget(tmp_path / "c")
    assert list((tmp_path / "c").iterdir()) == []


@pytest.mark.parametrize("best", [None, 3, 6, 7])
def test_what_is_lost_after_the_last_step_is_not_trained_again(study, tmp_path, best):
    task, examples, load = study
    first, again = load(0.1), load(0.1)
    measured = []

    def measure(model):
        step = len(measured) % 4 * 3  # before the first step, after 3, 6 and the last
        measured.append(step)
        return {"score": 1.0 if min(step, 7) == best else 0.0}

    def run(model, **options):
        settings = TaskTraining.model_validate(SETTINGS)
        options |= {"rate": 0.01, "seed": 5, "device": "cpu", "precision": "float32"}
        select = None if best is None else "score"
        evaluation = Evaluation(3, lambda: measure(model), select)
        options |= {"evaluation": evaluation, "folder": tmp_path / "c"}
        return fit(model, task, examples, settings, **options)

    history = run(first)
    last = tmp_path / "c" / "training" / "checkpoint-000000007"
    assert not (last / "optimizer.safetensors").exists()
    steps = []
    assert run(again, on_step=steps.append) == history
    assert not steps
    assert len(measured) == 4
    assert equal(state(first), state(again))
    assert not again.training


@pytest.mark.parametrize("change", [{"max_grad_norm": 0.4}, {"masks": None}, {"weights": True}])
def test_a_checkpoint_of_another_training_is_not_used(study, tmp_path, change):
    task, examples, load = study
    cut, again = load(), load()

    def kill(done):
        if done == 5:
            raise Killed

    masks = half(cut)
    with pytest.raises(Killed):
        train(cut, task, examples, masks=masks, folder=tmp_path / "c", on_step=kill)
    if change.pop("weights", False):
        with torch.no_grad():
            again.lm_head.bias += 1
    steps = []
    options = {"masks": masks} | change
    train(again, task, examples, folder=tmp_path / "c", on_step=steps.append, **options)
    assert steps == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_a_rerun_goes_on(study, tmp_path, number):
    task, examples, load = study
    whole, cut, again = load(0.1), load(0.1), load(0.1)
    train(whole, task, examples)

    def interrupt(done):
        if done == 3:
            os.kill(os.getpid(), number)

    with pytest.raises(BabelscopeError, match=f"stopped by {number.name} after step 3"):
        train(cut, task, examples, folder=tmp_path / "c", on_step=interrupt)
    steps = []
    train(again, task, examples, folder=tmp_path / "c", on_step=steps.append)
    assert steps == [4, 5, 6, 7]
    assert equal(state(whole), state(again))


def test_a_signal_in_the_last_step_is_heeded_and_loses_nothing(study, tmp_path):
    """Else a process that was told to stop would begin the next of many trainings."""
    task, examples, load = study
    whole, cut, again = load(0.1), load(0.1), load(0.1)
    history = train(whole, task, examples)

    def interrupt(done):
        if done == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(BabelscopeError, match="stopped by SIGTERM after step 7; its state"):
        train(cut, task, examples, folder=tmp_path / "c", on_step=interrupt)
    steps = []
    rows = train(again, task, examples, folder=tmp_path / "c", on_step=steps.append)
    assert not steps
    assert equal(state(whole), state(again))
    assert [(row["step"], row["loss"]) for row in rows] == [
        (row["step"], row["loss"]) for row in history
    ]


def test_a_loss_that_is_not_finite_names_the_step_and_saves_nothing(study, tmp_path):
    task, examples, load = study
    model = load()
    losses = task.losses
    done = [0]

    def broken(model, batch):
        value, count = losses(model, batch)
        return (value * float("nan") if done[-1] == 3 else value), count

    task.losses = broken
    options = {"logging_steps": 100, "save_steps": 1, "on_step": done.append}
    with pytest.raises(BabelscopeError, match=r"loss for mlm is not finite at step 4.*Lower the"):
        train(model, task, examples, folder=tmp_path / "c", **options)
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert not list((tmp_path / "c").rglob("checkpoint-000000004"))


def test_every_example_is_used_equally_often_in_full_batches(study):
    task, examples, load = study
    used = []
    batch = task.batch

    def spy(examples, rows, *, seed, epoch):
        used.append((epoch, list(rows)))
        return batch(examples, rows, seed=seed, epoch=epoch)

    task.batch = spy
    train(load(), task, examples, max_steps=21, batch_size=5, logging_steps=21)  # 105 = 5 x 21
    by_epoch = {}
    for epoch, rows in used:
        by_epoch.setdefault(epoch, []).extend(rows)
    assert [sorted(rows) for rows in by_epoch.values()] == [list(range(21))] * 5
    assert len({tuple(rows) for rows in by_epoch.values()}) == 5  # a new order each time
    again = list(used)
    used.clear()
    train(load(), task, examples, max_steps=21, batch_size=5, logging_steps=21)
    assert used == again


def test_steps_follow_from_the_epochs(study, caplog):
    caplog.set_level("INFO")
    task, examples, load = study
    rows = train(load(), task, examples, max_steps=None, epochs=2, batch_size=4, accumulation=2)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]  # 42 examples by eights
    assert rows[-1]["epoch"] == pytest.approx(48 / 21)
    rates = [row["learning_rate"] for row in rows]
    assert rates[0] == 0
    assert max(rates) == pytest.approx(0.01, rel=0.2)
    assert rates[-1] < rates[-2] < rates[-3]
    assert [str(latest(line))[:11] for line in caplog.messages] == [
        f"step {step} of 6" for step in range(1, 7)
    ]


def test_training_learns_leaves_the_global_generator_alone_and_ends_in_eval_mode(study):
    task, examples, load = study
    model = load(0.1)
    torch.manual_seed(3)
    wanted = torch.rand(3)
    torch.manual_seed(3)
    rows = train(model, task, examples, max_steps=40, logging_steps=20)
    assert torch.equal(torch.rand(3), wanted)
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.3
    assert not model.training


def test_dropout_differs_from_step_to_step(study):
    task, examples, load = study
    losses, draws = task.losses, []

    def spy(model, batch):
        draws.append(torch.initial_seed())
        return losses(model, batch)

    task.losses = spy
    train(load(), task, examples[:8])
    assert len(set(draws)) == len(draws) == 7


def test_gradient_checkpointing_changes_nothing(study):
    task, examples, load = study
    one, two = load(), load()
    train(one, task, examples)
    train(two, task, examples, gradient_checkpointing=True)
    assert equal(state(one), state(two))
    assert not two.is_activation_checkpointing


def test_no_examples(study):
    task, examples, load = study
    with pytest.raises(BabelscopeError, match="no training examples for mlm"):
        train(load(), task, examples[:0])
    with pytest.raises(BabelscopeError, match="no examples to score mlm"):
        options = {"batch_size": 2, "seed": 1, "device": "cpu", "precision": "float32"}
        count_all(load(), task, examples[:0], **options)


def test_counts_are_in_order_and_do_not_depend_on_batches(study):
    task, examples, load = study

    seen = []

    class Lengths:
        name = "lengths"

        def batch(self, examples, rows, *, seed, epoch):
            seen.append([len(examples[row]) for row in rows])
            return {"rows": torch.tensor(rows)}

        def count(self, model, batch):
            assert not model.training
            return torch.stack([batch["rows"], 2 * batch["rows"]], dim=1).double()

    ragged = ["a" * (7 * n % 10 + 1) for n in range(10)]
    options = {"seed": 2, "device": "cpu", "precision": "float32"}
    model = load().train()
    counts = count_all(model, Lengths(), ragged, batch_size=4, **options)
    np.testing.assert_array_equal(counts, [[n, 2 * n] for n in range(10)])
    assert model.training
    assert [max(lengths) - min(lengths) for lengths in seen] == [3, 3, 1]
    one = count_all(load(0.5), task, examples, batch_size=4, **options)
    two = count_all(load(0.5), task, examples, batch_size=21, **options)
    np.testing.assert_allclose(one, two, rtol=1e-5)
    other = count_all(load(), task, examples, batch_size=4, **(options | {"seed": 3}))
    assert (one[:, 0] != other[:, 0]).all()
