"""Paraphrase triples: a fact, the same fact in other words, and a fact that is only near it.

What is near: the same relation of another subject of the same kind; the same subject with another,
wrong value (of relations in `values.SINGLE`); or another fact about the same subject. A fact's
triples take turns among the three, as far as it has them.
"""

import random
from collections import defaultdict
from dataclasses import dataclass
from itertools import islice, permutations

from babelscope.demo.knowledge import Fact, Knowledge
from babelscope.demo.plan import in_turns
from babelscope.demo.values import SINGLE, contradicts, with_value
from babelscope.demo.wording import say_the_same, wordings
from babelscope.seeds import derive_seed, stable_hash

USES = 6  # of a fact at most: three wordings make six ordered pairs


@dataclass(frozen=True, slots=True)
class Triple:
    """A row before it is said in any language.

    Attributes
    ----------
    fact
        What anchor and positive state.
    negative
        What the hard negative states; with a wrong value its id is still that of `fact`.
    turn
        Which of its fact's triples it is, from 0; each has another pair of wordings.
    """

    fact: Fact
    negative: Fact
    turn: int


def plan_triples(
    knowledge: Knowledge, facts: list[Fact], count: int, seed: int
) -> tuple[list[Triple], int]:
    """Return triples, and how many there could be; no two with the same fact and negative.

    Every fact has its first triple before any has its second, so up to as many triples as facts no
    anchor is said twice. More triples add to those of fewer.

    Parameters
    ----------
    knowledge
        Says what is wrong.
    facts
        Those of the training split; only they and their values are stated.
    count
        Triples wanted; fewer come back if the facts do not suffice.
    seed
        Seed of the demo.
    """
    about: dict[str, list[Fact]] = defaultdict(list)
    alike: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in facts:
        about[fact.subject].append(fact)
        alike[fact.relation, knowledge.entities[fact.subject].kind].append(fact)

    def near(fact: Fact) -> list[Fact]:
        generator = random.Random(derive_seed(seed, "pairs near", fact.id))
        peers = [
            other
            for other in alike[fact.relation, knowledge.entities[fact.subject].kind]
            if other.subject != fact.subject
        ]
        generator.shuffle(peers)
        different = (other for other in peers if not say_the_same(fact, other))
        wrong = {
            with_value(fact, other): None
            for other in peers
            if fact.relation in SINGLE and contradicts(knowledge, fact, other)
        }
        rest = [other for other in about[fact.subject] if other != fact]
        generator.shuffle(rest)
        pools = [list(islice(different, USES)), list(wrong), rest]
        generator.shuffle(pools)
        return in_turns(*pools)[:USES]

    negatives = {fact.id: near(fact) for fact in facts}
    triples = []
    for turn in range(USES):
        for fact in sorted(facts, key=lambda fact: stable_hash(seed, "pairs", turn, fact.id)):
            if turn < len(negatives[fact.id]):
                triples.append(Triple(fact, negatives[fact.id][turn], turn))
    return triples[:count], len(triples)


def verbalize_triple(triple: Triple, language: str, seed: int) -> tuple[str, str, str]:
    """Say anchor, positive and negative in a language; patterns follow from it and the seed."""
    fact = triple.fact
    pairs = list(permutations(wordings(fact, language), 2))
    random.Random(derive_seed(seed, "pairs", language, fact.id)).shuffle(pairs)
    anchor, positive = pairs[triple.turn]
    generator = random.Random(derive_seed(seed, "pairs", language, fact.id, triple.turn))
    return anchor, positive, generator.choice(wordings(triple.negative, language))
