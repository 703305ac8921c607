"""Facts to sentences: the patterns of a language, filled so that everything agrees.

A pattern is text with slots. ``{s}`` is the subject, ``{o}`` the object, ``{l}`` the list of
objects, ``{n}`` a quantity and ``{y}`` a year; ``{s:gen}`` asks for a form (`names.INFLECT`);
``{s?a|b|c|d}`` chooses by the gender of a name: masculine, feminine, neuter, plural.
"""

import random
import re
import tomllib
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from babelscope.demo.knowledge import Entity, Fact, Knowledge, kind_fact
from babelscope.demo.names import INFLECT, Name, parse_name

SLOT = re.compile(r"\{(\w)(?::(\w+)|\?([^}]*))?\}")


@dataclass(frozen=True, slots=True)
class Span:
    """Where a name or number stands in a sentence: characters [start, end).

    ``key`` is the entity's key, or empty for a number.
    """

    start: int
    end: int
    key: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """A verbalized fact; ``text[span.start:span.end]`` is the surface of each span."""

    text: str
    spans: tuple[Span, ...]
    fact: str


@dataclass(frozen=True, slots=True)
class Grammar:
    """Everything one language needs: the parsed file of `grammars/` and the knowledge it names."""

    language: str
    rules: dict[str, Any]
    knowledge: Knowledge

    def name(self, key: str) -> Name:
        """Return the parsed name of an entity."""
        entity = self.knowledge.entities[key]
        return _parsed(entity.names[self.language], entity.kind, self.language, entity.gender)

    def title(self, key: str) -> str:
        """Return the title of an entity's article; unique within the language."""
        return _titles(self.language)[key]

    def patterns(self, relation: str) -> list[str]:
        """Return the patterns of a relation."""
        return self.rules["pattern"][relation]

    def patterns_of(self, fact: Fact) -> list[str]:
        """Return the patterns that state a fact, also of what kind its subject is."""
        if fact.relation == "kind":
            return self.rules["kind"][self.knowledge.entities[fact.subject].kind]
        return self.patterns(fact.relation)

    def question(self, fact: Fact) -> str:
        """Return the question that a fact answers, without giving its value away."""
        return self.fill(self.rules["question"][fact.relation], fact).text

    def number(self, value: int) -> str:
        """Write a quantity as the language groups digits."""
        mark = self.rules["thousands"]
        if not mark or (mark == "\u00a0" and value < 10_000):
            return str(value)
        if self.language == "hi" and value >= 100_000:
            head, tail = divmod(value, 1000)
            lakhs = re.sub(r"(?<=\d)(?=(\d\d)+$)", mark, str(head))
            return f"{lakhs}{mark}{tail:03d}"
        return f"{value:,}".replace(",", mark)

    def describe(self, key: str, generator: random.Random) -> Sentence:
        """Say of what kind an entity is."""
        return self.verbalize(kind_fact(key), generator)

    def verbalize(self, fact: Fact, generator: random.Random) -> Sentence:
        """State a fact with one of its patterns."""
        return self.fill(generator.choice(self.patterns_of(fact)), fact)

    def fill(self, pattern: str, fact: Fact, opening: str = "") -> Sentence:
        """Fill one pattern; `opening` is a connective put before it."""
        if opening and self.rules.get("lowered", True) and pattern[0] != "{":
            pattern = pattern[0].lower() + pattern[1:]
        text = opening
        spans: list[Span] = []
        end = 0
        for match in SLOT.finditer(pattern):
            text += pattern[end : match.start()]
            end = match.end()
            slot, form, choices = match.groups()
            if slot == "t":
                text += fact.text
                continue
            if slot in "ny":
                digits = str(fact.number) if slot == "y" else self.number(fact.number or 0)
                if slot == "n":
                    spans.append(Span(len(text), len(text) + len(digits), ""))
                text += digits
                continue
            keys = (fact.subject,) if slot == "s" else fact.objects
            if choices is not None:
                options = choices.split("|")
                text += options[min("mfnp".index(self.name(keys[0]).gender), len(options) - 1)]
                continue
            for place, key in enumerate(keys):
                before, surface, after = self._inflect(key, form or "", fact.subject)
                text += self._joint(place, len(keys), surface)
                if not (place and self.language == "ru" and form == "в"):
                    text += before
                spans.append(Span(len(text), len(text) + len(surface), key))
                text += surface + after
        text += pattern[end:]
        if not self.rules.get("lowered", True):
            start = len(opening)
            text = text[:start] + text[start].upper() + text[start + 1 :]
        return Sentence(text[:1].upper() + text[1:], tuple(spans), fact.id)

    def _inflect(self, key: str, form: str, subject: str) -> tuple[str, str, str]:
        """Return what stands before a name, the name, and what stands after it."""
        name = self.name(key)
        if form == "alt":
            return "", name.forms[-1], ""
        if form == "by":  # a word for a person, by that person's gender
            surface = name.forms[-1] if self.name(subject).gender == "f" else name.base
            article = ("an " if surface[0] in "aeiou" else "a ") if self.language == "en" else ""
            return article, surface, ""
        if form == "a":
            return ("an " if name.base[0] in "aeiou" else "a "), name.base, ""
        before, surface = INFLECT[self.language](name, form)
        if self.knowledge.entities[key].kind == "work":
            opening, closing = self.rules["quotes"]
            return opening, surface, closing
        return before, surface, ""

    def _joint(self, place: int, count: int, following: str) -> str:
        if place == 0:
            return ""
        if place < count - 1:
            return self.rules["comma"]
        joint = self.rules["and"]
        if self.language == "es" and re.match("H?[IÍií]", following):
            return " e "
        return joint


@cache
def _parsed(cell: str, kind: str, language: str, gender: str) -> Name:
    name = parse_name(cell, kind, language)
    return replace(name, gender=gender) if gender else name


@cache
def load_grammar(language: str) -> Grammar:
    """Read the grammar of one of `knowledge.LANGUAGES`."""
    from babelscope.demo.knowledge import load

    text = (files("babelscope.demo") / "grammars" / f"{language}.toml").read_text("utf-8")
    return Grammar(language, tomllib.loads(text), load())


@cache
def _titles(language: str) -> dict[str, str]:
    grammar = load_grammar(language)
    titles: dict[str, str] = {}
    taken: set[str] = set()
    for key, entity in grammar.knowledge.entities.items():
        if not entity.article:
            continue
        title = _title(grammar, entity)
        if title in taken:
            title = f"{title} ({grammar.rules['noun'][entity.kind]})"
        if title in taken:
            raise ValueError(f"two articles of {language} are called {title}")
        taken.add(title)
        titles[key] = title
    return titles


def _title(grammar: Grammar, entity: Entity) -> str:
    name = grammar.name(entity.key)
    title = name.base
    first, _, rest = title.partition(" ")
    if grammar.language == "de" and rest and name.article in {"der", "das"} and first[-1] == "e":
        title = f"{first}{'r' if name.gender == 'm' else 's'} {rest}"  # der Große See: Großer See
    if entity.kind == "language":
        form = {"ru": "yaz", "ar": "lugha"}.get(grammar.language)
        before, surface = INFLECT[grammar.language](name, form or "bare")
        title = before + surface if form else grammar.rules["title_language"].format(surface)
    return title[:1].upper() + title[1:]
