"""An interpreter for the few pickle opcodes that network files need; it builds plain values and inert stand-ins."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from mmap import mmap
from typing import Any, TypeVar

from distillkit_edm.nvpickle.refused import UnsafeFile
from distillkit_edm.nvpickle.symbols import BUILDABLE, Blob, Node, Symbol, applied, is_key, shown

OPCODES, STACK, STRING = 2_000_000, 100_000, 1 << 24  # a released network has 48,000 opcodes
STOP = 0x2E
T = TypeVar("T")
Step = Callable[["Machine"], object]  # what an opcode does
TABLE: dict[int, Step] = {}


def opcode(code: int) -> Callable[[Step], Step]:
    """Registers what an opcode does."""

    def register(step: Step) -> Step:
        TABLE[code] = step
        return step

    return register


def each(codes: Mapping[int, T], step: Callable[[Machine, T], object]) -> None:
    """Registers what several opcodes do, each with a value of its own."""
    for code, value in codes.items():
        TABLE[code] = bound(step, value)


def bound(step: Callable[[Machine, T], object], value: T) -> Step:
    return lambda m: step(m, value)


class Machine:
    """Runs one pickle in data[start:stop] that names nothing but `symbols`; `pos` is then where it ended."""

    def __init__(
        self,
        data: bytes | mmap,
        start: int,
        stop: int,
        symbols: dict[str, Symbol],
        opcodes: int = OPCODES,
        persistent: bool = False,
    ) -> None:
        self.data, self.pos, self.stop, self.symbols = data, start, stop, symbols
        self.opcodes, self.persistent, self.done = opcodes, persistent, 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The value that the pickle describes. Raises UnsafeFile."""
        if self.number(1) != 0x80 or not 2 <= self.number(1) <= 5:
            raise UnsafeFile("not a pickle of protocol 2 to 5")
        while (code := self.number(1)) != STOP:
            self.done += 1
            if self.done > self.opcodes or len(self.stack) > STACK or len(self.marks) > STACK:
                raise UnsafeFile("a pickle of more steps or deeper than any network")
            step = TABLE.get(code)
            if step is None:
                raise UnsafeFile(f"pickle opcode 0x{code:02x} at byte {self.pos - 1} is not one that networks need")
            step(self)
        if len(self.stack) != 1 or self.marks:
            raise UnsafeFile("a pickle that does not end with one value")
        return self.stack[0]

    def take(self, n: int) -> bytes:
        """The next n bytes."""
        blob = self.skip(n)
        return self.data[blob.start : blob.stop]

    def skip(self, n: int) -> Blob:
        """The place of the next n bytes."""
        if not 0 <= n <= self.stop - self.pos:
            raise UnsafeFile(f"it ends in the middle of a value, at byte {self.pos}")
        self.pos += n
        return Blob(self.pos - n, self.pos)

    def number(self, size: int) -> int:
        """The next `size` bytes, little-endian, unsigned."""
        return int.from_bytes(self.take(size), "little")

    def text(self, size: int) -> str:
        if size > STRING:
            raise UnsafeFile(f"a string of {size} bytes; none in a network has more than {STRING}")
        try:
            return self.take(size).decode()
        except UnicodeDecodeError as error:
            raise UnsafeFile(f"a string before byte {self.pos} is not UTF-8") from error

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise UnsafeFile(f"a step at byte {self.pos} lacks its values")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        """The value on top of the stack, which is a `kind`."""
        value = self.pop()
        if type(value) is not kind:
            raise UnsafeFile(f"a step at byte {self.pos} needs a {kind.__name__}")
        self.push(value)
        return value

    def since_mark(self) -> list[Any]:
        """The values above the last mark, which is removed."""
        if not self.marks:
            raise UnsafeFile(f"a step at byte {self.pos} lacks its mark")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise UnsafeFile(f"it recalls value {index}, which it has not stored")
        self.push(self.memo[index])

    def store(self, index: int) -> None:
        if index > self.done:  # the numbers count up from 0
            raise UnsafeFile(f"it stores a value as number {index} after {self.done} steps")
        value = self.pop()
        self.push(value)
        self.memo[index] = value

    def name(self, module: Any, attribute: Any) -> None:
        if type(module) is not str or type(attribute) is not str:
            raise UnsafeFile("a name that is no text")
        symbol = self.symbols.get(f"{module}.{attribute}")
        if symbol is None or "." in attribute:
            raise UnsafeFile(f"it names {shown(module)} {shown(attribute)}, which no network needs")
        self.push(symbol)

    def put_items(self, pairs: list[Any]) -> None:
        target = self.top(dict)
        if len(pairs) % 2:
            raise UnsafeFile("a dict with a key that has no value")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not is_key(key) or key in target:
                raise UnsafeFile("a dict with a key twice, or one that is neither text nor a whole number")
            target[key] = value


constants: dict[int, object] = {0x4E: None, 0x88: True, 0x89: False, 0x29: ()}
each(constants, lambda m, value: m.push(value))
each({0x7D: dict, 0x5D: list, 0x8F: set}, lambda m, kind: m.push(kind()))
each({0x4B: 1, 0x4D: 2}, lambda m, size: m.push(m.number(size)))  # BININT1, BININT2
# SHORT_BINUNICODE, BINUNICODE, BINUNICODE8; SHORT_BINBYTES, BINBYTES, BINBYTES8
each({0x8C: 1, 0x58: 4, 0x8D: 8}, lambda m, size: m.push(m.text(m.number(size))))
each({0x43: 1, 0x42: 4, 0x8E: 8}, lambda m, size: m.push(m.skip(m.number(size))))
each({0x68: 1, 0x6A: 4}, lambda m, size: m.recall(m.number(size)))  # BINGET, LONG_BINGET
each({0x71: 1, 0x72: 4}, lambda m, size: m.store(m.number(size)))  # BINPUT, LONG_BINPUT
# TUPLE1, TUPLE2, TUPLE3
each({0x85: 1, 0x86: 2, 0x87: 3}, lambda m, size: m.push(tuple([m.pop() for _ in range(size)][::-1])))

opcode(0x94)(lambda m: m.store(len(m.memo)))  # MEMOIZE
opcode(0x4A)(lambda m: m.push(int.from_bytes(m.take(4), "little", signed=True)))  # BININT
opcode(0x8A)(lambda m: m.push(int.from_bytes(m.take(m.number(1)), "little", signed=True)))  # LONG1
opcode(0x47)(lambda m: m.push(struct.unpack(">d", m.take(8))[0]))  # BINFLOAT
opcode(0x28)(lambda m: m.marks.append(len(m.stack)))  # MARK
opcode(0x30)(lambda m: m.pop())  # POP
opcode(0x31)(lambda m: m.since_mark())  # POP_MARK
opcode(0x74)(lambda m: m.push(tuple(m.since_mark())))  # TUPLE
opcode(0x75)(lambda m: m.put_items(m.since_mark()))  # SETITEMS


@opcode(0x95)
def _frame(m: Machine) -> None:
    size = m.number(8)
    if size > m.stop - m.pos:
        raise UnsafeFile("a frame that is longer than the file")


@opcode(0x73)
def _setitem(m: Machine) -> None:
    value, key = m.pop(), m.pop()
    m.put_items([key, value])


@opcode(0x61)
def _append(m: Machine) -> None:
    value = m.pop()
    m.top(list).append(value)


@opcode(0x65)
def _appends(m: Machine) -> None:
    values = m.since_mark()
    m.top(list).extend(values)


@opcode(0x90)
def _additems(m: Machine) -> None:
    values = m.since_mark()
    if not all(is_key(value) for value in values):
        raise UnsafeFile("a set of something other than names")
    m.top(set).update(values)


@opcode(0x63)
def _global(m: Machine) -> None:
    lines = []
    for _ in range(2):
        end = m.data.find(b"\n", m.pos, min(m.stop, m.pos + 256))
        if end < 0:
            raise UnsafeFile("a name without an end")
        lines.append(m.text(end - m.pos))
        m.skip(1)
    m.name(*lines)


@opcode(0x93)
def _stack_global(m: Machine) -> None:
    attribute, module = m.pop(), m.pop()
    m.name(module, attribute)


@opcode(0x52)
def _reduce(m: Machine) -> None:
    args, symbol = m.pop(), m.pop()
    m.push(applied(symbol, args, "call"))


@opcode(0x81)
def _newobj(m: Machine) -> None:
    args, symbol = m.pop(), m.pop()
    m.push(applied(symbol, args, "new"))


@opcode(0x62)
def _build(m: Machine) -> None:
    state, node = m.pop(), m.top(Node)
    if node.name not in BUILDABLE or node.built:
        raise UnsafeFile(f"it sets the state of a {node.name}")
    node.state, node.built = state, True


@opcode(0x51)
def _persistent_id(m: Machine) -> None:
    if not m.persistent:
        raise UnsafeFile("it refers to something outside the file")
    m.push(Node("persistent", (m.pop(),)))
