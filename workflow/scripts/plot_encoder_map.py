"""Adapter for the rule plot_encoder_map: sentence vectors in, the space in two dimensions out."""

from babelscope.evaluation.encoder_summaries import sentence_map as places
from babelscope.io import read_arrays
from babelscope.jobs import job
from babelscope.plotting.sentence_map import sentence_map
from babelscope.plotting.style import save_figure

with job(snakemake):
    languages = snakemake.params.languages
    embeddings = {}
    for method, path in zip(snakemake.params.methods, snakemake.input.embeddings, strict=True):
        arrays = read_arrays(path)
        embeddings[method] = {code: arrays[code] for code in languages if code in arrays}
    shown = places(embeddings, **snakemake.params.shown)
    save_figure(sentence_map(shown, languages), shown, snakemake.output.map)
