"""Adapter for the rule build_base_model: windows and a tokenizer in, a model from scratch out."""

import shutil

from babelscope.config import Architecture
from babelscope.jobs import job
from babelscope.models.initialization import build_model
from babelscope.models.loading import load_tokenizer
from babelscope.training.launching import placement
from babelscope.training.runs import Run, execute

with job(snakemake):
    params = snakemake.params
    start = f"{params.checkpoints}.start"  # where all nodes of a cluster see it
    housekeeping = {key: snakemake.resources[key] for key in ("save_steps", "report_to")}
    tokenizer = load_tokenizer(snakemake.input.tokenizer)
    tokenizer.model_max_length = params.window
    tokenizer.save_pretrained(start)
    build_model(
        tokenizer,
        Architecture.model_validate(params.architecture),
        window=params.window,
        seed=params.seed,
        family=params.family,
    ).save_pretrained(start)
    execute(
        Run(
            model=start,
            train=dict(zip(params.languages, snakemake.input.train, strict=True)),
            valid=dict(zip(params.languages, snakemake.input.valid, strict=True)),
            output=snakemake.output.model,
            history=snakemake.output.history,
            checkpoints=params.checkpoints,
            settings=params.settings | housekeeping,
            seed=params.seed,
            version=params.version,
            **placement(snakemake),
        )
    )
    shutil.rmtree(start)
