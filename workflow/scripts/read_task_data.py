"""Adapter for the rule read_task_data: a corpus of a task in, its examples by split out."""

import pandas as pd

from babelscope.corpus.examples import read_examples
from babelscope.io import write_table
from babelscope.jobs import job

with job(snakemake):
    outputs = iter(snakemake.output.examples)
    counts = []
    for _, tables, rows in read_examples(snakemake.params.files, **snakemake.params.reading):
        for split in snakemake.params.splits:
            write_table(next(outputs), tables[split])
        counts += rows
    table = pd.DataFrame(counts)
    table.insert(0, "dataset", snakemake.wildcards.dataset)
    write_table(snakemake.output.counts, table)
