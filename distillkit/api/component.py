"""What every component is, whatever its kind."""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import frozen


class Component:
    """Base of everything a recipe can pick with `use =`; a subclass has a docstring and a nested `Config`."""

    kind: ClassVar[str]
    # Keys with values at which it is small and acts at once, as `config` has them: {"images": 64, "start_kimg": 0.0}.
    # Larger numbers become as small, all else is replaced: in smoke runs, and in the contracts' toy world.
    tiny: ClassVar[dict[str, Any]] = {}
    # Those of them that decide how much is made before the first iteration, and nothing after it: stored pairs.
    before_training: ClassVar[tuple[str, ...]] = ()
    # What recipes call it now, where this name goes: they are read as if they said that, with a warning.
    renamed: ClassVar[str | None] = None
    # The name and the distribution that fingerprints know it by, where 0.1 had it under others.
    hashed_as: ClassVar[tuple[str, str] | None] = None

    @frozen(kw_only=True)
    class Config:
        pass

    def __init__(self, config: Any) -> None:
        self.config = config

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold for an exact resume: tensors and JSON values by name."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state but the checkpoint has {sorted(state)}")
