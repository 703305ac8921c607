"""Adapter for the rule train_tokenizer: training text in, a tokenizer out."""

from babelscope.io import atomic
from babelscope.jobs import job
from babelscope.tokenization.training import (
    documents_of,
    sample_text,
    split_lines,
    train_tokenizer,
)

with job(snakemake):
    settings, causal = snakemake.params.settings, snakemake.params.causal
    texts = {
        language: documents_of(path)
        for language, path in zip(snakemake.params.languages, snakemake.input.texts, strict=True)
    }
    sample = sample_text(
        texts,
        characters=settings["characters"],
        temperature=settings["temperature"],
        seed=snakemake.params.seed,
    )
    tokenizer = train_tokenizer(
        split_lines(sample),
        vocabulary=settings["vocabulary"],
        kind=settings["kind"],
        causal=causal,
        key=f"{'alignment' if causal else 'mlm'}.tokenizer.vocabulary",
    )
    with atomic(snakemake.output.tokenizer) as folder:
        tokenizer.save_pretrained(folder)
