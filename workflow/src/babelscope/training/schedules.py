"""How long a training is, and its learning rate as a function of the share that is done."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from babelscope.config import CausalTraining, TaskTraining


def learning_rate_factor(schedule: str, share: float, warmup: float) -> float:
    """Return the factor on the peak learning rate: a linear rise, then the schedule.

    Parameters
    ----------
    schedule
        ``linear`` or ``cosine``, both down to 0, or ``constant``.
    share
        Share of the training that is done, in [0, 1].
    warmup
        Share of the training that the rise takes, in [0, 1).
    """
    if share < warmup:
        return share / warmup
    rest = (1 - min(share, 1.0)) / (1 - warmup)
    match schedule:
        case "linear":
            return rest
        case "cosine":
            return (1 - math.cos(math.pi * rest)) / 2
        case "constant":
            return 1.0
    raise ValueError(f"schedule is {schedule!r}; known: linear, cosine, constant")


def steps_of(settings: "CausalTraining | TaskTraining", examples: int, processes: int = 1) -> int:
    """Return the number of optimizer steps of a training on so many examples."""
    per_step = settings.batch_size * settings.accumulation * processes
    steps = max(1, math.ceil(settings.epochs * examples / per_step))
    return steps if settings.max_steps is None else min(steps, settings.max_steps)
