"""Weight decay acts on matrices alone, and revives nothing."""

import torch

from babelscope.config import TaskTraining
from babelscope.training.fitting import fit

SETTINGS = TaskTraining(
    lr={"default": 1.0},
    weight_decay=0.5,
    warmup=0.0,
    schedule="constant",
    epochs=100,
    max_steps=3,
    batch_size=2,
    accumulation=1,
    gradient_checkpointing=False,
    max_grad_norm=1.0,
    logging_steps=10,
    save_steps=10,
)


class Flat:
    """A task whose loss is the same whatever the weights."""

    name = "flat"

    def batch(self, examples, rows, *, seed, epoch):
        return {"rows": torch.tensor(rows)}

    def losses(self, model, batch):
        return 0 * sum(value.sum() for value in model.parameters()), torch.tensor(
            len(batch["rows"])
        )


def test_matrices_decay_and_vectors_do_not(make_model):
    model = make_model("bert")
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    name = "bert.encoder.layer.1.output.dense.weight"
    mask = torch.rand(before[name].shape, generator=torch.Generator().manual_seed(1)) < 0.5
    options = {"rate": 0.1, "seed": 1, "device": "cpu", "precision": "float32"}
    fit(model, Flat(), list(range(8)), SETTINGS, masks={name: mask}, **options)
    before[name] *= mask
    for key, value in model.named_parameters():
        factor = (1 - 0.1 * 0.5) ** 3 if value.ndim > 1 else 1
        torch.testing.assert_close(value.detach(), before[key] * factor)
