"""Adapter for the rule compute_cka: states of a comparison's sides in, alignment out."""

from babelscope.io import write_table
from babelscope.jobs import job
from babelscope.representations.cka import cka_table
from babelscope.representations.states import open_comparison

with job(snakemake):
    wildcards, params = snakemake.wildcards, snakemake.params
    pairs, states = open_comparison(
        wildcards.comparison,
        snakemake.input.states,
        params.languages,
        params.pivot,
        params.pooling,
    )
    table = cka_table(
        pairs,
        states,
        threads=snakemake.threads,
        blocks=params.settings["blocks"],
        seed=params.settings["seed"],
        labels=dict(wildcards.items()) | {"seed": int(wildcards.seed), "pooling": params.pooling},
    )
    write_table(snakemake.output.scores, table)
