"""Batches of sentences that belong together: from which data set, in which language, which rows.

The others of a batch are each sentence's negatives, so none may say the same. Everything is a
function of (seed, data set, epoch), so a resumed training sees the batches that it would have seen.
"""

import logging
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from babelscope.config import PairTraining
from babelscope.errors import BabelscopeError
from babelscope.io import read_table
from babelscope.models.sentences import speak, tokenize
from babelscope.progress import progress
from babelscope.seeds import derive_seed
from babelscope.tasks.base import Batch
from babelscope.training.checkpoints import checksum
from babelscope.training.contrastive import embed_in_parts
from babelscope.training.fitting import HARMLESS

if TYPE_CHECKING:
    import pandas as pd

    from babelscope.models.sentence_encoders import SentenceEncoder

logger = logging.getLogger(__name__)

COLUMNS = ["anchor", "positive", "negative"]
BLOCK = 8192  # texts tokenized together
# A forward pass ends before texts shorter than this share of its longest, once it has so many: what
# padding would cost is more than another pass does.
SHORTER = 0.75
FEWEST = 8
ALIGNED = "Row n of every language must be the same content; make the pairs anew."

# From a generator and a number of rows, the language of each text, shape (rows, 3).
Draw = Callable[[np.random.Generator, int], np.ndarray]


@dataclass(frozen=True)
class PairSet:
    """One data set.

    Attributes
    ----------
    name
        Of the data set.
    languages
        Those it has.
    texts
        Numbers of its anchors, positives and negatives, shape (languages, rows, 3); -1 where there
        is no negative.
    """

    name: str
    languages: list[str]
    texts: np.ndarray


class Pairs(NamedTuple):
    """Data sets, and their texts by number, each once in a language.

    Attributes
    ----------
    texts
        Those of a language stand together.
    sets
        The data sets.
    spoken
        By language, the numbers of its texts.
    """

    texts: list[str]
    sets: list[PairSet]
    spoken: dict[str, range]


def read_pairs(
    files: Sequence[str | Path], languages: Sequence[str], *, aligned: bool = False
) -> Pairs:
    """Read the pairs of some languages.

    Parameters
    ----------
    files
        Tables with the columns ``sent_id``, ``anchor``, ``positive``, ``negative`` (None where
        there is none) and ``language``; without the last, a file is called by its language. The
        folder of a file is called by its data set.
    languages
        Which to read; other rows are left out.
    aligned
        Every data set must have all languages, and row n of each must be the same content;
        otherwise, some may lack some languages.

    Raises
    ------
    BabelscopeError
        If a language has no pairs, a text is missing or empty, or languages do not fit together.
    """
    import pandas as pd

    tables: dict[str, dict[str, pd.DataFrame]] = {}
    for file in map(Path, files):
        table = read_table(file)
        missing = {"sent_id", *COLUMNS} - set(table)
        if missing:
            raise BabelscopeError(
                f"{file} has no column {min(missing)}.", "Make the pairs anew with read_pairs."
            )
        spoken = table["language"] if "language" in table else pd.Series(file.stem, table.index)
        by_language = tables.setdefault(file.parent.name, {})
        for language in languages:
            rows = table[spoken == language]
            if len(rows):
                by_language[language] = _checked(rows, f"{file.parent.name}, {language}")
    tables = {
        name: {language: found[language] for language in languages if language in found}
        for name, found in tables.items()
    }
    for language in languages:
        having = [name for name, found in tables.items() if language in found]
        if not having or (aligned and len(having) < len(tables)):
            lacking = sorted(set(tables) - set(having))
            raise BabelscopeError(
                f"There are no pairs in {language}{' in ' if lacking else ''}{', '.join(lacking)}.",
                "Translate them into this language, or take it out of encoders.languages.",
            )
    for name, found in tables.items():
        if aligned:
            _check_aligned(name, found)
    texts: list[str] = []
    spoken = {}
    numbered: dict[tuple[str, str], np.ndarray] = {}
    for language in languages:
        having = [name for name, found in tables.items() if language in found]
        long = pd.concat([tables[name][language][COLUMNS] for name in having])
        codes, different = pd.factorize(long.to_numpy(object).ravel())
        numbers = np.where(codes < 0, -1, codes + len(texts)).reshape(-1, len(COLUMNS))
        ends = np.cumsum([len(tables[name][language]) for name in having])[:-1]
        parts = zip(having, np.split(numbers, ends), strict=True)
        numbered |= {(name, language): some for name, some in parts}
        spoken[language] = range(len(texts), len(texts) + len(different))
        texts += different.tolist()
    sets = []
    for name, found in tables.items():
        by_language = [numbered[name, language] for language in found]
        if aligned:
            sets.append(PairSet(name, list(found), np.stack(by_language)))
        else:
            sets += [
                PairSet(name, [language], rows[None])
                for language, rows in zip(found, by_language, strict=True)
            ]
    return Pairs(texts, sets, spoken)


def _checked(table: "pd.DataFrame", where: str) -> "pd.DataFrame":
    for column in COLUMNS:
        bad = table[column].str.strip() == ""
        if column != "negative":
            bad |= table[column].isna()
        if bad.any():
            raise BabelscopeError(
                f"{where}: row {table['sent_id'][bad].iloc[0]} has an empty {column}.",
                "Leave the row out, in every language.",
            )
    return table


def _check_aligned(name: str, tables: Mapping[str, "pd.DataFrame"]) -> None:
    (first, table), *others = tables.items()
    ids = table["sent_id"].to_numpy()
    for language, other in others:
        found = other["sent_id"].to_numpy()
        if len(found) != len(ids):
            raise BabelscopeError(
                f"{name} has {len(ids)} rows in {first}, {len(found)} in {language}.", ALIGNED
            )
        differing = np.flatnonzero(found != ids)
        if len(differing):
            row = differing[0]
            raise BabelscopeError(
                f"{name}: row {row + 1} is {ids[row]} in {first}, {found[row]} in {language}.",
                ALIGNED,
            )
        differing = table["negative"].isna().to_numpy() != other["negative"].isna().to_numpy()
        if differing.any():
            raise BabelscopeError(
                f"{name}: row {ids[differing][0]} has a negative in {first} or {language} only.",
                ALIGNED,
            )


# Batches


@dataclass(frozen=True)
class Rows:
    """A batch.

    Attributes
    ----------
    texts
        Numbers of anchors, positives and negatives, shape (rows, 3); -1 where there is no negative.
    languages
        In which language each is, by its place in the :class:`PairSet`, of the same shape.
    parallel
        The rows are translations and no paraphrases.
    """

    texts: np.ndarray
    languages: np.ndarray
    parallel: bool

    def __len__(self) -> int:
        return len(self.texts)


class Stream:
    """The batches of one data set, without end; all rows are used in every epoch.

    No batch has a text twice among its anchors and positives, or as the negative of one row and the
    anchor or positive of another; nor a text and its translation. A data set smaller than a batch
    is one smaller batch.

    Parameters
    ----------
    name
        Of the data set, and of the language if it is in one; the batches depend on it.
    texts
        Shape (languages, rows, 3), as in :class:`PairSet`. A negative that says what its own anchor
        or positive says is left out.
    draw
        In which languages the texts of a batch are.
    size
        Pairs in a batch.
    seed
        Of order and languages.
    parallel
        The rows are translations and no paraphrases.
    """

    def __init__(
        self,
        name: str,
        texts: np.ndarray,
        draw: Draw,
        *,
        size: int,
        seed: int,
        parallel: bool = False,
    ) -> None:
        contents = _contents(texts)
        wrong = (contents[:, 2] >= 0) & (contents[:, 2:] == contents[:, :2]).any(axis=1)
        if wrong.any():
            logger.warning("%s: %d negatives are no negatives, left out", name, wrong.sum())
            texts, contents = texts.copy(), contents.copy()
            texts[:, wrong, 2] = contents[wrong, 2] = -1
        self.name = name
        self.texts = texts
        self.contents = contents
        self.draw = draw
        self.size = size
        self.seed = seed
        self.parallel = parallel
        self.starts = [0]  # number of the first batch of each epoch so far
        self.epoch = lru_cache(maxsize=1)(self._epoch)

    def __len__(self) -> int:
        """Return how many batches an epoch has; some more if many rows say the same."""
        return math.ceil(len(self.contents) / self.size)

    def _epoch(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng(derive_seed(self.seed, "pairs", self.name, epoch))
        return pack(self.contents, rng.permutation(len(self.contents)), self.size)

    def batch(self, number: int) -> tuple[int, Rows]:
        """Return a batch, counted from 0 over all epochs, and its epoch."""
        while number >= self.starts[-1]:
            self.starts.append(self.starts[-1] + len(self.epoch(len(self.starts) - 1)))
        epoch = bisect_right(self.starts, number) - 1
        rows = self.epoch(epoch)[number - self.starts[epoch]]
        rng = np.random.default_rng(derive_seed(self.seed, "languages", self.name, number))
        spoken = self.draw(rng, len(rows))
        texts = self.texts[spoken, rows[:, None], np.arange(3)]
        return epoch, Rows(texts, spoken, self.parallel)


def _contents(texts: np.ndarray) -> np.ndarray:
    """Return numbers, shape (rows, 3), that are equal for texts that say the same in a language."""
    first = texts[0]
    if len(texts) == 1:
        return first
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    there = first >= 0
    left = np.tile(first[there], len(texts) - 1)
    right = texts[1:, there].ravel()
    count = int(texts.max()) + 1
    links = coo_array((np.ones(len(left), np.int8), (left, right)), (count, count))
    _, same = connected_components(links, directed=False)
    return np.where(there, same[first], -1)


def pack(contents: np.ndarray, order: np.ndarray, size: int) -> list[np.ndarray]:
    """Return batches of at most `size` rows in which nothing is said twice.

    Parameters
    ----------
    contents
        Of anchors, positives and negatives, shape (rows, 3); -1 for none.
    order
        Rows, each of which goes into the first batch that has room after those with its contents.
    """
    batches: list[list[int]] = []
    open_from = 0  # all batches before are full
    used: dict[int, int] = {}  # the first batch after those with it as an anchor or positive
    avoided: dict[int, int] = {}  # the same as a negative
    for row, (anchor, positive, negative) in zip(
        order.tolist(), contents[order].tolist(), strict=True
    ):
        number = max(
            open_from,
            used.get(anchor, 0),
            used.get(positive, 0),
            avoided.get(anchor, 0),
            avoided.get(positive, 0),
            used.get(negative, 0),
        )
        while number < len(batches) and len(batches[number]) == size:
            number += 1
        if number == len(batches):
            batches.append([])
        batches[number].append(row)
        used[anchor] = used[positive] = number + 1
        if negative >= 0:
            avoided[negative] = max(avoided.get(negative, 0), number + 1)
        while open_from < len(batches) and len(batches[open_from]) == size:
            open_from += 1
    return [np.array(batch) for batch in batches]


def speaking(anchor: int, positive: int) -> Draw:
    """Return the draw of batches whose anchors are in one language, the others in one, too."""

    def draw(rng: np.random.Generator, rows: int) -> np.ndarray:
        return np.broadcast_to(np.array([anchor, positive, positive]), (rows, 3))

    return draw


def mixing(languages: int, most: int) -> Draw:
    """Return the draw of batches that mix languages, at most so many.

    The texts of a row are in languages that differ, as far as there are so many: with two, anchor
    and positive differ and the negative is in either.
    """

    def draw(rng: np.random.Generator, rows: int) -> np.ndarray:
        chosen = rng.permutation(languages)[:most]
        places = rng.random((rows, len(chosen))).argsort(axis=1)  # an order of them for each row
        more = rng.integers(0, len(chosen), (rows, 2))  # where they are fewer than texts
        return chosen[np.hstack([places, more])[:, :3]]

    return draw


class Turns:
    """The order of a training on pairs: data sets take turns, and small ones begin anew.

    Parameters
    ----------
    groups
        Groups take turns, and within each its streams.
    settings
        `epochs` counts the batches that all streams have together in one epoch.
    """

    def __init__(self, groups: Sequence[Sequence[Stream]], settings: PairTraining) -> None:
        self.groups = groups
        self.per_epoch = sum(len(stream) for group in groups for stream in group)
        self.steps = max(1, math.ceil(settings.epochs * self.per_epoch))
        if settings.max_steps is not None:
            self.steps = min(self.steps, settings.max_steps)

    def parts(self, step: int) -> list[tuple[int, Rows]]:
        """Return the batch of a step, counted from 0, and the epoch of its data set."""
        stream, number = self._stream(step)
        return [stream.batch(number)]

    def _stream(self, step: int) -> tuple[Stream, int]:
        """Return whose batch a step has, and which."""
        turn, group = divmod(step, len(self.groups))
        number, stream = divmod(turn, len(self.groups[group]))
        return self.groups[group][stream], number

    def epochs(self, steps: int) -> float:
        """Return how many epochs so many steps are."""
        return steps / self.per_epoch

    def name(self, step: int) -> str:
        """Return whose batch a step has, for messages."""
        return self._stream(step)[0].name


def fingerprint_of(
    files: Sequence[str | Path], settings: PairTraining, seed: int, precision: str
) -> dict[str, Any]:
    """Return all that a training depends on besides the network, for its checkpoints.

    Parameters
    ----------
    files
        Of :func:`read_pairs`.
    settings, seed, precision
        Of the training.
    """
    return {
        "pairs": [checksum(file) for file in files],
        "settings": settings.model_dump(exclude=HARMLESS),
        "seed": seed,
        "precision": precision,
    }


# From numbers of texts to tensors


class Tokens:
    """The token ids of texts, end to end, each text tokenized once.

    Parameters
    ----------
    encoder
        Gives tokenizer and prefix.
    texts
        By number.
    wanted
        Numbers of those that will be asked for.
    max_tokens
        Longer ones are cut, special tokens included; the encoder's own limit holds, too.
    spoken
        FLORES-200 code of each language and the numbers of its texts, in rising order, for
        tokenizers that mark the language; by default all are in the tokenizer's own.
    """

    def __init__(
        self,
        encoder: "SentenceEncoder",
        texts: Sequence[str],
        wanted: np.ndarray,
        max_tokens: int,
        spoken: Sequence[tuple[str, range]] | None = None,
    ) -> None:
        max_tokens = min(max_tokens, encoder.max_tokens)
        wanted = np.unique(wanted[wanted >= 0])
        blocks, cut = [], 0
        self.lengths = np.zeros(len(texts), np.int64)
        parts = [
            (code, some[at : at + BLOCK])
            for code, some in _by_language(wanted, spoken)
            for at in range(0, len(some), BLOCK)
        ]
        for code, some in progress(parts, "tokenized"):
            if code is not None:
                speak(encoder.tokenizer, code)
            numbers: list[int] = some.tolist()
            prefixed = [encoder.prefix + texts[number] for number in numbers]
            ids, truncated = tokenize(encoder.tokenizer, prefixed, max_tokens)
            self.lengths[some] = [len(one) for one in ids]
            blocks.append(torch.cat(ids).numpy().astype(np.int32))
            cut += truncated
        if cut:
            logger.warning("%d of %d texts cut to %d tokens", cut, len(wanted), max_tokens)
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.ids = np.concatenate(blocks)
        padding: Any = encoder.tokenizer.pad_token_id
        self.padding = 0 if padding is None else padding

    def __len__(self) -> int:
        """Return how many texts there are, also those that are not asked for."""
        return len(self.lengths)

    def parts(
        self, numbers: np.ndarray, size: int
    ) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], np.ndarray]:
        """Return texts as ids and masks for several forward passes, the longest texts first.

        Parameters
        ----------
        numbers
            Of the texts.
        size
            Texts per forward pass, at most. Texts that are much shorter get a pass of their own.

        Returns
        -------
        parts
            Ids and attention mask, int64 of shape (texts, tokens of the longest).
        places
            Where each of `numbers` is among the rows of all parts.
        """
        order = np.argsort(-self.lengths[numbers], kind="stable")
        places = np.empty(len(order), np.int64)
        places[order] = np.arange(len(order))
        sorted_numbers = numbers[order]
        parts = np.split(sorted_numbers, _cuts(self.lengths[sorted_numbers].tolist(), size))
        return [self._padded(part) for part in parts], places

    def _padded(self, numbers: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        lengths = self.lengths[numbers]
        mask = np.arange(lengths.max()) < lengths[:, None]
        shifts = self.starts[numbers] - (np.cumsum(lengths) - lengths)
        ids = np.full(mask.shape, self.padding, np.int64)
        ids[mask] = self.ids[np.arange(lengths.sum()) + np.repeat(shifts, lengths)]
        return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))


def _by_language(
    wanted: np.ndarray, spoken: Sequence[tuple[str, range]] | None
) -> list[tuple[str | None, np.ndarray]]:
    """Return the numbers of each language's texts; all of them together if it is not known."""
    if spoken is None:
        return [(None, wanted)]
    return [
        (code, wanted[(wanted >= numbers.start) & (wanted < numbers.stop)])
        for code, numbers in spoken
    ]


def _cuts(lengths: Sequence[int], size: int) -> list[int]:
    """Return where a new forward pass begins among texts of falling length."""
    cuts, start = [], 0
    for place, length in enumerate(lengths):
        count = place - start
        if count == size or (count >= FEWEST and length < SHORTER * lengths[start]):
            cuts.append(place)
            start = place
    return cuts


def text_batch(tokens: Tokens, columns: Mapping[str, np.ndarray], settings: PairTraining) -> Batch:
    """Return columns of texts as tensors: forward passes, and each column's places among the rows.

    Parameters
    ----------
    tokens
        Of all texts.
    columns
        By name, numbers of texts.
    settings
        `mini_batch` texts go through the network together, `batch_size` if it is None.
    """
    size = settings.mini_batch or settings.batch_size
    parts, places = tokens.parts(np.concatenate(list(columns.values())), size)
    batch = {}
    for number, (ids, mask) in enumerate(parts):
        batch |= {f"ids {number}": ids, f"mask {number}": mask}
    ends = np.cumsum([len(one) for one in columns.values()])[:-1]
    for name, some in zip(columns, np.split(places, ends), strict=True):
        batch[name] = torch.from_numpy(some)
    return batch


def vectors_of(model: Any, batch: Batch, settings: PairTraining) -> torch.Tensor:
    """Return the vectors of all texts of a :func:`text_batch`, part after part, with gradients.

    With a `mini_batch`, gradients are cached; see
    :func:`~babelscope.training.contrastive.embed_in_parts`.
    """
    device = next(model.parameters()).device
    parts = []
    while f"ids {len(parts)}" in batch:
        ids, mask = (batch[f"{what} {len(parts)}"] for what in ("ids", "mask"))
        parts.append((ids.to(device, non_blocking=True), mask.to(device, non_blocking=True)))
    return embed_in_parts(model, parts, cached=settings.mini_batch is not None)
