"""Adapter for the rule derive_untrained_ticket: a model in, the mask of its largest weights out."""

from babelscope.jobs import job
from babelscope.models.removal import load_model
from babelscope.subnetworks.magnitude import untrained_mask

with job(snakemake):
    model = load_model(snakemake.input.model)
    kept, pooler = int(snakemake.wildcards.kept), snakemake.params.pooler
    untrained_mask(model, kept, pooler=pooler).save(snakemake.output.mask)
