"""What every evaluation of sentence encoders returns: scores, and the examples behind them."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from babelscope.errors import BabelscopeError
from babelscope.evaluation.tables import require_finite

PLACE = ["task", "corpus", "language1", "language2", "setting", "metric"]
SCORE_COLUMNS = [*PLACE, "value", "low", "high", "n"]
EXAMPLE_COLUMNS = [*PLACE, "example", "prediction", "gold"]
ALL = "all"  # in the columns of languages: over all of them together


class Results(NamedTuple):
    """Scores and examples.

    Attributes
    ----------
    scores
        Columns `SCORE_COLUMNS`: a value with its 95 % interval and the number of examples.
        `language1` and `language2` are equal in monolingual rows. A pair of languages has one row
        of each metric, with the pivot first and otherwise in alphabetical order. Where both
        directions are scored, their rows are `metric` ``_forward`` and ``_backward`` and the row of
        `metric` is their mean.
    examples
        Columns `EXAMPLE_COLUMNS`: what was predicted of each example, and what is right. Rows of
        the same example, within one place, are from repetitions, such as several training sets.
    """

    scores: pd.DataFrame
    examples: pd.DataFrame


class Rows:
    """Collects the rows of one task and corpus."""

    def __init__(self, task: str, corpus: str) -> None:
        self._fixed = {"task": task, "corpus": corpus}
        self._scores: list[dict[str, object]] = []
        self._columns: dict[str, list[np.ndarray]] = {column: [] for column in EXAMPLE_COLUMNS}

    def score(
        self,
        languages: tuple[str, str],
        setting: str,
        metric: str,
        value: float,
        interval: tuple[float, float],
        n: int,
    ) -> None:
        """Add a score with its interval and number of examples."""
        low, high = interval
        place = self._place(languages, setting, metric)
        self._scores.append({**place, "value": value, "low": low, "high": high, "n": n})

    def examples(
        self,
        languages: tuple[str, str],
        setting: str,
        metric: str,
        names: Iterable[Any],
        prediction: Any,
        gold: Any,
    ) -> None:
        """Add examples by name, with arrays of their predictions and of what is right, or one."""
        named = [str(name) for name in names]
        columns = {"example": named, "prediction": prediction, "gold": gold}
        for column, values in columns.items():
            self._columns[column].append(np.broadcast_to(values, len(named)))
        for column, value in self._place(languages, setting, metric).items():
            self._columns[column].append(np.broadcast_to(value, len(named)))

    def results(self) -> Results:
        """Return all rows.

        Raises
        ------
        BabelscopeError
            If a value or an end of an interval is not finite.
        """
        scores = pd.DataFrame(self._scores, columns=SCORE_COLUMNS)
        for column in ("value", "low", "high"):
            scores[column] = scores[column].astype(float)
            require_finite(scores, column)
        columns = {
            column: np.concatenate(parts) if parts else np.array([], str)
            for column, parts in self._columns.items()
        }
        numbers = {"prediction": np.float64, "gold": np.float64}
        return Results(scores, pd.DataFrame(columns).astype(numbers))

    def _place(self, languages: tuple[str, str], setting: str, metric: str) -> dict[str, str]:
        first, second = languages
        named = {"language1": first, "language2": second, "setting": setting, "metric": metric}
        return {**self._fixed, **named}


def joined(results: Iterable[Results]) -> Results:
    """Return the rows of several results together."""
    parts = list(results)
    return Results(
        pd.concat([part.scores for part in parts], ignore_index=True),
        pd.concat([part.examples for part in parts], ignore_index=True),
    )


def ordered(first: str, second: str, pivot: str) -> tuple[str, str]:
    """Return two languages with the pivot first, otherwise in alphabetical order."""
    one, other = sorted((first, second), key=lambda language: (language != pivot, language))
    return one, other


def language_pairs(
    languages: Sequence[str], pivot: str, *, all_pairs: bool
) -> list[tuple[str, str]]:
    """Return the pairs of different languages to compare: with the pivot, or all of them."""
    pairs = dict.fromkeys(
        ordered(first, second, pivot)
        for first in languages
        for second in languages
        if first != second and (all_pairs or pivot in (first, second))
    )
    return list(pairs)


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Say, in an error that a user can repair, which corpus and languages it is about."""
    try:
        yield
    except BabelscopeError as error:
        raise BabelscopeError(f"{where}: {error.what}", error.remedy) from error
