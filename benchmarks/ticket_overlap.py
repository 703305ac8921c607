"""Overlap of tickets of a BERT-base: packed bits against dictionaries of float masks.

Ours counts the bits of two masks once and computes the overlap of every part of the network, with
the values by chance, and the share that each mask keeps. The baseline does it the way published
scripts do: masks are dictionaries of float32 tensors, and seven measures each go over them again:
the share kept in all, per layer and per component, the ones overlap, the sparsity overlap, the
latter of every matrix, and the union. Both have their masks in memory; a third way compares all
pairs of eleven masks from their files.
"""

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from babelscope.subnetworks.masks import PackedMask, Place, WeightMask, load_packed
from babelscope.subnetworks.ticket_overlap import (
    Ticket,
    count_bits,
    overlap_table,
    size_table,
    ticket_pairs,
)
from benchmarks.measure import conclude, measure, report

if TYPE_CHECKING:
    import pandas as pd
    import torch

MASKS = 11
COMPONENTS = ("q", "k", "v", "o", "ffn-in", "ffn-out")
TICKETS = [Ticket(1, "ticket", "mlm", f"l{number}") for number in range(MASKS)]
SECONDS = 5  # goal for all pairs from files


def write_all(folder: Path, layers: int, hidden: int) -> None:
    """Write masks that keep about half of the weights, more of them in common than by chance."""
    shapes = {"ffn-in": (4 * hidden, hidden), "ffn-out": (hidden, 4 * hidden)}
    places = {
        f"layer.{layer}.{component}": Place("encoder", layer, component)
        for layer in range(layers)
        for component in COMPONENTS
    }
    for number in range(MASKS):
        rng, common = np.random.default_rng(number + 1), np.random.default_rng(0)
        bits = {}
        for name, place in places.items():
            shape = shapes.get(place.component, (hidden, hidden))
            own = rng.integers(0, 256, shape, dtype=np.uint8)
            bits[name] = (own >> 1) + (common.integers(0, 256, shape, dtype=np.uint8) >> 1) > 127
        WeightMask(bits, places).save(folder / f"{number}.safetensors")


def files(folder: Path, count: int) -> dict[Ticket, Path]:
    """Return the paths of the first masks by their tickets."""
    return {ticket: folder / f"{at}.safetensors" for at, ticket in enumerate(TICKETS[:count])}


def pair(folder: Path) -> None:
    """Compare two masks in memory; print what the baseline computes too."""
    masks = {ticket: load_packed(path) for ticket, path in files(folder, 2).items()}
    pairs = ticket_pairs(list(masks))

    def compare() -> dict[str, list[float]]:
        counts = count_bits(masks, list(pairs))
        table = overlap_table(counts, pairs)
        sizes = size_table(counts, list(masks))
        first = sizes[sizes["language"] == TICKETS[0].language]
        whole = table.iloc[0]
        either = (whole["kept_left"] + whole["kept_right"]) / (1 + whole["jaccard"])

        def column(rows: "pd.DataFrame", name: str, *scopes: str) -> list[float]:
            return rows[name][rows["scope"].isin(scopes)].tolist()

        return {
            "kept": column(first, "share", "all"),
            "layers": column(first, "share", "layer"),
            "components": column(first, "share", "component"),
            "ones": column(table, "ones_overlap", "all", "layer"),
            "sparsity": column(table, "sparsity_overlap", "all", "layer"),
            "matrices": column(table, "sparsity_overlap", "layer-component"),
            "union": [float(either / whole["n"])],
        }

    report(compare, repetitions=3)


def floats(folder: Path) -> None:
    """Compare the same two masks as dictionaries of float tensors, one measure after the other."""
    import torch

    masks = []
    for path in files(folder, 2).values():
        bits = WeightMask.load(path).bits
        masks.append({name: torch.from_numpy(one.astype(np.float32)) for name, one in bits.items()})
    layers = range(len(masks[0]) // len(COMPONENTS))

    def compare() -> dict[str, list[float]]:
        return {
            "kept": [kept(masks[0], list(masks[0]))],
            "layers": [kept(masks[0], layer_names(layer)) for layer in layers],
            "components": [
                kept(masks[0], [f"layer.{layer}.{component}" for layer in layers])
                for component in COMPONENTS
            ],
            "ones": overlaps(masks, layers, ones=True),
            "sparsity": overlaps(masks, layers, ones=False),
            "matrices": [same(masks, name) for layer in layers for name in layer_names(layer)],
            "union": [union(masks)],
        }

    report(compare, repetitions=3)


def layer_names(layer: int) -> list[str]:
    """Return the names of a layer's matrices."""
    return [f"layer.{layer}.{component}" for component in COMPONENTS]


def kept(mask: "dict[str, torch.Tensor]", names: list[str]) -> float:
    """Return the share of ones in some matrices."""
    size = sum(mask[name].numel() for name in names)
    return sum(float((mask[name] != 0).sum()) for name in names) / size


def overlaps(masks: "list[dict[str, torch.Tensor]]", layers: range, *, ones: bool) -> list[float]:
    """Return ones or sparsity overlap of the network and of each layer, from sums of masks."""
    import torch

    sums = []
    for layer in layers:
        every = some = 0
        for name in layer_names(layer):
            votes = torch.stack([mask[name] for mask in masks]).sum(dim=0)
            every += len(votes[votes == len(masks)])
            if ones:
                some += len(votes[votes != 0])
            else:
                every += len(votes[votes == 0])
                some += votes.numel()
        sums.append((every, some))
    whole = sum(every for every, _ in sums) / sum(some for _, some in sums)
    return [whole, *(every / some for every, some in sums)]


def same(masks: "list[dict[str, torch.Tensor]]", name: str) -> float:
    """Return the share of equal elements in one matrix of two masks."""
    import torch

    left, right = (mask[name] for mask in masks)
    equal = torch.logical_not(torch.logical_xor(left, right))
    return int(torch.count_nonzero(equal)) / equal.numel()


def union(masks: "list[dict[str, torch.Tensor]]") -> float:
    """Return the share of ones in the union of masks, which is made."""
    import torch

    found = {}
    for name in masks[0]:
        votes = torch.stack([mask[name] for mask in masks]).sum(dim=0)
        votes[votes != 0] = 1
        found[name] = votes
    return kept(found, list(found))


def every_pair(folder: Path) -> None:
    """Compare all pairs of the masks in files; print how many pairs these are."""

    def compare() -> int:
        masks = {ticket: PackedMask(path) for ticket, path in files(folder, MASKS).items()}
        pairs = ticket_pairs(list(masks))
        overlap_table(count_bits(masks, list(pairs)), pairs)
        return len(pairs)

    report(compare)


def main() -> None:
    """Compare the two ways, or run one of the three as the child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small matrices")
    parser.add_argument("--way", choices=("pair", "floats", "every_pair"))
    parser.add_argument("--folder", type=Path, help="where the masks are")
    options = parser.parse_args()
    layers, hidden = (3, 40) if options.quick else (12, 768)
    if options.way:
        {"pair": pair, "floats": floats, "every_pair": every_pair}[options.way](options.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_all(Path(folder), layers, hidden)
        size = Path(folder, "0.safetensors").stat().st_size
        arguments = [f"--folder={folder}"] + ["--quick"] * options.quick
        ours, slow, all_pairs = (
            measure("ticket_overlap", way, *arguments) for way in ("pair", "floats", "every_pair")
        )
    found, expected = (
        np.concatenate([np.array(way.value[key]) for key in slow.value]) for way in (ours, slow)
    )
    print(f"two masks of {12 * layers * hidden**2 / 1e6:.1f} million weights, every part:")
    conclude(
        "ticket_overlap",
        ours,
        slow,
        baseline_is="dictionaries of float masks",
        difference=float(np.abs(found - expected).max()),
        tolerance=1e-9,
        speed=20.0,
        facts={
            f"{all_pairs.value} pairs of {MASKS} masks from files": f"{all_pairs.seconds:.2f} s,"
            f" {all_pairs.peak_mb:.0f} MB; goal: below {SECONDS} s",
            "file of one mask": f"{size / 1e6:.1f} MB",
        },
    )


if __name__ == "__main__":
    main()
