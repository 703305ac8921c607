"""Trainings of sentence encoders that are killed, or started twice."""

import os
import signal

import pytest

from babelscope.errors import BabelscopeError
from babelscope.training import (
    adaptation,
    alignment,
    checkpoints,
    fitting,
    mlm,
    sentence_encoders,
)

TRAININGS = {
    "language, lora": ("adapt", {"kind": "lora"}),
    "language, full": ("adapt", {"kind": "full"}),
    "sentence, lora": ("train_sentences", {"kind": "lora"}),
    "sentence, full": ("train_sentences", {"kind": "full", "lr": 0.001, "mini_batch": 2}),
    "one for all, in turn": ("train_whole", {"lr": 0.001}),
    "one for all, mixed": ("train_whole", {"lr": 0.001, "mixed": 2}),
    "paraphrase": ("train_alignment", {"strategy": "paraphrase"}),
    "both": ("train_alignment", {"strategy": "both"}),
}


@pytest.fixture
def study(encoder_study):
    return encoder_study()


def in_a_process(train, number, at_step):
    """Train in a process of its own, which spares the imports, and send it a signal at a step."""

    def after(look, step_of):
        def wrapped(self, *arguments, **options):
            look(self, *arguments, **options)
            if step_of(self) == at_step:
                os.kill(os.getpid(), number)

        return wrapped

    child = os.fork()
    if not child:
        status = 2
        try:
            fitting._Training._log = after(fitting._Training._log, lambda self: self.step)
            mlm.MlmTrainer._look = after(mlm.MlmTrainer._look, lambda self: self.state.global_step)
            train()
            status = 0
        except BabelscopeError as error:
            status = 1 if "stopped by SIGTERM" in str(error) else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


KILLS = [(name, signal.SIGTERM) for name in TRAININGS]
KILLS += [(name, signal.SIGKILL) for name in ("language, lora", "sentence, lora", "both")]


@pytest.mark.parametrize(("name", "number"), KILLS)
def test_killed_in_the_middle_it_ends_with_the_same_weights(study, name, number):
    method, options = TRAININGS[name]
    train = getattr(study, method)
    whole = train("whole", **options)
    code = in_a_process(lambda: train("killed", **options), number, at_step=5)
    assert code == (1 if number == signal.SIGTERM else -signal.SIGKILL)
    assert not (study.folder / "killed").exists()
    folder = study.folder / "killed.checkpoints"
    saved = checkpoints.newest(folder if method == "adapt" else folder / "training")
    last = 4 if number == signal.SIGKILL else 5 + (method == "adapt")  # it looked before the signal
    assert saved.name == f"checkpoint-{last:09d}"
    killed = train("killed", **options)
    assert study.contents("whole") == study.contents("killed")
    assert whole.drop(columns="seconds").equals(killed.drop(columns="seconds"))
    assert not folder.exists()


@pytest.mark.parametrize("method", ["adapt", "train_sentences", "train_whole", "train_alignment"])
def test_one_checkpoint_folder_serves_one_process(study, method):
    with (
        checkpoints.locked(study.folder / "out.checkpoints"),
        pytest.raises(BabelscopeError, match="Another process"),
    ):
        getattr(study, method)()


def test_changed_pairs_start_afresh(study, caplog):
    """A checkpoint of other pairs is not gone on from."""
    code = in_a_process(lambda: study.train_sentences("out"), signal.SIGTERM, at_step=3)
    assert code == 1
    pairs = [study.write_pairs("triples", 20, negatives=True, seed=8), study.pairs[1]]
    study.train_sentences("out", pairs=pairs)
    study.train_sentences("other", pairs=pairs)
    assert "starting afresh: pairs changed" in caplog.text
    assert study.contents("out") == study.contents("other")


WRITERS = {
    "adapt": (adaptation, "save_language_module"),
    "train_sentences": (sentence_encoders, "save_sentence_module"),
    "train_whole": (sentence_encoders, "save_encoder"),
    "train_alignment": (alignment, "save_alignment_module"),
}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, None])
@pytest.mark.parametrize("at", ["output", "history"])
@pytest.mark.parametrize("method", WRITERS)
def test_what_fails_after_the_last_step_is_not_trained_again(
    study, monkeypatch, ends_by, method, at, number
):
    train = getattr(study, method)
    whole = train("whole")
    module, writer = WRITERS[method]
    failing = writer if at == "output" else "write_table"
    assert ends_by(number, module, failing, lambda: train("late"))

    def never(*_, **__):
        raise AssertionError("a step is taken again")

    monkeypatch.setattr(fitting._Training, "_take_step", never)
    monkeypatch.setattr(mlm.MlmTrainer, "training_step", never)
    late = train("late")
    assert study.contents("whole") == study.contents("late")
    assert whole.drop(columns="seconds").equals(late.drop(columns="seconds"))
    assert not (study.folder / "late.checkpoints").exists()
