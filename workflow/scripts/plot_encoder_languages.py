"""Adapter for the rule plot_encoder_languages: gains per language in, a figure per task out."""

from babelscope.evaluation.encoder_summaries import language_gains as gains_in
from babelscope.io import read_table
from babelscope.jobs import job
from babelscope.plotting.methods import language_gains
from babelscope.plotting.style import save_figure

with job(snakemake):
    params = snakemake.params
    table, sizes = (read_table(snakemake.input[name]) for name in ("per_language", "corpus"))
    for task, path in zip(params.tasks, snakemake.output.gains, strict=True):
        shown = gains_in(table, sizes, task, params.item)
        figure = language_gains(shown, params.languages, item=f"{params.item} of training text")
        save_figure(figure, shown, path)
