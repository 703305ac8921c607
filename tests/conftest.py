"""Tiny models and tokenizers that every test can afford; nothing is downloaded."""

import bz2
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar
from xml.sax.saxutils import escape

import pytest

# As in the Snakefile, and before torch is loaded: threads that wait leave the cores to others.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real files, or skip."""
    folder = Path(os.environ.get("BABELSCOPE_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real data: set BABELSCOPE_DATA")
    return folder


def tiny_model(family: str, seed: int = 0):
    """Return a random model in eval mode: 3 layers x 4 heads (decoders of T5: 2), 100 tokens."""
    import torch
    import transformers as t

    size = {"vocab_size": 100, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    bert = size | {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 70,
        "initializer_range": 0.3,
    }
    t5 = size | {
        "d_model": 32,
        "d_kv": 6,
        "d_ff": 48,
        "num_layers": 3,
        "num_decoder_layers": 2,
        "num_heads": 4,
        "decoder_start_token_id": 1,
    }
    gpt2 = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 70, "initializer_range": 0.3}
    llama = bert | {"num_key_value_heads": 2}
    bloom = {"hidden_size": 32, "n_layer": 3, "n_head": 4, "initializer_range": 0.3}
    xglm = {"d_model": 32, "num_layers": 3, "attention_heads": 4, "ffn_dim": 48, "init_std": 0.3}
    m2m = {"d_model": 32, "encoder_layers": 3, "decoder_layers": 2, "init_std": 0.3}
    m2m |= {f"{part}_attention_heads": 4 for part in ("encoder", "decoder")}
    m2m |= {f"{part}_ffn_dim": 48 for part in ("encoder", "decoder")}
    torch.set_num_threads(1)  # more only get in each other's way at this size
    torch.manual_seed(seed)
    match family:
        case "bert":
            model = t.BertForMaskedLM(t.BertConfig(**bert))
        case "roberta":
            model = t.RobertaForMaskedLM(t.RobertaConfig(**bert))
        case "xlm-roberta":
            model = t.XLMRobertaForMaskedLM(t.XLMRobertaConfig(**bert))
        case "t5":
            model = t.T5ForConditionalGeneration(t.T5Config(**t5))
        case "mt5":
            model = t.MT5ForConditionalGeneration(
                t.MT5Config(**t5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
            )
        case "gpt2":
            model = t.GPT2LMHeadModel(t.GPT2Config(**size, **gpt2))
        case "llama":
            model = t.LlamaForCausalLM(t.LlamaConfig(**llama))
        case "bloom":
            model = t.BloomForCausalLM(t.BloomConfig(**size, **bloom))
        case "xglm":
            model = t.XGLMForCausalLM(t.XGLMConfig(**size, **xglm, max_position_embeddings=70))
        case "m2m_100":
            model = t.M2M100ForConditionalGeneration(
                t.M2M100Config(**size, **m2m, max_position_embeddings=70, decoder_start_token_id=2)
            )
        case _:
            raise ValueError(family)
    return model.eval()


@pytest.fixture(scope="session")
def make_model():
    """Return `tiny_model`, for tests that need a model of some family, or a fresh one."""
    return tiny_model


@pytest.fixture
def xlmr():
    """Return a fresh tiny XLM-R with 3 layers x 4 heads."""
    return tiny_model("xlm-roberta")


GERMAN = {"the": "der", "dog": "hund", "sees": "sieht"}


@pytest.fixture(scope="session")
def translator(tmp_path_factory) -> Path:
    """Return the folder of a tiny NLLB that has learned to put three words into German."""
    import random

    import torch
    from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

    words = [*GERMAN, *GERMAN.values()]
    letters = ["▁", *sorted(set("".join(words)))]
    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *letters])}
    merges = []
    for word in words:
        for end in range(1, len(word) + 1):
            merges.append((f"▁{word[: end - 1]}", word[end - 1]))
            vocabulary.setdefault(f"▁{word[:end]}", len(vocabulary))
    tokenizer = NllbTokenizer(
        vocab=vocabulary,
        merges=list(dict.fromkeys(merges)),
        extra_special_tokens=["deu_Latn", "eng_Latn", "zho_Hans"],
    )
    size = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "init_std": 0.1}
    size |= {f"{part}_attention_heads": 4 for part in ("encoder", "decoder")}
    size |= {f"{part}_ffn_dim": 48 for part in ("encoder", "decoder")}
    size |= {"dropout": 0.0, "attention_dropout": 0.0}
    size |= {f"{part}_layerdrop": 0.0 for part in ("encoder", "decoder")}
    torch.set_num_threads(1)
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        model = M2M100ForConditionalGeneration(
            M2M100Config(**size, vocab_size=len(tokenizer), max_position_embeddings=40)
        )
    optimizer = torch.optim.AdamW(model.parameters())
    generator = random.Random(0)
    steps = 160
    for step in range(steps):
        texts = [generator.choices(list(GERMAN), k=generator.randint(1, 4)) for _ in range(32)]
        tokenizer.src_lang = "eng_Latn"
        batch = tokenizer([" ".join(text) for text in texts], padding=True, return_tensors="pt")
        tokenizer.src_lang = "deu_Latn"
        german = [" ".join(GERMAN[word] for word in text) for text in texts]
        labels = tokenizer(german, padding=True, return_tensors="pt")["input_ids"]
        labels[labels == tokenizer.pad_token_id] = -100
        model(**batch, labels=labels).loss.backward()
        optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / steps)
        optimizer.step()
        optimizer.zero_grad()
    folder = tmp_path_factory.mktemp("translator")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def masked_batch():
    """Return a batch of 5 examples of unequal length, with right padding and unequal labels."""
    import torch

    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(4, 99, (5, 12), generator=generator)
    lengths = torch.tensor([12, 7, 9, 12, 5])
    attention = (torch.arange(12) < lengths[:, None]).long()
    chosen = (torch.rand(5, 12, generator=generator) < 0.3) & attention.bool()
    chosen[:, 2] = True
    labels = torch.where(chosen, tokens, -100)
    inputs = torch.where(chosen, 99, tokens).masked_fill(attention == 0, 1)
    return {"input_ids": inputs, "attention_mask": attention, "labels": labels}


@pytest.fixture(scope="session")
def multistream_dump() -> Callable[..., bytes]:
    """Return a function that writes a small multistream dump with its index, status and sums.

    Page n is a redirect if n is divisible by 5 and a category page if it is divisible by 7; the
    function returns the XML of all pages.
    """

    def write(folder: Path, wiki: str, date: str, *, pages: int, per_stream: int) -> bytes:
        folder = folder / wiki / date
        folder.mkdir(parents=True)
        header = (
            '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xml:lang="xx">\n'
            f"  <siteinfo>\n    <dbname>{wiki}</dbname>\n"
            "    <base>https://xx.wikipedia.org/wiki/Start</base>\n    <namespaces>\n"
            '      <namespace key="0" case="first-letter" />\n'
            '      <namespace key="10" case="first-letter">Vorlage</namespace>\n'
            '      <namespace key="14" case="first-letter">Kat &amp; Co</namespace>\n'
            "    </namespaces>\n  </siteinfo>\n"
        ).encode()
        rows = [_page(number) for number in range(1, pages + 1)]
        archive, index = bz2.compress(header), ""
        for first in range(0, pages, per_stream):
            for number in range(first + 1, min(first + per_stream, pages) + 1):
                index += f"{len(archive)}:{number + 1000}:{_title(number)}\n"
            archive += bz2.compress("".join(rows[first : first + per_stream]).encode())
        archive += bz2.compress(b"</mediawiki>")
        start = f"{wiki}-{date}-pages-articles-multistream"
        files = {
            f"{start}.xml.bz2": archive,
            f"{start}-index.txt.bz2": bz2.compress(index.encode()),
        }
        sums = {name: hashlib.sha1(content).hexdigest() for name, content in files.items()}
        for name, content in files.items():
            (folder / name).write_bytes(content)
        listed = {n: {"size": len(content), "sha1": sums[n]} for n, content in files.items()}
        jobs = {"articlesmultistreamdump": {"status": "done", "files": listed}}
        (folder / "dumpstatus.json").write_text(json.dumps({"jobs": jobs}))
        lines = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
        (folder / f"{wiki}-{date}-sha1sums.txt").write_text(lines)
        return header + "".join(rows).encode()

    def _title(number: int) -> str:
        return f"Kat & Co:Ort {number}" if number % 7 == 0 else f"Ort: Nummer {number}"

    def _page(number: int) -> str:
        redirect = '    <redirect title="Ort: Nummer 1" />\n' if number % 5 == 0 else ""
        sentences = " ".join(f"Der Ort {number} hat {number + n} Brunnen." for n in range(20))
        return (
            f"  <page>\n    <title>{escape(_title(number))}</title>\n"
            f"    <ns>{14 if number % 7 == 0 else 0}</ns>\n    <id>{number + 1000}</id>\n{redirect}"
            f"    <revision>\n      <id>{number + 9000}</id>\n      <model>wikitext</model>\n"
            f'      <format>text/x-wiki</format>\n      <text bytes="{len(sentences)}"'
            f' xml:space="preserve">{sentences}</text>\n    </revision>\n  </page>\n'
        )

    return write


class EncoderStudy:
    """A tiny study of sentence encoders: in two languages, modules with random weights, and pairs.

    Parameters
    ----------
    folder
        Where everything is written.
    dropout
        Of the source.
    """

    lora: ClassVar = {"rank": 2, "alpha": 4.0, "dropout": 0.1}
    pair_settings: ClassVar = {
        "lr": 0.01,
        "weight_decay": 0.01,
        "warmup": 0.1,
        "schedule": "linear",
        "epochs": 100,
        "max_steps": 7,
        "batch_size": 6,
        "mini_batch": None,
        "max_grad_norm": 1.0,
        "logging_steps": 1,
        "save_steps": 2,
        "max_tokens": 12,
    }
    mlm_settings: ClassVar = {
        "lr": 0.01,
        "weight_decay": 0.01,
        "warmup": 0.1,
        "schedule": "linear",
        "epochs": 100,
        "max_steps": 7,
        "max_minutes": None,
        "batch_size": 8,
        "accumulation": 1,
        "gradient_checkpointing": False,
        "max_grad_norm": 1.0,
        "mask_share": 0.2,
        "whole_words": False,
        "logging_steps": 1,
        "eval_steps": 4,
        "save_steps": 2,
        "patience": None,
        "train_examples": None,
        "valid_examples": 6,
        "report_to": "none",
    }

    def __init__(self, folder: Path, dropout: float = 0.1) -> None:
        from babelscope.models.modular import Modules

        self.folder = folder
        self.source = folder / "source"
        model = tiny_model("xlm-roberta")
        model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = dropout
        model.save_pretrained(self.source)
        self.tokenizer("p", 95).save_pretrained(self.source)
        self.modules = {}
        for number, language in enumerate(("en", "de")):
            home = folder / language
            self._write_modules(home, language, number)
            self.modules[language] = Modules(home / "language", home / "sentence")
        self.pairs = [self.write_pairs("triples", 20, negatives=True, seed=0)]
        self.pairs.append(self.write_pairs("pairs", 9, negatives=False, seed=1))

    def _write_modules(self, home: Path, language: str, number: int) -> None:
        import torch

        from babelscope.models import modular
        from babelscope.models.checksums import checksum
        from babelscope.models.lora import add_lora
        from babelscope.models.sentence_encoders import load_encoder

        network = load_encoder(self.source).network
        words = 50 + 10 * number
        torch.manual_seed(number)
        network.set_input_embeddings(torch.nn.Embedding(words + 5, 32, padding_idx=1))
        add_lora(network, modular.LANGUAGE, seed=number, **self.lora)
        self._randomize(network)
        tokenizer, base = self.tokenizer(language, words), checksum(self.source)
        modular.save_language_module(
            home / "language", network, tokenizer, language=language, base=base
        )
        encoder = modular.build_encoder(self.source, modular.Modules(home / "language"))
        add_lora(encoder.network, modular.SENTENCE, seed=number + 9, **self.lora)
        self._randomize(encoder.network)
        base = checksum(home / "language")
        modular.save_sentence_module(
            home / "sentence", encoder.network, language=language, base=base
        )

    def _randomize(self, network) -> None:
        """Give LoRAs that begin as nothing something to do."""
        import torch

        with torch.no_grad():
            for name, value in network.named_parameters():
                if "lora_B" in name and value.requires_grad:
                    value.normal_(std=0.05)

    def tokenizer(self, language: str, words: int):
        """Return a tokenizer of whole words, with the ids of special tokens as in XLM-R."""
        from transformers import XLMRobertaTokenizer

        special = ["<s>", "<pad>", "</s>", "<unk>"]
        pieces = [*special, *(f"▁{language}{number}" for number in range(words)), "<mask>"]
        return XLMRobertaTokenizer(vocab=[(piece, 0.0) for piece in pieces], model_max_length=60)

    def settings(self, **changes):
        """Return settings of a training on pairs."""
        from babelscope.config import PairTraining

        return PairTraining.model_validate(self.pair_settings | changes)

    def write_pairs(
        self,
        name: str,
        count: int,
        *,
        negatives: bool,
        seed: int,
        languages: tuple[str, ...] = ("en", "de"),
        file: str = "read",
    ) -> Path:
        """Write pairs whose positive has the anchor's words in another order and one more."""
        import numpy as np
        import pandas as pd

        rng = np.random.default_rng(seed)
        contents = [rng.choice(40, size=rng.integers(2, 7), replace=False) for _ in range(count)]
        rows = []
        for language in languages:
            for number, words in enumerate(contents):
                texts = [words, [*words[::-1], number % 40], contents[(number + 5) % count][::-1]]
                said = [" ".join(f"{language}{word}" for word in text) for text in texts]
                rows.append((language, f"r{number}", *said[:2], said[2] if negatives else None))
        columns = ["language", "sent_id", "anchor", "positive", "negative"]
        path = self.folder / name / f"{file}.parquet"
        path.parent.mkdir(exist_ok=True)
        pd.DataFrame(rows, columns=columns).to_parquet(path)
        return path

    def contents(self, name: str | Path) -> dict[str, bytes]:
        """Return the bytes of every file of a folder of the study."""
        folder = self.folder / name
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def history(self, name: str) -> Path:
        """Return where the history of a training is written."""
        return self.folder / f"{name}.parquet"

    def train_sentences(self, name: str = "out", language: str = "de", **options):
        """Train a sentence module into a folder of the study; settings may be changed."""
        from babelscope.training.sentence_encoders import train_encoder

        own = {"kind": "lora", "lora": self.lora, "seed": 1, "version": 1} | options
        changes = {key: own.pop(key) for key in options if key in self.pair_settings}
        return train_encoder(
            self.source,
            self.modules[language].language,
            own.pop("pairs", self.pairs),
            self.folder / name,
            self.history(name),
            language=language,
            settings=self.settings(**changes),
            **self._common(name),
            **own,
        )

    def train_whole(self, name: str = "out", **options):
        """Train one encoder of all languages into a folder of the study."""
        from babelscope.training.sentence_encoders import train_whole_encoder

        codes = {"en": "eng_Latn", "de": "deu_Latn"}
        own = {"languages": codes, "mixed": 1, "seed": 1, "version": 1} | options
        changes = {key: own.pop(key) for key in options if key in self.pair_settings}
        return train_whole_encoder(
            self.source,
            own.pop("pairs", self.pairs),
            self.folder / name,
            self.history(name),
            settings=self.settings(**changes),
            **self._common(name),
            **own,
        )

    def train_alignment(self, name: str = "out", **options):
        """Train an adapter that aligns German with English into a folder of the study."""
        from babelscope.training.alignment import train_alignment_adapter

        own = {"strategy": "both", "seed": 1, "version": 1} | options
        changes = {key: own.pop(key) for key in options if key in self.pair_settings}
        return train_alignment_adapter(
            self.source,
            self.modules["de"],
            self.modules["en"],
            own.pop("pairs", self.pairs),
            self.folder / name,
            self.history(name),
            language="de",
            pivot_language="en",
            adapter={"reduction": 2, "scale": 4.0},
            settings=self.settings(**changes),
            batch_tokens=200,
            **self._common(name),
            **own,
        )

    def write_start(self, language: str = "de", words: int = 60) -> Path:
        """Write the beginning of a language module: a tokenizer, embeddings, and tokens matched."""
        import numpy as np

        from babelscope.io import write_arrays

        folder = self.folder / language / "start"
        self.tokenizer(language, words).save_pretrained(folder)
        matched = np.full(words + 5, -1)
        matched[:4] = range(4)
        matched[-1] = 99
        weight = np.random.default_rng(5).normal(scale=0.3, size=(words + 5, 32))
        write_arrays(
            folder / "embeddings.safetensors",
            {"weight": weight.astype(np.float32), "matched": matched},
        )
        return folder

    def write_windows(self, name: str, count: int, words: int = 60) -> Path:
        """Write windows of 12 tokens with something to learn in them."""
        import numpy as np

        from babelscope.tokenization.packing import write_chunks

        start = np.random.default_rng(count).integers(0, words, (count, 1))
        windows = (start + np.arange(12)) % words + 4
        windows[:, 0], windows[:, -1] = 0, 2
        path = self.folder / f"{name}.arrow"
        write_chunks(path, [windows], 12, words + 5)
        return path

    def adapt(self, name: str = "out", **options):
        """Train a language module into a folder of the study; settings may be changed."""
        from babelscope.config import Training
        from babelscope.training.adaptation import adapt_language

        own = {"kind": "lora", "source": self.source, "seed": 1, "version": 1} | options
        changes = {key: own.pop(key) for key in options if key in self.mlm_settings}
        return adapt_language(
            own.pop("source"),
            own.pop("start", None) or self.write_start(),
            own.pop("train", None) or self.write_windows("train", 21),
            self.write_windows("valid", 9),
            self.folder / name,
            self.history(name),
            language="de",
            lora=self.lora,
            settings=Training.model_validate(self.mlm_settings | changes),
            folder=self.folder / f"{name}.checkpoints",
            **own,
        )

    def _common(self, name: str) -> dict[str, Any]:
        return {"form": {"pooling": "mean"}, "folder": self.folder / f"{name}.checkpoints"}


@pytest.fixture
def encoder_study(tmp_path) -> Callable[..., EncoderStudy]:
    """Return a function that makes a tiny study of sentence encoders; see :class:`EncoderStudy`."""
    return lambda **options: EncoderStudy(tmp_path, **options)


class GeneratorStudy:
    """A tiny study of alignment: a left-to-right model, and samples in two made-up languages.

    The word ``a7`` of one language is ``b7`` of the other, so what alignment should find is known.

    Parameters
    ----------
    folder
        Where everything is written.
    family
        Of the model.
    dropout
        Of the model.
    """

    words: ClassVar = 40
    settings: ClassVar = {
        "lr": 0.005,
        "weight_decay": 0.01,
        "warmup": 0.1,
        "schedule": "cosine",
        "epochs": 100,
        "max_steps": 7,
        "batch_size": 6,
        "mini_batch": None,
        "gradient_checkpointing": False,
        "max_grad_norm": 1.0,
        "logging_steps": 1,
        "eval_steps": 3,
        "save_steps": 2,
        "pooler": "avg-2",
        "temperature": 0.05,
        "hard_negative_weight": 0.5,
        "contrastive_weight": 1.0,
        "instruction_weight": 1.5,
        "max_tokens": 12,
        "block": 40,
        "lora": None,
        "sharded": False,
        "selected_by": None,
    }

    def __init__(self, folder: Path, family: str = "gpt2", dropout: float = 0.1) -> None:
        self.folder = folder
        self.source = folder / "source"
        model = tiny_model(family)
        for key in vars(model.config):
            if key.endswith(("dropout", "pdrop")):
                setattr(model.config, key, dropout)
        model.save_pretrained(self.source)
        self.tokenizer().save_pretrained(self.source)
        self.train = self.write_samples("train", 20, seed=0)
        self.valid = self.write_samples("valid", 9, seed=1)

    def tokenizer(self):
        """Return a tokenizer of whole words, with the ids of special tokens as in the models."""
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        special = ["<s>", "<pad>", "</s>", "<unk>"]
        words = [f"{language}{number}" for language in "ab" for number in range(self.words)]
        words = [*special, ":", *words]
        numbers = {word: number for number, word in enumerate(words)}
        backend = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        return PreTrainedTokenizerFast(
            tokenizer_object=backend,
            model_max_length=60,
            bos_token="<s>",
            pad_token="<pad>",
            eos_token="</s>",
            unk_token="<unk>",
        )

    def write_samples(self, name: str, count: int, *, seed: int) -> Path:
        """Write samples: a sentence and its translation, one of another, and what to answer."""
        import numpy as np

        from babelscope.io import write_jsonl

        rng = np.random.default_rng(seed)
        records = []
        for number in range(count):
            words = rng.choice(self.words, size=rng.integers(3, 9), replace=False)
            one, two = (" ".join(f"{language}{word}" for word in words) for language in "ab")
            other = " ".join(f"b{word}" for word in rng.permutation(words)[:2])
            prompt = f"{one} : "
            record = {"sent0": one, "sent1": two, "clm_text": prompt + two}
            record |= {"clm_prompt_len": len(prompt), "source_lang": "a", "target_lang": "b"}
            record |= {"lang0": "a", "lang1": "b", "corpus": "made", "id": str(number)}
            records.append(record | ({"sent2": other} if number % 2 == 0 else {}))
        path = self.folder / f"{name}.jsonl.zst"
        write_jsonl(path, records)
        return path

    def run(self, name: str = "out", network: str = "aligned-both", **options):
        """Describe an alignment into a folder of the study; settings may be changed."""
        from babelscope.training.generators import GeneratorRun

        changes = {key: options.pop(key) for key in list(options) if key in self.settings}
        given = {"model": str(self.source), "train": str(self.train), "valid": str(self.valid)}
        return GeneratorRun(
            **(given | {"seed": 5, "version": 1} | options),
            network=network,
            output=str(self.folder / name),
            history=str(self.folder / f"{name}.history.parquet"),
            cost=str(self.folder / f"{name}.cost.parquet"),
            checkpoints=str(self.folder / f"{name}.checkpoints"),
            settings=self.settings | changes,
        )

    def align(self, name: str = "out", network: str = "aligned-both", **options):
        """Align the model into a folder of the study, and return the history, wide."""
        from babelscope.io import read_table
        from babelscope.training.generators import align_generator

        run = self.run(name, network, **options)
        align_generator(run)
        table = read_table(run.history)
        return table.pivot(index=["step", "epoch"], columns="measure", values="value").reset_index()

    def weights(self, name: str = "out") -> dict[str, Any]:
        """Return the weights of a model of the study."""
        from babelscope.io import read_arrays

        return read_arrays(self.folder / name / "model.safetensors")


@pytest.fixture(scope="session")
def in_processes() -> Iterator[Callable[..., list[tuple[int, str]]]]:
    """Return a function that lets processes do something of `tests/forking.py`."""
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY / "workflow" / "src"),
        "OMP_NUM_THREADS": "1",
    }
    forking = subprocess.Popen(
        [sys.executable, REPOSITORY / "tests" / "forking.py"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with forking:
        assert forking.stdin is not None
        assert forking.stdout is not None
        commands, answers = forking.stdin, forking.stdout

        def work(name: str, count: int = 2, **arguments) -> list[tuple[int, str]]:
            command = {"work": name, "count": count, "arguments": arguments}
            print(json.dumps(command), file=commands, flush=True)
            return json.loads(answers.readline())

        yield work
        commands.close()


@pytest.fixture(scope="module")
def prefork() -> Iterator[None]:
    """Make Snakemake's scripts forks of one process, which start at once; see `tests/prefork`."""
    home = REPOSITORY / "tests" / "prefork"
    library = str(REPOSITORY / "workflow" / "src")
    with (
        tempfile.TemporaryDirectory() as folder,  # whose name is short, as a socket's must be
        subprocess.Popen(
            [sys.executable, home / "server.py", f"{folder}/socket"],
            env=os.environ
            | {"PYTHONPATH": library, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": f"{folder}/cache"},
            stdin=subprocess.PIPE,  # it ends when this is closed
            stdout=subprocess.PIPE,
        ) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        patch.setenv("PYTHONPATH", str(home))
        patch.setenv("BABELSCOPE_PREFORK", f"{folder}/socket")
        yield


@pytest.fixture
def generator_study(tmp_path) -> Callable[..., GeneratorStudy]:
    """Return a function that makes a tiny study of alignment; see :class:`GeneratorStudy`."""
    return lambda *arguments, **options: GeneratorStudy(tmp_path, *arguments, **options)
