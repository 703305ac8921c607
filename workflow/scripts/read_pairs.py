"""Adapter for the rule read_pairs: files of pairs in, one table of all languages out."""

import pandas as pd

from babelscope.corpus.pairs import read_pairs
from babelscope.io import write_table
from babelscope.jobs import job

with job(snakemake):
    params = snakemake.params
    table, counts = read_pairs(params.files, **params.reading, most=params.most, seed=params.seed)
    write_table(snakemake.output.pairs, table)
    write_table(snakemake.output.counts, pd.DataFrame(counts))
