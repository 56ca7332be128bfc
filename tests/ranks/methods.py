"""Every method on tiny networks with dropout, trained alone and on ranks that are threads."""

from __future__ import annotations

from distillkit.testing import toys
from distillkit.testing.training import run
from distillkit.train.ranks.alone import Ranks
from distillkit.train.state import State

ITERATIONS = 12
BATCH = 10  # 3 ranks hold 3, 3 and 4 rows, 4 hold 2, 3, 2 and 3
SMALL = {"model_channels": 4, "channel_mult": [1], "num_blocks": 1, "attn_resolutions": []}
UNET = {"use": "edm-ddpmpp", "dropout": 0.13, **SMALL}
EDM2 = {"use": "edm2", "dropout": 0.13, "logvar_channels": 4, "channels_per_head": 4, **SMALL}
BASE: toys.Tables = {
    "run": {"kimg": ITERATIONS * BATCH / 1000, "batch": BATCH, "precision": "fp64", "threads": 1},
    "dataset": {"resolution": 4, "channels": 1, "size": 24},
    "teacher_score": {"network": UNET},
    "generator": {"dropout": 0.13, "ema": "power", "optimizer": {"lr": 1e-3, "warmup_kimg": 0.0}},
}
SCRATCH = {"init": "scratch", "network": UNET}
HEADS = {"use": "guided-flow-map", "network": {**UNET, "second_time": True}}
# Per pass by definition: its BatchNorm is over the images of one.
GDD = {
    "generator_loss": {
        "projection": 4, "width": 16, "embedding": 4, "cmap": 4, "r1_every": 2, "end_size": 4,
        "backbones": [{"use": "random-pyramid", "channels": 8, "levels": 2}],
    },
    "run": {"micro_batch": 2},
}  # fmt: skip
# What the methods say beside their names; a consistency model's schedule reaches its last stage within the iterations.
METHODS: dict[str, toys.Tables] = {
    "sid": {"generator_loss": {"alpha": 1.0, "lr": 1e-3}},
    "sid, joint turn": {  # and SIM's distance
        "generator_loss": {"use": "sid", "alpha": 1.0, "lr": 1e-3, "shared_forward": True, "distance": "huber"},
    },
    "sida": {"generator_loss": {"generator_after_kimg": 0.0, "gan_after_kimg": 0.02, "lr": 1e-3}},
    "diff-instruct": {"generator_loss": {"lr": 1e-3}},
    "realuid": {"generator_loss": {"alpha": 0.9, "beta": 0.95, "updates": 2, "lr": 1e-3, "warmup_kimg": 0.0}},
    "dmd": {"generator_loss": {"lr": 1e-3, "warmup_kimg": 0.0}},
    "dmd2": {"generator_loss": {"lr": 1e-3, "warmup_kimg": 0.0, "dfake_gen_update_ratio": 2}},
    "dmd2, backward simulation": {
        "generator_loss": {
            "use": "dmd2",
            "gan": False,
            "rollout": "noise",
            "lr": 1e-3,
            "warmup_kimg": 0.0,
            "dfake_gen_update_ratio": 2,
        },
        "sample": {"use": "few-step", "sigmas": [80.0, 10.0, 2.0, 0.4]},
    },
    "ladd": {"generator_loss": {"lr": 1e-3, "student_update_freq": 2, "r1_weight": 1.0}},
    "f-distill": {"generator_loss": {"lr": 1e-3, "student_update_freq": 2, "rate": 0.5}},
    "gdd": GDD,
    "gdd-i": GDD,
    "cd": {"generator_loss": {"mu": 0.9}},
    "ct": {"generator": SCRATCH},
    "scd": {"generator_loss": {"warmup_kimg": 0.05}},
    "rcm": {"generator_loss": {"tangent_warmup": 2, "steps": 2, "student_update_freq": 2, "lr": 1e-3}},
    "ect": {"generator_loss": {"double_kimg": 0.025}},
    "imm": {"generator_loss": {"M": 2}},
    "ict": {"generator": SCRATCH},
    "tcm": {},
    "pd": {"generator_loss": {"start": 8}},
    "tract": {"generator_loss": {"schedule": [8, 2, 1]}},
    "ctm": {"generator_loss": {"N": 4, "h": 2, "mu": 0.9, "dsm": 0.5}},
    "ctm-gan": {"generator_loss": {"N": 4, "h": 2, "mu": 0.9, "width": 8, "lr": 1e-3}},
    "edm": {"generator": SCRATCH},
    "edm2": {"generator": {**SCRATCH, "network": EDM2}},
    "flow-matching": {"generator": SCRATCH},
    "meanflow": {"generator": SCRATCH, "generator_loss": {"ratio": 0.5, "kappa": 0.5, "label_dropout": 0.1}},
    "imf": {"generator": {**SCRATCH, "network": HEADS, "dropout": 0.0}},
}
PIXELS = {"use": "pixels"}
CONVNET = {"use": "convnet", "width": 4, "depth": 1}
EL: toys.Tables = {"auxiliary_loss": [{"use": "embedding", "real_batch": 12, "embeddings": [PIXELS, CONVNET]}]}


def tables(method: str, *more: toys.Tables) -> toys.Tables:
    """A recipe of the toy world; `more` goes over it."""
    return toys.merged(BASE, {"generator_loss": {"use": method}}, METHODS[method], *more)


def trained(given: toys.Tables, ranks: Ranks | None = None, iterations: int = ITERATIONS) -> State:
    """A state after some iterations; on the first rank its records are those of all."""
    ranks = ranks or Ranks()
    state = run(toys.toy_state(ranks, **given), iterations)
    ranks.collect(state.records)
    return state
