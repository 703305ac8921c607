"""Adapter for the rule plot_measures: similarities in, what other measures than CKA say out."""

from babelscope.evaluation.summaries import layer_curves, of_corpus
from babelscope.io import read_table
from babelscope.jobs import job
from babelscope.plotting import layers
from babelscope.plotting.style import save_figure

with job(snakemake):
    table = of_corpus(read_table(snakemake.input.similarity), **snakemake.params.rows)
    name = snakemake.params.languages[snakemake.params.pivot]["english"]
    for output, (measure, comparison) in snakemake.params.figures.items():
        panels = layers.MEASURES[measure]
        titles = {key: title.format(pivot=name) for key, title in panels["titles"].items()}
        shown = layer_curves(table, comparison, snakemake.params.pivot, titles)
        figure = layers.layer_curves(
            shown,
            snakemake.params.languages,
            ylabel=panels["ylabel"],
            zero=measure == "rsa",
            titles=titles.values(),
            share_y=panels["share_y"],
        )
        save_figure(figure, shown, snakemake.output[output])
