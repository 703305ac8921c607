"""What the headers of a web server's answer say."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from requests import Response

NUMBER = "[0-9]{1,18}"  # of bytes or seconds; a longer one means nothing


def length_of(response: Response) -> int | None:
    """Return the announced bytes of the body; None if they are not announced."""
    return _number(response.headers.get("Content-Length"))


def range_of(response: Response) -> tuple[int, int, int] | None:
    """Return start, end (exclusive) and the file's bytes of a part; None if it is not one."""
    wanted = rf"bytes ({NUMBER})-({NUMBER})/({NUMBER})"
    found = re.fullmatch(wanted, response.headers.get("Content-Range", ""))
    return (int(found[1]), int(found[2]) + 1, int(found[3])) if found else None


def total_of(response: Response) -> int | None:
    """Return the file's bytes that the refusal of a range names (status 416)."""
    return _number(response.headers.get("Content-Range", "").removeprefix("bytes */"))


def validator_of(response: Response) -> str:
    """Return what identifies the file's version: a strong ETag, or when it changed last.

    RFC 9110, section 13.1.5: a weak ETag cannot stand in ``If-Range``.
    """
    for name in ("ETag", "Last-Modified"):
        value = response.headers.get(name, "").strip()
        if value and not value.startswith("W/") and value.isascii() and value.isprintable():
            return value
    return ""


def retry_after(response: Response) -> float:
    """Return the seconds that ``Retry-After``, a number or a date, asks for; 0 without it."""
    text = response.headers.get("Retry-After", "")
    if re.fullmatch(NUMBER, text):
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(NUMBER, text) else None
