"""A network on disk: what is saved is what is loaded, and damage is named."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from distillkit.api import InputError, UsageError
from distillkit.networks import network_file
from distillkit.recipe import choice_from_table
from distillkit.recipe.schema import Generator
from distillkit.registry import Catalog
from distillkit.train import student

CATALOG = Catalog.installed()


def network(use: str = "mlp", **keys: object) -> nn.Module:
    torch.manual_seed(0)
    made = network_file.new_network(choice_from_table("network", {"use": use, **keys}, CATALOG, "here"), 4, 2, 3)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.1)
    return made


def test_a_saved_network_computes_the_same(tmp_path: Path) -> None:
    net = network(width=8)
    network_file.save(tmp_path / "result", net, {"sample": {"use": "one-step"}})
    x, sigma, labels = torch.randn(3, 2, 4, 4), torch.rand(3, 1, 1, 1) + 0.1, torch.eye(3)
    for path in (tmp_path, tmp_path / "result", tmp_path / "result" / "student.safetensors"):
        loaded = network_file.load_network(path, CATALOG)
        assert torch.equal(loaded(x, sigma, labels), net(x, sigma, labels))
        assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    assert network_file.read_card(tmp_path)["sample"] == {"use": "one-step"}


def test_loading_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    network_file.save(tmp_path / "result", network(), {})
    before = torch.get_rng_state()
    network_file.load_network(tmp_path, CATALOG)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_card_is_json_of_any_reader_and_keeps_its_infinities(tmp_path: Path) -> None:
    sample = {"use": "heun", "S_max": math.inf}
    network_file.save(tmp_path, network(), {"sample": sample})
    text = (tmp_path / "student.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert network_file.read_card(tmp_path)["sample"] == sample
    (tmp_path / "student.json").write_text(text.replace('"inf"', "Infinity"))  # as 0.1.0 wrote it
    assert network_file.read_card(tmp_path)["sample"] == sample


def test_a_network_may_replace_parameters_while_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting on the device "meta" allows for constructors that make more than they keep."""
    from distillkit.builtin.mlp import Mlp

    net, module = network(width=8), Mlp.module
    network_file.save(tmp_path, net, {})

    def wasteful(self: Mlp, *shape: int) -> nn.Module:
        for _ in range(3):
            module(self, *shape)
        return module(self, *shape)

    monkeypatch.setattr(Mlp, "module", wasteful)
    loaded = network_file.load_network(tmp_path, CATALOG)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), net.parameters(), strict=True))


def edit(card: Path, **keys: object) -> None:
    card.write_text(json.dumps({**json.loads(card.read_text()), **keys}))


@pytest.fixture
def result(tmp_path: Path) -> Path:
    network_file.save(tmp_path, network(width=8), {})
    return tmp_path


def test_a_missing_file_is_named(result: Path) -> None:
    (result / "student.json").unlink()
    with pytest.raises(InputError, match=r"student\.json is missing"):
        network_file.load_network(result, CATALOG)


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"format": 1}', "[" * 100_000, "\x00"])
def test_a_card_that_is_none_is_refused(result: Path, text: str) -> None:
    (result / "student.json").write_text(text)
    with pytest.raises(InputError, match="not the card of a network"):
        network_file.load_network(result, CATALOG)


@pytest.mark.parametrize("keys", [{"format": 2}, {"resolution": "4"}, {"network": "mlp"}])
def test_a_card_of_another_kind_is_refused(result: Path, keys: dict) -> None:
    edit(result / "student.json", **keys)
    with pytest.raises(InputError, match="not a card this version reads"):
        network_file.load_network(result, CATALOG)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"network": {"use": "mpl"}}, 'no network named "mpl"'),
        ({"network": {"use": "mlp", "width": 8, "depht": 3}}, "depht"),
        ({"network": {"use": "mlp", "width": 9}}, "does not fit 'mlp' of its card"),
        ({"channels": 1}, "does not fit 'mlp' of its card"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(result: Path, keys: dict, message: str) -> None:
    edit(result / "student.json", **keys)
    with pytest.raises(InputError, match=message):
        network_file.load_network(result, CATALOG)


@pytest.mark.parametrize("damage", [lambda data: data[:40], lambda data: b"", lambda data: b"\xff" * len(data)])
def test_damaged_weights_are_refused(result: Path, damage: object) -> None:
    file = result / "student.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InputError, match="damaged"):
        network_file.load_network(result, CATALOG)


def test_dropout_changes_and_the_weights_do_not() -> None:
    net = network("edm-ddpmpp", model_channels=4, channel_mult=[1], num_blocks=1, attn_resolutions=[], dropout=0.0)
    twin = network_file.with_config(net, {"dropout": 0.4}, CATALOG, "generator.dropout")
    assert twin.card["network"]["dropout"] == 0.4 and net.card["network"]["dropout"] == 0.0
    assert all(torch.equal(p, q) for p, q in zip(net.state_dict().values(), twin.state_dict().values(), strict=True))


def test_a_further_input_may_be_new_where_it_adds_nothing_yet() -> None:
    net = network("mlp", width=8, depth=1)
    twin = network_file.with_config(net, {"second_time": True}, CATALOG, "generator_loss 'x'")
    x, sigma = torch.ones(1, net.channels, net.resolution, net.resolution), torch.ones(1, 1, 1, 1)
    assert torch.equal(twin(x, sigma, r=0.5), net(x, sigma))
    with pytest.raises(UsageError, match="generator_loss 'x': weights"):
        network_file.with_config(net, {"width": 16}, CATALOG, "generator_loss 'x'")


def test_dropout_of_coarse_levels_alone() -> None:
    keys = {
        "model_channels": 8,
        "channel_mult": [1, 2],
        "num_blocks": 1,
        "attn_resolutions": [],
        "channels_per_head": 8,
    }
    table = Generator(dropout=0.4, dropout_resolution=4)
    twin = student.with_dropout(network("edm2", **keys), table, CATALOG)
    assert (twin.card["network"]["dropout"], twin.card["network"]["dropout_resolution"]) == (0.4, 4)
    other = network("edm-ddpmpp", model_channels=4, channel_mult=[1], num_blocks=1, attn_resolutions=[])
    with pytest.raises(UsageError, match=r"generator.dropout_resolution: the network 'edm-ddpmpp' has no key"):
        student.with_dropout(other, table, CATALOG)


@pytest.mark.parametrize(
    ("use", "value", "message"), [("mlp", 0.4, "'mlp' has no key 'dropout'"), ("edm-ddpmpp", 1.0, "cannot do that")]
)
def test_a_key_that_the_network_cannot_have_is_refused(use: str, value: float, message: str) -> None:
    keys = {} if use == "mlp" else {"model_channels": 4, "channel_mult": [1], "num_blocks": 1}
    with pytest.raises(UsageError, match=f"generator.dropout: the network .*{message}"):
        network_file.with_config(network(use, **keys), {"dropout": value}, CATALOG, "generator.dropout")


def test_a_card_may_say_infinity_in_a_word_as_json_for_others_does(tmp_path: Path) -> None:
    network_file.save(tmp_path, network("edm-ddpmpp", model_channels=8, channel_mult=[1], num_blocks=1), {})
    card = json.loads((tmp_path / "student.json").read_text())
    edit(tmp_path / "student.json", network={**card["network"], "sigma_max": "inf"})
    assert network_file.load_network(tmp_path, CATALOG).sigma_max == float("inf")
