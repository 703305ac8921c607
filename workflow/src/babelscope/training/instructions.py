"""Samples of alignment as tokens: pairs of sentences, and instructions packed into blocks.

A sample has the fields of Li et al. (2024): ``sent0`` and ``sent1``, which say the same in two
languages, perhaps ``sent2``, which ``sent1`` must not be mistaken for, and ``clm_text``, of which
``clm_prompt_len`` characters are the prompt.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from babelscope.errors import BabelscopeError
from babelscope.io import read_jsonl
from babelscope.models.anatomy import anatomy
from babelscope.models.masked_head import token_losses
from babelscope.models.masking import IGNORED
from babelscope.models.sentences import BLOCK, tokenize
from babelscope.progress import progress
from babelscope.tasks.base import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

FIELDS: dict[str, tuple[type, ...]] = {
    "sent0": (str,),
    "sent1": (str,),
    "clm_text": (str,),
    "clm_prompt_len": (int,),
}


@dataclass(frozen=True)
class Texts:
    """Token ids of texts, end to end.

    Attributes
    ----------
    ids
        int32, shape (tokens,).
    ends
        Where each text ends, shape (texts,).
    """

    ids: np.ndarray
    ends: np.ndarray

    @staticmethod
    def of(rows: Iterable[Sequence[int] | np.ndarray]) -> "Texts":
        """Return rows of ids as texts."""
        arrays = [np.asarray(row, np.int32) for row in rows]
        ids = np.concatenate([np.empty(0, np.int32), *arrays])
        return Texts(ids, np.cumsum([len(array) for array in arrays], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each text."""
        return np.diff(self.ends, prepend=0)

    def place(self, number: int) -> slice:
        """Return where a text is among all ids."""
        return slice(int(self.ends[number - 1]) if number else 0, int(self.ends[number]))

    def __getitem__(self, number: int) -> np.ndarray:
        return self.ids[self.place(number)]


@dataclass(frozen=True)
class Samples:
    """Samples as tokens.

    Attributes
    ----------
    sentences
        Of all pairs, each text once.
    pairs
        Numbers of ``sent0``, ``sent1`` and ``sent2``, shape (samples, 3); -1 for no ``sent2``.
    contents
        Shape (sentences,), equal for sentences that say the same, in whatever language: those of a
        pair, and those of pairs that share a text, as all pairs of a row share that of the pivot.
    instructions
        Those of all samples; without tokens where nothing could be learned.
    labels
        Which tokens of `instructions` are predicted, bool, shape (tokens,).
    padding
        Token that fills up a row.
    """

    sentences: Texts
    pairs: np.ndarray
    contents: np.ndarray
    instructions: Texts
    labels: np.ndarray
    padding: int

    def __len__(self) -> int:
        return len(self.pairs)

    @cached_property
    def predicted(self) -> np.ndarray:
        """Number of tokens of each instruction that are predicted."""
        found = np.concatenate([[0], np.cumsum(self.labels)])
        ends = self.instructions.ends
        return found[ends] - found[ends - self.instructions.lengths]


def read_samples(
    path: str | Path, tokenizer: "PreTrainedTokenizerBase", *, max_tokens: int, block: int
) -> Samples:
    """Read samples, each text tokenized once.

    Parameters
    ----------
    path
        JSON lines, plain or compressed.
    tokenizer
        The model's; a fast one, which knows the place of a token in its text.
    max_tokens
        Longer sentences are cut, and counted.
    block
        Longer instructions lose their end, and are counted: what is left is predicted from all that
        it depends on, which a prompt without its beginning would not be. Where a prompt leaves no
        room for a token of its answer, nothing is learned from the instruction.

    Raises
    ------
    BabelscopeError
        If there are no samples, a field is missing or of another type, a text has no tokens, or no
        instruction has room for a token of its answer.
    """
    if not tokenizer.is_fast:
        raise BabelscopeError(
            "The tokenizer does not say which characters a token stands for.",
            "Use a model with a tokenizer.json.",
        )
    numbers: dict[str, int] = {}
    pairs: list[list[int]] = []
    texts: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    cut = unanswered = 0
    records = progress(_checked(path), "samples")
    while some := list(islice(records, BLOCK)):
        for record in some:
            said = [record["sent0"], record["sent1"], record.get("sent2")]
            pairs.append([-1 if x is None else numbers.setdefault(x, len(numbers)) for x in said])
        for row, answer in _instructions(tokenizer, some):
            cut += len(row) > block
            answered = answer[:block].any()
            unanswered += not answered
            end = block if answered else 0
            texts.append(row[:end])
            labels.append(answer[:end])
    if not pairs:
        raise BabelscopeError(
            f"{path} has no samples.",
            "Give more instructions, or raise alignment.samples.valid if none is held out.",
        )
    if unanswered == len(pairs):
        raise BabelscopeError(
            f"{path}: no instruction has a token of its answer among its first {block}.",
            "Raise alignment.training.block.",
        )
    if cut:
        logger.warning(
            "%d of %d instructions are longer than the %d tokens of a block: %d lose the end of"
            " their answer, nothing is learned from %d",
            *(cut, len(pairs), block, cut - unanswered, unanswered),
        )
    table, padding = np.array(pairs), tokenizer.pad_token_id
    return Samples(
        sentences=_sentences(tokenizer, list(numbers), max_tokens),
        pairs=table,
        contents=_contents(table, len(numbers)),
        instructions=Texts.of(texts),
        labels=np.concatenate(labels),
        padding=padding if isinstance(padding, int) else 0,
    )


def _checked(path: str | Path) -> Iterator[dict[str, Any]]:
    for number, record in enumerate(read_jsonl(path), start=1):
        where = f"{path}, line {number}"
        for name, kind in FIELDS.items():
            if not isinstance(record.get(name), kind):
                raise BabelscopeError(
                    f"{where}: the field {name} is {record.get(name, 'missing')!r}, expected"
                    f" {' or '.join(one.__name__ for one in kind)}.",
                    "Make the samples anew with make_instruction_pairs.",
                )
        if not 0 <= record["clm_prompt_len"] < len(record["clm_text"]):
            raise BabelscopeError(
                f"{where}: clm_prompt_len is {record['clm_prompt_len']} of the"
                f" {len(record['clm_text'])} characters of clm_text, which leaves no answer.",
                "Make the samples anew with make_instruction_pairs.",
            )
        yield record


def _instructions(
    tokenizer: "PreTrainedTokenizerBase", records: Sequence[dict[str, Any]]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the ids of each instruction, and which of its tokens hold a character of the answer.

    The text is tokenized once and whole, so a token that reaches over the end of the prompt is the
    one that the model will see, and belongs to the answer. Special tokens hold no character.
    """
    encoded = tokenizer(
        [record["clm_text"] for record in records],
        return_offsets_mapping=True,
        return_attention_mask=False,
        verbose=False,
    )
    for ids, offsets, record in zip(
        encoded["input_ids"], encoded["offset_mapping"], records, strict=True
    ):
        starts, ends = np.array(offsets, np.int64).reshape(-1, 2).T
        answer = ends > np.maximum(starts, record["clm_prompt_len"])
        answer[:1] = False  # nothing stands before the first token to predict it from
        yield np.array(ids, np.int32), answer


def _sentences(
    tokenizer: "PreTrainedTokenizerBase", sentences: Sequence[str], max_tokens: int
) -> Texts:
    rows: list[np.ndarray] = []
    truncated = 0
    for start in range(0, len(sentences), BLOCK):
        ids, cut = tokenize(tokenizer, sentences[start : start + BLOCK], max_tokens)
        rows += [one.numpy().astype(np.int32) for one in ids]
        truncated += cut
    if truncated:
        logger.warning("%d of %d sentences cut to %d tokens", truncated, len(rows), max_tokens)
    return Texts.of(rows)


def _contents(pairs: np.ndarray, sentences: int) -> np.ndarray:
    """Return a number per sentence, equal for those that pairs tie together.

    The id of a sample is that of its instruction, beside which stand sentences of another row.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ties = (np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1]))
    links = coo_array(ties, (sentences, sentences))
    return connected_components(links, directed=False)[1]


# Packing


def pack(lengths: Sequence[int], block: int) -> list[list[int]]:
    """Return which texts share a block: each goes, the longest first, into the first with room.

    Texts without tokens are in none.
    """
    blocks: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        length = int(lengths[number])
        if not length:
            break
        place = next((place for place, free in enumerate(room) if free >= length), len(blocks))
        if place == len(blocks):
            blocks.append([])
            room.append(block)
        blocks[place].append(number)
        room[place] -= length
    return blocks


def packed_batch(samples: Samples, blocks: Sequence[Sequence[int]]) -> Batch:
    """Return the instructions of some samples, several in a row, as tensors.

    Parameters
    ----------
    samples
        Those that the blocks number.
    blocks
        Samples of each row; one may have none.

    Returns
    -------
    Shape (blocks, tokens of the fullest): ``input_ids``; ``labels``, -100 where there is no loss;
    ``segments``, which text of its row a token belongs to, 0 for padding; ``position_ids``, a
    token's place in its own text.
    """
    texts = samples.instructions
    width = max(1, *(sum(len(texts[number]) for number in row) for row in blocks))
    shape = (len(blocks), width)
    ids = np.full(shape, samples.padding, np.int64)
    labels = np.full(shape, IGNORED, np.int64)
    segments, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for place, row in enumerate(blocks):
        start = 0
        for segment, number in enumerate(row, start=1):
            tokens, answer = texts[number], samples.labels[texts.place(number)]
            there = slice(start, start + len(tokens))
            ids[place, there] = tokens
            labels[place, there] = np.where(answer, tokens, IGNORED)
            segments[place, there] = segment
            positions[place, there] = np.arange(len(tokens))
            start += len(tokens)
    arrays = {"input_ids": ids, "labels": labels, "segments": segments, "position_ids": positions}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def instruction_loss(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss of packed instructions in nats, summed over tokens, and their number.

    Each text is attended to and counted as if it stood alone; the output layer sees nothing but the
    positions that predict a label. Without a label, the loss is 0.

    Parameters
    ----------
    model
        Left-to-right, with an output layer.
    batch
        Of :func:`packed_batch`.
    """
    device = next(model.parameters()).device
    segments = batch["segments"].to(device, non_blocking=True)
    positions = batch["position_ids"].to(device, non_blocking=True)
    inputs = {
        "input_ids": batch["input_ids"],
        "labels": batch["labels"],
        "attention_mask": _attention(model, segments),
    }
    family = anatomy(model).family
    if family != "bloom":
        inputs["position_ids"] = positions
    with _distances(model, positions) if family == "bloom" else nullcontext():
        losses, _ = token_losses(model, inputs)
    return losses.sum(), torch.tensor(len(losses))


def _attention(model: Any, segments: torch.Tensor) -> torch.Tensor:
    """Return what each token sees, itself and those before it in its text: (batch, 1, time, time).

    Padding sees padding, since a row that sees nothing has no softmax.
    """
    same = segments[:, :, None] == segments[:, None, :]
    seen = same.tril()[:, None]
    if model.config._attn_implementation == "sdpa":
        return seen
    dtype = next(model.parameters()).dtype
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(
        ~seen, torch.finfo(dtype).min
    )


@contextmanager
def _distances(model: Any, positions: torch.Tensor) -> Iterator[None]:
    """Let Bloom's penalties of distant tokens be those of places in a text, not in a row.

    A shift that all keys of a text share would change no softmax, but numbers as large as a row is
    long would be rounded in bf16.
    """
    base = model.base_model
    build = base.build_alibi_tensor

    def penalties(mask: torch.Tensor, heads: int, dtype: torch.dtype) -> torch.Tensor:
        slopes = build(torch.ones(1, 2, device=positions.device), heads, dtype)[:, :, 1:]
        return (slopes * positions[:, None, None, :]).flatten(0, 1).to(dtype)

    base.build_alibi_tensor = penalties
    try:
        yield
    finally:
        del base.build_alibi_tensor
