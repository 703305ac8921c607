"""Accuracies follow from strings that are scored one by one, and from what the examples hold."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from babelscope.evaluation import generators
from babelscope.evaluation.generators import (
    EXAMPLE_COLUMNS,
    PLACE,
    SCORE_COLUMNS,
    InContextSettings,
    evaluate_in_context,
    quick_accuracy,
)
from babelscope.evaluation.prompts import read_prompts

FOLDER = Path(__file__).resolve().parents[3] / "config" / "prompts"
PROMPTS = {task: read_prompts(FOLDER / f"{task}.yaml") for task in ("xnli", "xstorycloze")}
SETTINGS = {
    "shots": [0, 2],
    "demonstrations": [1, 2, 3],
    "prompts": ["own", "pivot"],
    "max_examples": None,
    "normalize": ["none", "characters"],
    "bootstrap": 50,
    "seed": 1,
}


@pytest.fixture(scope="module")
def tokenizer():
    """Return a tokenizer that reads any text of the tests as few tokens."""
    from transformers import XLMRobertaTokenizer

    words = ["right?", "richtig?", "Yes", "Ja", "Also", "Auch", "No", "Nein"]
    pieces = ["▁", *"0123456789.,", *(f"▁{one}" for one in [*words, "en", "de"]), *words]
    tokens = dict.fromkeys(["<s>", "<pad>", "</s>", "<unk>", *pieces, "<mask>"])
    return XLMRobertaTokenizer(vocab=[(token, 0.0) for token in tokens])


def table(task="xnli", languages=("en", "de"), tests=9, shown=6):
    rows = []
    for language in languages:
        for split, number in (("demonstrations", shown), ("test", tests)):
            for i in range(number):
                fields = [f"{language} {i}{i}", f"{language} {i * 7}.", f"{language} {i + 1}1."]
                row = (language, split, f"{split[0]}{i}", i % 2, *fields)
                rows.append(row[: 6 if task == "xnli" else 7])
    fields = ["premise", "hypothesis"] if task == "xnli" else ["context", "ending1", "ending2"]
    columns = pd.Index(["language", "split", "example", "label", *fields])
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture
def run(make_model, tokenizer):
    def evaluate(*tables, languages=("en", "de"), model=None, **changes):
        tasks = ["xstorycloze" if "context" in one else "xnli" for one in tables]
        return evaluate_in_context(
            model or make_model("gpt2"),
            tokenizer,
            {f"c{number}": pair for number, pair in enumerate(zip(tasks, tables, strict=True))},
            PROMPTS,
            languages=languages,
            pivot="en",
            settings=InContextSettings(**(SETTINGS | changes)),
            batch_tokens=200,
            device="cpu",
        )

    return evaluate


@pytest.fixture
def calls(monkeypatch):
    """Return the list of what is scored, added to at every call."""
    made = []

    def record(model, tokenizer, items, **options):
        made.append(items)
        return score(model, tokenizer, items, **options)

    score = generators.score_choices
    monkeypatch.setattr(generators, "score_choices", record)
    return made


def drawn(rows, seed, corpus="c0"):
    """Return all demonstrations in the order of a draw."""
    return generators._drawn(rows, None, seed, "demonstrations", corpus)


def test_every_place_has_its_row(run):
    found = run(table(), table("xstorycloze"))
    scores, examples = found
    assert list(scores) == SCORE_COLUMNS
    assert list(examples) == EXAMPLE_COLUMNS
    assert not scores[PLACE].duplicated().any()
    assert not examples[[*PLACE, "example"]].duplicated().any()
    places = scores[scores["metric"] == "accuracy"]
    prompts = places[["corpus", "language", "prompt"]].drop_duplicates().to_numpy().tolist()
    assert prompts == [
        [corpus, *pair]
        for corpus in ("c0", "c1")
        for pair in (["en", "en"], ["de", "de"], ["de", "en"])
    ]
    for _, rows in places.groupby(["corpus", "language", "prompt"]):
        assert list(zip(rows["shots"], rows["demonstrations"], strict=True)) == [
            (0, "0"),
            *((2, draw) for draw in ("1", "2", "3", "all")),
        ]
    assert len(scores) == 2 * len(places)
    assert (scores["n"] == 9).all()
    assert scores.groupby("task")["chance"].unique().to_dict() == {
        "xnli": pytest.approx([100 / 3]),
        "xstorycloze": [50],
    }
    assert set(examples["demonstrations"]) == {"0", "1", "2", "3"}
    assert (examples["correct"] == (examples["prediction"] == examples["gold"])).all()


def test_scores_are_the_means_of_their_examples_within_their_intervals(run):
    scores, examples = run(table(tests=40), bootstrap=400)
    means = 100 * examples.groupby(PLACE)["correct"].mean()
    single = scores[scores["demonstrations"] != "all"].set_index(PLACE)["value"]
    pd.testing.assert_series_equal(single.sort_index(), means, check_names=False)
    draws = ["task", "corpus", "language", "prompt", "shots", "metric"]
    over = scores[scores["demonstrations"] == "all"].set_index(draws)["value"]
    several = means.reset_index()
    several = several[several["shots"] > 0].groupby(draws)["correct"].mean()
    pd.testing.assert_series_equal(over.sort_index(), several, check_names=False)
    assert (scores["low"] <= scores["value"]).all()
    assert (scores["value"] <= scores["high"]).all()
    inside = scores[scores["value"].between(20, 80) & (scores["demonstrations"] != "all")]
    share = inside["value"] / 100
    width = 2 * 196 * np.sqrt(share * (1 - share) / 40)
    np.testing.assert_allclose(inside["high"] - inside["low"], width, rtol=0.25)


@pytest.mark.parametrize("shots", [0, 2])
def test_choices_are_the_likeliest_strings(run, make_model, tokenizer, shots):
    """String by string, with the texts written out here."""
    model, one = make_model("llama"), table(languages=["de"])
    found = run(one, model=model, languages=["de"], shots=[shots], demonstrations=[5])
    words = {"de": ("richtig", ["Ja", "Auch", "Nein"]), "en": ("right", ["Yes", "Also", "No"])}
    test, pool = one[one["split"] == "test"], one[one["split"] == "demonstrations"]
    for prompt, (right, choices) in words.items():
        shown = "".join(
            f"{row.premise}, {right}? {choices[row.label]}, {row.hypothesis}</s>"
            for row in drawn(pool, 5)[:shots].itertuples()
        )
        for metric in ("accuracy", "accuracy_characters"):
            expected = []
            for row in test.itertuples():
                values = []
                for choice in choices:
                    text = f"{shown}{row.premise}, {right}? {choice}, {row.hypothesis}"
                    ids = tokenizer(text)["input_ids"][:-1]
                    with torch.no_grad():
                        logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
                    own = len(choice + row.hypothesis) + 2
                    first = len(tokenizer(f"{shown}{row.premise}, {right}?")["input_ids"]) - 1
                    tokens = range(first, len(ids))
                    total = sum(float(logits[place - 1, ids[place]]) for place in tokens)
                    values.append(total / (own if metric.endswith("characters") else 1))
                expected.append(int(np.argmax(values)))
            rows = found.examples[
                (found.examples["prompt"] == prompt) & (found.examples["metric"] == metric)
            ]
            assert rows["prediction"].tolist() == expected
            assert rows["example"].tolist() == test["example"].tolist()
    assert found.examples.groupby("metric")["prediction"].nunique().max() > 1


def test_demonstrations_are_the_same_for_all_and_in_all_languages(run, calls, tokenizer):
    run(table(), prompts=["own"], demonstrations=[7])
    texts = []
    for items in calls:
        strings = [tokenizer.decode(item.stem + item.choices[0]) for item in items]
        parts = [string.removeprefix("<s>").split("</s>") for string in strings]
        shown = {tuple(part[:-1]) for part in parts}
        assert len(shown) == 1
        texts.append(next(iter(shown)))
    assert [len(text) for text in texts] == [0, 2, 0, 2]
    numbers = [[text.split(",")[0].split()[-1] for text in shown] for shown in texts]
    assert numbers[1] == numbers[3]  # of the parallel examples
    rows = table()
    pool = rows[(rows["split"] == "demonstrations") & (rows["language"] == "de")]
    assert numbers[1] == [name[1] * 2 for name in drawn(pool, 7)["example"][:2]]
    assert drawn(pool, 7)["example"].tolist() == drawn(pool[::-1], 7)["example"].tolist()
    orders = {tuple(drawn(pool, seed)["example"]) for seed in range(9)}
    assert len(orders) == 9
    assert tuple(drawn(pool, 7, "other")["example"]) != tuple(drawn(pool, 7)["example"])


def test_nothing_is_scored_twice(run, calls):
    run(table(languages=["en"]))
    assert len(calls) == 1 + 3  # the pivot's prompt is its own; zero shots know no draws
    calls.clear()
    run(table("xstorycloze", languages=["de"]))
    assert len(calls) == 1 + 3  # the prompt has no words
    calls.clear()
    found = run(table(languages=["de"]))
    assert len(calls) == 2 * (1 + 3)
    predictions = found.examples.groupby("prompt")["prediction"].apply(list)
    assert predictions["de"] != predictions["en"]


def test_test_examples_are_chosen_by_name_and_keep_their_order(run):
    several = table(tests=20)
    first = run(several, max_examples=5, shots=[0]).examples
    names = first.groupby(["language", "prompt", "metric"])["example"].apply(list)
    assert len({tuple(name) for name in names}) == 1
    place = [int(name[1:]) for name in names.iloc[0]]
    assert place == sorted(place)
    assert place != list(range(5))
    other = run(several, max_examples=5, shots=[0], seed=2).examples
    assert set(other["example"]) != set(first["example"])
    turned = run(several[::-1].reset_index(drop=True), max_examples=5, shots=[0]).examples
    assert set(turned["example"]) == set(first["example"])


def test_equal_runs_give_equal_tables(run):
    first, second = run(table()), run(table())
    pd.testing.assert_frame_equal(first.scores, second.scores)
    pd.testing.assert_frame_equal(first.examples, second.examples)


def test_quick_accuracy_is_of_demonstrations_that_are_not_shown(make_model, tokenizer, calls):
    rows = table(shown=9)
    options = {"languages": ["de", "en"], "seed": 3, "batch_tokens": 200, "device": "cpu"}
    model = make_model("xglm").train()
    scored = quick_accuracy(model, tokenizer, rows, PROMPTS["xnli"], shots=2, examples=5, **options)
    assert model.training
    assert [len(items) for items in calls] == [5, 5]
    for items in calls:
        strings = [tokenizer.decode(item.stem) for item in items]
        *shown, _ = strings[0].removeprefix("<s>").split("</s>")
        asked = {string.split("</s>")[-1].split(",")[0].strip() for string in strings}
        assert len(asked) == 5
        assert not {one.split(",")[0].strip() for one in shown} & asked
    share = scored / 100 * 10
    assert share == pytest.approx(round(share))
    again = quick_accuracy(model, tokenizer, rows, PROMPTS["xnli"], shots=2, examples=5, **options)
    assert again == scored
    calls.clear()
    quick_accuracy(model, tokenizer, rows, PROMPTS["xnli"], shots=0, examples=50, **options)
    assert [len(items) for items in calls] == [9, 9]
