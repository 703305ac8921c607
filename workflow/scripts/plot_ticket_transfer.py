"""Adapter for the rule plot_ticket_transfer: scores of one sparsity's transfers in, figures out."""

from babelscope.evaluation.ticket_summaries import metric_of, task_transfer, transfer, zero_shot
from babelscope.io import read_table
from babelscope.jobs import job
from babelscope.plotting.style import save_figure
from babelscope.plotting.transfer import (
    task_transfer_matrices,
    transfer_matrix,
    zero_shot_matrices,
)

with job(snakemake):
    languages, kept = snakemake.params.languages, int(snakemake.wildcards.kept)
    table = read_table(snakemake.input.transfer)
    metrics = {task: metric_of(table, task) for task in snakemake.params.tasks}
    for number, (task, metric) in enumerate(metrics.items()):
        shown = transfer(table, task, kept)
        figure = transfer_matrix(shown, languages, metric=metric)
        save_figure(figure, shown, snakemake.output.transfer[number])

        shown = zero_shot(table, task, kept)
        figure = zero_shot_matrices(shown, languages, metric=metric)
        save_figure(figure, shown, snakemake.output.zero_shot[number])

    for path in snakemake.output.tasks:
        shown = task_transfer(table, kept)
        save_figure(task_transfer_matrices(shown, languages, metrics=metrics), shown, path)
