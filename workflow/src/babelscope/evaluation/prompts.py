"""How examples are put to a language model: a text per language, and where it is from."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import yaml
from pydantic import Field, ValidationError, model_validator

from babelscope.config import Code, Section
from babelscope.corpus.choices import CHOICES, FIELDS
from babelscope.errors import BabelscopeError

# What yaml raises: beside its own error, those of dates that do not exist, tags without what they
# need, and too many brackets.
NOT_YAML = (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
PLACE = re.compile(r"\{(\w*)\}")
CHOICE, CONNECTOR, EOS = "{choice}", "{connector}", "{eos}"
ENDS = ".!?。！？।۔؟"  # marks at the end of a sentence
Words = Annotated[str, Field(min_length=1)]


class Filled(NamedTuple):
    """One example in a prompt.

    Attributes
    ----------
    stem
        What comes before the choice.
    choices
        In the order of the labels.
    rest
        What comes after the choice.
    """

    stem: str
    choices: tuple[str, ...]
    rest: str

    @property
    def strings(self) -> list[str]:
        """The whole text with each choice."""
        return [self.stem + choice + self.rest for choice in self.choices]


class Prompt(Section):
    """The prompt of one language."""

    text: str = Field(description="with fields of the example in braces, and {choice} once")
    choices: Annotated[tuple[Words, ...], Field(min_length=2)] = Field(
        description="words, or fields in braces, in the order of the labels"
    )
    connectors: dict[str, Words] | None = Field(
        default=None,
        description="what {connector} is, by the field question; premise and choice are then joined"
        " to one sentence: the former's end mark goes, the latter's first letter is made small",
    )
    source: Words

    @model_validator(mode="after")
    def _complete(self) -> "Prompt":
        if self.text.count(CHOICE) != 1:
            raise ValueError(f"text must hold {CHOICE} once")
        if (CONNECTOR in self.text) != bool(self.connectors):
            raise ValueError(f"text must hold {CONNECTOR} if there are connectors, and not if not")
        if len(set(self.choices)) < len(self.choices):
            raise ValueError("choices lists something twice")
        return self

    @property
    def places(self) -> set[str]:
        """The fields that it needs."""
        found = {place for part in (self.text, *self.choices) for place in PLACE.findall(part)}
        found -= {"choice", "connector"}
        return found | {"question"} if self.connectors else found

    @property
    def form(self) -> tuple[Any, ...]:
        """What tells whether two prompts are the same, whatever their sources."""
        return self.text, self.choices, tuple(sorted((self.connectors or {}).items()))

    def fill(self, example: Mapping[str, Any]) -> Filled:
        """Put an example into the text.

        Raises
        ------
        BabelscopeError
            If its question has no connector.
        """
        values = {place: str(example[place]) for place in self.places}
        if self.connectors:
            question = values["question"]
            if question not in self.connectors:
                raise BabelscopeError(
                    f"The question {question!r} has no connector; {', '.join(self.connectors)} do.",
                    "Correct the example, or add a connector to the prompt.",
                )
            values["connector"] = self.connectors[question]
            values["premise"] = values["premise"].strip().rstrip(ENDS)
        before, after = (_put(part, values) for part in self.text.split(CHOICE))
        choices = [_put(choice, values) for choice in self.choices]
        if self.connectors:
            choices = [choice[:1].lower() + choice[1:] for choice in choices]
        return Filled(before, tuple(choices), after)


class Prompts(Section):
    """The prompts of one format."""

    separator: str = Field(description="after each example that is shown; {eos}: end of text")
    languages: Annotated[dict[Code, Prompt], Field(min_length=1)]

    def of(self, language: str) -> Prompt:
        """Return the prompt of a language.

        Raises
        ------
        BabelscopeError
            If there is none.
        """
        if language not in self.languages:
            raise BabelscopeError(
                f"There is no prompt in {language}; there are {', '.join(sorted(self.languages))}.",
                "Write one under config/prompts, with its source, or leave out the language.",
            )
        return self.languages[language]


def _put(text: str, values: Mapping[str, str]) -> str:
    return PLACE.sub(lambda place: values[place[1]], text)


def read_prompts(path: str | Path) -> Prompts:
    """Read the prompts of a format from a file that is called after it.

    Raises
    ------
    BabelscopeError
        If the format is not known, or the file is not as it should be; the message names the key.
    """
    path = Path(path)
    if path.stem not in FIELDS:
        raise BabelscopeError(
            f"{path} is called after no format of choices; known: {', '.join(FIELDS)}.",
            "Rename it.",
        )
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise BabelscopeError(f"{path} does not exist.", "Add the prompts of the format.") from None
    except NOT_YAML as error:
        reason = " ".join(str(error).split())
        raise BabelscopeError(f"{path} is not YAML ({reason}).", "Correct the file.") from error
    try:
        prompts = Prompts.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        reason = first["msg"].removeprefix("Value error, ")
        raise BabelscopeError(f"{path}: {key}: {reason}.", "Correct the file.") from None
    known = FIELDS[path.stem]
    for language, prompt in prompts.languages.items():
        unknown = prompt.places - set(known)
        if unknown:
            raise BabelscopeError(
                f"{path}: languages.{language}: {{{min(unknown)}}} is no field of {path.stem}; its"
                f" fields are {', '.join(known)}.",
                "Correct the text or the choices.",
            )
        if len(prompt.choices) != CHOICES[path.stem]:
            raise BabelscopeError(
                f"{path}: languages.{language}.choices: {len(prompt.choices)} are listed, of"
                f" {path.stem} there are {CHOICES[path.stem]}.",
                "Correct the list.",
            )
    return prompts
