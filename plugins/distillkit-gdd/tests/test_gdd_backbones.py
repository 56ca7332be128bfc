"""Published backbones: the sizes that their papers count, their maps, hostile files; the pyramid; the encoder."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch
from distillkit_gdd import deit, efficientnet, squeezenet, vgg
from distillkit_gdd.encoder import TeacherEncoder
from distillkit_gdd.published import CAFFE, Normalised, load, read
from torch import nn

from distillkit.api import InputError, UsageError
from distillkit.testing import toy_state

UNET = {
    "use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4],
    "dropout": 0.0,
}  # fmt: skip
# The published number of parameters, and those of the classifier that is left out.
COUNTS = {
    squeezenet.Features: (1_248_424, 513_000),
    vgg.Features: (138_365_992, 123_642_856),
    efficientnet.Features: (4_652_008, 320 * 1280 + 2 * 1280 + 1_281_000),
    deit.Transformer: (87_338_192, 2 * 769_000 + 2 * 768),
}


@pytest.mark.parametrize("cls", COUNTS, ids=lambda cls: cls.__module__.rpartition(".")[2])
def test_a_published_network_has_the_published_number_of_parameters(cls: type[nn.Module]) -> None:
    with torch.device("meta"):
        found = sum(p.numel() for p in cls().parameters())
    total, classifier = COUNTS[cls]
    assert found == total - classifier


MAPS = {
    squeezenet.Features: [(256, 54), (512, 27), (512, 13)],
    vgg.Features: [(128, 56), (256, 28), (512, 14), (512, 7)],
    efficientnet.Features: [(24, 56), (40, 28), (112, 14), (320, 7)],
}


@pytest.mark.parametrize("cls", MAPS, ids=lambda cls: cls.__module__.rpartition(".")[2])
def test_maps_have_the_published_shapes(cls: type[nn.Module]) -> None:
    with torch.device("meta"):
        maps = cls().eval()(torch.empty(1, 3, 224, 224))
    assert [m.shape[1:] for m in maps] == [(c, side, side) for c, side in MAPS[cls]]


def test_deits_tokens_become_maps_at_four_scales() -> None:
    with torch.device("meta"):
        maps = deit.Scales()(deit.Transformer()(torch.empty(1, 3, 224, 224)))
    assert [m.shape[1:] for m in maps] == [(96, 56, 56), (192, 28, 28), (384, 14, 14), (768, 7, 7)]


def test_deit_keeps_the_published_positions_at_their_own_size() -> None:
    with torch.random.fork_rng():
        net = deit.Transformer()
        nn.init.normal_(net.pos_embed)
    assert net._positions(14) is net.pos_embed
    small = net._positions(7)
    assert small.shape == (1, 2 + 49, 768) and torch.equal(small[:, :2], net.pos_embed[:, :2])


def test_names_are_those_of_the_published_files() -> None:
    names = {
        squeezenet.Features: "features.3.squeeze.weight features.12.expand3x3.bias",
        vgg.Features: "features.0.weight features.41.running_var",
        efficientnet.Features: "conv_stem.weight blocks.0.0.conv_dw.weight blocks.6.0.bn3.running_mean",
        deit.Transformer: "dist_token blocks.11.attn.qkv.bias blocks.0.mlp.fc2.weight patch_embed.proj.weight",
    }
    for cls, wanted in names.items():
        with torch.device("meta"):
            assert set(wanted.split()) <= set(cls().state_dict())


def test_tensorflows_padding_by_hand() -> None:
    """6 pixels, kernel 3, stride 2: one pixel of padding, right and below."""
    conv = efficientnet.depthwise(1, 3, 2)
    nn.init.ones_(conv.weight)
    out = conv(torch.ones(1, 1, 6, 6))
    assert out.tolist() == [[[[9, 9, 6], [9, 9, 6], [6, 6, 4]]]]


def test_images_reach_the_network_as_it_was_trained() -> None:
    seen = []
    net = nn.Module()
    net.forward = lambda x: seen.append(x) or [x]
    grey = torch.zeros(1, 1, 4, 4)
    Normalised(net, 32, (0.5, 0.5, 0.25), (0.5, 0.5, 0.25))(grey, None, torch.zeros_like)
    assert seen[-1].shape == (1, 3, 32, 32)
    torch.testing.assert_close(seen[-1][0, :, 0, 0], torch.tensor([0.0, 0.0, 1.0]))
    red = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    Normalised(net, 32, *CAFFE, bgr=True)(red, None, torch.zeros_like)
    torch.testing.assert_close(seen[-1][0, :, 0, 0], torch.tensor([-104.0, -117.0, 255.0 - 123.0]))


@pytest.fixture
def tiny() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_come_from_either_format_and_a_classifier_is_left_out(
    tmp_path: Path, tiny: nn.Module, suffix: str
) -> None:
    tensors = {name: t.half() if t.is_floating_point() else t for name, t in tiny.state_dict().items()}
    tensors["classifier.weight"] = torch.ones(3)
    path = tmp_path / f"weights{suffix}"
    safetensors.torch.save_file(tensors, path) if suffix == ".safetensors" else torch.save({"model": tensors}, path)
    other = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    load(other, path)
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(tiny.parameters(), other.parameters(), strict=True))
    assert all(p.dtype == torch.float32 for p in other.parameters())


def test_other_files_are_refused_with_a_reason(tmp_path: Path, tiny: nn.Module) -> None:
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "absent.pth")
    for name in ("a.pth", "a.safetensors"):
        (tmp_path / name).write_bytes(b"no weights")
        with pytest.raises(InputError, match="not readable"):
            read(tmp_path / name)
    safetensors.torch.save_file({"0.weight": torch.zeros(2, 1, 1, 1)}, tmp_path / "b.safetensors")
    with pytest.raises(InputError, match=r"has no '0.bias' \(5 of 7 missing\)|has no '0.bias'"):
        load(tiny, tmp_path / "b.safetensors")
    tensors = {**tiny.state_dict(), "0.bias": torch.zeros(3)}
    safetensors.torch.save_file(tensors, tmp_path / "c.safetensors")
    with pytest.raises(InputError, match=r"\[3\], expected \[2\]"):
        load(tiny, tmp_path / "c.safetensors")


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "bomb.pth").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError):
        read(tmp_path / "bomb.pth")
    assert not (tmp_path / "ran").exists()


def test_the_encoder_sees_the_noise_level_it_is_told() -> None:
    state = toy_state(teacher_score={"network": UNET})
    x = torch.randn(2, 2, 8, 8)
    labels = torch.eye(3)[:2]
    noisy = TeacherEncoder(TeacherEncoder.Config(sigma=0.7)).module(state)(x, labels, torch.ones_like)
    clean = TeacherEncoder(TeacherEncoder.Config(sigma=0.7, noise=False)).module(state)(x, labels, torch.ones_like)
    features = state.teacher.network.encoder_features
    for got, image in ((noisy, x + 0.7), (clean, x)):
        want = features(image, torch.full((2, 1, 1, 1), 0.7), labels)
        assert [m.shape[2] for m in got] == [8, 4]
        assert torch.equal(got[-1], want[-1]) and any(torch.equal(got[0], w) for w in want)


def test_a_teacher_without_an_encoder_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="random-pyramid"):
        TeacherEncoder(TeacherEncoder.Config()).module(SimpleNamespace(teacher=None))
