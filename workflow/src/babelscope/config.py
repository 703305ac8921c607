"""The configuration, typed once; imported while the workflow is parsed, so it stays light.

Values live in ``config/config.yaml`` and its overlays, never here: a field without a value in the
file is an error, not a hidden default.
"""

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from babelscope.errors import BabelscopeError
from babelscope.languages import DEMO_LANGUAGES, Code, Language
from babelscope.spelling import spelled

Row = TypeVar("Row", bound=BaseModel)
Name = Annotated[
    str,
    spelled(r"[a-z0-9][a-z0-9.-]*", "small letters, digits, dots and hyphens, no mark first"),
    Field(max_length=64),
]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1, lt=2**63)]
Several = Annotated[int, Field(ge=2, lt=2**63)]  # what a spread is computed from
Seed = Annotated[int, Field(ge=0, lt=2**31)]
SPLIT = r"[\w./{}*-]+(:0?\.\d+)?"
Date = Annotated[str, spelled("[0-9]{8}", "a date of eight digits, such as 20260101")]
Splits = Annotated[
    str,
    spelled(
        rf"({SPLIT} {SPLIT}( {SPLIT})?)?",
        "two or three names between single spaces, each with a share or none, such as `dev:0.8`",
    ),
]
FURTHER = "avg_first_last|avg_top2|avg_bottom|avg_bottom2|avg_all|last_top2|last_first_last"
POOLER = rf"(avg|last|max)(-[0-9]+)?|{FURTHER}"
LANGUAGE = r"[a-z][a-z_-]{1,19}(:\w+)?"
Variant = Literal["ticket", "repeat", "random", "component", "early", "unrewound"]
Pooling = Literal["mean", "first", "last", "max"]
Schedule = Literal["linear", "cosine", "constant"]
# Ways to make sentence encoders: one network for all languages, or a module for each.
WHOLE = ("source", "full-mono", "full-cross")
STRATEGIES = ("paraphrase", "parallel", "both")
MODULAR = ("modular-mono", *(f"modular-{strategy}" for strategy in STRATEGIES))
Method = Literal[
    "source",
    "full-mono",
    "full-cross",
    "modular-mono",
    "modular-paraphrase",
    "modular-parallel",
    "modular-both",
]
# What alignment trains: on pairs of sentences, on instructions, on both.
ALIGNED = ("aligned-contrastive", "aligned-instruction", "aligned-both")
Aligned = Literal["aligned-contrastive", "aligned-instruction", "aligned-both"]
Study = Literal["heads", "tickets", "encoders", "alignment"]
Family = Literal[
    "bert",
    "roberta",
    "xlm-roberta",
    "t5",
    "mt5",
    "m2m_100",
    "gpt2",
    "xglm",
    "bloom",
    "llama",
]
GENERATORS = ("gpt2", "xglm", "bloom", "llama")
# Families of models that can do the tasks; those of the second kind write their answers. Heads are
# looked for in those of the first, which learn masked words.
ENCODERS = ("bert", "roberta", "xlm-roberta")
TEXT_TO_TEXT = ("t5", "mt5")
SENTENCE_ENCODERS = ("bert", "xlm-roberta", "m2m_100")
TRANSLATORS = "m2m_100"
BUILT = "xlm-roberta"  # the family of the models that are built for `models`


PLACES = ("demo", "data_root", "fetched", "split", "lang", "code", "flores", "iso639_3")
BRACES = re.compile(r"\{(?:" + "|".join(PLACES) + r"|(?:lang|code)[12])\}")  # in a corpus's path
USER = re.compile("://[^/?#]*@")  # an address with a user name or password
ARCHIVE = re.compile(r"https?://[^/?#\s]+/\S*")
NUMBER_OF_PATHS = {"lines": (2, 3), "moses": (1, 2), "bucc": (3,)}  # other formats have one
LARGEST = 100_000  # values in a configuration, and
DEEPEST = 50  # lists and sections in each other
FEWEST = 3  # languages whose pairs a correlation is over
SHOWN, SHOWN_CHARACTERS = 12, 200  # problems in a message, and of a value that is quoted


class Section(BaseModel):
    """A part of the configuration; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Compute(Section):
    """Where models run. None of these changes a result, up to rounding."""

    device: Literal["cpu", "cuda"]
    precision: Literal["float32", "bf16", "fp16"]
    processes: Count = Field(description="data-parallel processes of one training")
    nodes: Count = Field(description="of a cluster, that these processes are spread over evenly")
    threads: Count = Field(description="threads of one model job that reads a network")
    training_threads: Count = Field(description="threads of one process of a training")

    @model_validator(mode="after")
    def _half_precision_needs_a_gpu(self) -> "Compute":
        if self.device == "cpu" and self.precision == "fp16":
            raise ValueError("fp16 needs device: cuda; a CPU knows float32 and bf16")
        return self

    @model_validator(mode="after")
    def _every_node_has_as_many_processes(self) -> "Compute":
        if self.processes % self.nodes:
            raise ValueError(
                f"nodes must divide processes: {self.processes} cannot be spread evenly over"
                f" {self.nodes} nodes"
            )
        return self


def _written(date: Any) -> Any:
    """Return a date as it was written: YAML takes digits without quotes for a number."""
    return str(date) if isinstance(date, int) and not isinstance(date, bool) else date


def _dates(value: Any) -> Any:
    """Return dates by language, where one for all may stand by itself."""
    if isinstance(value, str | int):
        value = {"default": value}
    if not isinstance(value, dict):
        return value
    return {language: _written(date) for language, date in value.items()}


class Dumps(Section):
    """Which Wikipedia dumps are read, and how."""

    source: str = Field(description="demo, a mirror's URL, or file:///folder")
    date: Annotated[dict[str, Date], BeforeValidator(_dates)] = Field(
        description="one date, or one per language with a value for 'default'"
    )
    sampling: Literal["whole", "multistream"]
    templates: bool = Field(description="expand templates while extracting")
    contact: Annotated[str, spelled("[!-~][ -~]*", "in ASCII, on one line")] | None = Field(
        description="e-mail or URL sent in the User-Agent, in ASCII"
    )

    @model_validator(mode="after")
    def _complete(self) -> "Dumps":
        if self.source.startswith("~"):
            raise ValueError("source begins with ~, which is not expanded: write the whole path")
        if not re.match(r"^(demo$|https?://|file:///|\.{0,2}/?[\w.])", self.source):
            raise ValueError("source must be demo, an http(s) URL, file:///folder or a folder")
        if USER.search(self.source):
            raise ValueError(
                "source holds a user name or password, which would be written into records; take"
                " it out and write it into the file .netrc in your home"
            )
        if self.source.startswith("http") and not self.contact:
            raise ValueError("dumps.contact is needed for downloads: an e-mail address or a URL")
        if self.sampling == "multistream" and self.templates:
            raise ValueError(
                "templates cannot be expanded with sampling: multistream, since their pages are not"
                " fetched; set templates: false"
            )
        if "default" not in self.date:
            raise ValueError("date needs a value for 'default'")
        if self.source == "demo" and len(self.date) > 1:
            raise ValueError("date: the demo has one date for all languages, 'default'")
        return self

    @property
    def folder(self) -> str:
        """Name of the folder for dumps of this source, sampled or whole.

        Each has its own, since Snakemake deletes what comes from another source before it asks
        whether that source has it.
        """
        if self.source == "demo":
            return "demo"
        source = self.source.rstrip("/")
        address = source.partition("://")[2] or source
        name = re.sub(r"[^A-Za-z0-9.]+", "-", address)[-40:].strip("-.") or "dumps"
        number = hashlib.sha256(source.encode()).hexdigest()[:8]
        return f"{name}-{number}{'' if self.sampling == 'whole' else '-sample'}"


class Articles(Section):
    """Which articles are kept, and how they are split."""

    per_language: Count
    allow_fewer: bool
    min_characters: Annotated[int, Field(ge=0)]
    seed: Seed
    valid: Share
    test: Share
    extra: str | None = Field(
        description="more text per language, a path with {data_root} and {lang}"
    )

    @model_validator(mode="after")
    def _readable(self) -> "Articles":
        if re.search("[{}]", (self.extra or "").replace("{lang}", "")):
            raise ValueError("extra may hold {data_root} and {lang}, and no other braces")
        if self.valid + self.test >= 1:
            raise ValueError("valid + test must be below 1, or no training text is left")
        return self


class Parallel(Section):
    """The parallel corpora that are encoded and compared; the first is the one in the figures."""

    corpora: Annotated[list[Name], Field(min_length=1)]
    max_sentences: Count
    missing: Literal["refuse", "drop"]


class Tokenizer(Section):
    """The tokenizer that is trained for a built model."""

    kind: Literal["unigram", "wordpiece", "bpe"]
    vocabulary: Count
    temperature: Annotated[float, Field(gt=0, le=1)] = Field(
        description="languages are sampled in proportion to size ** temperature"
    )
    characters: Count = Field(description="characters read at most, all languages together")


class Architecture(Section):
    """The shape of a built model."""

    layers: Count
    heads: Count
    hidden: Count
    intermediate: Count
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(description="of hidden states")
    positions: Annotated[float, Field(gt=0)] | None = Field(
        description="size of the sinusoids that a masked model's positions begin with, relative to"
        " a token's embedding; null: they begin at random, as other weights"
    )

    @model_validator(mode="after")
    def _divisible(self) -> "Architecture":
        if self.hidden % self.heads:
            raise ValueError(f"hidden ({self.hidden}) must be a multiple of heads ({self.heads})")
        return self


class CausalTraining(Section):
    """One training of a language model, here a left-to-right one."""

    lr: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(description="share of all steps")
    schedule: Schedule
    epochs: Annotated[float, Field(gt=0)]
    max_steps: Count | None
    max_minutes: Annotated[float, Field(gt=0)] | None
    batch_size: Count = Field(description="windows per device and forward pass")
    accumulation: Count
    gradient_checkpointing: bool
    max_grad_norm: Annotated[float, Field(gt=0)]
    logging_steps: Count
    eval_steps: Count
    save_steps: Count
    patience: Count | None = Field(description="evaluations without improvement before stopping")
    train_examples: Count | None = Field(description="windows per language; null: all")
    valid_examples: Count
    report_to: Literal["none", "tensorboard", "wandb"]


class Training(CausalTraining):
    """One masked-language-model training."""

    mask_share: Share
    whole_words: bool


class Mlm(Section):
    """The masked-language-model stages."""

    window: Annotated[int, Field(ge=8)] = Field(description="tokens, special ones included")
    tokenizer: Tokenizer
    architecture: Architecture
    build: Training
    finetune: Training
    eval_only: bool = Field(description="skip fine-tuning; the base model is analysed as it is")


class Perplexity(Section):
    """Evaluation of masked-language models on test text."""

    examples: Several = Field(description="test windows per language")
    batch_size: Count
    mask_share: Share
    seed: Seed
    bootstrap: Several


class Budget(Section):
    """One rule that picks a mask from a pruning trajectory: by perplexity or by sparsity."""

    name: Name
    ratio: Annotated[float, Field(gt=1)] | None = None
    sparsity: Share | None = None

    @model_validator(mode="after")
    def _one(self) -> "Budget":
        if (self.ratio is None) == (self.sparsity is None):
            raise ValueError(
                f"budget {self.name}: give either ratio (above 1) or sparsity (0 to 1)"
            )
        return self


class Heads(Section):
    """Head importance and iterative head pruning."""

    examples: Count = Field(description="validation windows per language")
    batch_size: Count
    draws: Count = Field(
        description="independent draws of examples; the first defines the subnetwork"
    )
    step: Share = Field(description="share of all heads that one round removes")
    budgets: Annotated[list[Budget], Field(min_length=1)]
    analysed: Name = Field(description="the budget whose subnetworks are encoded and compared")
    random_masks: Count = Field(description="random masks per language and budget")
    entropy: bool = Field(description="also measure attention entropy; needs attention weights")

    @model_validator(mode="after")
    def _analysed_exists(self) -> "Heads":
        names = [budget.name for budget in self.budgets]
        if len(set(names)) < len(names) or set(names) & RESERVED_MASKS:
            raise ValueError(f"budget names must differ and not be one of {sorted(RESERVED_MASKS)}")
        if any(name.endswith(".controls") for name in names):
            raise ValueError("budget names must not end in .controls, as the controls' files do")
        if self.analysed not in names:
            raise ValueError(
                f"analysed: {self.analysed} is not a budget; allowed: {', '.join(names)}"
            )
        return self


RESERVED_MASKS = {"full", "controls"}


class Encode(Section):
    """Sentence states."""

    poolings: Annotated[list[Pooling], Field(min_length=1)] = Field(
        description="of token states; the first is what all measures compare, retrieval tries all"
    )
    batch_tokens: Count = Field(description="tokens per batch, padding included")
    max_tokens: Count = Field(description="longer sentences are cut, and counted")
    keep_states: bool = Field(description="false: states are deleted once they are compared")


class Compare(Section):
    """Measures of similarity between representations."""

    blocks: Several = Field(description="jackknife blocks over sentences")
    seed: Seed
    neighbours: Count = Field(description="k of the retrieval margin")
    margin: Literal["absolute", "distance", "ratio"]
    parts: Several = Field(
        description="random parts of the sentences, for isomorphism's measures and their errors"
    )
    permutations: Count = Field(description="of the Mantel test")
    ridge_folds: Several
    bootstrap: Several


class TaskTraining(Section):
    """Training of a network on one task; a round of pruning and a transfer are one each."""

    lr: dict[str, Annotated[float, Field(gt=0)]] = Field(
        description="rate per model family, with a value for 'default'"
    )
    weight_decay: Annotated[float, Field(ge=0)]
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(description="share of all steps")
    schedule: Schedule
    epochs: Annotated[float, Field(gt=0)]
    max_steps: Count | None
    batch_size: Count = Field(description="examples per forward pass")
    accumulation: Count
    gradient_checkpointing: bool
    max_grad_norm: Annotated[float, Field(gt=0)]
    logging_steps: Count
    save_steps: Count

    @model_validator(mode="after")
    def _has_default(self) -> "TaskTraining":
        if "default" not in self.lr:
            raise ValueError("lr needs a value for 'default'")
        known = ("default", *ENCODERS, *TEXT_TO_TEXT)
        unknown = [family for family in self.lr if family not in known]
        if unknown:
            raise ValueError(f"lr: {', '.join(unknown)} is no family; known: {', '.join(known)}")
        return self


class Task(Section):
    """What a network is trained for and judged by."""

    corpus: Name | None = Field(
        description="row of corpora.tsv; null for mlm, whose text is the study's own"
    )
    form: Literal["label", "generate", "rank"] = Field(
        description="how a text-to-text model answers nli: a classifier's label, a text, a ranking"
    )
    max_tokens: Annotated[int, Field(ge=8)] = Field(
        description="longer examples are cut, and counted; special tokens included"
    )
    train_examples: Count | None = Field(description="per language; null: all")
    valid_examples: Several
    test_examples: Several
    eval_batch_size: Count
    transfer_steps: Count | None = Field(
        description="of the training of a transferred mask; null: as many as in a round of pruning"
    )
    training: TaskTraining


class Tasks(Section):
    """The tasks there are; a study names those it uses."""

    mlm: Task
    ner: Task
    nli: Task

    @model_validator(mode="after")
    def _have_data(self) -> "Tasks":
        if self.mlm.corpus is not None:
            raise ValueError("mlm.corpus must be null: its text is the study's own")
        for name in ("ner", "nli"):
            if getattr(self, name).corpus is None:
                raise ValueError(f"{name}.corpus needs a row of config/corpora.tsv")
        for name in ("mlm", "ner"):
            form = getattr(self, name).form
            if form != "label":
                raise ValueError(f"{name}.form: {form} is for nli alone; set it to label")
        return self


Percent = Annotated[int, Field(ge=1, le=99)]


class Tickets(Section):
    """Lottery tickets: iterative magnitude pruning, and what its masks are good for."""

    languages: Annotated[list[Code], Field(min_length=2)]
    tasks: Annotated[list[Literal["mlm", "ner", "nli"]], Field(min_length=1)]
    variants: Annotated[list[Variant], Field(min_length=1)]
    step: Percent = Field(description="percent of the original weights that one round removes")
    rounds: Count
    early_step: Count = Field(description="the step that the variant 'early' rewinds to")
    pooler: bool = Field(description="also prune the pooler's matrix")
    analysed: Annotated[list[Percent], Field(min_length=1)] = Field(
        description="percent kept: whose masks are compared and transferred; the first is encoded"
    )
    encoded: Literal["mlm", "ner", "nli"] = Field(description="the task whose tickets are encoded")
    random_masks: Count = Field(description="random masks per target of a transfer")
    bootstrap: Several
    seed: Seed = Field(description="of choices of examples and of the bootstrap")

    @model_validator(mode="after")
    def _reachable(self) -> "Tickets":
        if self.rounds * self.step >= 100:
            raise ValueError(f"{self.rounds} rounds of {self.step} % would leave nothing")
        missing = [kept for kept in self.analysed if kept not in self.kept]
        if missing:
            raise ValueError(f"analysed: {missing} % are never kept; allowed: {self.kept}")
        if "ticket" not in self.variants:
            raise ValueError("variants must hold 'ticket', which the others are compared with")
        if self.encoded not in self.tasks:
            raise ValueError(f"encoded: {self.encoded} is not among tasks")
        return self

    @property
    def kept(self) -> list[int]:
        """Percent of the original weights that are kept after each round."""
        return [100 - self.step * number for number in range(1, self.rounds + 1)]


class PairTraining(Section):
    """Training of an encoder on pairs of sentences that belong together."""

    lr: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(description="share of all steps")
    schedule: Schedule
    epochs: Annotated[float, Field(gt=0)]
    max_steps: Count | None
    batch_size: Several = Field(description="pairs per step, which are each other's negatives")
    mini_batch: Count | None = Field(
        description="pairs per forward pass, with cached gradients; null: the whole batch at once"
    )
    max_grad_norm: Annotated[float, Field(gt=0)]
    logging_steps: Count
    save_steps: Count
    max_tokens: Annotated[int, Field(ge=4)] = Field(
        description="longer sentences are cut, and counted; special tokens included"
    )


class LanguageTokenizer(Section):
    """The tokenizer that each language module gets, and the vectors its embeddings begin with."""

    vocabulary: Count
    characters: Count = Field(description="characters read at most")
    dimension: Count = Field(description="of the auxiliary fastText vectors")
    epochs: Count = Field(description="of the training of the auxiliary vectors")
    min_count: Count = Field(description="rarer tokens have no auxiliary vector")


class Lora(Section):
    """Low-rank adapters of language and of sentence encoding."""

    rank: Count
    alpha: Annotated[float, Field(gt=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)]


class Adapter(Section):
    """The parallel bottleneck adapter that aligns a language with the pivot."""

    reduction: Count = Field(description="the network's width over the adapter's")
    scale: Annotated[float, Field(gt=0)]


class Translation(Section):
    """Translation of pairs that come in the pivot only."""

    model: Name | None = Field(description="row of models.tsv; null: nothing is translated")
    beams: Count
    max_tokens: Count
    batch_tokens: Count = Field(description="tokens per batch, padding included")


class Encoders(Section):
    """Modular sentence encoders: a module per language, aligned with the pivot's."""

    languages: Annotated[list[Code], Field(min_length=2)]
    methods: Annotated[list[Method], Field(min_length=2)] = Field(
        description="which encoders are made and judged; source, the untouched one, must be there"
    )
    exported: list[Method] = Field(
        description="modular methods whose encoders are also written as plain folders"
    )
    pooling: Pooling = Field(description="of a model whose folder does not say it")
    own_head: bool = Field(
        description="trained encoders keep the pooling and the layers after it that the source's"
        " folder names; false: they pool as `pooling` says, with nothing after it"
    )
    prefix: str = Field(description="put before every sentence; empty: what the folder says")
    kind: Literal["lora", "full"] = Field(
        description="what a language module trains: low-rank adapters, or all parameters"
    )
    tokenizer: LanguageTokenizer
    window: Annotated[int, Field(ge=8)] = Field(description="tokens, special ones included")
    lora: Lora
    adaptation: Training
    pairs: Annotated[list[Name], Field(min_length=1)] = Field(
        description="rows of corpora.tsv, visited in turn"
    )
    max_pairs: Count | None = Field(description="of each data set; null: all")
    translation: Translation
    sentences: PairTraining = Field(description="of a language module, monolingual batches")
    full: PairTraining = Field(description="of one network, monolingual batches of all languages")
    cross: PairTraining = Field(description="of that network, batches of several languages")
    cross_languages: Several = Field(description="languages in a batch of several, at most")
    adapter: Adapter
    alignment: PairTraining
    evaluated: Annotated[list[Name], Field(min_length=1)] = Field(
        description="rows of corpora.tsv: sts, bitext, mining, topics, reading"
    )
    all_pairs: bool = Field(
        description="languages are compared with each other, too, and not with the pivot alone,"
        " where a corpus has all of them"
    )
    batch_tokens: Count = Field(description="tokens per batch of evaluation, padding included")
    bootstrap: Several
    seed: Seed = Field(description="of choices of examples and of the bootstrap")

    @model_validator(mode="after")
    def _comparable(self) -> "Encoders":
        if "source" not in self.methods:
            raise ValueError("methods must hold 'source', which the others are compared with")
        needs = {"full-cross": "full-mono"} | dict.fromkeys(MODULAR[1:], "modular-mono")
        for method, base in needs.items():
            if method in self.methods and base not in self.methods:
                raise ValueError(f"methods: {method} begins with {base}, which must be there, too")
        wrong = [method for method in self.exported if method not in MODULAR]
        if wrong or set(self.exported) - set(self.methods):
            raise ValueError(
                f"exported: {', '.join(self.exported)} must be modular methods that methods lists;"
                " the others are plain folders anyway"
            )
        return self

    @property
    def strategies(self) -> list[str]:
        """How alignment adapters are trained, in the order of the methods."""
        return [method.removeprefix("modular-") for method in self.methods if method in MODULAR[1:]]


class Samples(Section):
    """How instructions and translations become training samples (Li et al. 2024)."""

    cross_probability: Annotated[float, Field(ge=0, le=1)] = Field(
        description="share of samples that are answered in another language than they are asked in"
    )
    change_probability: Annotated[float, Field(ge=0, le=1)] = Field(
        description="share of those that go from another language to the pivot, of three languages"
        " or more, and of translations"
    )
    repeat: Annotated[float, Field(gt=0)] = Field(description="samples per row of a corpus")
    valid: Share = Field(description="of all ids, by a hash: their samples are held out")
    weights: dict[Name, Annotated[float, Field(gt=0)]] = Field(
        description="by corpus: what its number of samples is multiplied by; 1 if not named"
    )
    seed: Seed


class Selection(Section):
    """The in-context score whose best checkpoint a training ends with."""

    corpus: Name
    shots: Annotated[int, Field(ge=0)]
    examples: Count = Field(description="of its demonstrations' split, per language")


class GeneratorTraining(Section):
    """Training of a generative model on pairs of sentences and on instructions."""

    lr: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(description="share of all steps")
    schedule: Schedule
    epochs: Annotated[float, Field(gt=0)]
    max_steps: Count | None
    batch_size: Several = Field(
        description="samples per step; their sentence pairs are each other's negatives"
    )
    mini_batch: Count | None = Field(
        description="samples per forward pass, with cached gradients; null: the whole batch at once"
    )
    gradient_checkpointing: bool
    max_grad_norm: Annotated[float, Field(gt=0)]
    logging_steps: Count
    eval_steps: Count
    save_steps: Count
    pooler: Annotated[
        str,
        spelled(
            POOLER,
            "avg, last or max, perhaps of a layer as in avg-2, or " + FURTHER.replace("|", ", "),
        ),
    ] = Field(
        description="where sentence states are taken: avg-2 is the mean after the second block"
    )
    temperature: Annotated[float, Field(gt=0)]
    hard_negative_weight: float = Field(description="added to the logits of hard negatives")
    contrastive_weight: Annotated[float, Field(gt=0)]
    instruction_weight: Annotated[float, Field(gt=0)]
    max_tokens: Annotated[int, Field(ge=4)] = Field(
        description="of a sentence of a pair; longer ones are cut, and counted"
    )
    block: Annotated[int, Field(ge=8)] = Field(description="tokens of packed instruction text")
    lora: Lora | None = Field(description="train low-rank adapters, not the whole network")
    sharded: bool = Field(
        description="parameters, gradients and optimizer state are divided over the processes"
    )
    selected_by: Selection | None


class Alignment(Section):
    """Alignment of generative models after pretraining, judged by in-context learning."""

    models: Annotated[list[Name], Field(min_length=1)]
    languages: Annotated[list[Code], Field(min_length=2)]
    window: Annotated[int, Field(ge=16)] = Field(description="tokens that a built model reads")
    tokenizer: Tokenizer
    architecture: Architecture
    build: CausalTraining
    instructions: list[Name] = Field(description="rows of corpora.tsv of the kind instructions")
    translations: list[Name] = Field(
        description="rows of the kinds parallel and pairs, whose sentences are translated"
    )
    samples: Samples
    networks: Annotated[list[Aligned], Field(min_length=1)]
    training: GeneratorTraining
    evaluated: Annotated[list[Name], Field(min_length=1)] = Field(
        description="rows of corpora.tsv of the kind choices"
    )
    shots: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    demonstrations: Annotated[list[Seed], Field(min_length=1)] = Field(
        description="seeds of the draws of few-shot examples"
    )
    prompts: Annotated[list[Literal["own", "pivot"]], Field(min_length=1)] = Field(
        description="language of the prompt: that of the examples, or the pivot"
    )
    max_examples: Several | None = Field(description="of the test split per language; null: all")
    normalize: Annotated[list[Literal["none", "characters"]], Field(min_length=1)] = Field(
        description="what a choice's log-likelihood is divided by"
    )
    poolings: Annotated[list[Literal["mean", "last", "max"]], Field(min_length=1)] = Field(
        description="of encoded states; the first is what all measures compare"
    )
    batch_tokens: Count = Field(description="tokens per batch of evaluation, padding included")
    bootstrap: Several
    seed: Seed = Field(description="of choices of examples and of the bootstrap")

    @model_validator(mode="after")
    def _has_samples(self) -> "Alignment":
        if not self.instructions and not self.translations:
            raise ValueError("instructions or translations must name a corpus to train on")
        return self

    @model_validator(mode="after")
    def _begins_at_random(self) -> "Alignment":
        if self.architecture.positions is not None:
            raise ValueError("architecture.positions must be null: only a masked model has them")
        return self


class Settings(Section):
    """The whole configuration."""

    studies: Annotated[list[Study], Field(min_length=1)]
    languages: Annotated[list[Code], Field(min_length=2)]
    pivot: Code
    models: Annotated[list[Name], Field(min_length=1)]
    seeds: Annotated[list[Seed], Field(min_length=1)]
    data_root: Annotated[str, spelled(r"[^{}\x00-\x1f]*", "a path without braces")] | None
    demo: "Demo"
    compute: Compute
    dumps: Dumps
    articles: Articles
    parallel: Parallel
    mlm: Mlm
    perplexity: Perplexity
    tasks: Tasks
    heads: Heads
    tickets: Tickets
    encoders: Encoders
    alignment: Alignment
    encode: Encode
    compare: Compare

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        lists = {key: getattr(self, key) for key in ("languages", "models", "seeds")}
        lists["parallel.corpora"] = self.parallel.corpora
        lists["encode.poolings"] = self.encode.poolings
        for key in ("languages", "tasks", "variants", "analysed"):
            lists[f"tickets.{key}"] = getattr(self.tickets, key)
        for key in ("languages", "methods", "exported", "pairs", "evaluated"):
            lists[f"encoders.{key}"] = getattr(self.encoders, key)
        for key in ("models", "languages", "instructions", "translations", "networks", "evaluated"):
            lists[f"alignment.{key}"] = getattr(self.alignment, key)
        for key in ("shots", "demonstrations", "prompts", "normalize", "poolings"):
            lists[f"alignment.{key}"] = getattr(self.alignment, key)
        for key, values in lists.items():
            if len(set(values)) < len(values):
                twice = [str(value) for value, count in Counter(values).items() if count > 1]
                raise ValueError(f"{key}: lists {', '.join(twice)} twice")
        if self.pivot not in self.languages:
            raise ValueError(f"pivot: {self.pivot} is not among languages")
        return self


class Demo(Section):
    """Size of the demo data."""

    articles: Count = Field(description="articles per language")
    sentences: Count = Field(description="parallel sentences")
    ner: Count = Field(description="training sentences with names marked, per language")
    nli: Count = Field(description="training pairs of sentences to judge, per language")
    pairs: Count = Field(description="triples of sentences that train encoders, per language")
    sts: Count = Field(description="graded pairs of sentences, per language and pair of languages")
    topics: Count = Field(description="training texts with a topic, per language")
    reading: Count = Field(description="questions about a passage, per language")
    instructions: Count = Field(description="instructions with answers, per language")
    choices: Count = Field(description="test examples of each few-shot task, per language")
    seed: Seed


FORMATS = {
    "parallel": ("tsv", "jsonl", "json", "moses", "conllu", "opus"),
    "ner": ("panx", "conll", "datasets"),
    "nli": ("tsv", "jsonl", "datasets"),
    "pairs": ("lines", "tsv", "jsonl", "nli"),
    "sts": ("tsv", "csv", "jsonl", "lines", "semrel", "stsb"),
    "bitext": ("tsv", "moses"),
    "mining": ("bucc",),
    "topics": ("tsv", "jsonl"),
    "reading": ("jsonl",),
    "instructions": ("bactrian",),
    "choices": ("xnli", "pawsx", "xcopa", "xstorycloze", "xwinograd"),
}
# train, valid and test, or two: train and test, of choices demonstrations and test
SPLIT_NAMES = {"ner": 3, "nli": 3, "mining": 2, "topics": 2, "choices": 2}
LABELLED = ("ner", "sts")
MONOLINGUAL = ("sts", "topics", "reading")  # what is also done in a single language
EVALUATED = (*MONOLINGUAL, "bitext", "mining")


class Corpus(Section):
    """One row of corpora.tsv."""

    name: Name
    kind: Literal[
        "parallel",
        "ner",
        "nli",
        "pairs",
        "sts",
        "bitext",
        "mining",
        "topics",
        "reading",
        "instructions",
        "choices",
    ] = Field(description="what it holds, and so which settings may name it")
    format: str = Field(description="how its files are written; each kind has some, in FORMATS")
    url: str = Field(
        description="archives to fetch and unpack, or hf://datasets/NAME@COMMIT, a data set of the"
        " hub; empty: the files are already there"
    )
    path: str = Field(
        description="with {demo}, {data_root} or {fetched}, and a language code; several, between"
        " spaces, of files that belong together"
    )
    languages: Annotated[
        str,
        spelled(
            rf"({LANGUAGE}( {LANGUAGE})*)?",
            "codes between single spaces, each with another code or none, such as `es:esp`",
        ),
    ] = Field(
        description="those it has; empty: all of a study's. `es:esp` where {code} in the path is"
        " not the language's ISO 639-3 code"
    )
    id_column: str = Field(
        description="column or key of an example's id; empty: rows are numbered from 1"
    )
    splits: Splits = Field(
        description="what train, valid and test are called in the path, or train and test; several"
        " splits share one by a hash of the row, such as `dev:0.8 dev:0.2 test`"
    )
    labels: str = Field(
        description="the types of entities there are, for ner; the lowest and the highest score,"
        " for sts"
    )
    version: str
    sha256: Annotated[
        str,
        spelled(
            "([0-9a-f]{64}( [0-9a-f]{64})*)?",
            "checksums of 64 digits 0 to 9 or a to f, between single spaces",
        ),
    ] = Field(description="one for each archive of url; none for a data set of the hub")
    licence: str
    citation: str

    @model_validator(mode="after")
    def _readable(self) -> "Corpus":
        if bool(self.url) != ("{fetched}" in self.path):
            raise ValueError("a path with {fetched} needs a url, and no other path has one")
        _check_url(self.url)
        if not self.url.startswith("hf:") and len(self.url.split()) != len(self.sha256.split()):
            raise ValueError(
                f"sha256 has {len(self.sha256.split())} checksums for {len(self.url.split())}"
                " archives in url; add that of each"
            )
        if re.search("[{}]", BRACES.sub("", self.path)):
            raise ValueError(f"path may hold {{{'}, {'.join(PLACES)}}}, and no other braces")
        if self.kind in ("parallel", "ner", "nli") and "{code" in self.path:
            raise ValueError(
                f"path of {self.kind} has {{lang}}, {{flores}} or {{iso639_3}}, no {{code}}"
            )
        paths = self.path.split()
        wanted_paths = NUMBER_OF_PATHS.get(self.format, (1,))
        if len(paths) not in wanted_paths:
            numbers = " or ".join(map(str, wanted_paths))
            raise ValueError(f"path must name {numbers} files for {self.format}")
        if self.format not in FORMATS[self.kind]:
            raise ValueError(f"{self.kind} has the formats {', '.join(FORMATS[self.kind])}")
        if self.format == "opus" and not self.languages:
            raise ValueError("opus has no header: languages must name its columns, in order")
        wanted = SPLIT_NAMES.get(self.kind, 0)
        if len(self.splits.split()) != wanted:
            names = {0: "nothing", 2: "train and test", 3: "train, valid and test"}[wanted]
            raise ValueError(f"splits must say what {names} are called, for {self.kind}")
        if (self.kind in LABELLED) != bool(self.labels):
            raise ValueError(
                "labels must name the entities of ner, or the lowest and the highest score of sts,"
                " and nothing else"
            )
        number = r"-?[0-9]+(\.[0-9]+)?"
        if self.kind == "sts" and not re.fullmatch(f"{number} {number}", self.labels):
            raise ValueError("labels must be the lowest and the highest score, such as `0 5`")
        for name, _, high in self.parts.values():
            if high > 1:
                raise ValueError(f"splits takes more of {name} than there is")
        return self

    @property
    def parts(self) -> dict[str, tuple[str, float, float]]:
        """The file of each split, and from where to where its rows are taken.

        The shares of one file follow each other in [0, 1).
        """
        parts = {}
        taken: dict[str, Decimal] = {}
        items = self.splits.split()
        splits = ("train", "valid", "test") if len(items) == 3 else ("train", "test")
        for split, item in zip(splits, items, strict=False):
            name, _, share = item.partition(":")
            low = taken.get(name, Decimal(0))
            taken[name] = low + Decimal(share or 1)
            parts[split] = (name, float(low), float(taken[name]))
        return parts

    @property
    def codes(self) -> dict[str, str]:
        """The languages that are named, and what {code} is in each; empty for the usual one."""
        items = (item.partition(":") for item in self.languages.split())
        return {language: code for language, _, code in items}


def _check_url(url: str) -> None:
    """Refuse what no corpus can be fetched from, and a password, which would get into records."""
    if USER.search(url):
        raise ValueError("url holds a user name or password; write it into .netrc in your home")
    archives = [] if url.startswith("hf:") else url.split()
    names = [address.rpartition("/")[2] for address in archives]
    if not all(map(ARCHIVE.fullmatch, archives)) or {"", ".", ".."} & set(names):
        raise ValueError("url must be https addresses of archives, or hf://datasets/NAME@COMMIT")
    if len(set(names)) < len(names):
        raise ValueError("url names two archives alike")


class Model(Section):
    """One row of models.tsv."""

    name: Name
    family: Family = Field(description="what `model_type` says in the model's config.json")
    source: Literal["build", "hub", "local"] = Field(
        description="build: trained here from scratch; hub: fetched; local: a folder"
    )
    location: str = Field(description="a repository of the hub, or a folder; empty: it is built")
    revision: str = Field(description="commit of the repository; empty for what is not of the hub")
    licence: str
    citation: str

    @model_validator(mode="after")
    def _pinned(self) -> "Model":
        if self.source == "build":
            if self.location or self.revision:
                raise ValueError("a model that is built has no location and no revision")
            return self
        if not self.location:
            wanted = {"hub": "a repository of the hub", "local": "a folder"}[self.source]
            raise ValueError(f"location must name {wanted}")
        if self.source == "hub" and not re.fullmatch(r"[0-9a-f]{40}", self.revision):
            raise ValueError("revision must be a commit of 40 hexadecimal digits, not a branch")
        if self.source == "local" and self.revision:
            raise ValueError("revision must be empty: a folder has none; or set source to hub")
        return self


def load_settings(document: dict[str, Any]) -> Settings:
    """Check a parsed configuration and return it typed.

    Raises
    ------
    BabelscopeError
        In one line: the key, what is wrong with it, and what is allowed.
    """
    _check_size(document)
    root = document.get("data_root")
    try:
        return Settings.model_validate(_fill(document, root if isinstance(root, str) else None))
    except ValidationError as error:
        raise BabelscopeError(_explain(error), "Correct it in the configuration.") from None


def _check_size(document: Any) -> None:
    """Refuse what is no configuration, or has no end: aliases of YAML can hold themselves."""
    if not isinstance(document, dict):
        raise BabelscopeError("config: there are no keys.", "Write `key: value` on each line.")
    waiting = [(str(key), value, 1) for key, value in document.items()]
    count = 0
    while waiting:
        key, value, depth = waiting.pop()
        count += 1
        if depth > DEEPEST or count > LARGEST:
            raise BabelscopeError(
                f"config: {key}: more than {DEEPEST} levels, or {LARGEST} values in all.",
                "Look for an alias (*name) that stands in what it names.",
            )
        parts = value.values() if isinstance(value, dict) else value
        if isinstance(value, dict | list):
            waiting += [(key, part, depth + 1) for part in parts]


def _fill(value: Any, data_root: str | None) -> Any:
    """Put the folder of real files where a value names it."""
    if isinstance(value, dict):
        return {key: _fill(item, data_root) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, data_root) for item in value]
    if isinstance(value, str) and "{data_root}" in value:
        if not data_root:
            raise BabelscopeError(
                f"config: data_root is not set, but {value!r} needs it.",
                "Add --config data_root=FOLDER.",
            )
        return value.replace("{data_root}", data_root)
    return value


def _explain(error: ValidationError) -> str:
    """Say all problems of a validation in one line."""
    problems = []
    found = error.errors()
    for item in found[:SHOWN]:
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            allowed = ", ".join(_fields_at(item["loc"][:-1]))
            message = f"unknown key; allowed here: {allowed}"
        elif item["type"] == "missing":
            message = "is missing"
        elif not isinstance(item["input"], dict):
            message += f" (found {_quoted(item['input'])})"
            if item["type"] == "string_type" and isinstance(item["input"], bool | int):
                message += ", write it in quotes: bare, it is no text in YAML"
        problems.append(": ".join(filter(None, (".".join(map(plain, item["loc"])), message))))
    more = f"; {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "config: " + "; ".join(problems) + more + "."


def plain(part: int | str) -> str:
    """Return a part of a key as it stands in the file, or quoted if it cannot stand in a line."""
    text = str(part)[:SHOWN_CHARACTERS]
    return text if text.isprintable() else repr(text)


def _quoted(value: Any) -> str:
    """Return a value for a message; of a long one its beginning."""
    try:
        text = repr(value)
    except ValueError:  # a number of more digits than Python writes
        text = f"a very large {type(value).__name__}"
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    section: Any = Settings
    for part in location:
        if isinstance(part, str) and part in getattr(section, "model_fields", {}):
            annotation = section.model_fields[part].annotation
            inner = [a for a in getattr(annotation, "__args__", ()) if hasattr(a, "model_fields")]
            section = inner[0] if inner else annotation
    return sorted(getattr(section, "model_fields", {}))


def read_rows(path: str | Path, kind: type[Row]) -> dict[str, Row]:
    """Read a tab-separated table of the configuration into typed rows, by their first column.

    Raises
    ------
    BabelscopeError
        If there is no such table, or one of its lines is not as it should be.
    """
    rows: dict[str, Row] = {}
    for number, record in _records(path):
        try:
            row = kind.model_validate(record)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(plain, first["loc"])) or "row"
            message = first["msg"].removeprefix("Value error, ")
            if not isinstance(first["input"], dict):
                message += f" (found {_quoted(first['input'])})"
            raise BabelscopeError(
                f"{path}, line {number}: {key}: {message}.",
                "Correct that line.",
            ) from None
        name = next(iter(record.values()))
        if name in rows:
            raise BabelscopeError(f"{path}, line {number}: {name} is listed twice.", "Remove one.")
        rows[name] = row
    return rows


def _records(path: str | Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a table by column, with their lines."""
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t", strict=True)
            header = next(reader, [])
            for cells in reader:
                if len(cells) != len(header):
                    raise BabelscopeError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells, but the header has"
                        f" {len(header)}.",
                        "Cells are separated by one tab.",
                    )
                yield reader.line_num, dict(zip(header, cells, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BabelscopeError(f"{path} cannot be read ({error}).", "Correct the table.") from error


def check_names(
    settings: Settings,
    languages: dict[str, Language],
    corpora: dict[str, Corpus],
    models: dict[str, Model],
) -> None:
    """Check that every language, corpus and model that is used has a row in its table."""
    encoders, alignment = settings.encoders, settings.alignment
    translator = [encoders.translation.model] if encoders.translation.model else []
    for key, used, table, file in (
        ("languages", settings.languages, languages, "config/languages.tsv"),
        ("tickets.languages", settings.tickets.languages, languages, "config/languages.tsv"),
        ("encoders.languages", encoders.languages, languages, "config/languages.tsv"),
        ("parallel.corpora", settings.parallel.corpora, corpora, "config/corpora.tsv"),
        ("models", settings.models, models, "config/models.tsv"),
        ("tasks.ner.corpus", [settings.tasks.ner.corpus or ""], corpora, "config/corpora.tsv"),
        ("tasks.nli.corpus", [settings.tasks.nli.corpus or ""], corpora, "config/corpora.tsv"),
        ("encoders.pairs", encoders.pairs, corpora, "config/corpora.tsv"),
        ("encoders.evaluated", encoders.evaluated, corpora, "config/corpora.tsv"),
        ("encoders.translation.model", translator, models, "config/models.tsv"),
        ("alignment.models", alignment.models, models, "config/models.tsv"),
        ("alignment.languages", alignment.languages, languages, "config/languages.tsv"),
        ("alignment.instructions", alignment.instructions, corpora, "config/corpora.tsv"),
        ("alignment.translations", alignment.translations, corpora, "config/corpora.tsv"),
        ("alignment.evaluated", alignment.evaluated, corpora, "config/corpora.tsv"),
        ("dumps.date", set(settings.dumps.date) - {"default"}, languages, "config/languages.tsv"),
    ):
        unknown = [name for name in used if name not in table]
        if unknown:
            raise BabelscopeError(
                f"config: {key}: {', '.join(unknown)} not in {file}; allowed: {', '.join(table)}.",
                "Correct the name or add a row.",
            )
    _check_looks([languages[code] for code in settings.languages])
    for key, used, kinds in (
        ("parallel.corpora", settings.parallel.corpora, ("parallel",)),
        ("tasks.ner.corpus", [settings.tasks.ner.corpus or ""], ("ner",)),
        ("tasks.nli.corpus", [settings.tasks.nli.corpus or ""], ("nli",)),
        ("encoders.pairs", encoders.pairs, ("pairs",)),
        ("encoders.evaluated", encoders.evaluated, EVALUATED),
        ("alignment.instructions", alignment.instructions, ("instructions",)),
        ("alignment.translations", alignment.translations, ("parallel", "pairs")),
        ("alignment.evaluated", alignment.evaluated, ("choices",)),
    ):
        wrong = [name for name in used if corpora[name].kind not in kinds]
        if wrong:
            allowed = ", ".join(name for name, row in corpora.items() if row.kind in kinds)
            raise BabelscopeError(
                f"config: {key}: {', '.join(wrong)} is not of the kind {' or '.join(kinds)};"
                f" allowed: {allowed}.",
                "Name a corpus of that kind in config/corpora.tsv.",
            )
    check_data_root(settings, corpora)


def _check_looks(languages: Iterable[Language]) -> None:
    """Check that figures draw no two languages alike: where there are no markers, colours tell."""
    colours: dict[str, str] = {}
    for language in languages:
        first = colours.setdefault(language.colour.lower(), language.code)
        if first != language.code:
            raise BabelscopeError(
                f"config/languages.tsv: {first} and {language.code} have the same colour,"
                f" {language.colour}, and are both among languages.",
                "Give one of them another colour.",
            )


def check_data_root(settings: Settings, corpora: dict[str, Corpus]) -> None:
    """Check that there is a folder of real files if a corpus that is used is in it."""
    tasks = (settings.tasks.ner.corpus or "", settings.tasks.nli.corpus or "")
    for name in (*settings.parallel.corpora, *tasks):
        if "{data_root}" in corpora[name].path and not settings.data_root:
            raise BabelscopeError(
                f"config: data_root is not set, but the corpus {name} is read from it.",
                "Add --config data_root=FOLDER.",
            )


def check_heads(settings: Settings, corpora: dict[str, Corpus], models: dict[str, Model]) -> None:
    """Check what only the heads study asks for, before it starts a job.

    Raises
    ------
    BabelscopeError
        If a model's family learns no masked words or its folder is not there, a parallel corpus
        lacks a language, or text cannot be read: the demo has none in a language, or there is no
        folder that it is read from; or there are too few languages to correlate with typology.
    """
    _check_families(settings, models, ENCODERS, "in which heads are not looked for")
    _check_models("models", settings.models, models)
    _check_parallel("heads", settings, corpora)
    _check_text("heads", settings)
    if len(settings.languages) < FEWEST:
        raise BabelscopeError(
            f"config: languages: {', '.join(settings.languages)} are too few for the heads study,"
            f" which correlates similarity with typology over pairs of at least {FEWEST}.",
            "Add a language.",
        )


def check_tickets(settings: Settings, corpora: dict[str, Corpus], models: dict[str, Model]) -> None:
    """Check what only the tickets study asks for, before it starts a job.

    Raises
    ------
    BabelscopeError
        If its languages are not among those of the configuration or lack the pivot, a model's
        family cannot do its tasks or its folder is not there, a setting cannot be reached, a
        parallel corpus lacks a language, or there is nothing that a task or text is read from.
    """
    tickets, tasks = settings.tickets, settings.tasks
    outside = [code for code in tickets.languages if code not in settings.languages]
    if outside or settings.pivot not in tickets.languages:
        raise BabelscopeError(
            f"config: tickets.languages: {', '.join(tickets.languages)} must be among"
            f" languages ({', '.join(settings.languages)}) and hold the pivot, {settings.pivot}.",
            "Correct the list in the configuration.",
        )
    families = {name: models[name].family for name in settings.models}
    known = (*ENCODERS, *TEXT_TO_TEXT)
    _check_families(settings, models, known, "in which tickets are not looked for")
    if tasks.nli.form != "label" and not set(families.values()) & set(TEXT_TO_TEXT):
        raise BabelscopeError(
            f"config: tasks.nli.form: {tasks.nli.form} is for models of"
            f" {' and '.join(TEXT_TO_TEXT)}; there are {', '.join(families.values())}.",
            "Set it to label.",
        )
    _check_models("models", settings.models, models)
    for name in tickets.tasks:
        _check_task(name, getattr(tasks, name), settings, corpora, models)
    _check_parallel("tickets", settings, corpora)
    if "mlm" in tickets.tasks or any(models[name].source == "build" for name in settings.models):
        _check_text("tickets", settings)


def check_encoders(
    settings: Settings, corpora: dict[str, Corpus], models: dict[str, Model]
) -> None:
    """Check what only the encoders study asks for, before it starts a job.

    Raises
    ------
    BabelscopeError
        If its languages are not among those of the configuration or lack the pivot, a model's
        family has no encoder or its folder is not there, a length is beyond what a built model
        reads, a corpus is in none of its languages, pairs would have to be translated without a
        translator, or there is nothing that a corpus or text is read from.
    """
    encoders = settings.encoders
    outside = [code for code in encoders.languages if code not in settings.languages]
    if outside or settings.pivot not in encoders.languages:
        raise BabelscopeError(
            f"config: encoders.languages: {', '.join(encoders.languages)} must be among"
            f" languages ({', '.join(settings.languages)}) and hold the pivot, {settings.pivot}.",
            "Correct the list in the configuration.",
        )
    _check_families(settings, models, SENTENCE_ENCODERS, "of which no sentence encoder is made")
    _check_models("models", settings.models, models)
    built = [name for name in settings.models if models[name].source == "build"]
    lengths = {"window": encoders.window} | {
        f"{key}.max_tokens": getattr(encoders, key).max_tokens
        for key in ("sentences", "full", "cross", "alignment")
    }
    for key, length in lengths.items():
        if built and length > settings.mlm.window:
            raise BabelscopeError(
                f"config: encoders.{key}: {length} is longer than mlm.window,"
                f" {settings.mlm.window}, for which {', '.join(built)} is built.",
                "Lower it, or raise mlm.window.",
            )
    kinds = {corpora[name].kind for name in encoders.evaluated}
    if not kinds & set(MONOLINGUAL):
        raise BabelscopeError(
            f"config: encoders.evaluated: none of {', '.join(encoders.evaluated)} judges encoders"
            f" in one language; that do corpora of the kinds {', '.join(MONOLINGUAL)}.",
            "Add one of them.",
        )
    _check_corpora("encoders", (*encoders.pairs, *encoders.evaluated), settings, corpora)
    for name in encoders.pairs:
        lacking = set(encoders.languages) - set(corpora[name].codes or encoders.languages)
        translator = encoders.translation.model
        if lacking and (translator is None or settings.pivot in lacking):
            raise BabelscopeError(
                f"config: encoders.pairs: {name} is not there in {', '.join(sorted(lacking))}, and"
                f" encoders.translation.model is {translator}.",
                "Name a translator, which translates from the pivot, or other pairs.",
            )
        row = models.get(translator or "")
        if row and (row.source == "build" or row.family != TRANSLATORS):
            raise BabelscopeError(
                f"config: encoders.translation.model: {translator} ({row.family}, {row.source})"
                f" does not translate; models of the family {TRANSLATORS} do.",
                "Name another row of config/models.tsv, such as nllb-200-1.3b, or add one.",
            )
        if row and lacking:
            _check_models("encoders.translation.model", [translator or ""], models)
    if built or set(encoders.methods) & set(MODULAR):
        _check_text("encoders", settings)


def check_alignment(
    settings: Settings,
    corpora: dict[str, Corpus],
    models: dict[str, Model],
    prompts: Mapping[str, Collection[str]],
) -> None:
    """Check what only the alignment study asks for, before it starts a job.

    Parameters
    ----------
    settings, corpora, models
        The configuration and its tables.
    prompts
        As `babelscope.checks.prompt_languages` returns them.

    Raises
    ------
    BabelscopeError
        If its languages are not among those of the configuration or lack the pivot, a model does
        not generate, is also one of `models` or is not there, a length or layer is beyond what a
        built model has, a setting names a corpus that the study does not use, a corpus of samples
        lacks the pivot, all of them lack a language, one of choices has none or one without a
        prompt, translations are also what is compared, a parallel corpus lacks a language, or there
        is nothing that a corpus or text is read from.
    """
    alignment = settings.alignment
    training = alignment.training
    outside = [code for code in alignment.languages if code not in settings.languages]
    if outside or settings.pivot not in alignment.languages:
        raise BabelscopeError(
            f"config: alignment.languages: {', '.join(alignment.languages)} must be among"
            f" languages ({', '.join(settings.languages)}) and hold the pivot, {settings.pivot}.",
            "Correct the list in the configuration.",
        )
    for name in alignment.models:
        if models[name].family not in GENERATORS or name in settings.models:
            raise BabelscopeError(
                f"config: alignment.models: {name} is of the family {models[name].family}; models"
                f" to align are of {', '.join(GENERATORS)}, and are not listed in models, too.",
                "Choose other models, or correct the family in config/models.tsv.",
            )
    _check_models("alignment.models", alignment.models, models)
    built = [name for name in alignment.models if models[name].source == "build"]
    for name in built:
        if models[name].family != "gpt2" or alignment.tokenizer.kind != "unigram":
            raise BabelscopeError(
                f"config: alignment.models: {name} would be of the family {models[name].family},"
                f" with a tokenizer of the kind {alignment.tokenizer.kind}; gpt2 and unigram can be"
                " built.",
                "Correct the row in config/models.tsv or alignment.tokenizer.kind, or take a model"
                " of the hub.",
            )
    lengths = {"training.max_tokens": training.max_tokens, "training.block": training.block}
    for key, length in lengths.items():
        if built and length > alignment.window:
            raise BabelscopeError(
                f"config: alignment.{key}: {length} is longer than alignment.window,"
                f" {alignment.window}, for which {', '.join(built)} is built.",
                "Lower it, or raise alignment.window.",
            )
    layer = int(re.sub(r"\D", "", training.pooler) or 0)
    if built and layer > alignment.architecture.layers:
        raise BabelscopeError(
            f"config: alignment.training.pooler: {training.pooler} reads layer {layer}, and"
            f" {', '.join(built)} has {alignment.architecture.layers}.",
            "Name a lower layer, or raise alignment.architecture.layers.",
        )
    used = (*alignment.instructions, *alignment.translations)
    chosen = [training.selected_by.corpus] if training.selected_by else []
    for key, names, allowed in (
        ("samples.weights", list(alignment.samples.weights), used),
        ("training.selected_by.corpus", chosen, alignment.evaluated),
    ):
        unknown = [name for name in names if name not in allowed]
        if unknown:
            raise BabelscopeError(
                f"config: alignment.{key}: {', '.join(unknown)} is not among {', '.join(allowed)}.",
                "Correct the name, or add the corpus to the study.",
            )
    _check_corpora("alignment", (*used, *alignment.evaluated), settings, corpora)
    for name in alignment.evaluated:
        row = corpora[name]
        scored = [code for code in alignment.languages if not row.codes or code in row.codes]
        spoken = {code for code in scored if "own" in alignment.prompts or name in chosen}
        spoken |= {settings.pivot for kind in alignment.prompts if kind == "pivot"}
        unspoken = spoken - set(prompts.get(row.format, spoken))
        if unspoken:
            raise BabelscopeError(
                f"config: alignment.evaluated: {name} is scored with prompts in"
                f" {', '.join(sorted(unspoken))}, which config/prompts/{row.format}.yaml lacks.",
                "Write one there, with its source, or take the language out of"
                " alignment.languages.",
            )
    compared = [name for name in alignment.translations if name in settings.parallel.corpora]
    if compared:
        raise BabelscopeError(
            f"config: alignment.translations: {', '.join(compared)} is among parallel.corpora;"
            " what is compared, no model may have been trained on.",
            "Name other translations.",
        )
    lacking = set(alignment.languages)
    for name in used:
        found = set(corpora[name].codes or alignment.languages) & set(alignment.languages)
        if settings.pivot not in found or len(found) < 2:
            raise BabelscopeError(
                f"config: alignment: {name} is there in {', '.join(sorted(found))} of the study's"
                f" languages; samples need the pivot, {settings.pivot}, and another one.",
                "Name other instructions or translations.",
            )
        lacking -= found
    if lacking:
        raise BabelscopeError(
            f"config: alignment: no corpus of samples is there in {', '.join(sorted(lacking))}.",
            "Take the language out of alignment.languages, or name more instructions.",
        )
    _check_parallel("alignment", settings, corpora)
    if built:
        _check_text("alignment", settings)


def _check_corpora(
    study: str, names: Iterable[str], settings: Settings, corpora: dict[str, Corpus]
) -> None:
    """Check that a study's corpora have one of its languages, and the folder they are in."""
    languages = getattr(settings, study).languages
    for name in names:
        row = corpora[name]
        if row.codes and not set(row.codes) & set(languages):
            raise BabelscopeError(
                f"config: {study}: the corpus {name} has the languages {', '.join(row.codes)},"
                f" none of which is among {study}.languages ({', '.join(languages)}).",
                "Take the corpus out, or add a language.",
            )
        _check_folder(f"the corpus {name} of {study}", row.path, settings)
        _check_demo(f"the corpus {name} of {study}", row.path, settings)


def _check_families(
    settings: Settings, models: dict[str, Model], known: Collection[str], why: str
) -> None:
    """Check that a study can work with every one of `models`."""
    for name in settings.models:
        family = models[name].family
        if family not in known:
            raise BabelscopeError(
                f"config: models: {name} is of the family {family}, {why}; known:"
                f" {', '.join(known)}.",
                "Choose other models, or correct the family in config/models.tsv.",
            )


def _check_parallel(study: str, settings: Settings, corpora: dict[str, Corpus]) -> None:
    """Check that what is compared is there in all languages: it is read in all, whatever study."""
    for name in settings.parallel.corpora:
        row = corpora[name]
        lacking = [code for code in settings.languages if row.codes and code not in row.codes]
        if lacking:
            raise BabelscopeError(
                f"config: parallel.corpora: {name} is not there in {', '.join(lacking)}, and"
                f" {study} compares its sentences in all languages.",
                "Choose fewer languages, or another corpus.",
            )
        _check_folder(f"the corpus {name} of {study}", row.path, settings)
        _check_demo(f"the corpus {name} of {study}", row.path, settings)


def _check_text(study: str, settings: Settings) -> None:
    """Check that the articles and the further text of a study can be read."""
    source, extra = settings.dumps.source, settings.articles.extra or ""
    root = settings.data_root
    for key, path in (("dumps.source", source), ("articles.extra", extra)):
        if root and not _is_folder(root) and path.startswith(root):
            _check_folder(f"{key} of {study}", "{data_root}", settings)
    folder = source.removeprefix("file://")
    if source == "demo":
        _check_demo(f"the text of {study}", "{demo}", settings)
    elif not source.startswith("http") and not _is_folder(folder):
        raise BabelscopeError(
            f"config: dumps.source: {source} is not a folder, but the text of {study} is read from"
            " it.",
            f"Correct it; a relative path counts from {Path.cwd()}.",
        )


def _check_folder(what: str, path: str, settings: Settings) -> None:
    """Check that there is the folder of real files, if a path leads there."""
    if "{data_root}" in path and not _is_folder(settings.data_root):
        raise BabelscopeError(
            f"config: data_root: {settings.data_root} is not a folder, but {what} is read from it.",
            f"Add --config data_root=FOLDER{_home(settings.data_root)}.",
        )


def _check_demo(what: str, path: str, settings: Settings) -> None:
    """Check that the demo has all languages, if a path leads there: it is made in all or none."""
    unknown = [code for code in settings.languages if code not in DEMO_LANGUAGES]
    if "{demo}" in path and unknown:
        raise BabelscopeError(
            f"config: languages: the demo, from which {what} comes, has no text in"
            f" {', '.join(unknown)}.",
            f"Choose languages from {', '.join(DEMO_LANGUAGES)}, or use real dumps and corpora.",
        )


def _check_models(key: str, names: Iterable[str], models: dict[str, Model]) -> None:
    """Check that models can be built, or that their folders are there."""
    for name in names:
        row = models[name]
        if key == "models" and row.source == "build" and row.family != BUILT:
            raise BabelscopeError(
                f"config: {key}: {name} is of the family {row.family}, and would have to be built;"
                f" models of {BUILT} can be.",
                "Correct the family or the source in config/models.tsv.",
            )
        # Of a model that was taken over before, the folder may be gone.
        places = (row.location, f"resources/models/{name}")
        if row.source == "local" and not any(map(_is_folder, places)):
            raise BabelscopeError(
                f"config: {key}: the row {name} of config/models.tsv names the folder"
                f" {row.location}, which is not there.",
                f"Correct its location; a relative path counts from {Path.cwd()}"
                f"{_home(row.location)}.",
            )


def _home(path: str | None) -> str:
    """Return what is to be said of a path that only a shell would understand."""
    return ", and ~ is not expanded" if (path or "").startswith("~") else ""


def _is_folder(path: str | None) -> bool:
    """Tell whether a folder is given and there; an empty path would be the current one."""
    return bool(path) and Path(path).is_dir()


def _check_task(
    name: str,
    task: Task,
    settings: Settings,
    corpora: dict[str, Corpus],
    models: dict[str, Model],
) -> None:
    early, steps = settings.tickets.early_step, task.training.max_steps
    if "early" in settings.tickets.variants and steps is not None and early > steps:
        raise BabelscopeError(
            f"config: tickets.early_step: {early} is beyond tasks.{name}.training.max_steps,"
            f" {steps}.",
            "Lower it, or give rounds more steps.",
        )
    built = [model for model in settings.models if models[model].source == "build"]
    if built and name != "mlm" and task.max_tokens > settings.mlm.window:
        raise BabelscopeError(
            f"config: tasks.{name}.max_tokens: {task.max_tokens} is longer than mlm.window,"
            f" {settings.mlm.window}, for which {', '.join(built)} is built.",
            "Lower it, or raise mlm.window.",
        )
    if task.corpus:
        path = corpora[task.corpus].path
        _check_folder(f"the corpus {task.corpus} of tasks.{name}", path, settings)
        _check_demo(f"the corpus {task.corpus} of tasks.{name}", path, settings)
