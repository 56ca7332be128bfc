"""The shared library of guard.cpp, compiled against the torch that is installed and loaded before it."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("guard.cpp")


def load() -> None:
    """Give torch, which is not imported yet, hooks for CUDA. Ends pytest where there is no g++, and says so."""
    assert "torch" not in sys.modules, "the pretended GPU comes before torch: pytest -p pretended"
    found = importlib.util.find_spec("torch")
    assert found is not None and found.origin is not None
    torch = Path(found.origin).parent
    for name in ("libc10.so", "libtorch_cpu.so"):
        ctypes.CDLL(str(torch / "lib" / name), ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(compiled(torch)))


def compiled(torch: Path) -> Path:
    """The library of this source and this torch; made once."""
    version = importlib.metadata.version("torch")
    key = hashlib.sha256(f"{version} {torch} {sys.version}".encode() + SOURCE.read_bytes()).hexdigest()[:16]
    library = Path(tempfile.gettempdir()) / f"pretended-gpu-{os.getuid()}" / f"guard-{key}.so"
    if library.exists():
        return library
    if shutil.which("g++") is None:
        pytest.exit("NOT RUN: the pretended GPU needs g++ to compile its 40 lines of C++", returncode=0)
    library.parent.mkdir(mode=0o700, exist_ok=True)
    partial = library.with_suffix(f".{os.getpid()}")
    paths = [f"-I{torch / 'include'}", f"-L{torch / 'lib'}"]
    command = ["g++", "-shared", "-fPIC", "-std=c++20", str(SOURCE), "-o", str(partial), *paths]
    subprocess.run([*command, "-lc10", "-ltorch_cpu"], check=True)
    return partial.rename(library)
