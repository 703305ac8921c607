"""A disk that is full: whatever writes says so in one line, and what was there stays."""

import json

WRITERS = """
import json, os
from pathlib import Path
import numpy as np, pandas as pd
from tokenizers import Tokenizer, models
from babelscope import io
from babelscope.errors import BabelscopeError
from babelscope.tokenization.packing import write_chunks

os.chdir(FOLDER)
rng = np.random.default_rng(0)
numbers = rng.random(60_000)
vocabulary = {f"piece {i}": i for i in range(20_000)}

def save_tokenizer(path):
    with io.atomic(path) as temporary:
        Tokenizer(models.WordLevel(vocabulary, "piece 0")).save(str(temporary))

writers = {
    "a.json": lambda path: io.write_json(path, vocabulary),
    "a.jsonl.zst": lambda path: io.write_jsonl(path, ({"t": str(rng.random())} for _ in numbers)),
    "a.parquet": lambda path: io.write_table(path, pd.DataFrame({"x": numbers})),
    "a.csv": lambda path: io.write_table(path, pd.DataFrame({"x": numbers})),
    "a.safetensors": lambda path: io.write_arrays(path, {"x": numbers}),
    "a.arrow": lambda path: write_chunks(path, [np.ones((6_000, 10))] * 9, 10, 100),
    "b.arrow": lambda path: write_chunks(path, [np.ones((6_000, 10))], 10, 100),
    "tokenizer.json": save_tokenizer,
}
said = {}
for name, write in writers.items():
    Path(name).write_text("earlier")
    try:
        write(name)
    except BabelscopeError as error:
        said[name] = str(error)
    assert Path(name).read_text() == "earlier"
assert sorted(os.listdir()) == sorted(writers)
print(json.dumps(said))
"""


def test_every_writer_names_the_file_and_spares_the_old_one(small_disk, tmp_path):
    done = small_disk(WRITERS.replace("FOLDER", repr(str(tmp_path))))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert len(said) == 8
    for name, message in said.items():
        assert message.startswith(f"{name} could not be written: No space left on device. Free")


READ_ONLY = """
import json, os, subprocess
from pathlib import Path
from babelscope import running
from babelscope.errors import BabelscopeError

os.chdir(FOLDER)
said = []
for place in ("results", "."):
    Path("results").mkdir(exist_ok=True)
    path = str(Path(place).resolve())
    subprocess.run(["mount", "--bind", path, path], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", path], check=True)
    os.chdir(FOLDER)  # anew, to see what is mounted here
    try:
        running.begin("local")
    except BabelscopeError as error:
        said.append(str(error))
print(json.dumps([*said, running.advice()]))
"""


def test_a_folder_that_cannot_be_written_is_named_before_the_first_job(small_disk, tmp_path):
    done = small_disk(READ_ONLY.replace("FOLDER", repr(str(tmp_path))))
    assert done.returncode == 0, done.stderr
    results, everything, advice = json.loads(done.stdout)
    assert results.startswith(f"Nothing can be written in {tmp_path}/results. Make it writable")
    assert everything.startswith(f"Nothing can be written in {tmp_path}")
    assert advice == f"Nothing can be written in {tmp_path}."
