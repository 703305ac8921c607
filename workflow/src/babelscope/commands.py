"""What the commands that look at a graph of jobs have in common: options and tables."""

import argparse
from collections.abc import Iterable, Sequence

from babelscope.dag import ROOT, Graph, read_graph


def options(description: str) -> argparse.ArgumentParser:
    """Return a parser of the options that name a graph; they are called as Snakemake's."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("targets", nargs="*", help="studies, rules or files, as for snakemake")
    parser.add_argument("--configfile", nargs="+", default=[], metavar="FILE")
    parser.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--directory", "-d", default=".", metavar="FOLDER")
    parser.add_argument("--snakefile", "-s", default=ROOT / "Snakefile", metavar="FILE")
    return parser


def graph_of(asked: argparse.Namespace) -> Graph:
    """Return the graph that the options name; errors are those of `babelscope.dag.read_graph`."""
    return read_graph(
        asked.targets,
        configfiles=asked.configfile,
        config=asked.config,
        directory=asked.directory,
        snakefile=asked.snakefile,
    )


def table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Yield the lines of a table, its first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [value.rjust(width) for value, width in zip(others, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells])
