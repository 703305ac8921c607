"""How long jobs take: arithmetic of networks over a sustained rate, and what starting a job costs.

A forward pass multiplies every token with every weight once, two operations each; attention adds
what grows with the length of the text. Training takes three times that, and twice where the weights
are frozen and only what passes through them is differentiated. The output layer counts for the
tokens that are predicted alone. What a GPU job does on its processor is counted as time of the GPU.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from babelscope.config import MODULAR, CausalTraining, PairTraining
from babelscope.dag import Job
from babelscope.models.sizes import Shape
from babelscope.planning.beliefs import Quantities
from babelscope.representations.comparisons import (
    pairs_of,
)
from babelscope.training.schedules import steps_of

TRAINED, FROZEN = 3, 2  # forward passes that a training step costs, by what has gradients
CACHED = 4  # with cached gradients every text goes through once more
TEXTS = 3  # of a row of pairs: anchor, positive, negative
HALF = 0.5  # sparsity at which pruning of heads by perplexity is taken to end


@dataclass(frozen=True)
class Work:
    """What a job does, apart from its start.

    Attributes
    ----------
    flop
        Arithmetic of a network, on the GPU if the job has one.
    width
        Of that network.
    seconds
        Processor time of all else.
    generates
        The network writes text token by token.
    """

    flop: float = 0.0
    width: int = 0
    seconds: float = 0.0
    generates: bool = False


@dataclass(frozen=True)
class Time:
    """What a job takes, in seconds: of processor cores if it has no GPU, else of GPUs."""

    cpu: float
    gpu: float


def forward(
    shape: Shape,
    tokens: float,
    length: float,
    predicted: float = 0.0,
    layers: int | None = None,
) -> float:
    """Return the operations of a forward pass.

    Parameters
    ----------
    shape
        Of the network; of its decoder nothing is counted.
    tokens
        How many pass through it.
    length
        Of the texts that they stand in: a token looks at so many.
    predicted
        Tokens that the output layer sees.
    layers
        How many blocks, if not all.
    """
    layers = shape.layers if layers is None else layers
    block = 2 * shape.matrices + 4 * shape.hidden * length
    return tokens * layers * block + 2 * predicted * shape.hidden * (
        shape.vocabulary + shape.hidden
    )


class Clock:
    """Tells how long jobs take.

    Parameters
    ----------
    quantities
        Of the configuration.
    gpu
        A card of config/estimates.tsv.
    """

    def __init__(self, quantities: Quantities, gpu: str) -> None:
        self.q = quantities
        self.gpu = gpu
        self.number = quantities.beliefs.number

    def time(self, job: Job) -> Time:
        """Return what a job takes."""
        work = self.work(job)
        start = self.number(f"start.{job.environment}") if job.environment else 0.0
        if job.environment in ("torch", "encoders", "generators") and (name := _model_of(job)):
            start += 4 * self.q.shape(name).parameters / self.number("read.weights")
        start += work.seconds
        if job.gpus:
            card = self.number(f"gpu.{self.gpu}.{self.q.settings.compute.precision}")
            share = self.number("gpu.generation" if work.generates else "gpu.utilization")
            return Time(0.0, start * job.gpus + work.flop / (card * share))
        return Time(start + (work.flop / self.core(work.width) if work.flop else 0.0), 0.0)

    def core(self, width: int) -> float:
        """Return the operations that a core does in a second, in a network of some width."""
        return self.number("cpu.peak") * width / (width + self.number("cpu.half_width"))

    def work(self, job: Job) -> Work:
        """Return what a job does; of a rule that is not told of here, nothing but its start."""
        found: Callable[[Job], Work] | None = getattr(self, f"_{job.rule}", None)
        return Work() if found is None else found(job)

    def knows(self, rule: str) -> bool:
        """Tell whether a rule has work of its own."""
        return hasattr(self, f"_{rule}")

    # Text and tokenizers

    def _build_demo(self, job: Job) -> Work:
        return Work(seconds=self.q.demo_articles * self.number("demo.seconds"))

    def _extract_articles(self, job: Job) -> Work:
        kind = "extract.templates" if self.q.settings.dumps.templates else "extract"
        return Work(seconds=self.q.fetched(job.wildcards["lang"]) / self.number(kind))

    def _train_tokenizer(self, job: Job) -> Work:
        settings = self.q.settings
        generates = job.wildcards["model"] in settings.alignment.models
        most = (settings.alignment if generates else settings.mlm).tokenizer.characters
        languages = settings.alignment.languages if generates else settings.languages
        return self._tokenizer(len(languages), most)

    _train_generator_tokenizer = _train_tokenizer

    def _train_language_tokenizer(self, job: Job) -> Work:
        return self._tokenizer(1, self.q.settings.encoders.tokenizer.characters)

    def _tokenizer(self, languages: int, most: int) -> Work:
        there = languages * self.q.tokens("train") * self.number("characters.token")
        return Work(seconds=min(there, most) / self.number("train_tokenizer"))

    def _pack_chunks(self, job: Job) -> Work:
        tokens = sum(self.q.tokens(split) for split in ("train", "valid", "test"))
        return Work(seconds=tokens * self.number("characters.token") / self.number("tokenize"))

    _pack_language = _pack_chunks

    def _focus_embeddings(self, job: Job) -> Work:
        settings = self.q.settings.encoders.tokenizer
        pairs = settings.vocabulary**2 / 4  # half of the words are new, at most
        learned = self.q.tokens("train") * settings.epochs / self.number("fasttext")
        return Work(seconds=learned + pairs * self.number("focus"))

    # Language models

    def _build_base_model(self, job: Job) -> Work:
        settings = self.q.settings
        generates = job.wildcards["model"] in settings.alignment.models
        section = settings.alignment if generates else settings.mlm
        languages = settings.alignment.languages if generates else settings.languages
        shape = self.q.shape(job.wildcards["model"])
        return self._language_model(section.build, shape, section.window, len(languages))

    _build_generator = _build_base_model

    def _finetune_mlm(self, job: Job) -> Work:
        mlm, languages = self.q.settings.mlm, self.q.settings.languages
        shape = self.q.shape(job.wildcards["model"])
        return self._language_model(mlm.finetune, shape, mlm.window, len(languages))

    def _adapt_language(self, job: Job) -> Work:
        encoders = self.q.settings.encoders
        shape = self.q.module(job.wildcards["model"])
        passes = FROZEN if encoders.kind == "lora" else TRAINED
        return self._language_model(encoders.adaptation, shape, encoders.window, 1, passes, 1)

    def _language_model(
        self,
        training: CausalTraining,
        shape: Shape,
        window: int,
        languages: int,
        passes: int = TRAINED,
        processes: int | None = None,
    ) -> Work:
        """Return the work of a training on the windows of some languages, with its validation."""
        processes = processes or self.q.settings.compute.processes
        examples = languages * self.q.windows("train", window, training.train_examples)
        steps = steps_of(training, math.ceil(examples), processes)
        tokens = steps * training.batch_size * training.accumulation * processes * window
        share = getattr(training, "mask_share", 1.0)
        valid = languages * self.q.windows("valid", window, training.valid_examples) * window
        valid *= steps // training.eval_steps + 1
        flop = passes * forward(shape, tokens, window, share * tokens)
        return Work(flop + forward(shape, valid, window, share * valid), shape.hidden)

    def _evaluate_perplexity(self, job: Job) -> Work:
        heads, languages = self.q.settings.heads, len(self.q.settings.languages)
        # of each language and draw; random ones, and those that all share or any keeps
        masks = languages * (heads.draws + heads.random_masks) + 2
        return self._test_text(job, 1 if job.wildcards["masks"] == "full" else masks)

    def _measure_attention_entropy(self, job: Job) -> Work:
        return self._test_text(job, 1)

    def _remove_heads(self, job: Job) -> Work:
        return self._test_text(job, 2)  # with masks and without the heads, each language its own

    def _test_text(self, job: Job, times: int) -> Work:
        settings = self.q.settings
        shape, window = self.q.shape(job.wildcards["model"]), settings.mlm.window
        windows = self.q.windows("test", window, settings.perplexity.examples)
        tokens = times * len(settings.languages) * windows * window
        share = settings.perplexity.mask_share
        return Work(forward(shape, tokens, window, share * tokens), shape.hidden)

    # Heads and tickets

    def _rank_heads(self, job: Job) -> Work:
        settings, heads = self.q.settings, self.q.settings.heads
        shape, window = self.q.shape(job.wildcards["model"]), settings.mlm.window
        furthest = max([budget.sparsity or HALF for budget in heads.budgets])
        rounds = min(math.ceil(furthest / heads.step), math.ceil(1 / heads.step) - 1) + 1
        windows = self.q.windows("valid", window, heads.examples)
        tokens = heads.draws * rounds * windows * window
        flop = FROZEN * forward(shape, tokens, window, settings.perplexity.mask_share * tokens)
        return Work(flop, shape.hidden)

    def _find_ticket(self, job: Job) -> Work:
        tickets, task = self.q.settings.tickets, job.wildcards["task"]
        rounds = tickets.rounds + 1
        training = rounds * self._task_training(job, None)
        scored = getattr(self.q.settings.tasks, task)
        examples = (2 * rounds - 1) * scored.valid_examples + rounds * scored.test_examples
        return self._on_task(job, training, examples)

    def _transfer_ticket(self, job: Job) -> Work:
        tickets, task = self.q.settings.tickets, job.wildcards["task"]
        scored = getattr(self.q.settings.tasks, task)
        networks = len(job.params["sources"]) + tickets.random_masks + 3
        training = networks * self._task_training(job, scored.transfer_steps)
        others = 2 * (len(tickets.languages) - 1)
        return self._on_task(job, training, (networks + others) * scored.test_examples)

    def _task_training(self, job: Job, steps: int | None) -> float:
        """Return how many examples one training of a task sees."""
        task = getattr(self.q.settings.tasks, job.wildcards["task"])
        there = self.q.windows("train", self.q.settings.mlm.window)
        if task.corpus is not None:
            there = self.q.rows(task.corpus)
        examples = math.ceil(min(there, task.train_examples or there))
        per_step = task.training.batch_size * task.training.accumulation
        return per_step * (steps or steps_of(task.training, examples))

    def _on_task(self, job: Job, trained: float, scored: float) -> Work:
        """Return the work of training and scoring a network on so many examples of a task."""
        name, settings = job.wildcards["task"], self.q.settings
        shape = self.q.shape(job.wildcards["model"])
        length: float = settings.mlm.window
        share = settings.perplexity.mask_share  # T5's spans are as many
        if name != "mlm":
            length = self.q.length(name, getattr(settings.tasks, name).max_tokens)
            share = 0.0
        flop = 0.0
        for examples, passes in ((trained, TRAINED), (scored, 1)):
            tokens = examples * length
            flop += passes * forward(shape, tokens, length, share * tokens)
        return Work(flop, shape.hidden)

    def _compute_ticket_overlap(self, job: Job) -> Work:
        masks = len(job.params["tickets"]) + 1
        shape = self.q.shape(job.wildcards["model"])
        bits = masks**2 / 2 * shape.layers * shape.matrices
        return Work(seconds=bits / self.number("overlap"))

    # Representations

    def _encode_corpus(self, job: Job) -> Work:
        settings = self.q.settings
        # a corpus is read in all languages of the configuration, whatever study asks
        number = len(settings.languages)
        length = self.q.length("sentence", settings.encode.max_tokens)
        tokens = number * self.q.sentences(job.wildcards["corpus"]) * length
        shape = self.q.shape(job.wildcards["model"])
        return Work(forward(shape, tokens, length), shape.hidden)

    def _compute_cka(self, job: Job) -> Work:
        n, d, pairs = self._compared(job)
        return Work(2 * pairs * n * d * min(n, d), d)

    def _compute_retrieval(self, job: Job) -> Work:
        n, d, pairs = self._compared(job)
        return Work(4 * pairs * n * n * d * len(job.params["poolings"]), d)

    def _compute_rsa(self, job: Job) -> Work:
        n, _, pairs = self._compared(job)
        compared = self.q.settings.compare.blocks * n * n / 2  # which are also put in order
        return Work(seconds=pairs * compared * self.number("rsa"))

    def _compute_isomorphism(self, job: Job) -> Work:
        n, _, pairs = self._compared(job)
        parts = self.q.settings.compare.parts
        return Work(seconds=pairs * parts * (n / parts) ** 3 * self.number("isomorphism"))

    def _compute_uniformity(self, job: Job) -> Work:
        n, d, pairs = self._compared(job)
        return Work(4 * pairs * n * n * d, d)

    def _compared(self, job: Job) -> tuple[float, int, int]:
        """Return sentences, width, and pairs of layers of a comparison."""
        name, settings = job.wildcards["comparison"], self.q.settings
        languages = list(job.params["languages"])
        shape = self.q.shape(job.wildcards["model"])
        pairs = pairs_of(name, languages, settings.pivot)
        layers = [(shape.layers + 1) ** (2 if pair.all_layers else 1) for pair in pairs]
        return self.q.sentences(job.wildcards["corpus"]), shape.hidden, sum(layers)

    # Sentence encoders

    def _translate_pairs(self, job: Job) -> Work:
        translation = self.q.settings.encoders.translation
        shape = self.q.shape(translation.model or "")
        rows = min(self.q.rows(job.wildcards["pairs"]), self._most_pairs())
        tokens = TEXTS * rows * self.q.length("sentence", translation.max_tokens)
        length = self.q.length("sentence")
        read = forward(shape, tokens, length)
        written = forward(shape, tokens * translation.beams, length, tokens * translation.beams)
        return Work(read + written, shape.hidden, generates=True)

    def _most_pairs(self) -> float:
        return self.q.settings.encoders.max_pairs or math.inf

    def _train_encoder(self, job: Job) -> Work:
        encoders = self.q.settings.encoders
        passes = FROZEN if encoders.kind == "lora" else TRAINED
        return self._on_pairs(job, encoders.sentences, passes, 1)

    def _train_whole_encoder(self, job: Job) -> Work:
        encoders = self.q.settings.encoders
        across = job.wildcards["whole"] == "full-cross"
        streams = 1 if across else len(encoders.languages)
        return self._on_pairs(job, encoders.cross if across else encoders.full, TRAINED, streams)

    def _train_alignment_adapter(self, job: Job) -> Work:
        # of the texts of a batch, half are the pivot's, whose vectors are computed once
        found = self._on_pairs(job, self.q.settings.encoders.alignment, FROZEN, 1, texts=TEXTS / 2)
        rows = sum(min(self.q.rows(name), self._most_pairs()) for name in self._pair_sets())
        length = self.q.length("sentence", self.q.settings.encoders.alignment.max_tokens)
        shape = self.q.shape(job.wildcards["model"])
        return Work(found.flop + forward(shape, TEXTS * rows * length, length), shape.hidden)

    def _pair_sets(self) -> list[str]:
        return self.q.settings.encoders.pairs

    def _on_pairs(
        self, job: Job, training: PairTraining, passes: int, streams: int, texts: float = TEXTS
    ) -> Work:
        """Return the work of a training on the pairs of some languages."""
        sets = [min(self.q.rows(name), self._most_pairs()) for name in self._pair_sets()]
        batches = streams * sum(rows // training.batch_size for rows in sets)
        steps = min(math.ceil(training.epochs * batches), training.max_steps or math.inf)
        length = self.q.length("sentence", training.max_tokens)
        tokens = steps * training.batch_size * texts * length
        passes += CACHED - TRAINED if training.mini_batch else 0
        shape = self.q.shape(job.wildcards["model"])
        return Work(passes * forward(shape, tokens, length), shape.hidden)

    def _evaluate_encoder(self, job: Job) -> Work:
        settings = self.q.settings
        shape = self.q.shape(job.wildcards["model"])
        flop = 0.0
        for name in (*settings.encoders.evaluated, *settings.parallel.corpora):
            row = self.q.corpora[name]
            kind = row.kind if row.kind in ("topics", "reading") else "sentence"
            there = set(row.codes or settings.encoders.languages) & set(settings.encoders.languages)
            length = self.q.length(kind)
            texts = 1 if row.kind in ("topics", "parallel") else 2
            # modules answer with and without alignment
            texts *= 2 if job.wildcards["method"] in MODULAR else 1
            flop += forward(shape, texts * self.q.rows(name) * len(there) * length, length)
        return Work(flop, shape.hidden)

    # Generative models

    def _align_generator(self, job: Job) -> Work:
        alignment, network = self.q.settings.alignment, job.wildcards["network"]
        training = alignment.training
        shape = self.q.shape(job.wildcards["model"])
        rows = sum(self.q.rows(name) for name in alignment.instructions + alignment.translations)
        samples = rows * (len(alignment.languages) - 1) * alignment.samples.repeat
        steps = math.ceil(training.epochs * samples / training.batch_size)
        steps = min(steps, training.max_steps or math.inf)
        passes = FROZEN if training.lora else TRAINED
        flop = 0.0
        for part, kind in (("contrastive", "sentence"), ("instruction", "instruction")):
            if network not in (f"aligned-{part}", "aligned-both"):
                continue
            most = training.max_tokens if part == "contrastive" else training.block
            length = self.q.length(kind, most)
            tokens = steps * training.batch_size * length * (2 if part == "contrastive" else 1)
            if part == "contrastive":
                more = CACHED - TRAINED if training.mini_batch else 0
                layers = int("".join(filter(str.isdigit, training.pooler)) or shape.layers)
                flop += (passes + more) * forward(shape, tokens, length, layers=layers)
            else:
                flop += passes * forward(shape, tokens, length, tokens)
        chosen = training.selected_by
        if chosen is not None:
            asked = chosen.examples * len(alignment.languages) * (steps // training.eval_steps + 1)
            flop += self._choices(shape, asked, chosen.shots)
        return Work(flop, shape.hidden)

    def _evaluate_in_context(self, job: Job) -> Work:
        alignment = self.q.settings.alignment
        shape = self.q.shape(job.wildcards["model"])
        draws = [
            (shots, len(alignment.demonstrations) if shots else 1) for shots in alignment.shots
        ]
        flop = 0.0
        for name in alignment.evaluated:
            codes = self.q.corpora[name].codes or alignment.languages
            there = len(set(codes) & set(alignment.languages))
            examples = min(self.q.rows(name), alignment.max_examples or math.inf)
            for shots, times in draws:
                asked = there * examples * times * len(alignment.prompts)
                flop += self._choices(shape, asked, shots)
        return Work(flop, shape.hidden)

    def _choices(self, shape: Shape, examples: float, shots: int) -> float:
        """Return the operations of judging examples, whose demonstrations are read once for all."""
        length, answer = self.q.length("choices"), self.q.length("choice")
        behind = length * (1 + shots)
        if shape.family == "bloom":  # which cannot be told positions: each choice is a row
            return 2 * forward(shape, examples * (length + answer), behind, examples * answer)
        return forward(shape, examples * (length + 2 * answer), behind, 2 * examples * answer)


def _model_of(job: Job) -> str | None:
    return job.wildcards.get("model")
