"""Adapter for the rule compute_ticket_overlap: tickets in, their overlap and sizes out."""

from babelscope.io import write_table
from babelscope.jobs import job
from babelscope.subnetworks.masks import PackedMask
from babelscope.subnetworks.sharing import sharing_tables
from babelscope.subnetworks.ticket_overlap import (
    UNTRAINED,
    Ticket,
    count_bits,
    overlap_table,
    size_table,
    ticket_pairs,
)

with job(snakemake):
    tickets = [*(Ticket(*ticket) for ticket in snakemake.params.tickets), UNTRAINED]
    files = zip(tickets, [*snakemake.input.masks, snakemake.input.untrained], strict=True)
    masks = {ticket: PackedMask(path) for ticket, path in files}
    pairs = ticket_pairs(tickets)
    counts = count_bits(masks, list(pairs))
    tables = {
        "overlap": overlap_table(counts, pairs),
        "sizes": size_table(counts, tickets),
        "shared": sharing_tables(masks),
    }
    labels = {"model": snakemake.wildcards.model, "kept": int(snakemake.wildcards.kept)}
    for name, table in tables.items():
        write_table(snakemake.output[name], table.assign(**labels))
