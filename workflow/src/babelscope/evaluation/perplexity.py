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
from babelscope.models.modes import arithmetic, evaluating
from babelscope.progress import progress
from babelscope.seeds import derive_seed
from babelscope.subnetworks.masks import HeadMask


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
        if len(full.sums) < 2:
            raise BabelscopeError(
                f"There is a single test window of {language}: its perplexity has no interval.",
                "Give the language more text, or raise articles.test.",
            )
        weights = bootstrap_weights(
            len(full.sums), resamples, derive_seed(seed, "bootstrap", language)
        )
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


def _scores(part: Losses, full: Losses | None, weights: np.ndarray) -> dict[str, Any]:
    """Return the columns of one row."""
    resampled = log_perplexities(part, weights)
    low, high = interval(resampled)
    ratio: tuple[float | None, ...] = (None, None, None)
    if full is not None:
        change = interval(resampled - log_perplexities(full, weights))
        ratio = (math.exp(part.loss - full.loss), *change)
    return {
        "loss": part.loss,
        "perplexity": part.perplexity,
        "low": low,
        "high": high,
        **dict(zip(("ratio", "ratio_low", "ratio_high"), ratio, strict=True)),
        "n_tokens": int(part.counts.sum()),
        "n_examples": len(part.counts),
        "kept": None,
        "heads": None,
    }
