"""What a plan rests on: the figures of config/estimates.tsv, and what a configuration says."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from babelscope.config import Corpus, Model, Settings, load_settings, read_rows
from babelscope.errors import BabelscopeError
from babelscope.io import read_json
from babelscope.languages import Language
from babelscope.models.sizes import Shape, parse_shape, shape_of_config

OTHER = "other"  # what is believed of what is not listed
NUMBER = r"\d+(\.\d+)?(e-?\d+)?"
SHAPE = r"\d+x\d+x\d+x\d+"


class Estimate(BaseModel):
    """One row of estimates.tsv."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    value: str = Field(pattern=rf"^({NUMBER}|{SHAPE})$")
    unit: str = Field(min_length=1)
    origin: str = Field(
        pattern=r"^(measured|published|data sheet|assumption): .", description="where it is from"
    )


class Beliefs:
    """The figures by name, and which of them stood in for others that are not known.

    Attributes
    ----------
    stood_in
        What was asked for and is not listed, by what was taken instead.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self.rows = read_rows(path, Estimate)
        self.stood_in: dict[str, set[str]] = {}

    def number(self, name: str) -> float:
        """Return a figure; of a name like ``rows.x`` that is not listed, that of ``rows.other``."""
        return float(self._row(name).value)

    def shape(self, model: str, family: str) -> Shape:
        """Return the shape of a published model."""
        return parse_shape(family, self._row(f"shape.{model}").value)

    def _row(self, name: str) -> Estimate:
        if name in self.rows:
            return self.rows[name]
        kind, _, what = name.partition(".")
        other = f"{kind}.{OTHER}"
        if other not in self.rows:
            raise BabelscopeError(
                f"{self.path} has no row {name}.", "Add it, with where it comes from."
            )
        self.stood_in.setdefault(other, set()).add(what)
        return self.rows[other]


class Quantities:
    """How much there is of everything: tokens, rows, parameters.

    Parameters
    ----------
    config
        The configuration as Snakemake has it.
    tables
        Folder of languages.tsv, corpora.tsv, models.tsv and estimates.tsv.
    folder
        Where the workflow is run; models that are there tell their shape themselves.
    """

    def __init__(self, config: Mapping[str, Any], tables: Path, folder: Path) -> None:
        self.settings: Settings = load_settings(dict(config))
        self.beliefs = Beliefs(tables / "estimates.tsv")
        self.languages = read_rows(tables / "languages.tsv", Language)
        self.corpora = read_rows(tables / "corpora.tsv", Corpus)
        self.models = read_rows(tables / "models.tsv", Model)
        self.folder = folder
        self._shapes: dict[str, Shape] = {}

    # Networks

    def shape(self, name: str) -> Shape:
        """Return the shape of a model: as it is built, as its folder says, or as published."""
        if name not in self._shapes:
            self._shapes[name] = self._find_shape(name)
        return self._shapes[name]

    def _find_shape(self, name: str) -> Shape:
        row = self.models[name]
        if row.source == "build":
            generates = name in self.settings.alignment.models
            section = self.settings.alignment if generates else self.settings.mlm
            # below the positions of a RoBERTa there are two more, its padding
            return Shape(
                row.family,
                section.architecture.layers,
                section.architecture.hidden,
                section.architecture.intermediate,
                section.tokenizer.vocabulary,
                positions=section.window + (0 if generates else 2),
                segments=0 if generates else 1,
            )
        places = [self.folder / "resources" / "models" / name]
        if row.source == "local":
            places.append(self.folder / row.location)
        for place in places:
            if (place / "config.json").is_file():
                return shape_of_config(read_json(place / "config.json"))
        return self.beliefs.shape(name, row.family)

    def module(self, name: str) -> Shape:
        """Return the shape of a model with the vocabulary of one language's module."""
        shape = self.shape(name)
        words = self.settings.encoders.tokenizer.vocabulary
        return Shape(**{**vars(shape), "vocabulary": words})

    # Text

    @cached_property
    def is_demo(self) -> bool:
        """Whether text is the demo's, whose articles and sentences are short."""
        return self.settings.dumps.source == "demo"

    def length(self, kind: str, most: int | None = None) -> float:
        """Return the average tokens of an example of some kind, of which the rest is cut."""
        demo = f"{kind}.demo" if self.is_demo else ""
        name = f"tokens.{demo if f'tokens.{demo}' in self.beliefs.rows else kind}"
        found = self.beliefs.number(name)
        return found if most is None else min(found, most)

    @property
    def demo_articles(self) -> int:
        """Return the articles of the demo in all languages."""
        return len(self.settings.languages) * self.settings.demo.articles

    def dump(self, lang: str) -> float:
        """Return the bytes of a language's dump."""
        if self.is_demo:
            return self.settings.demo.articles * self.beliefs.number("demo.dump")
        return 1e9 * self.beliefs.number(f"dump.{self.languages[lang].wiki}")

    def fetched(self, lang: str) -> float:
        """Return the bytes that are fetched of it: all, or the streams that hold a sample."""
        whole = self.dump(lang)
        if self.settings.dumps.sampling == "whole" or self.is_demo:
            return whole
        articles = whole / 1e9 * self.beliefs.number("pages.gb")
        sampled = min(1.0, self.settings.articles.per_language / articles)
        return whole * (1 - (1 - sampled) ** 100)  # articles in a stream

    def tokens(self, split: str) -> float:
        """Return the tokens that a language has in a split, if it has the articles asked for."""
        articles = self.settings.articles
        shares = {"valid": articles.valid, "test": articles.test}
        share = shares.get(split, 1 - sum(shares.values()))
        per_article = self.beliefs.number(f"tokens.article{'.demo' if self.is_demo else ''}")
        return articles.per_language * share * per_article

    def windows(self, split: str, window: int, most: int | None = None) -> float:
        """Return the windows of a split of one language, at most so many."""
        found = self.tokens(split) / window
        return found if most is None else min(found, most)

    def rows(self, corpus: str) -> float:
        """Return the examples that a corpus has in one language."""
        row = self.corpora[corpus]
        if "{demo}" not in row.path:
            return self.beliefs.number(f"rows.{corpus}")
        demo = self.settings.demo
        named = {"parallel": "sentences"}.get(row.kind, row.kind)
        return getattr(demo, named)

    def sentences(self, corpus: str) -> float:
        """Return the sentences of a parallel corpus that are compared."""
        return min(self.rows(corpus), self.settings.parallel.max_sentences)
