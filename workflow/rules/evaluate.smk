"""Scores of models on test text.

Requires the model folders that `network_of` names, windows of test text,
`<results>/text/chunks/{model}/{lang}/test.arrow`, and for a budget its head masks and controls. Makes
`<results>/scores/perplexity/{model}/{network}/s{seed}/{masks}.parquet`.
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
