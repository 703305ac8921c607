import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from babelscope.errors import BabelscopeError
from babelscope.io import read_table
from babelscope.progress import latest
from babelscope.tokenization.packing import read_chunks
from babelscope.training import mlm
from babelscope.training.data import TrainingStream, masking_of
from babelscope.training.runs import execute


def weights(run):
    return load_file(Path(run.output) / "model.safetensors")


def equal(one, two):
    return one.keys() == two.keys() and all((one[key] == two[key]).all() for key in one)


def without_time(run):
    return read_table(run.history).drop(columns="seconds")


def losses(run, split="train"):
    table = read_table(run.history)
    return table[table.split == split]


def test_the_loss_and_gradient_are_those_of_full_logits(run, tokenizer):
    one = run("one", dropout=0.0, max_steps=1, whole_words=True)
    execute(one)
    model = AutoModelForMaskedLM.from_pretrained(one.model).train()
    masking = masking_of(tokenizer, share=0.2, whole_words=True)
    chunks = {language: read_chunks(path) for language, path in one.train.items()}
    batch = TrainingStream(chunks, masking, seed=one.seed).batch(range(8))
    labels = np.full(batch.input_ids.size, -100)
    labels[batch.positions] = batch.tokens
    labels = labels.reshape(batch.input_ids.shape)
    out = model(input_ids=torch.tensor(batch.input_ids), labels=torch.tensor(labels))
    out.loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    row = losses(one).iloc[0]
    assert row.loss == pytest.approx(out.loss.item(), rel=1e-6)
    assert row.gradient_norm == pytest.approx(norm.item(), rel=1e-5)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_left_to_right_the_loss_is_that_of_the_model_s_own_labels(run, checkpointed):
    one = run("one", 0.0, "gpt2", max_steps=1, gradient_checkpointing=checkpointed)
    execute(one)
    model = AutoModelForCausalLM.from_pretrained(one.model).train()
    chunks = {language: read_chunks(path) for language, path in one.train.items()}
    windows = torch.tensor(TrainingStream(chunks, None, seed=one.seed).batch(range(8)).input_ids)
    out = model(input_ids=windows, labels=windows)
    out.loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    row = losses(one).iloc[0]
    assert row.loss == pytest.approx(out.loss.item(), rel=1e-6)
    assert row.gradient_norm == pytest.approx(norm.item(), rel=1e-5)


def test_left_to_right_validation_is_the_mean_over_all_predicted_tokens(run):
    one = run("one", family="gpt2", max_steps=3, eval_steps=3, batch_size=4)
    execute(one)
    model = AutoModelForCausalLM.from_pretrained(one.output).eval()
    found = losses(one, "valid").set_index("language").loss
    for language, path in one.valid.items():
        windows = read_chunks(path)
        rows = torch.tensor(windows[np.arange(6) * len(windows) // 6].astype(np.int64))
        with torch.no_grad():
            expected = model(input_ids=rows, labels=rows).loss.item()
        assert found[language] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("family", ["xlm-roberta", "gpt2"])
def test_accumulation_is_one_big_batch(run, family):
    # unequal numbers of hidden tokens, so that a mean of means would differ
    options = {"whole_words": True, "mask_share": 0.4}
    options |= {"dropout": 0.0, "max_steps": 4, "family": family}
    big, small = run("big", **options), run("small", batch_size=2, accumulation=4, **options)
    execute(big)
    execute(small)
    for column in ("loss", "gradient_norm"):
        np.testing.assert_allclose(losses(big)[column], losses(small)[column], rtol=1e-4)
    np.testing.assert_allclose(losses(big, "valid").loss, losses(small, "valid").loss, rtol=1e-4)


@pytest.mark.parametrize("family", ["xlm-roberta", "gpt2"])
def test_training_learns_and_is_reproducible(run, family):
    one, two = (run(name, family=family, max_steps=30, eval_steps=10) for name in ("one", "two"))
    execute(one)
    execute(two)
    assert equal(weights(one), weights(two))
    assert losses(one).loss.iloc[-5:].mean() < losses(one).loss.iloc[:5].mean() - 0.3
    assert not Path(one.checkpoints).exists()


def test_the_history_is_tidy(run):
    one = run("one", logging_steps=2)
    execute(one)
    table = read_table(one.history)
    train = table[table.split == "train"]
    assert train.step.tolist() == [2, 4, 6, 7]
    assert train.tokens.tolist() == [8 * 12 * step for step in train.step]
    assert train.epoch.tolist() == pytest.approx([8 * step / 43 for step in train.step])
    valid = table[table.split == "valid"].pivot(index="step", columns="language", values="loss")
    assert valid.index.tolist() == [3, 6, 7]
    np.testing.assert_allclose(valid["all"], (valid["en"] + valid["zh"]) / 2)


def test_the_best_weights_are_kept(run, monkeypatch):
    seen = {}
    scores = iter([3.0, 1.0, 2.0])

    def validate(self):
        seen[self.state.global_step] = {
            name: value.numpy().copy() for name, value in mlm.weights_of(self.network).items()
        }
        return {"en": next(scores)}

    monkeypatch.setattr(mlm.MlmTrainer, "validate", validate)
    one = run("one")
    execute(one)
    assert sorted(seen) == [3, 6, 7]
    saved = weights(one)
    shared = saved.keys() & seen[6].keys()
    assert len(shared) > 40
    assert all((saved[key] == seen[6][key]).all() for key in shared)
    assert not all((saved[key] == seen[7][key]).all() for key in shared)


def test_patience(run, monkeypatch):
    monkeypatch.setattr(mlm.MlmTrainer, "validate", lambda self: {"en": 1.0})
    one = run("one", max_steps=50, eval_steps=2, patience=3)
    execute(one)
    assert losses(one).step.max() == 8  # best at 2, not better at 4, 6 and 8


def test_minutes_end_a_training_with_its_schedule(run, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(mlm.MlmTrainer, "_elapsed", lambda self: 30.0 * self.state.global_step)
    one = run("one", max_steps=5000, max_minutes=2.0)
    execute(one)
    assert losses(one).step.tolist() == [1, 2, 3, 4]
    rates = losses(one).learning_rate.tolist()
    assert rates[2:] == pytest.approx([0.01 * (1 - share) / 0.8 for share in (0.25, 0.5)])
    assert losses(one, "valid").step.max() == 4
    assert re.findall(r"([\d.]+) min left", caplog.text) == ["1.5", "1.0", "0.5", "0.0"]
    assert str(latest("\n".join(caplog.messages))) == "step 4 of 538, 0.0 min left"  # all epochs


@pytest.mark.parametrize(
    ("number", "family"),
    [
        (signal.SIGTERM, "xlm-roberta"),
        (signal.SIGUSR1, "xlm-roberta"),
        (signal.SIGTERM, "gpt2"),
    ],
)
def test_a_signal_saves_and_a_rerun_ends_with_the_same_weights(run, monkeypatch, number, family):
    whole, cut = (run(name, family=family) for name in ("whole", "cut"))
    execute(whole)
    batch = TrainingStream.batch

    def interrupt(self, places):
        if 4 * 8 in places:  # a batch is fetched one step ahead
            os.kill(os.getpid(), number)
        return batch(self, places)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStream, "batch", interrupt)
        with pytest.raises(BabelscopeError, match=f"stopped by {number.name} after step 4"):
            execute(cut)
    assert not Path(cut.output).exists()
    execute(cut)
    assert equal(weights(whole), weights(cut))
    assert without_time(whole).equals(without_time(cut))


def test_a_loss_that_is_not_finite_names_the_step(run):
    one = run("one", lr=1e30, warmup=0.0, max_steps=20, max_grad_norm=1e30)
    with pytest.raises(BabelscopeError, match=r"not finite at step \d+"):
        execute(one)
    assert not Path(one.output).exists()
    assert not Path(one.history).exists()


def test_other_options_run(run):
    plain, checkpointed = run("plain", dropout=0.0), run("saving", dropout=0.0)
    execute(plain)
    settings = checkpointed.settings
    settings |= {"gradient_checkpointing": True, "schedule": "cosine", "report_to": "tensorboard"}
    execute(checkpointed)
    np.testing.assert_allclose(losses(plain).loss[:2], losses(checkpointed).loss[:2], rtol=1e-3)
    assert list(Path(f"{checkpointed.output}.reports").rglob("events*"))


def test_wandb_that_is_not_installed(run, monkeypatch):
    monkeypatch.setattr(mlm, "find_spec", lambda name: None)
    with pytest.raises(BabelscopeError, match="pip install wandb"):
        execute(run("one", report_to="wandb"))


def test_a_process_uses_one_gpu_of_all_that_it_sees(run, monkeypatch, tmp_path):
    """Trainer would give each of them a batch, and so take the stream twice as fast as it is."""
    from babelscope.config import Training

    class SeesTwo(mlm.TrainingArguments):
        def __init__(self, **options):
            here = {"use_cpu": False, "tf32": None, "dataloader_pin_memory": False}
            super().__init__(**options | here)

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(mlm, "TrainingArguments", SeesTwo)
    settings = Training.model_validate(run("one").settings)
    arguments = mlm._arguments(settings, tmp_path, 1, "cpu", "float32")
    assert arguments.train_batch_size == settings.batch_size


def test_steps(run):
    from babelscope.config import Training

    settings = run("one").settings | {"epochs": 2.0, "accumulation": 3}
    for max_steps, expected in ((None, 5), (3, 3), (9, 5)):
        training = Training.model_validate(settings | {"max_steps": max_steps})
        assert mlm.steps_of(training, 50, 1) == expected
    assert mlm.steps_of(training, 50, 2) == 3
