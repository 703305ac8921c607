"""Adapter for the rule read_evaluation: files of an evaluation corpus in, one table out."""

import pandas as pd

from babelscope.corpus.evaluation import read_evaluation
from babelscope.io import write_table
from babelscope.jobs import job

with job(snakemake):
    table, counts = read_evaluation(snakemake.params.files, **snakemake.params.reading)
    write_table(snakemake.output.examples, table)
    write_table(snakemake.output.counts, pd.DataFrame(counts))
