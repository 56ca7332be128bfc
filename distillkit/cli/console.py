"""The terminal as rich sees it: no colours or styles in pipes or under NO_COLOR, and no escapes but rich's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from distillkit.api.printable import printable
from distillkit.cli.plain import Plain, known


class PlainConsole(Console):
    """Rich's console: its own colours and bars reach the terminal, escapes in the text do not."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            text = known(printable(segment.text), self.encoding)
            yield segment if segment.control else Segment(text, segment.style)

    def on_broken_pipe(self) -> None:
        """A reader that has left is told by the error itself, which every command ends with: rich's own is exit 1."""
        raise  # noqa: PLE0704 # rich calls it where it handles that error


def console(*, stderr: bool = False) -> Console:
    """A console that emits escape sequences for style only on a terminal without NO_COLOR."""
    plain, stream = bool(os.environ.get("NO_COLOR")), sys.stderr if stderr else sys.stdout
    return PlainConsole(
        file=stream.stream if isinstance(stream, Plain) else stream, stderr=stderr,
        color_system=None if plain else "auto", highlight=False, markup=False, emoji=False,
    )  # fmt: skip


def tell(out: Console, what: RenderableType) -> None:
    """Print the outcome of work that is done and kept, no line broken; that nobody reads it does not make it fail."""
    try:
        out.print(what, soft_wrap=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
