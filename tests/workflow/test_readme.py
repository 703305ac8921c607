"""Every command of the README does what it says, as far as that can be tried in seconds."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from babelscope import config
from babelscope.languages import Language
from babelscope.representations.comparisons import HEAD_MEASURES

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def blocks(kind: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def sessions() -> dict[str, str]:
    """Return the commands behind a prompt, each with the output that is shown below it."""
    parts = [
        part.partition("\n")
        for block in blocks("")
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    ]
    return {command: output for command, _, output in parts}


def commands() -> list[str]:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line]
    return [*lines, *sessions()]


def of(tool: str) -> list[str]:
    return [command for command in commands() if command.startswith(tool)]


def test_every_command_is_known():
    known = of("make") + of("snakemake") + of("pip install") + of("python3.11 -m venv")
    known += of("squeue")
    assert set(commands()) == set(known)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z-]+)\b", README))))
def test_make_knows_every_target(target):
    assert re.search(rf"^{target}:", MAKEFILE, flags=re.MULTILINE)
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def clone(tmp_path) -> Path:
    """Return a copy of what is read before the first job, whose tables may be changed."""
    folder = tmp_path / "clone"
    for part in ("config", "envs", "profiles", "workflow"):
        ignored = shutil.ignore_patterns("__pycache__", "images")
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    for file in ("Snakefile", "Makefile"):
        shutil.copy(ROOT / file, folder)
    return folder


def output_of(command: list[str], clone: Path) -> str:
    """Return what a command prints in a clone in which nothing was run yet."""
    env = {**os.environ, "PYTHONPATH": "workflow/src", "XDG_CACHE_HOME": str(clone / "cache")}
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def make(clone: Path, *words: str) -> str:
    """Return what make prints, with the environment of the tests for the one it would make."""
    return output_of(["make", "-o", "install", f"BIN={Path(sys.executable).parent}", *words], clone)


@pytest.mark.parametrize(("command", "shown"), sessions().items(), ids=list(sessions()))
def test_a_session_shows_what_its_command_prints(command, shown, clone):
    """It may leave lines out, but no line is another one today."""
    tool, *words = shlex.split(command)
    assert tool == "make"
    printed = make(clone, *words).splitlines()
    assert set(shown.splitlines()) <= set(printed), printed


def test_the_status_of_that_session_is_told(clone):
    """The README says that it takes the same CONFIG and STUDY, and changes nothing."""
    (command,) = (command for command in sessions() if command.startswith("make plan"))
    before = sorted(clone.rglob("*"))
    printed = make(clone, "status", *shlex.split(command)[2:])
    assert re.search(r"^rule .* waiting", printed, flags=re.MULTILINE)
    assert re.search(r"^all ", printed, flags=re.MULTILINE)
    made = set(clone.rglob("*")) - set(before)
    assert not [path for path in made if not {"__pycache__", "cache"} & set(path.parts)]


@pytest.mark.parametrize("command", re.findall(r"`python (-m [\w.]+ --help)`", README))
def test_help_is_there(command, clone):
    assert "usage:" in output_of([sys.executable, *shlex.split(command)], clone)


@pytest.mark.parametrize("command", of("snakemake"))
def test_snakemake_can_plan_every_run(command, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("languages: [en, de, es]\n")
    command = command.replace("FOLDER", str(tmp_path)).replace("my.yaml", str(own))
    command = command.replace("../my-run", str(tmp_path / "run"))
    # Conda itself is asked even in a dry run, and solving environments needs the network.
    command = command.replace(" --sdm conda", "")
    # The cluster's profile needs an executor that is not installed here.
    words = shlex.split(command.replace(" --workflow-profile profiles/slurm", ""))
    (tmp_path / "dumps").mkdir()
    (tmp_path / "parallel").mkdir()
    (tmp_path / "parallel" / "pud.tsv").write_text("sent_id\ten\n1\tone\n")
    (tmp_path / "parallel" / "ntrex.tsv.xz").touch()
    (tmp_path / "mono").mkdir()
    (tmp_path / "nli" / "xnli").mkdir(parents=True)
    for lang in ("en", "de", "es", "ru", "zh", "ar", "hi", "fr"):
        (tmp_path / "mono" / f"{lang}.jsonl.xz").touch()
        (tmp_path / "ner" / "panx" / lang).mkdir(parents=True)
        for split in ("train", "dev", "test"):
            (tmp_path / "ner" / "panx" / lang / f"{split}.tsv").touch()
            (tmp_path / "nli" / "xnli" / f"{split}.{lang}.tsv.xz").touch()
    words = [str(ROOT / word) if word.startswith("config/") else word for word in words]
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("snakemake"), "--snakefile", ROOT / "Snakefile"),
            *("--directory", tmp_path, "--dry-run", *words[1:]),
            *(() if "--cores" in words else ("--cores", "1")),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize(
    ("heading", "table", "columns", "studies", "jobs"),
    [
        ("A language", "languages", 11, ["heads", "tickets"], ["find_ticket", "download_dump"]),
        ("A model", "models", 7, ["heads"], ["download_model", "finetune_mlm"]),
        ("A parallel corpus", "corpora", 13, ["heads"], ["read_parallel"]),
    ],
)
def test_an_example_of_ones_own_can_be_planned(heading, table, columns, studies, jobs, clone):
    """The rows and settings of an example, as a reader copies them."""
    section = README.split(f"\n### {heading}\n")[1].split("\n#")[0]
    rows, settings = blocks("tsv", section), blocks("yaml", section)
    assert len(rows) == len(settings) == 1
    assert f"`config/{table}.tsv`" in section
    assert all(len(row.split("\t")) == columns for row in rows[0].splitlines())
    with (clone / "config" / f"{table}.tsv").open("a", encoding="utf-8") as file:
        file.write(rows[0])
    (clone / "my.yaml").write_text(settings[0], "utf-8")
    (clone / "models" / "my-model").mkdir(parents=True)
    books = [f"corpora/books/books.{lang}" for lang in ("en", "de", "es")]
    for name in ("data/news.tsv", "data/de-en-es.tsv", *books):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).touch()
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("snakemake"), "--cores", "1", "--dry-run", *studies),
            *("--configfile", "my.yaml"),
        ],
        cwd=clone,
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(clone / "cache")},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    names = [row.split("\t")[0] for row in rows[0].splitlines()]
    for word in (*jobs, *names):
        assert re.search(rf"\b{word}\b", done.stdout + done.stderr), word


def test_the_example_lists_every_family_that_a_study_takes():
    lines = re.findall(r"^\| (\w+) \| `([\w.]+)` \| ([\w, -]+) \|$", README, flags=re.MULTILINE)
    families = {(study, key): tuple(listed.split(", ")) for study, key, listed in lines}
    assert families == {
        ("heads", "models"): config.ENCODERS,
        ("tickets", "models"): config.ENCODERS + config.TEXT_TO_TEXT,
        ("encoders", "models"): config.SENTENCE_ENCODERS,
        ("encoders", "encoders.translation.model"): (config.TRANSLATORS,),
        ("alignment", "alignment.models"): config.GENERATORS,
    }


def test_the_example_explains_every_column_of_a_language():
    section = README.split("\n### A language\n")[1].split("\n#")[0]
    cells = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", section, flags=re.MULTILINE)
    named = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert named == list(Language.model_fields)


def test_pip_lines_name_what_the_makefile_installs():
    torch, *rest = of("pip install")
    version = re.search(r"^torch==([\d.]+)$", (ROOT / "envs/requirements.txt").read_text(), re.M)
    assert version
    assert f"torch=={version[1]}+cpu" in torch
    assert f"TORCH ?= torch=={version[1]}+cpu" in MAKEFILE
    assert rest == [f"pip install -r envs/requirements{name}.txt" for name in ("", "-slurm")]


def test_every_file_in_the_table_is_a_target():
    rules = (ROOT / "workflow" / "rules" / "common.smk").read_text("utf-8")
    sections = re.split(r"\| in the papers? \| file \|", README)[1:]
    assert len(sections) == 4
    of_measures = {f"{measure}_" for measure in HEAD_MEASURES}  # put together from comparisons
    for section in sections:
        for name in re.findall(r"`([^`]+)`", section.split("\n\n")[0]):
            stem = name.removeprefix("<budget>/").removesuffix("*").split("<")[0]
            named = re.search(rf'"(\{{tasks\}})?{stem}', rules)
            assert named or stem in of_measures, name


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_differences_and_gaps_are_not_left_open():
    assert not re.search(r"\b(TODO|TBD|FIGURES|TIMES|TARGETS)\b", README)
