"""Text: articles out of dumps, a sample of them, its splits; parallel sentences as one table,
examples of tasks.

Requires the dumps `<resources>/dumps/SOURCE/{wiki}/{date}`, each with its `dump.json`, and the corpora
of config/corpora.tsv. Makes `<results>/text/articles/{lang}`,
`<results>/text/sampled/{lang}.jsonl.zst`, `<results>/text/splits/{lang}/{split}.jsonl.zst`,
`<results>/text/parallel/{corpus}.parquet`, and beside each what was counted, `.counts.json`; and
`<results>/text/tasks/{dataset}/{lang}/{split}.parquet` with `{dataset}.counts.parquet`.
"""


rule extract_articles:
    """The articles of a language's dump as plain text, without markup."""
    input:
        dump=dump_of,
    output:
        articles=directory("<results>/text/articles/{lang}"),
        counts="<results>/text/articles/{lang}.counts.json",
    log:
        "<logs>/extract_articles/{lang}.log",
    benchmark:
        "<benchmarks>/extract_articles/{lang}.tsv"
    retries: 1
    conda:
        "../../envs/text.yaml"
    threads: 4
    resources:
        mem_mb=doubling(3000),
        runtime=doubling(720),
    params:
        version=1,
        templates=settings.dumps.templates,
    script:
        "../scripts/extract_articles.py"


rule sample_articles:
    """A seeded sample of a language's articles, each text once."""
    input:
        articles="<results>/text/articles/{lang}",
        extra=extra_text,
    output:
        sample="<results>/text/sampled/{lang}.jsonl.zst",
        counts="<results>/text/sampled/{lang}.counts.json",
    log:
        "<logs>/sample_articles/{lang}.log",
    benchmark:
        "<benchmarks>/sample_articles/{lang}.tsv"
    conda:
        "../../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=doubling(2000),
        runtime=doubling(240),
    params:
        version=1,
        source=articles_source,
        n=settings.articles.per_language,
        seed=settings.articles.seed,
        min_characters=settings.articles.min_characters,
        allow_fewer=settings.articles.allow_fewer,
    script:
        "../scripts/sample_articles.py"


rule split_text:
    """Training, validation and test articles, told apart by a hash of their ids."""
    input:
        sample="<results>/text/sampled/{lang}.jsonl.zst",
    output:
        train="<results>/text/splits/{lang}/train.jsonl.zst",
        valid="<results>/text/splits/{lang}/valid.jsonl.zst",
        test="<results>/text/splits/{lang}/test.jsonl.zst",
        counts="<results>/text/splits/{lang}.counts.json",
    log:
        "<logs>/split_text/{lang}.log",
    benchmark:
        "<benchmarks>/split_text/{lang}.tsv"
    conda:
        "../../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(60),
    params:
        version=1,
        source=articles_source,
        seed=settings.articles.seed,
        valid=settings.articles.valid,
        test=settings.articles.test,
    script:
        "../scripts/split_text.py"


rule read_parallel:
    """The sentences of a parallel corpus in all languages, one row each."""
    input:
        corpus=corpus_files,
    output:
        sentences="<results>/text/parallel/{corpus}.parquet",
        counts="<results>/text/parallel/{corpus}.counts.json",
    log:
        "<logs>/read_parallel/{corpus}.log",
    benchmark:
        "<benchmarks>/read_parallel/{corpus}.tsv"
    wildcard_constraints:
        corpus=any_of([*settings.parallel.corpora, *settings.alignment.translations]),
    conda:
        "../../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest("corpus/parallel.py", "corpus/rows.py"),
        paths=corpus_paths,
        languages=parallel_languages,
        reading=reading_of,
        missing=settings.parallel.missing,
        max_sentences=most_sentences,
    script:
        "../scripts/read_parallel.py"


rule read_task_data:
    """The examples of a task in all its languages, told apart into the splits."""
    input:
        sources=task_sources,
    output:
        examples=expand(
            "<results>/text/tasks/{{dataset}}/{lang}/{split}.parquet",
            lang=TICKET_LANGS,
            split=SPLITS,
        ),
        counts="<results>/text/tasks/{dataset}.counts.parquet",
    log:
        "<logs>/read_task_data/{dataset}.log",
    benchmark:
        "<benchmarks>/read_task_data/{dataset}.tsv"
    conda:
        "../../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=doubling(3000),
        runtime=doubling(60),
    params:
        code=digest(
            "corpus/examples.py", "corpus/ner.py", "corpus/nli.py", "corpus/rows.py"
        ),
        files=task_paths,
        reading=task_reading,
        splits=SPLITS,
    script:
        "../scripts/read_task_data.py"
