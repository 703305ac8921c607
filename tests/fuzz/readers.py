"""Everything that reads files from outside, each with whole files that it can read."""

import bz2
import csv
import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from safetensors.numpy import save

from babelscope import config
from babelscope.checks import prompt_languages
from babelscope.config import Corpus, Model, load_settings, read_rows
from babelscope.corpus.archives import unpack
from babelscope.corpus.articles import read_articles, sample_articles, split_articles
from babelscope.corpus.bitext import read_bitext, read_mining
from babelscope.corpus.choices import read_choices
from babelscope.corpus.cleaning import clean, prepare, stop_clock
from babelscope.corpus.comprehension import read_comprehension
from babelscope.corpus.disambiguation import is_disambiguation
from babelscope.corpus.dumps import download, find_dump
from babelscope.corpus.examples import read_examples
from babelscope.corpus.extraction import extract_articles
from babelscope.corpus.instructions import make_instruction_pairs
from babelscope.corpus.multistream import download_sample
from babelscope.corpus.ner import read_ner
from babelscope.corpus.nli import read_nli
from babelscope.corpus.pairs import read_pairs
from babelscope.corpus.parallel import read_parallel
from babelscope.corpus.similarity import read_similarity
from babelscope.corpus.topics import read_topics
from babelscope.corpus.wikipages import Page, read_pages
from babelscope.demo import build_demo
from babelscope.evaluation.prompts import read_prompts
from babelscope.io import open_text, read_arrays, read_jsonl, read_metadata, read_table, write_table
from babelscope.languages import Language
from babelscope.models.hub import fetch_model
from tests.fuzz.mutations import BYTES, JSON, TEXT, YAML, Mutation

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
CONFIG = Path(__file__).resolve().parents[2] / "config"
LANGUAGES = {"en": "enwiki", "zh": "zhwiki"}
DATE = "20260101"
SIZES = {"articles": 60, "sentences": 20, "ner": 12, "nli": 12, "pairs": 8, "sts": 8, "topics": 24}
SIZES |= {"reading": 4, "instructions": 24, "choices": 8}
UNSEEN = ("kk", "ug")  # languages of Kardes-NLU
HEAD = 41  # lines of each file
TYPES = ["LOC", "ORG", "PER", "MISC"]

Files = dict[str, bytes]  # by name
Paths = Mapping[str, Path]


class Reader(NamedTuple):
    """What reads some files, and how they may be damaged.

    Attributes
    ----------
    name
        Of the reader.
    seeds
        Sets of files that it can read, or nearly.
    read
        Takes the damaged files by name; they lie in a folder of their own.
    ways
        How they are damaged.
    packed
        Whether text may also be compressed.
    begins
        How every error begins.
    """

    name: str
    seeds: Sequence[Files]
    read: Callable[[Paths], Any]
    ways: Sequence[Mutation] = TEXT
    packed: bool = True
    begins: str = ""


def find_readers(demo: Path, real: Path | None) -> dict[str, Reader]:
    """Return all readers by name, with files of the demo and, if they are there, real ones.

    Parameters
    ----------
    demo
        A folder for the demo's data, or one that has them.
    real
        The folder of real files, laid out as tests marked ``real_data`` want it.
    """
    if not (demo / "parallel.tsv").exists():
        build_demo(demo, languages=LANGUAGES, date=DATE, seed=1, **SIZES)
    roots = [root for root in (demo, real) if root]
    readers = [
        *_parallel(roots),
        *_labelled(roots),
        *_pairs(roots),
        *_graded(roots),
        *_translated(roots),
        *_choices(roots),
        *_wikipedia(demo, roots),
        *_archives(),
        *_settings(),
        *_made(),
    ]
    return {reader.name: reader for reader in readers if reader.seeds}


def _head(path: Path, lines: int = HEAD) -> bytes:
    with open_text(path) as file:
        return "".join(line for _, line in zip(range(lines), file, strict=False)).encode()


def _sets(roots: Sequence[Path], *patterns: Mapping[str, str]) -> list[Files]:
    """Return the sets of files that are there, the beginning of each."""
    return [
        {name: _head(root / path) for name, path in files.items()}
        for root in roots
        for files in patterns
        if all((root / path).is_file() for path in files.values())
    ]


def _both(pattern: str) -> dict[str, str]:
    """Return a set of two files, one per language."""
    end = pattern.removesuffix(".xz").rpartition(".")[2]
    return {f"{lang}.{end}": pattern.replace("{lang}", lang) for lang in LANGUAGES}


def _by_language(paths: Paths, end: str = "") -> dict[str, str]:
    return {f"{name.partition('.')[0]}{end}": str(path) for name, path in paths.items()}


def _store(table: pd.DataFrame, beside: Path) -> None:
    """Write what was read, as the workflow does."""
    write_table(beside.with_name("out.parquet"), table)


def _first(paths: Paths) -> Path:
    return next(iter(paths.values()))


def _lines(*rows: Sequence[str]) -> bytes:
    return "".join("\t".join(row) + "\n" for row in rows).encode()


def _objects(rows: Sequence[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _csv(rows: Sequence[Sequence[Any]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()


def _parallel(roots: Sequence[Path]) -> list[Reader]:
    tables = _sets(
        roots,
        {"a.tsv": "parallel.tsv"},
        {"a.tsv": "parallel/pud.tsv"},
        {"a.tsv": "parallel/ntrex.tsv.xz"},
    )
    seeds: dict[str, list[Files]] = {"tsv": tables, "jsonl": [], "json": [], "moses": []}
    seeds["conllu"] = []
    for table in tables:
        lines = [line.split("\t") for line in table["a.tsv"].decode().splitlines()]
        rows = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
        seeds["jsonl"].append({"a.jsonl": _objects(rows)})
        seeds["json"].append({"a.json": json.dumps(rows).encode()})
        seeds["moses"].append(
            {f"{lang}.txt": _lines(*[[row[lang]] for row in rows]) for lang in LANGUAGES}
        )
        seeds["conllu"].append(
            {
                f"{lang}.conllu": "".join(
                    f"# sent_id = {row['sent_id']}\n# text = {row[lang]}\n1\t_\n\n" for row in rows
                ).encode()
                for lang in LANGUAGES
            }
        )

    def read(format: str) -> Callable[[Paths], None]:
        def read(paths: Paths) -> None:
            one = format in ("moses", "conllu")
            table, _ = read_parallel(
                _by_language(paths) if one else _first(paths),
                list(LANGUAGES),
                format=format,
                id_column="" if one else "sent_id",
                missing="drop",
            )
            _store(table, _first(paths))

        return read

    return [
        Reader(f"parallel.{name}", files, read(name), JSON if "json" in name else TEXT)
        for name, files in seeds.items()
    ]


def _arrow(table: pa.Table, kind: str) -> bytes:
    sink = io.BytesIO()
    if kind == "parquet":
        pq.write_table(table, sink)
    else:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return sink.getvalue()


def _labelled(roots: Sequence[Path]) -> list[Reader]:
    """Return the readers of entities, inference and topics."""
    names = ["O", *(f"{mark}-{kind}" for kind in TYPES for mark in "BI")]
    feature = {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "List"}
    hub = json.dumps({"info": {"features": {"ner_tags": feature}}})
    tokens = [["Ann", "lives", "in", "Ulm"], ["No", "name"]]
    table = pa.table(
        {"tokens": tokens, "ner_tags": [[5, 0, 0, 1], [0, 0]]}, metadata={"huggingface": hub}
    )
    spoken = [{"tokens": words, "tags": ["O"] * len(words)} for words in tokens]
    entities = [{f"a.{kind}": _arrow(table, kind)} for kind in ("parquet", "arrow")]
    pairs = {"premise": ["a b", "c"], "hypothesis": ["a", "d"], "label": ["neutral", "neutral"]}
    inference = [{"a.parquet": _arrow(pa.table(pairs), "parquet")}]

    def ner(format: str) -> Callable[[Paths], None]:
        return lambda paths: _store(
            read_ner(_first(paths), format=format, language="en", types=TYPES)[0], _first(paths)
        )

    def nli(format: str) -> Callable[[Paths], None]:
        return lambda paths: _store(
            read_nli(_first(paths), format=format, language="en", id_column="")[0], _first(paths)
        )

    def topics(format: str) -> Callable[[Paths], None]:
        def read(paths: Paths) -> None:
            files = {f"{lang}/{format}": str(paths[f"{lang}.{format}"]) for lang in LANGUAGES}
            parts = {"train": (format, 0.0, 0.5), "test": (format, 0.5, 1.0)}
            table, _ = read_topics(files, format=format, id_column="", parts=parts)
            _store(table, _first(paths))

        return read

    def examples(paths: Paths) -> None:
        parts = {"train": ("a", 0.0, 0.5), "valid": ("a", 0.5, 0.7), "test": ("a", 0.7, 1.0)}
        files = {lang: {"a": path} for lang, path in _by_language(paths).items()}
        options: Any = {"format": "tsv", "id_column": "", "types": ()}
        for _, tables, _ in read_examples(files, kind="nli", parts=parts, **options):
            for table in tables.values():
                _store(table, _first(paths))

    told = _sets(roots, {"a.tsv": "nli/en/test.tsv"}, {"a.tsv": "nli/xnli/dev.en.tsv.xz"})
    several = _sets(roots, _both("nli/xnli/dev.{lang}.tsv.xz"))
    several.append(dict.fromkeys(["en.tsv", "zh.tsv"], INFERENCE))
    rows = [
        {"index_id": str(number), "category": "ab"[number % 2], "text": f"text {number}"}
        for number in range(30)
    ]
    return [
        Reader("ner.panx", _sets(roots, {"a.tsv": "ner/en/test.tsv"}), ner("panx")),
        Reader("ner.panx.real", _sets(roots, {"a.tsv": "ner/panx/en/test.tsv"}), ner("panx")),
        Reader(
            "ner.conll",
            [*_sets(roots, {"a.tsv": "ner/uner_pud/en.tsv"}), {"a.tsv": CONLL}],
            ner("conll"),
        ),
        Reader("ner.datasets", entities, ner("datasets"), BYTES, packed=False),
        Reader("ner.datasets.jsonl", [{"a.jsonl": _objects(spoken)}], ner("datasets"), JSON),
        Reader("nli.tsv", told, nli("tsv")),
        Reader(
            "nli.jsonl",
            [{"a.jsonl": _objects(_rows(files["a.tsv"]))} for files in told],
            nli("jsonl"),
            JSON,
        ),
        Reader("nli.datasets", inference, nli("datasets"), BYTES, packed=False),
        Reader("examples", several, examples),
        Reader("topics.tsv", _sets(roots, _both("topics/{lang}/train.tsv")), topics("tsv")),
        Reader(
            "topics.jsonl",
            [dict.fromkeys(["en.jsonl", "zh.jsonl"], _objects(rows))],
            topics("jsonl"),
            JSON,
        ),
    ]


INFERENCE = "".join(
    f"premise {number}\thypothesis {number} {label}\t{label}\n"
    for number in range(10)
    for label in ("entailment", "neutral", "contradiction")
).encode()
CONLL = b"# sent_id = 1\nAnn\tB-PER\nin\tO\nUlm\tB-LOC\n\n-DOCSTART- O\n\n# x\n#\tO\nA b c B-ORG\n"


def _rows(table: bytes) -> list[dict[str, str]]:
    """Return the rows of a table as objects; one without a header is of inference."""
    lines = [line.split("\t") for line in table.decode().splitlines()]
    header = ["premise", "hypothesis", "label"]
    if len(lines[0]) != 3 or "label" in lines[0]:
        header = lines.pop(0)
    return [dict(zip(header, line, strict=True)) for line in lines]


def _pairs(roots: Sequence[Path]) -> list[Reader]:
    texts = [f"pairs/{{lang}}_{number}.txt" for number in (1, 2, 3)]
    lines = {
        f"{lang}.{number}.txt": path.replace("{lang}", lang)
        for lang in LANGUAGES
        for number, path in enumerate(texts, start=1)
    }
    table = _lines(["anchor", "positive", "negative"], ["a", "b", "c"], ["d", "e", "f"])
    objects: list[Any] = [["a", "b"], ["a", "b", "c"], {"set": ["a", "b", "c", "d"]}]
    objects += [{"query": "a", "pos": ["b"], "neg": ["c"]}]

    def read(format: str) -> Callable[[Paths], None]:
        def read(paths: Paths) -> None:
            named = {"/".join(name.split(".")[:-1]): str(path) for name, path in paths.items()}
            found, _ = read_pairs(named, format=format, most=6)
            _store(found, _first(paths))

        return read

    told = _sets(roots, _both("nli/xnli/dev.{lang}.tsv.xz"))
    told.append(dict.fromkeys(["en.tsv", "zh.tsv"], INFERENCE))
    return [
        Reader("pairs.lines", _sets(roots, lines), read("lines")),
        Reader("pairs.tsv", [dict.fromkeys(["en.tsv", "zh.tsv"], table)], read("tsv")),
        Reader(
            "pairs.jsonl",
            [dict.fromkeys(["en.jsonl", "zh.jsonl"], _objects(objects))],
            read("jsonl"),
            JSON,
        ),
        Reader("pairs.nli", told, read("nli")),
    ]


def _graded(roots: Sequence[Path]) -> list[Reader]:
    rows = [[f"a {number}", f"b {number}", str(number % 6)] for number in range(9)]
    header = ["sentence1", "sentence2", "score"]
    objects = [dict(zip(header, row, strict=True)) | {"score": int(row[2])} for row in rows]
    columns = [_lines(*[[row[place]] for row in rows]) for place in range(3)]
    semrel = [["PairID", "Text", "Score"]] + [[f"x-{n}", f"a {n}\nb", n / 9] for n in range(9)]
    stsb = [["", *header, "s1_translation", "s2_translation"]]
    stsb += [[str(number), *row, f"ә {number}", "ю"] for number, row in enumerate(rows)]

    def read(format: str, high: float = 5.0) -> Callable[[Paths], None]:
        def read(paths: Paths) -> None:
            named = {"/".join(name.split(".")[:-1]): str(path) for name, path in paths.items()}
            table, _ = read_similarity(
                named, format=format, scale=(0.0, high), id_column="", pivot="en"
            )
            _store(table, _first(paths))

        return read

    halves = {
        f"{lang}.{place}.txt": columns[place - 1] for lang in LANGUAGES for place in (1, 2, 3)
    }
    kardes = _sets(
        roots, {"kk.csv": "sts/kardes/sts.test.kk.csv", "ug.csv": "sts/kardes/sts.test.ug.csv"}
    )
    return [
        Reader(
            "sts.tsv",
            [*_sets(roots, {"en.tsv": "sts/en-en.tsv"}), {"en.tsv": _lines(header, *rows)}],
            read("tsv"),
        ),
        Reader("sts.csv", [{"en.csv": _csv(rows)}, {"en.csv": _csv([header, *rows])}], read("csv")),
        Reader("sts.jsonl", [{"en.jsonl": _objects(objects)}], read("jsonl"), JSON),
        Reader("sts.lines", [halves], read("lines")),
        Reader(
            "sts.semrel",
            [
                *_sets(roots, {"en.csv": "sts/semrel2024/track_a/eng_test.csv"}),
                {"en.csv": _csv(semrel)},
            ],
            read("semrel", 1.0),
        ),
        Reader("sts.stsb", [*kardes, {"kk.csv": _csv(stsb), "ug.csv": _csv(stsb)}], read("stsb")),
    ]


def _translated(roots: Sequence[Path]) -> list[Reader]:
    table = _lines(["eng", "cmn"], ["a", "b"], ["c", "d"])
    sides = {"1.txt": _lines(["a"], ["b"]), "2.txt": _lines(["c"], ["d"])}
    sentences = [[f"s-{number}", f"text {number}"] for number in range(12)]
    gold = [[f"s-{number}"] * 2 for number in range(10)]
    mined = {"1.txt": _lines(*sentences), "2.txt": _lines(*sentences), "3.txt": _lines(*gold)}

    def bitext(paths: Paths) -> None:
        format = "tsv" if "a.tsv" in paths else "moses"
        named = {f"en/zh/{name[0]}": str(path) for name, path in paths.items()}
        if format == "tsv":
            named = {"en/zh": str(_first(paths))}
        codes = {"en": "eng", "zh": "cmn"}
        found, _ = read_bitext(named, format=format, codes=codes)
        _store(found, _first(paths))

    def mining(paths: Paths) -> None:
        named = {f"zh/en/dev/{name[0]}": str(path) for name, path in paths.items()}
        parts = {"train": ("dev", 0.0, 0.5), "test": ("dev", 0.5, 1.0)}
        found, _ = read_mining(named, parts=parts)
        _store(found, _first(paths))

    return [
        Reader(
            "bitext.tsv",
            [*_sets(roots, {"a.tsv": "parallel/tatoeba/cmn-eng.tsv"}), {"a.tsv": table}],
            bitext,
        ),
        Reader("bitext.moses", [sides], bitext),
        Reader(
            "mining.bucc",
            [*_mined(roots), mined],
            mining,
        ),
    ]


def _mined(roots: Sequence[Path]) -> list[Files]:
    """Return some gold pairs of BUCC among the sentences that they are of, and some others."""
    found = []
    for root in roots:
        home = root / "bitext" / "bucc2018"
        if not home.is_dir():
            continue
        gold = _head(home / "zh-en.dev.gold", 12).decode()
        files: Files = {}
        for number, language in enumerate(("zh", "en"), start=1):
            lines = _head(home / f"zh-en.dev.{language}.xz", 20_000).decode().splitlines(True)
            wanted = {line.split("\t")[number - 1] for line in gold.splitlines()}
            kept = [
                line for line in lines if line.partition("\t")[0] in wanted or line in lines[:20]
            ]
            files[f"{number}.txt"] = "".join(kept).encode()
        found.append(files | {"3.txt": gold.encode()})
    return found


def _choices(roots: Sequence[Path]) -> list[Reader]:
    """Return the readers of tasks with choices, of reading and of instructions."""
    story = ["InputStoryid", *(f"InputSentence{n}" for n in (1, 2, 3, 4))]
    story += ["RandomFifthSentenceQuiz1", "RandomFifthSentenceQuiz2", "AnswerRightEnding"]
    stories = _lines(story, *[[f"i{n}", "a", "b", "c", "d", f"e{n}", "f", "1"] for n in range(9)])
    copa = [
        {"idx": n, "premise": f"p {n}", "question": "cause", "choice1": "a", "choice2": "b"}
        | {"label": n % 2, "changed": False}
        for n in range(9)
    ]
    schema = [
        [
            *("en", "x", "y", f"Ann {n} met Bo .", json.dumps(["Ann", str(n), "met", "Bo", "."])),
            json.dumps(["Bo", [3, 4], ["Bo"]]),
            json.dumps([["Ann", [0, 1], ["Ann"], n % 2 == 0], [f"Bo{n}", [3, 4], [], n % 2 == 1]]),
        ]
        for n in range(12)
    ]
    half = {"train": ("a", 0.0, 0.5), "test": ("a", 0.5, 1.0)}

    def read(format: str) -> Callable[[Paths], None]:
        def read(paths: Paths) -> None:
            named = {"en/a": str(_first(paths))}
            table, _ = read_choices(named, format=format, parts=half, codes={"en": "en"})
            _store(table, _first(paths))

        return read

    def reading(paths: Paths) -> None:
        _store(read_comprehension(_by_language(paths))[0], _first(paths))

    def instructions(paths: Paths) -> None:
        home = _first(paths).parent
        make_instruction_pairs(
            {"a": _by_language(paths)},
            {},
            {split: str(home / f"{split}.jsonl.zst") for split in ("train", "valid")},
            languages={"en": "English", "zh": "Chinese"},
            pivot="en",
            cross_probability=0.5,
            change_probability=0.5,
            repeat=1.0,
            valid=0.5,
            weights={},
            seed=1,
        )

    asked = [
        {f"{lang}.json": (root / f"instructions/{lang}.json").read_bytes() for lang in LANGUAGES}
        for root in roots
        if (root / "instructions/en.json").is_file()
    ]
    return [
        Reader("choices.xnli", [{"a.tsv": INFERENCE}], read("xnli")),
        Reader(
            "choices.pawsx",
            _sets(
                roots, {"a.tsv": "pawsx/en/test_2k.tsv"}, {"a.tsv": "icl/pawsx/en/test_2k.tsv.xz"}
            ),
            read("pawsx"),
        ),
        Reader(
            "choices.xcopa",
            [
                *_sets(roots, {"a.jsonl": "icl/xcopa/zh/test.zh.jsonl"}),
                {"a.jsonl": _objects(copa)},
            ],
            read("xcopa"),
            JSON,
        ),
        Reader(
            "choices.xstorycloze",
            [*_sets(roots, {"a.tsv": "storycloze/en.eval.tsv"}), {"a.tsv": stories}],
            read("xstorycloze"),
        ),
        Reader(
            "choices.xwinograd",
            [*_sets(roots, {"a.tsv": "icl/xwinograd/dataset.tsv.xz"}), {"a.tsv": _lines(*schema)}],
            read("xwinograd"),
            JSON,
        ),
        Reader("reading", _sets(roots, _both("reading/{lang}.jsonl")), reading, JSON),
        Reader("instructions", asked, instructions, JSON),
    ]


def _wikipedia(demo: Path, roots: Sequence[Path]) -> list[Reader]:
    archives = [
        path
        for root in roots
        for path in sorted(root.glob("dumps/*/*/*-pages-articles*.xml.bz2"))
        if "index" not in path.name
    ]
    texts = [page for path in archives[:6] for page in _some_pages(path)]
    dumps = [{"a.xml.bz2": _excerpt(path)} for path in archives[:6]]
    extra = [{"a.jsonl": _objects([{"text": f"{page.text[:400]}"} for page in texts[:20]])}]
    wiki = demo / "dumps" / "enwiki" / DATE
    name = f"enwiki-{DATE}-pages-articles-multistream"
    stream = {
        "archive": (wiki / f"{name}.xml.bz2").read_bytes(),
        "index": bz2.decompress((wiki / f"{name}-index.txt.bz2").read_bytes()),
    }
    listing = {"dumpstatus.json": (wiki / "dumpstatus.json").read_bytes()}
    sums = {"sums.txt": next(wiki.glob("*sha1sums.txt")).read_bytes()}

    def pages(paths: Paths) -> None:
        for _ in read_pages(_first(paths)):
            pass

    def wikitext(paths: Paths) -> None:
        text = _first(paths).read_bytes().decode("utf-8", "replace")
        for language in LANGUAGES:
            is_disambiguation("A", text, language)
            prepared = prepare(stop_clock(text, DATE), frozenset({"file", "category"}), language)
            clean(prepared, "A").encode()

    def extraction(paths: Paths) -> None:
        home = _first(paths).parent
        files = [{"name": path.name, "kind": "archive"} for path in paths.values()]
        (home / "dump.json").write_text(json.dumps({"date": DATE, "files": files}))
        extract_articles(home, home / "out", language="en", templates=True, processes=1)

    def articles(paths: Paths) -> None:
        home = _first(paths).parent
        options: Any = {"seed": 1, "source": "en"}
        sample_articles(
            lambda: read_articles(home, _first(paths)),
            home / "sample.jsonl.zst",
            n=99,
            min_characters=2,
            allow_fewer=True,
            **options,
        )
        splits = {split: home / f"{split}.zst" for split in ("train", "valid", "test")}
        split_articles(home / "sample.jsonl.zst", splits, valid=0.3, test=0.3, **options)

    def multistream(paths: Paths) -> None:
        """Sample the dump; its sums are those of the damaged files, so that they are read."""
        home = _first(paths).parent / "enwiki" / DATE
        home.mkdir(parents=True)
        contents = {
            f"{name}.xml.bz2": paths["archive"].read_bytes(),
            f"{name}-index.txt.bz2": bz2.compress(paths["index"].read_bytes()),
        }
        lines = []
        for file, content in contents.items():
            (home / file).write_bytes(content)
            lines.append(f"{hashlib.sha1(content).hexdigest()}  {file}\n")
        (home / f"enwiki-{DATE}-sha1sums.txt").write_text("".join(lines))
        source = str(home.parents[1])
        found = find_dump(source, "enwiki", DATE, sampling="multistream")
        download_sample(found, home / "out", home / "partial", seed=1, articles=3)

    def listings(paths: Paths) -> None:
        home = _first(paths).parent / "enwiki" / DATE
        home.mkdir(parents=True)
        (home / f"{name}.xml.bz2").write_bytes(stream["archive"])
        for file, path in paths.items():
            known = file if file.endswith("json") else f"enwiki-{DATE}-sha1sums.txt"
            (home / known).write_bytes(path.read_bytes())
        found = find_dump(str(home.parents[1]), "enwiki", DATE)
        download(found, home / "out", home / "partial")

    markup = [{"a.wiki": page.text.encode()} for page in texts]
    return [
        Reader("dump", dumps, pages),
        Reader("wikitext", markup, wikitext, packed=False),
        Reader("extraction", dumps, extraction),
        Reader("articles", extra, articles, JSON),
        Reader("multistream", [stream], multistream, packed=False),
        Reader("dumpstatus", [listing], listings, JSON, packed=False),
        Reader("sums", [sums], listings, packed=False),
    ]


def _some_pages(path: Path, most: int = 6) -> list[Page]:
    pages = (item for item in read_pages(path) if isinstance(item, Page) and item.text)
    return [page for _, page in zip(range(most), pages, strict=False)]


def _excerpt(path: Path, most: int = 8) -> bytes:
    """Return the head and the first pages of a dump, as XML."""
    with bz2.open(path) as file:
        text = file.read(2**18)
    head, *pages = text.split(b"<page>")
    return (
        b"<page>".join([head, *pages[:most]]).rpartition(b"</page>")[0] + b"</page>\n</mediawiki>"
    )


def _archives() -> list[Reader]:
    """Return the reader of archives; some of these must be refused as they are."""
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        for member in ("a/b.txt", "c.tsv"):
            archive.writestr(zipfile.ZipInfo(member), "text\n" * 20, zipfile.ZIP_DEFLATED)
    with tarfile.open(fileobj=tarred, mode="w") as archive:
        for member in ("a/b.txt", "c.tsv"):
            one = tarfile.TarInfo(member)
            one.size = 100
            archive.addfile(one, io.BytesIO(b"text\n" * 20))
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name in ("a", "b"):
            for kind in (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE):
                one = tarfile.TarInfo(f"{name}{kind.decode()}")
                one.type, one.linkname = kind, "../x"
                archive.addfile(one, io.BytesIO())

    def read(paths: Paths) -> None:
        home = _first(paths).parent
        outside = set(home.parent.rglob("*"))
        try:
            unpack(_first(paths), home / "out" / "in", "https://example.org/a")
        finally:
            new = set(home.parent.rglob("*")) - outside - {home / "out"}
            assert all((home / "out" / "in") in (path, *path.parents) for path in new), new

    files = [{"a.zip": zipped.getvalue()}]
    files += [{"a.tar.gz": gzip.compress(tarred.getvalue(), mtime=0)}]
    return [Reader("archives", [*files, {"a.tar": plain.getvalue()}], read, BYTES, packed=False)]


def _settings() -> list[Reader]:
    tables = {"languages": Language, "corpora": Corpus, "models": Model}
    rows: Any = [read_rows(CONFIG / f"{name}.tsv", kind) for name, kind in tables.items()]
    whole = b"#\n" + (CONFIG / "config.yaml").read_bytes()
    document = yaml.load(whole, LOADER)
    documents = [document]  # as JSON, which is YAML, too, and read in less time
    for path in sorted(CONFIG.glob("paper/*.yaml")):
        documents.append(_merged(document, yaml.safe_load(path.read_text("utf-8"))))

    prompts_there = prompt_languages(CONFIG / "prompts")
    checks: dict[str, Callable[..., None]] = {
        "heads": config.check_heads,
        "tickets": config.check_tickets,
        "encoders": config.check_encoders,
        "alignment": partial(config.check_alignment, prompts=prompts_there),
    }

    def settings(paths: Paths) -> None:
        """Check a configuration as the workflow does, which has read it as YAML before."""
        content = _first(paths).read_bytes()
        try:
            found = yaml.load(content, LOADER) if b"#" in content[:2] else json.loads(content)
        except Exception:  # it is Snakemake that tells
            return
        checked = load_settings(found)
        config.check_names(checked, *rows)
        for study in checked.studies:
            if study in checks:
                checks[study](checked, *rows[1:])

    def table(paths: Paths) -> None:
        name = next(iter(paths))
        read_rows(paths[name], tables[name.partition(".")[0]])

    def prompts(paths: Paths) -> None:
        read_prompts(_first(paths))

    return [
        Reader("config.yaml", [{"a.yaml": whole}], settings, YAML, False, "config: "),
        Reader(
            "config",
            [{"a.yaml": json.dumps(one).encode()} for one in documents],
            settings,
            JSON,
            False,
            "config: ",
        ),
        Reader(
            "tables",
            [{f"{name}.tsv": (CONFIG / f"{name}.tsv").read_bytes()} for name in tables],
            table,
            packed=False,
        ),
        Reader(
            "prompts",
            [{path.name: path.read_bytes()} for path in sorted(CONFIG.glob("prompts/*.yaml"))],
            prompts,
            YAML,
            packed=False,
        ),
    ]


def _merged(base: Any, overlay: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(overlay, dict)):
        return overlay
    return base | {key: _merged(base.get(key), value) for key, value in overlay.items()}


def _made() -> list[Reader]:
    """Return the readers of what the workflow itself writes, and of model folders."""
    weights = save({"a": np.zeros((3, 2), np.float32), "b": np.ones(4, np.int64)}, {"kind": "x"})
    table = _arrow(pa.table({"a": [1, 2], "b": ["x", "y"]}), "parquet")
    modules = [{"path": path, "type": "x"} for path in ("", "1_Pooling", "2_Dense")]
    index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
    model = {
        "config.json": json.dumps({"model_type": "bert", "vocab_size": 9}).encode(),
        "tokenizer.json": b"{}",
        "tokenizer_config.json": b'{"model_max_length": 8}',
        "modules.json": json.dumps(modules).encode(),
        "model.safetensors": weights,
    }
    shards = {name: content for name, content in model.items() if name != "model.safetensors"}
    shards |= {"model.safetensors.index.json": json.dumps(index).encode()}
    shards |= {"model-00001-of-00001.safetensors": weights}

    def arrays(paths: Paths) -> None:
        read_metadata(_first(paths))
        read_arrays(_first(paths))

    def records(paths: Paths) -> None:
        for _ in read_jsonl(_first(paths)):
            pass

    def folder(paths: Paths) -> None:
        home = _first(paths).parent
        (home / "2_Dense").mkdir()
        (home / "2_Dense" / "model.safetensors").write_bytes(weights)
        fetch_model(str(home), home / "out")

    return [
        Reader("arrays", [{"a.safetensors": weights}], arrays, BYTES, packed=False),
        Reader("parquet", [{"a.parquet": table}], lambda p: read_table(_first(p)), BYTES, False),
        Reader("records", [{"a.jsonl": _objects([{"id": "1", "text": "x"}] * 9)}], records, JSON),
        Reader("models", [model, shards], folder, JSON, packed=False),
    ]
