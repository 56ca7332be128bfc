"""Words between the launchers of two machines: a JSON object a line, and a sign of life."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

ALIVE_SECONDS = 2.0  # between signs of life
SILENCE = 30.0  # seconds after which a machine that says nothing is taken for gone
LONGEST = 65_536  # bytes of a word


class Link:
    """One end; `gone` once the other has left, or writes what is no word of ours."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)  # words are short: there is always room for them
        self.connection, self.gone = connection, False
        self.heard = self.spoke = time.monotonic()
        self._half = b""

    @property
    def address(self) -> str:
        """Of this machine, as the other sees it."""
        return str(self.connection.getsockname()[0])

    def lost(self, silence: float = 0.0) -> bool:
        """Whether it has left, or was silent for longer than SILENCE, and than was asked for."""
        return self.gone or time.monotonic() - self.heard > max(SILENCE, silence)

    def send(self, **word: Any) -> None:
        """Say it; one who is gone is noticed, and no error."""
        self.spoke = time.monotonic()
        try:
            self.connection.sendall(json.dumps(word).encode() + b"\n")
        except OSError:
            self.gone = True

    def words(self) -> Iterator[dict[str, Any]]:
        """What has come since; also gives a sign of life where one is due."""
        if time.monotonic() - self.spoke > ALIVE_SECONDS and not self.gone:
            self.send(alive=True)
        for line in self._lines():
            self.heard = time.monotonic()
            try:
                word = json.loads(line)
            except ValueError:
                word = None
            if not isinstance(word, dict):
                self.gone = True
                return
            yield word

    def _lines(self) -> list[bytes]:
        while not self.gone and len(self._half) < LONGEST:
            try:
                part = self.connection.recv(4096)
            except BlockingIOError:
                break
            except OSError:
                part = b""
            self.gone = not part
            self._half += part
        *lines, self._half = self._half.split(b"\n")
        self.gone = self.gone or len(self._half) >= LONGEST
        return lines

    def close(self) -> None:
        self.connection.close()
