"""Which tokens two vocabularies share, though they write them in different ways.

A word's first piece is ``▁river`` in SentencePiece, ``river`` in WordPiece and ``Ġriver`` in BPE on
bytes; a later one is ``ver``, ``##ver`` and ``ver``. BPE on bytes spells every byte but the
printable ones of ASCII with another character: its ``Ã`` is half a letter.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from babelscope.errors import BabelscopeError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What a token stands for: whether it begins a word; its text, or its bytes where they are no text.
Form = tuple[bool, str | bytes]

# Roles of special tokens, and the one that does the same work in tokenizers without the role.
ROLES = {
    "cls": "bos",
    "bos": "cls",
    "sep": "eos",
    "eos": "sep",
    "pad": "pad",
    "unk": "unk",
    "mask": "mask",
}
BYTE = re.compile(r"<0x([0-9A-F]{2})>")  # how SentencePiece writes a byte of an unknown character
HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f]")


def match_tokens(
    source: "PreTrainedTokenizerBase", target: "PreTrainedTokenizerBase"
) -> np.ndarray:
    """Return, for each token of one vocabulary, the same token of another.

    Parameters
    ----------
    source, target
        Tokenizers that write as SentencePiece does, as WordPiece, or as BPE on bytes.

    Returns
    -------
    np.ndarray
        int64, shape (tokens of the target,): ids of the source, -1 where it has no such token. Of
        several equal ones in the source, the first.

    Raises
    ------
    BabelscopeError
        If a tokenizer writes in none of these ways.

    Notes
    -----
    Text is the same if its characters are and it begins a word in both or in neither. WordPiece
    cuts punctuation marks and Han characters off whatever they touch, so there one token stands for
    both. Special tokens match by their role (``<s>`` is ``[CLS]``), those without one by spelling,
    and never a text that is spelt like them. Bytes that are no characters match such bytes only.
    """
    theirs, ours = special_tokens(source), special_tokens(target)
    read = token_reader(source)
    found: dict[Form, int] = {}
    for token, number in sorted(source.get_vocab().items(), key=lambda item: item[1]):
        if number not in theirs:
            for form in read(token):
                found.setdefault(form, number)
    read = token_reader(target)
    vocabulary = target.get_vocab()
    matched = np.full(max(vocabulary.values()) + 1, -1, np.int64)
    for token, number in vocabulary.items():
        matched[number] = next((found[form] for form in read(token) if form in found), -1)
    spelt = {token: number for number, token in theirs.items()}
    roles = _same_roles(source, target)
    for number, token in ours.items():
        matched[number] = roles.get(number, spelt.get(token, -1))
    return matched


def special_tokens(tokenizer: "PreTrainedTokenizerBase") -> dict[int, str]:
    """Return the special tokens of a tokenizer, those with a role and others, by id."""
    vocabulary = tokenizer.get_vocab()
    named = [token for token in tokenizer.all_special_tokens if token in vocabulary]
    special = {vocabulary[token]: token for token in named}
    added = tokenizer.added_tokens_decoder.items()
    return special | {number: token.content for number, token in added if token.special}


def vocabulary_size(tokenizer: "PreTrainedTokenizerBase") -> int:
    """Return how many rows an embedding matrix needs: the largest id and one."""
    return max(tokenizer.get_vocab().values()) + 1


def _same_roles(
    source: "PreTrainedTokenizerBase", target: "PreTrainedTokenizerBase"
) -> dict[int, int]:
    """Return the source's special token for the role of each of the target's."""
    roles: dict[int, int] = {}
    for role, stand_in in ROLES.items():
        number = getattr(target, f"{role}_token_id")
        same = getattr(source, f"{role}_token_id")
        if same is None:
            same = getattr(source, f"{stand_in}_token_id")
        if number is not None and same is not None:
            roles.setdefault(number, same)
    return roles


def token_reader(tokenizer: "PreTrainedTokenizerBase") -> Callable[[str], tuple[Form, ...]]:
    """Return what turns a token of this tokenizer into the forms it stands for.

    Raises
    ------
    BabelscopeError
        If it writes in none of the ways of `match_tokens`.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # the few that are written in Python are SentencePiece's
        return _read_piece
    kind = type(backend.model).__name__
    if kind in ("WordPiece", "WordLevel"):
        prefix = getattr(backend.model, "continuing_subword_prefix", None)
        return partial(_read_word, prefix=prefix)
    parts = (backend.normalizer, backend.pre_tokenizer, backend.decoder)
    steps = "".join(str(part) for part in parts)
    if "ByteLevel" in steps:
        values = {character: value for value, character in enumerate(_byte_alphabet())}
        return partial(_read_bytes, values=values)
    if kind == "Unigram" or "▁" in steps:
        return _read_piece
    raise BabelscopeError(
        f"{tokenizer.name_or_path} ({kind}) marks where words begin neither as SentencePiece nor as"
        " WordPiece nor as BPE on bytes.",
        "Choose a model whose tokenizer is of one of these kinds.",
    )


def _read_piece(token: str) -> tuple[Form, ...]:
    if token[:3] == "<0x" and (byte := BYTE.fullmatch(token)):
        return ((False, bytes.fromhex(byte[1])),)
    text = token.replace("▁", " ")
    return ((text[:1] == " ", text.removeprefix(" ")),)


def _read_word(token: str, prefix: str | None) -> tuple[Form, ...]:
    continues = bool(prefix) and token.startswith(prefix) and token != prefix
    text = token[len(prefix or "") :] if continues else token
    if not _stands_alone(text):
        return ((not continues, text),)
    # A mark that continues a word is in some vocabularies, but no text is ever cut so.
    return ((False, token),) if continues else ((False, text), (True, text))


def _stands_alone(text: str) -> bool:
    """Whether BERT makes a word of its own of this character, whatever it touches."""
    if len(text) != 1:
        return False
    symbol = text.isascii() and text.isprintable() and not text.isalnum() and text != " "
    return symbol or unicodedata.category(text)[0] == "P" or HAN.match(text) is not None


def _read_bytes(token: str, values: dict[str, int]) -> tuple[Form, ...]:
    if not values.keys() >= set(token):
        return ((False, token),)  # added to the vocabulary as it is
    raw = bytes(values[character] for character in token)
    begins, raw = raw[:1] == b" ", raw.removeprefix(b" ")
    try:
        return ((begins, raw.decode()),)
    except UnicodeDecodeError:
        return ((begins, raw),)


def _byte_alphabet() -> list[str]:
    """Return the character that BPE on bytes writes for each byte.

    Printable bytes of Latin-1 are themselves, the others are counted from U+0100 on.
    """
    itself = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(value if value in itself else next(others)) for value in range(0x100)]
