"""Adapter for the rule plot_ticket_overlap: overlaps of one sparsity in, their figures out."""

from babelscope.evaluation import ticket_summaries as summaries
from babelscope.io import read_table
from babelscope.jobs import job
from babelscope.plotting import curves, matrices, parts
from babelscope.plotting.metrics import TASKS
from babelscope.plotting.style import save_figure

with job(snakemake):
    languages, kept = snakemake.params.languages, int(snakemake.wildcards.kept)
    tables = {name: read_table(path) for name, path in snakemake.input.items()}
    overlap, sizes, shared = (
        tables[name][tables[name]["kept"] == kept] for name in ("overlap", "sizes", "shared")
    )
    for task, path in zip(snakemake.params.tasks, snakemake.output.languages, strict=True):
        shown = summaries.language_overlap(overlap, task, list(languages))
        save_figure(matrices.overlap_matrices(shown, languages, scores=True), shown, path)

    for path in snakemake.output.tasks:
        shown = summaries.task_overlap(overlap, TASKS)
        drawn = {"titles": {"": ""}, "ylabel": "Jaccard index"}
        save_figure(parts.place_points(shown, languages, **drawn), shown, path)

    for scope, draw in (("layer", parts.depth_curves), ("component", parts.place_points)):
        for name, shown in (
            ("overlap", summaries.overlap_by_place(overlap, scope, TASKS)),
            ("sizes", summaries.kept_by_place(sizes, scope, TASKS)),
        ):
            titles = summaries.titles_of(shown, TASKS)
            figure = draw(shown, languages, titles=titles, ylabel=snakemake.params.ylabels[name])
            save_figure(figure, shown, snakemake.output[f"{name}_by_{scope}"])

    shown = summaries.shared_by_languages(shared)
    save_figure(curves.shared_curves(shown), shown, snakemake.output.shared)
