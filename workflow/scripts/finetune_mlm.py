"""Adapter for the rule finetune_mlm: a model and windows in, the fine-tuned model out."""

from babelscope.jobs import job
from babelscope.seeds import derive_seed
from babelscope.training.launching import placement
from babelscope.training.runs import Run, execute

with job(snakemake):
    params = snakemake.params
    housekeeping = {key: snakemake.resources[key] for key in ("save_steps", "report_to")}
    execute(
        Run(
            model=snakemake.input.model,
            train=dict(zip(params.languages, snakemake.input.train, strict=True)),
            valid=dict(zip(params.languages, snakemake.input.valid, strict=True)),
            output=snakemake.output.model,
            history=snakemake.output.history,
            checkpoints=params.checkpoints,
            settings=params.settings | housekeeping,
            # Not the seed a built model was trained with, or its first batches would come again.
            seed=derive_seed(int(snakemake.wildcards.seed), "finetune") % 2**31,
            version=params.version,
            **placement(snakemake),
        )
    )
