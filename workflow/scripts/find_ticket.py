"""Adapter for the rule find_ticket: a model and examples in, masks of shrinking size out."""

from babelscope.jobs import job
from babelscope.seeds import derive_seed
from babelscope.subnetworks.magnitude import Search, find_ticket
from babelscope.subnetworks.trials import HOUSEKEEPING, make_trial

with job(snakemake):
    wildcards, params = snakemake.wildcards, snakemake.params
    seed, repeated = int(wildcards.seed), wildcards.variant == "repeat"
    housekeeping = {key: snakemake.resources[key] for key in HOUSEKEEPING}
    trial = make_trial(
        wildcards.task,
        snakemake.input.model,
        params.task | {"training": params.task["training"] | housekeeping},
        params.tickets,
        params.compute,
        made_of=snakemake.input.scheme,
        seed=derive_seed(seed, "repeat" if repeated else "find"),
        version=params.version,
    )
    labels = {"model": wildcards.model, "seed": seed}
    search = Search(
        labels=labels | {"task": wildcards.task, "language": wildcards.lang},
        variant=wildcards.variant,
        files={split: snakemake.input[split] for split in ("train", "valid", "test")},
        masks=dict(zip(params.kept, snakemake.output.masks, strict=True)),
        scores=snakemake.output.scores,
        history=snakemake.output.history,
        checkpoints=params.checkpoints,
        **params.search,
    )
    find_ticket(search, trial)
