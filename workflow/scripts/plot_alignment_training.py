"""Adapter for the rule plot_alignment_training: histories in, curves of losses out."""

from babelscope.evaluation.alignment_summaries import history_lines
from babelscope.io import read_table
from babelscope.jobs import job
from babelscope.plotting.networks import history_curves
from babelscope.plotting.style import save_figure

with job(snakemake):
    shown = history_lines(read_table(snakemake.input.training))
    save_figure(history_curves(shown), shown, snakemake.output.curves)
