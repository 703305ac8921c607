"""Tables and figures of the tickets study.

Requires the scores of tickets, `<results>/scores/tickets` and `<results>/scores/transfer`, their
overlaps and similarities, `<results>/similarity/{model}`, `<results>/scores/ticket_typology`, and the
counts of the tasks' examples. Makes `<results>/tables/tickets/{model}/{table}.parquet` with a `.csv`
for readers, and from these tables alone `<results>/figures/tickets/{model}/{figure}.png` with the same
as `.pdf` and the plotted numbers as `.csv`. Figures of one sparsity end in `.k{kept}`, the percent of
weights kept; those of one task lie in a folder, named by the task.
"""


rule collect_ticket_scores:
    """How many examples there are, and every score of finding and transferring tickets."""
    input:
        counts=[
            f"<results>/text/tasks/{getattr(settings.tasks, task).corpus}.counts.parquet"
            for task in settings.tickets.tasks
            if task != "mlm"
        ],
        chunks=expand(
            "<results>/text/chunks/{{model}}/{lang}/{split}.arrow",
            lang=TICKET_LANGS if "mlm" in settings.tickets.tasks else [],
            split=SPLITS,
        ),
        scores=expand(
            "<results>/scores/tickets/{{model}}/s{seed}/{task}/{lang}/{variant}.parquet",
            seed=settings.seeds,
            task=settings.tickets.tasks,
            lang=TICKET_LANGS,
            variant=settings.tickets.variants,
        ),
        transfer=expand(
            "<results>/scores/transfer/{{model}}/s{seed}/{task}/{lang}/k{compared_with}.parquet",
            seed=settings.seeds,
            task=settings.tickets.tasks,
            lang=TICKET_LANGS,
            compared_with=settings.tickets.analysed,
        ),
    output:
        corpus="<results>/tables/tickets/{model}/corpus.parquet",
        corpus_csv=report(
            "<results>/tables/tickets/{model}/corpus.csv",
            caption="../report/ticket_corpus.rst",
            category="Text",
            subcategory="{model}",
            labels={"table": "examples per task and language"},
        ),
        scores="<results>/tables/tickets/{model}/scores.parquet",
        scores_csv=report(
            "<results>/tables/tickets/{model}/scores.csv",
            caption="../report/ticket_scores.rst",
            category="Tickets",
            subcategory="{model}",
            labels={"table": "scores of every round of pruning"},
        ),
        transfer="<results>/tables/tickets/{model}/transfer.parquet",
        transfer_csv=report(
            "<results>/tables/tickets/{model}/transfer.csv",
            caption="../report/ticket_transfer.rst",
            category="Tickets",
            subcategory="{model}",
            labels={"table": "scores of transferred tickets"},
        ),
    log:
        "<logs>/collect_ticket_scores/{model}.log",
    benchmark:
        "<benchmarks>/collect_ticket_scores/{model}.tsv"
    conda:
        "../../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest(
            "typology.py",
            "representations/rows.py",
            "evaluation/tables.py",
            "evaluation/summaries.py",
            "evaluation/ticket_tables.py",
            "tokenization/packing.py",
        ),
        tasks=[task for task in settings.tickets.tasks if task != "mlm"],
        chunks=labels(
            lang=TICKET_LANGS if "mlm" in settings.tickets.tasks else [], split=SPLITS
        ),
        transfer=labels(
            seed=settings.seeds,
            task=settings.tickets.tasks,
            trained_on=TICKET_LANGS,
            compared_with=settings.tickets.analysed,
        ),
    script:
        "../scripts/collect_ticket_scores.py"


rule collect_ticket_overlap:
    """How far tickets overlap, what they keep and share, and whether distance goes along."""
    input:
        overlap=expand(
            "<results>/similarity/{{model}}/tickets/k{kept}.parquet",
            kept=settings.tickets.analysed,
        ),
        sizes=expand(
            "<results>/similarity/{{model}}/tickets/k{kept}.sizes.parquet",
            kept=settings.tickets.analysed,
        ),
        shared=expand(
            "<results>/similarity/{{model}}/tickets/k{kept}.shared.parquet",
            kept=settings.tickets.analysed,
        ),
        typology=expand(
            "<results>/scores/ticket_typology/{{model}}/k{kept}.parquet",
            kept=settings.tickets.analysed,
        ),
    output:
        overlap="<results>/tables/tickets/{model}/overlap.parquet",
        overlap_csv=report(
            "<results>/tables/tickets/{model}/overlap.csv",
            caption="../report/ticket_overlap_table.rst",
            category="Tickets",
            subcategory="{model}",
            labels={"table": "overlap of tickets"},
        ),
        sizes="<results>/tables/tickets/{model}/sizes.parquet",
        sizes_csv="<results>/tables/tickets/{model}/sizes.csv",
        shared="<results>/tables/tickets/{model}/shared.parquet",
        shared_csv="<results>/tables/tickets/{model}/shared.csv",
        typology="<results>/tables/tickets/{model}/typology.parquet",
        typology_csv=report(
            "<results>/tables/tickets/{model}/typology.csv",
            caption="../report/ticket_typology_table.rst",
            category="Tickets",
            subcategory="{model}",
            labels={"table": "distance of tickets, of syntax and family"},
        ),
        points="<results>/tables/tickets/{model}/typology_points.parquet",
        points_csv="<results>/tables/tickets/{model}/typology_points.csv",
    log:
        "<logs>/collect_ticket_overlap/{model}.log",
    benchmark:
        "<benchmarks>/collect_ticket_overlap/{model}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest(
            "typology.py",
            "representations/rows.py",
            "evaluation/tables.py",
            "evaluation/summaries.py",
            "evaluation/ticket_tables.py",
        ),
        kept=labels(kept=settings.tickets.analysed),
        codes={code: languages[code].uriel for code in TICKET_LANGS},
    script:
        "../scripts/collect_ticket_overlap.py"


rule collect_ticket_summary:
    """Similarities of what tickets and the full model compute, and one table of all scores."""
    input:
        scores="<results>/tables/tickets/{model}/scores.parquet",
        transfer="<results>/tables/tickets/{model}/transfer.parquet",
        overlap="<results>/tables/tickets/{model}/overlap.parquet",
        shared="<results>/tables/tickets/{model}/shared.parquet",
        typology="<results>/tables/tickets/{model}/typology.parquet",
        similarity=similarities(TICKET_MEASURES),
    output:
        similarity="<results>/tables/tickets/{model}/similarity.parquet",
        similarity_csv="<results>/tables/tickets/{model}/similarity.csv",
        summary="<results>/tables/tickets/{model}/summary.parquet",
        summary_csv=report(
            "<results>/tables/tickets/{model}/summary.csv",
            caption="../report/ticket_summary.rst",
            category="Tickets",
            subcategory="{model}",
            labels={"table": "every score of the study"},
        ),
    log:
        "<logs>/collect_ticket_summary/{model}.log",
    benchmark:
        "<benchmarks>/collect_ticket_summary/{model}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest(
            "typology.py",
            "representations/rows.py",
            "evaluation/tables.py",
            "evaluation/summaries.py",
            "evaluation/ticket_tables.py",
        ),
        encoded={
            "task": settings.tickets.encoded,
            "kept": settings.tickets.analysed[0],
        },
    script:
        "../scripts/collect_ticket_summary.py"


rule plot_ticket_performance:
    """Scores against the share of weights kept: tickets, random masks, and other controls."""
    input:
        scores="<results>/tables/tickets/{model}/scores.parquet",
    output:
        performance=[
            report(
                f"<results>/figures/tickets/{{model}}/performance/{task}.png",
                caption="../report/ticket_performance.rst",
                category="Tickets",
                subcategory="{model}",
                labels={"figure": "score against weights kept", "task": task.upper()},
            )
            for task in settings.tickets.tasks
        ],
        beside=expand(
            "<results>/figures/tickets/{{model}}/{figure}.{kind}",
            figure=ticket_figures("performance"),
            kind=["pdf", "csv"],
        ),
    log:
        "<logs>/plot_ticket_performance/{model}.log",
    benchmark:
        "<benchmarks>/plot_ticket_performance/{model}.tsv"
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
            "evaluation/ticket_summaries.py",
            "plotting/metrics.py",
            "plotting/style.py",
            "plotting/curves.py",
        ),
        tasks=settings.tickets.tasks,
        languages=shown_languages(TICKET_LANGS),
    script:
        "../scripts/plot_ticket_performance.py"


rule plot_ticket_transfer:
    """What tickets are worth in other languages, for other tasks, and without training there."""
    input:
        transfer="<results>/tables/tickets/{model}/transfer.parquet",
    output:
        transfer=[
            report(
                f"<results>/figures/tickets/{{model}}/transfer/{task}.k{{kept}}.png",
                caption="../report/transfer.rst",
                category="Transfer",
                subcategory="{model}",
                labels={
                    "figure": "tickets in other languages",
                    "task": task.upper(),
                    "kept": "{kept} %",
                },
            )
            for task in settings.tickets.tasks
        ],
        zero_shot=[
            report(
                f"<results>/figures/tickets/{{model}}/zero_shot/{task}.k{{kept}}.png",
                caption="../report/zero_shot.rst",
                category="Transfer",
                subcategory="{model}",
                labels={
                    "figure": "languages that were not trained on",
                    "task": task.upper(),
                    "kept": "{kept} %",
                },
            )
            for task in settings.tickets.tasks
        ],
        tasks=report(
            several_tasks(
                "<results>/figures/tickets/{model}/transfer_tasks.k{kept}.png"
            ),
            caption="../report/transfer_tasks.rst",
            category="Transfer",
            subcategory="{model}",
            labels={"figure": "tickets for other tasks", "kept": "{kept} %"},
        ),
        beside=expand(
            "<results>/figures/tickets/{{model}}/{figure}.{kind}",
            figure=ticket_figures("transfer"),
            kind=["pdf", "csv"],
        ),
    log:
        "<logs>/plot_ticket_transfer/{model}/k{kept}.log",
    benchmark:
        "<benchmarks>/plot_ticket_transfer/{model}/k{kept}.tsv"
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
            "evaluation/ticket_summaries.py",
            "plotting/metrics.py",
            "plotting/style.py",
            "plotting/matrices.py",
            "plotting/transfer.py",
        ),
        tasks=settings.tickets.tasks,
        languages=shown_languages(TICKET_LANGS),
    script:
        "../scripts/plot_ticket_transfer.py"


rule plot_ticket_overlap:
    """How far tickets overlap, where their weights are, and what languages share."""
    input:
        overlap="<results>/tables/tickets/{model}/overlap.parquet",
        sizes="<results>/tables/tickets/{model}/sizes.parquet",
        shared="<results>/tables/tickets/{model}/shared.parquet",
    output:
        languages=[
            report(
                f"<results>/figures/tickets/{{model}}/overlap/{task}.k{{kept}}.png",
                caption="../report/ticket_overlap.rst",
                category="Overlap of tickets",
                subcategory="{model}",
                labels={
                    "figure": "languages",
                    "task": task.upper(),
                    "kept": "{kept} %",
                },
            )
            for task in settings.tickets.tasks
        ],
        tasks=report(
            several_tasks(
                "<results>/figures/tickets/{model}/overlap_tasks.k{kept}.png"
            ),
            caption="../report/ticket_overlap_tasks.rst",
            category="Overlap of tickets",
            subcategory="{model}",
            labels={"figure": "tasks", "kept": "{kept} %"},
        ),
        overlap_by_layer=report(
            "<results>/figures/tickets/{model}/overlap_per_layer.k{kept}.png",
            caption="../report/ticket_overlap_places.rst",
            category="Overlap of tickets",
            subcategory="{model}",
            labels={"figure": "languages, by layer", "kept": "{kept} %"},
        ),
        overlap_by_component=report(
            "<results>/figures/tickets/{model}/overlap_per_component.k{kept}.png",
            caption="../report/ticket_overlap_places.rst",
            category="Overlap of tickets",
            subcategory="{model}",
            labels={"figure": "languages, by component", "kept": "{kept} %"},
        ),
        sizes_by_layer=report(
            "<results>/figures/tickets/{model}/sparsity_per_layer.k{kept}.png",
            caption="../report/ticket_sizes.rst",
            category="Overlap of tickets",
            subcategory="{model}",
            labels={"figure": "weights kept, by layer", "kept": "{kept} %"},
        ),
        sizes_by_component=report(
            "<results>/figures/tickets/{model}/sparsity_per_component.k{kept}.png",
            caption="../report/ticket_sizes.rst",
            category="Overlap of tickets",
            subcategory="{model}",
            labels={"figure": "weights kept, by component", "kept": "{kept} %"},
        ),
        shared=report(
            "<results>/figures/tickets/{model}/shared_by_k.k{kept}.png",
            caption="../report/shared_by_k.rst",
            category="Overlap of tickets",
            subcategory="{model}",
            labels={"figure": "what k languages share", "kept": "{kept} %"},
        ),
        beside=expand(
            "<results>/figures/tickets/{{model}}/{figure}.{kind}",
            figure=ticket_figures("overlap"),
            kind=["pdf", "csv"],
        ),
    log:
        "<logs>/plot_ticket_overlap/{model}/k{kept}.log",
    benchmark:
        "<benchmarks>/plot_ticket_overlap/{model}/k{kept}.tsv"
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
            "evaluation/ticket_summaries.py",
            "plotting/metrics.py",
            "plotting/style.py",
            "plotting/curves.py",
            "plotting/matrices.py",
            "plotting/parts.py",
        ),
        tasks=settings.tickets.tasks,
        languages=shown_languages(TICKET_LANGS),
        ylabels={
            "overlap": "Jaccard index,\nmean of other languages",
            "sizes": "weights kept (%)",
        },
    script:
        "../scripts/plot_ticket_overlap.py"


rule plot_ticket_typology:
    """Are tickets further apart where languages are?"""
    input:
        points="<results>/tables/tickets/{model}/typology_points.parquet",
        typology="<results>/tables/tickets/{model}/typology.parquet",
    output:
        dendrogram=report(
            "<results>/figures/tickets/{model}/dendrogram.k{kept}.png",
            caption="../report/dendrogram.rst",
            category="Overlap of tickets",
            subcategory="{model}",
            labels={"figure": "languages by distance of tickets", "kept": "{kept} %"},
        ),
        typology=report(
            "<results>/figures/tickets/{model}/typology.k{kept}.png",
            caption="../report/ticket_typology.rst",
            category="Overlap of tickets",
            subcategory="{model}",
            labels={"figure": "distance of tickets and of syntax", "kept": "{kept} %"},
        ),
        beside=expand(
            "<results>/figures/tickets/{{model}}/{figure}.{kind}",
            figure=ticket_figures("typology"),
            kind=["pdf", "csv"],
        ),
    log:
        "<logs>/plot_ticket_typology/{model}/k{kept}.log",
    benchmark:
        "<benchmarks>/plot_ticket_typology/{model}/k{kept}.tsv"
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
            "evaluation/ticket_summaries.py",
            "plotting/metrics.py",
            "plotting/style.py",
            "plotting/scatter.py",
            "plotting/trees.py",
        ),
        languages=shown_languages(TICKET_LANGS),
    script:
        "../scripts/plot_ticket_typology.py"


rule plot_ticket_representations:
    """What tickets compute: retrieval of translations, and similarity to the full model."""
    input:
        similarity="<results>/tables/tickets/{model}/similarity.parquet",
    output:
        retrieval=[
            report(
                f"<results>/figures/tickets/{{model}}/retrieval_{pooling}.png",
                caption="../report/ticket_retrieval.rst",
                category="Representations of tickets",
                subcategory="{model}",
                labels={"figure": "retrieval", "pooling": pooling},
            )
            for pooling in settings.encode.poolings
        ],
        cka=report(
            "<results>/figures/tickets/{model}/cka_ticket_vs_full.png",
            caption="../report/ticket_cka.rst",
            category="Representations of tickets",
            subcategory="{model}",
            labels={"figure": "CKA of ticket and full model"},
        ),
        beside=expand(
            "<results>/figures/tickets/{{model}}/{figure}.{kind}",
            figure=ticket_figures("representations"),
            kind=["pdf", "csv"],
        ),
    log:
        "<logs>/plot_ticket_representations/{model}.log",
    benchmark:
        "<benchmarks>/plot_ticket_representations/{model}.tsv"
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
            "evaluation/ticket_summaries.py",
            "plotting/style.py",
            "plotting/layers.py",
        ),
        rows=shown_similarities(),
        poolings=settings.encode.poolings,
        pivot=settings.pivot,
        languages=shown_languages(TICKET_LANGS),
    script:
        "../scripts/plot_ticket_representations.py"
