"""Adapter for the rule compute_uniformity: states of a comparison's sides in, distances out."""

from babelscope.io import write_table
from babelscope.jobs import job
from babelscope.representations.states import open_comparison
from babelscope.representations.uniformity import uniformity_table

with job(snakemake):
    wildcards, params = snakemake.wildcards, snakemake.params
    pairs, states = open_comparison(
        wildcards.comparison,
        snakemake.input.states,
        params.languages,
        params.pivot,
        params.pooling,
    )
    table = uniformity_table(
        pairs,
        states,
        blocks=params.settings["blocks"],
        groups={side.language: file.groups for side, file in states.items()},
        seed=params.settings["seed"],
        labels=dict(wildcards.items()) | {"seed": int(wildcards.seed), "pooling": params.pooling},
    )
    write_table(snakemake.output.scores, table)
