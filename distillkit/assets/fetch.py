"""Downloads: https only, listed hosts only, streamed, resumed, never larger than expected, through no link."""

from __future__ import annotations

import os
import re
import ssl
import stat
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from attrs import frozen

from distillkit.api import InputError
from distillkit.disk import files, system
from distillkit.disk.typed import text

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
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise InputError(f"{text(url)[:200]}: no URL ({error})") from error
        if parts.scheme != "https" and not (self.loopback and (parts.scheme, parts.hostname) == ("http", "127.0.0.1")):
            raise InputError(f"{text(url)[:200]}: not https; nothing is downloaded that way")
        if parts.hostname not in self.hosts:
            raise InputError(f"{text(url)[:200]}: {text(parts.hostname)} is none of the hosts of the asset table")


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
    have, etag = (_ours(part), _noted(tag)) if _ours(part) else (0, "")
    have = have if etag else 0
    headers = {"Range": f"bytes={have}-", "If-Range": etag} if have else {}
    try:
        with build_opener(_Redirects(rules)).open(Request(url, headers=headers), timeout=rules.timeout) as answer:
            start, total = _extent(url, answer, have, rules)
            _note(tag, answer.headers.get("ETag", ""))
            _write(url, part, start, total, answer, progress)
    except HTTPError as error:
        error.close()
        if error.code == 416:  # not satisfiable: what we have is not the beginning of what they have
            _forget(part, tag)
        raise InputError(f"{url}: the server answers {error.code} {text(error.reason)[:80]}") from error
    except _Unfit as error:
        _forget(part, tag)
        raise InputError(f"{url}: {error}") from error
    except (URLError, HTTPException, TimeoutError, ConnectionError, ssl.SSLError, ValueError) as error:
        reason = text(" ".join(str(getattr(error, "reason", None) or error).split())) or type(error).__name__
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
    with _opened(part, start) as stream:
        for chunk in _chunks(answer, total - start):
            if not done and chunk[:64].lstrip().lower().startswith((b"<!doctype html", b"<html")):
                raise _Unfit("the answer is a web page, not the file")
            stream.write(chunk)
            done += len(chunk)
            progress(done, total)
        stream.flush()
        os.fsync(stream.fileno())
    if done != total:
        raise HTTPException(f"the connection ended after {done} of {total} bytes")


def _chunks(answer: Any, most: int) -> Iterator[bytes]:
    """What the answer holds. Raises _Unfit at the first byte too many: an answer in chunks ends where it likes."""
    while chunk := answer.read(min(CHUNK, most + 1)):
        most -= len(chunk)
        if most < 0:
            raise _Unfit("the answer goes on after as many bytes as it promised")
        yield chunk


def _ours(part: Path) -> int:
    """Bytes of an earlier attempt of this user; 0 where there is none, or something that others may have put there."""
    try:
        status = part.lstat()
    except OSError:
        return 0
    mine = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    return status.st_size if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and mine else 0


def _opened(part: Path, start: int) -> BinaryIO:
    """The file, to be written from that byte on: a new one, or that of an earlier attempt; never through a link."""
    if not start:
        part.unlink(missing_ok=True)
    flags = os.O_WRONLY | (0 if start else os.O_CREAT | os.O_EXCL)
    stream = os.fdopen(system.opened(part, flags, 0o644), "wb")
    stream.seek(start)
    stream.truncate()
    return stream


def _noted(tag: Path) -> str:
    """The ETag of an earlier attempt; "" where there is none."""
    try:
        return files.read(tag).decode("ascii")
    except (OSError, ValueError):
        return ""


def _note(tag: Path, etag: str) -> None:
    """Keep a strong ETag, without which a later attempt cannot know that the file is the same, and starts over."""
    if re.fullmatch(r'"[\x21\x23-\x7e]{1,200}"', etag):
        files.write_atomic(tag, etag.encode())
    else:
        tag.unlink(missing_ok=True)


def _forget(*files: Path) -> None:
    for file in files:
        file.unlink(missing_ok=True)
