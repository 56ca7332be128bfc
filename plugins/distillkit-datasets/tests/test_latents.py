"""`latents`: EDM2's files, whitened by the published statistics, with noise that a resumed run draws again."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from distillkit_datasets.latents import Latents

from distillkit.api import InputError, UsageError
from distillkit.cli.main import main
from distillkit.testing import toy_state, toy_step

MEAN, STD = [5.81, 3.25, 0.12, -2.15], [4.17, 4.62, 3.71, 3.28]  # arXiv:2312.02696's code
N, SIZE = 10, 4


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    file = BytesIO()
    np.lib.format.write_array(file, array, version, allow_pickle=True)
    return file.getvalue()


def moments(i: int) -> np.ndarray:
    draw = np.random.RandomState(i)
    return np.concatenate([draw.randn(4, SIZE, SIZE) * 4, draw.rand(4, SIZE, SIZE)]).astype(np.float32)


def write(path: Path, content: dict[str, bytes] | None = None) -> Path:
    """A zip as EDM2 names its entries; the classes take turns."""
    names = [f"00000/img-mean-std-{i:08d}.npy" for i in range(N)]
    table = {"labels": [[name, i % 3] for i, name in enumerate(names)]}
    content = content or {name: npy(moments(i)) for i, name in enumerate(names)}
    with ZipFile(path, "w") as archive:
        for name, data in {**content, "dataset.json": json.dumps(table).encode()}.items():
            archive.writestr(name, data)
    return path


@pytest.fixture(autouse=True)
def set_of_latents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write(tmp_path / "latents.zip")


def opened(path: str = "latents.zip", **keys: object) -> Latents:
    dataset = Latents(Latents.Config(path=path, **keys))
    dataset.open(Path.cwd())
    return dataset


def whitened(i: int, n: torch.Tensor) -> torch.Tensor:
    mean, std = torch.from_numpy(moments(i)).chunk(2)
    raw = mean + std * n
    return (raw - torch.tensor(MEAN).view(4, 1, 1)) / torch.tensor(STD).view(4, 1, 1) * 0.5


@pytest.mark.parametrize("memory", ["memory", "file"])
def test_latents_are_mean_plus_std_times_noise_whitened(memory: str) -> None:
    dataset, n = opened(memory=memory), torch.randn(3, 4, SIZE, SIZE)
    assert (dataset.shape, dataset.label_dim, len(dataset)) == ((4, SIZE, SIZE), 3, N)
    x = dataset.sampled(torch.tensor([7, 0, 7]), lambda *shape: n.reshape(3, *shape))
    torch.testing.assert_close(x, torch.stack([whitened(i, e) for i, e in zip((7, 0, 7), n, strict=True)]))
    assert dataset.labels(torch.tensor([7])).tolist() == [[0, 1, 0]]


def test_without_a_step_an_image_has_noise_of_its_own() -> None:
    dataset = opened()
    x = dataset.images(torch.tensor([2, 5]))
    assert torch.equal(x[1], dataset.images(torch.tensor([5]))[0])
    noise = (x - dataset.sampled(torch.tensor([2, 5]), torch.zeros)) * torch.tensor(STD).view(4, 1, 1) * 2
    std = torch.from_numpy(np.stack([moments(2), moments(5)]))[:, 4:]
    assert not torch.allclose((noise / std)[0], (noise / std)[1], atol=0.1)


def test_a_mirrored_latent_is_the_mirror_image_of_what_is_stored() -> None:
    dataset = opened(xflip=True)
    x = dataset.sampled(torch.tensor([3, 3 + N]), lambda *shape: torch.zeros(2, *shape))
    assert len(dataset) == 2 * N and torch.equal(x[1], x[0].flip(-1))


def test_a_folder_is_read_like_a_zip(tmp_path: Path) -> None:
    with ZipFile("latents.zip") as archive:
        for name in archive.namelist():
            path = tmp_path / "folder" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))
    index = torch.arange(N)
    assert torch.equal(opened("folder").images(index), opened().images(index))


def test_without_dataset_json_the_folders_of_the_layout_are_no_classes(tmp_path: Path) -> None:
    names = ["00000/img-mean-std-00000000.npy", "00001/img-mean-std-00001000.npy"]
    with ZipFile(tmp_path / "two.zip", "w") as archive:
        for name in names:
            archive.writestr(name, npy(moments(0)))
    assert opened("two.zip").label_dim == 0


def test_a_step_draws_fresh_noise_that_depends_on_seed_and_image_number_alone() -> None:
    table = {"use": "latents", "path": "latents.zip"}
    state = toy_state(dataset=table, run={"batch": 4})
    whole = toy_step(state).real
    assert torch.equal(torch.cat([toy_step(state, first=0, n=1).real, toy_step(state, first=1, n=3).real]), whole)
    again = toy_state(dataset=table, run={"batch": 4})
    assert torch.equal(toy_step(again).real, whole)
    again.nimg = 200  # many epochs later
    later = toy_step(again)
    first = {int(i): x for i, x in zip(toy_step(state).index, whole, strict=True)}
    seen = [(i, x) for i, x in zip(later.index.tolist(), later.real, strict=True) if i in first]
    assert seen and not any(torch.equal(first[i], x) for i, x in seen)


def test_touching_the_data_leaves_the_other_draws_of_a_step_alone() -> None:
    state = toy_state(dataset={"use": "latents", "path": "latents.zip"}, run={"batch": 4})
    touched, untouched = toy_step(state), toy_step(state)
    assert touched.real.shape == (4, 4, SIZE, SIZE)
    assert torch.equal(touched.randn(3), untouched.randn(3))


class Called:
    def __reduce__(self) -> Any:
        return print, ("called",)


@pytest.mark.parametrize(("data", "message"), [
    (npy(np.array([Called()])), "must be float32"),
    (npy(moments(0).astype(np.float64)), "float64"),
    (npy(moments(0).astype(">f4")), ">f4"),
    (npy(np.asfortranarray(moments(0))), "must be float32"),
    (npy(moments(0)[0]), "must be float32"),
    (npy(moments(0))[:-1], "bytes after a header"),
    (npy(moments(0)) + b"x", "bytes after a header"),
    (npy(moments(0)).replace(b"(8, 4, 4)", b"(8, 4, 9)"), "bytes after a header"),
    (npy(moments(0)).replace(b"(8, 4, 4), ", b"(-8, 4, 4),"), "must be float32"),
    (npy(moments(0)).replace(b"'descr'", b"__import"), "no readable .npy"),
    (npy(np.full((8, 4, 4), np.nan, np.float32)), "not finite"),
    (npy(moments(0)[:6]), "6 channels, must be 8"),
    (npy(moments(0)[:, :3]), "must be square"),
    (b"PK\3\4", "no readable .npy"),
    (b"", "no readable .npy"),
])  # fmt: skip
def test_a_file_that_is_no_latent_is_refused_by_name(
    data: bytes, message: str, refused: Callable[..., None], tmp_path: Path
) -> None:
    refused(write(tmp_path / "bad.zip", {"00000/img-mean-std-00000000.npy": data}), message, flags=["--latents"])


def test_a_latent_of_another_size_is_found_by_the_check(refused: Callable[..., None], tmp_path: Path) -> None:
    names = [f"00000/img-mean-std-{i:08d}.npy" for i in range(2)]
    write(tmp_path / "bad.zip", dict(zip(names, [npy(moments(0)), npy(moments(0)[:, :2, :2])], strict=True)))
    refused(tmp_path / "bad.zip", "img-mean-std-00000001.npy: 2x2x8, the first is 4x4x8", flags=["--latents"])


def test_a_set_without_latents_and_keys_that_do_not_fit_are_refused(
    refused: Callable[..., None], tmp_path: Path
) -> None:
    refused(write(tmp_path / "none.zip", {"a.png": b""}), "holds no images", flags=["--latents"])
    with pytest.raises(UsageError, match="raw_mean has 1 numbers, raw_std 4"):
        opened(raw_mean=(1.0,))
    with pytest.raises(InputError, match="8 channels, must be 2"):
        opened(raw_mean=(1.0,), raw_std=(1.0,))


def test_a_huge_entry_is_refused_before_it_is_read(refused: Callable[..., None], tmp_path: Path) -> None:
    with ZipFile(tmp_path / "big.zip", "w") as archive:
        archive.writestr("00000/img-mean-std-00000000.npy", bytes((16 << 20) + 1))
    refused(tmp_path / "big.zip", "unpacks to 16777217 bytes", flags=["--latents"])


def test_check_counts_latents(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "latents.zip", "--latents"]) == 0
    assert capsys.readouterr().out == "latents.zip: 10 images, 4x4x4, 3 classes: 0 4, 1 3, 2 3\n"
