"""The tree of modules in a network's pickle: class, constructor arguments and tensors by their state-dict names."""

from __future__ import annotations

from mmap import mmap
from typing import Any, TypeVar

from attrs import define, field, frozen
from torch import Tensor

from distillkit_edm.nvpickle.machine import Machine
from distillkit_edm.nvpickle.refused import UnsafeFile
from distillkit_edm.nvpickle.storage import find_storage, read_view
from distillkit_edm.nvpickle.symbols import CONTAINERS, NETWORK, PARAMETER, PERSISTENT, STORAGE, TENSOR, Node, shown

T = TypeVar("T")
DEPTH, MODULES, NAME = 64, 20_000, 100  # of a tree: levels, modules, characters of a name


@frozen
class Module:
    """A module of NVIDIA's: its class by name, and its attributes."""

    name: str
    state: dict[Any, Any]

    @property
    def args(self) -> tuple[Any, ...]:
        return checked(self.state.get("_init_args", ()), tuple, "the constructor's arguments")

    @property
    def kwargs(self) -> dict[Any, Any]:
        return checked(self.state.get("_init_kwargs", {}), dict, "the constructor's named arguments")

    def child(self, name: str) -> Module:
        """A submodule. Raises UnsafeFile if it is missing."""
        children = checked(self.state.get("_modules"), dict, "the list of submodules")
        return module_of(children.get(name), f"{self.name}'s {name!r}")


def read_tree(data: bytes | mmap) -> Module:
    """The averaged network of a snapshot, `ema`. Raises UnsafeFile."""
    machine = Machine(data, 0, len(data), NETWORK)
    snapshot = machine.run()
    if machine.pos != len(data):
        raise UnsafeFile(f"{len(data) - machine.pos} bytes follow the end of the pickle")
    if type(snapshot) is not dict or "ema" not in snapshot:
        raise UnsafeFile("no snapshot of a network: it has no 'ema'")
    return module_of(snapshot["ema"], "'ema'")


def module_of(node: Any, what: str) -> Module:
    """The module that a stand-in describes. Raises UnsafeFile if it does not describe one."""
    if type(node) is not Node or node.name != PERSISTENT:
        raise UnsafeFile(f"{what} is no module")
    meta = checked(node.args[0], dict, "the description of a module")
    kind, version, name, state = (meta.get(key) for key in ("type", "version", "class_name", "state"))
    if type(kind) is not str or kind != "class" or type(version) is not int or version != 6:
        raise UnsafeFile(f"{what} is not described in version 6 of the format")
    return Module(checked(name, str, "the name of a class"), checked(state, dict, "the state of a module"))


def checked(value: Any, kind: type[T], what: str) -> T:
    """The value. Raises UnsafeFile unless it is a `kind`."""
    if type(value) is not kind:
        raise UnsafeFile(f"{what} is no {kind.__name__}")
    found: T = value
    return found


def read_tensors(data: bytes | mmap, module: Module) -> dict[str, Tensor]:
    """The module's state dict. Raises UnsafeFile."""
    weights = Weights(data, room=len(data))
    weights.collect(module.state, "", 0)
    return weights.found


@define
class Weights:
    """Tensors by name; `room` bytes of storages are left to read, since each is in the file once."""

    data: bytes | mmap
    room: int
    found: dict[str, Tensor] = field(factory=dict)
    modules: int = 0

    def collect(self, state: dict[Any, Any], prefix: str, depth: int) -> None:
        """Add the tensors of a module's state and of its submodules."""
        self.modules += 1
        if depth > DEPTH or self.modules > MODULES:
            raise UnsafeFile(f"modules more than {DEPTH} deep, or more than {MODULES} of them")
        hidden = checked(state.get("_non_persistent_buffers_set", set()), set, "the set of hidden buffers")
        for name, node in self.named(state, "_parameters", prefix):
            self.found[prefix + name] = self.tensor(node)
        for name, node in self.named(state, "_buffers", prefix):
            if name not in hidden:
                self.found[prefix + name] = self.tensor(node)
        for name, node in self.named(state, "_modules", prefix):
            self.collect(inner(node), f"{prefix}{name}.", depth + 1)

    def named(self, state: dict[Any, Any], key: str, prefix: str) -> list[tuple[str, Any]]:
        """What a module holds under `key`, by name, without the Nones."""
        found = [(name, node) for name, node in checked(state.get(key), dict, key).items() if node is not None]
        for name, _ in found:
            if type(name) is not str or not name.isascii() or not name.replace("_", "a").isalnum():
                raise UnsafeFile(f"{shown(str(name))} is no name of a tensor or module")
            if len(name) > NAME or prefix + name in self.found:
                raise UnsafeFile(f"the name {shown(name)} is too long, or there twice")
        return found

    def tensor(self, node: Any) -> Tensor:
        if type(node) is Node and node.name == PARAMETER:
            node = node.args[0]
        if type(node) is not Node or node.name != TENSOR:
            raise UnsafeFile("a parameter or buffer that is no tensor")
        blob, offset, size, stride = node.args[:4]
        if type(blob) is not Node or blob.name != STORAGE:
            raise UnsafeFile("a tensor without a storage")
        storage = find_storage(self.data, blob.args[0])
        self.room -= storage.size
        if self.room < 0:
            raise UnsafeFile("its tensors are larger than the file")
        return read_view(self.data, storage, offset, size, stride)


def inner(node: Any) -> dict[Any, Any]:
    """The state of a submodule, NVIDIA's or one of torch's containers."""
    if type(node) is Node and node.name in CONTAINERS:
        return checked(node.state, dict, "the state of a container")
    return module_of(node, "a submodule").state
