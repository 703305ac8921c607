"""Multiple-choice questions about short passages, in the manner of Belebele.

A passage states three or four things about one subject. The question asks for a value that the
passage states, one of four; the knowledge base knows that the other three are wrong. If a passage
gives the years of both birth and death, either is a wrong answer to the question for the other.
"""

import random
from collections import defaultdict
from dataclasses import dataclass
from urllib.parse import quote

from babelscope.demo.grammar import Grammar, load_grammar
from babelscope.demo.knowledge import LANGUAGES, Fact, Knowledge, kind_fact
from babelscope.demo.values import YEARS, contradicts, with_value
from babelscope.demo.wording import extent, join, state
from babelscope.seeds import derive_seed, stable_hash

ASKED = frozenset(
    (
        *("capital", "area", "length", "mouth", "height", "ascent", "surface", "depth"),
        *("city_in", "belongs", "class", "atomic", "symbol", "discovered", "diameter", "orbits"),
        *("born_in", "born", "died", "author", "dates", "invented"),
    )
)
"""Relations that are asked about; the grammars have a question for each."""

CONFUSED = {"born": "died", "died": "born"}
"""Relations whose values are of the same type, so that one is a good wrong answer for the other."""

CHOICES = 4
STATEMENTS = (3, 4)  # of a passage
CHARACTERS = 260  # of a passage at most, in whatever language and pattern
DIALECTS = {
    "en": "eng_Latn",
    "es": "spa_Latn",
    "ru": "rus_Cyrl",
    "de": "deu_Latn",
    "zh": "zho_Hans",
    "ar": "arb_Arab",
    "ur": "urd_Arab",
    "hi": "hin_Deva",
}
"""What Belebele calls the languages."""


@dataclass(frozen=True, slots=True)
class Question:
    """An item before it is said in any language.

    Attributes
    ----------
    passage
        What the passage states, in this order; all true and about one subject.
    choices
        The asked fact and the same with three wrong values.
    answer
        Place of the right one among them, from 0.
    """

    passage: tuple[Fact, ...]
    choices: tuple[Fact, ...]
    answer: int

    @property
    def asked(self) -> Fact:
        """The fact that answers the question."""
        return self.choices[self.answer]


def plan_questions(
    knowledge: Knowledge, facts: list[Fact], count: int, seed: int
) -> tuple[list[Question], int]:
    """Return questions, no fact asked for twice, and how many there could be.

    Parameters
    ----------
    knowledge
        Says what is wrong. Wrong values may be those of any facts, of whatever split: with a wrong
        value nothing is stated.
    facts
        Those of the test split; only they are stated.
    count
        Questions wanted; fewer come back if the facts do not suffice.
    seed
        Seed of the demo.
    """
    about: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        about[fact.subject].append(fact)
    questions: list[Question] = []
    for fact in sorted(facts, key=lambda fact: stable_hash(seed, "reading", fact.id)):
        generator = random.Random(derive_seed(seed, "reading", fact.id))
        passage = _passage(fact, about[fact.subject], generator)
        if fact.relation in ASKED and len(passage) >= STATEMENTS[0]:
            wrong = _wrong_answers(knowledge, fact, passage, generator)
            if len(wrong) == CHOICES - 1:
                answer = _place(len(questions), seed)
                choices = (*wrong[:answer], fact, *wrong[answer:])
                questions.append(Question(passage, choices, answer))
    return questions[:count], len(questions)


def _place(row: int, seed: int) -> int:
    """Return the place of a row's right answer; each place comes once in every `CHOICES` rows."""
    places = list(range(CHOICES))
    random.Random(derive_seed(seed, "reading places", row // CHOICES)).shuffle(places)
    return places[row % CHOICES]


def _passage(fact: Fact, own: list[Fact], generator: random.Random) -> tuple[Fact, ...]:
    """Choose what to state beside a fact: one fact per relation, and the subject's kind first."""
    others: dict[str, Fact] = {}
    for other in generator.sample(own, len(own)):
        if other.relation != fact.relation:
            others.setdefault(other.relation, other)
    stated = [fact]
    for other in list(others.values())[: generator.choice(STATEMENTS) - 1]:
        if sum(map(extent, (*stated, other))) <= CHARACTERS:
            stated.append(other)
    generator.shuffle(stated)
    kind = [kind_fact(fact.subject)] if len(stated) < STATEMENTS[0] else []
    return (*kind, *stated)


def _wrong_answers(
    knowledge: Knowledge, fact: Fact, passage: tuple[Fact, ...], generator: random.Random
) -> list[Fact]:
    """Return a fact with other values that are wrong and differ from each other everywhere."""
    kind = knowledge.entities[fact.subject].kind
    alike = [
        other
        for other in knowledge.facts.values()
        if other.relation == fact.relation and knowledge.entities[other.subject].kind == kind
    ]
    generator.shuffle(alike)
    confused = [other for other in passage if other.relation == CONFUSED.get(fact.relation)]
    wrong: list[Fact] = []
    for other in (*confused, *alike):
        if len(wrong) < CHOICES - 1 and contradicts(knowledge, fact, other):
            one = with_value(fact, other)
            if all(_answers(one).isdisjoint(_answers(taken)) for taken in wrong):
                wrong.append(one)
    generator.shuffle(wrong)
    return wrong


def _answers(fact: Fact) -> set[tuple[str, str]]:
    return {(code, answer(fact, load_grammar(code))) for code in LANGUAGES}


def answer(fact: Fact, grammar: Grammar) -> str:
    """Return the value of a fact by itself, as an answer to choose."""
    if fact.objects:
        slot = "{o:bare}" if fact.relation == "class" else "{o}"
    elif fact.number is not None:
        slot = "{y}" if fact.relation in YEARS else "{n}"
    else:
        slot = "{t}"
    return grammar.fill(slot, fact).text


def verbalize_question(item: Question, grammar: Grammar, row: int, seed: int) -> dict[str, str]:
    """Say passage, question and answers in a language, by the names of Belebele's fields.

    Parameters
    ----------
    item
        What to say.
    grammar
        Of the language.
    row, seed
        The patterns follow from them and the language.
    """
    generator = random.Random(derive_seed(seed, "reading", grammar.language, row))
    stated = [
        state(fact, grammar, generator, first=not place) for place, fact in enumerate(item.passage)
    ]
    choices = {
        f"mc_answer{number}": answer(fact, grammar)
        for number, fact in enumerate(item.choices, start=1)
    }
    return {
        "link": f"https://example.org/{quote(item.asked.subject.replace(':', '/'))}",
        "flores_passage": join(stated).text,
        "question": grammar.question(item.asked),
        **choices,
        "correct_answer_num": str(item.answer + 1),
        "dialect": DIALECTS[grammar.language],
    }
