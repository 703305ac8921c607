"""Adapter for the rule collect_alignment_corpus: counts of samples and choices in, a table out."""

from pathlib import Path

from babelscope.evaluation.encoder_counts import PLACE, encoder_counts
from babelscope.evaluation.tables import wide, write_both
from babelscope.io import read_table
from babelscope.jobs import job
from babelscope.tokenization.packing import read_chunks

with job(snakemake):
    windows = {Path(path).parent.name: len(read_chunks(path)) for path in snakemake.input.windows}
    samples = read_table(snakemake.input.samples).groupby("corpus", sort=False)
    choices = zip(snakemake.params.corpora, snakemake.input.choices, strict=True)
    counts = dict(iter(samples)) | {name: read_table(path) for name, path in choices}
    table = encoder_counts(windows, counts).astype({"count": "int64"})
    write_both(snakemake.output.table, table, wide(table, PLACE, ["item"], "count"))
