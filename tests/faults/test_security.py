"""What must not happen whatever a file, a server or the configuration says.

No pickle is loaded, no code of others run, nothing written outside its folder, no password told.
"""

import ast
import contextlib
import io
import json
import logging
import pickle
import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from babelscope import typology
from babelscope.config import Corpus, Model, load_settings, read_rows
from babelscope.corpus import verification
from babelscope.corpus.archives import unpack
from babelscope.corpus.rows import read_dataset
from babelscope.corpus.servers import Patience, Server, said
from babelscope.corpus.sources import open_source
from babelscope.errors import BabelscopeError
from babelscope.io import read_arrays, read_table
from babelscope.languages import Language
from babelscope.models.hub import fetch_model
from babelscope.models.loading import load_config, load_tokenizer
from babelscope.models.removal import load_model
from babelscope.models.sentence_encoders import load_encoder

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    [
        *(ROOT / "workflow" / "src").rglob("*.py"),
        *(ROOT / "workflow" / "scripts").glob("*.py"),
        *(ROOT / "benchmarks").glob("*.py"),
    ]
)
PASSWORD = "open-sesame"


class Payload:
    """What runs a command as soon as it is loaded from a pickle."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path) -> Iterator[Path]:
    """Return the file that appears if a payload is run; it must not."""
    path = tmp_path / "run"
    pickle.loads(pickle.dumps(Payload(path)))
    assert path.exists(), "the payload does nothing"
    path.unlink()
    yield path
    assert not path.exists(), "the payload was run"


@pytest.fixture
def folder(tmp_path, make_model) -> Path:
    """Return a folder with a model and an empty tokenizer."""
    path = tmp_path / "model"
    make_model("xlm-roberta").save_pretrained(path)
    (path / "tokenizer.json").write_text("{}")
    return path


def test_a_model_that_is_a_pickle_is_refused(folder, mark, tmp_path):
    (folder / "model.safetensors").unlink()
    torch.save(Payload(mark), folder / "pytorch_model.bin")
    with pytest.raises(BabelscopeError, match="no weights in safetensors"):
        fetch_model(str(folder), tmp_path / "taken")
    for load in (load_model, load_encoder):
        with pytest.raises(BabelscopeError, match="never read from pickle"):
            load(folder)


PICKLES = (
    *("pytorch_model.bin", "adapter_model.bin", "training_args.bin", "optimizer.pt"),
    *("scheduler.pt", "rng_state.pth", "tokenizer.pkl", "model.ckpt", "flax_model.msgpack"),
)


def test_pickles_beside_a_model_are_neither_taken_nor_loaded(folder, mark, tmp_path):
    """Of adapters too, which transformers loads of itself where their configuration lies."""
    for name in PICKLES:
        torch.save(Payload(mark), folder / name)
    adapter = {"peft_type": "LORA", "r": 2, "target_modules": ["query"], "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    fetch_model(str(folder), tmp_path / "taken")
    taken = {path.name for path in (tmp_path / "taken").iterdir()}
    assert taken == {"config.json", "model.safetensors", "tokenizer.json"}
    load_model(tmp_path / "taken")
    with contextlib.suppress(Exception):  # of whoever reads the adapter; the mark tells
        load_model(folder)


def test_an_encoder_with_a_layer_that_is_a_pickle(folder, mark):
    modules = [
        {"path": path, "type": f"sentence_transformers.models.{kind}"}
        for path, kind in (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    for name, settings in (
        ("1_Pooling", {"pooling_mode": "mean"}),
        (
            "2_Dense",
            {
                "in_features": 32,
                "out_features": 8,
                "bias": True,
                "activation_function": "torch.nn.modules.activation.Tanh",
            },
        ),
    ):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(settings))
    torch.save(Payload(mark), folder / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(BabelscopeError, match="never read from pickle"):
        load_encoder(folder)


def test_arrays_and_tables_that_are_pickles(mark, tmp_path):
    np.save(tmp_path / "a.npy", np.array([Payload(mark)], dtype=object))
    torch.save(Payload(mark), tmp_path / "a.pt")
    for content in (tmp_path / "a.npy", tmp_path / "a.pt"):
        for name, read in (("b.safetensors", read_arrays), ("b.parquet", read_table)):
            shutil.copy(content, tmp_path / name)
            with pytest.raises(BabelscopeError, match="not a readable"):
                read(tmp_path / name)


def test_typological_features_that_are_pickles(mark, tmp_path, monkeypatch):
    home = tmp_path / "lang2vec"
    (home / "data").mkdir(parents=True)
    (home / "__init__.py").write_text("")
    langs = np.array([Payload(mark)], dtype=object)
    np.savez(home / "data" / "feature_predictions.npz", langs=langs)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        typology.syntactic_distance(["eng", "deu"])


@pytest.mark.parametrize("kind", ["arrow", "pkl"])
def test_data_sets_that_are_pickles(mark, tmp_path, kind):
    """Arrow had a type of columns whose description was one."""
    path = tmp_path / f"a.{kind}"
    description = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Payload(mark)),
    }
    if kind == "arrow":
        schema = pa.schema([pa.field("x", pa.int64(), metadata=description)])
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            writer.write_table(pa.table([pa.array([1])], schema=schema))
        assert [row for _, row in read_dataset(path)] == [{"x": 1}]
        return
    path.write_bytes(pickle.dumps(Payload(mark)))
    with pytest.raises(BabelscopeError, match=r"a\.pkl"):
        list(read_dataset(path))


def test_a_data_set_lists_no_files_elsewhere(tmp_path):
    state = {"_data_files": [{"filename": "../../elsewhere.arrow"}]}
    (tmp_path / "state.json").write_text(json.dumps(state))
    with pytest.raises(BabelscopeError, match="outside its folder"):
        list(read_dataset(tmp_path))


# Who loads or runs what a file says. Names that a call ends with, or modules that are imported.
FORBIDDEN = re.compile(
    r"^(eval|exec|compile|__import__|(\w+\.)*(torch|pickle|marshal|joblib|dill|cloudpickle)"
    r"\.(load|loads|save|dump|dumps)|(\w+\.)*(read_pickle|to_pickle|unsafe_load|full_load"
    r"|unsafe_load_all|load_dataset|import_module|mktemp)|os\.(system|popen)|torch\.hub\.\w+"
    r"|yaml\.load(_all)?|subprocess\.(getoutput|getstatusoutput))$"
)
MODULES = {"pickle", "marshal", "shelve", "joblib", "dill", "cloudpickle", "cPickle", "telnetlib"}
LOADERS = {"from_pretrained", "from_config"}


def calls(path: Path) -> Iterator[tuple[ast.Call, str, dict[str, ast.expr]]]:
    """Yield each call in a file, the name of what is called, and the arguments with names."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            named = {word.arg: word.value for word in node.keywords if word.arg}
            yield node, ast.unparse(node.func), named


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_a_file_says_is_run(path):
    """Neither by pickles, nor by remote code, a shell or Python itself."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.partition(".")[0] for name in names} & MODULES, ast.unparse(node)
    for node, name, named in calls(path):
        where = f"line {node.lineno}: {ast.unparse(node)[:120]}"
        assert not FORBIDDEN.match(name), where
        for word, allowed in (("trust_remote_code", False), ("shell", False), ("verify", True)):
            if word in named:
                assert ast.unparse(named[word]) == str(allowed), where
        if name.rpartition(".")[2] in LOADERS:
            assert "trust_remote_code" in named, where
        if name in ("np.load", "numpy.load"):
            assert ast.unparse(named["allow_pickle"]) == "False", where


def test_the_check_above_sees_what_it_forbids(tmp_path):
    lines = [
        *("import pickle", "from joblib import load", "eval(x)", "torch.load(x)"),
        *("torch.load(x, weights_only=True)", "a.b.torch.load(x)", "yaml.load(x)", "os.system(x)"),
        *("pd.read_pickle(x)", "np.load(x, allow_pickle=True)", "run(x, shell=True)"),
        *("A.from_pretrained(x)", "A.from_pretrained(x, trust_remote_code=x)"),
        *("requests.get(x, verify=False)", "importlib.import_module(x)"),
    ]
    for line in lines:
        (tmp_path / "a.py").write_text(line)
        with pytest.raises((AssertionError, KeyError)):
            test_nothing_that_a_file_says_is_run(tmp_path / "a.py")


OWN_CODE = "from pathlib import Path\nPath({mark!r}).touch()\nclass Own: pass\n"


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_in_a_folder_is_not_run(folder, mark, tmp_path, file):
    """Neither when the folder is taken, nor when a model or a tokenizer is loaded from it."""
    (folder / "own.py").write_text(OWN_CODE.format(mark=str(mark)))
    settings = json.loads((folder / "config.json").read_text()) if file == "config.json" else {}
    settings |= {"model_type": "own", "tokenizer_class": "Own"}
    kinds = ("AutoConfig", "AutoModel", "AutoModelForMaskedLM")
    settings["auto_map"] = dict.fromkeys(kinds, "own.Own")
    settings["auto_map"]["AutoTokenizer"] = ["own.Own", "own.Own"]
    (folder / file).write_text(json.dumps(settings))
    with pytest.raises(BabelscopeError, match="never run"):
        fetch_model(str(folder), tmp_path / "taken")
    loads = [load_tokenizer] + ([load_config, load_model] if file == "config.json" else [])
    for load in loads:
        with pytest.raises(BabelscopeError, match="cannot be used|no usable tokenizer"):
            load(folder)


def tarred(*members: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    one = tarfile.TarInfo(name)
    one.type, one.linkname = kind, target
    one.size = 3 if kind == tarfile.REGTYPE else 0
    return one


def zipped(name: str, kind: int = stat.S_IFREG) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        one = zipfile.ZipInfo(name)
        one.external_attr = (kind | 0o644) << 16
        archive.writestr(one, "../../outside")
    return buffer.getvalue()


OUTSIDE = ["../outside", "a/../../outside", "/outside", "a/.."]
KINDS = {
    "symlink": tarfile.SYMTYPE,
    "link": tarfile.LNKTYPE,
    "character device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE,
    "pipe": tarfile.FIFOTYPE,
}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        *(("a.tar", tarred(member(name)), "outside the folder") for name in OUTSIDE),
        *(("a.zip", zipped(name), "outside the folder") for name in OUTSIDE),
        *(
            ("a.tar", tarred(member("a", kind, target), member("a/b")), "a link or a device")
            for kind in KINDS.values()
            for target in ("b", "/etc", "../outside")
        ),
        ("a.zip", zipped("a", stat.S_IFLNK), "a link or a device"),
        ("a.zip", zipped("a", stat.S_IFCHR), "a link or a device"),
    ],
)
def test_members_of_archives_that_are_refused(tmp_path, name, content, message):
    """Links altogether, also those that stay inside: they have led archives out again and again."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BabelscopeError, match=f"cannot be unpacked .*{message}"):
        unpack(tmp_path / name, tmp_path / "in" / "folder", "https://example.org/a")
    found = [path for path in tmp_path.rglob("*") if path.name not in ("in", "folder", name)]
    assert found == []


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_an_archive_that_says_it_is_too_large_for_the_disk(tmp_path, monkeypatch, kind):
    usage = verification.shutil.disk_usage("/")._replace(free=2)
    monkeypatch.setattr(verification.shutil, "disk_usage", lambda path: usage)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(tarred(member("a")) if kind == "tar" else zipped("a"))
    with pytest.raises(BabelscopeError, match="Free space"):
        unpack(path, tmp_path / "in", "https://example.org/a")
    assert list((tmp_path / "in").iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"", b"no archive", zipped("a")[:60], b"PK\x05\x06" + b"\xff" * 18]
)
def test_what_is_no_archive(tmp_path, content):
    for name in ("a.zip", "a.tar.gz"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BabelscopeError, match="cannot be unpacked"):
            unpack(tmp_path / name, tmp_path / "in", "https://example.org/a")


BAD = ["../../x", "..", ".", "/x", "x/y", "x\n", "x\ny", "{x}", "", "~", "-x", "x y", "x*", "x\0"]
NAMED = [
    *("pivot", "languages.0", "models.0", "parallel.corpora.0", "heads.analysed"),
    *("heads.budgets.0.name", "tasks.ner.corpus", "tasks.nli.corpus", "tickets.languages.0"),
    *("tickets.tasks.0", "tickets.variants.0", "encoders.languages.0", "encoders.methods.0"),
    *("encoders.pairs.0", "encoders.evaluated.0", "encoders.exported.0", "alignment.models.0"),
    *("encoders.translation.model", "alignment.languages.0", "alignment.instructions.0"),
    *("alignment.translations.0", "alignment.networks.0", "alignment.evaluated.0", "studies.0"),
    *("alignment.prompts.0", "encode.poolings.0", "alignment.poolings.0", "dumps.date.default"),
]


@pytest.fixture(scope="module")
def document() -> dict:
    return yaml.safe_load((ROOT / "config" / "config.yaml").read_text("utf-8"))


@pytest.mark.parametrize("key", NAMED)
def test_a_name_that_becomes_part_of_a_path_stays_in_its_folder(document, key):
    *parents, last = key.split(".")
    for name in BAD:
        changed = json.loads(json.dumps(document))
        section = changed
        for parent in parents:
            section = section[int(parent) if parent.isdigit() else parent]
        if isinstance(section, list):
            section[:1] = [name]  # also where the list is empty
        else:
            section[last] = name
        with pytest.raises(BabelscopeError) as caught:
            load_settings(changed)
        assert key.removesuffix(".0") in str(caught.value), name
        assert len(str(caught.value).splitlines()) == 1


TABLES = {
    "languages": (Language, ("code", "wiki", "iso639_3", "flores")),
    "corpora": (Corpus, ("name", "languages")),
    "models": (Model, ("name",)),
}


@pytest.mark.parametrize("table", TABLES)
def test_a_name_in_a_table_stays_in_its_folder(tmp_path, table):
    kind, columns = TABLES[table]
    lines = (ROOT / "config" / f"{table}.tsv").read_text("utf-8").splitlines()
    header = lines[0].split("\t")
    for column in columns:
        for name in BAD:
            if not name and column == "languages":  # all of a study's
                continue
            row = lines[1].split("\t")
            row[header.index(column)] = name
            (tmp_path / "a.tsv").write_text("\t".join(header) + "\n" + "\t".join(row) + "\n")
            with pytest.raises(BabelscopeError, match=r"a\.tsv"):
                read_rows(tmp_path / "a.tsv", kind)


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("articles", {"extra": "{data_root}/{lang}/{x}"}, "no other braces"),
        ("dumps", {"source": f"https://me:{PASSWORD}@example.org", "contact": "me"}, "netrc"),
        ("dumps", {"contact": "me\r\nX-Evil: 1"}, "contact"),
    ],
)
def test_paths_and_addresses_that_say_too_much(document, section, changes, message):
    changed = document | {section: document[section] | changes, "data_root": "data"}
    with pytest.raises(BabelscopeError, match=message) as caught:
        load_settings(changed)
    assert PASSWORD not in str(caught.value)


def test_a_data_root_is_no_pattern(document):
    with pytest.raises(BabelscopeError, match="data_root"):
        load_settings(document | {"data_root": "data/{lang}"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": f"https://me:{PASSWORD}@example.org/a.zip"}, "user name or password"),
        ({"url": "file:///etc/passwd"}, "https addresses"),
        ({"url": "https://example.org/"}, "https addresses"),
        ({"url": "https://example.org/a/.."}, "https addresses"),
        ({"url": "https://example.org/a.zip https://example.com/a.zip"}, "two archives alike"),
        ({"path": "{fetched}/{model}/{lang}.tsv"}, "no other braces"),
        ({"path": "{fetched}/a.tsv {fetched}/b.tsv"}, "path must name 1 files"),
        ({"labels": "1.2.3 4"}, "lowest and the highest"),
    ],
)
def test_rows_of_corpora_that_cannot_be_meant(changes, message):
    row = dict.fromkeys(Corpus.model_fields, "")
    row |= {"name": "x", "kind": "sts", "format": "tsv", "labels": "0 5"}
    row |= {"url": "https://example.org/a.zip", "path": "{fetched}/a.tsv", "sha256": "a" * 64}
    Corpus.model_validate(row)
    with pytest.raises(ValueError, match=message):
        Corpus.model_validate(row | changes)


def test_results_cannot_be_sent_elsewhere_by_a_setting(document):
    """Snakemake would take the places of files from a section of the configuration."""
    with pytest.raises(BabelscopeError, match="pathvars: unknown key"):
        load_settings(document | {"pathvars": {"results": "../outside"}})


def test_a_password_in_an_address_is_refused_and_not_told(caplog):
    with pytest.raises(BabelscopeError, match=r"netrc") as caught:
        open_source(f"https://me:{PASSWORD}@example.org/dumps", "me", Patience())
    assert PASSWORD not in str(caught.value) + caplog.text
    assert "example.org/dumps" in str(caught.value)


def test_the_query_of_a_redirect_is_not_told(server, caplog):
    """It is what a server lets others read its storage with, for a while."""
    away = f"http://127.0.0.1:9/x?signature={PASSWORD}"
    server.answer_always("a", status=302, headers={"Location": away})
    waits: list[float] = []
    patience = Patience(attempts=2, sleep=waits.append)
    asked = Server(server.url, "me", patience)

    def attempt() -> None:
        with asked.ask("a", {200}):
            pass

    with caplog.at_level(logging.DEBUG, "babelscope"), pytest.raises(BabelscopeError) as caught:
        asked.persist("a", attempt)
    asked.close()
    assert waits == [2.0]
    assert PASSWORD not in str(caught.value) + caplog.text
    assert said(ValueError(f"a (https://b.org/c?d={PASSWORD}) e")) == "a (https://b.org/c?...) e"


@pytest.mark.parametrize("target", ["//", "http://", "http://[", "", "http://\u00fc\u2028", "x:y"])
def test_redirects_to_what_is_no_address(server, target):
    server.answer_always("a", status=302, headers={"Location": target.encode().decode("latin-1")})
    patience = Patience(attempts=1, timeout=(0.5, 0.5))
    asked = Server(server.url, "me", patience)

    def attempt() -> None:
        with asked.ask("a", {200}):
            pass

    with pytest.raises(BabelscopeError):
        asked.persist("a", attempt)
    asked.close()


def pinned() -> dict[str, str]:
    names = ("constraints", "requirements", "requirements-dev", "requirements-slurm")
    lines = [
        line
        for name in names
        for line in (ROOT / "envs" / f"{name}.txt").read_text("utf-8").splitlines()
        if "==" in line and line[0] != "#"
    ]
    return {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in lines}


def test_everything_that_is_installed_is_pinned():
    """Also what packages pull in: its versions are those that were tested and are audited."""
    pins = pinned()
    waiting, seen = list(pins), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            found, needed = version(name), requires(name) or []
        except PackageNotFoundError:  # of a GPU, of Slurm, of another system
            continue
        assert name in pins, f"{name} {found} is installed, but not pinned"
        assert Version(found).public == Version(pins[name]).public, name
        for line in needed:
            requirement = Requirement(line)
            exact = any(part.operator == "==" for part in requirement.specifier)
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if wanted and not exact:
                waiting.append(canonicalize_name(requirement.name))
    assert len(seen) > 100
