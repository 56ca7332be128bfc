"""Any network as teacher: files of ours, state dicts of others, networks as their authors wrote them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import attrs
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from distillkit.api import Choice, InputError, Network, UsageError, field, frozen, ge
from distillkit.convert import Flow, Table, linear, to_x0
from distillkit.recipe import Recipe, RecipeProblems, choice_from_table, fingerprint, read, used_numerics
from distillkit.registry import Catalog, Offer
from distillkit.run import smoke
from distillkit.testing import NetworkContract, TeacherScoreContract, tiny_recipe, toy_state, toys
from distillkit.train.iterate import iterate

DENOISER = {"use": "mlp", "width": 8, "depth": 1}
RAW = {"use": "raw", "width": 8}


class Raw(Network):
    """A network that is called with x_t and t."""

    tiny = {"width": 4}

    @frozen(kw_only=True)
    class Config:
        width: int = field(default=8, validator=ge(1))

    def module(self, resolution: int, channels: int, label_dim: int) -> nn.Module:
        return RawModule(channels, label_dim, self.config.width)


class RawModule(nn.Module):
    """It looks at its image, its time and its label, and has two channels too many."""

    def __init__(self, channels: int, label_dim: int, width: int) -> None:
        super().__init__()
        self.label_dim = label_dim
        self.inner = nn.Conv2d(channels + 1 + label_dim, width, 3, padding=1)
        self.out = nn.Conv2d(width, channels + 2, 1)
        self.told: list[Tensor] = []

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        self.told.append(t)
        beside = t[:, None] if labels is None else torch.cat([t[:, None], labels], 1)
        maps = beside[:, :, None, None].expand(-1, -1, *x_t.shape[2:])
        return self.out(self.inner(torch.cat([x_t, maps], 1)).sin())


@pytest.fixture(autouse=True)
def offered(monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """A catalog that offers it."""
    known = toys.catalog()
    made = attrs.evolve(known, offers=(*known.offers, Offer("network", "raw", f"{__name__}:Raw", "own", "1")))
    monkeypatch.setattr(toys, "catalog", lambda: made)
    monkeypatch.setattr(Offer, "load", lambda self, load=Offer.load: Raw if self.name == "raw" else load(self))
    return made


def saved(path: Path, table: dict[str, Any], rename: Any = str, dataset: Any = None) -> dict[str, Tensor]:
    """Random weights of a network in a file, under other names where asked."""
    choice = choice_from_table("network", table, toys.catalog(), "here")
    module = toys.perturbed(choice.build().module(*(dataset or (8, 2, 3))))
    tensors = {rename(name): tensor.detach().clone() for name, tensor in module.state_dict().items()}
    safetensors.torch.save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)
    return tensors


def teacher(**keys: Any) -> Any:
    return toy_state(teacher_score={"use": "network", **keys})


def noisy(n: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(n, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    return x, torch.linspace(0.1, 5.0, n).view(-1, 1, 1, 1), torch.eye(3)[torch.arange(n) % 3]


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_a_denoiser_is_taken_with_the_weights_of_a_file(tmp_path: Path, name: str) -> None:
    tensors = saved(tmp_path / name, DENOISER)
    state = teacher(network=DENOISER, weights=str(tmp_path / name))
    got = state.teacher.network.state_dict()
    assert got.keys() == tensors.keys() and all(torch.equal(got[key], tensors[key]) for key in got)
    assert not any(p.requires_grad for p in state.teacher.network.parameters())


@pytest.mark.parametrize(
    ("keys", "told", "schedule"),
    [
        ({}, lambda t: t, Flow()),
        ({"reversed_time": True}, lambda t: 1 - t, Flow()),
        ({"time_scale": 1000.0}, lambda t: 1000 * t, Flow()),
        ({"schedule": "linear", "prediction": "eps"}, lambda t: t, Table(alphas_cumprod=linear())),
        (
            {"schedule": "linear", "interpolated": True, "prediction": "v"},
            lambda t: t, Table(alphas_cumprod=linear(), interpolated=True),
        ),
    ],
)  # fmt: skip
def test_a_network_of_another_prediction_is_converted_by_keys(
    tmp_path: Path, keys: dict[str, Any], told: Any, schedule: Any
) -> None:
    tensors = saved(tmp_path / "raw.safetensors", RAW)
    keys = {"prediction": "flow", **keys}
    state = teacher(network=RAW, weights=str(tmp_path / "raw.safetensors"), **keys)
    x, sigma, labels = noisy()
    D = state.teacher_score(x, sigma, labels)
    raw = RawModule(2, 3, 8)
    raw.load_state_dict(tensors)
    a = schedule.scales(sigma.double())[0]
    t = schedule.fed(sigma.double())
    said = raw(x * a.float(), told(t).flatten().float(), labels)[:, :2]
    torch.testing.assert_close(state.teacher.network.model.told[-1], raw.told[-1])
    if isinstance(schedule, Flow):
        torch.testing.assert_close(D, to_x0("flow", said, x * a.float(), t, schedule), rtol=1e-5, atol=1e-5)
    elif keys["prediction"] == "eps":
        torch.testing.assert_close(D, x - sigma * said, rtol=1e-4, atol=1e-4)


def test_no_labels_are_zeros_to_it(tmp_path: Path) -> None:
    saved(tmp_path / "raw.safetensors", RAW)
    state = teacher(network=RAW, weights=str(tmp_path / "raw.safetensors"), prediction="flow")
    x, sigma, labels = noisy()
    assert torch.equal(state.teacher_score(x, sigma), state.teacher_score(x, sigma, 0 * labels))


def test_its_students_are_converted_as_it_is_and_come_back_from_their_card(tmp_path: Path) -> None:
    saved(tmp_path / "raw.safetensors", RAW)
    state = teacher(network=RAW, weights=str(tmp_path / "raw.safetensors"), prediction="flow", reversed_time=True)
    iterate(state)
    assert state.generator.card["network"]["use"] == "converted"
    made = choice_from_table("network", state.generator.card["network"], toys.catalog(), "card")
    twin = made.build().module(8, 2, 3)
    twin.load_state_dict(state.generator.state_dict())
    x, sigma, labels = noisy()
    assert torch.equal(twin(x, sigma, labels), state.generator(x, sigma, labels))
    assert twin.reversed_time


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        (
            lambda name: name.replace("out", "head"),
            r"missing: out.bias, out.weight; left over: head.bias, head.w",
        ),
        (lambda name: f"net_1.{name}", r"its names would fit without their 'net_1\.'$"),
    ],
)
def test_names_that_are_not_the_networks_are_listed(tmp_path: Path, rename: Any, message: str) -> None:
    saved(tmp_path / "raw.safetensors", RAW, rename)
    with pytest.raises(InputError, match=message):
        teacher(network=RAW, weights=str(tmp_path / "raw.safetensors"), prediction="flow")


def test_shapes_that_are_not_the_networks_are_listed(tmp_path: Path) -> None:
    saved(tmp_path / "raw.safetensors", {**RAW, "width": 4})
    with pytest.raises(InputError, match=r"of another shape: inner.bias \[4\], not \[8\], inner.weight \["):
        teacher(network=RAW, weights=str(tmp_path / "raw.safetensors"), prediction="flow")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"nothing", "refused: no state dict"),
        ({"step": torch.zeros(1), "args": 3}, "not all of its values are tensors"),
    ],
)
def test_files_that_are_no_state_dicts_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "w.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(InputError, match=message):
        teacher(network=DENOISER, weights=str(path))


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    tensors = saved(tmp_path / "w.safetensors", DENOISER)
    tensors["out.bias"][0] = torch.nan
    safetensors.torch.save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"out.bias holds numbers that are not finite"):
        teacher(network=DENOISER, weights=str(tmp_path / "w.safetensors"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, r'checkpoint is missing; write checkpoint = "path/to/result", from = "teacher.toml"'),
        ({"network": DENOISER}, "teacher_score.weights is missing, and network is given"),
        ({"weights": "w.safetensors"}, "teacher_score.network is missing, and weights is given"),
        ({"checkpoint": "x", "network": DENOISER}, "teacher_score.network: given together with checkpoint"),
        ({"network": DENOISER, "weights": "w", "prediction": "flow"}, "'mlp' is a denoiser already"),
        ({"network": RAW, "weights": "w"}, "teacher_score.prediction is missing, and network 'raw' is no"),
    ],
)
def test_what_does_not_go_together_is_told(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        teacher(**keys)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"prediction": "noise"}, "must be one of"),
        ({"schedule": "ddpm"}, "must be one of"),
        ({"schedule": "edm", "reversed_time": True}, "is of flow, gvp, vp, cosine, not of schedule 'edm'"),
        ({"interpolated": True}, "is of linear, scaled_linear, squared_cosine, not of schedule 'flow'"),
    ],
)
def test_keys_of_a_conversion_are_checked(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeProblems, match=message):
        teacher(**keys)


def test_a_smoke_run_needs_no_weights(tmp_path: Path, offered: Catalog) -> None:
    (tmp_path / "a.toml").write_text(
        tiny_recipe(
            "sid", generator=None, dataset={"use": "image-zip", "path": "away.zip"}, evaluate=None,
            teacher_score={"use": "network", "network": RAW, "weights": "away.safetensors", "prediction": "flow"},
        )
    )  # fmt: skip
    recipe = smoke.small(read(tmp_path / "a.toml", catalog=offered), tmp_path, offered)
    assert recipe.teacher_score is not None and recipe.teacher_score.config.network is None
    assert (Path(recipe.teacher_score.config.checkpoint) / "student.json").is_file()


class TestConverted(NetworkContract):
    use = "converted"
    config = {"network": RAW, "prediction": "flow"}


class TestConvertedTeacher(TeacherScoreContract):
    use = "network"
    config = {"network": RAW, "weights": "raw.safetensors", "prediction": "flow"}
    sigmas = (1.0, 5.0)  # its weights are random

    def files(self, folder: Path) -> None:
        saved(folder / "raw.safetensors", RAW)


# The old name.


def recipe(folder: Path, use: str, **keys: Any) -> Recipe:
    (folder / f"{use}.toml").write_text(tiny_recipe("sid", teacher_score={"use": use, **keys}, generator=None))
    return read(folder / f"{use}.toml")


def test_edm_is_network_with_a_warning_and_a_run_of_either_is_found_by_the_other(tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match=r'teacher_score "edm" goes with .*: write use = "network"') as told:
        old = recipe(tmp_path, "edm", checkpoint="t")
    assert len(told) == 1
    new = recipe(tmp_path, "network", checkpoint="t")
    assert isinstance(old.teacher_score, Choice) and old.teacher_score == new.teacher_score
    prints = {fingerprint(one, {}, used_numerics(one, Catalog.installed())) for one in (old, new)}
    assert len(prints) == 1 and "distillkit-edm" in used_numerics(new, Catalog.installed())
    other = recipe(tmp_path, "network", network=DENOISER, weights="t")
    assert fingerprint(other, {}, used_numerics(other, Catalog.installed())) not in prints


def test_without_the_plugin_of_the_old_name_there_is_a_fingerprint_as_well(tmp_path: Path) -> None:
    made, catalog = recipe(tmp_path, "network", checkpoint="t"), Catalog.installed()
    less = attrs.evolve(catalog, offers=tuple(one for one in catalog.offers if one.dist != "distillkit-edm"))
    assert used_numerics(made, less).keys() == used_numerics(made, catalog).keys()


def test_what_a_run_wrote_in_old_words_is_read_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "resolved.toml").write_text(tiny_recipe("sid", teacher_score={"use": "edm", "checkpoint": "t"}))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        assert read(tmp_path / "resolved.toml").teacher_score.name == "network"
