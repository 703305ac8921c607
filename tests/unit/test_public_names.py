"""Names that code outside the project calls: parameters, defaults and what comes back stay."""

import inspect
from importlib import import_module

import numpy as np
import pytest

POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD
KEYWORD = inspect.Parameter.KEYWORD_ONLY
REQUIRED = inspect.Parameter.empty

# Positional parameters, keyword-only ones with their defaults, and what is returned, if plain.
SIGNATURES = {
    "representations.cka.linear_cka": (["x", "y"], {"unbiased": True}, float),
    "representations.rsa.rsa": (["x", "y"], {"correlation": "pearson"}, float),
    "representations.isomorphism.relational_similarity": (["x", "y"], {}, float),
    "representations.retrieval.margin_retrieval": (
        ["x", "y"],
        {"k": 4, "margin": "ratio"},
        None,
    ),
    "representations.encoding.pool": (["states", "attention_mask", "how"], {}, None),
    "tokenization.overlap.token_overlap": (["tokens", "reference"], {}, float),
    "tokenization.packing.pack_chunks": (
        ["documents"],
        {"window": REQUIRED, "bos_id": REQUIRED, "eos_id": REQUIRED},
        np.ndarray,
    ),
    "tokenization.focus.focus_embeddings": (
        ["source_tokenizer", "target_tokenizer", "source_embeddings", "auxiliary"],
        {},
        np.ndarray,
    ),
    "training.contrastive.info_nce": (
        ["a", "b"],
        {"temperature": 0.05, "symmetric": True},
        None,
    ),
    "models.gates.head_gates": (["model", "gates"], {}, None),
    "models.removal.remove_heads": (["model", "mask"], {}, None),
    "models.removal.load_model": (["path"], {}, None),
    "subnetworks.importance.head_importance": (["model", "batches"], {"gates": None}, None),
    "subnetworks.magnitude.prune_step": (["weights", "masks", "amount"], {}, None),
    "subnetworks.overlap.jaccard": (["a", "b"], {}, float),
    "subnetworks.overlap.agreement": (["a", "b"], {}, float),
    "subnetworks.overlap.expected_jaccard": (
        ["n", "kept_a", "kept_b"],
        {},
        tuple[float, float],
    ),
    "corpus.articles.split_of": (
        ["article_id"],
        {"seed": REQUIRED, "valid": REQUIRED, "test": REQUIRED},
        str,
    ),
}
OTHERS = {
    "corpus.dumps": ["find_dump", "download"],
    "corpus.extraction": ["extract_articles"],
    "corpus.articles": ["sample_articles"],
    "corpus.parallel": ["read_parallel"],
    "tokenization.training": ["train_tokenizer"],
    "models.anatomy": ["anatomy"],
    "subnetworks.head_pruning": ["prune_heads_iteratively", "select_mask"],
    "subnetworks.magnitude": ["find_ticket"],
    "subnetworks.masks": ["HeadMask", "WeightMask"],
    "representations.encoding": ["encode_corpus"],
    "representations.cka": ["cka_table"],
    "representations.rsa": ["rsa_regression"],
    "representations.isomorphism": ["eigenvector_similarity", "gromov_hausdorff"],
    "evaluation.perplexity": ["perplexity"],
    "models.adapters": ["ParallelAdapter"],
    "typology": ["syntactic_distance", "mantel"],
    "demo": ["build_demo"],
}


def public(path):
    module, name = path.rsplit(".", 1)
    return getattr(import_module(f"babelscope.{module}"), name)


@pytest.mark.parametrize("path", SIGNATURES)
def test_a_signature_is_as_promised(path):
    positional, keywords, returned = SIGNATURES[path]
    signature = inspect.signature(public(path))
    parameters = list(signature.parameters.values())
    first, rest = parameters[: len(positional)], parameters[len(positional) :]
    assert [(one.name, one.kind, one.default) for one in first] == [
        (name, POSITIONAL, REQUIRED) for name in positional
    ]
    assert all(one.kind is KEYWORD for one in rest)
    defaults = {one.name: one.default for one in rest}
    assert keywords.items() <= defaults.items()
    more = defaults.keys() - keywords.keys()
    assert all(defaults[name] is not REQUIRED for name in more)
    assert returned is None or signature.return_annotation == returned


@pytest.mark.parametrize("module", OTHERS)
def test_a_name_is_where_it_was_promised(module):
    assert all(callable(public(f"{module}.{name}")) for name in OTHERS[module])


def test_numbers_come_back_as_python_numbers():
    x, y = np.random.default_rng(0).standard_normal((2, 12, 5)) + 2
    for path in (
        "representations.cka.linear_cka",
        "representations.rsa.rsa",
        "representations.isomorphism.relational_similarity",
    ):
        assert type(public(path)(x, y)) is float
    found = public("representations.retrieval.margin_retrieval")(x, y)
    assert type(found.error_forward) is type(found.error_backward) is float
    masks = x > 2, y > 2
    for name in ("jaccard", "agreement"):
        assert type(public(f"subnetworks.overlap.{name}")(*masks)) is float
    mean, deviation = public("subnetworks.overlap.expected_jaccard")(12, 5, 6)
    assert type(mean) is type(deviation) is float


def test_what_importance_returns(xlmr, masked_batch):
    found = public("subnetworks.importance.head_importance")(xlmr, [masked_batch])
    assert found.raw.dtype == found.normalized.dtype == np.float64
    assert found.raw.shape == found.normalized.shape == (3, 4)
    assert type(found.loss) is float
    assert found.n_examples == 5
