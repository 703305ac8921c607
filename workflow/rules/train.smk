"""Masked-language models: from scratch, fine-tuned, and random ones for comparison.

Requires windows, `<results>/text/chunks/{model}/{lang}/{split}.arrow`, and the tokenizers or models of
`tokenizer_of` and `base_of`. Makes `<results>/models/{model}/base`,
`<results>/models/{model}/finetuned/s{seed}` and `<results>/models/{model}/random/s{seed}`; beside the
trained ones their history, and while they train `<results>/models/{model}/.checkpoints`, from which a
killed job goes on.
"""


rule build_base_model:
    """A multilingual model of XLM-R's architecture, trained from scratch."""
    input:
        train=expand("<results>/text/chunks/{{model}}/{lang}/train.arrow", lang=LANGS),
        valid=expand("<results>/text/chunks/{{model}}/{lang}/valid.arrow", lang=LANGS),
        tokenizer="<results>/tokenizers/{model}",
    output:
        model=directory("<results>/models/{model}/base"),
        history="<results>/models/{model}/base.history.parquet",
    log:
        "<logs>/build_base_model/{model}.log",
    benchmark:
        "<benchmarks>/build_base_model/{model}.tsv"
    wildcard_constraints:
        model=any_of(BUILT),
    retries: 2
    conda:
        "../../envs/torch.yaml"
    threads: settings.compute.training_threads * PER_NODE
    resources:
        **several_nodes(),
        gpu=GPUS,
        mem_mb=doubling(8000),
        runtime=1440,
        save_steps=settings.mlm.build.save_steps,
        report_to=settings.mlm.build.report_to,
    params:
        version=2,
        checkpoints=checkpoints_of,
        languages=LANGS,
        seed=settings.seeds[0],
        window=settings.mlm.window,
        family=family_of,
        architecture=section("mlm.architecture"),
        settings=training("mlm.build"),
        compute=section("compute", "device", "precision", "processes"),
    script:
        "../scripts/build_base_model.py"


rule initialize_model:
    """The same architecture with random weights, as it prescribes them."""
    input:
        model=base_of,
    output:
        model=directory("<results>/models/{model}/random/s{seed}"),
    log:
        "<logs>/initialize_model/{model}/s{seed}.log",
    benchmark:
        "<benchmarks>/initialize_model/{model}/s{seed}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=doubling(4000),
        runtime=doubling(30),
    params:
        version=2,
    script:
        "../scripts/initialize_model.py"


rule finetune_mlm:
    """Masked-language modelling on the shuffled union of all languages."""
    input:
        train=expand("<results>/text/chunks/{{model}}/{lang}/train.arrow", lang=LANGS),
        valid=expand("<results>/text/chunks/{{model}}/{lang}/valid.arrow", lang=LANGS),
        model=base_of,
    output:
        model=directory("<results>/models/{model}/finetuned/s{seed}"),
        history="<results>/models/{model}/finetuned/s{seed}.history.parquet",
    log:
        "<logs>/finetune_mlm/{model}/s{seed}.log",
    benchmark:
        "<benchmarks>/finetune_mlm/{model}/s{seed}.tsv"
    retries: 2
    conda:
        "../../envs/torch.yaml"
    threads: settings.compute.training_threads * PER_NODE
    resources:
        **several_nodes(),
        gpu=GPUS,
        mem_mb=doubling(8000),
        runtime=1440,
        save_steps=settings.mlm.finetune.save_steps,
        report_to=settings.mlm.finetune.report_to,
    params:
        version=1,
        checkpoints=checkpoints_of,
        languages=LANGS,
        settings=training("mlm.finetune"),
        compute=section("compute", "device", "precision", "processes"),
    script:
        "../scripts/finetune_mlm.py"
