"""Named-entity recognition: a tag for every word, judged by the F1 of whole entities."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from babelscope.errors import BabelscopeError
from babelscope.evaluation.metrics import F1
from babelscope.io import read_table
from babelscope.models.loading import load_with_head
from babelscope.models.masking import IGNORED
from babelscope.tasks.base import Batch
from babelscope.tasks.examples import choose_rows, network_inputs, pad, report_cut, tokenizer_of

OUTSIDE = "O"
NOWHERE = -1  # place of a word that the network does not see


@dataclass(frozen=True)
class Sentence:
    """One sentence.

    Attributes
    ----------
    tokens
        Ids, special ones included, cut to the window.
    words
        For each word of the sentence, the place of its first token; -1 if it was cut off or has no
        token.
    tags
        For each word, the number of its tag.
    """

    tokens: Sequence[int]
    words: np.ndarray
    tags: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)


def read_scheme(paths: Iterable[str | Path]) -> tuple[str, ...]:
    """Return the tags in training files, sorted.

    Raises
    ------
    BabelscopeError
        If there is none but ``O``: there is nothing to find.
    """
    paths = list(paths)
    tags = {OUTSIDE}
    for path in paths:
        for sentence in read_table(path)["tags"]:
            tags.update(sentence)
    if len(tags) == 1:
        raise BabelscopeError(
            f"There are no tags but {OUTSIDE} in {', '.join(str(path) for path in paths)}.",
            "Give ner training data with entities.",
        )
    return tuple(sorted(tags))


class NamedEntities:
    """The task ``ner``.

    A word's tag is learned and predicted at its first token (Devlin et al. 2019, section 5.3). A
    word that the network does not see, because the sentence is longer than the window or the word
    has no token, counts as predicted outside: its entity is missed, not left out.

    Parameters
    ----------
    folder
        Of a network of the family, for its tokenizer.
    scheme
        The tags, in the order of the head's outputs.
    max_tokens
        Longer sentences are cut, and counted in the log.
    """

    name = "ner"
    metric = F1

    def __init__(self, folder: str | Path, scheme: Sequence[str], *, max_tokens: int) -> None:
        self.tokenizer = tokenizer_of(folder)
        if not self.tokenizer.is_fast:
            raise BabelscopeError(
                f"The tokenizer in {folder} does not tell which word a token belongs to.",
                "Put a tokenizer.json, as a fast tokenizer has it, beside the model.",
            )
        self.scheme = tuple(scheme)
        self.numbers = {tag: number for number, tag in enumerate(self.scheme)}
        self.max_tokens = max_tokens

    def load_model(self, folder: str | Path, *, seed: int) -> Any:
        """Return a folder's network with a head over the scheme's tags."""
        return load_with_head(folder, "token", labels=self.scheme, seed=seed)

    def read(self, path: str | Path, *, examples: int | None, seed: int) -> list[Sentence]:
        """Return the sentences of a Parquet file with columns ``tokens`` and ``tags``.

        Raises
        ------
        BabelscopeError
            If a tag is not in the scheme, a sentence has more or fewer tags than tokens, or no
            sentence has an entity, so that there is nothing to learn or to score.
        """
        table = read_table(path)
        table = table.iloc[choose_rows(len(table), examples, seed, path)]
        _check(table, path)
        words = [list(tokens) for tokens in table["tokens"]]
        encoded: Any = self.tokenizer(
            words, is_split_into_words=True, truncation=True, max_length=self.max_tokens
        )
        report_cut(
            sum(bool(encoding.overflowing) for encoding in encoded.encodings),
            len(table),
            self.max_tokens,
            path,
        )
        return [
            Sentence(
                encoding.ids,
                _first_tokens(encoding.word_ids, len(tags)),
                self._numbers_of(tags, path, row),
            )
            for encoding, tags, row in zip(
                encoded.encodings, table["tags"], table.index, strict=True
            )
        ]

    def _numbers_of(self, tags: Iterable[str], path: str | Path, row: int) -> np.ndarray:
        try:
            return np.array([self.numbers[tag] for tag in tags], dtype=np.int64)
        except KeyError as error:
            raise BabelscopeError(
                f"{path}, row {row}: the tag {error} is not in the training data, whose tags are"
                f" {', '.join(self.scheme)}.",
                "Correct the tag, or use training data that has it.",
            ) from None

    def batch(
        self, examples: Sequence[Any], rows: Sequence[int], *, seed: int, epoch: int
    ) -> Batch:
        """Return ``input_ids``, ``attention_mask``, and ``labels`` (-100 but at first tokens).

        ``words`` and ``tags``, shape (sentences, words), are those of the sentences, the tags of
        words that are not there -100.
        """
        sentences = [examples[row] for row in rows]
        padding: Any = self.tokenizer.pad_token_id
        inputs = pad([sentence.tokens for sentence in sentences], padding)
        labels = torch.full_like(inputs, IGNORED)
        for label, sentence in zip(labels, sentences, strict=True):
            seen = sentence.words != NOWHERE
            label[torch.from_numpy(sentence.words[seen])] = torch.from_numpy(sentence.tags[seen])
        return {
            "input_ids": inputs,
            "attention_mask": pad([np.ones(len(sentence)) for sentence in sentences], 0),
            "labels": labels,
            "words": pad([sentence.words for sentence in sentences], NOWHERE),
            "tags": pad([sentence.tags for sentence in sentences], IGNORED),
        }

    def losses(self, model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the summed loss over the words that are seen, and their number."""
        logits = self._logits(model, batch).float()  # (sentences, tokens, tags)
        labels = batch["labels"].to(logits.device, non_blocking=True)
        loss = functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        return loss, (batch["labels"] != IGNORED).sum()

    def count(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return each sentence's entities found that are right, found, and there; (sentences, 3).

        Entities are what seqeval takes for them: an ``I-`` without its ``B-`` begins one, as in
        the CoNLL script.
        """
        guesses = self._logits(model, batch).argmax(dim=-1).cpu()  # (sentences, tokens)
        words, tags = batch["words"], batch["tags"]
        guessed = guesses.gather(1, words.clamp(min=0))  # (sentences, words)
        guessed[words == NOWHERE] = self.numbers[OUTSIDE]
        counts = [
            count_entities(
                [self.scheme[number] for number in gold[gold != IGNORED].tolist()],
                [self.scheme[number] for number in found[gold != IGNORED].tolist()],
            )
            for gold, found in zip(tags, guessed, strict=True)
        ]
        return torch.tensor(counts, dtype=torch.float64)

    def _logits(self, model: Any, batch: Batch) -> torch.Tensor:
        return model(**network_inputs(model, batch, ("input_ids", "attention_mask"))).logits


def count_entities(gold: list[str], found: list[str]) -> tuple[int, int, int]:
    """Return how many entities of a sentence were found and right, found, and there."""
    from seqeval.metrics.sequence_labeling import get_entities

    right, guessed = set(get_entities(gold)), set(get_entities(found))
    return len(right & guessed), len(guessed), len(right)


def _check(table: Any, path: str | Path) -> None:
    """Refuse sentences whose tags are not those of their tokens, and a lack of entities."""
    unequal = table.index[table["tokens"].map(len) != table["tags"].map(len)]
    if len(unequal):
        raise BabelscopeError(
            f"{path}, row {unequal[0]}: the tokens and tags differ in number.",
            "Delete it and run the same command again.",
        )
    if not any(tag != OUTSIDE for tags in table["tags"] for tag in tags):
        raise BabelscopeError(
            f"{path}: none of the {len(table)} sentences has an entity.",
            "Give that split more examples, or take the language out of tickets.languages.",
        )


def _first_tokens(word_ids: Sequence[int | None], words: int) -> np.ndarray:
    """Return the place of each word's first token, or -1; a tokenizer numbers words from 0."""
    places = np.full(words, NOWHERE)
    for place in reversed(range(len(word_ids))):
        word = word_ids[place]
        if word is not None:
            places[word] = place
    return places
