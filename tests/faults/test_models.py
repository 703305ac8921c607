"""Models and data sets of the hub that are not what their row of a table says."""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from safetensors.numpy import save_file

from babelscope.config import Corpus, read_rows
from babelscope.corpus.archives import fetch_corpus
from babelscope.corpus.servers import Patience
from babelscope.errors import BabelscopeError
from babelscope.models.hub import fetch_model

COMMIT = "a" * 40
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path, make_model):
    path = tmp_path / "given"
    make_model("xlm-roberta").save_pretrained(path)
    (path / "tokenizer.json").write_text("{}")
    (path / "pytorch_model.bin").write_bytes(b"a pickle")
    (path / "modeling_own.py").write_text("raise SystemExit")
    return path


def test_a_folder_is_taken_without_pickles_and_code(folder, tmp_path):
    fetch_model(str(folder), tmp_path / "model")
    names = sorted(path.name for path in (tmp_path / "model").iterdir())
    assert names == ["config.json", "model.safetensors", "tokenizer.json"]


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_that_lacks_something(folder, tmp_path, missing):
    (folder / missing).unlink()
    with pytest.raises(BabelscopeError, match="has no .*(config|safetensors|tokenizer)"):
        fetch_model(str(folder), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(BabelscopeError, match="does not exist"):
        fetch_model(str(tmp_path / "nothing"), tmp_path / "model")


def test_code_from_the_hub_is_refused(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling_own.Own"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BabelscopeError, match="never run"):
        fetch_model(str(folder), tmp_path / "model")


def test_damaged_weights(folder, tmp_path):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BabelscopeError, match="damaged"):
        fetch_model(str(folder), tmp_path / "model")


def test_a_missing_shard(folder, tmp_path):
    shutil.copy(folder / "model.safetensors", folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {f"x{i}": f"model-0000{i}-of-00002.safetensors" for i in (1, 2)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BabelscopeError, match="model-00002-of-00002"):
        fetch_model(str(folder), tmp_path / "model")


STEPS = ("", "1_Pooling", "2_Dense", "3_Normalize")
SENTENCE_FILES = {
    "modules.json": json.dumps([{"path": path, "type": path[2:]} for path in STEPS]),
    "config_sentence_transformers.json": "{}",
    "sentence_bert_config.json": "{}",
    "1_Pooling/config.json": "{}",
    "2_Dense/config.json": "{}",
}


@pytest.fixture
def sentence_folder(folder):
    """Return a folder as of sentence-transformers; a repository cannot hold `3_Normalize`."""
    for name, text in SENTENCE_FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    save_file({"linear.weight": np.ones((2, 2), np.float32)}, folder / "2_Dense/model.safetensors")
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"large")
    return folder


def all_files(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


EXPECTED = sorted(
    {"2_Dense/model.safetensors", "config.json", "model.safetensors", "tokenizer.json"}
    | SENTENCE_FILES.keys()
)


def test_the_steps_of_a_sentence_encoder_are_taken_without_pickles(sentence_folder, tmp_path):
    fetch_model(str(sentence_folder), tmp_path / "model")
    assert all_files(tmp_path / "model") == EXPECTED
    assert (tmp_path / "model" / "3_Normalize").is_dir()


def test_the_steps_of_a_sentence_encoder_on_the_hub(server, sentence_folder, tmp_path):
    files = {name: (sentence_folder / name).read_bytes() for name in all_files(sentence_folder)}
    offer(server, "some/model", files)
    options = {"revision": COMMIT, "partial": tmp_path / "partial", "endpoint": server.url}
    fetch_model("some/model", tmp_path / "model", **options)
    assert all_files(tmp_path / "model") == EXPECTED
    assert (tmp_path / "model" / "3_Normalize").is_dir()
    asked = {path for _, path, _ in server.requests}
    assert not any(path.endswith((".bin", ".py", ".onnx")) for path in asked)


def test_a_dense_layer_that_is_a_pickle(sentence_folder, tmp_path):
    (sentence_folder / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(BabelscopeError, match="2_Dense/model.safetensors is missing"):
        fetch_model(str(sentence_folder), tmp_path / "model")


def test_a_step_cannot_leave_the_folder(sentence_folder, tmp_path):
    modules = [{"path": "../1_Pooling", "type": "Pooling"}]
    (sentence_folder / "modules.json").write_text(json.dumps(modules))
    fetch_model(str(sentence_folder), tmp_path / "inside" / "model")
    assert not (tmp_path / "inside" / "1_Pooling").exists()


def offer(server, repository, files, kind="models", commit=COMMIT):
    """Let a server answer as the hub does for one repository at one commit."""
    listing = []
    start = "" if kind == "models" else f"{kind}/"
    for path, content in sorted(files.items()):
        address = f"{start}{repository}/resolve/{commit}/{path}"
        server.files[address] = content
        server.answer_always(address, headers={"X-Repo-Commit": commit})
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry = {"type": "file", "path": path, "size": len(content), "oid": oid}
        if path.endswith((".safetensors", ".parquet")):  # large files are stored elsewhere
            large = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
            entry["lfs"] = large | {"pointerSize": 99}
        listing.append(entry)
    for query in ("", "?recursive=True&expand=False", "?recursive=true&expand=false"):
        address = f"api/{kind}/{repository}/tree/{commit}{query}"
        server.files[address] = json.dumps(listing).encode()


@pytest.fixture
def hub(server, folder):
    """Return a server that answers as the hub does for one repository at one commit."""
    offer(server, "some/model", {path.name: path.read_bytes() for path in folder.iterdir()})
    return server


def test_a_repository_at_a_commit(hub, folder, tmp_path):
    options = {"revision": COMMIT, "partial": tmp_path / "partial", "endpoint": hub.url}
    fetch_model("some/model", tmp_path / "model", **options)
    taken = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    assert sorted(taken) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert all(content == (folder / name).read_bytes() for name, content in taken.items())
    asked = {path for _, path, _ in hub.requests}
    assert not any(path.endswith((".bin", ".py")) for path in asked)
    assert not (tmp_path / "partial").exists()


def test_a_commit_that_does_not_exist(hub, tmp_path):
    options = {"revision": "b" * 40, "partial": tmp_path / "partial", "endpoint": hub.url}
    with pytest.raises(BabelscopeError, match="some/model on the hub"):
        fetch_model("some/model", tmp_path / "model", **options)


WEIGHTS = f"some/model/resolve/{COMMIT}/model.safetensors"
TREE = f"api/models/some/model/tree/{COMMIT}?recursive=true&expand=false"
KEPT = {"X-Repo-Commit": COMMIT}  # what the hub adds to every answer


@pytest.fixture
def fetch_from(hub, tmp_path, monkeypatch):
    """Return a function that fetches the model with little patience and a given one's waits."""
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _http

    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # else small files begin again
    for module in (file_download, _http):  # the hub's client waits by itself, too
        monkeypatch.setattr(module.time, "sleep", lambda seconds: None)

    def fetch_from(waits=None, name="some/model", url=hub.url):
        patience = Patience(attempts=3, sleep=([] if waits is None else waits).append)
        options = {"revision": COMMIT, "partial": tmp_path / "partial", "endpoint": url}
        fetch_model(name, tmp_path / "model", patience=patience, **options)
        return (tmp_path / "model" / "model.safetensors").read_bytes()

    return fetch_from


@pytest.mark.parametrize(
    "answers",
    [
        [{"status": 429, "body": b"busy", "headers": KEPT | {"Retry-After": "0"}}],
        [{"status": 503, "body": b"busy"}] * 2,
        [{"stall": 900}],
        [{"cut": 900}] * 3,
        [{"body": b"x" * 500}, {}],
    ],
    ids=["429", "503", "stall", "cut", "short"],
)
def test_a_hub_that_fails_for_a_while(hub, fetch_from, folder, answers):
    hub.plan(WEIGHTS, *[{"headers": KEPT} | answer for answer in answers])
    assert fetch_from() == (folder / "model.safetensors").read_bytes()


def test_no_network_names_the_model(fetch_from):
    with pytest.raises(BabelscopeError, match=r"some/model on the hub.*could not be fetched"):
        fetch_from(url="http://127.0.0.1:9")


def test_a_hub_that_stays_away_is_given_up(hub, fetch_from, tmp_path):
    waits = []
    hub.answer_always(WEIGHTS, status=503)
    with pytest.raises(BabelscopeError, match=r"some/model on the hub.*503.*given up after"):
        fetch_from(waits)
    assert waits == [2.0, 4.0]
    assert not (tmp_path / "model").exists()


def test_a_file_of_the_hub_with_flipped_bits(hub, fetch_from, folder, tmp_path):
    """As long as it should be, and still readable as weights: the checksum alone tells."""
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    hub.files[WEIGHTS] = bytes(content)
    with pytest.raises(BabelscopeError, match=r"model\.safetensors has the sha256 .* instead of"):
        fetch_from()
    assert (tmp_path / "partial" / "model.safetensors.bad").read_bytes() == content
    assert not (tmp_path / "model").exists()
    hub.files[WEIGHTS] = (folder / "model.safetensors").read_bytes()
    assert fetch_from() == hub.files[WEIGHTS]


def test_a_file_of_the_hub_that_changes_between_two_ranges(hub, fetch_from, folder, tmp_path):
    """The client puts the second part behind the first, of whatever file that was."""
    whole = (folder / "model.safetensors").read_bytes()
    hub.plan(WEIGHTS, {"headers": KEPT, "body": bytes(len(whole)), "cut": 60_000})
    with pytest.raises(BabelscopeError, match=r"has the sha256 .* instead of"):
        fetch_from()
    assert hub.ranges_of(WEIGHTS)[-1] == "bytes=60000-"
    assert not (tmp_path / "model").exists()
    assert fetch_from() == whole


@pytest.mark.parametrize("place", [TREE, WEIGHTS], ids=["list", "file"])
def test_a_page_of_html_in_place_of_the_hub(hub, fetch_from, place, tmp_path):
    page = b"<!DOCTYPE html><title>Please log in</title>"
    hub.answer_always(place, body=page, headers={"Content-Type": "text/html"})
    with pytest.raises(BabelscopeError, match=r"some/model on the hub"):
        fetch_from()
    assert not (tmp_path / "model").exists()


def test_files_of_another_commit_are_not_mixed_in(hub, fetch_from, folder, tmp_path):
    """An unfinished download of the revision before, which had its weights in several files."""
    (tmp_path / "partial").mkdir()
    shutil.copy(
        folder / "model.safetensors", tmp_path / "partial" / "model-00001-of-00001.safetensors"
    )
    (tmp_path / "partial" / "config.json").write_text('{"of": "another commit"}')
    fetch_from()
    assert all_files(tmp_path / "model") == ["config.json", "model.safetensors", "tokenizer.json"]
    found = (tmp_path / "model" / "config.json").read_bytes()
    assert found == (folder / "config.json").read_bytes()


def test_a_name_in_a_list_of_the_hub_cannot_leave_the_folder(hub, fetch_from, tmp_path):
    listed = json.loads(hub.files[TREE])
    listed.append(listed[-1] | {"path": "model/../../../outside.safetensors"})
    hub.files[TREE] = json.dumps(listed).encode()
    with pytest.raises(BabelscopeError, match="outside the folder"):
        fetch_from()
    assert not list(tmp_path.rglob("outside*"))


def test_a_name_that_is_none_of_the_hub(fetch_from):
    with pytest.raises(BabelscopeError, match="no name of the form owner/name"):
        fetch_from(name="some/model/../other")


SET = f"hf://datasets/some/set@{COMMIT}"


@pytest.fixture
def fetch(server, tmp_path):
    """Return a function that fetches files of a data set with two languages and a program."""
    files = {
        f"{lang}/{split}-00000-of-00001.parquet": f"{lang} {split}".encode()
        for lang in ("en", "de")
        for split in ("train", "test")
    }
    files |= {"set.py": b"raise SystemExit", "README.md": b"#"}
    offer(server, "some/set", files, "datasets")

    def fetch(*patterns, url=SET):
        fetch_corpus(
            url,
            tmp_path / "set",
            tmp_path / "partial",
            sha256="",
            contact=None,
            patterns=patterns,
            endpoint=server.url,
        )
        return tmp_path / "set"

    return fetch


def test_a_data_set_at_a_commit(fetch, server, tmp_path):
    folder = fetch("en/train-*.parquet", "en/test-*.parquet")
    found = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.*")}
    assert found == {
        f"en/{split}-00000-of-00001.parquet": f"en {split}" for split in ("train", "test")
    }
    asked = {path for _, path, _ in server.requests}
    assert not any("/de/" in path or path.endswith((".py", ".md")) for path in asked)
    assert not (tmp_path / "partial").exists()


def test_a_data_set_without_a_language(fetch, tmp_path):
    with pytest.raises(BabelscopeError, match=r"has no file sw/train-\*\.parquet"):
        fetch("en/train-*.parquet", "sw/train-*.parquet")
    assert not (tmp_path / "set").exists()


def test_pairs_of_languages_that_a_data_set_lacks_are_left_out(fetch, tmp_path):
    folder = fetch(["en/train-*.parquet", "sw/train-*.parquet", "de/train-*.parquet"])
    found = {path.relative_to(folder).parts[0] for path in folder.rglob("*.parquet")}
    assert found == {"en", "de"}
    with pytest.raises(BabelscopeError, match=r"has no file sw/\*\.parquet or fr/\*\.parquet"):
        fetch(["sw/*.parquet", "fr/*.parquet"])


def test_programs_of_a_data_set_are_not_even_fetched(fetch, server):
    with pytest.raises(BabelscopeError, match=r"set\.py .* is no data"):
        fetch("set.py")
    assert server.requests == []


@pytest.mark.parametrize("address", ["hf://datasets/some/set@main", "hf://models/a/b@" + COMMIT])
def test_a_data_set_needs_a_commit(fetch, address):
    with pytest.raises(BabelscopeError, match="a commit of 40 digits"):
        fetch("en/train-*.parquet", url=address)


def test_a_data_set_that_does_not_exist(fetch):
    with pytest.raises(BabelscopeError, match="The dataset other/set on the hub"):
        fetch("a.tsv", url=SET.replace("some", "other"))


def made(target, server, folder, *settings):
    """Return a table that the workflow makes of a data set of the hub, in two languages."""
    command = [
        *(Path(sys.executable).with_name("snakemake"), "--snakefile", ROOT / "Snakefile"),
        *("--workflow-profile", ROOT / "profiles" / "default", "--cores", "1"),
        *("--directory", folder, target, "--config", "languages=[en,de]", *settings),
    ]
    environment = os.environ | {"HF_ENDPOINT": server.url, "XDG_CACHE_HOME": str(folder / "c")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return pd.read_parquet(folder / target)


def test_a_data_set_of_the_hub_through_the_workflow(server, tmp_path):
    """Only the study's languages are fetched, and labels come out by their names."""
    url = read_rows(ROOT / "config" / "corpora.tsv", Corpus)["wikiann-hub"].url
    features = {
        "tokens": List(Value("string")),
        "ner_tags": List(ClassLabel(names=["O", "B-PER", "I-PER"])),
    }
    files = {}
    for lang in ("en", "de", "fr"):
        for split in ("train", "validation", "test"):
            rows = {"tokens": [[lang, split], [split]], "ner_tags": [[1, 2], [0]]}
            Dataset.from_dict(rows, Features(features)).to_parquet(tmp_path / "a.parquet")
            files[f"{lang}/{split}/0000.parquet"] = (tmp_path / "a.parquet").read_bytes()
    offer(server, "unimelb-nlp/wikiann", files, "datasets", url.partition("@")[2])
    settings = ("tickets={languages: [en, de]}", "tasks={ner: {corpus: wikiann-hub}}")
    counts = made("results/text/tasks/wikiann-hub.counts.parquet", server, tmp_path, *settings)
    fetched = (tmp_path / "resources" / "corpora").rglob("*.parquet")
    assert {path.parents[1].name for path in fetched} == {"en", "de"}
    assert list(counts["language"]) == ["en"] * 3 + ["de"] * 3
    assert set(counts["PER"]) == {1}
    assert set(counts["rows"]) == {2}


def test_a_data_set_with_some_pairs_of_languages_through_the_workflow(server, tmp_path):
    """Neither German pairs nor those of German with English need be there for the rest."""
    url = read_rows(ROOT / "config" / "corpora.tsv", Corpus)["sts17"].url
    rows = [{"sentence1": f"a {n}", "sentence2": f"b {n}", "score": n} for n in range(4)]
    content = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    files = {f"test/{pair}.jsonl.gz": content for pair in ("en-en", "en-de", "fr-en")}
    offer(server, "mteb/sts17-crosslingual-sts", files, "datasets", url.partition("@")[2])
    settings = (
        "tickets={languages: [en, de]}",
        "encoders={languages: [en, de], evaluated: [sts17]}",
    )
    counts = made("results/text/evaluation/sts17.counts.parquet", server, tmp_path, *settings)
    assert list(counts["language2"]) == ["en", "de"]
    fetched = (tmp_path / "resources" / "corpora" / "sts17").rglob("*.gz")
    assert {path.name for path in fetched} == {"en-en.jsonl.gz", "en-de.jsonl.gz"}
