import numpy as np
import pytest

from babelscope.errors import BabelscopeError
from babelscope.training.data import TrainingStream, masking_of, validation_batches


@pytest.fixture
def masking(tokenizer):
    return masking_of(tokenizer, share=0.2, whole_words=False)


@pytest.fixture
def chunks(windows):
    return {"en": windows(10, 1), "zh": windows(7, 2)}


def whole(batch):
    """Return the windows of a batch before masking."""
    tokens = batch.input_ids.copy()
    tokens.ravel()[batch.positions] = batch.tokens
    return tokens


def test_every_window_once_an_epoch(chunks, masking):
    stream = TrainingStream(chunks, masking, seed=1)
    assert len(stream) == 17
    expected = sorted(map(tuple, np.concatenate(list(chunks.values())).tolist()))
    orders = []
    for epoch in range(2):
        rows = whole(stream.batch(range(17 * epoch, 17 * (epoch + 1)))).tolist()
        assert sorted(map(tuple, rows)) == expected
        orders.append(rows)
    assert orders[0] != orders[1]


def test_a_batch_does_not_depend_on_how_the_stream_is_cut(chunks, masking):
    stream = TrainingStream(chunks, masking, seed=1)
    one = stream.batch(range(10, 26)).input_ids  # over the end of an epoch
    parts = [stream.batch(places).input_ids for places in (range(20, 26), range(10, 20))]
    np.testing.assert_array_equal(one, np.concatenate(parts[::-1]))
    again = TrainingStream(chunks, masking, seed=1).batch(range(10, 26)).input_ids
    np.testing.assert_array_equal(one, again)
    other = TrainingStream(chunks, masking, seed=2).batch(range(10, 26)).input_ids
    assert (one != other).any()


def test_masks_change_with_the_epoch(chunks, masking):
    stream = TrainingStream(chunks, masking, seed=1)
    hidden = []
    for epoch in range(2):
        batch = stream.batch(range(17 * epoch, 17 * (epoch + 1)))
        masks = np.zeros(batch.input_ids.size, bool)
        masks[batch.positions] = True
        rows = zip(map(tuple, whole(batch)), masks.reshape(17, -1).tolist(), strict=True)
        hidden.append(dict(rows))
    assert hidden[0].keys() == hidden[1].keys()
    assert hidden[0] != hidden[1]


def test_a_choice_of_windows(chunks, masking, caplog):
    stream = TrainingStream(chunks, masking, seed=1, examples=8)
    assert len(stream) == 8 + 7
    assert "zh: 7 training windows, 8 were asked" in caplog.text


def test_validation_is_always_the_same(chunks, masking):
    one, two = (
        validation_batches(chunks["en"], masking, examples=5, batch_size=2) for _ in range(2)
    )
    assert [len(batch.input_ids) for batch in one] == [2, 2, 1]
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.input_ids, b.input_ids)
    rows = np.concatenate([whole(batch) for batch in one])
    np.testing.assert_array_equal(rows, chunks["en"][[0, 2, 4, 6, 8]])


def test_left_to_right_every_token_but_the_first_is_predicted(chunks):
    stream = TrainingStream(chunks, None, seed=1)
    batch = stream.batch(range(17))
    assert batch.input_ids.dtype == batch.tokens.dtype == np.int64
    rows, columns = np.divmod(batch.positions.reshape(17, 11), 12)
    assert (rows == np.arange(17)[:, None]).all()
    assert (columns == np.arange(11)).all()
    np.testing.assert_array_equal(batch.tokens.reshape(17, 11), batch.input_ids[:, 1:])
    again = stream.batch(range(17, 34)).input_ids
    assert sorted(map(tuple, again.tolist())) == sorted(map(tuple, batch.input_ids.tolist()))
    validation = validation_batches(chunks["en"], None, examples=5, batch_size=2)
    assert [len(part.tokens) for part in validation] == [22, 22, 11]
    rows = np.concatenate([part.input_ids for part in validation])
    np.testing.assert_array_equal(rows, chunks["en"][[0, 2, 4, 6, 8]])


def test_the_order_of_windows_does_not_depend_on_what_is_predicted(chunks, masking):
    one, other = (TrainingStream(chunks, how, seed=1).batch(range(9)) for how in (None, masking))
    np.testing.assert_array_equal(one.input_ids, whole(other))


def test_a_tokenizer_without_a_mask_token():
    from transformers import GPT2Tokenizer

    with pytest.raises(BabelscopeError, match="no mask token"):
        masking_of(GPT2Tokenizer(), share=0.2, whole_words=False)
