"""Adapter for the rule compute_retrieval: states of a comparison's sides in, errors out."""

import pandas as pd

from babelscope.io import write_table
from babelscope.jobs import job
from babelscope.representations.retrieval import retrieval_table
from babelscope.representations.states import open_comparison

with job(snakemake):
    wildcards, params = snakemake.wildcards, snakemake.params
    tables = []
    for pooling in params.poolings:
        pairs, states = open_comparison(
            wildcards.comparison,
            snakemake.input.states,
            params.languages,
            params.pivot,
            pooling,
        )
        table = retrieval_table(
            pairs,
            states,
            k=params.settings["neighbours"],
            margin=params.settings["margin"],
            groups={side.language: file.groups for side, file in states.items()},
            seed=params.settings["seed"],
            labels=dict(wildcards.items()) | {"seed": int(wildcards.seed), "pooling": pooling},
        )
        tables.append(table)
    write_table(snakemake.output.scores, pd.concat(tables, ignore_index=True))
