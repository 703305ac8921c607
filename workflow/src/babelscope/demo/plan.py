"""Which facts are held out for parallel sentences, and which articles are written of the rest."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

from babelscope.demo.knowledge import COMPARISONS, Fact, Knowledge, comparison
from babelscope.errors import BabelscopeError
from babelscope.seeds import stable_hash

T = TypeVar("T")

HELD_OUT_AT_MOST = 0.5  # of all facts, so that the articles keep enough to say
RELATED_AT_LEAST = 8  # facts about an entity's surroundings, else also those about its kind


@dataclass(frozen=True, slots=True)
class Plan:
    """An article before it is written in any language.

    Attributes
    ----------
    kind
        ``entity``, ``list`` or ``comparison``.
    keys
        The entity; the group and its members; or the two that are compared.
    facts
        What may be said about it: first its own facts, then those of its surroundings.
    """

    kind: str
    keys: tuple[str, ...]
    facts: tuple[Fact, ...]
    related: tuple[Fact, ...] = ()

    @property
    def id(self) -> str:
        """Unique and stable."""
        return f"{self.kind}/{'+'.join(self.keys)}"


def _shuffled(items: list, seed: int, *parts: str) -> list:
    return sorted(
        items,
        key=lambda item: stable_hash(seed, *parts, item if isinstance(item, str) else item.id),
    )


def in_turns(*lists: list[T]) -> list[T]:
    """Return the first items of all lists, then the second ones, and so on while a list has any."""
    longest = max(map(len, lists))
    return [items[place] for place in range(longest) for items in lists if place < len(items)]


def hold_out(knowledge: Knowledge, sentences: int, seed: int) -> list[Fact]:
    """Return the facts that only the parallel sentences state.

    Every entity keeps a fact for its article. More sentences add facts to those of fewer.

    Raises
    ------
    BabelscopeError
        If more are asked for than `HELD_OUT_AT_MOST` of all facts.
    """
    left = Counter(key for fact in knowledge.facts.values() for key in _about(fact))
    chosen: list[Fact] = []
    for fact in _shuffled(list(knowledge.facts.values()), seed, "held out"):
        keys = [key for key in _about(fact) if knowledge.entities[key].article]
        if all(left[key] > 1 for key in keys):
            left.subtract(keys)
            chosen.append(fact)
    most = min(len(chosen), int(len(knowledge.facts) * HELD_OUT_AT_MOST))
    if sentences > most:
        raise BabelscopeError(
            f"demo.sentences is {sentences}, but the demo's knowledge base allows at most {most}.",
            f"Set demo.sentences to {most} or less.",
        )
    return chosen[:sentences]


def _about(fact: Fact) -> tuple[str, ...]:
    return (fact.subject, *fact.objects)


def plan_articles(knowledge: Knowledge, held_out: set[str], articles: int, seed: int) -> list[Plan]:
    """Return `articles` plans without held-out facts: entities, then lists, then comparisons.

    Raises
    ------
    BabelscopeError
        If the knowledge base has not enough for so many.
    """
    open_facts = {key: fact for key, fact in knowledge.facts.items() if key not in held_out}
    about: dict[str, list[Fact]] = defaultdict(list)
    for fact in open_facts.values():
        for key in _about(fact):
            about[key].append(fact)
    peers: dict[str, list[Fact]] = defaultdict(list)
    for fact in open_facts.values():
        peers[knowledge.entities[fact.subject].kind].append(fact)
    entities = [
        _entity_plan(key, about, peers[entity.kind])
        for key, entity in knowledge.entities.items()
        if entity.article
    ]
    plans = _shuffled(entities, seed, "entities")
    if articles > len(plans):
        plans += _shuffled(_lists(knowledge, open_facts), seed, "lists")
    if articles > len(plans):
        plans += _shuffled(_comparisons(knowledge, open_facts, about), seed, "comparisons")
    if articles > len(plans):
        raise BabelscopeError(
            f"demo.articles is {articles}, but the demo's knowledge base yields at most "
            f"{len(plans)} with demo.sentences at {len(held_out)}.",
            f"Set demo.articles to {len(plans)} or less.",
        )
    return plans[:articles]


def _entity_plan(key: str, about: dict[str, list[Fact]], peers: list[Fact]) -> Plan:
    own = about[key]
    near = {other for fact in own for other in _about(fact)} - {key}
    seen = {fact.id for fact in own}
    related = [f for other in sorted(near) for f in about[other] if f.id not in seen]
    if len(related) < RELATED_AT_LEAST:
        related += [fact for fact in peers if fact.id not in seen]
    return Plan("entity", (key,), tuple(own), tuple({f.id: f for f in related}.values()))


def _lists(knowledge: Knowledge, open_facts: dict[str, Fact]) -> list[Plan]:
    secret = {
        (fact.subject, key)
        for fact in knowledge.facts.values()
        if fact.id not in open_facts
        for key in fact.objects
    }
    members: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for key, entity in knowledge.entities.items():
        for attribute, group in entity.groups:
            if (key, group) not in secret:
                members[entity.kind, attribute, group].append(key)
    by_subject: dict[str, list[Fact]] = defaultdict(list)
    for fact in open_facts.values():
        by_subject[fact.subject].append(fact)
    plans = []
    for (kind, attribute, group), keys in members.items():
        facts = [fact for key in keys for fact in by_subject[key]]
        if len(keys) >= 3 and len(facts) >= 4:
            plans.append(Plan("list", (f"{kind}-{attribute}", group, *keys), tuple(facts)))
    return plans


def _comparisons(
    knowledge: Knowledge, open_facts: dict[str, Fact], about: dict[str, list[Fact]]
) -> list[Plan]:
    remaining = Knowledge(knowledge.entities, open_facts)
    plans = []
    for relation in COMPARISONS:
        subjects = [fact.subject for fact in open_facts.values() if fact.relation == relation]
        for left, right in combinations(subjects, 2):
            a, b = knowledge.entities[left], knowledge.entities[right]
            same = (a.kind, a.groups) == (b.kind, b.groups)
            fact = comparison(remaining, relation, left, right) if same else None
            if fact is not None:
                related = tuple({f.id: f for key in (left, right) for f in about[key]}.values())
                plans.append(Plan("comparison", (fact.subject, *fact.objects), (fact,), related))
    return plans
