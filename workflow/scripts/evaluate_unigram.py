"""Adapter for the rule evaluate_unigram: windows in, perplexities of unigram models out."""

from babelscope.evaluation.batches import scoring_batches
from babelscope.evaluation.perplexity import unigram_table
from babelscope.io import write_table
from babelscope.jobs import job
from babelscope.models.loading import load_tokenizer
from babelscope.tokenization.frequencies import count_tokens
from babelscope.tokenization.matching import vocabulary_size
from babelscope.training.data import masking_of

with job(snakemake):
    settings, languages = snakemake.params.settings, snakemake.params.languages
    tokenizer = load_tokenizer(snakemake.input.tokenizer)
    masking = masking_of(tokenizer, share=settings["mask_share"], whole_words=False)
    batches = scoring_batches(
        dict(zip(languages, snakemake.input.test, strict=True)),
        masking,
        examples=settings["examples"],
        batch_size=settings["batch_size"],
        seed=settings["seed"],
    )
    counts = {
        language: count_tokens([path], vocabulary_size(tokenizer), masking.special_ids)
        for language, path in zip(languages, snakemake.input.train, strict=True)
    }
    table = unigram_table(batches, counts, resamples=settings["bootstrap"], seed=settings["seed"])
    write_table(snakemake.output.scores, table)
