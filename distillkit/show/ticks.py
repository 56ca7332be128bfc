"""A run's own lines: a tick each, in columns that are read down, and small tables of metrics among them."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from distillkit.disk.results import Scores
from distillkit.show import formats
from distillkit.show.scores import Heads, score_lines
from distillkit.show.screen import Screen

EVERY = 20  # lines between two headers
GAP = "  "
LEAST = 7  # characters of a loss
RATE, CLOCK = 6, 7  # characters of images per second, and of a time
SKIPPED = "skipped"


class Ticks:
    """The lines of one run of `total` images."""

    def __init__(self, screen: Screen, total: int, taught: Scores | None = None, ours: str = "student") -> None:
        """`taught`: the scores of the teacher's own run; `ours`: what this run's column is called."""
        self.screen, self.total, self.taught, self.ours = screen, total, taught, ours
        self.names: list[str] = []  # of all losses seen
        self.since = EVERY  # lines since the header
        self.left_out: list[str] = []  # names for which there is no room

    def tick(self, nimg: int, speed: float, seconds: float, numbers: Mapping[str, float], skipped: int) -> None:
        """Show a tick: `speed` in images per second, `seconds` of training, `numbers` such as "loss/critic"."""
        numbers = {SKIPPED: skipped, **numbers} if skipped else numbers
        if new := [name for name in numbers if name not in self.names]:
            self.names = sorted([*self.names, *new], key=_order)
            self.since = EVERY
        widths = self._widths()
        if self.since >= EVERY:
            self._head(widths)
        cells = [
            formats.fitted(numbers[name], width).rjust(width) if name in numbers else "-".rjust(width)
            for name, width in widths.items()
        ]
        self.screen.line(GAP.join([place(nimg, self.total, speed, seconds), *cells]))
        self.since += 1

    def evaluated(self, nimg: int, scores: Scores) -> None:
        """Show metrics beside the teacher's and those of real images; the next tick has a header."""
        if self.taught:
            taught = self.taught
            scores = attrs.evolve(scores, teacher=taught.student, teacher_protocol=taught.protocol)
        width = images_width(self.total)
        here = formats.images(nimg, self.total).rjust(width)
        room = self.screen.width - width - len(GAP)
        head, *lines = score_lines(scores.rows(), scores.better, Heads(student=self.ours), room, sd=False)
        self.screen.head(f"{'kimg'.rjust(width)}{GAP}{head}")
        for line in lines:
            self.screen.line(f"{here}{GAP}{line}")
        self.since = EVERY

    def _head(self, widths: Mapping[str, int]) -> None:
        fixed = (("kimg", images_width(self.total)), ("img/s", RATE), ("elapsed", CLOCK), ("left", CLOCK))
        names = [formats.short(shown(name), width).rjust(width) for name, width in widths.items()]
        if new := [name for name in self.names if name not in widths and name not in self.left_out]:
            self.left_out += new
            told = ", ".join(map(shown, new))
            self.screen.line(f"no room for {told}: metrics.jsonl and the page have all")
        self.screen.head(GAP.join([*(name.rjust(width) for name, width in fixed), *names]))
        self.since = 0

    def _widths(self) -> dict[str, int]:
        """How wide the columns of losses are: as their names, where there is room, else the widest give way."""
        room = self.screen.width - images_width(self.total) - RATE - 2 * CLOCK - 3 * len(GAP)
        number = max(1, room // (LEAST + len(GAP)))
        widths = {name: max(LEAST, len(shown(name))) for name in self.names[:number]}
        while sum(widths.values()) + len(GAP) * len(widths) > room and max(widths.values()) > LEAST:
            widths[max(widths, key=lambda name: widths[name])] -= 1
        return widths


def place(nimg: float, total: float, speed: float, seconds: float) -> str:
    """Where a run is, in fixed columns: thousands of images, images per second, time of training, time left."""
    left = formats.clock((total - nimg) / speed) if speed > 0 else "-"
    rate = f"{speed:.0f}" if speed >= 10 else formats.rate(speed)
    cells = (formats.images(nimg, total).rjust(images_width(total)), rate.rjust(RATE))
    return GAP.join([*cells, formats.clock(seconds).rjust(CLOCK), left.rjust(CLOCK)])


def images_width(total: float) -> int:
    return max(len("kimg"), len(formats.images(total, total)))


def shown(name: str) -> str:
    """A loss by its own name, a weight marked as one."""
    return name.removeprefix("loss/").replace("weight/", "w/")


def _order(name: str) -> tuple[bool, bool, str]:
    return name != SKIPPED, name.startswith("weight/"), name
