"""Adapter for the rule collect_ticket_overlap: overlaps at all sparsities in, their tables out."""

from babelscope.evaluation.tables import gather, write_both
from babelscope.evaluation.ticket_tables import ticket_distances
from babelscope.jobs import job

with job(snakemake):
    for table in ("overlap", "sizes", "shared", "typology"):
        rows = gather(snakemake.input[table], snakemake.params.kept)
        if "layer" in rows:
            rows["layer"] += 1  # layers count from 1 in the tables; a pooler's is 0
        write_both(snakemake.output[table], rows)
        if table == "overlap":
            points = ticket_distances(rows, snakemake.params.codes)
            write_both(snakemake.output.points, points)
