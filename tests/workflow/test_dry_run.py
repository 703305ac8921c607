"""What Snakemake says before it runs anything."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[2]


def snakemake(*arguments: str, directory: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            Path(sys.executable).with_name("snakemake"),
            *("--snakefile", ROOT / "Snakefile", "--directory", directory),
            *("--workflow-profile", "none", "--cores", "2"),
            *arguments,
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(directory / "cache")},
    )


@pytest.mark.parametrize("target", ["all", "heads", "figures"])
def test_every_target_can_be_planned_in_groups(target, tmp_path):
    """Snakemake refuses groups that would wait for themselves."""
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text("utf-8"))
    groups = [
        word
        for option in ("groups", "group-components")
        for word in (f"--{option}", *(f"{key}={value}" for key, value in profile[option].items()))
    ]
    result = snakemake(target, "-n", *groups, directory=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "finetune_mlm" in result.stderr + result.stdout


def test_the_published_scale_lists_its_jobs(tmp_path):
    overlay = ROOT / "config" / "paper" / "heads.yaml"
    result = snakemake("heads", "-n", "--configfile", overlay, directory=tmp_path)
    assert result.returncode == 0, result.stderr
    text = result.stdout + result.stderr
    for word in ("download_model", "download_corpus", "gpu=1", "mem_mb=", "runtime="):
        assert word in text
    assert "nodes=" not in text  # nor anything else that only several nodes take
    assert "mpi=" not in text


def test_the_published_scale_downloads_nothing_in_the_name_of_nobody(tmp_path):
    """It can be planned as it stands; a run is refused before its first job."""
    overlay = ROOT / "config" / "paper" / "heads.yaml"
    result = snakemake("results/text/articles/en", "--configfile", overlay, directory=tmp_path)
    assert result.returncode != 0
    message = result.stdout + result.stderr
    assert "dumps.contact: you@example.org stands for your own address" in message
    assert "rule download_dump" not in message
    assert not (tmp_path / "resources").exists()


def jobs(plan: str) -> dict[str, int]:
    """Return how many jobs of each rule a dry run lists."""
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", plan, re.M)}


def test_the_tickets_study_lists_its_jobs(tmp_path):
    """Few jobs make its tables and figures: starting one costs more than drawing."""
    result = snakemake("tickets", "-n", directory=tmp_path)
    assert result.returncode == 0, result.stderr
    planned = jobs(result.stdout + result.stderr)
    tickets = yaml.safe_load((ROOT / "config" / "config.yaml").read_text("utf-8"))["tickets"]
    targets = len(tickets["tasks"]) * len(tickets["languages"])
    assert planned["find_ticket"] == targets * len(tickets["variants"])
    assert planned["transfer_ticket"] == targets * len(tickets["analysed"])
    assert "finetune_mlm" not in planned
    for verb, most in (("collect", 3), ("plot", 6)):
        assert sum(count for rule, count in planned.items() if rule.startswith(verb)) <= most


def test_the_published_scale_of_tickets_can_be_planned(tmp_path):
    overlay = ROOT / "config" / "paper" / "tickets.yaml"
    result = snakemake("tickets", "-n", "--configfile", overlay, directory=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "gpu=1" in result.stdout + result.stderr


def test_the_encoders_study_lists_its_jobs(tmp_path):
    result = snakemake("encoders", "-n", directory=tmp_path)
    assert result.returncode == 0, result.stderr
    planned = jobs(result.stdout + result.stderr)
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text("utf-8"))
    encoders = config["encoders"]
    languages = len(encoders["languages"])
    aligned = sum(method.endswith(("phrase", "parallel", "both")) for method in encoders["methods"])
    assert planned["adapt_language"] == planned["train_encoder"] == languages
    assert planned["train_alignment_adapter"] == aligned * (languages - 1)
    assert planned["evaluate_encoder"] == len(encoders["methods"])
    assert planned["export_encoder"] == languages * len(encoders["exported"])
    assert "finetune_mlm" not in planned
    assert "translate_pairs" not in planned


def test_the_published_scale_of_encoders_translates_what_comes_in_english_only(tmp_path):
    overlay = ROOT / "config" / "paper" / "encoders.yaml"
    data = tmp_path / "data"
    data.mkdir()
    settings = ("--configfile", overlay, "--config", f"data_root={data}")
    result = snakemake("encoders", "-n", *settings, directory=tmp_path)
    assert result.returncode == 0, result.stderr
    text = result.stdout + result.stderr
    assert "gpu=1" in text
    assert jobs(text)["translate_pairs"] == 5 * 22
    assert jobs(text)["download_corpus"] == 8


def test_only_methods_that_are_named_are_trained(tmp_path):
    settings = "encoders={methods: [source, full-mono], exported: [], pairs: [demo-pairs]}"
    result = snakemake("encoders", "-n", "--config", settings, directory=tmp_path)
    assert result.returncode == 0, result.stderr
    planned = jobs(result.stdout + result.stderr)
    assert planned["train_whole_encoder"] == 1
    for rule in ("adapt_language", "train_alignment_adapter", "export_encoder", "focus_embeddings"):
        assert rule not in planned
    assert "strategies" not in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("encoders={languages: [de, ru]}", ["encoders.languages", "pivot, en"]),
        ("encoders={methods: [full-mono, modular-mono]}", ["methods must hold 'source'"]),
        ("encoders={methods: [source, modular-both]}", ["begins with modular-mono"]),
        ("encoders={pairs: [mnli-triples]}", ["mnli-triples", "encoders.translation.model"]),
        (
            "encoders={pairs: [mnli-triples], translation: {model: labse}}",
            ["encoders.translation.model: labse", "does not translate", "m2m_100"],
        ),
        ("encoders={pairs: [demo-sts]}", ["demo-sts is not of the kind pairs"]),
        ("encoders={evaluated: [bucc]}", ["none of bucc judges encoders in one language"]),
        ("encoders={evaluated: [semrel]}", ["data_root", "the corpus semrel of encoders"]),
        ("encoders={alignment: {max_tokens: 99}}", ["encoders.alignment.max_tokens", "mlm.window"]),
        ("encoders={exported: [full-mono]}", ["must be modular"]),
    ],
)
def test_what_the_encoders_study_cannot_do_is_refused(settings, words, tmp_path):
    result = snakemake("encoders", "-n", "--config", settings, directory=tmp_path)
    assert result.returncode != 0
    message = result.stdout + result.stderr
    assert "Traceback (most recent call last)" not in message
    for word in words:
        assert word in message, message[-2000:]


def test_the_alignment_study_lists_its_jobs(tmp_path):
    result = snakemake("alignment", "-n", directory=tmp_path)
    assert result.returncode == 0, result.stderr
    planned = jobs(result.stdout + result.stderr)
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text("utf-8"))
    networks = config["alignment"]["networks"]
    assert planned["align_generator"] == len(networks)
    assert planned["evaluate_in_context"] == planned["encode_corpus"] == len(networks) + 1
    assert planned["read_choices"] == len(config["alignment"]["evaluated"])
    assert "build_base_model" not in planned
    assert "finetune_mlm" not in planned


def test_the_published_scale_of_alignment_can_be_planned(tmp_path):
    overlay = ROOT / "config" / "paper" / "alignment.yaml"
    data = tmp_path / "data"
    data.mkdir()
    settings = ("--configfile", overlay, "--config", f"data_root={data}")
    result = snakemake("alignment", "-n", *settings, directory=tmp_path)
    assert result.returncode == 0, result.stderr
    planned = jobs(result.stdout + result.stderr)
    assert planned["download_model"] == 1
    assert "build_demo" not in planned
    assert "download_dump" not in planned
    assert "build_generator" not in planned


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("alignment={languages: [de, ru]}", ["alignment.languages", "pivot, en"]),
        ("alignment={training: {pooler: avg-9}}", ["avg-9", "layer 9"]),
        ("alignment={evaluated: [pawsx]}", ["data_root", "pawsx"]),
    ],
)
def test_what_the_alignment_study_cannot_do_is_refused(settings, words, tmp_path):
    result = snakemake("alignment", "-n", "--config", settings, directory=tmp_path)
    assert result.returncode != 0
    message = result.stdout + result.stderr
    assert "Traceback (most recent call last)" not in message
    for word in words:
        assert word in message, message[-2000:]


def test_of_a_task_alone_nothing_is_compared_across_tasks(tmp_path):
    settings = "tickets={tasks: [ner], encoded: ner, analysed: [70, 40]}"
    result = snakemake("tickets", "-n", "--config", settings, directory=tmp_path)
    assert result.returncode == 0, result.stderr
    text = result.stdout + result.stderr
    assert "figures/tickets/demo-xlmr/overlap/ner.k40.png" in text
    assert "overlap_tasks" not in text
    assert "demo-nli" not in text
    assert jobs(text)["plot_ticket_transfer"] == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("models=[gpt2]", "models: gpt2 is of the family gpt2"),
        ("languages=[en,de]", "languages: en, de are too few for the heads study"),
        ("languages=[en,tr]", "the demo, from which the corpus demo of heads comes"),
    ],
)
def test_what_the_heads_study_cannot_do_is_refused(settings, words, tmp_path):
    result = snakemake("heads", "-n", "--config", settings, directory=tmp_path)
    assert result.returncode != 0
    message = result.stdout + result.stderr
    assert words in message
    assert "Traceback (most recent call last)" not in message


def test_tickets_need_languages_of_the_study_and_heads_do_not(tmp_path):
    settings = ("--config", "languages=[en,es,hi]")
    assert snakemake("heads", "-n", *settings, directory=tmp_path).returncode == 0
    result = snakemake("tickets", "-n", *settings, directory=tmp_path)
    assert result.returncode != 0
    message = result.stdout + result.stderr
    assert "tickets.languages" in message
    assert "Traceback (most recent call last)" not in message


def test_what_no_model_of_the_study_can_do_is_refused(tmp_path):
    result = snakemake("-n", "--config", "tasks={nli: {form: rank}}", directory=tmp_path)
    assert result.returncode != 0
    message = result.stdout + result.stderr
    assert "tasks.nli.form: rank is for models of t5 and mt5; there are xlm-roberta." in message
    assert "Traceback (most recent call last)" not in message


def test_without_fine_tuning_the_base_model_is_studied(tmp_path):
    result = snakemake("heads", "-n", "--config", "mlm={eval_only: true}", directory=tmp_path)
    assert result.returncode == 0, result.stderr
    planned = jobs(result.stdout + result.stderr)
    assert planned["rank_heads"] == 8
    assert "finetune_mlm" not in planned


def test_several_models_corpora_seeds_and_processes_at_once(tmp_path):
    (tmp_path / "parallel").mkdir()
    (tmp_path / "parallel" / "pud.tsv").touch()
    settings = (
        *("languages=[en,de,hi]", "seeds=[1,2]", "models=[demo-xlmr,xlm-roberta-base]"),
        *("parallel={corpora: [demo, pud]}", "data_root=.", "compute={processes: 4, nodes: 2}"),
    )
    result = snakemake("heads", "-n", "--config", *settings, directory=tmp_path)
    assert result.returncode == 0, result.stderr
    text = result.stdout + result.stderr
    planned = jobs(text)
    assert planned["build_base_model"] == planned["download_model"] == 1
    assert planned["finetune_mlm"] == 4
    assert planned["read_parallel"] == 2
    assert planned["encode_corpus"] == 2 * 2 * 2 * (3 + 3)  # whole: random, base, fine-tuned
    assert planned["collect_similarity"] == 2
    spread = "mpi=srun, nodes=2, tasks_per_node=2, cpus_per_task=2"
    assert text.count(spread) == planned["build_base_model"] + planned["finetune_mlm"]


@pytest.fixture
def checkout(tmp_path):
    """Return a copy of what a user edits, with the rest of the project behind it."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    shutil.copy(ROOT / "Snakefile", folder)
    shutil.copytree(ROOT / "config", folder / "config")
    for name in ("workflow", "envs"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def test_a_model_from_a_folder(checkout, tmp_path):
    row = "own\txlm-roberta\tlocal\tgiven\t\tMIT\tmine\n"
    with (checkout / "config" / "models.tsv").open("a") as table:
        table.write(row)
    options = ("--snakefile", checkout / "Snakefile", "--config", "models=[own]")
    missing = snakemake("heads", "-n", *options, directory=tmp_path)
    assert missing.returncode != 0
    message = missing.stdout + missing.stderr
    assert "models: the row own of config/models.tsv names the folder given" in message
    assert f"a relative path counts from {tmp_path}." in message
    assert "Traceback (most recent call last)" not in message

    (tmp_path / "given").mkdir()
    save_file({"x": np.zeros(3)}, tmp_path / "given" / "model.safetensors")
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / "given" / name).write_text("{}")
    assert snakemake("heads", "-n", *options, directory=tmp_path).returncode == 0
    done = snakemake("resources/models/own", *options, directory=tmp_path)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "resources" / "models" / "own").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} < names


@pytest.mark.parametrize(("family", "searches"), [("mt5", 5), ("bert", 6)])
def test_masks_without_a_decoder_are_not_tried_on_tasks_that_need_one(
    checkout, tmp_path, family, searches
):
    with (checkout / "config" / "models.tsv").open("a") as table:
        table.write(f"own\t{family}\tlocal\tgiven\t\tMIT\tmine\n")
    (tmp_path / "given").mkdir()
    target = "results/scores/transfer/own/s1/nli/en/k40.parquet"
    options = ("--snakefile", checkout / "Snakefile", "--config", "models=[own]")
    result = snakemake(target, "-n", *options, directory=tmp_path)
    assert result.returncode == 0, result.stderr
    assert jobs(result.stdout + result.stderr)["find_ticket"] == searches  # 4 languages, 2 tasks


def test_parsing_imports_no_torch(tmp_path):
    """The dry run of the largest configuration works where torch cannot be imported."""
    (tmp_path / "block").mkdir()
    (tmp_path / "block" / "torch.py").write_text("raise ImportError('torch while parsing')\n")
    result = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"),
            *("--directory", tmp_path, "--workflow-profile", "none", "--cores", "1", "-n", "heads"),
            *("--configfile", ROOT / "config" / "paper" / "heads.yaml"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "block")},
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("languages=[en,xx]", ["xx", "config/languages.tsv", "allowed"]),
        ("models=[gpt-9]", ["gpt-9", "config/models.tsv", "demo-xlmr"]),
        ("lnguages=[en]", ["lnguages", "unknown key"]),
        ("seeds=[-1]", ["seeds.0"]),
        ("tickets={languages: [en, xx]}", ["tickets.languages: xx", "config/languages.tsv"]),
    ],
)
def test_a_wrong_configuration_stops_before_the_first_job(setting, words, tmp_path):
    result = snakemake("-n", "--config", setting, directory=tmp_path)
    assert result.returncode != 0
    message = result.stderr + result.stdout
    assert "Traceback" not in message
    for word in words:
        assert word in message


def test_a_key_that_stands_twice_in_an_overlay_stops_the_run(tmp_path):
    overlay = tmp_path / "own.yaml"
    overlay.write_text("seeds: [1]\nmlm: {windw: 8}\nmlm: {window: 32}\n")
    result = snakemake("-n", "--configfile", overlay, directory=tmp_path)
    assert result.returncode != 0
    message = result.stderr + result.stdout
    assert "Traceback" not in message
    assert f"{overlay}, line 3: mlm is there before, in line 2" in message


def test_a_mistyped_target_is_refused(tmp_path):
    result = snakemake("results/figures/heads/gpt-9/head_masks.pdf", "-n", directory=tmp_path)
    assert result.returncode != 0


def test_lint_is_clean(tmp_path):
    result = snakemake("--lint", directory=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
