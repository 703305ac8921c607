"""Adapter for the rule download_corpus: archives, verified and unpacked, or files of the hub."""

from babelscope.corpus.archives import fetch_corpus
from babelscope.jobs import job

with job(snakemake):
    fetch_corpus(
        snakemake.params.archive["url"],
        snakemake.output.corpus,
        snakemake.params.partial,
        sha256=snakemake.params.archive["sha256"],
        contact=snakemake.resources.contact,
        patterns=snakemake.params.patterns,
    )
