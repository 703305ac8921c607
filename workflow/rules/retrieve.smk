"""Everything that comes from outside, and the demo data that comes from nowhere.

Makes `<resources>/dumps/SOURCE/{wiki}/{date}`, a folder of archives of articles with their
description `dump.json`, `<resources>/corpora/{corpus}`, a corpus as it was fetched,
`<resources>/models/{model}`, a model with its tokenizer, and `<resources>/demo`. Only the rules of
this file use the network. They are not repeated when they fail, since they have been patient
themselves.
"""


rule build_demo:
    """Dumps in the official layout, parallel sentences and tasks, written by the project itself."""
    output:
        dumps=directory("<resources>/demo/dumps"),
        parallel="<resources>/demo/parallel.tsv",
        ner=directory("<resources>/demo/ner"),
        nli=directory("<resources>/demo/nli"),
        pairs=directory("<resources>/demo/pairs"),
        sts=directory("<resources>/demo/sts"),
        topics=directory("<resources>/demo/topics"),
        reading=directory("<resources>/demo/reading"),
        instructions=directory("<resources>/demo/instructions"),
        pawsx=directory("<resources>/demo/pawsx"),
        storycloze=directory("<resources>/demo/storycloze"),
    log:
        "<logs>/build_demo.log",
    benchmark:
        "<benchmarks>/build_demo.tsv"
    conda:
        "../../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=doubling(2000),
        runtime=doubling(30),
    params:
        version=5,
        settings=section("demo"),
        languages={lang: languages[lang].wiki for lang in LANGS},
        date=settings.dumps.date["default"],
    script:
        "../scripts/build_demo.py"


rule download_dump:
    """The articles of one wiki and date: all of them, or those of a sample; verified."""
    input:
        demo=demo_dumps,
    output:
        dump=directory(f"<resources>/dumps/{settings.dumps.folder}/{{wiki}}/{{date}}"),
    log:
        "<logs>/download_dump/{wiki}/{date}.log",
    benchmark:
        "<benchmarks>/download_dump/{wiki}/{date}.tsv"
    retries: 0
    conda:
        "../../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=1440,
        download_slots=1,
        contact=settings.dumps.contact or "",
    params:
        version=1,
        source=settings.dumps.source,
        sample=sample_of_dump(),
        partial=partial_of,
    script:
        "../scripts/download_dump.py"


rule download_corpus:
    """A corpus that config/corpora.tsv gives addresses and checksums for, or a commit of the hub."""
    output:
        corpus=directory("<resources>/corpora/{corpus}"),
    log:
        "<logs>/download_corpus/{corpus}.log",
    benchmark:
        "<benchmarks>/download_corpus/{corpus}.tsv"
    wildcard_constraints:
        corpus=any_of(
            [
                *settings.parallel.corpora,
                *DATASETS,
                *encoder_corpora(),
                *alignment_corpora(),
            ]
        ),
    retries: 0
    conda:
        "../../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=240,
        download_slots=1,
        contact=settings.dumps.contact or "",
    params:
        archive=archive_of,
        patterns=patterns_of,
        partial=partial_of,
    script:
        "../scripts/download_corpus.py"


rule download_model:
    """A model and its tokenizer: from the hub at a fixed commit, or from a folder."""
    input:
        folder=model_folder,
    output:
        model=directory("<resources>/models/{model}"),
    log:
        "<logs>/download_model/{model}.log",
    benchmark:
        "<benchmarks>/download_model/{model}.tsv"
    wildcard_constraints:
        model=any_of(
            name
            for name in (
                *settings.models,
                *ALIGNMENT_MODELS,
                settings.encoders.translation.model,
            )
            if name and models[name].source != "build"
        ),
    retries: 0
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
        download_slots=1,
    params:
        version=1,
        row=model_row,
        partial=partial_of,
    script:
        "../scripts/download_model.py"
