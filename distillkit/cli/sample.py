"""`distillkit sample`: images of a finished student, as a sheet, an array, PNGs or a data set."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from distillkit.api import InputError, UsageError
from distillkit.cli import arguments

LARGEST = 1 << 20  # bytes of a file of prompts


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
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="one prompt a line; they take turns")
    parser.add_argument("--text-encoder", type=Path, metavar="FOLDER",
                         help="of prompts that the student's card does not name (the card's)")  # fmt: skip
    parser.add_argument("--guidance", type=arguments.positive, metavar="W",
                         help="scale, of a student that takes one (its card's)")  # fmt: skip
    arguments.sampler(parser)
    parser.add_argument("--out", type=Path, default=Path("samples.png"), metavar="PATH",
                         help="X.png: a sheet; X.npz; X.zip: as EDM; X: a folder of PNGs (%(default)s)")  # fmt: skip
    parser.add_argument("--batch", type=arguments.whole(1, arguments.IMAGES), default=256, metavar="N",
                         help="images in a pass (%(default)s)")  # fmt: skip
    parser.add_argument("--device", default="auto", metavar="NAME", help="cpu, cuda, cuda:1, xpu (%(default)s)")
    parser.add_argument("--force", action="store_true", help="overwrite what is there")


def read_prompts(path: Path) -> list[str]:
    """The lines of a file that are not empty. Raises InputError."""
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: {path.stat().st_size} bytes of prompts, at most {LARGEST}")
        found = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "no UTF-8 text"
        raise InputError(f"{path}: no file of prompts, one a line ({why})") from error
    if not found:
        raise InputError(f"{path}: holds no prompts; one a line")
    return found


def main(args: Namespace) -> int:
    """Draw, write and tell how fast it was -> exit code."""
    if args.seeds and args.n:
        raise UsageError("--seeds says which images, and so how many: no -n")
    if args.prompts and args.labels:
        raise UsageError("--prompts says what to draw: no --labels")
    if args.text_encoder and not args.prompts:
        raise UsageError("--text-encoder embeds prompts: name a file of them, --prompts FILE")
    import torch

    from distillkit.device import pick_device
    from distillkit.images.write_images import Drawn, refuse_existing, write, writer
    from distillkit.networks.loaded import load
    from distillkit.seeds import SEED_BLOCK
    from distillkit.train import threads

    writer(args.out)
    refuse_existing(args.out, args.force)
    student, device = load(args.run, args.sampler), pick_device(args.device, "--device")
    torch.set_num_threads(threads.choose())
    first = SEED_BLOCK * args.seed
    seeds = args.seeds or list(range(first, first + (args.n or 64)))
    prompts, labels = None if student.prompts is None else list(student.prompts.words), args.labels
    if args.prompts:
        prompts = read_prompts(args.prompts)
        labels = student.rows(prompts, len(seeds), args.text_encoder)
    elif labels == "random":
        prompts = None  # the seeds' own, of which a sheet has no columns
    start = time.perf_counter()
    with student.guided(args.guidance):
        images = student.draw(seeds, labels, device, args.batch)
    rate = len(seeds) / (time.perf_counter() - start)
    title = f"{student.card.get('recipe', args.run)}   NFE {student.nfe}"
    turns = None if prompts is None else [prompts[i % len(prompts)] for i in range(len(seeds))]
    write(Drawn(images, seeds, title, turns), args.out, args.force)
    print(f"{args.out}: {len(seeds)} images, NFE {student.nfe}, {rate:.0f} images/s on {device.type}")
    return 0
