"""Pooled hidden states of parallel sentences.

Requires parallel text, `<results>/text/parallel/{corpus}.parquet`, the model folders that
`network_of` names and, for a subnetwork, the head masks
`<results>/masks/{model}/s{seed}/{budget}.safetensors` of the budget `heads.analysed`; for the network
`ticket`, which is the base model under a language's ticket, that of the task `tickets.encoded`,
`<results>/masks/{model}/s{seed}/{task}/{subnetwork}/ticket/k{kept}.safetensors`. Makes
`<results>/states/{model}/{network}/s{seed}/{subnetwork}/{corpus}/{lang}.safetensors` for every
language that the corpus has, with a tensor for each pooling of `poolings_of`.
"""


rule encode_corpus:
    """All layers of all languages of a corpus, by a network or a language's part of it."""
    input:
        sentences="<results>/text/parallel/{corpus}.parquet",
        model=network_of,
        masks=masks_of_subnetwork,
    output:
        states=bulky(
            directory(
                "<results>/states/{model}/{network}/s{seed}/{subnetwork}/{corpus}"
            )
        ),
    log:
        "<logs>/encode_corpus/{model}/{network}/s{seed}/{subnetwork}/{corpus}.log",
    benchmark:
        "<benchmarks>/encode_corpus/{model}/{network}/s{seed}/{subnetwork}/{corpus}.tsv"
    retries: 1
    conda:
        "../../envs/torch.yaml"
    threads: settings.compute.threads
    resources:
        gpu=GPUS and 1,
        mem_mb=doubling(4000),
        runtime=doubling(240),
    params:
        version=2,
        max_sentences=settings.parallel.max_sentences,
        settings=encoding_of,
        compute=section("compute", "device", "precision"),
    script:
        "../scripts/encode_corpus.py"
