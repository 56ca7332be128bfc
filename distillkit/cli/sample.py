"""`distillkit sample`: images of a finished student, as a sheet, an array, PNGs or a data set."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from distillkit.api import UsageError
from distillkit.cli import arguments


def add(parser: ArgumentParser) -> None:
    arguments.student(parser)
    parser.add_argument("-n", type=arguments.whole(1, arguments.IMAGES), metavar="N", help="how many images (64)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seed", type=arguments.whole(0, arguments.IMAGES), default=0, metavar="S",
                       help="images 50000 S, 50000 S + 1 ... (0)")  # fmt: skip
    which.add_argument("--seeds", type=arguments.image_seeds, metavar="0-63",
                       help="these seeds of EDM instead, such as 0,5,7-9")  # fmt: skip
    parser.add_argument("--labels", type=arguments.labels, metavar="3|0,1,2|random",
                         help="one class, or classes that take turns, or the seed's own (all take turns)")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("samples.png"), metavar="PATH",
                         help="X.png: a sheet; X.npz; X.zip: as EDM; X: a folder of PNGs (%(default)s)")  # fmt: skip
    parser.add_argument("--batch", type=arguments.whole(1, arguments.IMAGES), default=256, metavar="N",
                         help="images in a pass (%(default)s)")  # fmt: skip
    parser.add_argument("--device", default="auto", metavar="NAME", help="cpu, cuda, cuda:1, xpu (%(default)s)")
    parser.add_argument("--force", action="store_true", help="overwrite what is there")


def main(args: Namespace) -> int:
    """Draw, write and tell how fast it was -> exit code."""
    if args.seeds and args.n:
        raise UsageError("--seeds says which images, and so how many: no -n")
    import torch

    from distillkit.device import pick_device
    from distillkit.images.write_images import Drawn, refuse_existing, write, writer
    from distillkit.networks.loaded import load
    from distillkit.seeds import SEED_BLOCK
    from distillkit.train import threads

    writer(args.out)
    refuse_existing(args.out, args.force)
    student, device = load(args.run), pick_device(args.device, "--device")
    torch.set_num_threads(threads.choose())
    first = SEED_BLOCK * args.seed
    seeds = args.seeds or list(range(first, first + (args.n or 64)))
    start = time.perf_counter()
    images = student.draw(seeds, args.labels, device, args.batch)
    rate = len(seeds) / (time.perf_counter() - start)
    title = f"{student.card.get('recipe', args.run)}   NFE {student.nfe}"
    write(Drawn(images, seeds, title), args.out, args.force)
    print(f"{args.out}: {len(seeds)} images, NFE {student.nfe}, {rate:.0f} images/s on {device.type}")
    return 0
