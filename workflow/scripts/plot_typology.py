"""Adapter for the rule plot_typology: similarities, distances and overlaps in, figures out."""

from babelscope.evaluation import summaries
from babelscope.io import read_table
from babelscope.jobs import job
from babelscope.plotting import bars, scatter
from babelscope.plotting.style import save_figure

with job(snakemake):
    languages, rows = snakemake.params.languages, snakemake.params.rows
    tables = {name: read_table(path) for name, path in snakemake.input.items()}
    tables = {name: summaries.of_corpus(one, **rows) for name, one in tables.items()}

    pivot = snakemake.params.pivot
    name = languages[pivot]["english"]
    shown = summaries.token_shares(tables["token_overlap"])
    figure = bars.grouped_bars(
        shown, languages, groups=snakemake.params.overlaps, ylabel=f"tokens shared with {name} (%)"
    )
    save_figure(figure, shown, snakemake.output.overlap)

    similarity = tables["similarity"]
    pairs = (similarity["comparison"] == "languages") & (similarity["measure"] == "cka")
    cka = similarity[pairs & (similarity["estimator"] == "unbiased")]
    shown = summaries.pair_points(tables["points"], cka, pivot)
    tests = summaries.correlations(tables["typology"])
    means = tests[tests["layer"] == -1].rename(columns={"predictor": "panel", "value": "r"})
    titles = {key: title.format(pivot=name) for key, title in snakemake.params.axes.items()}
    drawn = {"titles": titles, "tested": snakemake.params.tested, "ylabel": "CKA, mean of layers"}
    figure = scatter.pair_scatter(shown, means, languages, **drawn)
    save_figure(figure, shown, snakemake.output.points)

    shown = tests[tests["layer"] >= 0]
    found = set(shown["predictor"])
    predictors = snakemake.params.predictors.items()
    titles = {key: title.format(pivot=name) for key, title in predictors if key in found}
    save_figure(
        scatter.correlation_curves(shown, titles=titles), shown, snakemake.output.correlations
    )
