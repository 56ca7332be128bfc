"""One random corruption of a file that a run leaves, then all that reads it: the same numbers, or a word and its code.

`python -m tests.chaos damage --n 1000`. A trial is wrong where a number changed and nothing was said, where a command
ends with a traceback or "bug:", or with an exit code that means something else.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.chaos import base, readers
from tests.chaos.base import OTHER, inside
from tests.chaos.readers import Answer

LEFT_OUT = ("samples", "lock", ".starting", "log.txt", "report.html", "recipe.toml")  # of which nothing reads a number
RIGHT = (0, 2, 3)  # what damage may end with
WRONG_TYPES = ("[]", "{}", "null", "1e999", '"x"', '{"code": [1]}', '{"metrics": [1]}', "[" * 5000, "{]", "\x1b[31m")
SHARED = "damage-shared"


def prepare(folder: Path) -> None:
    """Make the runs, and note the numbers that every reader gives of them."""
    base.make(folder)
    if (folder / "numbers.json").exists():
        return
    (folder / readers.GONE).rename(folder / "gone")  # from here on nobody has it
    numbers = {}
    for place in readers.READ:
        sound = folder / "sound"
        numbers[place] = {name: answer[1] for name, answer in answers(folder, sound, place, lambda copy: None).items()}
        shutil.rmtree(sound)
    (folder / "numbers.json").write_text(json.dumps(numbers), encoding="utf-8")


def answers(shared: Path, folder: Path, place: str, damage: Callable[[Path], object]) -> dict[str, Answer]:
    """What every reader of a folder says after `damage` to a copy of all runs."""
    copied = shutil.ignore_patterns("gone", "sound", "numbers.json", "made")
    shutil.copytree(shared, folder / "damaged", ignore=copied)
    damage(folder / "damaged" / place)
    found = {}
    for name, train in readers.TRAIN[place]:
        shutil.copytree(folder / "damaged", folder / "copy")
        with inside(folder / "copy", folder / "copy" / "home"):
            found[name] = train()
        shutil.rmtree(folder / "copy")
    with inside(folder / "damaged", folder / "damaged" / "home"):
        found |= {name: read() for name, read in readers.READ[place]}
    return found


def trial(seed: int, folder: Path) -> str | None:
    """Damage one file, ask all its readers -> None, or what the first wrong one said."""
    shared = folder.parent / SHARED
    prepare(shared)
    dice = random.Random(f"damage {seed}")
    place = dice.choice(list(readers.READ))
    done: list[str] = []
    found = answers(shared, folder, place, lambda copy: done.append(damaged(copy, shared, place, dice)))
    sound = json.loads((shared / "numbers.json").read_text(encoding="utf-8"))[place]
    words = set()
    for name, (said, numbers) in found.items():
        same = json.loads(json.dumps(numbers)) == sound[name]
        fault = said.broken or ("" if said.code in RIGHT else f"exit code {said.code}")
        if not fault and not same and not said.warned:
            fault = "another number, and not a word"
        if fault:
            return f"{done[0]}: {name}: {fault}"
        words.add("same numbers" if same else "told")
    (folder / "outcome").write_text("told" if "told" in words else "same numbers", encoding="utf-8")
    return None


def damaged(place: Path, shared: Path, name: str, dice: random.Random) -> str:
    """Damage one file, or one folder that others could be put in the place of -> what was done to what."""
    files = [path for path in sorted(place.rglob("*")) if path.is_file() and not _skipped(path.relative_to(place))]
    folders = [path for path in sorted(place.rglob("*")) if path.name == "result" or path.parent.name == "checkpoints"]
    path = dice.choice([*files, *folders])
    theirs = shared / OTHER / Path(name).name / path.relative_to(place)
    if path.is_dir():
        shutil.rmtree(path)
        how = "removed"
        if theirs.is_dir() and dice.random() < 0.8:
            shutil.copytree(theirs, path)
            how = "another run's"
    else:
        way = dice.choice(WAYS)
        how = way(path, theirs if theirs.is_file() else dice.choice(files), dice) or way.__name__.strip("_")
    return f"{name}/{path.relative_to(place)}: {how}"


def _skipped(path: Path) -> bool:
    return any(part in LEFT_OUT for part in path.parts)


def bit(path: Path, theirs: Path, dice: random.Random) -> str | None:
    data = bytearray(path.read_bytes())
    if not data:
        return None
    at = dice.randrange(len(data))
    data[at] ^= 1 << dice.randrange(8)
    path.write_bytes(data)
    return f"bit of byte {at}"


def digit(path: Path, theirs: Path, dice: random.Random) -> str | None:
    """Another digit in a text; in a binary file this is a byte."""
    data = bytearray(path.read_bytes())
    digits = [at for at, byte in enumerate(data) if byte in b"0123456789"]
    if not digits:
        return bit(path, theirs, dice)
    at = dice.choice(digits)
    data[at] = dice.choice([d for d in b"0123456789" if d != data[at]])
    path.write_bytes(data)
    return f"digit at byte {at}"


def truncated(path: Path, theirs: Path, dice: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: dice.randrange(len(data) + 1)])


def emptied(path: Path, theirs: Path, dice: random.Random) -> None:
    path.write_bytes(b"")


def deleted(path: Path, theirs: Path, dice: random.Random) -> None:
    path.unlink()


def longer(path: Path, theirs: Path, dice: random.Random) -> None:
    path.write_bytes(path.read_bytes() + dice.randbytes(dice.randint(1, 64)))


def hole(path: Path, theirs: Path, dice: random.Random) -> None:
    """Zeros, as a disk gives them for a sector that never arrived."""
    data = bytearray(path.read_bytes())
    at = dice.randrange(len(data) + 1)
    stop = min(len(data), at + dice.choice((1, 8, 512, 4096)))
    data[at:stop] = bytes(stop - at)
    path.write_bytes(data)


def another(path: Path, theirs: Path, dice: random.Random) -> None:
    """The same file of another run, where that has it."""
    path.write_bytes(theirs.read_bytes())


def lines(path: Path, theirs: Path, dice: random.Random) -> str:
    """A line lost, doubled, or changed with another one."""
    found = path.read_bytes().splitlines(keepends=True) or [b""]
    one, two = dice.randrange(len(found)), dice.randrange(len(found))
    how = dice.choice(("lost", "doubled", "swapped"))
    if how == "swapped":
        found[one], found[two] = found[two], found[one]
    else:
        found[one : one + 1] = [] if how == "lost" else [found[one]] * 2
    path.write_bytes(b"".join(found))
    return f"line {one} {how}"


def wrong_type(path: Path, theirs: Path, dice: random.Random) -> str:
    text = dice.choice(WRONG_TYPES)
    path.write_text(text, encoding="utf-8")
    return f"{text[:20]!r} in its place"


def folder_instead(path: Path, theirs: Path, dice: random.Random) -> None:
    path.unlink()
    path.mkdir()


Way = Callable[[Path, Path, random.Random], Any]
WAYS: tuple[Way, ...] = (
    bit, digit, digit, truncated, emptied, deleted, longer, hole, another, another, lines, wrong_type, folder_instead,
)  # fmt: skip
