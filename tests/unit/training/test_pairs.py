import numpy as np
import pandas as pd
import pytest
import torch

from babelscope.config import PairTraining
from babelscope.errors import BabelscopeError
from babelscope.training.pairs import (
    Stream,
    Tokens,
    Turns,
    mixing,
    pack,
    read_pairs,
    speaking,
    text_batch,
    vectors_of,
)

SETTINGS = {
    "lr": 0.01,
    "weight_decay": 0.0,
    "warmup": 0.0,
    "schedule": "constant",
    "epochs": 1,
    "max_steps": None,
    "batch_size": 4,
    "mini_batch": None,
    "max_grad_norm": 1.0,
    "logging_steps": 1,
    "save_steps": 100,
    "max_tokens": 8,
}


def settings(**changes):
    return PairTraining.model_validate(SETTINGS | changes)


def table(language, rows):
    return pd.DataFrame(
        [(f"r{number}", *texts) for number, texts in enumerate(rows)],
        columns=["sent_id", "anchor", "positive", "negative"],
    ).assign(language=language)


@pytest.fixture
def write(tmp_path):
    """Return a function that writes the pairs of a data set and returns the file."""

    def write(dataset, *tables, name="read"):
        path = tmp_path / dataset / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        pd.concat(tables).to_parquet(path)
        return path

    return write


def numbered(count, triples=True, language=0):
    """Return texts of one language by number, none of which says the same as another."""
    texts = np.arange(3 * count).reshape(count, 3) + 3 * count * language
    return texts if triples else np.where([True, True, False], texts, -1)


def stream(texts, size=4, seed=1, draw=None, name="a/de"):
    texts = texts if texts.ndim == 3 else texts[None]
    return Stream(name, texts, draw or speaking(0, 0), size=size, seed=seed)


def batches(one, count):
    return [one.batch(number)[1].texts for number in range(count)]


def conflicts(batch):
    """Count pairs of rows that say the same, one row at a time."""
    found = 0
    for i, left in enumerate(batch.tolist()):
        for right in batch.tolist()[i + 1 :]:
            found += bool({*left[:2]} & {*right[:2]})
            found += left[2] in right[:2] or right[2] in left[:2]
    return found


# Reading


def test_pairs_are_read_as_they_stand(write):
    de = [("a", "b", "c"), ("d", "a", None)]
    ru = [("я", "b", "в"), ("г", "я", None)]
    found = read_pairs([write("x", table("de", de), table("ru", ru))], ["de", "ru"], aligned=True)
    (pairs,) = found.sets
    assert (pairs.name, pairs.languages) == ("x", ["de", "ru"])
    texts = [[[found.texts[n] if n >= 0 else None for n in row] for row in language]
             for language in pairs.texts]  # fmt: skip
    assert texts == [[list(row) for row in rows] for rows in (de, ru)]
    said = {
        language: found.texts[some.start : some.stop] for language, some in found.spoken.items()
    }
    assert {language: sorted(some) for language, some in said.items()} == {
        "de": ["a", "b", "c", "d"],
        "ru": ["b", "в", "г", "я"],
    }
    assert len(found.texts) == 8


def test_data_sets_may_lack_languages_unless_they_are_aligned(write):
    rows = [("a", "b", None)]
    files = [
        write("x", table("de", rows), table("tr", rows)),
        write("y", table("de", rows).drop(columns="language"), name="de"),
        write("y", table("ru", rows), name="ru"),
    ]
    found = read_pairs(files, ["de", "ru"])
    assert [(one.name, one.languages) for one in found.sets] == [
        ("x", ["de"]),
        ("y", ["de"]),
        ("y", ["ru"]),
    ]
    with pytest.raises(BabelscopeError, match="no pairs in ru in x"):
        read_pairs(files, ["de", "ru"], aligned=True)
    with pytest.raises(BabelscopeError, match="no pairs in sw"):
        read_pairs(files, ["de", "sw"])


def test_languages_come_in_the_order_that_was_asked_for(write):
    files = [write("x", table(one, [(one, "b", None)]), name=one) for one in ("de", "ru")]
    (pairs,) = read_pairs(files, ["ru", "de"], aligned=True).sets
    assert pairs.languages == ["ru", "de"]
    found = read_pairs(files, ["ru", "de"])
    assert [found.texts[one.texts[0, 0, 0]] for one in found.sets] == ["ru", "de"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ([("a", "b", None)], "x has 2 rows in de, 1 in ru"),
        ([("a", "b", None), ("c", "d", "e")], "x: row r1 has a negative in de or ru only"),
        ([("a", "b", None), ("c", " ", None)], "x, ru: row r1 has an empty positive"),
        ([("a", "b", None), (None, "d", None)], "x, ru: row r1 has an empty anchor"),
        ([("a", "b", None), ("c", "d", "")], "x, ru: row r1 has an empty negative"),
    ],
)
def test_pairs_that_do_not_fit_together_are_refused(write, other, message):
    file = write("x", table("de", [("a", "b", None), ("c", "d", None)]), table("ru", other))
    with pytest.raises(BabelscopeError, match=message):
        read_pairs([file], ["de", "ru"], aligned=True)


def test_rows_of_another_content_are_refused(write):
    de = table("de", [("a", "b", None), ("c", "d", None)])
    file = write("x", de, de.assign(language="ru", sent_id=["r0", "r7"]))
    with pytest.raises(BabelscopeError, match="x: row 2 is r1 in de, r7 in ru"):
        read_pairs([file], ["de", "ru"], aligned=True)
    with pytest.raises(BabelscopeError, match=r"read\.parquet has no column negative"):
        read_pairs([write("z", de.drop(columns="negative"))], ["de"])


# Batches


def test_every_row_is_used_once_an_epoch():
    one = stream(numbered(10))
    for epoch in range(3):
        found = np.concatenate(batches(one, 9)[3 * epoch : 3 * epoch + 3])
        assert sorted(found[:, 0] // 3) == list(range(10))
    orders = [one.epoch(epoch)[0].tolist() for epoch in range(3)]
    assert orders[0] != orders[1] != orders[2]


def test_batches_are_a_function_of_seed_epoch_and_name():
    one = stream(numbered(10), draw=mixing(1, 1))
    forth = [one.batch(number)[1].texts.tolist() for number in range(7)]
    again = stream(numbered(10), draw=mixing(1, 1))
    back = [again.batch(number)[1].texts.tolist() for number in reversed(range(7))]
    assert forth == back[::-1]
    assert one.batch(0)[0] == 0
    assert one.batch(6)[0] == 2
    for other in (stream(numbered(10), seed=2), stream(numbered(10), name="a/ru")):
        assert other.batch(0)[1].texts.tolist() != forth[0]


def test_a_data_set_smaller_than_a_batch_is_one_smaller_batch():
    one = stream(numbered(3), size=64)
    for number in range(4):
        epoch, rows = one.batch(number)
        assert epoch == number
        assert sorted(rows.texts[:, 0]) == [0, 3, 6]
    assert len(one) == 1


def test_nothing_is_said_twice_in_a_batch():
    rng = np.random.default_rng(0)
    texts = rng.integers(0, 60, (200, 3))
    texts[rng.random(200) < 0.3, 2] = -1
    one = stream(texts, size=8)
    for epoch in range(2):
        packed = one.epoch(epoch)
        assert sorted(np.concatenate(packed)) == list(range(200))
        assert max(map(len, packed)) == 8
        kept = one.texts[0]
        assert not any(conflicts(kept[rows]) for rows in packed)
        assert not (kept[:, 2:] == kept[:, :2]).any()
    assert any(conflicts(texts[at : at + 8]) for at in range(0, 200, 8))  # by chance it would be


def test_negatives_may_be_shared():
    texts = numbered(8)
    texts[:, 2] = 99
    assert [len(rows) for rows in pack(texts, np.arange(8), 4)] == [4, 4]


def test_a_text_that_is_everywhere_does_not_take_the_square_of_the_time():
    texts = numbered(20000, triples=False)
    texts[:, 0] = 7
    assert len(pack(texts, np.arange(20000), 4)) == 20000


def test_a_negative_that_says_what_its_positive_says_is_left_out(caplog):
    texts = numbered(4)
    texts[1, 2] = texts[1, 1]
    texts[2, 2] = texts[2, 0]
    rows = np.concatenate(batches(stream(texts), 1))
    assert "a/de: 2 negatives are no negatives" in caplog.text
    assert sorted(rows[:, 2] >= 0) == [False, False, True, True]


def test_monolingual_batches_keep_to_their_language():
    texts = np.stack([numbered(6, language=language) for language in range(3)])
    for language in range(3):
        one = stream(texts, draw=speaking(language, language))
        assert {int(n) // 18 for batch in batches(one, 4) for n in batch.ravel()} == {language}


def test_the_pivot_answers_the_target():
    texts = np.stack([numbered(6, language=language) for language in range(2)])
    found = np.concatenate(batches(stream(texts, draw=speaking(0, 1)), 2))
    assert set(found[:, 0] // 18) == {0}
    assert set(found[:, 1:].ravel() // 18) == {1}
    assert (found[:, 1] - 18 == found[:, 0] + 1).all()  # of the same row


def test_mixed_batches_draw_from_some_languages():
    count, languages = 40, 9
    texts = np.stack([numbered(count, language=language) for language in range(languages)])
    one = stream(texts, size=40, draw=mixing(languages, 6))
    seen = []
    for batch in batches(one, 12):
        spoken = batch // (3 * count)
        rows = batch % (3 * count)
        assert (rows[:, 1:] - rows[:, :1] == [1, 2]).all()  # whatever the languages, the same row
        assert len(np.unique(spoken)) == 6
        assert all(len(set(row)) == 3 for row in spoken.tolist())  # as published
        seen.append(frozenset(spoken.ravel().tolist()))
    assert len(set(seen)) > 1
    assert frozenset.union(*seen) == frozenset(range(languages))


@pytest.mark.parametrize("most", [1, 2])
def test_in_two_languages_anchor_and_positive_differ(most):
    texts = np.stack([numbered(40, language=language) for language in range(9)])
    for batch in batches(stream(texts, size=40, draw=mixing(9, most)), 12):
        spoken = batch // 120
        assert len(np.unique(spoken)) == most
        assert ((spoken[:, 0] != spoken[:, 1]) == (most == 2)).all()
        if most == 2:
            assert len(np.unique(spoken[:, 0])) == 2  # in either direction
            assert 0.1 < (spoken[:, 2] == spoken[:, 0]).mean() < 0.9


def test_translations_of_each_other_are_no_negatives():
    """Two rows that are equal in one language only, and drawn in the other."""
    texts = np.stack([numbered(8, language=language) for language in range(2)])
    texts[0, 5, 0] = texts[0, 2, 0]
    one = stream(texts, size=4, draw=mixing(2, 2))
    for epoch in range(20):
        for rows in one.epoch(epoch):
            assert not {2, 5} <= set(rows.tolist())


# Turns


def test_data_sets_take_turns_and_small_ones_begin_anew():
    large, small = stream(numbered(12), name="l"), stream(numbered(2) + 1000, name="s")
    order = Turns([[large, small]], settings(epochs=2))
    assert order.steps == 2 * (3 + 1)
    found = [order.parts(step)[0] for step in range(order.steps)]
    assert [len(rows) for _, rows in found] == [4, 2] * 4
    assert [epoch for epoch, _ in found] == [0, 0, 0, 1, 0, 2, 1, 3]
    assert order.epochs(order.steps) == 2
    assert Turns([[large, small]], settings(epochs=2, max_steps=3)).steps == 3


def test_kinds_of_batches_alternate():
    paraphrases = [stream(numbered(8), name=name) for name in "ab"]
    parallel = Stream("p", numbered(9)[None], speaking(0, 0), size=4, seed=0, parallel=True)
    order = Turns([paraphrases, [parallel]], settings())
    kinds = [order.parts(step)[0][1].parallel for step in range(6)]
    assert kinds == [False, True] * 3
    assert order.parts(2)[0][1].texts.tolist() == paraphrases[1].batch(0)[1].texts.tolist()


# Tokens


class Encoder(torch.nn.Module):
    """Stands for a sentence encoder: the mean of the embeddings."""

    prefix = ""
    max_tokens = 100

    def __init__(self, tokenizer):
        super().__init__()
        torch.manual_seed(0)
        self.tokenizer = tokenizer
        self.words = torch.nn.Embedding(100, 6)
        self.calls = []

    def forward(self, ids, mask):
        self.calls.append(tuple(ids.shape))
        return (self.words(ids) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


TEXTS = ["p1 p2 p3", "p5", "p6 p7", "", "p8 p9 p10 p11 p12 p13 p14 p15", "p16 p17"]


def test_tokens_are_those_of_the_tokenizer(tokenizer, caplog):
    encoder = Encoder(tokenizer)
    encoder.prefix = "p20 "
    tokens = Tokens(encoder, TEXTS, np.array([0, 5, 4, 0, -1, 2]), 8)
    assert "1 of 4 texts cut to 8 tokens" in caplog.text
    numbers = np.array([5, 4, 0, 2, 4])
    (part,), places = tokens.parts(numbers, 10)
    wanted = tokenizer(
        [encoder.prefix + TEXTS[number] for number in numbers],
        padding=True,
        truncation=True,
        max_length=8,
        return_tensors="pt",
    )
    assert torch.equal(part[0][places], wanted["input_ids"])
    assert torch.equal(part[1][places], wanted["attention_mask"])


def test_long_texts_go_with_long_ones(tokenizer):
    tokens = Tokens(Encoder(tokenizer), TEXTS, np.arange(6), 50)
    parts, places = tokens.parts(np.array([0, 1, 2, 4, 5, 1]), 2)
    assert [tuple(ids.shape) for ids, _ in parts] == [(2, 12), (2, 4), (2, 4)]
    assert sorted(places) == list(range(6))


def test_short_texts_are_not_padded_to_long_ones(tokenizer):
    texts = [" ".join(["p1"] * words) for words in [30] * 3 + [10] * 9 + [9] * 9 + [2] * 9]
    tokens = Tokens(Encoder(tokenizer), texts, np.arange(30), 50)
    parts, places = tokens.parts(np.arange(30)[::-1], 12)
    assert [tuple(ids.shape) for ids, _ in parts] == [(8, 32), (12, 12), (8, 11), (2, 4)]
    lengths = torch.cat([mask.sum(1) for _, mask in parts])[places]
    assert lengths.tolist() == [len(text.split()) + 2 for text in texts][::-1]


@pytest.mark.parametrize("mini_batch", [None, 2])
def test_vectors_come_back_in_their_columns(tokenizer, mini_batch):
    encoder = Encoder(tokenizer)
    tokens = Tokens(encoder, TEXTS, np.arange(6), 50)
    chosen = settings(mini_batch=mini_batch)
    columns = {"anchor": np.array([0, 1, 2]), "positive": np.array([4, 5, 0])}
    batch = text_batch(tokens, columns, chosen)
    vectors = vectors_of(encoder, batch, chosen)
    assert max(rows for rows, _ in encoder.calls) == (mini_batch or 4)
    for name, numbers in columns.items():
        wanted = tokenizer([TEXTS[n] for n in numbers], padding=True, return_tensors="pt")
        alone = encoder(wanted["input_ids"], wanted["attention_mask"])
        torch.testing.assert_close(vectors[batch[name]], alone)
