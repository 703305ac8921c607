"""A search for tickets: exact shares, true rewinding, and nothing lost when it is killed."""

import errno
import os
import signal
from itertools import pairwise

import numpy as np
import pytest
import torch

from babelscope.errors import BabelscopeError
from babelscope.io import read_arrays, read_table, write_arrays
from babelscope.progress import latest
from babelscope.subnetworks import trials
from babelscope.subnetworks.magnitude import find_ticket, untrained_mask
from babelscope.subnetworks.masks import WeightMask
from babelscope.subnetworks.matrices import mask_tensors, weight_matrices
from babelscope.training import checkpoints, fitting

KEPT = (80, 60, 40)


def masks_of(made):
    return {kept: WeightMask.load(made.search.masks[kept]) for kept in KEPT}


def stacks_of(mask):
    return list(dict.fromkeys(place.stack for place in mask.places.values()))


def names_in(mask, stack):
    return [name for name, place in mask.places.items() if place.stack == stack]


def assert_same_masks(one, other):
    for kept in KEPT:
        for name, bits in one[kept].bits.items():
            np.testing.assert_array_equal(bits, other[kept].bits[name])


def agreement(one, other):
    pairs = (masks_of(made)[40].bits for made in (one, other))
    left, right = (np.concatenate([bits[name].ravel() for name in sorted(bits)]) for bits in pairs)
    return (left == right).mean()


def snapshot(network):
    return {name: value.detach().clone() for name, value in network.named_parameters()}


@pytest.fixture
def watched(monkeypatch):
    """Record weights before, masks, and weights after every training."""
    seen = []
    fit = trials.fit

    def watch(network, *arguments, **options):
        before = snapshot(network)
        history = fit(network, *arguments, **options)
        seen.append((before, options["masks"], snapshot(network)))
        return history

    monkeypatch.setattr(trials, "fit", watch)
    return seen


@pytest.mark.parametrize("family", ["bert", "mt5"])
@pytest.mark.parametrize("variant", ["ticket", "random", "component"])
def test_every_round_keeps_the_exact_share_of_every_part(make_toy, family, variant):
    made = make_toy(family=family, variant=variant, early_step=99)
    find_ticket(made.search, made.trial)
    masks = masks_of(made)
    assert stacks_of(masks[80]) == (["encoder", "decoder"] if family == "mt5" else ["encoder"])
    for kept, mask in masks.items():
        for stack in stacks_of(mask):
            names = names_in(mask, stack)
            size = sum(mask.bits[name].size for name in names)
            total = sum(mask.counts[name] for name in names)
            shares = [mask.counts[name] / mask.bits[name].size for name in names]
            if variant == "component":
                for name in names:
                    assert mask.counts[name] == round(mask.bits[name].size * kept / 100)
            else:
                assert total == round(size * kept / 100)
                assert np.ptp(shares) > (0.005 if variant == "random" else 0.02)
    for more, fewer in ((80, 60), (60, 40)):
        for name, bits in masks[fewer].bits.items():
            assert not (bits & ~masks[more].bits[name]).any()
    assert not (made.folder / ".checkpoints").exists()


def test_scores_and_history_say_what_was_measured(make_toy, caplog):
    caplog.set_level("INFO")
    made = make_toy()
    find_ticket(made.search, made.trial)
    told = str(latest("\n".join(caplog.messages)))
    assert told == "training 4 of 4, step 5 of 5, 0.0 min left of this one"
    scores, history = read_table(made.search.scores), read_table(made.search.history)
    labels = ["model", "seed", "task", "language", "variant", "round", "kept", "stage", "split"]
    assert list(scores) == [*labels, "metric", "value", "low", "high", "n", "steps"]
    assert scores[labels[5:]].to_records(index=False).tolist() == [
        row
        for number in range(4)
        for row in [
            (number, 100 - 20 * number, "trained", "valid"),
            (number, 100 - 20 * number, "trained", "test"),
            (number, 80 - 20 * number, "pruned", "valid"),
        ][: 3 if number < 3 else 2]
    ]
    assert set(scores["n"][scores["split"] == "test"]) == {40}
    assert set(scores["n"][scores["split"] == "valid"]) == {30}
    assert set(scores["steps"]) == {5}
    assert (scores["low"] <= scores["value"]).all()
    assert (scores["value"] <= scores["high"]).all()
    assert list(history["step"]) == [2, 4, 5] * 4
    assert list(history["kept"][::3]) == [100, 80, 60, 40]
    assert history["loss"].notna().all()


def test_the_scores_are_those_of_the_networks(make_toy, watched):
    """Pruned networks are scored before they are rewound, and with the new mask."""
    made = make_toy()
    find_ticket(made.search, made.trial)
    scores, masks = read_table(made.search.scores), masks_of(made)
    network = made.trial.load()
    for number, (_, _, trained) in enumerate(watched):
        for kept, stage in ((100 - 20 * number, "trained"), (80 - 20 * number, "pruned")):
            if kept < 40:
                continue
            network.load_state_dict(trained, strict=False)
            if stage == "pruned":
                for name, tensor in mask_tensors(masks[kept], network).items():
                    network.get_parameter(name).data.mul_(tensor)
            examples = made.trial.read("valid", made.search.files["valid"])
            counts = made.trial.count(network, examples)
            row = scores[(scores["round"] == number) & (scores["stage"] == stage)].iloc[0]
            assert (row["split"], row["value"]) == ("valid", counts[:, 0].mean())


@pytest.mark.parametrize("variant", ["ticket", "random", "component", "repeat"])
def test_rewinding_restores_the_first_weights_bit_by_bit(make_toy, watched, variant):
    """Of the body where kept, and of everything else, the head included."""
    made = make_toy(variant=variant)
    find_ticket(made.search, made.trial)
    first = watched[0][0]
    pretrained = read_arrays(f"{made.trial.model}/model.safetensors")
    assert torch.equal(
        first["bert.encoder.layer.1.output.dense.weight"],
        torch.from_numpy(pretrained["bert.encoder.layer.1.output.dense.weight"]),
    )
    for number, (start, masks, trained) in enumerate(watched):
        for name, value in start.items():
            assert torch.equal(value, first[name])
            moved = trained[name] != value
            pruned = torch.zeros_like(moved) if not number else ~masks.get(name, moved | True)
            assert not trained[name][pruned].any()
            if "pooler" not in name and "key.bias" not in name and value.ndim == 2:
                assert moved[~pruned].any(), name
    assert watched[0][1] is None
    assert len(watched) == 4


def test_early_rewinding_goes_back_to_an_early_step(make_toy, watched):
    made, full = make_toy("early", variant="early"), make_toy("full")
    find_ticket(made.search, made.trial)
    examples = full.trial.read("train", full.search.files["train"])
    network = full.trial.load()
    taken = {}
    full.trial.train(
        network,
        examples,
        None,
        full.folder,
        on_step=lambda step: taken.update({step: snapshot(network)}),
    )
    for start, _, _ in watched[1:4]:
        assert all(torch.equal(start[name], taken[2][name]) for name in start)
    assert not torch.equal(taken[2]["classifier.weight"], watched[0][0]["classifier.weight"])


def test_an_early_step_beyond_the_round_is_refused(make_toy):
    made = make_toy(variant="early", early_step=6)
    with pytest.raises(BabelscopeError, match=r"early_step is 6, but a round has 5 steps"):
        find_ticket(made.search, made.trial)
    assert not made.toy.batches  # nothing was trained in vain


def test_unrewound_weights_go_on(make_toy, watched):
    made = make_toy(variant="unrewound")
    find_ticket(made.search, made.trial)
    for (_, _, before), (start, masks, _) in pairwise(watched):
        for name, value in start.items():
            expected = before[name].where(masks[name], 0) if name in masks else before[name]
            assert torch.equal(value, expected)


def plain_search(made, batches):
    """Find masks with plain loops: a fresh network each round, one weight after another."""
    examples = made.toy.read(made.search.files["train"], examples=None, seed=0)
    rate = {"bert": 0.01, "mt5": 0.02}[made.toy.family]
    places = {name: place for name, (place, _) in weight_matrices(made.trial.load()).items()}
    masks = [dict.fromkeys(places)]
    for kept in KEPT:
        network, last = made.trial.load().train(), masks[-1]
        weights = {name: parameter for name, (_, parameter) in weight_matrices(network).items()}

        def erase(weights=weights, last=last, gradients=False):
            for name, mask in last.items():
                if mask is not None:
                    (weights[name].grad if gradients else weights[name].data).mul_(mask)

        decayed = [value for value in network.parameters() if value.ndim > 1]
        others = [value for value in network.parameters() if value.ndim == 1]
        groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, weight_decay=0.01, fused=True)
        erase()
        for step, rows in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = rate * (step / 5 / 0.25 if step < 2 else (1 - step / 5) / 0.75)
            optimizer.zero_grad()
            batch = made.toy.batch(examples, rows, seed=0, epoch=0)
            loss, number = made.toy.losses(network, batch)
            (loss / number).backward()
            erase(gradients=True)
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            erase()
        found = {name: torch.zeros(weight.shape, dtype=bool) for name, weight in weights.items()}
        for stack in ("encoder", "decoder"):
            arrays = {
                name: weights[name].detach().numpy()
                for name in weights
                if places[name].stack == stack
            }
            ranked = sorted(
                (-abs(value), name, index)
                for name, array in arrays.items()
                for index, value in np.ndenumerate(array)
                if last[name] is None or last[name][index]
            )
            size = sum(array.size for array in arrays.values())
            for _, name, index in ranked[: round(size * kept / 100)]:
                found[name][index] = True
        masks.append(found)
    return dict(zip(KEPT, masks[1:], strict=True))


@pytest.mark.parametrize("family", ["bert", "mt5"])
def test_the_masks_are_those_of_a_plain_search(make_toy, family):
    made = make_toy(family=family, dropout=0.0)
    find_ticket(made.search, made.trial)
    plain = plain_search(made, made.toy.batches[:5])
    for kept, mask in masks_of(made).items():
        for name, bits in mask.bits.items():
            np.testing.assert_array_equal(bits, plain[kept][name])


@pytest.mark.parametrize("variant", ["ticket", "component"])
def test_a_ticket_that_is_known(make_toy, variant):
    """Large weights, of unequal number in the matrices, are the ticket if steps are tiny."""
    made = make_toy(variant=variant, training={"lr": {"default": 1e-6}})
    path = f"{made.trial.model}/model.safetensors"
    arrays = read_arrays(path)
    matrices = weight_matrices(made.trial.load())
    size = sum(weight.numel() for _, weight in matrices.values())
    generator = np.random.default_rng(0)
    chosen = np.zeros(size, dtype=bool)
    chosen[generator.permutation(size)[: round(size * 0.4)]] = True
    chosen = np.sort(chosen[: size // 2])[::-1].tolist() + chosen[size // 2 :].tolist()
    planted, first = {}, 0
    for name, (_, weight) in matrices.items():
        bits = np.array(chosen[first : first + weight.numel()]).reshape(weight.shape)
        first += weight.numel()
        signs = generator.choice([-1, 1], weight.shape)
        small = generator.uniform(0.001, 0.1, weight.shape)
        arrays[f"bert.{name}"] = (signs * np.where(bits, 0.2, small)).astype(np.float32)
        planted[name] = bits
    write_arrays(path, arrays)
    find_ticket(made.search, made.trial)
    found = masks_of(made)[40].bits
    wrong = sum(int((found[name] != planted[name]).sum()) for name in planted)
    assert wrong == 0 if variant == "ticket" else wrong > size * 0.1


def test_random_masks_follow_from_the_seed(make_toy):
    one, two, other = (
        make_toy(f"{seed}{name}", variant="random", seed=seed)
        for seed, name in ((1, "a"), (1, "b"), (2, "c"))
    )
    for made in (one, two, other):
        find_ticket(made.search, made.trial)
    assert_same_masks(masks_of(one), masks_of(two))
    assert agreement(one, other) == pytest.approx(0.4**2 + 0.6**2, abs=0.02)


def test_a_repeat_with_another_seed_is_another_draw(make_toy):
    one, two = make_toy("one", seed=1), make_toy("two", seed=2, variant="repeat")
    for made in (one, two):
        find_ticket(made.search, made.trial)
    assert 0.6 < agreement(one, two) < 0.999


def test_a_search_that_would_leave_nothing_is_refused(make_toy):
    files = {100 - 20 * number: "mask" for number in range(1, 6)}
    with pytest.raises(ValueError, match="5 rounds of 20 % leave nothing"):
        make_toy(rounds=5, masks=files)
    with pytest.raises(ValueError, match="masks of"):
        make_toy(rounds=2)


def test_the_pooler_on_demand(make_toy):
    made = make_toy(pooler=True)
    find_ticket(made.search, made.trial)
    mask = masks_of(made)[40]
    assert mask.places["pooler.dense.weight"].component == "pooler"
    assert mask.kept == round(mask.size * 0.4)


@pytest.mark.parametrize("family", ["bert", "mt5"])
@pytest.mark.parametrize("pooler", [True, False])
def test_the_untrained_mask_keeps_the_largest_weights_of_every_stack(make_model, family, pooler):
    """As a ticket of training that moves nothing would."""
    model = make_model(family)
    before = snapshot(model)
    mask = untrained_mask(model, 37, pooler=pooler)
    matrices = weight_matrices(model, pooler=pooler)
    assert mask.bits.keys() == matrices.keys()
    for stack in stacks_of(mask):
        names = names_in(mask, stack)
        bits = np.concatenate([mask.bits[name].ravel() for name in names])
        weights = [matrices[name][1].detach().numpy().ravel() for name in names]
        sizes = np.abs(np.concatenate(weights))
        assert bits.sum() == round(bits.size * 0.37)
        assert sizes[bits].min() >= sizes[~bits].max()
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())


def test_a_ticket_of_training_that_moves_nothing_is_the_untrained_mask(make_toy):
    made = make_toy(training={"lr": {"default": 1e-30}})
    find_ticket(made.search, made.trial)
    for kept, mask in masks_of(made).items():
        untrained = untrained_mask(made.trial.load(), kept, pooler=False)
        assert untrained.network == mask.network
        for name, bits in mask.bits.items():
            np.testing.assert_array_equal(bits, untrained.bits[name])


def crash_at(monkeypatch, toy, call, how):
    """Let something happen when a batch is asked for, the `call`-th time."""
    batch, calls = toy.batch, []

    def fail(*arguments, **options):
        calls.append(1)
        if len(calls) == call:
            how()
        return batch(*arguments, **options)

    monkeypatch.setattr(toy, "batch", fail)


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def interrupted():
    raise KeyboardInterrupt


# A round takes 5 batches of training and 2 + 3 + 2 of scoring.
@pytest.mark.parametrize(
    ("variant", "call"),
    [
        ("ticket", 4),
        ("ticket", 12 + 7),
        ("early", 4),
        ("early", 16),
        ("unrewound", 30),
        ("random", 40),
    ],
)
def test_a_search_goes_on_where_it_was(make_toy, monkeypatch, variant, call):
    whole = make_toy("whole", variant=variant, training={"save_steps": 1})
    find_ticket(whole.search, whole.trial)
    made = make_toy("made", variant=variant, training={"save_steps": 1})
    with monkeypatch.context() as patch:
        crash_at(patch, made.toy, call, interrupted)
        with pytest.raises(KeyboardInterrupt):
            find_ticket(made.search, made.trial)
    done = len(made.toy.batches)
    find_ticket(made.search, made.trial)
    assert_same_masks(masks_of(made), masks_of(whole))
    for table in ("scores", "history"):
        one, two = (read_table(getattr(m.search, table)) for m in (made, whole))
        assert one.drop(columns="seconds", errors="ignore").equals(
            two.drop(columns="seconds", errors="ignore")
        )
    assert len(made.toy.batches) - done < len(whole.toy.batches)  # not all over again


@pytest.mark.parametrize("damaged", [False, True])
def test_a_search_killed_in_its_second_round_goes_on(make_toy, monkeypatch, damaged):
    whole, made = (make_toy(name, training={"save_steps": 2}) for name in ("whole", "made"))
    find_ticket(whole.search, whole.trial)
    with monkeypatch.context() as patch:
        crash_at(patch, made.toy, 12 + 4, killed)
        child = os.fork()
        if not child:
            find_ticket(made.search, made.trial)
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    left = made.folder / ".checkpoints"
    assert (left / "round-0" / "mask.safetensors").is_file()
    assert not (left / "round-1").exists()
    assert (left / "training" / "checkpoint-000000002").is_dir()
    assert not made.toy.batches  # what the child did, it did in its own memory
    if damaged:
        mask = left / "round-0" / "mask.safetensors"
        content = bytearray(mask.read_bytes())
        content[-1] ^= 1
        mask.write_bytes(content)
    find_ticket(made.search, made.trial)
    assert_same_masks(masks_of(made), masks_of(whole))
    saved = 0 if damaged else 12 + 2
    assert len(made.toy.batches) == len(whole.toy.batches) - saved


def test_a_round_that_fails_after_its_last_step_is_not_trained_again(make_toy, monkeypatch):
    whole, made = make_toy("whole"), make_toy("made")
    find_ticket(whole.search, whole.trial)
    save = WeightMask.save

    steps = []
    take = fitting._Training._take_step

    def counting(self, parts):
        steps.append(self.step)
        return take(self, parts)

    monkeypatch.setattr(fitting._Training, "_take_step", counting)

    def full(self, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(WeightMask, "save", full)
    with pytest.raises(BabelscopeError, match="No space left"):
        find_ticket(made.search, made.trial)
    monkeypatch.setattr(WeightMask, "save", save)
    find_ticket(made.search, made.trial)
    assert_same_masks(masks_of(made), masks_of(whole))
    assert steps == [*range(5)] * 4  # rounds


def test_changed_settings_or_data_start_afresh(make_toy, monkeypatch, caplog):
    made = make_toy()
    with monkeypatch.context() as patch:
        crash_at(patch, made.toy, 20, interrupted)
        with pytest.raises(KeyboardInterrupt):
            find_ticket(made.search, made.trial)
    windows = read_arrays(made.search.files["train"])["windows"]
    write_arrays(made.search.files["train"], {"windows": windows[::-1]})
    find_ticket(made.search, made.trial)
    assert "starting afresh: files changed" in caplog.text
    again = make_toy("again")
    write_arrays(again.search.files["train"], {"windows": windows[::-1]})
    find_ticket(again.search, again.trial)
    assert_same_masks(masks_of(made), masks_of(again))


def test_two_processes_do_not_share_a_search(make_toy):
    made = make_toy()
    with (
        checkpoints.locked(made.search.checkpoints),
        pytest.raises(BabelscopeError, match="Another process"),
    ):
        find_ticket(made.search, made.trial)


def test_weights_that_are_no_numbers_end_a_search(make_toy):
    made = make_toy(training={"lr": {"default": 1e30}})
    with pytest.raises(BabelscopeError, match="not finite"):
        find_ticket(made.search, made.trial)
    assert not (made.folder / "masks").exists()
