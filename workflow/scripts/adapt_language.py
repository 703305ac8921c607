"""Adapter for the rule adapt_language: a source and a language's text in, its module out."""

from babelscope.config import Training
from babelscope.jobs import job
from babelscope.training.adaptation import adapt_language

with job(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    housekeeping = {key: snakemake.resources[key] for key in ("save_steps", "report_to")}
    adapt_language(
        snakemake.input.source,
        snakemake.input.start,
        snakemake.input.train,
        snakemake.input.valid,
        snakemake.output.module,
        snakemake.output.history,
        language=wildcards.lang,
        kind=params.kind,
        lora=params.lora,
        settings=Training.model_validate(params.settings | housekeeping),
        folder=params.checkpoints,
        seed=int(wildcards.seed),
        version=params.version,
        **params.compute,
    )
