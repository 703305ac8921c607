"""All studies at the smallest size, as a user would run them."""

import base64
import json
import os
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "tiny.yaml"
GOLDEN = ROOT / "tests" / "golden"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.usefixtures("prefork")]


def snakemake(folder: Path, *arguments: str, study="heads") -> subprocess.CompletedProcess:
    command = [
        *(Path(sys.executable).with_name("snakemake"), "--snakefile", ROOT / "Snakefile"),
        *("--workflow-profile", ROOT / "profiles" / "default"),
        *("--directory", folder, "--configfile", TINY, "--cores", "2", study),
        *arguments,
    ]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def finished(prefork, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    result = snakemake(folder)
    assert result.returncode == 0, result.stderr[-6000:]
    return folder


def test_every_file_is_there_and_has_its_origin(finished):
    figures = sorted((finished / "results" / "figures").rglob("*.pdf"))
    assert len(figures) >= 20
    for figure in figures:
        assert figure.stat().st_size > 2000
        assert figure.with_suffix(".png").stat().st_size > 2000
        assert not pd.read_csv(figure.with_suffix(".csv")).empty
        record = json.loads(figure.with_suffix(".provenance.json").read_text())
        assert record["inputs"]


def test_tables_hold_numbers_with_intervals(finished):
    table = pd.read_parquet(next((finished / "results/tables/heads").rglob("perplexity.parquet")))
    tiny = yaml.safe_load(TINY.read_text("utf-8"))
    assert set(table["language"]) == set(tiny["languages"])
    assert set(table["seed"]) == set(tiny["seeds"])
    assert (table["low"] <= table["perplexity"]).all()
    assert (table["perplexity"] <= table["high"]).all()
    cka = pd.read_parquet(next((finished / "results/tables/heads").rglob("similarity.parquet")))
    cka = cka[cka["measure"] == "cka"]
    assert not cka.empty
    assert cka["value"].notna().all()


@pytest.mark.parametrize("name", ["corpus", "perplexity_finetuning", "token_overlap"])
def test_tables_are_what_they_were(finished, name):
    """Copy the new table here when its numbers move on purpose, and say so in CHANGELOG.md."""
    found = next((finished / "results/tables/heads").rglob(f"{name}.csv"))
    expected = GOLDEN / "heads" / f"{name}.csv"
    # processors round differently, which some steps of training carry on
    pd.testing.assert_frame_equal(pd.read_csv(found), pd.read_csv(expected), rtol=1e-3)


def test_removed_heads_give_the_same_perplexity(finished):
    table = pd.read_parquet(next((finished / "results/tables/heads").rglob("parameters.parquet")))
    tiny = yaml.safe_load(TINY.read_text("utf-8"))
    assert len(table) == len(tiny["languages"]) * len(tiny["seeds"])
    assert (table["kept"] < table["heads"]).all()
    assert (table["parameters_after"] < table["parameters_before"]).all()
    assert (table["bytes_after"] < table["bytes_before"]).all()
    change = table["perplexity_removed"] / table["perplexity_masked"] - 1
    assert (change.abs() < 1e-4).all()


def test_the_lines_that_read_results_work(finished):
    assert "left_layer" in run_lines(0, finished)


def run_lines(number: int, folder: Path, library: str = "") -> str:
    """Run a block of Python of the README and return what it prints."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-I", "-c", library + blocks[number]],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_second_run_has_nothing_to_do(finished):
    result = snakemake(finished)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Nothing to be done" in result.stderr + result.stdout


def test_settings_that_change_no_result_rerun_nothing(finished):
    settings = ("compute={threads: 2}", "mlm={finetune: {save_steps: 5, report_to: tensorboard}}")
    result = snakemake(finished, "--config", *settings)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Nothing to be done" in result.stderr + result.stdout


def test_a_lost_file_and_what_follows_from_it_is_made_again(finished):
    figure = next((finished / "results" / "figures").rglob("*.pdf"))
    figure.unlink()
    result = snakemake(finished)
    assert result.returncode == 0, result.stderr[-3000:]
    assert figure.is_file()
    assert "finetune_mlm" not in result.stderr + result.stdout


@pytest.fixture(scope="module")
def report(finished) -> str:
    result = snakemake(finished, "--report", "results/report.html")
    assert result.returncode == 0, result.stderr[-3000:]
    return (finished / "results" / "report.html").read_text("utf-8")


def held(report: str, name: str):
    """Return a value from which the report's script builds the page."""
    found = re.search(rf'<script id="[\w-]+">\s*var {name} = (.+);\n', report)
    assert found, f"the report has no {name}"
    return json.loads(found[1])


class Fetched(HTMLParser):
    """Collects what a browser fetches to show a page; where links lead is not among it."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str | None] = []

    def handle_starttag(self, tag, attrs):
        if tag != "a":
            fetched = {"src", "href", "srcset", "data", "poster"}
            self.addresses += [value for name, value in attrs if name in fetched]


def test_the_report_is_one_file(report):
    """Neither the page nor what its script adds to it needs the network or a file beside it."""
    results = held(report, "results")
    page = Fetched()
    page.feed(report)
    page.feed(held(report, "workflow_desc"))
    page.addresses.append(held(report, "logo_uri"))
    for result in results.values():
        page.feed(result["caption"])
        page.addresses.append(result["data_uri"])
    assert len(page.addresses) > len(results) > 0
    for address in page.addresses:
        assert address
        assert address.startswith("data:"), address[:200]


def test_the_report_shows_every_figure(finished, report):
    results = held(report, "results")
    figures = (finished / "results" / "figures" / "heads").rglob("*.png")
    shown = {path for path in results if path.endswith(".png")}
    assert shown == {figure.relative_to(finished).as_posix() for figure in figures}
    for path, result in results.items():
        content = base64.b64decode(result["data_uri"].partition(";base64,")[2])
        assert content == (finished / path).read_bytes()


def test_every_part_of_the_report_has_a_place_of_its_own(report):
    """No two in one category and of one model have the same labels."""
    results, places = held(report, "results"), []
    for category, models in held(report, "categories").items():
        for model, paths in models.items():
            for path in paths:
                labels = results[path]["labels"] or {}
                assert labels.keys() & {"figure", "table"}
                assert labels.get("budget", "") in path
                assert model in path
                places.append((category, model, *sorted(labels.items())))
    assert len(set(places)) == len(places) == len(results)


def test_captions_of_the_report_are_prose(report):
    for path, result in held(report, "results").items():
        assert len(plain(result["caption"])) > 80, path
        assert not re.search(r"\{\{|\{%|system-message|problematic", result["caption"]), path


def plain(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", "", html)).split())


# An output that a rule writes out; those that are put together in a loop are not found.
REPORTED = re.compile(
    r'"<results>/(.+)",\s+caption="\.\./report/(.+)",\s+category="(.+)",\s+subcategory="{model}",'
    r'\s+labels=\{\s*"(figure|table)": "(.+?)"'
)


def test_the_report_says_what_the_rules_say(finished, report):
    rules = (ROOT / "workflow" / "rules" / "figures.smk").read_text("utf-8")
    results, categories = held(report, "results"), held(report, "categories")
    assert set(categories) == set(re.findall(r'\bcategory="(.+)"', rules))
    compared = 0
    for place, caption, category, kind, label in REPORTED.findall(rules):
        prose = (ROOT / "workflow" / "report" / caption).read_text("utf-8")
        begin = " ".join(re.split(r"[{*`]", prose)[0].split())
        for file in (finished / "results").glob(re.sub(r"\{\w+\}", "*", place)):
            path = file.relative_to(finished).as_posix()
            assert path in {path for paths in categories[category].values() for path in paths}
            assert results[path]["labels"][kind] == label
            assert plain(results[path]["caption"]).startswith(begin)
            compared += 1
    assert compared > len(results) / 2


@pytest.fixture(scope="module")
def tickets(finished) -> Path:
    """Return the tickets study of the same model; one seed, since starting jobs takes longest."""
    result = snakemake(finished, "--config", "seeds=[1]", study="tickets")
    assert result.returncode == 0, result.stderr[-6000:]
    assert "train_tokenizer" not in result.stderr  # what the studies share is made once
    return finished


def test_every_figure_of_tickets_is_drawn_from_numbers(tickets):
    figures = sorted((tickets / "results" / "figures" / "tickets").rglob("*.pdf"))
    assert len(figures) == 3 + 7 + 9 + 2 + 3  # one sparsity, three tasks
    for figure in figures:
        assert figure.stat().st_size > 2000
        assert figure.with_suffix(".png").stat().st_size > 2000
        assert not pd.read_csv(figure.with_suffix(".csv")).empty


def test_the_summary_of_tickets_has_every_part(tickets):
    table = pd.read_parquet(next((tickets / "results/tables/tickets").rglob("summary.parquet")))
    assert set(table["part"]) == {"finding", "transfer", "overlap", "sharing", "representations"}
    tiny = yaml.safe_load(TINY.read_text("utf-8"))["tickets"]
    finding = table[table["part"] == "finding"]
    assert set(finding["language"]) == set(tiny["languages"])
    assert set(finding["task"]) == {"mlm", "ner", "nli"}
    rounds = range(tiny["rounds"] + 1)
    assert set(finding["kept"]) == {100 - tiny["step"] * number for number in rounds}
    assert (finding["low"] <= finding["value"]).all()
    assert (finding["value"] <= finding["high"]).all()
    shares = table[(table["part"] == "sharing") & (table["languages"] == 1)]
    shares = shares[shares["metric"] == "share"]
    for kept, rows in shares[shares["kind"] != "exactly"].groupby("kept"):
        assert rows["value"].tolist() == pytest.approx([kept / 100] * len(rows), abs=1e-3)


def test_a_second_run_of_tickets_has_nothing_to_do(tickets):
    result = snakemake(tickets, "--config", "seeds=[1]", study="tickets")
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Nothing to be done" in result.stderr + result.stdout


@pytest.fixture(scope="module")
def encoders(finished) -> Path:
    """Return the encoders study of the same model, with one seed."""
    result = snakemake(finished, "--config", "seeds=[1]", study="encoders")
    assert result.returncode == 0, result.stderr[-6000:]
    assert "rule train_tokenizer" not in result.stderr
    return finished


def test_every_figure_of_encoders_is_drawn_from_numbers(encoders):
    figures = sorted((encoders / "results" / "figures" / "encoders").rglob("*.pdf"))
    assert len(figures) == 2 + 4 + 1 + 2 + 1  # four tasks
    for figure in figures:
        assert figure.stat().st_size > 2000
        assert figure.with_suffix(".png").stat().st_size > 2000
        assert not pd.read_csv(figure.with_suffix(".csv")).empty


def test_every_method_of_encoders_is_scored_alike(encoders):
    table = pd.read_parquet(next((encoders / "results/tables/encoders").rglob("scores.parquet")))
    tiny = yaml.safe_load(TINY.read_text("utf-8"))["encoders"]
    assert set(table["method"]) == set(tiny["methods"])
    assert set(table["task"]) >= {"sts", "topics", "reading", "bitext", "structure"}
    assert table.groupby("method").size().nunique() == 1
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    place = ["task", "corpus", "language1", "language2", "setting", "metric"]
    mono, both = (
        table[(table["method"] == method) & (table["setting"] == "monolingual")]
        .set_index(place)["value"]
        .sort_index()
        for method in ("modular-mono", "modular-both")
    )
    assert mono.equals(both)  # in one language, no alignment is used


def test_exported_encoders_are_what_was_judged(encoders):
    """A plain folder, in a process that does not know this package, gives the judged vectors."""
    home = encoders / "results/models/demo-xlmr/encoders/s1/exported/modular-both"
    sentences = pd.read_parquet(encoders / "results/text/parallel/demo.parquet")["ar"].head(5)
    code = (
        "import json, sys\nfrom sentence_transformers import SentenceTransformer\n"
        "model = SentenceTransformer(sys.argv[1])\n"
        "print(json.dumps(model.encode(json.loads(sys.argv[2])).tolist()))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(home / "ar"), json.dumps(list(sentences))],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    scores = encoders / "results/scores/encoders/demo-xlmr/s1"
    judged = load_file(scores / "modular-both.embeddings.safetensors")["ar"][:5]
    plain = np.array(json.loads(done.stdout.splitlines()[-1]))
    assert np.abs(plain - judged).max() < 1e-4 * np.abs(judged).max()


def test_the_lines_that_load_exported_encoders_work(encoders):
    assert "tensor" in run_lines(1, encoders)


def test_the_lines_that_put_modules_together_work(encoders):
    library = f"import sys; sys.path.append({str(ROOT / 'workflow' / 'src')!r})\n"
    assert np.isfinite(float(run_lines(2, encoders, library)))
    assert (encoders / "my-encoder" / "modular.json").is_file()


def test_a_second_run_of_encoders_has_nothing_to_do(encoders):
    result = snakemake(encoders, "--config", "seeds=[1]", study="encoders")
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Nothing to be done" in result.stderr + result.stdout


@pytest.fixture(scope="module")
def alignment(finished) -> Path:
    """Return the alignment study on the text of the others, with one seed as they have."""
    result = snakemake(finished, "--config", "seeds=[1]", study="alignment")
    assert result.returncode == 0, result.stderr[-6000:]
    return finished


def test_every_figure_of_alignment_is_drawn_from_numbers(alignment):
    figures = sorted((alignment / "results" / "figures" / "alignment").rglob("*.pdf"))
    assert len(figures) == 10
    for figure in figures:
        assert figure.stat().st_size > 2000
        assert figure.with_suffix(".png").stat().st_size > 2000
        assert not pd.read_csv(figure.with_suffix(".csv")).empty


def test_every_network_is_scored_alike(alignment):
    table = pd.read_parquet(next((alignment / "results/tables/alignment").rglob("scores.parquet")))
    tiny = yaml.safe_load(TINY.read_text("utf-8"))
    assert set(table["network"]) == {"base", *tiny["alignment"]["networks"]}
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    place = ["task", "corpus", "language", "prompt", "shots", "demonstrations", "metric"]
    runs = table.groupby(place)[["network", "seed"]].agg(list)
    assert runs.astype(str).drop_duplicates().shape[0] == 1
    assert len(runs.iloc[0]["network"]) == 1 + len(tiny["alignment"]["networks"])


def test_an_aligned_model_is_a_plain_folder(alignment):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    home = alignment / "results/models/demo-gpt2"
    before = AutoModelForCausalLM.from_pretrained(home / "base").state_dict()
    after = AutoModelForCausalLM.from_pretrained(home / "aligned-both" / "s1").state_dict()
    assert before.keys() == after.keys()
    assert any((before[name] != after[name]).any() for name in before)
    tokenizer = AutoTokenizer.from_pretrained(home / "aligned-both" / "s1")
    ids = tokenizer("Cairo is the capital of Egypt.")["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1


def test_a_second_run_of_alignment_has_nothing_to_do(alignment):
    result = snakemake(alignment, "--config", "seeds=[1]", study="alignment")
    assert "Nothing to be done" in result.stdout + result.stderr
