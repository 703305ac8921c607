"""Adapter for the rule evaluate_encoder: an encoder and corpora in, scores and vectors out."""

from babelscope.evaluation.embedders import load_embedder
from babelscope.evaluation.encoders import EvaluationSettings, evaluate_encoder
from babelscope.evaluation.mteb_results import write_task_results
from babelscope.io import atomic, read_table, write_arrays, write_table
from babelscope.jobs import job

with job(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    source, *_ = snakemake.input.encoder
    how = {"batch_tokens": snakemake.resources.batch_tokens, **params.compute}
    embed, switching = load_embedder(
        source, params.modules, codes=params.codes, form=params.form, **how
    )
    corpora = {
        name: (kind, read_table(path))
        for (name, kind), path in zip(params.kinds.items(), snakemake.input.corpora, strict=True)
    }
    for name, path in zip(params.parallel, snakemake.input.parallel, strict=True):
        sentences = read_table(path).head(params.max_sentences)
        corpora[name] = "parallel", sentences[["sent_id", *params.languages]]
    results = evaluate_encoder(
        embed,
        corpora,
        languages=list(params.languages),
        pivot=params.pivot,
        settings=EvaluationSettings(**params.settings),
        switching=switching,
    )
    write_table(snakemake.output.scores, results.scores)
    write_table(snakemake.output.examples, results.examples)
    shown = corpora[params.parallel[0]][1]
    vectors = {code: embed(list(shown[code]), code, True) for code in params.languages}
    write_arrays(snakemake.output.embeddings, vectors, dict(wildcards.items()))
    with atomic(snakemake.output.mteb) as folder:
        name = f"babelscope/{wildcards.model}-{wildcards.method}-s{wildcards.seed}"
        write_task_results(folder, results.scores, params.languages, name=name)
