"""Similarity of representations, layer by layer, and what goes along with it.

Requires the states of every side of a comparison,
`<results>/states/{model}/{network}/s{seed}/{subnetwork}/{corpus}`; which comparisons there are, and
which measures they are made with, is in `babelscope.representations.comparisons`. Makes
`<results>/similarity/{model}/s{seed}/{corpus}/{comparison}/{measure}.parquet`, one tidy row per score
of states pooled by the first of `poolings_of`, of retrieval by each; and
`<results>/scores/typology/{model}/s{seed}/{corpus}.parquet` with the points it is computed from.
"""


rule compute_cka:
    """Similarity of a comparison's pairs, layer by layer, by centred kernel alignment."""
    input:
        states=states_of_comparison,
    output:
        scores="<results>/similarity/{model}/s{seed}/{corpus}/{comparison}/cka.parquet",
    log:
        "<logs>/compute_cka/{model}/s{seed}/{corpus}/{comparison}.log",
    benchmark:
        "<benchmarks>/compute_cka/{model}/s{seed}/{corpus}/{comparison}.tsv"
    wildcard_constraints:
        comparison=any_of(MEASURES["cka"]),
    retries: 1
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=doubling(2000),
        runtime=doubling(60),
    params:
        code=digest(
            "representations/cka.py",
            "representations/comparisons.py",
            "representations/jackknife.py",
            "representations/rows.py",
            "representations/scores.py",
            "representations/states.py",
        ),
        languages=compared_languages,
        pivot=settings.pivot,
        pooling=pooling_of,
        settings=section("compare", "blocks", "seed"),
    script:
        "../scripts/compute_cka.py"


rule compute_rsa:
    """Correlation of sentence similarities, plain and by ridge regression."""
    input:
        states=states_of_comparison,
    output:
        scores="<results>/similarity/{model}/s{seed}/{corpus}/{comparison}/rsa.parquet",
    log:
        "<logs>/compute_rsa/{model}/s{seed}/{corpus}/{comparison}.log",
    benchmark:
        "<benchmarks>/compute_rsa/{model}/s{seed}/{corpus}/{comparison}.tsv"
    wildcard_constraints:
        comparison=any_of(MEASURES["rsa"]),
    retries: 1
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        # of each side the similarities of all pairs of sentences
        mem_mb=doubling(max(2000, settings.parallel.max_sentences**2 // 5000)),
        runtime=doubling(60),
    params:
        code=digest(
            "representations/rsa.py",
            "representations/comparisons.py",
            "representations/jackknife.py",
            "representations/rows.py",
            "representations/scores.py",
            "representations/states.py",
        ),
        languages=compared_languages,
        pivot=settings.pivot,
        pooling=pooling_of,
        settings=section("compare", "blocks", "ridge_folds", "seed"),
    script:
        "../scripts/compute_rsa.py"


rule compute_isomorphism:
    """How nearly two sides are the same space, apart from which row is which."""
    input:
        states=states_of_comparison,
    output:
        scores="<results>/similarity/{model}/s{seed}/{corpus}/{comparison}/isomorphism.parquet",
    log:
        "<logs>/compute_isomorphism/{model}/s{seed}/{corpus}/{comparison}.log",
    benchmark:
        "<benchmarks>/compute_isomorphism/{model}/s{seed}/{corpus}/{comparison}.tsv"
    wildcard_constraints:
        comparison=any_of(MEASURES["isomorphism"]),
    retries: 1
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=doubling(2000),
        runtime=doubling(60),
    params:
        code=digest(
            "representations/isomorphism.py",
            "representations/rsa.py",
            "representations/comparisons.py",
            "representations/jackknife.py",
            "representations/rows.py",
            "representations/scores.py",
            "representations/states.py",
        ),
        languages=compared_languages,
        pivot=settings.pivot,
        pooling=pooling_of,
        settings=section("compare", "blocks", "parts", "seed"),
    script:
        "../scripts/compute_isomorphism.py"


rule compute_retrieval:
    """Errors of finding each sentence's translation among the nearest neighbours."""
    input:
        states=states_of_comparison,
    output:
        scores="<results>/similarity/{model}/s{seed}/{corpus}/{comparison}/retrieval.parquet",
    log:
        "<logs>/compute_retrieval/{model}/s{seed}/{corpus}/{comparison}.log",
    benchmark:
        "<benchmarks>/compute_retrieval/{model}/s{seed}/{corpus}/{comparison}.tsv"
    wildcard_constraints:
        comparison=any_of(MEASURES["retrieval"]),
    retries: 1
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=doubling(2000),
        runtime=doubling(60),
    params:
        code=digest(
            "representations/retrieval.py",
            "representations/comparisons.py",
            "representations/rows.py",
            "representations/scores.py",
            "representations/states.py",
        ),
        languages=compared_languages,
        pivot=settings.pivot,
        poolings=poolings_of,
        settings=section("compare", "margin", "neighbours", "seed"),
    script:
        "../scripts/compute_retrieval.py"


rule compute_uniformity:
    """How near translations lie to each other, and how evenly sentences spread over the sphere."""
    input:
        states=states_of_comparison,
    output:
        scores="<results>/similarity/{model}/s{seed}/{corpus}/{comparison}/uniformity.parquet",
    log:
        "<logs>/compute_uniformity/{model}/s{seed}/{corpus}/{comparison}.log",
    benchmark:
        "<benchmarks>/compute_uniformity/{model}/s{seed}/{corpus}/{comparison}.tsv"
    wildcard_constraints:
        comparison=any_of(MEASURES["uniformity"]),
    retries: 1
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=doubling(2000),
        runtime=doubling(60),
    params:
        code=digest(
            "representations/uniformity.py",
            "representations/comparisons.py",
            "representations/jackknife.py",
            "representations/rows.py",
            "representations/scores.py",
            "representations/states.py",
        ),
        languages=compared_languages,
        pivot=settings.pivot,
        pooling=pooling_of,
        settings=section("compare", "blocks", "seed"),
    script:
        "../scripts/compute_uniformity.py"


rule compute_typology:
    """Does similarity go along with syntactic distance and token overlap?"""
    input:
        similarity="<results>/similarity/{model}/s{seed}/{corpus}/languages/cka.parquet",
        overlap="<results>/scores/token_overlap/{model}/{corpus}.parquet",
        pairs="<results>/scores/token_overlap/{model}/{corpus}.pairs.parquet",
    output:
        scores="<results>/scores/typology/{model}/s{seed}/{corpus}.parquet",
        points="<results>/scores/typology/{model}/s{seed}/{corpus}.points.parquet",
    log:
        "<logs>/compute_typology/{model}/s{seed}/{corpus}.log",
    benchmark:
        "<benchmarks>/compute_typology/{model}/s{seed}/{corpus}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=doubling(1000),
        runtime=doubling(30),
    params:
        code=digest(
            "typology.py",
            "representations/typology.py",
            "representations/jackknife.py",
            "representations/rows.py",
        ),
        codes={code: languages[code].uriel for code in LANGS},
        pivot=settings.pivot,
        settings=section("compare", "permutations", "seed"),
    script:
        "../scripts/compute_typology.py"
