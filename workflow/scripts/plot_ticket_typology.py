"""Adapter for the rule plot_ticket_typology: distances of tickets in, trees and points out."""

from babelscope.evaluation.ticket_summaries import mantel_tests, ticket_points, trees
from babelscope.io import read_table
from babelscope.jobs import job
from babelscope.plotting.metrics import TASKS
from babelscope.plotting.scatter import pair_scatter
from babelscope.plotting.style import save_figure
from babelscope.plotting.trees import dendrograms

with job(snakemake):
    languages, kept = snakemake.params.languages, int(snakemake.wildcards.kept)
    points, typology = (read_table(snakemake.input[name]) for name in ("points", "typology"))
    shown = ticket_points(points[points["kept"] == kept])
    tasks = {task: name for task, name in TASKS.items() if task in set(shown["panel"])}
    figure = pair_scatter(
        shown,
        mantel_tests(typology[typology["kept"] == kept]),
        languages,
        titles=dict.fromkeys(tasks, "syntactic distance"),
        tested=tasks,
        ylabel="distance of tickets (1 − Jaccard)",
    )
    save_figure(figure, shown, snakemake.output.typology)

    shown = trees(shown)
    xlabels = dict.fromkeys(tasks, "1 − Jaccard index") | {"syntax": "cosine distance"}
    titles = {**tasks, "syntax": "syntactic distance"}
    figure = dendrograms(shown, languages, titles=titles, xlabels=xlabels)
    save_figure(figure, shown, snakemake.output.dendrogram)
