"""Lottery tickets: iterative magnitude pruning, what its masks share, and what they are good for.

Requires base models (`base_of`), examples of every task (`task_files`). Makes, under
`<results>/masks/{model}/s{seed}/{task}/{lang}/{variant}/`, the masks `k{kept}.safetensors`, with scores
and training histories of every round in
`<results>/scores/tickets/{model}/s{seed}/{task}/{lang}/{variant}[.history].parquet`; what each mask is
worth elsewhere in `<results>/scores/transfer/{model}/s{seed}/{task}/{lang}/k{kept}.parquet`; what masks
share beside them under `{task}/shared/`, their overlap and sizes in
`<results>/similarity/{model}/tickets/k{kept}[.sizes|.shared].parquet`, beside their overlap with the
largest weights before any training, `<results>/masks/{model}/untrained/k{kept}.safetensors`, and how
it goes along with typology in `<results>/scores/ticket_typology/{model}/k{kept}.parquet`. Killed
searches and transfers go on from `.checkpoints` beside the folders of their languages.
"""


rule find_ticket:
    """Masks of one task and language, from all weights down to the fewest, with scores of each."""
    input:
        model=base_of,
        train=examples_of("train"),
        valid=examples_of("valid"),
        test=examples_of("test"),
        scheme=tag_scheme,
    output:
        masks=expand(
            "<results>/masks/{{model}}/s{{seed}}/{{task}}/{{lang}}/{{variant}}/k{kept}.safetensors",
            kept=settings.tickets.kept,
        ),
        scores="<results>/scores/tickets/{model}/s{seed}/{task}/{lang}/{variant}.parquet",
        history="<results>/scores/tickets/{model}/s{seed}/{task}/{lang}/{variant}.history.parquet",
    log:
        "<logs>/find_ticket/{model}/s{seed}/{task}/{lang}/{variant}.log",
    benchmark:
        "<benchmarks>/find_ticket/{model}/s{seed}/{task}/{lang}/{variant}.tsv"
    retries: 2
    conda:
        "../../envs/torch.yaml"
    threads: settings.compute.threads
    resources:
        gpu=GPUS and 1,
        mem_mb=doubling(6000),
        runtime=1440,
        save_steps=task_housekeeping("save_steps"),
        logging_steps=task_housekeeping("logging_steps"),
    params:
        version=1,
        checkpoints=checkpoints_of_search,
        kept=settings.tickets.kept,
        task=task_settings,
        search=section("tickets", "step", "rounds", "early_step", "pooler"),
        tickets=section("tickets", "seed", "bootstrap"),
        compute=section("compute", "device", "precision"),
    script:
        "../scripts/find_ticket.py"


rule transfer_ticket:
    """Tickets of one size, found anywhere, trained and scored on one task and language."""
    input:
        model=base_of,
        train=examples_of("train"),
        tests=transfer_tests,
        masks=transfer_masks,
        scheme=tag_scheme,
    output:
        scores="<results>/scores/transfer/{model}/s{seed}/{task}/{lang}/k{kept}.parquet",
    log:
        "<logs>/transfer_ticket/{model}/s{seed}/{task}/{lang}/k{kept}.log",
    benchmark:
        "<benchmarks>/transfer_ticket/{model}/s{seed}/{task}/{lang}/k{kept}.tsv"
    retries: 2
    conda:
        "../../envs/torch.yaml"
    threads: settings.compute.threads
    resources:
        gpu=GPUS and 1,
        mem_mb=doubling(6000),
        runtime=1440,
        save_steps=task_housekeeping("save_steps"),
        logging_steps=task_housekeeping("logging_steps"),
    params:
        version=2,
        checkpoints=checkpoints_of_transfer,
        languages=TICKET_LANGS,
        sources=transfer_sources,
        task=task_settings,
        steps=transfer_steps,
        random_masks=settings.tickets.random_masks,
        tickets=section("tickets", "seed", "bootstrap"),
        compute=section("compute", "device", "precision"),
    script:
        "../scripts/transfer_ticket.py"


rule derive_untrained_ticket:
    """The largest weights of the model that all tickets begin with, before any training."""
    input:
        model=base_of,
    output:
        mask="<results>/masks/{model}/untrained/k{kept}.safetensors",
    log:
        "<logs>/derive_untrained_ticket/{model}/k{kept}.log",
    benchmark:
        "<benchmarks>/derive_untrained_ticket/{model}/k{kept}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=doubling(4000),
        runtime=doubling(30),
    params:
        version=1,
        pooler=settings.tickets.pooler,
    script:
        "../scripts/derive_untrained_ticket.py"


rule compute_ticket_overlap:
    """Overlap of tickets against chance, the share each keeps, and what k languages share."""
    input:
        masks=expand(
            "<results>/masks/{{model}}/s{seed}/{task}/{lang}/{variant}/k{{kept}}.safetensors",
            seed=settings.seeds,
            task=settings.tickets.tasks,
            lang=TICKET_LANGS,
            variant=settings.tickets.variants,
        ),
        untrained="<results>/masks/{model}/untrained/k{kept}.safetensors",
    output:
        overlap="<results>/similarity/{model}/tickets/k{kept}.parquet",
        sizes="<results>/similarity/{model}/tickets/k{kept}.sizes.parquet",
        shared="<results>/similarity/{model}/tickets/k{kept}.shared.parquet",
    log:
        "<logs>/compute_ticket_overlap/{model}/k{kept}.log",
    benchmark:
        "<benchmarks>/compute_ticket_overlap/{model}/k{kept}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(60),
    params:
        code=digest(
            "subnetworks/masks.py",
            "subnetworks/overlap.py",
            "subnetworks/scopes.py",
            "subnetworks/sharing.py",
            "subnetworks/ticket_overlap.py",
        ),
        tickets=[
            (seed, variant, task, lang)
            for seed, task, lang, variant in product(
                settings.seeds,
                settings.tickets.tasks,
                TICKET_LANGS,
                settings.tickets.variants,
            )
        ],
    script:
        "../scripts/compute_ticket_overlap.py"


rule derive_shared_tickets:
    """The weights that the tickets of all languages keep, and those that any of them keeps."""
    input:
        masks=expand(
            "<results>/masks/{{model}}/s{{seed}}/{{task}}/{lang}/ticket/k{{kept}}.safetensors",
            lang=TICKET_LANGS,
        ),
    output:
        intersection="<results>/masks/{model}/s{seed}/{task}/shared/intersection.k{kept}.safetensors",
        union="<results>/masks/{model}/s{seed}/{task}/shared/union.k{kept}.safetensors",
    log:
        "<logs>/derive_shared_tickets/{model}/s{seed}/{task}/k{kept}.log",
    benchmark:
        "<benchmarks>/derive_shared_tickets/{model}/s{seed}/{task}/k{kept}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest(
            "subnetworks/masks.py",
            "subnetworks/overlap.py",
            "subnetworks/scopes.py",
            "subnetworks/sharing.py",
            "subnetworks/ticket_overlap.py",
        ),
        languages=TICKET_LANGS,
    script:
        "../scripts/derive_shared_tickets.py"


rule compute_ticket_typology:
    """Are tickets further apart where languages differ in syntax, or in family?"""
    input:
        overlap="<results>/similarity/{model}/tickets/k{kept}.parquet",
    output:
        scores="<results>/scores/ticket_typology/{model}/k{kept}.parquet",
    log:
        "<logs>/compute_ticket_typology/{model}/k{kept}.log",
    benchmark:
        "<benchmarks>/compute_ticket_typology/{model}/k{kept}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest(
            "typology.py",
            "representations/jackknife.py",
            "representations/rows.py",
            "representations/typology.py",
            "subnetworks/typology.py",
        ),
        languages={
            code: languages[code].model_dump(include={"uriel", "family"})
            for code in TICKET_LANGS
        },
        settings=section("compare", "permutations", "seed"),
    script:
        "../scripts/compute_ticket_typology.py"
