"""Released DiT and SiT files and FastGen's checkpoints, as toy files under their names of weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from distillkit_dit.importers import DitFile, FastGenFile, SitFile
from distillkit_dit.networks import Dit, FlowDit, Sit, published
from distillkit_dit.shapes import architecture, fits
from distillkit_dit.transformer import RELEASED
from torch import Tensor

from distillkit.api import InputError
from distillkit.networks import imported, importers
from distillkit.registry import Catalog

KEYS: dict[str, Any] = {"patch_size": 2, "hidden_size": 64, "depth": 2, "num_heads": 1, "mlp_ratio": 2.0}
READERS: dict[str, Any] = {"dit": DitFile, "sit": SitFile, "flow-dit": FastGenFile}
COMPONENTS: dict[str, Any] = {"dit": Dit, "sit": Sit, "flow-dit": FlowDit}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))


def network(use: str, seed: int = 0, **keys: Any) -> Any:
    torch.manual_seed(seed)
    made = COMPONENTS[use](COMPONENTS[use].Config(**KEYS, **keys)).module(8, 4, 10)
    for p in made.parameters():
        p.data.add_(0.05 * torch.randn_like(p))
    return made.eval().requires_grad_(False)


def weights(made: Any) -> dict[str, Tensor]:
    """As its authors release them."""
    return dict(made.model.state_dict())


def read(use: str, file: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    importer = READERS[use]
    found: tuple[dict[str, Any], dict[str, Tensor]] = importer(importer.Config()).read(Path(file))
    return found


@pytest.mark.parametrize(
    ("use", "file", "keys"),
    [("dit", "DiT-XL-2-256x256.pt", {}), ("sit", "SiT-XL-2-256.pt", {}), ("dit", "my.dit.pt", {"learn_sigma": False}),
     ("flow-dit", "0100000.pth", {"second_time": True}), ("flow-dit", "flow.pth", {})],
)  # fmt: skip
def test_a_file_makes_the_network_that_it_was_saved_from(use: str, file: str, keys: dict[str, Any]) -> None:
    made = network(use, **keys)
    torch.save(weights(made), file)
    net = imported.load_network(Path(file), Catalog.installed())
    x, sigma, labels = torch.randn(3, 4, 8, 8), torch.tensor([0.1, 1.0, 20.0]).reshape(-1, 1, 1, 1), torch.eye(10)[:3]
    assert torch.equal(net(x, sigma, labels), made(x, sigma, labels))
    assert net.card["network"]["use"] == use and (net.resolution, net.channels, net.label_dim) == (8, 4, 10)


@pytest.mark.parametrize(("name", "use"), [("DiT-XL/2", "dit"), ("SiT-XL/2", "sit")])
def test_a_training_checkpoint_tells_by_its_arguments_and_has_an_average(name: str, use: str) -> None:
    made, other = network(use), network(use, seed=1)
    args = argparse.Namespace(model=name, path_type="GVP", prediction="noise", lr=1e-4)
    torch.save({"model": weights(other), "ema": weights(made), "opt": {"state": {}}, "args": args}, "0050000.pt")
    found = importers.reader(Path("0050000.pt"), Catalog.installed())
    card, tensors = found.importer.read(Path("0050000.pt"))
    assert found.offer.name == f"{use}.pt" and all(torch.equal(tensors[k], v) for k, v in made.state_dict().items())
    if use == "sit":
        assert (card["network"]["path"], card["network"]["prediction"]) == ("gvp", "eps")


def test_fastgens_checkpoint_gives_its_average_without_the_layer_that_estimates_errors() -> None:
    made, trained = network("flow-dit"), network("flow-dit", seed=1)
    extra = {"logvar_linear.weight": torch.ones(1, 64), "logvar_linear.bias": torch.ones(1)}
    torch.save({"model": {"net": weights(trained) | extra, "ema": weights(made) | extra}, "iteration": 7}, "7.pth")
    card, tensors = read("flow-dit", "7.pth")
    assert not card["network"]["second_time"]
    assert set(tensors) == set(made.state_dict()) and torch.equal(tensors["model.pos_embed"], made.model.pos_embed)


@pytest.mark.parametrize("size", ["S/4", "B/2", "L/2", "XL/2"])
def test_the_published_sizes_are_told_from_shapes(size: str) -> None:
    with torch.device("meta"):
        made = Dit(Dit.Config(size=size)).module(32, 4, 1000).model
    shapes = {name: list(tensor.shape) for name, tensor in made.state_dict().items()}
    card = architecture(Path("x"), shapes, RELEASED)
    assert card["network"] == {**published(size), "mlp_ratio": 4.0}
    assert (card["resolution"], card["channels"], card["label_dim"]) == (32, 4, 1000)
    card["network"]["learn_sigma"] = True
    fits(Path("x"), card, shapes, RELEASED)


def test_a_file_that_could_be_either_is_refused_with_what_to_call_it() -> None:
    torch.save(weights(network("sit")), "edited.pt")
    with pytest.raises(InputError) as refusal:
        importers.reader(Path("edited.pt"), Catalog.installed())
    told = str(refusal.value)
    assert "call it sit-NAME.pt if it is one of sit" in told and "dit.pt of distillkit-dit: its weights are" in told
    assert "pt of distillkit-edm: its names are not those of a network in an EDMPrecond" in told


def changed(**to: Any) -> dict[str, Any]:
    found: dict[str, Any] = weights(network("dit"))
    for key, value in to.items():
        name = key.replace("__", ".")
        found.pop(name) if value is None else found.update({name: value})
    return found


@pytest.mark.parametrize(
    ("given", "told"),
    [({"blocks__1__attn__qkv__weight": None}, r"blocks\.1\.attn\.qkv\.weight is missing; this transformer has"),
     ({"blocks__0__more": torch.ones(1)}, r"1 weights are left over, such as blocks\.0\.more"),
     ({"pos_embed": torch.ones(1, 15, 64)}, "pos_embed has 15 places, which are no square"),
     ({"pos_embed": torch.ones(16, 64)}, r"pos_embed is \[16, 64\]: not one of this"),
     ({"x_embedder__proj__weight": torch.ones(40, 4, 2, 2)}, "width 40 is of no published size"),
     ({"blocks__9999__x": torch.ones(1)}, r"blocks\.2\.\S+ is missing; this transformer has"),
     ({"final_layer__linear__bias": torch.ones(3)}, r"final_layer\.linear\.bias is \[3\]"),
     ({"x_embedder__proj__bias": torch.full((64,), float("inf"))}, "holds numbers that are not finite"),
     ({"x_embedder__proj__bias": torch.ones(64, dtype=torch.int64)}, "is int64, no weight"),
     ({"x_embedder__proj__bias": "a word"}, "not all of its values are tensors"),
     ({"y_embedder__embedding_table__weight": torch.ones(1, 1).expand(1 << 15, 1 << 15)}, "larger than the file")],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_a_line(given: dict[str, Any], told: str) -> None:
    torch.save(changed(**given), "dit.pt")
    with pytest.raises(InputError, match=rf"dit\.pt: refused: .*{told}") as refusal:
        read("dit", "dit.pt")
    assert "\n" not in str(refusal.value)


def test_arguments_that_no_network_here_has_are_refused() -> None:
    args = argparse.Namespace(model="SiT-S/2", path_type="Spiral")
    torch.save({"ema": weights(network("sit")), "args": args}, "a.pt")
    with pytest.raises(InputError, match="trained with path_type = 'Spiral', which none here has"):
        read("sit", "a.pt")
