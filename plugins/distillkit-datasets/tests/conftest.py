"""How a hostile file must end: exit code 3, one line, nothing written, nothing opened but itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from distillkit.cli.main import main

sys.path.insert(0, str(Path(__file__).parent))  # lets the test files here import image_files

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FORBIDDEN = ("os.", "subprocess.", "socket.", "shutil.", "ctypes.", "pickle.")
HARMLESS = ("os.listdir", "os.scandir", "os.walk")
PACKAGES = [path for path in sys.path if path.endswith("site-packages")]  # also where a venv sees those of another
CODE = tuple({sys.prefix, sys.base_prefix, os.path.dirname(os.__file__), str(Path(__file__).parents[3]), *PACKAGES})
_watch: dict[str, object] = {}


def _audit(event: str, args: tuple[object, ...]) -> None:
    if not _watch:
        return
    if event == "open" and isinstance(args[0], str | bytes):
        path = os.path.realpath(os.fsdecode(args[0]))
        allowed = (str(_watch["folder"]), *CODE)
        if int(args[2] or 0) & WRITES or not path.startswith(allowed):
            _watch["events"].append(f"open {path} {args[1]}")
    elif event.startswith(FORBIDDEN) and not event.startswith(HARMLESS):
        _watch["events"].append(f"{event} {args}")


@pytest.fixture(scope="session")
def _hook(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The audit hook, after everything that checking a set imports has been imported."""
    folder = tmp_path_factory.mktemp("warm")
    for suffix in ("png", "jpg", "webp"):
        Image.new("RGB", (4, 4)).save(folder / f"x.{suffix}")
    np.savez(folder / "x.npz", np.zeros((1, 4, 4, 3), np.uint8))
    for path in (folder, folder / "x.npz"):
        assert main(["data", "check", str(path)]) == 0
    assert main(["data", "check", "--latents", __file__[:-3] + ".zip"]) == 3
    assert main(["data", "check", __file__[:-3] + ".zip"]) == 3
    sys.addaudithook(_audit)


@pytest.fixture
def refused(
    _hook: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., None]:
    """refused(path, message, decoded=False, flags=()): `distillkit data check` refuses it as it must."""
    loads: list[object] = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: loads.append(image) or load(image))
    frombytes = Image.frombytes
    monkeypatch.setattr(Image, "frombytes", lambda *given: loads.append(given) or frombytes(*given))

    def check(path: Path, message: str, decoded: bool = False, flags: Sequence[str] = ()) -> None:
        events: list[str] = []
        before = sorted(tmp_path.rglob("*"))
        capsys.readouterr()
        _watch.update(folder=os.path.realpath(tmp_path), events=events)
        try:
            code = main(["data", "check", str(path), *flags])
        finally:
            _watch.clear()
        out = capsys.readouterr()
        lines = out.err.splitlines()
        told = [line for line in lines if not line.startswith("warning: ")]
        assert (code, out.out, len(told)) == (3, "", 1), out
        assert message in told[0] and len(told[0]) < 600 and all(line.isprintable() for line in lines), out.err
        assert events == [] and sorted(tmp_path.rglob("*")) == before
        assert bool(loads) == decoded

    return check
