"""What run.json tells of sessions and metrics, for the page: never in a fingerprint, never in a student's card."""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distillkit.cli.main import main
from distillkit.run import session

EVALUATE = '\n[[evaluate]]\nuse = "mixture"\nimages = 64\n'
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_every_session_is_told_and_no_card_has_them(tiny: Callable[..., Any], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert main(["run", str(tiny(EVALUATE)), "--runs", str(runs), "--set", "run.kimg=0.032"]) == 0
    (run,) = runs.glob("0001-*")
    told = json.loads((run / "run.json").read_text())
    (only,) = told["sessions"]
    assert only["devices"] == 1 and only["nimg"] == 0 and only["threads"] >= 1 and only["machine"]["cores"] >= 1
    assert "command" not in only, "pytest asked for it, no command of ours"
    assert told["told"]["metrics"]["mixture"]["better"]["sw2"] == "lower"
    assert "moved" in told["told"]["metrics"]["mixture"]["means"]["sw2"]
    card = (run / "result/student.json").read_text()
    assert json.loads(card)["fingerprint"] == told["fingerprint"] and "sessions" not in card and '"told"' not in card


def test_a_session_names_no_host_and_no_person(make_state: Callable[..., Any]) -> None:
    found = json.dumps(session.machine(make_state().device))
    assert socket.gethostname() not in found and f'"{getpass.getuser()}"' not in found


def test_the_first_session_and_the_newest_are_kept(make_state: Callable[..., Any], tmp_path: Path) -> None:
    from distillkit.disk.rundir import RunDir

    run = RunDir(tmp_path, {"sessions": [{"started": str(i)} for i in range(session.MOST)]})
    session.note(run, make_state())
    kept = json.loads((tmp_path / "run.json").read_text())["sessions"]
    assert len(kept) == session.MOST and [each["started"] for each in kept[:2]] == ["0", "2"] and "machine" in kept[-1]


def test_a_command_of_ours_is_told_as_it_can_be_given_again() -> None:
    given = ["/usr/bin/distillkit", "run", "my recipe.toml", "--seed", "1"]
    assert session.command(given) == "distillkit run 'my recipe.toml' --seed 1"
    assert session.command(["/x/distillkit/__main__.py", "run", "3"]) == "distillkit run 3"
    assert session.command(["/x/pytest/__main__.py", "-q"]) == session.command([]) == ""


def test_the_commit_is_read_from_a_branch_a_packed_one_a_detached_head_and_a_work_tree(tmp_path: Path) -> None:
    git = tmp_path / "repository/.git"
    inside = tmp_path / "repository/a/b"
    inside.mkdir(parents=True)
    (git / "refs/heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert session.commit(inside) == "", "no commit yet"
    (git / "packed-refs").write_text(f"# pack-refs with: peeled\n{COMMIT[::-1]} refs/heads/main\n")
    assert session.commit(inside) == COMMIT[::-1]
    (git / "refs/heads/main").write_text(f"{COMMIT}\n")
    assert session.commit(inside) == COMMIT
    (git / "worktrees/w").mkdir(parents=True)
    (git / "worktrees/w/HEAD").write_text("ref: refs/heads/main\n")
    (git / "worktrees/w/commondir").write_text("../..\n")
    (tmp_path / "w").mkdir()
    (tmp_path / "w/.git").write_text(f"gitdir: {git / 'worktrees/w'}\n")
    assert session.commit(tmp_path / "w") == COMMIT
    (git / "HEAD").write_text(f"{COMMIT}\n")
    assert session.commit(inside) == COMMIT
    (git / "HEAD").write_text("<script>\n")
    assert session.commit(inside) == ""
