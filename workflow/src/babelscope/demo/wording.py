"""How the rows of the demo's tasks put facts into words: one after another, and short."""

import random
from functools import cache

from babelscope.demo.grammar import Grammar, Sentence, Span, load_grammar
from babelscope.demo.knowledge import LANGUAGES, Fact


@cache
def extent(fact: Fact) -> int:
    """Return how many characters a fact takes in the longest pattern of all languages."""
    grammars = [load_grammar(language) for language in LANGUAGES]
    return max(
        len(grammar.fill(pattern, fact).text)
        for grammar in grammars
        for pattern in grammar.patterns_of(fact)
    )


@cache
def wordings(fact: Fact, language: str) -> tuple[str, ...]:
    """Return the different sentences that state a fact in a language."""
    grammar = load_grammar(language)
    texts = (grammar.fill(pattern, fact).text for pattern in grammar.patterns_of(fact))
    return tuple(dict.fromkeys(texts))


def say_the_same(fact: Fact, other: Fact) -> bool:
    """Whether some sentence of some language states both facts, as names may coincide."""
    return not _everywhere(fact).isdisjoint(_everywhere(other))


@cache
def _everywhere(fact: Fact) -> frozenset[tuple[str, str]]:
    return frozenset((code, text) for code in LANGUAGES for text in wordings(fact, code))


def state(
    fact: Fact, grammar: Grammar, generator: random.Random, *, first: bool, without: str = ""
) -> Sentence:
    """State a fact, with a connective now and then if it is not the first.

    Parameters
    ----------
    fact
        What to say.
    grammar
        Of the language.
    generator
        Draws pattern and connective.
    first
        Whether nothing is said before.
    without
        A sentence that must not be said.
    """
    patterns = [
        pattern
        for pattern in grammar.patterns_of(fact)
        if grammar.fill(pattern, fact).text != without
    ]
    opening = "" if first else generator.choice(["", *grammar.rules["connectives"]])
    return grammar.fill(generator.choice(patterns), fact, opening)


def join(sentences: list[Sentence]) -> Sentence:
    """Return one text of several sentences; Chinese puts no space between them."""
    text, spans = "", []
    for sentence in sentences:
        if text and not text.endswith("。"):
            text += " "
        spans += [Span(s.start + len(text), s.end + len(text), s.key) for s in sentence.spans]
        text += sentence.text
    return Sentence(text, tuple(spans), sentences[0].fact)
