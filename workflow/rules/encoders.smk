"""Modular sentence encoders: a module per language, adapters that align them, and what they can do.

Requires base models (`base_of`), the splits of every language,
`<results>/text/splits/{lang}/{split}.jsonl.zst`, and corpora of pairs and of evaluation. Makes
`<results>/text/pairs/{pairs}/read.parquet` and, where a corpus lacks a language, its translation
`{lang}.parquet` beside it; `<results>/text/evaluation/{corpus}.parquet`; under
`<results>/models/{model}/encoders/` the beginnings of language modules, `{lang}/tokenizer` and
`{lang}/start`, and for every seed `s{seed}/{lang}/language`, `s{seed}/{lang}/sentence` and, for every
strategy of alignment, `s{seed}/{lang}/{strategy}`; the networks for all languages
`s{seed}/full-mono` and `s{seed}/full-cross`; plain folders `s{seed}/exported/{method}/{lang}`; and the
scores of every method, `<results>/scores/encoders/{model}/s{seed}/{method}.parquet`. While they train,
models keep their state in `.checkpoints` beside them, from which a killed job goes on.
"""


rule read_pairs:
    """The pairs and triples of a corpus in every language that it has, the same rows in each."""
    input:
        sources=corpus_sources,
    output:
        pairs="<results>/text/pairs/{pairs}/read.parquet",
        counts="<results>/text/pairs/{pairs}/counts.parquet",
    log:
        "<logs>/read_pairs/{pairs}.log",
    benchmark:
        "<benchmarks>/read_pairs/{pairs}.tsv"
    conda:
        "../../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=doubling(4000),
        runtime=doubling(120),
    params:
        code=digest("corpus/nli.py", "corpus/pairs.py", "corpus/rows.py"),
        files=corpus_places,
        reading=corpus_reading,
        most=settings.encoders.max_pairs,
        seed=settings.encoders.seed,
    script:
        "../scripts/read_pairs.py"


rule translate_pairs:
    """The pairs of the pivot in a language that their corpus does not have."""
    input:
        pairs="<results>/text/pairs/{pairs}/read.parquet",
        translator=f"<resources>/models/{settings.encoders.translation.model}",
    output:
        pairs="<results>/text/pairs/{pairs}/{lang}.parquet",
    log:
        "<logs>/translate_pairs/{pairs}/{lang}.log",
    benchmark:
        "<benchmarks>/translate_pairs/{pairs}/{lang}.tsv"
    retries: 2
    conda:
        "../../envs/torch.yaml"
    threads: settings.compute.threads
    resources:
        gpu=GPUS and 1,
        mem_mb=doubling(16000),
        runtime=2880,
        batch_tokens=settings.encoders.translation.batch_tokens,
    params:
        version=1,
        parts=parts_of_translation,
        pivot=settings.pivot,
        codes=translation_codes,
        settings=section("encoders.translation", "beams", "max_tokens"),
        compute=section("compute", "device", "precision"),
    script:
        "../scripts/translate_pairs.py"


rule read_evaluation:
    """A corpus that encoders are judged by, in the languages of the study that it has."""
    input:
        sources=corpus_sources,
    output:
        examples="<results>/text/evaluation/{corpus}.parquet",
        counts="<results>/text/evaluation/{corpus}.counts.parquet",
    log:
        "<logs>/read_evaluation/{corpus}.log",
    benchmark:
        "<benchmarks>/read_evaluation/{corpus}.tsv"
    wildcard_constraints:
        corpus=any_of(settings.encoders.evaluated),
    conda:
        "../../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=doubling(2000),
        runtime=doubling(60),
    params:
        code=digest(
            "corpus/bitext.py",
            "corpus/comprehension.py",
            "corpus/evaluation.py",
            "corpus/rows.py",
            "corpus/similarity.py",
            "corpus/topics.py",
        ),
        files=corpus_places,
        reading=corpus_reading,
    script:
        "../scripts/read_evaluation.py"


rule train_language_tokenizer:
    """A tokenizer of one language, made the way the source's is."""
    input:
        text="<results>/text/splits/{lang}/train.jsonl.zst",
        tokenizer=tokenizer_of,
    output:
        tokenizer=directory("<results>/models/{model}/encoders/{lang}/tokenizer"),
    log:
        "<logs>/train_language_tokenizer/{model}/{lang}.log",
    benchmark:
        "<benchmarks>/train_language_tokenizer/{model}/{lang}.tsv"
    retries: 1
    conda:
        "../../envs/encoders.yaml"
    threads: 1
    resources:
        mem_mb=doubling(2000),
        runtime=doubling(240),
    params:
        version=1,
        seed=settings.articles.seed,
        code=lookup(
            within={lang: languages[lang].flores for lang in ENCODER_LANGS},
            dpath="{lang}",
        ),
        settings=section("encoders.tokenizer", "vocabulary", "characters"),
    script:
        "../scripts/train_language_tokenizer.py"


rule focus_embeddings:
    """Embeddings of the new tokens, from those of the source (FOCUS, Dobler & de Melo 2023)."""
    input:
        text="<results>/text/splits/{lang}/train.jsonl.zst",
        tokenizer="<results>/models/{model}/encoders/{lang}/tokenizer",
        source=base_of,
    output:
        start=directory("<results>/models/{model}/encoders/{lang}/start"),
    log:
        "<logs>/focus_embeddings/{model}/{lang}.log",
    benchmark:
        "<benchmarks>/focus_embeddings/{model}/{lang}.tsv"
    retries: 1
    conda:
        "../../envs/encoders.yaml"
    threads: 1
    resources:
        mem_mb=doubling(4000),
        runtime=doubling(480),
    params:
        version=1,
        seed=settings.articles.seed,
        settings=section("encoders.tokenizer", "dimension", "epochs", "min_count"),
    script:
        "../scripts/focus_embeddings.py"


use rule pack_chunks as pack_language with:
    input:
        train="<results>/text/splits/{lang}/train.jsonl.zst",
        valid="<results>/text/splits/{lang}/valid.jsonl.zst",
        test="<results>/text/splits/{lang}/test.jsonl.zst",
        tokenizer="<results>/models/{model}/encoders/{lang}/tokenizer",
    output:
        train="<results>/text/chunks/{model}/own/{lang}/train.arrow",
        valid="<results>/text/chunks/{model}/own/{lang}/valid.arrow",
        test="<results>/text/chunks/{model}/own/{lang}/test.arrow",
    log:
        "<logs>/pack_language/{model}/{lang}.log",
    benchmark:
        "<benchmarks>/pack_language/{model}/{lang}.tsv"
    params:
        version=1,
        window=settings.encoders.window,


rule adapt_language:
    """A language module: embeddings and language adapter, trained by masked-language modelling."""
    input:
        source=base_of,
        start="<results>/models/{model}/encoders/{lang}/start",
        train="<results>/text/chunks/{model}/own/{lang}/train.arrow",
        valid="<results>/text/chunks/{model}/own/{lang}/valid.arrow",
    output:
        module=directory("<results>/models/{model}/encoders/s{seed}/{lang}/language"),
        history="<results>/models/{model}/encoders/s{seed}/{lang}/language.history.parquet",
    log:
        "<logs>/adapt_language/{model}/s{seed}/{lang}.log",
    benchmark:
        "<benchmarks>/adapt_language/{model}/s{seed}/{lang}.tsv"
    retries: 2
    conda:
        "../../envs/encoders.yaml"
    threads: settings.compute.threads
    resources:
        gpu=GPUS and 1,
        mem_mb=doubling(8000),
        runtime=1440,
        save_steps=settings.encoders.adaptation.save_steps,
        report_to=settings.encoders.adaptation.report_to,
    params:
        version=2,
        checkpoints=checkpoints_of_encoder,
        kind=settings.encoders.kind,
        lora=section("encoders.lora"),
        settings=training("encoders.adaptation"),
        compute=section("compute", "device", "precision"),
    script:
        "../scripts/adapt_language.py"


rule train_encoder:
    """A sentence encoder of one language: an adapter on its module, by paraphrases."""
    input:
        source=base_of,
        language="<results>/models/{model}/encoders/s{seed}/{lang}/language",
        pairs=language_pairs,
    output:
        module=directory("<results>/models/{model}/encoders/s{seed}/{lang}/sentence"),
        history="<results>/models/{model}/encoders/s{seed}/{lang}/sentence.history.parquet",
    log:
        "<logs>/train_encoder/{model}/s{seed}/{lang}.log",
    benchmark:
        "<benchmarks>/train_encoder/{model}/s{seed}/{lang}.tsv"
    retries: 2
    conda:
        "../../envs/encoders.yaml"
    threads: settings.compute.threads
    resources:
        gpu=GPUS and 1,
        mem_mb=doubling(8000),
        runtime=1440,
        save_steps=settings.encoders.sentences.save_steps,
        logging_steps=settings.encoders.sentences.logging_steps,
    params:
        version=1,
        checkpoints=checkpoints_of_encoder,
        kind=settings.encoders.kind,
        lora=section("encoders.lora"),
        form=section("encoders", "pooling", "own_head", "prefix"),
        settings=pair_training("encoders.sentences"),
        compute=section("compute", "device", "precision"),
    script:
        "../scripts/train_encoder.py"


rule train_whole_encoder:
    """One network for all languages: in each language by itself, or going on across languages."""
    input:
        start=begins_with,
        pairs=pairs_of(ENCODER_LANGS),
    output:
        model=directory("<results>/models/{model}/encoders/s{seed}/{whole}"),
        history="<results>/models/{model}/encoders/s{seed}/{whole}.history.parquet",
    log:
        "<logs>/train_whole_encoder/{model}/s{seed}/{whole}.log",
    benchmark:
        "<benchmarks>/train_whole_encoder/{model}/s{seed}/{whole}.tsv"
    retries: 2
    conda:
        "../../envs/encoders.yaml"
    threads: settings.compute.threads
    resources:
        gpu=GPUS and 1,
        mem_mb=doubling(16000),
        runtime=1440,
        save_steps=settings.encoders.full.save_steps,
        logging_steps=settings.encoders.full.logging_steps,
    params:
        version=1,
        checkpoints=checkpoints_of_encoder,
        languages={lang: languages[lang].flores for lang in ENCODER_LANGS},
        mixed=languages_per_batch,
        form=section("encoders", "pooling", "own_head", "prefix"),
        settings=whole_training,
        compute=section("compute", "device", "precision"),
    script:
        "../scripts/train_whole_encoder.py"


rule train_alignment_adapter:
    """An adapter that brings a language's sentences to where the pivot's are."""
    input:
        source=base_of,
        language="<results>/models/{model}/encoders/s{seed}/{lang}/language",
        sentence="<results>/models/{model}/encoders/s{seed}/{lang}/sentence",
        pivot_language=f"<results>/models/{{model}}/encoders/s{{seed}}/{settings.pivot}/language",
        pivot_sentence=f"<results>/models/{{model}}/encoders/s{{seed}}/{settings.pivot}/sentence",
        pairs=aligned_pairs,
    output:
        module=directory("<results>/models/{model}/encoders/s{seed}/{lang}/{strategy}"),
        history="<results>/models/{model}/encoders/s{seed}/{lang}/{strategy}.history.parquet",
    log:
        "<logs>/train_alignment_adapter/{model}/s{seed}/{lang}/{strategy}.log",
    benchmark:
        "<benchmarks>/train_alignment_adapter/{model}/s{seed}/{lang}/{strategy}.tsv"
    wildcard_constraints:
        lang=any_of(lang for lang in ENCODER_LANGS if lang != settings.pivot),
    retries: 2
    conda:
        "../../envs/encoders.yaml"
    threads: settings.compute.threads
    resources:
        gpu=GPUS and 1,
        mem_mb=doubling(12000),
        runtime=1440,
        save_steps=settings.encoders.alignment.save_steps,
        logging_steps=settings.encoders.alignment.logging_steps,
        batch_tokens=settings.encoders.batch_tokens,
    params:
        version=2,
        checkpoints=checkpoints_of_encoder,
        pivot=settings.pivot,
        adapter=section("encoders.adapter"),
        form=section("encoders", "pooling", "own_head", "prefix"),
        settings=pair_training("encoders.alignment"),
        compute=section("compute", "device", "precision"),
    script:
        "../scripts/train_alignment_adapter.py"


rule export_encoder:
    """A language's encoder as a plain folder, which sentence-transformers loads as it is."""
    input:
        encoder=exported_parts,
    output:
        model=directory(
            "<results>/models/{model}/encoders/s{seed}/exported/{method}/{lang}"
        ),
    log:
        "<logs>/export_encoder/{model}/s{seed}/{method}/{lang}.log",
    benchmark:
        "<benchmarks>/export_encoder/{model}/s{seed}/{method}/{lang}.tsv"
    wildcard_constraints:
        method=any_of(MODULAR),
        lang=any_of(ENCODER_LANGS),
    conda:
        "../../envs/encoders.yaml"
    threads: 1
    resources:
        mem_mb=doubling(6000),
        runtime=doubling(30),
    params:
        version=1,
        modules=exported_modules,
        form=section("encoders", "pooling", "own_head", "prefix"),
    script:
        "../scripts/export_encoder.py"


rule evaluate_encoder:
    """One method's encoder on every corpus, in one language and across languages."""
    input:
        encoder=encoder_parts,
        corpora=expand(
            "<results>/text/evaluation/{corpus}.parquet",
            corpus=settings.encoders.evaluated,
        ),
        parallel=expand(
            "<results>/text/parallel/{corpus}.parquet",
            corpus=settings.parallel.corpora,
        ),
    output:
        scores="<results>/scores/encoders/{model}/s{seed}/{method}.parquet",
        examples="<results>/scores/encoders/{model}/s{seed}/{method}.examples.parquet",
        embeddings="<results>/scores/encoders/{model}/s{seed}/{method}.embeddings.safetensors",
        mteb=directory("<results>/scores/encoders/{model}/s{seed}/{method}.mteb"),
    log:
        "<logs>/evaluate_encoder/{model}/s{seed}/{method}.log",
    benchmark:
        "<benchmarks>/evaluate_encoder/{model}/s{seed}/{method}.tsv"
    retries: 1
    conda:
        "../../envs/encoders.yaml"
    threads: settings.compute.threads
    resources:
        gpu=GPUS and 1,
        mem_mb=doubling(8000),
        runtime=doubling(480),
        batch_tokens=settings.encoders.batch_tokens,
    params:
        version=2,
        modules=encoder_modules,
        form=section("encoders", "pooling", "own_head", "prefix"),
        kinds={name: corpora[name].kind for name in settings.encoders.evaluated},
        parallel=settings.parallel.corpora,
        max_sentences=settings.parallel.max_sentences,
        languages={
            lang: languages[lang].flores.replace("_", "-") for lang in ENCODER_LANGS
        },
        codes={lang: languages[lang].flores for lang in ENCODER_LANGS},
        pivot=settings.pivot,
        settings={
            "resamples": settings.encoders.bootstrap,
            "seed": settings.encoders.seed,
            "k": settings.compare.neighbours,
            "margin": settings.compare.margin,
            "blocks": settings.compare.blocks,
            "all_pairs": settings.encoders.all_pairs,
        },
        compute=section("compute", "device", "precision"),
    script:
        "../scripts/evaluate_encoder.py"
