"""Adapter for the rule collect_alignment_scores: scores of networks in, tables and tests out."""

from babelscope.evaluation.alignment_summaries import by_prompts, score_readers
from babelscope.evaluation.alignment_tests import comparisons, gaps
from babelscope.evaluation.tables import gather, require_finite, write_both
from babelscope.jobs import job

with job(snakemake):
    out, params = snakemake.output, snakemake.params
    labels = [{"model": snakemake.wildcards.model, **row} for row in params.labels]
    scores = require_finite(gather(snakemake.input.scores, labels))
    write_both(out.scores, scores, score_readers(scores))

    settings, pivot = params.settings, params.pivot
    draws = {"resamples": settings["bootstrap"], "seed": settings["seed"]}
    examples = by_prompts(gather(snakemake.input.examples, labels), settings["prompts"], pivot)
    write_both(out.comparisons, comparisons(examples, params.networks, **draws))
    write_both(out.gaps, gaps(examples, pivot=pivot, **draws))
