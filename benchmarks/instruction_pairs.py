"""Instruction samples of two languages: rows matched on disk against all of them in memory.

Ours reads the files as streams, in whatever order, matches their rows by id and writes samples. The
baseline does what the published program does: it loads both files, sorts them, takes rows at the
same place for the same one, and holds every sample before it writes the first, without compression.
Both must use every row and every sentence pair once. What ours must save is memory; its speed has a
goal of its own, samples per minute on one core.
"""

import argparse
import hashlib
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from babelscope.corpus.instructions import make_instruction_pairs
from babelscope.io import read_jsonl
from benchmarks.measure import conclude, emit, measure

NAMES = {"en": "English", "de": "German"}
PER_MINUTE = 100_000  # samples: the goal
VALID = 0.05


def write_corpus(folder: Path, number: int) -> None:
    """Write files with rows as long as those of Bactrian-X are, each in an order of its own.

    Row by row, since a child's peak of memory is at least what its parent held.
    """
    words = [f"{a}{b}" for a in ("wa", "be", "ti", "so", "nu") for b in ("rn", "lle", "st", "gen")]
    for code in NAMES:
        generator = random.Random(code)
        with (folder / f"{code}.json").open("w", encoding="utf-8") as file:
            for count, place in enumerate(generator.sample(range(number), number)):
                row = {
                    "instruction": f"{code} {place} {' '.join(generator.choices(words, k=10))}",
                    "input": " ".join(generator.choices(words, k=12)) if place % 3 == 0 else "",
                    "id": f"row-{place}",
                    "output": " ".join(generator.choices(words, k=80)),
                }
                file.write(f"{',' if count else '['}\n{json.dumps(row, indent=4)}")
            file.write("\n]\n")


def streamed(folder: Path) -> Path:
    """Make samples as the project does."""
    make_instruction_pairs(
        {"bactrian": {code: str(folder / f"{code}.json") for code in NAMES}},
        {},
        {split: str(folder / f"{split}.jsonl.zst") for split in ("train", "valid")},
        languages=NAMES,
        pivot="en",
        cross_probability=0.5,
        change_probability=0.5,
        repeat=1.0,
        valid=VALID,
        weights={},
        seed=1,
    )
    return folder


def loaded(folder: Path) -> Path:
    """Make samples with all rows in memory, matched by their place."""
    generator = random.Random(1)
    data = {}
    for code in NAMES:
        rows = json.loads((folder / f"{code}.json").read_text("utf-8"))
        data[code] = sorted(rows, key=lambda row: row["id"])
    pivot, other = data.values()
    pairs = [
        (one["instruction"], two["instruction"])
        for one, two in zip(pivot, other, strict=True)
        if one["instruction"] and two["instruction"] and one["instruction"] != two["instruction"]
    ]
    generator.shuffle(pairs)
    places = list(range(len(pivot)))
    generator.shuffle(places)
    samples = []
    for place, (first, second) in zip(places, pairs, strict=True):
        source = target = generator.choice(list(NAMES))
        if generator.random() < 0.5:
            target = next(code for code in NAMES if code != source)
        row, answer = data[source][place], data[target][place]["output"]
        asked = f"{row['instruction']} {row['input']}" if row["input"] else row["instruction"]
        prompt = f"{asked} Answer in {NAMES[target]}: "
        samples.append(
            {
                "sent0": first,
                "sent1": second,
                "clm_text": prompt + answer,
                "clm_prompt_len": len(prompt),
            }
        )
    generator.shuffle(samples)
    with (folder / "loaded.jsonl").open("w", encoding="utf-8") as file:
        for sample in samples:
            file.write(json.dumps(sample, ensure_ascii=False) + "\n")
    return folder / "loaded.jsonl"


def summary(made: Path) -> dict[str, Any]:
    """Return how many samples there are, and what pairs and rows they use, as checksums."""
    files = [made] if made.is_file() else sorted(made.glob("*.jsonl.zst"))
    pairs, rows = [], []
    for file in files:
        for sample in read_jsonl(file):
            pairs.append(f"{sample['sent0']}\t{sample['sent1']}")
            rows.append(sample["clm_text"].split()[1])
    digests = [hashlib.sha256("\n".join(sorted(x)).encode()).hexdigest() for x in (pairs, rows)]
    return {"samples": len(pairs), "digests": digests}


def main() -> None:
    """Compare the two, or run one of them as the child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rows")
    parser.add_argument("--way", choices=("streamed", "loaded"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rows", type=int, default=67_017, help="as many as Bactrian-X has")
    options = parser.parse_args()
    if options.way:
        work = {"streamed": streamed, "loaded": loaded}[options.way]
        started, processor = time.perf_counter(), time.process_time()
        made = work(options.folder)
        value = {"made": str(made), "processor": time.process_time() - processor}
        emit(time.perf_counter() - started, value)
        return
    number = 300 if options.quick else options.rows
    with tempfile.TemporaryDirectory() as name:
        write_corpus(Path(name), number)
        size = sum((Path(name) / f"{code}.json").stat().st_size for code in NAMES)
        print(f"{number} rows in each of {', '.join(NAMES)}, {size / 1e6:.0f} MB")
        given = [f"--folder={name}", *["--quick"] * options.quick]
        ours, baseline = (
            measure("instruction_pairs", way, *given) for way in ("streamed", "loaded")
        )
        found, expected = (summary(Path(way.value["made"])) for way in (ours, baseline))
    rates = {
        "wall clock": 60 * number / ours.seconds,
        "processor time": 60 * number / ours.value["processor"],
    }
    conclude(
        "instruction_pairs",
        ours,
        baseline,
        baseline_is="all rows in memory",
        difference=float(found != expected),
        tolerance=0.0,
        speed=0.1,
        memory=0.5,
        facts={
            "samples per minute": ", ".join(f"{rate:.0f} by {by}" for by, rate in rates.items())
            + f"; goal: at least {PER_MINUTE}",
        },
    )


if __name__ == "__main__":
    main()
