"""Contracts of what turns noise into images, and images into their denoised versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from distillkit.api import Denoiser, Rebuildable, Sample
from distillkit.networks import network_file
from distillkit.networks.loaded import Student
from distillkit.networks.network_file import Carded
from distillkit.testing import toys
from distillkit.testing.component import ComponentContract
from distillkit.testing.networks import ATTRIBUTES
from distillkit.train.ranks.alone import Ranks
from distillkit.train.state import State


class Watched(nn.Module):
    """A network that counts its calls and keeps the labels it was given."""

    def __init__(self, network: Denoiser) -> None:
        super().__init__()
        self.network, self.labels = network, list[Tensor | None]()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.network, name)

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, *rest: Any, **further: Any) -> Tensor:
        self.labels.append(labels)
        return self.network(x, sigma, labels, *rest, **further)


def latents(state: State, n: int = 4) -> tuple[Tensor, Tensor | None]:
    """z [n,C,H,W] and labels [n,L] for it."""
    z = torch.randn(n, *state.dataset.shape, generator=torch.Generator().manual_seed(0))
    labels = state.dataset.labels(torch.arange(n))
    return z.to(state.device, state.dtype), None if labels is None else labels.to(state.device, state.dtype)


class SampleContract(ComponentContract):
    """Images from noise by `state.generator`."""

    kind = "sample"

    def test_images_have_the_shape_of_the_noise_and_repeat(self) -> None:
        state = self.state()
        z, labels = latents(state)
        with torch.no_grad():
            x = state.hook.sample(state=state, z=z, labels=labels)
            assert x.shape == z.shape and x.dtype == z.dtype and x.isfinite().all()
            assert torch.equal(state.hook.sample(state=state, z=z, labels=labels), x)

    def test_it_calls_the_network_nfe_times_and_passes_the_labels_on(self) -> None:
        state = self.state()
        z, labels = latents(state)
        watched = Watched(state.generator)
        with state.generating(watched), torch.no_grad():
            state.hook.sample(state=state, z=z, labels=labels)
        assert len(watched.labels) == cast(Sample, state.components["sample"]).nfe
        for given in watched.labels:
            assert given is not None and labels is not None and torch.equal(given, labels)

    def test_an_image_is_a_function_of_its_own_noise(self) -> None:
        state = self.state(run={"precision": "fp64"})
        z, labels = latents(state)
        with torch.no_grad():
            x = state.hook.sample(state=state, z=z, labels=labels)
            alone = state.hook.sample(state=state, z=z[2:3], labels=None if labels is None else labels[2:3])
        torch.testing.assert_close(alone, x[2:3], rtol=1e-9, atol=1e-9)

    def test_gradients_reach_the_network(self) -> None:
        state = self.state()
        z, labels = latents(state)
        state.generator.requires_grad_(True)
        state.hook.sample(state=state, z=z, labels=labels).square().sum().backward()
        grads = [p.grad for p in state.generator.parameters() if p.grad is not None]
        assert grads and all(g.isfinite().all() for g in grads) and any(g.any() for g in grads)

    def test_a_finished_student_is_sampled_where_there_is_no_run(self) -> None:
        state = self.state()
        z, labels = latents(state)
        student = Student(state.generator, cast(Sample, state.components["sample"]), {"seed": state.seed})
        with torch.no_grad():
            assert torch.equal(student.sample(z, labels), state.hook.sample(state=state, z=z, labels=labels))

    def test_it_works_without_labels(self) -> None:
        state = self.state(dataset={"label_dim": 0})
        z, _ = latents(state)
        assert state.hook.sample(state=state, z=z, labels=None).isfinite().all()


class TeacherScoreContract(ComponentContract):
    """Images denoised at any noise level, differentiably, by weights that never move."""

    kind = "teacher_score"
    sigmas = (0.3, 1.0, 5.0)

    def noisy(self, state: State, sigma: float) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """x [N,C,H,W], x_sigma, sigma [N,1,1,1], labels of real images."""
        index = torch.arange(min(32, len(state.dataset)))
        x, labels = state.dataset.images(index).to(state.device, state.dtype), state.dataset.labels(index)
        labels = None if labels is None else labels.to(state.device, state.dtype)
        n = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(x)
        return x, x + sigma * n, x.new_full((len(x), 1, 1, 1), sigma), labels

    def network(self, state: State) -> Denoiser | None:
        """The teacher's; None: it is in closed form."""
        assert state.teacher is not None
        return state.teacher.network

    def test_it_denoises_better_than_doing_nothing(self) -> None:
        state = self.state()
        for level in self.sigmas:
            x, x_sigma, sigma, labels = self.noisy(state, level)
            D = state.teacher_score(x_sigma, sigma, labels)
            assert D.shape == x.shape and D.dtype == x.dtype and D.isfinite().all()
            error, nothing = (D - x).square().mean(), (x_sigma - x).square().mean()
            assert error < nothing, f"sigma = {level:g}: mean squared error {error:g}, of the noisy images {nothing:g}"

    def test_its_gradient_reaches_the_images_and_none_of_its_weights(self) -> None:
        state = self.state()
        _, x_sigma, sigma, labels = self.noisy(state, self.sigmas[0])
        x_sigma.requires_grad_()
        state.teacher_score(x_sigma, sigma, labels).square().sum().backward()
        assert x_sigma.grad is not None and x_sigma.grad.isfinite().all() and x_sigma.grad.any()
        network = self.network(state)
        if network is not None:
            assert not cast(nn.Module, network).training
            for name, p in network.named_parameters():
                assert not p.requires_grad and p.grad is None, f"{name} of the teacher collects gradients"

    def test_rows_do_not_see_each_other(self) -> None:
        state = self.state(run={"precision": "fp64"})
        _, x_sigma, sigma, labels = self.noisy(state, self.sigmas[0])
        D = state.teacher_score(x_sigma, sigma, labels)
        alone = state.teacher_score(x_sigma[1:2], sigma[1:2], None if labels is None else labels[1:2])
        torch.testing.assert_close(alone, D[1:2], rtol=1e-9, atol=1e-9)

    def test_its_network_has_the_attributes_of_one(self) -> None:
        network = self.network(self.state())
        if network is not None:
            assert [name for name in ATTRIBUTES if not hasattr(network, name)] == []

    def test_a_copy_of_its_network_comes_back_from_a_file(self, tmp_path: Path) -> None:
        state = self.state()
        network = self.network(state)
        if not isinstance(network, Rebuildable):
            return  # in closed form, or one that teaches other networks
        network_file.save(tmp_path / "copy", cast(Carded, network), {})
        copy = network_file.load_network(tmp_path / "copy", toys.catalog()).to(state.device, state.dtype)
        _, x_sigma, sigma, labels = self.noisy(state, 1.0)
        assert torch.equal(copy(x_sigma, sigma, labels), cast(Carded, network)(x_sigma, sigma, labels))


class GuidanceContract(TeacherScoreContract):
    """A guided teacher is a teacher still, and another one."""

    kind = "guidance"

    def state(self, ranks: Ranks | None = None, **tables: Any) -> State:
        guided = {"teacher_score": {"guidance": self.table}}
        return toys.toy_state(ranks, **toys.merged(self.recipe, guided, tables))

    def test_it_changes_what_the_teacher_says(self) -> None:
        guided, plain = self.state(), toys.toy_state(**self.recipe)
        _, x_sigma, sigma, labels = self.noisy(guided, 1.0)
        D, other = (state.teacher_score(x_sigma, sigma, labels) for state in (guided, plain))
        assert not torch.allclose(D, other)
