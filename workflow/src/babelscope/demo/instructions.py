"""Instructions with answers in the manner of Bactrian-X, which follow from the knowledge base.

They ask for a fact, or for its value alone; for what lacks in a sentence; whether a statement is
true; for the same in other words; for two facts about something; and which of two things is larger.
"""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from babelscope.demo.few_shot import comparisons
from babelscope.demo.grammar import Grammar, load_grammar
from babelscope.demo.knowledge import LANGUAGES, Fact, Knowledge
from babelscope.demo.plan import in_turns
from babelscope.demo.reading import ASKED, answer
from babelscope.demo.values import SINGLE, YEARS, contradicts, with_value
from babelscope.demo.wording import join, state, wordings
from babelscope.seeds import derive_seed, stable_hash

GAP = "___"
COMPARED = 4  # times that a thing is compared at most, by each relation
NAMELESS = frozenset(("language",))
"""Kinds of things that are named by adjectives in some languages: nothing is said "about" them."""


@dataclass(frozen=True, slots=True)
class Task:
    """A row before it is said in any language.

    Attributes
    ----------
    kind
        ``question``, ``value``, ``complete``, ``judge``, ``rephrase``, ``tell`` or ``which``.
    facts
        What the answer states or names; all true.
    stated
        Of ``judge``, the statement, whose id is that of the fact even if its value is wrong. Of
        ``which``, the comparison with its two things in the order that they are named in.
    """

    kind: str
    facts: tuple[Fact, ...]
    stated: Fact | None = None


def plan_instructions(
    knowledge: Knowledge, facts: list[Fact], count: int, seed: int
) -> tuple[list[Task], int]:
    """Return tasks, the kinds in turns while there are some, and how many there could be.

    No two tasks give the same instruction in any language.

    Parameters
    ----------
    knowledge
        Says what is wrong.
    facts
        Those of the training split; only they and their values are stated.
    count
        Tasks wanted; fewer come back if the facts do not suffice.
    seed
        Seed of the demo.
    """
    ordered = sorted(facts, key=lambda fact: stable_hash(seed, "instructions", fact.id))
    queues: dict[str, list[Task]] = defaultdict(list)
    given: set[tuple[str, str]] = set()
    for task in _tasks(knowledge, ordered, seed):
        texts = {(code, _instruction(task, load_grammar(code))) for code in LANGUAGES}
        if given.isdisjoint(texts):
            given |= texts
            queues[task.kind].append(task)
    tasks = in_turns(*queues.values())
    return tasks[:count], len(tasks)


def _tasks(knowledge: Knowledge, facts: list[Fact], seed: int) -> Iterator[Task]:
    about: dict[str, list[Fact]] = defaultdict(list)
    alike: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in facts:
        about[fact.subject].append(fact)
        alike[fact.relation, knowledge.entities[fact.subject].kind].append(fact)
    told: set[tuple[str, str]] = set()
    for fact in facts:
        generator = random.Random(derive_seed(seed, "instructions", fact.id))
        if fact.relation in ASKED:
            yield Task(generator.choice(("question", "value")), (fact,))
        kind = knowledge.entities[fact.subject].kind
        if kind in NAMELESS:
            continue
        tasks = [Task("rephrase", (fact,))]
        if len(fact.objects) == 1 or fact.number is not None:
            tasks.append(Task("complete", (fact,)))
        others = [other for other in about[fact.subject] if other.relation != fact.relation]
        if others:
            tasks.append(Task("tell", (fact, generator.choice(others))))
        wrong = [
            with_value(fact, other)
            for other in alike[fact.relation, kind]
            if fact.relation in SINGLE and contradicts(knowledge, fact, other)
        ]
        if wrong:
            stated = fact if generator.random() < 0.5 else generator.choice(wrong)
            tasks.append(Task("judge", (fact,), stated))
        for task in tasks:  # their instructions name the subject only
            if (task.kind, fact.subject) not in told:
                told.add((task.kind, fact.subject))
                yield task
    for fact in comparisons(knowledge, facts, COMPARED, seed, "instructions"):
        generator = random.Random(derive_seed(seed, "instructions", fact.id))
        named = [fact.subject, *fact.objects]
        generator.shuffle(named)
        stated = Fact(fact.id, fact.relation, named[0], (named[1],))
        yield Task("which", (fact,), stated)


def _instruction(task: Task, grammar: Grammar) -> str:
    templates = grammar.rules["instruction"]
    if task.kind in ("question", "value"):
        question = grammar.question(task.facts[0])
        return question if task.kind == "question" else templates["value"].format(question)
    if task.kind == "which":
        assert task.stated
        return grammar.fill(grammar.rules["which"][task.stated.relation], task.stated).text
    return grammar.fill(templates[task.kind], task.facts[0]).text


def verbalize_task(task: Task, grammar: Grammar, row: int, seed: int) -> dict[str, str]:
    """Say a task in a language: ``instruction``, ``input``, which may be empty, and ``output``.

    Parameters
    ----------
    task
        What to say.
    grammar
        Of the language.
    row, seed
        The patterns follow from them and the language.
    """
    generator = random.Random(derive_seed(seed, "instructions", grammar.language, row))
    given, said = _said(task, grammar, generator)
    return {"instruction": _instruction(task, grammar), "input": given, "output": said}


def _said(task: Task, grammar: Grammar, generator: random.Random) -> tuple[str, str]:
    """Return what is given and what is answered."""
    fact = task.facts[0]
    sentence = grammar.verbalize(fact, generator).text
    templates = grammar.rules["instruction"]
    match task.kind:
        case "value":
            return "", answer(fact, grammar)
        case "complete":
            return _with_gap(fact, grammar, generator)
        case "judge":
            assert task.stated
            judged = grammar.verbalize(task.stated, generator).text
            right = task.stated == fact
            return judged, templates["true"] if right else templates["false"].format(sentence)
        case "rephrase":
            one, other = generator.sample(wordings(fact, grammar.language), 2)
            return one, other
        case "tell":
            said = [state(f, grammar, generator, first=f is fact) for f in task.facts]
            return "", join(said).text
    return "", sentence


def _with_gap(fact: Fact, grammar: Grammar, generator: random.Random) -> tuple[str, str]:
    """Return a sentence without the value of a fact, and what lacks in it."""
    pattern = generator.choice(grammar.patterns(fact.relation))
    sentence = grammar.fill(pattern, fact)
    if fact.objects:
        span = next(span for span in sentence.spans if span.key == fact.objects[0])
        start, end = span.start, span.end
    else:
        number = fact.number or 0
        digits = str(number) if fact.relation in YEARS else grammar.number(number)
        start = sentence.text.rindex(digits)
        end = start + len(digits)
    return sentence.text[:start] + GAP + sentence.text[end:], sentence.text[start:end]
