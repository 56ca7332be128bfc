"""Models of diffusers as teachers: D is what the library's own call of the model says, for each class."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from distillkit_diffusers import pipelines
from distillkit_diffusers.callers import CALLERS, Hints
from distillkit_diffusers.hosted import HostedDenoiser, hosted
from distillkit_diffusers.teacher import check_latents
from torch import Tensor
from toy_pipelines import MODELS, P, T, W, write

from distillkit.api import Condition, InputError, Layout, UsageError
from distillkit.testing.toys import toy_state

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("diffusers"), reason="diffusers is not installed")
KNOWN = frozenset(CALLERS)
VAE = {"block_out_channels": [8] * 4, "latent_channels": 4, "scaling_factor": 0.125, "shift_factor": 0.5}


def teacher(folder: Path, name: str, **hints: Any) -> HostedDenoiser:
    layout = Layout(**MODELS[name][4])
    made = hosted(pipelines.read(folder, "", KNOWN), Hints(**hints), 8, layout, 0.5)
    return made.double().eval().requires_grad_(False)


def asked(name: str, n: int = 2) -> Condition:
    """A condition of the model's kind: one class, or words of which the last two are none."""
    sizes, draw = MODELS[name][4], torch.Generator().manual_seed(1)
    if classes := sizes.get("classes"):
        return Condition(classes=torch.eye(classes, dtype=torch.float64)[torch.tensor([2, 0])[:n]])
    if not sizes:
        return Condition()
    tokens = torch.randn(n, T, W, generator=draw, dtype=torch.float64)
    pooled = torch.randn(n, P, generator=draw, dtype=torch.float64) if "pooled" in sizes else None
    return Condition(tokens=tokens, mask=(torch.arange(T) < 3).double().expand(n, T), pooled=pooled)


def oracle(model: Any, name: str, x: Tensor, t: Tensor, given: Condition) -> Tensor:
    """What diffusers' own pipelines would ask: x_t at t, its words or classes."""
    if name in ("ddpm", "grey", "classes", "guided classes", "dit"):
        labels = None if given.classes is None else given.classes.argmax(1)
        return torch.as_tensor(model(x, t, class_labels=labels).sample)
    words: dict[str, Any] = {"encoder_hidden_states": given.tokens}
    if name == "sdxl":
        ids = torch.tensor([[64.0, 64, 0, 0, 64, 64]] * len(x), dtype=x.dtype)
        words["added_cond_kwargs"] = {"text_embeds": given.pooled, "time_ids": ids}
    if name.startswith("pixart"):
        size = torch.full((len(x), 2), 64.0, dtype=x.dtype)
        added = {"resolution": size, "aspect_ratio": torch.ones(len(x), 1, dtype=x.dtype)}
        words |= {"encoder_attention_mask": given.mask, "added_cond_kwargs": added}
    if name == "sd3":
        words["pooled_projections"] = given.pooled
    if not name.startswith("flux"):
        return torch.as_tensor(model(x, timestep=t, **words).sample)
    from diffusers import FluxPipeline

    n, c, h, w = x.shape
    packed = FluxPipeline._pack_latents(x, n, c, h, w)
    ids = FluxPipeline._prepare_latent_image_ids(n, h // 2, w // 2, x.device, x.dtype)
    guidance = torch.full((n,), 4.0, dtype=x.dtype) if name == "flux" else None
    out = model(
        hidden_states=packed, timestep=t / 1000, guidance=guidance, pooled_projections=given.pooled, img_ids=ids,
        txt_ids=torch.zeros(T, 3, dtype=x.dtype), **words,
    ).sample  # fmt: skip
    return torch.as_tensor(FluxPipeline._unpack_latents(out, 8 * h, 8 * w, 8))


def expected(model: Any, name: str, x: Tensor, at: Tensor, given: Condition, folder: Path) -> tuple[Tensor, Tensor]:
    """sigma [N,1,1,1] and D of x_sigma, by the scheduler's own numbers, at its steps `at`."""
    import diffusers

    scheduler = getattr(diffusers, MODELS[name][2][0]).from_pretrained(folder / "scheduler")
    if "Flow" in type(scheduler).__name__:
        t = scheduler.sigmas.flip(0)[at].double().reshape(-1, 1, 1, 1)  # as a share of noise
        x_t = x * (1 - t)  # of x_sigma
        return t / (1 - t), x_t - t * oracle(model, name, x_t, 1000 * t.flatten(), given)
    abar = scheduler.alphas_cumprod[at].double().reshape(-1, 1, 1, 1)
    said = oracle(model, name, x * abar.sqrt(), at, given)[:, : x.shape[1]]
    sigma = ((1 - abar) / abar).sqrt()
    if scheduler.config.prediction_type == "v_prediction":
        return sigma, abar * x - (1 - abar).sqrt() * said
    return sigma, x - sigma * said


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("grey", "toy captions")])
def test_d_is_what_diffusers_itself_says(name: str, tmp_path: Path) -> None:
    model = write(tmp_path, name, {**VAE, "scaling_factor": 1} if MODELS[name][3] == 4 else None).double()
    net = teacher(tmp_path, name, guidance=4.0)
    given = asked(name)
    x = 3 * torch.randn(2, net.channels, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    sigma, want = expected(model, name, x, torch.tensor([40, 800]), given, tmp_path)
    x.requires_grad_()
    D = net(x, sigma, net.layout.pack(given) if net.layout.size else None)
    torch.testing.assert_close(D, want, rtol=1e-5, atol=1e-5)
    D.square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.any()
    assert not any(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("name", ["classes", "guided classes", "dit", "stable diffusion", "pixart", "sd3", "flux"])
def test_no_labels_are_labels_of_zeros_and_change_what_is_seen(name: str, tmp_path: Path) -> None:
    write(tmp_path, name)
    net = teacher(tmp_path, name)
    x, sigma = torch.randn(2, net.channels, 8, 8).double(), torch.ones(2, 1, 1, 1).double()
    rows = net.layout.pack(asked(name))
    without = net(x, sigma)
    assert torch.equal(without, net(x, sigma, torch.zeros_like(rows))) and without.isfinite().all()
    assert not torch.allclose(without, net(x, sigma, rows))


def test_the_class_none_is_the_row_after_the_classes_or_adds_nothing(tmp_path: Path) -> None:
    x, t = torch.randn(2, 3, 8, 8).double(), torch.tensor([5.0, 300.0]).double()
    for name, row in (("guided classes", 4), ("classes", None)):
        model = write(tmp_path / name, name).double()
        said = teacher(tmp_path / name, name).predict(x, t, None)
        if row is None:
            model.class_embedding.weight.zero_()
        known = model(x, t, class_labels=torch.full((2,), row or 0)).sample[:, :3]
        torch.testing.assert_close(said, known, rtol=1e-6, atol=1e-6)


def test_a_u_net_sees_the_mask_of_its_words_where_that_is_asked_for(tmp_path: Path) -> None:
    model = write(tmp_path, "stable diffusion").double()
    x, t, given = torch.randn(2, 4, 8, 8).double(), torch.tensor([5.0, 300.0]).double(), asked("stable diffusion")
    net = teacher(tmp_path, "stable diffusion", mask=True)
    known = model(x, t, given.tokens, encoder_attention_mask=given.mask).sample
    torch.testing.assert_close(net.predict(x, t, net.layout.pack(given)), known)


def test_without_weights_it_has_the_same_shape_on_the_meta_device(tmp_path: Path) -> None:
    write(tmp_path, "sd3")
    pipeline = pipelines.read(tmp_path, "", KNOWN)
    net = hosted(pipeline, Hints(), 8, Layout(**MODELS["sd3"][4]), 0.5, empty=True).eval()
    D = net(torch.empty(2, 4, 8, 8, device="meta"), torch.ones(2, 1, 1, 1, device="meta"))
    assert D.is_meta and D.shape == (2, 4, 8, 8)


@pytest.mark.parametrize(
    ("name", "layout", "told"),
    [("classes", {"classes": 10}, "takes 4 classes; the data set's labels have 10"),
     ("dit", {}, "takes 4 classes; the data set's labels have 0"),
     ("pixart", {"tokens": 5, "width": 7}, "takes 12 as width of a token; the data set's labels have 7"),
     ("sd3", {"tokens": 5, "width": 12}, "takes 10 pooled numbers; the data set's labels have 0"),
     ("ddpm", {"classes": 2}, "takes 0 classes; the data set's labels have 2")],
)  # fmt: skip
def test_labels_of_another_kind_are_refused(name: str, layout: dict[str, Any], told: str, tmp_path: Path) -> None:
    write(tmp_path, name)
    with pytest.raises(UsageError, match=told):
        hosted(pipelines.read(tmp_path, "", KNOWN), Hints(), 8, Layout(**layout), 0.5)


def test_latents_are_those_of_the_pipelines_vae(tmp_path: Path) -> None:
    write(tmp_path, "dit", VAE)
    pipeline = pipelines.read(tmp_path, "", KNOWN)
    assert pipeline.latent_scale == (0.125, 0.5) and pipeline.pixels == 8
    dataset = toy_state().dataset
    with pytest.raises(UsageError, match="latents of its VAE; the data set has pixels"):
        check_latents(pipeline, dataset)
    dataset.latent = True
    check_latents(pipeline, dataset)  # says nothing of a scale
    dataset.config = type("Config", (), {"vae": "a.safetensors", "signed_pixels": False})
    with pytest.raises(UsageError, match=r"latents are of pixels in \[-1,1\]; data pack --vae FILE --signed-pixels"):
        check_latents(pipeline, dataset)
    for mean, std in (([0.5] * 4, [4.0] * 4), ([0.0] * 4, [4.0] * 4), ([0.5] * 4, [2.0] * 4)):
        dataset.config = type("Config", (), {"raw_mean": mean, "raw_std": std})
        if mean == [0.5] * 4 and std == [4.0] * 4:
            check_latents(pipeline, dataset)
            continue
        with pytest.raises(UsageError, match=r"raw_mean = \[0\.5, 0\.5, 0\.5, 0\.5\], raw_std = \[4\.0, 4\.0"):
            check_latents(pipeline, dataset)


def test_what_is_wrong_with_a_folder_is_one_line(tmp_path: Path) -> None:
    write(tmp_path, "ddpm")
    config, index = tmp_path / "unet" / "config.json", tmp_path / "model_index.json"
    right = json.loads(config.read_text())

    def refused() -> str:
        with pytest.raises((InputError, UsageError)) as refusal:
            hosted(pipelines.read(tmp_path, "", KNOWN), Hints(), 8, Layout(), 0.5)
        assert "\n" not in str(refusal.value)
        return str(refusal.value)

    config.write_text(json.dumps({**right, "block_out_channels": [8, 4096]}))
    assert "describes a larger model than its weights are of" in refused()
    config.write_text(json.dumps({**right, "num_class_embeds": 4}))
    assert "1 weights are missing, such as class_embedding.weight" in refused()
    config.write_text(json.dumps({**right, "_class_name": "Evil"}))
    assert "_class_name = 'Evil'" in refused()
    config.write_text(json.dumps(right))
    index.write_text(json.dumps({"_class_name": "P", "unet": ["diffusers", "UNet3DModel"]}))
    assert "unet is 'UNet3DModel'; read are DiTTransformer2DModel" in refused()
    index.write_text(json.dumps({"_class_name": "P", "vae": ["diffusers", "AutoencoderKL"]}))
    assert "no unet and no transformer" in refused()
    (tmp_path / "scheduler" / "scheduler_config.json").unlink()
    index.unlink()
    with pytest.raises(InputError, match=r"no scheduler_config\.json"):
        pipelines.read(tmp_path / "unet", "", KNOWN)
    with pytest.raises(InputError, match="no such folder"):
        pipelines.read(tmp_path / "gone", "", KNOWN)


def test_without_diffusers_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "ddpm")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "distillkit-diffusers\[diffusers\]"'):
        hosted(pipelines.read(tmp_path, "", KNOWN), Hints(), 8, Layout(), 0.5)
