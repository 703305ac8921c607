"""Vectors of tokens that tell which are used alike: fastText on text cut into tokens."""

import logging
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from babelscope.errors import BabelscopeError
from babelscope.seeds import derive_seed
from babelscope.tokenization.matching import special_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

BATCH = 512  # texts tokenized together
SENTENCE = 1000  # tokens in a line; fastText's library ignores what exceeds 10 000
BUCKETS = 2**18  # vectors that parts of tokens share; fastText's 2 000 000 take 2.4 GB
SPACE = re.compile(r"\s")


def auxiliary_vectors(
    tokenizer: "PreTrainedTokenizerBase",
    texts: Iterable[str],
    *,
    dimension: int,
    epochs: int,
    min_count: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Train fastText (Bojanowski et al. 2017) on text cut into a tokenizer's tokens.

    Parameters
    ----------
    tokenizer
        Of the new vocabulary. Its special tokens get no vectors.
    texts
        Documents or lines, read once; memory holds some hundred of them.
    dimension
        Of the vectors; 300 in Dobler & de Melo (2023).
    epochs
        Passes over the text.
    min_count
        Tokens seen less often get no vector.
    seed
        Of the first vectors and of what is sampled in training.

    Returns
    -------
    dict
        Float32 vectors, shape (dimension,), by token as the vocabulary spells it.

    Raises
    ------
    BabelscopeError
        If no token is seen `min_count` times.

    Notes
    -----
    CBOW with 10 negative samples, a window of 5 and other settings as fastText's own program has
    them, but with fewer buckets. One thread, so that the same texts and seed give the same vectors;
    strings are hashed by fastText's function and not Python's, which differs between processes.
    """
    from gensim.models import FastText

    vocabulary = tokenizer.get_vocab()
    special = special_tokens(tokenizer)
    words = [""] * (max(vocabulary.values()) + 1)
    for token, number in vocabulary.items():
        if number not in special:
            words[number] = SPACE.sub("_", token)  # spaces separate tokens in the file
    with TemporaryDirectory() as folder:
        path = Path(folder, "tokens.txt")
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for ids in _tokenized(tokenizer, texts):
                for start in range(0, len(ids), SENTENCE):
                    line = " ".join(filter(None, (words[i] for i in ids[start : start + SENTENCE])))
                    file.write(f"{line}\n")
        model = FastText(
            vector_size=dimension,
            window=5,
            min_count=min_count,
            sg=0,
            negative=10,
            alpha=0.05,
            sample=1e-4,
            bucket=BUCKETS,
            workers=1,
            seed=derive_seed(seed, "fasttext") % 2**32,
        )
        model.build_vocab(corpus_file=str(path))
        if not len(model.wv):
            raise BabelscopeError(
                f"No token is seen {min_count} times in the text for auxiliary vectors.",
                "Give more text, or count rarer tokens too.",
            )
        model.train(
            corpus_file=str(path),
            total_words=model.corpus_total_words,
            total_examples=model.corpus_count,
            epochs=epochs,
        )
    places: dict[str, int] = model.wv.key_to_index  # pyright: ignore
    found = {
        token: model.wv.vectors[places[words[number]]]
        for token, number in vocabulary.items()
        if words[number] in places
    }
    logger.info("%d of %d tokens have auxiliary vectors", len(found), len(vocabulary))
    return found


def _tokenized(tokenizer: "PreTrainedTokenizerBase", texts: Iterable[str]) -> Iterator[list[int]]:
    texts = iter(texts)
    while batch := list(islice(texts, BATCH)):
        yield from tokenizer(batch, add_special_tokens=False, verbose=False)["input_ids"]
