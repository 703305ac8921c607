"""Grades follow from the knowledge base, and from nothing that can be counted."""

from collections import Counter, defaultdict

import pytest

from babelscope.demo.grammar import load_grammar
from babelscope.demo.knowledge import LANGUAGES, load
from babelscope.demo.plan import hold_out
from babelscope.demo.similarity import GRADES, plan_graded, verbalize_graded
from babelscope.demo.tasks import split_facts
from babelscope.demo.wording import wordings

HELD_OUT = {fact.id for fact in hold_out(load(), 400, seed=1)}
FACTS = split_facts(load(), HELD_OUT, 1)["test"]


MEASURES = {"area", "surface", "length", "height", "depth", "diameter", "period"}


@pytest.fixture(scope="module")
def pairs():
    return plan_graded(load(), FACTS, 600, 1)[0]


def _truth(fact):
    return load().facts.get(fact.id)


def _grade(pair):
    """Grade a pair by its two sets of statements alone, without knowing how it was drawn."""
    entities = load().entities
    sides = [{f.id: f for f in side if f.relation != "kind"} for side in (pair.first, pair.second)]
    kinds = sum(f.relation == "kind" for f in (*pair.first, *pair.second))
    one, other = sides
    subjects = [{f.subject for f in side.values()} for side in sides]
    if subjects[0] != subjects[1]:
        relations = [sorted(f.relation for f in side.values()) for side in sides]
        types = [
            {entities[key].kind for f in side.values() for key in (f.subject, *f.objects)}
            for side in sides
        ]
        assert relations[0] == relations[1] or not types[0] & types[1]
        return 1 if relations[0] == relations[1] else 0
    if not one.keys() & other.keys():
        return 2
    if one.keys() != other.keys():
        return 3
    if one == other:
        return 4 if kinds else 5
    ((mine, theirs),) = [(one[key], other[key]) for key in one if one[key] != other[key]]
    if len(mine.objects) != len(theirs.objects):
        shorter, longer = sorted((set(mine.objects), set(theirs.objects)), key=len)
        assert shorter < longer
        assert len(shorter) == len(longer) - 1 >= 2
        return 4
    if mine.relation in MEASURES:
        smaller, larger = sorted((mine.number or 0, theirs.number or 0))
        if larger < 1.05 * smaller:
            rounded = mine if theirs == _truth(theirs) else theirs
            assert not str(rounded.number)[2:].strip("0")
            return 4
    return 3


def test_grades_follow_from_the_knowledge_base(pairs):
    for pair in pairs:
        assert _grade(pair) == pair.grade, pair


def test_one_side_at_least_is_true_and_only_test_facts_are_stated(pairs):
    test, facts = {fact.id for fact in FACTS}, set(load().facts.values())
    for pair in pairs:
        sides = [[f for f in side if f.relation != "kind"] for side in (pair.first, pair.second)]
        assert {fact.id for side in sides for fact in side} <= test
        assert any(all(fact in facts for fact in side) for side in sides)
        if pair.grade not in (3, 4):
            assert all(fact in facts for side in sides for fact in side)


def test_pairs_of_grade_0_and_1_share_no_name_and_no_number(pairs):
    for pair in pairs:
        if pair.grade <= 1:
            names = [
                {key for f in side for key in (f.subject, *f.objects)}
                for side in (pair.first, pair.second)
            ]
            numbers = [{f.number for f in s} - {None} for s in (pair.first, pair.second)]
            assert not names[0] & names[1]
            assert not numbers[0] & numbers[1]


def test_grades_are_balanced_and_no_fact_has_a_grade_twice(pairs):
    counts = Counter(pair.grade for pair in pairs)
    assert set(counts.values()) == {100}
    assert set(counts) == set(GRADES)
    plain = [p for p in pairs if p.grade == 5 and len(p.first) == 1]
    assert len({p.first[0].id for p in plain}) == len(plain)


def test_the_number_of_sentences_does_not_tell_the_grade(pairs):
    counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for pair in pairs:
        counts[len(pair.first), len(pair.second)][pair.grade] += 1
    right = sum(max(grades.values()) for grades in counts.values())
    assert right / len(pairs) < 0.45


@pytest.mark.parametrize("language", LANGUAGES)
def test_both_sides_differ_and_what_both_state_is_said_in_other_words(pairs, language):
    grammar = load_grammar(language)
    for row, pair in enumerate(pairs):
        first, second = verbalize_graded(pair, grammar, row, 1)
        assert first != second
        for side, text in ((pair.first, first), (pair.second, second)):
            if len(side) == 1:
                assert text in wordings(side[0], language)


def test_unrelated_sentences_share_fewer_words_than_related_ones(pairs):
    grammar = load_grammar("en")
    shares: dict[int, list[float]] = defaultdict(list)
    for row, pair in enumerate(pairs):
        one, other = (set(text.split()) for text in verbalize_graded(pair, grammar, row, 1))
        shares[pair.grade].append(len(one & other) / len(one | other))
    means = [sum(shares[grade]) / len(shares[grade]) for grade in GRADES]
    assert means[0] == min(means)
    assert means[0] < means[1]
    assert means[2] < means[5]
