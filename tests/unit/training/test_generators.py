import math

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from babelscope.config import GeneratorTraining
from babelscope.io import read_table
from babelscope.models.poolers import find_pooler, sentence_states
from babelscope.models.removal import load_model
from babelscope.models.sentences import pad
from babelscope.training import generator_steps, generators
from babelscope.training.generator_steps import HeldOut, Objective, Steps, block_passes
from babelscope.training.instructions import read_samples

FAMILIES = ("gpt2", "xglm", "bloom", "llama")


@pytest.fixture
def study(generator_study):
    return generator_study(dropout=0.0)


@pytest.fixture
def samples(study):
    return read_samples(study.train, study.tokenizer(), max_tokens=12, block=40)


def settings_of(study, **changes):
    return GeneratorTraining.model_validate(study.settings | changes)


def difference(one, two):
    assert one.keys() == two.keys()
    return max(np.abs(one[key] - two[key]).max() for key in one)


# The loss of a step


def loss_by_hand(model, samples, rows, settings):
    """Return both losses of a step, sentence by sentence and text by text."""
    layer = int(settings.pooler.split("-")[1])

    def vector(number):
        ids = torch.from_numpy(samples.sentences[number].astype(int))[None]
        states = model(input_ids=ids, output_hidden_states=True).hidden_states[layer][0].mean(0)
        return states / states.norm()

    groups = samples.contents[samples.pairs[rows, 0]]
    a, b = ([vector(number) for number in samples.pairs[rows, side]] for side in (0, 1))
    hard = {i: vector(n) for i, n in enumerate(samples.pairs[rows, 2]) if n >= 0}
    total = torch.zeros(())
    for one, other in ((a, b), (b, a)):
        for i in range(len(rows)):
            scores = [
                one[i] @ other[j] / settings.temperature
                for j in range(len(rows))
                if i == j or groups[i] != groups[j]
            ]
            scores += [
                one[i] @ vectors / settings.temperature
                + settings.hard_negative_weight * (owner == i)
                for owner, vectors in hard.items()
            ]
            right = one[i] @ other[i] / settings.temperature
            total = total + torch.stack(scores).logsumexp(0) - right
    contrastive = total / (2 * len(rows))
    summed, count = torch.zeros(()), 0
    for row in rows:
        ids = torch.from_numpy(samples.instructions[row].astype(int))
        there = np.flatnonzero(samples.labels[samples.instructions.place(row)])
        logits = model(input_ids=ids[None]).logits[0]
        picked = logits[there - 1].log_softmax(-1)[torch.arange(len(there)), ids[there]]
        summed, count = summed - picked.sum(), count + len(there)
    return contrastive, summed / count


def take_step(model, samples, study, network="aligned-both", **changes):
    """Return the losses by name and the gradients of the first step, as training takes it."""
    settings = settings_of(study, **changes)
    order = Steps(samples, settings, network, seed=5)
    objective = Objective(network, find_pooler(settings.pooler, 3), settings)
    found = {}
    model.zero_grad()
    for epoch, part in order.parts(0):
        batch = objective.batch(samples, part, seed=5, epoch=epoch)
        loss, count = objective.losses(model, batch)
        (loss * part.factor).backward()
        found.setdefault(part.measure, []).append((loss.item(), float(count)))
    losses = {
        name: math.fsum(loss for loss, _ in parts) / math.fsum(count for _, count in parts)
        for name, parts in found.items()
    }
    return losses, {
        name: value.grad.clone()
        for name, value in model.named_parameters()
        if value.grad is not None
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_is_the_one_written_by_hand(make_model, study, samples, family):
    model = make_model(family)
    losses, gradients = take_step(model, samples, study)
    settings = settings_of(study)
    rows = Steps(samples, settings, "aligned-both", seed=5).rows(0)
    assert (samples.pairs[rows, 2] >= 0).any()
    contrastive, instruction = loss_by_hand(model, samples, rows, settings)
    assert losses["contrastive"] == pytest.approx(contrastive.item(), rel=1e-4)
    assert losses["instruction"] == pytest.approx(instruction.item(), rel=1e-4)
    model.zero_grad()
    (contrastive + 1.5 * instruction).backward()
    for name, value in model.named_parameters():
        torch.testing.assert_close(gradients[name], value.grad, rtol=1e-2, atol=1e-3, msg=name)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_cached_gradients_are_those_of_the_whole_batch(make_model, study, samples, size):
    """And more forward passes of instructions."""
    model = make_model("gpt2").double()
    whole, cached = (
        take_step(model, samples, study),
        take_step(model, samples, study, mini_batch=size),
    )
    assert whole[0] == pytest.approx(cached[0])
    for name, value in whole[1].items():
        torch.testing.assert_close(value, cached[1][name], msg=name)
    passes = block_passes(samples, np.arange(20), settings_of(study, mini_batch=size))
    assert max(len(blocks) for blocks in passes) <= size
    assert sorted(n for blocks in passes for row in blocks for n in row) == list(range(20))


def test_one_branch_alone(make_model, study, samples):
    model = make_model("gpt2").double()
    both = take_step(model, samples, study)
    pairs = take_step(model, samples, study, "aligned-contrastive")
    texts = take_step(model, samples, study, "aligned-instruction")
    assert both[0] == pairs[0] | texts[0]
    for name, value in both[1].items():
        nothing = torch.zeros_like(value)
        parts = pairs[1].get(name, nothing) + texts[1].get(name, nothing)
        torch.testing.assert_close(value, parts, msg=name)
    assert not any(".h.2." in name for name, value in pairs[1].items() if value.any())


def test_gradients_flow_to_both_sides(make_model, study, samples):
    """The words of both languages move, of which the one never stands where the other does."""
    model = make_model("gpt2")
    _, gradients = take_step(model, samples, study, "aligned-contrastive")
    moved = gradients["transformer.wte.weight"].abs().sum(1) > 0
    first, second = moved[5:45], moved[45:85]
    assert first.sum() > 15
    assert torch.equal(first, second)


def test_every_sample_is_used_equally_often_and_no_remainder_is_left(study, samples):
    order = Steps(samples, settings_of(study, max_steps=None, epochs=3), "aligned-both", seed=5)
    assert order.steps == 10
    used = np.concatenate([order.rows(step) for step in range(10)])
    assert len(used) == 60
    for epoch in range(3):
        assert sorted(used[20 * epoch : 20 * (epoch + 1)]) == list(range(20))
    assert order.epochs(10) == 3
    lengths = samples.sentences.lengths
    pairs = sum(lengths[n] for row in samples.pairs for n in row if n >= 0)
    assert order.tokens(10) == 3 * (pairs + samples.instructions.lengths.sum())
    only = Steps(samples, settings_of(study), "aligned-instruction", seed=5)
    assert only.tokens(10) == 3 * samples.instructions.lengths.sum()


def test_a_step_without_a_label_has_no_loss_and_no_nan(make_model, study, samples):
    samples.labels[:] = False
    losses = []
    model = make_model("gpt2")
    settings = settings_of(study)
    objective = Objective("x", find_pooler("avg-2", 3), settings)
    for epoch, part in Steps(samples, settings, "aligned-instruction", seed=5).parts(0):
        loss, _ = objective.losses(model, objective.batch(samples, part, seed=5, epoch=epoch))
        (loss * part.factor).backward()
        losses.append(loss.item())
    assert losses == [0.0]
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


# Whole trainings


def test_contrastive_training_alone_raises_retrieval_on_held_out_pairs(generator_study):
    study = generator_study(dropout=0.0)
    study.train = study.write_samples("train", 400, seed=2)
    study.valid = study.write_samples("valid", 60, seed=3)
    options = {"max_steps": 60, "batch_size": 32, "lr": 0.01, "eval_steps": 60}
    history = study.align(network="aligned-contrastive", **options)
    error = history["retrieval_error"].dropna()
    assert error.iloc[0] > 80
    assert error.iloc[-1] < 40
    assert history["contrastive"].dropna().iloc[-1] < history["contrastive"].dropna().iloc[0] - 1
    assert "instruction" not in history


def test_the_history_and_the_cost_have_what_the_study_shows(study):
    history = study.align()
    long = read_table(study.run().history)
    assert list(long.columns) == ["step", "epoch", "measure", "value"]
    assert set(long["measure"]) == {
        *("contrastive", "instruction", "loss", "gradient_norm", "learning_rate"),
        *("seconds", "tokens", "valid_contrastive", "valid_instruction", "retrieval_error"),
    }
    assert np.isfinite(long["value"]).all()
    assert not long.duplicated(["step", "measure"]).any()
    assert history["step"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert history.loc[history["retrieval_error"].notna(), "step"].tolist() == [0, 3, 6, 7]
    both = history["contrastive"] + 1.5 * history["instruction"]
    np.testing.assert_allclose(history["loss"].dropna(), both.dropna(), rtol=1e-5)
    assert history["learning_rate"].max() == pytest.approx(0.005, rel=0.1)
    (cost,) = read_table(study.run().cost).to_dict("records")
    assert cost["steps"] == 7
    assert cost["steps_per_second"] == pytest.approx(7 / cost["seconds"])
    assert cost["tokens_per_second"] == pytest.approx(history["tokens"].max() / cost["seconds"])
    assert cost["parameters"] == cost["trained_parameters"] > 40_000
    assert (cost["processes"], cost["device"], cost["precision"]) == (1, "cpu", "float32")
    assert 100 < cost["peak_memory_mb"] < 10_000


@pytest.mark.parametrize("family", FAMILIES)
def test_the_folder_is_a_model_as_any_other(generator_study, family):
    """It has one copy of tied weights, and states and losses are those that training saw last."""
    study = generator_study(family)
    history = study.align(max_steps=2)
    model = AutoModelForCausalLM.from_pretrained(study.folder / "out")
    assert study.weights("out").keys() == study.weights("source").keys()
    assert difference(study.weights("out"), study.weights("source")) > 1e-4
    tokenizer = study.tokenizer()
    held = read_samples(study.valid, tokenizer, max_tokens=12, block=40)
    wanted = history["valid_instruction"].dropna().iloc[-1]
    _, found = loss_by_hand(model, held, np.arange(9), settings_of(study))
    assert found.item() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_low_rank_adapters_alone_are_trained_and_merged(generator_study, family):
    study = generator_study(family)
    lora = {"rank": 2, "alpha": 8.0, "dropout": 0.1}
    history = study.align(max_steps=3, lora=lora)
    before, after = study.weights("source"), study.weights("out")
    assert before.keys() == after.keys()
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert changed
    assert not any("norm" in name or "ln_" in name or "embed" in name for name in changed)
    assert all(before[name].ndim == 2 for name in changed)
    (cost,) = read_table(study.run().cost).to_dict("records")
    assert cost["trained_parameters"] < cost["parameters"] / 3
    model = AutoModelForCausalLM.from_pretrained(study.folder / "out")
    held = read_samples(study.valid, study.tokenizer(), max_tokens=12, block=40)
    _, found = loss_by_hand(model, held, np.arange(9), settings_of(study))
    wanted = history["valid_instruction"].dropna().iloc[-1]
    assert found.item() == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize(
    "change", [{"mini_batch": 2}, {"gradient_checkpointing": True}, {"block": 20}]
)
def test_ways_to_save_memory_change_nothing(study, change, monkeypatch):
    """In float64: Adam makes steps of what is rounding where there is no gradient."""
    monkeypatch.setattr(generators, "load_model", lambda path: load_model(path).double())
    study.align("one")
    study.align("two", **change)
    assert difference(study.weights("one"), study.weights("two")) < 1e-8
    assert difference(study.weights("one"), study.weights("source")) > 1e-2


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision(study, precision):
    one, two = study.align("one"), study.align("two", precision=precision)
    for name in ("contrastive", "instruction"):
        first, second = (history[name].dropna().iloc[0] for history in (one, two))
        assert second == pytest.approx(first, rel=0.1)
        assert second != first


def test_evaluations_look_at_all_held_out_samples_of_which_none_is_nearest(study, make_model):
    """Against the loss of each batch and a plain search for neighbours."""
    tokenizer = study.tokenizer()
    samples = read_samples(study.valid, tokenizer, max_tokens=12, block=40)
    settings = settings_of(study)
    pooler = find_pooler("avg-2", 3)
    held = HeldOut(samples, pooler, settings, device="cpu", precision="float32")
    model = make_model("gpt2").train()
    before = torch.random.get_rng_state()
    found = held.measure(model)
    assert found == held.measure(model)
    assert model.training
    assert torch.equal(before, torch.random.get_rng_state())
    model.eval()
    losses = [loss_by_hand(model, samples, rows, settings) for rows in held.batches]
    assert [len(rows) for rows in held.batches] == [5, 4]
    mean = (5 * losses[0][0] + 4 * losses[1][0]) / 9
    assert found["valid_contrastive"] == pytest.approx(mean.item(), rel=1e-4)
    _, every = loss_by_hand(model, samples, np.arange(9), settings)
    assert found["valid_instruction"] == pytest.approx(every.item(), rel=1e-4)
    x, y = (
        sentence_states(
            model,
            *pad([torch.from_numpy(samples.sentences[n].astype(int)) for n in side], 1),
            pooler,
        )
        for side in samples.pairs[:, :2].T
    )
    cosines = torch.cosine_similarity(x[:, None], y[None], dim=-1)
    near = [cosines.topk(4, dim=dim).values.mean(dim) for dim in (0, 1)]
    margins = cosines - (near[0] + near[1][:, None]) / 2
    wrong = [margins.argmax(dim) != torch.arange(9) for dim in (0, 1)]
    assert found["retrieval_error"] == pytest.approx(100 * torch.cat(wrong).float().mean().item())


def test_a_process_may_have_none_of_few_sentences(study, samples, make_model, monkeypatch):
    """As in the last batch of an evaluation; what others have is zero until it is gathered."""
    for name, value in (("world", 2), ("rank", 1)):
        monkeypatch.setattr(generator_steps, name, lambda value=value: value)
    batch = generator_steps.text_batch(samples, np.array([3]), settings_of(study))
    pooler, model = find_pooler("avg-2", 3), make_model("gpt2")
    vectors = generator_steps.text_vectors(model, batch, pooler, total=1, cached=False)
    assert not vectors.any()
    vectors.sum().backward()


def test_more_held_out_samples_than_are_looked_at(study, samples, monkeypatch):
    monkeypatch.setattr(generator_steps, "HELD_OUT", 6)
    settings = settings_of(study, batch_size=4)
    held = HeldOut(samples, find_pooler("avg-2", 3), settings, device="cpu", precision="float32")
    assert np.concatenate(held.batches).tolist() == [0, 3, 6, 10, 13, 16]


# The best checkpoint


SELECTED = {"corpus": "any", "shots": 0, "examples": 5}


@pytest.fixture
def scored(monkeypatch):
    """Return a function that lets accuracies in context be what it is told, one after another."""

    def score(*values):
        told, seen = iter(values), []

        def accuracy(model):
            seen.append({name: x.detach().clone() for name, x in model.named_parameters()})
            return next(told)

        monkeypatch.setattr(generators, "_accuracy", lambda *_: accuracy)
        return seen

    return score


def test_the_best_weights_in_context_are_what_is_saved(study, scored):
    seen = scored(90.0, 20.0, 50.0, 50.0)  # before the first step, after steps 3, 6, 7
    history = study.align(selected_by=SELECTED)
    assert history["in_context_accuracy"].dropna().tolist() == [90, 20, 50, 50]
    saved = study.weights("out")
    assert all((saved[name] == seen[2][name].numpy()).all() for name in saved)
    assert any((saved[name] != seen[3][name].numpy()).any() for name in saved)


def test_the_last_weights_may_be_the_best(study, scored):
    seen = scored(0.0, 20.0, 10.0, 50.0)
    study.align(selected_by=SELECTED)
    saved = study.weights("out")
    assert all((saved[name] == seen[3][name].numpy()).all() for name in saved)


def test_the_score_in_context_is_that_of_the_scorer(study, monkeypatch, tmp_path):
    """The callable gets the network in training, the corpus and its prompts, and the settings."""
    import pandas as pd

    from babelscope.evaluation import generators as scorer
    from babelscope.evaluation import prompts as written
    from babelscope.io import write_table

    table = pd.DataFrame({"language": ["a"], "example": ["1"]})
    write_table(tmp_path / "choices.parquet", table)
    (tmp_path / "prompts.yaml").write_text("")
    calls = []

    def quick_accuracy(model, tokenizer, table, prompts, **options):
        calls.append((len(table), prompts, options))
        return 40.0

    monkeypatch.setattr(scorer, "quick_accuracy", quick_accuracy)
    monkeypatch.setattr(written, "read_prompts", lambda path: f"read {path}")
    (tmp_path / "prompts.yaml").write_text("x")
    history = study.align(
        selected_by=SELECTED,
        choices=str(tmp_path / "choices.parquet"),
        prompts=str(tmp_path / "prompts.yaml"),
        languages=["a", "b"],
        batch_tokens=300,
    )
    assert history["in_context_accuracy"].dropna().tolist() == [40.0] * 4
    length, prompts, options = calls[0]
    assert (length, prompts) == (1, f"read {tmp_path / 'prompts.yaml'}")
    wanted = {"shots": 0, "examples": 5, "seed": 5, "languages": ["a", "b"], "batch_tokens": 300}
    assert options == wanted | {"device": "cpu", "precision": "float32"}
