"""Accuracy of a generative model that chooses the likeliest of several texts, from examples."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from babelscope.errors import BabelscopeError
from babelscope.evaluation.in_context import Examples, Item, score_choices
from babelscope.evaluation.intervals import bootstrap, percentile_interval
from babelscope.evaluation.prompts import Prompt, Prompts
from babelscope.evaluation.results import ALL, naming
from babelscope.progress import progress
from babelscope.seeds import derive_seed, stable_hash

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

PLACE = ["task", "corpus", "language", "prompt", "shots", "demonstrations", "metric"]
SCORE_COLUMNS = [*PLACE, "value", "low", "high", "n", "chance"]
EXAMPLE_COLUMNS = [*PLACE, "example", "prediction", "gold", "correct"]
NO_DRAW = "0"  # in the column of demonstrations, where none are shown

Score = Callable[[Sequence[Item]], np.ndarray]


@dataclass(frozen=True)
class InContextSettings:
    """How a generative model is judged; the names are those of the configuration.

    Attributes
    ----------
    shots
        Numbers of demonstrations.
    demonstrations
        Seeds of their draws; without demonstrations, examples are scored once.
    prompts
        ``own``, in the language of the examples; ``pivot``.
    max_examples
        Of the test split, per language; None: all.
    normalize
        What log-likelihoods are divided by: ``none``, or ``characters`` of the choice.
    bootstrap
        Resamples of the examples.
    seed
        Of these, and of which examples are taken.
    """

    shots: Sequence[int]
    demonstrations: Sequence[int]
    prompts: Sequence[str]
    max_examples: int | None
    normalize: Sequence[str]
    bootstrap: int
    seed: int


class InContextResults(NamedTuple):
    """Scores and examples.

    Attributes
    ----------
    scores
        Columns `SCORE_COLUMNS`: accuracy in % with its 95 % interval, the number of examples, and
        what chance would give. `prompt` is the prompt's language, `demonstrations` the seed of a
        draw, ``0`` where none are shown, or ``all`` for the mean over draws.
    examples
        Columns `EXAMPLE_COLUMNS`: numbers of the chosen and the right choice, `correct` 0 or 1; a
        row for every draw.
    """

    scores: pd.DataFrame
    examples: pd.DataFrame


class _Run(NamedTuple):
    """What was chosen behind one draw of demonstrations, by metric, shape (examples,)."""

    shots: int
    draw: str
    chosen: dict[str, np.ndarray]


class _Scored(NamedTuple):
    """A row of scores: its place, how often each example is right, and what was chosen, if once."""

    place: dict[str, Any]
    correct: np.ndarray
    prediction: np.ndarray | None


def evaluate_in_context(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    corpora: Mapping[str, tuple[str, pd.DataFrame]],
    prompts: Mapping[str, Prompts],
    *,
    languages: Sequence[str],
    pivot: str,
    settings: InContextSettings,
    batch_tokens: int,
    device: str | torch.device,
    precision: str = "float32",
) -> InContextResults:
    """Score a model on every corpus, language, prompt and draw of demonstrations.

    Parameters
    ----------
    model, tokenizer, batch_tokens, device, precision
        As in `score_choices`.
    corpora
        By name, the format and the table: ``language, split, example, label`` and the format's
        fields. The splits are ``demonstrations`` and ``test``; labels are numbers of choices.
    prompts
        By format.
    languages
        Those to score; what a corpus has in others is left out.
    pivot
        The language whose prompts are used for all others, too.
    settings
        See `InContextSettings`.

    Returns
    -------
    See `InContextResults`. Demonstrations are drawn without regard to their labels, as published,
    by their names alone: where languages have the same examples, they are shown the same.

    Raises
    ------
    BabelscopeError
        If a corpus has no test in any language, a prompt is missing, a label is not among the
        choices, or there are fewer demonstrations than shots; and as `Examples` and `score_choices`
        say. The message names the corpus, the language, the prompt's and the shots.
    """
    score = partial(
        score_choices,
        model,
        tokenizer,
        batch_tokens=batch_tokens,
        device=device,
        precision=precision,
    )
    todo = [
        (name, language)
        for name, (_, table) in corpora.items()
        for language in _languages(name, table, languages)
    ]
    scores: list[dict[str, Any]] = []
    parts: list[pd.DataFrame] = []
    for name, language in progress(todo, "corpora and languages"):
        task, table = corpora[name]
        own = table[table["language"] == language]
        pool = own[own["split"] == "demonstrations"]
        test = own[own["split"] == "test"]
        test = _drawn(test, settings.max_examples, settings.seed, "test", name).sort_index()
        spoken = [language if kind == "own" else pivot for kind in settings.prompts]
        done: dict[tuple[Any, ...], list[_Run]] = {}
        found: list[_Scored] = []
        choices = 0
        for code in dict.fromkeys(spoken):
            with naming(f"{name}, {language}, prompt in {code}"):
                prompt = prompts[task].of(code)
                choices = len(prompt.choices)
                if prompt.form not in done:  # prompts without words are the same in all languages
                    separator = prompts[task].separator
                    runs = _runs(score, tokenizer, prompt, separator, test, pool, name, settings)
                    done[prompt.form] = list(runs)
            place = {"task": task, "corpus": name, "language": language, "prompt": code}
            found += _scored(place, done[prompt.form], test["label"].to_numpy(dtype=int))
        scores += _intervals(found, 100 / choices, settings, name, language)
        parts += _examples(found, test)
    examples = pd.concat(parts, ignore_index=True)[EXAMPLE_COLUMNS]
    return InContextResults(pd.DataFrame(scores, columns=SCORE_COLUMNS), examples)


def quick_accuracy(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    table: pd.DataFrame,
    prompts: Prompts,
    *,
    languages: Sequence[str],
    shots: int,
    examples: int,
    seed: int,
    batch_tokens: int,
    device: str | torch.device,
    precision: str = "float32",
) -> float:
    """Return the accuracy in % on examples that are not those of the test, to choose a checkpoint.

    Parameters
    ----------
    model, tokenizer, batch_tokens, device, precision
        As in `score_choices`.
    table, prompts
        One corpus, as in `evaluate_in_context`, and the prompts of its format.
    languages
        Those to score, in their own prompts; what the table has in others is left out.
    shots, examples
        Of the split ``demonstrations`` of each language, how many are shown and how many of the
        others, at most, are asked about.
    seed
        Chooses them.

    Returns
    -------
    The mean over languages.

    Raises
    ------
    BabelscopeError
        If there is nothing to ask about; and as in `evaluate_in_context`.
    """
    shares = []
    pool = table[(table["split"] == "demonstrations") & table["language"].isin(languages)]
    for language, rows in pool.groupby("language", sort=False):
        with naming(f"{language}, {shots} shots"):
            prompt = prompts.of(str(language))
            chosen = _drawn(rows, shots + examples, seed, "quick")
            shown, asked = chosen[:shots], chosen[shots:]
            if asked.empty:
                raise BabelscopeError(
                    f"There are only {len(rows)} demonstrations.", "Show fewer, or give more."
                )
            gold = _labels(asked, prompt)
            filled = [prompt.fill(row) for row in _records(asked)]
            items = Examples(tokenizer, filled, prompts.separator).items(_shown(shown, prompt))
            likelihoods = score_choices(
                model,
                tokenizer,
                items,
                batch_tokens=batch_tokens,
                device=device,
                precision=precision,
            )
            shares.append(np.mean(likelihoods.argmax(axis=1) == gold))
    if not shares:
        raise BabelscopeError(
            f"There are no demonstrations in {', '.join(languages)}.", "Choose another corpus."
        )
    return 100 * float(np.mean(shares))


def _languages(name: str, table: pd.DataFrame, languages: Sequence[str]) -> list[str]:
    """Return the languages in which a table has a test, and report those that it lacks."""
    there = set(table["language"][table["split"] == "test"])
    used = [language for language in languages if language in there]
    if not used:
        raise BabelscopeError(
            f"{name} has no test in {', '.join(languages)}: it is in {', '.join(sorted(there))}.",
            "Leave the corpus out, or add a language.",
        )
    lacking = [language for language in languages if language not in there]
    if lacking:
        logger.warning("%s: not there in %s", name, ", ".join(lacking))
    return used


def _drawn(rows: pd.DataFrame, count: int | None, seed: int, *parts: str) -> pd.DataFrame:
    """Return some rows in a random order that depends on their names alone."""
    own = derive_seed(seed, *parts)
    keys = np.array([stable_hash(own, str(name)) for name in rows["example"]], dtype=np.uint64)
    return rows.iloc[np.argsort(keys, kind="stable")[:count]]


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def _labels(rows: pd.DataFrame, prompt: Prompt) -> np.ndarray:
    labels = rows["label"].to_numpy()
    wrong = ~np.isin(labels, np.arange(len(prompt.choices)))
    if wrong.any():
        raise BabelscopeError(
            f"The example {rows['example'][wrong].iloc[0]} has the label {labels[wrong][0]}, but"
            f" there are {len(prompt.choices)} choices, counted from 0.",
            "Correct the label, or the prompt's choices.",
        )
    return labels.astype(int)


def _shown(rows: pd.DataFrame, prompt: Prompt) -> list[str]:
    """Return demonstrations: examples with the right choice."""
    labels = _labels(rows, prompt)
    return [
        prompt.fill(row).strings[label] for row, label in zip(_records(rows), labels, strict=True)
    ]


def _runs(
    score: Score,
    tokenizer: "PreTrainedTokenizerBase",
    prompt: Prompt,
    separator: str,
    test: pd.DataFrame,
    pool: pd.DataFrame,
    corpus: str,
    settings: InContextSettings,
) -> Iterator[_Run]:
    """Yield what is chosen behind every draw of demonstrations."""
    _labels(test, prompt)
    examples = Examples(tokenizer, [prompt.fill(row) for row in _records(test)], separator)
    for shots in settings.shots:
        with naming(f"{shots} shots"):
            if len(pool) < shots:
                raise BabelscopeError(
                    f"There are only {len(pool)} demonstrations.", "Show fewer, or give more."
                )
            for draw in settings.demonstrations if shots else [0]:
                shown = _drawn(pool, shots, draw, "demonstrations", corpus)
                items = examples.items(_shown(shown, prompt))
                likelihoods = score(items)
                characters = np.array([item.characters for item in items])
                by = {"none": likelihoods, "characters": likelihoods / characters}
                chosen = {
                    "accuracy" if how == "none" else f"accuracy_{how}": by[how].argmax(axis=1)
                    for how in settings.normalize
                }
                yield _Run(shots, str(draw) if shots else NO_DRAW, chosen)


def _scored(place: Mapping[str, Any], runs: Sequence[_Run], gold: np.ndarray) -> Iterator[_Scored]:
    """Yield the scores of each draw of demonstrations and of the mean over draws."""
    for metric in runs[0].chosen:
        for shots in dict.fromkeys(run.shots for run in runs):
            here = {**place, "shots": shots, "metric": metric}
            drawn = [run for run in runs if run.shots == shots]
            correct = [(run.chosen[metric] == gold).astype(float) for run in drawn]
            for run, right in zip(drawn, correct, strict=True):
                yield _Scored({**here, "demonstrations": run.draw}, right, run.chosen[metric])
            if shots:
                yield _Scored({**here, "demonstrations": ALL}, np.mean(correct, axis=0), None)


def _examples(found: Sequence[_Scored], test: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield what was chosen of each example."""
    named = {"example": test["example"].astype(str), "gold": test["label"].astype(int)}
    for place, correct, prediction in found:
        if prediction is not None:
            columns = {**named, "prediction": prediction, "correct": correct}
            yield pd.DataFrame(columns).assign(**place)


def _intervals(
    found: Sequence[_Scored],
    chance: float,
    settings: InContextSettings,
    corpus: str,
    language: str,
) -> Iterator[dict[str, Any]]:
    """Yield scores with their intervals, by the same resamples of one language's examples."""
    correct = 100 * np.stack([one.correct for one in found], axis=1)  # (examples, scores)
    number = len(correct)
    resampled = bootstrap(
        lambda weights: weights @ correct / number,
        number,
        resamples=settings.bootstrap,
        seed=derive_seed(settings.seed, "bootstrap", corpus, language),
    )
    for one, values, column in zip(found, resampled.T, correct.T, strict=True):
        value = float(column.mean())
        low, high = percentile_interval(values, f"{corpus}, {language}")
        yield {
            **one.place,
            "value": value,
            "low": min(low, value),  # which rounding may put above it
            "high": max(high, value),
            "n": number,
            "chance": chance,
        }
