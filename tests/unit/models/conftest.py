"""A tokenizer for the tiny models, folders that hold both, and sentences it knows."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def word_tokenizer(words):
    """Return a tokenizer of whole words, its special tokens as in the tiny models."""
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *words, "<mask>"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = ["bos", "pad", "eos", "unk", "cls", "sep", "mask"]
    tokens = [*SPECIAL, "<s>", "</s>", "<mask>"]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{f"{name}_token": token for name, token in zip(names, tokens, strict=True)},
    )


@pytest.fixture(scope="session")
def make_tokenizer():
    """Return `word_tokenizer`."""
    return word_tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    """Return a tokenizer of 100 tokens; the words are w0 to w94."""
    return word_tokenizer([f"w{number}" for number in range(95)])


@pytest.fixture(scope="session")
def sentences():
    """Return sentences of unequal length, one of them longer than the tiny models read."""
    lengths = [3, 1, 12, 5, 5, 90, 2, 7]
    return [
        " ".join(f"w{(7 * row + 11 * place) % 95}" for place in range(length))
        for row, length in enumerate(lengths)
    ]


@pytest.fixture(scope="session")
def folder_of(make_model, tokenizer, tmp_path_factory):
    """Return a function that gives a folder with a tiny model, under its head, and tokenizer."""
    made = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            make_model(family).save_pretrained(made[family])
            tokenizer.save_pretrained(made[family])
        return made[family]

    return folder


@pytest.fixture
def disturb():
    """Return a function that moves the weights it is given away from where they are."""

    def move(parameters, *, by=0.1, seed=0):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in parameters:
                parameter += by * torch.randn(parameter.shape, generator=generator)

    return move
