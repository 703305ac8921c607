"""Pairs of a premise and a hypothesis that it entails, contradicts or leaves open.

Each pair is built around one *slot*: a functional relation of a subject, such as the length of the
Rhine, which can have only one value. The hypothesis states the slot's true value or a wrong one;
the premise states the slot's fact in other words (entailment, contradiction) or only other facts
about the subject (neutral, be the hypothesis true or not). The knowledge base decides what is
wrong, and the premise alone what follows: that the Rhine is long does not follow from its mouth.

The hypothesis says nothing about the label: every slot gets each label as often, up to one, and
within a relation the wrong values are the true ones in another order.
"""

import random
from collections import defaultdict
from dataclasses import dataclass

from babelscope.demo.grammar import Grammar
from babelscope.demo.knowledge import Fact, Knowledge
from babelscope.demo.values import contradicts, with_value
from babelscope.demo.wording import extent, join, state
from babelscope.seeds import derive_seed, stable_hash

LABELS = ("entailment", "neutral", "contradiction")
JOINED = 0.4  # share of premises that state two facts, where the subject has enough short ones
CHARACTERS = 78  # of a sentence at most, in whatever language and pattern
JOINED_CHARACTERS = 160  # of a hypothesis and a premise of two facts
USES = 9  # of a slot within a split, three with each label

FUNCTIONAL = frozenset(("capital", "length", "height", "born"))
"""Relations of hypotheses: a second value contradicts the first.

There are more such relations, but a small network learns to judge few of them much sooner.
"""

TIED = (frozenset(("born", "died")),)
"""Relations of which one says something about the other; neither leaves the other open."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A row before it is said in any language.

    Attributes
    ----------
    premise
        One or two facts about the same subject, all true.
    hypothesis
        A value of a slot; its id is that of the slot's fact even if the value is wrong.
    label
        One of `LABELS`.
    """

    premise: tuple[Fact, ...]
    hypothesis: Fact
    label: str


def plan_pairs(
    knowledge: Knowledge, facts: list[Fact], count: int, split: str, seed: int
) -> tuple[list[Pair], int]:
    """Return pairs, each label as often as the others up to one, and how many there could be.

    Parameters
    ----------
    knowledge
        Says what is wrong.
    facts
        Those of the split; only they are stated.
    count
        Pairs wanted; fewer come back if the facts do not suffice.
    split
        Name of the split; the draws follow from it and the seed.
    seed
        Seed of the demo.
    """
    about: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        if extent(fact) <= CHARACTERS:
            about[fact.subject].append(fact)
    groups: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in sorted(facts, key=lambda fact: stable_hash(seed, "nli", split, fact.id)):
        short = extent(fact) <= CHARACTERS
        if short and fact.relation in FUNCTIONAL and _companions(fact, about):
            groups[fact.relation, knowledge.entities[fact.subject].kind].append(fact)
    wrong = {
        fact.id: (fact, value)
        for group in groups.values()
        for fact, value in wrong_values(knowledge, group)
    }
    order = sorted(wrong, key=lambda slot: stable_hash(seed, "nli slot", split, slot))
    order = order[: len(order) // len(LABELS) * len(LABELS)]
    generator = random.Random(derive_seed(seed, "nli", split))
    pairs = []
    for row in range(min(count, USES * len(order))):
        turn, place = divmod(row, len(order))
        fact, other = wrong[order[place]]
        label = LABELS[(place + turn) % len(LABELS)]
        companions = _companions(fact, about)
        generator.shuffle(companions)
        joined = generator.random() < JOINED and _may_join(fact, companions)
        coin = generator.random() < 0.5
        if label == "neutral":
            premise = companions[: 1 + joined]
        else:
            premise = [fact, *companions[:joined]]
            generator.shuffle(premise)
        true = label == "entailment" or (label == "neutral" and coin)
        pairs.append(Pair(tuple(premise), fact if true else other, label))
    generator.shuffle(pairs)
    return pairs, USES * len(order)


def _companions(fact: Fact, about: dict[str, list[Fact]]) -> list[Fact]:
    """Return facts about the same subject that say nothing about this one, a relation once."""
    found: dict[str, Fact] = {}
    for other in about[fact.subject]:
        pair = frozenset((fact.relation, other.relation))
        if len(pair) == 2 and pair not in TIED:
            found.setdefault(other.relation, other)
    return list(found.values())


def _may_join(fact: Fact, companions: list[Fact]) -> bool:
    """Whether a premise of two facts stays short, whichever of the labels the pair has."""
    if len(companions) < 2:
        return False
    own, first, second = extent(fact), extent(companions[0]), extent(companions[1])
    return own + first + max(own, second) <= JOINED_CHARACTERS


def wrong_values(knowledge: Knowledge, group: list[Fact]) -> list[tuple[Fact, Fact]]:
    """Give each fact of a group another one's value that is wrong for it, no value to two facts.

    Facts that find none are left out. (A maximum bipartite matching by augmenting paths.)
    """
    taker: dict[int, int] = {}

    def give(place: int, tried: set[int]) -> bool:
        for giver, other in enumerate(group):
            if giver not in tried and contradicts(knowledge, group[place], other):
                tried.add(giver)
                if giver not in taker or give(taker[giver], tried):
                    taker[giver] = place
                    return True
        return False

    for place in range(len(group)):
        give(place, set())
    return [
        (group[place], with_value(group[place], group[giver])) for giver, place in taker.items()
    ]


def verbalize_pair(
    pair: Pair, grammar: Grammar, split: str, row: int, seed: int
) -> tuple[str, str]:
    """Say premise and hypothesis in a language, a fact that both are about in different patterns.

    Parameters
    ----------
    pair
        What to say.
    grammar
        Of the language.
    split, row, seed
        The patterns follow from them and the language.
    """
    generator = random.Random(derive_seed(seed, "nli", split, grammar.language, row))
    pattern = generator.choice(grammar.patterns(pair.hypothesis.relation))
    premise = []
    for fact in pair.premise:
        same = fact.relation == pair.hypothesis.relation
        without = grammar.fill(pattern, fact).text if same else ""
        premise.append(state(fact, grammar, generator, first=not premise, without=without))
    return join(premise).text, grammar.fill(pattern, pair.hypothesis).text
