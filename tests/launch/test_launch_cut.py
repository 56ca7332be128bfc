"""Two machines whose link is cut: network namespaces joined by a pair of virtual interfaces. Needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

pytestmark = pytest.mark.ranks
A, B = f"dk-a-{os.getpid()}", f"dk-b-{os.getpid()}"
SILENCE = """
from distillkit.launch import guest, link, task, workers
link.SILENCE, guest.LEAVING, task.LEAVING, workers.PRESS_SECONDS = 3.0, 1.0, 1.0, 1.0
"""


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def nodes() -> Iterator[None]:
    """Namespaces A (10.77.0.1) and B (10.77.0.2)."""
    if os.name != "posix" or os.geteuid() or shutil.which("ip") is None:
        pytest.skip("two machines are two network namespaces: needs root and iproute2")
    try:
        ip("netns", "add", A)
        ip("netns", "add", B)
        ip("link", "add", "dkv0", "netns", A, "type", "veth", "peer", "name", "dkv1", "netns", B)
        for name, device, address in ((A, "dkv0", "10.77.0.1/24"), (B, "dkv1", "10.77.0.2/24")):
            ip("-n", name, "addr", "add", address, "dev", device)
            ip("-n", name, "link", "set", device, "up")
            ip("-n", name, "link", "set", "lo", "up")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode()[:200]}")
    yield
    for name in (A, B):
        subprocess.run(["ip", "netns", "del", name], check=False)


def start(stand_in, code: str, **more: object) -> list:
    keys = {"nnodes": 2, "master": ("10.77.0.1", 29_417), **more}
    inside = ["ip", "netns", "exec"]
    return [stand_in.launcher(code, 1, SILENCE, [*inside, name], node=k, **keys) for k, name in enumerate((A, B))]


def test_two_machines_without_a_name_for_each_other_run_together(stand_in, nodes) -> None:
    launchers = start(stand_in, "everyone()")
    assert [stand_in.outcome(one) for one in launchers] == [(0, ""), (0, "")]
    assert [stand_in.seen(rank)["GLOO_SOCKET_IFNAME"] for rank in (0, 1)] == ["dkv0", "dkv1"]
    assert {stand_in.seen(rank)["MASTER_ADDR"] for rank in (0, 1)} == {"10.77.0.1"}


@pytest.mark.parametrize("code", ["everyone()\ntime.sleep(4)\nsys.exit(6)", "everyone()\ntime.sleep(60)"])
def test_a_cut_link_ends_both_whether_their_processes_notice_or_not(stand_in, nodes, code: str) -> None:
    launchers = start(stand_in, code, timeout=4.0)
    until = time.monotonic() + 30
    while not (stand_in.folder / "1.0").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    ip("-n", B, "link", "set", "dkv1", "down")
    ends = [stand_in.outcome(one) for one in launchers]
    assert [code for code, _ in ends] == [6, 6]
    assert "node 0 (10.77.0.1:29417) does not answer: the same command goes on" in ends[1][1]
