import numpy as np
import pytest

from babelscope.errors import BabelscopeError
from babelscope.evaluation.embeddings import Embeddings
from babelscope.evaluation.structure import score_structure
from babelscope.representations.isomorphism import relational_similarity


def scored(embed, table, **options):
    sentences = {language: list(table[language]) for language in table.columns[1:]}
    options = {"pivot": "en", "blocks": 10} | options
    return score_structure(Embeddings(embed), "c", sentences, **options).scores


def test_rsim_is_that_of_the_vectors_of_either_setting(made_up, parallel):
    encoder, table = made_up(noise=0.8), parallel("de", "en")
    found = scored(encoder, table)
    assert found["setting"].tolist() == ["monolingual", "crosslingual"]
    for aligned, value in zip((False, True), found["value"], strict=True):
        sides = [encoder(table[language], language, aligned) for language in ("en", "de")]
        assert value == pytest.approx(relational_similarity(*sides), abs=1e-6)
    assert found["value"].nunique() == 2
    assert (found["low"] < found["value"]).all()
    assert (found["value"] < found["high"]).all()
    assert (found["n"] == 40).all()


def test_languages_that_differ_by_a_rotation_are_the_same_space(made_up, parallel, turn):
    encoders = {"en": made_up(), "de": made_up(turn=turn, scale=5.0)}

    def embed(sentences, language, aligned):
        return encoders[language](sentences, language, aligned)

    assert scored(embed, parallel("de", "en"))["value"].to_numpy() == pytest.approx(1)


def test_unrelated_languages_have_an_interval_that_holds_zero(made_up, parallel):
    found = scored(made_up(known=False), parallel("de", "en", n=200)).iloc[0]
    assert found["low"] < 0 < found["high"]


def test_pairs_are_those_with_the_pivot_or_all(made_up, parallel):
    table = parallel("ru", "de", "en")
    pairs = scored(made_up(noise=1.0), table)[["language1", "language2"]]
    assert set(map(tuple, pairs.to_numpy())) == {("en", "ru"), ("en", "de")}
    pairs = scored(made_up(noise=1.0), table, all_pairs=True)[["language1", "language2"]]
    assert set(map(tuple, pairs.to_numpy())) == {("en", "ru"), ("en", "de"), ("de", "ru")}


def test_a_constant_language_is_named(made_up, parallel):
    def embed(sentences, language, aligned):
        if language == "de":
            return np.ones((len(sentences), 4))
        return made_up()(sentences, language, aligned)

    with pytest.raises(BabelscopeError, match="c, de: All sentences are equally similar"):
        scored(embed, parallel("de", "en"))
