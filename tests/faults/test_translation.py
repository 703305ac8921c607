"""Translations that are killed, stopped, shared by processes or started twice."""

import os
import shutil
import signal
from itertools import product

import pandas as pd
import pytest
from transformers import GenerationMixin

from babelscope.errors import BabelscopeError
from babelscope.io import read_table, write_table
from babelscope.training import checkpoints
from babelscope.translation import translate_pairs

WORDS = ("the", "dog", "sees")


@pytest.fixture
def translate(translator, tmp_path):
    """Return a function that translates 14 sentences, five a shard and at most two at once."""
    texts = [" ".join(words) for words in product(WORDS, repeat=3)][:14]
    table = pd.DataFrame({"language": "en", "sent_id": texts, "anchor": texts})
    write_table(tmp_path / "read.parquet", table.assign(positive=texts[::-1], negative=None))

    def run(output="de", model=translator, **changes):
        settings = {
            "pivot": "en",
            "language": "de",
            "codes": {"en": "eng_Latn", "de": "deu_Latn", "zh": "zho_Hans"},
            "beams": 1,
            "max_tokens": 10,
            "batch_tokens": 10,
            "shard_sentences": 5,
            "device": "cpu",
            "precision": "float32",
        }
        translate_pairs(
            tmp_path / "read.parquet",
            tmp_path / f"{output}.parquet",
            model=model,
            folder=tmp_path / "work",
            **(settings | changes),
        )
        return read_table(tmp_path / f"{output}.parquet")

    return run


@pytest.fixture
def before_batch(monkeypatch):
    """Return a function that lets something happen before a batch, and a list of batch sizes."""
    generate = GenerationMixin.generate
    sizes = []
    plans = {}

    def act(self, *args, **options):
        sizes.append(len(options["input_ids"]))
        plans.pop(len(sizes), lambda: None)()
        return generate(self, *args, **options)

    monkeypatch.setattr(GenerationMixin, "generate", act)
    return plans.__setitem__, sizes


def send(number):
    return lambda: os.kill(os.getpid(), number)


def shards(tmp_path):
    return sorted(path.name for path in (tmp_path / "work").glob("shard-*"))


def killed_before_batch(plan, number, run):
    """Run in a process of its own, which spares the imports, until it is killed."""
    child = os.fork()
    if not child:
        plan(number, send(signal.SIGKILL))
        try:
            run()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_killed_in_the_middle_it_ends_with_the_same_table(translate, before_batch, tmp_path):
    plan, sizes = before_batch
    whole = translate("whole")
    assert sizes == [2, 2, 1, 2, 2, 1, 2, 2]
    assert killed_before_batch(plan, len(sizes) + 8, translate) == -signal.SIGKILL
    assert shards(tmp_path) == ["shard-000000.jsonl.zst", "shard-000001.jsonl.zst"]
    assert not (tmp_path / "de.parquet").exists()
    half = tmp_path / "work" / ".shard-000002.jsonl.zst.abcdefgh"  # killed while writing
    half.mkdir()
    (half / "shard-000002.jsonl.zst").write_bytes(b"half")
    sizes.clear()
    assert translate().equals(whole)
    assert sum(sizes) == 14 - 2 * 5
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_stops_it_after_a_batch(translate, before_batch, tmp_path, number):
    plan, sizes = before_batch
    plan(5, send(number))
    with pytest.raises(BabelscopeError, match=f"stopped by {number.name}; 1 of 3 shards.*again"):
        translate()
    assert len(sizes) == 5
    assert shards(tmp_path) == ["shard-000000.jsonl.zst"]
    sizes.clear()
    resumed = translate()
    assert sum(sizes) == 9
    assert resumed.equals(translate("whole"))


def interrupted(translate, plan):
    def stop():
        raise KeyboardInterrupt

    plan(8, stop)
    with pytest.raises(KeyboardInterrupt):
        translate()


def test_less_at_once_goes_on_from_what_is_there(translate, before_batch):
    plan, sizes = before_batch
    interrupted(translate, plan)
    sizes.clear()
    table = translate(batch_tokens=1)
    assert sizes == [1] * 4
    assert table.equals(translate("whole"))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"language": "zh"}, "target"),
        ({"beams": 2}, "beams"),
        ({"max_tokens": 3}, "max_tokens"),
        ({"precision": "bf16"}, "precision"),
    ],
)
def test_other_settings_start_afresh(translate, before_batch, caplog, changes, named):
    plan, sizes = before_batch
    interrupted(translate, plan)
    sizes.clear()
    translate(**changes)
    assert sum(sizes) == 14
    assert f"starting afresh: {named} changed" in caplog.text


def test_another_model_or_text_starts_afresh(translate, before_batch, translator, tmp_path, caplog):
    plan, sizes = before_batch
    interrupted(translate, plan)
    other = tmp_path / "other"
    shutil.copytree(translator, other)
    path = other / "config.json"
    path.write_text(path.read_text("utf-8") + "\n", "utf-8")
    sizes.clear()
    translate(model=other)
    assert sum(sizes) == 14
    assert "starting afresh: model changed" in caplog.text
    sizes.clear()
    interrupted(translate, plan)
    table = read_table(tmp_path / "read.parquet")
    table.loc[0, "anchor"] = "dog dog dog dog"
    write_table(tmp_path / "read.parquet", table)
    sizes.clear()
    translate()
    assert sum(sizes) == 15
    assert "starting afresh: sentences changed" in caplog.text


def test_a_damaged_shard_is_translated_again(translate, before_batch, tmp_path, caplog):
    plan, sizes = before_batch
    interrupted(translate, plan)
    path = tmp_path / "work" / "shard-000001.jsonl.zst"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    sizes.clear()
    table = translate()
    assert sum(sizes) == 9
    assert "shard-000001" in caplog.text
    assert table.equals(translate("whole"))


def test_a_disk_that_fills_up_costs_one_shard(translate, monkeypatch, tmp_path):
    from babelscope import translation

    write = translation.write_jsonl

    def fill(path, records):
        if path.name == "shard-000002.jsonl.zst":
            raise BabelscopeError(f"{path} could not be written.", "Free space.")
        return write(path, records)

    with monkeypatch.context() as patch:
        patch.setattr(translation, "write_jsonl", fill)
        with pytest.raises(BabelscopeError, match="could not be written"):
            translate()
    assert len(shards(tmp_path)) == 2
    assert translate().equals(translate("whole"))


def test_one_folder_serves_one_process(translate, tmp_path):
    with (
        checkpoints.locked(tmp_path / "work"),
        pytest.raises(BabelscopeError, match="Another process"),
    ):
        translate()
