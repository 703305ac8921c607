"""Benchmarks in forks of a process that has imported what they import: starting takes longest.

As in `tests/forking.py`, the process that forks has used one thread only.
"""

import importlib
import json
import os
import runpy
import sys
import traceback
from typing import Any

import torch

from benchmarks import measure

LATER = [
    *("pandas", "pyarrow.parquet", "scipy.stats", "faiss", "peft", "sentence_transformers"),
    *("transformers.trainer", "transformers.models.gpt2.modeling_gpt2"),
    *(f"transformers.models.{name}.modeling_{name}" for name in ("bert", "xlm_roberta")),
]


def run(name: str, *arguments: str) -> tuple[int, str]:
    """Run a benchmark as ``python -m`` would; return its exit status and what it printed."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        status: Any = 1
        try:
            os.dup2(writer, 1)
            sys.argv = [name, *arguments]
            runpy.run_module(f"benchmarks.{name}", run_name="__main__")
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
            sys.stderr.write(f"{end.code}\n")
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status or 0)
    os.close(writer)
    with os.fdopen(reader) as said:
        printed = said.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), printed


def measure_in_a_fork(module: str, way: str, *arguments: str) -> measure.Measurement:
    """Do what :func:`benchmarks.measure.measure` does."""
    status, printed = run(module, "--way", way, *arguments)
    if status:
        raise RuntimeError(f"{module} --way {way} failed")
    return measure.Measurement(**json.loads(printed.splitlines()[-1]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in LATER:
        importlib.import_module(name)
    measure.measure = measure_in_a_fork
    outcomes = {name: run(name, "--quick") for name in sys.argv[1:]}
    sys.stdout.write(json.dumps(outcomes))
