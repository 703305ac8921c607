"""Tables and figures of the heads study.

Requires the scores of all earlier stages: counts beside the texts, `<results>/scores`,
`<results>/masks` and `<results>/similarity`. Makes `<results>/tables/heads/{model}/{table}.parquet`
with a `.csv` for readers, and from these tables alone `<results>/figures/heads/{model}/{figure}.png`
with the same as `.pdf` and the plotted numbers as `.csv`; the figures of one mask budget lie in a folder
`{budget}`.
"""


report: "../report/workflow.rst"


rule collect_corpus:
    """How much text there is at every stage, and why the rest was dropped."""
    input:
        articles=expand("<results>/text/articles/{lang}.counts.json", lang=LANGS),
        sampled=expand("<results>/text/sampled/{lang}.counts.json", lang=LANGS),
        splits=expand("<results>/text/splits/{lang}.counts.json", lang=LANGS),
        chunks=expand(
            "<results>/text/chunks/{{model}}/{lang}/{split}.arrow",
            lang=LANGS,
            split=["train", "valid", "test"],
        ),
        parallel=expand(
            "<results>/text/parallel/{corpus}.counts.json",
            corpus=settings.parallel.corpora,
        ),
    output:
        table="<results>/tables/heads/{model}/corpus.parquet",
        table_csv=report(
            "<results>/tables/heads/{model}/corpus.csv",
            caption="../report/corpus.rst",
            category="Text",
            subcategory="{model}",
            labels={"table": "articles and windows per language"},
        ),
    log:
        "<logs>/collect_corpus/{model}.log",
    benchmark:
        "<benchmarks>/collect_corpus/{model}.tsv"
    conda:
        "../../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest("evaluation/tables.py", "tokenization/packing.py"),
        languages=LANGS,
        corpora=settings.parallel.corpora,
    script:
        "../scripts/collect_corpus.py"


rule collect_scores:
    """Perplexity of every network and mask, and the overlap of tokens with the pivot."""
    input:
        base=expand(
            "<results>/scores/perplexity/{{model}}/base/s{seed}/full.parquet",
            seed=settings.seeds,
        ),
        finetuned=expand(
            "<results>/scores/perplexity/{{model}}/finetuned/s{seed}/{masks}.parquet",
            seed=settings.seeds,
            masks=["full", *BUDGETS],
        ),
        unigram="<results>/scores/unigram/{model}.parquet",
        token_overlap=expand(
            "<results>/scores/token_overlap/{{model}}/{corpus}.parquet",
            corpus=settings.parallel.corpora,
        ),
        removal=expand(
            "<results>/scores/removal/{{model}}/s{seed}.parquet", seed=settings.seeds
        ),
    output:
        perplexity="<results>/tables/heads/{model}/perplexity.parquet",
        perplexity_csv=report(
            "<results>/tables/heads/{model}/perplexity.csv",
            caption="../report/perplexity.rst",
            category="Perplexity",
            subcategory="{model}",
            labels={"table": "every network on every language"},
        ),
        finetuning="<results>/tables/heads/{model}/perplexity_finetuning.parquet",
        finetuning_csv=report(
            "<results>/tables/heads/{model}/perplexity_finetuning.csv",
            caption="../report/perplexity_finetuning.rst",
            category="Perplexity",
            subcategory="{model}",
            labels={"table": "before and after fine-tuning"},
        ),
        parameters="<results>/tables/heads/{model}/parameters.parquet",
        parameters_csv=report(
            "<results>/tables/heads/{model}/parameters.csv",
            caption="../report/parameters.rst",
            category="Head masks",
            subcategory="{model}",
            labels={"table": "size of each subnetwork with its heads removed"},
        ),
        token_overlap="<results>/tables/heads/{model}/token_overlap.parquet",
        token_overlap_csv=report(
            "<results>/tables/heads/{model}/token_overlap.csv",
            caption="../report/token_overlap_table.rst",
            category="Typology",
            subcategory="{model}",
            labels={"table": "overlap of tokens with the pivot"},
        ),
    log:
        "<logs>/collect_scores/{model}.log",
    benchmark:
        "<benchmarks>/collect_scores/{model}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest("evaluation/tables.py", "evaluation/summaries.py"),
        languages=shown_languages(),
        corpora=labels(corpus=settings.parallel.corpora),
        seeds=labels(seed=settings.seeds),
    script:
        "../scripts/collect_scores.py"


rule collect_masks:
    """Which heads each language keeps, how many per layer, and how far languages agree."""
    input:
        masks=expand(
            "<results>/masks/{{model}}/s{seed}/{budget}.safetensors",
            seed=settings.seeds,
            budget=BUDGETS,
        ),
        overlap=expand(
            "<results>/similarity/{{model}}/s{seed}/masks/{budget}.parquet",
            seed=settings.seeds,
            budget=BUDGETS,
        ),
        trajectories=expand(
            "<results>/masks/{{model}}/s{seed}/{language}/d{draw}.trajectory.parquet",
            seed=settings.seeds,
            language=LANGS,
            draw=range(settings.heads.draws),
        ),
    output:
        heads="<results>/tables/heads/{model}/heads.parquet",
        heads_csv="<results>/tables/heads/{model}/heads.csv",
        masks="<results>/tables/heads/{model}/masks.parquet",
        masks_csv=report(
            "<results>/tables/heads/{model}/masks.csv",
            caption="../report/masks_table.rst",
            category="Head masks",
            subcategory="{model}",
            labels={"table": "share of heads masked per layer"},
        ),
        overlap="<results>/tables/heads/{model}/overlap.parquet",
        overlap_csv=report(
            "<results>/tables/heads/{model}/overlap.csv",
            caption="../report/overlap_table.rst",
            category="Head masks",
            subcategory="{model}",
            labels={"table": "overlap of masks"},
        ),
        trajectories="<results>/tables/heads/{model}/trajectories.parquet",
        trajectories_csv="<results>/tables/heads/{model}/trajectories.csv",
    log:
        "<logs>/collect_masks/{model}.log",
    benchmark:
        "<benchmarks>/collect_masks/{model}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest("evaluation/tables.py", "subnetworks/masks.py"),
        masks=labels(seed=settings.seeds, budget=BUDGETS),
        trajectories=labels(
            seed=settings.seeds, language=LANGS, draw=range(settings.heads.draws)
        ),
    script:
        "../scripts/collect_masks.py"


rule collect_similarity:
    """Every similarity of representations: measures, comparisons, seeds, corpora."""
    input:
        scores=similarities(HEAD_MEASURES),
        typology=expand(
            "<results>/scores/typology/{{model}}/s{seed}/{corpus}.parquet",
            seed=settings.seeds,
            corpus=settings.parallel.corpora,
        ),
        points=expand(
            "<results>/scores/typology/{{model}}/s{seed}/{corpus}.points.parquet",
            seed=settings.seeds,
            corpus=settings.parallel.corpora,
        ),
    output:
        similarity="<results>/tables/heads/{model}/similarity.parquet",
        similarity_csv="<results>/tables/heads/{model}/similarity.csv",
        differences="<results>/tables/heads/{model}/similarity_differences.parquet",
        differences_csv="<results>/tables/heads/{model}/similarity_differences.csv",
        typology="<results>/tables/heads/{model}/typology.parquet",
        typology_csv=report(
            "<results>/tables/heads/{model}/typology.csv",
            caption="../report/typology_table.rst",
            category="Typology",
            subcategory="{model}",
            labels={"table": "similarity, syntactic distance, shared tokens"},
        ),
        points="<results>/tables/heads/{model}/typology_points.parquet",
        points_csv="<results>/tables/heads/{model}/typology_points.csv",
    log:
        "<logs>/collect_similarity/{model}.log",
    benchmark:
        "<benchmarks>/collect_similarity/{model}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest("evaluation/tables.py", "evaluation/summaries.py"),
        pivot=settings.pivot,
        differences=[
            ["languages", "subnetworks"],
            ["languages", "pivot-subnetwork"],
        ],
    script:
        "../scripts/collect_similarity.py"


rule collect_training:
    """The losses of every training, step by step."""
    input:
        histories=histories_of,
    output:
        table="<results>/tables/heads/{model}/training.parquet",
        table_csv="<results>/tables/heads/{model}/training.csv",
    log:
        "<logs>/collect_training/{model}.log",
    benchmark:
        "<benchmarks>/collect_training/{model}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest("evaluation/tables.py"),
        runs=runs_of,
    script:
        "../scripts/collect_training.py"


rule collect_entropy:
    """How widely every head attends, where it is asked for."""
    input:
        entropy=expand(
            "<results>/scores/entropy/{{model}}/s{seed}.parquet", seed=settings.seeds
        ),
    output:
        table="<results>/tables/heads/{model}/entropy.parquet",
        table_csv=report(
            "<results>/tables/heads/{model}/entropy.csv",
            caption="../report/entropy.rst",
            category="Head masks",
            subcategory="{model}",
            labels={"table": "entropy of attention"},
        ),
    log:
        "<logs>/collect_entropy/{model}.log",
    benchmark:
        "<benchmarks>/collect_entropy/{model}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest("evaluation/tables.py"),
        seeds=labels(seed=settings.seeds),
    script:
        "../scripts/collect_entropy.py"


rule plot_masks:
    """The masks of one budget: maps, shares per layer, overlap, and what they cost."""
    input:
        heads="<results>/tables/heads/{model}/heads.parquet",
        masks="<results>/tables/heads/{model}/masks.parquet",
        overlap="<results>/tables/heads/{model}/overlap.parquet",
        perplexity="<results>/tables/heads/{model}/perplexity.parquet",
    output:
        heads=report(
            "<results>/figures/heads/{model}/{budget}/head_masks.png",
            caption="../report/head_masks.rst",
            category="Head masks",
            subcategory="{model}",
            labels={"figure": "which heads each language keeps", "budget": "{budget}"},
        ),
        layers=report(
            "<results>/figures/heads/{model}/{budget}/masked_per_layer.png",
            caption="../report/masked_per_layer.rst",
            category="Head masks",
            subcategory="{model}",
            labels={"figure": "share of heads masked per layer", "budget": "{budget}"},
        ),
        overlap=report(
            "<results>/figures/heads/{model}/{budget}/mask_overlap.png",
            caption="../report/mask_overlap.rst",
            category="Head masks",
            subcategory="{model}",
            labels={"figure": "overlap of the languages' masks", "budget": "{budget}"},
        ),
        perplexity=report(
            "<results>/figures/heads/{model}/{budget}/perplexity_of_subnetworks.png",
            caption="../report/perplexity_of_subnetworks.rst",
            category="Perplexity",
            subcategory="{model}",
            labels={
                "figure": "every subnetwork on every language",
                "budget": "{budget}",
            },
        ),
        ratio=report(
            "<results>/figures/heads/{model}/{budget}/perplexity_ratio_of_subnetworks.png",
            caption="../report/perplexity_ratio_of_subnetworks.rst",
            category="Perplexity",
            subcategory="{model}",
            labels={
                "figure": "every subnetwork, relative to the full model",
                "budget": "{budget}",
            },
        ),
        beside=expand(
            "<results>/figures/heads/{{model}}/{{budget}}/{figure}.{kind}",
            figure=HEADS_FIGURES["budget"],
            kind=["pdf", "csv"],
        ),
    log:
        "<logs>/plot_masks/{model}/{budget}.log",
    benchmark:
        "<benchmarks>/plot_masks/{model}/{budget}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest(
            "evaluation/tables.py",
            "evaluation/summaries.py",
            "plotting/style.py",
            "plotting/bars.py",
            "plotting/matrices.py",
        ),
        languages=shown_languages(),
    script:
        "../scripts/plot_masks.py"


rule plot_perplexity:
    """Perplexity before and after fine-tuning, and as heads are removed."""
    input:
        finetuning="<results>/tables/heads/{model}/perplexity_finetuning.parquet",
        trajectories="<results>/tables/heads/{model}/trajectories.parquet",
    output:
        finetuning=report(
            "<results>/figures/heads/{model}/perplexity_finetuning.png",
            caption="../report/perplexity_finetuning.rst",
            category="Perplexity",
            subcategory="{model}",
            labels={"figure": "before and after fine-tuning"},
        ),
        trajectories=report(
            "<results>/figures/heads/{model}/pruning_trajectories.png",
            caption="../report/pruning_trajectories.rst",
            category="Perplexity",
            subcategory="{model}",
            labels={"figure": "as heads are removed"},
        ),
        beside=expand(
            "<results>/figures/heads/{{model}}/{figure}.{kind}",
            figure=HEADS_FIGURES["perplexity"],
            kind=["pdf", "csv"],
        ),
    log:
        "<logs>/plot_perplexity/{model}.log",
    benchmark:
        "<benchmarks>/plot_perplexity/{model}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest(
            "evaluation/summaries.py",
            "evaluation/tables.py",
            "plotting/metrics.py",
            "plotting/style.py",
            "plotting/bars.py",
            "plotting/curves.py",
        ),
        languages=shown_languages(),
        ratios={one.name: one.ratio for one in settings.heads.budgets if one.ratio},
        sparsities={
            one.name: one.sparsity for one in settings.heads.budgets if one.sparsity
        },
    script:
        "../scripts/plot_perplexity.py"


rule plot_training:
    """The losses of every training."""
    input:
        table="<results>/tables/heads/{model}/training.parquet",
    output:
        losses=report(
            "<results>/figures/heads/{model}/training_losses.png",
            caption="../report/training_losses.rst",
            category="Perplexity",
            subcategory="{model}",
            labels={"figure": "losses while training"},
        ),
        beside=expand(
            "<results>/figures/heads/{{model}}/{figure}.{kind}",
            figure=HEADS_FIGURES["training"],
            kind=["pdf", "csv"],
        ),
    log:
        "<logs>/plot_training/{model}.log",
    benchmark:
        "<benchmarks>/plot_training/{model}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest(
            "evaluation/tables.py",
            "evaluation/summaries.py",
            "plotting/metrics.py",
            "plotting/style.py",
            "plotting/curves.py",
        ),
        languages=shown_languages(),
    script:
        "../scripts/plot_training.py"


rule plot_cka:
    """Similarity of representations by centred kernel alignment: the published figures."""
    input:
        similarity="<results>/tables/heads/{model}/similarity.parquet",
        differences="<results>/tables/heads/{model}/similarity_differences.parquet",
    output:
        shuffled=report(
            "<results>/figures/heads/{model}/cka_shuffled_pairs.png",
            caption="../report/cka_shuffled_pairs.rst",
            category="CKA",
            subcategory="{model}",
            labels={"figure": "shuffled pairs (sanity check)"},
        ),
        random=report(
            "<results>/figures/heads/{model}/cka_against_random_model.png",
            caption="../report/cka_against_random_model.rst",
            category="CKA",
            subcategory="{model}",
            labels={"figure": "against a random model"},
        ),
        pivot=report(
            "<results>/figures/heads/{model}/cka_pivot_vs_others.png",
            caption="../report/cka_pivot_vs_others.rst",
            category="CKA",
            subcategory="{model}",
            labels={"figure": "pivot against other languages"},
        ),
        own=report(
            "<results>/figures/heads/{model}/cka_full_vs_own_subnetwork.png",
            caption="../report/cka_full_vs_own_subnetwork.rst",
            category="CKA",
            subcategory="{model}",
            labels={"figure": "full model against own subnetwork"},
        ),
        pivot_layers=report(
            "<results>/figures/heads/{model}/cka_layers_pivot.png",
            caption="../report/cka_layers_pivot.rst",
            category="CKA",
            subcategory="{model}",
            labels={"figure": "layers against layers, pivot"},
        ),
        layers=report(
            "<results>/figures/heads/{model}/cka_layers_all_languages.png",
            caption="../report/cka_layers_all_languages.rst",
            category="CKA",
            subcategory="{model}",
            labels={"figure": "layers against layers, all languages"},
        ),
        others=report(
            "<results>/figures/heads/{model}/cka_pivot_full_vs_other_subnetworks.png",
            caption="../report/cka_pivot_full_vs_other_subnetworks.rst",
            category="CKA",
            subcategory="{model}",
            labels={
                "figure": "pivot in the full model against the others' subnetworks"
            },
        ),
        subnetworks=report(
            "<results>/figures/heads/{model}/cka_pivot_subnetwork_vs_other_subnetworks.png",
            caption="../report/cka_pivot_subnetwork_vs_other_subnetworks.rst",
            category="CKA",
            subcategory="{model}",
            labels={"figure": "pivot's subnetwork against the others' subnetworks"},
        ),
        pivot_subnetwork=report(
            "<results>/figures/heads/{model}/cka_pivot_subnetwork_vs_other_languages.png",
            caption="../report/cka_pivot_subnetwork_vs_other_languages.rst",
            category="CKA",
            subcategory="{model}",
            labels={"figure": "from the pivot's subnetwork to other languages"},
        ),
        less_subnetworks=report(
            "<results>/figures/heads/{model}/cka_difference_full_vs_subnetworks.png",
            caption="../report/cka_difference_full_vs_subnetworks.rst",
            category="CKA",
            subcategory="{model}",
            labels={"figure": "difference between full model and subnetworks"},
        ),
        less_pivot=report(
            "<results>/figures/heads/{model}/cka_difference_pivot_subnetwork.png",
            caption="../report/cka_difference_pivot_subnetwork.rst",
            category="CKA",
            subcategory="{model}",
            labels={
                "figure": "difference between full model and the pivot's subnetwork"
            },
        ),
        beside=expand(
            "<results>/figures/heads/{{model}}/{figure}.{kind}",
            figure=HEADS_FIGURES["cka"],
            kind=["pdf", "csv"],
        ),
    log:
        "<logs>/plot_cka/{model}.log",
    benchmark:
        "<benchmarks>/plot_cka/{model}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest(
            "evaluation/tables.py",
            "evaluation/summaries.py",
            "plotting/style.py",
            "plotting/bars.py",
            "plotting/layers.py",
        ),
        rows=shown_similarities(),
        pivot=settings.pivot,
        languages=shown_languages(),
        curves=[  # those of one group share a vertical scale
            {
                "pivot": "languages",
                "others": "others",
                "subnetworks": "subnetworks",
                "pivot_subnetwork": "pivot-subnetwork",
            },
            {"own": "own"},
            {"random": "random"},
            {"shuffled": "shuffled"},
        ],
        differences={
            "less_subnetworks": ["subnetworks", "full model − subnetworks"],
            "less_pivot": ["pivot-subnetwork", "full model − {pivot} subnetwork"],
        },
    script:
        "../scripts/plot_cka.py"


rule plot_measures:
    """What measures other than centred kernel alignment say, layer by layer."""
    input:
        similarity="<results>/tables/heads/{model}/similarity.parquet",
    output:
        **{
            figure: report(
                f"<results>/figures/heads/{{model}}/{figure}.png",
                caption=f"../report/{measure}.rst",
                category="Other measures",
                subcategory="{model}",
                labels={
                    "figure": f"{MEASURE_NAMES.get(measure, measure)}: {HEADS_COMPARED[comparison][1]}"
                },
            )
            for figure, (measure, comparison) in MEASURE_FIGURES.items()
        },
        beside=expand(
            "<results>/figures/heads/{{model}}/{figure}.{kind}",
            figure=HEADS_FIGURES["measures"],
            kind=["pdf", "csv"],
        ),
    log:
        "<logs>/plot_measures/{model}.log",
    benchmark:
        "<benchmarks>/plot_measures/{model}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest(
            "evaluation/tables.py",
            "evaluation/summaries.py",
            "plotting/style.py",
            "plotting/layers.py",
        ),
        rows=shown_similarities(),
        pivot=settings.pivot,
        languages=shown_languages(),
        figures=MEASURE_FIGURES,
    script:
        "../scripts/plot_measures.py"


rule plot_typology:
    """What goes along with similarity: syntactic distance and shared tokens."""
    input:
        similarity="<results>/tables/heads/{model}/similarity.parquet",
        typology="<results>/tables/heads/{model}/typology.parquet",
        points="<results>/tables/heads/{model}/typology_points.parquet",
        token_overlap="<results>/tables/heads/{model}/token_overlap.parquet",
    output:
        overlap=report(
            "<results>/figures/heads/{model}/token_overlap.png",
            caption="../report/token_overlap.rst",
            category="Typology",
            subcategory="{model}",
            labels={"figure": "tokens shared with the pivot"},
        ),
        points=report(
            "<results>/figures/heads/{model}/cka_and_typology.png",
            caption="../report/cka_and_typology.rst",
            category="Typology",
            subcategory="{model}",
            labels={"figure": "CKA against distance and shared tokens"},
        ),
        correlations=report(
            "<results>/figures/heads/{model}/cka_and_typology_by_layer.png",
            caption="../report/cka_and_typology_by_layer.rst",
            category="Typology",
            subcategory="{model}",
            labels={"figure": "correlation by layer"},
        ),
        beside=expand(
            "<results>/figures/heads/{{model}}/{figure}.{kind}",
            figure=HEADS_FIGURES["typology"],
            kind=["pdf", "csv"],
        ),
    log:
        "<logs>/plot_typology/{model}.log",
    benchmark:
        "<benchmarks>/plot_typology/{model}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest(
            "evaluation/tables.py",
            "evaluation/summaries.py",
            "plotting/style.py",
            "plotting/bars.py",
            "plotting/scatter.py",
        ),
        rows=shown_similarities(),
        pivot=settings.pivot,
        languages=shown_languages(),
        overlaps={
            "sentence.types": "types, by sentence",
            "sentence.tokens": "occurrences, by sentence",
            "corpus.types": "types, whole corpus",
            "corpus.tokens": "occurrences, whole corpus",
        },
        axes={
            "syntactic_distance": "syntactic distance",
            "shared_types": "shared types, Jaccard (%)",
            "token_overlap": "types shared with {pivot} (%)",
        },
        tested={
            "syntactic_distance": "Mantel test",
            "shared_types": "Mantel test",
            "token_overlap": "permutation test",
        },
        predictors={
            "syntactic_distance": "syntactic distance,\nall pairs",
            "shared_types": "shared types,\nall pairs",
            "syntactic_distance_pivot": "syntactic distance,\npairs with {pivot}",
            "token_overlap": "shared types,\npairs with {pivot}",
        },
    script:
        "../scripts/plot_typology.py"
