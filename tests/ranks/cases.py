"""What several processes do for tests/ranks/test_sharded.py: `python cases.py FOLDER`, started once for all of them."""

from __future__ import annotations

import copy
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from distillkit.api import UsageError
from distillkit.disk import checkpoint
from distillkit.run import pieces as for_ranks
from distillkit.testing import toys
from distillkit.testing.training import copied, differences, run
from distillkit.train import snapshot
from distillkit.train.build import build
from distillkit.train.ranks import pieces
from distillkit.train.ranks.group import Group
from distillkit.train.ranks.join import join
from distillkit.train.ranks.sharded import Sharded
from distillkit.train.state import State

EL = {"auxiliary_loss": [{"use": "embedding", "real_batch": 16, "embeddings": [{"use": "pixels"}]}]}
GDD = {"projection": 4, "width": 16, "embedding": 8, "cmap": 4, "r1_every": 2, "end_size": 4}
EDM2 = {
    "use": "edm2", "model_channels": 4, "channel_mult": [1, 1], "num_blocks": 1, "attn_resolutions": [],
    "channels_per_head": 4, "logvar_channels": 4,
}  # fmt: skip
DDPMPP = {"use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4]}
HEADS = {"use": "guided-flow-map", "network": {"use": "mlp", "width": 32, "depth": 3, "second_time": True}}
SLOW = {"warmup_kimg": 0.0}
CASES: dict[str, dict[str, Any]] = {
    "sid": {"generator_loss": {"use": "sid", "lr": 1e-3, **SLOW}},
    "sid joint": {"generator_loss": {"use": "sid", "lr": 1e-3, "shared_forward": True, **SLOW}},
    "sida el": {
        "generator_loss": {"use": "sida", "lr": 1e-3, "generator_after_kimg": 0.0, "gan_after_kimg": 0.0, **SLOW},
        **EL,
    },
    "sida edm2 logvar": {
        "teacher_score": {"use": "toy", "network": EDM2},
        "generator_loss": {
            "use": "sida",
            "lr": 1e-3,
            "logvar": True,
            "generator_after_kimg": 0.0,
            "gan_after_kimg": 0.0,
            **SLOW,
        },
    },
    "cd ddpmpp": {
        "teacher_score": {"use": "toy", "network": DDPMPP},
        "generator": {"dropout": 0.1, "optimizer": {"name": "adam"}},
        "generator_loss": {"use": "cd", "mu": 0.9},
        "sample": {"use": "few-step"},
    },
    "dmd2": {"generator_loss": {"use": "dmd2", "lr": 1e-3, "dfake_gen_update_ratio": 2, "taps": [], **SLOW}},
    "cd": {"generator_loss": {"use": "cd", "mu": 0.9}, "sample": {"use": "few-step"}},
    "cd el": {"generator_loss": {"use": "cd", "mu": 0.9}, "sample": {"use": "few-step"}, **EL},
    "tract": {"generator_loss": {"use": "tract", "schedule": [8, 2, 1]}, "run": {"kimg": 0.16}},  # a phase ends within
    "ctm": {"generator_loss": {"use": "ctm", "N": 6, "h": 3, "mu": 0.9, "adaptive": False}},
    "tcm": {"generator_loss": {"use": "tcm"}, "sample": {"use": "few-step"}},
    "meanflow": {"generator_loss": {"use": "meanflow", "kappa": 0.5, "ratio": 0.75}},
    "imf": {"generator": {"init": "scratch", "network": HEADS}, "generator_loss": {"use": "imf"}},
    "sid recomputed": {
        "teacher_score": {"use": "toy", "network": DDPMPP},
        "generator": {"dropout": 0.1},
        "generator_loss": {"use": "sid", "lr": 1e-3, **SLOW},
        "run": {"checkpoint_activations": True},
    },
    "sid half a teacher": {
        "teacher_score": {"use": "toy", "network": DDPMPP},
        "generator_loss": {"use": "sid", "lr": 1e-3, **SLOW},
        "run": {"precision": "fp32", "teacher_dtype": "bf16"},
    },
    "gdd": {"generator_loss": {"use": "gdd", **GDD}, "run": {"micro_batch": 4}},
}
LORA = {
    "teacher_score": {"use": "toy", "network": DDPMPP},
    "generator": {"adapter": {"use": "lora", "rank": 2}, "dropout": 0.1, "optimizer": {"lr": 1e-2}},
    "generator_loss": {"use": "sid", "lr": 1e-2, **SLOW},
}
BASE: dict[str, Any] = {
    "run": {"kimg": 0.8, "precision": "fp64", "threads": 1},
    "generator": {"optimizer": {"lr": 1e-3, "clip_norm": 1.0}, "ema": "power"},
}


def state_of(ranks: Group, tables: dict[str, Any]) -> State:
    return build(toys.toy_recipe(**toys.merged(BASE, tables)), toys.catalog(), ranks)


def weights(state: State) -> dict[str, torch.Tensor]:
    """All parameters and averages, whole."""
    networks = {**state.networks, "average": state.average, **{n: c.module for n, c in state.copies.items()}}
    return {
        name: torch.cat([pieces.whole(p).flatten() for p in network.parameters()]) for name, network in networks.items()
    }


def difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[name] - b[name]).norm() / a[name].norm()) for name in a)


def compared(ranks: Group, tables: dict[str, Any], shards: int, longer: bool) -> dict[str, float]:
    """|pieces - whole| / |whole| of the weights after 4 and, where `longer`, 20 iterations."""
    ranks.asked_shards = ranks.shards = 1
    ranks.sharded = None
    whole = state_of(ranks, tables)
    start = weights(whole)
    run(whole, 4)
    four = weights(whole)
    run(whole, 16 if longer else 0)
    twenty = weights(whole)
    ranks.asked_shards = shards
    cut = state_of(ranks, tables)
    found = {"0": difference(start, weights(cut)), "moved": difference(start, twenty)}
    assert ranks.shards == shards and all(
        pieces.cut(p) for n in cut.networks.values() for p in n.parameters() if p.ndim
    )
    run(cut, 4)
    found["4"] = difference(four, weights(cut))
    run(cut, 16 if longer else 0)
    found["20"] = difference(twenty, weights(cut))
    return found


def adapted(ranks: Group) -> dict[str, Any]:
    """Adapters (LoRA) by all processes against one alone, and what a resumed run has in other bits."""
    ranks.asked_shards = ranks.shards = 1
    alone = weights(run(build(toys.toy_recipe(**toys.merged(BASE, LORA)), toys.catalog()), 4))
    start = weights(state_of(ranks, LORA))
    state = run(state_of(ranks, LORA), 2)
    half = copied(state)
    whole = run(state, 2)
    resumed = state_of(ranks, LORA)
    snapshot.restore(resumed, *half)
    unlike = differences(copied(run(resumed, 2)), copied(whole))
    return {"moved": difference(start, alone), "apart": difference(alone, weights(whole)), "unlike": unlike}


def penalty(ranks: Group) -> float:
    """A penalty on the gradient at x of a network without curvature: its way back passes no output."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(5, 7), nn.LeakyReLU(), nn.Linear(7, 1)).double()
    net = copy.deepcopy(plain)
    sharded = Sharded([net], ranks.size, ranks.size, torch.device("cpu"), lambda: None)
    x = torch.randn(2 * ranks.size, 5, dtype=torch.float64)
    for network, rows in ((plain, x), (net, x[2 * ranks.rank : 2 * ranks.rank + 2])):
        at = rows.clone().requires_grad_()
        (grad,) = torch.autograd.grad(network(at).sum(), at, create_graph=True)
        grad.square().sum().backward()
    sharded.reshard()
    pairs = [(a.grad, b.grad) for a, b in zip(plain.parameters(), net.parameters(), strict=True)]
    return max(float((a - pieces.whole(b)).abs().max()) for a, b in pairs if a is not None and b is not None)


def refusals(ranks: Group) -> dict[str, Any]:
    """What is said of what cannot work."""
    said: dict[str, Any] = {}
    wrong: dict[str, tuple[int, dict[str, Any]]] = {
        "odd": (3, {}), "unequal": (2, {"run": {"micro_batch": 8}}),
        "follows": (2, {"evaluate": [{"use": "power-ema"}]}),
        "whole": (2, {"generator": {"optimizer": {"name": {"use": "muon", "least": 2}}}}),
    }  # fmt: skip
    for name, (shards, tables) in wrong.items():
        ranks.asked_shards = shards
        try:
            state_of(ranks, tables)
        except UsageError as error:
            said[name] = str(error)
    ranks.asked_shards = 2
    state = state_of(ranks, CASES["sida el"])
    ranks.listening, said["alone"] = True, []
    x = torch.zeros(1, *state.dataset.shape, dtype=state.dtype)
    for call in (state.networks["fake_score"], state.networks["fake_score"].encoder):
        try:
            call(x, torch.ones(1, 1, 1, 1, dtype=state.dtype))
        except UsageError as error:
            said["alone"].append(str(error))
    ranks.listening = False
    return said


def moved(ranks: Group, folder: Path) -> str:
    """Go on from the newest checkpoint of any number of processes -> what is not the same as there; save the next."""
    ranks.asked_shards = ranks.size
    state = state_of(ranks, CASES["cd el"])
    last = checkpoint.newest(folder)
    if last is None:
        run(state, 3)
        save(state, folder)
        return ""
    if ranks.first:
        with ranks.leading():
            for_ranks.restored(state, last)
    else:
        ranks.listen(for_ranks.words(state))
    found = wholes(state)
    wanted, meta = checkpoint.load(last, "cpu")
    unlike = [key for key in {**found, **wanted} if not torch.equal(found[key], wanted[key])]
    state.nimg = meta["nimg"] + 1
    save(state, folder)
    return " ".join(unlike)


def wholes(state: State) -> dict[str, torch.Tensor]:
    return {key: pieces.whole(tensor) for key, tensor in snapshot.capture(state)[0].items()}


def save(state: State, folder: Path) -> None:
    tensors, meta = snapshot.capture(state)
    plain = {key: tensor for key, tensor in tensors.items() if not pieces.cut(tensor)}
    if not state.ranks.first:
        state.ranks.listen(for_ranks.words(state))
        return
    with state.ranks.leading():
        checkpoint.save(folder, state.nimg, plain, meta, 9, others=partial(for_ranks.written, state))


def main(folder: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    ranks = join()
    assert isinstance(ranks, Group)
    found: dict[str, Any] = {}
    if names == ["moved"]:
        found, names = {"unlike": moved(ranks, folder)}, ["cd"]
        CASES.clear()
    for name in [name for name in names or CASES if name in CASES]:
        begun = time.perf_counter()
        found[name] = compared(ranks, CASES[name], ranks.size, longer="network" not in str(CASES[name]))
        if ranks.first:
            print(name, found[name], f"{time.perf_counter() - begun:.1f} s", flush=True)
    if not names:
        found |= {"adapted": adapted(ranks), "penalty": penalty(ranks), **refusals(ranks)}
    if ranks.first:
        (folder / "found.json").write_text(json.dumps(found))
    ranks.leave(well=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
    sys.stdout.flush()
    os._exit(0)  # the store went with the first one: torch's threads may abort what still ends
