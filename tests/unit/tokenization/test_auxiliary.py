import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from babelscope.errors import BabelscopeError
from babelscope.tokenization import auxiliary
from babelscope.tokenization.auxiliary import auxiliary_vectors

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
TOPICS = [
    ["river", "sea", "lake", "ship", "fish", "wave", "sand", "port"],
    ["salt", "iron", "gold", "zinc", "lead", "mine", "ore", "coal"],
]
WORDS = [*TOPICS[0], *TOPICS[1], "once", "the", "a\u2028b", "d\u3000e"]
SOURCES = str(Path(auxiliary.__file__).parents[2])
SETTINGS = {"dimension": 12, "epochs": 6, "min_count": 2, "seed": 1}


@pytest.fixture(autouse=True)
def _few_buckets(monkeypatch):
    monkeypatch.setattr(auxiliary, "BUCKETS", 500)


def word_tokenizer():
    """Tokens are what spaces separate, so that some may hold other kinds of spaces."""
    vocab = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    names = ("bos_token", "pad_token", "eos_token", "unk_token", "mask_token")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, **dict(zip(names, SPECIAL, strict=True))
    )


def sentences(n=600):
    rng = random.Random(4)
    for i in range(n):
        yield " ".join(["the", *rng.choices(TOPICS[i % 2], k=8)])


def digest(vectors):
    parts = (token.encode() + vector.tobytes() for token, vector in sorted(vectors.items()))
    return hashlib.sha256(b"".join(parts)).hexdigest()


def cosine(vectors, one, other):
    one, other = vectors[one], vectors[other]
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


def test_tokens_used_alike_get_vectors_alike():
    vectors = auxiliary_vectors(word_tokenizer(), sentences(3000), **SETTINGS | {"epochs": 30})
    assert set(vectors) == {*TOPICS[0], *TOPICS[1], "the"}
    assert {(vector.shape, vector.dtype) for vector in vectors.values()} == {((12,), np.dtype("f"))}
    for topic, other in (TOPICS, TOPICS[::-1]):
        within = min(cosine(vectors, topic[0], word) for word in topic[1:])
        across = max(cosine(vectors, topic[0], word) for word in other)
        assert within > across + 0.1


def test_the_text_is_read_once_and_a_batch_at_a_time(monkeypatch):
    tokenizer = word_tokenizer()
    monkeypatch.setattr(auxiliary, "BATCH", 7)
    sizes = []
    plain = type(tokenizer).__call__
    monkeypatch.setattr(
        type(tokenizer),
        "__call__",
        lambda self, texts, **options: sizes.append(len(texts)) or plain(self, texts, **options),
    )
    one = auxiliary_vectors(tokenizer, sentences(100), **SETTINGS)
    assert (max(sizes), sum(sizes)) == (7, 100)
    monkeypatch.undo()
    monkeypatch.setattr(auxiliary, "BUCKETS", 500)
    assert digest(one) == digest(auxiliary_vectors(tokenizer, sentences(100), **SETTINGS))


def test_long_documents_lose_nothing(monkeypatch):
    monkeypatch.setattr(auxiliary, "SENTENCE", 5)
    text = " ".join(["river"] * 11 + ["sea"] * 3)
    settings = SETTINGS | {"min_count": 3}
    assert set(auxiliary_vectors(word_tokenizer(), [text], **settings)) == {"river", "sea"}
    settings = SETTINGS | {"min_count": 4}
    assert set(auxiliary_vectors(word_tokenizer(), [text], **settings)) == {"river"}


def test_rare_tokens_get_no_vector():
    texts = [*sentences(50), "once", "sea once"]
    one = auxiliary_vectors(word_tokenizer(), texts, **SETTINGS | {"min_count": 3})
    other = auxiliary_vectors(word_tokenizer(), texts, **SETTINGS)
    assert set(other) - set(one) == {"once"}


def test_special_tokens_get_no_vector():
    texts = ["river <mask> sea </s> unknown words <pad>"] * 50
    assert set(auxiliary_vectors(word_tokenizer(), texts, **SETTINGS)) == {"river", "sea"}


def test_spaces_in_a_token_do_not_cut_it():
    texts = ["the a\u2028b river d\u3000e"] * 20
    vectors = auxiliary_vectors(word_tokenizer(), texts, **SETTINGS)
    assert set(vectors) == {"the", "a\u2028b", "river", "d\u3000e"}


def test_the_same_seed_gives_the_same_vectors_and_another_does_not():
    one, two = (auxiliary_vectors(word_tokenizer(), sentences(), **SETTINGS) for _ in range(2))
    other = auxiliary_vectors(word_tokenizer(), sentences(), **SETTINGS | {"seed": 2})
    assert digest(one) == digest(two)
    assert digest(one) != digest(other)


def test_vectors_do_not_depend_on_python_s_hashes():
    """Strings hash differently in every process; published runs with one seed differed."""
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "import test_auxiliary as t\n"
        "t.auxiliary.BUCKETS = 500\n"
        "print(t.digest(t.auxiliary_vectors(t.word_tokenizer(), t.sentences(), **t.SETTINGS)))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program, str(Path(__file__).parent), SOURCES],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {digest(auxiliary_vectors(word_tokenizer(), sentences(), **SETTINGS)) + "\n"}


@pytest.mark.parametrize("texts", [[], ["", "  "], ["river sea"]])
def test_too_little_text_is_an_error(texts):
    with pytest.raises(BabelscopeError, match="No token is seen 2 times"):
        auxiliary_vectors(word_tokenizer(), texts, **SETTINGS)


def test_gensim_is_imported_only_when_it_is_used():
    program = "import sys; import babelscope.tokenization.auxiliary; print('gensim' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": SOURCES},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "False\n"
