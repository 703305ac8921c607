"""Adapter for the rule compute_typology: similarities and overlaps in, correlations out."""

from babelscope.io import read_table, write_table
from babelscope.jobs import job
from babelscope.representations.typology import typology_correlations, typology_points

with job(snakemake):
    wildcards, params = snakemake.wildcards, snakemake.params
    similarity = read_table(snakemake.input.similarity)
    points = typology_points(
        similarity[similarity["estimator"] == "unbiased"],
        read_table(snakemake.input.overlap),
        read_table(snakemake.input.pairs),
        params.codes,
        pivot=params.pivot,
    )
    correlations = typology_correlations(
        points,
        params.codes,
        pivot=params.pivot,
        permutations=params.settings["permutations"],
        seed=params.settings["seed"],
    )
    labels = dict(wildcards.items()) | {"seed": int(wildcards.seed)}
    write_table(snakemake.output.scores, correlations.assign(**labels))
    write_table(snakemake.output.points, points.assign(**labels))
