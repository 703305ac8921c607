"""The demo's data for aligning generative models: instructions, and few-shot tasks.

What is kept apart from what: facts are split as for the tasks of `tasks`, by subject. Instructions
state facts of the training split, the demonstrations of few-shot tasks those of the development
split, and their tests those of the test split. No row states a fact of the parallel sentences.
"""

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from babelscope.demo.few_shot import (
    plan_paraphrases,
    plan_stories,
    verbalize_paraphrase,
    verbalize_story,
)
from babelscope.demo.grammar import load_grammar
from babelscope.demo.instructions import Task, plan_instructions, verbalize_task
from babelscope.demo.knowledge import Knowledge
from babelscope.demo.tasks import split_facts, too_many, write_text
from babelscope.seeds import stable_hash

STORY = (
    "InputStoryid",
    *(f"InputSentence{number}" for number in (1, 2, 3, 4)),
    *(f"RandomFifthSentenceQuiz{number}" for number in (1, 2)),
    "AnswerRightEnding",
)


def write_generator_tasks(
    folder: Path,
    knowledge: Knowledge,
    languages: list[str],
    held_out: set[str],
    *,
    instructions: int,
    choices: int,
    seed: int,
) -> None:
    """Write ``instructions/``, ``pawsx/`` and ``storycloze/``, each unless its size is 0.

    - ``instructions/{language}.json``: a JSON array of instruction, input, id and output, like
      Bactrian-X; the ids are the same in every language, their order is not.
    - ``pawsx/{language}/dev_2k.tsv``, ``test_2k.tsv``: id, sentence1, sentence2 and label.
    - ``storycloze/{language}.train.tsv``, ``{language}.eval.tsv``, with the columns of XStoryCloze.

    The same id, or story, has the same content in every language, said with patterns of its own.

    Parameters
    ----------
    folder
        Where to write.
    knowledge
        What answers and labels follow from.
    languages
        Codes of the languages to write.
    held_out
        Ids of facts that no row may state.
    instructions
        Rows per language.
    choices
        Test examples of each few-shot task per language; there are half as many demonstrations.
    seed
        Everything follows from it.

    Raises
    ------
    BabelscopeError
        If there are not enough facts for these sizes.
    """
    splits = split_facts(knowledge, held_out, seed)
    if instructions:
        tasks, most = plan_instructions(knowledge, splits["train"], instructions, seed)
        if instructions > most:
            raise too_many("instructions", instructions, most)
        for code in languages:
            _write_instructions(folder / "instructions" / f"{code}.json", tasks, code, seed)
    if choices:
        _write_choices(folder, knowledge, splits, languages, choices, seed)


def _write_instructions(path: Path, tasks: Sequence[Task], language: str, seed: int) -> None:
    grammar = load_grammar(language)
    rows = []
    for row, task in enumerate(tasks):
        said = verbalize_task(task, grammar, row, seed)
        said["id"] = f"demo-{row + 1:04d}"
        rows.append(said)
    rows.sort(key=lambda row: stable_hash(seed, "instructions", language, row["id"]))
    write_text(path, json.dumps(rows, ensure_ascii=False, indent=2) + "\n")


def _write_choices(
    folder: Path, knowledge: Knowledge, splits: dict, languages: list[str], count: int, seed: int
) -> None:
    rows = {"dev": -(-count // 2), "test": count}
    paraphrases = {
        split: plan_paraphrases(knowledge, splits[split], rows[split], split, seed)
        for split in rows
    }
    stories = {
        split: plan_stories(knowledge, splits[split], rows[split], split, seed) for split in rows
    }
    most = min(
        *(2 * planned["dev"][1] for planned in (paraphrases, stories)),
        *(planned["test"][1] for planned in (paraphrases, stories)),
    )
    if count > most:
        raise too_many("choices", count, most)
    for code, split in product(languages, rows):
        grammar = load_grammar(code)
        lines = ["id\tsentence1\tsentence2\tlabel"]
        for row, pair in enumerate(paraphrases[split][0]):
            first, second = verbalize_paraphrase(pair, grammar, split, row, seed)
            lines.append(f"{row + 1}\t{first}\t{second}\t{pair.label}")
        write_text(folder / "pawsx" / code / f"{split}_2k.tsv", "\n".join(lines) + "\n")
        lines = ["\t".join(STORY)]
        for row, story in enumerate(stories[split][0]):
            sentences, endings = verbalize_story(story, grammar, split, row, seed)
            cells = (f"demo-{row + 1:04d}", *sentences, *endings, str(story.answer + 1))
            lines.append("\t".join(cells))
        name = f"{code}.{'eval' if split == 'test' else 'train'}.tsv"
        write_text(folder / "storycloze" / name, "\n".join(lines) + "\n")
