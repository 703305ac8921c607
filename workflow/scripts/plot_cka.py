"""Adapter for the rule plot_cka: similarities in, the figures of centred kernel alignment out."""

from babelscope.evaluation import summaries
from babelscope.io import read_table
from babelscope.jobs import job
from babelscope.plotting import bars, layers
from babelscope.plotting.style import save_figure

with job(snakemake):
    languages, pivot = snakemake.params.languages, snakemake.params.pivot
    tables = [read_table(path) for path in snakemake.input]
    table, differences = (summaries.of_corpus(one, **snakemake.params.rows) for one in tables)

    both = {"cka.unbiased": "unbiased", "cka.biased": "biased"}
    axes = {"ylabel": "CKA", "zero": True, "titles": both.values()}
    for together in snakemake.params.curves:
        curves = {
            output: summaries.layer_curves(table, comparison, pivot, both)
            for output, comparison in together.items()
        }
        axes["limits"] = layers.value_limits(curves.values())
        for output, shown in curves.items():
            figure = layers.layer_curves(shown, languages, **axes)
            save_figure(figure, shown, snakemake.output[output])

    shown = summaries.layer_maps(table, "cka", "unbiased")
    sides = {"left": "base model", "right": "fine-tuned model", "label": "CKA"}
    sides["limits"] = layers.map_limits(shown)
    save_figure(layers.layer_maps(shown, languages, **sides), shown, snakemake.output.layers)
    shown = shown[shown["language"] == pivot]
    save_figure(layers.layer_maps(shown, languages, **sides), shown, snakemake.output.pivot_layers)

    name = languages[pivot]["english"]
    for output, (comparison, terms) in snakemake.params.differences.items():
        shown = differences[differences["second"] == comparison]
        figure = bars.layer_bars(shown, languages, ylabel="CKA, " + terms.format(pivot=name))
        save_figure(figure, shown, snakemake.output[output])
