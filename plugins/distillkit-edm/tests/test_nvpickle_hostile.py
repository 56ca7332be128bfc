"""The reader of pickles against hostile files: each is refused in one line, and nothing that it asks for happens."""

from __future__ import annotations

import random
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from distillkit_edm.nvpickle import UnsafeFile, read_pickle
from distillkit_edm.nvpickle.machine import TABLE, Machine
from distillkit_edm.nvpickle.symbols import NETWORK
from nvidia_files import snapshot, tiny_network
from nvidia_hostile import GROUPS, bombs, unframed
from nvidia_mutants import mutant

from distillkit.api import InputError

WATCHED = (
    "import",
    "exec",
    "compile",
    "open",
    "os.",
    "subprocess.",
    "socket.",
    "ctypes.",
    "pickle.",
    "shutil.",
    "code.",
)
Group = Callable[[], dict[str, bytes]]
BOMBS = bombs()
EVENTS: list[tuple[str, Any]] | None = None  # what happened while it is a list


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    if EVENTS is not None and event.startswith(WATCHED):
        EVENTS.append((event, arguments[:1]))


@cache
def listen() -> None:
    """From the first of these tests on, for it stays until the interpreter ends."""
    sys.addaudithook(hook)


@contextmanager
def watching() -> Iterator[list[tuple[str, Any]]]:
    global EVENTS  # noqa: PLW0603 - an audit hook cannot be taken back, so it looks here
    listen()
    EVENTS = seen = []
    try:
        yield seen
    finally:
        EVENTS = None


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is read, once already: modules that torch imports late are imported."""
    path = tmp_path_factory.mktemp("good") / "network.pkl"
    path.write_bytes(snapshot())
    read_pickle(path)
    return path


def test_the_file_that_hostile_ones_are_made_from_is_read(good: Path) -> None:
    card, tensors = read_pickle(good)
    assert card["network"]["use"] == "edm-ddpmpp" and len(tensors) == 72
    assert tensors["model.map_layer0.weight"].equal(tiny_network().model.map_layer0.weight)


def test_frames_make_no_difference(tmp_path: Path) -> None:
    path = tmp_path / "network.pkl"
    path.write_bytes(unframed(snapshot()))
    assert len(read_pickle(path)[1]) == 72


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_hostile_files_are_refused_and_do_nothing(group: Group, good: Path, tmp_path: Path) -> None:
    path = tmp_path / "network.pkl"
    for name, data in group().items():
        path.write_bytes(data)
        try:
            with watching() as seen:
                read_pickle(path)
        except UnsafeFile as refusal:
            told = str(refusal)
            assert told.startswith(f"{path}: refused: ") and told.isascii(), name
            assert "\n" not in told and len(told) < 500, name
            assert isinstance(refusal, InputError) and refusal.exit_code == 3
        else:
            raise AssertionError(f"{name} was read")
        assert seen in ([("open", (path,))], [("open", (str(path),))]), name


def test_the_watch_would_have_seen_it(tmp_path: Path) -> None:
    with watching() as seen:
        __import__("ftplib" if "ftplib" not in sys.modules else "nntplib")
        (tmp_path / "x").write_text("")
    assert {"import", "open"} <= {event for event, _ in seen}


@pytest.mark.parametrize(("name", "data"), BOMBS.items(), ids=BOMBS)
def test_a_bomb_takes_no_memory(name: str, data: bytes, good: Path, tmp_path: Path) -> None:
    path = tmp_path / "network.pkl"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(UnsafeFile):
            read_pickle(path)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20, name
    finally:
        tracemalloc.stop()


def test_a_pipe_a_folder_a_link_and_nothing_at_all_are_refused(tmp_path: Path, good: Path) -> None:
    (tmp_path / "folder.pkl").mkdir()
    (tmp_path / "link.pkl").symlink_to(good)
    for name in ("folder.pkl", "link.pkl", "missing.pkl"):
        with pytest.raises(UnsafeFile, match="refused"):
            read_pickle(tmp_path / name)
    with pytest.raises(UnsafeFile, match="no file of"):
        read_pickle(Path("/dev/zero"))


def test_a_pickle_of_too_many_steps_is_refused() -> None:
    data = b"\x80\x04" + b"N0" * 500 + b"N."
    assert Machine(data, 0, len(data), {}, opcodes=1001).run() is None
    with pytest.raises(UnsafeFile, match="more steps"):
        Machine(data, 0, len(data), {}, opcodes=1000).run()


def test_mutants_of_a_good_file_are_read_or_refused(good: Path, tmp_path: Path) -> None:
    data, path, refused = unframed(snapshot()), tmp_path / "network.pkl", 0
    for seed in range(250):
        path.write_bytes(mutant(data, random.Random(seed)))
        with watching() as seen:
            try:
                read_pickle(path)
            except UnsafeFile as error:
                refused += 1
                assert "\n" not in str(error), seed
        assert len(seen) == 1, (seed, seen)
    assert refused > 100  # the others differ in a weight, a hidden attribute, or the text of a module


def test_what_a_file_may_name_is_a_short_list() -> None:
    assert len(TABLE) == 42 and len(NETWORK) == 17  # and the opcode STOP
