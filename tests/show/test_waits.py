"""Components say what takes a while by Python's own loggers, and a run shows it."""

from __future__ import annotations

import logging

from distillkit.show.screen import QuietScreen
from distillkit.show.waits import waits_shown


def test_a_run_shows_what_loggers_below_distillkit_tell_and_nothing_of_others_or_afterwards(capsys):
    ours, other = logging.getLogger("distillkit.my_part"), logging.getLogger("elsewhere")
    with waits_shown(QuietScreen()):
        ours.info("training %s: once", "it")
        ours.debug("detail")
        other.warning("theirs")
    ours.info("late")
    assert capsys.readouterr().out == "training it: once\n"
