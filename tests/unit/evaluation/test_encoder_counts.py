"""What is counted of the corpora of sentence encoders."""

import pandas as pd

from babelscope.evaluation.encoder_counts import encoder_counts


def test_every_count_stands_beside_its_corpus_languages_and_split():
    pairs = pd.DataFrame({"language": ["en", "de"], "found": [9, 9], "rows": [8, 7]})
    similarity = pd.DataFrame({"language1": ["en"], "language2": ["de"], "rows": [5]})
    topics = pd.DataFrame({"language": ["en"], "split": ["test"], "rows": [3], "nature": [None]})
    mining = pd.DataFrame({"language1": "zh", "language2": "en", "split": "test", "side": [1, 2]})
    corpora = {"pairs": pairs, "sts": similarity, "topics": topics}
    corpora["bucc"] = mining.assign(rows=[7, 6])
    table = encoder_counts({"en": 40, "de": 20}, corpora)
    found = {tuple(row[:-1]): row[-1] for row in table.itertuples(index=False)}
    assert found == {
        ("text", "en", "", "train", "", "windows"): 40,
        ("text", "de", "", "train", "", "windows"): 20,
        ("pairs", "en", "", "", "", "found"): 9,
        ("pairs", "en", "", "", "", "rows"): 8,
        ("pairs", "de", "", "", "", "found"): 9,
        ("pairs", "de", "", "", "", "rows"): 7,
        ("sts", "en", "de", "", "", "rows"): 5,
        ("topics", "en", "", "test", "", "rows"): 3,
        ("bucc", "zh", "en", "test", "1", "rows"): 7,
        ("bucc", "zh", "en", "test", "2", "rows"): 6,
    }
    assert list(table["item"][:4]) == ["windows", "windows", "found", "rows"]
