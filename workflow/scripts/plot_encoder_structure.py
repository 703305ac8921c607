"""Adapter for the rule plot_encoder_structure: scores in, RSIM against transfer, and bias out."""

from babelscope.io import read_table
from babelscope.jobs import job
from babelscope.plotting.methods import method_bars, transfer_scatter
from babelscope.plotting.style import save_figure

with job(snakemake):
    tables = {name: read_table(path) for name, path in snakemake.input.items()}
    figure = transfer_scatter(tables["points"], tables["correlations"])
    save_figure(figure, tables["points"], snakemake.output.transfer)

    shown = tables["main"][tables["main"]["group"] == "alignment"]
    save_figure(method_bars(shown), shown, snakemake.output.bias)
