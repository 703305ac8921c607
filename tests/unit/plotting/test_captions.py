"""Every reported file has a caption that can be filled in from the configuration."""

import re
from html import unescape
from types import SimpleNamespace
from typing import get_args

import jinja2
import pytest
import yaml
from docutils.core import publish_parts

from babelscope.config import Variant
from babelscope.representations.comparisons import HEAD_MEASURES


@pytest.fixture(scope="module")
def rules(request) -> str:
    files = sorted((request.config.rootpath / "workflow/rules").glob("*.smk"))
    return "".join(file.read_text("utf-8") for file in files)


@pytest.fixture(scope="module")
def captions(request):
    return sorted((request.config.rootpath / "workflow/report").glob("*.rst"))


def test_every_caption_is_used_and_there_is_none_missing(rules, captions):
    used = set(re.findall(r'caption="\.\./report/(\w+)\.rst"', rules))
    by_measure = set(HEAD_MEASURES) - {"cka"}
    assert 'caption=f"../report/{measure}.rst"' in rules
    assert {path.stem for path in captions} == used | by_measure | {"workflow"}


@pytest.mark.parametrize("seeds", [[1], [1, 2, 3]])
@pytest.mark.parametrize("variants", [["ticket"], ["ticket", *get_args(Variant)]])
def test_captions_can_be_filled_in(request, captions, seeds, variants):
    text = (request.config.rootpath / "config/config.yaml").read_text("utf-8")
    config = yaml.safe_load(text) | {"seeds": seeds}
    config["tickets"]["variants"] = variants
    snakemake = SimpleNamespace(config=config, wildcards=SimpleNamespace(budget="half", kept=50))
    strict = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True)
    for path in captions:
        filled = strict.from_string(path.read_text("utf-8")).render(snakemake=snakemake)
        page = publish_parts(filled, writer="html5", settings_overrides={"halt_level": 2})
        assert len(page["body"]) > 100, path
        # A line that ends with a block loses its end, and two words may become one.
        assert not re.search(r"\b[a-z]+[.,:;]?[A-Z]|seeds?\d", prose(page["body"])), path


def prose(html: str) -> str:
    """Return the text of a page without what is set as code."""
    text = re.sub(r"<(code|span|tt)\b.*?</\1>", "", html, flags=re.DOTALL)
    return unescape(re.sub(r"<[^>]+>", "", text))


def figures_of(request, study: str) -> set[str]:
    """Return the names of a study's figures in the targets."""
    common = (request.config.rootpath / "workflow/rules/common.smk").read_text("utf-8")
    wanted = re.search(rf"^{study}_FIGURES = \{{.*?^\}}", common, re.MULTILINE | re.DOTALL)
    assert wanted
    names = re.sub(r'"\w+": (\[|list\()', "[", wanted.group())
    return set(re.findall(r'"([^"]+)"', names))


def test_a_figure_is_named_alike_everywhere(request, rules):
    """What a rule makes is what the targets ask for."""
    made = set(re.findall(r"figures/heads/\{model\}/(?:\{budget\}/)?(\w+)\.png", rules))
    assert figures_of(request, "HEADS") == made
    made = set(re.findall(r"\"<results>/figures/tickets/\{+model\}+/(.+)\.png", rules))
    made = {name.replace("{{", "{").replace("}}", "}") for name in made}
    assert {name.replace("{tasks}", "") for name in figures_of(request, "TICKET")} == made
    made = set(re.findall(r"\"<results>/figures/encoders/\{+model\}+/(.+)\.png", rules))
    assert figures_of(request, "ENCODER") == made
    made = set(re.findall(r"\"<results>/figures/alignment/\{+model\}+/(.+)\.png", rules))
    assert figures_of(request, "ALIGNMENT") == made
