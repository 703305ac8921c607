"""Adapter for the rule focus_embeddings: text and a source in, the start of a language out."""

from babelscope.io import atomic, write_arrays
from babelscope.jobs import job
from babelscope.models.loading import load_tokenizer
from babelscope.models.sentence_encoders import load_encoder
from babelscope.tokenization.auxiliary import auxiliary_vectors
from babelscope.tokenization.focus import initialize_embeddings
from babelscope.tokenization.training import documents_of, split_lines

with job(snakemake):
    seed = snakemake.params.seed
    tokenizer = load_tokenizer(snakemake.input.tokenizer)
    documents = documents_of(snakemake.input.text)
    vectors = auxiliary_vectors(
        tokenizer,
        split_lines(text for _, text in documents()),
        seed=seed,
        **snakemake.params.settings,
    )
    source = load_encoder(snakemake.input.source)
    found = initialize_embeddings(
        source.tokenizer,
        tokenizer,
        source.network.get_input_embeddings().weight,
        vectors,
        seed=seed,
    )
    with atomic(snakemake.output.start) as folder:
        tokenizer.save_pretrained(folder)
        arrays = {"weight": found.weight, "matched": found.matched}
        write_arrays(folder / "embeddings.safetensors", arrays)
