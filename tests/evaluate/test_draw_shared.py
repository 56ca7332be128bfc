"""Images and features that several processes make are those of one, and an error of any is the first one's."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.distributed_c10d import _object_to_tensor, _tensor_to_object

from distillkit.api import Diverged, PluginError, Sample, frozen
from distillkit.evaluate import draw, serve, share
from distillkit.evaluate.draw import Drawer
from distillkit.registry import Catalog
from distillkit.testing import toy_state
from distillkit.testing.ranks import simulated
from distillkit.train.ranks.group import Group
from distillkit.train.state import State

DOUBLE = {"run": {"precision": "fp64"}}


def led(size: int, work: Callable[[State], Any], change: Callable[[State], None] = lambda state: None, **tables) -> Any:
    """What `work` gives on the first of `size` ranks, for which the others work meanwhile; they hear its end."""

    def rank(ranks: Group) -> Any:
        state = toy_state(ranks, **(tables or DOUBLE))
        change(state)
        if not ranks.first:
            return ranks.listen(serve.words(state)), ranks.count
        with ranks.leading() as end:
            found = work(state)
            end["well"] = True
        return found

    first, *others = simulated(size, rank)
    assert all(heard == {"well": True} for heard, _ in others)
    led.count = others[0][1] if others else {}
    return first


class Means(nn.Module):
    """Features by a layer: mean over rows of each image."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(1, 2, 8), requires_grad=False)
        self.calls: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        return x.mean((1, 2)) * self.scale


class Twice(Sample):
    """A sampler of its own."""

    nfe = 2

    @frozen(kw_only=True)
    class Config:
        factor: float = 2.0

    def sample(self, state: State, z: Tensor, labels: Tensor | None) -> Tensor:
        sigma = torch.full((len(z), 1, 1, 1), 2.0, device=z.device, dtype=z.dtype)
        return state.generator(self.config.factor * z, sigma, labels)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds and passes of a few images."""
    monkeypatch.setattr(share, "CHUNK", 4)
    monkeypatch.setattr(draw, "CHUNK", 4)
    monkeypatch.setattr(draw, "ROUND", 8)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 2, 7, 50])
def test_images_of_several_ranks_are_those_of_one(size: int, n: int) -> None:
    own = torch.eye(3)[torch.arange(n) % 2]
    for labels in (None, "random", own):
        alone = Drawer.student(toy_state(**DOUBLE))(n, seed=1, labels=labels, first=5)
        found = led(size, lambda state, labels=labels: Drawer.student(state)(n, seed=1, labels=labels, first=5))
        torch.testing.assert_close(found.x, alone.x)
        assert torch.equal(found.labels, alone.labels)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("n", [1, 7, 50])
@pytest.mark.parametrize("batch", [3, 6, 300])
def test_features_of_several_ranks_are_those_of_one_and_so_are_the_images_to_look_at(size, n, batch) -> None:
    def work(state: State) -> tuple[Tensor, Any]:
        drawer = Drawer.student(state)
        return drawer.features(Means(), n, seed=2, batch=batch), drawer.drawn

    alone, kept = work(toy_state(**DOUBLE))
    found, shown = led(size, work)
    assert found.dtype == torch.float32 and found.device.type == "cpu"
    torch.testing.assert_close(found, alone)
    torch.testing.assert_close(shown.x, kept.x)
    assert torch.equal(shown.labels, kept.labels)
    plain = Drawer.student(toy_state(**DOUBLE))(n, seed=2)
    torch.testing.assert_close(alone, Means()(plain.x))
    torch.testing.assert_close(kept.x, plain.x)


def test_alone_a_network_sees_the_images_of_draw_in_whole_batches() -> None:
    net, state = Means(), toy_state()
    found = Drawer.student(state).features(net, 14, batch=6)
    assert net.calls == [6, 6, 2]
    assert torch.equal(found, torch.cat([net(x) for x in Drawer.student(state)(14).x.split(6)]))


def test_no_more_images_are_kept_than_somebody_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw, "KEPT", 5)
    for size in (1, 2):
        drawer = led(size, lambda state: (made := Drawer.student(state), made.features(Means(), 40, batch=4))[0])
        assert len(drawer.drawn.x) == 5
        assert drawer.drawn.x.untyped_storage().nbytes() == 5 * 4 * drawer.drawn.x[0].numel()
        torch.testing.assert_close(drawer.drawn.x, Drawer.student(toy_state(**DOUBLE))(5).x)


def test_images_without_classes_are_shared_too() -> None:
    tables = {**DOUBLE, "dataset": {"use": "toy", "label_dim": 0}}
    alone = Drawer.student(toy_state(**tables))
    for work in (lambda d: d(7), lambda d: (d.features(Means(), 7), d.drawn)[1]):
        found, expected = led(3, lambda state, work=work: work(Drawer.student(state)), **tables), work(alone)
        torch.testing.assert_close(found.x, expected.x)
        assert found.labels is None and expected.labels is None


def test_the_teacher_is_drawn_by_another_sampler_and_untouched_by_the_same() -> None:
    sampler = Twice(Twice.Config(factor=1.5))
    for make in (Drawer.untouched, lambda state: Drawer.student(state).teacher(sampler)):
        alone = make(toy_state(**DOUBLE))
        found = led(3, lambda state, make=make: make(state)(8))
        torch.testing.assert_close(found.x, alone(8).x)
        assert alone.nfe == (2 if alone.sampler else 1)
    assert led.count["assemble"][0] > 0


def test_what_cannot_be_sent_is_asked_on_the_first_rank_alone() -> None:
    class Local(Twice):
        """Of this function."""

    def work(state: State) -> tuple[Tensor, Tensor]:
        drawer = Drawer.student(state)
        mine = drawer.teacher(Local(Local.Config()))(5).x
        return mine, drawer.features(lambda x: x.flatten(1)[:, :3], 21, batch=6)

    alone, found = work(toy_state(**DOUBLE)), led(2, work)
    for ours, theirs in zip(found, alone, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_network_is_sent_once_and_old_ones_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "NETS", 2)
    states: list[State] = []
    nets = [Means() for _ in range(3)]

    def work(state: State) -> None:
        drawer = Drawer.student(state)
        for net in (*nets, nets[2], nets[2], nets[0]):
            found.append(drawer.features(net, 4))
            assert set(state.nets) == set(states[-1].nets)
        numbers.update(state.nets)

    found: list[Tensor] = []
    numbers: dict[int, Any] = {}
    led(2, work, change=states.append)
    assert numbers == {3: nets[2], 4: nets[0]}
    assert all(torch.equal(one, found[0]) for one in found)


def through_a_wire(thing: Any) -> Any:
    """What torch makes of an object at the other end."""
    return _tensor_to_object(*_object_to_tensor(thing, torch.device("cpu"), None), None)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_torchscript_network_is_sent_as_its_file() -> None:
    raw = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(3, 2)), raw)
    net = torch.jit.load(io.BytesIO(raw.getvalue()))
    assert serve.portable(toy_state(), net)
    again, x = through_a_wire({"net": net})["net"], torch.ones(2, 3)
    assert torch.equal(again(x), net(x)) and not again.training


def test_samplers_and_all_that_is_asked_go_through_a_wire() -> None:
    asked = share.Asked("teacher", Twice(Twice.Config(factor=3.0)), 7, 5, torch.eye(3))
    again = through_a_wire(asked)
    assert (again.network, again.start, again.n, again.sampler.config) == ("teacher", 7, 5, asked.sampler.config)
    assert torch.equal(again.labels, asked.labels)
    heun = Catalog.installed().load("sample", "heun")
    assert through_a_wire(heun(heun.Config(steps=3))).config == heun.Config(steps=3)


def broken(rank: int, error: Exception) -> Callable[[State], None]:
    """The recipe's sampler fails on one rank."""

    def fail(**given: Any) -> Tensor:
        raise error

    def change(state: State) -> None:
        if state.ranks.rank == rank:
            state.hook = SimpleNamespace(sample=fail, teacher_score=state.hook.teacher_score)

    return change


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), "ResourceError", "out of memory"),
        (Diverged("3 images are not finite"), "Diverged", "3 images are not finite"),
        (ValueError("odd"), "RuntimeError", "rank 2: ValueError: odd"),
    ],
)
def test_an_error_of_any_rank_is_the_first_ones_and_all_go_on(rank, error, kind, told) -> None:
    def work(state: State) -> list[str]:
        said = []
        for ask in (lambda: Drawer.student(state)(9), lambda: Drawer.student(state).features(Means(), 9)):
            try:
                ask()
            except Exception as found:
                said.append(f"{type(found).__name__}: {found}")
        said.append(str(len(Drawer.student(state).teacher(Twice(Twice.Config()))(9).x)))
        return said

    first, second, after = led(3, work, broken(rank, error))
    assert first == second and after == "9"
    if rank == 0:
        assert first == f"{type(error).__name__}: {error}"
    else:
        assert first.startswith(f"{kind}: rank 2: ") and told in first


def test_what_is_no_features_is_refused() -> None:
    for net in (lambda x: x, lambda x: x.flatten(1)[:2], lambda x: {"f": x}):
        with pytest.raises(PluginError, match=r"draw\.features: the network gave .* for 5 images, expected \[5, D\]"):
            Drawer.student(toy_state()).features(net, 5)


def test_the_average_that_the_first_rank_took_back_is_drawn_by_all() -> None:
    def work(state: State) -> Tensor:
        with torch.no_grad():
            for p in state.ema.parameters():
                p.add_(0.1)
        serve.send_average(state)
        return Drawer.student(state)(9).x

    torch.testing.assert_close(led(3, work), work(toy_state(**DOUBLE)))


def test_a_signal_acts_between_two_rounds() -> None:
    inside: list[str] = []

    def change(state: State) -> None:
        if state.ranks.first:
            state.ranks.undisturbed = Held
            whole = state.ranks.assemble
            state.ranks.assemble = lambda make: (inside.append(f"made {Held.depth > 0}"), whole(make))[1]

    class Held:
        depth = 0

        def __enter__(self) -> None:
            Held.depth += 1

        def __exit__(self, *error: object) -> None:
            Held.depth -= 1
            if Held.depth == 0:
                inside.append("free")

    led(2, lambda state: Drawer.student(state)(40), change)
    assert inside.count("made True") == 3
    assert inside[:4] == ["made True", "free", "made True", "free"]
