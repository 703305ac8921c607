"""Alignments that are killed, started twice, or given what cannot be used."""

import signal
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest

from babelscope.errors import BabelscopeError
from babelscope.io import read_jsonl, read_table, write_jsonl
from babelscope.training import checkpoints, fitting, generator_steps, generators

LORA = {"rank": 2, "alpha": 4.0, "dropout": 0.1}
TRAININGS = {
    "both": {},
    "contrastive, in parts": {"network": "aligned-contrastive", "mini_batch": 2},
    "instruction, lora": {"network": "aligned-instruction", "lora": LORA},
}
KILLS = [(name, signal.SIGKILL) for name in TRAININGS] + [("both", signal.SIGTERM)]


@pytest.fixture
def study(generator_study):
    return generator_study()


@pytest.mark.parametrize(("name", "number"), KILLS)
def test_killed_in_the_middle_it_ends_with_the_same_weights(study, in_processes, name, number):
    options = TRAININGS[name]
    run = asdict(study.run("killed", **options))
    ((status, said),) = in_processes("align", 1, run=run, stop=(5, number), whole=True)
    if number == signal.SIGTERM:
        assert "stopped by SIGTERM after step 5; its state is saved" in said
    else:
        assert status == -number
    folder = study.folder / "killed.checkpoints"
    assert not (study.folder / "killed").exists()
    last = 5 if number == signal.SIGTERM else 4
    assert checkpoints.newest(folder / "training").name == f"checkpoint-{last:09d}"
    assert in_processes("align", 1, run=run, whole=True) == [[0, ""]]
    whole = asdict(study.run("whole", **options))
    assert in_processes("align", 1, run=whole, whole=True) == [[0, ""]]
    one, two = study.weights("whole"), study.weights("killed")
    assert one.keys() == two.keys()
    assert all((one[key] == two[key]).all() for key in one)
    tables = [read_table(study.run(name).history) for name in ("whole", "killed")]
    tables = [table[table["measure"] != "seconds"].reset_index(drop=True) for table in tables]
    assert tables[0].equals(tables[1])
    assert not folder.exists()


def test_changed_samples_or_networks_start_afresh(study, in_processes, caplog):
    run = asdict(study.run())
    in_processes("align", 1, run=run, stop=(5, signal.SIGKILL), whole=True)
    assert checkpoints.newest(study.folder / "out.checkpoints" / "training") is not None
    study.write_samples("train", 20, seed=9)
    study.align("out", "aligned-contrastive")
    study.align("other", "aligned-contrastive")
    assert "starting afresh: network, train changed" in caplog.text
    one, two = study.weights("out"), study.weights("other")
    assert all((one[key] == two[key]).all() for key in one)


def test_one_checkpoint_folder_serves_one_process(study):
    with (
        checkpoints.locked(study.folder / "out.checkpoints"),
        pytest.raises(BabelscopeError, match="Another process"),
    ):
        study.align()


@pytest.mark.parametrize("measure", ["contrastive", "instruction"])
def test_a_loss_that_is_not_finite(study, monkeypatch, measure):
    losses = generator_steps.Objective.losses
    steps = []

    def broken(self, model, batch):
        loss, count = losses(self, model, batch)
        if ("groups" in batch) == (measure == "contrastive"):
            steps.append(loss)
            loss = loss * (float("nan") if len(steps) == 3 else 1)
        return loss, count

    monkeypatch.setattr(generator_steps.Objective, "losses", broken)
    said = "loss for aligned-both is not finite at step 3.*Lower the learning rate"
    with pytest.raises(BabelscopeError, match=said):
        study.align()
    assert not (study.folder / "out").exists()
    assert len(list((study.folder / "out.checkpoints").rglob("checkpoint-*"))) == 1


def test_a_figure_that_is_not_finite(study, monkeypatch):
    found = {"valid_contrastive": float("inf")}
    monkeypatch.setattr(generator_steps.HeldOut, "measure", lambda self, model: found)
    with pytest.raises(BabelscopeError, match="valid_contrastive for aligned-both is not finite"):
        study.align()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pooler": "avg-4"}, "reads layer 4, and the model has layers 0 to 3"),
        ({"batch_size": 21}, r"batch_size: 21 is more than the 20 samples of .*twice"),
        ({"max_tokens": 71}, r"training.max_tokens: 71 is longer than the 70 positions"),
        ({"block": 71}, r"training.block: 71 is longer than the 70 positions"),
    ],
)
def test_settings_that_do_not_fit(study, change, said):
    with pytest.raises(BabelscopeError, match=said):
        study.align(**change)


def test_prompts_that_leave_no_room_for_an_answer(study, caplog):
    """The pairs of such samples are used; without any other, it is an error."""
    records = list(read_jsonl(study.train))
    for record in records[:15]:
        record["clm_text"] = "a1 " * 50 + record["clm_text"]
        record["clm_prompt_len"] += 150
    write_jsonl(study.train, records)
    history = study.align()
    assert np.isfinite(history["instruction"].dropna()).all()
    assert "nothing is learned from 15" in caplog.text
    write_jsonl(study.train, records[:15])
    with pytest.raises(BabelscopeError, match=r"no instruction has a token of its answer.*Raise"):
        study.align()


@pytest.mark.parametrize("split", ["train", "valid"])
def test_samples_that_are_missing_or_broken(study, split):
    path = getattr(study, split)
    records = list(read_jsonl(path))
    del records[2]["sent1"]
    write_jsonl(path, records)
    with pytest.raises(BabelscopeError, match=rf"{split}.*line 3: the field sent1 is 'missing'"):
        study.align()
    write_jsonl(path, [])
    with pytest.raises(BabelscopeError, match=rf"{split}.* has no samples"):
        study.align()
    path.write_bytes(b"")
    with pytest.raises(BabelscopeError, match=rf"{split}.* is empty"):
        study.align()


def test_a_model_that_does_not_write(study, make_model):
    make_model("xlm-roberta").save_pretrained(study.source)
    with pytest.raises(BabelscopeError, match=r"XLMRobertaForMaskedLM, which writes no text"):
        study.align()


def test_an_unknown_network(study):
    with pytest.raises(ValueError, match="aligned-contrastive, aligned-instruction"):
        study.align(network="aligned")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, None])
def test_what_fails_after_the_last_step_is_not_trained_again(study, monkeypatch, ends_by, number):
    study.align("whole", "aligned-instruction", lora=LORA)
    late = partial(study.align, "late", "aligned-instruction", lora=LORA)
    assert ends_by(number, generators, "merge_lora", late)

    def never(*_):
        raise AssertionError("a step is taken again")

    monkeypatch.setattr(fitting._Training, "_take_step", never)
    monkeypatch.setattr(generators, "_peak_memory", never)  # it is that of the training
    late()
    one, two = study.weights("whole"), study.weights("late")
    assert all((one[key] == two[key]).all() for key in one)
    assert not (study.folder / "late.checkpoints").exists()
