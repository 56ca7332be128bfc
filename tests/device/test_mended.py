"""What the pretended GPU found once, and does not find again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from distillkit_datasets.vae import Vae

from distillkit import noise
from distillkit.cli.main import main
from distillkit.disk import checkpoint
from distillkit.testing import tiny_recipe, toy_state
from distillkit.testing.training import run

EDM2 = {
    "use": "edm2", "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4],
    "channels_per_head": 8,
}  # fmt: skip


def test_edm2_takes_a_step_in_bfloat16() -> None:
    bf16: Any = {"run": {"precision": "bf16", "device": "cuda"}, "generator": {"init": "scratch", "network": EDM2}}
    assert not run(toy_state(**bf16), 1).skipped


@pytest.mark.parametrize(("first", "second"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_resume_on_another_kind_of_device_is_told(
    first: str, second: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.toml").write_text(tiny_recipe("sid", teacher_score={"use": "gaussian-mixture"}, evaluate=None))
    save = checkpoint.save

    def full(*args: Any, **keys: Any) -> Path:
        save(*args, **keys)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", full)
    assert main(["run", "one.toml", "--set", f"run.device={first}"]) != 0
    monkeypatch.setattr(checkpoint, "save", save)
    (path,) = (tmp_path / "runs").glob("0001-*/checkpoints/kimg-*")
    assert checkpoint.read_meta(path)["device"] == first
    capsys.readouterr()
    assert main(["run", "one.toml", "--set", f"run.device={second}"]) == 0
    told = " ".join("".join(capsys.readouterr()).split())
    assert f"it was trained on {first} and goes on on {second}" in told


def test_masks_of_dropout_are_the_same_on_every_device() -> None:
    x = torch.ones(4, 3, 5, 5)
    found = []
    for device in ("cpu", "cuda"):
        with noise.masks(7, 2, 4, device), noise.masks_kept(device):
            found.append(noise.dropout(x.to(device), 0.5).cpu())
    assert torch.equal(*found) and 0 < float((found[0] == 0).float().mean()) < 1


def test_an_autoencoder_encodes_on_the_device_it_is_told() -> None:
    class Autoencoder(torch.nn.Conv2d):
        def encode(self, x: torch.Tensor) -> Any:
            seen.append(x.device.type)
            return SimpleNamespace(latent_dist=SimpleNamespace(mean=self(x), std=self(x)))

    vae, seen = Vae(Path("nowhere")), []
    vae._net = Autoencoder(3, 4, 2, stride=2).requires_grad_(False)
    pixels = np.zeros((4, 4, 3), np.uint8)
    assert vae.encode(pixels).shape == vae.encode(pixels, "cuda").shape == (8, 2, 2)
    assert seen == ["cpu", "cuda"]


def test_copies_to_the_device_are_seen_as_what_they_are() -> None:
    from pretended import notes

    x = torch.zeros(3)
    with notes.noted() as found:
        x.to("cuda", non_blocking=True).add_(1)
    assert found == []
    with notes.noted() as found:
        y = x.to("cuda")
        y.cpu(), y.sum().item(), y[y > 0]
    assert [one.kind for one in found].count("wait") == 3 and [one.kind for one in found].count("copy") == 1
