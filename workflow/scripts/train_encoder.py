"""Adapter for the rule train_encoder: a language module and pairs in, a sentence module out."""

from babelscope.config import PairTraining
from babelscope.jobs import job
from babelscope.training.sentence_encoders import train_encoder

with job(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    housekeeping = {key: snakemake.resources[key] for key in ("save_steps", "logging_steps")}
    train_encoder(
        snakemake.input.source,
        snakemake.input.language,
        snakemake.input.pairs,
        snakemake.output.module,
        snakemake.output.history,
        language=wildcards.lang,
        kind=params.kind,
        lora=params.lora,
        form=params.form,
        settings=PairTraining.model_validate(params.settings | housekeeping),
        folder=params.checkpoints,
        seed=int(wildcards.seed),
        version=params.version,
        **params.compute,
    )
