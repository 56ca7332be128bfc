"""The run's own pluggy manager: hooks among the components that the recipe named, and nothing else."""

from __future__ import annotations

from typing import Any

import pluggy

from distillkit.api import Component, Hooks, PluginError
from distillkit.api.deprecated import deprecated
from distillkit.train.state import Part

ONE = ("sample", "generator_loss")  # hooks that exactly one component answers
AT_MOST_ONE = ("teacher_score", "critic_loss")
# Kinds whose every component answers a hook: one that does not would stand in a recipe and do nothing.
EACH = {"guidance": "teacher_score", "auxiliary_loss": "auxiliary_loss", "evaluate": "evaluate"}


def manager(components: dict[str, Component]) -> pluggy.PluginManager:
    """Register components by their place in the recipe; hooks are asked in recipe order.

    Raises PluginError for a hook that is misspelt, has unknown arguments, or is answered by too many or too few.
    """
    hooks = registered(components)
    count(hooks)
    return hooks


def registered(components: dict[str, Component]) -> pluggy.PluginManager:
    """The same of any number of components."""
    hooks = pluggy.PluginManager("distillkit")
    hooks.add_hookspecs(Hooks)
    for place, component in reversed(components.items()):  # pluggy calls the last registered first
        try:
            hooks.register(component, name=place)
        except pluggy.PluginValidationError as error:
            raise PluginError(f"{describe(component)}: {' '.join(str(error).split())}") from error
    try:
        hooks.check_pending()
    except pluggy.PluginValidationError as error:
        owner = describe(error.plugin)
        raise PluginError(f"{owner}: {error}; the hooks are {', '.join(names())}") from error
    for place, component in components.items():
        hook = EACH.get(component.kind)
        if hook and not any(impl.plugin is component for impl in getattr(hooks.hook, hook).get_hookimpls()):
            table, _, n = place.partition(".")
            key = f"{table}[{n}]" if n.isdigit() else place
            raise PluginError(
                f"{key}: {describe(component)} has no hook {hook!r}: a method of that name with @hookimpl"
            )
    return hooks


def names() -> list[str]:
    return [name for name in vars(Hooks) if not name.startswith("_")]


def count(hooks: pluggy.PluginManager) -> None:
    for hook in ONE + AT_MOST_ONE:
        owners = [impl for impl in getattr(hooks.hook, hook).get_hookimpls() if not (impl.wrapper or impl.hookwrapper)]
        owners = [impl for impl in owners if not has_a_turn(impl)]
        if not owners and (hook in ONE or hooks.has_plugin(hook)):
            raise PluginError(f"no component of this recipe implements the hook {hook!r}; exactly one must")
        if len(owners) > 1:
            both = " and ".join(f"{impl.plugin_name} ({describe(impl.plugin)})" for impl in owners)
            raise PluginError(f"hook {hook!r} is implemented by {both}; only one may")


def has_a_turn(impl: pluggy.HookImpl) -> bool:
    """Whether it answers in turns of its own alone, in the form of 0.1."""
    if not (impl.tryfirst and impl.function.__name__ == "critic_loss"):
        return False
    deprecated(f"@hookimpl(tryfirst=True) on critic_loss of {describe(impl.plugin)}", "Turn(..., asks=self.its_loss)")
    return True


def describe(component: Any) -> str:
    return f"{type(component).__module__}:{type(component).__qualname__}"


def alone(hooks: pluggy.PluginManager, hook: str, place: str, slot: Any, name: str) -> Part:
    """The hook of one component, without the others of its kind; wrappers by components of other kinds stay."""
    kind = place.split(".", maxsplit=1)[0]
    others = [plugin for other, plugin in hooks.list_name_plugin() if other != place and other.split(".")[0] == kind]
    return Part(name, slot, hooks.subset_hook_caller(hook, others))
