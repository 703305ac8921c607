"""Topics follow from the subject's kind; no fact is in both splits and no word gives one away."""

import re
from collections import Counter, defaultdict

import pytest

from babelscope.demo.grammar import load_grammar
from babelscope.demo.knowledge import LANGUAGES, load
from babelscope.demo.plan import hold_out
from babelscope.demo.tasks import split_facts
from babelscope.demo.topics import TOPICS, plan_texts, verbalize_text

HELD_OUT = {fact.id for fact in hold_out(load(), 400, seed=1)}
SPLITS = split_facts(load(), HELD_OUT, 1)
ROWS = {"train": 400, "test": 200}


@pytest.fixture(scope="module")
def plans():
    return {split: plan_texts(load(), SPLITS[split], ROWS[split], split, 1)[0] for split in ROWS}


def test_the_topic_is_that_of_the_kind_of_the_subject(plans):
    for split, texts in plans.items():
        ids = {fact.id for fact in SPLITS[split]}
        assert len(texts) == ROWS[split]
        for text in texts:
            assert 1 <= len(text.facts) <= 2
            assert len({fact.subject for fact in text.facts}) == 1
            assert load().entities[text.facts[0].subject].kind in TOPICS[text.topic]
            assert {fact.id for fact in text.facts} <= ids


def test_no_subject_is_in_both_splits_and_no_text_comes_twice(plans):
    subjects = [{text.facts[0].subject for text in texts} for texts in plans.values()]
    assert not subjects[0] & subjects[1]
    for texts in plans.values():
        assert len({frozenset(f.id for f in text.facts) for text in texts}) == len(texts)


def test_topics_are_balanced_as_far_as_the_facts_reach(plans):
    train = Counter(text.topic for text in plans["train"])
    assert set(train) == set(TOPICS)
    assert max(train.values()) - min(train.values()) <= 1
    test = Counter(text.topic for text in plans["test"])
    most = max(test.values())
    for topic, count in test.items():
        told = [f for f in SPLITS["test"] if load().entities[f.subject].kind in TOPICS[topic]]
        own = Counter(fact.subject for fact in told)
        assert count >= min(most - 1, sum(n + n * (n - 1) // 2 for n in own.values()))


def test_texts_of_one_and_of_two_facts_are_in_every_topic(plans):
    for texts in plans.values():
        sizes = {(text.topic, len(text.facts)) for text in texts}
        assert sizes == {(topic, size) for topic in TOPICS for size in (1, 2)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_word_is_in_nearly_every_text_of_one_topic_only(plans, language):
    grammar = load_grammar(language)
    bags = defaultdict(list)
    for row, text in enumerate(plans["train"]):
        said = verbalize_text(text, grammar, "train", row, 1)
        pattern = r"." if language == "zh" else r"[\w\u0300-\u036f\u0900-\u097f]+|\S"
        bags[text.topic].append(set(re.findall(pattern, said.lower())))
    for topic, own in bags.items():
        others = set().union(*(bag for other in bags if other != topic for bag in bags[other]))
        words = Counter(word for bag in own for word in bag if word not in others)
        assert words.most_common(1)[0][1] < 0.85 * len(own), words.most_common(2)
