"""Scores of models on test text.

Requires the model folders that `network_of` names, windows of training and of test text,
`<results>/text/chunks/{model}/{lang}/{train,test}.arrow`, and for a budget its head masks and controls. Makes
`<results>/scores/perplexity/{model}/{network}/s{seed}/{masks}.parquet`, and of windows of training text
`<results>/scores/unigram/{model}.parquet`.
"""


rule evaluate_perplexity:
    """Perplexity on every language of a network, whole or under every mask of a budget."""
    input:
        model=network_of,
        test=expand("<results>/text/chunks/{{model}}/{lang}/test.arrow", lang=LANGS),
        masks=masks_to_score,
    output:
        scores="<results>/scores/perplexity/{model}/{network}/s{seed}/{masks}.parquet",
    log:
        "<logs>/evaluate_perplexity/{model}/{network}/s{seed}/{masks}.log",
    benchmark:
        "<benchmarks>/evaluate_perplexity/{model}/{network}/s{seed}/{masks}.tsv"
    retries: 1
    conda:
        "../../envs/torch.yaml"
    threads: settings.compute.threads
    resources:
        gpu=GPUS and 1,
        mem_mb=doubling(4000),
        runtime=doubling(480),
    params:
        version=1,
        languages=LANGS,
        settings=section("perplexity"),
        compute=section("compute", "device", "precision"),
    script:
        "../scripts/evaluate_perplexity.py"


rule evaluate_unigram:
    """Perplexity on every language of a model that knows its tokens' frequencies alone."""
    input:
        tokenizer=tokenizer_of,
        train=expand("<results>/text/chunks/{{model}}/{lang}/train.arrow", lang=LANGS),
        test=expand("<results>/text/chunks/{{model}}/{lang}/test.arrow", lang=LANGS),
    output:
        scores="<results>/scores/unigram/{model}.parquet",
    log:
        "<logs>/evaluate_unigram/{model}.log",
    benchmark:
        "<benchmarks>/evaluate_unigram/{model}.tsv"
    retries: 1
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=doubling(2000),
        runtime=doubling(30),
    params:
        version=1,
        languages=LANGS,
        settings=section("perplexity"),
    script:
        "../scripts/evaluate_unigram.py"
