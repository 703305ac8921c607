"""Several processes that train one network: who they are, what they share, what each holds.

With a single process every function here does nothing, or returns what it was given.
"""

import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn

from babelscope.errors import BabelscopeError
from babelscope.models.anatomy import anatomy
from babelscope.training import checkpoints

PATIENCE = 120  # seconds until a shared file system shows what another node wrote
BUCKET = 2**24  # numbers that are sent at once: few messages, and little memory


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Join the processes of :mod:`~babelscope.training.launching`, if any, while the block runs.

    Parameters
    ----------
    device
        ``cpu`` or ``cuda``; each process has one GPU of its own.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def rank() -> int:
    """Return the number of this process; the first, which alone writes files, has 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world() -> int:
    """Return how many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def wait() -> None:
    """Let each process wait for all others."""
    if world() > 1:
        distributed.barrier()


def add_up(tensor: torch.Tensor) -> torch.Tensor:
    """Replace a tensor, in place, by the sum over all processes, and return it."""
    if world() > 1:
        distributed.all_reduce(tensor)
    return tensor


def largest(value: float, device: str) -> float:
    """Return the largest value of any process."""
    if world() == 1:
        return value
    tensor = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.all_reduce(tensor, op=distributed.ReduceOp.MAX)
    return tensor.item()


def agreed(values: Sequence[float], device: str) -> list[float]:
    """Return the first process's values, so that none decides otherwise for a rounding error."""
    if world() == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.broadcast(tensor, 0)
    return tensor.tolist()


def newest_of_all(folder: str | Path, device: str) -> Path | None:
    """Return the newest checkpoint that the first process can read, for all of them.

    A shared file system may show a folder to one node later than to another; whoever chose for
    itself could go on from another step.

    Raises
    ------
    BabelscopeError
        If a process does not see the checkpoint.
    """
    found = checkpoints.newest(folder) if rank() == 0 else None
    step = int(agreed([-1 if found is None else checkpoints.step_of(found)], device)[0])
    if step < 0:
        return None
    path = checkpoints.checkpoint_path(folder, step)
    last = time.monotonic() + PATIENCE
    while not (path / checkpoints.PROGRESS).is_file():
        if time.monotonic() > last:
            raise BabelscopeError(
                f"{path} is there, but not on {socket.gethostname()}.",
                "All nodes must share the folder of results.",
            )
        time.sleep(1)
    return path


class _Gather(torch.autograd.Function):
    """Rows of all processes, and in the backward pass the sum of the gradients that all have."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, places: torch.Tensor, total: int) -> torch.Tensor:
        ctx.save_for_backward(places)
        everyone = rows.new_zeros(total, *rows.shape[1:])
        everyone[places] = rows
        return add_up(everyone)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return add_up(gradients[0].clone())[places], None, None


def gather(rows: torch.Tensor, places: torch.Tensor, total: int) -> torch.Tensor:
    """Return rows of which each process has some, in one order, the same on all.

    Parameters
    ----------
    rows
        Those of this process, shape (own, d).
    places
        Of them among all, shape (own,); no two processes may name the same.
    total
        How many there are.

    Returns
    -------
    Shape (total, d). Gradients flow back to the process a row came from: those of the losses of all
    processes, added up.
    """
    return _Gather.apply(rows, places, total)  # pyright: ignore


def add_up_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace gradients by their sums over all processes; sharded ones are means already."""
    if world() == 1:
        return
    found = [value.grad for value in parameters if value.grad is not None]
    sharded = [gradient for gradient in found if is_sharded(gradient)]
    if sharded:
        torch._foreach_mul_(sharded, world())  # pyright: ignore
    gradients = [gradient for gradient in found if not is_sharded(gradient)]
    while gradients:
        bucket = [gradients.pop()]
        while gradients and sum(one.numel() for one in bucket) < BUCKET:
            bucket.append(gradients.pop())
        flat = add_up(torch.cat([one.reshape(-1) for one in bucket]))
        for one, summed in zip(bucket, flat.split([one.numel() for one in bucket]), strict=True):
            one.copy_(summed.view_as(one))


# Sharding


def shard(model: nn.Module, device: str) -> None:
    """Divide parameters, gradients and optimizer state over the processes, block by block.

    A block is put together when it runs, and taken apart again. Only the model itself may be
    called, not its base.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device, (world(),))
    for module in (*anatomy(model).stack().blocks, model):
        fully_shard(module, mesh=mesh)


def settle(model: Any) -> None:
    """Take apart what a forward pass without a backward pass left put together."""
    if hasattr(model, "reshard"):
        model.reshard()


def is_sharded(tensor: torch.Tensor) -> bool:
    """Return whether this process holds a part of a tensor only."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: torch.Tensor) -> torch.Tensor | None:
    """Return a tensor, put together on the first process's CPU if it is sharded; all must ask.

    The other processes get None of a sharded tensor.
    """
    if not is_sharded(tensor):
        return tensor
    full = tensor.full_tensor()  # pyright: ignore
    return full.cpu() if rank() == 0 else None


def fill(tensor: torch.Tensor, value: torch.Tensor) -> None:
    """Copy a whole value into a tensor, or into the part of it that this process holds."""
    if is_sharded(tensor):
        value = part_of(value, tensor)
    tensor.copy_(value)


def part_of(value: torch.Tensor, like: Any) -> torch.Tensor:
    """Return a whole value divided as another tensor of its shape is."""
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(
        value.to(like.device), like.device_mesh, like.placements, src_data_rank=None
    )
