"""Adapter for the rule align_generator: a model and samples in, the aligned model out."""

from babelscope.jobs import job
from babelscope.training.generators import GeneratorRun, align_generator
from babelscope.training.launching import placement

with job(snakemake):
    given, params = snakemake.input, snakemake.params
    housekeeping = {key: snakemake.resources[key] for key in ("save_steps", "logging_steps")}
    align_generator(
        GeneratorRun(
            model=given.model,
            network=snakemake.wildcards.network,
            train=given.train,
            valid=given.valid,
            output=snakemake.output.model,
            history=snakemake.output.history,
            cost=snakemake.output.cost,
            checkpoints=params.checkpoints,
            settings=params.settings | housekeeping,
            seed=int(snakemake.wildcards.seed),
            version=params.version,
            choices=given.choices or None,
            prompts=next(iter(given.prompts), None),
            languages=params.languages,
            batch_tokens=snakemake.resources.batch_tokens,
            **placement(snakemake),
        )
    )
