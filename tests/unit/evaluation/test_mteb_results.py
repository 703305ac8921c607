import json
from pathlib import Path

import pytest

from babelscope.errors import BabelscopeError
from babelscope.evaluation.encoders import EvaluationSettings, evaluate_encoder
from babelscope.evaluation.mteb_results import task_results, write_task_results

SCRIPTS = {"en": "eng-Latn", "de": "deu-Latn"}


@pytest.fixture
def scores(made_up, sts, parallel, topics, reading):
    corpora = {
        "s": ("sts", sts(("en", "en"), ("en", "de"), ("de", "en"))),
        "p": ("parallel", parallel("en", "de")),
        "t": ("topics", topics("en", "de")),
        "r": ("reading", reading("en", "de")),
    }
    settings = EvaluationSettings(resamples=50, seed=2, blocks=8)
    options = {"languages": ["en", "de"], "pivot": "en", "settings": settings}
    return evaluate_encoder(made_up(noise=0.8), corpora, **options).scores


def test_main_scores_are_shares_of_one(scores):
    found = task_results(scores, SCRIPTS)
    assert list(found) == ["s-sts", "p-bitext", "t-topics", "r-reading"]
    values = scores.set_index(["task", "language1", "language2", "metric"])["value"]
    subsets = {one["hf_subset"]: one for one in found["s-sts"]["scores"]["test"]}
    assert list(subsets) == ["en", "en-de"]
    expected = values["sts", "en", "de", "spearman"] / 100
    assert subsets["en-de"]["main_score"] == pytest.approx(expected)
    assert subsets["en-de"]["cosine_spearman"] == subsets["en-de"]["main_score"]
    assert subsets["en-de"]["languages"] == ["eng-Latn", "deu-Latn"]
    assert subsets["en"]["languages"] == ["eng-Latn"]
    subset = found["p-bitext"]["scores"]["test"][0]
    assert subset["main_score"] == pytest.approx(1 - values["bitext", "en", "de", "error"] / 100)
    assert subset["accuracy_low"] < subset["accuracy"] < subset["accuracy_high"]
    subset = found["t-topics"]["scores"]["test"][0]
    assert subset["f1"] == pytest.approx(values["topics", "en", "en", "macro_f1"] / 100)


def test_mteb_reads_them(scores, tmp_path):
    mteb = pytest.importorskip("mteb", reason="mteb is not installed")
    paths = write_task_results(tmp_path, scores, SCRIPTS, name="ours/one", revision="2")
    for path in paths:
        found = mteb.TaskResult.from_disk(path)
        document = json.loads(path.read_text())
        assert found.to_dict()["scores"] == document["scores"]
        mean = [one["main_score"] for one in document["scores"]["test"]]
        assert found.get_score(splits=["test"]) == pytest.approx(sum(mean) / len(mean))
        assert set(found.languages) == {"eng", "deu"}
    cache = mteb.ResultCache(tmp_path)
    loaded = cache.load_results(include_remote=False)
    assert loaded.model_names == ["ours/one"]
    assert set(loaded.task_names) == {path.stem for path in paths}


def test_files_lie_where_mteb_looks_and_hold_its_fields(scores, tmp_path):
    paths = write_task_results(tmp_path, scores, SCRIPTS, name="ours/one", revision="2")
    assert paths[0] == tmp_path / "results/ours__one/2/s-sts.json"
    document = json.loads(Path(paths[0]).read_text())
    fields = "dataset_revision task_name mteb_version scores evaluation_time kg_co2_emissions"
    assert list(document) == fields.split()
    meta = json.loads((paths[0].parent / "model_meta.json").read_text())
    assert meta == {"name": "ours/one", "revision": "2"}


def test_a_language_without_a_code_is_named(scores):
    with pytest.raises(BabelscopeError, match="de has no code"):
        task_results(scores, {"en": "eng-Latn"})


def test_scores_that_mteb_does_not_know_are_refused_alone(scores):
    with pytest.raises(BabelscopeError, match="no place for the tasks language_bias, structure"):
        task_results(scores[scores["task"].isin(["structure", "language_bias"])], SCRIPTS)
