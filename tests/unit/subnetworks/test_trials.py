"""Trials are what the configuration says."""

import json

import numpy as np
import pytest

from babelscope.errors import BabelscopeError
from babelscope.io import read_arrays, write_arrays
from babelscope.subnetworks import trials
from babelscope.subnetworks.trials import make_trial


@pytest.fixture
def fitted(monkeypatch):
    """Record what trainings are asked for, and do none."""
    seen = []

    def note(network, task, examples, settings, **options):
        seen.append(options | {"settings": settings})
        return []

    monkeypatch.setattr(trials, "fit", note)
    return seen


@pytest.mark.parametrize(("family", "rate"), [("bert", 0.01), ("mt5", 0.02)])
def test_the_rate_is_that_of_the_family(make_toy, fitted, family, rate):
    trial = make_toy(family=family).trial
    trial.train(trial.load(), [1] * 40, None, None)
    assert fitted[0]["rate"] == rate
    assert fitted[0]["settings"] == trial.settings.training


def test_steps_on_demand_are_exact(make_toy, fitted):
    from babelscope.training.schedules import steps_of

    trial = make_toy().trial
    for steps in (1, 7, 1000):
        trial.train(trial.load(), [1] * 27, None, None, steps=steps)
        assert steps_of(fitted[-1]["settings"], 27) == steps


def test_heads_follow_from_the_seed(make_toy):
    one, again, other = (
        make_toy(name, seed=seed).trial.load().classifier.weight
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert (one == again).all()
    assert (one != other).all()


def test_settings_that_change_no_result_change_no_fingerprint(make_toy):
    made = make_toy()
    first = made.trial.fingerprint(made.search.files)
    assert make_toy(training={"save_steps": 7, "logging_steps": 9}).trial.fingerprint({}) == {
        **first,
        "files": {},
    }
    for change in ({"lr": {"default": 0.5}}, {"batch_size": 4}):
        changed = make_toy(training=change).trial.fingerprint(made.search.files)
        assert {key for key in first if first[key] != changed[key]} == {"settings"}


def test_examples_longer_than_a_model_are_refused(make_toy, tmp_path):
    section = make_toy().trial.settings.model_dump() | {"max_tokens": 65}
    config = {"model_type": "xlm-roberta", "max_position_embeddings": 66, "pad_token_id": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BabelscopeError, match=r"tasks.nli.max_tokens: 65 is longer than the 64"):
        make_trial("nli", str(tmp_path), section, {}, {}, made_of=[], seed=1, version=1)


def test_weights_that_are_not_finite_are_named_before_training(make_toy):
    trial = make_toy().trial
    arrays = read_arrays(f"{trial.model}/model.safetensors")
    name = "bert.encoder.layer.1.output.dense.weight"
    arrays[name] = arrays[name].copy()
    arrays[name][0, 0] = np.nan
    write_arrays(f"{trial.model}/model.safetensors", arrays)
    with pytest.raises(BabelscopeError, match=rf"not all finite: {name} is not"):
        trial.load()


def test_a_single_example_can_be_trained_on_and_not_scored(make_toy, tmp_path):
    trial = make_toy().trial
    path = tmp_path / "one.safetensors"
    write_arrays(path, {"windows": np.ones((1, 8), np.int64)})
    assert len(trial.read("train", path)) == 1
    for split in ("valid", "test"):
        with pytest.raises(BabelscopeError, match=r"one.safetensors has a single example"):
            trial.read(split, path)
