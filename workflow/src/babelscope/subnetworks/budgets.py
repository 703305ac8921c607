"""How many heads a sparsity keeps; asked while the workflow is parsed, so it stays light."""

from babelscope.errors import BabelscopeError


def heads_at(sparsity: float, total: int) -> int:
    """Return how many of `total` heads a sparsity keeps: round((1 - sparsity) * total).

    Raises
    ------
    BabelscopeError
        If that is none, or the sparsity is outside [0, 1).
    """
    kept = round((1 - sparsity) * total) if 0 <= sparsity < 1 else 0
    if kept < 1:
        raise BabelscopeError(
            f"A sparsity of {sparsity} leaves none of {total} heads.",
            f"Choose one of at most {1 - 1 / total:.3f} under heads.budgets.",
        )
    return kept
