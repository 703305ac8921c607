import pytest
import torch

from babelscope.errors import BabelscopeError
from babelscope.models.loading import load_with_head

LABELS = ("B-LOC", "I-LOC", "O", "B-PER", "I-PER")


def saved(model, folder):
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("head", ["token", "sequence"])
@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "t5", "mt5"])
def test_the_body_is_the_folders_and_the_head_is_the_seeds(make_model, tmp_path, family, head):
    model = make_model(family)
    folder = saved(model, tmp_path / "model")
    torch.manual_seed(7)
    wanted = torch.rand(2)
    torch.manual_seed(7)
    one = load_with_head(folder, head, labels=LABELS, seed=1)
    assert torch.equal(torch.rand(2), wanted)
    torch.manual_seed(8)
    two = load_with_head(folder, head, labels=LABELS, seed=1)
    three = load_with_head(folder, head, labels=LABELS, seed=2)
    first, again, other = (dict(net.named_parameters()) for net in (one, two, three))
    body = dict(one.base_model.named_parameters())
    here = dict(model.base_model.named_parameters())
    new = [name for name in first if not torch.equal(first[name], other[name])]
    assert new
    assert all("classif" in name or "pooler" in name for name in new)
    assert all(torch.equal(first[name], again[name]) for name in first)
    shared = [name for name in body if "pooler" not in name]
    assert len(shared) > 20
    assert all(torch.equal(body[name], here[name]) for name in shared)
    assert not one.training
    assert one.dtype == torch.float32
    assert one.config.num_labels == 5
    assert one.config.id2label[4] == "I-PER"


def test_a_body_that_is_not_whole(make_model, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = saved(make_model("bert"), tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BabelscopeError, match="lacks 1 weights.*layer.1.output.dense.weight"):
        load_with_head(folder, "token", labels=LABELS, seed=1)


def test_a_family_without_such_a_head(make_model, tmp_path):
    folder = saved(make_model("gpt2"), tmp_path / "model")
    with pytest.raises(BabelscopeError, match="gpt2.*these have: bert, roberta, xlm-roberta, t5"):
        load_with_head(folder, "sequence", labels=LABELS, seed=1)


def test_nothing_is_said_of_a_head_that_is_new(make_model, tmp_path, capfd, caplog):
    folder = saved(make_model("bert"), tmp_path / "model")
    caplog.set_level("INFO")
    load_with_head(folder, "token", labels=LABELS, seed=1)
    assert "new weights for classifier.bias, classifier.weight" in caplog.text
    assert "REPORT" not in capfd.readouterr().err
