"""Tokenizers: training, packing text into windows, overlap of languages.

Requires the splits of every language, `<results>/text/splits/{lang}/{split}.jsonl.zst`, and parallel
text, `<results>/text/parallel/{corpus}.parquet`. Makes `<results>/tokenizers/{model}` for the models
that are built here, `<results>/text/chunks/{model}/{lang}/{split}.arrow` and
`<results>/scores/token_overlap/{model}/{corpus}.parquet`, with the pivot, and
`<results>/scores/token_overlap/{model}/{corpus}.pairs.parquet`, of all pairs.
"""


rule train_tokenizer:
    """One tokenizer for all languages, trained on text sampled by temperature."""
    input:
        texts=expand("<results>/text/splits/{lang}/train.jsonl.zst", lang=LANGS),
    output:
        tokenizer=directory("<results>/tokenizers/{model}"),
    log:
        "<logs>/train_tokenizer/{model}.log",
    benchmark:
        "<benchmarks>/train_tokenizer/{model}.tsv"
    wildcard_constraints:
        model=any_of(BUILT),
    retries: 1
    conda:
        "../../envs/text.yaml"
    threads: 4  # as many as sentencepiece takes, whatever there are
    resources:
        mem_mb=doubling(2000),
        runtime=doubling(120),
    params:
        version=1,
        languages=LANGS,
        seed=settings.articles.seed,
        causal=False,
        settings=section("mlm.tokenizer"),
    script:
        "../scripts/train_tokenizer.py"


rule pack_chunks:
    """The three splits of one language as windows of exactly the model's length."""
    input:
        train="<results>/text/splits/{lang}/train.jsonl.zst",
        valid="<results>/text/splits/{lang}/valid.jsonl.zst",
        test="<results>/text/splits/{lang}/test.jsonl.zst",
        tokenizer=tokenizer_of,
    output:
        train="<results>/text/chunks/{model}/{lang}/train.arrow",
        valid="<results>/text/chunks/{model}/{lang}/valid.arrow",
        test="<results>/text/chunks/{model}/{lang}/test.arrow",
    log:
        "<logs>/pack_chunks/{model}/{lang}.log",
    benchmark:
        "<benchmarks>/pack_chunks/{model}/{lang}.tsv"
    retries: 1
    conda:
        "../../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(120),
    params:
        version=1,
        window=window_of,
    script:
        "../scripts/pack_chunks.py"


rule measure_token_overlap:
    """Tokens that each language shares with the pivot, and token types that each pair shares."""
    input:
        sentences="<results>/text/parallel/{corpus}.parquet",
        tokenizer=tokenizer_of,
    output:
        overlap="<results>/scores/token_overlap/{model}/{corpus}.parquet",
        pairs="<results>/scores/token_overlap/{model}/{corpus}.pairs.parquet",
    log:
        "<logs>/measure_token_overlap/{model}/{corpus}.log",
    benchmark:
        "<benchmarks>/measure_token_overlap/{model}/{corpus}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest("tokenization/overlap.py", "tokenization/packing.py"),
        pivot=settings.pivot,
        samples=settings.compare.bootstrap,
        seed=settings.compare.seed,
    script:
        "../scripts/measure_token_overlap.py"
