"""Which examples a bootstrap draws."""

import numpy as np


def bootstrap_weights(examples: int, resamples: int, seed: int) -> np.ndarray:
    """Return how often each example is drawn in each resample, shape (resamples, examples)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(examples, np.full(examples, 1 / examples), size=resamples)
