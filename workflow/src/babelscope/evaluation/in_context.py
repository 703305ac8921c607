"""How likely a language model finds each of several choices, all of them in the same text.

The likelihood of a choice is that of all tokens after those which the whole strings of all choices
begin with, each given everything before it. So it does not matter where a tokenizer draws the line
between text and choice: choices are compared by the likelihoods of whole strings, and what they
have in common is computed once. Three things are shared:

- Demonstrations, which begin all items of a setting: their keys and values are computed once.
- The text before the choice. All choices of an item are one row, a tree in which a token sees its
  own choice and what comes before all of them. That needs models which are told positions; of
  others, such as BLOOM, each choice is a row.
- Rows of like length make a batch, in which the output layer sees only what is scored.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from transformers.cache_utils import Cache, DynamicLayer

from babelscope.errors import BabelscopeError
from babelscope.evaluation.prompts import EOS, Filled
from babelscope.models.anatomy import anatomy
from babelscope.models.masked_head import cross_entropies, head_sees
from babelscope.models.modes import arithmetic, evaluating
from babelscope.models.sentences import length_batches, window_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOLD_POSITIONS = ("gpt2", "llama", "xglm")
TOLD_WHO_SEES_WHOM = ("eager", "sdpa")  # kinds of attention that take a mask of their own
LOGITS = 2**28  # held at a time
WORTH_CACHING = 8  # shared tokens
ALIKE = 0.75  # the shortest row of a batch to its longest, at least
STRINGS = 512  # tokenized together


class Item(NamedTuple):
    """An example as tokens.

    Attributes
    ----------
    stem
        Tokens that all choices share, at least one; special tokens at the beginning included.
    choices
        Tokens of each choice and what follows it, at least one.
    characters
        How long each choice is, with the text that follows it.
    """

    stem: list[int]
    choices: list[list[int]]
    characters: list[int]


class Examples:
    """Examples in one prompt, which become items behind any demonstrations.

    Parameters
    ----------
    tokenizer
        The model's. What it puts in front of a text, such as a token for its beginning, is kept;
        what it puts behind is not, as no model is asked whether a text ends.
    examples
        Filled prompts, with equally many choices.
    separator
        After each demonstration; ``{eos}`` is the tokenizer's token for the end of a text.

    Raises
    ------
    BabelscopeError
        If a choice has no tokens, or the tokenizer lacks the separator's token.
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", examples: Sequence[Filled], separator: str
    ) -> None:
        end: Any = tokenizer.eos_token
        if EOS in separator and not end:
            raise BabelscopeError(
                "The tokenizer has no token for the end of a text, which is to separate examples.",
                "Write another separator into the file of prompts.",
            )
        self.separator = separator.replace(EOS, end or "")
        self._tokenizer: Any = tokenizer
        self._examples = examples
        self._strings = [string for example in examples for string in example.strings]
        self._front = front_tokens(tokenizer)
        self._separated: list[list[int]] = []
        choices = list(dict.fromkeys(choice for one in examples for choice in one.choices))
        for choice, ids in zip(choices, self._ids(choices), strict=True):
            if not (ids and choice.strip()):
                raise BabelscopeError(
                    f"The choice {choice!r} has no tokens.", "Correct the example, or the prompt."
                )

    def items(self, demonstrations: Sequence[str] = ()) -> list[Item]:
        """Return the examples behind some demonstrations.

        Raises
        ------
        BabelscopeError
            If two choices of an example have the same tokens.
        """
        strings = self._tokenized("".join(one + self.separator for one in demonstrations))
        begin = self._tokenizer.bos_token_id
        first = self._tokenizer.eos_token_id if begin is None else begin  # as lm_eval does
        width = len(self._examples[0].choices)
        return [
            _item(strings[number * width : (number + 1) * width], example, first)
            for number, example in enumerate(self._examples)
        ]

    def _tokenized(self, shown: str) -> list[list[int]]:
        """Return the tokens of every string behind what is shown.

        A special token between the two is merged with neither, so that each can be tokenized by
        itself, and the strings once for all demonstrations.
        """
        if shown and self.separator in self._tokenizer.all_special_tokens:
            self._separated = self._separated or self._ids(
                [self.separator + string for string in self._strings]
            )
            head = self._ids([shown.removesuffix(self.separator)])[0]
            if head + self._separated[0] == self._ids([shown + self._strings[0]])[0]:
                return [self._front + head + ids for ids in self._separated]
        return [self._front + ids for ids in self._ids([shown + one for one in self._strings])]

    def _ids(self, strings: Sequence[str]) -> list[list[int]]:
        return [
            ids
            for start in range(0, len(strings), STRINGS)
            for ids in self._tokenizer(
                list(strings[start : start + STRINGS]),
                add_special_tokens=False,
                return_attention_mask=False,
                verbose=False,  # about lengths, which are checked when the window is known
            )["input_ids"]
        ]


def front_tokens(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return the special tokens that a tokenizer puts in front of a text."""
    text = "a"
    own: Any = tokenizer(text, add_special_tokens=False)["input_ids"]
    whole: Any = tokenizer(text)["input_ids"]
    starts = range(len(whole) - len(own) + 1)
    return whole[: next(start for start in starts if whole[start : start + len(own)] == own)]


def _common(rows: Sequence[list[int]]) -> int:
    """Return how many tokens all rows begin with, leaving at least one of each."""
    first, last = min(rows), max(rows)  # in alphabetical order, all others share what these do
    same = (
        number for number, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]
    )
    shortest = min(map(len, rows))
    return min(next(same, shortest), shortest - 1)


def _item(strings: list[list[int]], example: Filled, first: int | None) -> Item:
    if len(set(map(tuple, strings))) < len(strings):
        raise BabelscopeError(
            f"Choices of an example have the same tokens: {' | '.join(example.choices)}.",
            "Correct the example, or take a tokenizer that knows its letters.",
        )
    shared = _common(strings)
    stem, choices = strings[0][:shared], [ids[shared:] for ids in strings]
    if not stem:
        if first is None:
            raise BabelscopeError(
                "Nothing comes before the choices of an example, and the tokenizer has no token for"
                " the beginning or end of a text.",
                "Take another prompt, or another tokenizer.",
            )
        stem = [first]
    return Item(stem, choices, [len(choice + example.rest) for choice in example.choices])


class _Shared(DynamicLayer):
    """Keys and values of shared tokens in one layer: read by all rows, and never added to."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.keys, self.values = layer.keys, layer.values  # (1, heads, shared, d)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the shared keys and values, and after them those of a batch."""
        own: Any = (self.keys, self.values)
        rows = len(key_states)
        keys, values = (
            torch.cat([old.expand(rows, -1, -1, -1), new], dim=2)
            for old, new in zip(own, (key_states, value_states), strict=True)
        )
        return keys, values


class _Row(NamedTuple):
    """One row of a batch.

    Attributes
    ----------
    tokens
        A stem without what a cache holds, and branches without their last token, which nothing is
        asked about.
    positions
        Of the tokens.
    branches
        0 in the stem, otherwise the branch that a token is of.
    places
        In the row, of the states that predict the targets.
    targets
        Tokens that are scored.
    choices
        The number of the choice that each target is of, counted over all items.
    """

    tokens: list[int]
    positions: list[int]
    branches: list[int]
    places: list[int]
    targets: list[int]
    choices: list[int]


def _row(stem: Sequence[int], cached: int, choices: Sequence[tuple[int, list[int]]]) -> _Row:
    """Return a row of some choices, given with their numbers."""
    own = len(stem) - cached
    row = _Row(list(stem[cached:]), list(range(cached, len(stem))), [0] * own, [], [], [])
    for branch, (number, tokens) in enumerate(choices, start=1):
        start, length = len(row.tokens), len(tokens) - 1
        row.tokens.extend(tokens[:-1])
        row.positions.extend(range(len(stem), len(stem) + length))
        row.branches.extend([branch] * length)
        row.places.extend([own - 1, *range(start, start + length)])
        row.targets.extend(tokens)
        row.choices.extend([number] * len(tokens))
    return row


def score_choices(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    items: Sequence[Item],
    *,
    batch_tokens: int,
    device: str | torch.device,
    precision: str = "float32",
) -> np.ndarray:
    """Return the log-likelihood of every choice.

    Parameters
    ----------
    model
        Left to right, with its head: gpt2, xglm, bloom or llama. It is moved to `device`, and in
        evaluation mode meanwhile.
    tokenizer
        The model's.
    items
        At least one, with equally many choices.
    batch_tokens
        Most tokens in a batch, padding included. A token that all items begin with, whose keys and
        values are read alone, counts an eighth.
    device
        Such as ``cpu`` or ``cuda``.
    precision
        ``float32``, or ``bf16`` or ``fp16`` by autocast.

    Returns
    -------
    In nats, float64, shape (items, choices).

    Raises
    ------
    BabelscopeError
        If items are longer than what the model reads, or a likelihood is not finite.
    """
    width = len(items[0].choices)
    if any(len(item.choices) != width for item in items):
        raise ValueError("items must have equally many choices")
    _require_room(items, window_of(model, tokenizer))
    shared = _common([item.stem for item in items])
    shared = shared if shared >= WORTH_CACHING else 0
    kind = getattr(model.config, "_attn_implementation", None)
    tree = anatomy(model).family in TOLD_POSITIONS and kind in TOLD_WHO_SEES_WHOM
    rows = []
    for number, item in enumerate(items):
        choices = list(enumerate(item.choices, start=number * width))
        parts = [choices] if tree else [[one] for one in choices]
        rows += [_row(item.stem, shared, part) for part in parts]
    padding: Any = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    size = min(batch_tokens, LOGITS // model.config.vocab_size)
    model.to(device)  # pyright: ignore
    found = []
    with torch.inference_mode(), evaluating(model), arithmetic(model, precision):
        cache = _cache(model, items[0].stem[:shared], device) if shared else None
        costs = [len(row.tokens) + shared // 8 for row in rows]
        for batch in _even(length_batches(costs, size), rows):
            some = [rows[number] for number in batch]
            losses = _losses(model, some, cache, shared, tree=tree, padding=padding, device=device)
            found.append((losses, [choice for row in some for choice in row.choices]))
    losses = torch.cat([losses for losses, _ in found]).double().cpu().numpy()
    choices = np.concatenate([choices for _, choices in found])
    sums = -np.bincount(choices, weights=losses).reshape(len(items), width)
    if not np.isfinite(sums).all():
        raise BabelscopeError(
            f"{int((~np.isfinite(sums)).sum())} of {sums.size} likelihoods are not finite with"
            f" precision {precision}.",
            "Check the model's weights, or set compute.precision to float32.",
        )
    return sums


def _even(batches: Iterable[list[int]], rows: Sequence[_Row]) -> Iterator[list[int]]:
    """Yield batches of falling length in parts whose rows are of like length.

    Few items make few batches, in which the long ones would have all others padded.
    """
    for batch in batches:
        part: list[int] = []
        for number in batch:
            if part and len(rows[number].tokens) < ALIKE * len(rows[part[0]].tokens):
                yield part
                part = []
            part.append(number)
        yield part


def _require_room(items: Sequence[Item], window: int) -> None:
    lengths = np.array([len(item.stem) + max(map(len, item.choices)) - 1 for item in items])
    if lengths.max() > window:
        raise BabelscopeError(
            f"{int((lengths > window).sum())} of {len(items)} examples need more than the {window}"
            f" tokens that the model reads, up to {lengths.max()}.",
            "Show fewer demonstrations, leave out the corpus, or take a model that reads more.",
        )


def _cache(model: Any, tokens: list[int], device: str | torch.device) -> Cache:
    """Return keys and values of tokens that all rows begin with."""
    ids = torch.tensor([tokens], device=device)
    nowhere = torch.empty(0, dtype=torch.long, device=device)
    with head_sees(model, nowhere):
        past = model(input_ids=ids, use_cache=True).past_key_values
    return Cache(layers=[_Shared(layer) for layer in past.layers])


def _losses(
    model: Any,
    rows: Sequence[_Row],
    cache: Cache | None,
    cached: int,
    *,
    tree: bool,
    padding: int,
    device: str | torch.device,
) -> torch.Tensor:
    """Return the cross entropy of the rows' targets, shape (targets,), on the device."""
    time = max(len(row.tokens) for row in rows)
    targets = [target for row in rows for target in row.targets]
    places = [line * time + place for line, row in enumerate(rows) for place in row.places]
    inputs: dict[str, Any] = {"input_ids": _padded([row.tokens for row in rows], padding, device)}
    if tree:
        inputs["position_ids"] = _padded([row.positions for row in rows], 0, device)
        branches = _padded([row.branches for row in rows], -1, device)
        mask = _visible(branches, cached)
        if model.config._attn_implementation == "eager":  # which adds its mask
            hidden = torch.finfo(model.dtype).min
            mask = torch.zeros(mask.shape, dtype=model.dtype, device=device).masked_fill(
                ~mask, hidden
            )
        inputs["attention_mask"] = mask
    if cache is not None:
        inputs |= {"past_key_values": cache, "use_cache": True}
    else:
        inputs["use_cache"] = False
    with head_sees(model, torch.tensor(places).to(device, non_blocking=True)):
        logits = model(**inputs).logits  # (targets, vocabulary)
    wanted = torch.tensor(targets).to(device, non_blocking=True)
    return cross_entropies(logits, wanted)


def _padded(
    rows: Sequence[Sequence[int]], padding: int, device: str | torch.device
) -> torch.Tensor:
    """Return rows as a matrix, padded on the right, where no token looks."""
    time = max(map(len, rows))
    table = [[*row, *[padding] * (time - len(row))] for row in rows]
    return torch.tensor(table).to(device, non_blocking=True)


def _visible(branches: torch.Tensor, cached: int) -> torch.Tensor:
    """Return who sees whom: bools of shape (rows, 1, time, cached + time).

    Padding, branch -1, sees the stem, as a softmax over nothing would be NaN.
    """
    size, time = branches.shape
    keys, queries = branches[:, None, :], branches[:, :, None]
    before = torch.ones(time, time, dtype=torch.bool, device=branches.device).tril()
    own = before & ((keys == 0) | (keys == queries))
    return torch.cat([own.new_ones(size, time, cached), own], dim=2)[:, None]
