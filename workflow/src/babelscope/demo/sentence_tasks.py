"""The demo's data for sentence encoders: paraphrases, similarity, topics and reading.

What is kept apart from what: facts are split as for the tasks of `tasks`, by subject. Pairs and the
training texts of topics state facts of the training split, which names to find and sentences to
judge may state as well; similarity, the test texts of topics and reading state facts of the test
split. No row states a fact of the parallel sentences. The articles do state facts of every split,
but no grade, topic or answer.
"""

import json
from collections import Counter
from pathlib import Path

from babelscope.demo.grammar import load_grammar
from babelscope.demo.knowledge import Knowledge
from babelscope.demo.paraphrases import plan_triples, verbalize_triple
from babelscope.demo.reading import plan_questions, verbalize_question
from babelscope.demo.similarity import plan_graded, verbalize_graded
from babelscope.demo.tasks import split_facts, too_many, write_text
from babelscope.demo.topics import plan_texts, verbalize_text


def write_sentence_tasks(
    folder: Path,
    knowledge: Knowledge,
    languages: list[str],
    held_out: set[str],
    *,
    pairs: int,
    sts: int,
    topics: int,
    reading: int,
    seed: int,
) -> None:
    """Write ``pairs/``, ``sts/``, ``topics/`` and ``reading/``, each unless its size is 0.

    Row n of a file has the same content in every language, said with patterns of its own.

    - ``pairs/{language}_1.txt``, ``_2``, ``_3``: anchors, positives and hard negatives.
    - ``sts/{language}-{language}.tsv``: pair_id, sentence1, sentence2 and score, from 0 to 5. With
      the pivot p as one side, ``sts/p-{language}.tsv`` and ``sts/{language}-p.tsv``: the first
      sentences of the one language's file beside the second sentences of the other's.
    - ``topics/{language}/train.tsv``, ``test.tsv``: index_id, category and text, like SIB-200.
    - ``reading/{language}.jsonl``: passages, questions and answers, with the fields of Belebele.

    Parameters
    ----------
    folder
        Where to write.
    knowledge
        What grades, topics and answers follow from.
    languages
        Codes of the languages to write; the first is the pivot.
    held_out
        Ids of facts that no row may state.
    pairs, sts, reading
        Rows per language.
    topics
        Training rows per language; there are half as many for testing.
    seed
        Everything follows from it.

    Raises
    ------
    BabelscopeError
        If there are not enough facts for these sizes.
    """
    splits = split_facts(knowledge, held_out, seed)
    if pairs:
        _write_pairs(folder / "pairs", knowledge, splits, languages, pairs, seed)
    if sts:
        _write_sts(folder / "sts", knowledge, splits, languages, sts, seed)
    if topics:
        _write_topics(folder / "topics", knowledge, splits, languages, topics, seed)
    if reading:
        _write_reading(folder / "reading", knowledge, splits, languages, reading, seed)


def _write_pairs(
    folder: Path, knowledge: Knowledge, splits: dict, languages: list[str], count: int, seed: int
) -> None:
    triples, most = plan_triples(knowledge, splits["train"], count, seed)
    if count > most:
        raise too_many("pairs", count, most)
    for code in languages:
        rows = [verbalize_triple(triple, code, seed) for triple in triples]
        for number, lines in enumerate(zip(*rows, strict=True), start=1):
            write_text(folder / f"{code}_{number}.txt", "\n".join(lines) + "\n")


def _write_sts(
    folder: Path, knowledge: Knowledge, splits: dict, languages: list[str], count: int, seed: int
) -> None:
    graded, most = plan_graded(knowledge, splits["test"], count, seed)
    if count > most:
        raise too_many("sts", count, most)
    said = {
        code: [
            verbalize_graded(pair, load_grammar(code), row, seed) for row, pair in enumerate(graded)
        ]
        for code in languages
    }
    pivot = languages[0]
    for one, other in [
        *((code, code) for code in languages),
        *((pivot, code) for code in languages[1:]),
        *((code, pivot) for code in languages[1:]),
    ]:
        lines = ["pair_id\tsentence1\tsentence2\tscore"]
        for row, pair in enumerate(graded):
            sentences = f"{said[one][row][0]}\t{said[other][row][1]}"
            lines.append(f"demo-{row + 1:04d}\t{sentences}\t{pair.grade:.1f}")
        write_text(folder / f"{one}-{other}.tsv", "\n".join(lines) + "\n")


def _write_topics(
    folder: Path, knowledge: Knowledge, splits: dict, languages: list[str], count: int, seed: int
) -> None:
    rows = {"train": count, "test": -(-count // 2)}
    plans = {
        split: plan_texts(knowledge, splits[split], rows[split], split, seed) for split in rows
    }
    most = min(plans["train"][1], 2 * plans["test"][1])
    if count > most:
        raise too_many("topics", count, most)
    for code in languages:
        index = 0
        for split, (texts, _) in plans.items():
            lines = ["index_id\tcategory\ttext"]
            for row, text in enumerate(texts):
                said = verbalize_text(text, load_grammar(code), split, row, seed)
                lines.append(f"{index}\t{text.topic}\t{said}")
                index += 1
            write_text(folder / code / f"{split}.tsv", "\n".join(lines) + "\n")


def _write_reading(
    folder: Path, knowledge: Knowledge, splits: dict, languages: list[str], count: int, seed: int
) -> None:
    questions, most = plan_questions(knowledge, splits["test"], count, seed)
    if count > most:
        raise too_many("reading", count, most)
    for code in languages:
        asked: Counter[str] = Counter()
        lines = []
        for row, item in enumerate(questions):
            fields = verbalize_question(item, load_grammar(code), row, seed)
            link = fields.pop("link")
            asked[link] += 1
            lines.append({"link": link, "question_number": asked[link], **fields})
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_text(folder / f"{code}.jsonl", text)
