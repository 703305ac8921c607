"""Adapter for the rule plot_encoder_main: the main tables in, a figure of each out."""

from babelscope.evaluation.encoder_summaries import SOURCE, starred
from babelscope.io import read_table
from babelscope.jobs import job
from babelscope.plotting.methods import method_dots
from babelscope.plotting.style import save_figure

with job(snakemake):
    table = read_table(snakemake.input.main)
    table = table.assign(star=starred(table))
    for group in ("monolingual", "crosslingual"):
        shown = table[table["group"] == group]
        save_figure(method_dots(shown, reference=SOURCE), shown, snakemake.output[group])
