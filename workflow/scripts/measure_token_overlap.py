"""Adapter for the rule measure_token_overlap: parallel text in, overlap of tokens out."""

from babelscope.io import read_table, write_table
from babelscope.jobs import job
from babelscope.tokenization.overlap import overlap_table, shared_types
from babelscope.tokenization.packing import load_packing_tokenizer, tokenize

with job(snakemake):
    packing = load_packing_tokenizer(snakemake.input.tokenizer)
    parallel = read_table(snakemake.input.sentences)
    sentences = {
        language: list(tokenize(parallel[language], packing))
        for language in parallel.columns.drop("sent_id")
    }
    table = overlap_table(
        sentences,
        pivot=snakemake.params.pivot,
        samples=snakemake.params.samples,
        seed=snakemake.params.seed,
    )
    write_table(snakemake.output.overlap, table)
    write_table(snakemake.output.pairs, shared_types(sentences))
