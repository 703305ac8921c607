"""Tables and figures of the alignment study.

Requires the scores of the untouched network for the first seed, and of each aligned one for every seed,
`<results>/scores/in_context/{model}/{network}/s{seed}.parquet` with their `.examples.parquet`; the
similarities of their states and, of the first parallel corpus and seed, the states themselves; histories
and costs of the trainings; and the counts beside samples and choices. Makes
`<results>/tables/alignment/{model}/{table}.parquet` with a `.csv` for readers, and from these tables and
the states `<results>/figures/alignment/{model}/{figure}.png` with the same as `.pdf` and the plotted
numbers as `.csv`.
"""


rule collect_alignment_corpus:
    """How many samples, examples and windows of text there are in each language."""
    input:
        windows=generator_windows,
        samples="<results>/text/instructions/counts.parquet",
        choices=expand(
            "<results>/text/choices/{corpus}.counts.parquet", corpus=ALIGNMENT_CORPORA
        ),
    output:
        table="<results>/tables/alignment/{model}/corpus.parquet",
        table_csv=report(
            "<results>/tables/alignment/{model}/corpus.csv",
            caption="../report/alignment_corpus.rst",
            category="Text",
            subcategory="{model}",
            labels={"table": "instructions and choices per language"},
        ),
    log:
        "<logs>/collect_alignment_corpus/{model}.log",
    benchmark:
        "<benchmarks>/collect_alignment_corpus/{model}.tsv"
    wildcard_constraints:
        model=any_of(ALIGNMENT_MODELS),
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
        corpora=ALIGNMENT_CORPORA,
    script:
        "../scripts/collect_alignment_corpus.py"


rule collect_alignment_scores:
    """Every score in context, tests between networks, and how far languages are from the pivot."""
    input:
        scores=[
            f"<results>/scores/in_context/{{model}}/base/s{settings.seeds[0]}.parquet",
            *expand(
                "<results>/scores/in_context/{{model}}/{network}/s{seed}.parquet",
                network=settings.alignment.networks,
                seed=settings.seeds,
            ),
        ],
        examples=[
            f"<results>/scores/in_context/{{model}}/base/s{settings.seeds[0]}.examples.parquet",
            *expand(
                "<results>/scores/in_context/{{model}}/{network}/s{seed}.examples.parquet",
                network=settings.alignment.networks,
                seed=settings.seeds,
            ),
        ],
    output:
        scores="<results>/tables/alignment/{model}/scores.parquet",
        scores_csv=report(
            "<results>/tables/alignment/{model}/scores.csv",
            caption="../report/alignment_scores.rst",
            category="Alignment",
            subcategory="{model}",
            labels={"table": "every score in context"},
        ),
        comparisons="<results>/tables/alignment/{model}/comparisons.parquet",
        comparisons_csv=report(
            "<results>/tables/alignment/{model}/comparisons.csv",
            caption="../report/alignment_comparisons.rst",
            category="Alignment",
            subcategory="{model}",
            labels={"table": "tests between networks"},
        ),
        gaps="<results>/tables/alignment/{model}/gaps.parquet",
        gaps_csv=report(
            "<results>/tables/alignment/{model}/gaps.csv",
            caption="../report/alignment_gaps_table.rst",
            category="Alignment",
            subcategory="{model}",
            labels={"table": "distance from the pivot"},
        ),
    log:
        "<logs>/collect_alignment_scores/{model}.log",
    benchmark:
        "<benchmarks>/collect_alignment_scores/{model}.tsv"
    wildcard_constraints:
        model=any_of(ALIGNMENT_MODELS),
    retries: 1
    conda:
        "../../envs/encoders.yaml"
    threads: 1
    resources:
        mem_mb=doubling(4000),
        runtime=doubling(120),
    params:
        code=digest(
            "evaluation/alignment_summaries.py",
            "evaluation/alignment_tests.py",
            "evaluation/classification.py",
            "evaluation/comparisons.py",
            "evaluation/embeddings.py",
            "evaluation/intervals.py",
            "evaluation/resampling.py",
            "evaluation/results.py",
            "evaluation/sts.py",
            "evaluation/summaries.py",
            "evaluation/tables.py",
            "representations/rows.py",
        ),
        labels=[
            *labels(network=["base"], seed=settings.seeds[:1]),
            *labels(network=settings.alignment.networks, seed=settings.seeds),
        ],
        networks=ALIGNED_NETWORKS,
        pivot=settings.pivot,
        settings=section("alignment", "prompts", "bootstrap", "seed"),
    script:
        "../scripts/collect_alignment_scores.py"


rule collect_alignment_similarity:
    """Every similarity of representations: measures, networks, seeds, corpora."""
    input:
        scores=similarities(alignment_measures(settings.alignment.networks)),
    output:
        similarity="<results>/tables/alignment/{model}/similarity.parquet",
        similarity_csv=report(
            "<results>/tables/alignment/{model}/similarity.csv",
            caption="../report/alignment_similarity.rst",
            category="Alignment",
            subcategory="{model}",
            labels={"table": "similarity of states, layer by layer"},
        ),
    log:
        "<logs>/collect_alignment_similarity/{model}.log",
    benchmark:
        "<benchmarks>/collect_alignment_similarity/{model}.tsv"
    wildcard_constraints:
        model=any_of(ALIGNMENT_MODELS),
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest("evaluation/tables.py"),
    script:
        "../scripts/collect_alignment_similarity.py"


rule collect_alignment_training:
    """What every training did step by step, and what it cost."""
    input:
        training=expand(
            "<results>/models/{{model}}/{network}/s{seed}.history.parquet",
            network=settings.alignment.networks,
            seed=settings.seeds,
        ),
        cost=expand(
            "<results>/models/{{model}}/{network}/s{seed}.cost.parquet",
            network=settings.alignment.networks,
            seed=settings.seeds,
        ),
    output:
        training="<results>/tables/alignment/{model}/training.parquet",
        training_csv="<results>/tables/alignment/{model}/training.csv",
        cost="<results>/tables/alignment/{model}/cost.parquet",
        cost_csv=report(
            "<results>/tables/alignment/{model}/cost.csv",
            caption="../report/alignment_cost.rst",
            category="Alignment",
            subcategory="{model}",
            labels={"table": "what trainings cost"},
        ),
    log:
        "<logs>/collect_alignment_training/{model}.log",
    benchmark:
        "<benchmarks>/collect_alignment_training/{model}.tsv"
    wildcard_constraints:
        model=any_of(ALIGNMENT_MODELS),
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest("evaluation/tables.py"),
        labels=labels(network=settings.alignment.networks, seed=settings.seeds),
    script:
        "../scripts/collect_alignment_training.py"


rule plot_alignment_accuracy:
    """Accuracy of every network in every language, and what training changed."""
    input:
        scores="<results>/tables/alignment/{model}/scores.parquet",
        comparisons="<results>/tables/alignment/{model}/comparisons.parquet",
    output:
        accuracies=[
            report(
                f"<results>/figures/alignment/{{model}}/accuracy_{prompts}.png",
                caption="../report/alignment_accuracy.rst",
                category="Alignment",
                subcategory="{model}",
                labels={"figure": "accuracy in context", "prompts": prompts},
            )
            for prompts in settings.alignment.prompts
        ],
        changes=report(
            "<results>/figures/alignment/{model}/changes.png",
            caption="../report/alignment_changes.rst",
            category="Alignment",
            subcategory="{model}",
            labels={"figure": "change of accuracy, mean over languages"},
        ),
        beside=expand(
            "<results>/figures/alignment/{{model}}/{figure}.{kind}",
            figure=alignment_figures("accuracy"),
            kind=["pdf", "csv"],
        ),
    log:
        "<logs>/plot_alignment_accuracy/{model}.log",
    benchmark:
        "<benchmarks>/plot_alignment_accuracy/{model}.tsv"
    wildcard_constraints:
        model=any_of(ALIGNMENT_MODELS),
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest(
            "evaluation/alignment_summaries.py",
            "evaluation/results.py",
            "evaluation/summaries.py",
            "evaluation/tables.py",
            "plotting/in_context.py",
            "plotting/layers.py",
            "plotting/methods.py",
            "plotting/networks.py",
            "plotting/style.py",
        ),
        prompts=settings.alignment.prompts,
        normalize=settings.alignment.normalize[0],
        pivot=settings.pivot,
        languages=shown_languages(ALIGNMENT_LANGS),
    script:
        "../scripts/plot_alignment_accuracy.py"


rule plot_alignment_gaps:
    """How far each language is from the pivot before and after training."""
    input:
        gaps="<results>/tables/alignment/{model}/gaps.parquet",
        scores="<results>/tables/alignment/{model}/scores.parquet",
    output:
        gaps=[
            report(
                f"<results>/figures/alignment/{{model}}/gaps_{prompts}.png",
                caption="../report/alignment_gaps.rst",
                category="Alignment",
                subcategory="{model}",
                labels={
                    "figure": "accuracy less that in the pivot",
                    "prompts": prompts,
                },
            )
            for prompts in settings.alignment.prompts
        ],
        beside=expand(
            "<results>/figures/alignment/{{model}}/{figure}.{kind}",
            figure=alignment_figures("gaps"),
            kind=["pdf", "csv"],
        ),
    log:
        "<logs>/plot_alignment_gaps/{model}.log",
    benchmark:
        "<benchmarks>/plot_alignment_gaps/{model}.tsv"
    wildcard_constraints:
        model=any_of(ALIGNMENT_MODELS),
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest(
            "evaluation/alignment_summaries.py",
            "evaluation/results.py",
            "evaluation/summaries.py",
            "evaluation/tables.py",
            "plotting/in_context.py",
            "plotting/layers.py",
            "plotting/methods.py",
            "plotting/networks.py",
            "plotting/style.py",
        ),
        prompts=settings.alignment.prompts,
        normalize=settings.alignment.normalize[0],
        pivot=settings.pivot,
        languages=shown_languages(ALIGNMENT_LANGS),
    script:
        "../scripts/plot_alignment_gaps.py"


rule plot_alignment_training:
    """Losses and retrieval of translations over the steps of every training."""
    input:
        training="<results>/tables/alignment/{model}/training.parquet",
    output:
        curves=report(
            "<results>/figures/alignment/{model}/training_curves.png",
            caption="../report/alignment_training.rst",
            category="Alignment",
            subcategory="{model}",
            labels={"figure": "losses and retrieval while training"},
        ),
        beside=expand(
            "<results>/figures/alignment/{{model}}/{figure}.{kind}",
            figure=alignment_figures("training"),
            kind=["pdf", "csv"],
        ),
    log:
        "<logs>/plot_alignment_training/{model}.log",
    benchmark:
        "<benchmarks>/plot_alignment_training/{model}.tsv"
    wildcard_constraints:
        model=any_of(ALIGNMENT_MODELS),
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest(
            "evaluation/alignment_summaries.py",
            "evaluation/results.py",
            "evaluation/summaries.py",
            "evaluation/tables.py",
            "plotting/layers.py",
            "plotting/methods.py",
            "plotting/networks.py",
            "plotting/style.py",
        ),
    script:
        "../scripts/plot_alignment_training.py"


rule plot_alignment_layers:
    """What the languages share in every network, layer by layer."""
    input:
        similarity="<results>/tables/alignment/{model}/similarity.parquet",
    output:
        retrieval=report(
            "<results>/figures/alignment/{model}/retrieval_per_layer.png",
            caption="../report/alignment_retrieval.rst",
            category="Alignment",
            subcategory="{model}",
            labels={"figure": "retrieval of translations by layer"},
        ),
        cka=report(
            "<results>/figures/alignment/{model}/cka_per_layer.png",
            caption="../report/alignment_cka.rst",
            category="Alignment",
            subcategory="{model}",
            labels={"figure": "CKA by layer"},
        ),
        uniformity=report(
            "<results>/figures/alignment/{model}/alignment_uniformity_per_layer.png",
            caption="../report/alignment_uniformity.rst",
            category="Alignment",
            subcategory="{model}",
            labels={"figure": "alignment and uniformity by layer"},
        ),
        beside=expand(
            "<results>/figures/alignment/{{model}}/{figure}.{kind}",
            figure=alignment_figures("layers"),
            kind=["pdf", "csv"],
        ),
    log:
        "<logs>/plot_alignment_layers/{model}.log",
    benchmark:
        "<benchmarks>/plot_alignment_layers/{model}.tsv"
    wildcard_constraints:
        model=any_of(ALIGNMENT_MODELS),
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest(
            "evaluation/alignment_summaries.py",
            "evaluation/results.py",
            "evaluation/summaries.py",
            "evaluation/tables.py",
            "plotting/layers.py",
            "plotting/methods.py",
            "plotting/networks.py",
            "plotting/style.py",
        ),
        rows={
            "corpus": settings.parallel.corpora[0],
            "pooling": settings.alignment.poolings[0],
        },
        pooler=settings.alignment.training.pooler,
        pivot=settings.pivot,
        languages=shown_languages(ALIGNMENT_LANGS),
    script:
        "../scripts/plot_alignment_layers.py"


rule plot_alignment_map:
    """The space of sentences before and after training, languages in their colours."""
    input:
        similarity="<results>/tables/alignment/{model}/similarity.parquet",
        states=[
            f"<results>/states/{{model}}/{network}/s{settings.seeds[0]}/full/{settings.parallel.corpora[0]}"
            for network in (
                "base",
                max(settings.alignment.networks, key=ALIGNED.index),
            )
        ],
    output:
        map=report(
            "<results>/figures/alignment/{model}/sentence_map.png",
            caption="../report/alignment_sentence_map.rst",
            category="Alignment",
            subcategory="{model}",
            labels={"figure": "sentences in two dimensions"},
        ),
        beside=expand(
            "<results>/figures/alignment/{{model}}/{figure}.{kind}",
            figure=alignment_figures("map"),
            kind=["pdf", "csv"],
        ),
    log:
        "<logs>/plot_alignment_map/{model}.log",
    benchmark:
        "<benchmarks>/plot_alignment_map/{model}.tsv"
    wildcard_constraints:
        model=any_of(ALIGNMENT_MODELS),
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(2000),
        runtime=doubling(30),
    params:
        code=digest(
            "evaluation/alignment_summaries.py",
            "evaluation/encoder_summaries.py",
            "evaluation/results.py",
            "evaluation/summaries.py",
            "evaluation/tables.py",
            "plotting/layers.py",
            "plotting/methods.py",
            "plotting/networks.py",
            "plotting/sentence_map.py",
            "plotting/style.py",
            "representations/comparisons.py",
            "representations/states.py",
        ),
        rows={
            "corpus": settings.parallel.corpora[0],
            "pooling": settings.alignment.poolings[0],
        },
        networks=["base", max(settings.alignment.networks, key=ALIGNED.index)],
        shown={"sentences": 100, "joined": 4},
        pivot=settings.pivot,
        languages=shown_languages(ALIGNMENT_LANGS),
    script:
        "../scripts/plot_alignment_map.py"
