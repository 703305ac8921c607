"""Tickets on other tasks and languages: which networks, under equal terms, against what."""

import errno
import os
import signal
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from babelscope.errors import BabelscopeError
from babelscope.io import read_arrays, read_table, write_arrays
from babelscope.progress import latest
from babelscope.subnetworks import transfer, trials
from babelscope.subnetworks.masks import WeightMask
from babelscope.subnetworks.matrices import mask_tensors, weight_matrices
from babelscope.subnetworks.transfer import Transfer, networks, transfer_ticket
from babelscope.training import fitting

PLACES = [("toy", "en"), ("toy", "de"), ("toy", "zh"), ("other", "de"), ("third", "de")]


@pytest.fixture
def make_transfer(make_toy):
    """Return a function that adds to a toy a transfer to German, with masks of unequal matrices."""

    def make(name="toy", kept=50, **changes):
        made = make_toy(name, **changes)
        matrices = weight_matrices(made.trial.load())
        masks = {}
        for number, place in enumerate(PLACES):
            generator = np.random.default_rng(number)
            shares = generator.uniform(0.2, 0.8, len(matrices))
            mask = WeightMask(
                {
                    key: generator.random(weight.shape) < share
                    for share, (key, (_, weight)) in zip(shares, matrices.items(), strict=True)
                },
                {key: spot for key, (spot, _) in matrices.items()},
            )
            masks[place] = str(made.folder / "masks" / f"{'-'.join(place)}.safetensors")
            mask.save(masks[place])
        tests = {}
        for number, language in enumerate(("en", "de", "zh")):
            windows = np.random.default_rng(10 + number).integers(4, 100, (40, 8))
            tests[language] = str(made.folder / f"{language}.safetensors")
            write_arrays(tests[language], {"windows": windows})
        made.transfer = Transfer(
            labels={"model": "tiny", "seed": 1},
            task="toy",
            language="de",
            kept=kept,
            train=made.search.files["train"],
            tests=tests,
            masks=masks,
            random_masks=2,
            steps=None,
            scores=str(made.folder / "k50.parquet"),
            checkpoints=str(made.folder / ".transfer"),
        )
        return made

    return make


@pytest.fixture
def watched(monkeypatch):
    """Record weights before, masks, weights after and history of every training."""
    seen = []
    fit = trials.fit

    def watch(network, *arguments, **options):
        before = {name: value.detach().clone() for name, value in network.named_parameters()}
        history = fit(network, *arguments, **options)
        after = {name: value.detach().clone() for name, value in network.named_parameters()}
        seen.append((before, options["masks"], after, history))
        return history

    monkeypatch.setattr(trials, "fit", watch)
    return seen


def table_of(made):
    return read_table(made.transfer.scores)


def test_a_row_for_every_network_and_language(make_transfer):
    made = make_transfer()
    transfer_ticket(made.transfer, made.trial)
    table = table_of(made)
    labels = ["model", "seed", "kept", "task", "trained_on", "language", "mask_kind", "mask_task"]
    labels += ["mask_language", "draw", "weights", "metric", "value", "low", "high"]
    assert list(table) == [*labels, "change", "change_low", "change_high", "n", "steps"]
    assert set(table["trained_on"]) == {"de"}
    own = table[table["language"] == "de"]
    kinds = own[["mask_kind", "mask_task", "mask_language", "draw", "weights", "kept"]]
    assert {tuple(row) for row in kinds.fillna("").itertuples(index=False)} == {
        *(("ticket", task, language, 0, "pretrained", 50) for task, language in PLACES),
        ("full", "", "", 0, "pretrained", 100),
        ("untrained", "", "", 0, "pretrained", 50),
        ("random", "toy", "de", 0, "pretrained", 50),
        ("random", "toy", "de", 1, "pretrained", 50),
        ("ticket", "toy", "de", 0, "random", 50),
    }
    zero_shot = table[table["language"] != "de"]
    found = zero_shot[["mask_kind", "mask_language", "language", "weights"]].fillna("")
    assert {tuple(row) for row in found.itertuples(index=False)} == {
        (kind, mask, language, "pretrained")
        for kind, mask in (("full", ""), ("ticket", "de"))
        for language in ("en", "zh")
    }
    assert len(table) == len(own) + len(zero_shot) == 10 + 4
    assert not (made.folder / ".transfer").exists()


def test_changes_are_against_the_own_ticket_on_the_same_examples(make_transfer):
    made = make_transfer(training={"max_steps": 5})
    transfer_ticket(made.transfer, made.trial)
    table = table_of(made)
    own = table.query("mask_kind == 'ticket' and mask_task == 'toy' and mask_language == 'de'")
    own = own[own["weights"] == "pretrained"].set_index("language")["value"]
    assert set(own.index) == {"en", "de", "zh"}
    np.testing.assert_allclose(table["change"], table["value"] - table["language"].map(own))
    assert (table["change"] != 0).any()
    same = table["change"] == 0
    itself = (table["mask_language"] == "de") & (table["mask_task"] == "toy")
    itself &= (table["mask_kind"] == "ticket") & (table["weights"] == "pretrained")
    assert same[itself].all()
    assert (table.loc[itself, ["change_low", "change_high"]] == 0).all(axis=None)
    assert (table["change_low"] <= table["change"]).all()
    assert (table["change"] <= table["change_high"]).all()


def test_all_networks_are_trained_alike(make_transfer, watched):
    """The same head, the same batches in the same order, the same number of steps."""
    made = make_transfer()
    transfer_ticket(made.transfer, made.trial)
    assert len(watched) == len(networks(made.transfer)) == 10
    first = watched[0][0]
    for before, _, _, history in watched:
        assert torch.equal(before["classifier.weight"], first["classifier.weight"])
        assert history[-1]["step"] == 5
    training = [tuple(rows) for rows in made.toy.batches if rows != sorted(rows)]
    assert set(Counter(training).values()) == {10}
    assert len(set(training)) == 5


def test_masks_are_those_of_the_files_and_hold(make_transfer, watched):
    made = make_transfer()
    transfer_ticket(made.transfer, made.trial)
    model = made.trial.load()
    for network, (_, masks, after, _) in zip(networks(made.transfer), watched, strict=True):
        if network.kind == "full":
            assert masks is None
            continue
        if network.kind == "untrained":
            continue  # of no file
        mask = WeightMask.load(made.transfer.masks[network.task, network.language])
        given = mask_tensors(mask, model)
        for name, expected in given.items():
            if network.kind == "ticket":
                assert torch.equal(masks[name], expected)
            else:
                assert masks[name].sum() == expected.sum()
                assert not torch.equal(masks[name], expected)
            assert not after[name][~masks[name]].any()
            assert after[name][masks[name]].any()


@pytest.mark.parametrize("family", ["bert", "mt5"])
def test_the_untrained_mask_is_that_of_the_largest_pretrained_weights(
    make_transfer, watched, family
):
    """Not of weights that an earlier network was trained to, and in every stack by itself."""
    made = make_transfer(family=family, kept=30)
    transfer_ticket(made.transfer, made.trial)
    place = next(i for i, one in enumerate(networks(made.transfer)) if one.kind == "untrained")
    before, masks, after, _ = watched[place]
    model = made.trial.load()
    own = mask_tensors(WeightMask.load(made.transfer.masks["toy", "de"]), model)
    assert masks.keys() == own.keys()  # with the pooler or not, as the own ticket
    places = {id(weight): spot for spot, weight in weight_matrices(model).values()}
    stacks = {
        name: places[id(weight)].stack
        for name, weight in model.named_parameters()
        if id(weight) in places
    }
    for stack in set(stacks.values()):
        names = [name for name in masks if stacks[name] == stack]
        kept = torch.cat([masks[name].flatten() for name in names])
        sizes = torch.cat([before[name].flatten() for name in names]).abs()
        assert kept.sum() == round(len(kept) * 0.3)
        assert sizes[kept].min() >= sizes[~kept].max()
    assert all(not after[name][~mask].any() for name, mask in masks.items())
    assert set(table_of(made).query("mask_kind == 'untrained'")["language"]) == {"de"}


def test_random_masks_differ_from_each_other(make_transfer, watched):
    made = make_transfer()
    transfer_ticket(made.transfer, made.trial)
    kinds = [network.kind for network in networks(made.transfer)]
    one, two = (watched[i][1] for i, kind in enumerate(kinds) if kind == "random")
    assert not any(torch.equal(one[name], two[name]) for name in one)


def test_random_weights_leave_nothing_of_the_folder_but_the_head(make_transfer, watched):
    made = make_transfer()
    transfer_ticket(made.transfer, made.trial)
    pretrained, scrambled = watched[0][0], watched[-1][0]
    assert networks(made.transfer)[-1].weights == "random"
    for name, value in scrambled.items():
        drawn = value.ndim == 2 and not name.startswith("classifier")
        assert torch.equal(value, pretrained[name]) != drawn, name
    weight = scrambled["bert.encoder.layer.0.output.dense.weight"]
    assert weight.std().item() == pytest.approx(0.3, rel=0.1)  # the configuration's own scale


def test_another_number_of_steps(make_transfer, watched):
    made = make_transfer(training={"epochs": 0.1})
    transfer_ticket(replace(made.transfer, steps=7), made.trial)
    assert {history[-1]["step"] for *_, history in watched} == {7}
    assert set(table_of(made)["steps"]) == {7}


def test_a_killed_transfer_keeps_the_networks_it_has(make_transfer, monkeypatch):
    whole, made = make_transfer("whole"), make_transfer("made")
    transfer_ticket(whole.transfer, whole.trial)
    child = os.fork()
    if not child:
        calls = []
        batch = made.toy.batch

        def fail(*arguments, **options):
            calls.append(1)
            if len(calls) == 40:
                os.kill(os.getpid(), signal.SIGKILL)
            return batch(*arguments, **options)

        made.toy.batch = fail
        transfer_ticket(made.transfer, made.trial)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    left = {path.parent.name: path for path in (made.folder / ".transfer").glob("*/counts.*")}
    assert 2 < len(left) < 10
    content = bytearray(left["ticket-toy-de-0-pretrained"].read_bytes())
    content[-1] ^= 1
    left["ticket-toy-de-0-pretrained"].write_bytes(content)  # which is made again
    transfer_ticket(made.transfer, made.trial)
    pd.testing.assert_frame_equal(table_of(made), table_of(whole))
    assert len(made.toy.batches) < len(whole.toy.batches) - 14


def test_the_log_says_how_far_it_is(make_transfer, caplog):
    caplog.set_level("INFO")
    made = make_transfer()
    transfer_ticket(made.transfer, made.trial)
    total = len(networks(made.transfer))
    for number in range(1, total + 1):
        assert f"network {number} of {total}: " in caplog.text
    found = latest("\n".join(caplog.messages))
    assert (found.stage, found.what) == (f"network {total} of {total}", "step")
    assert found.done == found.total


def test_a_changed_mask_starts_afresh(make_transfer, caplog):
    made = make_transfer()
    folder = made.folder / ".transfer"
    transfer_ticket(made.transfer, made.trial)
    before = table_of(made)
    made.toy.batch, batch = None, made.toy.batch  # stops at the first training
    with pytest.raises(TypeError):
        transfer_ticket(made.transfer, made.trial)
    made.toy.batch = batch
    assert folder.is_dir()
    path = made.transfer.masks["toy", "en"]
    mask = WeightMask.load(path)
    WeightMask({name: ~bits for name, bits in mask.bits.items()}, mask.places).save(path)
    transfer_ticket(made.transfer, made.trial)
    assert "starting afresh: files changed" in caplog.text
    changed = table_of(made)["mask_language"] == "en"
    assert changed.sum() == 1
    pd.testing.assert_frame_equal(table_of(made)[~changed], before[~changed])


def test_a_mask_of_another_architecture_stops_before_training(make_transfer, make_model):
    made = make_transfer()
    model = make_model("mt5")
    matrices = weight_matrices(model)
    path = made.transfer.masks["third", "de"]
    WeightMask(
        {name: np.ones(weight.shape, bool) for name, (_, weight) in matrices.items()},
        {name: place for name, (place, _) in matrices.items()},
    ).save(path)
    with pytest.raises(BabelscopeError, match=rf"{path} is of another architecture"):
        transfer_ticket(made.transfer, made.trial)
    assert not made.toy.batches


def test_a_text_to_text_network(make_transfer, watched):
    """Nothing of it is outside the base model, so all of it is drawn anew."""
    made = make_transfer(family="mt5")
    transfer_ticket(made.transfer, made.trial)
    assert len(table_of(made)) == 14
    pretrained, scrambled = watched[0][0], watched[-1][0]
    pruned = read_arrays(f"{made.trial.model}/model.safetensors")
    assert torch.equal(pretrained["shared.weight"], torch.from_numpy(pruned["shared.weight"]))
    for name, value in scrambled.items():
        assert torch.equal(value, pretrained[name]) == (value.ndim == 1), name


def test_a_network_that_fails_after_its_last_step_is_not_trained_again(make_transfer, monkeypatch):
    whole, made = make_transfer("whole"), make_transfer("made")
    transfer_ticket(whole.transfer, whole.trial)

    steps = []
    take = fitting._Training._take_step

    def counting(self, parts):
        steps.append(self.step)
        return take(self, parts)

    monkeypatch.setattr(fitting._Training, "_take_step", counting)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "write_arrays", full)
        with pytest.raises(BabelscopeError, match="No space left"):
            transfer_ticket(made.transfer, made.trial)
    transfer_ticket(made.transfer, made.trial)
    assert table_of(made).equals(table_of(whole))
    assert steps == [*range(5)] * len(networks(made.transfer))
