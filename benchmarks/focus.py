"""FOCUS for a new vocabulary, against deepfocus's way, in float32.

A new vocabulary of 50 048 tokens, of which 40 % are in the source's of 250 002; every token has an
auxiliary vector of 300 dimensions. What is timed is how new tokens get their rows. The baseline is
a loop over them: per token the cosines with all shared tokens, sparsemax by sorting them, and the
mean of the rows it chooses; timed on a sample and scaled to all, and compared on that sample. The
peak memory of ours is that of all of `initialize_embeddings`.
"""

import argparse
import time
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.measure import conclude, emit, measure

GOAL_MB = 2000


class Size(NamedTuple):
    """Of the two vocabularies and what belongs to them."""

    source: int
    target: int
    shared: int
    width: int
    auxiliary: int
    sample: int


PUBLISHED = Size(250_002, 50_048, 20_000, 768, 300, 300)
SMALL = Size(400, 300, 120, 16, 20, 150)
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


class Auxiliary(dict[str, np.ndarray]):
    """Vectors in families, since tokens are used more or less alike; rows of one matrix."""

    def __init__(self, tokens: list[str], dimension: int) -> None:
        generator = np.random.default_rng(1)
        kinds = generator.standard_normal((max(4, len(tokens) // 100), dimension), np.float32)
        vectors = generator.standard_normal((len(tokens), dimension), np.float32)
        vectors += kinds[generator.integers(0, len(kinds), len(tokens))]
        super().__init__(zip(tokens, vectors, strict=True))


def tokenizers(size: Size) -> tuple[Any, Any]:
    """Return a source and a target that share some tokens, spread over both."""
    from transformers import XLMRobertaTokenizer

    generator = np.random.default_rng(0)
    fixed = len(SPECIAL) + 1
    words = np.array([f"▁s{number}" for number in range(size.source - fixed)])
    new = [f"▁t{number}" for number in range(size.target - fixed - size.shared)]
    common = words[generator.choice(len(words), size.shared, replace=False)]
    mixed = generator.permutation(np.concatenate([common, new]))
    source, target = (
        XLMRobertaTokenizer(vocab=[(str(t), -1.0) for t in (*SPECIAL, *tokens, "<mask>")])
        for tokens in (words, mixed)
    )
    return source, target


def inputs(size: Size) -> tuple[Any, Any, np.ndarray, Auxiliary]:
    """Return what FOCUS takes."""
    source, target = tokenizers(size)
    tokens = target.convert_ids_to_tokens(range(4, size.target - 1))
    rows = np.random.default_rng(2).standard_normal((size.source, size.width), np.float32)
    return source, target, rows, Auxiliary(tokens, size.auxiliary)


def sample_of(size: Size, new: np.ndarray) -> np.ndarray:
    """Return the new tokens that are compared."""
    return np.random.default_rng(3).permutation(new)[: size.sample]


def ours(size: Size) -> None:
    """Make all embeddings, then the combined rows again; print their time and the sample's rows."""
    from babelscope.tokenization.focus import combine_rows, initialize_embeddings

    source, target, rows, auxiliary = inputs(size)
    started = time.perf_counter()
    found = initialize_embeddings(source, target, rows, auxiliary)
    whole = time.perf_counter() - started
    chosen = found.weight[sample_of(size, np.flatnonzero(found.combined))].tolist()
    vectors = np.stack(list(auxiliary.values()))  # of the tokens from 4 on, in order
    shared = found.matched[4:-1] >= 0
    matched = found.matched[4:-1][shared]
    del found, auxiliary
    started = time.perf_counter()
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    combine_rows(vectors[~shared], vectors[shared], matched, rows)
    emit(time.perf_counter() - started, {"rows": chosen, "whole": whole})


def sparsemax(cosines: torch.Tensor) -> torch.Tensor:
    """Return sparsemax of a vector by sorting it."""
    ordered = cosines.sort(descending=True).values
    excess = ordered.cumsum(0) - 1
    place = torch.arange(1, len(ordered) + 1)
    support = int((place * ordered > excess).sum())
    return (cosines - excess[support - 1] / support).clamp_min(0)


def plain(size: Size) -> None:
    """Make rows token by token; print the time for all new tokens and the rows of the sample."""
    source, target, rows, auxiliary = inputs(size)
    theirs, vocabulary = source.get_vocab(), target.get_vocab()
    shared = [token for token in sorted(auxiliary, key=vocabulary.get) if token in theirs]
    fresh = np.array(sorted(vocabulary[token] for token in auxiliary if token not in theirs))
    chosen = sample_of(size, fresh)
    vectors = np.stack([auxiliary[token] for token in shared])
    lengths = np.linalg.norm(vectors, axis=1)
    values = torch.from_numpy(rows[[theirs[token] for token in shared]])
    found = torch.empty(len(chosen), size.width)
    names = target.convert_ids_to_tokens(chosen.tolist())
    started = time.perf_counter()
    for place, token in enumerate(names):
        vector = auxiliary[token]
        cosines = vectors @ vector / (lengths * np.linalg.norm(vector))
        weights = sparsemax(torch.from_numpy(cosines))
        kept = weights > 0
        found[place] = (values[kept] * weights[kept].unsqueeze(1)).sum(dim=0)
    seconds = (time.perf_counter() - started) * len(fresh) / len(chosen)
    emit(seconds, {"rows": found.tolist()})


def main() -> None:
    """Compare the two, or run one of them as the child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny vocabularies")
    parser.add_argument("--way", choices=("ours", "plain"))
    options = parser.parse_args()
    size = SMALL if options.quick else PUBLISHED
    if options.way:
        {"ours": ours, "plain": plain}[options.way](size)
        return
    sizes = ["--quick"] * options.quick
    fast, slow = (measure("focus", way, *sizes) for way in ("ours", "plain"))
    new = size.target - size.shared - len(SPECIAL) - 1
    print(
        f"{size.target} tokens, {size.shared} of them among the source's {size.source}; width"
        f" {size.width}, auxiliary vectors of {size.auxiliary}"
    )
    products = 2 * new * size.shared * size.auxiliary
    conclude(
        "focus",
        fast,
        slow,
        baseline_is=f"a loop, {size.sample} of {new} tokens scaled",
        difference=float(np.abs(np.array(fast.value["rows"]) - slow.value["rows"]).max()),
        tolerance=1e-5,
        speed=10.0,
        facts={
            "everything": f"{fast.value['whole']:.1f} s with matching, copies and random rows",
            "peak memory": f"{fast.peak_mb:.0f} MB, of which the source's embeddings take"
            f" {4 * size.source * size.width / 1e6:.0f} MB; goal: below {GOAL_MB} MB",
            "floor": f"{products / 1e9:.0f} GFLOP of cosines; ours does"
            f" {products / 1e9 / fast.seconds:.0f} GFLOP of them a second",
        },
    )


if __name__ == "__main__":
    main()
