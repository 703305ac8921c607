"""The demo's data: dumps in the official format, parallel sentences and the data of tasks."""

import random
from pathlib import Path

from babelscope.demo.articles import article_text, article_title
from babelscope.demo.dump import Page, write_dump
from babelscope.demo.generator_tasks import write_generator_tasks
from babelscope.demo.grammar import Grammar, load_grammar
from babelscope.demo.knowledge import LANGUAGES, Fact, load
from babelscope.demo.plan import Plan, hold_out, plan_articles
from babelscope.demo.sentence_tasks import write_sentence_tasks
from babelscope.demo.tasks import write_tasks
from babelscope.errors import BabelscopeError
from babelscope.io import atomic
from babelscope.seeds import derive_seed

NAMESPACES = {1: "talk", 2: "user", 4: "project", 6: "file", 10: "template", 14: "category"}


def build_demo(
    folder: str | Path,
    *,
    languages: dict[str, str],
    date: str,
    articles: int,
    sentences: int,
    ner: int,
    nli: int,
    pairs: int = 0,
    sts: int = 0,
    topics: int = 0,
    reading: int = 0,
    instructions: int = 0,
    choices: int = 0,
    seed: int,
) -> None:
    """Write ``dumps/{wiki}/{date}/`` for each language, ``parallel.tsv``, ``ner/`` and ``nli/``.

    Articles and parallel sentences share no fact: what a row of the table says, no article says.
    Nor do tasks and parallel sentences; see `tasks`, `sentence_tasks` and `generator_tasks` for
    what else is kept apart. The data for sentence encoders and for generative models are written
    only if asked for.

    Parameters
    ----------
    folder
        Where to write; files there with the same names are replaced.
    languages
        Language code to the name of its Wikipedia, such as ``{"de": "dewiki"}``.
    date
        Date of the dumps, YYYYMMDD.
    articles
        Articles per language; the same subjects in each.
    sentences
        Rows of the parallel table.
    ner, nli
        Training sentences and sentence pairs per language; development and test sets have an
        eighth and a quarter as many.
    pairs, sts, topics, reading
        Paraphrase triples, graded pairs, training texts and questions per language, written to
        folders of these names by `sentence_tasks.write_sentence_tasks`; none if 0.
    seed
        Everything follows from it; equal arguments give equal bytes.

    Raises
    ------
    BabelscopeError
        If the knowledge base has no such language, or not enough facts for these sizes.
    """
    folder = Path(folder)
    for code in languages:
        if code not in LANGUAGES:
            raise BabelscopeError(
                f"The demo has no text in the language {code!r}.",
                f"Choose languages from {', '.join(LANGUAGES)}, or use real dumps.",
            )
    knowledge = load()
    held_out = hold_out(knowledge, sentences, seed)
    secret = {fact.id for fact in held_out}
    plans = plan_articles(knowledge, secret, articles, seed)
    for code, wiki in languages.items():
        grammar = load_grammar(code)
        chrome = grammar.rules["chrome"]
        namespaces = {0: "", 8: "MediaWiki"} | {k: chrome[v] for k, v in NAMESPACES.items()}
        write_dump(
            folder / "dumps",
            wiki,
            date,
            _pages(grammar, plans, seed),
            language=code,
            site=chrome["site"],
            namespaces=namespaces,
        )
    _write_parallel(folder / "parallel.tsv", list(languages), held_out, seed)
    write_tasks(folder, knowledge, list(languages), secret, ner=ner, nli=nli, seed=seed)
    write_sentence_tasks(
        folder,
        knowledge,
        list(languages),
        secret,
        pairs=pairs,
        sts=sts,
        topics=topics,
        reading=reading,
        seed=seed,
    )
    write_generator_tasks(
        folder,
        knowledge,
        list(languages),
        secret,
        instructions=instructions,
        choices=choices,
        seed=seed,
    )


def parallel_sentences(facts: list[Fact], languages: list[str], seed: int) -> list[list[str]]:
    """Verbalize each fact in each language; the sentences of a language are all distinct.

    Each language draws its patterns by itself, so word order does not run in parallel.
    """
    columns = []
    for code in languages:
        grammar = load_grammar(code)
        taken: set[str] = set()
        column = []
        for fact in facts:
            generator = random.Random(derive_seed(seed, "parallel", code, fact.id))
            patterns = grammar.patterns(fact.relation)
            options = (
                grammar.fill(p, fact).text for p in generator.sample(patterns, len(patterns))
            )
            text = next(option for option in options if option not in taken)
            taken.add(text)
            column.append(text)
        columns.append(column)
    return [list(row) for row in zip(*columns, strict=True)]


def _write_parallel(path: Path, languages: list[str], facts: list[Fact], seed: int) -> None:
    rows = parallel_sentences(facts, languages, seed)
    lines = ["\t".join(["sent_id", "fact", *languages])]
    for number, (fact, row) in enumerate(zip(facts, rows, strict=True), start=1):
        lines.append("\t".join([f"demo-{number:04d}", fact.id, *row]))
    with atomic(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", "utf-8")


def _pages(grammar: Grammar, plans: list[Plan], seed: int) -> list[Page]:
    """Return all pages of one wiki: articles among redirects, templates, talk and the like."""
    chrome = grammar.rules["chrome"]
    generator = random.Random(derive_seed(seed, "pages", grammar.language))
    pages = [
        Page(10, f"{chrome['template']}:{chrome['infobox']}", _INFOBOX.format(**chrome)),
        Page(10, f"{chrome['template']}:{chrome['number']}", _NUMBER.format(**chrome)),
        Page(4, f"{chrome['project']}:{chrome['main']}", chrome["lead_list"]),
        Page(2, f"{chrome['user']}:Demo", chrome["lead_list"]),
    ]
    for plan in plans:
        title = article_title(plan, grammar)
        pages.append(Page(0, title, article_text(plan, grammar, seed)))
        if plan.kind == "entity" and generator.random() < 0.1:
            noun = grammar.rules["noun"][grammar.knowledge.entities[plan.keys[0]].kind]
            pages.append(_redirect(grammar, f"{title}, {noun}", title))
        if generator.random() < 0.05:
            pages.append(Page(1, f"{chrome['talk']}:{title}", f"== {chrome['main']} ==\n~~~~"))
        if plan.kind == "entity" and generator.random() < 0.04:
            pages.append(_disambiguation(grammar, title))
    pages += [
        Page(14, f"{chrome['category']}:{noun}", chrome["lead_list"])
        for noun in grammar.rules["noun"].values()
    ]
    pages.append(Page(6, f"{chrome['file']}:Map.jpg", chrome["data"]))
    return pages


_INFOBOX = (
    '<noinclude>{data}</noinclude><includeonly>{{| class="infobox"\n|-\n'
    "| {{{{{{{name}|}}}}}}\n|}}</includeonly>"
)
_NUMBER = "<includeonly>{{{{{{1}}}}}}</includeonly><noinclude>{data}</noinclude>"


def _redirect(grammar: Grammar, title: str, target: str) -> Page:
    return Page(0, title, f"#{grammar.rules['chrome']['redirect']} [[{target}]]", redirect=target)


def _disambiguation(grammar: Grammar, title: str) -> Page:
    chrome = grammar.rules["chrome"]
    lines = [chrome["disambiguation"].format(f"'''{title}'''"), f"* [[{title}]]", "{{disambig}}"]
    return Page(0, chrome["disambiguation_title"].format(title), "\n".join(lines))
