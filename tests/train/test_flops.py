"""No pass through a network too many: floating-point operations of one iteration in forward passes of the U-Net."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from distillkit.networks import network_file
from distillkit.recipe import choice_from_table, read
from distillkit.registry import Catalog
from distillkit.train.build import build
from distillkit.train.iterate import iterate
from distillkit.train.state import State

BATCH = 4
UNET = {"use": "edm-ddpmpp", "model_channels": 32, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [],
        "dropout": 0.0}  # fmt: skip
START = """
schema = 1
[run]
kimg = 1
batch = 4
threads = 1
device = "cpu"
[dataset]
use = "digits"
"""
DISTILL = START + '[teacher_score]\nuse = "network"\ncheckpoint = "{teacher}"\n[generator_loss]\n{loss}\n'
TRAIN = (
    START
    + """
[generator]
init = "scratch"
[generator.network]
use = "edm-ddpmpp"
model_channels = 32
channel_mult = [1, 2]
num_blocks = 1
attn_resolutions = []
dropout = 0.0
[sample]
use = "heun"
[generator_loss]
use = "edm"
"""
)


@pytest.fixture
def state_of(tmp_path: Path) -> Callable[[str], State]:
    """A recipe's text -> a State whose teacher is a random U-Net."""

    def make(text: str, *sets: str) -> State:
        catalog = Catalog.installed()
        network = network_file.new_network(choice_from_table("network", UNET, catalog, "here"), 8, 1, 10)
        network_file.save(tmp_path / "teacher", network, {})
        path = tmp_path / "recipe.toml"
        path.write_text(text.replace("{teacher}", str(tmp_path / "teacher")))
        return build(read(path, sets), catalog)

    return make


def flops(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def passes(state: State) -> float:
    """Cost of one iteration in forward passes of the batch."""
    iterate(state)  # what is made once, is made
    network, sigma = state.networks["generator"], torch.ones(BATCH, 1, 1, 1)
    x, labels = torch.zeros(BATCH, 1, 8, 8), torch.zeros(BATCH, 10)
    return flops(lambda: iterate(state)) / flops(lambda: network(x, sigma, labels))


def encoder_share(network: nn.Module) -> float:
    x, sigma, labels = torch.zeros(BATCH, 1, 8, 8), torch.ones(BATCH, 1, 1, 1), torch.zeros(BATCH, 10)
    return flops(lambda: network.encoder(x, sigma, labels)) / flops(lambda: network(x, sigma, labels))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (
            'use = "sid"',
            11,
        ),  # fake score: G, psi forward, psi backward 2; generator: G, psi, phi, back through both, G 2
        ('use = "sid"\nshared_forward = true', 9),  # G and psi forward once less
    ],
)
def test_sid_costs_what_it_must(state_of: Callable[..., State], loss: str, expected: float) -> None:
    assert passes(state_of(DISTILL.replace("{loss}", loss))) == pytest.approx(expected, rel=0.02)


def test_training_a_teacher_costs_three_passes(state_of: Callable[..., State]) -> None:
    assert passes(state_of(TRAIN)) == pytest.approx(3, rel=0.02)


def test_sida_costs_an_encoder_on_real_images_more_than_sid(state_of: Callable[..., State]) -> None:
    loss = 'use = "sida"\ngenerator_after_kimg = 0\ngan_after_kimg = 0'
    state = state_of(DISTILL.replace("{loss}", loss))
    share = encoder_share(state.networks["generator"])
    assert share > 0.1  # so that 3 of it are more than the tolerance
    assert passes(state) == pytest.approx(11 + 3 * share, rel=0.02)


def test_micro_batches_cost_nothing_without_terms_on_the_whole_batch(state_of: Callable[..., State]) -> None:
    sets = ("run.micro_batch=2",)
    assert passes(state_of(DISTILL.replace("{loss}", 'use = "sid"'), *sets)) == pytest.approx(11, rel=0.02)


@pytest.mark.parametrize(("micro", "expected"), [(4, 2), (2, 3)])
def test_micro_batches_cost_one_more_pass_with_such_a_term(
    state_of: Callable[..., State], micro: int, expected: int
) -> None:
    term = 'use = "sid"\n[[auxiliary_loss]]\nuse = "embedding"\n[[auxiliary_loss.embeddings]]\nuse = "pixels"\n'
    state, seen = state_of(DISTILL.replace("{loss}", term), f"run.micro_batch={micro}"), []
    state.networks["generator"].register_forward_hook(lambda network, given, D: seen.append(len(D)))
    iterate(state)
    assert sum(seen) == expected * BATCH  # once for the fake score, once or twice for itself


def test_networks_that_do_not_train_never_get_a_weight_gradient(state_of: Callable[..., State]) -> None:
    state = state_of(DISTILL.replace("{loss}", 'use = "sid"\nshared_forward = true'))
    iterate(state)
    for network in (state.teacher.network, state.ema):
        assert all(p.grad is None and not p.requires_grad for p in network.parameters())
