"""An encoder that is made up: sentences are `language:content`, vectors follow from the content."""

import numpy as np
import pandas as pd
import pytest

from babelscope.seeds import stable_hash

WIDTH = 24


class MadeUp:
    """Vectors of contents, plus noise and an offset of each language, rotated and scaled."""

    def __init__(self, *, noise=0.0, offset=0.0, turn=None, scale=1.0, known=True):
        self.noise, self.offset, self.turn, self.scale = noise, offset, turn, scale
        self.known = known  # otherwise vectors have nothing to do with contents
        self.calls = []

    def __call__(self, sentences, language, aligned):
        self.calls.append((tuple(sentences), language, aligned))
        rows = []
        for sentence in sentences:
            content = sentence.split(":")[-1] if self.known else sentence
            row = draw("content", content) + self.noise * draw("noise", sentence, str(aligned))
            rows.append(row + self.offset * draw("language", language) + 1)
        matrix = np.array(rows) * self.scale
        return matrix if self.turn is None else matrix @ self.turn


def draw(*parts):
    return np.random.default_rng(stable_hash(*parts)).standard_normal(WIDTH)


@pytest.fixture
def made_up():
    return MadeUp


@pytest.fixture
def turn():
    """A random rotation."""
    return np.linalg.qr(np.random.default_rng(8).standard_normal((WIDTH, WIDTH)))[0]


@pytest.fixture
def sts():
    """Pairs of languages of which the even pairs are the same content: score 1, else about 0."""

    def table(*pairs, n=40):
        columns = ["pair_id", "language1", "language2", "sentence1", "sentence2", "score"]
        rows = [
            (f"p{i}", a, b, f"{a}:c{i}", f"{b}:c{i + i % 2 * 100}", 1.0 - i % 2 + i / 1000)
            for a, b in pairs
            for i in range(n)
        ]
        return pd.DataFrame(rows, columns=columns)

    return table


@pytest.fixture
def bitext():
    def table(*pairs, n=30):
        columns = ["pair_id", "language1", "language2", "sentence1", "sentence2"]
        rows = [(f"p{i}", a, b, f"{a}:c{i}", f"{b}:c{i}") for a, b in pairs for i in range(n)]
        return pd.DataFrame(rows, columns=columns)

    return table


@pytest.fixture
def parallel():
    def table(*languages, n=40):
        texts = {language: [f"{language}:c{i}" for i in range(n)] for language in languages}
        return pd.DataFrame({"sent_id": [f"s{i}" for i in range(n)], **texts})

    return table


@pytest.fixture
def mining():
    """Two sides with some translations; the others have contents of their own."""

    def table(first="de", second="en", n=40, translated=15):
        rows = []
        for split in ("train", "test"):
            for side, language in ((1, first), (2, second)):
                for i in range(n):
                    paired = i < translated
                    content = f"{split}{i}" if paired else f"{split}{side}-{i}"
                    partner = f"{split}{3 - side}-{i}" if paired else None
                    name = f"{split}{side}-{i}"
                    row = (first, second, split, side, name, f"{language}:{content}", partner)
                    rows.append(row)
        columns = ["language1", "language2", "split", "side", "sent_id", "text", "partner"]
        return pd.DataFrame(rows, columns=columns)

    return table


@pytest.fixture
def topics():
    """Each topic is a single content, so that it can be told from one sentence of it."""

    def table(*languages, n=30, labels=("art", "law", "war")):
        rows = [
            (language, split, f"{split}{i}", f"{language}{split}{i}:{labels[i % len(labels)]}")
            for language in languages
            for split in ("train", "test")
            for i in range(n)
        ]
        columns = ["language", "split", "sent_id", "text"]
        return pd.DataFrame(rows, columns=columns).assign(
            label=[labels[i % len(labels)] for _ in range(2 * len(languages)) for i in range(n)]
        )

    return table


@pytest.fixture
def reading():
    """The right answer, with its question, has the content of the passage."""

    def table(*languages, n=24):
        rows = []
        for language in languages:
            for i in range(n):
                choices = [f"{language}:c{i}" if j == i % 4 else f"no:x{i}{j}" for j in range(4)]
                rows.append((language, f"i{i}", f"{language}:c{i}", "why", choices, i % 4))
        columns = ["language", "item_id", "passage", "question", "choices", "answer"]
        return pd.DataFrame(rows, columns=columns)

    return table
