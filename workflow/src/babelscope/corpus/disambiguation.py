"""Which pages of a Wikipedia only tell the meanings of a word apart."""

import re

MAGIC_WORD = "__DISAMBIG__"  # of MediaWiki's Disambiguator extension

# Names of templates that mark such a page, lower case. Where they come from: the lists
# `disambiguationTemplates` of Pywikibot's family files (2008 to 2014) and `disambig` of
# wtf_wikipedia; for mr, that wiki's pages.
_EVERYWHERE = frozenset({"disambig", "disambiguation", "disamb", "dab", "hndis", "geodis"})
_TEMPLATES: dict[str, frozenset[str]] = {
    "en": frozenset(
        {
            *("disambiguation cleanup", "disambig-cleanup", "hndis-cleanup", "geodis-cleanup"),
            *("2la", "4la", "tladisambig", "letter-numbercombdisambig", "numberdis", "mathdab"),
            *("callsigndis", "hospitaldis", "roaddis", "schooldis", "airport disambig"),
        }
    ),
    "es": frozenset({"desambiguación", "desambiguacion", "desambig"}),
    "ru": frozenset({"неоднозначность", "многозначность"}),
    "de": frozenset({"begriffsklärung"}),
    "zh": frozenset({"消歧义", "消歧義", "消歧义页", "消歧義頁", "letter disambig"}),
    "ar": frozenset({"توضيح"}),
    "ur": frozenset({"ضد ابہام"}),
    "hi": frozenset({"बहुविकल्पी शब्द"}),
    "fr": frozenset({"homonymie"}),
    "tr": frozenset({"anlam ayrımı", "anlam ayrım"}),
    "sw": frozenset({"maana"}),
    "mr": frozenset({"निःसंदिग्धीकरण"}),
}
# Ends of further names: {{human name disambiguation}}, {{kişi adları (anlam ayrımı)}}.
_NAME_ENDINGS = {"en": " disambiguation", "tr": " (anlam ayrımı)"}

# What such a page's title ends with: DBpedia's DisambiguationExtractorConfig (ar, de, en, es, fr,
# ru); in the other languages, the template's name in brackets.
_ENDINGS: dict[str, tuple[str, ...]] = {
    "en": ("(disambiguation)",),
    "es": ("(desambiguación)",),
    "ru": ("(значения)",),
    "de": ("(Begriffsklärung)",),
    "zh": ("(消歧义)", "(消歧義)"),
    "ar": ("(توضيح)",),
    "ur": ("(ضد ابہام)",),
    "hi": ("(बहुविकल्पी शब्द)", "(बहुविकल्पी)"),
    "fr": ("(homonymie)",),
    "tr": ("(anlam ayrımı)",),
    "sw": ("(maana)",),
    "mr": ("(निःसंदिग्धीकरण)",),
}

# White space is not given back (*+), or a page of blanks would take hours.
_TEMPLATE = re.compile(r"\{\{\s*+([^{}|#<\n]{1,60}?)[^\S\n]*+(?=[|\n<]|\}\})")


def is_disambiguation(title: str, wikitext: str, language: str) -> bool:
    """Say whether a page only lists the meanings of its title.

    Told by the magic word ``__DISAMBIG__``, by a template of the wiki or of any wiki, or by the end
    of the title. A hatnote (``{{other uses}}``) that points to such a page does not count.

    Parameters
    ----------
    title, wikitext
        The page.
    language
        Code from languages.tsv; of a language without a row here, only what all wikis share counts.
    """
    if MAGIC_WORD in wikitext or title.endswith(_ENDINGS.get(language, ())):
        return True
    known = _EVERYWHERE | _TEMPLATES.get(language, frozenset())
    ending = _NAME_ENDINGS.get(language)
    names = (match[1].replace("_", " ").casefold() for match in _TEMPLATE.finditer(wikitext))
    return any(name in known or (ending and name.endswith(ending)) for name in names)
