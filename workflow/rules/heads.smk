"""Which attention heads a language needs, what is left without the others, and how masks compare.

Requires fine-tuned models (`network_of`) and windows, `<results>/text/chunks/{model}/{lang}/`: masks
are found on `valid.arrow` and checked on `test.arrow`. Makes, under
`<results>/masks/{model}/s{seed}/`, trajectories of pruning `{lang}/d{draw}.trajectory.safetensors`
and `.parquet`, masks `{budget}.safetensors` and controls `{budget}.controls.safetensors`; the smaller
models `<results>/models/{model}/subnetwork/s{seed}/{lang}` with their sizes in
`<results>/scores/removal/{model}/s{seed}.parquet`; the overlap of masks in
`<results>/similarity/{model}/s{seed}/masks/{budget}.parquet`; if it is asked for, the entropy of
attention in `<results>/scores/entropy/{model}/s{seed}.parquet`.
"""


rule rank_heads:
    """Heads of one language in the order in which pruning removes them, for every draw."""
    input:
        model=finetuned_model,
        valid="<results>/text/chunks/{model}/{lang}/valid.arrow",
    output:
        trajectories=expand(
            "<results>/masks/{{model}}/s{{seed}}/{{lang}}/d{draw}.trajectory.safetensors",
            draw=range(settings.heads.draws),
        ),
        rounds=expand(
            "<results>/masks/{{model}}/s{{seed}}/{{lang}}/d{draw}.trajectory.parquet",
            draw=range(settings.heads.draws),
        ),
    log:
        "<logs>/rank_heads/{model}/s{seed}/{lang}.log",
    benchmark:
        "<benchmarks>/rank_heads/{model}/s{seed}/{lang}.tsv"
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
        examples=settings.heads.examples,
        batch_size=settings.heads.batch_size,
        draws=settings.heads.draws,
        step=settings.heads.step,
        limits=pruning_limits(),
        mask_share=settings.perplexity.mask_share,
        seed=settings.perplexity.seed,
        compute=section("compute", "device", "precision"),
    script:
        "../scripts/rank_heads.py"


rule select_head_mask:
    """The mask that a budget chooses from each language's and draw's trajectory."""
    input:
        trajectories=expand(
            "<results>/masks/{{model}}/s{{seed}}/{lang}/d{draw}.trajectory.safetensors",
            lang=LANGS,
            draw=range(settings.heads.draws),
        ),
    output:
        masks="<results>/masks/{model}/s{seed}/{budget}.safetensors",
    log:
        "<logs>/select_head_mask/{model}/s{seed}/{budget}.log",
    benchmark:
        "<benchmarks>/select_head_mask/{model}/s{seed}/{budget}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(10),
    params:
        code=digest(
            "subnetworks/trajectory.py",
            "subnetworks/budgets.py",
            "subnetworks/masks.py",
        ),
        names=[
            f"{lang}/d{draw}" for lang in LANGS for draw in range(settings.heads.draws)
        ],
        budget=budget_of,
    script:
        "../scripts/select_head_mask.py"


rule derive_control_masks:
    """Masks to compare with: random ones of equal sizes per layer, and what all languages share."""
    input:
        masks="<results>/masks/{model}/s{seed}/{budget}.safetensors",
    output:
        masks="<results>/masks/{model}/s{seed}/{budget}.controls.safetensors",
    log:
        "<logs>/derive_control_masks/{model}/s{seed}/{budget}.log",
    benchmark:
        "<benchmarks>/derive_control_masks/{model}/s{seed}/{budget}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(10),
    params:
        code=digest(
            "subnetworks/trajectory.py",
            "subnetworks/budgets.py",
            "subnetworks/masks.py",
        ),
        languages=LANGS,
        random=settings.heads.random_masks,
    script:
        "../scripts/derive_control_masks.py"


rule compute_mask_overlap:
    """Overlap of every two masks of a budget, and what it would be by chance."""
    input:
        masks="<results>/masks/{model}/s{seed}/{budget}.safetensors",
    output:
        overlap="<results>/similarity/{model}/s{seed}/masks/{budget}.parquet",
    log:
        "<logs>/compute_mask_overlap/{model}/s{seed}/{budget}.log",
    benchmark:
        "<benchmarks>/compute_mask_overlap/{model}/s{seed}/{budget}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(10),
    params:
        code=digest("subnetworks/overlap.py", "subnetworks/masks.py"),
    script:
        "../scripts/compute_mask_overlap.py"


rule remove_heads:
    """Each language's subnetwork as a smaller model that computes the same, checked on test text."""
    input:
        model=finetuned_model,
        masks=f"<results>/masks/{{model}}/s{{seed}}/{settings.heads.analysed}.safetensors",
        test=expand("<results>/text/chunks/{{model}}/{lang}/test.arrow", lang=LANGS),
    output:
        models=directory(
            expand(
                "<results>/models/{{model}}/subnetwork/s{{seed}}/{lang}", lang=LANGS
            )
        ),
        sizes="<results>/scores/removal/{model}/s{seed}.parquet",
    log:
        "<logs>/remove_heads/{model}/s{seed}.log",
    benchmark:
        "<benchmarks>/remove_heads/{model}/s{seed}.tsv"
    retries: 1
    conda:
        "../../envs/torch.yaml"
    threads: settings.compute.threads
    resources:
        gpu=GPUS and 1,
        mem_mb=doubling(6000),
        runtime=doubling(120),
    params:
        version=1,
        languages=LANGS,
        settings=section("perplexity", "examples", "batch_size", "mask_share", "seed"),
        compute=section("compute", "device", "precision"),
    script:
        "../scripts/remove_heads.py"


rule measure_attention_entropy:
    """Entropy of every head's attention on each language's test text."""
    input:
        model=finetuned_model,
        test=expand("<results>/text/chunks/{{model}}/{lang}/test.arrow", lang=LANGS),
    output:
        entropy="<results>/scores/entropy/{model}/s{seed}.parquet",
    log:
        "<logs>/measure_attention_entropy/{model}/s{seed}.log",
    benchmark:
        "<benchmarks>/measure_attention_entropy/{model}/s{seed}.tsv"
    retries: 1
    conda:
        "../../envs/torch.yaml"
    threads: settings.compute.threads
    resources:
        gpu=GPUS and 1,
        mem_mb=doubling(6000),
        runtime=doubling(120),
    params:
        version=1,
        languages=LANGS,
        settings=section("perplexity", "examples", "batch_size", "mask_share", "seed"),
        compute=section("compute", "device", "precision"),
    script:
        "../scripts/measure_attention_entropy.py"
