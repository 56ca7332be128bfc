"""`distillkit data`: what is packed is what `check` then finds; what is wrong is one line and an exit code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from distillkit.cli.main import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pets/cat and pets/dog: five images of several sizes and modes."""
    monkeypatch.chdir(tmp_path)
    for i, (name, mode) in enumerate([("cat/b.png", "RGB"), ("cat/a.jpg", "RGB"), ("dog/c.webp", "RGB"),
                                      ("dog/d.png", "P"), ("dog/e.png", "RGBA")]):  # fmt: skip
        path = tmp_path / "pets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.RandomState(i).randint(0, 256, (9 + i, 12, 3), np.uint8)
        Image.fromarray(pixels).convert(mode).save(path)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str]) -> str:
    out = capsys.readouterr()
    assert out.err == ""
    return out.out


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    out = capsys.readouterr()
    (line,) = out.err.splitlines()
    assert out.out == "" and line.startswith("error: ")
    return line


def test_a_folder_of_classes_is_packed_and_checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "pack", "pets", "pets.zip", "--resolution", "8", "--transform", "center-crop"]) == 0
    assert told(capsys) == "pets.zip: 5 images, 8x8x3, with labels\n"
    assert main(["data", "check", "pets.zip"]) == 0
    assert told(capsys) == "pets.zip: 5 images, 8x8x3, 2 classes: cat 2, dog 3\n"


def test_labels_can_be_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "pack", "pets", "pets.zip", "--resolution", "8x8", "--labels", "none"]) == 0
    assert main(["data", "check", "pets.zip"]) == 0
    assert told(capsys).splitlines()[1] == "pets.zip: 5 images, 8x8x3, no labels"


def test_packing_a_packed_set_changes_nothing(folder: Path) -> None:
    assert main(["data", "pack", "pets", "a.zip", "--resolution", "8"]) == 0
    assert main(["data", "pack", "a.zip", "b.zip"]) == 0
    assert Path("a.zip").read_bytes() == Path("b.zip").read_bytes()


def test_a_npz_is_packed_with_its_labels(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("x.npz", np.zeros((3, 4, 4, 1), np.uint8), np.array([2, 0, 2]))
    assert main(["data", "pack", "x.npz", "x.zip"]) == main(["data", "check", "x.zip"]) == 0
    out = capsys.readouterr()
    assert out.out.splitlines()[1] == "x.zip: 3 images, 4x4x1, 3 classes: 0 1, 1 0, 2 2"
    assert out.err == f"warning: {folder}/x.zip: 1 of 3 classes without images: 1\n"


@pytest.fixture
def damaged(folder: Path) -> Path:
    """The same, of which one is cut short and one is another format by another name."""
    whole = (folder / "pets/cat/b.png").read_bytes()
    (folder / "pets/cat/b.png").write_bytes(whole[: len(whole) // 2])
    (folder / "pets/dog/d.png").write_bytes(b"GIF89a")
    return folder


def test_all_bad_files_are_named_at_once(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "pack", "pets", "x.zip", "--resolution", "8"]) == 3
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "error: 2 things cannot be read or used:"
    assert "pets: cat/b.png: damaged image" in second and "pets: dog/d.png: no PNG, JPEG or WebP image" in third
    assert [path.name for path in damaged.iterdir()] == ["pets"]
    assert main(["data", "check", "pets"]) == 3
    first, *rest = capsys.readouterr().err.splitlines()
    assert first == "error: 5 things cannot be read or used:"
    assert "pets: cat/a.jpg: 12x10, must be square; `distillkit data pack" in rest[0] and "cat/b.png" in rest[1]
    assert rest[2].endswith("dog/c.webp: 12x11, must be square")


def test_damaged_images_can_be_left_out_by_name(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (damaged / "pets/dog/f.gif").write_bytes(b"GIF89a")
    assert main(["data", "pack", "pets", "x.zip", "--resolution", "8", "--skip-damaged"]) == 0
    *left_out, last = told(capsys).splitlines()
    assert [line.split(": ")[2] for line in left_out] == ["dog/f.gif", "cat/b.png", "dog/d.png"]
    assert all(line.startswith("left out: ") for line in left_out)
    assert last == "x.zip: 3 images, 8x8x3, with labels"
    assert main(["data", "check", "x.zip"]) == 0
    assert told(capsys) == "x.zip: 3 images, 8x8x3, 2 classes: cat 1, dog 2\n"


def test_nothing_is_packed_of_what_is_damaged_as_a_whole(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cat/a.jpg", "dog/c.webp", "dog/e.png"):
        (damaged / "pets" / name).write_bytes(b"")
    assert main(["data", "pack", "pets", "x.zip", "--skip-damaged"]) == 3
    assert "there are no images to pack" in refused(capsys)


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (["check", "none.zip"], 3, "none.zip: no such file or folder"),
    (["check", "pets/cat/b.png"], 2, "ends with none of .zip"),
    (["pack", "pets", "pets", "--resolution", "8"], 2, "pets exists already"),
    (["pack", "pets", "x.zip", "--transform", "center-crop"], 2, "needs a --resolution"),
])  # fmt: skip
def test_what_cannot_be_done_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert main(["data", *arguments]) == code
    assert message in refused(capsys)


class Net(torch.nn.Module):
    """Five features: the first red levels."""

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return x.float().flatten(1)[:, :5] / 64


def test_statistics_are_mean_and_covariance_and_fid_can_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))
    u = np.random.RandomState(0).randint(0, 256, (300, 4, 4, 3), np.uint8)
    np.savez("x.npz", u)
    torch.jit.script(Net()).save("net.pt")
    assert main(["data", "stats", "x.npz", "ref.npz", "--network", "net.pt"]) == 0
    assert told(capsys) == "ref.npz: mu and sigma of 5 features of 300 images\n"
    f = u[:, 0, :, 0].astype(np.float64) / 64, u[:, 1, :1, 0].astype(np.float64) / 64
    f = np.concatenate(f, axis=1)
    found = np.load("ref.npz")
    np.testing.assert_allclose(found["mu"], f.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found["sigma"], np.cov(f.T), rtol=1e-9)
    assert main(["data", "stats", "x.npz", "ref.npz", "--network", "net.pt"]) == 2
    assert "exists already" in refused(capsys)
    assert main(["data", "stats", "x.npz", "none/ref.npz", "--network", "net.pt"]) == 2
    assert "its folder does not" in refused(capsys)
    assert main(["data", "stats", "x.npz", "other.npz"]) == 2
    assert "--network FILE is missing: the TorchScript file of --features inception" in refused(capsys)


@pytest.mark.parametrize("size", ["0", "8x", "axb", "5000", "8x8x8", "-1"])
def test_a_size_is_n_or_width_x_height(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "pack", "a", "b.zip", f"--resolution={size}"]) == 2
    assert "a size is N or WIDTHxHEIGHT" in capsys.readouterr().err
