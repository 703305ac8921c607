"""A toy task on tiny models, and searches for tickets in them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import BertForSequenceClassification

from babelscope.config import Task as Section
from babelscope.evaluation.metrics import ACCURACY
from babelscope.io import read_arrays, write_arrays
from babelscope.subnetworks.magnitude import Search
from babelscope.subnetworks.trials import Trial

SETTINGS = {
    "corpus": None,
    "form": "label",
    "max_tokens": 8,
    "train_examples": None,
    "valid_examples": 30,
    "test_examples": 40,
    "eval_batch_size": 16,
    "transfer_steps": None,
    "training": {
        "lr": {"default": 0.01, "mt5": 0.02},
        "weight_decay": 0.01,
        "warmup": 0.25,
        "schedule": "linear",
        "epochs": 2,
        "max_steps": 5,
        "batch_size": 8,
        "accumulation": 1,
        "gradient_checkpointing": False,
        "max_grad_norm": 1.0,
        "logging_steps": 2,
        "save_steps": 100,
    },
}
CLASSES = 3


class Toy:
    """Sort windows by their first token: BERT with a classifier, others by writing the class."""

    name = "toy"
    metric = ACCURACY

    def __init__(self, make_model, family, dropout):
        self.make_model = make_model
        self.family = family
        self.dropout = dropout
        self.batches = []  # the rows of every training batch

    def load_model(self, folder, *, seed):
        model = self.make_model(self.family)
        model.load_state_dict(
            {
                name: torch.from_numpy(value)
                for name, value in read_arrays(f"{folder}/model.safetensors").items()
            },
            strict=False,
        )
        if self.family == "bert":
            body = model.bert.state_dict()
            model.config.num_labels = CLASSES
            torch.manual_seed(seed)
            model = BertForSequenceClassification(model.config).eval()
            model.bert.load_state_dict(body, strict=False)
        for module in model.modules():
            for name in ("p", "dropout", "attention_dropout"):
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, self.dropout)
        return model

    def read(self, path, *, examples, seed):
        return read_arrays(path)["windows"][:examples]

    def batch(self, examples, rows, *, seed, epoch):
        self.batches.append(list(rows))
        inputs = torch.from_numpy(examples[list(rows)])
        return {"input_ids": inputs, "classes": inputs[:, 0] % CLASSES}

    def logits(self, model, batch):
        inputs = batch["input_ids"].to(model.device)
        if self.family == "mt5":
            start = torch.ones_like(inputs[:, :1])
            return model(input_ids=inputs, decoder_input_ids=start).logits[:, 0, :CLASSES]
        return model(input_ids=inputs).logits

    def losses(self, model, batch):
        logits = self.logits(model, batch)
        classes = batch["classes"].to(logits.device)
        loss = torch.nn.functional.cross_entropy(logits, classes, reduction="sum")
        return loss, torch.tensor(len(classes))

    def count(self, model, batch):
        right = self.logits(model, batch).argmax(-1).cpu() == batch["classes"]
        return torch.stack([right, torch.ones_like(right)], dim=1).double()


@pytest.fixture
def make_toy(tmp_path, make_model):
    """Return a function that gives a folder, a toy task and a search of its own for each call."""

    def make(
        name="toy", family="bert", variant="ticket", seed=1, dropout=0.1, training=(), **changes
    ):
        here = tmp_path / name
        weights = {key: value.numpy() for key, value in make_model(family).state_dict().items()}
        write_arrays(here / "model" / "model.safetensors", weights)
        (here / "model" / "config.json").write_text("{}")
        files = {}
        for number, (split, size) in enumerate({"train": 40, "valid": 30, "test": 40}.items()):
            windows = np.random.default_rng(number).integers(4, 100, (size, 8))
            files[split] = str(here / f"{split}.safetensors")
            write_arrays(files[split], {"windows": windows})
        section = SETTINGS | {"training": SETTINGS["training"] | dict(training)}
        toy = Toy(make_model, family, dropout)
        trial = Trial(
            task=toy,
            made_of=[],
            model=str(here / "model"),
            settings=Section.model_validate(section),
            seed=seed,
            examples_seed=3,
            resamples=20,
            version=1,
            device="cpu",
            precision="float32",
        )
        search = Search(
            labels={"model": "tiny", "seed": 1, "task": "toy", "language": "en"},
            variant=variant,
            step=20,
            rounds=3,
            early_step=2,
            pooler=False,
            files=files,
            masks={kept: str(here / "masks" / f"k{kept}.safetensors") for kept in (80, 60, 40)},
            scores=str(here / "scores.parquet"),
            history=str(here / "history.parquet"),
            checkpoints=str(here / ".checkpoints"),
        )
        return SimpleNamespace(folder=here, toy=toy, trial=trial, search=replace(search, **changes))

    return make
