"""The rules of the house that a machine can check."""

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RULE_FILES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))
SCRIPTS = sorted((ROOT / "workflow" / "scripts").glob("*.py"))
LIBRARY = sorted((ROOT / "workflow" / "src").rglob("*.py"))
ORDER = [
    "input",
    "output",
    "log",
    "benchmark",
    "wildcard_constraints",
    "retries",
    "conda",
    "threads",
    "resources",
    "params",
    "script",
]
USED = r"^use rule \w+ as (\w+) with:\n(.*?)(?=^\S|\Z)"  # a rule that changes parts of another
# What all share, and what changes no number: a change in these reruns nothing by itself.
FRAME = {
    *("config", "errors", "io", "jobs", "languages", "locks", "progress", "provenance", "seeds"),
    "spelling",
}
CONDA_NAMES = {"pytorch": "torch", "python-zstandard": "zstandard"}
# Packages by what brings or names them.
PACKAGES = {
    **{"faiss": "faiss-cpu", "sklearn": "scikit-learn"},
    **{"huggingface_hub": "transformers", "urllib3": "requests", "yaml": "pyyaml"},
}


# They go on where an earlier attempt stopped, so that each needs no more time than the first.
RESUMED = {
    *("build_base_model", "finetune_mlm", "build_generator", "align_generator"),
    *("adapt_language", "train_encoder", "train_whole_encoder", "train_alignment_adapter"),
    *("find_ticket", "transfer_ticket", "translate_pairs"),
}
# They have been patient themselves, and are not repeated.
DOWNLOADS = {"download_dump", "download_corpus", "download_model"}


def rules() -> list[tuple[str, str]]:
    found = []
    for file in RULE_FILES:
        text = re.sub(USED, "", file.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        parts = re.split(r"^rule (\w+):\n", text, flags=re.MULTILINE)
        found += zip(parts[1::2], parts[2::2], strict=True)
    return found


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / "envs" / name).read_text("utf-8").splitlines()
    return dict(line.lower().split("==") for line in lines if "==" in line and line[0] != "#")


def imported(file: Path, *, at_once: bool = False) -> tuple[set[str], set[str]]:
    """Return what a file imports, directly or through others: library files and packages.

    With `at_once`, what functions import when they are called is left out.
    """
    source = ROOT / "workflow" / "src"
    files: set[str] = set()
    packages: set[str] = set()
    waiting = [file]
    while waiting:
        tree = ast.parse(waiting.pop().read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                node.body = []
        for node in tree.body if at_once else ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                path = source / Path(*name.split(".")).with_suffix(".py")
                relative = path.relative_to(source).as_posix().removeprefix("babelscope/")
                if not name.startswith("babelscope"):
                    packages.add(name.split(".")[0])
                elif path.is_file() and relative not in files:
                    files.add(relative)
                    waiting.append(path)
    return files, packages - set(sys.stdlib_module_names)


def test_there_are_rules():
    assert len(rules()) > 20


@pytest.mark.parametrize(("name", "body"), rules(), ids=[name for name, _ in rules()])
def test_a_rule_tells_its_whole_story(name, body):
    """Docstring and directives, in one order, and the script of the same name."""
    assert body.lstrip().startswith('"""')
    directives = re.findall(r"^    (\w+):", body, flags=re.MULTILINE)
    missing = {"output", "log", "benchmark", "conda", "threads", "resources"} - set(directives)
    assert not missing
    assert directives == sorted(directives, key=ORDER.index)
    assert f'"../scripts/{name}.py"' in body
    assert re.search(rf"<logs>/{name}[/.]", body)
    assert re.search(rf"<benchmarks>/{name}[/.]", body)
    assert "mem_mb=" in body
    assert "runtime=" in body
    for path in re.findall(r'"\.\./\.\./(envs/\w+\.yaml)"', body):
        assert (ROOT / path).is_file()


def test_a_rule_that_uses_another_has_a_log_and_a_version_of_its_own():
    text = "".join(file.read_text("utf-8") for file in RULE_FILES)
    used = re.findall(USED, text, flags=re.MULTILINE | re.DOTALL)
    assert "pack_language" in dict(used)
    for name, body in used:
        assert re.search(rf"<logs>/{name}[/.]", body)
        assert re.search(rf"<benchmarks>/{name}[/.]", body)
        assert "version=" in body


@pytest.mark.parametrize(
    ("name", "body"),
    [rule for rule in rules() if "digest(" in rule[1]],
    ids=lambda value: value if value.isidentifier() else "",
)
def test_a_digest_names_all_that_a_result_depends_on(name, body):
    """Else a change in a file that is left out would leave old numbers in place."""
    listed = re.search(r"code=digest\((.*?)\)", body, flags=re.DOTALL)
    named = set(re.findall(r'"([\w/]+\.py)"', listed[1]))
    files, _ = imported(ROOT / "workflow" / "scripts" / f"{name}.py")
    assert named == {file for file in files if Path(file).stem not in FRAME}


@pytest.mark.parametrize(("name", "body"), rules(), ids=[name for name, _ in rules()])
def test_an_environment_holds_what_its_rule_imports(name, body):
    env = yaml.safe_load((ROOT / re.search(r"envs/\w+\.yaml", body)[0]).read_text("utf-8"))
    listed = str(env["dependencies"])
    names = {CONDA_NAMES.get(word, word) for word in re.findall(r"'([\w-]+)==?\d", listed)}
    _, packages = imported(ROOT / "workflow" / "scripts" / f"{name}.py")
    if "pandas" in packages:
        packages.add("pyarrow")  # which reads and writes its tables
    _, at_once = imported(ROOT / "workflow" / "scripts" / f"{name}.py", at_once=True)
    if "compute=" not in body and "torch" not in at_once:
        packages -= {"torch"}  # `job` imports it to look for a GPU, where one is asked for
    assert {PACKAGES.get(package, package) for package in packages} <= names


def test_what_a_rule_asks_for_grows_with_its_attempt():
    """Else a job that was killed by its limit is killed by the same limit again."""
    text = "".join(file.read_text("utf-8") for file in RULE_FILES)
    used = re.findall(USED, text, flags=re.MULTILINE | re.DOTALL)
    bodies = dict([*rules(), *used])
    assert bodies.keys() > RESUMED | DOWNLOADS
    for name, body in bodies.items():
        limits = dict(re.findall(r"^        (mem_mb|runtime)=(.*),$", body, flags=re.MULTILINE))
        growing = {limit for limit, value in limits.items() if value.startswith("doubling(")}
        constant = {"mem_mb", "runtime"} if name in DOWNLOADS else set()
        constant |= {"runtime"} if name in RESUMED else set()
        assert limits.keys() - growing == constant, name
        assert ("    retries: 0\n" in body) == (name in DOWNLOADS), name


def test_gpus_and_downloads_are_counted_and_capped():
    profile = yaml.safe_load((ROOT / "profiles" / "default" / "config.yaml").read_text("utf-8"))
    assert profile["resources"] == {"gpu": 1, "download_slots": 2}
    for name, body in rules():
        assert ("gpu=GPUS" in body) == ("compute=section(" in body), name
        assert ("download_slots=1" in body) == name.startswith("download_"), name


def test_the_cluster_groups_small_jobs_and_caps_downloads_only():
    """A cap of GPUs there would cut what a job asks for; Slurm counts them itself."""
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text("utf-8"))
    assert profile["resources"] == {"download_slots": 2, "turn": 1}
    small = {name for name, body in rules() if re.match("collect_|plot_|compute_", name)}
    assert small <= profile["groups"].keys()
    assert profile["group-components"].keys() < set(profile["groups"].values())
    for name, body in rules():
        if name in profile["groups"]:
            assert "threads: 1" in body, name
            assert "gpu=" not in body, name
    assert profile["groups"].keys() <= {name for name, _ in rules()}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_an_adapter(script):
    text = script.read_text("utf-8")
    assert len(text.splitlines()) <= 40
    assert text.startswith('"""')
    assert re.search(r"^with \(?\s*job\(snakemake\)", text, flags=re.MULTILINE)
    assert not re.search(r"^\s*(def|class) ", text, flags=re.MULTILINE)
    assert script.stem in {name for name, _ in rules()}


def test_nothing_unsafe_is_loaded():
    forbidden = re.compile(
        r"\bimport pickle\b|\bpickle\.\w|torch\.load\(|trust_remote_code\s*=\s*True"
        r"|allow_pickle\s*=\s*True|yaml\.load\(|(?<![\w.])eval\(|os\.system\(|shell=True"
    )
    for file in [*LIBRARY, *SCRIPTS, *RULE_FILES, ROOT / "Snakefile"]:
        for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
            assert not forbidden.search(line), f"{file}:{number}: {line}"


@pytest.mark.parametrize("env", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_conda_and_pip_agree(env):
    pip = pins("requirements.txt")
    document = yaml.safe_load(env.read_text("utf-8"))
    assert "python=3.11" in document["dependencies"]
    for item in document["dependencies"]:
        for requirement in item["pip"] if isinstance(item, dict) else [item]:
            if requirement in {"pip", "python=3.11"}:
                continue
            name, version = re.split("==?", requirement)
            assert pip[CONDA_NAMES.get(name, name)] == version


def test_every_pin_is_exact():
    for file in (ROOT / "envs").glob("*.txt"):
        for line in file.read_text("utf-8").splitlines():
            assert re.match(r"#|-[rc] |[\w.-]+==[\w.]+$", line), f"{file.name}: {line}"


def test_the_parsed_part_of_the_library_is_light():
    """What the Snakefile imports may not import torch, not even through others."""
    light = re.compile(
        r"^(?:import|from) (torch|transformers|pandas|scipy|matplotlib)", re.MULTILINE
    )
    for name in ("config", "languages", "errors", "seeds", "representations/comparisons"):
        text = (ROOT / "workflow/src/babelscope" / f"{name}.py").read_text("utf-8")
        assert not light.search(text)
