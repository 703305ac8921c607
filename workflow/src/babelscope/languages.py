"""Languages and the codes they go by; one spelling inside, converted at the border.

Imported while the workflow is parsed, so it stays light.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from babelscope.spelling import spelled

DEMO_LANGUAGES = ("en", "es", "ru", "de", "zh", "ar", "ur", "hi")  # those the demo has text in
# Matplotlib's markers that have an area: maps of sentences draw them without their outline.
MARKERS = tuple(".ov^<>8sp*hHDdPX")
Code = Annotated[
    str, spelled("[a-z][a-z_-]{1,19}", "2 to 20 small letters, hyphens and _, a letter first")
]
Letters = Annotated[str, spelled("[a-z]{3}", "three small letters, such as eng")]


def _drawn(marker: str) -> str:
    if marker not in MARKERS and not re.fullmatch(r"\$[^$]+\$", marker):
        raise ValueError(
            f"must be one of {' '.join(MARKERS)}, or a letter such as $\\mathbf{{A}}$ in"
            " Matplotlib's mathematical text"
        )
    return marker


class Language(BaseModel):
    """One row of languages.tsv.

    Attributes
    ----------
    code
        The code used everywhere inside: ISO 639-1, or the Wikipedia's where there is none.
    name
        What the language calls itself; for readers of the table.
    english
        English name, which figures show.
    wiki
        Database name of the Wikipedia, such as ``enwiki``.
    iso639_3
        Code of the macro- or individual language that Tatoeba, SemRel and others write.
    script
        ISO 15924 code of the script, such as ``Latn``.
    flores
        FLORES-200 code, such as ``eng_Latn``. Every language needs one, used or not: paths of
        corpora, translators and the names of trained encoders' modules are spelled with it.
    uriel
        Code under which URIEL lists the typological features. Every language needs one that is
        there: correlations with typology take all languages of a study.
    family
        Family of languages, which the overlap of tickets is compared with.
    colour
        Hexadecimal colour of the language in every figure.
    marker
        One of Matplotlib's markers that have an area, or mathematical text between dollar signs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: Code
    name: str
    english: str
    wiki: Annotated[
        str,  # a folder is called so
        spelled("[a-z][a-z0-9_]*", "small letters, digits and _, a letter first, such as enwiki"),
    ]
    iso639_3: Letters
    script: Annotated[str, spelled("[A-Z][a-z]{3}", "four letters, such as Latn")]
    flores: Annotated[str, spelled("[a-z]{3}_[A-Z][a-z]{3}", "a code such as eng_Latn")]
    uriel: Letters
    family: str
    colour: Annotated[
        str, spelled("#[0-9a-fA-F]{6}", "# and six digits 0 to 9 or a to f, such as #0072b2")
    ]
    marker: Annotated[str, AfterValidator(_drawn)]
