"""Signals, launchers that are killed, and machines that do not come, or go."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable

import pytest

from distillkit.launch.workers import free_port

pytestmark = pytest.mark.ranks


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.05)


WAITS = "everyone()\ntime.sleep(60)"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_to_the_launcher_goes_to_all_and_what_they_end_with_is_the_code(stand_in, number: int) -> None:
    code = f"signal.signal({int(number)}, lambda *_: sys.exit(75))\n" + WAITS
    launcher = stand_in.launcher(code)
    until(lambda: (stand_in.folder / "1.0").exists())
    time.sleep(0.2)
    launcher.send_signal(number)
    assert stand_in.outcome(launcher)[0] == 75


def test_a_signal_as_all_have_just_finished_is_no_failure(stand_in) -> None:
    launcher = stand_in.launcher("signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n" + WAITS)
    until(lambda: (stand_in.folder / "1.0").exists())
    time.sleep(0.2)
    launcher.terminate()
    assert stand_in.outcome(launcher)[0] == 0


def test_a_signal_before_there_is_anything_to_save_has_its_own_code(stand_in) -> None:
    launcher = stand_in.launcher("signal.signal(signal.SIGTERM, signal.SIG_DFL)\n" + WAITS)
    until(lambda: (stand_in.folder / "1.0").exists())
    time.sleep(0.2)
    launcher.terminate()
    assert stand_in.outcome(launcher) == (143, "stopped by SIGTERM")


def test_processes_of_a_killed_launcher_are_told_by_their_standard_input(stand_in) -> None:
    launcher = stand_in.launcher("while os.read(0, 1): pass\n(folder / f'left-{rank}').touch()")
    until(lambda: (stand_in.folder / "1.0").exists())
    assert stand_in.seen(1)["DISTILLKIT_ENDS_WITH_STDIN"] == "1"
    launcher.kill()
    until(lambda: len(list(stand_in.folder.glob("left-*"))) == 2)


def two(stand_in, code: str, before: str = "", **more: object) -> list:
    """Launchers of two nodes on this machine, the guest first: it waits."""
    master = ("127.0.0.1", free_port())
    return [
        stand_in.launcher(code, nproc, before, nnodes=2, node=node, master=master, **more)
        for node, nproc in ((1, 2), (0, 1))
    ]  # fmt: skip


def test_two_nodes_number_their_processes_and_agree_on_the_end(stand_in) -> None:
    guest, host = two(stand_in, "everyone()\nif rank == 2: kill()\ntime.sleep(1); sys.exit(6)")
    ends = [stand_in.outcome(guest), stand_in.outcome(host)]
    assert ends[0] == ends[1]
    assert ends[0][0] == 6
    assert ends[0][1].startswith("rank 2 (host ")
    assert ends[0][1].endswith("was ended by SIGKILL: the same command goes on")
    found = [stand_in.seen(rank) for rank in range(3)]
    assert [(one["LOCAL_RANK"], one["LOCAL_WORLD_SIZE"], one["GROUP_RANK"]) for one in found] == [
        ("0", "1", "0"), ("0", "2", "1"), ("1", "2", "1")
    ]  # fmt: skip
    assert {(one["WORLD_SIZE"], one["GLOO_SOCKET_IFNAME"]) for one in found} == {("3", "lo")}
    assert len({one["MASTER_PORT"] for one in found}) == 1


def test_two_nodes_start_again_together(stand_in) -> None:
    guest, host = two(stand_in, "everyone()\nif attempt == 0: kill() if rank == 2 else sys.exit(6)", restarts=1)
    assert [stand_in.outcome(guest), stand_in.outcome(host)] == [(0, ""), (0, "")]
    assert (stand_in.folder / "2.1").exists()


def test_a_node_whose_master_was_killed_ends_when_its_processes_have(stand_in) -> None:
    before = "from distillkit.launch import guest\nguest.LEAVING = 1.0\n"
    guest, host = two(stand_in, "everyone()\nwhile os.read(0, 1): pass\nsys.exit(6)", before, timeout=1.0)
    until(lambda: (stand_in.folder / "2.0").exists())
    host.kill()
    code, line = stand_in.outcome(guest)
    assert (code, "does not answer: the same command goes on" in line) == (6, True), line


def test_a_node_whose_master_is_silent_ends_too(stand_in) -> None:
    before = "from distillkit.launch import link\nlink.SILENCE = 4.0\n"
    guest, host = two(stand_in, "everyone()\ntime.sleep(1)\nsys.exit(6 if rank else 0)", before, timeout=1.0)
    until(lambda: (stand_in.folder / "2.0").exists())
    host.send_signal(signal.SIGSTOP)
    try:
        assert stand_in.outcome(guest)[0] == 6
    finally:
        host.send_signal(signal.SIGCONT)


def test_a_master_whose_other_node_is_gone_says_so(stand_in) -> None:
    guest, host = two(stand_in, "everyone()\nif rank: time.sleep(60)\ntime.sleep(2); sys.exit(6)")
    until(lambda: (stand_in.folder / "2.0").exists())
    guest.kill()
    assert stand_in.outcome(host)[0] == 6


def test_a_master_that_never_comes_is_one_line(stand_in) -> None:
    port = free_port()
    before = "from distillkit.launch import guest\nguest.REACHING = 1.0\n"
    alone = stand_in.launcher("", before=before, nnodes=2, node=1, master=("127.0.0.1", port))
    assert stand_in.outcome(alone) == (6, f"node 1 cannot reach 127.0.0.1:{port} within 1 s")


def test_nodes_that_never_come_are_named(stand_in) -> None:
    before = "from distillkit.launch import host\nhost.GATHERING = 1.0\n"
    alone = stand_in.launcher("", before=before, nnodes=3, node=0, master=("127.0.0.1", free_port()))
    code, line = stand_in.outcome(alone)
    assert (code, line.startswith("node 1, 2 did not come to 127.0.0.1:")) == (6, True)


def test_a_stranger_at_the_port_is_sent_away_and_a_wrong_node_is_told(stand_in) -> None:
    port = free_port()
    master = ("127.0.0.1", port)
    host = stand_in.launcher("", 1, nnodes=2, node=0, master=master)
    until(lambda: reached(port))
    wrong = stand_in.launcher("", 1, nnodes=3, node=1, master=master)
    assert stand_in.outcome(wrong) == (2, "node 1 was started with --nnodes 3, node 0 with 2")
    right = stand_in.launcher("", 1, nnodes=2, node=1, master=master)
    assert [stand_in.outcome(right)[0], stand_in.outcome(host)[0]] == [0, 0]


def reached(port: int) -> bool:
    """Whether somebody listens; says what no launcher says."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        return True
    except OSError:
        return False
