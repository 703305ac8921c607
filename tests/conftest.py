"""Tiny models and tokenizers that every test can afford; nothing is downloaded."""

import bz2
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
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
