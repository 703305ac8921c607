"""Adapter for the rule build_base_model: windows and a tokenizer in, a model from scratch out."""

import shutil

from babelscope.config import Architecture
from babelscope.jobs import job
from babelscope.models.initialization import build_model
from babelscope.models.loading import load_tokenizer
from babelscope.tokenization.frequencies import count_tokens
from babelscope.training.runs import execute, run_of

with job(snakemake):
    params = snakemake.params
    start = f"{params.checkpoints}.start"  # where all nodes of a cluster see it
    tokenizer = load_tokenizer(snakemake.input.tokenizer)
    tokenizer.model_max_length = params.window
    tokenizer.save_pretrained(start)
    build_model(
        tokenizer,
        Architecture.model_validate(params.architecture),
        window=params.window,
        seed=params.seed,
        family=params.family,
        counts=count_tokens(snakemake.input.train, len(tokenizer), tokenizer.all_special_ids),
    ).save_pretrained(start)
    execute(run_of(snakemake, model=start, seed=params.seed))
    shutil.rmtree(start)
