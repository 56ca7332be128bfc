"""A web server on this machine that misbehaves as told."""

from __future__ import annotations

import hashlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import attrs
import pytest

from distillkit.assets.fetch import Rules
from distillkit.assets.table import Asset

BODY = bytes(range(256)) * 16  # 4096 bytes
CERTIFICATE = Path(__file__).parent / "data/loopback.pem"  # with its key, for 127.0.0.1; made for these tests alone


class Handler(BaseHTTPRequestHandler):
    """Answers by the server's `behaviour`, a function of this handler."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
        self.server.behaviour(self)

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, body: bytes = BODY, status: int = 200, **headers: str) -> None:
        """An answer; `Content_Length="None"` leaves that header out."""
        named = {"Content-Type": "application/octet-stream", "Content-Length": str(len(body))}
        named |= {key.replace("_", "-"): value for key, value in headers.items()}
        self.send_response(status)
        for key, value in named.items():
            if value != "None":
                self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def reset(self) -> None:
        """Half of the body, then RST."""
        self.reply(BODY[:2048], Content_Length=str(len(BODY)))
        self.wfile.flush()
        time.sleep(0.05)  # let the half arrive: RST drops what is on its way
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, scheme: str = "http") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scheme = scheme
        if scheme == "https":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.behaviour = Handler.reply
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.release = threading.Event()  # what a stalling answer waits for

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}/file.bin"

    def asset(self, sha256: str = hashlib.sha256(BODY).hexdigest()) -> Asset:
        made = Asset(name="file.bin", kind="data", url="https://127.0.0.1/file.bin", licence="none", sha256=sha256)
        object.__setattr__(made, "url", self.url)  # an Asset has no http
        return made

    def handle_error(self, *_: object) -> None:
        pass  # a client that went away


@contextmanager
def serving(scheme: str) -> Iterator[Server]:
    with Server(scheme) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.release.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving("http") as running:
        yield running


@pytest.fixture
def https(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The same as published files are served, with a certificate that this test trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving("https") as running:
        yield running


@pytest.fixture
def rules() -> Rules:
    return attrs.evolve(Rules(hosts=frozenset({"127.0.0.1"}), limit=10_000, loopback=True), timeout=5.0)
