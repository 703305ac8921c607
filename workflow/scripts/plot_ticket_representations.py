"""Adapter for the rule plot_ticket_representations: similarities in, retrieval and CKA out."""

from babelscope.evaluation.summaries import layer_curves, of_corpus
from babelscope.evaluation.ticket_summaries import retrieval_errors
from babelscope.io import read_table
from babelscope.jobs import job
from babelscope.plotting import layers
from babelscope.plotting.style import save_figure

with job(snakemake):
    params = snakemake.params
    languages, pivot = params.languages, params.pivot
    table = read_table(snakemake.input.similarity)
    for pooling, path in zip(params.poolings, snakemake.output.retrieval, strict=True):
        rows = of_corpus(table, corpus=params.rows["corpus"], pooling=pooling)
        shown = retrieval_errors(rows, pivot, languages[pivot]["english"])
        figure = layers.layer_curves(
            shown,
            languages,
            ylabel="retrieval error (%)",
            titles=list(dict.fromkeys(shown["panel"])),
            chance=shown["chance"].mean(),
        )
        save_figure(figure, shown, path)

    shown = layer_curves(
        of_corpus(table, **params.rows), "ticket-own", pivot, {"cka.unbiased": "CKA"}
    )
    limits = layers.value_limits([shown])
    figure = layers.layer_curves(shown, languages, ylabel="CKA", zero=True, limits=limits)
    save_figure(figure, shown, snakemake.output.cka)
