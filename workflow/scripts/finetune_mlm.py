"""Adapter for the rule finetune_mlm: a model and windows in, the fine-tuned model out."""

from babelscope.jobs import job
from babelscope.seeds import derive_seed
from babelscope.training.runs import execute, run_of

with job(snakemake):
    # Not the seed a built model was trained with, or its first batches would come again.
    seed = derive_seed(int(snakemake.wildcards.seed), "finetune") % 2**31
    execute(run_of(snakemake, model=snakemake.input.model, seed=seed))
