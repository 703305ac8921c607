"""Tiny networks with tokenizers that spell words: every letter is a token, but a few words are."""

from string import ascii_lowercase

import pandas as pd
import pytest
import torch

WORDS = ("rome", "paris", "is", "old", "entail", "ment", "neutral", "contra", "diction", "xnli:")


def make_tokenizer(family: str):
    from transformers import BertTokenizer, T5Tokenizer, XLMRobertaTokenizer

    letters = list(ascii_lowercase)
    if family == "bert":
        pieces = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", *letters, *[f"##{c}" for c in letters]]
        pieces += [*WORDS, ".", *[f"[unused{n}]" for n in range(100)]]
        pieces = [*pieces[:99], "[MASK]"]
        return BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)})
    spelled = [*[f"▁{word}" for word in WORDS], "diction", "▁", ".", ":", *letters]
    if family == "xlm-roberta":
        pieces = ["<s>", "<pad>", "</s>", "<unk>", *spelled]
        pieces += [f"<w{n}>" for n in range(99 - len(pieces))]
        pieces.append("<mask>")
        scores = [-1.0 if len(piece) > 1 else -5.0 for piece in pieces]
        return XLMRobertaTokenizer(vocab=list(zip(pieces, scores, strict=True)))
    sentinels = [f"<extra_id_{n}>" for n in range(20)]
    pieces = ["<pad>", "</s>", "<unk>", *spelled]
    pieces += [f"<w{n}>" for n in range(80 - len(pieces))]
    pieces += sentinels[::-1]
    scores = [-1.0 if len(piece) > 1 else -5.0 for piece in pieces]
    return T5Tokenizer(vocab=list(zip(pieces, scores, strict=True)), extra_ids=20)


@pytest.fixture
def network(tmp_path, make_model):
    """Return a function that saves a family's tiny network and tokenizer, and names the folder."""

    def make(family: str):
        folder = tmp_path / family
        if not folder.exists():
            model = make_model(family)
            if family in ("t5", "mt5"):
                model.config.pad_token_id = model.config.decoder_start_token_id = 0
                model.config.eos_token_id = model.generation_config.eos_token_id = 1
                model.generation_config.pad_token_id = 0
                model.generation_config.decoder_start_token_id = 0
            model.save_pretrained(folder)
            make_tokenizer(family).save_pretrained(folder)
        return folder

    return make


@pytest.fixture
def table(tmp_path):
    """Return a function that writes records as a Parquet file."""

    def write(name: str, records: list[dict]):
        path = tmp_path / f"{name}.parquet"
        pd.DataFrame(records).to_parquet(path)
        return path

    return write


@pytest.fixture
def scramble():
    """Return a function that makes a network's weights large, so that its answers differ."""

    def change(model, seed=0):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for value in model.parameters():
                value.add_(torch.randn(value.shape, generator=generator) * 0.3)
        return model

    return change
