"""Corpora of tasks in the layouts in which their publishers' archives hold them."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("en", "de")
SETTINGS = (
    *("languages=[en,de]", "tickets={languages: [en, de]}", "data_root=data"),
    "tasks={ner: {corpus: wikiann}, nli: {corpus: xnli-translated}}",
)


def read_task_data(folder: Path, *datasets: str) -> dict[str, pd.DataFrame]:
    targets = [f"results/text/tasks/{name}.counts.parquet" for name in datasets]
    command = [
        *(Path(sys.executable).with_name("snakemake"), "--snakefile", ROOT / "Snakefile"),
        *("--workflow-profile", ROOT / "profiles" / "default", "--cores", "1"),
        *("--directory", folder, *targets, "--config", *SETTINGS),
    ]
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    tables = [pd.read_parquet(folder / target) for target in targets]
    return dict(zip(datasets, tables, strict=True))


@pytest.fixture
def folder(tmp_path):
    """Return a folder in which WikiANN and XNLI have been fetched."""
    wikiann = tmp_path / "resources" / "corpora" / "wikiann"
    for lang in (*LANGUAGES, "zh-classical"):
        (wikiann / lang).mkdir(parents=True)
        for name in ("train", "dev", "test", "extra"):
            text = f"{lang}:{name}\tB-ORG\n{lang}:x:y\tI-ORG\n\n{lang}:z\tO\n{lang}:{name}\tO\n"
            (wikiann / lang / name).write_text(text)
    xnli = tmp_path / "resources" / "corpora" / "xnli-translated"
    (xnli / "XNLI-MT-1.0" / "multinli").mkdir(parents=True)
    (xnli / "XNLI-1.0").mkdir()
    for lang in LANGUAGES:
        rows = "".join(f"p{n}\th{n}\tcontradictory\n" for n in range(5))
        path = xnli / "XNLI-MT-1.0" / "multinli" / f"multinli.train.{lang}.tsv"
        path.write_text("premise\thypo\tlabel\n" + rows)
    for name in ("dev", "test"):
        rows = "".join(
            f"{lang}\tneutral\t{name} {n}\th\t{n}\n" for lang in LANGUAGES for n in range(3)
        )
        path = xnli / "XNLI-1.0" / f"xnli.{name}.tsv"
        path.write_text("language\tgold_label\tsentence1\tsentence2\tpairID\n" + rows)
    return tmp_path


def test_published_archives_are_read_as_they_are(folder):
    found = read_task_data(folder, "wikiann", "xnli-translated")
    for table in found.values():
        assert list(table["language"]) == [lang for lang in LANGUAGES for _ in range(3)]
        assert list(table["split"]) == ["train", "valid", "test"] * 2
    assert set(found["wikiann"]["rows"]) == {2}
    assert set(found["wikiann"]["ORG"]) == {1}
    assert list(found["xnli-translated"]["rows"]) == [5, 3, 3] * 2
    assert list(found["xnli-translated"]["contradiction"]) == [5, 0, 0] * 2
    table = pd.read_parquet(folder / "results/text/tasks/wikiann/de/valid.parquet")
    assert list(table["tokens"][0]) == ["dev", "x:y"]
    assert list(table["tags"][0]) == ["B-ORG", "I-ORG"]
