"""Generative models aligned after pretraining, and what they do in context.

Requires the splits of every language, `<results>/text/splits/{lang}/{split}.jsonl.zst`, corpora of
instructions and of choices, parallel text, `<results>/text/parallel/{corpus}.parquet`, or pairs,
`<results>/text/pairs/{pairs}/read.parquet`, and for models that are not built here `<resources>/models/{model}`. Makes `<results>/tokenizers/{model}` and
`<results>/models/{model}/base` of those that are; the training samples
`<results>/text/instructions/train.jsonl.zst`, those held out, `valid.jsonl.zst`, and their counts; for
each of `alignment.networks` `<results>/models/{model}/{network}/s{seed}` with its history and its cost
beside it; `<results>/text/choices/{corpus}.parquet`; and the scores
`<results>/scores/in_context/{model}/{network}/s{seed}.parquet` with their examples, of the untouched
network `base` for the first seed alone. While they train, models keep their state in `.checkpoints`,
from which a killed job goes on.
"""


use rule train_tokenizer as train_generator_tokenizer with:
    input:
        texts=expand(
            "<results>/text/splits/{lang}/train.jsonl.zst", lang=ALIGNMENT_LANGS
        ),
    log:
        "<logs>/train_generator_tokenizer/{model}.log",
    benchmark:
        "<benchmarks>/train_generator_tokenizer/{model}.tsv"
    wildcard_constraints:
        model=any_of(BUILT_GENERATORS),
    params:
        version=1,
        languages=ALIGNMENT_LANGS,
        seed=settings.articles.seed,
        causal=True,
        settings=section("alignment.tokenizer"),


use rule build_base_model as build_generator with:
    input:
        train=expand(
            "<results>/text/chunks/{{model}}/{lang}/train.arrow", lang=ALIGNMENT_LANGS
        ),
        valid=expand(
            "<results>/text/chunks/{{model}}/{lang}/valid.arrow", lang=ALIGNMENT_LANGS
        ),
        tokenizer="<results>/tokenizers/{model}",
    log:
        "<logs>/build_generator/{model}.log",
    benchmark:
        "<benchmarks>/build_generator/{model}.tsv"
    wildcard_constraints:
        model=any_of(BUILT_GENERATORS),
    resources:
        **several_nodes(),
        gpu=GPUS,
        mem_mb=doubling(8000),
        runtime=1440,
        save_steps=settings.alignment.build.save_steps,
        report_to=settings.alignment.build.report_to,
    params:
        version=1,
        checkpoints=checkpoints_of,
        languages=ALIGNMENT_LANGS,
        seed=settings.seeds[0],
        window=settings.alignment.window,
        family=family_of,
        architecture=section("alignment.architecture"),
        settings=training("alignment.build"),
        compute=section("compute", "device", "precision", "processes"),


rule make_instruction_pairs:
    """Sentence pairs and cross-lingual instructions, from instructions and from translations."""
    input:
        instructions=instruction_sources,
        translations=translation_tables,
    output:
        train="<results>/text/instructions/train.jsonl.zst",
        valid="<results>/text/instructions/valid.jsonl.zst",
        counts="<results>/text/instructions/counts.parquet",
    log:
        "<logs>/make_instruction_pairs.log",
    benchmark:
        "<benchmarks>/make_instruction_pairs.tsv"
    conda:
        "../../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=doubling(2000),
        runtime=doubling(240),
    params:
        code=digest(
            "corpus/instructions.py",
            "corpus/json_arrays.py",
            "corpus/matched_corpora.py",
            "corpus/matched_rows.py",
            "corpus/rows.py",
        ),
        files=instruction_places,
        translations=settings.alignment.translations,
        languages={lang: languages[lang].english for lang in ALIGNMENT_LANGS},
        pivot=settings.pivot,
        settings=section("alignment.samples"),
    script:
        "../scripts/make_instruction_pairs.py"


rule read_choices:
    """A corpus of choices in the languages of the study that it has: demonstrations and tests."""
    input:
        sources=corpus_sources,
    output:
        examples="<results>/text/choices/{corpus}.parquet",
        counts="<results>/text/choices/{corpus}.counts.parquet",
    log:
        "<logs>/read_choices/{corpus}.log",
    benchmark:
        "<benchmarks>/read_choices/{corpus}.tsv"
    wildcard_constraints:
        corpus=any_of(ALIGNMENT_CORPORA),
    conda:
        "../../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=doubling(2000),
        runtime=doubling(60),
    params:
        code=digest("corpus/choices.py", "corpus/nli.py", "corpus/rows.py"),
        files=corpus_places,
        reading=corpus_reading,
    script:
        "../scripts/read_choices.py"


rule align_generator:
    """A generative model trained on sentence pairs, on instructions, or on both."""
    input:
        model=base_of,
        train="<results>/text/instructions/train.jsonl.zst",
        valid="<results>/text/instructions/valid.jsonl.zst",
        choices=selecting_choices,
        prompts=selecting_prompts,
    output:
        model=directory("<results>/models/{model}/{network}/s{seed}"),
        history="<results>/models/{model}/{network}/s{seed}.history.parquet",
        cost="<results>/models/{model}/{network}/s{seed}.cost.parquet",
    log:
        "<logs>/align_generator/{model}/{network}/s{seed}.log",
    benchmark:
        "<benchmarks>/align_generator/{model}/{network}/s{seed}.tsv"
    wildcard_constraints:
        model=any_of(ALIGNMENT_MODELS),
        network=any_of(ALIGNED),
    retries: 2
    conda:
        "../../envs/generators.yaml"
    threads: settings.compute.training_threads * PER_NODE
    resources:
        **several_nodes(),
        gpu=GPUS,
        mem_mb=doubling(8000),
        runtime=1440,
        save_steps=settings.alignment.training.save_steps,
        logging_steps=settings.alignment.training.logging_steps,
        batch_tokens=settings.alignment.batch_tokens,
    params:
        version=1,
        checkpoints=checkpoints_of,
        languages=ALIGNMENT_LANGS,
        settings=pair_training("alignment.training"),
        compute=section("compute", "device", "precision", "processes"),
    script:
        "../scripts/align_generator.py"


rule evaluate_in_context:
    """Accuracy of one network in choosing the likeliest answer, with and without examples."""
    input:
        model=network_of,
        choices=expand(
            "<results>/text/choices/{corpus}.parquet", corpus=ALIGNMENT_CORPORA
        ),
        prompts=prompts_of(ALIGNMENT_CORPORA),
    output:
        scores="<results>/scores/in_context/{model}/{network}/s{seed}.parquet",
        examples="<results>/scores/in_context/{model}/{network}/s{seed}.examples.parquet",
    log:
        "<logs>/evaluate_in_context/{model}/{network}/s{seed}.log",
    benchmark:
        "<benchmarks>/evaluate_in_context/{model}/{network}/s{seed}.tsv"
    wildcard_constraints:
        model=any_of(ALIGNMENT_MODELS),
        network=any_of(ALIGNED_NETWORKS),
    retries: 1
    conda:
        "../../envs/generators.yaml"
    threads: settings.compute.threads
    resources:
        gpu=GPUS and 1,
        mem_mb=doubling(8000),
        runtime=doubling(480),
        batch_tokens=settings.alignment.batch_tokens,
    params:
        version=1,
        tasks={name: corpora[name].format for name in ALIGNMENT_CORPORA},
        languages=ALIGNMENT_LANGS,
        pivot=settings.pivot,
        settings=section(
            "alignment",
            "shots",
            "demonstrations",
            "prompts",
            "max_examples",
            "normalize",
            "bootstrap",
            "seed",
        ),
        compute=section("compute", "device", "precision"),
    script:
        "../scripts/evaluate_in_context.py"
