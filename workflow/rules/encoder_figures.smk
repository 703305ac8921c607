"""Tables and figures of the encoders study.

Requires the scores of all methods, `<results>/scores/encoders/{model}/s{seed}/{method}.parquet`, with
their `.examples.parquet` and `.embeddings.safetensors`, and how much text there is,
`<results>/tables/encoders/{model}/corpus.parquet`. Makes
`<results>/tables/encoders/{model}/{table}.parquet` with a `.csv` for readers, and from these tables and
the vectors `<results>/figures/encoders/{model}/{figure}.png` with the same as `.pdf` and the plotted
numbers as `.csv`.
"""


rule collect_encoder_corpus:
    """How much text and how many pairs and examples there are in each language."""
    input:
        windows=encoder_windows,
        counts=[
            *(f"<results>/text/pairs/{name}/counts.parquet" for name in ENCODER_PAIRS),
            *(
                f"<results>/text/evaluation/{name}.counts.parquet"
                for name in settings.encoders.evaluated
            ),
        ],
    output:
        table="<results>/tables/encoders/{model}/corpus.parquet",
        table_csv=report(
            "<results>/tables/encoders/{model}/corpus.csv",
            caption="../report/encoder_corpus.rst",
            category="Text",
            subcategory="{model}",
            labels={"table": "pairs and examples per language"},
        ),
    log:
        "<logs>/collect_encoder_corpus/{model}.log",
    benchmark:
        "<benchmarks>/collect_encoder_corpus/{model}.tsv"
    conda:
        "../../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest(
            "evaluation/encoder_counts.py",
            "evaluation/tables.py",
            "tokenization/packing.py",
        ),
        languages=ENCODER_LANGS,
        corpora=[*ENCODER_PAIRS, *settings.encoders.evaluated],
    script:
        "../scripts/collect_encoder_corpus.py"


rule collect_encoder_scores:
    """Every score, tests between methods, and the means over languages that papers print."""
    input:
        scores=expand(
            "<results>/scores/encoders/{{model}}/s{seed}/{method}.parquet",
            seed=settings.seeds,
            method=ENCODER_METHODS,
        ),
        examples=expand(
            "<results>/scores/encoders/{{model}}/s{seed}/{method}.examples.parquet",
            seed=settings.seeds,
            method=ENCODER_METHODS,
        ),
    output:
        scores="<results>/tables/encoders/{model}/scores.parquet",
        scores_csv=report(
            "<results>/tables/encoders/{model}/scores.csv",
            caption="../report/encoder_scores.rst",
            category="Encoders",
            subcategory="{model}",
            labels={"table": "every score of the study"},
        ),
        comparisons="<results>/tables/encoders/{model}/comparisons.parquet",
        comparisons_csv=report(
            "<results>/tables/encoders/{model}/comparisons.csv",
            caption="../report/encoder_comparisons.rst",
            category="Encoders",
            subcategory="{model}",
            labels={"table": "tests between methods"},
        ),
        main="<results>/tables/encoders/{model}/main.parquet",
        main_csv=report(
            "<results>/tables/encoders/{model}/main.csv",
            caption="../report/encoder_main.rst",
            category="Encoders",
            subcategory="{model}",
            labels={"table": "methods, means over languages"},
        ),
        per_language="<results>/tables/encoders/{model}/per_language.parquet",
        per_language_csv=report(
            "<results>/tables/encoders/{model}/per_language.csv",
            caption="../report/encoder_per_language.rst",
            category="Encoders",
            subcategory="{model}",
            labels={"table": "methods in each language"},
        ),
        points="<results>/tables/encoders/{model}/transfer_points.parquet",
        points_csv="<results>/tables/encoders/{model}/transfer_points.csv",
        correlations="<results>/tables/encoders/{model}/transfer_correlations.parquet",
        correlations_csv="<results>/tables/encoders/{model}/transfer_correlations.csv",
    log:
        "<logs>/collect_encoder_scores/{model}.log",
    benchmark:
        "<benchmarks>/collect_encoder_scores/{model}.tsv"
    conda:
        "../../envs/encoders.yaml"
    threads: 1
    resources:
        mem_mb=doubling(2000),
        runtime=doubling(60),
    params:
        code=digest(
            "representations/rows.py",
            "evaluation/classification.py",
            "evaluation/comparisons.py",
            "evaluation/embeddings.py",
            "evaluation/encoder_summaries.py",
            "evaluation/intervals.py",
            "evaluation/resampling.py",
            "evaluation/results.py",
            "evaluation/sts.py",
            "evaluation/tables.py",
        ),
        labels=labels(seed=settings.seeds, method=ENCODER_METHODS),
        methods=ENCODER_METHODS,
        settings=section("encoders", "bootstrap", "seed"),
    script:
        "../scripts/collect_encoder_scores.py"


rule plot_encoder_main:
    """The study's two main tables as figures: every method in one language and across languages."""
    input:
        main="<results>/tables/encoders/{model}/main.parquet",
    output:
        monolingual=report(
            "<results>/figures/encoders/{model}/main_monolingual.png",
            caption="../report/encoder_main_monolingual.rst",
            category="Encoders",
            subcategory="{model}",
            labels={"figure": "methods, within languages"},
        ),
        crosslingual=report(
            "<results>/figures/encoders/{model}/main_crosslingual.png",
            caption="../report/encoder_main_crosslingual.rst",
            category="Encoders",
            subcategory="{model}",
            labels={"figure": "methods, across languages"},
        ),
        beside=expand(
            "<results>/figures/encoders/{{model}}/{figure}.{kind}",
            figure=encoder_figures("main"),
            kind=["pdf", "csv"],
        ),
    log:
        "<logs>/plot_encoder_main/{model}.log",
    benchmark:
        "<benchmarks>/plot_encoder_main/{model}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest(
            "evaluation/encoder_summaries.py",
            "evaluation/results.py",
            "evaluation/tables.py",
            "plotting/methods.py",
            "plotting/style.py",
        ),
    script:
        "../scripts/plot_encoder_main.py"


rule plot_encoder_languages:
    """Which languages gain most, by how much they were trained on."""
    input:
        per_language="<results>/tables/encoders/{model}/per_language.parquet",
        corpus="<results>/tables/encoders/{model}/corpus.parquet",
    output:
        gains=[
            report(
                f"<results>/figures/encoders/{{model}}/per_language/{task}.png",
                caption="../report/encoder_languages.rst",
                category="Encoders",
                subcategory="{model}",
                labels={"figure": "gain in each language", "task": task},
            )
            for task in encoder_tasks()
        ],
        beside=expand(
            "<results>/figures/encoders/{{model}}/{figure}.{kind}",
            figure=encoder_figures("languages"),
            kind=["pdf", "csv"],
        ),
    log:
        "<logs>/plot_encoder_languages/{model}.log",
    benchmark:
        "<benchmarks>/plot_encoder_languages/{model}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest(
            "evaluation/encoder_summaries.py",
            "evaluation/results.py",
            "evaluation/tables.py",
            "plotting/methods.py",
            "plotting/style.py",
        ),
        tasks=encoder_tasks(),
        item="windows",
        languages=shown_languages(ENCODER_LANGS),
    script:
        "../scripts/plot_encoder_languages.py"


rule plot_encoder_strategies:
    """What alignment by paraphrases, by parallel sentences and by both adds to language modules."""
    input:
        scores="<results>/tables/encoders/{model}/scores.parquet",
        comparisons="<results>/tables/encoders/{model}/comparisons.parquet",
    output:
        strategies=report(
            "<results>/figures/encoders/{model}/strategies.png",
            caption="../report/encoder_strategies.rst",
            category="Encoders",
            subcategory="{model}",
            labels={"figure": "strategies of alignment"},
        ),
        beside=expand(
            "<results>/figures/encoders/{{model}}/strategies.{kind}",
            kind=["pdf", "csv"],
        ),
    log:
        "<logs>/plot_encoder_strategies/{model}.log",
    benchmark:
        "<benchmarks>/plot_encoder_strategies/{model}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest(
            "evaluation/encoder_summaries.py",
            "evaluation/results.py",
            "evaluation/tables.py",
            "plotting/methods.py",
            "plotting/style.py",
        ),
    script:
        "../scripts/plot_encoder_strategies.py"


rule plot_encoder_structure:
    """Whether spaces of like structure transfer better, and how biased they are to languages."""
    input:
        points="<results>/tables/encoders/{model}/transfer_points.parquet",
        correlations="<results>/tables/encoders/{model}/transfer_correlations.parquet",
        main="<results>/tables/encoders/{model}/main.parquet",
    output:
        transfer=report(
            "<results>/figures/encoders/{model}/rsim_and_transfer.png",
            caption="../report/encoder_rsim.rst",
            category="Encoders",
            subcategory="{model}",
            labels={"figure": "RSIM against transfer"},
        ),
        bias=report(
            "<results>/figures/encoders/{model}/language_bias.png",
            caption="../report/encoder_language_bias.rst",
            category="Encoders",
            subcategory="{model}",
            labels={"figure": "RSIM and language bias"},
        ),
        beside=expand(
            "<results>/figures/encoders/{{model}}/{figure}.{kind}",
            figure=encoder_figures("structure"),
            kind=["pdf", "csv"],
        ),
    log:
        "<logs>/plot_encoder_structure/{model}.log",
    benchmark:
        "<benchmarks>/plot_encoder_structure/{model}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest("plotting/methods.py", "plotting/style.py"),
    script:
        "../scripts/plot_encoder_structure.py"


rule plot_encoder_map:
    """The space of sentences before and after alignment, languages in their colours."""
    input:
        embeddings=expand(
            "<results>/scores/encoders/{{model}}/s{seed}/{method}.embeddings.safetensors",
            seed=settings.seeds[0],
            method=[
                name
                for name in ("source", "modular-mono", "modular-both")
                if name in ENCODER_METHODS
            ],
        ),
    output:
        map=report(
            "<results>/figures/encoders/{model}/sentence_map.png",
            caption="../report/encoder_sentence_map.rst",
            category="Encoders",
            subcategory="{model}",
            labels={"figure": "sentences in two dimensions"},
        ),
        beside=expand(
            "<results>/figures/encoders/{{model}}/{figure}.{kind}",
            figure=encoder_figures("map"),
            kind=["pdf", "csv"],
        ),
    log:
        "<logs>/plot_encoder_map/{model}.log",
    benchmark:
        "<benchmarks>/plot_encoder_map/{model}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(2000),
        runtime=doubling(30),
    params:
        code=digest(
            "evaluation/encoder_summaries.py",
            "evaluation/results.py",
            "evaluation/tables.py",
            "plotting/methods.py",
            "plotting/sentence_map.py",
            "plotting/style.py",
        ),
        methods=[
            name
            for name in ("source", "modular-mono", "modular-both")
            if name in ENCODER_METHODS
        ],
        shown={"sentences": 100, "joined": 4},
        languages=shown_languages(ENCODER_LANGS),
    script:
        "../scripts/plot_encoder_map.py"
