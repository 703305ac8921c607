"""The demo's knowledge base: typed entities with names in every language, and facts about them.

The tables in `facts/` are hand-written: one file per kind of entity, one row per entity, its
attributes first and then its names. `load` turns their cells into facts, each a record of its own,
so that whole facts can be held out, paraphrased or asked about.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from babelscope.languages import DEMO_LANGUAGES

LANGUAGES = DEMO_LANGUAGES
"""Codes of the languages the tables and grammars know."""

PLACES = (
    *("country", "city", "river", "mountain", "range", "lake", "island", "continent", "sea"),
    *("planet", "moon"),
)
LABELS = {"person": "PER", "work": "MISC", "language": "MISC"} | dict.fromkeys(PLACES, "LOC")


@dataclass(frozen=True, slots=True)
class Entity:
    """A thing that facts are about.

    Attributes
    ----------
    key
        ``kind:English name``, unique.
    kind
        Table or group it comes from, such as ``river``.
    names
        The cell of each language: a name with its grammatical marks (see `grammar.parse_name`).
    groups
        What lists of it are made by: pairs of attribute and key, such as a river's continent.
    article
        Whether there is an encyclopedia article about it.
    gender
        ``m`` or ``f`` of a person; other names have a gender per language.
    """

    key: str
    kind: str
    names: dict[str, str]
    groups: tuple[tuple[str, str], ...] = ()
    article: bool = True
    gender: str = ""

    @property
    def label(self) -> str:
        """Type of its name in the CoNLL scheme (PER, LOC, MISC), or "" if it is no proper name."""
        return LABELS.get(self.kind, "")


@dataclass(frozen=True, slots=True)
class Fact:
    """One true statement: a relation, its subject, and objects or a number.

    Attributes
    ----------
    id
        Unique and stable, such as ``length:river:Rhine``.
    relation
        Name of the patterns that verbalize it.
    subject, objects
        Keys of entities.
    number
        A quantity in the unit of the relation, or a year, or None.
    text
        A sign that is the same in every language, such as a chemical symbol.
    """

    id: str
    relation: str
    subject: str
    objects: tuple[str, ...] = ()
    number: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """How a column of a table becomes facts.

    ``kind`` names the objects' kind; without it the cell is a number, or a sign if ``text``. With
    ``each`` there is one fact per object, in alphabetical direction, for symmetric relations.
    """

    relation: str
    kind: str = ""
    each: bool = False
    text: bool = False


COLUMNS: dict[str, dict[str, Column]] = {
    "country": {
        "capital": Column("capital", "city"),
        "continent": Column("continent", "continent"),
        "language": Column("spoken", "language"),
        "area": Column("area"),
        "borders": Column("border", "country", each=True),
    },
    "city": {"river": Column("on_river", "river"), "country": Column("city_in", "country")},
    "river": {
        "length": Column("length"),
        "mouth": Column("mouth", "sea"),
        "countries": Column("flows", "country"),
    },
    "mountain": {
        "height": Column("height"),
        "countries": Column("located", "country"),
        "ascent": Column("ascent"),
        "range": Column("range", "range"),
    },
    "language": {"family": Column("family", "family"), "script": Column("script", "script")},
    "element": {
        "number": Column("atomic"),
        "symbol": Column("symbol", text=True),
        "category": Column("category", "category"),
        "state": Column("state", "state"),
        "year": Column("discovered"),
        "discoverer": Column("discoverer", "person"),
    },
    "animal": {
        "class": Column("class", "class"),
        "food": Column("food", "food"),
        "habitat": Column("habitat", "habitat"),
        "regions": Column("lives", "continent"),
    },
    "planet": {
        "order": Column("order"),
        "diameter": Column("diameter"),
        "type": Column("planet_type", "planet_type"),
        "period": Column("period"),
    },
    "moon": {
        "planet": Column("orbits", "planet"),
        "diameter": Column("diameter"),
        "year": Column("discovered"),
    },
    "person": {
        "profession": Column("profession", "profession"),
        "country": Column("born_in", "country"),
        "birth": Column("born"),
        "death": Column("died"),
    },
    "work": {
        "author": Column("author", "person"),
        "type": Column("work_type", "work_type"),
        "year": Column("dates"),
    },
    "invention": {"inventor": Column("inventor", "person"), "year": Column("invented")},
    "lake": {
        "area": Column("surface"),
        "depth": Column("depth"),
        "countries": Column("lies_in", "country"),
    },
    "island": {
        "area": Column("surface"),
        "country": Column("belongs", "country"),
        "sea": Column("island_sea", "sea"),
    },
}
GROUPED_BY = {
    "country": ("continent", "continent"),
    "river": ("continent", "continent"),
    "city": ("country", "country"),
    "mountain": ("range", "range"),
    "language": ("family", "family"),
    "element": ("category", "category"),
    "animal": ("class", "class"),
    "moon": ("planet", "planet"),
    "person": ("profession", "profession"),
    "work": ("author", "person"),
}
COMPARISONS = {
    "length": "longer",
    "height": "higher",
    "area": "larger",
    "surface": "larger",
    "depth": "deeper",
    "diameter": "bigger",
    "born": "later",
}
"""Numeric relations, and the relation that says whose number is the larger."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """All entities by key, and all facts by id, in the order of the tables."""

    entities: dict[str, Entity]
    facts: dict[str, Fact]


def _rows(table: str) -> list[dict[str, str]]:
    text = (files("babelscope.demo") / "facts" / f"{table}.tsv").read_text("utf-8")
    header, *lines = (line.split("\t") for line in text.splitlines())
    return [dict(zip(header, cells, strict=True)) for cells in lines]


def _bare(name: str) -> str:
    return name.partition(";")[0].partition("/")[0].removeprefix("the ")


def _names(row: dict[str, str]) -> dict[str, str]:
    return {language: row[language] for language in LANGUAGES}


@cache
def load() -> Knowledge:
    """Read the tables into entities and facts.

    Raises
    ------
    ValueError
        If a cell refers to an entity that no table has, or two entities share a key.
    """
    entities: dict[str, Entity] = {}
    tables = {kind: _rows(kind) for kind in COLUMNS}
    for row in _rows("term"):
        key = f"{row['group']}:{_bare(row['en'])}"
        entities[key] = Entity(key, row["group"], _names(row), article=False)
    for kind, rows in tables.items():
        column, group_kind = GROUPED_BY.get(kind, ("", ""))
        for row in rows:
            key = f"{kind}:{_bare(row['en'])}"
            if key in entities:
                raise ValueError(f"two entities are called {key}")
            group = row.get(column, "")
            groups = ((column, f"{group_kind}:{group}"),) if group else ()
            entities[key] = Entity(key, kind, _names(row), groups, gender=row.get("sex", ""))
    facts: dict[str, Fact] = {}
    capitals = {row["capital"] for row in tables["country"]}
    for kind, rows in tables.items():
        for row in rows:
            subject = f"{kind}:{_bare(row['en'])}"
            for name, column in COLUMNS[kind].items():
                cell = row[name]
                if not cell or (name == "country" and kind == "city" and row["en"] in capitals):
                    continue
                for fact in _facts_of(column, subject, cell):
                    for key in fact.objects:
                        if key not in entities:
                            raise ValueError(f"{subject} names {key}, which is in no table")
                    facts[fact.id] = fact
    return Knowledge(entities, facts)


def _facts_of(column: Column, subject: str, cell: str) -> list[Fact]:
    relation = column.relation
    if column.text:
        return [Fact(f"{relation}:{subject}", relation, subject, text=cell)]
    if not column.kind:
        return [Fact(f"{relation}:{subject}", relation, subject, number=int(cell))]
    objects = [f"{column.kind}:{name}" for name in cell.split(",")]
    if column.each:
        pairs = (sorted((subject, other)) for other in objects)
        return [Fact(f"{relation}:{a}+{b}", relation, a, (b,)) for a, b in pairs]
    return [Fact(f"{relation}:{subject}", relation, subject, tuple(objects))]


def kind_fact(key: str) -> Fact:
    """Return the statement of what kind an entity is, which no table holds."""
    return Fact(f"kind:{key}", "kind", key)


def comparison(knowledge: Knowledge, relation: str, left: str, right: str) -> Fact | None:
    """Return the fact which of two entities has the larger number, or None if that is not known."""
    a = knowledge.facts.get(f"{relation}:{left}")
    b = knowledge.facts.get(f"{relation}:{right}")
    if a is None or b is None or a.number is None or b.number is None or a.number == b.number:
        return None
    first, second = (a, b) if a.number > b.number else (b, a)
    name = COMPARISONS[relation]
    fact_id = f"{name}:{first.subject}+{second.subject}"
    return Fact(fact_id, name, first.subject, (second.subject,))
