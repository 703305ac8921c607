"""Adapter for the rule plot_encoder_strategies: all scores in, strategies of alignment out."""

from babelscope.evaluation.encoder_summaries import UNALIGNED, starred, strategy_table
from babelscope.io import read_table
from babelscope.jobs import job
from babelscope.plotting.methods import method_dots
from babelscope.plotting.style import save_figure

with job(snakemake):
    scores, comparisons = (read_table(snakemake.input[name]) for name in ("scores", "comparisons"))
    shown = strategy_table(scores, comparisons)
    shown = shown.assign(star=starred(shown))
    figure = method_dots(shown, reference=UNALIGNED, columns=4)
    save_figure(figure, shown, snakemake.output.strategies)
