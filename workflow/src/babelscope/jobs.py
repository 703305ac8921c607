"""The frame around every job: log file, threads, sound inputs, one clear error, provenance."""

import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from babelscope import provenance
from babelscope.errors import BabelscopeError
from babelscope.io import refuse_unwritable
from babelscope.locks import hold, stand_in

logger = logging.getLogger("babelscope")

GLANCE = 1  # seconds; others look for a moment whether a job is alive
PATIENCE = 120  # seconds for another process to end; a server keeps locks of a dead node for 90


@contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Run a script's work with its log, its threads and its provenance record.

    Everything printed by this process and its children goes to the rule's log, together with which
    they hold a lock: nobody does the same job meanwhile, and others see that it is alive. Before
    the work, inputs are compared with the records of the jobs that wrote them. A
    :class:`~babelscope.errors.BabelscopeError` is logged as one line, anything else with its
    traceback; either ends the job with exit status 1. On success a record is written beside every
    output.

    Parameters
    ----------
    snakemake
        The object that Snakemake puts into a script.
    """
    started = time.monotonic()
    try:
        _redirect(str(snakemake.log[0]))
        _limit_threads(snakemake.threads)
        _check_device(snakemake.params.get("compute", {}), snakemake.resources.get("nodes", 1))
        for output in snakemake.output:
            provenance.record_path(output).unlink(missing_ok=True)
        inputs = provenance.checked(map(str, snakemake.input))
        # now, since it may be edited while the work goes on
        code = provenance.code_of(provenance.script_of(sys.argv[0]))
        yield
        record = provenance.describe(
            snakemake.rule,
            dict(snakemake.wildcards.items()),
            dict(snakemake.params.items()),
            inputs,
            snakemake.output,
            time.monotonic() - started,
            code,
        )
        for output in snakemake.output:
            provenance.write_record(output, record)
    except BabelscopeError as error:
        logger.error("%s", error)
        raise SystemExit(1) from None
    except Exception as error:
        try:
            refuse_unwritable(error, None)
            logger.error("unexpected failure:\n%s", traceback.format_exc())
        except BabelscopeError as known:
            logger.error("%s", known)
        raise SystemExit(1) from None


def _check_device(compute: Mapping[str, Any], nodes: int) -> None:
    """Refuse a GPU that is not there, and more processes of a training than GPUs of its node."""
    if compute.get("device") != "cuda":
        return
    import torch

    found, wanted = torch.cuda.device_count(), compute.get("processes", 1) // nodes
    if found < wanted:
        raise BabelscopeError(
            f"compute.device: cuda needs {wanted} GPU; PyTorch {torch.__version__} sees {found}.",
            "Install a CUDA build of PyTorch, lower compute.processes, or set compute.device: cpu.",
        )


def _redirect(path: str) -> None:
    """Send standard output and error, of children too, and all logging to one file.

    Raises
    ------
    BabelscopeError
        If another process does the same job and does not end.
    """
    lock = os.open(stand_in(path), os.O_WRONLY | os.O_CREAT, 0o666)
    if not hold(lock, GLANCE):
        sys.stderr.write(f"waiting for another process, which does the job of {path}\n")
        if not hold(lock, PATIENCE):
            raise BabelscopeError(
                f"Another process does this job already, and writes to {path}.",
                "Wait for it to end, or stop it; after a Snakemake that was killed: make recover.",
            )
    os.ftruncate(lock, 0)
    Path(path).unlink(missing_ok=True)
    try:
        # One file of two names: children hold the lock too, which inherit only where they print.
        os.link(stand_in(path), path)
        file = lock
    except OSError:  # there are no hard links here; the lock is this process's alone
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        force=True,
    )


def _limit_threads(threads: int) -> None:
    """Keep the numerical libraries that are loaded, or will be, to the rule's threads."""
    from threadpoolctl import threadpool_limits

    for library in ("OMP", "MKL", "OPENBLAS", "RAYON"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)
    threadpool_limits(threads)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)
