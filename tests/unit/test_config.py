import copy
import json
import re
from functools import partial
from pathlib import Path
from typing import get_args

import pytest
import yaml
from matplotlib.lines import Line2D

from babelscope.checks import check_budgets, check_contact, check_keys, prompt_languages
from babelscope.config import (
    BUILT,
    ENCODERS,
    GENERATORS,
    SENTENCE_ENCODERS,
    TEXT_TO_TEXT,
    TRANSLATORS,
    Corpus,
    Family,
    Model,
    Settings,
    check_alignment,
    check_encoders,
    check_heads,
    check_names,
    check_tickets,
    load_settings,
    read_rows,
)
from babelscope.errors import BabelscopeError
from babelscope.languages import MARKERS, Language

CONFIG = Path(__file__).resolve().parents[2] / "config"
PROMPTS = prompt_languages(CONFIG / "prompts")
TABLES = {"languages": Language, "corpora": Corpus, "models": Model}


@pytest.fixture
def document() -> dict:
    return yaml.safe_load((CONFIG / "config.yaml").read_text("utf-8"))


def merged(base: dict, overlay: dict) -> dict:
    result = dict(base)
    for key, value in overlay.items():
        old = result.get(key)
        nested = isinstance(old, dict) and isinstance(value, dict)
        result[key] = merged(old, value) if nested else value
    return result


def test_the_demo_configuration_is_valid(document):
    settings = load_settings(document)
    assert settings.dumps.source == "demo"
    assert settings.pivot in settings.languages


OVERLAYS = sorted([*CONFIG.glob("*.yaml"), *CONFIG.glob("paper/*.yaml")])


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_every_overlay_is_valid_and_names_known_things(document, overlay):
    document = merged(document, yaml.safe_load(overlay.read_text("utf-8")))
    document["data_root"] = "data"
    tables = [read_rows(CONFIG / f"{name}.tsv", kind) for name, kind in TABLES.items()]
    check_names(load_settings(document), *tables)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("heads.stepp", 0.1, ["heads.stepp", "unknown key", "step"]),
        ("heads.step", 1.5, ["heads.step", "1.5", "less than 1"]),
        ("heads.analysed", "nope", ["heads", "nope", "ratio-1.1"]),
        ("heads.budgets", [{"name": "x", "sparsity": 1.0}], ["budgets.0.sparsity", "less than 1"]),
        ("heads.budgets", [{"name": "full", "sparsity": 0.5}], ["full"]),
        ("heads.budgets", [{"name": "x", "ratio": 1.1, "sparsity": 0.5}], ["either ratio"]),
        ("heads.budgets", [{"name": "x.controls", "ratio": 1.1}], ["must not end in .controls"]),
        ("heads.budgets", [{"name": "../x", "ratio": 1.1}], ["budgets.0.name"]),
        ("perplexity.examples", 1, ["perplexity.examples", "2"]),
        ("perplexity.bootstrap", 1, ["perplexity.bootstrap", "2"]),
        ("compare.bootstrap", 1, ["compare.bootstrap", "2"]),
        ("pivot", "fr", ["pivot", "fr"]),
        ("languages", ["en", "en"], ["languages", "twice"]),
        ("languages", ["en", "../../etc"], ["languages.1"]),
        ("seeds", "one", ["seeds", "one"]),
        ("mlm.architecture.heads", 7, ["hidden (128)", "heads (7)"]),
        ("articles.valid", 0.9, ["valid + test"]),
        ("dumps.source", "https://dumps.wikimedia.org", ["contact"]),
        ("dumps.sampling", "multistream", ["templates: false"]),
        ("dumps.date", {"default": "2026-01-01"}, ["dumps.date.default"]),
        ("dumps.date", {"en": "20260101"}, ["default"]),
        ("dumps.date", {"default": "20260101", "de": "20260120"}, ["dumps", "demo", "one date"]),
        ("parallel.corpora", ["demo", "demo"], ["parallel.corpora", "twice"]),
        ("compute.precision", "fp16", ["fp16", "cuda"]),
        ("compute.nodes", 2, ["compute", "nodes must divide processes", "1", "2 nodes"]),
        ("articles.extra", "{data_root}/mono/{lang}.jsonl", ["data_root", "--config"]),
        ("studies", ["cooking"], ["studies.0", "heads"]),
        ("tasks.ner.training.lr", {"default": 1e-3, "mbert": 2e-5}, ["mbert", "known", "bert"]),
        ("tasks.ner.training.lr", {"bert": 2e-5}, ["tasks.ner.training", "default"]),
        ("tasks.ner.form", "generate", ["ner.form", "generate", "label"]),
        ("tasks.nli.max_tokens", 3, ["tasks.nli.max_tokens", "8"]),
        ("tickets.analysed", [50], ["analysed", "50", "70, 40, 10"]),
        ("tickets.rounds", 5, ["5 rounds of 30 %", "nothing"]),
        ("alignment.training.pooler", "cls-1", ["alignment.training.pooler", "cls-1"]),
        ("alignment.training.pooler", "avg_top3", ["alignment.training.pooler", "avg_top2"]),
        ("alignment.training.temperature", 0, ["alignment.training.temperature", "greater than 0"]),
        ("alignment.networks", ["aligned-neither"], ["alignment.networks.0", "aligned-both"]),
        ("alignment.shots", [0, 0], ["alignment.shots", "twice"]),
        ("alignment.poolings", ["first"], ["alignment.poolings.0", "last"]),
        ("alignment.build.mask_share", 0.1, ["alignment.build.mask_share", "unknown key"]),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(document, path, value, words):
    document = copy.deepcopy(document)
    *parents, last = path.split(".")
    section = document
    for parent in parents:
        section = section[parent]
    section[last] = value
    with pytest.raises(BabelscopeError) as caught:
        load_settings(document)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", ["line 3: a ", "line 1"]),
        ("mlm:\n  build:\n    lr: 1\n    lr: 1\n", ["line 4: mlm.build.lr ", "line 3"]),
        ("heads:\n  budgets:\n  - {name: x,\n     name: y}\n", ["line 4: heads.budgets.0.name "]),
        ('{"a": {"b": 1,\n"b": 2}}', ["line 2: a.b ", "line 1"]),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path, text, words):
    """Of the first, mistakes and all, nothing would be left when the file is read."""
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(BabelscopeError) as caught:
        check_keys(path)
    assert "\n" not in str(caught.value)
    for word in (str(path), *words):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: {x: 1}\nb: {x: 1}\n",
        "base: &base {x: 1}\na:\n  <<: *base\n  x: 2\nb: *base\n",
        "a: &a\n  b: *a\n",
        '1: a\n"1": b\n? [1, 2]\n: c\n',
        "a: [\n",
        "a: 1\n---\na: 2\n",
        '{"a":\t1}',
    ],
)
def test_keys_that_only_look_alike_are_passed_over(tmp_path, text):
    (tmp_path / "own.yaml").write_text(text)
    check_keys(tmp_path / "own.yaml")
    check_keys(tmp_path / "missing.yaml")


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.name)
def test_no_key_of_ours_stands_twice(path):
    check_keys(path)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("languages", ["en", False], ["languages.1", "(found False), write it in quotes"]),
        ("models", [1], ["models.0", "(found 1), write it in quotes"]),
        ("dumps.date", {"default": True}, ["dumps.date.default", "(found True), write it in quo"]),
        ("dumps.date", 2026, ["dumps.date.default", "'2026'"]),
        ("languages", ["en", "de", "en", "es", "es"], ["config: languages: lists en, es twice."]),
        ("seeds", [3, 1, 3], ["config: seeds: lists 3 twice."]),
        ("dumps.source", "~/dumps", ["config: dumps: ", "~, which is not expanded"]),
    ],
)
def test_what_yaml_makes_of_words_is_said(document, path, value, words):
    test_a_mistake_is_one_line_that_names_the_key(document, path, value, words)


def test_a_number_where_a_choice_is_wrong_too_needs_no_quotes(document):
    with pytest.raises(BabelscopeError, match="compute.device: .*found 1") as caught:
        load_settings(merged(document, {"compute": {"device": 1}}))
    assert "quotes" not in str(caught.value)


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("20260101", {"default": "20260101"}),
        (20260101, {"default": "20260101"}),
        ({"default": 20260101, "de": "20260120"}, {"default": "20260101", "de": "20260120"}),
    ],
)
def test_dates_may_be_bare(document, date, expected):
    document["dumps"] |= {"source": "dumps", "date": date}
    assert load_settings(document).dumps.date == expected


def test_alignment_needs_samples(document):
    change = {"alignment": {"instructions": [], "translations": []}}
    with pytest.raises(BabelscopeError, match="alignment: instructions or translations must name"):
        load_settings(merged(document, change))


@pytest.mark.parametrize(
    ("source", "contact", "refused"),
    [
        ("https://dumps.wikimedia.org", "you@example.org", True),
        ("http://localhost", "https://www.example.com/us", True),
        ("https://dumps.wikimedia.org", "me@myexample.org", False),
        ("https://dumps.wikimedia.org", "https://university.edu/corpora", False),
        ("dumps", "you@example.org", False),
        ("demo", None, False),
    ],
)
def test_a_run_that_downloads_needs_an_address_of_its_own(document, source, contact, refused):
    document = merged(document, {"dumps": {"source": source, "contact": contact}})
    settings = load_settings(document)
    if not refused:
        check_contact(settings)
        return
    with pytest.raises(BabelscopeError, match=f"dumps.contact: {contact} stands for your own"):
        check_contact(settings)


def test_a_missing_key_is_named(document):
    del document["heads"]["draws"]
    with pytest.raises(BabelscopeError, match="heads.draws: is missing"):
        load_settings(document)


def test_settings_have_no_hidden_defaults():
    """A value must stand in the YAML file, where a reader finds it."""

    def fields(section):
        for name, field in section.model_fields.items():
            yield f"{section.__name__}.{name}", field
            for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
                if hasattr(part, "model_fields"):
                    yield from fields(part)

    alternatives = {"Budget.ratio", "Budget.sparsity"}
    optional = {name for name, field in fields(Settings) if not field.is_required()}
    assert optional <= alternatives


def test_names_outside_the_tables_are_refused(document):
    document["languages"] = ["en", "xx"]
    with pytest.raises(BabelscopeError, match=r"xx not in config/languages.tsv; allowed: en"):
        check_names(load_settings(document), read_rows(CONFIG / "languages.tsv", Language), {}, {})


@pytest.mark.parametrize(
    ("section", "change", "name"),
    [
        ("parallel", {"corpora": ["demo", "pud"]}, "pud"),
        ("tasks", {"ner": {"corpus": "panx"}}, "panx"),
        ("tasks", {"nli": {"corpus": "xnli"}}, "xnli"),
    ],
)
def test_a_corpus_of_real_files_needs_their_folder(document, section, change, name):
    tables = [read_rows(CONFIG / f"{name}.tsv", kind) for name, kind in TABLES.items()]
    document = merged(document, {section: change})
    with pytest.raises(BabelscopeError, match=rf"data_root is not set, but the corpus {name}"):
        check_names(load_settings(document), *tables)
    document["data_root"] = "data"
    check_names(load_settings(document), *tables)


def test_languages_of_tickets_outside_the_table_are_refused(document):
    tables = [read_rows(CONFIG / f"{name}.tsv", kind) for name, kind in TABLES.items()]
    document = merged(document, {"tickets": {"languages": ["en", "xx"]}})
    with pytest.raises(BabelscopeError, match=r"tickets.languages: xx not in config/languages.tsv"):
        check_names(load_settings(document), *tables)


@pytest.mark.parametrize("overlay", ["config.yaml", "paper/tickets.yaml"])
def test_the_settings_of_tickets_can_be_reached(document, overlay):
    document = merged(document, yaml.safe_load((CONFIG / overlay).read_text("utf-8")))
    tables = [read_rows(CONFIG / f"{name}.tsv", kind) for name, kind in TABLES.items()]
    check_tickets(load_settings(document), *tables[1:])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tickets": {"languages": ["en", "fr"]}}, ["tickets.languages: en, fr", "pivot, en"]),
        ({"tickets": {"languages": ["de", "ru"]}}, ["tickets.languages", "pivot, en"]),
        ({"models": ["gpt"]}, ["models: gpt is of the family gpt2", "known: bert"]),
        ({"tasks": {"nli": {"form": "rank"}}}, ["tasks.nli.form: rank", "t5 and mt5", "xlm-rob"]),
        (
            {"tickets": {"variants": ["ticket", "early"], "early_step": 41}},
            ["tickets.early_step: 41 is beyond tasks.mlm.training.max_steps, 15"],
        ),
        ({"tasks": {"ner": {"max_tokens": 65}}}, ["tasks.ner.max_tokens: 65", "mlm.window, 64"]),
        (
            {"tasks": {"ner": {"corpus": "panx"}}, "data_root": "/no/where"},
            ["data_root: /no/where is not a folder", "panx", "tasks.ner"],
        ),
    ],
)
def test_what_tickets_cannot_do_stops_before_the_first_job(document, change, words):
    tables = [read_rows(CONFIG / f"{name}.tsv", kind) for name, kind in TABLES.items()]
    row = {"source": "local", "location": "gpt", "revision": "", "licence": "", "citation": ""}
    tables[2]["gpt"] = Model(name="gpt", family="gpt2", **row)
    with pytest.raises(BabelscopeError) as caught:
        check_tickets(load_settings(merged(document, change)), *tables[1:])
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("overlay", ["config.yaml", "paper/heads.yaml"])
def test_the_settings_of_heads_can_be_reached(document, overlay):
    document = merged(document, yaml.safe_load((CONFIG / overlay).read_text("utf-8")))
    tables = [read_rows(CONFIG / f"{name}.tsv", kind) for name, kind in TABLES.items()]
    check_heads(load_settings(document), *tables[1:])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"models": ["gpt2"]}, ["models: gpt2 is of the family gpt2", "known: bert, roberta, xlm"]),
        ({"models": ["labse", "nllb-200-1.3b"]}, ["nllb-200-1.3b is of the family m2m_100"]),
        ({"parallel": {"corpora": ["pud"]}}, ["data_root: None is not a folder", "pud of heads"]),
        (
            {"parallel": {"corpora": ["pud"]}, "data_root": "/no/where"},
            ["data_root: /no/where is not a folder, but the corpus pud of heads is read from it"],
        ),
        (
            {"dumps": {"source": "{data_root}/dumps"}, "data_root": "/no/where"},
            ["data_root: /no/where is not a folder, but dumps.source of heads is read from it"],
        ),
        (
            {"articles": {"extra": "{data_root}/{lang}.jsonl"}, "data_root": "/no/where"},
            ["data_root: /no/where is not a folder, but articles.extra of heads"],
        ),
        (
            {"parallel": {"corpora": ["pud"]}, "data_root": "~/data"},
            ["data_root: ~/data is not a folder", "~ is not expanded"],
        ),
        ({"dumps": {"source": "here/dumps"}}, ["dumps.source: here/dumps is not a folder", "from"]),
        ({"dumps": {"source": "file:///no/where"}}, ["dumps.source: file:///no/where is not"]),
        ({"languages": ["en", "tr"]}, ["languages: the demo", "no text in tr", "en, es, ru"]),
        (
            {"parallel": {"corpora": ["two"]}, "languages": ["en", "de", "zh"]},
            ["parallel.corpora: two is not there in zh, and heads compares"],
        ),
        ({"models": ["built-bert"]}, ["built-bert is of the family bert", "built", "xlm-roberta"]),
        (
            {"models": ["own"]},
            ["models: the row own of config/models.tsv", "~/bert, which", "~ is not expanded"],
        ),
    ],
)
def test_what_heads_cannot_do_stops_before_the_first_job(document, change, words):
    tables = [read_rows(CONFIG / f"{name}.tsv", kind) for name, kind in TABLES.items()]
    two = tables[1]["pud"].model_dump() | {"path": "two.tsv", "languages": "en de"}
    tables[1]["two"] = Corpus.model_validate(two)
    row = tables[2]["demo-xlmr"].model_dump() | {"family": "bert"}
    tables[2]["built-bert"] = Model.model_validate(row)
    tables[2]["own"] = Model.model_validate(row | {"source": "local", "location": "~/bert"})
    with pytest.raises(BabelscopeError) as caught:
        check_heads(load_settings(merged(document, change)), *tables[1:])
    for word in words:
        assert word in str(caught.value)


SPARSE = {"budgets": [{"name": "x", "sparsity": 0.99}], "analysed": "x"}


def test_budgets_must_leave_a_built_model_a_head(document):
    """How many heads other models have stands in their folders alone, and their jobs say it."""
    tables = [read_rows(CONFIG / f"{name}.tsv", kind) for name, kind in TABLES.items()]
    check_budgets(load_settings(document), tables[2])
    document = merged(document, {"heads": SPARSE})
    with pytest.raises(BabelscopeError) as caught:
        check_budgets(load_settings(document), tables[2])
    for word in ("heads.budgets: x: ", "0.99 leaves none of 32", "demo-xlmr", "0.969"):
        assert word in str(caught.value)
    check_budgets(load_settings(merged(document, {"models": ["xlm-roberta-base"]})), tables[2])


@pytest.mark.parametrize(
    ("check", "change"),
    [
        (check_tickets, {"tickets": {"languages": ["en", "de"]}}),
        (check_encoders, {"encoders": {"languages": ["en", "de"]}}),
        (
            partial(check_alignment, prompts=PROMPTS),
            {"alignment": {"languages": ["en", "de"]}},
        ),
    ],
)
def test_every_study_looks_for_its_text_and_its_models(document, check, change):
    tables = [read_rows(CONFIG / f"{name}.tsv", kind) for name, kind in TABLES.items()]
    good = merged(document, change)
    check(load_settings(good), *tables[1:])
    for wrong, words in (
        ({"dumps": {"source": "here/dumps"}}, "here/dumps is not a folder"),
        ({"languages": ["en", "de", "tr"]}, "no text in tr"),
    ):
        with pytest.raises(BabelscopeError, match=words):
            check(load_settings(merged(good, wrong)), *tables[1:])
    for name in ("demo-xlmr", "demo-gpt2"):
        row = tables[2][name].model_dump() | {"source": "local", "location": "no/where"}
        tables[2][name] = Model.model_validate(row)
    with pytest.raises(BabelscopeError, match="names the folder no/where, which is not there"):
        check(load_settings(good), *tables[1:])


def test_text_that_no_job_reads_is_not_looked_for(document, tmp_path, monkeypatch):
    """A model that was taken over is aligned on corpora alone; its folder may be gone since."""
    tables = [read_rows(CONFIG / f"{name}.tsv", kind) for name, kind in TABLES.items()]
    row = tables[2]["gpt2"].model_dump() | {"source": "local", "revision": "", "location": "gone"}
    tables[2]["own"] = Model.model_validate(row)
    (tmp_path / "resources" / "models" / "own").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    change = {"dumps": {"source": "here/dumps"}, "alignment": {"models": ["own"]}}
    check_alignment(load_settings(merged(document, change)), *tables[1:], PROMPTS)


def test_a_translator_is_looked_for_where_it_translates(document):
    tables = [read_rows(CONFIG / f"{name}.tsv", kind) for name, kind in TABLES.items()]
    row = tables[2]["nllb-200-1.3b"].model_dump() | {"source": "local", "revision": ""}
    tables[2]["own"] = Model.model_validate(row | {"location": "no/where"})
    settings = merged(document, {"encoders": {"translation": {"model": "own"}}})
    check_encoders(load_settings(settings), *tables[1:])
    settings = merged(settings, {"encoders": {"pairs": ["mnli-triples"]}})
    with pytest.raises(
        BabelscopeError, match=r"encoders.translation.model: the row own .*no/where"
    ):
        check_encoders(load_settings(settings), *tables[1:])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"family": "bret"}, ["family", "'bert'", "bret"]),
        ({"source": "hub", "location": "", "revision": "a" * 40}, ["location must name a repo"]),
        ({"source": "local"}, ["location must name a folder"]),
        ({"source": "local", "location": "a", "revision": "a" * 40}, ["revision must be empty"]),
        ({"location": "a"}, ["built has no location"]),
        ({"revision": "a" * 40}, ["built has no location and no revision"]),
    ],
)
def test_where_a_model_is_from_is_said_once(tmp_path, changes, words):
    row = {"name": "m", "family": "bert", "source": "build", "location": "", "revision": ""}
    row |= {"licence": "", "citation": "", **changes}
    table = tmp_path / "models.tsv"
    table.write_text("\t".join(row) + "\n" + "\t".join(row.values()) + "\n")
    with pytest.raises(BabelscopeError, match="line 2") as caught:
        read_rows(table, Model)
    for word in words:
        assert word in str(caught.value)


def test_the_families_are_those_that_something_is_done_with():
    assert set(get_args(Family)) == {
        *(*ENCODERS, *TEXT_TO_TEXT, *SENTENCE_ENCODERS, *GENERATORS, TRANSLATORS, BUILT)
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"languages": ["de", "ru"]}, ["alignment.languages", "pivot, en"]),
        ({"models": ["xlm-roberta-base"]}, ["xlm-roberta-base", "family xlm-roberta", "gpt2"]),
        ({"training": {"block": 999}}, ["alignment.training.block", "alignment.window"]),
        ({"tokenizer": {"kind": "bpe"}}, ["demo-gpt2", "kind bpe", "gpt2 and unigram"]),
        ({"training": {"pooler": "avg-5"}}, ["avg-5", "layer 5", "demo-gpt2 has 4"]),
        ({"samples": {"weights": {"opus": 0.5}}}, ["samples.weights", "opus"]),
        (
            {"training": {"selected_by": {"corpus": "pawsx", "shots": 0, "examples": 9}}},
            ["selected_by.corpus", "pawsx", "demo-pawsx"],
        ),
        ({"evaluated": ["xcopa"], "languages": ["en", "zh"]}, ["data_root", "xcopa"]),
        ({"translations": ["demo"]}, ["demo is among parallel.corpora"]),
        ({"instructions": ["bactrian-x"], "languages": ["en", "ha"]}, ["alignment.languages"]),
    ],
)
def test_what_alignment_cannot_do_stops_before_the_first_job(document, change, words):
    settings = load_settings(merged(document, {"alignment": change}))
    tables = [read_rows(CONFIG / f"{name}.tsv", kind) for name, kind in TABLES.items()]
    check_names(settings, *tables)
    with pytest.raises(BabelscopeError) as caught:
        check_alignment(settings, *tables[1:], PROMPTS)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("lacking", "change", "words"),
    [
        ("de", {}, ["demo-xnli-choices", "prompts in de, which config/prompts/xnli.yaml lacks"]),
        ("de", {"prompts": ["pivot"]}, []),
        ("en", {"prompts": ["pivot"]}, ["prompts in en"]),
        ("de", {"languages": ["en", "zh"]}, []),
        (
            "de",
            {
                "prompts": ["pivot"],
                "training": {
                    "selected_by": {"corpus": "demo-xnli-choices", "shots": 0, "examples": 9}
                },
            },
            ["prompts in de"],
        ),
        ("de", {"evaluated": ["demo-pawsx"]}, []),
    ],
)
def test_languages_without_a_prompt_are_refused_before_anything_is_trained(
    document, lacking, change, words
):
    tables = [read_rows(CONFIG / f"{name}.tsv", kind) for name, kind in TABLES.items()]
    settings = load_settings(
        merged(document, {"alignment": {"languages": ["en", "de", "zh"]} | change})
    )
    prompts = PROMPTS | {"xnli": PROMPTS["xnli"] - {lacking}}
    if not words:
        check_alignment(settings, *tables[1:], prompts)
        return
    with pytest.raises(BabelscopeError) as caught:
        check_alignment(settings, *tables[1:], prompts)
    for word in words:
        assert word in str(caught.value)


def test_files_of_prompts_that_cannot_be_read_are_left_to_their_job(tmp_path):
    for name, text in {"a": "languages: [", "b": "", "c": "languages: 1", "d": "- 1"}.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "e.yaml").write_text("languages: {en: 1, de: 2}")
    assert prompt_languages(tmp_path) == {"e": {"en", "de"}}
    assert {"xnli", "pawsx"} < set(PROMPTS)
    assert "sw" in PROMPTS["xnli"]


def test_corpora_of_samples_in_few_languages_may_serve_together(document):
    """OPUS has a file for each pair of languages; together they need every language."""
    tables = [read_rows(CONFIG / f"{name}.tsv", kind) for name, kind in TABLES.items()]
    for pair in ("en de", "ru en", "de ru"):
        row = tables[1]["pud"].model_dump() | {"format": "opus", "id_column": "", "path": "a.tsv"}
        tables[1][f"opus.{pair[:2]}-{pair[3:]}"] = Corpus.model_validate(row | {"languages": pair})

    def check(*names):
        change = {"languages": ["en", "de", "ru"], "instructions": [], "translations": list(names)}
        check_alignment(
            load_settings(merged(document, {"alignment": change})), *tables[1:], PROMPTS
        )

    check("opus.en-de", "opus.ru-en")
    with pytest.raises(BabelscopeError, match="no corpus of samples is there in ru"):
        check("opus.en-de")
    with pytest.raises(BabelscopeError, match="opus.de-ru is there in de, ru .* the pivot, en"):
        check("opus.en-de", "opus.ru-en", "opus.de-ru")
    with pytest.raises(ValueError, match="opus has no header"):
        Corpus.model_validate(tables[1]["opus.en-de"].model_dump() | {"languages": ""})


def test_a_form_for_text_to_text_models_may_stand_beside_others(document, tmp_path):
    tables = [read_rows(CONFIG / f"{name}.tsv", kind) for name, kind in TABLES.items()]
    row = {"source": "local", "revision": "", "licence": "", "citation": ""}
    row["location"] = str(tmp_path)
    tables[2]["own-mt5"] = Model(name="own-mt5", family="mt5", **row)
    change = {"models": ["demo-xlmr", "own-mt5"], "tasks": {"nli": {"form": "generate"}}}
    check_tickets(load_settings(merged(document, change)), *tables[1:])


def test_a_date_for_an_unknown_language_is_refused(document):
    document["dumps"] |= {"source": "dumps", "date": {"default": "20260101", "dee": "20260120"}}
    tables = [read_rows(CONFIG / f"{name}.tsv", kind) for name, kind in TABLES.items()]
    with pytest.raises(BabelscopeError, match=r"dumps.date: dee not in config/languages.tsv"):
        check_names(load_settings(document), *tables)


def test_rows_are_typed_and_unique(tmp_path):
    header = "name\tfamily\tsource\tlocation\trevision\tlicence\tcitation\n"
    table = tmp_path / "models.tsv"
    table.write_text(header + "m\tbert\thub\ta/b\tmain\tMIT\tx\n")
    with pytest.raises(BabelscopeError, match=r"line 2.*revision must be a commit"):
        read_rows(table, Model)
    table.write_text(header + "m\tbert\tbuild\t\t\tMIT\tx\nm\tbert\tbuild\t\t\tMIT\tx\n")
    with pytest.raises(BabelscopeError, match="line 3: m is listed twice"):
        read_rows(table, Model)


def write_changed(path, table, first, **changes):
    """Write a table with one row alone, changed."""
    header, *lines = (CONFIG / f"{table}.tsv").read_text("utf-8").splitlines()
    line = next(line for line in lines if line.startswith(f"{first}\t"))
    row = dict(zip(header.split("\t"), line.split("\t"), strict=True)) | changes
    path.write_text("\t".join(row) + "\n" + "\t".join(row.values()) + "\n", "utf-8")


@pytest.mark.parametrize(
    ("table", "first", "changes", "words"),
    [
        ("languages", "de", {"colour": "blue"}, ["colour: must be # and six digits", "'blue'"]),
        ("languages", "de", {"marker": "q"}, ["marker: must be one of . o v", "(found 'q')"]),
        ("languages", "de", {"marker": "x"}, ["marker: must be one of"]),  # has no area
        ("languages", "de", {"marker": ""}, ["marker: must be one of", "(found '')"]),
        ("languages", "de", {"flores": "de"}, ["flores: must be a code such as eng_Latn", "'de'"]),
        ("languages", "de", {"uriel": ""}, ["uriel: must be three small letters", "(found '')"]),
        ("languages", "de", {"script": "latin"}, ["script: must be four letters, such as Latn"]),
        ("languages", "de", {"code": "DE"}, ["code: must be 2 to 20 small letters", "'DE'"]),
        ("languages", "de", {"wiki": "de/wiki"}, ["wiki: must be small letters", "'de/wiki'"]),
        ("models", "gpt2", {"name": "GPT 2"}, ["name: must be small letters", "(found 'GPT 2')"]),
        ("corpora", "pud", {"languages": "en, de"}, ["languages: must be codes between single"]),
        ("corpora", "panx", {"splits": "a"}, ["splits: must be two or three names", "(found 'a')"]),
        ("corpora", "wikiann", {"sha256": "A" * 64}, ["sha256: must be checksums of 64 digits"]),
        ("corpora", "wikiann", {"sha256": ""}, ["sha256 has 0 checksums for 1 archives in url"]),
        ("corpora", "wikiann", {"sha256": f"{'a' * 64} {'b' * 64}"}, ["sha256 has 2 checksums"]),
    ],
)
def test_what_a_cell_may_hold_is_said_in_words(tmp_path, table, first, changes, words):
    path = tmp_path / "own.tsv"
    write_changed(path, table, first)
    read_rows(path, TABLES[table])
    write_changed(path, table, first, **changes)
    with pytest.raises(BabelscopeError, match=r"own\.tsv, line 2: ") as caught:
        read_rows(path, TABLES[table])
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("table", "first", "changes"),
    [
        ("languages", "de", {"colour": "#0072B2"}),
        ("languages", "de", {"marker": r"$\mathbf{B}$"}),
        ("corpora", "bactrian-x", {"sha256": ""}),
        ("corpora", "pud", {"languages": "en de zh:cmn"}),
    ],
)
def test_what_else_a_cell_may_hold(tmp_path, table, first, changes):
    write_changed(tmp_path / "own.tsv", table, first, **changes)
    assert list(read_rows(tmp_path / "own.tsv", TABLES[table])) == [first]


@pytest.mark.parametrize("kind", [Settings, *TABLES.values()])
def test_no_message_shows_a_regular_expression(kind):
    assert '"pattern":' not in json.dumps(kind.model_json_schema())


def test_markers_are_those_that_matplotlib_fills():
    assert set(MARKERS) == set(Line2D.filled_markers)


def test_languages_of_a_study_must_not_have_one_colour(document):
    tables = [read_rows(CONFIG / f"{name}.tsv", kind) for name, kind in TABLES.items()]
    same = {"colour": tables[0]["en"].colour.upper()}
    tables[0]["tr"] = tables[0]["tr"].model_copy(update=same)
    check_names(load_settings(document), *tables)  # Turkish is not among them
    tables[0]["de"] = tables[0]["de"].model_copy(update=same)
    with pytest.raises(BabelscopeError, match="en and de have the same colour, #000000"):
        check_names(load_settings(document), *tables)


def test_languages_differ_in_colour_and_marker():
    languages = read_rows(CONFIG / "languages.tsv", Language).values()
    assert len({language.colour for language in languages}) == len(languages)
    assert len({language.marker for language in languages}) == len(languages)


def test_dumps_of_every_source_have_a_folder_of_their_own(document):
    def folder(source, sampling="whole"):
        dumps = {"source": source, "sampling": sampling, "templates": False, "contact": "a@b.org"}
        return load_settings(document | {"dumps": document["dumps"] | dumps}).dumps.folder

    sources = ("demo", "https://dumps.wikimedia.org", "http://dumps.wikimedia.org", "data/dumps")
    names = [folder(source) for source in (*sources, "file:///data/dumps", "../dumps", "é/ü")]
    names.append(folder("https://dumps.wikimedia.org", "multistream"))
    assert len(set(names)) == len(names)
    assert names[0] == "demo"
    assert names[1].startswith("dumps.wikimedia.org-")
    assert all(re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9.-]*", name) for name in names)
    assert folder("data/dumps/") == folder("data/dumps")


@pytest.mark.parametrize(
    ("overlay", "section"),
    [
        ("paper/heads.yaml", ("mlm", "finetune")),
        ("paper/encoders.yaml", ("encoders", "adaptation")),
    ],
)
def test_published_trainings_do_not_mask_as_the_demo_does(document, overlay, section):
    """XLM-R's share, Conneau et al. 2020, which is BERT's; the demo's small model wants more."""
    published = yaml.safe_load((CONFIG / overlay).read_text("utf-8"))
    found = merged(document, published)[section[0]][section[1]]
    assert document["mlm"]["build"]["mask_share"] > found["mask_share"] == 0.15


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_dropout_is_a_share_below_all(document, dropout):
    document["mlm"]["architecture"]["dropout"] = dropout
    with pytest.raises(BabelscopeError, match=r"mlm\.architecture\.dropout"):
        load_settings(document)


def test_sinusoids_are_for_masked_models(document):
    document["alignment"]["architecture"]["positions"] = 1.0
    with pytest.raises(BabelscopeError, match=r"alignment: .*positions must be null"):
        load_settings(document)
