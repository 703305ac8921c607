"""Ways to damage a file: each takes its bytes and a random generator, and returns other bytes."""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import yaml

Mutation = Callable[[bytes, Random], bytes]

UNREAD = (ValueError, RecursionError)  # what a document that was damaged before may raise
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
LONG = 30_000  # of what is repeated
TOKENS = [
    *(b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"),
    *(b"\r", b"\r\n", b"\n\n\n", b"\t", b"\t\t", b" ", b"\x85", "\u2028".encode(), b"\x1a"),
    *(b"NaN", b"-1", b"1e999", b"9" * 400, b"9" * 5000, b"0x1f", "\u0663".encode(), b"1_0"),
    *(b'"', b"'", b'""', b"\\", b"\\ud800", b"\\u0000", b",", b":", b"#", b"null", b"true", b"{}"),
    *(b"[", b"]", b"{", b"}", b"{{", b"}}", b"[[", b"]]", b"{|", b"|}", b"-{", b"<!--", b"-->"),
    *(b"<ref", b"<ref>", b"<nowiki>", b"<math>", b"</text>", b"<page>", b"</page>", b"<", b"&#"),
    *(b"&#xD800;", b"&amp;", b"&#" + b"9" * 5000 + b";", b"==", b"'''''", b"__DISAMBIG__"),
    *(b"{{padleft:x|9999999}}", b"{{formatnum:nan}}", b"<id>x</id>", b"<ns>0</ns>"),
    *(b'<?xml version="1.0" encoding="x"?>', b'<!DOCTYPE a [<!ENTITY b "c">]>', b"<![CDATA["),
    *(b"../../../outside", b"/etc/passwd", b"{lang}", b"{choice}", b"!!timestamp x", b"&a [*a]"),
]
ODD = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1.5,
        10**400,
        float("nan"),
        float("inf"),
        "",
        " ",
        "\ud800",
        "x\ny",
    ),
    *([], {}, [[]], [None], {"": None}, {"a": {"b": []}}, "x" * LONG, list(range(50)), "0", "null"),
    *("../x", "/x", "{x}", "file:///etc/passwd", "https://u:p@example.org/", "demo", "en", 2**70),
]


def _span(content: bytes, random: Random, most: int = 64) -> tuple[int, int]:
    start = random.randrange(len(content) + 1)
    return start, min(len(content), start + random.randint(1, most))


def flip_bits(content: bytes, random: Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(random.randint(1, 8) if content else 0):
        damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
    return bytes(damaged)


def overwrite(content: bytes, random: Random) -> bytes:
    start, stop = _span(content, random)
    noise = bytes(random.randrange(256) for _ in range(stop - start))
    return content[:start] + noise + content[stop:]


def remove(content: bytes, random: Random) -> bytes:
    start, stop = _span(content, random, 4096)
    return content[:start] + content[stop:]


def repeat(content: bytes, random: Random) -> bytes:
    start, stop = _span(content, random, 256)
    return content[:stop] + content[start:stop] * random.randint(1, 9) + content[stop:]


def insert(content: bytes, random: Random) -> bytes:
    start, _ = _span(content, random)
    return content[:start] + random.choice(TOKENS) + content[start:]


def insert_many(content: bytes, random: Random) -> bytes:
    """Put in what is nested deeply, or a huge cell, tag or number."""
    start, _ = _span(content, random)
    token = random.choice(TOKENS)[:64]
    return content[:start] + token * (LONG // max(1, len(token))) + content[start:]


def truncate(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def replace(content: bytes, random: Random) -> bytes:
    """Put a token in the place of one that is there."""
    places = [token for token in (b"\t", b"\n", b'"', b",", b"<", b">", b":") if token in content]
    if not places:
        return insert(content, random)
    token = random.choice(places)
    parts = content.split(token)
    place = random.randrange(1, len(parts))
    return token.join(parts[:place]) + random.choice(TOKENS) + token.join(parts[place:])


def _on_lines(change: Callable[[list[bytes], int, Random], None]) -> Mutation:
    def mutation(content: bytes, random: Random) -> bytes:
        lines = content.split(b"\n")
        change(lines, random.randrange(len(lines)), random)
        return b"\n".join(lines)

    mutation.__name__ = change.__name__
    return mutation


def remove_line(lines: list[bytes], at: int, random: Random) -> None:
    del lines[at]


def repeat_line(lines: list[bytes], at: int, random: Random) -> None:
    lines.insert(random.randrange(len(lines) + 1), lines[at])


def swap_lines(lines: list[bytes], at: int, random: Random) -> None:
    other = random.randrange(len(lines))
    lines[at], lines[other] = lines[other], lines[at]


def empty_line(lines: list[bytes], at: int, random: Random) -> None:
    lines[at] = b""


def change_cells(lines: list[bytes], at: int, random: Random) -> None:
    """Take a cell away, add one, or put something else in."""
    separator = b"\t" if b"\t" in lines[at] else b","
    cells = lines[at].split(separator)
    place = random.randrange(len(cells))
    match random.randrange(4):
        case 0:
            del cells[place]
        case 1:
            cells.insert(place, random.choice(TOKENS))
        case 2:
            cells[place] = random.choice(TOKENS)
        case _:
            cells[place] *= LONG // (len(cells[place]) + 1)
    lines[at] = separator.join(cells)


def windows_lines(content: bytes, random: Random) -> bytes:
    return content.replace(b"\n", b"\r\n")


def mark_order(content: bytes, random: Random) -> bytes:
    return b"\xef\xbb\xbf" + content


def recode(content: bytes, random: Random) -> bytes:
    encoding = random.choice(["utf-16", "utf-8-sig", "latin-1", "utf-7"])
    return content.decode("utf-8", "replace").encode(encoding, "replace")


def nothing(content: bytes, random: Random) -> bytes:
    return b""


def _change_value(value: Any, random: Random) -> Any:
    """Return a document in which one value somewhere is another one, is away, or has company."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(list(value))
        changed = dict(value)
        match random.randrange(6):
            case 0:
                del changed[key]
            case 1:
                changed[random.choice(["x", "", "a b", "\ud800", "../x"])] = changed[key]
            case _:
                changed[key] = _change_value(value[key], random)
        return changed
    if isinstance(value, list) and value and random.random() < 0.9:
        place = random.randrange(len(value))
        changed = list(value)
        match random.randrange(6):
            case 0:
                del changed[place]
            case 1:
                changed.insert(place, changed[place])
            case _:
                changed[place] = _change_value(value[place], random)
        return changed
    return random.choice(ODD)


def change_json(content: bytes, random: Random) -> bytes:
    """Change a value of a JSON document, or of one of JSON lines."""
    try:
        return json.dumps(_change_value(json.loads(content), random)).encode()
    except UNREAD:
        lines = content.split(b"\n")
    at = random.randrange(len(lines))
    try:
        lines[at] = json.dumps(_change_value(json.loads(lines[at]), random)).encode()
    except UNREAD:
        return insert(content, random)
    return b"\n".join(lines)


def change_yaml(content: bytes, random: Random) -> bytes:
    """Change a value of a YAML document."""
    try:
        changed = _change_value(yaml.load(content, LOADER), random)
        return b"#\n" + json.dumps(changed).encode()  # which is YAML, too
    except (*UNREAD, yaml.YAMLError, LookupError, TypeError, AttributeError):
        return insert(content, random)


BYTES: Sequence[Mutation] = (flip_bits, overwrite, remove, repeat, insert, truncate)
TEXT: Sequence[Mutation] = (
    *BYTES,
    *(insert, insert_many, replace, windows_lines, mark_order, recode, nothing),
    *map(_on_lines, (remove_line, repeat_line, swap_lines, empty_line, change_cells)),
    *map(_on_lines, (repeat_line, change_cells, change_cells)),
)
JSON: Sequence[Mutation] = (*TEXT, *[change_json] * len(TEXT))
YAML: Sequence[Mutation] = (*TEXT, *[change_yaml] * 3 * len(TEXT))


def mutate(content: bytes, random: Random, ways: Sequence[Mutation], most: int = 3) -> bytes:
    """Damage a file in one to so many of these ways."""
    for _ in range(random.randint(1, most)):
        content = random.choice(ways)(content, random)
    return content
