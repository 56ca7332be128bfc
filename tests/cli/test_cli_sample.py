"""`distillkit sample`: the images of the asked seeds and classes, in every form, whole or not at all."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import distillkit
from distillkit.cli.main import main
from distillkit.disk.rundir import RunDir
from distillkit.images.pictures import to_bytes
from distillkit.networks import network_file
from distillkit.recipe import choice_from_table
from distillkit.registry import Catalog


def saved(folder: Path, channels: int = 3, labels: int = 4) -> None:
    choice = choice_from_table("network", {"use": "mlp", "width": 8}, Catalog.installed(), "here")
    torch.manual_seed(0)
    network = network_file.new_network(choice, 8, channels, labels)
    torch.nn.init.normal_(network.out.weight)
    network_file.save(folder, network, {"sample": {"use": "one-step"}, "seed": 0})


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a student of 8x8 images of four classes, called net."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    saved(tmp_path / "net")
    return tmp_path / "net"


def pixels(net: Path, seeds: list[int], labels: object = None) -> np.ndarray:
    return to_bytes(distillkit.load(net).draw(seeds, labels, "cpu").x)


def test_the_array_holds_images_seeds_and_labels(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "net", "-n", "6", "--seed", "1", "--out", "x.npz"]) == 0
    assert re.fullmatch(r"x\.npz: 6 images, NFE 1, \d+ images/s on \w+\n", capsys.readouterr().out)
    found = np.load("x.npz")
    assert found["seeds"].tolist() == list(range(50_000, 50_006)) and found["labels"].tolist() == [0, 1, 2, 3, 0, 1]
    assert np.array_equal(found["images"], pixels(net, list(range(50_000, 50_006))))


@pytest.mark.parametrize("asked", ["runs/0001-x", "runs/0001-x/result", "runs/0001-x/result/student.safetensors"])
def test_a_student_that_collapsed_is_named_and_sampled_and_exported(
    net: Path, asked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDir.create(Path("runs"), "x", "abc")
    saved(run.result)
    for reason, signs in (("collapsed", ["one mode: variance 0.01", "shifted"]), ("finished", [])):
        run.write_exit(0, reason, 5000, None, signs)
        for command in (["sample", "-n", "2", "--force"], ["export", "--to", "safetensors", reason]):
            assert main([command[0], asked, *command[1:]]) == 0
            told = [line for line in capsys.readouterr().err.splitlines() if "collapsed" in line]
            there = f"{run.path.absolute()} collapsed: one mode: variance 0.01; shifted"
            assert told == [f"warning: {there}"] * bool(signs)
    run.exit.write_text("{")
    assert main(["sample", asked, "--force"]) == 0
    assert "exit.json" in capsys.readouterr().err, "how it ended cannot be read"


@pytest.mark.parametrize(("asked", "classes"), [("3", [3, 3, 3]), ("2,0", [2, 0, 2]), (None, [0, 1, 3])])
def test_seeds_and_classes_are_the_asked_ones(net: Path, asked: str | None, classes: list[int]) -> None:
    labels = ["--labels", asked] if asked else []
    assert main(["sample", "net", "--seeds", "0-1,7", *labels, "--out", "x.npz"]) == 0
    found = np.load("x.npz")
    assert (found["seeds"].tolist(), found["labels"].tolist()) == ([0, 1, 7], classes)


def test_the_folder_holds_pngs_named_by_their_seeds(net: Path) -> None:
    assert main(["sample", "net", "--seeds", "3,50001", "--out", "new/pngs"]) == 0
    assert sorted(path.name for path in Path("new").rglob("*")) == ["000003.png", "050001.png", "pngs"]
    for name, image in zip(("000003.png", "050001.png"), pixels(net, [3, 50_001]), strict=True):
        assert np.array_equal(np.array(Image.open(Path("new/pngs", name))), image)


def test_the_zip_is_a_data_set(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "net", "-n", "5", "--labels", "random", "--out", "x.zip"]) == 0
    assert main(["data", "check", "x.zip"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("x.zip: 5 images, 8x8x3, ")


def test_without_a_path_it_is_a_sheet(net: Path) -> None:
    assert main(["sample", "net", "-n", "9"]) == 0
    width, height = Image.open("samples.png").size
    assert 190 < width < 210 < height < 230  # 3 x 3 tiles of 64, and a title


def test_nothing_is_overwritten_unless_forced(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for out in ("x.npz", "x"):
        assert main(["sample", "net", "-n", "2", "--out", out]) == 0
        assert main(["sample", "net", "-n", "1", "--out", out]) == 2
        assert f"{out} exists already" in capsys.readouterr().err
        assert main(["sample", "net", "-n", "1", "--out", out, "--force"]) == 0
    assert len(np.load("x.npz")["seeds"]) == len(list(Path("x").iterdir())) == 1
    assert main(["sample", "net", "--out", "net", "--force"]) == 2
    assert "net holds more than PNGs" in capsys.readouterr().err
    assert sorted(path.name for path in Path().iterdir()) == ["net", "x", "x.npz"]


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (["nowhere"], 3, "nowhere is missing"), (["net", "--out", "x.jpg"], 2, "must end with .png"),
    (["net", "--out", "."], 2, "must end with"), (["net", "--labels", "4"], 2, "4 was asked for"),
    (["net", "--seeds", "0-3", "-n", "2"], 2, "no -n"),
    (["net", "--out", "net/student.json/x"], 2, "cannot be written"),
])  # fmt: skip
def test_what_cannot_be_drawn_is_one_line_and_no_file(
    net: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert main(["sample", *arguments]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
    assert [path.name for path in Path().iterdir()] == ["net"]


def test_images_that_are_no_pixels_are_sheets_only(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(Path("two"), channels=2, labels=0)
    assert main(["sample", "two", "-n", "1", "--out", "x.npz"]) == 2
    assert "images of 2 channels have no pixels" in capsys.readouterr().err
    assert main(["sample", "two", "-n", "1"]) == 0
    assert sorted(path.name for path in Path().iterdir()) == ["net", "samples.png", "two"]


@pytest.mark.parametrize("argument", ["--seeds=3-1", "--seeds=a", "--seeds=0-99999999", "-n=0", "--seed=-1",
                                      "--labels=x", "--batch=0", "--seeds="])  # fmt: skip
def test_a_wrong_number_is_a_wrong_command_line(net: Path, argument: str) -> None:
    assert main(["sample", "net", argument]) == 2
