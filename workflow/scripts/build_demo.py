"""Adapter for the rule build_demo: dumps, parallel sentences and tasks of the demo."""

from pathlib import Path
from tempfile import TemporaryDirectory

from babelscope.demo import build_demo
from babelscope.io import atomic
from babelscope.jobs import job

with (
    job(snakemake),
    atomic(snakemake.output.dumps) as dumps,
    atomic(snakemake.output.parallel) as parallel,
    atomic(snakemake.output.ner) as ner,
    atomic(snakemake.output.nli) as nli,
    TemporaryDirectory(dir=dumps.parent) as scratch,
):
    build_demo(
        Path(scratch),
        languages=snakemake.params.languages,
        date=snakemake.params.date,
        **snakemake.params.settings,
    )
    Path(scratch, "dumps").replace(dumps)
    Path(scratch, "parallel.tsv").replace(parallel)
    Path(scratch, "ner").replace(ner)
    Path(scratch, "nli").replace(nli)
