"""How many bytes jobs leave: what stays, what is deleted once it has been used, and checkpoints."""

from collections.abc import Callable
from dataclasses import dataclass

from babelscope.dag import Job
from babelscope.models.sizes import Shape
from babelscope.planning.beliefs import Quantities

FLOAT = 4
CHECKPOINT = 3 * FLOAT  # weights and both moments, bytes a parameter
CHECKPOINTS = 2  # the newest, and the one before it while it is written
RECORD = 2e5  # a table, a figure, a log: bytes a job, at least


@dataclass(frozen=True)
class Space:
    """What a job needs, in bytes.

    Attributes
    ----------
    kept
        That stays.
    temporary
        Deleted by Snakemake once all that reads it is done.
    training
        Checkpoints, deleted at the end of the training.
    fetched
        Over the network; of it `kept` says what stays.
    """

    kept: float = 0.0
    temporary: float = 0.0
    training: float = 0.0
    fetched: float = 0.0


class Shelf:
    """Tells how many bytes jobs leave."""

    def __init__(self, quantities: Quantities) -> None:
        self.q = quantities
        self.number = quantities.beliefs.number

    def space(self, job: Job) -> Space:
        """Return what a job needs."""
        found: Callable[[Job], Space] | None = getattr(self, f"_{job.rule}", None)
        return Space(RECORD) if found is None else found(job)

    def _shape(self, job: Job) -> Shape:
        return self.q.shape(job.wildcards["model"])

    # What comes from outside, and text

    def _build_demo(self, job: Job) -> Space:
        return Space(self.q.demo_articles * self.number("demo.all"))

    def _download_dump(self, job: Job) -> Space:
        wiki = job.wildcards["wiki"]
        lang = next(code for code, row in self.q.languages.items() if row.wiki == wiki)
        size = self.q.fetched(lang)
        return Space(size, fetched=0.0 if self.q.is_demo else size)

    def _download_corpus(self, job: Job) -> Space:
        size = 1e9 * self.number(f"corpus.{job.wildcards['corpus']}")
        return Space(4 * size, fetched=size)  # unpacked

    def _download_model(self, job: Job) -> Space:
        size = FLOAT * self._shape(job).parameters
        there = self.q.models[job.wildcards["model"]].source == "local"
        return Space(size, fetched=0.0 if there else size)

    def _extract_articles(self, job: Job) -> Space:
        return Space(self.q.fetched(job.wildcards["lang"]) * self.number("text"))

    def _sample_articles(self, job: Job) -> Space:
        tokens = sum(self.q.tokens(split) for split in ("train", "valid", "test"))
        return Space(tokens * self.number("characters.token") / 3)  # by zstandard

    _split_text = _sample_articles

    def _pack_chunks(self, job: Job) -> Space:
        words = self._shape(job).vocabulary
        return self._packed(words)

    def _pack_language(self, job: Job) -> Space:
        return self._packed(self.q.settings.encoders.tokenizer.vocabulary)

    def _packed(self, words: int) -> Space:
        tokens = sum(self.q.tokens(split) for split in ("train", "valid", "test"))
        return Space(tokens * (2 if words <= 2**16 else 4))

    def _translate_pairs(self, job: Job) -> Space:
        return Space(self.q.rows(job.wildcards["pairs"]) * 3 * 60)  # compressed text of three texts

    def _make_instruction_pairs(self, job: Job) -> Space:
        alignment = self.q.settings.alignment
        rows = sum(self.q.rows(name) for name in alignment.instructions + alignment.translations)
        return Space(rows * (len(alignment.languages) - 1) * alignment.samples.repeat * 500)

    # Networks

    def _trained(self, shape: Shape, trained: float | None = None) -> Space:
        """Return the space of a network, and of its training of so many of its parameters."""
        moved = shape.parameters if trained is None else trained
        return Space(FLOAT * shape.parameters, training=CHECKPOINTS * CHECKPOINT * moved)

    def _build_base_model(self, job: Job) -> Space:
        return self._trained(self._shape(job))

    _build_generator = _build_base_model
    _finetune_mlm = _build_base_model
    _train_whole_encoder = _build_base_model
    _align_generator = _build_base_model

    def _initialize_model(self, job: Job) -> Space:
        return Space(FLOAT * self._shape(job).parameters)

    def _remove_heads(self, job: Job) -> Space:
        # nobody knows yet how many heads go: at most all of them stay
        return Space(len(self.q.settings.languages) * FLOAT * self._shape(job).parameters)

    def _focus_embeddings(self, job: Job) -> Space:
        shape = self.q.module(job.wildcards["model"])
        return Space(FLOAT * shape.vocabulary * shape.hidden)

    def _adapt_language(self, job: Job) -> Space:
        encoders, shape = self.q.settings.encoders, self.q.module(job.wildcards["model"])
        if encoders.kind == "full":
            return self._trained(shape)
        moved = shape.vocabulary * shape.hidden + self._lora(shape)
        return Space(FLOAT * moved, training=CHECKPOINTS * CHECKPOINT * moved)

    def _train_encoder(self, job: Job) -> Space:
        encoders, shape = self.q.settings.encoders, self.q.module(job.wildcards["model"])
        if encoders.kind == "full":
            return self._trained(shape)
        moved = self._lora(shape)
        return Space(FLOAT * moved, training=CHECKPOINTS * CHECKPOINT * moved)

    def _train_alignment_adapter(self, job: Job) -> Space:
        encoders, shape = self.q.settings.encoders, self._shape(job)
        width = shape.hidden // encoders.adapter.reduction
        moved = shape.layers * (2 * shape.hidden * width + width + shape.hidden)
        sets = (self.q.rows(name) for name in encoders.pairs)
        pivot = sum(min(rows, encoders.max_pairs or rows) for rows in sets) * 3 * shape.hidden
        return Space(FLOAT * moved, training=CHECKPOINTS * CHECKPOINT * moved + FLOAT * pivot)

    def _lora(self, shape: Shape) -> float:
        """Return the parameters of low-rank adapters of all six matrices of each block."""
        rank, d, inside = self.q.settings.encoders.lora.rank, shape.hidden, shape.intermediate
        return shape.layers * rank * (4 * 2 * d + 2 * (d + inside))

    def _export_encoder(self, job: Job) -> Space:
        shape = self.q.module(job.wildcards["model"])
        return Space(FLOAT * shape.parameters)

    # Masks and states

    def _bits(self, job: Job, masks: int) -> float:
        shape = self._shape(job)
        blocks = shape.layers + shape.decoder_layers
        return masks * blocks * shape.matrices / 8

    def _find_ticket(self, job: Job) -> Space:
        shape = self._shape(job)
        tickets = self.q.settings.tickets
        # the first weights, those of the round before, and the checkpoints of the round that runs
        training = (CHECKPOINTS * CHECKPOINT + 2 * FLOAT) * shape.parameters
        masks = self._bits(job, tickets.rounds)
        return Space(masks, training=training + masks)

    def _transfer_ticket(self, job: Job) -> Space:
        return Space(RECORD, training=CHECKPOINTS * CHECKPOINT * self._shape(job).parameters)

    def _derive_untrained_ticket(self, job: Job) -> Space:
        return Space(self._bits(job, 1))

    def _derive_shared_tickets(self, job: Job) -> Space:
        return Space(self._bits(job, 2))

    def _encode_corpus(self, job: Job) -> Space:
        settings, shape = self.q.settings, self._shape(job)
        sentences = len(settings.languages) * self.q.sentences(job.wildcards["corpus"])
        poolings = len(job.params["settings"]["poolings"])
        size = sentences * (shape.layers + 1) * shape.hidden * FLOAT * poolings
        if settings.encode.keep_states:
            return Space(size)
        return Space(0.0, temporary=size)

    def _evaluate_encoder(self, job: Job) -> Space:
        settings = self.q.settings
        corpus = settings.parallel.corpora[0]
        vectors = len(settings.encoders.languages) * self.q.sentences(corpus)
        return Space(vectors * self._shape(job).hidden * FLOAT + RECORD)
