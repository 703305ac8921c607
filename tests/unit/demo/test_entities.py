"""Names are marked exactly, whatever clings to them."""

import pytest

from babelscope.demo.entities import plan_sentences, say, tag, tokenize
from babelscope.demo.grammar import load_grammar
from babelscope.demo.knowledge import LANGUAGES, load


def _names(tagged: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the kind and the characters of each tagged name, in order."""
    names: list[tuple[str, str]] = []
    for token, label in tagged:
        if label[0] == "B":
            names.append((label[2:], token))
        elif label[0] == "I":
            names[-1] = (names[-1][0], names[-1][1] + token)
    return names


@pytest.mark.parametrize("language", LANGUAGES)
def test_tokens_are_the_sentence_and_tagged_ones_the_names(language):
    grammar, knowledge = load_grammar(language), load()
    rows, _ = plan_sentences(knowledge, list(knowledge.facts.values()), 400, "train", 3)
    for row, facts in enumerate(rows):
        sentence = say(facts, grammar, "train", row, 3)
        tagged = tag(sentence, grammar)
        assert "".join(token for token, _ in tagged) == "".join(sentence.text.split())
        spans = sorted(
            (span.start, knowledge.entities[span.key].label, sentence.text[span.start : span.end])
            for span in sentence.spans
            if span.key and knowledge.entities[span.key].label
        )
        assert _names(tagged) == [(kind, "".join(name.split())) for _, kind, name in spans]


@pytest.mark.parametrize(
    ("language", "fact", "pattern", "expected"),
    [
        ("en", "author:work:War and Peace", 1, "Leo/PER Tolstoy/PER created “ War/MISC and Peace"),
        ("ar", "border:country:France+country:Spain", 1, "فرنسا/B-LOC و إسبانيا/B-LOC دولتان"),
        ("zh", "capital:country:France", 1, "法/B-LOC 国/I-LOC 的 首 都 是 巴/B-LOC 黎/I-LOC 。"),
        ("de", "length:river:Rhine", 1, "Die Länge des Rheins/B-LOC beträgt"),
        ("es", "area:country:Chile", 0, "Chile/B-LOC tiene una superficie de unos 756 000"),
        ("ur", "born:person:Albert Einstein", 1, "البرٹ/B-PER آئنسٹائن/I-PER کا سال پیدائش 1879ء"),
        ("hi", "length:river:Nile", 0, "नील/B-LOC नदी/I-LOC की लम्बाई 6,650 किलोमीटर है ।"),
        ("ru", "atomic:element:gold", 1, "Золото имеет атомный номер 79 ."),
    ],
)
def test_known_sentences(language, fact, pattern, expected):
    grammar = load_grammar(language)
    told = load().facts[fact]
    sentence = grammar.fill(grammar.patterns(told.relation)[pattern], told)
    shown = " ".join(
        token if label == "O" else f"{token}/{label}" for token, label in tag(sentence, grammar)
    )
    if language == "en":
        expected = "Leo/B-PER Tolstoy/I-PER created “ War/B-MISC and/I-MISC Peace/I-MISC ” ."
    assert shown.startswith(expected)


@pytest.mark.parametrize(
    ("text", "cuts", "characters", "expected"),
    [
        ("“Emma”, 1,648,000 km².", set(), False, ["“", "Emma", "”", ",", "1,648,000", "km²", "."]),
        ("Jean-Paul (x).", set(), False, ["Jean-Paul", "(", "x", ")", "."]),
        ("وفرنسا", {1}, False, ["و", "فرنسا"]),
        ("a — b", set(), False, ["a", "—", "b"]),
        ("...", set(), False, [".", ".", "."]),
        ("北京 1 号", set(), True, ["北", "京", "1", "号"]),
    ],
)
def test_tokens(text, cuts, characters, expected):
    tokens = tokenize(text, cuts, characters=characters)
    assert [token for _, token in tokens] == expected
    assert all(text.startswith(token, start) for start, token in tokens)


def test_some_sentences_have_no_name_and_some_state_two_facts():
    knowledge = load()
    rows, most = plan_sentences(knowledge, list(knowledge.facts.values()), 1000, "train", 1)
    assert len(rows) == 1000 <= most
    nameless = [
        row
        for row in rows
        if not any(knowledge.entities[key].label for f in row for key in (f.subject, *f.objects))
    ]
    assert len(nameless) == 120
    joined = [row for row in rows if len(row) == 2]
    assert 50 < len(joined) < 300
    assert all(one.subject == two.subject and one != two for one, two in joined)


def test_no_more_rows_come_back_than_promised():
    knowledge = load()
    facts = list(knowledge.facts.values())[:40]
    _, most = plan_sentences(knowledge, facts, 1, "dev", 1)
    assert len(plan_sentences(knowledge, facts, most, "dev", 1)[0]) == most
    assert len(plan_sentences(knowledge, facts, most + 50, "dev", 1)[0]) < most + 50
