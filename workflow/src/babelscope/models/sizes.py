"""How many parameters a network has, told from its architecture alone; imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from babelscope.errors import BabelscopeError

PLAIN = ("bert", "roberta", "xlm-roberta", "gpt2", "bloom", "xglm", "m2m_100")
POSITIONS = {"bert": 512, "roberta": 514, "xlm-roberta": 514, "gpt2": 1024}  # as published
SEGMENTS = {"bert": 2, "roberta": 1, "xlm-roberta": 1}
BUCKETS = 32  # of T5's relative positions
# Names in a model's config.json.
LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "encoder_layers")
DECODER_LAYERS = ("decoder_layers", "num_decoder_layers")
HIDDEN = ("hidden_size", "n_embd", "d_model")
INTERMEDIATE = ("intermediate_size", "n_inner", "d_ff", "ffn_dim", "encoder_ffn_dim")
HEADS = ("num_attention_heads", "n_head", "num_heads", "attention_heads", "encoder_attention_heads")
PLACES = ("max_position_embeddings", "n_positions")


@dataclass(frozen=True)
class Shape:
    """What the number of a network's parameters follows from.

    Attributes
    ----------
    family
        One of those in `babelscope.models.anatomy`.
    layers, decoder_layers
        Blocks; the second of networks that have a decoder beside their encoder.
    hidden, intermediate
        Width, and width inside the feed-forward parts.
    vocabulary
        Rows of the embeddings.
    positions, segments
        Rows of the learned embeddings of positions and of segments, 0 if there are none.
    heads
        Of each block; only T5's number of parameters depends on it.
    queries, keys
        Width of all heads together: the network's, but for T5, and for LLaMA's grouped keys.
    """

    family: str
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    positions: int = 0
    segments: int = 0
    decoder_layers: int = 0
    heads: int = 0
    queries: int = 0
    keys: int = 0

    @property
    def attention(self) -> int:
        """Weights of the four matrices of one attention."""
        queries, keys = self.queries or self.hidden, self.keys or self.hidden
        return 2 * self.hidden * queries + 2 * self.hidden * keys

    @property
    def matrices(self) -> int:
        """Weights of the matrices of one block of the encoder, or of the only stack."""
        gated = self.family in ("llama", "mt5")
        return self.attention + (3 if gated else 2) * self.hidden * self.intermediate

    @property
    def blocks(self) -> int:
        """Parameters of all blocks of all stacks."""
        d = self.hidden
        match self.family:
            case "llama":
                one, cross = self.matrices + 2 * d, 0
            case "t5" | "mt5":
                one, cross = self.matrices + 2 * d, self.attention + d
            case _:  # biases, and norms with one
                one = self.matrices + 4 * d + self.intermediate + d + 4 * d
                cross = self.attention + 4 * d + 2 * d
        return self.layers * one + self.decoder_layers * (one + cross)

    @property
    def parameters(self) -> int:
        """Parameters with those of the language-model head; tied weights are counted once."""
        d, words = self.hidden, self.vocabulary
        masked = (self.positions + self.segments + 2) * d + d * d + 3 * d + words
        rest = {
            "gpt2": self.positions * d + 2 * d,
            "bloom": 4 * d,
            "xglm": 2 * d,
            "m2m_100": 4 * d,
            "llama": words * d + d,
            "t5": 2 * (d + BUCKETS * self.heads),
            "mt5": 2 * (d + BUCKETS * self.heads),
        }
        return words * d + self.blocks + rest.get(self.family, masked)


def parse_shape(family: str, text: str) -> Shape:
    """Return the shape of a text such as ``12x768x3072x250002``: layers, widths, words.

    Networks with a decoder have as many layers in it as in their encoder.
    """
    layers, hidden, intermediate, vocabulary = map(int, text.split("x"))
    both = family in ("m2m_100", "t5", "mt5")
    return Shape(
        family,
        layers,
        hidden,
        intermediate,
        vocabulary,
        positions=POSITIONS.get(family, 0),
        segments=SEGMENTS.get(family, 0),
        decoder_layers=layers if both else 0,
    )


def shape_of_config(config: Mapping[str, Any]) -> Shape:
    """Return the shape that a model's config.json says.

    Raises
    ------
    BabelscopeError
        If the file is of another family, or lacks a number.
    """
    family = config.get("model_type", "")
    try:
        hidden, heads = _first(config, HIDDEN), _first(config, HEADS)
        t5 = family in ("t5", "mt5")
        head = hidden // heads
        return Shape(
            family,
            layers=_first(config, LAYERS),
            hidden=hidden,
            intermediate=4 * hidden
            if family == "bloom"
            else _first(config, INTERMEDIATE, 4 * hidden),
            vocabulary=config["vocab_size"],
            positions=_first(config, PLACES, 0) if family in POSITIONS else 0,
            segments=config["type_vocab_size"] if family in SEGMENTS else 0,
            decoder_layers=_first(config, DECODER_LAYERS) if t5 or family == "m2m_100" else 0,
            heads=heads,
            queries=heads * config["d_kv"] if t5 else hidden,
            keys=heads * config["d_kv"] if t5 else head * config.get("num_key_value_heads", heads),
        )
    except (KeyError, StopIteration):
        raise BabelscopeError(
            f"A config.json of the family {family!r} does not say how large the model is.",
            f"Known are {', '.join((*PLAIN, 'llama', 't5', 'mt5'))}.",
        ) from None


def _first(config: Mapping[str, Any], names: tuple[str, ...], default: int | None = None) -> int:
    found = (config[name] for name in names if config.get(name) is not None)
    return next(found) if default is None else next(found, default)
