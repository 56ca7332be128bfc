"""An operation that was asked before is not called again, and all that is known of it stays the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from distillkit.dry.memo import Memo, kind_of
from distillkit.dry.meta import Live, blank

aten = torch.ops.aten


def x(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """calls(func, *args): what a Memo makes of it, and how often that called the operation."""
    monkeypatch.setattr(Memo, "known", {})
    memo = Memo()

    def run(func: object, *args: object) -> tuple[object, int]:
        count = 0

        class Counted:
            _schema, tags, _overloadpacket = func._schema, func.tags, func._overloadpacket

            def __call__(self, *given: object, **named: object) -> object:
                nonlocal count
                count += 1
                return func(*given, **named)

        monkeypatch.setattr(memo, "kinds", {})
        # The like of a thousand calls: known by what is asked, not by who asks.
        out = [memo(one, args, {}) for one in [Counted()] * 3]
        return out[-1], count

    return run


def test_new_tensors_are_made_without_a_second_call(calls: Callable[..., tuple[torch.Tensor, int]]) -> None:
    out, count = calls(aten.mul.Tensor, x(4, 1), x(3))
    assert (tuple(out.shape), count) == ((4, 3), 1)


def test_one_two_point_nought_and_true_are_not_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memo, "known", {})
    memo, ints = Memo(), x(3, dtype=torch.int64)
    found = [memo(aten.add.Tensor, (ints, number), {}).dtype for number in (1, 1.0, True, 1, 1.0)]
    assert found == [torch.int64, torch.float32, torch.int64, torch.int64, torch.float32]


def test_what_changes_its_first_argument_gives_that_back(calls: Callable[..., tuple[torch.Tensor, int]]) -> None:
    given = x(4, 3)
    out, count = calls(aten.add_.Tensor, given, x(3))
    assert out is given and count == 1


def test_what_changes_shapes_or_gives_views_is_called_each_time(calls: Callable[..., tuple[torch.Tensor, int]]) -> None:
    assert calls(aten.resize_.default, x(4), [9])[1] == 3
    assert calls(aten.transpose.int, x(4, 3), 0, 1)[1] == 3
    assert [kind_of(op) for op in (aten.squeeze_.dim, aten.view.default, aten.set_.source_Tensor)] == [""] * 3


def test_a_wrong_shape_is_refused_as_torch_does() -> None:
    with blank():
        for _ in range(2):
            with pytest.raises(RuntimeError):
                x(4, 3).add_(x(5))


def test_work_is_counted_also_of_what_is_not_called() -> None:
    layer = torch.nn.Conv2d(3, 8, 3, device="meta")
    with FlopCounterMode(display=False) as counter:
        layer(x(2, 3, 8, 8)).sum().backward()
    with Live() as live:
        for _ in range(3):
            live.restart()
            layer(x(2, 3, 8, 8)).sum().backward()
            assert live.flops == counter.get_total_flops() > 0
