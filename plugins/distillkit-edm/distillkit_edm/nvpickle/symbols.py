"""What a file may name, and the inert values that stand for it: nothing here is imported or called."""

from __future__ import annotations

from typing import Any

from attrs import define, frozen

from distillkit_edm.nvpickle.refused import UnsafeFile


@frozen(eq=False)
class Symbol:
    """A name; `how` it may be used ("call", "new", "value") and with how many arguments."""

    name: str
    how: str = "value"
    least: int = 0
    most: int = 0


@define(eq=False)
class Node:
    """What calling `name` with `args` would have made; `state` as the file gives it, perhaps filled in later."""

    name: str
    args: tuple[Any, ...]
    state: Any = None
    built: bool = False


@frozen(eq=False)
class Blob:
    """Bytes of the file, by their place."""

    start: int
    stop: int


def _table(*symbols: Symbol) -> dict[str, Symbol]:
    return {symbol.name: symbol for symbol in symbols}


PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
PARAMETER, TENSOR = "torch._utils._rebuild_parameter", "torch._utils._rebuild_tensor_v2"
STORAGE = "torch.storage._load_from_bytes"
CONTAINERS = tuple(f"torch.nn.modules.container.{name}" for name in ("ModuleDict", "ModuleList", "Sequential"))
DTYPE = "numpy.dtype"
ARRAYS = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
BUILDABLE = {*CONTAINERS, DTYPE, *ARRAYS}

NETWORK = _table(
    Symbol(PERSISTENT, "call", 1, 1),
    Symbol(PARAMETER, "call", 3, 3),
    Symbol(TENSOR, "call", 6, 7),
    Symbol(STORAGE, "call", 1, 1),
    *(Symbol(name, "new") for name in CONTAINERS),
    Symbol("collections.OrderedDict", "call"),
    Symbol("dnnlib.util.EasyDict", "new"),
    Symbol("builtins.set", "call", 1, 1),
    Symbol("builtins.getattr", "call", 2, 2),
    Symbol(DTYPE, "call", 3, 3),
    *(Symbol(name, "call", 2, 2) for name in SCALARS),
    *(Symbol(name, "call", 3, 3) for name in ARRAYS),
    Symbol("numpy.ndarray"),
)


def applied(symbol: Any, args: Any, how: str) -> Any:
    """The stand-in for a call of a symbol; a plain dict or set for those."""
    if not isinstance(symbol, Symbol):
        raise UnsafeFile("it calls something that is no name")
    if symbol.how != how or type(args) is not tuple or not symbol.least <= len(args) <= symbol.most:
        raise UnsafeFile(f"it calls {symbol.name} in a way the reader does not know")
    if symbol.name in ("collections.OrderedDict", "dnnlib.util.EasyDict"):
        return {}
    if symbol.name == "builtins.set":
        if type(args[0]) is not list or not all(is_key(item) for item in args[0]):
            raise UnsafeFile("a set of something other than names")
        return set(args[0])
    return Node(symbol.name, args)


def is_key(value: Any) -> bool:
    return type(value) is str or type(value) is int


def shown(text: str) -> str:
    """A name from the file as a message may show it: ASCII, one line, not long."""
    return ascii(text[:60])
