"""Adapter for the rule train_whole_encoder: an encoder and pairs in, one for all languages out."""

from babelscope.config import PairTraining
from babelscope.jobs import job
from babelscope.training.sentence_encoders import train_whole_encoder

with job(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    housekeeping = {key: snakemake.resources[key] for key in ("save_steps", "logging_steps")}
    train_whole_encoder(
        snakemake.input.start,
        snakemake.input.pairs,
        snakemake.output.model,
        snakemake.output.history,
        languages=params.languages,
        mixed=params.mixed,
        form=params.form,
        settings=PairTraining.model_validate(params.settings | housekeeping),
        folder=params.checkpoints,
        seed=int(wildcards.seed),
        version=params.version,
        **params.compute,
    )
