"""Sentences follow each other as the language wants, and never repeat what must not be said."""

import random

from babelscope.demo.grammar import load_grammar
from babelscope.demo.knowledge import LANGUAGES, load
from babelscope.demo.wording import extent, join, state


def test_spans_move_with_their_sentence_and_chinese_puts_no_space():
    facts = [load().facts[name] for name in ("capital:country:France", "area:country:France")]
    for language in LANGUAGES:
        grammar = load_grammar(language)
        parts = [grammar.fill(grammar.patterns(fact.relation)[0], fact) for fact in facts]
        both = join(parts)
        assert both.text == ("" if language == "zh" else " ").join(part.text for part in parts)
        surfaces = [part.text[s.start : s.end] for part in parts for s in part.spans]
        assert [both.text[s.start : s.end] for s in both.spans] == surfaces


def test_connectives_come_only_after_another_sentence():
    grammar = load_grammar("en")
    fact = load().facts["capital:country:France"]
    openings = tuple(grammar.rules["connectives"])
    firsts = {state(fact, grammar, random.Random(i), first=True).text for i in range(40)}
    seconds = {state(fact, grammar, random.Random(i), first=False).text for i in range(40)}
    assert not any(text.startswith(openings) for text in firsts)
    assert any(text.startswith(openings) for text in seconds)
    assert firsts <= seconds


def test_a_sentence_that_must_not_be_said_is_not():
    grammar = load_grammar("hi")  # two patterns say the same of a city whose name ends in "city"
    fact = load().facts["capital:country:Kuwait"]
    texts = [grammar.fill(pattern, fact).text for pattern in grammar.patterns("capital")]
    assert len(set(texts)) < len(texts)
    for without in texts:
        drawn = {
            state(fact, grammar, random.Random(i), first=True, without=without).text
            for i in range(40)
        }
        assert drawn == set(texts) - {without}


def test_extent_is_that_of_the_longest_pattern_of_all_languages():
    for fact in list(load().facts.values())[::100]:
        lengths = [
            len(load_grammar(language).fill(pattern, fact).text)
            for language in LANGUAGES
            for pattern in load_grammar(language).patterns(fact.relation)
        ]
        assert extent(fact) == max(lengths)
