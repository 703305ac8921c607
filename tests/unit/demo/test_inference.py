"""Labels follow from the knowledge base, and the hypothesis alone does not give them away."""

import math
import re
from collections import Counter, defaultdict

import pytest

from babelscope.demo.grammar import load_grammar
from babelscope.demo.inference import (
    FUNCTIONAL,
    LABELS,
    TIED,
    plan_pairs,
    verbalize_pair,
)
from babelscope.demo.knowledge import LANGUAGES, load
from babelscope.demo.tasks import split_facts
from babelscope.demo.values import contradicts

ROWS = {"train": 900, "dev": 112, "test": 225}


@pytest.fixture(scope="module")
def plans():
    knowledge = load()
    return {
        split: plan_pairs(knowledge, facts, ROWS[split], split, 1)[0]
        for split, facts in split_facts(knowledge, set(), 1).items()
    }


def test_labels_follow_from_the_knowledge_base(plans):
    facts = load().facts
    for pairs in plans.values():
        for pair in pairs:
            hypothesis = pair.hypothesis
            assert all(facts[fact.id] == fact for fact in pair.premise)
            assert {fact.subject for fact in pair.premise} == {hypothesis.subject}
            true = facts[hypothesis.id] == hypothesis
            told = facts[hypothesis.id] in pair.premise
            if pair.label == "neutral":
                assert not told
                for fact in pair.premise:
                    assert fact.relation != hypothesis.relation
                    assert {fact.relation, hypothesis.relation} not in TIED
            else:
                assert told
                assert true == (pair.label == "entailment")
            if not true:
                assert hypothesis.relation in FUNCTIONAL
                assert contradicts(load(), facts[hypothesis.id], hypothesis)


def test_relations_with_contradictions_have_one_value():
    for fact in load().facts.values():
        if fact.relation in FUNCTIONAL:
            assert len(fact.objects) <= 1
            assert fact.id == f"{fact.relation}:{fact.subject}"


def test_neutral_hypotheses_are_as_often_true_as_not(plans):
    facts = load().facts
    neutral = [pair for pair in plans["train"] if pair.label == "neutral"]
    true = sum(facts[pair.hypothesis.id] == pair.hypothesis for pair in neutral)
    assert 0.44 < true / len(neutral) < 0.56


def test_labels_are_balanced(plans):
    for split, pairs in plans.items():
        counts = Counter(pair.label for pair in pairs)
        assert len(pairs) == ROWS[split]
        assert set(counts) == set(LABELS)
        assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize(
    "feature",
    [
        lambda pair: pair.hypothesis.relation,
        lambda pair: (pair.hypothesis.relation, pair.hypothesis.objects),
        lambda pair: (pair.hypothesis.relation, len(str(pair.hypothesis.number))),
        lambda pair: pair.hypothesis.subject,
        lambda pair: len(pair.premise),
    ],
)
def test_majority_by_a_feature_of_the_hypothesis_is_near_chance(plans, feature):
    counts: dict[object, Counter[str]] = defaultdict(Counter)
    for pair in plans["train"]:
        counts[feature(pair)][pair.label] += 1
    right = sum(
        counts[feature(pair)].most_common(1)[0][0] == pair.label
        for pair in plans["test"]
        if feature(pair) in counts
    )
    assert right / len(plans["test"]) < 0.42


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_bag_of_words_of_the_hypothesis_is_near_chance(plans, language):
    """Naive Bayes sees the words, and so relation, pattern and value; the premise it does not."""
    grammar = load_grammar(language)

    def read(split):
        for row, pair in enumerate(plans[split]):
            text = verbalize_pair(pair, grammar, split, row, 1)[1]
            yield set(re.findall(r"." if language == "zh" else r"\w+", text)), pair.label

    words: dict[str, Counter[str]] = {label: Counter() for label in LABELS}
    for bag, label in read("train"):
        words[label].update(bag)
    totals = {label: sum(counts.values()) for label, counts in words.items()}

    def likelihood(bag, label):
        return sum(math.log((words[label][word] + 1) / (totals[label] + 5000)) for word in bag)

    right = [
        max(LABELS, key=lambda label: likelihood(bag, label)) == label
        for bag, label in read("test")
    ]
    assert sum(right) / len(right) < 0.43


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_do_not_give_the_label_away(plans, language):
    grammar = load_grammar(language)
    lengths: dict[str, list[int]] = defaultdict(list)
    for row, pair in enumerate(plans["train"]):
        premise, hypothesis = verbalize_pair(pair, grammar, "train", row, 1)
        assert not premise.startswith(hypothesis)
        assert not re.search(r"\t|\n|  ", premise + hypothesis)
        lengths[pair.label].append(len(hypothesis))
    means = [sum(values) / len(values) for values in lengths.values()]
    assert max(means) / min(means) < 1.05


def test_entailed_hypotheses_say_it_in_other_words(plans):
    grammar = load_grammar("de")
    pair = next(p for p in plans["train"] if p.label == "entailment" and len(p.premise) == 1)
    texts = {verbalize_pair(pair, grammar, "train", row, 1) for row in range(30)}
    assert len(texts) > 2
    assert all(premise != hypothesis for premise, hypothesis in texts)
