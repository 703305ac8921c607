"""Tickets through the stages that encode and compare, from models and masks that are there."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from babelscope.representations.encoding import encode_corpus
from babelscope.representations.states import StatesFile
from babelscope.subnetworks.masks import WeightMask
from babelscope.subnetworks.matrices import weight_matrices

ROOT = Path(__file__).resolve().parents[2]
SIMILARITY = "results/similarity/demo-xlmr/s1/demo"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [
        *(Path(sys.executable).with_name("snakemake"), "--snakefile", ROOT / "Snakefile"),
        *("--workflow-profile", "none", "--directory", folder, "--cores", "1"),
        *(
            "--config",
            "languages=[en,de,zh]",
            "tickets={languages: [en, de], step: 10, rounds: 5, analysed: [50]}",
        ),
        *("--rerun-triggers", "mtime", "--allowed-rules"),
        *("encode_corpus", "compute_cka", "compute_retrieval", "--"),
        *arguments,
    ]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def word_tokenizer() -> PreTrainedTokenizerFast:
    """Words w4..w98 to their numbers; as in T5 no token stands before the first word."""
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3} | {f"w{i}": i for i in range(4, 99)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 2)]
    )
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


@pytest.fixture
def folder(tmp_path, make_model):
    """Return a folder with an mT5 as the base model, tickets in two of three languages, text."""
    results = tmp_path / "results"
    model = make_model("mt5")
    base = results / "models" / "demo-xlmr" / "base"
    model.save_pretrained(base)
    word_tokenizer().save_pretrained(base)
    generator = np.random.default_rng(0)
    matrices = weight_matrices(model)
    for language in ("en", "de"):
        bits = {
            name: generator.random(tuple(parameter.shape)) < 0.5
            for name, (_, parameter) in matrices.items()
        }
        mask = WeightMask(bits, {name: place for name, (place, _) in matrices.items()})
        home = results / "masks" / "demo-xlmr" / "s1" / "mlm" / language / "ticket"
        home.mkdir(parents=True)
        mask.save(home / "k50.safetensors")
    sentences = [
        [" ".join(f"w{word}" for word in generator.integers(4, 99, 6)) for _ in range(24)]
        for _ in range(3)
    ]
    text = results / "text" / "parallel"
    text.mkdir(parents=True)
    columns = dict(zip(("en", "de", "zh"), sentences, strict=True))
    ids = [f"s{row}" for row in range(24)]
    pd.DataFrame({"sent_id": ids, **columns}).to_parquet(text / "demo.parquet")
    return tmp_path


def test_tickets_are_encoded_and_compared(folder, make_model):
    targets = ("tickets/retrieval", "ticket-own/cka")
    result = snakemake(folder, *(f"{SIMILARITY}/{one}.parquet" for one in targets))
    assert result.returncode == 0, result.stderr[-3000:]

    model = make_model("mt5")
    home = folder / "results" / "masks" / "demo-xlmr" / "s1" / "mlm"
    mask = WeightMask.load(home / "de" / "ticket" / "k50.safetensors")
    weights = dict(model.named_parameters())
    for name, bits in mask.bits.items():
        weights[name].data *= torch.from_numpy(bits)
    sentences = list(pd.read_parquet(folder / "results/text/parallel/demo.parquet")["de"])
    expected = encode_corpus(
        model,
        word_tokenizer(),
        sentences,
        poolings=["mean", "first"],
        batch_tokens=4096,
        max_tokens=64,
        device="cpu",
    ).states
    states = folder / "results" / "states" / "demo-xlmr" / "ticket" / "s1" / "de" / "demo"
    for pooling in ("mean", "first"):
        file = StatesFile(states / "de.safetensors", pooling)
        assert file.shape == (4, 24, 32)  # of the encoder, whose decoder has fewer layers
        for layer in range(4):
            np.testing.assert_allclose(file[layer], expected[pooling][layer], atol=1e-5)

    own = pd.read_parquet(folder / SIMILARITY / "ticket-own" / "cka.parquet")
    assert set(own["pooling"]) == {"mean"}
    sides = ["left_network", "left_subnetwork", "right_network", "right_subnetwork"]
    pairs = own[[*sides, "left_language", "right_language"]].drop_duplicates()
    assert pairs.to_numpy().tolist() == [
        ["base", "full", "ticket", one, one, one] for one in ("en", "de")
    ]
    unbiased = own[own["estimator"] == "unbiased"]
    assert np.allclose(unbiased[unbiased["left_layer"] == 0]["value"], 1)
    assert (unbiased[unbiased["left_layer"] > 0]["value"] < 0.99).all()
    found = pd.read_parquet(folder / SIMILARITY / "tickets" / "retrieval.parquet")
    counts = found.groupby(["pooling", "estimator", "left_layer"]).size()
    assert len(counts) == 2 * 2 * 4
    assert (counts == 1).all()


def test_a_ticket_of_another_model_is_refused(folder, make_model):
    base = folder / "results" / "models" / "demo-xlmr" / "base"
    make_model("xlm-roberta").save_pretrained(base)
    target = "results/states/demo-xlmr/ticket/s1/de/demo"
    result = snakemake(folder, target)
    assert result.returncode != 0
    log = folder / "results/logs/encode_corpus/demo-xlmr/ticket/s1/de/demo.log"
    assert "k50.safetensors is of another architecture" in log.read_text("utf-8")
    assert not (folder / target).exists()


def test_there_is_no_ticket_of_no_language(folder):
    result = snakemake(folder, "results/states/demo-xlmr/ticket/s1/full/demo")
    assert result.returncode != 0
    assert "masks/demo-xlmr/s1/mlm/full/ticket" in result.stderr + result.stdout
