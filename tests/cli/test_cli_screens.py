"""Screens and panels: what is shown, where, and how wide."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from distillkit.cli import panel, screen
from distillkit.cli.console import console
from distillkit.cli.main import main
from distillkit.disk.results import Outcome, Scores
from distillkit.show.screen import QuietScreen
from distillkit.show.ticks import Ticks

METRICS = {"frechet/fd": 2.345, "frechet/fd_sd": 0.0567, "frechet/fd_floor": 0.421, "frechet/recall": 0.875}
SHOWS = (
    "from distillkit.cli.console import console; from rich.text import Text; console().print(Text('hello', 'bold red'))"
)


def result(run_dir, reused=False, **more):
    taught = {"teacher": {"frechet/fd": 1.234}, "teacher_nfe": 35, "better": {"frechet/fd": "lower"}}
    scores = Scores(**{"student": METRICS, "nfe": 1, "seconds": 185.0, **taught, **more})
    return Outcome(recipe_name="digits_sid", run_dir=run_dir, reused=reused, scores=scores)


def text_of(renderable, width=80):
    out = Console(file=io.StringIO(), width=width)
    out.print(renderable, soft_wrap=True)
    return out.file.getvalue()


def on_terminal(code, **environment):
    """Output of a Python program whose stdout is a terminal."""
    clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    master, slave = pty.openpty()
    subprocess.run([sys.executable, "-c", code], stdout=slave, stderr=slave, timeout=60, check=True,
                   env=clean | {"TERM": "xterm-256color"} | environment)  # fmt: skip
    os.close(slave)
    shown = os.read(master, 65536).decode()
    os.close(master)
    return shown


def test_a_terminal_gets_colours_unless_no_color_is_set():
    assert "\x1b[" in on_terminal(SHOWS)
    assert on_terminal(SHOWS, NO_COLOR="1") == "hello\r\n"


def test_a_pipe_gets_no_escape_sequences(capsys):
    console().print("[bold]hello[/bold] :smile: 12")
    assert capsys.readouterr().out == "[bold]hello[/bold] :smile: 12\n"


def test_without_a_terminal_the_screen_is_quiet(capsys):
    quiet = screen.choose()
    assert isinstance(quiet, QuietScreen)
    quiet.plan([{"recipe": "teacher", "to do": "400 kimg"}, {"recipe": "student", "to do": "reuse runs/1"}])
    quiet.stage("student")
    with quiet.progress("training", 1000, "img") as bar:
        bar.advance(10)
    quiet.line("10 kimg   loss 0.5")
    quiet.warn("odd")
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "recipe   to do", "teacher  400 kimg", "student  reuse runs/1", "== student", "10 kimg   loss 0.5",
    ]  # fmt: skip
    assert told.err == "warning: odd\n"


def drawn(live, out):
    return "".join(str(segment.text) for part in live.live.get_renderables() for segment in out.render(part))


def test_a_run_is_drawn_in_the_columns_of_its_lines_and_leaves_nothing_behind():
    out = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    live = screen.RichScreen(out, out)
    ours = Ticks(live, 256_000)
    with live.progress("training", 256_000, "img") as bar:
        bar.advance(128_000, 64.0)
        ours.tick(128_000, 2000.0, 64.0, {"loss/generator": 0.5}, 0)
        with live.progress("evaluating frechet", None, "img") as inner:
            inner.advance(2000, 5.0)
            both = drawn(live, out).splitlines()
        shown = drawn(live, out)
    assert both[1].strip().startswith("evaluating frechet, 2,000 images, 400 img/s, 0:0")
    assert "50%" in shown and "evaluating" not in shown  # the inner one is gone
    assert all(len(line) <= 80 for line in both)
    stay = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|.*\r", "", out.file.getvalue()).splitlines()
    head, line = (next(text for text in stay if word in text) for word in ("elapsed", "0.5000"))
    where = [shown.index(text) + len(text) for text in ("128.0", "2000", "1:04")]
    assert [line.index(text) + len(text) for text in ("128.0", "2000", "1:04")] == where
    assert [head.index(text) + len(text) for text in ("kimg", "img/s", "elapsed")] == where
    assert live.live is None


def test_a_bar_is_cleared_when_the_work_fails():
    out = Console(file=io.StringIO(), width=80, force_terminal=True)
    live = screen.RichScreen(out, out)
    with pytest.raises(ZeroDivisionError), live.progress("training", 10, "img"):
        raise ZeroDivisionError
    assert live.live is None


def test_lines_are_not_broken_on_a_terminal_and_not_indented_elsewhere():
    far, path = "word " * 40, "https://example.org/" + "long/" * 30
    terminal = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    lines, bars = Console(file=io.StringIO(), width=80), Console(file=io.StringIO(), width=80)
    for text in (far, path):
        screen.RichScreen(lines, bars).line(text)
        screen.RichScreen(terminal, terminal).line(text)
    assert lines.file.getvalue().splitlines() == [far, path]
    assert terminal.file.getvalue().splitlines() == [f"  {far}", f"  {path}"]
    assert bars.file.getvalue() == ""


def test_the_panel_sets_teacher_student_and_floor_side_by_side(tmp_path):
    shown = text_of(panel.outcome(result(tmp_path)))
    (line,) = [line for line in shown.splitlines() if "frechet/fd" in line]
    assert line.split() == ["frechet/fd", "\u2193", "1.234", "2.345", "\u00b1", "0.057", "0.421"]
    assert "NFE 35" in shown and "NFE 1" in shown and "3 min 05 s" in shown
    assert max(len(text) for text in shown.splitlines() if str(tmp_path) not in text) <= 80


def test_the_panel_has_floors_with_spreads_and_ceilings_and_what_is_to_be_said(tmp_path):
    student = {"fd": 0.2, "fd_sd": 0.02, "fd_floor": 0.1, "fd_floor_sd": 0.03, "recall": 0.8, "recall_ceiling": 0.9}
    shown = text_of(panel.outcome(result(tmp_path, student=student, teacher={}, remarks=["frechet: copies"])))
    assert "0.100 \u00b1 0.030" in shown and "floor, ceiling" in shown and "frechet: copies" in shown
    (line,) = [line for line in shown.splitlines() if "recall" in line]
    assert line.split() == ["recall", "0.8", "0.9"]


def test_seeds_that_were_not_measured_alike_stand_in_no_table(tmp_path):
    protocols = [{"fd": {"features": f"net {i}"}} for i in range(2)]
    runs = [result(tmp_path, student={"fd/x": 1.0, "m/y": 2.0}, teacher={}, protocol=each) for each in protocols]
    shown = text_of(panel.spread(runs, (0, 1)))
    assert "fd is left out: the runs differ in features" in shown and "fd/x" not in shown and "m/y" in shown


def test_the_panel_says_once_how_it_was_measured(tmp_path):
    facts = {"frechet": {"images": "1000", "features": f"net, sha256 {'a1' * 32}", "at": "https://x.org/" + "y" * 90}}
    end = result(tmp_path / "runs/0002-b", protocol=facts)
    shown = text_of(panel.outcome(end))
    assert shown.count("frechet: images: 1000") == 1 and "sha256 a1a1a1a1a1a1...;" in shown
    assert "https://x.org/" + "y" * 90 in shown
    assert "frechet: images" not in text_of(panel.outcome(end, last=False))


def test_a_run_ends_with_its_verdict_and_what_can_be_done_next(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    evaluate = '[[evaluate]]\nuse = "mixture"\nimages = 64\n'
    assert main(["run", str(tiny(evaluate)), "--runs", "runs"]) == 0
    said = capsys.readouterr().out
    assert "tiny  0 s of training\nbehind its teacher: one call is " in said
    assert "next     distillkit sample runs/0001-tiny -n 64 --out samples.png\n" in said
    assert main(["eval", "runs/0001-tiny"]) == 0
    told = capsys.readouterr().out
    assert "its teacher" not in told and "next " not in told
    assert told.splitlines()[-1].startswith("measured runs/0001-tiny")


def test_the_panel_names_the_runs_picture_whatever_else_lies_there_and_however_new(tmp_path):
    samples = tmp_path / "samples"
    samples.mkdir()
    for name in ("kimg-000002.000.png", "kimg-000001.000.png", "my screenshot.png"):  # the oldest first
        (samples / name).touch()
    assert str(samples / "kimg-000002.000.png") in text_of(panel.outcome(result(tmp_path)), width=300)
    (samples / "comparison.png").touch()
    os.utime(samples / "comparison.png", (0, 0))
    (tmp_path / "report.html").touch()
    shown = text_of(panel.outcome(result(tmp_path)), width=300)
    assert str(samples / "comparison.png") in shown and str(tmp_path / "report.html") in shown
    assert "kimg-" not in shown and "screenshot" not in shown


def test_a_run_without_a_teacher_has_no_teacher_column():
    shown = text_of(panel.outcome(result(Path("runs/0001-a"), teacher={}, reused=True)))
    assert "teacher" not in shown and "this run" in shown and "reused" in shown


def test_seeds_are_summed_up_as_mean_and_sample_deviation(tmp_path):
    runs = [result(tmp_path, student={"fd": value, "fd_floor": 0.5}, teacher={}) for value in (1.0, 2.0, 3.0)]
    shown = text_of(panel.spread(runs, [0, 1, 2]))
    (line,) = [line for line in shown.splitlines() if "fd " in line]
    assert line.split() == ["fd", "2.0", "\u00b1", "1.0", "0.5"]


def test_run_tells_the_plan_and_asks_the_engine_once_per_seed_and_shows_each(tmp_path, monkeypatch, capsys):
    asked, planned = [], []

    def run(path, **arguments):
        asked.append((path, arguments["seed"], arguments["sets"], arguments["again"]))
        return [result(tmp_path)]

    def tell_plan(path, seeds, *_):
        planned.append((path, list(seeds), list(asked)))

    engine = SimpleNamespace(run=run, tell_plan=tell_plan)
    monkeypatch.setitem(sys.modules, "distillkit.run.runner", engine)
    monkeypatch.setattr("distillkit.run.runner", engine, raising=False)
    assert main(["run", "a.toml", "--seeds", "3,4", "--set", "run.kimg=1", "--set", "run.batch=2", "--again"]) == 0
    assert planned == [(Path("a.toml"), [3, 4], [])]
    # The seed is of the recipe asked for; those that it builds on keep theirs.
    sets = ["run.kimg=1", "run.batch=2"]
    assert asked == [(Path("a.toml"), None, [*sets, f"run.seed={seed}"], True) for seed in (3, 4)]
    assert capsys.readouterr().out.count("digits_sid") == 3
