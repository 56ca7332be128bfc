"""FD-loss: the metric's own number, the right gradient, a population that outlives the batch and a resume."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from distillkit_metrics.fd_loss import Real
from distillkit_metrics.population import Fading, Queue
from distillkit_metrics.statistics import frechet_distance, moments
from torch import Tensor

from distillkit.testing import AuxiliaryLossContract, toy_state
from distillkit.testing.training import run

D = 5


def features(n: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    mix = torch.randn(D, D, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return scale * torch.randn(n, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) @ mix + shift


@pytest.fixture
def real_rows() -> tuple[Real, Tensor]:
    """The real side, of 300 rows of features."""
    rows = features(300, 1)

    class Rows(list):
        def images(self, index: Any) -> Tensor:
            return rows[index]

    state = SimpleNamespace(dataset=Rows(range(300)), device=torch.device("cpu"), dtype=torch.float64)
    return Real(lambda x: x, state), rows


@pytest.mark.parametrize("kind", [Queue, Fading])
def test_a_population_of_one_batch_has_the_metrics_distance(
    real_rows: tuple[Real, Tensor], kind: type[Queue | Fading]
) -> None:
    real, rows = real_rows
    f = features(100, 2, 1.3, 0.4)
    mean, cov, n = kind(D, 100, torch.device("cpu")).moments(f - real.mean)
    assert n == 100
    expected = frechet_distance(moments(rows), moments(f))
    assert float(real.distance(mean, cov)) == pytest.approx(expected, rel=1e-9)


def test_the_gradient_is_that_of_the_distance(real_rows: tuple[Real, Tensor]) -> None:
    real, _ = real_rows
    f = (features(12, 3, 0.7) - real.mean).requires_grad_()

    def fd(f: Tensor) -> Tensor:
        mean, cov, _ = Queue(D, 12, torch.device("cpu")).moments(f)
        return real.distance(mean, cov)

    assert torch.autograd.gradcheck(fd, (f,))


def test_the_batchs_gradient_is_as_if_the_whole_population_were_the_batch(real_rows: tuple[Real, Tensor]) -> None:
    """A queue that holds copies of the batch: each copy's gradient, times their number, is the whole's."""
    real, _ = real_rows
    f = features(20, 4) - real.mean
    queue = Queue(D, 60, torch.device("cpu"))
    queue.add(f)
    queue.add(f)
    part = f.clone().requires_grad_()
    mean, cov, n = queue.moments(part)
    real.distance(mean, cov).backward()
    whole = f.repeat(3, 1).requires_grad_()
    mean, cov, _ = Queue(D, 60, torch.device("cpu")).moments(whole)
    real.distance(mean, cov).backward()
    assert n == 60
    torch.testing.assert_close(part.grad, 3 * whole.grad[:20])


def test_a_queue_holds_the_newest_and_nothing_else() -> None:
    queue, rows = Queue(D, 50, torch.device("cpu")), features(130, 5)
    for f in rows[:-10].split(10):
        queue.moments(f)
        queue.add(f)
    mean, cov, n = queue.moments(rows[-10:])
    expected = moments(rows[-50:])
    assert n == 50
    torch.testing.assert_close(mean, expected.mean)
    torch.testing.assert_close(cov, expected.cov)


def test_an_average_fades_by_its_size() -> None:
    fading, f = Fading(D, 40, torch.device("cpu")), features(10, 6)
    for _ in range(60):
        _, _, n = fading.moments(f)
        fading.add(f)
    assert n == pytest.approx(40, rel=1e-6)
    mean, _, _ = fading.moments(f + 1)
    torch.testing.assert_close(mean, f.mean(0) + 10 / 40)


def test_directions_without_variance_leave_the_gradient_finite(real_rows: tuple[Real, Tensor]) -> None:
    real, _ = real_rows
    f = (features(3, 7) - real.mean).requires_grad_()  # rank 2 in 5 dimensions
    mean, cov, _ = Queue(D, 10, torch.device("cpu")).moments(f)
    (grad,) = torch.autograd.grad(real.distance(mean, cov), f)
    assert grad.isfinite().all() and grad.any()


def test_no_term_before_the_minimum() -> None:
    state = toy_state(auxiliary_loss=[{"use": "frechet", "minimum": 20, "embeddings": [{"use": "pixels"}]}])
    assert not any("frechet" in name for name in run(state, 2).records.means())  # 16 images
    assert "loss/frechet" in run(state, 1).records.means()


WAITS = {
    "fd_loss.py:distance": "torch checks on the host whether the eigenvalues converged",
    "fd_loss.py:auxiliary_loss": "images that are not finite are left out, when it has waited anyway",
}


class TestQueue(AuxiliaryLossContract):
    use = "frechet"
    waits = WAITS
    config = {"population": 20, "minimum": 2, "embeddings": [{"use": "pixels"}, {"use": "convnet"}]}


class TestAverage(AuxiliaryLossContract):
    use = "frechet"
    waits = WAITS
    config = {"population": 64, "minimum": 2, "memory": "ema", "embeddings": [{"use": "pixels"}]}
