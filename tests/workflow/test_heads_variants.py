"""The heads study as the demo does not show it: on real files, and of a BERT in a user's folder."""

import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import load_file

from babelscope.io import read_jsonl
from babelscope.tokenization.packing import read_chunks

ROOT = Path(__file__).resolve().parents[2]
LOCAL, TINY = ROOT / "config" / "local-data.yaml", ROOT / "tests" / "tiny.yaml"
# Wikis of 206 pages, 1, 3 and 1: Latin letters, no spaces, right to left, vowels as marks.
SCRIPTS = {"en": "LATIN", "zh": "CJK", "ar": "ARABIC", "hi": "DEVANAGARI"}
REAL = {
    "languages": list(SCRIPTS),
    "seeds": [1],
    "articles": {"per_language": 40},
    "parallel": {"max_sentences": 40},
    "mlm": {
        "window": 128,
        "tokenizer": {"vocabulary": 4000, "characters": 300_000},
        # as many windows of each: Chinese has a thirtieth of them all
        "finetune": {"lr": 0.005, "max_steps": 40, "batch_size": 8, "train_examples": 40},
    },
    "encode": {"max_tokens": 128},
    "heads": {
        "draws": 1,
        "random_masks": 1,
        "entropy": False,
        "budgets": [
            {"name": "ratio-1.1", "ratio": 1.1},
            {"name": "sparsity-0.5", "sparsity": 0.5},
        ],
    },
}
KNOWN = (
    r"\d+ of 40 sentences cut to 128 tokens",
    r".* articles had template errors .*",  # the excerpts do not hold the templates' pages
)
# What some rows of a table cannot have; that the others do is asked for each.
PARTIAL = {
    "overlap": "jaccard|expected|sd|z|p",
    "perplexity": "mask_language|draw|ratio.*|kept|heads",
    "training": "gradient_norm",
    "typology": "standard_error|low|high",
    "typology_points": "token_overlap_.*",
}
LAYERS, HEADS, HEAD_SIZE, POSITIONS = 3, 4, 6, 64  # of the BERT: all different, and not the demo's
BERT = {
    "models": ["own"],
    "seeds": [1],
    "mlm": {"finetune": {"lr": 0.01, "max_steps": 30}},
    "heads": {"budgets": [{"name": "sparsity-0.5", "sparsity": 0.5}], "entropy": True},
    "encode": {"keep_states": True},
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.usefixtures("prefork")]


def snakemake(
    folder: Path, *arguments: str | Path, checkout: Path = ROOT
) -> subprocess.CompletedProcess:
    command = [
        *(Path(sys.executable).with_name("snakemake"), "--snakefile", checkout / "Snakefile"),
        *("--workflow-profile", ROOT / "profiles" / "default", "--directory", folder),
        *("--cores", "2", "heads", "--configfile", *arguments),
    ]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def tables_of(folder: Path) -> dict[str, pd.DataFrame]:
    (home,) = (folder / "results" / "tables" / "heads").iterdir()
    return {path.stem: pd.read_parquet(path) for path in sorted(home.glob("*.parquet"))}


def study_on(data_root: Path, folder: Path, *options: str) -> subprocess.CompletedProcess:
    overlay = folder / "small.yaml"
    overlay.write_text(yaml.safe_dump(REAL))
    return snakemake(folder, LOCAL, TINY, overlay, "--config", f"data_root={data_root}", *options)


@pytest.fixture(scope="module")
def real(prefork, real_data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    result = study_on(real_data, folder)
    assert result.returncode == 0, result.stderr[-6000:]
    return folder


@pytest.mark.real_data
def test_every_table_and_figure_of_real_files_is_there(real, real_data):
    again = study_on(real_data, real, "--dry-run")
    assert again.returncode == 0, again.stderr[-3000:]
    assert "Nothing to be done" in again.stderr + again.stdout
    figures = sorted((real / "results" / "figures").rglob("*.pdf"))
    assert len(figures) >= 5 * len(REAL["heads"]["budgets"]) + 20
    for figure in figures:
        assert figure.stat().st_size > 2000
        assert figure.with_suffix(".png").stat().st_size > 2000
        assert not pd.read_csv(figure.with_suffix(".csv")).empty
    for table in (real / "results" / "tables").rglob("*.parquet"):
        assert not pd.read_csv(table.with_suffix(".csv")).empty


@pytest.mark.real_data
def test_every_real_language_is_in_every_table(real):
    tables = tables_of(real)
    for name, table in tables.items():
        sides = table.columns.intersection(
            ["language", "left", "right", "left_language", "right_language"]
        )
        found = set(pd.unique(table[sides].to_numpy().ravel())) - {"all"}
        others = {"token_overlap", "similarity_differences"}  # of each with the pivot
        assert found == set(SCRIPTS) - ({"en"} if name in others else set()) or name == "typology"
    # ratio-1.1 and sparsity-0.5: one mask of 2 layers x 3 heads per language
    assert tables["heads"].groupby(["budget", "language"]).size().tolist() == [6] * 8
    assert set(tables["typology"]["n"]) == {4, 3}  # all, and those beside the pivot
    assert set(tables["similarity"]["corpus"]) == {"pud"}
    assert set(tables["similarity"]["n"]) == {40}


@pytest.mark.real_data
def test_every_real_language_has_text_of_its_own(real, real_data):
    counted = tables_of(real)["corpus"].set_index(["language", "stage", "item"])["count"]
    pud = pd.read_csv(real_data / "parallel" / "pud.tsv", sep="\t", quoting=3, nrows=40)
    read = pd.read_parquet(real / "results" / "text" / "parallel" / "pud.parquet")
    for language, script in SCRIPTS.items():
        counts = {
            stage: part.droplevel("stage")
            for stage, part in counted[language].groupby(level="stage")
        }
        articles, sampled, splits = counts["articles"], counts["sampled"], counts["splits"]
        assert articles["articles"] > 0
        assert articles["pages"] == articles.drop("pages").sum()
        with lzma.open(real_data / "mono" / f"{language}.jsonl.xz") as lines:
            assert sampled["found"] == articles["articles"] + sum(1 for _ in lines)
        assert sampled["found"] == sampled.drop("found").sum()
        assert sampled["sampled"] == splits.sum() == 40
        assert (splits > 0).all()
        assert (counts["windows"] > 0).all()
        assert counts["parallel-pud"].to_dict() == {"sentences": 40, "missing": 0}
        assert read[language].tolist() == pud[language].tolist()

        records = read_jsonl(real / "results" / "text" / "sampled" / f"{language}.jsonl.zst")
        letters = [letter for one in records for letter in one["text"] if letter.isalpha()]
        own = sum(unicodedata.name(letter, "").startswith(script) for letter in letters)
        assert own > 0.7 * len(letters), language
        windows = read_chunks(
            real / "results" / "text" / "chunks" / "demo-xlmr" / language / "train.arrow"
        )
        assert windows.shape == (counts["windows"]["train"], 128)
        assert (windows == 3).mean() < 0.01, language  # unknown to the tokenizer


@pytest.mark.real_data
def test_a_model_of_real_text_learns_and_is_scored(real):
    tables = tables_of(real)
    table = tables["perplexity"]
    assert set(table["budget"]) == {"full", "ratio-1.1", "sparsity-0.5"}
    assert table.groupby(["network", "budget", "mask"])["language"].nunique().unique() == [4]
    scores = table[["low", "perplexity", "high"]].to_numpy(float)
    assert np.isfinite(scores).all()
    assert (scores > 1).all()
    assert (np.diff(scores) >= 0).all()
    assert (table["n_tokens"] > 0).all()
    whole = table[table["kind"] == "full"].pivot(
        index="language", columns="network", values="perplexity"
    )
    assert len(whole) == 4
    losses = np.log(whole).mean()
    assert losses["finetuned"] < losses["base"], whole

    rounds = tables["trajectories"]
    full = rounds[rounds["removed"] == 0]
    assert len(full) == 4
    assert (full["ratio"] == 1).all()
    assert (rounds["perplexity"] > 1).all()
    removed = tables["parameters"]
    assert (removed["kept"] == 3).all()
    change = removed["perplexity_removed"] / removed["perplexity_masked"] - 1
    assert (change.abs() < 1e-4).all()
    cka = tables["similarity"].query("measure == 'cka'")
    assert set(cka["left_layer"]) == {0, 1, 2}
    assert (cka["value"] <= 1 + 1e-6).all()


@pytest.mark.real_data
def test_no_number_of_real_files_is_missing(real):
    tables = tables_of(real)
    for name, table in tables.items():
        asked = table.drop(columns=table.filter(regex=f"^({PARTIAL.get(name, '')})$").columns)
        assert len(asked.columns) >= 4
        assert asked.notna().all(axis=None), name
        assert np.isfinite(asked.select_dtypes("number").to_numpy(float)).all(), name

    def lacks(name: str, rows: pd.Series) -> pd.Series:
        part = tables[name][rows].filter(regex=f"^({PARTIAL[name]})$")
        assert not part.empty
        return part.isna().any()

    masked = tables["perplexity"]["kind"] != "full"
    missing = lacks("perplexity", masked)
    assert not missing.drop(["mask_language", "draw"]).any()  # of one language's masks alone
    assert not lacks("perplexity", tables["perplexity"]["kind"] == "language").any()
    overlap = tables["overlap"]
    assert not lacks("overlap", overlap["kept_left"] + overlap["kept_right"] > 0).any()
    assert not lacks("training", tables["training"]["split"] == "train").any()
    points = tables["typology_points"]
    sides = points[["left_language", "right_language"]]
    assert not lacks("typology_points", (sides == "en").any(axis=1)).any()


@pytest.mark.real_data
def test_logs_of_real_files_warn_of_nothing_new(real):
    logs = sorted((real / "results" / "logs").rglob("*.log"))
    assert len(logs) > 60
    text = "\n".join(log.read_text("utf-8") for log in logs)
    said = re.findall(r"^[\d-]+ [\d:]+ (?:WARNING|ERROR|CRITICAL) (.*)$", text, re.MULTILINE)
    assert not [line for line in said if not any(re.fullmatch(one, line) for one in KNOWN)]
    assert not re.search(r"\w+Warning: |Traceback|\bnan\b", text)


@pytest.fixture(scope="module")
def bert(prefork, tmp_path_factory) -> Path:
    """Return the folder of a study of a BERT, which a row of a user's table of models names."""
    folder = tmp_path_factory.mktemp("bert")
    write_bert(folder / "plain", folder / "models" / "given")
    checkout = folder / "checkout"
    checkout.mkdir()
    shutil.copy(ROOT / "Snakefile", checkout)
    shutil.copytree(ROOT / "config", checkout / "config")
    for name in ("workflow", "envs"):
        (checkout / name).symlink_to(ROOT / name)
    with (checkout / "config" / "models.tsv").open("a") as table:
        table.write("own\tbert\tlocal\tmodels/given\t\tMIT\tmine\n")
    overlay = folder / "bert.yaml"
    overlay.write_text(yaml.safe_dump(BERT))
    result = snakemake(folder, TINY, overlay, checkout=checkout)
    assert result.returncode == 0, result.stderr[-6000:]
    return folder


def write_bert(plain: Path, published: Path) -> None:
    """Write a tiny BERT twice: as transformers saves it, and as multilingual BERT is published.

    The latter has weights that its architecture does not, and the names of 2018 for some others.
    """
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import BertConfig, BertForPreTraining, BertTokenizer

    from babelscope.demo.build import parallel_sentences
    from babelscope.demo.knowledge import load
    from babelscope.demo.plan import hold_out

    rows = parallel_sentences(hold_out(load(), 200, 7), ["en", "zh", "ar"], 7)
    text = "\n".join(sentence for row in rows for sentence in row)
    letters = sorted(set(text) - set(" \n"))
    words = [word for word, _ in Counter(re.findall(r"\w+", text)).most_common(300)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    # made by hand: the tokenizers library trains another WordPiece each time
    pieces = dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *words])
    tokenizer = BertTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)},
        do_lower_case=False,
        model_max_length=POSITIONS,
    )
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=HEADS * HEAD_SIZE,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=48,
        max_position_embeddings=POSITIONS,
        initializer_range=0.3,  # so that every head has a say
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = BertForPreTraining(config)
        for name, weight in model.named_parameters():
            if "LayerNorm" in name or name.endswith("bias"):
                torch.nn.init.normal_(weight, float(name.endswith("weight")), 0.2)
    for folder in (plain, published):
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    description = json.loads((published / "config.json").read_text("utf-8"))
    description["architectures"] = ["BertForMaskedLM"]
    (published / "config.json").write_text(json.dumps(description))
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    weights = {
        re.sub("|".join(old), lambda found: old[found[0]], name): weight
        for name, weight in load_file(published / "model.safetensors").items()
    }
    save_file(weights, published / "model.safetensors", {"format": "pt"})


def kept_heads(folder: Path, language: str) -> np.ndarray:
    """Return the mask of a language's subnetwork as the table tells it, shape (layers, heads)."""
    table = tables_of(folder)["heads"].query("draw == 0").set_index("language")
    return table.loc[language].pivot(index="layer", columns="head", values="kept").to_numpy(bool)


def first_states(model: Path, sentences: list[str], kept: np.ndarray) -> np.ndarray:
    """Return what plain transformers makes of each sentence's first token, all layers.

    Parameters
    ----------
    kept
        Shape (layers, heads); the output of the other heads is 0.

    Returns
    -------
    states
        Shape (layers + 1, sentences, width).
    """
    import torch
    from transformers import BertModel, BertTokenizer

    network = BertModel.from_pretrained(model, add_pooling_layer=False).eval()
    for layer, heads in zip(network.encoder.layer, kept, strict=True):
        share = torch.from_numpy(np.repeat(heads, HEAD_SIZE)).float()
        layer.attention.output.dense.register_forward_pre_hook(
            lambda _, inputs, share=share: (inputs[0] * share,)
        )
    tokenizer = BertTokenizer.from_pretrained(model)
    states = []
    for sentence in sentences:
        with torch.no_grad():
            inputs = tokenizer(sentence, return_tensors="pt")
            hidden = network(**inputs, output_hidden_states=True).hidden_states
        states.append(torch.stack([layer[0, 0] for layer in hidden]))
    return torch.stack(states, dim=1).numpy()


def test_the_heads_of_a_bert_are_its_own(bert):
    tables = tables_of(bert)
    assert set(tables["corpus"]["language"]) == {"en", "zh", "ar"}
    masks = tables["heads"].groupby(["language", "draw"])
    assert len(masks) == 3 * 2
    places = {(layer + 1, head + 1) for layer in range(LAYERS) for head in range(HEADS)}
    for _, mask in masks:
        assert len(mask) == LAYERS * HEADS
        assert set(zip(mask["layer"], mask["head"], strict=True)) == places
        assert mask["kept"].sum() == LAYERS * HEADS // 2
    entropy = tables["entropy"]
    assert set(zip(entropy["layer"], entropy["head"], strict=True)) == places
    home = bert / "results" / "models" / "own"
    for network in ("finetuned", "random"):
        config = json.loads((home / network / "s1" / "config.json").read_text("utf-8"))
        assert config["architectures"] == ["BertForMaskedLM"]
        assert (config["num_hidden_layers"], config["num_attention_heads"]) == (LAYERS, HEADS)
    trained = pd.read_csv(next((bert / "results/tables").rglob("perplexity_finetuning.csv")))
    assert len(trained) == 3
    assert (trained["after"] < trained["before"] / 2).all()


def test_a_bert_without_heads_gives_the_masked_perplexity(bert):
    tables = tables_of(bert)
    sizes = tables["parameters"].set_index("language")
    scores = tables["perplexity"].query("network == 'finetuned'")
    scores = scores.set_index(["mask", "language"])["perplexity"]
    assert set(sizes.index) == {"en", "zh", "ar"}
    width = HEADS * HEAD_SIZE
    # query, key and value with a bias each, and the output, whose bias stays
    of_a_head = 3 * HEAD_SIZE * (width + 1) + HEAD_SIZE * width
    for language, row in sizes.iterrows():
        assert abs(row["perplexity_removed"] / row["perplexity_masked"] - 1) < 1e-4
        assert abs(row["perplexity_masked"] / row["perplexity_full"] - 1) > 1e-3
        masked, full = scores[f"{language}/d0", language], scores["full", language]
        assert row["perplexity_masked"] == pytest.approx(masked, rel=1e-5)
        assert row["perplexity_full"] == pytest.approx(full, rel=1e-5)
        kept = kept_heads(bert, language)
        assert (row["kept"], row["heads"]) == (kept.sum(), LAYERS * HEADS)
        lost = row["parameters_before"] - row["parameters_after"]
        assert lost == of_a_head * (~kept).sum()
        folder = bert / "results" / "models" / "own" / "subnetwork" / "s1" / language
        weights = load_file(folder / "model.safetensors")
        for layer, heads in enumerate(kept):
            name = f"bert.encoder.layer.{layer}.attention.self.query.weight"
            found = weights[name].shape if name in weights else (0, width)
            assert found == (heads.sum() * HEAD_SIZE, width)


@pytest.mark.parametrize("language", ["en", "zh", "ar"])
def test_states_of_a_bert_are_those_of_plain_transformers(bert, language):
    """Read from the folder as published, fine-tuned and whole, and under a language's mask."""
    home = bert / "results" / "models" / "own" / "finetuned" / "s1"
    whole = np.ones((LAYERS, HEADS), bool)
    sentences = list(pd.read_parquet(bert / "results/text/parallel/demo.parquet")[language].head(6))
    for network, subnetwork, model, kept in (
        ("base", "full", bert / "plain", whole),
        ("finetuned", "full", home, whole),
        ("finetuned", language, home, kept_heads(bert, language)),
    ):
        expected = first_states(model, sentences, kept)
        folder = bert / "results" / "states" / "own" / network / "s1" / subnetwork / "demo"
        found = load_file(folder / f"{language}.safetensors")["first"]
        assert found.shape == (LAYERS + 1, 40, HEADS * HEAD_SIZE)
        np.testing.assert_allclose(found[:, :6], expected, atol=1e-4)


def test_a_bert_is_compared_layer_by_layer(bert):
    tables = tables_of(bert)
    table = tables["similarity"].query("measure == 'cka' and estimator == 'unbiased'")
    assert set(table["left_layer"]) == set(range(LAYERS + 1))
    assert table["value"].notna().all()
    own = table.query("comparison == 'own'")
    assert len(own) == 3 * (LAYERS + 1)
    assert own.query("left_layer == 0")["value"].tolist() == pytest.approx([1.0] * 3)
    assert (own.query("left_layer > 0")["value"] < 0.999).all()  # masks are seen
    figures = sorted((bert / "results" / "figures").rglob("*.pdf"))
    assert len(figures) >= 25
    for figure in figures:
        assert figure.stat().st_size > 2000
        assert figure.with_suffix(".png").stat().st_size > 2000
        assert not pd.read_csv(figure.with_suffix(".csv")).empty
