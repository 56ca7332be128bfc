"""Foreign networks in use: converted by the command line, named by recipes, kept in the cache."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from distillkit_edm.nvpickle import read_pickle
from distillkit_edm.state_dict import card_from_shapes
from nvidia_files import Call, dumped, snapshot

from distillkit.api import InputError
from distillkit.cli.main import main
from distillkit.disk import manifest
from distillkit.testing import toy_state
from distillkit.testing.toys import catalog

DATA = Path(__file__).parent / "data"
TOY = {"dataset": {"resolution": 4, "channels": 1, "label_dim": 2}}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a network and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))
    Path("net.pkl").write_bytes(snapshot())
    return tmp_path


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pickle may be read from here on."""
    monkeypatch.setattr("distillkit_edm.importers.read_pickle", lambda path: pytest.fail(f"{path} was read again"))


def test_convert_writes_a_result_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "net.pkl", "made/out"]) == 0
    assert capsys.readouterr().out == "made/out: edm-ddpmpp, 1 x 4 x 4, 2 labels\n"
    card, tensors = read_pickle(Path("net.pkl"))
    written = json.loads(Path("made/out/student.json").read_text())
    assert written["network"] == card["network"] and written["format"] == 1
    got = safetensors.torch.load_file("made/out/student.safetensors")
    assert set(got) == set(tensors) and all(torch.equal(got[name], tensors[name]) for name in got)
    assert sorted(path.name for path in Path("made").iterdir()) == ["out"]


def test_what_was_converted_can_be_named_as_a_checkpoint() -> None:
    assert main(["convert", "net.pkl", "out"]) == 0
    a, b = (
        toy_state(teacher_score={"use": "network", "checkpoint": name}, **TOY).teacher.network
        for name in ("out", "net.pkl")
    )
    x, sigma, labels = torch.randn(2, 1, 4, 4), torch.ones(2, 1, 1, 1), torch.eye(2)
    assert torch.equal(a(x, sigma, labels), b(x, sigma, labels))


def test_a_generator_may_start_from_a_pickle() -> None:
    state = toy_state(generator={"checkpoint": "net.pkl"}, **TOY)
    _, tensors = read_pickle(Path("net.pkl"))
    assert all(torch.equal(p, tensors[name]) for name, p in state.generator.named_parameters())


def test_a_file_is_read_once_and_known_by_its_content(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = toy_state(teacher_score={"use": "network", "checkpoint": "net.pkl"}, **TOY).teacher.network
    forbid(monkeypatch)
    shutil.copy("net.pkl", "same.pkl")
    again = toy_state(teacher_score={"use": "network", "checkpoint": "same.pkl"}, **TOY).teacher.network
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    (kept,) = (home / "home/converted").iterdir()
    assert sorted(path.name for path in kept.iterdir()) == ["manifest.json", "student.json", "student.safetensors"]


@pytest.mark.parametrize("name", ["student.json", "student.safetensors"])
def test_damage_in_the_cache_is_noticed_and_mended(home: Path, name: str) -> None:
    table = {"use": "network", "checkpoint": "net.pkl"}
    first = toy_state(teacher_score=table, **TOY).teacher.network
    (kept,) = (home / "home/converted").iterdir()
    data = bytearray((kept / name).read_bytes())
    data[-3] ^= 1
    (kept / name).write_bytes(data)
    again = toy_state(teacher_score=table, **TOY).teacher.network
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_a_key_that_was_changed_in_the_cache_is_noticed_too(home: Path) -> None:
    table = {"use": "network", "checkpoint": "net.pkl"}
    first = toy_state(teacher_score=table, **TOY).teacher.network
    (kept,) = (home / "home/converted").iterdir()
    card = json.loads((kept / "student.json").read_text())
    card["network"]["sigma_data"] = 0.25
    (kept / "student.json").write_text(json.dumps(card))
    assert toy_state(teacher_score=table, **TOY).teacher.network.card == first.card


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to somebody else")
@pytest.mark.parametrize("whole", [False, True])
def test_what_another_user_put_into_a_shared_cache_is_not_used(home: Path, whole: bool) -> None:
    first = toy_state(teacher_score={"use": "network", "checkpoint": "net.pkl"}, **TOY).teacher.network
    (kept,) = (home / "home/converted").iterdir()
    poisoned = {name: tensor + 1 for name, tensor in safetensors.torch.load_file(kept / "student.safetensors").items()}
    safetensors.torch.save_file(poisoned, kept / "student.safetensors")
    card = json.loads((kept / "student.json").read_text())
    card["weights_sha256"] = hashlib.sha256((kept / "student.safetensors").read_bytes()).hexdigest()
    (kept / "student.json").write_text(json.dumps(card))
    (kept / "manifest.json").unlink()
    manifest.seal(kept)
    for path in (*[kept.parent] * whole, kept, *kept.iterdir()):
        os.chown(path, 4321, 4321)
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    again = toy_state(teacher_score={"use": "network", "checkpoint": "net.pkl"}, **TOY).teacher.network
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before, "theirs is left alone"


def test_a_refused_file_is_one_line_exit_code_3_and_leaves_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("evil.pkl").write_bytes(snapshot(before=Call("os.system", "touch ran")))
    assert main(["convert", "evil.pkl", "out"]) == 3
    told = capsys.readouterr()
    assert (
        told.out == ""
        and told.err == f"error: {home}/evil.pkl: refused: it names 'os' 'system', which no network needs\n"
    )
    assert sorted(path.name for path in home.iterdir()) == ["evil.pkl", "net.pkl"]


def test_convert_overwrites_nothing_and_names_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").mkdir()
    assert main(["convert", "net.pkl", "mine"]) == 2
    assert main(["convert", "gone.pkl", "out"]) == 2
    shutil.copy("net.pkl", "net.xyz")
    assert main(["convert", "net.xyz", "out"]) == 3
    told = capsys.readouterr().err
    assert "net.xyz: no network" in told and ".pkl" in told and not Path("out").exists()


@pytest.mark.parametrize(
    "name", ["edm_songunet_tiny", "edm_ncsnpp_tiny", "edm_adm_tiny", "sid_tiny", "edm2_tiny", "sida_edm2_tiny"]
)
@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_the_architecture_of_a_state_dict_is_found_from_its_shapes(name: str, suffix: str) -> None:
    want, tensors = read_pickle(DATA / f"{name}.pkl")
    save = safetensors.torch.save_file if suffix == "safetensors" else torch.save
    save(tensors, f"weights.{suffix}")
    card, got = catalog().load("importer", suffix)({}).read(Path(f"weights.{suffix}"))
    told = {key: value for key, value in card["network"].items() if key in want["network"] and key != "dropout"}
    assert told == {key: want["network"][key] for key in told} and card["label_dim"] == want["label_dim"]
    assert all(torch.equal(got[key], tensors[key]) for key in tensors)


@pytest.mark.parametrize("size", ["edm2-img512-xs", "edm2-img512-xxl", "edm2-img64-s"])
def test_the_size_of_a_released_edm2_network_is_found_from_its_shapes(size: int) -> None:
    arch = json.loads((DATA / "edm2_arch.json").read_text())[size]
    card, keys = card_from_shapes(arch["state_dict"]), arch["init_kwargs"]
    assert (card["resolution"], card["channels"]) == (keys["img_resolution"], keys["img_channels"])
    assert card["label_dim"] == keys["label_dim"] and card["network"]["model_channels"] == keys["model_channels"]
    want = {"channel_mult": [1, 2, 3, 4], "num_blocks": 3, "attn_resolutions": [16, 8], "logvar_channels": 128}
    assert {key: card["network"][key] for key in want} == want


@pytest.mark.parametrize(
    "value",
    [[torch.ones(1)], {"a": torch.ones(1)}, {"model": {"a": 1}}, {1: torch.ones(1)}, torch.nn.Linear(1, 1),
     {"model.enc.4x4_conv.weight": torch.ones(1)}, {"unet.out_gain": torch.ones([])},
     {"unet.out_gain": torch.ones([]), "unet.enc.4x4_conv.weight": torch.ones(4, 2, 3, 3)},
     {"model.enc.4x4_conv.weight": torch.ones(4, 1, 3, 3), "model.map_layer0.weight": torch.ones(4, 0)}],
)  # fmt: skip
def test_what_is_no_state_dict_of_edm_is_refused(value: Any) -> None:
    torch.save(value, "weights.pt")
    with pytest.raises(InputError, match=r"weights\.pt: refused: ") as refusal:
        catalog().load("importer", "pt")({}).read(Path("weights.pt"))
    assert "\n" not in str(refusal.value)


def test_of_fastgens_checkpoint_the_average_is_read_without_its_estimate_of_errors() -> None:
    _, tensors = read_pickle(DATA / "edm_songunet_tiny.pkl")
    extra = {"model.logvar_linear.weight": torch.ones(1, 4), "model.logvar_linear.bias": torch.ones(1)}
    trained = {name: tensor + 1 for name, tensor in tensors.items()}
    torch.save({"model": {"net": trained | extra, "ema": tensors | extra}, "iteration": 3}, "0000003.pth")
    card, got = catalog().load("importer", "pth")({}).read(Path("0000003.pth"))
    assert card["network"]["use"] == "edm-ddpmpp"
    assert set(got) == set(tensors) and all(torch.equal(got[key], tensors[key]) for key in tensors)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol 4")
def test_a_state_dict_that_calls_something_is_refused() -> None:
    Path("weights.bin").write_bytes(dumped({"a": Call("os.system", "touch ran")}))
    with pytest.raises(InputError, match="refused: no state dict"):
        catalog().load("importer", "bin")({}).read(Path("weights.bin"))
    assert not Path("ran").exists()
