"""`runner = shared`: environments with the same env_dir use one installation; tox would make it anew for each name."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from tox.plugin import impl
from tox.tox_env.info import Info
from tox.tox_env.python.virtual_env.runner import VirtualEnvRunner
from tox.tox_env.register import ToxEnvRegister


class SharedInfo(Info):
    """What tox remembers of a folder, its environment's name left out."""

    def compare(
        self, value: Any, section: str, sub_section: str | None = None
    ) -> AbstractContextManager[tuple[bool, Any]]:
        if section == "ToxEnv":
            value = {**value, "name": Shared.id()}
        return super().compare(value, section, sub_section)


class Shared(VirtualEnvRunner):
    @staticmethod
    def id() -> str:
        return "shared"

    @property
    def cache(self) -> Info:
        return SharedInfo(self.env_dir)


@impl
def tox_register_tox_env(register: ToxEnvRegister) -> None:
    register.add_run_env(Shared)
