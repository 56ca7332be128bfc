"""benchmarks/peers and growth.py: pairs are taken and told without any peer's code; what a peer lacks is pretended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"
TINY = ["--rounds", "2", "--batch", "2", "--channels", "4"]


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, str(PEERS / script), *arguments]
    return subprocess.run(call, check=False, capture_output=True, text=True, timeout=300)


def test_two_sides_are_taken_in_turn_and_compared() -> None:
    done = run("ect.py", "--against-itself", *TINY)
    assert done.returncode == 0, done.stderr
    where, head, *sides, ratio = done.stdout.splitlines()
    assert "one thread" in where and "2 pairs" in where and "page faults" in head
    flops = [line.split()[2] for line in sides]
    assert [line.split()[0] for line in sides] == ["ours", "theirs"] and flops[0] == flops[1] != "0.00"
    assert ratio.startswith("ratio") and ratio.endswith(("reached", "missed"))


@pytest.mark.parametrize("script", ["sid.py", "fastgen.py"])
def test_the_peer_is_asked_for(script: str) -> None:
    done = run(script)
    assert done.returncode == 2 and "--checkout is needed" in done.stderr


def test_modules_that_are_not_there_are_pretended_and_others_are_not() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(PEERS)!r}); from stubs import pretend\n"
        "pretend(('no_such_module', 'json'), ('always.this',))\n"
        "from no_such_module.deep import Thing; import json, always.this.one; print(Thing.ANY, json.dumps(1))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 1 and "No module named 'always'" in done.stderr  # its own package has to be there
    done = subprocess.run(
        [sys.executable, "-c", code.replace("always.this.one", "no_such_module.other")],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout == "None 1\n"


def test_growth_is_told_in_tables() -> None:
    call = [sys.executable, str(PEERS.parent / "growth.py"), "--tiny", "--rounds", "1"]
    done = subprocess.run(call, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ")[0].removeprefix("| ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert rows == ["batch", "8", "16", "px", "4", "8", "micro-batches", "none", "half", "a quarter", "an eighth",
                    "images, ECT", "1 k", "1.28 M", "10 M"]  # fmt: skip
    assert "order of data" in done.stdout.splitlines()[-1]
