import json
import subprocess

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from babelscope.errors import BabelscopeError
from babelscope.io import read_arrays, write_json
from babelscope.training import checkpoints


def write(folder, step, best_step=None):
    with checkpoints.writing(folder, step, best_step) as path:
        for name in (checkpoints.WEIGHTS, checkpoints.OPTIMIZER):
            save_file({"x": np.arange(9.0)}, path / name)
        write_json(path / checkpoints.PROGRESS, {"best_step": best_step})


def test_a_folder_belongs_to_one_process(tmp_path):
    with (
        checkpoints.locked(tmp_path),
        pytest.raises(BabelscopeError, match="Another process"),
        checkpoints.locked(tmp_path),
    ):
        pass
    with checkpoints.locked(tmp_path):
        pass


def test_processes_that_outlive_a_killed_training_still_hold_its_folder(tmp_path):
    with checkpoints.locked(tmp_path) as lock:
        left = subprocess.Popen(["sleep", "60"], pass_fds=[lock])
    with pytest.raises(BabelscopeError, match="Another process"), checkpoints.locked(tmp_path):
        pass
    left.kill()
    left.wait()
    with checkpoints.locked(tmp_path):
        pass


def test_processes_of_one_training_share_its_folder(tmp_path):
    """And whoever is left of them keeps others from beginning, when the first is gone."""
    with checkpoints.locked(tmp_path) as lock:
        with pytest.raises(BabelscopeError, match="Another"), checkpoints.sharing(tmp_path):
            pass
        checkpoints.share(lock)
        left = checkpoints.sharing(tmp_path)
        left.__enter__()
    with pytest.raises(BabelscopeError, match="process [0-9]+ on"), checkpoints.locked(tmp_path):
        pass
    left.__exit__(None, None, None)
    with checkpoints.locked(tmp_path):
        pass


def test_a_finished_folder_goes_once_its_lock_is_closed(tmp_path):
    """NFS keeps the name of a file that is open: to remove its folder at once would fail."""
    folder = tmp_path / "a"
    with checkpoints.locked(folder):
        write(folder, 2)
        checkpoints.remove(folder)
        assert list(folder.iterdir()) == []
    assert not folder.exists()


def test_the_newest_that_is_whole(tmp_path):
    assert checkpoints.newest(tmp_path) is None
    for step in (2, 4, 10):
        write(tmp_path, step)
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["checkpoint-000000004", "checkpoint-000000010"]
    newest = checkpoints.newest(tmp_path)
    assert newest.name == "checkpoint-000000010"
    weights = newest / checkpoints.OPTIMIZER
    weights.write_bytes(weights.read_bytes()[:-8])
    assert checkpoints.newest(tmp_path).name == "checkpoint-000000004"


def test_a_flipped_bit_costs_the_checkpoints_that_need_the_file(tmp_path):
    checkpoints.best_path(tmp_path, 1).write_bytes(b"best weights")
    for step in (2, 4):
        write(tmp_path, step, best_step=1)
    older, newer = sorted(tmp_path.glob("checkpoint-*"))
    flip_a_bit(newer / checkpoints.WEIGHTS)
    assert checkpoints.newest(tmp_path) == older
    flip_a_bit(checkpoints.best_path(tmp_path, 1))
    assert checkpoints.newest(tmp_path) is None


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_the_best_weights_a_checkpoint_refers_to_stay(tmp_path):
    for step, best_step in ((2, 1), (4, 3), (6, 5)):
        checkpoints.best_path(tmp_path, best_step).write_bytes(b"weights")
        write(tmp_path, step, best_step)
    assert sorted(path.name for path in tmp_path.glob("best-*")) == [
        "best-000000003.safetensors",
        "best-000000005.safetensors",
    ]


def test_of_best_weights_between_two_checkpoints_the_last_stay(tmp_path):
    checkpoints.keep_best(tmp_path, 1, {"x": torch.ones(2)})
    write(tmp_path, 2, 1)
    for step in (3, 4, 5):
        checkpoints.keep_best(tmp_path, step, {"x": torch.full((2,), float(step))})
    assert sorted(path.name for path in tmp_path.glob("best-*")) == [
        "best-000000001.safetensors",  # a training that is killed now goes on from step 2
        "best-000000005.safetensors",
    ]
    assert read_arrays(checkpoints.best_path(tmp_path, 5))["x"].tolist() == [5, 5]


def test_other_settings_start_afresh(tmp_path, caplog):
    checkpoints.prepare(tmp_path, {"seed": 1, "settings": {"lr": 0.1}})
    write(tmp_path, 2, best_step=1)
    checkpoints.best_path(tmp_path, 1).write_bytes(b"")
    (tmp_path / ".checkpoint-000000004.half").mkdir()
    checkpoints.prepare(tmp_path, {"seed": 1, "settings": {"lr": 0.1}})
    assert checkpoints.newest(tmp_path) is not None
    assert not list(tmp_path.glob(".checkpoint*"))
    (tmp_path / "round-1").mkdir()
    with checkpoints.locked(tmp_path):
        checkpoints.prepare(tmp_path, {"seed": 1, "settings": {"lr": 0.2}})
        assert sorted(path.name for path in tmp_path.iterdir()) == ["fingerprint.json", "lock"]
    assert checkpoints.newest(tmp_path) is None
    assert "settings changed" in caplog.text


def test_an_empty_file_has_no_checksum(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(BabelscopeError, match=r"a is empty\. Delete it"):
        checkpoints.checksum(tmp_path / "a")


def test_a_description_tells_architectures_apart_but_not_places(tmp_path):
    def describe(name, **config):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "tokenizer.json").write_text("{}")
        return checkpoints.description(folder)

    first = describe("a", heads=2, _name_or_path="here", transformers_version="1")
    (tmp_path / "a" / "provenance.json").write_text("{}")
    assert checkpoints.description(tmp_path / "a") == first
    assert describe("b", heads=2, _name_or_path="there") == first
    assert describe("c", heads=8) != first
    (tmp_path / "b" / "tokenizer.json").write_text("[]")
    assert checkpoints.description(tmp_path / "b") != first
