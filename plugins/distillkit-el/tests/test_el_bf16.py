"""Embeddings in half precision: the loss and its gradient to that precision, and nothing else in it."""

from __future__ import annotations

import attrs
import pytest
import torch
from distillkit_el.networks import InBfloat16

from distillkit.testing import toy_state, toy_step
from distillkit.train.state import State

TERM = {"use": "embedding", "real_batch": 16, "seed": 3}


def state(**keys: object) -> State:
    return toy_state(run={"batch": 16}, auxiliary_loss=[{**TERM, **keys}])


def value_and_gradient(made: State) -> tuple[torch.Tensor, torch.Tensor]:
    (term,) = made.auxiliaries[0].call(state=made, step=toy_step(made))
    return term.value, term.grad


@pytest.mark.parametrize("more", [{}, {"bank_mb": 0}, {"normalize": "l2"}])
def test_the_loss_and_its_gradient_are_those_of_float32_to_its_precision(more: dict[str, object]) -> None:
    (value, gradient), (exact, wanted) = (value_and_gradient(state(precision=p, **more)) for p in ("bf16", "fp32"))
    assert value.dtype == gradient.dtype == torch.float32 and value != exact
    torch.testing.assert_close(value, exact, rtol=0.05, atol=0.005)
    assert (gradient - wanted).norm() < 0.1 * wanted.norm()


def test_features_come_back_in_float32_and_the_layers_were_not() -> None:
    made = state(precision="bf16")
    term = made.components["auxiliary_loss.0"]
    x = torch.randn(4, *made.dataset.shape)
    for net in term.nets:
        assert isinstance(net, InBfloat16)
        features, exact = net(x), net.net(x)
        assert features.dtype == torch.float32
        assert 0 < (features - exact).abs().max() < 0.05 * exact.abs().max()


def test_it_trains() -> None:
    from distillkit.testing.training import run

    trained = run(state(precision="bf16"), 3)
    assert not trained.skipped and all(torch.isfinite(p).all() for p in trained.generator.parameters())


def test_float32_is_the_default_and_has_the_fingerprint_of_before() -> None:
    from distillkit.recipe import fingerprint
    from distillkit.testing import toy_recipe

    plain = toy_recipe(auxiliary_loss=[TERM])
    (choice,) = plain.auxiliary_loss
    told = attrs.evolve(choice, config=attrs.evolve(choice.config, precision="bf16"))
    prints = [fingerprint(attrs.evolve(plain, auxiliary_loss=(one,)), {}, {}) for one in (choice, told)]
    assert choice.config.precision == "fp32" and prints[0] != prints[1]
