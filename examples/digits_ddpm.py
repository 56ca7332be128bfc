"""A teacher of diffusers' own make: UNet2DModel and DDPMScheduler on 8x8 handwritten digits, with labels.

    python examples/digits_ddpm.py        # about 3 minutes on two cores; writes the folder digits_ddpm
    distillkit run recipes/digits_ddpm_sid.toml

Nothing here is distillkit's: any folder that diffusers' `save_pretrained` writes will do as well.
It needs diffusers and scikit-learn. All 1797 digits are seen, those too that distillkit's data set holds out.
"""

import argparse
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DModel
from sklearn.datasets import load_digits

BATCH = 128


def train(steps: int, seed: int) -> UNet2DModel:
    """A network that knows the noise in x_t, for each of the ten digits."""
    torch.manual_seed(seed)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1  # [1797,1,8,8] in [-1,1]
    classes = torch.tensor(digits.target)
    scheduler = noise_levels()
    model = UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(32, 64), layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8, attention_head_dim=64, num_class_embeds=10, resnet_time_scale_shift="scale_shift",
    )  # fmt: skip
    average = {name: weight.clone() for name, weight in model.state_dict().items()}
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.99))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 50) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
        rows = torch.randint(len(images), (BATCH,))
        x, n, t = images[rows], torch.randn(BATCH, 1, 8, 8), torch.randint(len(scheduler), (BATCH,))
        predicted = model(scheduler.add_noise(x, n, t), t, class_labels=classes[rows]).sample
        optimizer.zero_grad()
        F.mse_loss(predicted, n).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        for name, weight in model.state_dict().items():  # an average whose width grows with the run
            average[name].lerp_(weight, 1 - (step / (step + 1)) ** 8)
    model.load_state_dict(average)
    return model.eval()


def noise_levels() -> DDPMScheduler:
    """Where the network is asked; its config is written beside the network's."""
    return DDPMScheduler(beta_schedule="squaredcos_cap_v2", clip_sample=False)


def main() -> None:
    """Train, and write what any pipeline of diffusers would."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("digits_ddpm"), help="folder to write")
    parser.add_argument("--steps", type=int, default=2500, help=f"of {BATCH} images")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model = train(args.steps, args.seed)
    model.save_pretrained(args.out)
    noise_levels().save_pretrained(args.out)
    print(f"{args.out}: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters")


if __name__ == "__main__":
    main()
