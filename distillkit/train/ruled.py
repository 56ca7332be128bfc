"""An optimizer whose rule is a plugin's: the engine keeps its state, which an update that is skipped leaves alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from distillkit.api import Choice, Optimizer, PluginError, UpdateRule, UsageError
from distillkit.train.ranks import pieces
from distillkit.train.verbatim import Verbatim


class Ruled(Verbatim):
    """Moves one weight at a time, so that no more than one of them is there twice; `found_inf` as in torch's Adam."""

    found_inf: Tensor | None = None  # []: 1.0 leaves everything as it is

    def __init__(
        self, choice: Choice[UpdateRule], named: Mapping[str, nn.Parameter], whole: Mapping[str, Tensor],
        settings: Optimizer,
    ) -> None:  # fmt: skip
        """`named`: what is here of the weights, by name; `whole`: these. Raises UsageError where a rule cannot be."""
        super().__init__(named.values(), {"lr": settings.lr})
        self.called, self.rule = choice.name, choice.build()
        self.names: dict[Tensor, str] = {p: name for name, p in named.items()}
        if not self.rule.elementwise and any(map(pieces.cut, whole.values())):
            raise UsageError(f"optimizer {choice.name!r} needs whole weights, of which ranks have pieces (--shard)")
        self.rule.prepare(whole, settings)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override] # nobody here has a closure
        (group,) = self.param_groups
        for p in group["params"]:
            if p.grad is not None:
                self.move(p, group["lr"])
        # Of those without a gradient too: what they have in common must not depend on who moved.
        states = [self.state[p] for p in group["params"] if p in self.state]
        for name, value in self.rule.agree(states).items():
            for state in states:
                self.keep(state[name], value)

    def move(self, p: Tensor, lr: float) -> None:
        """One weight, and its state."""
        assert p.grad is not None, "`step` leaves these out"
        state = self.of(p)
        own = {name: value for name, value in state.items() if name != "step"}
        # The count is on the device, where alone it is known whether an update happens.
        t = state["step"] + 1
        after, new = self.rule.move(self.names[p], p, p.grad, own, t, lr)
        if new.keys() != own.keys():
            raise PluginError(f"optimizer {self.called!r} keeps {sorted(own)} and returned {sorted(new)}")
        for old, value in ((p, after), (state["step"], t), *((own[name], value) for name, value in new.items())):
            self.keep(old, value)

    def keep(self, old: Tensor, new: Tensor) -> None:
        """Put what is new in the place of what was, where the update is not skipped."""
        # A choice and no product with the flag: 0 times a nan is a nan.
        old.copy_(new if self.found_inf is None else torch.where(self.found_inf > 0, old, new))

    def of(self, p: Tensor) -> dict[str, Tensor]:
        """Counter and state of a weight, made at its first gradient."""
        if p not in self.state:
            # A copy: a rule may begin with the weight itself, which is about to move.
            begun = {name: value.clone() for name, value in self.rule.begin(self.names[p], p).items()}
            self.state[p] = {"step": torch.zeros((), device=p.device), **begun}
        state: dict[str, Tensor] = self.state[p]
        return state
