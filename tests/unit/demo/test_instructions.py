"""Instructions are answered as the knowledge base answers them, in every language."""

from collections import Counter

import pytest

from babelscope.demo.grammar import load_grammar
from babelscope.demo.instructions import GAP, plan_instructions, verbalize_task
from babelscope.demo.knowledge import LANGUAGES, load
from babelscope.demo.plan import hold_out
from babelscope.demo.reading import answer
from babelscope.demo.tasks import split_facts
from babelscope.demo.values import contradicts
from babelscope.demo.wording import wordings

HELD_OUT = {fact.id for fact in hold_out(load(), 400, seed=1)}
FACTS = split_facts(load(), HELD_OUT, 1)["train"]
KINDS = {"question", "value", "complete", "judge", "rephrase", "tell", "which"}


@pytest.fixture(scope="module")
def tasks():
    return plan_instructions(load(), FACTS, 700, 1)[0]


def _said(tasks, language, kind=None):
    """Yield tasks with what they say in a language."""
    grammar = load_grammar(language)
    for row, task in enumerate(tasks):
        if kind in (None, task.kind):
            yield task, verbalize_task(task, grammar, row, 1)


def test_all_kinds_take_turns(tasks):
    counts = Counter(task.kind for task in tasks)
    assert set(counts) == KINDS
    assert max(counts.values()) - min(counts.values()) <= 1


def test_only_facts_of_the_training_split_are_stated(tasks):
    allowed = {fact.id for fact in FACTS}
    known = load().facts
    for task in tasks:
        if task.kind == "which":
            continue
        assert all(known[fact.id] == fact and fact.id in allowed for fact in task.facts)
        if task.stated:
            assert task.stated.id == task.facts[0].id
            if task.stated != task.facts[0]:
                assert contradicts(load(), task.facts[0], task.stated)


def test_statements_to_judge_are_as_often_wrong(tasks):
    judged = [task.stated == task.facts[0] for task in tasks if task.kind == "judge"]
    assert 0.4 < sum(judged) / len(judged) < 0.6


@pytest.mark.parametrize("language", LANGUAGES)
def test_instructions_are_all_different_and_complete(tasks, language):
    said = [row for _, row in _said(tasks, language)]
    assert len({row["instruction"] for row in said}) == len(said)
    for row in said:
        assert row["instruction"]
        assert row["output"]
        for text in row.values():
            assert text == text.strip()
            assert not any(mark in text for mark in "{}|\t\n")
    given = Counter(task.kind for task, row in _said(tasks, language) if row["input"])
    assert set(given) == {"complete", "judge", "rephrase"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_answers_follow_from_the_facts(tasks, language):
    grammar = load_grammar(language)
    words = grammar.rules["instruction"]
    for task, row in _said(tasks, language):
        fact = task.facts[0]
        known = wordings(fact, language)
        match task.kind:
            case "question" | "which":
                assert row["output"] in known
            case "value":
                assert row["output"] == answer(fact, grammar)
            case "complete":
                assert row["input"].count(GAP) == 1
                assert row["input"].replace(GAP, row["output"]) in known
            case "rephrase":
                assert row["input"] in known
                assert row["output"] in known
                assert row["input"] != row["output"]
            case "judge":
                assert row["input"] in wordings(task.stated, language)
                if task.stated == fact:
                    assert row["output"] == words["true"]
                else:
                    assert row["input"] not in known
                    assert row["output"] in {words["false"].format(text) for text in known}
            case "tell":
                assert any(row["output"].startswith(text) for text in known)


def test_which_of_two_is_asked_in_either_order(tasks):
    which = [task for task in tasks if task.kind == "which"]
    first = [task.stated.subject == task.facts[0].subject for task in which]
    assert 0.3 < sum(first) / len(first) < 0.7
    for task in which:
        named = {task.stated.subject, *task.stated.objects}
        assert named == {task.facts[0].subject, *task.facts[0].objects}


def test_a_smaller_number_begins_a_larger_one(tasks):
    few, most = plan_instructions(load(), FACTS, 50, 1)
    assert few == tasks[:50]
    assert most > 2000
    assert plan_instructions(load(), FACTS, 50, 2)[0] != few
