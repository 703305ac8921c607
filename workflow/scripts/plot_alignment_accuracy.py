"""Adapter for the rule plot_alignment_accuracy: scores and tests in, accuracies and changes out."""

from babelscope.evaluation.alignment_summaries import METRICS, accuracies, changes
from babelscope.io import read_table
from babelscope.jobs import job
from babelscope.plotting.in_context import change_dots, language_dots
from babelscope.plotting.style import save_figure

with job(snakemake):
    params = snakemake.params
    scores, tests = (read_table(snakemake.input[name]) for name in ("scores", "comparisons"))
    rows = {"metric": METRICS[params.normalize], "pivot": params.pivot}
    for kind, path in zip(params.prompts, snakemake.output.accuracies, strict=True):
        shown = accuracies(scores, tests, prompts=kind, **rows)
        figure = language_dots(shown, params.languages, xlabel="accuracy (%)")
        save_figure(figure, shown, path)

    shown = changes(tests, scores, prompts=params.prompts, **rows)
    pivot = params.languages[params.pivot]["english"]
    names = {"own": "prompts in the\nexamples' language", "pivot": f"prompts in\n{pivot}"}
    figure = change_dots(shown, prompts={kind: names[kind] for kind in params.prompts})
    save_figure(figure, shown, snakemake.output.changes)
