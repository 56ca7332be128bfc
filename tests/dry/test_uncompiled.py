"""A recipe is tried without torch's compiler, which is there again for whoever wants it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TRIED = """
import sys
import torch
from torch import nn
from distillkit.dry.meta import DEVICE, blank

with blank(), DEVICE:
    torch.arange(3)  # torch has these made by functions that must not be compiled
    torch.zeros(4, 4) @ torch.eye(4)
    torch.optim.Adam(nn.Linear(2, 2).parameters())
assert "torch._dynamo.utils" not in sys.modules, "the compiler was imported"
assert "torch._dynamo" not in sys.modules
marked = torch.optim.Optimizer.add_param_group.__wrapped__
assert not hasattr(marked, "__dynamo_disable"), "torch would compile what it must not"
torch.optim.Adam(nn.Linear(2, 2).parameters())
assert hasattr(marked, "__dynamo_disable") and "torch._dynamo.utils" in sys.modules
"""

ASKED = """
import sys
import torch
from distillkit.dry.uncompiled import uncompiled

with uncompiled():
    assert torch._dynamo.config.verbose in (True, False)  # a plugin that asks for the compiler has it
    assert sys.modules["torch._dynamo"].__file__
assert sys.modules["torch._dynamo"].__file__
with uncompiled():
    assert sys.modules["torch._dynamo"].__file__
"""

WITHIN = """
import sys
from distillkit.dry.uncompiled import uncompiled

import torch
with uncompiled():
    import torch._dynamo.config as config  # as FSDP does, of ranks that share networks
assert config.verbose in (True, False) and sys.modules["torch._dynamo"].__file__
"""

RUN = """
import sys
from pathlib import Path
from distillkit.cli.main import main
from distillkit.testing import tiny_recipe

Path("r.toml").write_text(tiny_recipe("edm", generator={"network": {"use": "mlp", "width": 8}}, evaluate=None))
assert main(["run", "r.toml"]) == 0
assert "torch._dynamo.utils" not in sys.modules, "the compiler was imported"
"""


def run(code: str, folder: Path | None = None) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder)


def test_the_compiler_is_not_imported_and_what_it_must_skip_is_not_forgotten() -> None:
    run(TRIED)


def test_a_run_that_compiles_nothing_does_not_import_the_compiler(tmp_path: Path) -> None:
    run(RUN, tmp_path)


def test_who_asks_for_the_compiler_has_it() -> None:
    run(ASKED)
    run(WITHIN)
