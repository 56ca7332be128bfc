"""push and pull against a stand-in of the Hub: what goes up comes down, and each refusal is one line."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import distillkit
from distillkit.cli.main import main
from distillkit.networks import hub as ours
from distillkit.networks import network_file
from distillkit.recipe import choice_from_table
from distillkit.registry import Catalog

pytest.importorskip("huggingface_hub", reason="push and pull were not tried: huggingface_hub is missing")
REPO = "me/digits-sid"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    choice = choice_from_table("network", {"use": "mlp", "width": 8}, Catalog.installed(), "here")
    net = network_file.new_network(choice, 4, 1, 0)
    network_file.save(Path("net"), net, {"sample": {"use": "one-step", "sigma_init": 2.0}, "seed": 0, "recipe": "mine"})


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_student_that_is_pushed_is_pulled_with_its_hashes(hub: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", "net", REPO, "--license", "apache-2.0", "--dataset", "they/images"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].endswith(f"{hub.url}/{REPO}/commit/{1:040x}") and told[1] == f"distillkit sample hf://{REPO}"
    there = {"README.md", "manifest.json", "samples.png", "student.json", "student.safetensors"}
    assert set(hub.files[REPO]) == there and hub.large == {"student.safetensors", "samples.png"}
    page = hub.files[REPO]["README.md"].decode()
    assert 'license: "apache-2.0"' in page and '- "they/images"' in page and f'load("hf://{REPO}")' in page

    assert main(["pull", REPO]) == 0
    assert capsys.readouterr().out == (
        "digits-sid: mlp, 1 x 4 x 4, 0 labels; hashes agree\ndistillkit sample digits-sid\n"
    )
    assert {path.name for path in Path("digits-sid").iterdir()} == there
    assert torch.equal(distillkit.load("digits-sid")(5), distillkit.load("net")(5))
    assert main(["sample", "digits-sid", "-n", "4"]) == 0 and Path("samples.png").is_file()


def test_the_code_of_a_card_on_the_hub_runs_in_a_new_process(hub: Any) -> None:
    assert main(["push", "net", REPO, "--private", "--format", "torch-export", "--dtype", "fp16"]) == 0
    assert hub.private == {REPO}
    (code,) = re.findall(r"^```python\n(.*?)^```$", hub.files[REPO]["README.md"].decode(), re.S | re.M)
    ask = f"{code}\nassert x.shape == (16, 1, 4, 4)"
    subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True)


def test_load_takes_a_name_on_the_hub_also_when_it_is_gone(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["push", "net", REPO]) == 0
    expected = distillkit.load("net")(5)
    assert torch.equal(distillkit.load(f"hf://{REPO}")(5), expected)
    assert main(["export", f"hf://{REPO}", "--to", "safetensors", "out"]) == 0
    assert main(["push", "out", REPO, "--update", "--dtype", "bf16"]) == 0
    assert not torch.equal(distillkit.load(f"hf://{REPO}")(5), expected)
    hub.fails["/"] = 503
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert distillkit.load(f"hf://{REPO}")(5).shape == (5, 1, 4, 4)


def test_an_update_leaves_nothing_of_another_format(hub: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", "net", REPO, "--format", "torch-export"]) == 0
    hub.files[REPO]["notes.txt"] = b"mine"
    capsys.readouterr()
    assert main(["push", "net", REPO]) == 2
    (line,) = lines(capsys)
    assert f"{REPO} exists already" in line and "--update" in line
    assert main(["push", "net", REPO, "--update"]) == 0
    assert {"student.pt2", "notes.txt"} & set(hub.files[REPO]) == {"notes.txt"}
    assert main(["pull", f"hf://{REPO}", "--to", "deep/out"]) == 0
    assert not Path("deep/out/notes.txt").exists()


def test_what_was_changed_on_the_way_is_refused_and_not_kept(hub: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", "net", REPO]) == 0
    hub.files[REPO]["README.md"] += b"edited on the site"
    assert main(["pull", REPO]) == 0
    shutil.rmtree("digits-sid")
    weights = hub.files[REPO]["student.safetensors"]
    hub.files[REPO]["student.safetensors"] = weights[:-1] + b"\x01"
    capsys.readouterr()
    assert main(["pull", REPO]) == 3
    (line,) = lines(capsys)
    assert f"{REPO} is not what was pushed" in line and "student.safetensors has sha256" in line
    hub.files[REPO] = {"config.json": b"{}"}
    assert main(["pull", REPO]) == 3
    *_, line = lines(capsys)  # the library says itself that it found none of our names
    assert "it is no student of distillkit" in line
    assert (
        sorted(path.name for path in Path().iterdir() if path.name != "hf")
        == ["net", "ours"][: 1 + Path("ours").exists()]
    )


def run_folder() -> None:
    """A run that was stopped before its end."""
    Path("run").mkdir()
    Path("run/run.json").write_text(json.dumps({"fingerprint": "0", "recipe": "r", "created": "", "versions": {}}))


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["push", "net", "digits"], 2, "'digits' is no repository: USER/NAME"),
        (["push", "run", REPO], 2, "there is no student in it yet"),
        (["push", "nowhere", REPO], 3, "is missing"),
        (["pull", "me/none"], 3, "no me/none at {url}, or it is private: set HF_TOKEN"),
        (["pull", "me/there", "--revision", "v9"], 3, "me/there has no such branch, tag or commit"),
        (["pull", "me/there", "--to", "net"], 2, "net exists already; choose another folder with --to"),
        (["sample", "hf://me/none"], 3, "no me/none at {url}"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str], code: int, told: str, hub: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder()
    hub.files["me/there"] = {}
    assert main(words) == code
    *_, line = lines(capsys)
    assert told.format(url=hub.url) in line and "me/digits-sid" not in hub.files


@pytest.mark.parametrize(
    ("variable", "value", "code", "told"),
    [
        ("HF_TOKEN", None, 2, "nobody is logged in to"),
        ("HF_TOKEN", "hf_of_nobody", 2, "this token may not write me/digits-sid"),
        ("offline", True, 2, "HF_HUB_OFFLINE is set: nothing can be pushed"),
        ("fails", 500, 3, "answers 500"),
        ("gone", None, 3, "cannot be reached"),
    ],
)
def test_a_push_without_what_it_needs_is_one_line(
    variable: str, value: Any, code: int, told: str, hub: Any, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from huggingface_hub import constants

    if variable == "HF_TOKEN":
        monkeypatch.delenv("HF_TOKEN") if value is None else monkeypatch.setenv("HF_TOKEN", value)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", "no/token")
    elif variable == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    elif variable == "fails":
        hub.fails["/api/repos/create"] = value
    else:
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert main(["push", "net", REPO]) == code
    (line,) = lines(capsys)
    assert line.startswith("error: ") and told in line and not hub.files.get(REPO)


def test_without_the_library_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for words in (["push", "net", REPO], ["pull", REPO], ["sample", f"hf://{REPO}"]):
        assert main(words) == 2
        (line,) = lines(capsys)
        assert "pip install 'distillkit[hub]'" in line


def test_the_command_honours_the_environment_of_the_hub(hub: Any) -> None:
    command = [sys.executable, "-m", "distillkit", "push", "net", REPO]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert f"POST /api/models/{REPO}/commit/main" in hub.asked and ours.PREFIX in done.stdout


READ = """
import sys
from pathlib import Path
from distillkit.recipe import choice_from_table
from distillkit.registry import Catalog
table = {"use": "huggingface", "path": "hf://datasets/they/images", "revision": sys.argv[1], "held_out": 2}
data = choice_from_table("dataset", table, Catalog.installed(), "here").build()
data.open(Path())
print(len(data), data.shape, list(data.class_names))
"""


def test_a_data_set_on_the_hub_is_read_at_a_commit_and_then_without_it(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets", reason="no data set of the Hub was read: datasets is missing")
    datasets.disable_progress_bars()
    png = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(png, "png")
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    table = {"image": [{"bytes": png.getvalue(), "path": None}] * 6, "label": [0, 1] * 3}
    datasets.Dataset.from_dict(table, features=datasets.Features(features)).to_parquet(tmp_path / "rows.parquet")
    hub.files["they/images"] = {"data/train-00000-of-00001.parquet": (tmp_path / "rows.parquet").read_bytes()}
    hub.commits = 7
    for offline in ("0", "1"):
        monkeypatch.setenv("HF_HUB_OFFLINE", offline)
        command = [sys.executable, "-c", READ, hub.sha]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout == "4 (3, 8, 8) ['a', 'b']\n", done.stderr
    assert sum(line.startswith("GET") and line.endswith(".parquet") for line in hub.asked) == 1
