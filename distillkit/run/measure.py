"""A finished run's result, measured again, by its own metrics or another recipe's; its training is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import attrs

from distillkit.api import UsageError
from distillkit.assets.folder import folder as assets
from distillkit.assets.folder import home
from distillkit.assets.locate import located, pin, require
from distillkit.disk import alike, files
from distillkit.disk.results import Outcome, Scores
from distillkit.disk.rundir import RunDir
from distillkit.networks import imported, sampled
from distillkit.networks import shipped as networks
from distillkit.networks.network_file import WEIGHTS
from distillkit.recipe import read, shipped, with_checkpoint
from distillkit.recipe.made_for import misused
from distillkit.recipe.problem import key_text
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.run import apart, inputs, stage, trust
from distillkit.run.nodes import graph
from distillkit.show.screen import Screen

MAY_SET = ("evaluate.", "run.device=", "run.threads=")  # what changes the measurement and not the student


def measure(
    path: Path, sets: Sequence[str], other: Path | None, screen: Screen, trusted: Sequence[str] = (),
    sampler: sampled.Asked | None = None,
) -> tuple[Outcome, Path]:  # fmt: skip
    """Evaluate the result of the run `path`, or a student without one -> what was measured, the file that says so.

    `other`: a recipe whose [[evaluate]] are asked; None: the run's own, or those of the recipe that the card names.
    `trusted`: sums of programs, see `trust`. `sampler`: by which the network draws, in place of its own.
    Raises UsageError where the run has no result, or no metrics.
    """
    wrong = [text for text in sets if not text.strip().startswith(MAY_SET)]
    if wrong:
        raise UsageError(f"--set {wrong[0][:80]}: only keys of evaluate, run.device and run.threads can be set here")
    path = networks.found(path)
    catalog = Catalog.installed()
    if (foreign := imported.is_foreign(path, catalog)) or path.is_file() or (path / WEIGHTS).is_file():
        outcome = apart.measure_apart(path, sets, other, screen, sampler)
        folder = Path() if foreign else path if path.is_dir() else path.parent
        return outcome, written(outcome.scores, folder, sets, other, sampler)
    run = RunDir.open(path)
    if not run.ended:
        way = f"; distillkit run --resume {path} goes on with it" if run.status() == "unfinished" else ""
        raise UsageError(f"{path} is {run.status()}: there is no result to measure{way}")
    run.warn_of_changes()
    recipe = asked(run, sets, other, catalog)
    if sampler is not None:
        recipe = attrs.evolve(recipe, sample=sampled.choice(sampler, catalog))
    trust.admit(path, [attrs.evolve(recipe, evaluate=()) if other else recipe], trusted)
    trust.admit(None, [recipe], ())  # the user names the other one
    for text in inputs.changes(run, read(run.resolved, (), catalog), {}):
        screen.warn(f"{text} since the run was made")
    found = apart.numbers(recipe, catalog, screen)
    trained = Outcome.of(run, reused=False)
    file = written(found, run.result, sets, other, sampler)
    scores = attrs.evolve(
        trained.scores,
        student=found.student,
        nfe=found.nfe,
        seconds=found.seconds,
        remarks=found.remarks,
        protocol=found.protocol,
    )
    if sets or other is not None:  # what tells nothing of itself may have been measured by other keys
        taught = {
            metric: value for metric, value in scores.teacher.items() if found.protocol.get(alike.component(metric))
        }
        scores = attrs.evolve(scores, teacher=taught)
    return attrs.evolve(trained, scores=scores), file


def asked(run: RunDir, sets: Sequence[str], other: Path | None, catalog: Catalog) -> Recipe:
    """Make the recipe to measure by: the run's, with its result as the generator and the metrics of `other`."""
    own = [text for text in sets if other is None or not text.strip().startswith("evaluate.")]
    recipe = read(run.resolved, own, catalog)
    if other is not None:
        recipe = attrs.evolve(
            recipe, evaluate=read(other, [text for text in sets if text not in own], catalog).evaluate
        )
        for key, message, _ in misused({"dataset": recipe.dataset, "evaluate": recipe.evaluate}):
            raise UsageError(f"{shipped.told(other)}: {key_text(key)}: {message}")
    if not recipe.evaluate:
        raise UsageError(f"{other or run.resolved} has no [[evaluate]]: name a recipe that has some with --recipe")
    require(str(run.resolved), [recipe], assets())
    pin([recipe], assets())
    recipe = stage.with_results(located(recipe, assets()), teachers(run, recipe, catalog))
    return with_checkpoint(recipe, "generator", run.result.resolve())


def teachers(run: RunDir, recipe: Recipe, catalog: Catalog) -> dict[str, Outcome]:
    """Find the finished run, beside this one, that the teacher comes from; {} where it comes from none."""
    file = recipe.starts_from.get("teacher_score")
    if file is None:
        return {}
    wanted = graph(run.path / file, (), catalog, None)[-1].fingerprint
    noted, beside = inputs.parent(run, "teacher_score"), sorted(run.path.parent.glob("*/resolved.toml"), reverse=True)
    # First where it was: each other one costs a look at its recipe, and there may be hundreds.
    for path in sorted(beside, key=lambda path: noted is None or path.parent.name != noted.name):
        if _is(wanted, path, catalog) and (found := RunDir.open(path.parent)).ended:
            return {"teacher_score": Outcome.of(found, reused=True)}
    raise UsageError(f"the teacher of {run.path} has no finished run beside it: distillkit run {run.path / file}")


def _is(wanted: str, path: Path, catalog: Catalog) -> bool:
    """Has the recipe that fingerprint as of today? A run.json has that of the day it was made."""
    try:
        return graph(path, (), catalog, None)[-1].fingerprint == wanted
    except UsageError:  # another's, of plugins that are not here
        return False


def written(
    scores: Scores, folder: Path, sets: Sequence[str], other: Path | None, sampler: sampled.Asked | None = None
) -> Path:
    """Write what was measured to eval-DATE.json in that folder, or in the working directory where it is not ours."""
    told = {"metrics": scores.student, "nfe": scores.nfe, "remarks": scores.remarks, "protocol": scores.protocol,
            "set": list(sets), "recipe": str(other) if other else None, "seconds": scores.seconds}  # fmt: skip
    if sampler is not None:
        told["sample"] = sampled.table(sampler)
    here, ours = folder.resolve(), (networks.FOLDER.resolve(), home().resolve())
    file = free_name(Path() if any(map(here.is_relative_to, ours)) else folder)
    files.write_json(file, files.finite(told))
    return file


def free_name(folder: Path) -> Path:
    """Choose a name that is not taken: eval-DATE.json, or eval-DATE-1.json ..."""
    date = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    names = (folder / f"eval-{date}{f'-{i}' if i else ''}.json" for i in count())
    return next(name for name in names if not name.exists())
