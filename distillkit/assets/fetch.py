"""Downloads: https only, listed hosts only, streamed, resumed, never larger than expected."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from attrs import frozen

from distillkit.api import InputError

CHUNK = 1 << 20
Progress = Callable[[int, int], None]  # bytes so far, bytes in all


@frozen(kw_only=True)
class Rules:
    """What a download must keep to."""

    hosts: frozenset[str]
    limit: int  # bytes
    timeout: float = 30.0  # seconds without an answer
    loopback: bool = False  # for tests: http from 127.0.0.1 as well

    def check(self, url: str) -> None:
        """Raises InputError for a URL that must not be asked, be it after a redirect."""
        parts = urlsplit(url)
        if parts.scheme != "https" and not (self.loopback and (parts.scheme, parts.hostname) == ("http", "127.0.0.1")):
            raise InputError(f"{url}: not https; nothing is downloaded that way")
        if parts.hostname not in self.hosts:
            raise InputError(f"{url}: {parts.hostname} is none of the hosts of the asset table")


class _Redirects(HTTPRedirectHandler):
    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        self.rules.check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(url: str, part: Path, rules: Rules, progress: Progress = lambda done, total: None) -> None:
    """Download into `part`, from where an earlier attempt ended if the file is still the same one.

    Raises InputError, which leaves in `part` what is worth going on with.
    """
    rules.check(url)
    tag = part.with_name(part.name + ".etag")
    have = part.stat().st_size if part.is_file() and tag.is_file() else 0
    headers = {"Range": f"bytes={have}-", "If-Range": tag.read_text("ascii")} if have else {}
    try:
        with build_opener(_Redirects(rules)).open(Request(url, headers=headers), timeout=rules.timeout) as answer:
            start, total = _extent(url, answer, have, rules)
            _note(tag, answer.headers.get("ETag", ""))
            _write(url, part, start, total, answer, progress)
    except HTTPError as error:
        error.close()
        if error.code == 416:  # not satisfiable: what we have is not the beginning of what they have
            _forget(part, tag)
        raise InputError(f"{url}: the server answers {error.code} {error.reason}") from error
    except _Unfit as error:
        _forget(part, tag)
        raise InputError(f"{url}: {error}") from error
    except (URLError, HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
        reason = " ".join(str(getattr(error, "reason", None) or error).split()) or type(error).__name__
        raise InputError(f"{url}: {reason[:200]}; `get` again to go on") from error
    tag.unlink(missing_ok=True)


class _Unfit(Exception):
    """An answer that is not the file."""


def _extent(url: str, answer: Any, have: int, rules: Rules) -> tuple[int, int]:
    """Where the answer's bytes begin, and how many the whole file has."""
    kind, length = answer.headers.get_content_type(), answer.headers.get("Content-Length", "")
    if kind in ("text/html", "application/xhtml+xml"):
        raise _Unfit("the answer is a web page, not the file")
    if not re.fullmatch(r"\d{1,15}", length):
        raise _Unfit("the answer does not say how long it is")
    start, total = 0, int(length)
    if answer.status == 206:
        span = re.fullmatch(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})", answer.headers.get("Content-Range", ""))
        start, total = (int(span[1]), int(span[3])) if span else (-1, 0)
        if start != have or start + int(length) != total:
            raise _Unfit(f"asked to go on at byte {have}, it begins at another; `get` again to start over")
    if total > rules.limit:
        raise _Unfit(f"{total} bytes, at most {rules.limit} were expected")
    return start, total


def _write(url: str, part: Path, start: int, total: int, answer: Any, progress: Progress) -> None:
    done = start
    with part.open("r+b" if start else "wb") as stream:
        stream.seek(start)
        for chunk in _chunks(answer):
            if not done and chunk[:64].lstrip().lower().startswith((b"<!doctype html", b"<html")):
                raise _Unfit("the answer is a web page, not the file")
            stream.write(chunk)
            done += len(chunk)
            progress(done, total)
        stream.flush()
        os.fsync(stream.fileno())
    if done != total:
        raise HTTPException(f"the connection ended after {done} of {total} bytes")


def _chunks(answer: Any) -> Iterator[bytes]:
    while chunk := answer.read(CHUNK):
        yield chunk


def _note(tag: Path, etag: str) -> None:
    """Keep a strong ETag, without which a later attempt cannot know that the file is the same, and starts over."""
    if re.fullmatch(r'"[\x21\x23-\x7e]{1,200}"', etag):
        tag.write_text(etag, "ascii")
    else:
        tag.unlink(missing_ok=True)


def _forget(*files: Path) -> None:
    for file in files:
        file.unlink(missing_ok=True)
