"""Contract of what runs commands elsewhere."""

from __future__ import annotations

from typing import cast

import pytest

from distillkit.api import Launch
from distillkit.recipe import choice_from_table
from distillkit.testing import toys
from distillkit.testing.component import ComponentContract

COMMAND = ["distillkit", "run", "a recipe.toml", "--set", 'run.name="it\'s"']  # what a shell would take apart


class LaunchContract(ComponentContract):
    """What it renders runs the command as it is, on the machines and GPUs that were asked for."""

    kind = "launch"

    @classmethod
    def rendered(cls, use: str, nodes: int, gpus: int) -> str:
        """What a launch of that name renders with its defaults, for a command with spaces and quotes."""
        choice = choice_from_table(cls.kind, {"use": use}, toys.catalog(), where=use)
        return cast(Launch, choice.build()).render(COMMAND, nodes, gpus)

    def render(self, nodes: int, gpus: int) -> str:
        return cast(Launch, self.choice.build()).render(COMMAND, nodes, gpus)

    @pytest.mark.parametrize(("nodes", "gpus"), [(1, 0), (1, 8), (2, 0), (3, 4)])
    def test_the_text_is_the_same_each_time_and_ends_its_last_line(self, nodes: int, gpus: int) -> None:
        text = self.render(nodes, gpus)
        assert text == self.render(nodes, gpus) and text.endswith("\n") and text.isascii()

    def test_processes_are_asked_for_where_there_are_several_alone(self) -> None:
        assert "--nproc" not in self.render(1, 0)
        assert "--nproc 8" in self.render(1, 8)
        assert "--nproc 1" in self.render(2, 0)

    def test_more_machines_and_other_gpus_make_another_text(self) -> None:
        assert len({self.render(nodes, gpus) for nodes in (1, 2, 3) for gpus in (1, 8)}) == 6
