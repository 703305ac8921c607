"""Paraphrase pairs in another language, by a translation model such as NLLB-200."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from babelscope.errors import BabelscopeError
from babelscope.io import read_jsonl, read_table, write_jsonl, write_table
from babelscope.models.loading import load_config, load_tokenizer, read_model
from babelscope.models.sentences import language_mark
from babelscope.progress import progress
from babelscope.seeds import stable_hash
from babelscope.training import checkpoints
from babelscope.training.signals import SIGNALS, heeding_signals

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

TEXTS = ("anchor", "positive", "negative")
ARCHITECTURE = "M2M100ForConditionalGeneration"  # NLLB-200's, but for its mixture of experts
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MOST_EMPTY = 0.01  # share of sentences; more means that the model does not translate
TOKENIZED_AT_ONCE = 10_000


def translate_pairs(
    pairs: str | Path,
    output: str | Path,
    *,
    pivot: str,
    language: str,
    codes: Mapping[str, str],
    model: str | Path,
    folder: str | Path,
    beams: int,
    max_tokens: int,
    batch_tokens: int,
    device: str,
    precision: str,
    shard_sentences: int = 1000,
) -> dict[str, int]:
    """Translate the pivot's pairs and triples of sentences into another language.

    Every different sentence is translated once. What is finished is kept in `folder`, a file for
    every `shard_sentences` of them, and another call with the same model, texts and settings goes
    on from there: a job that is killed loses at most one file's work. Where it runs and how many
    sentences are translated at once may differ from call to call.

    Parameters
    ----------
    pairs
        Parquet table of ``language``, ``sent_id``, ``anchor``, ``positive`` and ``negative``, text
        or None, as :func:`~babelscope.corpus.pairs.read_pairs` returns it.
    output
        The Parquet table to write: the same columns, and the pivot's rows in their order.
    pivot, language
        From which language, and into which.
    codes
        What the translator calls these two: by FLORES-200, such as ``eng_Latn``.
    model
        Folder of a model such as NLLB-200: a M2M100 with safetensors weights, whose tokenizer has a
        token for every language.
    folder
        Of what is finished so far, for this one table and language; removed at the end.
    beams
        Width of the beam search; 1 is greedy. Nothing is drawn at random.
    max_tokens
        Most tokens of a translation, with the language's and the last one.
    batch_tokens
        Most tokens translated at once: those of the sources, with padding, times `beams`. A
        sentence with more than that is a batch by itself.
    device
        Such as ``cpu`` or ``cuda``.
    precision
        Of weights and arithmetic: ``float32``, ``bf16`` or ``fp16``.
    shard_sentences
        Sentences in a file of `folder`.

    Returns
    -------
    dict
        Counts: ``rows``; different ``sentences``; ``cut`` ones, whose source is longer than the
        model reads; ``unfinished`` ones, whose translation ends at `max_tokens`; and ``empty``
        ones, whose translation has no text. Those keep the text of the source: they are mostly
        signs that the model has no token for, and every table must have the same rows.

    Raises
    ------
    BabelscopeError
        If the table lacks a column, a text or the pivot, the folder holds no translator, its
        tokenizer lacks a language, the arithmetic overflows, more than one sentence in a hundred
        comes out empty, another process uses `folder`, or SIGTERM or SIGUSR1 arrived.
    """
    table = _read_pairs(pairs, pivot)
    source, target = codes[pivot], codes[language]
    texts = [text for name in TEXTS for text in table[name] if text is not None]
    sentences = list(dict.fromkeys(texts))
    with checkpoints.locked(folder):
        translator = _Translator(model, source, target, beams, max_tokens, device, precision)
        lengths = translator.lengths(sentences)
        order = np.argsort(-lengths, kind="stable")  # the longest first, to run out of memory early
        ordered = [sentences[place] for place in order]
        fingerprint = {
            "model": _checksums(Path(model)),
            "source": source,
            "target": target,
            "beams": beams,
            "max_tokens": max_tokens,
            "shard_sentences": shard_sentences,
            "precision": precision,
            "sentences": [len(ordered), stable_hash(*ordered)],
        }
        checkpoints.prepare(folder, fingerprint)
        done = _translate(
            translator, ordered, lengths[order], Path(folder), batch_tokens, shard_sentences
        )
        counts = {
            "rows": len(table),
            "sentences": len(sentences),
            "cut": int((lengths > translator.longest).sum()),
            "unfinished": sum(not record["finished"] for record in done),
            "empty": sum(not record["text"] for record in done),
        }
        _report(counts, model, language)
        translations = {
            sentence: record["text"] or sentence
            for sentence, record in zip(ordered, done, strict=True)
        }
        for name in TEXTS:
            table[name] = [None if text is None else translations[text] for text in table[name]]
        write_table(output, table.assign(language=language))
        checkpoints.remove(folder)
    return counts


def _read_pairs(path: str | Path, language: str) -> "pd.DataFrame":
    """Return a language's pairs, with None where there is no negative; all else must be text."""
    table = read_table(path)
    columns = ["language", "sent_id", *TEXTS]
    missing = [name for name in columns if name not in table]
    if missing:
        raise BabelscopeError(
            f"{path} has no column {', '.join(missing)};"
            f" there are {', '.join(map(str, table.columns))}.",
            "Make the table of the pivot's pairs anew.",
        )
    table = table.loc[table["language"] == language, columns].astype(object)
    if table.empty:
        raise BabelscopeError(
            f"{path} has no pairs in {language}, from which others would be translated.",
            "Choose pairs that have the pivot.",
        )
    table["negative"] = table["negative"].where(table["negative"].notna(), None)
    for name in TEXTS:
        for row, text in zip(table["sent_id"], table[name], strict=True):
            absent = text is None and name == "negative"
            if not absent and not (isinstance(text, str) and text.strip()):
                raise BabelscopeError(
                    f"{path}, sent_id {row}: the {name} has no text.", "Leave that row out."
                )
    return table


def _checksums(folder: Path) -> dict[str, list[int]]:
    """Return what identifies a translator: size and CRC-32 of its files."""
    files = [*folder.glob("*.safetensors"), folder / "config.json", folder / "tokenizer.json"]
    return {path.name: checkpoints.checksum(path) for path in sorted(files)}


def _translate(
    translator: "_Translator",
    sentences: Sequence[str],
    lengths: np.ndarray,
    folder: Path,
    batch_tokens: int,
    shard_sentences: int,
) -> list[dict[str, Any]]:
    """Return a record for each sentence, of falling length; a file for every shard of them."""
    starts = range(0, len(sentences), shard_sentences)
    shards = [range(start, min(start + shard_sentences, len(sentences))) for start in starts]
    paths = [folder / f"shard-{number:06d}.jsonl.zst" for number in range(len(shards))]
    found = [_finished(path, len(shard)) for path, shard in zip(paths, shards, strict=True)]
    if any(found):
        logger.info("%d of %d shards were finished before", sum(map(bool, found)), len(shards))
    work = [
        (number, rows)
        for number, shard in enumerate(shards)
        if not found[number]
        for rows in _batches(shard, lengths, batch_tokens // translator.beams)
    ]
    begun: list[dict[str, Any]] = []  # of a shard, whose batches follow each other
    with heeding_signals():
        for number, rows in progress(work, "batches"):
            begun += translator.translate([sentences[row] for row in rows])
            if len(begun) == len(shards[number]):
                write_jsonl(paths[number], begun)
                found[number], begun = begun, []
            if SIGNALS.received:
                raise BabelscopeError(
                    f"Translation was stopped by {SIGNALS.received}; {sum(map(bool, found))} of"
                    f" {len(shards)} shards are finished, in {folder}.",
                    "Run the same command again to go on from there.",
                )
    return [record for records in found for record in records]


def _finished(path: Path, count: int) -> list[dict[str, Any]]:
    """Return the records of a shard, or none if it was not finished or cannot be read."""
    if not path.is_file():
        return []
    try:
        records = list(read_jsonl(path))
    except BabelscopeError as error:
        logger.warning("%s Its sentences are translated again.", error.what)
        return []
    return records if len(records) == count else []


def _batches(rows: Iterable[int], lengths: np.ndarray, tokens: int) -> Iterator[list[int]]:
    """Split rows of falling length into batches of so many tokens, with padding, or one row."""
    batch: list[int] = []
    for row in rows:
        if batch and lengths[batch[0]] * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(row)
    yield batch


def _report(counts: dict[str, int], model: str | Path, language: str) -> None:
    """Log what is not as it should be, and refuse a translator that says nothing."""
    for what in ("cut", "unfinished", "empty"):
        if counts[what]:
            logger.warning("%s: %d of %d are %s", language, counts[what], counts["sentences"], what)
    if counts["empty"] > max(1, MOST_EMPTY * counts["sentences"]):
        raise BabelscopeError(
            f"{model} translated {counts['empty']} of {counts['sentences']} sentences into"
            f" {language} as nothing.",
            "Choose another translator, or take the language out of the configuration.",
        )


class _NotANumber:
    """Notes, without waiting for the device, whether a score was not a number."""

    def __init__(self, device: str) -> None:
        self.seen = torch.zeros((), dtype=torch.bool, device=device)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.seen |= scores.isnan().any()
        return scores


class _Translator:
    """A model and its tokenizer, from one language into another."""

    def __init__(
        self,
        path: str | Path,
        source: str,
        target: str,
        beams: int,
        max_tokens: int,
        device: str,
        precision: str,
    ) -> None:
        from transformers import GenerationConfig, M2M100ForConditionalGeneration

        config: Any = load_config(path)
        if ARCHITECTURE not in (config.architectures or []):
            raise BabelscopeError(
                f"{path} holds a {(config.architectures or ['model'])[0]}, which does not translate"
                " here.",
                f"Choose an NLLB-200 or another {ARCHITECTURE}.",
            )
        self.tokenizer: Any = load_tokenizer(path)
        if len(self.tokenizer) > config.vocab_size:
            raise BabelscopeError(
                f"The tokenizer in {path} has {len(self.tokenizer)} tokens, its model only"
                f" {config.vocab_size}.",
                "Put the tokenizer there that the model was trained with.",
            )
        marks = {code: language_mark(self.tokenizer, code) for code in (source, target)}
        self.tokenizer.src_lang = source
        if marks[source] not in self.tokenizer("")["input_ids"]:
            raise BabelscopeError(
                f"The tokenizer in {path} does not mark the language of a text.",
                "Let its tokenizer_config.json name the tokenizer_class NllbTokenizer.",
            )
        self.longest = min(self.tokenizer.model_max_length, config.max_position_embeddings)
        self.beams = beams
        self.device = device
        self.precision = precision
        self.model = read_model(path, M2M100ForConditionalGeneration, DTYPES[precision]).to(device)
        # The folder's own defaults, of sampling or of repetitions, have no say.
        self.model.generation_config = GenerationConfig(
            num_beams=beams,
            do_sample=False,
            max_new_tokens=max_tokens,
            decoder_start_token_id=config.decoder_start_token_id,
            forced_bos_token_id=marks[target],
            bos_token_id=config.bos_token_id,
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
        )

    def lengths(self, sentences: Sequence[str]) -> np.ndarray:
        """Return how many tokens each sentence has, special ones included."""
        counts: list[int] = []
        for start in range(0, len(sentences), TOKENIZED_AT_ONCE):
            some = list(sentences[start : start + TOKENIZED_AT_ONCE])
            counts += map(len, self.tokenizer(some, verbose=False)["input_ids"])
        return np.array(counts)

    def translate(self, sentences: list[str]) -> list[dict[str, Any]]:
        """Return for each sentence its translation, ``text``, and whether it is ``finished``."""
        from transformers import LogitsProcessorList

        batch = self.tokenizer(
            sentences, padding=True, truncation=True, max_length=self.longest, return_tensors="pt"
        ).to(self.device)
        watch = _NotANumber(self.device)
        with torch.inference_mode():
            tokens = self.model.generate(**batch, logits_processor=LogitsProcessorList([watch]))
        if watch.seen:
            raise BabelscopeError(
                f"The translator gave values that are not numbers with precision {self.precision}.",
                "Use compute.precision: float32, or bf16.",
            )
        # The first token is the one that the decoder starts from, which may look like the last.
        end = self.model.generation_config.eos_token_id
        finished = (tokens[:, 1:] == end).any(dim=1).tolist()
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [
            {"text": text.strip(), "finished": whole}
            for text, whole in zip(texts, finished, strict=True)
        ]
