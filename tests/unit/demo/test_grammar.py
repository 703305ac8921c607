"""Every fact can be said in every language with every pattern, in the right script."""

import random
import re

import pytest

from babelscope.demo.articles import article_title
from babelscope.demo.grammar import load_grammar
from babelscope.demo.knowledge import COMPARISONS, LANGUAGES, comparison, load
from babelscope.demo.names import INFLECT, parse_name
from babelscope.demo.plan import plan_articles

SCRIPTS = {
    "ru": r"[Ѐ-ӿ]",
    "zh": r"[一-鿿]",
    "ar": r"[؀-ۿ]",
    "ur": r"[؀-ۿ]",
    "hi": r"[ऀ-ॿ]",
}
LATIN = r"[A-Za-zÀ-ɏ]"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_entity_has_a_name_in_the_script_of_the_language(language):
    grammar = load_grammar(language)
    for key in grammar.knowledge.entities:
        name = grammar.name(key)
        for form in name.forms:
            assert form
            assert form == form.strip()
            assert re.search(SCRIPTS.get(language, LATIN), form), (key, form)
            if language in SCRIPTS:
                assert not re.search(LATIN, form), (key, form)
            elif language != "en":
                assert not re.search("[Ѐ-ӿ؀-ۿऀ-ॿ一-鿿]", form), (key, form)


def test_letters_of_arabic_and_urdu_are_not_mixed():
    entities = load().entities.values()
    assert not [e.names["ar"] for e in entities if re.search("[یکںےہگچپڈٹڑ]", e.names["ar"])]
    assert not [e.names["ur"] for e in entities if re.search("[يىكةه]", e.names["ur"])]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_pattern_fills_for_every_fact(language):
    grammar = load_grammar(language)
    firsts = set()
    for fact in grammar.knowledge.facts.values():
        patterns = grammar.patterns(fact.relation)
        assert len(patterns) >= 3
        for pattern in patterns:
            sentence = grammar.fill(pattern, fact)
            assert not re.search(r"[{}|/;_?]|\s\s| \.", sentence.text), sentence.text
            assert sentence.text[-1] in ".。۔।"
            assert sentence.text[0] == sentence.text[0].upper()
            named = {span.key for span in sentence.spans if span.key}
            assert named == {fact.subject, *fact.objects}, sentence.text
        firsts.add(grammar.fill(patterns[0], fact).text)
    assert len(firsts) == len(grammar.knowledge.facts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_spans_cover_the_names(language):
    grammar = load_grammar(language)
    for fact in list(grammar.knowledge.facts.values())[::7]:
        for opening in ("", grammar.rules["connectives"][0]):
            sentence = grammar.fill(grammar.patterns(fact.relation)[0], fact, opening)
            for span in sentence.spans:
                surface = sentence.text[span.start : span.end]
                if not span.key:
                    assert surface == grammar.number(fact.number)
                else:
                    stem = grammar.name(span.key).forms
                    assert any(form.lower()[:2] == surface.lower()[:2] for form in stem)


def test_comparisons_are_true_in_either_order():
    knowledge = load()
    fact = comparison(knowledge, "length", "river:Spree", "river:Nile")
    assert fact == comparison(knowledge, "length", "river:Nile", "river:Spree")
    assert fact is not None
    assert fact.subject == "river:Nile"
    assert all(
        load_grammar(code).patterns(name) for code in LANGUAGES for name in COMPARISONS.values()
    )


@pytest.mark.parametrize(
    ("language", "cell", "kind", "form", "expected"),
    [
        ("en", "the Danube", "river", "", "the Danube"),
        ("es", "el Danubio", "river", "de", "del Danubio"),
        ("es", "la India", "country", "al", "a la India"),
        ("de", "die Donau", "river", "am", "an der Donau"),
        ("de", "der Rhein", "river", "gen", "des Rheins"),
        ("de", "Niederlande;p", "country", "in", "in den Niederlanden"),
        ("de", "Frankreich", "country", "gen", "von Frankreich"),
        ("ru", "Франция", "country", "в", "во Франции"),
        ("ru", "Куба;fн", "country", "в", "на Кубе"),
        ("ru", "Китай", "country", "ins", "Китаем"),
        ("ru", "Миссисипи;fi", "river", "gen", "Миссисипи"),
        ("ru", "Рейкьявик", "city", "gen", "Рейкьявика"),
        ("ar", "النيل", "river", "", "نهر النيل"),
        ("hi", "नील", "river", "", "नील नदी"),
        ("ur", "پارہ/پارے", "element", "obl", "پارے"),
    ],
)
def test_forms(language, cell, kind, form, expected):
    before, name = INFLECT[language](parse_name(cell, kind, language), form)
    assert before + name == expected


def test_numbers_are_grouped_as_each_language_does():
    grouped = {code: load_grammar(code).number(1648000) for code in LANGUAGES}
    assert grouped["en"] == "1,648,000"
    assert grouped["de"] == "1.648.000"
    assert grouped["es"] == grouped["ru"] == "1\u00a0648\u00a0000"
    assert grouped["hi"] == "16,48,000"
    assert load_grammar("es").number(4167) == "4167"


@pytest.mark.parametrize("language", LANGUAGES)
def test_titles_are_distinct(language):
    grammar = load_grammar(language)
    plans = plan_articles(grammar.knowledge, set(), 900, seed=1)
    titles = [article_title(plan, grammar) for plan in plans]
    assert len(set(titles)) == len(titles)
    assert not [title for title in titles if re.search(r"[{}\[\]|#<>]", title)]


def test_labels_are_those_of_named_entities():
    entities = load().entities
    assert entities["person:Marie Curie"].label == "PER"
    assert entities["river:Nile"].label == "LOC"
    assert entities["element:gold"].label == ""


def test_descriptions_agree_in_gender():
    german = load_grammar("de")
    texts = {german.describe("country:Netherlands", random.Random(i)).text for i in range(9)}
    assert all(text.startswith("Die Niederlande sind ") for text in texts)


def test_a_sentence_after_a_german_colon_begins_with_a_capital():
    german = load_grammar("de")
    fact = german.knowledge.facts["food:animal:ostrich"]
    sentence = german.fill(german.patterns("food")[0], fact, "Außerdem gilt: ")
    assert sentence.text == "Außerdem gilt: Der Strauß frisst Pflanzen."


@pytest.mark.parametrize(
    ("language", "fact", "pattern", "expected"),
    [
        ("de", "class:animal:ostrich", 1, "Der Strauß ist ein Vogel."),
        ("es", "class:animal:ostrich", 1, "El avestruz es una de las aves."),
        ("es", "continent:country:United States", 3, "En el mapa, Estados Unidos aparece en"),
        ("ru", "continent:country:Philippines", 1, "Филиппины находятся в Азии."),
        ("ru", "continent:country:France", 1, "Франция находится в Европе."),
        ("hi", "food:animal:golden eagle", 1, "सुनहरे गरुड़ का भोजन मांस है।"),
        ("hi", "food:animal:ostrich", 1, "शुतुरमुर्ग का भोजन पौधे हैं।"),
        ("ur", "food:animal:golden eagle", 1, "سنہری عقاب کی خوراک گوشت ہے۔"),
        ("ur", "food:animal:ostrich", 1, "شتر مرغ کی خوراک پودے ہیں۔"),
        ("ur", "discoverer:element:radium", 0, "ریڈیم کی دریافت میں میری کیوری شریک تھیں۔"),
        ("ur", "discoverer:element:neon", 0, "نیون کی دریافت میں ولیم رامزے شریک تھے۔"),
        ("ur", "profession:person:Jane Austen", 0, "جین آسٹن کو ادیبہ کے طور پر جانا جاتا ہے۔"),
        ("ur", "state:element:silver", 0, "چاندی عام درجہ حرارت پر ٹھوس ہوتی ہے۔"),
        ("ur", "state:element:gold", 0, "سونا عام درجہ حرارت پر ٹھوس ہوتا ہے۔"),
        ("hi", "state:element:silver", 2, "कमरे के ताप पर चाँदी ठोस अवस्था में रहती है।"),
        ("hi", "state:element:gold", 2, "कमरे के ताप पर सोना ठोस अवस्था में रहता है।"),
        ("hi", "script:language:Chinese", 0, "चीनी भाषा के लिए चीनी अक्षरों का प्रयोग होता है।"),
    ],
)
def test_words_agree(language, fact, pattern, expected):
    grammar = load_grammar(language)
    told = grammar.knowledge.facts[fact]
    assert grammar.fill(grammar.patterns(told.relation)[pattern], told).text.startswith(expected)
