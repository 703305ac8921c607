"""Adapter for the rule read_choices: files of a task in, one table of its examples out."""

import pandas as pd

from babelscope.corpus.choices import read_choices
from babelscope.io import write_table
from babelscope.jobs import job

with job(snakemake):
    reading = snakemake.params.reading
    table, counts = read_choices(
        snakemake.params.files,
        **{key: reading[key] for key in ("format", "parts", "codes")},
    )
    write_table(snakemake.output.examples, table)
    write_table(snakemake.output.counts, pd.DataFrame(counts))
