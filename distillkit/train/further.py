"""Teachers beside the recipe's first one, which a component's Config names: `state.teacher_from`."""

from __future__ import annotations

from typing import Any, cast

from distillkit.api import Choice, Component, Denoiser, Network, TeacherScore, UsageError
from distillkit.networks import network_file
from distillkit.train import manager as managers
from distillkit.train.state import State
from distillkit.train.teacher import Relay


class Beside:
    """The run as a further teacher and its guidance see it: as if the recipe had no other one."""

    def __init__(self, state: State, teacher: TeacherScore) -> None:
        self._state, self.teacher = state, teacher
        self.hook: Any = None
        self.teacher_score = Relay(cast(State, self))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    @property
    def guidance_scale(self) -> Any:
        """Of its own teacher's images."""
        return self.teacher_score.scale

    def new_network(self, choice: Choice[Network], seed: int = 0) -> Denoiser:
        """As of the first teacher: labels have no scale of guidance, which is for students."""
        return self._state.made_network(choice, seed, self._state.dataset.layout.size)


def teacher(state: State, choice: Choice[TeacherScore]) -> Relay:
    """Set up another teacher, with the guidance of its slot. Raises UsageError where it is for other images."""
    if choice.slot.from_ is not None:
        raise UsageError(
            f"a teacher beside [teacher_score] takes no `from`; write checkpoint = "
            f'"runs/.../result" of {choice.slot.from_} in its place'
        )
    # As the first one's table, so that who sorts parts by their tables finds it there.
    place = f"teacher_score.{len(state.teachers) + 1}"
    added, guidance = choice.build(), choice.slot.guidance
    parts: dict[str, Component] = {place: added}
    if guidance is not None:
        parts[f"{place}.guidance"] = guidance.build()
    # Guidance asks `state.teacher_score` for what it compares with: it must be that of its own teacher.
    own = Beside(state, added)
    hooks = managers.registered(parts)
    own.hook = hooks.hook
    hooks.hook.setup(state=own)
    if added.network is not None:
        network_file.check_shape(added.network, state.dataset, place, state.dataset.label_dim)
        added.network.eval().requires_grad_(False)
        added.network.compute_dtype = state.compute_dtype
    state.teachers.append(added)
    state.components |= parts  # what they keep is checkpointed
    return own.teacher_score
