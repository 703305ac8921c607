"""Other values that a fact could have: which are wrong, and how the statement then reads."""

from dataclasses import replace

from babelscope.demo.knowledge import LANGUAGES, Fact, Knowledge

SINGLE = frozenset(
    (
        *("capital", "area", "length", "mouth", "height", "ascent", "surface", "depth"),
        *("city_in", "belongs", "family", "class", "atomic", "symbol", "state", "discovered"),
        *("order", "diameter", "period", "orbits"),
        *("born_in", "born", "died", "author", "dates", "inventor", "invented"),
    )
)
"""Relations with one value per subject beyond doubt, so that any other value is wrong.

Of the others a second value may be true as well: countries have more languages and people more
professions than the tables tell, and a halogen is a nonmetal.
"""

YEARS = frozenset(("born", "died", "ascent", "discovered", "dates", "invented"))
RANKS = frozenset(("atomic", "order"))
"""Relations whose number counts as it stands; other numbers are measured, more or less exactly."""

APART = 1.2  # least ratio of two quantities, which sources give differently
YEARS_APART = 10
WIDE = frozenset(
    f"sea:{name}"
    for name in (
        *("Atlantic Ocean", "Pacific Ocean", "Indian Ocean", "Arctic Ocean"),
        "Mediterranean Sea",
    )
)
"""Waters that hold smaller seas: who flows into the Adriatic flows into the Mediterranean, too."""


def with_value(fact: Fact, other: Fact) -> Fact:
    """Return a fact with the value of another one of its relation."""
    return replace(fact, objects=other.objects, number=other.number, text=other.text)


def contradicts(knowledge: Knowledge, fact: Fact, other: Fact) -> bool:
    """Whether the value of another fact of the same relation, one of `SINGLE`, is wrong for this.

    Quantities must differ by a factor of at least `APART` and years by `YEARS_APART`; names must
    differ in every language.
    """
    if fact.number is not None and other.number is not None:
        smaller, larger = sorted((fact.number, other.number))
        if fact.relation in RANKS:
            return smaller != larger
        if fact.relation in YEARS:
            return larger - smaller >= YEARS_APART
        return larger >= smaller * APART
    if fact.text:
        return fact.text != other.text
    (mine,), (theirs,) = fact.objects, other.objects
    if theirs in WIDE and mine not in WIDE:
        return False
    names, others = knowledge.entities[mine].names, knowledge.entities[theirs].names
    return all(names[language] != others[language] for language in LANGUAGES)
