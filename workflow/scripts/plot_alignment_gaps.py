"""Adapter for the rule plot_alignment_gaps: gaps in, how far languages are from the pivot out."""

from babelscope.evaluation.alignment_summaries import METRICS, drawn_gaps
from babelscope.io import read_table
from babelscope.jobs import job
from babelscope.plotting.in_context import language_dots
from babelscope.plotting.style import save_figure

with job(snakemake):
    params = snakemake.params
    gaps, scores = (read_table(snakemake.input[name]) for name in ("gaps", "scores"))
    rows = {"metric": METRICS[params.normalize], "pivot": params.pivot}
    xlabel = f"accuracy less that in {params.languages[params.pivot]['english']} (points)"
    for kind, path in zip(params.prompts, snakemake.output.gaps, strict=True):
        shown = drawn_gaps(gaps, scores, prompts=kind, **rows)
        save_figure(language_dots(shown, params.languages, xlabel=xlabel), shown, path)
