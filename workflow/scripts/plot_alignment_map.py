"""Adapter for the rule plot_alignment_map: sentence states in, the space in two dimensions out."""

from dataclasses import replace
from pathlib import Path

from babelscope.evaluation.alignment_summaries import LAYERS, best_layer, network_curves
from babelscope.evaluation.encoder_summaries import sentence_map as places
from babelscope.evaluation.summaries import of_corpus
from babelscope.io import read_table
from babelscope.jobs import job
from babelscope.plotting.networks import NETWORKS
from babelscope.plotting.sentence_map import sentence_map
from babelscope.plotting.style import save_figure
from babelscope.representations.states import StatesFile

with job(snakemake):
    params = snakemake.params
    table = of_corpus(read_table(snakemake.input.similarity), **params.rows)
    curves = network_curves(table, params.pivot, LAYERS["retrieval"])
    layer = best_layer(curves, params.networks[-1])
    embeddings, looks = {}, {}
    for network, folder in zip(params.networks, snakemake.input.states, strict=True):
        paths = {code: Path(folder, f"{code}.safetensors") for code in params.languages}
        embeddings[network] = {
            code: StatesFile(path, params.rows["pooling"])[layer]
            for code, path in paths.items()
            if path.exists()
        }
        style = NETWORKS[network]
        looks[network] = replace(style, name=f"{style.name}, layer {layer}")
    shown = places(embeddings, **params.shown).assign(layer=layer)
    save_figure(sentence_map(shown, params.languages, looks), shown, snakemake.output.map)
