"""[generator.adapter]: student and critics train few weights beside those that they share with the teacher."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
import torch
from torch import nn

from distillkit.api import UsageError
from distillkit.dry.meta import blank
from distillkit.plan import dry
from distillkit.plan.roles import roles
from distillkit.testing import toys
from distillkit.testing.toys import toy_state
from distillkit.testing.training import copied, differences, run
from distillkit.train import compiled, shared, snapshot
from distillkit.train.shared import Shared
from distillkit.train.state import State

DIT = {"use": "flow-dit", "patch_size": 4, "hidden_size": 16, "depth": 1, "num_heads": 2}
UNET = {"use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1], "num_blocks": 1, "attn_resolutions": [8]}
EDM2 = {
    "use": "edm2", "model_channels": 8, "channel_mult": [1], "num_blocks": 1, "attn_resolutions": [],
    "channels_per_head": 8,
}  # fmt: skip
NETWORKS = [{"use": "mlp", "width": 16}, DIT, UNET, EDM2]
IDS = [str(network["use"]) for network in NETWORKS]


def make(network: dict[str, Any] | None = None, method: str = "sid", **tables: Any) -> State:
    keys: dict[str, Any] = {
        "teacher_score": {"use": "toy", "network": network or UNET},
        "generator": {"adapter": {"use": "lora", "rank": 2}, "optimizer": {"lr": 1e-2}},
        "generator_loss": {"use": method, "lr": 1e-2, "warmup_kimg": 0.0},
    }
    return toy_state(**{**keys, **tables})


def networks(state: State) -> Iterator[nn.Module]:
    yield from (cast(nn.Module, network) for network in (*state.networks.values(), state.ema))


@pytest.mark.parametrize("network", NETWORKS, ids=IDS)
def test_teacher_student_critics_and_average_hold_one_copy_of_the_weights(network: dict[str, Any]) -> None:
    state = make(network)
    assert state.teacher is not None and state.teacher.network is not None
    theirs = {name: p.data_ptr() for name, p in state.teacher.network.named_parameters()}
    assert len(list(networks(state))) == 3
    for each in networks(state):
        ours = {name: p.data_ptr() for name, p in each.named_parameters() if "lora_" not in name}
        assert ours == theirs and any("lora_" in name for name, _ in each.named_parameters())


@pytest.mark.parametrize("network", NETWORKS, ids=IDS)
def test_it_begins_as_the_teacher_and_trains_what_is_its_own_alone(network: dict[str, Any]) -> None:
    state = make(network)
    assert state.teacher is not None and state.teacher.network is not None
    x, sigma = torch.randn(2, *state.dataset.shape), torch.full((2, 1, 1, 1), 1.5)
    assert torch.equal(state.generator(x, sigma), state.teacher.network(x, sigma))
    before = {name: p.clone() for name, p in state.teacher.network.named_parameters()}
    run(state, 3)
    after = state.teacher.network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    for each in networks(state):
        own = {name: p for name, p in each.named_parameters() if not isinstance(p, Shared)}
        assert own and all("lora_" in name for name in own)
        assert any(bool(p.any()) for name, p in own.items() if name.endswith("lora_B"))
    held = {id(p) for updater in state.updaters.values() for p in updater.params}
    assert not any(isinstance(p, Shared) and id(p) in held for each in networks(state) for p in each.parameters())


@pytest.mark.parametrize("method", ["sid", "dmd2", "diff-instruct"])
def test_a_resumed_run_is_the_same_bits_and_its_snapshot_holds_adapters_alone(method: str) -> None:
    losses = {"generator_loss": {"use": method}} if method != "sid" else {}
    whole = run(make(method=method, **losses), 4)
    tensors, meta = copied(run(make(method=method, **losses), 2))
    named = [name for name in tensors if name.startswith(("networks/generator", "networks/fake", "ema"))]
    buffers = {name for name, _ in cast(nn.Module, whole.generator).named_buffers()}
    assert named and all("lora_" in name or name.split("/", 2)[2] in buffers for name in named)
    resumed = make(method=method, **losses)
    snapshot.restore(resumed, tensors, meta)
    assert differences(copied(run(resumed, 2)), copied(whole)) == []


@pytest.mark.parametrize("network", NETWORKS, ids=IDS)
def test_merged_it_is_a_network_like_the_teachers_that_computes_the_same(network: dict[str, Any]) -> None:
    state = run(make(network, run={"precision": "fp64"}), 3)
    assert state.teacher is not None and state.teacher.network is not None
    adapter = state.recipe.generator.adapter
    assert adapter is not None
    merged = shared.merged(adapter, state.ema)
    assert merged.state_dict().keys() == state.teacher.network.state_dict().keys()
    x, sigma = torch.randn(2, *state.dataset.shape).double(), torch.full((2, 1, 1, 1), 1.5).double()
    torch.testing.assert_close(merged(x, sigma), state.ema(x, sigma), rtol=1e-9, atol=1e-9)
    assert not torch.equal(merged(x, sigma), state.teacher.network(x, sigma))
    plain = type(merged)  # the teacher's form takes these weights
    assert isinstance(state.teacher.network, plain)
    state.teacher.network.load_state_dict(merged.state_dict())


def test_a_further_input_trains_beside_the_adapters() -> None:
    state = make(DIT, generator={
        "adapter": {"use": "lora", "rank": 2}, "network_keys": {"second_time": True},
        "new_weights": ["model.r_embedder.*"],
    })  # fmt: skip
    own = [name for name, p in state.networks["generator"].named_parameters() if not isinstance(p, Shared)]
    assert any("r_embedder" in name and "lora" not in name for name in own) and any("lora_" in name for name in own)


def test_masks_copies_and_dropout_keep_sharing() -> None:
    state = make(UNET, generator={"adapter": {"use": "lora", "rank": 2}, "dropout": 0.3})
    copy = state.add_copy("target", average=lambda: 0.5)
    names = shared.names(state.generator)
    assert names == shared.names(copy) == shared.names(state.teacher and state.teacher.network)
    run(state, 2)


def test_plan_counts_what_is_shared_once_and_a_large_run_takes_a_fraction() -> None:
    """Of 100 million parameters measured 0.12 of the memory, as planned: benchmarks/lora_memory.py."""
    peaks = []
    for adapter in ({}, {"adapter": {"use": "lora", "rank": 4}}):
        recipe = toys.toy_recipe(
            dataset={"resolution": 8, "label_dim": 0}, generator=adapter, generator_loss={"use": "sid"},
            teacher_score={"network": {"use": "mlp", "width": 3780, "depth": 8}},
        )  # fmt: skip
        with blank() as live:
            state = dry.build(recipe, {}, toys.catalog(), live)
            peaks.append(dry.small(state, live, 8, 8).largest.peak)
            found = {role.name: role for role in roles(state, live.bytes)}
    teacher = found.pop("teacher")
    assert 1e8 < teacher.parameters < 1.02e8
    assert [name for name, role in found.items() if role.parameters > 0.02 * teacher.parameters] == []
    assert peaks[1] < 0.6 * peaks[0]


@pytest.mark.parametrize(("tables", "told"), [
    ({"generator": {"adapter": {"use": "lora", "targets": ["nothing.*"]}}}, "is named like 'nothing.*'; one is"),
    ({"generator": {"adapter": {"use": "lora", "rank": 4096}}}, "rank = 4096: no layer has a larger matrix"),
    ({"evaluate": [{"use": "power-ema"}]}, "evaluate.0: PowerEma follows the weights of each step, which are adapters"),
    ({"generator": {"adapter": {"use": "lora", "rank": 2}}, "run": {"teacher_dtype": "bf16"}},
     "run.teacher_dtype does not go with generator.adapter: teacher and student share their weights"),
])  # fmt: skip
def test_what_cannot_be_is_refused(tables: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told.replace("*", r"\*")):
        make(**tables)


def trained(**more: Any) -> dict[str, torch.Tensor]:
    """The snapshot of three iterations of LoRA on a U-Net, with levers of the run pulled."""
    return copied(run(make(UNET, run={"threads": 1, **more}), 3))[0]


def test_blocks_may_forget_what_they_computed_and_the_numbers_stay() -> None:
    plain, again = trained(), trained(checkpoint_activations=True)
    assert [name for name, tensor in plain.items() if not torch.equal(tensor, again[name])] == []


def test_compiled_passes_train_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    monkeypatch.setattr(compiled, "BACKEND", "eager")  # which needs no C++ compiler, and fails where a graph breaks
    plain, made = trained(), trained(compile=True)
    torch.compiler.reset()
    for name, tensor in plain.items():
        torch.testing.assert_close(made[name], tensor, msg=name)


def test_layers_in_bfloat16_train_weights_in_full() -> None:
    tensors = trained(precision="bf16")
    found = [tensor for name, tensor in tensors.items() if "lora_" in name]
    assert found and all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in found)
    plain = trained()
    assert any(not torch.equal(tensor, plain[name]) for name, tensor in tensors.items())
