"""What layers of a network say of an image: those of its encoder by number, modules of any network by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from distillkit.api import Denoise, EncoderFeatures, UsageError
from distillkit.train.teacher import Relay


class Features:
    """f(x, sigma, labels) -> maps of the layers `taps`; gradients go to x, and to weights that train."""

    def __init__(self, network: Denoise, taps: Sequence[int | str] | None = None) -> None:
        """`taps`: numbers into `encoder_features`, or names of modules; None: all that the encoder gives.

        Raises UsageError for a network that has no such layers.
        """
        # Guidance mixes images: there are no layers of what it makes.
        inner: Any = network.network if isinstance(network, Relay) else network
        name = type(inner).__name__
        if inner is None:
            raise UsageError("features: a teacher in closed form has no layers")
        self.network, self.taps = inner, taps
        self.modules = [tap for tap in taps or () if isinstance(tap, str)]
        if self.modules and len(self.modules) != len(taps or ()):
            raise UsageError(f"features: layers by number or modules by name, not both: {list(taps or ())}")
        # Before anything trains: a misspelt name is told at `check`.
        known = dict(cast(nn.Module, inner).named_modules())
        for tap in self.modules:
            if tap not in known:
                near = ", ".join(get_close_matches(tap, known, n=3) or list(known)[1:6])
                raise UsageError(f"features: {name} has no module {tap!r}; it has {near}")
        if not self.modules and not isinstance(inner, EncoderFeatures):
            some = ", ".join(list(known)[1:6])
            raise UsageError(f"features: {name} has no encoder_features; name modules, such as {some}")

    def __call__(self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> list[Tensor]:
        """x [N,C,H,W], sigma [N,1,1,1] or what broadcasts to it, labels [N,L] -> maps in the dtype of x, as in taps."""
        if self.modules:
            return self._of_modules(x, sigma, labels)
        maps = self.network.encoder_features(x, sigma, labels)
        # How many there are is known from a pass alone.
        wanted = range(len(maps)) if self.taps is None else cast(Sequence[int], self.taps)
        if wrong := [tap for tap in wanted if not -len(maps) <= tap < len(maps)]:
            name, last = type(self.network).__name__, len(maps) - 1
            raise UsageError(f"features: {name} has layers 0 ... {last}, not {wrong[0]}")
        return [maps[tap] for tap in wanted]

    def _of_modules(self, x: Tensor, sigma: Tensor | float, labels: Tensor | None) -> list[Tensor]:
        found: dict[str, Any] = {}
        with self._hooked(found):
            as_written(self.network)(x, sigma, labels)
        maps = []
        for name in self.modules:
            made = found.get(name)
            # Attention and the like give what they computed first, and weights or states after it.
            made = made[0] if isinstance(made, tuple) and made else made
            if not isinstance(made, Tensor):
                told = "was not called" if made is None else f"gives a {type(made).__name__}, no tensor"
                raise UsageError(f"features: the module {name!r} of {type(self.network).__name__} {told}")
            # Layers may compute in bfloat16, which is nobody's business who compares maps.
            maps.append(made.to(x.dtype))
        return maps

    @contextmanager
    def _hooked(self, found: dict[str, Any]) -> Iterator[None]:
        """Inside, what the modules give is put into `found`."""

        def keeping(name: str) -> Callable[..., None]:
            return lambda module, given, made: found.update({name: made})

        # For this pass alone: the network is asked by others as well, and copied.
        hooks = [self.network.get_submodule(name).register_forward_hook(keeping(name)) for name in self.modules]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def as_written(network: Any) -> Callable[..., Any]:
    """The network's pass that is not compiled: a compiled one asks no hooks of the modules within."""
    function = getattr(network.forward, "__func__", None)
    inner = inspect.unwrap(function) if function is not None else None
    return network if inner is function or inner is None else partial(inner, network)
