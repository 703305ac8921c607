"""Prompts are what their sources say, and examples are put into them letter by letter."""

from pathlib import Path

import pytest
import yaml

from babelscope.corpus.choices import CHOICES, FIELDS
from babelscope.evaluation.prompts import read_prompts

FOLDER = Path(__file__).resolve().parents[3] / "config" / "prompts"
FILES = sorted(FOLDER.glob("*.yaml"))
TASKS = Path("lm_eval") / "tasks"


def prompt(task, language):
    return read_prompts(FOLDER / f"{task}.yaml").of(language)


def test_every_format_has_its_file():
    assert {path.stem for path in FILES} == set(FIELDS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_is_read_and_every_text_says_where_it_is_from(path):
    prompts = read_prompts(path)
    assert {"ar", "en", "es", "fr", "hi", "ru", "sw", "tr", "ur", "zh"} <= set(prompts.languages)
    assert prompts.separator == "{eos}"
    for language, one in prompts.languages.items():
        assert len(one.choices) == CHOICES[path.stem], language
        assert one.source.startswith(("Lin et al. (2022)", "Li et al. (2024)", "lm_eval", "ours"))
        example = {field: f"<{field}>" for field in FIELDS[path.stem]} | {"question": "cause"}
        for string in one.fill(example).strings:
            told = [field for field in one.places - {"question"} if f"<{field}>" in string]
            assert len(told) >= len(one.places - {"question"}) - (len(one.choices) - 1)
            assert "{" not in string


def test_examples_are_put_into_the_text():
    filled = prompt("xnli", "en").fill({"premise": "A {dog} barks.", "hypothesis": "It {choice}s."})
    assert filled.strings == [
        f"A {{dog}} barks., right? {word}, It {{choice}}s." for word in ("Yes", "Also", "No")
    ]
    assert filled.stem == "A {dog} barks., right? "
    assert filled.rest == ", It {choice}s."
    pair = {"sentence1": "Er kam.", "sentence2": "Er ging.", "label": 0}
    assert prompt("pawsx", "de").fill(pair).strings == [
        "Er kam., richtig? Nein, Er ging.",
        "Er kam., richtig? Ja, Er ging.",
    ]
    story = {"context": "Sie las.", "ending1": "Gut.", "ending2": "Schlecht."}
    assert prompt("xstorycloze", "de").fill(story).strings == [
        "Sie las. Gut.",
        "Sie las. Schlecht.",
    ]
    gap = {"before": "", "after": " fell.", "choice1": "He", "choice2": "The cat"}
    assert prompt("xwinograd", "en").fill(gap).strings == ["He fell.", "The cat fell."]


@pytest.mark.parametrize(
    ("question", "language", "expected"),
    [
        ("cause", "en", "The man left because it rained."),
        ("effect", "en", "The man left so it rained."),
        ("cause", "zh", "The man left 因为 it rained."),
        ("effect", "ru", "The man left поэтому it rained."),
    ],
)
def test_premise_and_choice_are_joined_to_a_sentence(question, language, expected):
    example = {"premise": "The man left. ", "question": question}
    example |= {"choice1": "It rained.", "choice2": "She stayed."}
    assert prompt("xcopa", language).fill(example).strings[0] == expected


def test_prompts_are_the_same_if_their_texts_are(tmp_path):
    assert prompt("xwinograd", "en").form == prompt("xwinograd", "ru").form
    assert prompt("xnli", "en").form != prompt("xnli", "ru").form
    assert prompt("xcopa", "en").form != prompt("xcopa", "ru").form


@pytest.mark.parametrize(
    ("ours", "theirs", "skipped"),
    [("xnli", "xnli/xnli_{}", {"ar", "es"}), ("pawsx", "paws-x/paws_{}", set())],
)
def test_texts_of_lm_eval_are_those_that_it_ships(ours, theirs, skipped):
    """Word by word; of the two that are skipped, the source says how they differ."""
    lm_eval = pytest.importorskip("lm_eval", reason="lm_eval is not installed")
    example = {field: field for field in FIELDS[ours]}
    compared = 0
    for language, one in read_prompts(FOLDER / f"{ours}.yaml").languages.items():
        if one.source.startswith("lm_eval") and language not in skipped:
            path = Path(lm_eval.__file__).parent / "tasks" / f"{theirs.format(language)}.yaml"
            loader = type("Loader", (yaml.SafeLoader,), {})
            loader.add_constructor("!function", lambda *_: None)
            choices = yaml.load(path.read_text("utf-8"), loader)["doc_to_choice"]
            template = choices.removeprefix("{{[").removesuffix("]}}")
            texts = [text.strip() for text in template.split(f"{FIELDS[ours][0]}+")[1:]]
            expected = [
                FIELDS[ours][0] + text.rstrip(", ").replace('"', "").replace("+", "")
                for text in texts
            ]
            assert one.fill(example).strings == expected, language
            compared += 1
    assert compared >= 5


def test_connectors_of_lm_eval_are_those_that_it_ships():
    pytest.importorskip("lm_eval", reason="lm_eval is not installed")
    from lm_eval.tasks.xcopa import utils  # pyright: ignore

    compared = 0
    for language, one in read_prompts(FOLDER / "xcopa.yaml").languages.items():
        if "tasks/xcopa" in one.source:
            theirs = getattr(utils, f"doc_to_text_{language}")
            for question in ("cause", "effect"):
                example = {"premise": "Es kam.", "question": question}
                example |= {"choice1": "Der eine.", "choice2": "Alle."}
                filled = one.fill(example)
                assert filled.stem == theirs(example) + " "
                assert list(filled.choices) == utils.doc_to_choice(example)
            compared += 1
    assert compared >= 5
