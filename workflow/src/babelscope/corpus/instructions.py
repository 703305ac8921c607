"""Training samples that align a generative model: sentence pairs and cross-lingual instructions."""

import random
import shutil
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from babelscope.corpus.matched_corpora import SPLITS, MatchedCorpus, count_rows, read_corpus
from babelscope.corpus.matched_rows import MatchedRows
from babelscope.errors import BabelscopeError
from babelscope.io import write_jsonl
from babelscope.progress import progress
from babelscope.seeds import derive_seed

Sample = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Chances:
    """The published probabilities: to cross languages, and to change the direction."""

    cross: float
    change: float


def make_instruction_pairs(
    files: Mapping[str, Mapping[str, str]],
    translations: Mapping[str, str],
    outputs: Mapping[str, str],
    *,
    languages: Mapping[str, str],
    pivot: str,
    cross_probability: float,
    change_probability: float,
    repeat: float,
    valid: float,
    weights: Mapping[str, float],
    seed: int,
) -> list[dict[str, Any]]:
    """Write samples, each a sentence pair and an instruction with its answer, in random order.

    Parameters
    ----------
    files
        By corpus of instructions and language, a file with the shape of Bactrian-X: a JSON array,
        or JSON lines, of objects with ``id``, ``instruction``, ``input`` (which may be empty) and
        ``output``; plain or compressed. The same id is the same row in every language.
    translations
        By corpus, the table that :func:`~babelscope.corpus.parallel.read_parallel` made, or that of
        :func:`~babelscope.corpus.pairs.read_pairs`, whose anchors are translations of each other
        and whose negatives are hard ones.
    outputs
        The files to write, of ``train`` and ``valid``: zstandard-compressed JSON lines.
    languages
        Codes of the languages to use, and their English names, which are in the prompts. A corpus
        may have some of them only.
    pivot
        The language that the others are paired with.
    cross_probability
        Share of samples that are answered in another language than they are asked in.
    change_probability
        Share of those that go from another language to the pivot, where a corpus has three
        languages or more; and of translations. Of two languages, each is asked in as often.
    repeat
        Samples per row of a corpus.
    valid
        Share of the ids, by their hash, of which the samples for ``valid`` are made.
    weights
        By corpus, what its number of samples is multiplied by; 1 if not named.
    seed
        All that is drawn follows from it, for every corpus by itself.

    Returns
    -------
    counts
        A row per ``corpus``, ``language`` and ``split``: the ``rows`` of the file; those that lack
        a field (``missing_field``; a row without an id counts as training) or have an empty one
        (``empty_field``); those whose id lacks, or is incomplete, in another language of the corpus
        (``unmatched_id``); those ``kept``; and among these the ones whose text is that of the
        pivot (``same_text``), which make no sentence pair.

    Raises
    ------
    BabelscopeError
        If there are fewer than two languages, a corpus lacks the pivot or a file, a file is broken,
        a field is of another type, an id is there twice, or nothing is left; with file and place.

    Notes
    -----
    A sample has ``sent0`` and ``sent1``, in the languages ``lang0`` and ``lang1``; of translations
    perhaps ``sent2``, a hard negative in ``lang1``; ``clm_text``, whose first ``clm_prompt_len``
    characters are the prompt; ``source_lang`` and ``target_lang`` of prompt and answer; ``corpus``
    and ``id``. Beside an instruction stands another row's pair, in the pivot and a language drawn
    for the sample. Both instructions and pairs come once each, in random order, before any comes
    again; so neighbours, which are each other's negatives, are different rows. In the paper's
    program rows belong together by position, and there is one sample too many.

    Rows wait on disk beside the outputs. Memory grows by five bytes per row and language.

    References
    ----------
    Li et al. (2024), Improving In-context Learning of Multilingual Generative Language Models with
    Cross-lingual Alignment; https://github.com/chongli17/CrossLingualAlignment.
    """
    codes = [pivot, *(code for code in languages if code != pivot)]
    if pivot not in languages or len(codes) < 2:
        raise BabelscopeError(
            f"Samples need the pivot, {pivot}, and another language; there are"
            f" {', '.join(languages) or 'none'}.",
            "Correct alignment.languages.",
        )
    chances = _Chances(cross_probability, change_probability)
    with _folder_beside(outputs["train"]) as folder, ExitStack() as stack:
        corpora = []
        for name, source in (*files.items(), *translations.items()):
            rows = stack.enter_context(closing(MatchedRows(folder / f"{name}.sqlite")))
            corpora.append(read_corpus(name, source, rows, codes, valid))
        for split in SPLITS:
            sizes = [
                round(repeat * weights.get(corpus.name, 1.0) * len(corpus.numbers[split]))
                for corpus in corpora
            ]
            total = sum(sizes)
            if not total:
                found = ", ".join(f"{len(one.numbers[split])} of {one.name}" for one in corpora)
                raise BabelscopeError(
                    f"No sample is made for {split} of its rows: {found}.",
                    "Add rows, or raise valid, repeat or weights in alignment.samples.",
                )
            streams = [
                (_translations if corpus.translated else _instructions)(
                    corpus,
                    split,
                    languages,
                    chances,
                    random.Random(derive_seed(seed, "instructions", corpus.name, split)),
                )
                for corpus in corpora
            ]
            order = random.Random(derive_seed(seed, "instructions", split))
            write_jsonl(outputs[split], progress(_mix(streams, sizes, order), split, total))
    return [row for corpus in corpora for row in count_rows(corpus)]


@contextmanager
def _folder_beside(path: str) -> Iterator[Path]:
    """Yield a new folder beside a file, for as long as the block runs."""
    folder = Path(path).with_name(f".{Path(path).name}.rows")
    shutil.rmtree(folder, ignore_errors=True)  # of a killed job
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _cycle(numbers: array, generator: random.Random) -> Iterator[int]:
    """Yield numbers in random order without end, each once before any comes again."""
    while numbers:
        generator.shuffle(numbers)
        yield from numbers


def _pairs(corpus: MatchedCorpus, split: str, generator: random.Random) -> Callable[[str], int]:
    """Return what gives, for a language, the number of a row whose sentences are paired.

    No row comes again before the others, in whatever language, so that neighbours differ.
    """
    numbers = _cycle(corpus.numbers[split][:], generator)
    return lambda language: next(n for n in numbers if corpus.differs[language][n])


def _mix(
    streams: Sequence[Iterator[Sample]], sizes: Sequence[int], generator: random.Random
) -> Iterator[Sample]:
    """Yield so many samples of each stream, in random order."""
    order = array("H")
    for place, size in enumerate(sizes):
        order.extend(array("H", [place]) * size)
    generator.shuffle(order)
    for place in order:
        yield next(streams[place])


def _instructions(
    corpus: MatchedCorpus,
    split: str,
    names: Mapping[str, str],
    chances: _Chances,
    generator: random.Random,
) -> Iterator[Sample]:
    """Yield instructions, each beside the sentences of another one in two languages."""
    pivot, *others = corpus.languages
    next_pair = _pairs(corpus, split, generator)
    for number in _cycle(corpus.numbers[split], generator):
        other = generator.choice(others)
        source, target = _direction(pivot, other, corpus.languages, chances, generator)
        identity, instruction, _, context = corpus.rows.find(number, source)
        _, _, answer, _ = corpus.rows.find(number, target)
        asked = f"{instruction} {context}" if context else instruction
        pair = next_pair(other)
        yield {
            "sent0": corpus.rows.find(pair, pivot)[1],
            "sent1": corpus.rows.find(pair, other)[1],
            **_prompted(f"{asked} Answer in {names[target]}: ", answer),
            "source_lang": source,
            "target_lang": target,
            "lang0": pivot,
            "lang1": other,
            "corpus": corpus.name,
            "id": identity,
        }


def _direction(
    pivot: str,
    other: str,
    languages: Sequence[str],
    chances: _Chances,
    generator: random.Random,
) -> tuple[str, str]:
    """Draw the languages in which is asked and answered, given the one beside the pivot."""
    crosses = generator.random() < chances.cross
    if not crosses:
        same = generator.choice(languages)
        return same, same
    back = 0.5 if len(languages) == 2 else chances.change
    return (other, pivot) if generator.random() < back else (pivot, other)


def _translations(
    corpus: MatchedCorpus,
    split: str,
    names: Mapping[str, str],
    chances: _Chances,
    generator: random.Random,
) -> Iterator[Sample]:
    """Yield sentences beside their translations, which are the answers too."""
    pivot, *others = corpus.languages
    next_pair = _pairs(corpus, split, generator)
    while True:
        source, target = pivot, generator.choice(others)
        number = next_pair(target)
        if generator.random() < chances.change:
            source, target = target, source
        identity, sentence, _, _ = corpus.rows.find(number, source)
        _, translation, negative, _ = corpus.rows.find(number, target)
        form = generator.choice(("{} Translate into {}: ", "{} = "))
        yield {
            "sent0": sentence,
            "sent1": translation,
            **({"sent2": negative} if negative else {}),
            **_prompted(form.format(sentence, names[target]), translation),
            "source_lang": source,
            "target_lang": target,
            "lang0": source,
            "lang1": target,
            "corpus": corpus.name,
            "id": identity,
        }


def _prompted(prompt: str, answer: str) -> Sample:
    return {"clm_text": prompt + answer, "clm_prompt_len": len(prompt)}
