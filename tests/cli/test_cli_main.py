"""The command line: exit codes, one-line errors, what `--help` imports."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import subprocess
import sys
import types
import warnings
from pathlib import Path

import pytest

from distillkit.api import Diverged, InputError, Preempted, ResourceError, UsageError
from distillkit.cli import report
from distillkit.cli.main import COMMANDS, main, parser

LISTS_MODULES = """
import json, sys
from distillkit.cli.main import main
code = max(main(line.split()) for line in sys.argv[1:])
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
raise SystemExit(code)
"""


def python(*arguments, **environment):
    clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, env=clean | environment, check=False
    )


@pytest.fixture
def command(monkeypatch):
    """Puts a function in the place of `distillkit report`."""

    def put(function):
        module = types.SimpleNamespace(add=report.add, main=function)
        monkeypatch.setitem(sys.modules, "distillkit.cli.report", module)

    return put


def raising(error):
    def command(arguments):
        raise error

    return command


def test_help_and_the_list_import_neither_torch_nor_a_plugin():
    helps = [f"{name} --help" for name in COMMANDS]
    done = python("-c", LISTS_MODULES, "--help", *helps, "plugins", "plugins --json", "--version")
    assert done.returncode == 0, done.stderr
    modules = json.loads(done.stderr.splitlines()[-1])
    heavy = [name for name in modules if name.split(".")[0] in ("torch", "numpy", "PIL", "scipy", "sklearn")]
    plugins = [name for name in modules if name.startswith("distillkit_") or name.startswith("distillkit.builtin")]
    assert (heavy, plugins) == ([], [])


def test_arguments_are_those_of_the_command_alone_and_of_all_where_none_is_named():
    lines = [["report", "r"], ["sample", "r", "--seeds", "0,5,7-9"], ["data", "check", "x.zip"]]
    assert [parser(line[0]).parse_args(line) for line in lines] == [parser().parse_args(line) for line in lines]
    assert parser().parse_args(lines[1]).seeds == [0, 5, 7, 8, 9]


def _parsers(parser):
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for within in action.choices.values():
                yield from _parsers(within)


def test_each_argument_says_what_it_is_and_no_default_is_a_word_of_python(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    told = list(_parsers(parser()))
    assert len(told) > len(COMMANDS)
    for one in told:
        text = one.format_help()
        assert "None" not in text and max(map(len, text.splitlines())) <= 100, text
        for action in one._actions:
            assert re.sub(r"\(.*?\)", "", action.help or "").strip() or not action.option_strings, (one.prog, action)


def test_python_dash_m_is_the_same_command():
    done = python("-m", "distillkit", "--version")
    assert (done.returncode, done.stdout) == (0, "distillkit 0.1.0\n")


@pytest.mark.parametrize(
    "arguments",
    [["fly"], ["run", "--seeds", "1,x", "a.toml"], ["run", "--seeds", "1,1", "a.toml"],
     ["run", "--seed", "-1", "a.toml"], ["run", "--seed", "1", "--seeds", "1,2", "a.toml"], ["check"], ["report"]],
)  # fmt: skip
def test_a_wrong_command_line_is_2(arguments, capsys):
    assert main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError("x"), 2), (InputError("x"), 3), (Diverged("x"), 4), (ResourceError("x"), 5), (MemoryError(), 5),
     (OSError(errno.ENOSPC, "No space left on device"), 5), (Preempted("x"), 75), (KeyboardInterrupt(), 130)],
)  # fmt: skip
def test_each_error_has_its_exit_code_and_one_line(command, capsys, error, code):
    command(raising(error))
    assert main(["report", "run"]) == code
    told = capsys.readouterr()
    assert told.out == "" and len(told.err.splitlines()) == 1


def test_an_explained_error_of_many_lines_is_shown_as_it_is(command, capsys):
    command(raising(UsageError("2 problems in a.toml; nothing was run.\n\n  a.toml:1  x")))
    assert main(["report", "run"]) == 2
    assert capsys.readouterr().err == "2 problems in a.toml; nothing was run.\n\n  a.toml:1  x\n"


def test_a_bug_is_one_line_that_names_the_file_with_the_traceback(command, capsys, monkeypatch):
    monkeypatch.delenv("DISTILLKIT_TRACEBACK", raising=False)
    command(raising(ZeroDivisionError("division\nby zero")))
    assert main(["report", "run"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bug: ZeroDivisionError: division by zero; traceback in ")
    saved = Path(line.rpartition(" ")[2])
    assert "in command\n    raise error" in saved.read_text()
    saved.unlink()


def test_the_environment_can_ask_for_the_traceback(command, capsys, monkeypatch):
    monkeypatch.setenv("DISTILLKIT_TRACEBACK", "1")
    command(raising(UsageError("no")))
    assert main(["report", "run"]) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_warning_is_one_line(command, capsys):
    command(lambda arguments: warnings.warn("be\ncareful", stacklevel=1) or 0)
    assert main(["report", "run"]) == 0
    assert capsys.readouterr().err == "warning: be careful\n"


@pytest.mark.parametrize("argv", [["plugins", "--json"], ["plugins"]])
def test_a_reader_that_leaves_early_is_no_error(argv):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "distillkit", *argv]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=120, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_run_wants_a_recipe_or_a_run_to_resume(capsys):
    assert main(["run"]) == 2
    assert main(["run", "a.toml", "--resume", "runs/0001-a"]) == 2
    assert main(["run", "--resume", "runs/0001-a", "--set", "run.kimg=1"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_report_refuses_what_is_no_run(tmp_path, capsys):
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert main(["report", str(tmp_path)]) == 2
    assert "no metrics.jsonl" in capsys.readouterr().err


def test_report_writes_the_page_and_names_it(tmp_path, capsys):
    (tmp_path / "metrics.jsonl").write_text('{"what": "tick", "nimg": 10, "loss/generator": 1.0}\n')
    assert main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")
    assert (tmp_path / "report.html").exists()


def test_check_shows_every_problem_and_runs_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.toml").write_text('schema = 1\n[run]\nkimg = "long"\n[dataset]\nuse = "nothing"\n')
    assert main(["check", "a.toml"]) == 2
    told = capsys.readouterr().err
    assert "problems in a.toml; nothing was run." in told and "a.toml:3" in told
    assert [path.name for path in tmp_path.iterdir()] == ["a.toml"]
