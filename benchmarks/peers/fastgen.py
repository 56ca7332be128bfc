"""FastGen's own train_step beside ours: python benchmarks/peers/fastgen.py --method ct --checkout PATH.

github.com/NVlabs/FastGen; omegaconf, hydra-core, loguru, einops and psutil have to be there, what else is missing is
pretended. "ct" is what FastGen calls so, which are the pairs and weights of ECT; "cd" is the same with one Euler step
of the teacher; "dmd2" is FastGen's variant, and an iteration of it here is a cycle of five.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from ours import CLASSES, RESOLUTION, as_float, batches, copy_weights, iterations, on_path, started
from pairs import Iterate, compare, options
from stubs import pretend

from distillkit.train.state import State

MISSING = (
    "wandb", "torchvision", "boto3", "botocore", "transformers", "ftfy", "webdataset", "av", "cv2", "imageio", "timm",
    "pandas", "pynvml", "diffusers",
)  # fmt: skip
OTHERS = ("DiT", "SD15", "SDXL", "Flux", "QwenImage", "CogVideoX", "Wan", "WanI2V", "VaceWan", "cosmos_predict2")
BOUNDS = {"ct": 0.97, "cd": 0.97, "dmd2": 0.97}
CYCLE = {"ct": 1, "cd": 1, "dmd2": 5}  # of its iterations, that are one here
LABELS = {"ct": 0, "cd": 0, "dmd2": CLASSES}
DROPOUT = {"ct": 0.2, "cd": 0.2, "dmd2": 0.0}

RADAM = {"name": "radam", "lr": 1e-4, "betas": [0.9, 0.999], "eps": 1e-8, "clip_norm": 1e6}
ADAMW = {"name": "adamw", "lr": 1e-4, "betas": [0.9, 0.999], "weight_decay": 0.01, "clip_norm": 10.0}
OPTIMIZERS = {"ct": RADAM, "cd": RADAM, "dmd2": ADAMW}
LOSSES: dict[str, dict[str, Any]] = {
    "ct": {"use": "ect", "q": 2, "c": 1e-8},
    "cd": {"use": "cd", "solver": "euler", "N": 18, "mu": 0.0, "distance": "huber", "huber_c": 1e-8, "weight": "step"},
    "dmd2": {
        "use": "dmd2", "update": "alternate", "features": "teacher", "taps": [32, 16, 8], "fake_weight": "none",
        "T_min": 0.002, "T_max": 0.998, "critic_noise": "matching", "gen_cls_loss_weight": 1e-3,
        "guidance_cls_loss_weight": 1.0, "lr": 1e-4, "classifier_lr": 1e-4, "clip_norm": float("inf"),
        "warmup_kimg": 0.0,
    },
}  # fmt: skip


def state(args: argparse.Namespace) -> State:
    return started(
        args, LABELS[args.method], DROPOUT[args.method], generator_loss=LOSSES[args.method],
        generator={"optimizer": OPTIMIZERS[args.method]}, sample={"use": "one-step", "sigma_init": 80.0},
    )  # fmt: skip


def ours(args: argparse.Namespace) -> Iterate:
    return iterations(state(args), CYCLE[args.method])


class Theirs:
    """Iterations of their Trainer, without its files, its loggers and its GPU."""

    def __init__(self, args: argparse.Namespace) -> None:
        on_path(args)
        pretend(MISSING, tuple(f"fastgen.networks.{name}" for name in OTHERS))
        from fastgen.callbacks.ct_schedule import CTScheduleCallback
        from fastgen.callbacks.ema import EMACallback
        from fastgen.callbacks.grad_clip import GradClipCallback
        from fastgen.trainer import Trainer

        self.cycle, labels = CYCLE[args.method], LABELS[args.method]
        config, self.model = self.built(args)
        clip = GradClipCallback(grad_norm=OPTIMIZERS[args.method]["clip_norm"])
        ema = EMACallback(type="constant", beta=0.9999, batch_size=args.batch)
        schedule = CTScheduleCallback(kimg_per_stage=6400, batch_size=args.batch)
        schedule.on_train_begin(self.model)
        self.after = ema, schedule
        self.trainer = Trainer.__new__(Trainer)
        self.trainer.config, self.trainer.callbacks = config, Quiet(clip)
        self.images, condition = batches(args, labels)
        self.labels = {"condition": condition, "neg_condition": torch.zeros_like(condition)}
        self.done = self.cycle - 1  # the iteration that comes first here is the generator's

    def __call__(self) -> None:
        for _ in range(self.cycle):
            self.done += 1
            batch = self.trainer.preprocess_data(self.model, {"real": as_float(self.images), **self.labels}, None)
            losses, outputs = self.trainer.train_step(self.model, self.model, batch, self.done, 0)
            for callback in self.after:
                callback.on_training_step_end(self.model, batch, outputs, losses, self.done)

    def built(self, args: argparse.Namespace) -> tuple[Any, Any]:
        """FastGen's configuration of the method on CIFAR-10, made smaller, and its model, on the CPU."""
        from fastgen.configs.methods import config_cm, config_dmd2
        from fastgen.methods import CMModel, DMD2Model

        config = (config_dmd2 if args.method == "dmd2" else config_cm).create_config()
        if args.method == "dmd2":
            config.model.discriminator.in_channels = 2 * args.channels
            config.model.use_ema = True
        else:
            config.model.loss_config.use_cd = args.method == "cd"
        config.model.device, config.model.input_shape = "cpu", [3, RESOLUTION, RESOLUTION]
        config.model.net.model_channels = args.channels
        model = (DMD2Model if args.method == "dmd2" else CMModel)(config.model)
        model.on_train_begin()
        model.init_optimizers()
        names = ("net", "ema", "teacher", "fake_score")
        copy_weights(state(args), [getattr(model, name) for name in names if hasattr(model, name)])
        return config, model


class Quiet:
    """The callbacks within a training step: clipping alone does something."""

    def __init__(self, clip: Any) -> None:
        self.on_optimizer_step_begin = clip.on_optimizer_step_begin

    def on_backward_begin(self, *given: Any, **named: Any) -> None:
        pass


if __name__ == "__main__":
    compare(options(__doc__, tuple(BOUNDS)), {"ours": ours, "theirs": Theirs}, BOUNDS)
