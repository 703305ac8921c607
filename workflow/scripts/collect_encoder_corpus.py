"""Adapter for the rule collect_encoder_corpus: windows and counts in, one table out."""

from babelscope.evaluation.encoder_counts import PLACE, encoder_counts
from babelscope.evaluation.tables import wide, write_both
from babelscope.io import read_table
from babelscope.jobs import job
from babelscope.tokenization.packing import read_chunks

with job(snakemake):
    params = snakemake.params
    windows = zip(params.languages, snakemake.input.windows, strict=True)
    counts = zip(params.corpora, snakemake.input.counts, strict=True)
    table = encoder_counts(
        {language: len(read_chunks(path)) for language, path in windows},
        {name: read_table(path) for name, path in counts},
    )
    write_both(snakemake.output.table, table, wide(table, PLACE, ["item"], "count"))
