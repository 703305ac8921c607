"""A tiny training: 3 layers x 4 heads, windows of 12, two languages, a few steps."""

from dataclasses import replace

import numpy as np
import pytest

from babelscope.tokenization.packing import write_chunks

SETTINGS = {
    "lr": 0.01,
    "weight_decay": 0.01,
    "warmup": 0.2,
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
    "eval_steps": 3,
    "save_steps": 2,
    "patience": None,
    "train_examples": None,
    "valid_examples": 6,
    "report_to": "none",
}
MASKING = ("mask_share", "whole_words")  # what left-to-right models do without
DROPOUTS = {
    "xlm-roberta": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "gpt2": ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
}


@pytest.fixture(scope="session")
def tokenizer():
    """Return a tokenizer with the ids of the tiny XLM-R; every fifth piece continues a word."""
    from transformers import XLMRobertaTokenizer

    pieces = [("" if i % 5 == 0 else "▁") + f"p{i}" for i in range(95)]
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *pieces, "<mask>"]
    return XLMRobertaTokenizer(vocab=[(piece, 0.0) for piece in vocabulary])


@pytest.fixture
def windows():
    """Return a function that makes windows of 12 tokens with something to learn in them."""

    def make(count, seed):
        rng = np.random.default_rng(seed)
        start = rng.integers(4, 90, (count, 1))
        chunks = (start + np.arange(12) * rng.integers(0, 2, (count, 1)) - 4) % 95 + 4
        chunks[:, 0], chunks[:, -1] = 0, 2
        return chunks.astype(np.uint16)

    return make


@pytest.fixture
def run(tmp_path, make_model, tokenizer, windows):
    """Return a function that describes a run; keyword arguments change its settings."""
    from babelscope.training.runs import Run

    def make(name, dropout=0.1, family="xlm-roberta", **changes):
        model = make_model(family)
        for module in model.modules():
            if type(module).__name__ == "Dropout":
                module.p = dropout
        for part in DROPOUTS[family]:
            setattr(model.config, part, dropout)
        start = tmp_path / f"start-{family}-{dropout}"
        model.save_pretrained(start)
        tokenizer.save_pretrained(start)
        files = {}
        for split, count in (("train", 21), ("valid", 9)):
            for seed, language in enumerate(("en", "zh")):
                path = tmp_path / f"{language}-{split}.arrow"
                write_chunks(path, [windows(count + seed, seed)], 12, 100)
                files.setdefault(split, {})[language] = str(path)
        described = Run(
            model=str(start),
            output=str(tmp_path / name / "model"),
            history=str(tmp_path / name / "history.parquet"),
            checkpoints=str(tmp_path / name / "checkpoints"),
            settings={},
            seed=5,
            version=1,
            **files,
        )
        fields = {key: changes.pop(key) for key in list(changes) if hasattr(described, key)}
        settings = SETTINGS | changes
        if family == "gpt2":
            settings = {key: value for key, value in settings.items() if key not in MASKING}
        return replace(described, settings=settings, **fields)

    return make
