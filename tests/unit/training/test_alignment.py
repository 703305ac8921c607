import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from babelscope.errors import BabelscopeError
from babelscope.models.adapters import ParallelAdapter
from babelscope.models.modular import Modules, build_encoder
from babelscope.models.sentence_encoders import SentenceEncoder
from babelscope.training import alignment
from babelscope.training.contrastive import cosine_loss, ranking_loss

SENTENCES = ["de1 de2 de3", "de4", "de7 de8"]


@pytest.fixture
def study(encoder_study):
    return encoder_study(dropout=0.5)


@pytest.fixture
def batches(monkeypatch):
    """Return each step's rows, its batch and, by number, all texts."""
    found, texts = [], []
    read, batch = alignment.read_pairs, alignment.Alignment.batch

    def listen(*arguments, **options):
        pairs = read(*arguments, **options)
        texts[:] = pairs.texts
        return pairs

    def look(self, examples, rows, **options):
        found.append((rows, batch(self, examples, rows, **options), texts))
        return found[-1][1]

    monkeypatch.setattr(alignment, "read_pairs", listen)
    monkeypatch.setattr(alignment.Alignment, "batch", look)
    return found


@pytest.fixture
def encodings(monkeypatch):
    """Return how many sentences each call of `encode` had."""
    calls = []
    encode = SentenceEncoder.encode

    def look(self, sentences, **options):
        calls.append(len(sentences))
        return encode(self, sentences, **options)

    monkeypatch.setattr(SentenceEncoder, "encode", look)
    return calls


def test_the_pivot_does_not_change(study, batches, encodings):
    """Its folders stay, and its vectors are those of evaluation in every epoch, despite dropout."""
    before = study.contents("en"), study.contents("de"), study.contents("source")
    study.train_alignment(max_steps=36)
    assert (study.contents("en"), study.contents("de"), study.contents("source")) == before
    assert len(encodings) == 1
    pivot = build_encoder(study.source, study.modules["en"], name="en")
    seen = {}
    for rows, batch, texts in batches:
        numbers = rows.texts[(rows.texts >= 0) & (rows.languages == alignment.OTHER)]
        for number, vector in zip(numbers, batch["pivot"], strict=True):
            assert torch.equal(seen.setdefault(texts[number], vector), vector)
    assert len(seen) < sum(len(batch["pivot"]) for _, batch, _ in batches) / 2  # many epochs
    assert all(text.startswith("en") for text in seen)
    vectors = pivot.encode(list(seen), batch_tokens=200)
    np.testing.assert_allclose(vectors, torch.stack(list(seen.values())), atol=1e-5)


def test_nothing_but_the_adapter_moves(study, monkeypatch):
    fit = alignment.fit
    moved = []

    def spy(model, *arguments, **options):
        before = {name: value.clone() for name, value in model.named_parameters()}
        rows = fit(model, *arguments, **options)
        moved.extend(
            name for name, value in model.named_parameters() if (value != before[name]).any()
        )
        return rows

    monkeypatch.setattr(alignment, "fit", spy)
    study.train_alignment()
    assert len(moved) == 3 * 4
    assert all(name.startswith("adapter.") for name in moved)
    target = study.modules["de"]
    aligned = Modules(target.language, target.sentence, study.folder / "out")
    base, off, on = (
        build_encoder(study.source, modules, aligned=use).encode(SENTENCES, batch_tokens=100)
        for modules, use in ((target, False), (aligned, False), (aligned, True))
    )
    assert (base == off).all()
    assert not np.allclose(base, on, atol=1e-3)


@pytest.mark.parametrize("strategy", ["paraphrase", "parallel", "both"])
def test_a_strategy_has_its_batches(study, batches, strategy):
    study.train_alignment(strategy=strategy, max_steps=8)
    wanted = {"paraphrase": [False] * 8, "parallel": [True] * 8, "both": [False, True] * 4}
    assert [rows.parallel for rows, _, _ in batches] == wanted[strategy]
    for rows, batch, texts in batches:
        spoken = [[texts[n][:2] for n in column if n >= 0] for column in rows.texts.T]
        if rows.parallel:
            assert {*spoken[0]} == {"de"}
            assert {*spoken[1]} == {"en"}
            assert set(batch) == {"ids 0", "mask 0", "pivot", "anchor", "translation"}
            for anchor, positive, _ in rows.texts:
                assert texts[anchor].replace("de", "en") == texts[positive]
        else:
            assert all(one != other for one, other in zip(*spoken[:2], strict=True))


def test_paraphrases_are_sought_in_both_directions(study, batches):
    """Anchors, candidates and hard negatives are in either language within a batch."""
    study.train_alignment(strategy="paraphrase", max_steps=30)
    seen = set()
    for rows, batch, texts in batches:
        spoken = [{texts[n][:2] for n in column if n >= 0} for column in rows.texts.T]
        assert len(batch["negative"]) == (rows.texts[:, 2] >= 0).sum()
        seen |= {(place, len(languages)) for place, languages in enumerate(spoken)}
    assert {(place, 2) for place in range(3)} <= seen
    anchors = np.concatenate([rows.languages[:, 0] for rows, _, _ in batches])
    assert 0.35 < anchors.mean() < 0.65


def test_translations_are_of_all_texts_once(study, batches):
    study.train_alignment(strategy="parallel", max_steps=40)
    texts = batches[0][2]
    per_epoch = {text for text in texts if text.startswith("de")}
    assert {
        texts[rows.texts[i, 0]] for rows, _, _ in batches for i in range(len(rows))
    } == per_epoch


def test_alignment_brings_translations_together(encoder_study):
    study = encoder_study(dropout=0.0)
    history = study.train_alignment(strategy="parallel", max_steps=60, lr=0.01)
    target = study.modules["de"]
    aligned = Modules(target.language, target.sentence, study.folder / "out")
    english = build_encoder(study.source, study.modules["en"])
    there = torch.tensor(
        english.encode([text.replace("de", "en") for text in SENTENCES], batch_tokens=100)
    )
    off, on = (
        cosine_similarity(
            torch.tensor(
                build_encoder(study.source, aligned, aligned=use).encode(SENTENCES, batch_tokens=99)
            ),
            there,
        ).mean()
        for use in (False, True)
    )
    assert on > off + 0.1
    assert history.loss.iloc[-1] < history.loss[0] / 2


@pytest.mark.parametrize("strategy", ["paraphrase", "parallel"])
def test_the_first_step_is_that_of_the_two_encoders(encoder_study, batches, strategy):
    """By tokenizers, networks and losses alone; gradients come from the target's texts."""
    study = encoder_study(dropout=0.0)
    history = study.train_alignment(strategy=strategy, max_steps=1)
    rows, _, texts = batches[0]
    german, english = (build_encoder(study.source, study.modules[one]) for one in ("de", "en"))
    german.adapter = ParallelAdapter(german.network, seed=1, reduction=2, scale=4.0)

    def embed(text):
        encoder = german if text.startswith("de") else english
        return encoder(**encoder.batch([text]))[0]

    said = [[embed(texts[n]) for n in column if n >= 0] for column in rows.texts.T]
    there = [torch.stack(column) for column in said if column]
    loss = (ranking_loss if strategy == "paraphrase" else cosine_loss)(*there)
    assert history.loss[0] == pytest.approx(loss.item(), rel=1e-5)
    gradients = torch.autograd.grad(loss, [*german.adapter.parameters()])
    norm = torch.stack([one.norm() for one in gradients]).norm()
    assert history.gradient_norm[0] == pytest.approx(norm.item(), rel=1e-4)


def test_a_killed_training_embeds_the_pivot_once(study, encodings, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(alignment, "ParallelAdapter", None)
        with pytest.raises(TypeError):
            study.train_alignment()
    assert len(encodings) == 1
    study.train_alignment()
    assert len(encodings) == 1
    study.train_alignment("again", pairs=study.pairs[:1])
    assert len(encodings) == 2
    assert not (study.folder / "out.checkpoints").exists()


def test_a_changed_pivot_is_embedded_anew(study, encodings, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(alignment, "ParallelAdapter", None)
        with pytest.raises(TypeError):
            study.train_alignment()
    study.train_sentences("en/sentence", language="en", seed=7)
    study.train_alignment()
    assert len(encodings) == 2


def test_large_batches_by_parts_train_the_same(encoder_study):
    study = encoder_study(dropout=0.0)
    one, two = (
        study.train_alignment(f"{mini_batch}", mini_batch=mini_batch) for mini_batch in (None, 2)
    )
    for column in ("loss", "gradient_norm"):
        np.testing.assert_allclose(one[column], two[column], rtol=1e-4)


def test_one_seed_gives_one_adapter(study):
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        study.train_alignment(name, seed=seed, max_steps=3)
    one, two, three = map(study.contents, ("one", "two", "three"))
    assert one == two
    assert one["alignment.safetensors"] != three["alignment.safetensors"]


def test_unequal_rows_are_refused(study):
    options = {"negatives": True, "seed": 3}
    pairs = [
        study.write_pairs("odd", 5, languages=("en",), **options),
        study.write_pairs("odd", 4, languages=("de",), file="de", **options),
    ]
    with pytest.raises(BabelscopeError, match="odd has 4 rows in de, 5 in en"):
        study.train_alignment(pairs=pairs)
    with pytest.raises(BabelscopeError, match="no pairs in de in odd"):
        study.train_alignment(pairs=pairs[:1])


def test_a_loss_that_is_not_finite_names_language_and_data_set(study):
    message = "alignment of de on triples, parallel is not finite at step 2"
    with pytest.raises(BabelscopeError, match=message):
        study.train_alignment(lr=1e38, warmup=0.0)
