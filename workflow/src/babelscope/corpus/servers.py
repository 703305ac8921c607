"""Requests to a web server: polite, patient within bounds, and clear about what went wrong."""

import logging
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import requests
import urllib3

from babelscope import __version__
from babelscope.corpus.answers import retry_after
from babelscope.errors import BabelscopeError

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

MEBIBYTE = 2**20
NETRC = "Take it out; requests with a password read it from the file .netrc in your home."
NOT_FOLLOWED = (
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
)
TRANSIENT = {408, 429, 500, 502, 503, 504}
REDIRECTS = 5
LONGEST = 60.0  # seconds between two attempts, unless the server asks for more


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    Attributes
    ----------
    attempts
        Failures in a row, without a new byte between them, after which a file is given up.
    total
        Seconds of waiting between attempts that one file may cost.
    timeout
        Seconds to connect, and seconds of silence within an answer.
    sleep
        The function that waits.
    """

    attempts: int = 8
    total: float = 3600.0
    timeout: tuple[float, float] = (10.0, 60.0)
    sleep: Callable[[float], None] = time.sleep


PATIENCE = Patience()


class TransientError(Exception):
    """A failure that may be gone at the next attempt.

    Attributes
    ----------
    wait
        Seconds that the server asked to be left alone.
    progressed
        Whether something useful arrived all the same.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait
        self.progressed = False


class Server:
    """A web server, asked for files by their path below one URL.

    Parameters
    ----------
    url
        Where the files are, http or https. From https no redirect leads to http, and from neither
        to any other scheme.
    contact
        E-mail address or URL of whoever runs this, sent in the User-Agent as the Wikimedia
        Foundation's policy asks.
    patience
        How long failures are waited out.

    Raises
    ------
    BabelscopeError
        Without a contact, or with a user name or password in the URL, which would be written into
        logs and records; before anything is asked.
    """

    def __init__(self, url: str, contact: str | None, patience: Patience) -> None:
        if names_user(url):
            raise BabelscopeError(
                f"The address of {url.rpartition('@')[2]} holds a user name or password.", NETRC
            )
        if not contact:
            raise BabelscopeError(
                f"{url} is to be asked for files, but no contact is set for the User-Agent.",
                "Set dumps.contact to an e-mail address or a URL.",
            )
        self.url = url.rstrip("/")
        self._patience = patience
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"babelscope/{__version__} ({contact})"
        self._session.headers["Accept-Encoding"] = "identity"
        self._session.max_redirects = REDIRECTS
        if url.startswith("https://"):
            del self._session.adapters["http://"]

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def locate(self, path: str) -> str:
        """Return the URL of a file."""
        return f"{self.url}/{path}"

    @contextmanager
    def ask(
        self,
        path: str,
        accepted: Collection[int],
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
    ) -> Iterator[requests.Response]:
        """Send one request and yield its answer, the body still to be read.

        Raises
        ------
        TransientError
            For what may pass by itself: a busy server, a connection that breaks, here or while the
            body is read.
        BabelscopeError
            For any other status that is not accepted, and for what nobody should follow.
        """
        url = self.locate(path)
        try:
            with self._request(method, url, headers) as response:
                status = response.status_code
                if status in TRANSIENT:
                    raise TransientError(f"status {status}", retry_after(response))
                if status not in accepted:
                    raise BabelscopeError(
                        f"{url} answered with status {status} ({response.reason}).",
                        "Check dumps.source, dumps.date and dumps.contact, or set another mirror.",
                    )
                yield response
        except requests.exceptions.SSLError as error:
            raise BabelscopeError(
                f"{url}: the server's certificate is not accepted ({said(error)}).",
                "Check the clock, the certificates of this machine and dumps.source.",
            ) from error
        except NOT_FOLLOWED as error:
            raise BabelscopeError(
                f"{url} leads to an address that is not followed ({said(error)}).",
                "Set dumps.source to the https address of a mirror.",
            ) from error
        except requests.exceptions.TooManyRedirects as error:
            raise BabelscopeError(
                f"{url} is redirected without end.", "Set another dumps.source."
            ) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise TransientError(f"{type(error).__name__}: {said(error)}") from error

    def _request(
        self, method: str, url: str, headers: Mapping[str, str] | None
    ) -> requests.Response:
        try:
            return self._session.request(
                method, url, headers=headers, stream=True, timeout=self._patience.timeout
            )
        except requests.RequestException:
            raise
        except ValueError as error:  # of urllib, on a redirect to what is no address
            raise requests.exceptions.InvalidURL(str(error)) from error

    def persist(self, path: str, attempt: Callable[[], Result]) -> Result:
        """Repeat an attempt for a file; see :func:`persist`."""
        remedy = (
            "Run the same command again later: what has arrived is kept. Or set another"
            " dumps.source."
        )
        return persist(self.locate(path), attempt, self._patience, remedy)


def persist(name: str, attempt: Callable[[], Result], patience: Patience, remedy: str) -> Result:
    """Repeat an attempt until it succeeds, pausing longer each time, within the patience.

    Parameters
    ----------
    name
        What is wanted, for messages.
    attempt
        What fails by a TransientError.
    patience
        How long.
    remedy
        What to do when that was in vain.

    Raises
    ------
    BabelscopeError
        When the patience is at its end.
    """
    failures, waited = 0, 0.0
    while True:
        try:
            return attempt()
        except TransientError as problem:
            failures = 1 if problem.progressed else failures + 1
            wait = max(min(LONGEST, 2.0**failures), problem.wait)
            reason = str(problem)
        if failures >= patience.attempts or waited + wait > patience.total:
            raise BabelscopeError(
                f"{name}: {reason}; given up after {waited:.0f} s of waiting (the next wait would"
                f" be {wait:.0f} s).",
                remedy,
            )
        logger.warning("%s: %s; again in %.0f s", name, reason, wait)
        patience.sleep(wait)
        waited += wait


def names_user(url: str) -> bool:
    """Tell whether an address holds a user name or password, which belong into no log."""
    return re.search("://[^/?#]*@", url) is not None


def said(error: BaseException) -> str:
    """Return what an error says in its first line, without the queries of addresses.

    Where files are stored elsewhere, a redirect carries there what allows to read them.
    """
    first = (str(error).splitlines() or [""])[0]
    return re.sub(r"\?[^\s'\")]+", "?...", first) or type(error).__name__


def blocks(response: requests.Response) -> Iterator[bytes]:
    """Yield a body as it arrives, as it is on the wire; what came before a break is not lost."""
    while block := response.raw.read1(MEBIBYTE, decode_content=False):
        yield block
