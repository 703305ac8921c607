"""Adapter for the rule make_instruction_pairs: instructions and translations in, samples out."""

import pandas as pd

from babelscope.corpus.instructions import make_instruction_pairs
from babelscope.io import write_table
from babelscope.jobs import job

with job(snakemake):
    params = snakemake.params
    counts = make_instruction_pairs(
        params.files,
        dict(zip(params.translations, snakemake.input.translations, strict=True)),
        {"train": snakemake.output.train, "valid": snakemake.output.valid},
        languages=params.languages,
        pivot=params.pivot,
        **params.settings,
    )
    write_table(snakemake.output.counts, pd.DataFrame(counts))
