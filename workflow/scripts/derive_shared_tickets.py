"""Adapter for the rule derive_shared_tickets: languages' tickets in, what they share out."""

from babelscope.jobs import job
from babelscope.subnetworks.masks import PackedMask
from babelscope.subnetworks.sharing import shared_masks

with job(snakemake):
    files = zip(snakemake.params.languages, snakemake.input.masks, strict=True)
    intersection, union = shared_masks({language: PackedMask(path) for language, path in files})
    intersection.save(snakemake.output.intersection)
    union.save(snakemake.output.union)
