"""Adapter for the rule compute_ticket_typology: overlap of tickets in, correlations out."""

from babelscope.io import read_table, write_table
from babelscope.jobs import job
from babelscope.subnetworks.typology import ticket_typology

with job(snakemake):
    table = ticket_typology(
        read_table(snakemake.input.overlap),
        snakemake.params.languages,
        permutations=snakemake.params.settings["permutations"],
        seed=snakemake.params.settings["seed"],
    )
    labels = {"model": snakemake.wildcards.model, "kept": int(snakemake.wildcards.kept)}
    write_table(snakemake.output.scores, table.assign(**labels))
