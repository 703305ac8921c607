"""Several processes that train one network are one process with the whole batch."""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from babelscope.io import read_table
from babelscope.models.removal import load_model
from babelscope.training import checkpoints, generators
from babelscope.training.processes import agreed, gather, joined, largest, rank, world

STEPS = {"max_steps": 3, "batch_size": 6, "eval_steps": 2}


@pytest.fixture
def study(generator_study, monkeypatch):
    """Return a study without dropout, in float64: Adam makes steps of float32's rounding."""
    monkeypatch.setattr(generators, "load_model", lambda path: load_model(path).double())
    return generator_study(dropout=0.0)


@pytest.fixture
def perform(study, in_processes):
    """Return a function that aligns in several processes, and says what they complain of."""

    def perform(name, count=2, wrong=None, stop=None, scores=None, **options):
        run = study.run(name, processes=count, **STEPS | options)
        (study.folder / f"{name}.checkpoints").mkdir(exist_ok=True)
        told = {"wrong": wrong, "stop": stop, "scores": scores}
        return in_processes("align", count, run=asdict(run), double=True, **told)

    return perform


def difference(study, one="one", two="two"):
    first, second = study.weights(one), study.weights(two)
    assert first.keys() == second.keys()
    return max(np.abs(first[key] - second[key]).max() for key in first)


# What each tells the others


def test_rows_are_gathered_with_the_gradients_of_all(in_processes):
    assert in_processes("share_rows") == [[0, ""], [0, ""]]


def test_a_single_process_talks_to_nobody():
    rows = torch.randn(3, 2).requires_grad_()
    with joined("cpu"):
        assert (rank(), world()) == (0, 1)
        found = gather(rows, torch.tensor([2, 0, 1]), 3)
        assert torch.equal(found[[2, 0, 1]], rows)
        found[2].sum().backward()
        assert rows.grad.tolist() == [[1, 1], [0, 0], [0, 0]]
        assert largest(3.0, "cpu") == 3.0
        assert agreed([1.0], "cpu") == [1.0]


# A training


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mini_batch": 1, "gradient_checkpointing": True},
        {"network": "aligned-contrastive", "batch_size": 7},
        {"sharded": True, "network": "aligned-contrastive"},
        {"sharded": True, "mini_batch": 2, "gradient_checkpointing": True},
        {"sharded": True, "lora": {"rank": 2, "alpha": 4.0, "dropout": 0.0}},
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_two_processes_are_one_with_the_whole_batch(study, perform, options):
    study.align("one", **STEPS | options)
    assert perform("two", **options) == [[0, ""], [0, ""]]
    assert difference(study) < 1e-6
    assert difference(study, "source", "two") > 1e-3
    one, two = (read_table(study.run(name).history) for name in ("one", "two"))
    assert one.drop(columns="value").equals(two.drop(columns="value"))
    same = one["measure"] != "seconds"
    np.testing.assert_allclose(one["value"][same], two["value"][same], rtol=1e-5, atol=1e-7)
    first, second = (read_table(study.run(name).cost).iloc[0] for name in ("one", "two"))
    assert second["processes"] == 2
    for name in ("steps", "parameters", "trained_parameters"):
        assert first[name] == second[name]


def test_more_processes_than_texts_of_a_pass(study, perform):
    """Some have nothing to do, and keep in step."""
    options = {"batch_size": 2, "mini_batch": 1, "sharded": True}
    study.align("one", **STEPS | options)
    assert perform("two", count=3, **options) == [[0, ""]] * 3
    assert difference(study) < 1e-6


@pytest.mark.parametrize("wrong", ["constants", "no gradient", "not summed"])
def test_control_a_gather_without_gradients_or_sums_is_found_out(study, perform, wrong):
    study.align("one", **STEPS)
    assert perform("two", wrong=wrong) == [[0, ""], [0, ""]]
    assert difference(study) > 1e-4


def test_processes_are_launched(generator_study):
    """As the workflow starts them, in float32, whose sums torch makes in another way."""
    study = generator_study(dropout=0.0)
    one = study.align("one", **STEPS)
    two = study.align("two", processes=2, sharded=True, **STEPS)
    for name in ("contrastive", "instruction", "gradient_norm", "valid_contrastive"):
        np.testing.assert_allclose(one[name].dropna(), two[name].dropna(), rtol=1e-3)
    assert not (study.folder / "two.checkpoints").exists()


@pytest.mark.parametrize("sharded", [False, True])
def test_killed_processes_go_on_with_the_best_weights_so_far(study, perform, monkeypatch, sharded):
    """Of a sharded network too, parts of which its scorer leaves put together."""
    options = {"max_steps": 6, "save_steps": 2, "sharded": sharded}
    options["selected_by"] = {"corpus": "any", "shots": 0, "examples": 5}
    scores = [10.0, 90.0, 30.0, 20.0]  # before the first step, after steps 2, 4, 6
    told = iter(scores)
    monkeypatch.setattr(generators, "_accuracy", lambda *_: lambda model: next(told))
    study.align("one", **STEPS | options)
    killed = perform("two", scores=scores, stop=(5, 9), **options)
    assert [status for status, _ in killed] == [-9, -9]
    store = study.folder / "two.checkpoints" / "training"
    assert checkpoints.newest(store).name == "checkpoint-000000004"
    assert checkpoints.best_path(store, 2).is_file()
    assert perform("two", scores=[20.0], **options) == [[0, ""], [0, ""]]
    assert difference(study) < 1e-6
    history = read_table(study.run("two").history)
    assert history["value"][history["measure"] == "in_context_accuracy"].tolist() == scores
    assert checkpoints.newest(store).name == "checkpoint-000000006"  # until the results stand
