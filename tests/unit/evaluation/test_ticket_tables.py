import pandas as pd
import pytest

from babelscope.evaluation import ticket_tables


def test_examples_of_all_tasks_are_counted_in_one_table():
    ner = pd.DataFrame(
        {
            **{"dataset": "demo-ner", "language": ["en", "de"], "split": "test"},
            **{"file": ["a", "b"], "rows": [5, 6], "PER": [2, 3]},
        }
    )
    nli = ner[["dataset", "language", "split", "file"]].assign(rows=9, neutral=4)
    windows = {("en", "train"): 7, ("en", "test"): 3}
    table = ticket_tables.task_counts({"ner": ner, "nli": nli}, windows)
    cells = table.set_index(["task", "language", "split", "item"])["count"].to_dict()
    assert cells["mlm", "en", "train", "rows"] == 7
    assert cells["ner", "de", "test", "PER"] == 3
    assert cells["nli", "de", "test", "neutral"] == 4
    assert ("nli", "de", "test", "PER") not in cells
    first = table[table["task"] == "ner"]["item"].tolist()
    assert first == ["rows", "PER", "rows", "PER"]


OVERLAP = pd.DataFrame(
    [
        ("language", "all", "en", "zh", 0.6),
        ("language", "layer", "en", "zh", 0.1),
        ("draw", "all", "en", "en", 0.9),
        ("untrained", "all", "en", None, 0.7),
    ],
    columns=["relation", "scope", "left_language", "right_language", "jaccard"],
).assign(
    **{"kept": 50, "left_seed": 1, "left_task": "ner", "right_task": "ner", "n": 1000},
    **{"expected": 0.3, "agreement": 0.8},
)
OVERLAP.loc[OVERLAP["relation"] == "untrained", "right_task"] = None


def test_pairs_of_languages_are_as_far_apart_as_their_tickets():
    table = ticket_tables.ticket_distances(OVERLAP, {"de": "deu", "en": "eng", "zh": "cmn"})
    (row,) = table.to_dict("records")
    assert row["distance"] == pytest.approx(0.4)
    assert 0.2 < row["syntactic_distance"] < 0.4
    assert (row["kept"], row["seed"], row["task"]) == (50, 1, "ner")


def study(seeds=(1, 2)):
    """Return one row of every kind that the summary is made of."""
    scored = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 100, "metric": "f1"}
    each = pd.DataFrame({"seed": seeds})
    finding = each.assign(
        task="ner", language="de", variant="ticket", kept=90, split="test", stage="trained"
    ).assign(**scored)
    changes = {"change": 0.1, "change_low": 0.0, "change_high": 0.2}
    transfer = each.assign(
        **{"task": "ner", "language": "de", "trained_on": "en", "kept": 50, "compared_with": 50},
        **{"mask_kind": "ticket", "mask_task": "ner", "mask_language": "en"},
        **{"weights": "pretrained", **scored, **changes},
    )
    shared = each.assign(task="ner", kept=50, operation="union", languages=2, n=1000, share=0.7)
    shared = shared.assign(low=pd.NA, high=pd.NA, expected=0.75)
    typology = pd.DataFrame(
        {
            **{"task": ["mlm", "ner"], "kept": 50, "predictor": "family", "method": "pearson"},
            **{"value": [0.3, None], "low": None, "high": None, "n": 4, "seeds": len(seeds)},
        }
    )
    similarity = each.assign(
        **{"corpus": "demo", "pooling": "mean", "measure": "cka", "estimator": "unbiased"},
        **{"left_language": "en", "left_layer": 2, "right_language": "de", "right_layer": 2},
        **{"value": 0.5, "low": 0.4, "high": 0.6, "n": 100},
    )
    similarity = pd.concat(
        [
            similarity.assign(comparison=comparison, left_network=left, right_network=right)
            for comparison, left, right in (
                ("base-languages", "base", "base"),
                ("ticket-own", "base", "ticket"),
            )
        ]
    )
    return {
        "scores": finding,
        "transfer": transfer,
        "overlap": OVERLAP,
        "shared": shared,
        "typology": typology,
        "similarity": similarity,
        "encoded": {"task": "mlm", "kept": 50},
    }


def test_the_summary_has_every_score_of_the_study():
    table = ticket_tables.summary(**study())
    assert list(table.columns) == [*ticket_tables.KEYS, "value", "low", "high", "n", "seeds"]
    assert table["part"].value_counts().to_dict() == {
        "overlap": 9,  # languages, draws and untrained weights, each with chance and agreement
        "transfer": 2,  # the score and the change
        "sharing": 2,
        "representations": 2,
        "finding": 1,
        "typology": 1,  # where there is a correlation
    }
    assert not table.duplicated(ticket_tables.KEYS).any()
    largest = table[(table["kind"] == "untrained") & (table["metric"] == "jaccard")].iloc[0]
    assert (largest["value"], largest["task"], largest["language"]) == (0.7, "ner", "en")
    assert pd.isna(largest["mask_task"])
    assert pd.isna(largest["mask_language"])
    change = table[table["metric"] == "change in f1"].iloc[0]
    assert (change["value"], change["trained_on"], change["seeds"]) == (0.1, "en", 2)
    assert pd.isna(change["layer"])
    kinds = table[table["part"] == "representations"].set_index("kind")
    assert kinds.loc["ticket-own", ["task", "kept", "layer"]].tolist() == ["mlm", 50, 2]
    assert pd.isna(kinds.loc["base-languages", "task"])
    assert kinds.loc["base-languages", "kept"] == 100
    chance = table[table["metric"] == "share by chance"].iloc[0]
    assert (chance["value"], chance["languages"], chance["n"]) == (0.75, 2, 1000)


def test_of_one_seed_the_interval_is_the_score_s_own():
    one = ticket_tables.summary(**study(seeds=(1,)))
    finding = one[one["part"] == "finding"].iloc[0]
    assert finding["low"] == pytest.approx(0.4)
    assert finding["high"] == pytest.approx(0.6)
    assert finding["seeds"] == 1


def test_a_score_that_is_missing_is_an_error():
    tables = study()
    tables["scores"]["value"] = float("nan")
    with pytest.raises(Exception, match="no value"):
        ticket_tables.summary(**tables)
