"""wikiextractor with bounds on what one article may cost; a program that `extraction` runs.

A worker of wikiextractor dies of an article that breaks it, such as one that pads a word to the
length of a terabyte, or works on it for ever; and with it the whole dump would be lost. Here such
an article comes out without text, and with the reason.
"""

import json
import resource
import signal
from io import StringIO
from pathlib import Path
from typing import Any

from wikiextractor import WikiExtractor

SECONDS = 120.0  # the slowest article of a dump takes some
MEMORY = 2**30  # bytes, beyond those a worker begins with
LONGEST = 2**23  # characters; MediaWiki's own limit for a page is 2 MiB


class Bounds(BaseException):
    """An article costs too much; no handler of wikiextractor's is meant to catch this."""


class BoundedExtractor(WikiExtractor.Extractor):
    """An article that becomes a line of JSON, whatever is in it."""

    def extract(self, out: StringIO, html_safe: Any = True) -> None:
        """Write the article; if that is not possible, one without text, which says why."""
        _limit_memory()
        signal.setitimer(signal.ITIMER_REAL, SECONDS, 1.0)
        try:
            super().extract(out, html_safe)
            if out.tell() > LONGEST:
                raise Bounds(f"more than {LONGEST} characters")
        except (Exception, Bounds) as error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            out.seek(0)
            out.truncate()
            record = {"id": self.id, "revid": self.revid, "url": self.url, "title": self.title}
            failure = f"{type(error).__name__}: {error}"
            out.write(json.dumps(record | {"text": "", "failure": failure[:200]}) + "\n")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _limit_memory() -> None:
    """Let this process have so much memory more, if that has not been said yet."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = Path("/proc/self/statm")
    if soft == hard == resource.RLIM_INFINITY and pages.exists():
        size = int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, hard))


def _give_up(*_: Any) -> None:
    raise Bounds(f"more than {SECONDS:.0f} s")


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, _give_up)
    WikiExtractor.Extractor = BoundedExtractor
    WikiExtractor.main()
