"""A process that forks others, which train: they share its imports, and it has trained nothing.

A process that has used several threads of OpenMP, as any test may have, must not fork: its children
wait for threads that they do not have.
"""

import importlib
import json
import os
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from babelscope.models.removal import load_model
from babelscope.training import fitting, generator_steps, generators, processes
from babelscope.training.contrastive import info_nce
from babelscope.training.processes import gather, joined, rank, world


def align(
    run: dict[str, Any],
    *,
    double: bool = False,
    wrong: str | None = None,
    stop: tuple[int, int] | None = None,
    scores: list[float] | None = None,
    whole: bool = False,
) -> None:
    """Do the work of a process of an alignment.

    Parameters
    ----------
    run
        Fields of a :class:`~babelscope.training.generators.GeneratorRun`.
    double
        In float64.
    wrong
        What is done wrongly: ``constants`` (rows of other processes have no gradient), ``no
        gradient`` (no row has one) or ``not summed`` (gradients of parameters are not).
    stop
        After which step which signal comes.
    scores
        Of evaluations in context, one after another.
    whole
        With all that comes before and after: checkpoints locked, and removed at the end.
    """
    if double:
        generators.load_model = lambda path: load_model(path).double()
    if wrong == "constants":
        generator_steps.gather = lambda rows, places, total: gather(
            rows.detach(), places, total
        ).index_put((places,), rows)
    elif wrong == "no gradient":
        generator_steps.gather = lambda *given: (
            gather(*given).detach() + functional.relu(-torch.ones((), requires_grad=True))
        )
    elif wrong == "not summed":
        fitting.add_up_gradients = lambda parameters: None
    if stop is not None:
        step, signal = stop
        log = fitting._Training._log

        def log_and_stop(self: Any) -> None:
            log(self)
            if self.step == step:
                os.kill(os.getpid(), signal)

        fitting._Training._log = log_and_stop
    if scores is not None:

        def accuracy(model: Any) -> float:
            with torch.inference_mode():  # as the scorer does
                model(input_ids=torch.tensor([[5, 6, 7, 50]]))
            return scores.pop(0)

        generators._accuracy = lambda *_: accuracy
    described = generators.GeneratorRun(**run)
    (generators.align_generator if whole else generators.perform)(described)


def share_rows() -> None:
    """Gather rows of which two processes have some; the gradient is that of a loss of all."""
    draw = torch.Generator().manual_seed(0)
    everything, other = torch.randn(2, 5, 3, generator=draw, dtype=torch.float64)
    wanted = everything.clone().requires_grad_()
    info_nce(wanted, other).backward()
    assert wanted.grad is not None
    with joined("cpu"):
        places = [torch.tensor([4, 0]), torch.tensor([1, 3, 2])][rank()]
        own = everything[places].requires_grad_()
        found = gather(own, places, 5)
        assert torch.equal(found, everything)
        (info_nce(found, other) / world()).backward()
        torch.testing.assert_close(own.grad, wanted.grad[places])
        assert processes.agreed([rank() + 0.5, 2.0], "cpu") == [0.5, 2.0]
        assert processes.largest(rank(), "cpu") == 1
        assert processes.add_up(torch.tensor(rank() + 1)).item() == 3


# What trainings import once they begin.
LATER = [
    *("faiss", "pyarrow.parquet", "scipy.sparse.csgraph", "peft", "torch.distributed.fsdp"),
    "transformers.models.gpt2.modeling_gpt2",
]
WORK: dict[str, Callable[..., None]] = {"align": align, "share_rows": share_rows}


def fork(work: str, count: int, arguments: dict[str, Any]) -> list[tuple[int, str]]:
    """Let so many processes do something; return the status of each and what it complains of."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = str(found.getsockname()[1])
    children = []
    for number in range(count):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            status, said = 1, ""
            try:
                os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": port}
                os.environ |= {"RANK": str(number), "WORLD_SIZE": str(count)}
                WORK[work](**arguments)
                status = 0
            except BaseException as error:
                said = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
            finally:
                os.write(writer, said.encode()[-60_000:])
                os._exit(status)
        os.close(writer)
        children.append((child, reader))
    results = []
    for child, reader in children:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with os.fdopen(reader) as said:
            results.append((status, said.read()))
    return results


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(1)
    for name in LATER:
        importlib.import_module(name)
    for line in sys.stdin:
        answers.write(json.dumps(fork(**json.loads(line))) + "\n")
        answers.flush()
