"""Adapter for the rule collect_scores: scores of all networks in, the tables of the study out."""

from babelscope.evaluation.summaries import before_and_after, finetuning
from babelscope.evaluation.tables import gather, wide, write_both
from babelscope.io import read_table
from babelscope.jobs import job

with job(snakemake):
    perplexity = gather([*snakemake.input.base, *snakemake.input.finetuned])
    index = ["network", "seed", "budget", "kind", "mask"]
    readers = wide(perplexity, index, ["language"], "perplexity")
    write_both(snakemake.output.perplexity, perplexity, readers)

    trained = finetuning(perplexity, read_table(snakemake.input.unigram))
    names = {code: row["english"] for code, row in snakemake.params.languages.items()}
    write_both(snakemake.output.finetuning, trained, before_and_after(trained, names))

    overlap = gather(snakemake.input.token_overlap, snakemake.params.corpora)
    write_both(snakemake.output.token_overlap, overlap)

    parameters = gather(snakemake.input.removal, snakemake.params.seeds)
    write_both(snakemake.output.parameters, parameters)
