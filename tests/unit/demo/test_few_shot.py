"""Labels follow from the sentences of a row, and nothing else gives them away."""

import re
from collections import Counter, defaultdict

import pytest

from babelscope.demo.few_shot import (
    CHARACTERS,
    comparisons,
    plan_paraphrases,
    plan_stories,
    verbalize_paraphrase,
    verbalize_story,
)
from babelscope.demo.grammar import load_grammar
from babelscope.demo.knowledge import COMPARISONS, LANGUAGES, comparison, load
from babelscope.demo.plan import hold_out
from babelscope.demo.tasks import split_facts
from babelscope.demo.values import SINGLE, contradicts
from babelscope.demo.wording import say_the_same, wordings

HELD_OUT = {fact.id for fact in hold_out(load(), 400, seed=1)}
FACTS = split_facts(load(), HELD_OUT, 1)
ROWS = {"dev": 100, "test": 200}


@pytest.fixture(scope="module")
def pairs():
    return {
        split: plan_paraphrases(load(), FACTS[split], rows, split, 1)[0]
        for split, rows in ROWS.items()
    }


@pytest.fixture(scope="module")
def stories():
    return {
        split: plan_stories(load(), FACTS[split], rows, split, 1)[0] for split, rows in ROWS.items()
    }


def _is_true(fact):
    """Whether the knowledge base says so."""
    known = load().facts
    if fact.id in known:
        return known[fact.id] == fact
    for relation in COMPARISONS:
        found = comparison(load(), relation, fact.subject, *fact.objects)
        if found and found.relation == fact.relation:
            return (found.subject, found.objects) == (fact.subject, fact.objects)
    raise AssertionError(fact)


def test_a_wrong_sentence_is_wrong_by_the_knowledge_base(pairs):
    known = load().facts
    for rows in pairs.values():
        for fact in {fact for pair in rows for fact in (pair.first, pair.second)}:
            if not _is_true(fact) and fact.id in known:
                assert fact.relation in SINGLE
                assert contradicts(load(), known[fact.id], fact)


def test_sentences_that_mean_the_same_are_one_fact_and_others_two(pairs):
    for rows in pairs.values():
        for pair in rows:
            assert pair.label == (pair.first == pair.second)
            if not pair.label:
                assert pair.first.id == pair.second.id
                assert not say_the_same(pair.first, pair.second)


def test_labels_are_balanced_and_so_is_truth_whatever_the_label(pairs):
    for split, rows in pairs.items():
        assert len(rows) == ROWS[split]
        counts = Counter((_is_true(pair.first), _is_true(pair.second), pair.label) for pair in rows)
        assert {(a, b, label) for a, b, label in counts} == {
            (a, b, int(a == b)) for a in (True, False) for b in (True, False)
        }
        assert max(counts.values()) - min(counts.values()) <= 1


def test_comparisons_are_among_the_pairs_and_sometimes_turned_round(pairs):
    compared = [pair for pair in pairs["test"] if pair.first.relation in COMPARISONS.values()]
    assert 0.1 < len(compared) / len(pairs["test"]) < 0.6
    turned = [pair for pair in compared if pair.first.subject != pair.second.subject]
    assert turned
    assert all(pair.first.objects == (pair.second.subject,) for pair in turned)


def test_comparing_two_things_does_not_tell_the_label(pairs):
    compared = set(COMPARISONS.values())
    for rows in pairs.values():
        for kind in (True, False):
            labels = [pair.label for pair in rows if (pair.first.relation in compared) == kind]
            assert len(labels) > 10
            assert abs(2 * sum(labels) - len(labels)) <= 2


def test_a_fact_that_is_used_again_has_the_other_label():
    rows, most = plan_paraphrases(load(), FACTS["test"], 10**6, "test", 1)
    assert len(rows) == most
    uses = defaultdict(list)
    for pair in rows:
        uses[pair.first.id].append(pair.label)
    assert all(sorted(labels) == [0, 0, 1, 1] for labels in uses.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_paraphrases_are_worded_as_the_plan_says(pairs, language):
    grammar = load_grammar(language)
    for split, rows in pairs.items():
        for row, pair in enumerate(rows):
            first, second = verbalize_paraphrase(pair, grammar, split, row, 1)
            assert first != second
            assert first in wordings(pair.first, language)
            assert second in wordings(pair.second, language)
            assert (second in wordings(pair.first, language)) == pair.label
            assert max(len(first), len(second)) <= CHARACTERS


def test_the_length_of_sentences_does_not_tell_the_label(pairs):
    for language in ("en", "zh"):
        grammar = load_grammar(language)
        lengths = defaultdict(list)
        for row, pair in enumerate(pairs["test"]):
            said = verbalize_paraphrase(pair, grammar, "test", row, 1)
            lengths[pair.label].append(sum(map(len, said)))
        one, other = (sum(found) / len(found) for found in lengths.values())
        assert abs(one - other) < 0.08 * (one + other)


def test_comparisons_are_true_beyond_doubt_and_use_things_sparingly():
    found = comparisons(load(), FACTS["train"], 2, 1, "some")
    assert len({fact.id for fact in found}) == len(found) > 50
    used = Counter((fact.relation, key) for fact in found for key in (fact.subject, *fact.objects))
    assert max(used.values()) == 2
    allowed = {fact.id for fact in FACTS["train"]}
    for fact in found:
        assert _is_true(fact)
        relations = [r for r, name in COMPARISONS.items() if name == fact.relation]
        sides = [
            (f"{relation}:{fact.subject}", f"{relation}:{fact.objects[0]}")
            for relation in relations
            if f"{relation}:{fact.subject}" in allowed
        ]
        one, other = (load().facts[key] for key in sides[0])
        assert {one.id, other.id} <= allowed
        assert contradicts(load(), one, other)


def test_stories_tell_four_true_things_about_one_subject(stories):
    for split, rows in stories.items():
        allowed = {fact.id for fact in FACTS[split]}
        assert len(rows) == ROWS[split]
        for story in rows:
            right = story.endings[story.answer]
            assert len(story.told) == len({fact.relation for fact in story.told}) == 4
            assert {fact.subject for fact in story.told} == {right.subject}
            for fact in story.told:
                assert fact.relation == "kind" or (_is_true(fact) and fact.id in allowed)
            assert right in story.told


def test_one_ending_is_right_and_the_other_one_wrong(stories):
    for rows in stories.values():
        for story in rows:
            right, wrong = story.endings[story.answer], story.endings[1 - story.answer]
            assert _is_true(right)
            assert not _is_true(wrong)
            assert contradicts(load(), right, wrong)
            assert (right.id, right.relation) == (wrong.id, wrong.relation)
        answers = Counter(story.answer for story in rows)
        assert abs(answers[0] - answers[1]) <= 1


def test_no_two_stories_are_alike(stories):
    for rows in stories.values():
        assert len({frozenset(story.endings) for story in rows}) == len(rows)
        assert max(Counter(story.endings[story.answer].id for story in rows).values()) <= 3


@pytest.mark.parametrize("language", LANGUAGES)
def test_endings_say_in_other_words_what_a_sentence_said_and_differ_in_the_value_only(
    stories, language
):
    grammar = load_grammar(language)
    for split, rows in stories.items():
        for row, story in enumerate(rows):
            sentences, endings = verbalize_story(story, grammar, split, row, 1)
            right = story.endings[story.answer]
            assert len(sentences) == 4
            assert endings[0] != endings[1]
            assert endings[story.answer] in wordings(right, language)
            assert not set(sentences) & set(endings)
            assert set(sentences) & set(wordings(right, language))
            for text in (*sentences, *endings):
                assert not re.search(r"[\t\n{}|]| {2}", text)


def test_fewer_rows_are_among_more():
    for plan in (plan_paraphrases, plan_stories):
        few, most = plan(load(), FACTS["test"], 40, "test", 1)
        many, same = plan(load(), FACTS["test"], 80, "test", 1)
        assert most == same
        assert set(few) <= set(many)
        assert plan(load(), FACTS["test"], 40, "test", 2)[0] != few
