import logging

import numpy as np
import pytest

from babelscope.errors import BabelscopeError
from babelscope.evaluation.comprehension import score_reading
from babelscope.evaluation.embeddings import Embeddings


def scored(embed, table, **options):
    return score_reading(Embeddings(embed), "c", table, **({"pivot": "en"} | options))


def values(results):
    return results.scores.set_index(["language1", "language2", "metric"])["value"].to_dict()


def test_the_answer_with_the_content_of_the_passage_is_found(made_up, reading):
    found = scored(made_up(), reading("de", "en"))
    assert values(found) == {
        ("de", "de", "accuracy"): 100,
        ("en", "en", "accuracy"): 100,
        ("en", "de", "accuracy_forward"): 100,
        ("en", "de", "accuracy_backward"): 100,
        ("en", "de", "accuracy"): 100,
    }
    assert found.examples["gold"].tolist() == [i % 4 for i in range(24)] * 4


def test_an_encoder_that_knows_nothing_is_at_chance(made_up, reading):
    found = scored(made_up(known=False), reading("en", n=200)).scores.iloc[0]
    assert found["low"] < 25 < found["high"]


def test_what_is_embedded_with_an_answer_is_the_question_and_a_space(made_up, reading):
    encoder = made_up()
    scored(encoder, reading("en"))
    sentences = {sentence for texts, _, _ in encoder.calls for sentence in texts}
    assert "why en:c3" in sentences
    assert "en:c3" in sentences
    assert len(sentences) == 24 * 5
    assert len(encoder.calls) == 1


def test_choices_are_the_nearest_answers_one_by_one(made_up, reading):
    encoder, table = made_up(noise=1.5), reading("de", "en")
    found = scored(encoder, table).examples
    forward = found[found["metric"] == "accuracy_forward"].reset_index(drop=True)
    assert (forward["language1"] == "en").all()
    parts = dict(iter(table.groupby("language")))
    for row in range(24):
        passage = encoder([parts["en"]["passage"].iloc[row]], "en", True)[0]
        question, choices = parts["de"][["question", "choices"]].iloc[row]
        answers = encoder([f"{question} {choice}" for choice in choices], "de", True)
        cosines = answers @ passage / np.linalg.norm(answers, axis=1)
        assert forward["prediction"][row] == np.argmax(cosines)
    assert 0 < (forward["prediction"] == forward["gold"]).mean() < 1


def test_the_right_answer_is_that_of_the_questions_language(made_up, reading):
    """The order of the choices may differ between languages."""
    table = reading("de", "en")
    german = table["language"] == "de"
    table.loc[german, "choices"] = table.loc[german, "choices"].map(lambda one: one[::-1])
    table.loc[german, "answer"] = 3 - table.loc[german, "answer"]
    assert set(values(scored(made_up(), table)).values()) == {100}


def test_rotation_scaling_and_order_of_rows_change_nothing(made_up, reading, turn):
    table = reading("de", "en")
    base = values(scored(made_up(noise=1.0), table))
    assert values(scored(made_up(noise=1.0, turn=turn, scale=9.0), table)) == base
    assert values(scored(made_up(noise=1.0), table.sample(frac=1, random_state=4))) == base


def test_languages_are_paired_with_the_pivot_or_all(made_up, reading):
    table = reading("de", "en", "ru")
    pairs = {key[:2] for key in values(scored(made_up(), table)) if key[0] != key[1]}
    assert pairs == {("en", "de"), ("en", "ru")}
    every = {key[:2] for key in values(scored(made_up(), table, all_pairs=True))}
    assert every - pairs == {("de", "ru"), ("de", "de"), ("en", "en"), ("ru", "ru")}


def test_items_of_one_language_are_left_out_and_reported(made_up, reading, caplog):
    caplog.set_level(logging.WARNING)
    table = reading("de", "en")
    found = scored(made_up(), table.drop(table.index[[0, 1, 30]]))
    assert found.scores["n"].tolist() == [22, 23, 21, 21, 21]
    assert "c, en-de: 3 items are in one of the languages only" in caplog.text


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("answer", 4, "item i5 has not 4 answers"),
        ("choices", ["a", "b"], "item i5 has not 4 answers"),
        ("item_id", "i6", "item i6 is there twice"),
    ],
)
def test_a_damaged_item_is_named(made_up, reading, column, value, message):
    table = reading("de")
    table.at[5, column] = value
    with pytest.raises(BabelscopeError, match=f"c, de: The {message}"):
        scored(made_up(), table)


def test_no_common_item_is_refused(made_up, reading):
    table = reading("de", "en")
    table["item_id"] = table["language"] + table["item_id"]
    with pytest.raises(BabelscopeError, match="c, en-de: No item is there in both"):
        scored(made_up(), table)


def test_a_constant_encoder_is_refused(reading):
    with pytest.raises(BabelscopeError, match="c, en: All answers are equally near"):
        scored(lambda sentences, language, aligned: np.ones((len(sentences), 4)), reading("en"))
