"""What the page of a run says in words: metrics, words, commands, machine; escaped, and for readers who cannot see."""

from __future__ import annotations

import html
import json
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from distillkit.cli.main import main
from distillkit.disk import lock
from distillkit.images import pictures
from distillkit.show.report import rendered
from distillkit.show.saved import Saved
from distillkit.show.sections import glossary, onward
from distillkit.show.sections.pictures import MOST, thinned
from distillkit.testing import tiny_recipe

TOLD = {"m": {"better": {"fd": "lower", "re*": "higher"}, "means": {"fd": 'How "far" <it> is.'}}}
SESSION = {
    "started": "2026-01-02T03:04:05+00:00", "nimg": 0, "command": "distillkit run '<x>.toml'", "commit": "ab" * 20,
    "machine": {"system": "Linux x86_64", "processor": "A & B", "cores": 4}, "devices": 2, "threads": 3,
    "python": "3.11",
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "runs/0002-x"
    (path / "result").mkdir(parents=True)
    info = {"recipe": "x", "fingerprint": "0", "told": {"metrics": TOLD}, "sessions": [SESSION], "threads": 3}
    write(path / "run.json", info)
    rows = [
        {"what": "look", "nimg": 0, "health": {"finite": 1.0}},
        {"what": "evaluate", "nimg": 3000, "m/fd": 0.5, "health": {"finite": 1.0, "start/m/fd": 9.0}},
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (path / "resolved.toml").write_text("[run]\nkimg = 3.0\nbatch = 10\n[generator.optimizer]\nlr = 1e-3\n")
    taught = {"metrics": {"m/fd": 0.4, "m/fd_sd": 0.01, "m/recall": 0.5}, "nfe": 35}
    result = {"metrics": {"m/fd": 0.5, "m/fd_sd": 0.01, "m/recall": 0.4}, "nfe": 1, "seconds": 1800, "teacher": taught}
    write(path / "result/metrics.json", result)
    write(path / "exit.json", {"code": 0, "reason": "finished"})
    return path


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def section(page: str, name: str) -> str:
    return page.partition(f'<section id="{name}">')[2].partition("</section>")[0]


def test_metrics_have_a_direction_a_relation_and_a_meaning_on_hover_and_without(run: Path) -> None:
    page = rendered(run)
    (line,) = re.findall(r'<tr><th scope="row">.*?m/<wbr>fd.*?</tr>', section(page, "result"))
    assert 'aria-label="lower is better">&darr;' in line and '<small class="how">worse</small>' in line
    said = "How &quot;far&quot; &lt;it&gt; is."
    assert f'title="{said}"' in line
    words = section(page, glossary.ID)
    assert f"<dt>m/fd</dt><dd>{said} Lower is better.</dd>" in words
    assert "<dt>m/recall</dt><dd>Higher is better.</dd>" in words, "a direction alone is told too"


def test_the_words_of_the_page_are_those_of_the_documents(run: Path) -> None:
    known = (Path(__file__).parents[2] / "docs/glossary.md").read_text()
    for word, sentence in glossary.WORDS.items():
        assert re.search(rf"^\| (\w+, )*{word} \| {re.escape(sentence)} \|$", known, re.M), word


def test_the_point_before_training_begins_the_curve(run: Path) -> None:
    page = rendered(run)
    assert "the untouched teacher sampled as the student: FD 9." in section(page, "result")
    chart = section(page, "metrics")
    assert "0 kimg: 9" in chart and "3 kimg: 0.5" in chart and "The point at 0 kimg is" in chart


def test_health_says_where_this_run_s_guard_sees_a_sign(run: Path) -> None:
    seen = {"finite": 1.0, "shift": 0.1, "worse/m/fd": 0.5}
    looks = [{"what": "look", "nimg": nimg, "health": seen} for nimg in (0, 9)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in looks))
    text = (run / "resolved.toml").read_text()
    (run / "resolved.toml").write_text(text.replace("[generator", "[run.guard]\nshift = 0.7\n[generator"))
    health = section(rendered(run), "health")
    assert "towards 0; a sign above 0.7." in health and "far below 1; a sign above 2." in health


def test_a_running_page_says_that_it_is_not_live(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "exit.json").unlink()
    assert "shows it live" not in rendered(run), "nothing works on it"
    monkeypatch.setattr(lock, "alive", lambda folder: True)
    assert f"<code>distillkit watch {run}</code> shows it live" in rendered(run)


def test_a_start_far_away_leaves_the_curve_to_be_read(run: Path) -> None:
    assert "&quot;log&quot;:true" in section(rendered(run), "metrics")
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(text.replace('"start/m/fd": 9.0', '"start/m/fd": 0.9'))
    assert "&quot;log&quot;:true" not in section(rendered(run), "metrics")


def test_command_commit_machine_time_and_cost_are_on_the_page(run: Path) -> None:
    made = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", section(rendered(run), "made-with"))).split())
    for said in (
        "distillkit run '<x>.toml'", "abab, checked out", "A & B, 4 cores", "Linux x86_64, Python 3.11",
        "processes 2", "threads 3", "30 min 00 s, without evaluations and pictures; 1 device hours",
    ):  # fmt: skip
        assert said in made


def test_sessions_are_told_where_there_were_several(run: Path) -> None:
    info = json.loads((run / "run.json").read_text())
    write(run / "run.json", info | {"sessions": [SESSION | {"nimg": 1000 * i} for i in range(9)]})
    assert "9: 2026-01-02 03:04 at 0 kimg; ...; 2026-01-02 03:04 at 5 kimg;" in rendered(run)


@pytest.mark.parametrize(
    "told", [None, [], "x", {"metrics": []}, {"metrics": {"m": {"means": 3, "better": {"fd": 1}}}}]
)
def test_a_run_json_that_others_wrote_makes_a_page_too(run: Path, told: Any) -> None:
    write(run / "run.json", {"recipe": "x", "fingerprint": "0", "told": told, "sessions": told, "inputs": told})
    page = rendered(run)
    assert "m/<wbr>fd" in page and "<abbr" not in page


def test_headings_landmarks_scopes_and_captions_are_there(run: Path) -> None:
    pictures.grid(torch.zeros(2, 1, 8, 8), run / "samples/kimg-000003.000.png")
    page = rendered(run)
    levels = [int(level) for level in re.findall(r"<h([1-6])", page)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert [page.count(f"<{name}") for name in ("main>", "nav ", "footer>", "header>")] == [1, 1, 1, 1]
    assert all('scope="' in cell for cell in re.findall(r"<th[ >].*?>", page))
    assert page.count("<caption") == page.count("<table")
    links = re.findall(r'href="#([^"]+)"', page)
    assert links and set(links) <= set(re.findall(r' id="([^"]+)"', page))


def test_of_many_sheets_the_first_and_the_last_stay(tmp_path: Path) -> None:
    sheets = [tmp_path / f"kimg-{i:06d}.000.png" for i in range(10)]
    for sheet in sheets:
        sheet.write_bytes(b"")
    assert thinned(sheets) == sheets
    for sheet in sheets:
        with open(sheet, "wb") as file:
            file.truncate(MOST // 4)
    assert thinned(sheets) == [sheets[0], sheets[4], sheets[8], sheets[9]]


def test_what_next_is_true_for_a_run_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    teacher = tiny_recipe("edm", run={"kimg": 0.032}, sample={"use": "heun", "steps": 3})
    Path("teacher.toml").write_text(teacher)
    student = {
        "teacher_score": {"use": "network", "from": "teacher.toml"},
        "generator": None,
        "generator_loss": {"lr": 1e-3},
    }
    Path("my student.toml").write_text(tiny_recipe("sid", run={"kimg": 0.032}, **student))
    assert main(["run", "my student.toml"]) == 0
    (run,) = Path("runs").glob("0002-*")
    told = [words for _, words in onward.steps(Saved.of(run))]
    assert [words[1] for words in told] == ["sample", "export", "eval", "compare", "run"]
    page = html.unescape(section(rendered(run), "what-next"))
    for words in told:
        assert f"<code>{shlex.join(words)}</code>" in page
        capsys.readouterr()
        assert main(words[1:]) == 0, (words, capsys.readouterr().err)
    again = ["check", str(run / "resolved.toml"), "--set", "generator.optimizer.lr=0.0005"]  # where it diverged
    assert main(again) == 0
    assert Path("samples.png").is_file() and Path("student").is_dir() and len(list(Path("runs").glob("0*"))) == 3


@pytest.mark.parametrize(
    ("end", "commands"),
    [
        ({"code": 75, "reason": "SIGTERM"}, ["run --resume RUN", "watch RUN"]),
        ({"code": 4, "reason": "diverged"}, ["run <x>.toml --set generator.optimizer.lr=0.0005"]),
        ({"code": 5, "reason": "disk full"}, []),
    ],
)
def test_what_next_of_a_run_that_did_not_end_well(run: Path, end: dict[str, Any], commands: list[str]) -> None:
    write(run / "exit.json", end)
    (run / "result/metrics.json").unlink()
    told = [" ".join(words[1:]).replace(str(run), "RUN") for _, words in onward.steps(Saved.of(run))]
    assert told == commands


def test_a_command_to_try_again_is_quoted_whoever_wrote_it(run: Path) -> None:
    write(run / "exit.json", {"code": 4, "reason": "diverged"})
    for command, told in (
        ("distillkit run x.toml; rm -rf /", "distillkit run 'x.toml;' rm -rf / --set generator.optimizer.lr=0.0005"),
        ("distillkit run --resume 3", f"distillkit run {run}/resolved.toml --set generator.optimizer.lr=0.0005"),
        ("rm -rf /", f"distillkit run {run}/resolved.toml --set generator.optimizer.lr=0.0005"),
        ("distillkit run 'x", f"distillkit run {run}/resolved.toml --set generator.optimizer.lr=0.0005"),
    ):
        write(run / "run.json", {"recipe": "x", "fingerprint": "0", "sessions": [SESSION | {"command": command}]})
        ((_, words),) = [step for step in onward.steps(Saved.of(run)) if "--set" in step[1]]
        assert shlex.join(words) == told
