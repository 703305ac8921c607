"""How the scores of tasks are named and drawn: unit, scale, direction, chance."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """How one metric is drawn.

    Attributes
    ----------
    label
        What the values are, with unit and direction.
    change
        What a change against the own ticket is, with its unit.
    ratio
        Whether values are positive on a logarithmic scale and changes are ratios, 1 for none;
        otherwise values are percentages and changes are points, 0 for none.
    higher_is_better
        The direction; colours of changes say worse by red in both.
    chance
        What an uninformed guess scores, if that is one number.
    """

    label: str
    change: str
    ratio: bool
    higher_is_better: bool
    chance: float | None = None


SCALES = {
    "perplexity": Scale(
        label="perplexity\n(log scale, lower is better)",
        change="perplexity /\nown ticket's",
        ratio=True,
        higher_is_better=False,
    ),
    "f1": Scale(
        label="F1 of entities (%)\n(higher is better)",
        change="points of F1\nagainst own ticket",
        ratio=False,
        higher_is_better=True,
    ),
    "accuracy": Scale(
        label="accuracy (%)\n(higher is better)",
        change="points of accuracy\nagainst own ticket",
        ratio=False,
        higher_is_better=True,
        chance=100 / 3,  # three classes, equally frequent in XNLI and in the demo
    ),
}

TASKS = {"mlm": "MLM", "ner": "NER", "nli": "NLI"}
"""The tasks in the order in which they are shown, as figures name them."""
