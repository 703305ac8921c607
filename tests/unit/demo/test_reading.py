"""The passage answers the question, and no other choice is true."""

import re
from collections import Counter

import pytest

from babelscope.demo.grammar import load_grammar
from babelscope.demo.knowledge import LANGUAGES, load
from babelscope.demo.plan import hold_out
from babelscope.demo.reading import (
    ASKED,
    CHARACTERS,
    CONFUSED,
    answer,
    plan_questions,
    verbalize_question,
)
from babelscope.demo.tasks import split_facts
from babelscope.demo.values import SINGLE

HELD_OUT = {fact.id for fact in hold_out(load(), 400, seed=1)}
FACTS = split_facts(load(), HELD_OUT, 1)["test"]
MARKS = {"zh": "？", "ar": "؟", "ur": "؟"}


@pytest.fixture(scope="module")
def items():
    return plan_questions(load(), FACTS, 10**6, 1)[0]


def _value(fact):
    return fact.objects, fact.number, fact.text


def test_the_passage_states_the_answer_once_and_only_true_things(items):
    facts, test = load().facts, {fact.id for fact in FACTS}
    for item in items:
        told = [fact for fact in item.passage if fact.relation != "kind"]
        assert 3 <= len(item.passage) <= 4
        assert {fact.subject for fact in item.passage} == {item.asked.subject}
        assert all(facts[fact.id] == fact for fact in told)
        assert {fact.id for fact in told} <= test
        assert [f for f in told if f.relation == item.asked.relation] == [item.asked]


def test_only_one_choice_is_true(items):
    true = {(f.relation, f.subject, *_value(f)) for f in load().facts.values()}
    for item in items:
        assert len(item.choices) == 4
        right = [(f.relation, f.subject, *_value(f)) in true for f in item.choices]
        assert right == [place == item.answer for place in range(4)]
        assert item.asked.relation in SINGLE


def test_wrong_choices_are_values_of_the_same_type(items):
    known = {}
    for fact in load().facts.values():
        known.setdefault(fact.relation, set()).add(_value(fact))
    for item in items:
        relation = item.asked.relation
        types = known[relation] | known.get(CONFUSED.get(relation, ""), set())
        assert all(_value(choice) in types for choice in item.choices)


def test_the_other_year_of_a_passage_is_among_the_wrong_choices(items):
    both = 0
    for item in items:
        for fact in item.passage:
            if fact.relation == CONFUSED.get(item.asked.relation):
                both += 1
                assert fact.number in {choice.number for choice in item.choices}
    assert both > 5


def test_places_of_the_right_answer_are_balanced_and_not_in_a_row(items):
    places = [item.answer for item in items]
    counts = Counter(places)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len({tuple(places[start : start + 4]) for start in range(0, 80, 4)}) > 5


def test_no_fact_is_asked_for_twice_and_most_relations_are(items):
    assert len({item.asked.id for item in items}) == len(items)
    assert {item.asked.relation for item in items} <= ASKED
    assert len({item.asked.relation for item in items}) > 15


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_fact_has_a_question_that_names_its_subject_and_not_its_value(language):
    grammar = load_grammar(language)
    assert set(grammar.rules["question"]) == ASKED
    for fact in load().facts.values():
        if fact.relation in ASKED:
            question = grammar.question(fact)
            assert question.endswith(MARKS.get(language, "?"))
            assert not re.search(r"[{}|/;_]|\s\s", question)
            assert question.startswith("¿") == (language == "es")
            name = grammar.name(fact.subject).base
            assert name[:2].lower() in question.lower()
            shown = answer(fact, grammar)
            assert shown == shown.strip()
            if fact.relation not in {"city_in", "belongs", "symbol", "atomic"}:
                assert shown not in question.replace(grammar.title(fact.subject), "") or (
                    shown in name
                )


@pytest.mark.parametrize("language", LANGUAGES)
def test_choices_differ_and_passages_stay_short(items, language):
    grammar = load_grammar(language)
    for row, item in enumerate(items):
        said = verbalize_question(item, grammar, row, 1)
        choices = [said[f"mc_answer{number}"] for number in range(1, 5)]
        assert len(set(choices)) == 4
        assert choices[int(said["correct_answer_num"]) - 1] == answer(item.asked, grammar)
        assert len(said["flores_passage"]) <= CHARACTERS + 60  # connectives


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_passage_contains_the_right_answer(items, language):
    grammar = load_grammar(language)
    for row, item in enumerate(items):
        said = verbalize_question(item, grammar, row, 1)
        right = said[f"mc_answer{said['correct_answer_num']}"]
        assert right.lower().removeprefix("the ") in said["flores_passage"].lower()


@pytest.mark.parametrize(
    ("language", "fact", "expected"),
    [
        ("en", "mouth:river:Rhine", "Into which body of water does the Rhine flow?"),
        ("de", "capital:country:Netherlands", "Welche Stadt ist die Hauptstadt der Niederlande?"),
        ("de", "length:river:Rhine", "Wie viele Kilometer lang ist der Rhein?"),
        ("es", "capital:country:Peru", "¿Cuál es la capital del Perú?"),
        ("ru", "born:person:Marie Curie", "В каком году родилась Мария Кюри?"),
        ("ru", "died:person:Isaac Newton", "В каком году умер Исаак Ньютон?"),
        ("ru", "discovered:element:platinum", None),
        ("ru", "length:river:Volga", "Какова длина Волги в километрах?"),
        ("ar", "born:person:Frida Kahlo", "في أي عام وُلدت فريدا كاهلو؟"),
        ("ar", "class:animal:koala", "أي نوع من الحيوانات هي الكوالا؟"),
        ("zh", "mouth:river:Rhine", "莱茵河最终流入哪片水域？"),
        ("ur", "capital:country:France", "فرانس کا دارالحکومت کون سا شہر ہے؟"),
        ("hi", "length:river:Ganges", "गंगा नदी की लम्बाई कितने किलोमीटर है?"),
    ],
)
def test_words_agree(language, fact, expected):
    told = load().facts.get(fact)
    assert told is not None or expected is None
    if told is not None:
        assert load_grammar(language).question(told) == expected
