"""Settings, tables, wildcard constraints and small functions that the rules share; no rules."""

import hashlib
import re
from itertools import product
from pathlib import Path

from babelscope import running
from babelscope.checks import (
    check_budgets,
    check_contact,
    check_keys,
    prompt_languages,
)
from babelscope.config import (
    ALIGNED,
    EVALUATED,
    MODULAR,
    STRATEGIES,
    WHOLE,
    Corpus,
    Model,
    check_alignment,
    check_encoders,
    check_heads,
    check_names,
    check_tickets,
    load_settings,
    read_rows,
)
from babelscope.errors import BabelscopeError
from babelscope.languages import Language
from babelscope.representations.comparisons import (
    ALIGNMENT_COMPARISONS,
    COMPARISONS,
    HEAD_MEASURES,
    MEASURES,
    TICKET_COMPARISONS,
    TICKET_MEASURES,
    alignment_measures,
    parts_of,
)
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

ROOT = Path(workflow.basedir)
LIBRARY = ROOT / "workflow" / "src" / "babelscope"

try:
    for file in dict.fromkeys(workflow.configfiles):
        check_keys(file)
    settings = load_settings(dict(config))
    languages = read_rows(ROOT / "config" / "languages.tsv", Language)
    corpora = read_rows(ROOT / "config" / "corpora.tsv", Corpus)
    models = read_rows(ROOT / "config" / "models.tsv", Model)
    check_names(settings, languages, corpora, models)
except BabelscopeError as error:
    raise WorkflowError(str(error)) from None


def any_of(values):
    """Return a regular expression that matches just these values."""
    return "|".join(re.escape(str(value)) for value in values) or "(?!)"


LANGS = settings.languages
BUDGETS = [budget.name for budget in settings.heads.budgets]
BUILT = [name for name in settings.models if models[name].source == "build"]
TICKET_LANGS = settings.tickets.languages
ENCODER_LANGS = settings.encoders.languages
ENCODER_METHODS = settings.encoders.methods
ENCODER_PAIRS = settings.encoders.pairs
ALIGNMENT_LANGS = settings.alignment.languages
ALIGNMENT_MODELS = settings.alignment.models
ALIGNMENT_CORPORA = settings.alignment.evaluated
ALIGNED_NETWORKS = ["base", *settings.alignment.networks]
BUILT_GENERATORS = [name for name in ALIGNMENT_MODELS if models[name].source == "build"]
SPLITS = ["train", "valid", "test"]
DATASETS = sorted({task.corpus for task in (settings.tasks.ner, settings.tasks.nli)})
GPUS = settings.compute.processes if settings.compute.device == "cuda" else 0
PER_NODE = settings.compute.processes // settings.compute.nodes

# Settings of a training that change no result; they are resources, not params.
HOUSEKEEPING = {"save_steps", "report_to"}
TASK_HOUSEKEEPING = {"save_steps", "logging_steps"}
SHOWN = {"english", "colour", "marker"}
HEADS_TABLES = [
    "corpus",
    "perplexity",
    "perplexity_finetuning",
    "parameters",
    "token_overlap",
    "heads",
    "masks",
    "overlap",
    "trajectories",
    "similarity",
    "similarity_differences",
    "typology",
    "typology_points",
]
# By comparison, how figures are named and labelled that show it.
HEADS_COMPARED = {
    "shuffled": ("shuffled_pairs", "pivot against shuffled sentences of others"),
    "random": ("against_random_model", "fine-tuned against a random model"),
    "languages": ("pivot_vs_others", "pivot against other languages"),
    "own": ("full_vs_own_subnetwork", "full model against own subnetwork"),
    "others": (
        "pivot_full_vs_other_subnetworks",
        "pivot in the full model against the others' subnetworks",
    ),
    "subnetworks": (
        "pivot_subnetwork_vs_other_subnetworks",
        "pivot's subnetwork against the others' subnetworks",
    ),
    "pivot-subnetwork": (
        "pivot_subnetwork_vs_other_languages",
        "from the pivot's subnetwork to other languages",
    ),
}
MEASURE_NAMES = {"rsa": "RSA"}  # as far as they differ from those of files
MEASURE_FIGURES = {  # what each shows: measure and comparison
    f"{measure}_{HEADS_COMPARED[comparison][0]}": (measure, comparison)
    for measure, comparisons in HEAD_MEASURES.items()
    if measure != "cka"
    for comparison in comparisons
}
HEADS_FIGURES = {  # by the rule that draws them
    "budget": [
        "head_masks",
        "masked_per_layer",
        "mask_overlap",
        "perplexity_of_subnetworks",
        "perplexity_ratio_of_subnetworks",
    ],
    "perplexity": ["perplexity_finetuning", "pruning_trajectories"],
    "training": ["training_losses"],
    "cka": [
        "cka_shuffled_pairs",
        "cka_against_random_model",
        "cka_pivot_vs_others",
        "cka_full_vs_own_subnetwork",
        "cka_layers_pivot",
        "cka_layers_all_languages",
        "cka_pivot_full_vs_other_subnetworks",
        "cka_pivot_subnetwork_vs_other_subnetworks",
        "cka_pivot_subnetwork_vs_other_languages",
        "cka_difference_full_vs_subnetworks",
        "cka_difference_pivot_subnetwork",
    ],
    "measures": list(MEASURE_FIGURES),
    "typology": ["token_overlap", "cka_and_typology", "cka_and_typology_by_layer"],
}
TICKET_TABLES = [
    "corpus",
    "scores",
    "transfer",
    "overlap",
    "sizes",
    "shared",
    "typology",
    "typology_points",
    "similarity",
    "summary",
]
# By the rule that draws them; {tasks} marks what takes more than one task.
TICKET_FIGURES = {
    "performance": ["performance/{task}"],
    "transfer": [
        "transfer/{task}.k{kept}",
        "zero_shot/{task}.k{kept}",
        "{tasks}transfer_tasks.k{kept}",
    ],
    "overlap": [
        "overlap/{task}.k{kept}",
        "{tasks}overlap_tasks.k{kept}",
        "overlap_per_layer.k{kept}",
        "overlap_per_component.k{kept}",
        "sparsity_per_layer.k{kept}",
        "sparsity_per_component.k{kept}",
        "shared_by_k.k{kept}",
    ],
    "typology": ["dendrogram.k{kept}", "typology.k{kept}"],
    "representations": ["retrieval_{pooling}", "cka_ticket_vs_full"],
}
ENCODER_TABLES = [
    "corpus",
    "scores",
    "comparisons",
    "main",
    "per_language",
    "transfer_points",
    "transfer_correlations",
]
ALIGNMENT_TABLES = [
    "corpus",
    "scores",
    "comparisons",
    "gaps",
    "similarity",
    "training",
    "cost",
]
ALIGNMENT_FIGURES = {  # by the rule that draws them
    "accuracy": ["accuracy_{prompts}", "changes"],
    "gaps": ["gaps_{prompts}"],
    "training": ["training_curves"],
    "layers": [
        "retrieval_per_layer",
        "cka_per_layer",
        "alignment_uniformity_per_layer",
    ],
    "map": ["sentence_map"],
}
ENCODER_FIGURES = {  # by the rule that draws them
    "main": ["main_monolingual", "main_crosslingual"],
    "languages": ["per_language/{task}"],
    "strategies": ["strategies"],
    "structure": ["rsim_and_transfer", "language_bias"],
    "map": ["sentence_map"],
}


wildcard_constraints:
    wiki=any_of(language.wiki for language in languages.values()),
    date=r"\d{8}",
    lang=any_of(LANGS),
    split="train|valid|test",
    model=any_of([*settings.models, *ALIGNMENT_MODELS]),
    network=any_of(["base", "random", "finetuned", "ticket", *ALIGNED]),
    task=any_of(settings.tickets.tasks),
    variant=any_of(settings.tickets.variants),
    kept=any_of(settings.tickets.kept),
    dataset=any_of(DATASETS),
    seed=any_of(settings.seeds),
    budget=any_of(BUDGETS),
    masks=any_of(["full", *BUDGETS]),
    subnetwork=any_of(["full", *LANGS]),
    corpus=any_of(
        [
            *settings.parallel.corpora,
            *settings.encoders.evaluated,
            *settings.alignment.translations,
            *ALIGNMENT_CORPORA,
        ]
    ),
    pairs=any_of([*ENCODER_PAIRS, *settings.alignment.translations]),
    whole=any_of(WHOLE[1:]),
    method=any_of(ENCODER_METHODS),
    strategy=any_of(STRATEGIES),
    comparison=any_of(COMPARISONS),
    draw=any_of(range(settings.heads.draws)),


def section(path, *keys):
    """Return one section of the settings, `mlm.finetune` say, as plain values for `params`.

    With keys, only these: a rule that names no more than it reads does not rerun for the rest.
    """
    value = settings
    for key in path.split("."):
        value = getattr(value, key)
    return value.model_dump(include=set(keys) or None)


def training(path):
    """Return the settings of a training apart from those that no result depends on."""
    return {
        key: value for key, value in section(path).items() if key not in HOUSEKEEPING
    }


def several_nodes():
    """Return what a training asks Slurm's executor for besides, if it is to run on several nodes.

    A task per process, and as many on each node: on GPUs by their number, since Slurm takes only one of
    both. With `mpi` the executor leaves it to the job to start them.
    """
    compute = settings.compute
    if compute.nodes == 1:
        return {}
    if GPUS:
        tasks = {"tasks": compute.processes, "tasks_per_gpu": 1}
    elif PER_NODE > 1:
        tasks = {"tasks_per_node": PER_NODE}
    else:
        tasks = {"tasks": compute.processes}
    return {
        "mpi": "srun",
        "nodes": compute.nodes,
        **tasks,
        "cpus_per_task": compute.training_threads,
    }


def digest(*sources):
    """Return a hash of library files, so that rules which name it rerun when these change."""
    content = b"".join((LIBRARY / source).read_bytes() for source in sources)
    return hashlib.sha256(content).hexdigest()[:16]


def doubling(amount):
    """Return a resource that doubles at each attempt: memory in MB or time in minutes.

    The time of a training stays as it is, since a retry goes on from the last checkpoint.
    """

    def resource(wildcards, attempt):
        return amount * 2 ** (attempt - 1)

    return resource


def bulky(path):
    """Mark states as temporary unless the configuration keeps them."""
    return path if settings.encode.keep_states else temp(path)


def date_of(lang):
    """Return the date of a language's dump."""
    return settings.dumps.date.get(lang, settings.dumps.date["default"])


def dump_of(wildcards):
    """Return the folder of a language's dump."""
    wiki = languages[wildcards.lang].wiki
    return f"<resources>/dumps/{settings.dumps.folder}/{wiki}/{date_of(wildcards.lang)}"


def tokenizer_of(wildcards):
    """Return the folder with a model's tokenizer."""
    if wildcards.model in (*BUILT, *BUILT_GENERATORS):
        return "<results>/tokenizers/{model}"
    return "<resources>/models/{model}"


def base_of(wildcards):
    """Return the folder of a model before fine-tuning."""
    return (
        "<results>/models/{model}/base"
        if wildcards.model in (*BUILT, *BUILT_GENERATORS)
        else "<resources>/models/{model}"
    )


def network_of(wildcards):
    """Return the model folder of a network: base, or what it became; of a ticket the base's."""
    if wildcards.network in ("base", "ticket"):
        return base_of(wildcards)
    if wildcards.network == "finetuned" and settings.mlm.eval_only:
        return base_of(wildcards)
    return "<results>/models/{model}/{network}/s{seed}"


def demo_dumps(wildcards):
    """Return the folder of the demo's dumps, if dumps come from there."""
    return "<resources>/demo/dumps" if settings.dumps.source == "demo" else []


def sample_of_dump():
    """Return how a multistream dump is sampled; None: it is fetched whole."""
    if settings.dumps.sampling == "whole":
        return None
    return {"seed": settings.articles.seed, "articles": settings.articles.per_language}


def partial_of(wildcards, output):
    """Return where an unfinished download waits, since Snakemake deletes outputs before a job."""
    folder = Path(output[0])
    kinds = ("dumps", "corpora", "models")
    root = next(parent for parent in folder.parents if parent.name in kinds)
    return str(root / ".partial" / "-".join(folder.relative_to(root).parts))


def archive_of(wildcards):
    """Return address and checksum of a corpus that is fetched."""
    return corpora[wildcards.corpus].model_dump(include={"url", "sha256"})


def patterns_of(wildcards):
    """Return which files of the hub's a corpus needs; of an archive, all are taken.

    Of files for two languages those that there are: no corpus has all pairs of its languages.
    """
    row = corpora[wildcards.corpus]
    if not row.url.startswith("hf:"):
        return []
    if row.kind in ("pairs", "instructions", "choices", *EVALUATED):
        files = study_files(wildcards.corpus, "").values()
        paths = list(dict.fromkeys(file.removeprefix("/") for file in files))
        return [paths] if two_languages(row) else paths
    names = [name for name, _, _ in row.parts.values()] if row.splits else [""]
    path = row.path.removeprefix("{fetched}/")
    paths = product(names, TICKET_LANGS if row.splits else LANGS)
    return list(
        dict.fromkeys(
            in_language(path.replace("{split}", name), lang) for name, lang in paths
        )
    )


def extra_text(wildcards):
    """Return the file of further text in a language, if the configuration names one."""
    extra = settings.articles.extra
    return extra.replace("{lang}", wildcards.lang) if extra else []


def articles_source(wildcards):
    """Return what messages call the articles of a language."""
    wiki = languages[wildcards.lang].wiki
    return f"{wildcards.lang} ({wiki} {date_of(wildcards.lang)})"


def corpus_files(wildcards):
    """Return the file of a parallel corpus, its files by language, or the folder they come in."""
    path = corpora[wildcards.corpus].path
    if "{fetched}" in path:
        return "<resources>/corpora/{corpus}"
    path = path.replace("{demo}", "<resources>/demo")
    path = path.replace("{data_root}", settings.data_root or "")
    langs = parallel_languages(wildcards)
    return list(dict.fromkeys(in_language(path, lang) for lang in langs))


def parallel_languages(wildcards):
    """Return the languages that parallel text is read in: all, or those it is to align."""
    if wildcards.corpus not in settings.alignment.translations:
        return LANGS
    codes = corpora[wildcards.corpus].codes
    return [lang for lang in ALIGNMENT_LANGS if lang in codes or not codes]


def most_sentences(wildcards):
    """Return how many parallel sentences are compared at most; what trains a model is taken whole."""
    aligns = wildcards.corpus in settings.alignment.translations
    return None if aligns else settings.parallel.max_sentences


def corpus_paths(wildcards, input):
    """Return the file of a parallel corpus, or by language its files, as `read_parallel` takes it."""
    langs = parallel_languages(wildcards)
    path = corpora[wildcards.corpus].path
    if "{fetched}" in path:
        path = path.replace("{fetched}", input.corpus)
        files = [in_language(path, lang) for lang in langs]
    else:
        files = input.corpus if isinstance(input.corpus, list) else [input.corpus]
    return dict(zip(langs, files)) if len(files) == len(langs) else files[0]


def in_language(path, lang):
    """Return a path with the language's code where it names {lang}, {flores} or {iso639_3}."""
    codes = {"lang": lang, **languages[lang].model_dump(include={"flores", "iso639_3"})}
    for name, code in codes.items():
        path = path.replace(f"{{{name}}}", code)
    return path


def task_sources(wildcards):
    """Return what a task's corpus is read from: its files, or the folder they come in.

    Files that are not there are left out; the job says which, and in which language.
    """
    row = corpora[wildcards.dataset]
    if "{fetched}" in row.path:
        return "<resources>/corpora/{dataset}"
    if "{demo}" in row.path:
        return f"<resources>/demo/{row.kind}"
    files = task_files_below(wildcards, settings.data_root)
    return [
        file
        for by_name in files.values()
        for file in dict.fromkeys(by_name.values())
        if Path(file).exists()
    ]


def task_paths(wildcards, input):
    """Return the files of a task's corpus by language and by name, as `read_examples` takes them."""
    path = corpora[wildcards.dataset].path
    root = settings.data_root
    if "{fetched}" in path:
        root = str(input.sources)
    elif "{demo}" in path:
        root = str(Path(input.sources).parent)
    return task_files_below(wildcards, root)


def task_files_below(wildcards, root):
    """Return the files of a task's corpus by language and by name, wherever its folder is."""
    row = corpora[wildcards.dataset]
    path = re.sub(r"\{(fetched|demo|data_root)\}", lambda _: root, row.path)
    names = dict.fromkeys(name for name, _, _ in row.parts.values())
    return {
        lang: {name: in_language(path.replace("{split}", name), lang) for name in names}
        for lang in TICKET_LANGS
    }


def task_reading(wildcards):
    """Return how a task's corpus is read, as keywords of `read_examples`."""
    row = corpora[wildcards.dataset]
    keywords = row.model_dump(include={"kind", "format", "id_column"})
    return keywords | {"parts": row.parts, "types": row.labels.split()}


def reading_of(wildcards):
    """Return the format of a parallel corpus, the column of its ids, and what columns it has."""
    corpus = corpora[wildcards.corpus]
    return corpus.model_dump(include={"format", "id_column"}) | {
        "columns": list(corpus.codes)
    }


def checkpoints_of(wildcards, output):
    """Return the folder in which a training keeps its state, beside its output but no output."""
    model = Path(output.model)
    home = model.parents[1] if "seed" in wildcards.keys() else model.parent
    return str(home / ".checkpoints" / "-".join(model.relative_to(home).parts))


def shown_languages(codes=LANGS):
    """Return how figures name and draw each language of a study, in the configuration's order."""
    return {code: languages[code].model_dump(include=SHOWN) for code in codes}


def labels(**wildcards):
    """Return the wildcards of each path that `expand` makes of the same arguments, in its order."""
    return [dict(zip(wildcards, values)) for values in product(*wildcards.values())]


def histories_of(wildcards):
    """Return the histories of a model's trainings: from scratch, if it is built, and fine-tuned."""
    base = (
        ["<results>/models/{model}/base.history.parquet"]
        if wildcards.model in BUILT
        else []
    )
    seeds = [] if settings.mlm.eval_only else settings.seeds
    return base + expand(
        "<results>/models/{{model}}/finetuned/s{seed}.history.parquet", seed=seeds
    )


def runs_of(wildcards):
    """Return which training each file of `histories_of` belongs to."""
    base = (
        labels(run=["base"], seed=settings.seeds[:1])
        if wildcards.model in BUILT
        else []
    )
    seeds = [] if settings.mlm.eval_only else settings.seeds
    return base + labels(run=["finetuned"], seed=seeds)


def heads_targets(wildcards):
    """Return every table and figure of the heads study."""
    try:
        check_heads(settings, corpora, models)
        check_budgets(settings, models)
    except BabelscopeError as error:
        raise WorkflowError(str(error)) from None
    return [file for model in settings.models for file in heads_files(model)]


def heads_files(model):
    """Return one model's tables and figures; those of trainings only if there are any."""
    trained = model in BUILT or not settings.mlm.eval_only
    optional = {"training": trained, "entropy": settings.heads.entropy}
    tables = HEADS_TABLES + [table for table, wanted in optional.items() if wanted]
    groups = {
        key: names
        for key, names in HEADS_FIGURES.items()
        if key != "training" or trained
    }
    per_budget = [f"{budget}/{name}" for budget in BUDGETS for name in groups["budget"]]
    figures = [
        name for key, names in groups.items() if key != "budget" for name in names
    ]
    return expand(
        "<results>/tables/heads/{model}/{table}.{kind}",
        model=model,
        table=tables,
        kind=["parquet", "csv"],
    ) + expand(
        "<results>/figures/heads/{model}/{figure}.{kind}",
        model=model,
        figure=[*figures, *per_budget],
        kind=["png", "pdf", "csv"],
    )


def tickets_targets(wildcards):
    """Return every table and figure of the tickets study, and the masks that languages share."""
    try:
        check_tickets(settings, corpora, models)
    except BabelscopeError as error:
        raise WorkflowError(str(error)) from None
    return [file for model in settings.models for file in tickets_files(model)]


def tickets_files(model):
    """Return one model's tables and figures of the tickets study, and the masks languages share."""
    figures = [
        figure.replace("{kept}", str(kept))
        for rule in TICKET_FIGURES
        for figure in ticket_figures(rule)
        for kept in settings.tickets.analysed
    ]
    return (
        expand(
            "<results>/tables/tickets/{model}/{table}.{kind}",
            model=model,
            table=TICKET_TABLES,
            kind=["parquet", "csv"],
        )
        + expand(
            "<results>/figures/tickets/{model}/{figure}.{kind}",
            model=model,
            figure=list(dict.fromkeys(figures)),
            kind=["png", "pdf", "csv"],
        )
        + expand(
            "<results>/masks/{model}/s{seed}/{task}/shared/{operation}.k{kept}.safetensors",
            model=model,
            seed=settings.seeds,
            task=settings.tickets.tasks,
            operation=["intersection", "union"],
            kept=settings.tickets.analysed,
        )
    )


def ticket_figures(rule):
    """Return the figures that a rule draws, with {kept} left open."""
    named = [
        figure.replace("{task}", task).replace("{pooling}", pooling)
        for figure in TICKET_FIGURES[rule]
        for task in settings.tickets.tasks
        for pooling in settings.encode.poolings
        if len(settings.tickets.tasks) > 1 or "{tasks}" not in figure
    ]
    return list(dict.fromkeys(figure.replace("{tasks}", "") for figure in named))


def several_tasks(path):
    """Return a path in a list, empty if there is one task alone and nothing to compare it with."""
    return [path] if len(settings.tickets.tasks) > 1 else []


def study_targets(wildcards):
    """Return every table and figure of the studies that the configuration names."""
    studies = {
        "heads": heads_targets,
        "tickets": tickets_targets,
        "encoders": encoders_targets,
        "alignment": alignment_targets,
    }
    return [file for study in settings.studies for file in studies[study](wildcards)]


def study_figures(wildcards):
    """Return the figures among the targets."""
    return [file for file in study_targets(wildcards) if "/figures/" in file]


def task_files(task, lang):
    """Return where a task's examples of a language stand, with {split} left open."""
    if task == "mlm":
        return f"<results>/text/chunks/{{model}}/{lang}/{{split}}.arrow"
    corpus = getattr(settings.tasks, task).corpus
    return f"<results>/text/tasks/{corpus}/{lang}/{{split}}.parquet"


def examples_of(split):
    """Return a function that names a task's examples in its language, of one split."""

    def file(wildcards):
        return task_files(wildcards.task, wildcards.lang).replace("{split}", split)

    return file


def masks_of_subnetwork(wildcards):
    """Return the file with the head masks that an encoded subnetwork is one of, or its ticket."""
    if wildcards.network == "ticket":
        tickets = settings.tickets
        return (
            f"<results>/masks/{{model}}/s{{seed}}/{tickets.encoded}/{{subnetwork}}/ticket/"
            f"k{tickets.analysed[0]}.safetensors"
        )
    if wildcards.subnetwork == "full":
        return []
    return f"<results>/masks/{{model}}/s{{seed}}/{settings.heads.analysed}.safetensors"


def states_of_comparison(wildcards):
    """Return the folders with the states that a comparison needs, in the order of `parts_of`."""
    return [
        f"<results>/states/{{model}}/{network}/s{{seed}}/{subnetwork}/{{corpus}}"
        for network, subnetwork in parts_of(
            wildcards.comparison, compared_languages(wildcards), settings.pivot
        )
    ]


def compared_languages(wildcards):
    """Return the languages of a comparison: those of its study."""
    if wildcards.comparison in ALIGNMENT_COMPARISONS:
        return ALIGNMENT_LANGS
    return TICKET_LANGS if wildcards.comparison in TICKET_COMPARISONS else LANGS


def poolings_of(wildcards):
    """Return how states of a model are pooled; the first is what all measures compare."""
    generates = wildcards.model in ALIGNMENT_MODELS
    return (settings.alignment if generates else settings.encode).poolings


def pooling_of(wildcards):
    """Return the pooling of the states that measures compare."""
    return poolings_of(wildcards)[0]


def encoding_of(wildcards):
    """Return how sentences are encoded."""
    encoding = settings.encode.model_dump(exclude={"keep_states"})
    return encoding | {"poolings": poolings_of(wildcards)}


def window_of(wildcards):
    """Return the length of the windows that a model is trained on."""
    generates = wildcards.model in ALIGNMENT_MODELS
    return settings.alignment.window if generates else settings.mlm.window


def shown_similarities():
    """Return which similarities figures show: of the first corpus, states pooled the first way."""
    return {
        "corpus": settings.parallel.corpora[0],
        "pooling": settings.encode.poolings[0],
    }


def similarities(measures):
    """Return a model's files of similarities, {model} left open.

    `measures` are `HEAD_MEASURES` or `TICKET_MEASURES`. Columns are those of
    `babelscope.representations.scores.score_pairs` after model, seed, corpus, comparison, pooling.
    """
    return [
        f"<results>/similarity/{{model}}/s{seed}/{corpus}/{comparison}/{measure}.parquet"
        for seed in settings.seeds
        for corpus in settings.parallel.corpora
        for measure, comparisons in measures.items()
        for comparison in comparisons
    ]


def model_folder(wildcards):
    """Return the folder that a model is taken from, if it comes from a folder."""
    row = models[wildcards.model]
    return row.location if row.source == "local" else []


def model_row(wildcards):
    """Return where a model that is not built here comes from."""
    return models[wildcards.model].model_dump(include={"location", "revision"})


def pruning_limits():
    """Return how far pruning must go so that every budget can choose from it."""
    ratios = [budget.ratio for budget in settings.heads.budgets if budget.ratio]
    sparsities = [
        budget.sparsity for budget in settings.heads.budgets if budget.sparsity
    ]
    return {
        "max_ratio": max(ratios, default=None),
        "max_sparsity": max(sparsities, default=None),
    }


def budget_of(wildcards):
    """Return a budget's ratio and sparsity, one of them None."""
    budget = next(one for one in settings.heads.budgets if one.name == wildcards.budget)
    return budget.model_dump(include={"ratio", "sparsity"})


def masks_to_score(wildcards):
    """Return the head masks under which a network is scored; none: it is scored whole."""
    if wildcards.masks == "full":
        return []
    return [
        "<results>/masks/{model}/s{seed}/{masks}.safetensors",
        "<results>/masks/{model}/s{seed}/{masks}.controls.safetensors",
    ]


def finetuned_model(wildcards):
    """Return the folder of the model whose heads are studied: fine-tuned, unless that is left out."""
    if settings.mlm.eval_only:
        return base_of(wildcards)
    return "<results>/models/{model}/finetuned/s{seed}"


def task_settings(wildcards):
    """Return the section of a task without what changes no result, or only that of a transfer."""
    settings_of = section(f"tasks.{wildcards.task}")
    kept = {key: value for key, value in settings_of.items() if key != "transfer_steps"}
    rounds = settings_of["training"].items()
    return kept | {
        "training": {
            key: value for key, value in rounds if key not in TASK_HOUSEKEEPING
        }
    }


def task_housekeeping(key):
    """Return a resource: a setting of a task's training that changes no result."""

    def resource(wildcards):
        return section(f"tasks.{wildcards.task}.training")[key]

    return resource


def transfer_steps(wildcards):
    """Return how many steps a transferred mask is trained; None: as many as in a round."""
    return section(f"tasks.{wildcards.task}")["transfer_steps"]


def tag_scheme(wildcards):
    """Return the files whose tags are a task's labels: those of all languages."""
    if wildcards.task != "ner":
        return []
    return [
        task_files(wildcards.task, lang).replace("{split}", "train")
        for lang in TICKET_LANGS
    ]


def transfer_tests(wildcards):
    """Return the test examples of a task in every language of the study."""
    return [
        task_files(wildcards.task, lang).replace("{split}", "test")
        for lang in TICKET_LANGS
    ]


def transfer_sources(wildcards):
    """Return the places whose tickets are tried on a target: its task's, then its language's.

    T5 and mT5 tag words with their encoder alone; tickets of that say nothing of a decoder.
    """
    lacking = ["ner"] if models[wildcards.model].family in ("t5", "mt5") else []
    return [[wildcards.task, lang] for lang in TICKET_LANGS] + [
        [task, wildcards.lang]
        for task in settings.tickets.tasks
        if task not in (wildcards.task, *lacking)
    ]


def transfer_masks(wildcards):
    """Return the tickets of `transfer_sources`."""
    return [
        f"<results>/masks/{{model}}/s{{seed}}/{task}/{lang}/ticket/k{{kept}}.safetensors"
        for task, lang in transfer_sources(wildcards)
    ]


def checkpoints_of_search(wildcards, output):
    """Return the folder in which a search for tickets keeps its state."""
    variant = Path(output.masks[0]).parent
    home = variant.parents[1] / ".checkpoints"
    return str(home / f"{wildcards.lang}-{wildcards.variant}")


def checkpoints_of_transfer(wildcards, output):
    """Return the folder in which a transfer keeps the networks it has trained."""
    home = Path(output.scores).parents[1] / ".checkpoints"
    return str(home / f"{wildcards.lang}-k{wildcards.kept}")


def encoders_targets(wildcards):
    """Return every table and figure of the encoders study, and the encoders to be exported."""
    try:
        check_encoders(settings, corpora, models)
    except BabelscopeError as error:
        raise WorkflowError(str(error)) from None
    return [file for model in settings.models for file in encoders_files(model)]


def encoders_files(model):
    """Return one model's tables, figures and exported encoders of the encoders study."""
    return (
        expand(
            "<results>/tables/encoders/{model}/{table}.{kind}",
            model=model,
            table=ENCODER_TABLES,
            kind=["parquet", "csv"],
        )
        + expand(
            "<results>/figures/encoders/{model}/{figure}.{kind}",
            model=model,
            figure=[name for rule in ENCODER_FIGURES for name in encoder_figures(rule)],
            kind=["png", "pdf", "csv"],
        )
        + expand(
            "<results>/models/{model}/encoders/s{seed}/exported/{method}/{lang}",
            model=model,
            seed=settings.seeds,
            method=settings.encoders.exported,
            lang=ENCODER_LANGS,
        )
    )


def encoder_tasks():
    """Return the tasks that encoders are judged by: those of the corpora, and retrieval."""
    kinds = [corpora[name].kind for name in settings.encoders.evaluated]
    return list(dict.fromkeys([*kinds, "bitext"]))


def encoder_figures(rule):
    """Return the figures of the encoders study that a rule draws."""
    return [
        figure.replace("{task}", task)
        for figure in ENCODER_FIGURES[rule]
        if figure != "strategies" or settings.encoders.strategies
        for task in (encoder_tasks() if "{task}" in figure else [""])
    ]


def languages_of(name):
    """Return the languages that a corpus has, of the studies that use it."""
    used = [
        *(ENCODER_LANGS if name in encoder_corpora() else ()),
        *(ALIGNMENT_LANGS if name in alignment_corpora() else ()),
    ]
    codes = corpora[name].codes
    return [lang for lang in dict.fromkeys(used) if lang in codes or not codes]


def encoder_corpora():
    """Return the corpora of the encoders study."""
    return [*ENCODER_PAIRS, *settings.encoders.evaluated]


def alignment_corpora():
    """Return the corpora of the alignment study."""
    alignment = settings.alignment
    return [*alignment.instructions, *alignment.translations, *ALIGNMENT_CORPORA]


def translation_tables(wildcards):
    """Return the tables of the corpora whose sentences are translated."""
    return [
        (
            f"<results>/text/parallel/{name}.parquet"
            if corpora[name].kind == "parallel"
            else f"<results>/text/pairs/{name}/read.parquet"
        )
        for name in settings.alignment.translations
    ]


def translated_languages(name):
    """Return the languages into which pairs are translated, since their corpus lacks them."""
    present = languages_of(name)
    return [lang for lang in ENCODER_LANGS if lang not in present]


def pairs_of(langs):
    """Return the files with the pairs of some languages: as they were read, or translated."""
    return list(
        dict.fromkeys(
            (
                f"<results>/text/pairs/{name}/read.parquet"
                if lang in languages_of(name)
                else f"<results>/text/pairs/{name}/{lang}.parquet"
            )
            for name in ENCODER_PAIRS
            for lang in langs
        )
    )


def encoder_windows(wildcards):
    """Return the training text of each language as windows: of its own tokenizer, if it has one."""
    own = "own/" if set(ENCODER_METHODS) & set(MODULAR) else ""
    return [
        f"<results>/text/chunks/{{model}}/{own}{lang}/train.arrow"
        for lang in ENCODER_LANGS
    ]


def language_pairs(wildcards):
    """Return the files with the pairs of one language."""
    return pairs_of([wildcards.lang])


def aligned_pairs(wildcards):
    """Return the files with the pairs of a language and of the pivot."""
    return pairs_of([settings.pivot, wildcards.lang])


def study_corpus(wildcards):
    """Return the name of the corpus of pairs, or of the evaluation corpus, of a job."""
    return wildcards.get("pairs") or wildcards.corpus


def corpus_sources(wildcards):
    """Return what a corpus of sentences or choices is read from; see `sources_of`."""
    return sources_of(study_corpus(wildcards))


def sources_of(name):
    """Return the files of a corpus, or the folder they come in.

    Files that are not there are left out; the job says which, and in which language.
    """
    row = corpora[name]
    if "{fetched}" in row.path:
        return f"<resources>/corpora/{name}"
    if "{demo}" in row.path:
        return f"<resources>/demo/{row.path.split('/')[1]}"
    files = study_files(name, settings.data_root)
    return [file for file in dict.fromkeys(files.values()) if Path(file).exists()]


def corpus_places(wildcards, input):
    """Return the files of a corpus by language, pair of languages, split or part."""
    return places_below(study_corpus(wildcards), input.sources)


def places_below(name, sources):
    """Return where the files of a corpus are, given what `sources_of` names."""
    path = corpora[name].path
    root = settings.data_root
    if "{fetched}" in path:
        root = str(sources)
    elif "{demo}" in path:
        root = str(Path(str(sources)).parent)
    return study_files(name, root)


def instruction_sources(wildcards):
    """Return what the corpora of instructions are read from, one after the other."""
    found = [sources_of(name) for name in settings.alignment.instructions]
    return [
        file for some in found for file in ([some] if isinstance(some, str) else some)
    ]


def instruction_places(wildcards, input):
    """Return the file of each language, by corpus of instructions."""
    paths = iter(input.instructions)
    places = {}
    for name in settings.alignment.instructions:
        sources = sources_of(name)
        if isinstance(sources, str):  # a folder, whose path is known only now
            sources = next(paths)
        else:
            for _ in sources:
                next(paths)
        places[name] = places_below(name, sources)
    return places


def study_files(name, root):
    """Return the files of a corpus of encoders, wherever its folder is.

    Keys are what the path leaves open, joined by `/`: a language, or two where it names two; then,
    where there are several, a split and the number of the file among those that belong together.
    """
    row = corpora[name]
    paths = [
        re.sub(r"\{(fetched|demo|data_root)\}", lambda _: root, path)
        for path in row.path.split()
    ]
    present = languages_of(name)
    if two_languages(row):
        pivot = settings.pivot
        others = [lang for lang in present if lang != pivot]
        places = [(lang, lang) for lang in present] if row.kind == "sts" else []
        places += [pair for lang in others for pair in ((pivot, lang), (lang, pivot))]
    else:
        places = [(lang,) for lang in present]
    splits = (
        [name for name, _, _ in row.parts.values()] if "{split}" in row.path else [""]
    )
    files = {}
    for place, split in product(places, dict.fromkeys(splits)):
        for number, path in enumerate(paths, start=1):
            key = [*place, split, str(number) if len(paths) > 1 else ""]
            file = in_place(path, place, row.codes).replace("{split}", split)
            files["/".join(filter(None, key))] = file
    return files


def two_languages(row):
    """Tell whether files of a corpus are named by two languages."""
    return re.search(r"\{(lang|code)2\}", row.path) is not None


def in_place(path, place, codes):
    """Return a path for one language, or for two, in whatever codes it names them."""
    for number, lang in zip(("1", "2") if len(place) == 2 else ("",), place):
        own = codes.get(lang) or languages[lang].iso639_3
        path = path.replace(f"{{code{number}}}", own)
        path = path.replace(f"{{lang{number}}}", lang)
    return in_language(path, place[0])


def corpus_reading(wildcards):
    """Return how a corpus of encoders is read."""
    name = study_corpus(wildcards)
    row = corpora[name]
    if row.kind == "pairs":
        return {"format": row.format}
    keywords = row.model_dump(include={"kind", "format", "id_column"})
    codes = {
        lang: row.codes.get(lang) or languages[lang].iso639_3
        for lang in languages_of(name)
    }
    return keywords | {
        "parts": row.parts,
        "labels": row.labels.split(),
        "codes": codes,
        "pivot": settings.pivot,
    }


def modules_of(method, lang, seed="{seed}"):
    """Return the folders of a language's modules, in the order they are stacked."""
    home = f"<results>/models/{{model}}/encoders/s{seed}/{lang}"
    strategy = method.removeprefix("modular-")
    aligned = strategy in STRATEGIES and lang != settings.pivot
    return {
        "language": f"{home}/language",
        "sentence": f"{home}/sentence",
        **({"alignment": f"{home}/{strategy}"} if aligned else {}),
    }


def encoder_parts(wildcards):
    """Return the folders that an encoder consists of, the source's first."""
    if wildcards.method in WHOLE[1:]:
        return ["<results>/models/{model}/encoders/s{seed}/{method}"]
    langs = [] if wildcards.method == "source" else ENCODER_LANGS
    modules = [
        folder
        for lang in langs
        for folder in modules_of(wildcards.method, lang, wildcards.seed).values()
    ]
    return [base_of(wildcards), *modules]


def encoder_modules(wildcards, input):
    """Return the folders of the modules by language and kind; none of an encoder that has none."""
    if wildcards.method in WHOLE:
        return {}
    paths = iter(input.encoder[1:])
    return {
        lang: {kind: next(paths) for kind in modules_of(wildcards.method, lang)}
        for lang in ENCODER_LANGS
    }


def exported_parts(wildcards):
    """Return the source and one language's modules."""
    modules = modules_of(wildcards.method, wildcards.lang, wildcards.seed)
    return [base_of(wildcards), *modules.values()]


def exported_modules(wildcards, input):
    """Return the folders of one language's modules by kind."""
    return dict(zip(modules_of(wildcards.method, wildcards.lang), input.encoder[1:]))


def checkpoints_of_encoder(wildcards, output):
    """Return the folder in which the training of an encoder or of its parts keeps its state."""
    model = Path(output[0])
    home = next(
        folder for folder in model.parents if folder.name == f"s{wildcards.seed}"
    )
    return str(home / ".checkpoints" / "-".join(model.relative_to(home).parts))


def translation_codes(wildcards):
    """Return what the translator calls the pivot and the language that it translates into."""
    return {lang: languages[lang].flores for lang in (settings.pivot, wildcards.lang)}


def parts_of_translation(wildcards, output):
    """Return the folder in which a translation keeps what is done."""
    return str(Path(output[0]).parent / ".parts" / wildcards.lang)


def begins_with(wildcards):
    """Return the encoder that a training of one network for all languages begins with."""
    if wildcards.whole == "full-cross":
        return "<results>/models/{model}/encoders/s{seed}/full-mono"
    return base_of(wildcards)


def whole_training(wildcards):
    """Return how one network for all languages is trained: in each by itself, or across them."""
    across = wildcards.whole == "full-cross"
    return pair_training("encoders.cross" if across else "encoders.full")


def languages_per_batch(wildcards):
    """Return how many languages a batch mixes."""
    return settings.encoders.cross_languages if wildcards.whole == "full-cross" else 1


def pair_training(path):
    """Return the settings of a training on pairs apart from those that no result depends on."""
    return {
        key: value
        for key, value in section(path).items()
        if key not in TASK_HOUSEKEEPING
    }


def family_of(wildcards):
    """Return the family of a model."""
    return models[wildcards.model].family


def generator_windows(wildcards):
    """Return the windows of text that a built generative model is trained on."""
    built = ALIGNMENT_LANGS if wildcards.model in BUILT_GENERATORS else []
    return [f"<results>/text/chunks/{{model}}/{lang}/train.arrow" for lang in built]


def selecting_choices(wildcards):
    """Return the choices by which a training tells its best checkpoint, if it does."""
    chosen = settings.alignment.training.selected_by
    return f"<results>/text/choices/{chosen.corpus}.parquet" if chosen else []


def prompts_of(names):
    """Return the files with the prompts of some corpora of choices."""
    formats = dict.fromkeys(corpora[name].format for name in names)
    return [str(ROOT / "config" / "prompts" / f"{name}.yaml") for name in formats]


def selecting_prompts(wildcards):
    """Return the file with the prompts of `selecting_choices`."""
    chosen = settings.alignment.training.selected_by
    return prompts_of([chosen.corpus] if chosen else [])


def alignment_targets(wildcards):
    """Return every table and figure of the alignment study."""
    try:
        prompts = prompt_languages(ROOT / "config" / "prompts")
        check_alignment(settings, corpora, models, prompts)
    except BabelscopeError as error:
        raise WorkflowError(str(error)) from None
    return [file for model in ALIGNMENT_MODELS for file in alignment_files(model)]


def alignment_files(model):
    """Return one model's tables and figures of the alignment study."""
    return expand(
        "<results>/tables/alignment/{model}/{table}.{kind}",
        model=model,
        table=ALIGNMENT_TABLES,
        kind=["parquet", "csv"],
    ) + expand(
        "<results>/figures/alignment/{model}/{figure}.{kind}",
        model=model,
        figure=[name for rule in ALIGNMENT_FIGURES for name in alignment_figures(rule)],
        kind=["png", "pdf", "csv"],
    )


def alignment_figures(rule):
    """Return the figures of the alignment study that a rule draws."""
    return [
        figure.replace("{prompts}", prompts)
        for figure in ALIGNMENT_FIGURES[rule]
        for prompts in (settings.alignment.prompts if "{" in figure else [""])
    ]
