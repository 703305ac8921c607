"""Adapter for the rule export_encoder: a language's modules in, a plain encoder folder out."""

from babelscope.jobs import job
from babelscope.models.modular import ModularEncoder, Modules

with job(snakemake):
    lang, params = snakemake.wildcards.lang, snakemake.params
    source, *_ = snakemake.input.encoder
    modular = ModularEncoder.assemble(source, {lang: Modules(**params.modules)}, params.form)
    modular.export(lang, snakemake.output.model, aligned="alignment" in params.modules)
