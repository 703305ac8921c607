"""Adapter for the rule encode_corpus: parallel text and a network in, its states out."""

from contextlib import nullcontext

from babelscope.io import atomic, read_table
from babelscope.jobs import job
from babelscope.models.gates import head_gates
from babelscope.models.loading import load_tokenizer
from babelscope.models.removal import load_model
from babelscope.representations.encoding import encode_corpus
from babelscope.representations.states import write_states
from babelscope.subnetworks.masks import WeightMask, load_masks
from babelscope.subnetworks.matrices import apply_mask, check_fits

with job(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    parallel = read_table(snakemake.input.sentences).head(params.max_sentences)
    model = load_model(snakemake.input.model)
    tokenizer = load_tokenizer(snakemake.input.model)
    gates = nullcontext()
    if wildcards.network == "ticket":
        ticket = WeightMask.load(snakemake.input.masks)
        check_fits(ticket, model, snakemake.input.masks)
        apply_mask(ticket, model)
    elif wildcards.subnetwork != "full":
        heads = load_masks(snakemake.input.masks)[f"{wildcards.subnetwork}/d0"]
        gates = head_gates(model, heads.bits)
    with gates, atomic(snakemake.output.states) as folder:
        for language in parallel.columns.drop("sent_id"):
            sentences = list(parallel[language])
            encoded = encode_corpus(
                model, tokenizer, sentences, **params.settings, **params.compute
            )
            write_states(
                folder / f"{language}.safetensors",
                encoded.states,
                sentence_ids=list(parallel["sent_id"]),
                sentences=sentences,
                origin=dict(wildcards.items()) | {"truncated": str(encoded.truncated)},
            )
