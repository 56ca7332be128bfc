"""`huggingface` reads what the library `datasets` saved: the same pixels, order and classes, refusals in one line."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from distillkit_datasets import huggingface
from distillkit_datasets.huggingface import HuggingFace
from distillkit_datasets.image_zip import ImageZip
from image_files import noise
from PIL import Image

from distillkit.api import InputError, UsageError
from distillkit.cli.main import main
from distillkit.testing import tiny_recipe

datasets = pytest.importorskip("datasets", reason="data sets of Hugging Face were not read: datasets is missing")
datasets.disable_progress_bars()


def png(i: int) -> bytes:
    file = BytesIO()
    Image.fromarray(noise(8, 8, 3, i)).save(file, "png")
    return file.getvalue()


def rows(n: int = 12, first: int = 0, **more: Any) -> Any:
    table = {"image": [{"bytes": png(first + i), "path": None} for i in range(n)], "label": [i % 3 for i in range(n)]}
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee", "cat"])}
    return datasets.Dataset.from_dict({**table, **more}, features=datasets.Features(features) if not more else None)


def opened(folder: Path, path: str = "rows", **keys: object) -> HuggingFace:
    dataset = HuggingFace(HuggingFace.Config(path=path, **keys))
    dataset.cache = folder / "cache"
    dataset.open(folder)
    return dataset


def wanted(first: int, n: int) -> torch.Tensor:
    u = np.stack([noise(8, 8, 3, first + i) for i in range(n)])
    return torch.from_numpy(u).permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.mark.parametrize("memory", ["memory", "file"])
@pytest.mark.parametrize("form", ["disk", "parquet"])
def test_rows_keep_their_order_pixels_and_classes(form: str, memory: str, tmp_path: Path) -> None:
    if form == "disk":
        rows().save_to_disk(tmp_path / "rows", num_shards=2)
    else:
        (tmp_path / "rows").mkdir()
        for shard in range(2):
            rows().select(range(6 * shard, 6 * shard + 6)).to_parquet(tmp_path / f"rows/train-0000{shard}.parquet")
        rows(3, 50).to_parquet(tmp_path / "rows/test-00000.parquet")
    data = opened(tmp_path, memory=memory)
    index = torch.tensor([11, 0, 5])
    assert torch.equal(data.images(torch.arange(12)), wanted(0, 12)) and torch.equal(
        data.images(index), wanted(0, 12)[index]
    )
    assert data.classes(torch.arange(12)).tolist() == [i % 3 for i in range(12)]
    assert list(data.class_names) == ["ant", "bee", "cat"] and data.label_dim == 3
    assert opened(tmp_path, labels=False).label_dim == 0


def test_splits_are_parts_and_one_may_be_held_out(tmp_path: Path) -> None:
    datasets.DatasetDict(train=rows(), test=rows(6, 100)).save_to_disk(tmp_path / "rows")
    data = opened(tmp_path, held_out_split="test", xflip=True)
    held_out = data.held_out()
    assert (len(data), len(held_out)) == (24, 6)
    assert torch.equal(held_out.images(torch.arange(6)), wanted(100, 6))
    assert len(opened(tmp_path, held_out=3)) == 9
    with pytest.raises(InputError, match="no split 'valid'; there are train, test"):
        opened(tmp_path, split="valid")
    with pytest.raises(InputError, match="held_out_split is given beside held_out"):
        opened(tmp_path, held_out_split="test", held_out=2)


def test_columns_have_names_and_bytes_will_do(tmp_path: Path) -> None:
    table = {"pic": [png(i) for i in range(4)], "kind": [0, 1, 0, 1]}
    datasets.Dataset.from_dict(table).save_to_disk(tmp_path / "rows")
    data = opened(tmp_path, image="pic", label="kind")
    assert torch.equal(data.images(torch.arange(4)), wanted(0, 4)) and data.label_dim == 2
    assert opened(tmp_path, image="pic").label_dim == 0  # no column of the usual name: no classes


def test_data_check_and_pack_take_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows().save_to_disk(tmp_path / "rows")
    assert main(["data", "check", str(tmp_path / "rows")]) == 0
    assert "12 images" in capsys.readouterr().out
    assert main(["data", "pack", str(tmp_path / "rows"), str(tmp_path / "rows.zip")]) == 0
    packed = ImageZip(ImageZip.Config(path="rows.zip"))
    packed.open(tmp_path)
    assert torch.equal(packed.images(torch.arange(12)), wanted(0, 12)) and list(packed.class_names) == [
        "ant",
        "bee",
        "cat",
    ]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"image": "picture"}, "no column 'picture'; there are image, label"),
        ({"label": "kind"}, "no column 'kind'; there are image, label"),
        ({"image": "label"}, "column 'label' is ClassLabel: images, or bytes of their files, are read"),
        ({"fingerprint": "0"}, "it has changed: fingerprint [0-9a-f]{16}, not 0"),
        ({"path": "nowhere"}, "nowhere: no such folder"),
        ({"path": "."}, "neither a folder of save_to_disk nor one of .parquet files"),
    ],
)
def test_what_is_not_there_is_refused_by_name(keys: dict, told: str, tmp_path: Path) -> None:
    rows(3).save_to_disk(tmp_path / "rows")
    with pytest.raises(InputError, match=told):
        opened(tmp_path, **keys)


def test_images_that_are_missing_or_damaged_are_refused_by_their_number(tmp_path: Path) -> None:
    images = [{"bytes": png(0), "path": None}, None, {"bytes": b"no image", "path": None}]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    table = datasets.Dataset.from_dict({"image": images, "label": [0, 1, 2]}, features=features)
    table.save_to_disk(tmp_path / "rows")
    assert [line.split(": ", 1)[1] for line in HuggingFace(HuggingFace.Config(path="rows")).faults(tmp_path)] == [
        "000000001: there is no image", "000000002: no PNG, JPEG or WebP image"
    ]  # fmt: skip
    features["label"] = datasets.ClassLabel(names=["a", "b"])
    datasets.Dataset.from_dict({"image": images[:1] * 2, "label": [0, -1]}, features=features).save_to_disk(
        tmp_path / "hidden"
    )
    with pytest.raises(InputError, match="1 images without a class in 'label': 000000001"):
        opened(tmp_path, "hidden")


def test_the_fingerprint_is_the_librarys_own_and_moves_with_the_folder(tmp_path: Path) -> None:
    rows().save_to_disk(tmp_path / "rows")
    known = datasets.load_from_disk(tmp_path / "rows")._fingerprint
    (tmp_path / "rows").rename(tmp_path / "moved")
    opened(tmp_path, "moved", fingerprint=known)


def test_the_hub_is_asked_for_the_revision_and_a_branch_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    asked: list[tuple] = []

    def load(*given: object, **keys: object) -> Any:
        asked.append((*given, keys))
        return rows()

    monkeypatch.setattr(datasets, "load_dataset", load)
    path = "hf://datasets/they/images"
    opened(tmp_path, path, revision="0" * 40, subset="small", split="train[:12]")
    assert asked == [("they/images", "small", {"split": "train[:12]", "revision": "0" * 40})] and not recwarn.list
    with pytest.warns(UserWarning, match="revision names no commit"):
        opened(tmp_path, path, revision="main")


def test_what_the_library_raises_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(InputError, match=r"^hf://datasets/they/images: ConnectionError: no network$"):
        opened(tmp_path, "hf://datasets/they/images", revision="0" * 40)
    monkeypatch.setitem(huggingface.sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"pip install 'distillkit-datasets\[hf\]'"):
        opened(tmp_path, "hf://datasets/they/images")


def test_a_run_trains_on_saved_rows_and_sees_that_they_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows().save_to_disk("rows")
    network = {"init": "scratch", "network": {"use": "mlp", "width": 8}}
    data = {"use": "huggingface", "path": "rows"}
    recipe = tiny_recipe("edm", run={"kimg": 0.032}, dataset=data, generator=network, evaluate=None)
    Path("r.toml").write_text(recipe)
    assert main(["run", "r.toml"]) == 0, capsys.readouterr().err
    rows(12, 7).save_to_disk("other")
    Path("rows").rename("old")
    Path("other").rename("rows")
    assert main(["check", "r.toml"]) == 0
    assert "'rows' has changed" in "".join(capsys.readouterr())
