"""What a run says where it was called as a function: lines, nothing, or in a notebook one line that is written anew."""

from __future__ import annotations

from distillkit.show.screen import QuietScreen, Screen


class Silent(QuietScreen):
    """Says nothing but warnings."""

    def line(self, text: str) -> None:
        pass


def chosen(quiet: bool) -> Screen:
    """Choose by where we are."""
    return Silent() if quiet else QuietScreen()
