"""The demo's labelled data: names to find and sentence pairs to judge, split by fact.

What is kept apart from what: a fact belongs to one split, together with every other fact about its
subject, and both tasks split alike, so no fact of a training split is in a development or test
split of either task. No task states a fact of the parallel sentences. The articles do state facts
of the tasks, of every split: a language model may have read that a river is so long, but never a
label, and every label follows from the sentences of its row alone.
"""

from collections import defaultdict
from itertools import product
from pathlib import Path

from babelscope.demo.entities import format_sentence, plan_sentences, say, tag
from babelscope.demo.grammar import load_grammar
from babelscope.demo.inference import plan_pairs, verbalize_pair
from babelscope.demo.knowledge import Fact, Knowledge
from babelscope.errors import BabelscopeError
from babelscope.io import atomic
from babelscope.seeds import stable_hash

SPLITS = {"train": 0.75, "dev": 0.09, "test": 0.16}
"""Share of the subjects of each kind whose facts a split gets."""


def sizes(rows: int) -> dict[str, int]:
    """Return the rows of each split for so many of training: an eighth and a quarter of them."""
    return {"train": rows, "dev": -(-rows // 8), "test": -(-rows // 4)}


def split_facts(knowledge: Knowledge, held_out: set[str], seed: int) -> dict[str, list[Fact]]:
    """Share the facts that are not held out among the splits, all of a subject's in one.

    Parameters
    ----------
    knowledge
        All facts.
    held_out
        Ids of facts that no task may state.
    seed
        The order of the subjects follows from it.
    """
    kinds: dict[str, list[str]] = defaultdict(list)
    for subject in dict.fromkeys(fact.subject for fact in knowledge.facts.values()):
        kinds[knowledge.entities[subject].kind].append(subject)
    split_of: dict[str, str] = {}
    for subjects in kinds.values():
        subjects.sort(key=lambda subject: stable_hash(seed, "task split", subject))
        for place, subject in enumerate(subjects):
            share = (place + 0.5) / len(subjects)
            split_of[subject] = (
                "train"
                if share < SPLITS["train"]
                else "dev"
                if share < SPLITS["train"] + SPLITS["dev"]
                else "test"
            )
    splits: dict[str, list[Fact]] = {split: [] for split in SPLITS}
    for fact in knowledge.facts.values():
        if fact.id not in held_out:
            splits[split_of[fact.subject]].append(fact)
    return splits


def write_tasks(
    folder: Path,
    knowledge: Knowledge,
    languages: list[str],
    held_out: set[str],
    *,
    ner: int,
    nli: int,
    seed: int,
) -> None:
    """Write ``ner/{language}/{split}.tsv`` and ``nli/{language}/{split}.tsv``.

    Row n of a split is made of the same facts and has the same label in every language, which each
    say it with patterns of their own. NER files are in the format of PAN-X: ``en:word<TAB>tag``,
    IOB2, a blank line after each sentence. NLI files have a header and the columns premise,
    hypothesis and label.

    Parameters
    ----------
    folder
        Where to write.
    knowledge
        What labels follow from.
    languages
        Codes of the languages to write.
    held_out
        Ids of facts that no row may state.
    ner, nli
        Training sentences and pairs per language; see `sizes` for the other splits.
    seed
        Everything follows from it.

    Raises
    ------
    BabelscopeError
        If there are not enough facts for these sizes.
    """
    splits = split_facts(knowledge, held_out, seed)
    sentences = {
        split: plan_sentences(knowledge, facts, sizes(ner)[split], split, seed)
        for split, facts in splits.items()
    }
    pairs = {
        split: plan_pairs(knowledge, facts, sizes(nli)[split], split, seed)
        for split, facts in splits.items()
    }
    _check("ner", ner, {split: most for split, (_, most) in sentences.items()})
    _check("nli", nli, {split: most for split, (_, most) in pairs.items()})
    for language, split in product(languages, splits):
        grammar = load_grammar(language)
        blocks = [
            format_sentence(tag(say(facts, grammar, split, row, seed), grammar), language)
            for row, facts in enumerate(sentences[split][0])
        ]
        write_text(folder / "ner" / language / f"{split}.tsv", "\n".join(blocks))
        lines = ["premise\thypothesis\tlabel"]
        for row, pair in enumerate(pairs[split][0]):
            premise, hypothesis = verbalize_pair(pair, grammar, split, row, seed)
            lines.append(f"{premise}\t{hypothesis}\t{pair.label}")
        write_text(folder / "nli" / language / f"{split}.tsv", "\n".join(lines) + "\n")


def _check(name: str, wanted: int, most: dict[str, int]) -> None:
    """Refuse a size for which some split has not enough facts."""
    if any(rows > most[split] for split, rows in sizes(wanted).items()):
        limit = next(
            rows
            for rows in range(wanted, 0, -1)
            if all(sizes(rows)[split] <= most[split] for split in most)
        )
        raise too_many(name, wanted, limit)


def too_many(name: str, wanted: int, limit: int) -> BabelscopeError:
    """Return the error that a size of the demo is beyond its limit."""
    return BabelscopeError(
        f"demo.{name} is {wanted}, but the demo's knowledge base allows at most {limit}.",
        f"Set demo.{name} to {limit} or less, or demo.sentences to less.",
    )


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, "utf-8")
