"""Adapter for the rule initialize_model: a model in, the same with random weights out."""

from babelscope.io import atomic
from babelscope.jobs import job
from babelscope.models.initialization import randomize_model
from babelscope.models.loading import load_tokenizer

with job(snakemake):
    model = randomize_model(snakemake.input.model, seed=int(snakemake.wildcards.seed))
    tokenizer = load_tokenizer(snakemake.input.model)
    with atomic(snakemake.output.model) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
