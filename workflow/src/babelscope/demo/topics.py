"""Texts to classify by topic, which follows from the kind of thing they are about."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from babelscope.demo.grammar import Grammar
from babelscope.demo.knowledge import Fact, Knowledge
from babelscope.demo.plan import in_turns
from babelscope.demo.wording import join, state
from babelscope.seeds import derive_seed, stable_hash

TOPICS = {
    "geography": ("country", "city", "river", "mountain", "lake", "island"),
    "people": ("person",),
    "animals": ("animal",),
    "chemistry": ("element",),
    "astronomy": ("planet", "moon"),
    "culture": ("work", "language"),
}
"""Topics by the kinds of subjects; inventions are too few for one of their own.

Works and languages are one topic, which else could be told by the quotation marks of titles.
"""

TOPIC = {kind: topic for topic, kinds in TOPICS.items() for kind in kinds}


@dataclass(frozen=True, slots=True)
class Text:
    """A row before it is said in any language: one or two facts about a subject, and the topic."""

    facts: tuple[Fact, ...]
    topic: str


def plan_texts(
    knowledge: Knowledge, facts: Sequence[Fact], count: int, split: str, seed: int
) -> tuple[list[Text], int]:
    """Return texts, each topic as often as the others while its facts last, and how many may be.

    No two texts state the same facts. Within a topic kinds of subjects take turns, and texts of one
    fact with those of two, while there are both.

    Parameters
    ----------
    knowledge
        Says of what kind a subject is.
    facts
        Those of the split; only they are stated.
    count
        Texts wanted; fewer come back if the facts do not suffice.
    split
        Name of the split; the draws follow from it and the seed.
    seed
        Seed of the demo.
    """
    about: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        if knowledge.entities[fact.subject].kind in TOPIC:
            about[fact.subject].append(fact)
    queues = {
        topic: in_turns(*(_texts(about, knowledge, kind, split, seed) for kind in kinds))
        for topic, kinds in TOPICS.items()
    }
    most = sum(map(len, queues.values()))
    texts = in_turns(*queues.values())[:count]
    random.Random(derive_seed(seed, "topics", split)).shuffle(texts)
    return texts, most


def _texts(
    about: dict[str, list[Fact]], knowledge: Knowledge, kind: str, split: str, seed: int
) -> list[Text]:
    """Return all texts about things of a kind, those of one fact and those of two in turns."""
    own = [told for key, told in about.items() if knowledge.entities[key].kind == kind]
    sizes = [
        sorted(
            (Text(stated, TOPIC[kind]) for told in own for stated in combinations(told, size)),
            key=lambda text: stable_hash(seed, "topics", split, *(f.id for f in text.facts)),
        )
        for size in (1, 2)
    ]
    return in_turns(*sizes)


def verbalize_text(text: Text, grammar: Grammar, split: str, row: int, seed: int) -> str:
    """Say a text in a language; order and patterns follow from the other arguments."""
    generator = random.Random(derive_seed(seed, "topics", split, grammar.language, row))
    facts = generator.sample(text.facts, len(text.facts))
    said = [state(fact, grammar, generator, first=not place) for place, fact in enumerate(facts)]
    return join(said).text
