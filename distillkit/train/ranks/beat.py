"""Whether the first rank lives while it works by itself: its heart beats in the store, and the others listen.

A store whose host is stopped, or behind a cut link, never answers: only threads that may stay behind wait for it.
"""

from __future__ import annotations

import threading
import time

from torch.distributed.distributed_c10d import Store

WORDS, BEATS = "distillkit/words", "distillkit/beats"  # how many there were
BEAT_SECONDS = 2.0


class Heart:
    """Of the first rank, until it stops; a process that is stopped has none."""

    def __init__(self, store: Store) -> None:
        self.store, self.over = store, threading.Event()
        threading.Thread(target=self._beat, daemon=True, name="heart").start()

    def _beat(self) -> None:
        try:
            while not self.over.wait(BEAT_SECONDS):
                self.store.add(BEATS, 1)
        except RuntimeError:  # the store is gone, and so are those who listen
            return

    def stop(self) -> None:
        self.over.set()


class Ear:
    """Waits for the first rank's word of a number."""

    def __init__(self, store: Store, number: int) -> None:
        self.store, self.number = store, number
        self.done, self.error, self.heard = threading.Event(), "", time.monotonic()
        threading.Thread(target=self._listen, daemon=True, name="ear").start()

    def _listen(self) -> None:
        beats, pause = -1, 0.001
        try:
            while self.store.add(WORDS, 0) < self.number:
                now = self.store.add(BEATS, 0)
                if now != beats:
                    beats, self.heard = now, time.monotonic()
                time.sleep(pause)
                pause = min(2 * pause, 0.1)
        except RuntimeError as error:
            self.error = str(error) or "the store is gone"
        self.done.set()

    def wait(self, seconds: float) -> bool:
        """Whether there is a word, or an error; False: no heart has beaten for so long."""
        while not self.done.wait(0.2):
            if time.monotonic() - self.heard > max(seconds, 3 * BEAT_SECONDS):
                return False
        return True
