"""Windows and macOS, as far as Linux shows them: what they lack is taken away, and what touches it still works."""

from __future__ import annotations

import ast
import errno
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from distillkit.cli.console import console
from distillkit.cli.plain import plain_streams
from distillkit.disk import files, system
from distillkit.run import leash
from distillkit.testing import tiny_recipe

ROOT = Path(__file__).parents[2]
BARE = Path(__file__).with_name("bare")
TOUCHED = [
    "run/test_signals.py", "disk/test_metrics_log.py", "disk/test_rundir.py", "disk/test_told.py",
    "disk/test_checkpoint.py", "assets/test_asset_downloads.py", "launch/test_launch_supervise.py",
]  # fmt: skip
OTHERWISE = {  # tests whose own means are missing there
    "run/test_signals.py::test_the_second_signal_ends_the_process_at_once": "forks",
    "disk/test_metrics_log.py::test_a_kill_loses_no_row_that_was_appended": "forks",
    "disk/test_rundir.py::test_many_processes_at_once_get_different_numbers": "forks",
    "disk/test_rundir.py::test_a_second_process_is_refused_until_the_first_dies": "forks",
    "disk/test_rundir.py::test_a_planted_link_is_not_followed": "filelock refuses it in other words",
    "disk/test_checkpoint.py::test_everything_is_on_the_disk_before_the_name": "folders are not forced to the disk",
    "disk/test_checkpoint.py::test_a_disk_that_fills_up_at_any_byte": "limits the size of files by `resource`",
}


def bare(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A command of Python without fcntl, SIGHUP, SIGUSR1, os.fork and more, as are the processes that it starts."""
    more = {"PYTHONPATH": str(BARE), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore:only soft file lock"}
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=os.environ | more, capture_output=True, text=True, check=False
    )


def test_what_touches_the_system_passes_its_tests_without_what_windows_lacks() -> None:
    tests = [f"tests/{name}" for name in TOUCHED]
    without = [f"--deselect=tests/{name}" for name in OTHERWISE]
    done = bare("-m", "pytest", "-p", "bare", "-p", "no:cacheprovider", *without, *tests)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 50


def test_a_run_goes_through_on_several_processes_and_doctor_says_what_is_missing(tmp_path: Path) -> None:
    teacher = {"teacher_score": {"use": "gaussian-mixture"}}
    (tmp_path / "tiny.toml").write_text(tiny_recipe("sid", **teacher))
    for more in ([], ["--nproc", "2", "--seed", "1"]):
        done = bare("-m", "distillkit", "run", "tiny.toml", *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]
    told = bare("-m", "distillkit", "doctor", cwd=tmp_path).stdout
    assert re.search(r"^warn    system   no SIGUSR1, ", told, re.M) and "no O_NOFOLLOW" in told


SIGNS = "\u2193 \u2500 \xb1"


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", SIGNS), ("cp1252", "v - +-"), ("ascii", "v - +-")])
def test_a_stream_of_few_letters_gets_others_and_no_error(encoding: str, shown: str) -> None:
    file = io.BytesIO()
    with redirect_stdout(io.TextIOWrapper(file, encoding, newline="\n")) as stream, plain_streams():
        print(SIGNS)
        console().print(f"{SIGNS} \U0001f600")
        stream.flush()
    face = " \U0001f600" if encoding == "utf-8" else " ?"
    assert file.getvalue().decode(encoding).split("\n")[:2] == [shown, shown + face]


@pytest.fixture
def as_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "NOFOLLOW", 0)
    monkeypatch.setattr(system, "SAFE", 0)
    monkeypatch.setattr(system, "FOLDERS", False)
    monkeypatch.setattr(system, "READERS", True)
    monkeypatch.setattr(system, "SECONDS", 0.0)


def test_a_link_is_refused_where_the_system_does_not_do_it(tmp_path: Path, as_windows: None) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    assert files.read(tmp_path / "file") == b"x"
    for use in (files.read, files.fsync, files.sha256):
        with pytest.raises(OSError, match="link") as caught:
            use(tmp_path / "link")
        assert caught.value.errno == errno.ELOOP


def test_names_in_a_folder_are_forced_to_the_disk_where_that_can_be(tmp_path: Path, as_windows: None) -> None:
    files.write_atomic(tmp_path / "file", b"x")
    files.fsync(tmp_path)
    assert files.read(tmp_path / "file") == b"x"


@pytest.mark.parametrize(("readers", "fails"), [(3, False), (system.TRIES, True)])
def test_a_file_that_somebody_reads_is_replaced_when_he_is_done(
    tmp_path: Path, as_windows: None, monkeypatch: pytest.MonkeyPatch, readers: int, fails: bool
) -> None:
    left, replace = [readers], os.replace

    def kept(source: Path, target: Path) -> None:
        if left[0]:
            left[0] -= 1
            raise PermissionError(errno.EACCES, "in use", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", kept)
    (tmp_path / "page").write_bytes(b"old")
    if fails:
        with pytest.raises(PermissionError):
            files.write_atomic(tmp_path / "page", b"new")
    else:
        files.write_atomic(tmp_path / "page", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
    assert (tmp_path / "page").read_bytes() == (b"old" if fails else b"new")


OBEYS = """
import sys, time
from distillkit.run import leash
from distillkit.run.signals import StopRequest
leash.BY_INPUT = True
with StopRequest() as stop:
    leash.obey()
    print("ready", flush=True)
    while stop.requested is None:
        time.sleep(0.01)
    print(stop.requested)
"""


def test_where_a_signal_would_end_it_a_process_is_asked_by_the_end_of_its_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leash, "BY_INPUT", True)
    process = subprocess.Popen(
        [sys.executable, "-c", OBEYS], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=os.environ | leash.environment(),
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    leash.ask(process)
    leash.ask(process)  # twice is once
    assert process.wait(60) == 0 and process.stdout.read() == b"SIGTERM\n"
    process.stdout.close()


LACKS = {
    "os": {
        "fork", "getuid", "geteuid", "getgid", "setsid", "killpg", "mkfifo", "O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK",
        "O_DIRECTORY", "sched_getaffinity", "getloadavg", "sync", "statvfs", "chown", "sysconf", "uname",
    },
    "signal": {"SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL", "SIGXCPU", "alarm", "setitimer", "pthread_sigmask"},
}  # fmt: skip
MODULES = {"fcntl", "pwd", "grp", "resource", "termios", "pty", "tty"}
SOURCES = [*ROOT.glob("distillkit/**/*.py"), *ROOT.glob("plugins/*/distillkit_*/**/*.py")]


def lacking(path: Path) -> Iterator[str]:
    """What a file uses that Windows lacks, but where the function around it asks whether it is there."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    asking = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and re.search(r"hasattr\(os|sysconf_names|sys\.platform|foreign\(|_shared\(", ast.unparse(node))
    ]
    asked = {id(inner) for node in asking for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in asked:
            continue
        if isinstance(node, ast.Attribute) and node.attr in LACKS.get(ast.unparse(node.value), ()):
            yield f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
            yield from (f"{path.relative_to(ROOT)}:{node.lineno}: import {name}" for name in names if name in MODULES)


def test_nothing_uses_what_windows_lacks_without_asking() -> None:
    assert [told for path in SOURCES for told in lacking(path)] == []


def test_files_of_the_repository_have_names_that_every_system_takes() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = [name for name in listed.stdout.split("\0") if name]
    if not names:
        pytest.skip("no git here")
    reserved = re.compile(r'(?i)(^|/)(con|prn|aux|nul|com\d|lpt\d)(\.|/|$)|[<>:"|?*\\]|[ .](/|$)')
    assert [name for name in names if reserved.search(name)] == []
    assert len({name.casefold() for name in names}) == len(names)
