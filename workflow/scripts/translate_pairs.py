"""Adapter for the rule translate_pairs: the pivot's pairs in, those of another language out."""

from babelscope.jobs import job
from babelscope.translation import translate_pairs

with job(snakemake):
    params = snakemake.params
    translate_pairs(
        snakemake.input.pairs,
        snakemake.output.pairs,
        pivot=params.pivot,
        language=snakemake.wildcards.lang,
        codes=params.codes,
        model=snakemake.input.translator,
        folder=params.parts,
        batch_tokens=snakemake.resources.batch_tokens,
        **params.settings,
        **params.compute,
    )
