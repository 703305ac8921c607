"""What contradicts what: values that sources might give as well do not."""

import pytest

from babelscope.demo.inference import FUNCTIONAL
from babelscope.demo.knowledge import load
from babelscope.demo.values import RANKS, SINGLE, YEARS, contradicts, with_value


@pytest.mark.parametrize(
    ("fact", "other", "wrong"),
    [
        ("capital:country:France", "capital:country:Germany", True),
        ("length:river:Rhine", "length:river:Rhine", False),
        ("born:person:Albert Einstein", "born:person:Marie Curie", True),
        ("died:person:Max Planck", "died:person:Enrico Fermi", False),  # 1947 and 1954
        ("discovered:moon:Phobos", "discovered:moon:Miranda", True),
        ("atomic:element:gold", "atomic:element:platinum", True),  # 79 and 78 are no measures
        ("symbol:element:gold", "symbol:element:iron", True),
        ("height:mountain:Lhotse", "height:mountain:Makalu", False),  # 8516 and 8485 metres
        ("mouth:river:Po", "mouth:river:Rhône", False),  # a river of the Adriatic
        ("mouth:river:Rhône", "mouth:river:Po", True),
        ("mouth:river:Ganges", "mouth:river:Zambezi", False),  # the bay is part of the ocean
        ("author:work:Hamlet", "author:work:Macbeth", False),
    ],
)
def test_what_contradicts_what(fact, other, wrong):
    facts = load().facts
    assert contradicts(load(), facts[fact], facts[other]) == wrong


def test_quantities_that_sources_might_give_do_not_contradict():
    rhine = load().facts["length:river:Rhine"]
    number = rhine.number or 0
    for factor, wrong in ((1.1, False), (0.9, False), (1.3, True), (0.5, True)):
        other = with_value(rhine, rhine.__class__("x", "length", "y", number=int(number * factor)))
        assert contradicts(load(), rhine, other) == wrong


def test_relations_with_wrong_values_have_one_value_per_subject():
    told = set()
    for fact in load().facts.values():
        if fact.relation in SINGLE:
            values = [*fact.objects, *([fact.number] if fact.number is not None else [])]
            assert len(values) + bool(fact.text) == 1
            assert (fact.relation, fact.subject) not in told
            told.add((fact.relation, fact.subject))
    assert {relation for relation, _ in told} == SINGLE
    assert FUNCTIONAL < SINGLE
    assert YEARS | RANKS < SINGLE


def test_numbers_that_are_years_are_taken_for_years():
    for fact in load().facts.values():
        if fact.number is not None and fact.relation in YEARS:
            assert 1000 < fact.number < 2100
