"""Contract of what is told of runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from distillkit.api import Logger, RunInfo, UsageError
from distillkit.images import pictures
from distillkit.testing.component import ComponentContract
from distillkit.testing.toys import toy_recipe

FACTS = {"frechet": {"protocol": "digits", "images": "5000"}}


class LoggerContract(ComponentContract):
    """It takes a run, a kill and the same run again, and what it then holds is one curve.

    `scalars` reads back what was written; a logger whose curves cannot be read here returns None.
    """

    kind = "logger"

    @pytest.fixture(autouse=True)
    def _package(self, _folder: None) -> None:
        """Skips where the service's own package is not installed."""
        try:
            self.choice.build()
        except UsageError as missing:
            pytest.skip(str(missing))

    def scalars(self, info: RunInfo) -> Mapping[str, list[tuple[int, float]]] | None:
        """Points (nimg, value) by name in the logger's own order; None: they cannot be read."""
        return None

    def pictured(self, info: RunInfo) -> list[int] | None:
        """After how many images each picture that it holds was drawn; None: they cannot be read."""
        return None

    def kill(self, logger: Logger) -> None:
        """What the end of a process does to it, where two of them cannot live in one."""

    def info(self, nimg: int = 0) -> RunInfo:
        folder = Path.cwd() / "run" / "loggers" / self.use
        folder.mkdir(parents=True, exist_ok=True)
        recipe: Any = {"run": {"kimg": 0.4, "seed": 0}, "generator_loss": {"use": "toy"}}
        return RunInfo(
            id="0123456789abcdef20260101", name="toy", path=Path.cwd() / "run", folder=folder, recipe=recipe, nimg=nimg,
            total=400, versions={"distillkit": "0"},
        )  # fmt: skip

    def session(self, since: int, until: int, killed: bool = False) -> Logger:
        """A process that trains from one count of images to another: a tick each 50, a checkpoint each 100."""
        logger = cast(Logger, self.choice.build())
        logger.run_started(self.info(since))
        for nimg in range(since + 50, until + 1, 50):
            logger.tick({"nimg": nimg, "kimg": nimg / 1000, "loss/generator": 1 / nimg, "seconds": nimg / 10})
            if nimg % 100 == 0:
                logger.checkpoint_saved(Path.cwd() / "run" / "checkpoints" / f"kimg-{nimg}")
                metrics = {"nimg": nimg, "kimg": nimg / 1000, "frechet/fd": 2 / nimg, "seconds": nimg / 10}
                logger.evaluated(metrics, FACTS)
                logger.pictures(self.picture(nimg), f"toy, {nimg / 1000:g} kimg", nimg)
        if not killed:
            code = 0 if until == 400 else 75
            logger.run_ended({"code": code, "reason": "finished" if code == 0 else "SIGTERM", "metrics": {"fd": 0.5}})
        return logger

    def picture(self, nimg: int) -> Path:
        import torch

        path = Path.cwd() / "run" / "samples" / f"kimg-{nimg}.png"
        return pictures.grid(torch.rand(4, 1, 4, 4) * 2 - 1, path, columns=2, title=f"{nimg}")

    def test_a_run_that_is_preempted_and_goes_on_is_one_curve(self) -> None:
        self.session(0, 200)
        self.session(200, 400)
        self.whole()

    def test_a_run_that_is_killed_and_goes_on_from_its_checkpoint_is_one_curve(self) -> None:
        killed = self.session(0, 250, killed=True)
        self.kill(killed)
        self.session(200, 400)
        self.whole()

    def whole(self) -> None:
        """All points are there, each once."""
        curves = self.scalars(self.info())
        if curves is not None:
            for name, every, value in (("loss/generator", 50, 1.0), ("frechet/fd", 100, 2.0)):
                found = curves[name]
                assert [nimg for nimg, _ in found] == list(range(every, 401, every))
                assert [y for _, y in found] == pytest.approx([value / nimg for nimg, _ in found])
        drawn = self.pictured(self.info())
        assert drawn is None or drawn == [100, 200, 300, 400]

    def test_a_recipe_with_it_has_the_fingerprint_of_one_without(self) -> None:
        from distillkit.recipe import fingerprint, used_numerics
        from distillkit.testing.toys import catalog

        prints = []
        for tables in ({}, {"logger": [self.table]}):
            recipe = toy_recipe(**tables)
            prints.append(fingerprint(recipe, {}, used_numerics(recipe, catalog())))
        assert prints[0] == prints[1]
