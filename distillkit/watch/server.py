"""A server on this machine alone that shows runs; it writes nothing, and answers only who knows its token."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from distillkit.api import DistillkitError, UsageError
from distillkit.show import report
from distillkit.watch import pages
from distillkit.watch.look import look, runs

HOST = "127.0.0.1"
HTML, CSS, JS = "text/html; charset=utf-8", "text/css; charset=utf-8", "text/javascript; charset=utf-8"
Answer = tuple[str, str]  # content type, text


class Watch(ThreadingHTTPServer):
    """Serves the runs of one folder."""

    daemon_threads = True

    def __init__(self, root: Path, port: int = 0) -> None:
        """`port` 0: one that is free. Raises UsageError for one that is not."""
        try:
            super().__init__((HOST, port), Handler)
        except OSError as error:
            raise UsageError(f"--port {port}: {error.strerror}; 0 takes one that is free") from error
        self.root, self.token = root, secrets.token_urlsafe(16)
        self.reports: dict[str, tuple[str, str]] = {}  # by run: version, page

    def url(self, run: str = "") -> str:
        """The address to open in a browser; of a run's page, or of all."""
        return f"http://{HOST}:{self.server_port}/{self.token}/" + (f"runs/{run}/" if run else "")

    def answer(self, path: str) -> Answer | None:
        """What lies at this path below the token; None: nothing."""
        fixed: dict[str, Callable[[], Answer]] = {
            "": lambda: (HTML, pages.listed(runs(self.root), str(self.root))),
            "rows": lambda: (HTML, pages.rows(runs(self.root))),
            "page.css": lambda: (CSS, pages.styles()),
            "watch.js": lambda: (JS, pages.script()),
        }
        if path in fixed:
            return fixed[path]()
        kind, name, rest = (*path.split("/", 2), "", "")[:3]
        run = self.root / name
        # A name of the folder's own, never a path: what is not a run there is not shown.
        if kind != "runs" or name not in {one.name for one in self.root.iterdir() if not one.is_symlink()}:
            return None
        if not (run / "run.json").is_file():
            return None
        of_run: dict[str, Callable[[], Answer]] = {
            "": lambda: (HTML, pages.one(look(run))),
            "head": lambda: (HTML, pages.head(look(run))),
            "report": lambda: (HTML, self.report(run)),
        }
        return of_run[rest]() if rest in of_run else None

    def report(self, run: Path) -> str:
        """The run's page as it would be written now, made again when its files change."""
        now = look(run).version
        if self.reports.get(run.name, ("", ""))[0] != now:
            self.reports[run.name] = now, report.rendered(run)
        return self.reports[run.name][1]


class Handler(BaseHTTPRequestHandler):
    """GET alone, from this machine alone, with the token alone."""

    server: Watch
    server_version, sys_version = "distillkit", ""

    def do_GET(self) -> None:
        token, _, path = self.path.partition("?")[0].removeprefix("/").partition("/")
        here = {f"{name}:{self.server.server_port}" for name in (HOST, "localhost")}
        # A page of elsewhere may have its name point to this machine: the browser then says that name.
        if self.headers.get("Host") not in here or not hmac.compare_digest(token.encode(), self.server.token.encode()):
            self.reply(403, "text/plain; charset=utf-8", "open the address that distillkit watch printed\n")
            return
        try:
            found = self.server.answer(path)
        except (DistillkitError, OSError) as error:
            self.reply(500, "text/plain; charset=utf-8", f"{error}\n")
            return
        if found is None:
            self.reply(404, "text/plain; charset=utf-8", "nothing is here\n")
            return
        kind, text = found
        self.reply(200, kind, text)

    def reply(self, code: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(code)
        framed = self.path.endswith("/report")  # which has a stricter policy of its own inside
        policy = "frame-ancestors 'self'" if framed else pages.POLICY
        for name, value in (
            ("Content-Type", kind), ("Content-Length", str(len(body))), ("Content-Security-Policy", policy),
            ("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer"), ("X-Content-Type-Options", "nosniff"),
        ):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: a poll every few seconds is no news."""
