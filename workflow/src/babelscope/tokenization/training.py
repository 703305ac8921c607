"""Training a tokenizer on several languages, sampled so that small ones are not drowned."""

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import TYPE_CHECKING, Any, cast

from babelscope.errors import BabelscopeError
from babelscope.io import read_jsonl
from babelscope.seeds import stable_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

Documents = Callable[[], Iterable[tuple[str, str]]]  # opens a language's (id, text) pairs afresh

LINE = 1000  # characters; sentencepiece skips longer input lines without a word
BATCH = 1000  # lines handed over at once
CORES = 4  # of sentencepiece; fixed, since sums of floats depend on their number
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]  # XLM-R's and XGLM's first ids


def documents_of(path: str | Path) -> Documents:
    """Return a function that opens the records of a file as (id, text) pairs."""

    def documents() -> Iterator[tuple[str, str]]:
        for record in read_jsonl(path):
            yield str(record["id"]), record["text"]

    return documents


def sample_text(
    texts: Mapping[str, Documents], *, characters: int, temperature: float, seed: int
) -> Iterator[str]:
    """Yield text in which a language's share is proportional to ``size ** temperature``.

    Documents are taken in the order of a hash of seed, language and id, so the sample depends
    neither on the order of the input nor on other documents; the last one is cut so that shares are
    exact to the character. A language with less text than its share is repeated.

    Parameters
    ----------
    texts
        For each language, a function that opens its documents: (id, text) pairs. Called twice or
        more, so that no corpus is held in memory.
    characters
        Characters of all languages together, at most: no more than there are in total are taken.
    temperature
        In (0, 1]: 1 keeps the languages' proportions, towards 0 they become equal.
    seed
        Of the choice of documents.

    Raises
    ------
    BabelscopeError
        If a language has no text.
    """
    ranks = {
        language: sorted((stable_hash(seed, language, key), len(text)) for key, text in documents())
        for language, documents in texts.items()
    }
    sizes = {language: sum(size for _, size in ranked) for language, ranked in ranks.items()}
    empty = [language for language, size in sizes.items() if not size]
    if empty:
        raise BabelscopeError(
            f"No training text for {', '.join(empty)}.",
            "Take the language out of `languages`, or raise articles.per_language.",
        )
    total = min(characters, sum(sizes.values()))
    weights = {language: size**temperature for language, size in sizes.items()}
    for language, documents in texts.items():
        quota = int(total * weights[language] / sum(weights.values()))
        repeats, rest = divmod(quota, sizes[language])
        logger.info("%s: %d of %d characters for the tokenizer", language, quota, sizes[language])
        taken = _take(ranks[language], rest)
        for _ in range(repeats):
            yield from (text for _, text in documents())
        for key, text in documents():
            cut = taken.get(stable_hash(seed, language, key), 0)
            if cut:
                yield text[:cut]


def _take(ranked: list[tuple[int, int]], characters: int) -> dict[int, int]:
    """Return how many characters to take of which documents, the first ranks first."""
    taken: dict[int, int] = {}
    for rank, size in ranked:
        if characters <= 0:
            break
        taken[rank] = min(size, characters)
        characters -= size
    return taken


def split_lines(texts: Iterable[str], length: int = LINE) -> Iterator[str]:
    """Yield the non-empty lines of texts; longer ones are cut, at a space where there is one."""
    for text in texts:
        for line in text.splitlines():
            while len(line) > length:
                cut = line.rfind(" ", 1, length)
                cut = cut if cut > 0 else length
                yield line[:cut]
                line = line[cut:]
            if line.strip():
                yield line


def train_tokenizer(
    lines: Iterable[str],
    *,
    vocabulary: int,
    kind: str = "unigram",
    source: "PreTrainedTokenizerBase | None" = None,
    causal: bool = False,
    key: str = "mlm.tokenizer.vocabulary",
) -> "PreTrainedTokenizerBase":
    """Train a tokenizer of exactly `vocabulary` tokens, special ones included.

    Parameters
    ----------
    lines
        Text, a line at a time; see :func:`sample_text` and :func:`split_lines`.
    vocabulary
        Number of ids.
    kind
        ``unigram`` as XLM-R (SentencePiece with NFKC, XLM-R's order of ids), ``wordpiece`` as
        multilingual BERT (cased), or ``bpe`` as RoBERTa (on bytes).
    source
        Take normalization, pre-tokenization, post-processing, model, longest input and special
        tokens from this tokenizer instead; `kind` and `causal` are then not read.
    causal
        For a left-to-right model, ``unigram`` only: a text begins with ``<s>`` and has no end,
        since more may follow, and there is no ``<mask>``. Any white space is but a space.
    key
        What the number of ids is called in the configuration, for errors.

    Raises
    ------
    BabelscopeError
        If the text does not support so large a vocabulary.

    Notes
    -----
    The same lines give the same tokenizer, on any number of cores. Special tokens that the source
    has at its beginning keep their ids. Of a Unigram source the others come last again, as XLM-R's
    ``<mask>``; WordPiece and BPE put all of them first, in the source's order.
    """
    if source is not None:
        kind = type(cast(Any, source).backend_tokenizer.model).__name__.lower()
        retrain = {"unigram": _retrain_unigram, "wordpiece": _retrain_wordpiece}.get(kind, _retrain)
        return retrain(source, lines, vocabulary, key)
    if kind == "unigram":
        return (_train_causal if causal else _train_masked)(lines, vocabulary, key)
    if causal:
        raise BabelscopeError(
            f"No tokenizer of the kind {kind} is made for left-to-right models.",
            "Set alignment.tokenizer.kind: unigram.",
        )
    from transformers import BertTokenizer, RobertaTokenizer

    if kind == "wordpiece":
        return _retrain_wordpiece(BertTokenizer(do_lower_case=False), lines, vocabulary, key)
    if kind == "bpe":
        return _retrain(RobertaTokenizer(), lines, vocabulary, key)
    raise ValueError(f"kind is {kind!r}; known: unigram, wordpiece, bpe")


def _retrain(
    source: "PreTrainedTokenizerBase",
    lines: Iterable[str],
    vocabulary: int,
    key: str,
    first: list[str] | None = None,
) -> "PreTrainedTokenizerBase":
    """Train a tokenizer like another; `first` are tokens that follow its special ones, as such."""
    lines = iter(lines)
    batches = iter(lambda: list(islice(lines, BATCH)), [])
    train = cast(Any, source).train_new_from_iterator  # the base class does not declare it
    tokenizer = train(batches, vocab_size=vocabulary, new_special_tokens=first, show_progress=False)
    if len(tokenizer) != vocabulary:
        raise _unsupported(vocabulary, len(tokenizer), key)
    return tokenizer


def _retrain_wordpiece(
    source: "PreTrainedTokenizerBase", lines: Iterable[str], vocabulary: int, key: str
) -> "PreTrainedTokenizerBase":
    """Train a tokenizer like another, the same one whenever the lines are the same.

    The `tokenizers` library numbers the letters that continue words in a random order, and joins
    the pair of the smaller numbers where two are as frequent. So they are numbered beforehand.
    """
    backend = cast(Any, source).backend_tokenizer
    prefix = backend.model.continuing_subword_prefix
    letters: set[str] = set()
    with TemporaryFile("w+", encoding="utf-8", newline="\n") as kept:
        for line in lines:
            kept.write(f"{line}\n")
            text = backend.normalizer.normalize_str(line) if backend.normalizer else line
            splitter = backend.pre_tokenizer
            for word, _ in splitter.pre_tokenize_str(text) if splitter else [(text, None)]:
                letters.update(word[1:])
        kept.seek(0)
        first = [f"{prefix}{letter}" for letter in sorted(letters)]
        trained = _retrain(source, (line[:-1] for line in kept), vocabulary, key, first)
    state = json.loads(cast(Any, trained).backend_tokenizer.to_str())
    state["added_tokens"] = [one for one in state["added_tokens"] if one["content"] not in first]
    return _with_state(source, state)


def _retrain_unigram(
    source: "PreTrainedTokenizerBase", lines: Iterable[str], vocabulary: int, key: str
) -> "PreTrainedTokenizerBase":
    """Put new pieces into a copy of a tokenizer; the `tokenizers` library's own takes five times.

    Pieces are learned from what the source's normalizer makes of the lines.
    """
    backend = cast(Any, source).backend_tokenizer
    state = json.loads(backend.to_str())
    old = state["model"]["vocab"]  # [piece, score], by id
    special = {token["content"]: token["id"] for token in state["added_tokens"]}
    special[old[state["model"]["unk_id"]][0]] = state["model"]["unk_id"]
    first = next(place for place, (piece, _) in enumerate(old) if piece not in special)
    spelt = re.compile("|".join(re.escape(token) for token in special))
    normalizer = backend.normalizer

    def normalized() -> Iterator[str]:
        for line in lines:
            text = normalizer.normalize_str(line) if normalizer is not None else line
            yield spelt.sub(lambda found: f"{found[0][0]} {found[0][1:]}", " ".join(text.split()))

    model = _learn_pieces(normalized(), vocabulary, len(special), "identity", key)
    head, tail = [], []
    for token, place in sorted(special.items(), key=lambda item: item[1]):
        score = old[place][1] if place < len(old) else 0.0
        (head if place < first else tail).append((token, score))
    vocab = [*head, *((piece.piece, piece.score) for piece in model.pieces[3:]), *tail]
    ids = {piece: place for place, (piece, _) in enumerate(vocab)}
    state["model"] |= {"vocab": vocab, "unk_id": ids[old[state["model"]["unk_id"]][0]]}
    for token in state["added_tokens"]:
        token["id"] = ids[token["content"]]
    _renumber(state["post_processor"] or {}, ids)
    return _with_state(source, state)


def _with_state(
    source: "PreTrainedTokenizerBase", state: dict[str, Any]
) -> "PreTrainedTokenizerBase":
    """Return a copy of a tokenizer that has the state, a ``tokenizer.json``, of another."""
    from transformers import AutoTokenizer

    with TemporaryDirectory() as folder:
        source.save_pretrained(folder)
        Path(folder, "tokenizer.json").write_text(json.dumps(state, ensure_ascii=False), "utf-8")
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    tokenizer.name_or_path = source.name_or_path
    return tokenizer


def _renumber(post_processor: dict[str, Any], ids: Mapping[str, int]) -> None:
    """Give the special tokens that a text is put between their new ids, in place."""
    for part in post_processor.get("processors", []):
        _renumber(part, ids)
    for token in post_processor.get("special_tokens", {}).values():
        token["ids"] = [ids[piece] for piece in token["tokens"]]
    for role in {"cls", "sep"} & post_processor.keys():
        post_processor[role][1] = ids[post_processor[role][0]]


def _train_masked(lines: Iterable[str], vocabulary: int, key: str) -> "PreTrainedTokenizerBase":
    from transformers import XLMRobertaTokenizer

    vocab, charsmap = _unigram(lines, vocabulary, ["<mask>"], key)
    return XLMRobertaTokenizer(vocab=vocab, _spm_precompiled_charsmap=charsmap)


def _train_causal(lines: Iterable[str], vocabulary: int, key: str) -> "PreTrainedTokenizerBase":
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocab, charsmap = _unigram(lines, vocabulary, [], key)
    begin, padding, end, unknown = SPECIAL
    backend = Tokenizer(models.Unigram(vocab, SPECIAL.index(unknown)))
    backend.normalizer = normalizers.Precompiled(charsmap)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    backend.decoder = decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A",
        pair=f"{begin} $A $B",
        special_tokens=[(begin, SPECIAL.index(begin))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=begin,
        pad_token=padding,
        eos_token=end,
        unk_token=unknown,
        model_input_names=["input_ids", "attention_mask"],  # GPT-2 would embed token types
    )


def _unigram(
    lines: Iterable[str], vocabulary: int, last: list[str], key: str
) -> tuple[list[tuple[str, float]], Any]:
    """Return pieces with their scores between special tokens, and SentencePiece's normalization."""
    model = _learn_pieces(lines, vocabulary, len(SPECIAL) + len(last), "nmt_nfkc", key)
    pieces = [(piece.piece, piece.score) for piece in model.pieces[3:]]
    special = [[(token, 0.0) for token in tokens] for tokens in (SPECIAL, last)]
    return special[0] + pieces + special[1], model.normalizer_spec.precompiled_charsmap


def _learn_pieces(
    lines: Iterable[str], vocabulary: int, special: int, normalization: str, key: str
) -> Any:
    """Return SentencePiece's model of a vocabulary of which `special` tokens are not pieces."""
    import sentencepiece
    from sentencepiece.sentencepiece_model_pb2 import ModelProto  # pyright: ignore

    own = 3  # special tokens that sentencepiece counts
    with TemporaryDirectory() as folder:
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_prefix=f"{folder}/unigram",
                vocab_size=vocabulary - special + own,
                model_type="unigram",
                character_coverage=0.9995,
                normalization_rule_name=normalization,
                max_sentence_length=4 * LINE,  # bytes
                unk_id=0,
                bos_id=1,
                eos_id=2,
                pad_id=-1,
                num_threads=CORES,
                minloglevel=1,
            )
        except RuntimeError as error:
            raise _explain(error, vocabulary, special - own, key) from error
        model = ModelProto()
        model.ParseFromString(Path(folder, "unigram.model").read_bytes())
    found = len(model.pieces) + special - own
    if found != vocabulary:
        raise _unsupported(vocabulary, found, key)
    return model


def _explain(error: RuntimeError, vocabulary: int, special: int, key: str) -> Exception:
    """Turn SentencePiece's complaint about the vocabulary's size into one a user can act on."""
    message = str(error)
    if found := re.search(r"too high .*<= (\d+)", message):
        return _unsupported(vocabulary, int(found[1]) + special, key)
    if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return BabelscopeError(
            f"{key}: {vocabulary} is too small: the text has that many different characters"
            " already.",
            f"Set {key} well above {int(found[1]) + special}.",
        )
    return error


def _unsupported(vocabulary: int, supported: int, key: str) -> BabelscopeError:
    return BabelscopeError(
        f"{key}: {vocabulary} is larger than the text supports.",
        f"Set {key} to at most {supported}, or use more text.",
    )
