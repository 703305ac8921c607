"""Masked-language-model perplexity: exp of the mean loss over predicted tokens, with intervals."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from babelscope.errors import BabelscopeError
from babelscope.evaluation.resampling import bootstrap_weights
from babelscope.models.gates import head_gates
from babelscope.models.masked_head import Losses, example_losses
from babelscope.models.masking import IGNORED
from babelscope.models.modes import arithmetic, evaluating
from babelscope.progress import progress
from babelscope.seeds import derive_seed
from babelscope.subnetworks.masks import HeadMask
from babelscope.tokenization.frequencies import log_frequencies


def perplexity(
    model: Any,
    batches: Iterable[Mapping[str, torch.Tensor]],
    *,
    gates: np.ndarray | torch.Tensor | None = None,
    stack: str | None = None,
    precision: str = "float32",
) -> Losses:
    """Return the losses of a model, whose `perplexity` is that over all predicted tokens.

    Parameters
    ----------
    model
        A model with a language-model head; on return in the mode it was in.
    batches
        Dicts of ``input_ids``, ``labels`` (-100 where there is no loss) and ``attention_mask``.
    gates
        Shape (layers, heads): a head mask; none leaves the model whole.
    stack
        Which stack the gates are for, where a model has several.
    precision
        ``float32``, ``bf16`` or ``fp16``.

    Raises
    ------
    BabelscopeError
        If the loss of an example is not finite.
    """
    sums: list[torch.Tensor] = []
    counts: list[torch.Tensor] = []
    with torch.inference_mode(), evaluating(model), arithmetic(model, precision):
        for batch in batches:
            if gates is None:
                losses, number = example_losses(model, batch)
            else:
                with head_gates(model, gates, stack=stack):
                    losses, number = example_losses(model, batch)
            sums.append(losses.double())
            counts.append(number.cpu())
    if not sums:
        raise ValueError("no batches")
    return Losses(torch.cat(sums).cpu().numpy(), torch.cat(counts).numpy())


def log_perplexities(losses: Losses, weights: np.ndarray) -> np.ndarray:
    """Return the mean loss over tokens in each resample of examples, shape (resamples,)."""
    return (weights @ losses.sums) / (weights @ losses.counts)


def interval(log_values: np.ndarray) -> tuple[float, float]:
    """Return the 2.5 and 97.5 percent points of the exponential of resampled values."""
    low, high = np.exp(np.quantile(log_values, [0.025, 0.975]))
    return float(low), float(high)


def describe_mask(name: str) -> dict[str, Any]:
    """Return what the name of a mask says: its kind, its language and its draw.

    Names are ``de/d0`` (found for a language), ``random/de/2``, ``intersection`` and ``union``.
    """
    parts = name.split("/")
    if parts[0] == "random":
        return {"kind": "random", "mask_language": parts[1], "draw": int(parts[2])}
    if len(parts) == 2:
        return {"kind": "language", "mask_language": parts[0], "draw": int(parts[1][1:])}
    return {"kind": name, "mask_language": None, "draw": None}


def perplexity_table(
    model: Any,
    batches: Mapping[str, list[dict[str, torch.Tensor]]],
    masks: Mapping[str, HeadMask],
    *,
    resamples: int,
    seed: int,
    precision: str = "float32",
) -> pd.DataFrame:
    """Score a model, whole or under masks, on every language.

    Parameters
    ----------
    model
        The whole model.
    batches
        Batches of each language.
    masks
        Named as in `describe_mask`; none scores the whole model. Of the masks found for a language,
        those of the first draw are scored on every language, those of other draws on their own.
    resamples, seed
        Of the bootstrap over examples. Every mask sees the same resamples as the whole model, so
        the interval of a ratio is that of paired differences.
    precision
        ``float32``, ``bf16`` or ``fp16``.

    Returns
    -------
    pandas.DataFrame
        One row per mask and language: ``mask, kind, mask_language, draw, language, loss,
        perplexity, low, high, ratio, ratio_low, ratio_high, n_tokens, n_examples, kept, heads``.
        Intervals are of 95 percent. Ratios are to the whole model and NA for itself; so are `kept`
        and `heads`.

    Raises
    ------
    BabelscopeError
        If a language has a single example, whose resamples are all alike, or a loss is not finite.
    """
    rows = []
    for language in progress(batches, "perplexity", len(batches)):
        full = perplexity(model, batches[language], precision=precision)
        weights = _resamples(len(full.sums), language, resamples, seed)
        if not masks:
            whole = {"mask": "full", "kind": "full", "mask_language": None, "draw": None}
            rows.append(whole | {"language": language} | _scores(full, None, weights))
        for name, mask in masks.items():
            labels = describe_mask(name)
            later_draw = labels["kind"] == "language" and labels["draw"] > 0
            if later_draw and labels["mask_language"] != language:
                continue
            part = perplexity(model, batches[language], gates=mask.bits, precision=precision)
            size = {"kept": mask.kept, "heads": mask.bits.size}
            scores = _scores(part, full, weights) | size
            rows.append({"mask": name} | labels | {"language": language} | scores)
    table = pd.DataFrame(rows)
    whole_numbers = dict.fromkeys(("draw", "kept", "heads"), "Int64")
    ratios = dict.fromkeys(("ratio", "ratio_low", "ratio_high"), "Float64")
    return table.astype(whole_numbers | ratios | {"mask_language": "string"})


def unigram_losses(batches: Iterable[Mapping[str, torch.Tensor]], counts: np.ndarray) -> Losses:
    """Return the losses of a model that knows nothing but how frequent tokens are.

    What a language model gains over it is what it learned of context.

    Parameters
    ----------
    batches
        Dicts with ``labels``, -100 where there is no loss.
    counts
        Of each token in training text, shape (vocabulary,); smoothed as in
        :func:`~babelscope.tokenization.frequencies.log_frequencies`.
    """
    surprisal = -log_frequencies(counts)
    sums, numbers = [], []
    for batch in batches:
        labels = batch["labels"].numpy()
        predicted = labels != IGNORED
        sums.append(np.where(predicted, surprisal[np.where(predicted, labels, 0)], 0.0).sum(axis=1))
        numbers.append(predicted.sum(axis=1))
    return Losses(np.concatenate(sums), np.concatenate(numbers))


def unigram_table(
    batches: Mapping[str, list[dict[str, torch.Tensor]]],
    counts: Mapping[str, np.ndarray],
    *,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """Score each language's unigram model on its test text.

    Parameters
    ----------
    batches
        Of each language: the ones that networks are scored on.
    counts
        Of the tokens in each language's training text, shape (vocabulary,).
    resamples, seed
        Of the bootstrap over examples, the same resamples as in `perplexity_table`.

    Returns
    -------
    pandas.DataFrame
        One row per language: ``language, loss, perplexity, low, high, n_tokens, n_examples``.

    Raises
    ------
    BabelscopeError
        If a language has a single example, whose resamples are all alike.
    """
    rows = []
    for language, some in batches.items():
        losses = unigram_losses(some, counts[language])
        weights = _resamples(len(losses.sums), language, resamples, seed)
        rows.append({"language": language} | _absolute(losses, weights) | _sizes(losses))
    return pd.DataFrame(rows)


def _resamples(examples: int, language: str, resamples: int, seed: int) -> np.ndarray:
    if examples < 2:
        raise BabelscopeError(
            f"There is a single test window of {language}: its perplexity has no interval.",
            "Give the language more text, or raise articles.test.",
        )
    return bootstrap_weights(examples, resamples, derive_seed(seed, "bootstrap", language))


def _absolute(losses: Losses, weights: np.ndarray) -> dict[str, Any]:
    low, high = interval(log_perplexities(losses, weights))
    return {
        "loss": losses.loss,
        "perplexity": losses.perplexity,
        "low": low,
        "high": high,
    }


def _sizes(losses: Losses) -> dict[str, Any]:
    return {"n_tokens": int(losses.counts.sum()), "n_examples": len(losses.counts)}


def _scores(part: Losses, full: Losses | None, weights: np.ndarray) -> dict[str, Any]:
    """Return the columns of one row."""
    ratio: tuple[float | None, ...] = (None, None, None)
    if full is not None:
        change = log_perplexities(part, weights) - log_perplexities(full, weights)
        ratio = (math.exp(part.loss - full.loss), *interval(change))
    ratios = dict(zip(("ratio", "ratio_low", "ratio_high"), ratio, strict=True))
    return _absolute(part, weights) | ratios | _sizes(part) | {"kept": None, "heads": None}
