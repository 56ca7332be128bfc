"""A recipe's pick of a component: checked and printable, not yet built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from attrs import field, frozen

if TYPE_CHECKING:
    from distillkit.api.component import Component

K = TypeVar("K", bound="Component")


@frozen
class Choice(Generic[K]):
    """Kind, name, class and structured config of a picked component; `build()` makes the object.

    In a Config, `kernel: Choice[Kernel]` is a TOML table with `use = "..."`.
    """

    kind: str
    name: str
    cls: type[K]
    config: Any
    slot: Any = None  # the engine's own keys of that table (slots.py): weight, every_kimg, from ...

    def build(self) -> K:
        return self.cls(self.config)


@frozen(init=False)
class Use:
    """Default for a `Choice` field by name: `Use("rbf")`; the recipe reader looks it up.

    A plugin cannot import another plugin's class, so its defaults name parts as a recipe would.
    """

    name: str
    keys: dict[str, Any] = field(factory=dict)

    if TYPE_CHECKING:  # for type checkers it is the choice that the reader makes of it

        def __new__(cls, name: str, **keys: Any) -> Any: ...

    else:

        def __init__(self, name: str, **keys: Any) -> None:
            self.__attrs_init__(name, keys)
