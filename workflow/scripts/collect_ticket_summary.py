"""Adapter for the rule collect_ticket_summary: tables and similarities in, every score out."""

from babelscope.evaluation.tables import gather, require_finite, write_both
from babelscope.evaluation.ticket_tables import summary
from babelscope.io import read_table
from babelscope.jobs import job

with job(snakemake):
    similarity = require_finite(gather(snakemake.input.similarity))
    similarity = similarity.drop(columns="left_out", errors="ignore")
    write_both(snakemake.output.similarity, similarity)
    names = ("scores", "transfer", "overlap", "shared", "typology")
    tables = {name: read_table(snakemake.input[name]) for name in names}
    table = summary(similarity=similarity, encoded=snakemake.params.encoded, **tables)
    table.insert(0, "model", snakemake.wildcards.model)
    write_both(snakemake.output.summary, table)
