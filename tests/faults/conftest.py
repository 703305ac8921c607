"""A web server that serves files well, or badly in a way that is asked for; a disk soon full."""

import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "workflow" / "src"


@dataclass(frozen=True)
class Answer:
    """One answer that differs from a good server's."""

    status: int | None = None
    headers: dict[str, str | None] = field(default_factory=dict)  # None: left out
    body: bytes | None = None
    cut: int | None = None  # bytes after which the connection is closed
    stall: int | None = None  # bytes after which nothing more comes
    ranges: bool = True  # False: Range is ignored
    if_range: bool = True  # False: If-Range is ignored


@pytest.fixture
def ends_by() -> Callable[[int | None, object, str, Callable[[], object]], bool]:
    """Return a function that forks and tells whether the child's work ends by a failure.

    Its arguments are the failure, a signal or None for a full disk; the module and the name of the
    function in it that fails; and the work.
    """

    def forked(number: int | None, module: object, name: str, work: Callable[[], object]) -> bool:
        def fail(*_: object, **__: object) -> None:
            if number is None:
                raise OSError(errno.ENOSPC, "No space left on device")
            os.kill(os.getpid(), number)

        child = os.fork()
        if not child:
            status = 2
            try:
                setattr(module, name, fail)
                work()
            except OSError:
                status = 3
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return status == (-number if number else 3)

    return forked


class Server:
    """Files by path, the answers planned for them, and the requests that came."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.plans: dict[str, list[Answer]] = {}
        self.always: dict[str, Answer] = {}
        self.etag = True  # False: files have no validator
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.released = threading.Event()
        self.url = ""

    def plan(self, path: str, *answers: dict) -> None:
        """Let the next requests for a file be answered so; later ones are answered well."""
        self.plans[path] = [Answer(**answer) for answer in answers]

    def answer_always(self, path: str, **answer) -> None:
        """Let every request for a file be answered so."""
        self.always[path] = Answer(**answer)

    def ranges_of(self, path: str) -> list[str | None]:
        """Return the Range header of every GET of a file."""
        return [
            headers.get("range")
            for method, asked, headers in self.requests
            if (method, asked) == ("GET", path)
        ]


class Web(ThreadingHTTPServer):
    """A server that takes clients hanging up as a matter of course."""

    def handle_error(self, request, client_address):
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        site: Server = self.server.site
        path = self.path.lstrip("/")
        headers = {key.lower(): value for key, value in self.headers.items()}
        site.requests.append((self.command, path, headers))
        answer = site.always.get(path, Answer())
        if site.plans.get(path) and self.command == "GET":
            answer = site.plans[path].pop(0)
        if path not in site.files and answer.status is None:
            answer = Answer(status=404, body=b"no such file")
        try:
            self.send(site, answer, site.files.get(path, b""), headers)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def send(self, site: Server, answer: Answer, content: bytes, asked: dict[str, str]) -> None:
        body = content if answer.body is None else answer.body
        status, extra = answer.status or 200, {}
        etag = f'"{hashlib.sha1(body).hexdigest()[:12]}"'
        if site.etag:
            extra["ETag"] = etag
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.get("range", ""))
        same = not answer.if_range or asked.get("if-range", etag) == etag
        if wanted and answer.ranges and answer.status is None and same:
            start, stop = int(wanted[1]), int(wanted[2] or len(body) - 1) + 1
            if start >= len(body):
                status, extra, body = 416, {"Content-Range": f"bytes */{len(body)}"}, b""
            else:
                status = 206
                extra["Content-Range"] = f"bytes {start}-{min(stop, len(body)) - 1}/{len(body)}"
                body = body[start:stop]
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(body))} | extra | answer.headers).items():
            if value is not None:
                self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        shown = min(x for x in (answer.cut, answer.stall, len(body)) if x is not None)
        self.wfile.write(body[:shown])
        self.wfile.flush()
        if answer.stall is not None:
            site.released.wait(5)
        if shown < len(body) or "Content-Length" in answer.headers:
            self.close_connection = True


@pytest.fixture
def server() -> Iterator[Server]:
    """Return a server on the loopback interface."""
    site = Server()
    web = Web(("127.0.0.1", 0), Handler)
    web.site = site
    site.url = f"http://127.0.0.1:{web.server_port}"
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    site.released.set()
    web.shutdown()
    thread.join()
    web.server_close()


@pytest.fixture
def small_disk(tmp_path) -> Callable[[str], subprocess.CompletedProcess]:
    """Return a function that runs Python code where `tmp_path` is a disk of 200 kB.

    The disk is mounted in a namespace of its own; where that is not allowed, the test is skipped.
    """
    enter = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=200k tmpfs {tmp_path}"
    if shutil.which("unshare") is None or subprocess.run([*enter, mount]).returncode:
        pytest.skip("no small file system can be mounted here")

    def run(code: str) -> subprocess.CompletedProcess:
        command = [*enter, f'{mount} && "$0" -c "$1"', sys.executable, code]
        environment = os.environ | {"PYTHONPATH": str(SOURCE)}
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    return run
