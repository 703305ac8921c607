"""What a configuration costs: closed forms, what grows with what, and the plan as it is printed."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from babelscope import plan
from babelscope.dag import Graph, Job
from babelscope.errors import BabelscopeError
from babelscope.models.sizes import parse_shape
from babelscope.planning.beliefs import Beliefs, Quantities
from babelscope.planning.storage import Shelf
from babelscope.planning.work import Clock, forward

ROOT = Path(__file__).resolve().parents[2]
TABLES = ROOT / "config"
LIBRARY = ROOT / "workflow" / "src" / "babelscope"
CONFIG = yaml.safe_load((TABLES / "config.yaml").read_text("utf-8"))
BASE = parse_shape("xlm-roberta", "12x768x3072x250002")


def make_job(rule, *, gpus=0, environment="torch", params=(), needed=True, **wildcards):
    return Job(
        rule=rule,
        wildcards={"model": "demo-xlmr", **wildcards},
        script=rule,
        environment=environment,
        threads=1,
        gpus=gpus,
        params=dict(params),
        outputs=[],
        log=None,
        benchmark=f"{rule}.tsv",
        needed=needed,
        changed="",
        mark=None,
    )


@pytest.fixture
def quantities(tmp_path):
    """Return a function that returns the quantities of the demo with some settings changed."""

    def make(changes=()):
        config = yaml.safe_load(yaml.safe_dump(CONFIG))
        update_config(config, dict(changes))
        return Quantities(config, TABLES, tmp_path)

    return make


@pytest.fixture
def flop(quantities):
    """Return a function that returns the operations of a job with some settings changed."""

    def ask(job, changes=()):
        return Clock(quantities(changes), "a100").work(job).flop

    return ask


def test_a_forward_pass_is_two_operations_for_each_weight_and_token():
    weights = 12 * (4 * 768**2 + 2 * 768 * 3072)
    attention = 12 * 4 * 768 * 128
    assert BASE.layers * BASE.matrices == weights
    assert forward(BASE, 1000, 128) == 1000 * (2 * weights + attention)
    head = forward(BASE, 1000, 128, 150) - forward(BASE, 1000, 128)
    assert head == 2 * 150 * 768 * (250_002 + 768)
    assert forward(BASE, 1000, 128, layers=3) * 4 == forward(BASE, 1000, 128)


def test_the_measured_step_of_a_base_model_takes_as_long_as_it_took(quantities):
    """benchmarks/RESULTS.md: 4096 tokens in windows of 128 in 22.3 s on two cores."""
    clock = Clock(quantities(), "a100")
    seconds = 3 * forward(BASE, 4096, 128, 0.15 * 4096) / (2 * clock.core(768))
    assert seconds == pytest.approx(22.3, rel=0.1)


def test_a_model_that_is_here_tells_its_shape_itself(quantities, tmp_path):
    folder = tmp_path / "resources" / "models" / "labse"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(
        '{"model_type": "bert", "num_hidden_layers": 2, "hidden_size": 8, "vocab_size": 5,'
        ' "intermediate_size": 16, "num_attention_heads": 2, "max_position_embeddings": 7,'
        ' "type_vocab_size": 2}'
    )
    found = quantities()
    assert (found.shape("labse").layers, found.shape("labse").positions) == (2, 7)
    assert found.shape("xlm-roberta-base").parameters == BASE.parameters


def test_training_grows_with_steps_batch_and_width(flop):
    job = make_job("finetune_mlm", seed="1")
    whole = flop(job)
    now = CONFIG["mlm"]["finetune"]
    for key in ("max_steps", "batch_size", "accumulation"):
        change = {key: 2 * now[key]}
        assert flop(job, {"mlm": {"finetune": change}}) == pytest.approx(2 * whole, rel=0.02)
    shape = CONFIG["mlm"]["architecture"]
    wide = {"mlm": {"architecture": {key: 2 * shape[key] for key in ("hidden", "intermediate")}}}
    assert 3 * whole < flop(job, wide) < 4 * whole
    assert flop(job, {"compute": {"processes": 2}}) == pytest.approx(2 * whole, rel=0.02)
    epochs = {"mlm": {"finetune": {"epochs": 0.5, "max_steps": None}}}
    assert flop(job, epochs) == pytest.approx(
        flop(job, epochs | {"articles": {"per_language": 1000}}) / 2, rel=0.02
    )


def test_frozen_weights_save_a_third(flop):
    job = make_job("train_encoder", lang="de", seed="1")
    assert flop(job) * 3 == pytest.approx(2 * flop(job, {"encoders": {"kind": "full"}}))


def test_a_search_is_as_many_trainings_as_there_are_rounds(flop):
    job = make_job("find_ticket", task="ner", lang="de", variant="ticket", seed="1")
    few, many = ({"tickets": {"step": 10, "rounds": n, "analysed": [90]}} for n in (1, 5))
    assert flop(job, many) == pytest.approx(3 * flop(job, few), rel=0.05)  # 6 trainings, and 2


def test_half_a_network_is_half_the_contrastive_work(flop):
    job = replace(make_job("align_generator", network="aligned-contrastive", seed="1"))
    job = replace(job, wildcards=job.wildcards | {"model": "demo-gpt2"})
    deep = {"alignment": {"training": {"pooler": "avg-4"}}}
    assert flop(job, deep) == pytest.approx(2 * flop(job))


def test_a_gpu_is_counted_with_all_that_it_waits_for(quantities):
    found = quantities({"compute": {"device": "cuda", "precision": "bf16", "processes": 4}})
    job = make_job("finetune_mlm", seed="1", gpus=4)
    slow, fast = (Clock(found, card).time(job) for card in ("a100", "h100"))
    read = 4 * found.shape("demo-xlmr").parameters / found.beliefs.number("read.weights")
    start = 4 * (found.beliefs.number("start.torch") + read)
    assert slow.cpu == fast.cpu == 0
    peak = found.beliefs.number("gpu.a100.bf16") / found.beliefs.number("gpu.h100.bf16")
    assert fast.gpu - start == pytest.approx((slow.gpu - start) * peak, rel=0.01)
    assert slow.gpu > start


def test_every_rule_that_reads_a_network_has_work_of_its_own(quantities):
    clock = Clock(quantities(), "a100")
    rules = "".join(file.read_text("utf-8") for file in (ROOT / "workflow/rules").glob("*.smk"))
    parts = re.split(r"^(?:use )?rule (?:\w+ as )?(\w+)(?: with)?:\n", rules, flags=re.MULTILINE)
    bodies = dict(zip(parts[1::2], parts[2::2], strict=True))
    asking = {rule for rule, body in bodies.items() if "gpu=GPUS" in body}
    assert {"build_generator", "find_ticket", "translate_pairs"} <= asking
    assert not [rule for rule in asking if not clock.knows(rule)]
    for part in (Clock, Shelf):
        told = {name[1:] for name in vars(part) if name[1:] in bodies}
        assert len(told) > 20, part


def test_the_table_has_every_figure_and_says_where_each_is_from(tmp_path):
    beliefs = Beliefs(TABLES / "estimates.tsv")
    code = "".join(file.read_text("utf-8") for file in (LIBRARY / "planning").glob("*.py"))
    used = set(re.findall(r'number\(\s*"([\w.]+)"', code))
    assert len(used) > 10
    assert used <= set(beliefs.rows)
    for environment in {"text", "analysis", "plot", "torch", "encoders", "generators"}:
        assert beliefs.number(f"start.{environment}") > 0
        assert (ROOT / "envs" / f"{environment}.yaml").is_file()
    models = {name.removeprefix("shape.") for name in beliefs.rows if name.startswith("shape.")}
    listed = [line.split("\t") for line in (TABLES / "models.tsv").read_text().splitlines()[1:]]
    assert {name for name, _, source, *_ in listed if source == "hub"} == models - {"other"}
    text = (TABLES / "estimates.tsv").read_text("utf-8")
    (tmp_path / "estimates.tsv").write_text(text.replace("\tmeasured: ", "\tguessed: ", 1))
    with pytest.raises(BabelscopeError, match=r"line 2: origin"):
        Beliefs(tmp_path / "estimates.tsv")


def test_what_is_not_listed_is_taken_as_another_and_said():
    beliefs = Beliefs(TABLES / "estimates.tsv")
    assert beliefs.number("rows.mine") == beliefs.number("rows.other")
    assert beliefs.stood_in == {"rows.other": {"mine"}}
    with pytest.raises(BabelscopeError, match=r"no row gpu.b200.bf16"):
        beliefs.number("gpu.b200.bf16")


def test_jobs_that_are_done_tell_what_they_took(tmp_path, quantities):
    done = make_job("initialize_model", needed=False, seed="1")
    left = make_job("finetune_mlm", seed="1")
    header = "s\th:m:s\tmax_rss\tcpu_time\n"
    (tmp_path / "initialize_model.tsv").write_text(f"{header}9.0\t0:00:09\t1\t36.0\n")
    graph = Graph(tmp_path, CONFIG, [done, left], {"heads": [0, 1], "tickets": [0]})
    found, known = plan.estimate(graph, "a100")
    whole = plan.total(found)
    assert (whole.jobs, whole.left, whole.took) == (2, 1, pytest.approx(0.01))
    assert whole.cpu == pytest.approx(Clock(quantities(), "a100").time(left).cpu / 3600)
    text = plan.report(found, graph, known, "a100")
    assert re.search(
        r"done: 1 of 2 jobs, 0.010 CPU-hours, [78].\d times what is expected here", text
    )
    assert re.search(r"left: 1 jobs, 0.0\d\d CPU-hours\n", text)
    assert re.search(r"study tickets +1 +- ", text)
    sizes = [4 * one.shape("demo-xlmr").parameters / 1e9 for one in (known,)]
    assert whole.kept / 1e9 == pytest.approx(2 * sizes[0])
    assert whole.training / 1e9 == pytest.approx(2 * 3 * sizes[0])


def test_downloads_and_checkpoints_are_those_of_jobs_that_are_left(tmp_path, quantities):
    def made(*needed):
        rules = ("download_model", "finetune_mlm")
        jobs = [make_job(rule, needed=so) for rule, so in zip(rules, needed, strict=True)]
        jobs = [replace(job, wildcards={"model": "xlm-roberta-base"}) for job in jobs]
        return plan.total(plan.estimate(Graph(tmp_path, CONFIG, jobs, {}), "a100")[0])

    left, trained, fetched, done = made(1, 1), made(1, 0), made(0, 1), made(0, 0)
    size = 4 * quantities().shape("xlm-roberta-base").parameters
    assert (left.fetched, left.training) == (size, 6 * size)
    assert (trained.fetched, trained.training) == (size, 0)
    assert (fetched.fetched, fetched.training) == (0, 6 * size)
    assert (done.fetched, done.training) == (0, 0)
    assert left.kept == done.kept == 2 * size


def test_the_published_scale_is_planned_where_there_is_no_torch_and_leaves_nothing(tmp_path):
    block, folder = tmp_path / "block", tmp_path / "folder"
    for path in (block, folder):
        path.mkdir()
    (block / "torch.py").write_text("raise ImportError('torch')\n")
    paths = os.pathsep.join(map(str, (block, ROOT / "workflow" / "src")))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "babelscope.plan", "heads", "--directory", folder),
            *("--configfile", TABLES / "paper" / "heads.yaml"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    assert not list(folder.iterdir())
    rows = dict(re.findall(r"^(\w+) +(\d+) ", done.stdout, re.MULTILINE))
    assert rows["rank_heads"] == "8"
    assert rows["all"] == str(sum(int(count) for rule, count in rows.items() if rule != "all"))
    left = re.search(r"left: (\d+) jobs, ([\d.]+) CPU-hours and ([\d.]+) GPU-h", done.stdout)
    assert left[1] == rows["all"]
    assert 1 < float(left[2]) < 1000
    assert 1 < float(left[3]) < 100
    disk = re.search(r"disk: ([\d.]+) GB in the end, ([\d.]+) GB with", done.stdout)
    assert 50 < float(disk[1]) < float(disk[2]) < 500
