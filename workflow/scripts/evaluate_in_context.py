"""Adapter for the rule evaluate_in_context: a network and choices in, accuracies out."""

from pathlib import Path

from babelscope.evaluation.generators import InContextSettings, evaluate_in_context
from babelscope.evaluation.prompts import read_prompts
from babelscope.io import read_table, write_table
from babelscope.jobs import job
from babelscope.models.loading import load_tokenizer
from babelscope.models.removal import load_model

with job(snakemake):
    params = snakemake.params
    corpora = {
        name: (task, read_table(path))
        for (name, task), path in zip(params.tasks.items(), snakemake.input.choices, strict=True)
    }
    results = evaluate_in_context(
        load_model(snakemake.input.model),
        load_tokenizer(snakemake.input.model),
        corpora,
        {Path(path).stem: read_prompts(path) for path in snakemake.input.prompts},
        languages=params.languages,
        pivot=params.pivot,
        settings=InContextSettings(**params.settings),
        batch_tokens=snakemake.resources.batch_tokens,
        **params.compute,
    )
    write_table(snakemake.output.scores, results.scores)
    write_table(snakemake.output.examples, results.examples)
