"""Texts of a set form, for types of the configuration; what is wrong with one is said in words."""

import re

from pydantic import AfterValidator


def spelled(pattern: str, words: str) -> AfterValidator:
    """Return a condition for a type: that a text matches a pattern as a whole.

    Parameters
    ----------
    pattern
        A regular expression.
    words
        What it allows, to follow "must be".
    """

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {words}")
        return text

    return AfterValidator(check)
