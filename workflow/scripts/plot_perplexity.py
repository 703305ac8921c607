"""Adapter for the rule plot_perplexity: perplexities by training and pruning in, figures out."""

from babelscope.evaluation.summaries import pruning_curves
from babelscope.io import read_table
from babelscope.jobs import job
from babelscope.plotting.bars import grouped_bars
from babelscope.plotting.curves import trajectories
from babelscope.plotting.style import save_figure

with job(snakemake):
    languages = snakemake.params.languages

    groups = {"base": "before fine-tuning", "finetuned": "after fine-tuning"}
    shown = read_table(snakemake.input.finetuning)
    shown = shown[shown["group"].isin(groups)]
    figure = grouped_bars(shown, languages, groups=groups, ylabel="perplexity")
    save_figure(figure, shown, snakemake.output.finetuning)

    shown = pruning_curves(read_table(snakemake.input.trajectories))
    figure = trajectories(
        shown, languages, ratios=snakemake.params.ratios, sparsities=snakemake.params.sparsities
    )
    save_figure(figure, shown, snakemake.output.trajectories)
