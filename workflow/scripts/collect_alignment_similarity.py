"""Adapter for the rule collect_alignment_similarity: similarities in, one table out."""

from babelscope.evaluation.tables import gather, require_finite, write_both
from babelscope.jobs import job

with job(snakemake):
    similarity = require_finite(gather(snakemake.input.scores))
    write_both(snakemake.output.similarity, similarity.drop(columns="left_out"))
