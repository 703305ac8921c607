"""Adapter for the rule plot_ticket_performance: scores of all rounds in, a figure per task out."""

from babelscope.evaluation.ticket_summaries import metric_of, performance
from babelscope.io import read_table
from babelscope.jobs import job
from babelscope.plotting.curves import performance_curves
from babelscope.plotting.style import save_figure

with job(snakemake):
    scores = read_table(snakemake.input.scores)
    tasks = zip(snakemake.params.tasks, snakemake.output.performance, strict=True)
    for task, path in tasks:
        shown = performance(scores, task)
        metric = metric_of(scores, task)
        figure = performance_curves(shown, snakemake.params.languages, metric=metric)
        save_figure(figure, shown, path)
