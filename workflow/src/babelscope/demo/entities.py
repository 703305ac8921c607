"""Sentences with their names marked, for the recognition of persons, places and other names.

There are no organizations in the knowledge base, so the types are PER, LOC and MISC (works and
languages). An article before a name and quotation marks around it are not part of it; a generic
noun that a language wants before or after it is ("نهر النيل", "नील नदी").
"""

import random
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from babelscope.demo.grammar import Grammar, Sentence
from babelscope.demo.knowledge import Fact, Knowledge
from babelscope.demo.wording import extent, join, state
from babelscope.seeds import derive_seed, stable_hash

NAMELESS = 0.12  # share of sentences without a name, as far as there are such facts
JOINED = 0.2  # share of the others that also state a second fact of the subject
CHARACTERS = 78  # of a sentence at most, in whatever language and pattern
JOINED_CHARACTERS = 95  # of two
USES = 3  # of a fact within a split, one per pattern


def plan_sentences(
    knowledge: Knowledge, facts: list[Fact], count: int, split: str, seed: int
) -> tuple[list[tuple[Fact, ...]], int]:
    """Return the facts that each sentence states, one or two, and how many there could be at most.

    Parameters
    ----------
    knowledge
        Says which entities have names that are labelled.
    facts
        Those of the split.
    count
        Sentences wanted; fewer come back if the facts do not suffice.
    split
        Name of the split; the draws follow from it and the seed.
    seed
        Seed of the demo.
    """

    def order(fact: Fact) -> int:
        return stable_hash(seed, "ner", split, fact.id)

    short = [fact for fact in facts if extent(fact) <= CHARACTERS]
    named = sorted((fact for fact in short if _labels(knowledge, fact)), key=order)
    others = sorted((fact for fact in short if not _labels(knowledge, fact)), key=order)
    about: dict[str, list[Fact]] = defaultdict(list)
    for fact in named:
        about[fact.subject].append(fact)
    generator = random.Random(derive_seed(seed, "ner", split))
    without = min(round(count * NAMELESS), len(others) * USES)
    rows: list[tuple[Fact, ...]] = [(fact,) for fact in _repeat(others, without)]
    for fact in _repeat(named, count - without):
        partners = [
            other
            for other in about[fact.subject]
            if other.id != fact.id and extent(fact) + extent(other) <= JOINED_CHARACTERS
        ]
        joined = partners and generator.random() < JOINED
        rows.append((fact, generator.choice(partners)) if joined else (fact,))
    generator.shuffle(rows)
    most = min(int(len(named) * USES / (1 - NAMELESS)), (len(named) + len(others)) * USES)
    return rows, most


def _labels(knowledge: Knowledge, fact: Fact) -> bool:
    return any(knowledge.entities[key].label for key in (fact.subject, *fact.objects))


def _repeat(facts: list[Fact], count: int) -> list[Fact]:
    return (facts * USES)[:count]


def say(facts: tuple[Fact, ...], grammar: Grammar, split: str, row: int, seed: int) -> Sentence:
    """Say one or two facts about a subject in a language.

    Parameters
    ----------
    facts
        Of one subject.
    grammar
        Of the language.
    split, row, seed
        The patterns follow from them and the language.
    """
    generator = random.Random(derive_seed(seed, "ner", split, grammar.language, row))
    return join([state(fact, grammar, generator, first=not i) for i, fact in enumerate(facts)])


def tag(sentence: Sentence, grammar: Grammar) -> list[tuple[str, str]]:
    """Return the tokens of a sentence with their IOB2 tags."""
    entities = grammar.knowledge.entities
    spans = [
        (span.start, span.end, entities[span.key].label)
        for span in sentence.spans
        if span.key and entities[span.key].label
    ]
    cuts = {place for start, end, _ in spans for place in (start, end)}
    tagged = []
    for start, token in tokenize(sentence.text, cuts, characters=grammar.language == "zh"):
        label = "O"
        for first, last, kind in spans:
            if first <= start < last:
                label = f"{'B' if start == first else 'I'}-{kind}"
        tagged.append((token, label))
    return tagged


def tokenize(text: str, cuts: set[int], *, characters: bool) -> list[tuple[int, str]]:
    """Return the tokens of a text, each with its start.

    Parameters
    ----------
    text
        One or two sentences.
    cuts
        Places where a token ends and another begins even inside a word, as between a prefixed
        Arabic conjunction and a name.
    characters
        Make every character a token, as PAN-X has Chinese; else words at spaces, without the
        punctuation at their ends, which is a token by itself.
    """
    if characters:
        return [(place, sign) for place, sign in enumerate(text) if not sign.isspace()]
    tokens = []
    for word in re.finditer(r"\S+", text):
        places = [word.start(), *sorted(c for c in cuts if word.start() < c < word.end())]
        for start, end in zip(places, [*places[1:], word.end()], strict=True):
            tokens += _peeled(text, start, end)
    return tokens


def _peeled(text: str, start: int, end: int) -> Iterable[tuple[int, str]]:
    """Split the punctuation off both ends of a word."""
    left, right = start, end
    while left < right and unicodedata.category(text[left])[0] == "P":
        left += 1
    while right > left and unicodedata.category(text[right - 1])[0] == "P":
        right -= 1
    before = [(place, text[place]) for place in range(start, left)]
    word = [(left, text[left:right])] if left < right else []
    return before + word + [(place, text[place]) for place in range(right, end)]


def format_sentence(tagged: list[tuple[str, str]], language: str) -> str:
    """Return a sentence as lines of a PAN-X file."""
    return "".join(f"{language}:{token}\t{label}\n" for token, label in tagged)
