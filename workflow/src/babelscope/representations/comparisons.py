"""Which representations are compared with which; light, since the workflow is built from it."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from babelscope.config import ALIGNED


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a network, or a part of it, reading one language.

    Attributes
    ----------
    network
        ``base``, ``random``, ``finetuned``, ``ticket`` (the base model under a ticket), or one of
        `babelscope.config.ALIGNED`.
    subnetwork
        ``full``, or the language whose mask is applied: of a ticket its mask of weights, else that
        of heads.
    language
        The language of the sentences.
    """

    network: str
    subnetwork: str
    language: str


@dataclass(frozen=True)
class Pair:
    """Two sides whose rows are aligned.

    Attributes
    ----------
    left, right
        What is compared.
    all_layers
        Compare every layer with every layer, not only equal ones.
    shuffled
        Permute the rows of the right side first: what is left then is the chance level.
    """

    left: Side
    right: Side
    all_layers: bool = False
    shuffled: bool = False


HEAD_COMPARISONS = {
    "shuffled": "the fine-tuned model, pivot against others, sentences of the others shuffled",
    "random": "the fine-tuned against a randomly initialized model, each language",
    "languages": "the fine-tuned model, every pair of languages",
    "layers": "every layer of the base against every layer of the fine-tuned model, each language",
    "own": "the full model against a language's own subnetwork, each language",
    "others": "the full model on the pivot against the other languages' subnetworks on theirs",
    "subnetworks": "the pivot's subnetwork on the pivot against the others' subnetworks on theirs",
    "pivot-subnetwork": "the pivot's subnetwork, pivot against the other languages",
}
TICKET_COMPARISONS = {
    "base-languages": "the base model, pivot against the other languages",
    "ticket-own": "the base model against a language's ticket, each language",
    "tickets": "the pivot's ticket on the pivot against the others' tickets on theirs",
    "pivot-ticket": "the pivot's ticket, pivot against the other languages",
}
# A network of the alignment study by the comparison of its languages, and of it with the base.
ALIGNED_LANGUAGES = {f"generator-{network}": network for network in ("base", *ALIGNED)}
ALIGNED_CHANGES = {f"base-{network}": network for network in ALIGNED}
ALIGNMENT_COMPARISONS = {
    **{
        name: f"the network {network}, pivot against the other languages"
        for name, network in ALIGNED_LANGUAGES.items()
    },
    **{
        name: f"the base model against {network}, each language"
        for name, network in ALIGNED_CHANGES.items()
    },
}
COMPARISONS = HEAD_COMPARISONS | TICKET_COMPARISONS | ALIGNMENT_COMPARISONS

# Which comparisons each measure is computed for, by study. Alignment is defined for any two sets of
# states. Retrieval asks for the translation, so both sides must be different languages; so does the
# distance of translations, for which both must be in one space. Isomorphism does not look at which
# row belongs to which, so shuffling rows would change nothing but the relational similarity, which
# the representational similarity analysis already reports.
HEAD_MEASURES = {
    "cka": tuple(HEAD_COMPARISONS),
    "rsa": (
        "shuffled",
        "random",
        "languages",
        "own",
        "others",
        "subnetworks",
        "pivot-subnetwork",
    ),
    "isomorphism": ("random", "languages", "own", "others", "subnetworks", "pivot-subnetwork"),
    "retrieval": ("languages", "others", "subnetworks", "pivot-subnetwork"),
}
TICKET_MEASURES = {
    "cka": tuple(TICKET_COMPARISONS),
    "retrieval": ("base-languages", "tickets", "pivot-ticket"),
}


def alignment_measures(networks: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return which comparisons of the alignment study each measure is computed for.

    Parameters
    ----------
    networks
        Those of `babelscope.config.ALIGNED` that there are; comparisons of others are left out.
    """
    there = {"base", *networks}
    languages = tuple(name for name, network in ALIGNED_LANGUAGES.items() if network in there)
    changes = tuple(name for name, network in ALIGNED_CHANGES.items() if network in there)
    return {"cka": languages + changes, "retrieval": languages, "uniformity": languages}


ALIGNMENT_MEASURES = alignment_measures(ALIGNED)
STUDIES = (HEAD_MEASURES, TICKET_MEASURES, ALIGNMENT_MEASURES)
MEASURES = {
    measure: tuple(name for study in STUDIES for name in study.get(measure, ()))
    for measure in dict.fromkeys(measure for study in STUDIES for measure in study)
}


def pairs_of(comparison: str, languages: list[str], pivot: str) -> list[Pair]:
    """Return the pairs that a comparison consists of.

    Parameters
    ----------
    comparison
        A key of `COMPARISONS`.
    languages
        The languages of the parallel corpus, the pivot among them.
    pivot
        The language the others are compared with.
    """
    others = [language for language in languages if language != pivot]
    network = (ALIGNED_LANGUAGES | ALIGNED_CHANGES).get(comparison, "")

    def full(language: str, network: str = "finetuned") -> Side:
        return Side(network, "full", language)

    def part(subnetwork: str, language: str) -> Side:
        return Side("finetuned", subnetwork, language)

    def ticket(found_for: str, language: str) -> Side:
        return Side("ticket", found_for, language)

    match comparison:
        case "shuffled":
            return [Pair(full(pivot), full(other), shuffled=True) for other in others]
        case "random":
            return [Pair(full(one), full(one, "random")) for one in languages]
        case "languages":
            # the pivot on the left in any order of languages: ridge regression has a direction
            both = combinations([pivot, *others], 2)
            return [Pair(full(one), full(other)) for one, other in both]
        case "layers":
            return [Pair(full(one, "base"), full(one), all_layers=True) for one in languages]
        case "own":
            return [Pair(full(one), part(one, one)) for one in languages]
        case "others":
            return [Pair(full(pivot), part(other, other)) for other in others]
        case "subnetworks":
            return [Pair(part(pivot, pivot), part(other, other)) for other in others]
        case "pivot-subnetwork":
            return [Pair(part(pivot, pivot), part(pivot, other)) for other in others]
        case "base-languages":
            return [Pair(full(pivot, "base"), full(other, "base")) for other in others]
        case "ticket-own":
            return [Pair(full(one, "base"), ticket(one, one)) for one in languages]
        case "tickets":
            return [Pair(ticket(pivot, pivot), ticket(other, other)) for other in others]
        case "pivot-ticket":
            return [Pair(ticket(pivot, pivot), ticket(pivot, other)) for other in others]
        case _ if comparison in ALIGNED_LANGUAGES:
            return [Pair(full(pivot, network), full(other, network)) for other in others]
        case _ if comparison in ALIGNED_CHANGES:
            return [Pair(full(one, "base"), full(one, network)) for one in languages]
        case _:
            raise ValueError(f"unknown comparison {comparison}; known: {', '.join(COMPARISONS)}")


def sides_of(comparison: str, languages: list[str], pivot: str) -> list[Side]:
    """Return the distinct sides of a comparison, in a fixed order."""
    pairs = pairs_of(comparison, languages, pivot)
    return list(dict.fromkeys(side for pair in pairs for side in (pair.left, pair.right)))


def parts_of(comparison: str, languages: list[str], pivot: str) -> list[tuple[str, str]]:
    """Return the distinct (network, subnetwork) of a comparison's sides, in a fixed order."""
    sides = sides_of(comparison, languages, pivot)
    return list(dict.fromkeys((side.network, side.subnetwork) for side in sides))
