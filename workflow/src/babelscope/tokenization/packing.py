"""Documents to windows of exactly the model's length, in parallel and streamed to disk."""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from babelscope.errors import BabelscopeError
from babelscope.io import atomic, read_jsonl
from babelscope.progress import progress

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DOCUMENTS = 512  # tokenized together; bounds memory, and large enough to keep all threads busy


class PackingTokenizer(NamedTuple):
    """What packing needs of a tokenizer.

    Attributes
    ----------
    tokenizer
        The tokenizer.
    special
        Matches the spelling of a special token.
    bos_id, eos_id
        The tokens a window begins and ends with, `<s>` and `</s>` or `[CLS]` and `[SEP]`. T5's
        texts have an end, `</s>`, but no beginning: None.
    size
        Number of ids, those of no token too: the largest and one.
    separated
        A left-to-right model's: `eos_id` ends documents, not windows.
    """

    tokenizer: "Tokenizer"
    special: re.Pattern[str]
    bos_id: int | None
    eos_id: int
    size: int
    separated: bool


def windows_of(
    documents: Iterable[list[int]],
    *,
    window: int,
    bos_id: int | None,
    eos_id: int,
    separated: bool = False,
) -> Iterator[np.ndarray]:
    """Yield blocks of windows, shape (some, window), int32; see :func:`pack_chunks`."""
    first = int(bos_id is not None)
    body = window - first - int(not separated)
    if body < 1:
        raise ValueError(f"a window of {window} has no room beside its special tokens")
    rest = np.empty(0, np.int32)
    documents = iter(documents)
    while batch := list(islice(documents, DOCUMENTS)):
        if separated:
            batch = [[*document, eos_id] for document in batch]
        tokens = np.fromiter(chain.from_iterable(batch), np.int32)
        tokens = np.concatenate([rest, tokens])
        whole = len(tokens) // body
        block = np.empty((whole, window), np.int32)
        if bos_id is not None:
            block[:, 0] = bos_id
        block[:, first : first + body] = tokens[: whole * body].reshape(whole, body)
        if not separated:
            block[:, -1] = eos_id
        rest = tokens[whole * body :]
        if whole:
            yield block


def pack_chunks(
    documents: Iterable[list[int]],
    *,
    window: int,
    bos_id: int | None,
    eos_id: int,
    separated: bool = False,
) -> np.ndarray:
    """Return the documents as windows of exactly `window` tokens.

    The documents are joined in their order and cut every ``window - 2`` tokens; each piece stands
    between `bos_id` and `eos_id` (``window - 1`` and before `eos_id`, if `bos_id` is None). Nothing
    is lost but the last piece if it is short. A window may hold the end of one document and the
    beginning of the next (as RoBERTa's FULL-SENTENCES, Liu et al. 2019, section 4.2), with no
    separator between them: an extra token there would be one that models without a document
    separator (BERT) never saw inside a segment.

    A left-to-right model has to know where a text ends. So its documents are `separated`: each is
    followed by `eos_id`, and windows are cut every ``window - 1`` tokens, after `bos_id`, wherever
    that falls. What precedes an `eos_id` stays in sight (as in GPT-3, Brown et al. 2020, appendix
    B): the model learns that it says nothing of what follows.

    Parameters
    ----------
    documents
        Token ids of each document, without special tokens, all of one split.
    window
        Length of a window, the special tokens included; at least 3.
    bos_id, eos_id
        First and last token of every window; if `separated`, first token of every window and last
        of every document.
    separated
        End documents, not windows.

    Returns
    -------
    np.ndarray
        Shape (windows, window); uint16 if every id fits, else int32.
    """
    blocks = list(
        windows_of(documents, window=window, bos_id=bos_id, eos_id=eos_id, separated=separated)
    )
    chunks = np.concatenate(blocks) if blocks else np.empty((0, window), np.int32)
    return chunks.astype(np.uint16) if chunks.max(initial=0) < 2**16 else chunks


def load_packing_tokenizer(folder: str | Path) -> PackingTokenizer:
    """Read a tokenizer for packing, without importing transformers.

    Parameters
    ----------
    folder
        Holds ``tokenizer.json`` and, if it is a model's, ``config.json``.

    Raises
    ------
    BabelscopeError
        If the tokenizer neither has a mask token and puts two special tokens around a text, nor
        puts one after it, as T5's, nor one before it, as a left-to-right model's, which needs an
        end-of-text token too.
    """
    from tokenizers import Tokenizer

    folder = Path(folder)
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise BabelscopeError(
            f"{folder} has no tokenizer.json.",
            "Save the tokenizer with transformers' save_pretrained, which writes that file.",
        )
    tokenizer = Tokenizer.from_file(str(path))
    around, text = tokenizer.encode("").ids, tokenizer.encode("a").ids
    separated = False
    if len(around) == 1 and text[-1:] == around:  # T5's
        bos_id, eos_id = None, around[0]
    elif len(around) == 1 and text[:1] == around:  # a left-to-right model's
        bos_id, eos_id = around[0], _token_id(folder, tokenizer, "eos_token", ("</s>",))
        separated = True
        if eos_id is None:
            raise BabelscopeError(
                f"The tokenizer in {folder} has no end-of-text token.",
                "Name one, as eos_token, in its tokenizer_config.json.",
            )
    else:
        if _token_id(folder, tokenizer, "mask_token", ("<mask>", "[MASK]")) is None:
            raise BabelscopeError(
                f"The tokenizer in {folder} has no mask token.",
                "Masked-language modelling needs one: choose another model in config/models.tsv.",
            )
        if len(around) != 2:
            raise BabelscopeError(
                f"The tokenizer in {folder} puts {len(around)} special tokens around a text, not"
                " 2.",
                "Choose the tokenizer of a masked-language model.",
            )
        bos_id, eos_id = around
    tokenizer.no_truncation()
    tokenizer.no_padding()
    added = tokenizer.get_added_tokens_decoder().values()
    special = re.compile("|".join(re.escape(token.content) for token in added if token.special))
    size = max(tokenizer.get_vocab().values()) + 1
    return PackingTokenizer(tokenizer, special, bos_id, eos_id, size, separated)


def _token_id(
    folder: Path, tokenizer: "Tokenizer", name: str, usual: tuple[str, ...]
) -> int | None:
    """Return the id of a special token, as the folder names it or as it is usually called."""
    settings = folder / "tokenizer_config.json"
    named = json.loads(settings.read_text("utf-8")).get(name) if settings.is_file() else None
    if isinstance(named, dict):  # older folders describe the token
        named = named.get("content")
    ids = map(tokenizer.token_to_id, [named] if named else usual)
    return next((one for one in ids if one is not None), None)


def check_positions(folder: str | Path, window: int, *, key: str = "mlm.window") -> None:
    """Refuse a window longer than a model's positions; without ``config.json`` all fit.

    `key` is what the window is called in the configuration.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        return
    config = json.loads(path.read_text("utf-8"))
    positions = config.get("max_position_embeddings", config.get("n_positions"))
    if positions is None:
        return
    if "roberta" in config.get("model_type", ""):
        positions -= config.get("pad_token_id", 1) + 1  # RoBERTa counts from the padding index on
    if window > positions:
        raise BabelscopeError(
            f"{key}: {window} is longer than the {positions} positions of {folder}.",
            f"Set {key} to at most {positions}.",
        )


def tokenize(texts: Iterable[str], packing: PackingTokenizer) -> Iterator[list[int]]:
    """Yield each text's token ids, without special tokens; batches go through all threads.

    Where a text spells a special token, ``<mask>`` say, a space breaks it: a window must not hold
    one that its text did not mean. (`encode_special_tokens` of the library is not enough, since a
    Unigram vocabulary has them as pieces too.)
    """
    texts = iter(texts)
    while batch := list(islice(texts, DOCUMENTS)):
        batch = [packing.special.sub(_broken, text) for text in batch]
        for encoding in packing.tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            yield encoding.ids


def _broken(match: re.Match[str]) -> str:
    return f"{match[0][0]} {match[0][1:]}"


def write_chunks(
    path: str | Path, blocks: Iterable[np.ndarray], window: int, vocab_size: int
) -> int:
    """Write windows as an Arrow stream that ``datasets.Dataset.from_file`` reads.

    Column ``input_ids``, a fixed-size list of uint16 if all ids fit and of int32 otherwise, in one
    record batch, so that a reader can map the whole as one array. Memory stays at one block.

    Parameters
    ----------
    path
        The file.
    blocks
        Arrays of shape (some, window).
    window
        Tokens per window.
    vocab_size
        Number of ids of the tokenizer, all of them below it.

    Returns
    -------
    int
        Number of windows written; may be 0.

    Raises
    ------
    ValueError
        If an id is not below `vocab_size`: uint16 would turn it into another.
    """
    dtype = np.dtype(np.uint16 if vocab_size <= 2**16 else np.int32)
    with atomic(path) as temporary:
        raw = temporary.with_name("raw")
        with raw.open("wb") as file:
            for block in blocks:
                if (largest := block.max(initial=0)) >= vocab_size:
                    raise ValueError(f"id {largest} in a vocabulary of {vocab_size} ids")
                file.write(np.ascontiguousarray(block, dtype).data)
        with pa.memory_map(str(raw)) as source:
            length = source.size() // dtype.itemsize
            values = pa.Array.from_buffers(
                pa.from_numpy_dtype(dtype), length, [None, source.read_buffer()]
            )
            column = pa.FixedSizeListArray.from_arrays(values, window)
            batch = pa.record_batch([column], names=["input_ids"])
            with pa.ipc.new_stream(str(temporary), batch.schema) as stream:
                stream.write_batch(batch)
        raw.unlink()
    return len(column)


def read_chunks(path: str | Path) -> np.ndarray:
    """Map the windows of a file of :func:`write_chunks` into memory, shape (windows, window)."""
    try:
        with pa.memory_map(str(path)) as source:
            column = pa.ipc.open_stream(source).read_next_batch().column("input_ids")
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, OSError, StopIteration, KeyError) as error:
        raise BabelscopeError(
            f"{path} is not a readable file of chunks ({error}).",
            "Delete it and run the same command again.",
        ) from error
    values = column.values.to_numpy(zero_copy_only=True)
    return values.reshape(len(column), column.type.list_size)


def pack_file(
    text: str | Path, path: str | Path, packing: PackingTokenizer, *, window: int, language: str
) -> int:
    """Pack the ``text`` of the records of one language and split; return the number of windows.

    Raises
    ------
    BabelscopeError
        If the text does not fill one window.
    """
    texts = (
        record["text"] for record in progress(read_jsonl(text), f"{Path(path).stem} documents")
    )
    blocks = windows_of(
        tokenize(texts, packing),
        window=window,
        bos_id=packing.bos_id,
        eos_id=packing.eos_id,
        separated=packing.separated,
    )
    first = next(blocks, None)
    if first is None:
        raise BabelscopeError(
            f"{text} ({language}) does not fill one window of {window} tokens.",
            "Raise articles.per_language, or take the language out of `languages`.",
        )
    return write_chunks(path, chain([first], blocks), window, packing.size)
