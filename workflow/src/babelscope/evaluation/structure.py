"""How nearly two languages' sentence vectors have the same structure (RSIM)."""

from collections.abc import Mapping, Sequence

from babelscope.evaluation.embeddings import Embeddings
from babelscope.evaluation.results import Results, Rows, language_pairs, naming
from babelscope.representations.rsa import correlation_score, similarities


def score_structure(
    vectors: Embeddings,
    corpus: str,
    sentences: Mapping[str, Sequence[str]],
    *,
    pivot: str,
    all_pairs: bool = False,
    blocks: int = 20,
) -> Results:
    """Return the relational similarity of languages, with and without alignment.

    RSIM (Vulic et al. 2020) is Pearson's correlation of the cosines between the sentences of one
    language with those between their translations; see `relational_similarity`.

    Parameters
    ----------
    vectors
        The encoder.
    corpus
        Its name.
    sentences
        By language, n sentences; row i is the same content in every language.
    pivot
        The language that is compared with all others, and named first.
    all_pairs
        Whether all others are compared with each other, too.
    blocks
        Of the delete-one-block jackknife over sentences.

    Returns
    -------
    Rows ``rsim``, from -1 to 1, for each pair of languages: in the setting ``monolingual`` between
    the vectors that each language has for itself, in ``crosslingual`` between aligned vectors.
    There are no examples: a correlation over pairs of sentences is no mean over them.

    Raises
    ------
    BabelscopeError
        If there are too few sentences for the blocks, or all are equally similar to each other.
    """
    rows = Rows("structure", corpus)
    pairs = language_pairs(list(sentences), pivot, all_pairs=all_pairs)
    used = list(dict.fromkeys(language for pair in pairs for language in pair))
    for setting in ("monolingual", "crosslingual"):
        aligned = setting == "crosslingual"
        for language in used:
            vectors.request(sentences[language], language, aligned=aligned)
        sides = {}
        for language in used:
            with naming(f"{corpus}, {language}"):
                side = vectors.of(sentences[language], language, aligned=aligned)
                sides[language] = similarities(side, blocks=blocks, correlation="pearson")
        for pair in pairs:
            found = correlation_score("rsim", *(sides[language] for language in pair))
            interval = max(-1.0, found.low), min(1.0, found.high)
            rows.score(pair, setting, "rsim", found.value, interval, len(sentences[pair[0]]))
    return rows.results()
