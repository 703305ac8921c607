"""Triples: the positive says what the anchor says, the negative does not, and none comes twice."""

from collections import Counter

import pytest

from babelscope.demo.knowledge import LANGUAGES, load
from babelscope.demo.paraphrases import USES, plan_triples, verbalize_triple
from babelscope.demo.plan import hold_out
from babelscope.demo.tasks import split_facts
from babelscope.demo.values import SINGLE
from babelscope.demo.wording import wordings

HELD_OUT = {fact.id for fact in hold_out(load(), 400, seed=1)}
FACTS = split_facts(load(), HELD_OUT, 1)["train"]


@pytest.fixture(scope="module")
def planned():
    return plan_triples(load(), FACTS, 10**6, 1)


def _value(fact):
    return fact.objects, fact.number, fact.text


def test_only_training_facts_and_their_values_are_stated(planned):
    triples, most = planned
    train = {fact.id: fact for fact in FACTS}
    values = {(fact.relation, *_value(fact)) for fact in FACTS}
    assert len(triples) == most
    for triple in triples:
        assert train[triple.fact.id] == triple.fact
        assert triple.negative.id in train
        assert (triple.negative.relation, *_value(triple.negative)) in values


def test_negatives_are_near_but_another_statement(planned):
    kinds = Counter()
    entities = load().entities
    true = {(fact.relation, fact.subject, *_value(fact)) for fact in load().facts.values()}
    for triple in planned[0]:
        fact, other = triple.fact, triple.negative
        if other.subject != fact.subject:
            kinds["subject"] += 1
            assert other.relation == fact.relation
            assert entities[other.subject].kind == entities[fact.subject].kind
        elif other.id == fact.id:
            kinds["value"] += 1
            assert fact.relation in SINGLE
            assert _value(other) != _value(fact)
            assert (other.relation, other.subject, *_value(other)) not in true
        else:
            kinds["other"] += 1
            assert load().facts[other.id] == other
    assert min(kinds.values()) > 0.15 * len(planned[0])


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_triple_is_said_twice_and_positives_are_other_words(planned, language):
    said = Counter(verbalize_triple(triple, language, 1) for triple in planned[0])
    assert max(said.values()) == 1
    for triple in planned[0][::13]:
        anchor, positive, negative = verbalize_triple(triple, language, 1)
        assert anchor != positive
        assert {anchor, positive} <= set(wordings(triple.fact, language))
        assert negative in wordings(triple.negative, language)
        assert negative not in wordings(triple.fact, language)


def test_every_fact_comes_once_before_any_comes_twice(planned):
    triples, most = planned
    for turn in range(3):
        part = triples[turn * len(FACTS) : (turn + 1) * len(FACTS)]
        assert {triple.fact.id for triple in part} == {fact.id for fact in FACTS}
    assert most > 0.95 * USES * len(FACTS)


def test_more_triples_add_to_those_of_fewer(planned):
    assert plan_triples(load(), FACTS, 100, 1)[0] == planned[0][:100]


def test_languages_draw_their_wordings_by_themselves(planned):
    orders = {
        language: [
            wordings(triple.fact, language).index(verbalize_triple(triple, language, 1)[0])
            for triple in planned[0][:200]
        ]
        for language in ("en", "de")
    }
    same = sum(a == b for a, b in zip(*orders.values(), strict=True))
    assert same < 120
