"""Few-shot tasks in the manner of PAWS-X and XStoryCloze; every label follows from its row alone.

Of two sentences in different words, the question is whether they mean the same: they give one thing
the same value or two values, or compare two things alike or the other way round. Either sentence is
as often true as not, whatever the label, so the knowledge base does not help.

Of two endings of a story, the right one says again, in other words, what one of its four sentences
said; the other one gives the same thing another value, which the knowledge base knows to be wrong.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations

from babelscope.demo.grammar import Grammar
from babelscope.demo.inference import wrong_values
from babelscope.demo.knowledge import COMPARISONS, Fact, Knowledge, comparison, kind_fact
from babelscope.demo.plan import in_turns
from babelscope.demo.reading import CONFUSED
from babelscope.demo.values import SINGLE, contradicts, with_value
from babelscope.demo.wording import extent, state
from babelscope.seeds import derive_seed, stable_hash

CHARACTERS = 78  # of a sentence at most, in whatever language and pattern
TURNS = ((True, True), (True, False), (False, False), (False, True))
"""Which of a row's two sentences are true; they mean the same if both are or neither is."""

SENTENCES = 4  # of a story before its ending
USES = 3  # of a fact as the ending of stories


@dataclass(frozen=True, slots=True)
class Paraphrase:
    """Two facts before they are said in any language, and whether they are one."""

    first: Fact
    second: Fact

    @property
    def label(self) -> int:
        """1 if they mean the same, else 0, as in PAWS-X."""
        return int(self.first == self.second)


@dataclass(frozen=True, slots=True)
class Story:
    """Facts about one subject, two endings, and which of these is right, from 0."""

    told: tuple[Fact, ...]
    endings: tuple[Fact, Fact]
    answer: int


def comparisons(
    knowledge: Knowledge, facts: Sequence[Fact], uses: int, *seed: str | int
) -> list[Fact]:
    """Return which of two things is the longer, higher or later one, beyond doubt.

    Parameters
    ----------
    knowledge
        Says which.
    facts
        Only things of a kind whose numbers are among these are compared.
    uses
        How often a thing is compared at most, by each relation.
    seed
        The pairs and their order follow from it.
    """
    groups: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in facts:
        if fact.relation in COMPARISONS:
            groups[fact.relation, knowledge.entities[fact.subject].kind].append(fact)
    pairs = [pair for group in groups.values() for pair in combinations(group, 2)]
    pairs.sort(key=lambda pair: stable_hash(*seed, pair[0].id, pair[1].id))
    used: dict[str, int] = defaultdict(int)
    found = []
    for one, other in pairs:
        fact = comparison(knowledge, one.relation, one.subject, other.subject)
        if fact and contradicts(knowledge, one, other) and max(used[one.id], used[other.id]) < uses:
            used[one.id] += 1
            used[other.id] += 1
            found.append(fact)
    return found


def plan_paraphrases(
    knowledge: Knowledge, facts: Sequence[Fact], count: int, split: str, seed: int
) -> tuple[list[Paraphrase], int]:
    """Return pairs, both labels as often up to one, and how many there could be.

    Facts with a wrong value and comparisons take turns, and either kind has both labels as often,
    up to two; each is used once before any is used again, and then with the other label.

    Parameters
    ----------
    knowledge
        Says what is wrong.
    facts
        Those of the split; only they and their values are stated.
    count
        Pairs wanted; fewer come back if the facts do not suffice.
    split
        Name of the split; the draws follow from it and the seed.
    seed
        Seed of the demo.
    """
    groups: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in sorted(facts, key=lambda fact: stable_hash(seed, "pawsx", split, fact.id)):
        if fact.relation in SINGLE and extent(fact) <= CHARACTERS:
            groups[fact.relation, knowledge.entities[fact.subject].kind].append(fact)
    values = [pair for group in groups.values() for pair in wrong_values(knowledge, group)]
    values.sort(key=lambda pair: stable_hash(seed, "pawsx value", split, pair[0].id))
    compared = [
        (fact, replace(fact, subject=fact.objects[0], objects=(fact.subject,)))
        for fact in comparisons(knowledge, facts, 1, seed, "pawsx", split)
        if extent(fact) <= CHARACTERS
    ]
    slots = in_turns(values, compared)
    slots = slots[: len(slots) // len(TURNS) * len(TURNS)]
    rows = []
    for row in range(min(count, len(TURNS) * len(slots))):
        turn, place = divmod(row, len(slots))
        true, wrong = slots[place]
        shift = place // len(TURNS)  # without it all comparisons, at odd places, have one label
        first, second = TURNS[(place + shift + turn) % len(TURNS)]
        rows.append(Paraphrase(true if first else wrong, true if second else wrong))
    random.Random(derive_seed(seed, "pawsx", split)).shuffle(rows)
    return rows, len(TURNS) * len(slots)


def verbalize_paraphrase(
    pair: Paraphrase, grammar: Grammar, split: str, row: int, seed: int
) -> tuple[str, str]:
    """Say both sentences in a language, whether they mean the same or not with two patterns.

    Parameters
    ----------
    pair
        What to say.
    grammar
        Of the language.
    split, row, seed
        The patterns follow from them and the language.
    """
    generator = random.Random(derive_seed(seed, "pawsx", split, grammar.language, row))
    both = [
        (one, other)
        for one, other in permutations(grammar.patterns_of(pair.first), 2)
        if grammar.fill(one, pair.first).text != grammar.fill(other, pair.first).text
    ]
    one, other = generator.choice(both)
    return grammar.fill(one, pair.first).text, grammar.fill(other, pair.second).text


def plan_stories(
    knowledge: Knowledge, facts: Sequence[Fact], count: int, split: str, seed: int
) -> tuple[list[Story], int]:
    """Return stories, no two with the same endings, and how many there could be.

    Either ending is right as often, up to one.

    Parameters
    ----------
    knowledge
        Says what is wrong. A wrong ending may have the value of any fact, of whatever split: with a
        wrong value nothing is stated.
    facts
        Those of the split; only they are told.
    count
        Stories wanted; fewer come back if the facts do not suffice.
    split
        Name of the split; the draws follow from it and the seed.
    seed
        Seed of the demo.
    """
    about: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        if extent(fact) <= CHARACTERS:
            about[fact.subject].append(fact)
    alike: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in knowledge.facts.values():
        alike[fact.relation, knowledge.entities[fact.subject].kind].append(fact)
    stories: list[Story] = []
    offered: set[Fact] = set()  # wrong endings, whose id is that of the right one
    for use in range(USES):
        for fact in sorted(facts, key=lambda f: stable_hash(seed, "story", split, use, f.id)):
            if fact.relation not in SINGLE or extent(fact) > CHARACTERS:
                continue
            generator = random.Random(derive_seed(seed, "story", split, use, fact.id))
            kind = knowledge.entities[fact.subject].kind
            told = _told(fact, about[fact.subject], generator)
            wrong = _wrong(knowledge, fact, told, alike[fact.relation, kind], generator)
            if told and wrong and wrong not in offered:
                offered.add(wrong)
                answer = len(stories) % 2
                endings = (wrong, fact) if answer else (fact, wrong)
                stories.append(Story(told, endings, answer))
    rows = stories[:count]
    random.Random(derive_seed(seed, "story", split)).shuffle(rows)
    return rows, len(stories)


def _told(fact: Fact, own: Sequence[Fact], generator: random.Random) -> tuple[Fact, ...]:
    """Choose what a story tells beside a fact, each relation once; nothing if it is too little."""
    others: dict[str, Fact] = {}
    for other in generator.sample(own, len(own)):
        if other.relation != fact.relation:
            others.setdefault(other.relation, other)
    told = [fact, *others.values()][:SENTENCES]
    generator.shuffle(told)
    if len(told) == SENTENCES - 1:
        told.insert(0, kind_fact(fact.subject))
    return tuple(told) if len(told) == SENTENCES else ()


def _wrong(
    knowledge: Knowledge,
    fact: Fact,
    told: Sequence[Fact],
    alike: Sequence[Fact],
    generator: random.Random,
) -> Fact | None:
    """Return a fact with a wrong value: what the story says of something else, or any."""
    confused = [other for other in told if other.relation == CONFUSED.get(fact.relation)]
    for other in (*confused, *generator.sample(alike, len(alike))):
        if contradicts(knowledge, fact, other):
            return with_value(fact, other)
    return None


def verbalize_story(
    story: Story, grammar: Grammar, split: str, row: int, seed: int
) -> tuple[list[str], tuple[str, str]]:
    """Say the sentences of a story and its two endings in a language.

    Parameters
    ----------
    story
        What to say.
    grammar
        Of the language.
    split, row, seed
        The patterns follow from them and the language; both endings have the same one.
    """
    generator = random.Random(derive_seed(seed, "story", split, grammar.language, row))
    right = story.endings[story.answer]
    pattern = generator.choice(grammar.patterns_of(right))
    one, other = (grammar.fill(pattern, ending).text for ending in story.endings)
    sentences = []
    for fact in story.told:
        without = grammar.fill(pattern, fact).text if fact == right else ""
        sentences.append(state(fact, grammar, generator, first=True, without=without).text)
    return sentences, (one, other)
