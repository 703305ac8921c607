"""The two ends of wikiextractor: what would confuse it goes before, what it leaves goes after."""

import html
import re

_CLOCK = re.compile(r"\{\{\s*(?:CURRENT|LOCAL)(YEAR|MONTH|DAY|HOUR|TIME)\s*\}\}", re.IGNORECASE)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
# A colon with a space is part of a title ("Kill Bill: Volume 1"), one without ends a namespace.
_COLON_LINK = re.compile(r"\[\[([^\[\]|:#\n]+: [^\[\]|\n]+)(?:\|([^\[\]|\n]*))?\]\]")
_PREFIX = re.compile(r"[a-z-]{2,12}\Z")  # of another language or project
_VARIANTS = re.compile(r"-\{([^{}]*)\}-")  # of Chinese; what is shown depends on the reader
_SHOWN = ("zh-hans", "zh-cn", "zh-sg", "zh", "zh-hant", "zh-tw", "zh-hk")

_TAGS = (
    "abbr|b|big|blockquote|br|caption|center|cite|code|del|div|em|font|gallery|h[1-6]|hr|i"
    "|includeonly|ins|kbd|li|math|noinclude|nowiki|ol|onlyinclude|p|poem|pre|ref|references|rp|rt"
    "|ruby|s|score|section|small|span|strike|strong|sub|sup|syntaxhighlight|table|td|templatestyles"
    "|th|time|tr|tt|u|ul|var|wbr"
)
_TAG = re.compile(rf"</?(?:{_TAGS})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_TEMPLATE = re.compile(r"\{\{[^{}]*\}\}")
_BRACKETS = re.compile(r"\{\{+|\}\}+|\[\[+|\]\]+")
_ENDLESS = re.compile(r"&#[0-9]{4000,};?")  # references that Python does not take for a number
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_BULLET = re.compile(r"^(?:[*:;]+|[*#:;]+(?=\s))\s*", re.MULTILINE)
_SEPARATORS = r"[\s,;:،؛、，；]"
_AFTER_OPENING = re.compile(rf"([(（])(?=\s*[,;،؛、，；]){_SEPARATORS}+")
# A run of separators is read once, also where no bracket follows: that is quadratic otherwise.
_BEFORE_CLOSING = re.compile(rf"([,;،؛、，；]{_SEPARATORS}*+)([)）])?")
_QUOTES = re.compile(r"«\s*»|„\s*“|“\s*”|\"\"|「\s*」|『\s*』")
_EMPTY = re.compile(r"[ \t]?(?:\(\s*\)|（\s*）|\[\s*\])")
_SPACES = re.compile(r"[ \t]{2,}|\t")


def stop_clock(wikitext: str, date: str) -> str:
    """Return wikitext in which ``{{CURRENTYEAR}}`` and its like say a date.

    wikiextractor would put in the time at which it runs, other text each day.

    Parameters
    ----------
    date
        Of the dump, such as ``20260101``.
    """
    if "{{" not in wikitext:
        return wikitext
    now = {"YEAR": date[:4], "MONTH": date[4:6], "DAY": date[6:], "HOUR": "00", "TIME": "00:00"}
    return _CLOCK.sub(lambda match: now[match[1].upper()], wikitext)


def prepare(wikitext: str, namespaces: frozenset[str], language: str) -> str:
    """Return wikitext as wikiextractor reads it best.

    Comments go first, as in MediaWiki: a brace inside one would pair with a brace outside. Links to
    titles with a colon become their label; wikiextractor would drop them as links into another
    namespace. Of Chinese variants ``-{zh-hans:甲; zh-hant:乙}-`` the simplified stays.

    Parameters
    ----------
    wikitext
        Text of a page.
    namespaces
        Names of the wiki's namespaces, lower case.
    language
        Code from languages.tsv.
    """
    text = _COMMENT.sub("", wikitext)
    if "-{" in text and language == "zh":
        text = _VARIANTS.sub(_variant, text)

    def unlink(match: re.Match[str]) -> str:
        prefix = match[1].partition(":")[0].strip()
        if prefix.casefold() in namespaces or _PREFIX.match(prefix):
            return match[0]
        return match[1] if match[2] is None else match[2]

    return _COLON_LINK.sub(unlink, text)


def _variant(match: re.Match[str]) -> str:
    """Return what a reader of simplified Chinese sees of one ``-{...}-``."""
    flags, bar, content = match[1].rpartition("|")
    if bar and {"T", "H", "-"} & set(flags.replace(" ", "").split(";")):
        return ""  # a title, or a rule for the rest of the page: shows nothing
    rules = [rule.partition(":") for rule in content.split(";") if ":" in rule]
    texts = {code.strip().casefold(): text.strip() for code, _, text in rules}
    if not texts or not any(code in texts for code in _SHOWN):
        return content
    return next(texts[code] for code in _SHOWN if code in texts)


def clean(text: str, title: str) -> str:
    """Return an article's text without what wikiextractor leaves of markup.

    Removed are tags that MediaWiki knows, template calls that could not be expanded, stray
    brackets, bullets, brackets that held nothing but a template, character references, empty lines,
    and the title where the first line repeats it. Letters, marks and joiners of all scripts stay as
    they are.
    """
    text = html.unescape(_ENDLESS.sub("\ufffd", text))
    text = _TAG.sub("", text)
    text = _BRACKETS.sub("", _TEMPLATE.sub("", text))
    text = _CONTROL.sub("", text)
    text = _BULLET.sub("", text)
    text = _QUOTES.sub("", text)
    text = _AFTER_OPENING.sub(r"\1", text)
    text = _EMPTY.sub("", _BEFORE_CLOSING.sub(lambda match: match[2] or match[1], text))
    lines = [_SPACES.sub(" ", line).strip(" \t") for line in text.split("\n")]
    lines = [line for line in lines if line]
    if lines and lines[0] == title:
        lines = lines[1:]
    return "\n".join(lines)
