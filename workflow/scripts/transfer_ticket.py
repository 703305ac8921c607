"""Adapter for the rule transfer_ticket: tickets in, what each is worth on one target out."""

from babelscope.jobs import job
from babelscope.seeds import derive_seed
from babelscope.subnetworks.transfer import Transfer, transfer_ticket
from babelscope.subnetworks.trials import HOUSEKEEPING, make_trial

with job(snakemake):
    wildcards, params = snakemake.wildcards, snakemake.params
    source = snakemake.input
    housekeeping = {key: snakemake.resources[key] for key in HOUSEKEEPING}
    trial = make_trial(
        wildcards.task,
        source.model,
        params.task | {"training": params.task["training"] | housekeeping},
        params.tickets,
        params.compute,
        made_of=source.scheme,
        seed=derive_seed(int(wildcards.seed), "transfer"),
        version=params.version,
    )
    transfer = Transfer(
        labels={"model": wildcards.model, "seed": int(wildcards.seed)},
        task=wildcards.task,
        language=wildcards.lang,
        kept=int(wildcards.kept),
        train=source.train,
        tests=dict(zip(params.languages, source.tests, strict=True)),
        masks=dict(zip(map(tuple, params.sources), source.masks, strict=True)),
        random_masks=params.random_masks,
        steps=params.steps,
        scores=snakemake.output.scores,
        checkpoints=params.checkpoints,
    )
    transfer_ticket(transfer, trial)
