"""Adapter for the rule collect_alignment_training: histories and costs in, a table of each out."""

from babelscope.evaluation.tables import gather, write_both
from babelscope.jobs import job

with job(snakemake):
    for name in ("training", "cost"):
        files = snakemake.input[name]
        write_both(snakemake.output[name], gather(files, snakemake.params.labels))
