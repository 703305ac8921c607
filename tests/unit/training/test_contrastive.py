import math

import pytest
import torch
from torch import nn

from babelscope.training.contrastive import (
    HardNegatives,
    cosine_loss,
    embed_in_parts,
    info_nce,
    ranking_loss,
)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def rows(count, seed, dim=6):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64)


def cosine(x, y):
    return float(x @ y) / math.sqrt(float(x @ x) * float(y @ y))


def by_hand(anchors, candidates, scale, skip=()):
    total = 0.0
    for i, anchor in enumerate(anchors):
        scores = [
            scale * cosine(anchor, candidate)
            for j, candidate in enumerate(candidates)
            if (i, j) not in skip
        ]
        right = scale * cosine(anchor, candidates[i])
        total += math.log(sum(math.exp(score) for score in scores)) - right
    return total / len(anchors)


def test_ranking_loss_is_the_one_written_by_hand():
    a, p, n = rows(5, 0), rows(5, 1), rows(3, 2)
    assert ranking_loss(a, p).item() == pytest.approx(by_hand(a, p, 20.0), rel=1e-12)
    wanted = by_hand(a, torch.cat([p, n]), 7.0)
    assert ranking_loss(a, p, n, scale=7.0).item() == pytest.approx(wanted, rel=1e-12)


def test_info_nce_is_the_one_written_by_hand():
    a, b = rows(6, 0), rows(6, 1)
    there, back = by_hand(a, b, 10.0), by_hand(b, a, 10.0)
    one = info_nce(a, b, temperature=0.1, symmetric=False)
    assert one.item() == pytest.approx(there, rel=1e-12)
    assert info_nce(a, b, temperature=0.1).item() == pytest.approx((there + back) / 2, rel=1e-12)
    assert there != pytest.approx(back, rel=1e-3)


def test_rows_that_say_the_same_are_no_negatives():
    a, b = rows(5, 0), rows(5, 1)
    groups = torch.tensor([7, 3, 7, 1, 2])
    found = info_nce(a, b, temperature=0.1, symmetric=False, groups=groups)
    wanted = by_hand(a, b, 10.0, skip={(0, 2), (2, 0)})
    assert found.item() == pytest.approx(wanted, rel=1e-12)
    # a repeated pair beside its copy: as good as without the copy, up to the mean over rows
    twice = [torch.cat([one, one[:1]]) for one in (a, b)]
    alone = info_nce(a[:1], b[:1], groups=torch.zeros(1))
    pair = info_nce(twice[0][[0, -1]], twice[1][[0, -1]], groups=torch.zeros(2))
    assert alone.item() == pair.item() == 0.0


def with_negatives(a, b, negatives, temperature, groups):
    """Return the loss of one direction by a double loop."""
    total = 0.0
    for i, row in enumerate(a):
        scores = []
        for j, other in enumerate(b):
            if i == j or groups[i] != groups[j]:
                scores.append(cosine(row, other) / temperature)
        for k, other in enumerate(negatives.vectors):
            if negatives.groups[k] != groups[i]:
                weight = negatives.weight if negatives.owners[k] == i else 0.0
                scores.append(cosine(row, other) / temperature + weight)
        total += math.log(sum(math.exp(x) for x in scores)) - cosine(row, b[i]) / temperature
    return total / len(a)


@pytest.mark.parametrize("weight", [0.0, 1.5])
def test_hard_negatives_are_those_of_a_double_loop(weight):
    a, b, hard = rows(5, 0), rows(5, 1), rows(3, 2)
    groups = torch.tensor([7, 3, 7, 1, 2])
    owners, said = (
        torch.tensor([0, 3, 4]),
        torch.tensor([9, 3, 8]),
    )  # the second says what row 1 says
    negatives = HardNegatives(hard, owners, said, weight)
    there, back = (with_negatives(*pair, negatives, 0.1, groups) for pair in ((a, b), (b, a)))
    options = {"temperature": 0.1, "groups": groups, "negatives": negatives}
    one = info_nce(a, b, symmetric=False, **options)
    assert one.item() == pytest.approx(there, rel=1e-12)
    assert info_nce(a, b, **options).item() == pytest.approx((there + back) / 2, rel=1e-12)
    plain = info_nce(a, b, temperature=0.1, groups=groups)
    assert info_nce(a, b, **options).item() > plain.item() + 1e-3


def test_the_gradient_with_hard_negatives_is_that_of_the_double_loop():
    """By finite differences of the loop itself."""
    a, b, hard = (rows(count, seed).requires_grad_() for count, seed in ((4, 0), (4, 1), (2, 2)))
    groups, owners = torch.tensor([0, 1, 0, 2]), torch.tensor([1, 3])
    said, step = torch.tensor([5, 0]), 1e-6

    def loop():
        negatives = HardNegatives(hard, owners, said, 0.7)
        there = with_negatives(a, b, negatives, 0.2, groups)
        return (there + with_negatives(b, a, negatives, 0.2, groups)) / 2

    negatives = HardNegatives(hard, owners, said, 0.7)
    info_nce(a, b, temperature=0.2, groups=groups, negatives=negatives).backward()
    for side in (a, b, hard):
        for place in ((0, 0), (1, 3)):
            with torch.no_grad():
                side[place] += step
                above = loop()
                side[place] -= 2 * step
                below = loop()
                side[place] += step
            assert side.grad[place].item() == pytest.approx((above - below) / (2 * step), abs=1e-7)


def test_hard_negatives_need_groups():
    negatives = HardNegatives(rows(1, 2), torch.tensor([0]), torch.tensor([9]))
    with pytest.raises(ValueError, match="need groups"):
        info_nce(rows(3, 0), rows(3, 1), negatives=negatives)


def test_symmetry_in_languages_scale_and_rotation():
    a, b = rows(5, 0), rows(5, 1)
    rotation = torch.linalg.qr(rows(6, 3))[0]
    for loss in (info_nce, cosine_loss):
        assert loss(a, b).item() == pytest.approx(loss(b, a).item(), rel=1e-12)
    for loss in (info_nce, ranking_loss, cosine_loss):
        found = loss(a, b).item()
        assert loss(3 * a @ rotation, b @ rotation / 7).item() == pytest.approx(found, rel=1e-12)
        order = torch.tensor([3, 1, 4, 0, 2])
        assert loss(a[order], b[order]).item() == pytest.approx(found, rel=1e-12)


def test_values_in_closed_form():
    eye = torch.eye(4, dtype=torch.float64)
    assert cosine_loss(eye, eye).item() == 0
    assert cosine_loss(eye, -eye).item() == 2
    assert cosine_loss(eye, eye.roll(1, 0)).item() == 1
    wanted = math.log(1 + 3 * math.exp(-20))
    assert ranking_loss(eye, eye).item() == pytest.approx(wanted, rel=1e-6)
    assert info_nce(eye, eye).item() == pytest.approx(wanted, rel=1e-6)
    same = torch.ones(4, 3, dtype=torch.float64)
    assert ranking_loss(same, same, same).item() == pytest.approx(math.log(8))


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, b, c: ranking_loss(a, b, c),
        lambda a, b, c: info_nce(a, b, groups=torch.tensor([0, 1, 0, 2])) + c.sum() * 0,
        lambda a, b, c: cosine_loss(a, b) + c.sum() * 0,
    ],
)
def test_gradients_are_finite_differences(loss):
    inputs = [rows(count, seed).requires_grad_() for count, seed in ((4, 0), (4, 1), (2, 2))]
    assert torch.autograd.gradcheck(loss, inputs)


def test_shapes_that_do_not_fit_are_refused():
    for loss in (info_nce, ranking_loss, cosine_loss):
        with pytest.raises(ValueError, match="belong together"):
            loss(rows(3, 0), rows(4, 0))
    with pytest.raises(ValueError, match="groups"):
        info_nce(rows(3, 0), rows(3, 1), groups=torch.zeros(2))


def test_autocast_does_not_round_the_cosines():
    a, b = rows(8, 0).float(), rows(8, 1).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = [ranking_loss(a, b), info_nce(a, b), cosine_loss(a, b)]
    assert [x.item() for x in inside] == [ranking_loss(a, b), info_nce(a, b), cosine_loss(a, b)]


# Against sentence-transformers


class Table(nn.Module):
    """Stands for its encoder: an embedding and dropout, mean-pooled."""

    def __init__(self, dropout=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(50, 8)
        self.mix = nn.Linear(8, 8)
        self.dropout = nn.Dropout(dropout)

    def embed(self, ids, mask):
        states = torch.tanh(self.mix(self.dropout(self.words(ids))))
        return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    def __getitem__(self, place):  # the cached loss looks at a model's modules
        return self

    def forward(self, features):
        vectors = self.embed(features["input_ids"], features["attention_mask"])
        return {"sentence_embedding": vectors}


def columns():
    generator = torch.Generator().manual_seed(1)
    found = []
    for width in (5, 7, 6):
        ids = torch.randint(0, 50, (9, width), generator=generator)
        lengths = torch.randint(1, width + 1, (9, 1), generator=generator)
        found.append((ids, (torch.arange(width) < lengths).long()))
    return found


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("number", [2, 3])
def test_ranking_loss_and_gradient_are_those_of_sentence_transformers(number, cached):
    from sentence_transformers.sentence_transformer import losses

    model, parts = Table().double(), columns()[:number]
    vectors = embed_in_parts(model.embed, parts, cached=cached).split(9)
    ours = ranking_loss(*vectors)
    found = gradients(model, ours)
    features = [{"input_ids": ids, "attention_mask": mask} for ids, mask in parts]
    plain = losses.MultipleNegativesRankingLoss(model)
    large = losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=4)
    for oracle in (plain, large):
        theirs = oracle(features, torch.empty(0))
        assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)
        for one, other in zip(found, gradients(model, theirs), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_cached_gradients_replay_dropout():
    model, parts = Table(dropout=0.5).train(), columns()
    found = []
    for cached in (False, True):
        torch.manual_seed(3)
        loss = ranking_loss(*embed_in_parts(model.embed, parts, cached=cached).split(9))
        found.append((loss.item(), gradients(model, loss), torch.rand(1).item()))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(*pair) for pair in zip(found[0][1], found[1][1], strict=True))
    assert found[0][2] == found[1][2]  # the generator stands where it would


def test_cached_gradients_keep_vectors_alone():
    model, kept = Table(), {}
    for cached in (False, True):
        sizes = []
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x
        )
        with hooks:
            embed_in_parts(model.embed, columns(), cached=cached)
        kept[cached] = sum(sizes)
    inputs = sum(ids.numel() + mask.numel() for ids, mask in columns())
    assert kept[True] == inputs < kept[False] / 5
