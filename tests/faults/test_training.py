"""Trainings that are killed, shared by processes or started twice."""

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.torch import save_file

from babelscope.errors import BabelscopeError
from babelscope.io import read_json, read_table
from babelscope.tokenization.packing import write_chunks
from babelscope.training import checkpoints, mlm, runs
from babelscope.training.runs import Run, execute

SETTINGS = {
    "lr": 0.01,
    "weight_decay": 0.01,
    "warmup": 0.2,
    "schedule": "linear",
    "epochs": 100,
    "max_steps": 8,
    "max_minutes": None,
    "batch_size": 4,
    "accumulation": 2,
    "gradient_checkpointing": False,
    "max_grad_norm": 1.0,
    "mask_share": 0.3,
    "whole_words": False,
    "logging_steps": 1,
    "eval_steps": 3,
    "save_steps": 2,
    "patience": None,
    "train_examples": None,
    "valid_examples": 6,
    "report_to": "none",
}
MASKING = ("mask_share", "whole_words")
DROPOUTS = {
    "xlm-roberta": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "gpt2": ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
}


@pytest.fixture
def run(tmp_path, make_model):
    """Return a function that describes a run of a tiny model; a dropout of 0 compares processes."""
    from transformers import XLMRobertaTokenizer

    pieces = [("" if i % 5 == 0 else "▁") + f"p{i}" for i in range(95)]
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *pieces, "<mask>"]
    rng = np.random.default_rng(0)
    files: dict[str, dict[str, str]] = {"train": {}, "valid": {}}
    for split, language in (("train", "en"), ("train", "zh"), ("valid", "en"), ("valid", "zh")):
        path = tmp_path / f"{language}-{split}.arrow"
        blocks = rng.integers(4, 99, (11, 12))
        blocks[:, 0], blocks[:, -1] = 0, 2
        write_chunks(path, [blocks], 12, 100)
        files[split][language] = str(path)

    def make(name, dropout=0.1, family="xlm-roberta", **changes):
        start = tmp_path / f"start-{family}-{dropout}"
        model = make_model(family)
        for part in DROPOUTS[family]:
            setattr(model.config, part, dropout)
        model.save_pretrained(start)
        XLMRobertaTokenizer(vocab=[(piece, 0.0) for piece in vocabulary]).save_pretrained(start)
        settings = SETTINGS | changes
        if family == "gpt2":  # nothing is masked
            settings = {key: settings[key] for key in settings if key not in MASKING}
        return Run(
            model=str(start),
            output=str(tmp_path / name / "model"),
            history=str(tmp_path / name / "history.parquet"),
            checkpoints=str(tmp_path / name / "checkpoints"),
            settings=settings,
            seed=5,
            version=1,
            **files,
        )

    return make


def weights(run):
    return load_file(Path(run.output) / "model.safetensors")


def kill_after_step_5(described):
    """Train in a process of its own, which spares the imports, until a signal ends it."""
    look = mlm.MlmTrainer._look

    def die(self):
        look(self)
        if self.state.global_step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        mlm.MlmTrainer._look = die
        try:
            execute(described)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_killed_in_the_middle_it_ends_with_the_same_weights(run):
    whole, killed = run("whole"), run("killed")
    assert kill_after_step_5(killed) == -signal.SIGKILL
    execute(whole)
    folder = Path(killed.checkpoints)
    assert checkpoints.newest(folder).name == "checkpoint-000000004"
    half = folder / ".checkpoint-000000005.x" / "checkpoint-000000005"  # killed while saving
    half.mkdir(parents=True)
    (half / checkpoints.WEIGHTS).write_bytes(b"half")
    execute(killed)
    one, two = weights(whole), weights(killed)
    assert all((one[key] == two[key]).all() for key in one)
    tables = [read_table(run.history).drop(columns="seconds") for run in (whole, killed)]
    assert tables[0].equals(tables[1])
    assert not folder.exists()


def test_a_disk_that_fills_up_while_saving_costs_one_checkpoint(run, monkeypatch):
    whole, full = run("whole"), run("full")

    def save(tensors, path):
        if "checkpoint-000000004" in str(path):
            raise SafetensorError("Error while serializing: No space left on device (os error 28)")
        save_file(tensors, path)

    with monkeypatch.context() as patch:
        patch.setattr(mlm, "save_file", save)
        with pytest.raises(BabelscopeError, match="000004 could not be written: No space left"):
            execute(full)
    assert checkpoints.newest(full.checkpoints).name == "checkpoint-000000002"
    execute(full)
    execute(whole)
    one, two = weights(whole), weights(full)
    assert all((one[key] == two[key]).all() for key in one)


@pytest.mark.parametrize("family", ["xlm-roberta", "gpt2"])
def test_two_processes_are_one_with_the_same_batch(run, family):
    options = {"dropout": 0.0, "whole_words": True, "max_steps": 4, "accumulation": 1}
    options["family"] = family
    one = run("one", batch_size=8, **options)
    two = replace(run("two", **options), processes=2)
    execute(one)
    execute(two)
    left, right = read_table(one.history), read_table(two.history)
    for column in ("step", "epoch", "split", "language", "tokens"):
        assert left[column].equals(right[column])
    train = left.split == "train"
    np.testing.assert_allclose(left.loss, right.loss, rtol=1e-4)
    np.testing.assert_allclose(left.gradient_norm[train], right.gradient_norm[train], rtol=1e-3)


def test_a_signal_reaches_several_processes_which_save_their_state(run):
    both = replace(run("both", max_steps=5000, eval_steps=5000, save_steps=5), processes=2)
    folder = Path(both.checkpoints)

    def stop_once_it_trains():
        while checkpoints.newest(folder) is None:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop_once_it_trains, daemon=True)
    with pytest.raises(BabelscopeError, match="2 processes failed"):
        folder.mkdir(parents=True)
        thread.start()
        execute(both)
    last = checkpoints.newest(folder)
    assert int(last.name.removeprefix("checkpoint-")) % mlm.AGREE == 0
    assert not Path(both.output).exists()


def test_nodes_need_a_job_of_slurm(run, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(BabelscopeError, match="nodes: 2 needs a job of Slurm.* compute.nodes: 1"):
        execute(replace(run("spread"), processes=2, nodes=2))


def test_one_checkpoint_folder_serves_one_process(run):
    one = run("one")
    with (
        checkpoints.locked(one.checkpoints),
        pytest.raises(BabelscopeError, match="Another process"),
    ):
        execute(one)


def test_changed_settings_start_afresh(run, monkeypatch, caplog):
    def stop(self, *args):
        raise KeyboardInterrupt

    first, second, other = run("x"), run("x", lr=0.02), run("other", lr=0.02)
    with monkeypatch.context() as patch:
        patch.setattr(mlm.MlmTrainer, "_evaluate_languages", stop)
        with pytest.raises(KeyboardInterrupt):
            execute(first)
    assert checkpoints.newest(first.checkpoints) is not None
    execute(second)
    execute(other)
    assert "starting afresh: settings changed" in caplog.text
    one, two = weights(second), weights(other)
    assert all((one[key] == two[key]).all() for key in one)


@pytest.mark.parametrize("patience", [None, 1])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, None])
def test_what_fails_after_the_last_step_is_not_trained_again(
    run, monkeypatch, ends_by, number, patience
):
    changes = {"patience": patience, "lr": 1.0 if patience else 0.01}
    whole, late = run("whole", **changes), run("late", **changes)
    execute(whole)
    assert ends_by(number, runs, "atomic", lambda: execute(late))

    def never(*_, **__):
        raise AssertionError("a step is taken again")

    monkeypatch.setattr(mlm.MlmTrainer, "training_step", never)
    execute(late)
    one, two = weights(whole), weights(late)
    assert all((one[key] == two[key]).all() for key in one)
    tables = [read_table(run.history).drop(columns="seconds") for run in (whole, late)]
    assert tables[0].equals(tables[1])
    assert patience is None or tables[0]["step"].max() < whole.settings["max_steps"]


@pytest.mark.parametrize("changed", ["description", "version"])
def test_another_architecture_or_meaning_starts_afresh(run, caplog, changed):
    """Other heads leave the weights as they are."""
    described = run("x")
    assert kill_after_step_5(described) == -signal.SIGKILL
    if changed == "version":
        described = replace(described, version=2)
    else:
        path = Path(described.model, "config.json")
        path.write_text(json.dumps(read_json(path) | {"num_attention_heads": 2}))
    execute(described)
    assert f"starting afresh: {changed} changed" in caplog.text
    history = read_table(described.history)
    assert history["step"].min() == 1
    assert read_json(Path(described.output, "config.json"))["num_attention_heads"] == (
        4 if changed == "version" else 2
    )
