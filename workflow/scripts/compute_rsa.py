"""Adapter for the rule compute_rsa: states of a comparison's sides in, correlations out."""

from babelscope.io import write_table
from babelscope.jobs import job
from babelscope.representations.rsa import rsa_table
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
    table = rsa_table(
        pairs,
        states,
        blocks=params.settings["blocks"],
        folds=params.settings["ridge_folds"],
        seed=params.settings["seed"],
        labels=dict(wildcards.items()) | {"seed": int(wildcards.seed), "pooling": params.pooling},
    )
    write_table(snakemake.output.scores, table)
