"""Adapter for the rule plot_alignment_layers: similarities in, what languages share out."""

import pandas as pd

from babelscope.evaluation.alignment_summaries import LAYERS, aligned_layer, network_curves
from babelscope.evaluation.summaries import of_corpus
from babelscope.io import read_table
from babelscope.jobs import job
from babelscope.plotting.networks import network_layers
from babelscope.plotting.style import save_figure

with job(snakemake):
    params, out = snakemake.params, snakemake.output
    languages, pivot = params.languages, params.pivot
    table = of_corpus(read_table(snakemake.input.similarity), **params.rows)
    line = {"layer": aligned_layer(params.pooler, int(table["left_layer"].max()))}

    shown = network_curves(table, pivot, LAYERS["retrieval"])
    ylabels = {"retrieval": "retrieval error (%)"}
    guess = 100 * (1 - 1 / table["n"].mean())
    figure = network_layers(shown, languages, ylabels=ylabels, chance=guess, **line)
    save_figure(figure, shown, out.retrieval)

    ylabels = {"cka": f"CKA with {languages[pivot]['english']}", "kept": "CKA, before and after"}
    parts = [network_curves(table, pivot, LAYERS["cka"])]
    parts.append(network_curves(table, pivot, LAYERS["kept"], within=False))
    shown = pd.concat(parts, ignore_index=True)
    figure = network_layers(shown, languages, ylabels=ylabels, zero=True, **line)
    save_figure(figure, shown, out.cka)

    shown = network_curves(table, pivot, LAYERS["uniformity"])
    ylabels = {"alignment": "alignment ↓", "uniformity": "uniformity ↓"}
    save_figure(network_layers(shown, languages, ylabels=ylabels, **line), shown, out.uniformity)
