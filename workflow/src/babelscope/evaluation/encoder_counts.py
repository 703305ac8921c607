"""How much there is to train sentence encoders on and to judge them by."""

from collections.abc import Mapping

import pandas as pd

PLACE = ["corpus", "language", "language2", "split", "side"]
TEXT = "text"  # in the column `corpus`: the running text of the study
WINDOWS = "windows"  # the item that orders languages by how much they were trained on


def encoder_counts(windows: Mapping[str, int], corpora: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return what was found, left out and kept of every corpus of the study.

    Parameters
    ----------
    windows
        By language, windows of training text.
    corpora
        By name, what its reader counted: a row per language, or pair of languages (``language1``,
        ``language2``), and perhaps per ``split`` and ``side`` of it; the other columns are counts.

    Returns
    -------
    pandas.DataFrame
        Columns ``corpus, language, language2, split, side, item, count``. `language2` is empty but
        for pairs of languages, `split` where there is none; `side` is 1 or 2, text, where the
        languages of a pair are counted apart.
    """
    text = [(TEXT, code, "", "train", "", WINDOWS, count) for code, count in windows.items()]
    parts = [pd.DataFrame(text, columns=[*PLACE, "item", "count"])]
    for name, table in corpora.items():
        table = table.rename(columns={"language1": "language"}).assign(corpus=name)
        for column in PLACE:
            table[column] = table[column].astype(str) if column in table else ""
        tall = table.melt(PLACE, var_name="item", value_name="count", ignore_index=False)
        tall = tall.sort_index(kind="stable").dropna(subset="count")  # items of a row together
        parts.append(tall.astype({"count": "int64"}))
    return pd.concat(parts, ignore_index=True)
