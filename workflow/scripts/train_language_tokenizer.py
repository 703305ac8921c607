"""Adapter for the rule train_language_tokenizer: text and a tokenizer in, a language's own out."""

from babelscope.io import atomic
from babelscope.jobs import job
from babelscope.models.loading import load_tokenizer
from babelscope.models.sentences import speak
from babelscope.tokenization.training import (
    documents_of,
    sample_text,
    split_lines,
    train_tokenizer,
)

with job(snakemake):
    settings = snakemake.params.settings
    texts = sample_text(
        {snakemake.wildcards.lang: documents_of(snakemake.input.text)},
        characters=settings["characters"],
        temperature=1.0,
        seed=snakemake.params.seed,
    )
    tokenizer = train_tokenizer(
        split_lines(texts),
        vocabulary=settings["vocabulary"],
        source=load_tokenizer(snakemake.input.tokenizer),
        key="encoders.tokenizer.vocabulary",
    )
    speak(tokenizer, snakemake.params.code)
    with atomic(snakemake.output.tokenizer) as folder:
        tokenizer.save_pretrained(folder)
