"""The teacher's scores beside its student's: its own run's, or measured now and kept there for its next student."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import attrs

from distillkit.api import InputError
from distillkit.disk import alike, files, typed
from distillkit.disk.results import Outcome, Scores
from distillkit.evaluate import evaluation
from distillkit.evaluate.draw import Drawer
from distillkit.recipe import table_of
from distillkit.recipe.schema import by_logged_name
from distillkit.run import inputs
from distillkit.run.training import Training
from distillkit.train.state import Part

FOLDER = "measured"  # of the teacher's run


def teacher(training: Training, scores: Scores, outcome: Outcome | None, sampler: Drawer) -> Scores:
    """The scores with the teacher's: those of its own run, or measured now, where its run measured otherwise."""
    state, screen, taught = training.state, training.screen, outcome.scores if outcome else None
    if taught is None and (state.teacher is None or state.teacher.network is not None):
        return scores  # somebody else's network, which is measured where a recipe asks for it
    known = taught or Scores(student={})
    scores = attrs.evolve(
        scores, teacher=known.student, teacher_nfe=known.nfe or sampler.nfe, teacher_protocol=known.protocol
    )
    state.figures = None  # they show the student
    if outcome is None:  # in closed form nobody measured it before
        return added(scores, evaluation.evaluate(sampler, state.evaluators, screen, training.failed))
    apart = scores.apart()
    for part in [part for part in state.evaluators if part.name in apart]:
        why, how = f"{part.name}: {apart[part.name]}", protocol(training, scores, sampler, part)
        path = outcome.run_dir / FOLDER / f"{part.name}-{files.check_of(how)}.json"
        if found := kept(path, how, training):
            screen.line(f"the teacher was measured so for another student: {why}")
        else:
            screen.line(f"measuring the teacher again: {why}")
            found = measured(path, how, part, training, sampler)
        scores = added(scores, found)
    return scores


def measured(path: Path, how: dict[str, Any], part: Part, training: Training, sampler: Drawer) -> dict[str, float]:
    """The teacher's metrics of one component, kept at `path` for its next student."""
    screen = training.screen
    found = evaluation.evaluate(sampler, [part], screen, training.failed)
    if found:
        try:
            path.parent.mkdir(exist_ok=True)
            files.write_checked(path, {"how": how, "metrics": found})
        except OSError as error:  # it may be somebody else's folder
            screen.line(f"the next student measures it again: cannot write {path}: {error.strerror}")
    return found


def protocol(training: Training, scores: Scores, sampler: Drawer, part: Part) -> dict[str, Any]:
    """All that the teacher's numbers depend on."""
    recipe, info = training.state.recipe, training.run.info
    assert recipe.teacher_score is not None, "who has a teacher says which"
    read = {key: noted["digest"] for key, noted in info.get(inputs.NOTE, {}).items() if "digest" in noted}
    choice = by_logged_name(recipe.evaluate)[part.name]
    facts = scores.protocol.get(part.name, {})
    return {
        "teacher": {key: value for key, value in table_of(recipe.teacher_score).items() if key != "from"},
        "nfe": sampler.nfe, "read": read, "dataset": table_of(recipe.dataset),
        "evaluate": {"use": choice.name, **table_of(choice.config)},
        "protocol": {key: value for key, value in facts.items() if key not in alike.OWN},
        "versions": info["versions"], "device": training.state.device.type, "precision": recipe.run.precision,
        "teacher_dtype": recipe.run.teacher_dtype,
    }  # fmt: skip


def kept(path: Path, how: dict[str, Any], training: Training) -> dict[str, float]:
    """What was measured so; {}: nothing, or it is damaged, which is told."""
    if not path.is_file():
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # of a check that does not fit
            found = typed.json_object(path)
        if found.get("how") == files.finite(how):
            return {typed.text(name): typed.number(value) for name, value in found["metrics"].items()}
        told = "of something else"
    except (InputError, UserWarning, ValueError, KeyError, AttributeError) as error:
        told = str(error)
    training.screen.warn(f"{path} is measured anew: {told}")
    return {}


def added(scores: Scores, measured: dict[str, float]) -> Scores:
    """The scores with these of the teacher, which were measured as the student's were."""
    names = {alike.component(metric) for metric in measured}
    left = {metric: value for metric, value in scores.teacher.items() if alike.component(metric) not in names}
    told = scores.teacher_protocol | {name: scores.protocol.get(name, {}) for name in names}
    return attrs.evolve(scores, teacher=left | measured, teacher_protocol=told)
