"""EDM2's loss and post-hoc averages against the reference and by hand."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from distillkit_edm.edm2.loss import Edm2Loss
from distillkit_edm.edm2.network import Edm2
from distillkit_edm.edm2.posthoc import coefficients, combine, gamma_of, power_beta, sigma_rel_of
from torch import Tensor

from distillkit.api import UsageError

close = torch.testing.assert_close
SMALL = {"model_channels": 8, "channel_mult": (1, 2), "num_blocks": 1, "attn_resolutions": (4,), "channels_per_head": 8}


class Stub:
    """The reference's stand-in for a network."""

    logvar_channels = 1

    def __init__(self, io: dict[str, Tensor]) -> None:
        self.io = io

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        close(x, self.io["x_noisy"])
        return self.io["A"] * x + self.io["B"] * (1 + 0.1 * sigma.log())

    def logvar(self, sigma: Tensor) -> Tensor:
        assert torch.equal(sigma, self.io["sigma"])
        return self.io["logvar"]


def test_the_loss_is_the_references_summed_over_an_image(edm_data: Callable[[str], dict[str, Tensor]]) -> None:
    io, asked = edm_data("edm2_loss_io"), []
    step = SimpleNamespace(
        real=io["images"],
        labels=None,
        lognormal_sigma=lambda *moments: asked.append(moments) or io["sigma"],
        randn_like=lambda x: (io["x_noisy"] - io["images"]) / io["sigma"],
    )
    loss = Edm2Loss(Edm2Loss.Config()).generator_loss(SimpleNamespace(generator=Stub(io)), step)
    close(loss, io["loss"].flatten(1).sum(1), rtol=1e-4, atol=1e-4)
    close(loss.mean(), io["loss_scalar"], rtol=1e-4, atol=1e-4)
    assert asked == [(-0.4, 1.0)]


def test_the_expected_error_is_learnt_as_the_logarithm_of_the_error(
    edm_data: Callable[[str], dict[str, Tensor]],
) -> None:
    """The loss is least in u where exp(u) is the mean weighted error."""
    io = edm_data("edm2_loss_io")
    stub = Stub(io)
    D, sigma = stub(io["x_noisy"], io["sigma"], None), io["sigma"]
    error = (sigma**2 + 0.25) / (sigma * 0.5) ** 2 * (D - io["images"]) ** 2
    io["logvar"] = error.mean((1, 2, 3), keepdim=True).log().requires_grad_()
    step = SimpleNamespace(
        real=io["images"], labels=None, lognormal_sigma=lambda *_: sigma,
        randn_like=lambda x: (io["x_noisy"] - io["images"]) / sigma,
    )  # fmt: skip
    Edm2Loss(Edm2Loss.Config()).generator_loss(SimpleNamespace(generator=stub), step).sum().backward()
    close(io["logvar"].grad, torch.zeros(4, 1, 1, 1), rtol=0, atol=1e-2)


def test_a_network_without_an_expected_error_is_a_usage_error() -> None:
    loss = Edm2Loss(Edm2Loss.Config())
    loss.setup(SimpleNamespace(generator=Edm2(Edm2.Config(**SMALL)).module(8, 1, 0)))
    for generator in (torch.nn.Identity(), Edm2(Edm2.Config(**SMALL, logvar_channels=0)).module(8, 1, 0)):
        with pytest.raises(UsageError, match='write use = "edm2"'):
            loss.setup(SimpleNamespace(generator=generator))


def test_training_lowers_the_error_of_a_tiny_network() -> None:
    torch.manual_seed(0)
    net = Edm2(Edm2.Config(**SMALL)).module(8, 1, 0)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2, betas=(0.9, 0.99))
    step = SimpleNamespace(
        real=torch.full((32, 1, 8, 8), 0.5), labels=None, randn_like=torch.randn_like,
        lognormal_sigma=lambda P_mean, P_std: (P_mean + P_std * torch.randn(32, 1, 1, 1)).exp(),
    )  # fmt: skip
    loss, values = Edm2Loss(Edm2Loss.Config()), []
    for _ in range(30):
        value = loss.generator_loss(SimpleNamespace(generator=net), step).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert sum(values[-5:]) < 0.5 * sum(values[:5])


def test_widths_exponents_and_shares_are_the_references(edm_data: Callable[[str], dict[str, Tensor]]) -> None:
    io = {name: value.numpy() for name, value in edm_data("edm2_phema_io").items()}
    np.testing.assert_allclose(gamma_of(io["std"]), io["exp"], rtol=1e-12)
    np.testing.assert_allclose(sigma_rel_of(io["exp"]), io["std_back"], rtol=1e-12)
    beta = power_beta(io["beta_std"], float(io["beta_t_next"]), float(io["beta_t_delta"]))
    np.testing.assert_allclose(beta, io["beta"], rtol=1e-12)
    shares = coefficients(io["in_ofs"], io["in_std"], float(io["out_ofs"][0]), float(io["out_std"][0]))
    np.testing.assert_allclose(shares, io["coefs"][:, 0], rtol=1e-9)


def test_an_average_that_was_kept_is_found_again() -> None:
    shares = coefficients([1e6, 1e6, 2e6, 2e6], [0.05, 0.10, 0.05, 0.10], 1e6, 0.10)
    np.testing.assert_allclose(shares, [0, 1, 0, 0], atol=1e-9)


def test_a_third_average_is_rebuilt_from_two_kept_on_the_way() -> None:
    """Weights that wander, averaged at widths 0.05 and 0.10; asked for is 0.075, averaged for comparison."""
    rng, batch, batches = np.random.default_rng(0), 1, 2000
    weights = np.cumsum(rng.normal(size=(batches, 50)), axis=0)
    widths, kept = np.array([0.05, 0.10, 0.075]), []
    average = np.zeros((3, 50))
    for i, now in enumerate(weights, start=1):
        beta = power_beta(widths, i * batch, batch)[:, None] if i > 1 else 0.0
        average = beta * average + (1 - beta) * now
        if i % 250 == 0:
            kept += [(i * batch, 0.05, average[0]), (i * batch, 0.10, average[1])]
    shares = coefficients([t for t, _, _ in kept], [width for _, width, _ in kept], batches * batch, 0.075)
    rebuilt = combine([{"w": torch.from_numpy(values)} for _, _, values in kept], shares)["w"].numpy()
    nearest = min(np.abs(average[i] - average[2]).max() for i in (0, 1))
    assert np.abs(rebuilt - average[2]).max() < 0.1 * nearest


def test_averages_are_combined_by_name_and_keep_their_dtype() -> None:
    a = {"w": torch.tensor([1.0, 2.0]), "g": torch.tensor(4.0, dtype=torch.float16)}
    b = {"w": torch.tensor([3.0, 0.0]), "g": torch.tensor(8.0, dtype=torch.float16)}
    total = combine([a, b], [0.25, 0.75])
    assert total["w"].tolist() == [2.5, 0.5] and total["g"].item() == 7.0
    assert total["g"].dtype == torch.float16
