"""Adapter for the rule train_alignment_adapter: modules and pairs in, an alignment module out."""

from babelscope.config import PairTraining
from babelscope.jobs import job
from babelscope.models.modular import Modules
from babelscope.training.alignment import train_alignment_adapter

with job(snakemake):
    given, params, wildcards = snakemake.input, snakemake.params, snakemake.wildcards
    housekeeping = {key: snakemake.resources[key] for key in ("save_steps", "logging_steps")}
    train_alignment_adapter(
        given.source,
        Modules(given.language, given.sentence),
        Modules(given.pivot_language, given.pivot_sentence),
        given.pairs,
        snakemake.output.module,
        snakemake.output.history,
        language=wildcards.lang,
        pivot_language=params.pivot,
        strategy=wildcards.strategy,
        adapter=params.adapter,
        form=params.form,
        settings=PairTraining.model_validate(params.settings | housekeeping),
        batch_tokens=snakemake.resources.batch_tokens,
        folder=params.checkpoints,
        seed=int(wildcards.seed),
        version=params.version,
        **params.compute,
    )
