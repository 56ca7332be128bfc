"""Contract of an adapter: what trains beside weights that student, critics and teacher share."""

from __future__ import annotations

import copy
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from distillkit.api import Adapter
from distillkit.testing import toys
from distillkit.testing.component import ComponentContract
from distillkit.testing.training import copied, differences, run
from distillkit.train import shared
from distillkit.train.state import State


class AdapterContract(ComponentContract):
    """Parameters that change nothing until they train, and then can be worked into the network's own."""

    kind = "adapter"
    network: ClassVar[toys.Tables] = {"use": "mlp", "width": 32}  # one that it can be put into

    def adapted(self, **tables: Any) -> State:
        """The toy recipe by SiD, with this adapter in student and fake score."""
        adapter = {"generator": {"adapter": self.table, "optimizer": {"lr": 1e-2}}}
        teacher = {"teacher_score": {"use": "toy", "network": self.network}}
        method = {"generator_loss": {"use": "sid", "lr": 1e-2, "warmup_kimg": 0.0}}
        return self.state(**toys.merged(adapter, teacher, method, tables))

    def inputs(self, state: State) -> tuple[Tensor, Tensor, Tensor | None]:
        N, L = 3, state.dataset.label_dim
        x = torch.randn(N, *state.dataset.shape, generator=torch.Generator().manual_seed(0))
        sigma = torch.tensor([0.1, 1.0, 10.0]).reshape(N, 1, 1, 1)
        return tuple(  # type: ignore[return-value]
            t if t is None else t.to(state.device, state.dtype) for t in (x, sigma, torch.eye(L)[:N] if L else None)
        )

    def test_what_it_adds_changes_nothing_and_trains(self) -> None:
        state = self.adapted()
        teacher = cast(Any, state.teacher).network
        given = self.inputs(state)
        torch.testing.assert_close(state.generator(*given), teacher(*given), rtol=0, atol=0)
        before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
        start = {name: tensor.clone() for name, tensor in shared.own(state.generator).items()}
        run(state, 4)
        assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items()), "frozen"
        assert any(not torch.equal(tensor, start[name]) for name, tensor in shared.own(state.generator).items())
        assert not torch.equal(state.generator(*given), teacher(*given))

    def test_copies_have_their_own_and_share_the_rest(self) -> None:
        state = self.adapted()
        twin = copy.deepcopy(state.generator)
        names = shared.names(state.generator)
        for name, p in state.generator.named_parameters():
            assert (dict(twin.named_parameters())[name].data_ptr() == p.data_ptr()) == (name in names), name

    def test_merged_it_is_the_teachers_form_and_computes_the_same(self) -> None:
        state = run(self.adapted(run={"precision": "fp64"}), 4)
        merged = shared.merged(self.choice, state.ema)
        assert merged.state_dict().keys() == cast(Any, state.teacher).network.state_dict().keys()
        given = self.inputs(state)
        torch.testing.assert_close(merged(*given), state.ema(*given), rtol=1e-8, atol=1e-8)

    def test_the_file_has_all_that_trained(self) -> None:
        state = run(self.adapted(), 2)
        adapter = cast(Adapter, self.choice.build())
        _, tensors = adapter.saved(cast(Any, state.ema))
        own = [p for p in state.ema.parameters() if not isinstance(p, shared.Shared)]
        assert {t.data_ptr() for t in tensors.values()} == {p.data_ptr() for p in own}

    def test_the_same_seed_gives_the_same_bits(self) -> None:
        assert differences(copied(run(self.adapted(), 3)), copied(run(self.adapted(), 3))) == []
