"""Languages and the codes they go by; one spelling inside, converted at the border.

Imported while the workflow is parsed, so it stays light.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


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
        FLORES-200 code, such as ``eng_Latn``.
    uriel
        Code under which URIEL lists the typological features.
    family
        Family of languages, which the overlap of tickets is compared with.
    colour
        Hexadecimal colour of the language in every figure.
    marker
        Its marker in figures: one of Matplotlib's, such as ``o``, or a letter between dollars.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: Annotated[str, Field(pattern="^[a-z][a-z_-]{1,19}$")]
    name: str
    english: str
    wiki: Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]  # a folder is called so
    iso639_3: Annotated[str, Field(pattern="^[a-z]{3}$")]
    script: Annotated[str, Field(pattern="^[A-Z][a-z]{3}$")]
    flores: Annotated[str, Field(pattern="^[a-z]{3}_[A-Z][a-z]{3}$")]
    uriel: Annotated[str, Field(pattern="^[a-z]{3}$")]
    family: str
    colour: Annotated[str, Field(pattern="^#[0-9a-f]{6}$")]
    marker: Annotated[str, Field(min_length=1)]
