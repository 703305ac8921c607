"""Pairs of sentences graded by how much of their meaning they share, from 0 to 5.

The grades are those of the STS tasks, and here each follows from the knowledge base:

5
    The same fact, or the same two, in other words.
4
    The same fact, but one side is less exact (a quantity rounded to two digits, a list without one
    of its three or more members), or adds what goes without saying (that the Rhine is a river).
3
    The same but for something important: one side gives the relation another, wrong value, or
    states a second fact about the subject.
2
    The same subject, but other facts about it.
1
    Other subjects: the same relation of two things of a kind, with values of their own.
0
    Things of different topics, with no relation in common and no kind of thing that both name.

Of every grade, half the pairs state one fact a side and half state two on a side or both, as far as
there are such, so that the number of sentences does not tell the grade. Neither does the order of
the two sides.
"""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from babelscope.demo.grammar import Grammar
from babelscope.demo.knowledge import Fact, Knowledge, kind_fact
from babelscope.demo.plan import in_turns
from babelscope.demo.topics import TOPIC
from babelscope.demo.values import RANKS, SINGLE, YEARS, contradicts, with_value
from babelscope.demo.wording import join, say_the_same
from babelscope.seeds import derive_seed, stable_hash

GRADES = (0, 1, 2, 3, 4, 5)
JOINED = 0.4  # probability that two facts are stated where one would do
DIGITS = 2  # that a rounded quantity keeps
TIED = frozenset(("category", "state"))  # that neon is a noble gas says that it is a gas


@dataclass(frozen=True, slots=True)
class Graded:
    """A row before it is said in any language: the facts of both sides, and the grade."""

    first: tuple[Fact, ...]
    second: tuple[Fact, ...]
    grade: int


def plan_graded(
    knowledge: Knowledge, facts: list[Fact], count: int, seed: int
) -> tuple[list[Graded], int]:
    """Return pairs, each grade as often as the others up to one, and how many there could be.

    A grade is given to each fact once at most.

    Parameters
    ----------
    knowledge
        Grades follow from it.
    facts
        Those of the test split; only they and their values are stated.
    count
        Pairs wanted; fewer come back if the facts do not suffice.
    seed
        Seed of the demo.
    """
    pairs = _Pairs(knowledge, facts)
    graded: dict[int, list[Graded]] = {}
    for grade in GRADES:
        drawn: dict[bool, list[Graded]] = {False: [], True: []}
        for fact in sorted(facts, key=lambda fact: stable_hash(seed, "sts", grade, fact.id)):
            generator = random.Random(derive_seed(seed, "sts", grade, fact.id))
            sides = pairs.draw(grade, fact, generator)
            if sides is not None:
                first, second = sides if generator.random() < 0.5 else reversed(sides)
                drawn[is_joined(sides)].append(Graded(first, second, grade))
        graded[grade] = in_turns(*drawn.values())
    most = len(GRADES) * min(map(len, graded.values()))
    rows = [graded[row % len(GRADES)][row // len(GRADES)] for row in range(min(count, most))]
    random.Random(derive_seed(seed, "sts")).shuffle(rows)
    return rows, most


Sides = tuple[tuple[Fact, ...], tuple[Fact, ...]]


class _Pairs:
    """Draws the two sides of a pair around a fact, for each grade by a method of its own."""

    def __init__(self, knowledge: Knowledge, facts: list[Fact]) -> None:
        self.knowledge = knowledge
        self.facts = facts
        self.about: dict[str, list[Fact]] = defaultdict(list)
        for fact in facts:
            self.about[fact.subject].append(fact)

    def draw(self, grade: int, fact: Fact, generator: random.Random) -> Sides | None:
        """Return both sides, or None if there are none of the grade."""
        makers = (self._none, self._relation, self._subject, self._most, self._nearly, self._all)
        found: dict[bool, Sides] = {}
        for sides in makers[grade](fact, generator):
            found.setdefault(is_joined(sides), sides)
            if len(found) == 2:
                return found[generator.random() < JOINED]
        return next(iter(found.values()), None)

    def _all(self, fact: Fact, generator: random.Random) -> Iterator[Sides]:
        yield (fact,), (fact,)
        for other in self._others(fact, generator):
            yield (fact, other), (other, fact)

    def _nearly(self, fact: Fact, generator: random.Random) -> Iterator[Sides]:
        yield (fact,), (kind_fact(fact.subject), fact)
        if fact.number is not None and fact.relation not in YEARS | RANKS:
            step = 10 ** max(len(str(fact.number)) - DIGITS, 0)
            rounded = (fact.number + step // 2) // step * step
            if rounded != fact.number:
                yield (fact,), (replace(fact, number=rounded),)
        if len(fact.objects) > 2:
            left_out = generator.choice(fact.objects)
            fewer = tuple(key for key in fact.objects if key != left_out)
            yield (fact,), (replace(fact, objects=fewer),)

    def _most(self, fact: Fact, generator: random.Random) -> Iterator[Sides]:
        for other in self._others(fact, generator):
            yield (fact,), (fact, other) if generator.random() < 0.5 else (other, fact)
        if fact.relation in SINGLE:
            for other in self._alike(fact, generator):
                if contradicts(self.knowledge, fact, other):
                    yield (fact,), (with_value(fact, other),)

    def _subject(self, fact: Fact, generator: random.Random) -> Iterator[Sides]:
        for other in (others := self._others(fact, generator)):
            yield (fact,), (other,)
            for third in others:
                if third.relation != other.relation:
                    yield (fact,), (other, third)

    def _relation(self, fact: Fact, generator: random.Random) -> Iterator[Sides]:
        for other in self._alike(fact, generator):
            if self._apart(fact, other):
                yield (fact,), (other,)
                for mine, theirs in self._seconds(fact, other, generator):
                    if mine.relation == theirs.relation:
                        yield (fact, mine), (other, theirs)

    def _none(self, fact: Fact, generator: random.Random) -> Iterator[Sides]:
        for other in self._shuffled(self.facts, generator):
            if self._foreign(fact, other) and self._apart(fact, other):
                yield (fact,), (other,)
                for mine, theirs in self._seconds(fact, other, generator):
                    if self._foreign(mine, other, theirs) and self._foreign(theirs, fact, mine):
                        yield (fact, mine), (other, theirs)

    def _seconds(
        self, fact: Fact, other: Fact, generator: random.Random
    ) -> Iterator[tuple[Fact, Fact]]:
        """Yield a second fact about each of two subjects, all four apart."""
        for mine in self._others(fact, generator):
            for theirs in self._others(other, generator):
                if self._apart(mine, other) and self._apart(theirs, fact, mine):
                    yield mine, theirs

    def _others(self, fact: Fact, generator: random.Random) -> list[Fact]:
        """Return the facts about the same subject that this one says nothing of."""
        others = [
            other
            for other in self.about[fact.subject]
            if other.relation != fact.relation and {fact.relation, other.relation} != TIED
        ]
        return self._shuffled(others, generator)

    def _alike(self, fact: Fact, generator: random.Random) -> list[Fact]:
        """Return the facts with the same relation of another subject of the same kind."""
        kind = self.knowledge.entities[fact.subject].kind
        alike = [
            other
            for other in self.facts
            if other.relation == fact.relation
            and other.subject != fact.subject
            and self.knowledge.entities[other.subject].kind == kind
        ]
        return self._shuffled(alike, generator)

    def _shuffled(self, facts: list[Fact], generator: random.Random) -> list[Fact]:
        return generator.sample(facts, len(facts))

    def _foreign(self, fact: Fact, *others: Fact) -> bool:
        """Whether no other fact is of the same topic or relation, or names a kind of thing too."""
        return all(
            self._topic(fact) != self._topic(other)
            and fact.relation != other.relation
            and not self._kinds(fact) & self._kinds(other)
            for other in others
        )

    def _topic(self, fact: Fact) -> str:
        kind = self.knowledge.entities[fact.subject].kind
        return TOPIC.get(kind, kind)

    def _kinds(self, fact: Fact) -> set[str]:
        return {self.knowledge.entities[key].kind for key in (fact.subject, *fact.objects)}

    def _apart(self, fact: Fact, *others: Fact) -> bool:
        """Whether no other fact shares a name, a number or a wording with a fact."""
        names = {fact.subject, *fact.objects}
        return not any(
            names & {other.subject, *other.objects}
            or (fact.number is not None and fact.number == other.number)
            or say_the_same(fact, other)
            for other in others
        )


def is_joined(sides: Sides) -> bool:
    """Whether a side states more than one fact."""
    return max(map(len, sides)) > 1


def verbalize_graded(pair: Graded, grammar: Grammar, row: int, seed: int) -> tuple[str, str]:
    """Say both sides in a language, what both state in different words.

    Parameters
    ----------
    pair
        What to say.
    grammar
        Of the language.
    row, seed
        The patterns follow from them and the language.
    """
    generator = random.Random(derive_seed(seed, "sts", grammar.language, row))
    said: dict[Fact, str] = {}
    sides = []
    for facts in (pair.first, pair.second):
        sentences = []
        for fact in facts:
            patterns = [
                pattern
                for pattern in grammar.patterns_of(fact)
                if grammar.fill(pattern, fact).text != said.get(fact)
            ]
            pattern = generator.choice(patterns)
            said[fact] = grammar.fill(pattern, fact).text
            opening = generator.choice(["", *grammar.rules["connectives"]]) if sentences else ""
            sentences.append(grammar.fill(pattern, fact, opening))
        sides.append(join(sentences).text)
    first, second = sides
    return first, second
