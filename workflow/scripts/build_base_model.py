"""Adapter for the rule build_base_model: windows and a tokenizer in, a model from scratch out."""

from tempfile import TemporaryDirectory

from transformers import AutoTokenizer

from babelscope.config import Architecture
from babelscope.jobs import job
from babelscope.models.initialization import build_model
from babelscope.training.runs import Run, execute

with job(snakemake), TemporaryDirectory() as start:
    params, compute = snakemake.params, snakemake.params.compute
    housekeeping = {key: snakemake.resources[key] for key in ("save_steps", "report_to")}
    tokenizer = AutoTokenizer.from_pretrained(snakemake.input.tokenizer, local_files_only=True)
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
            device=compute["device"],
            precision=compute["precision"],
            processes=compute["processes"],
            threads=max(1, snakemake.threads // compute["processes"]),
        )
    )
